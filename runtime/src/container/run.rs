//! One run of a container, or of something exec'd into one: from the first store to the exit status.

use super::control::Control;
use super::program::Linked;
use super::report::Report;
use super::requests::Requests;
use super::store::{self, DiesAt, StoreData};
use super::turn::take_turns;
use super::{ContainerConfig, exit};
use crate::engine::Engine;
use crate::limits::HTTP_PORT_DEFAULT;
use crate::log::OutputSink;
use crate::observe::{Phase, span};
use crate::pod::spec::Protocol;
use crate::pod::state::{ContainerExit, ExitCause, Signal};
use crate::volume::{ContainerFiles, MountedDir};
use crate::wasi::http::{GuestTask, HttpServer};
use crate::wasi::{self, Directories, Preopen, WasiState};
use crate::{Error, Result};
use cap_std::fs::Dir;
use std::fs::File;
use std::future::poll_fn;
use std::os::fd::AsFd as _;
use std::pin::pin;
use std::sync::Arc;
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

/// One run, from the first store to the end.
pub(super) struct Run {
    engine: Engine,
    control: Arc<Control>,
    config: ContainerConfig,
}

impl Run {
    /// A run that ends as `control` says.
    ///
    /// # Errors
    /// A port that is taken.
    pub(super) fn new(engine: &Engine, control: Arc<Control>, mut config: ContainerConfig) -> Result<Self> {
        config.wasi.directories = directories(&config.files);
        let files = Arc::clone(&config.files);
        config.wasi.on_open = Some(Arc::new(move |file: &Arc<File>| files.note_open(file)));
        if config.program.inherits_listeners() {
            config.wasi.listeners = wasi::listeners(&config.wasi.net, &config.ports)?;
        }
        Ok(Self { engine: engine.clone(), control, config })
    }

    /// Runs a container, until all that was exec'd into it has ended too; an error means that it never started.
    pub(super) async fn container_until_exit(self, report: &mut Report) -> Result<ContainerExit> {
        let ContainerConfig { group, files, termination, .. } = &self.config;
        let (group, files, termination) = (Arc::clone(group), Arc::clone(files), termination.clone());
        let exit = self.until_exit(report).await;
        group.end().await;
        match termination {
            Some(termination) => exit.map(|exit| termination.last_words(&files, exit)),
            None => exit,
        }
    }

    /// Runs one program, or serves; an error means that it never started.
    pub(super) async fn until_exit(self, report: &mut Report) -> Result<ContainerExit> {
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
        let instantiating = span(Phase::Instantiate);
        let mut store = self.store(DiesAt::Term)?;
        let called = async {
            let instance = self.config.program.linked().instantiate(&mut store).await;
            drop(instantiating);
            match instance {
                Ok(Some(instance)) => {
                    let _phase = span(Phase::Run);
                    let exit = exit::of_call(told_after_first_turn(instance.call(&mut store), report).await);
                    store.data().flush_output().await;
                    Ok(exit)
                }
                Ok(None) => Err(Error::internal("a program without an entry point was linked")),
                Err(error) => exit::of_instantiation(error),
            }
        };
        let called = pin!(take_turns(&self.engine, &self.config.group, &self.control, called));
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
        // The host reads the requests itself.
        listener.ipv4.take_over();
        listener.ipv6.take_over();
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
    pub(super) fn store(&self, dies_at: DiesAt) -> Result<Store<StoreData>> {
        let artifact = self.config.program.artifact();
        let admission = self.engine.admit(artifact)?;
        let wasi = WasiState::new(&self.config.wasi)?;
        let data = StoreData::new(wasi, admission, self.config.group.memory(), &self.control);
        Ok(store::make(artifact, data, dies_at))
    }

    /// A guest of this container, to be run where guests run.
    pub(super) fn turns(&self, guest: GuestTask) -> impl Future<Output = ()> + Send + use<> {
        let (engine, group, control) = (self.engine.clone(), Arc::clone(&self.config.group), Arc::clone(&self.control));
        async move { take_turns(&engine, &group, &control, guest).await }
    }

    /// What it was asked to do.
    pub(super) fn signal(&self) -> Option<Signal> {
        self.control.signal()
    }

    /// Where its errors are shown.
    pub(super) fn stderr(&self) -> &dyn OutputSink {
        &*self.config.wasi.stderr
    }
}

/// Runs a guest's call, and says after its first turn that it runs; of a guest that ended in it, its end says enough. Whoever is told
/// is another thread, and to wake one takes longer than most guests need to their first output.
async fn told_after_first_turn<T>(call: impl Future<Output = T>, report: &mut Report) -> T {
    let mut call = pin!(call);
    report.first_turn();
    poll_fn(|cx| {
        let polled = call.as_mut().poll(cx);
        if polled.is_pending() {
            report.started();
        }
        polled
    })
    .await
}

/// What the container sees of its files, opened when it looks at them.
fn directories(files: &Arc<ContainerFiles>) -> Directories {
    let (guest_paths, files) = (files.guest_paths(), Arc::clone(files));
    Directories::on_demand(guest_paths, move || files.dirs()?.iter().map(preopen).collect())
}

fn preopen(dir: &MountedDir) -> Result<Preopen> {
    let fd = dir.as_fd().try_clone_to_owned().map_err(|error| Error::io("cannot open a directory of the container", error))?;
    Ok(Preopen {
        dir: Arc::new(Dir::from(fd)),
        guest_path: dir.guest_path().to_owned(),
        read_only: dir.is_read_only(),
        may_block: dir.is_foreign(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::ContainerEvent;
    use std::future::{pending, ready};
    use std::sync::Mutex;

    /// What is said of a guest that is polled twice, and then ends as it would after a panic of the host.
    fn said_of(call: impl Future<Output = ()>) -> Vec<&'static str> {
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        let mut report = Report::new(move |event| {
            heard.lock().unwrap().push(match event {
                ContainerEvent::Started => "started",
                ContainerEvent::StartFailed(_) => "start failed",
                ContainerEvent::Exited(_) => "exited",
            });
        });
        {
            let mut told = pin!(told_after_first_turn(call, &mut report));
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            let _ = told.as_mut().poll(&mut cx).is_pending() && told.as_mut().poll(&mut cx).is_pending();
        }
        drop(report);
        Arc::into_inner(said).unwrap().into_inner().unwrap()
    }

    #[test]
    fn a_guest_that_waits_is_said_to_run_once() {
        assert_eq!(said_of(pending()), ["started", "exited"]);
    }

    #[test]
    fn of_a_guest_that_ends_in_its_first_turn_only_the_end_is_told() {
        assert_eq!(said_of(ready(())), ["exited"]);
    }
}
