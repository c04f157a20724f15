//! Exec: one more instance of a container that runs, in its network, its mounts and its environment.
//!
//! WebAssembly has no processes, so there is no shell to be found in an image: what is exec'd is the container's own program with other
//! arguments, or another module that its files hold. It counts against the container's limits and ends with it at the latest.

use super::control::Control;
use super::group::ControlGroup;
use super::report::Report;
use super::run::Run;
use super::{Container, ContainerConfig, ContainerEvent, Program};
use crate::engine::Engine;
use crate::log::{LogWriter, OutputSink, Stream};
use crate::pod::state::ContainerExit;
use crate::volume::ContainerFiles;
use crate::wasi::{Stdin, WasiConfig};
use crate::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// What is exec'd into a container.
#[derive(Clone)]
pub struct ExecConfig {
    /// The arguments; the first names the program, as on Linux, and is a module of its own when it is the path of a `.wasm` file that
    /// the container can see. Otherwise the container's program gets all of them.
    pub command: Vec<String>,
    /// Variables besides the container's own; one of the same name counts more.
    pub env: Vec<(String, String)>,
    /// The working directory; the container's own when there is none.
    pub working_dir: Option<String>,
    /// Where input comes from.
    pub stdin: Stdin,
    /// Where output goes to.
    pub stdout: Arc<dyn OutputSink>,
    /// Where errors go to.
    pub stderr: Arc<dyn OutputSink>,
    /// What runs in any case, whatever `command` says.
    pub program: Option<Program>,
}

impl ExecConfig {
    /// `command`, without input, with its output in `log`.
    pub fn new(command: Vec<String>, log: &LogWriter) -> Self {
        Self {
            command,
            env: Vec::new(),
            working_dir: None,
            stdin: Stdin::empty(),
            stdout: Arc::new(log.stream(Stream::Stdout)),
            stderr: Arc::new(log.stream(Stream::Stderr)),
            program: None,
        }
    }
}

impl fmt::Debug for ExecConfig {
    /// Leaves out arguments and variables: they may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecConfig").field("command", &self.command.first()).finish_non_exhaustive()
    }
}

/// Everything that an exec is made from, but its program.
#[derive(Debug)]
pub(crate) struct ExecStart {
    /// What it can see.
    pub(crate) wasi: WasiConfig,
    /// The container's directories.
    pub(crate) files: Arc<ContainerFiles>,
    /// The container's group.
    pub(crate) group: Arc<ControlGroup>,
}

impl Container {
    /// Starts `program`, once it is there, in the group of a container that runs. `report` is called on the guest threads and must not
    /// block.
    pub(crate) fn exec(
        engine: &Engine,
        start: ExecStart,
        program: impl Future<Output = Result<Program>> + Send + 'static,
        report: impl FnMut(ContainerEvent) + Send + 'static,
    ) -> Self {
        let ExecStart { wasi, files, group } = start;
        let control = Arc::new(Control::within(group.over().clone()));
        let container = Self { engine: engine.clone(), control: Arc::clone(&control), group: Arc::clone(&group) };
        let mut report = Report::new(report);
        let (tasks, engine) = (group.execs().clone(), engine.clone());
        let runtime = engine.guest_runtime();
        // The task ends by itself once the latch says so; nobody needs its handle.
        drop(tasks.spawn_on(
            async move {
                let exit = tokio::select! {
                    biased;
                    signal = control.stopped() => Ok(Err(signal)),
                    program = program => program.map(Ok),
                };
                let exit = match exit {
                    Ok(Ok(program)) => {
                        let config = ContainerConfig { program, wasi, files, ports: Vec::new(), group, termination: None };
                        run(&engine, control, config, &mut report).await
                    }
                    Ok(Err(signal)) => Ok(ContainerExit::signalled(signal)),
                    Err(error) => Err(error),
                };
                report.end(exit);
            },
            &runtime,
        ));
        container
    }
}

async fn run(engine: &Engine, control: Arc<Control>, config: ContainerConfig, report: &mut Report) -> Result<ContainerExit> {
    if config.program.serves_http() {
        return Err(Error::invalid("a program that serves wasi:http cannot be exec'd: it has no beginning and no end").hint(
            "exec a wasi:cli program: by the path of a .wasm file in the container, or by the annotation wasmpod.dev/exec-image",
        ));
    }
    Run::new(engine, control, config)?.until_exit(report).await
}
