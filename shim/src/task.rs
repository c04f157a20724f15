//! A task in containerd's sense: a container with its bundle, its own process and those of `exec`.

use crate::bundle::{Plan, ProcessPlan, Resources, Role};
use crate::limits::EXECS_PER_TASK_MAX;
use crate::module;
use crate::process::{Body, Process, Status};
use crate::rootfs::RootFs;
use crate::stdio::{self, StreamControls, StreamPaths, Streams};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmpod::container::{ContainerLimits, ExecConfig, Program};
use wasmpod::engine::Engine;
use wasmpod::limits::TERMINATION_MESSAGE_BYTES_MAX;
use wasmpod::net::PodNet;
use wasmpod::pod::{Member, MemberConfig};
use wasmpod::{Error, ErrorKind, Result};

/// The directory in the bundle for what is made for the container.
const STATE_DIR: &str = "wasmpod";
/// Where the kubelet looks for a container's last words, unless the pod says otherwise.
const TERMINATION_MESSAGE_PATH: &str = "/dev/termination-log";
/// The variable that says where a server listens, as many programs have it: `config.json` does not have a container's ports.
const PORT_VARIABLE: &str = "PORT";

/// One container of the pod.
#[derive(Debug)]
pub(crate) struct Task {
    /// Its id.
    pub(crate) id: String,
    /// Its bundle.
    pub(crate) bundle: PathBuf,
    /// The container's own process.
    pub(crate) init: Arc<Process>,
    execs: Mutex<BTreeMap<String, Arc<Process>>>,
    /// None for a sandbox.
    files: Option<Files>,
    limits: Mutex<ContainerLimits>,
}

/// What the container's processes are made from. Declared after the processes, which use it.
#[derive(Debug)]
struct Files {
    root: RootFs,
    /// What its last words are written to.
    termination_message: Option<PathBuf>,
}

impl Task {
    /// The task of a sandbox, which runs nothing.
    pub(crate) fn sandbox(id: &str, bundle: &Path, paths: StreamPaths) -> Self {
        // A client waits for the end of its pipes, which comes once they are opened and closed.
        drop(stdio::open(&paths));
        let init = Process::new(Body::Idle, paths, StreamControls::default());
        let (id, bundle, limits) = (id.to_owned(), bundle.to_owned(), Mutex::default());
        Self { id, bundle, init, execs: Mutex::default(), files: None, limits }
    }

    /// The task of a container that runs `program`.
    ///
    /// # Errors
    /// Its streams or its file system cannot be opened.
    pub(crate) fn container(
        id: &str,
        bundle: &Path,
        plan: &Plan,
        (root, program): (RootFs, Program),
        paths: StreamPaths,
        network: PodNet,
    ) -> Result<Self> {
        let state_dir = bundle.join(STATE_DIR);
        std::fs::create_dir_all(&state_dir)
            .map_err(|error| Error::io("cannot make a directory for the container", error).at(state_dir.display().to_string()))?;
        let (streams, controls) = stdio::open(&paths)?;
        let limits = changed(ContainerLimits::default(), plan.resources);
        let member = Member::new(MemberConfig {
            name: plan.name.clone(),
            program,
            args: plan.process.args.clone(),
            env: plan.process.env.clone(),
            working_dir: working_dir(&plan.process),
            root: root.path().to_owned(),
            read_only: plan.root_read_only,
            state_dir,
            stdin: streams.stdin.clone(),
            stdout: Arc::new(streams.stdout()),
            stderr: Arc::new(streams.stderr()),
            network,
            port: port(&plan.process),
            limits,
        })?;
        let init = Process::new(Body::Member(Box::new(member), Box::new(streams.stderr())), paths, controls);
        let termination_message = plan.bind_source(TERMINATION_MESSAGE_PATH).map(Path::to_owned);
        let files = Some(Files { root, termination_message });
        let (id, bundle, limits) = (id.to_owned(), bundle.to_owned(), Mutex::new(limits));
        Ok(Self { id, bundle, init, execs: Mutex::default(), files, limits })
    }

    /// Adds a process that can be started in the container.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when the id is taken or the container does not run, [`Limit`](ErrorKind::Limit) when there
    /// are too many, [`Invalid`](ErrorKind::Invalid) when nothing can run in it.
    pub(crate) async fn add_exec(&self, engine: &Engine, id: &str, process: ProcessPlan, paths: StreamPaths) -> Result<()> {
        self.check_room(id)?;
        let Some(files) = &self.files else { return Err(Error::invalid("nothing can run in the sandbox of a pod")) };
        if !matches!(self.init.status(), Status::Running | Status::Paused) {
            return Err(Error::new(ErrorKind::Conflict, "the container does not run"));
        }
        let program = module::load_other(engine, &files.root, &process).await?;
        let (streams, controls): (Streams, StreamControls) = stdio::open(&paths)?;
        let config = ExecConfig {
            working_dir: working_dir(&process),
            command: process.args,
            env: process.env,
            stdin: streams.stdin.clone(),
            stdout: Arc::new(streams.stdout()),
            stderr: Arc::new(streams.stderr()),
            program,
        };
        let body = Body::Exec(Box::new(config), Arc::clone(&self.init), Box::new(streams.stderr()));
        self.check_room(id)?;
        self.execs().insert(id.to_owned(), Process::new(body, paths, controls));
        Ok(())
    }

    fn check_room(&self, id: &str) -> Result<()> {
        let execs = self.execs();
        if execs.contains_key(id) {
            return Err(Error::new(ErrorKind::Conflict, format!("there is a process {id:?} already")));
        }
        if execs.len() >= EXECS_PER_TASK_MAX {
            return Err(Error::limit(format!("the container has {EXECS_PER_TASK_MAX} processes already")));
        }
        Ok(())
    }

    /// Whether this is the sandbox of a pod, which runs nothing.
    pub(crate) fn is_sandbox(&self) -> bool {
        self.files.is_none()
    }

    /// The process `exec`, or the container's own when that is empty.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound).
    pub(crate) fn process(&self, exec: &str) -> Result<Arc<Process>> {
        if exec.is_empty() {
            return Ok(Arc::clone(&self.init));
        }
        self.execs().get(exec).cloned().ok_or_else(|| Error::not_found(format!("there is no process {exec:?}")))
    }

    /// Forgets a process of `exec`.
    pub(crate) fn remove_exec(&self, exec: &str) {
        self.execs().remove(exec);
    }

    /// The ids of the processes of `exec`.
    pub(crate) fn exec_ids(&self) -> Vec<String> {
        self.execs().keys().cloned().collect()
    }

    /// Sets the limits that `resources` names; the others stay.
    pub(crate) fn update(&self, resources: Resources) {
        let mut held = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        *held = changed(*held, resources);
        self.init.set_limits(*held);
    }

    /// Leaves why the container ended where the kubelet looks for it, unless the container has written something there itself.
    pub(crate) fn leave_message(&self) {
        let message = self.init.message();
        let path = self.files.as_ref().and_then(|files| files.termination_message.as_ref());
        let Some(path) = path.filter(|_| !message.is_empty()) else { return };
        if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0) {
            let end = message.len().min(TERMINATION_MESSAGE_BYTES_MAX);
            if let Err(error) = std::fs::write(path, message.as_bytes().get(..end).unwrap_or_default()) {
                tracing::warn!(%error, path = %path.display(), "the termination message could not be written");
            }
        }
    }

    fn execs(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Process>>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn changed(held: ContainerLimits, resources: Resources) -> ContainerLimits {
    ContainerLimits {
        memory_bytes: resources.memory_limit_bytes.after(held.memory_bytes),
        cpu_millicores: resources.cpu_limit_millicores.after(held.cpu_millicores),
    }
}

fn working_dir(process: &ProcessPlan) -> Option<String> {
    Some(process.cwd.clone()).filter(|dir| !dir.is_empty() && dir != "/")
}

fn port(process: &ProcessPlan) -> Option<u16> {
    let (_, value) = process.env.iter().find(|(name, _)| name == PORT_VARIABLE)?;
    value.parse().ok().filter(|port| *port > 0)
}

/// Whether the plan's container runs a program.
pub(crate) fn runs_something(plan: &Plan) -> bool {
    plan.role != Role::Sandbox
}
