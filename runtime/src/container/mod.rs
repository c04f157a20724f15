//! One container: from a linked program to an exit status.
//!
//! ```text
//!   Artifact ──link──▶ Program ──Container::start──▶ task on the guest threads
//!                                                      Store + instance ── _start / run ──▶ ContainerExit
//!                                                      or: accept loop, one Store a request
//! ```
//! A [`Container`] is one run of a container of a pod: it starts once, is told to stop by [`Container::signal`], and says what
//! becomes of it by [`ContainerEvent`]s. Restarting is the pod's affair. A store is thrown away after any end, never used again.

mod control;
mod exit;
mod memory;
mod program;
mod requests;
mod store;

pub use program::Program;

use crate::engine::Engine;
use crate::limits::HTTP_PORT_DEFAULT;
use crate::pod::spec::{ContainerPort, Protocol};
use crate::pod::state::{ContainerExit, ExitCause, Signal};
use crate::volume::{ContainerFiles, MountedDir};
use crate::wasi::http::HttpServer;
use crate::wasi::{self, Preopen, WasiConfig, WasiState};
use crate::{Error, Result};
use cap_std::fs::Dir;
use control::Control;
use memory::MemoryBudget;
use program::Linked;
use requests::Requests;
use std::fmt;
use std::future::poll_fn;
use std::os::fd::AsFd as _;
use std::pin::pin;
use std::sync::Arc;
use store::{DiesAt, StoreData};
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

/// What one run of a container is made from.
#[derive(Debug)]
pub struct ContainerConfig {
    /// What it runs.
    pub program: Program,
    /// What it can see: arguments, environment, streams, network. Its directories and listeners are filled in from below.
    pub wasi: WasiConfig,
    /// Its directories; what was made for them is removed when the run is over.
    pub files: ContainerFiles,
    /// The ports that it declares: where a `wasi:http` container listens, and what a preview-1 module finds open.
    pub ports: Vec<ContainerPort>,
    /// The linear memory that it may use, all its instances together, in bytes.
    pub memory_limit_bytes: u64,
}

/// What a container says about itself, to the closure given to [`Container::start`]. Either `StartFailed` alone, or `Started` and
/// then `Exited`.
#[derive(Debug)]
pub enum ContainerEvent {
    /// It runs.
    Started,
    /// It could not be made.
    StartFailed(Error),
    /// It ended, and what it held (memory, sockets) is free again.
    Exited(ContainerExit),
}

/// A handle to a container that runs. Dropping it kills the container.
pub struct Container {
    engine: Engine,
    control: Arc<Control>,
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container").field("control", &self.control).finish_non_exhaustive()
    }
}

impl Container {
    /// Starts a container on the engine's guest threads. `report` is called there and must not block.
    pub fn start(engine: &Engine, config: ContainerConfig, report: impl FnMut(ContainerEvent) + Send + 'static) -> Self {
        let control = Arc::new(Control::new());
        let run = Run::new(engine, &control, config);
        let mut report = Report::new(report);
        // The task ends by itself once the latch says so; nobody needs its handle.
        drop(engine.spawn(async move {
            let exit = match run {
                Ok(run) => run.until_exit(&mut report).await,
                Err(error) => Err(error),
            };
            report.end(exit);
        }));
        Self { engine: engine.clone(), control }
    }

    /// Asks the container to stop, or ends it.
    ///
    /// A program has no signal handlers: SIGTERM ends it as SIGKILL does. A `wasi:http` container takes no more connections after
    /// SIGTERM, finishes the requests it has and ends then, with status 0.
    pub fn signal(&self, signal: Signal) {
        self.control.send(signal);
        self.engine.bump_epoch();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.signal(Signal::Kill);
    }
}

/// Makes sure that every container says how it ended, even one whose host code panicked.
struct Report {
    send: Box<dyn FnMut(ContainerEvent) + Send>,
    stage: Stage,
}

/// What was said already.
enum Stage {
    Starting,
    Running,
    Ended,
}

impl Report {
    fn new(send: impl FnMut(ContainerEvent) + Send + 'static) -> Self {
        Self { send: Box::new(send), stage: Stage::Starting }
    }

    fn started(&mut self) {
        self.stage = Stage::Running;
        (self.send)(ContainerEvent::Started);
    }

    fn end(&mut self, exit: Result<ContainerExit>) {
        let event = match exit {
            Ok(exit) => ContainerEvent::Exited(exit),
            Err(error) => ContainerEvent::StartFailed(error),
        };
        self.stage = Stage::Ended;
        (self.send)(event);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let text = "the host failed while it served the container; this is a bug of wasmpod";
        match self.stage {
            Stage::Ended => {}
            Stage::Starting => (self.send)(ContainerEvent::StartFailed(Error::internal(text))),
            Stage::Running => (self.send)(ContainerEvent::Exited(ContainerExit::trapped(text))),
        }
    }
}

/// One run, from the first store to the end.
struct Run {
    engine: Engine,
    control: Arc<Control>,
    config: ContainerConfig,
    budget: Arc<MemoryBudget>,
}

impl Run {
    fn new(engine: &Engine, control: &Arc<Control>, mut config: ContainerConfig) -> Result<Self> {
        config.wasi.preopens = config.files.dirs().iter().map(preopen).collect::<Result<_>>()?;
        if config.program.inherits_listeners() {
            config.wasi.listeners = wasi::listeners(&config.wasi.net, &config.ports)?;
        }
        let budget = MemoryBudget::new(config.memory_limit_bytes);
        Ok(Self { engine: engine.clone(), control: Arc::clone(control), config, budget })
    }

    /// Runs the container; an error means that it never started.
    async fn until_exit(self, report: &mut Report) -> Result<ContainerExit> {
        let net = self.config.wasi.net.clone();
        let exit = match self.config.program.linked() {
            Linked::Core(_) | Linked::Command(_) => self.run_program(report).await,
            Linked::Proxy(pre) => {
                let pre = pre.clone();
                self.serve(pre, report).await
            }
        };
        net.close();
        exit
    }

    /// A program: one instance, one call.
    async fn run_program(self, report: &mut Report) -> Result<ContainerExit> {
        let mut store = self.store(DiesAt::Term)?;
        let called = async {
            match self.config.program.linked().instantiate(&mut store).await {
                Ok(Some(instance)) => {
                    report.started();
                    let exit = exit::of_call(instance.call(&mut store).await);
                    store.data().flush_output().await;
                    Ok(exit)
                }
                Ok(None) => Err(Error::internal("a program without an entry point was linked")),
                Err(error) => exit::of_instantiation(error),
            }
        };
        let called = pin!(ticking(&self.engine, called));
        tokio::select! {
            biased;
            signal = self.control.stopped() => Ok(ContainerExit::signalled(signal)),
            exit = called => match self.control.signal() {
                // The epoch callback was quicker than this task: the trap that it raised is the signal's doing.
                Some(signal) if matches!(&exit, Ok(exit) if exit.cause == ExitCause::Trapped) => Ok(ContainerExit::signalled(signal)),
                _ => exit,
            },
        }
    }

    /// A `wasi:http` container: a listener in the pod's network, an instance for each request.
    async fn serve(self, proxy: ProxyPre<StoreData>, report: &mut Report) -> Result<ContainerExit> {
        let declared = self.config.ports.iter().find(|port| port.protocol == Protocol::Tcp);
        let port = declared.map_or(HTTP_PORT_DEFAULT, |port| port.container_port);
        let listener = wasi::listen_tcp(&self.config.wasi.net, port)?;
        report.started();
        let control = Arc::clone(&self.control);
        let server = HttpServer { listener, proxy, guests: Arc::new(Requests(self)) };
        let stop = async {
            control.stopped().await;
        };
        Ok(match server.serve(stop, control.killed()).await {
            Ok(()) if control.signal() == Some(Signal::Kill) => ContainerExit::signalled(Signal::Kill),
            // It heard the signal and finished its work, as a server with a handler does.
            Ok(()) => ContainerExit::exited(0),
            Err(error) => ContainerExit::exited(1).with_message(format!("the container can no longer serve: {error}")),
        })
    }

    /// A store for one instance, which holds the room that it takes.
    fn store(&self, dies_at: DiesAt) -> Result<Store<StoreData>> {
        let artifact = self.config.program.artifact();
        let admission = self.engine.admit(artifact)?;
        let wasi = WasiState::new(&self.config.wasi)?;
        let data = StoreData::new(wasi, admission, &self.budget, &self.control);
        Ok(store::make(artifact, data, dies_at))
    }
}

fn preopen(dir: &MountedDir) -> Result<Preopen> {
    let fd = dir.as_fd().try_clone_to_owned().map_err(|error| Error::io("cannot open a directory of the container", error))?;
    Ok(Preopen { dir: Arc::new(Dir::from(fd)), guest_path: dir.guest_path().to_owned(), read_only: dir.is_read_only() })
}

/// Keeps the epochs coming while the guest is polled: only then can it be interrupted, and only then does it need to be.
async fn ticking<T>(engine: &Engine, guest: impl Future<Output = T>) -> T {
    let mut guest = pin!(guest);
    poll_fn(|cx| {
        let _running = engine.running();
        guest.as_mut().poll(cx)
    })
    .await
}
