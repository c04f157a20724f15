//! The pod: what its tasks share, and the tasks.

use crate::bundle::{Plan, ProcessPlan, Resources};
use crate::events::Events;
use crate::limits::TASKS_MAX;
use crate::module::{self, ContentStore};
use crate::process::{Process, Status};
use crate::rootfs::RootFs;
use crate::stdio::StreamPaths;
use crate::task::{Task, runs_something};
use crate::{environment, surroundings};
use containerd_shim_protos::api::Mount;
use containerd_shim_protos::events::task::TaskIO;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OnceCell, watch};
use wasmpod::engine::{CompileLimits, Compiler, Engine, EngineConfig, EngineMode};
use wasmpod::net::PodNet;
use wasmpod::{Error, ErrorKind, Result};

/// The pod of this server.
#[derive(Debug)]
pub(crate) struct Pod {
    /// containerd's namespace.
    namespace: String,
    /// containerd's gRPC socket.
    containerd: String,
    /// The network, or why there is none: the server lives on to say so.
    network: Result<PodNet>,
    /// Made for the first container; a sandbox needs none to start.
    engine: OnceCell<Engine>,
    tasks: Mutex<BTreeMap<String, Arc<Task>>>,
    events: Events,
    resolver_is_the_pods: AtomicBool,
    /// Whether this process is where the kernel counts and limits the pod.
    joined: watch::Receiver<bool>,
    finished: Notify,
}

/// A container to be made.
#[derive(Debug)]
pub(crate) struct NewTask<'a> {
    pub(crate) id: &'a str,
    pub(crate) bundle: &'a Path,
    /// What the snapshotter wants mounted at its root.
    pub(crate) rootfs: &'a [Mount],
    pub(crate) streams: StreamPaths,
}

impl Pod {
    /// A pod without tasks.
    pub(crate) fn new(
        namespace: String,
        containerd: String,
        network: Result<PodNet>,
        events: Events,
        joined: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            namespace,
            containerd,
            network,
            engine: OnceCell::new(),
            tasks: Mutex::default(),
            events,
            resolver_is_the_pods: AtomicBool::new(false),
            joined,
            finished: Notify::new(),
        })
    }

    /// What containerd takes for the process id of every task: there is one process.
    pub(crate) fn pid() -> u32 {
        std::process::id()
    }

    /// Makes a task: mounts, finds and compiles its program. Nothing runs yet.
    ///
    /// # Errors
    /// What is wrong with the pod's surroundings, the bundle, or the image.
    pub(crate) async fn create(&self, new: NewTask<'_>) -> Result<()> {
        self.check_room(new.id)?;
        let network = self.network.as_ref().map_err(again)?.clone();
        let plan = Plan::read(new.bundle, new.id)?;
        let io = TaskIO {
            stdin: new.streams.stdin.clone(),
            stdout: new.streams.stdout.clone(),
            stderr: new.streams.stderr.clone(),
            terminal: new.streams.terminal,
            ..TaskIO::default()
        };
        let task = if runs_something(&plan) {
            if !self.resolver_is_the_pods.swap(true, Ordering::Relaxed) {
                surroundings::use_resolver_files(&plan);
            }
            let root = RootFs::prepare(&plan, new.rootfs)?;
            let store =
                ContentStore { address: self.containerd.clone(), namespace: self.namespace.clone(), container: new.id.to_owned() };
            let program = module::load(self.engine().await?, &root, &plan, &store).await?;
            Task::container(new.id, new.bundle, &plan, (root, program), new.streams, network)?
        } else {
            Task::sandbox(new.id, new.bundle, new.streams)
        };
        self.check_room(new.id)?;
        self.tasks().insert(new.id.to_owned(), Arc::new(task));
        self.events.created(new.id, &new.bundle.display().to_string(), Self::pid(), io);
        Ok(())
    }

    fn check_room(&self, id: &str) -> Result<()> {
        let tasks = self.tasks();
        if tasks.contains_key(id) {
            return Err(Error::new(ErrorKind::Conflict, format!("there is a task {id:?} already")));
        }
        if tasks.len() >= TASKS_MAX {
            return Err(Error::limit(format!("the pod has {TASKS_MAX} containers already")));
        }
        Ok(())
    }

    /// Starts a task, or a process of `exec` in it, and tells containerd of that and of its end.
    ///
    /// # Errors
    /// See [`Process::start`].
    pub(crate) async fn start(self: &Arc<Self>, id: &str, exec: &str) -> Result<()> {
        let task = self.task(id)?;
        let process = task.process(exec)?;
        if !task.is_sandbox() {
            // An error says that nobody joins any more.
            drop(self.joined.clone().wait_for(|joined| *joined).await);
        }
        process.start(self.engine.get()).await?;
        if task.is_sandbox() {
            // Its containers are next.
            self.get_ready();
        }
        self.events.started(id, exec, Self::pid());
        let (pod, exec) = (Arc::clone(self), exec.to_owned());
        tokio::spawn(async move {
            let ended = process.ended().await;
            if exec.is_empty() {
                task.leave_message();
            }
            pod.events.exited(&task.id, &exec, Self::pid(), ended);
        });
        Ok(())
    }

    /// Adds a process that can be started in a container.
    ///
    /// # Errors
    /// See [`Task::add_exec`].
    pub(crate) async fn exec(&self, id: &str, exec: &str, process: ProcessPlan, streams: StreamPaths) -> Result<()> {
        self.task(id)?.add_exec(self.engine().await?, exec, process, streams).await?;
        self.events.exec_added(id, exec);
        Ok(())
    }

    /// Sends a signal to a process, or with `all` to every process of the container.
    ///
    /// # Errors
    /// See [`Process::kill`].
    pub(crate) fn kill(&self, id: &str, exec: &str, signal: u32, all: bool) -> Result<()> {
        let task = self.task(id)?;
        if all && exec.is_empty() {
            for exec in task.exec_ids() {
                // Those that have ended are no reason to stop.
                drop(self.kill_one(&task, &exec, signal));
            }
        }
        self.kill_one(&task, exec, signal)
    }

    fn kill_one(&self, task: &Task, exec: &str, signal: u32) -> Result<()> {
        let process = task.process(exec)?;
        let was_created = process.status() == Status::Created;
        process.kill(signal)?;
        if let (true, Status::Stopped(ended)) = (was_created, process.status()) {
            // Nobody waits for the end of what was never started.
            self.events.exited(&task.id, exec, Self::pid(), ended);
        }
        Ok(())
    }

    /// Forgets a process that has ended or was never started; with a container's own process, the container.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when it runs.
    pub(crate) fn delete(&self, id: &str, exec: &str) -> Result<Arc<Process>> {
        let task = self.task(id)?;
        let process = task.process(exec)?;
        let ended = match process.status() {
            Status::Running | Status::Paused => return Err(Error::new(ErrorKind::Conflict, "the process runs: kill it first")),
            Status::Created => {
                // Never started: so it ends.
                process.kill(9)?;
                process.status()
            }
            stopped @ Status::Stopped(_) => stopped,
        };
        if exec.is_empty() {
            self.tasks().remove(id);
        } else {
            task.remove_exec(exec);
        }
        // As other runtimes have it, nobody is told of a process of `exec` that is deleted.
        if exec.is_empty()
            && let Status::Stopped(ended) = ended
        {
            self.events.deleted(id, Self::pid(), ended);
        }
        Ok(process)
    }

    /// Holds a container.
    ///
    /// # Errors
    /// See [`Process::pause`].
    pub(crate) fn pause(&self, id: &str) -> Result<()> {
        self.task(id)?.init.pause()?;
        self.events.paused(id);
        Ok(())
    }

    /// Lets a container go on.
    ///
    /// # Errors
    /// See [`Process::resume`].
    pub(crate) fn resume(&self, id: &str) -> Result<()> {
        self.task(id)?.init.resume()?;
        self.events.resumed(id);
        Ok(())
    }

    /// Sets other limits.
    ///
    /// # Errors
    /// There is no such task.
    pub(crate) fn update(&self, id: &str, resources: Resources) -> Result<()> {
        self.task(id)?.update(resources);
        Ok(())
    }

    /// A task.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound).
    pub(crate) fn task(&self, id: &str) -> Result<Arc<Task>> {
        self.tasks().get(id).cloned().ok_or_else(|| Error::not_found(format!("there is no task {id:?}")))
    }

    /// Ends the server, unless it has tasks.
    pub(crate) fn shut_down(&self) {
        if self.tasks().is_empty() {
            self.finished.notify_one();
        }
    }

    /// Waits until the server is to end.
    pub(crate) async fn finished(&self) {
        self.finished.notified().await;
    }

    /// Makes, aside, what the first container will need: while containerd is busy with something else.
    pub(crate) fn get_ready(self: &Arc<Self>) {
        let pod = Arc::clone(self);
        // Whoever needs it is told what is wrong with it.
        tokio::spawn(async move { pod.engine().await.map(drop) });
    }

    /// The engine, made once.
    async fn engine(&self) -> Result<&Engine> {
        let make = || async {
            // On a thread without the privileges of this one: those of the guests descend from it.
            let made = tokio::task::spawn_blocking(make_engine).await;
            made.map_err(|error| Error::internal("making the engine ended in a panic").because(error))?
        };
        self.engine.get_or_try_init(make).await
    }

    fn tasks(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Task>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_engine() -> Result<Engine> {
    let engine = Engine::new(EngineConfig {
        mode: EngineMode::Shim,
        cache_dir: environment::cache_dir(),
        compiler: Compiler::beside(&environment::program()?),
        compile_limits: CompileLimits::STANDARD,
        on_compile: None,
        guest_threads: None,
    })?;
    // Starts the guests' threads and that of their clock.
    drop(engine.guest_runtime());
    Ok(engine)
}

/// An error that was met once and is told each time.
fn again(error: &Error) -> Error {
    Error::new(error.kind(), error.chain())
}
