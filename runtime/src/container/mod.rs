//! One container: from a linked program to an exit status.
//!
//! ```text
//!   Artifact ──link──▶ Program ──Container::start──▶ task on the guest threads
//!                         │                            Store + instance ── _start / run ──▶ ContainerExit
//!                         │                            or: accept loop, one Store a request
//!                         └─────Container::exec────▶ one more instance of a container that runs; ends with it
//! ```
//! A [`Container`] is one run of a container of a pod: it starts once, is told to stop by [`Container::signal`], and says what
//! becomes of it by [`ContainerEvent`]s. Restarting is the pod's affair. A store is thrown away after any end, never used again.
//!
//! What all instances of a container share (its memory and CPU limits, whether it is paused) is in `group`; how one of them runs is in
//! `run`, and how it takes turns with the others in `turn`.

mod control;
mod cpu;
mod exec;
mod exit;
mod group;
mod memory;
mod program;
mod report;
mod requests;
mod run;
mod store;
mod termination;
mod turn;

pub use exec::ExecConfig;
pub use group::{ContainerLimits, ContainerUsage};
pub use program::Program;

pub(crate) use exec::ExecStart;
pub(crate) use group::{ControlGroup, PodGroup};
pub(crate) use termination::TerminationLog;

use crate::Error;
use crate::engine::Engine;
use crate::pod::spec::ContainerPort;
use crate::pod::state::{ContainerExit, Signal};
use crate::volume::ContainerFiles;
use crate::wasi::WasiConfig;
use control::Control;
use report::Report;
use run::Run;
use std::fmt;
use std::sync::Arc;

/// What one run of a container is made from.
#[derive(Debug)]
pub(crate) struct ContainerConfig {
    /// What it runs.
    pub(crate) program: Program,
    /// What it can see: arguments, environment, streams, network. Its directories and listeners are filled in from below.
    pub(crate) wasi: WasiConfig,
    /// Its directories; what was made for them is removed when the run is over.
    pub(crate) files: Arc<ContainerFiles>,
    /// The ports that it declares: where a `wasi:http` container listens, and what a preview-1 module finds open.
    pub(crate) ports: Vec<ContainerPort>,
    /// What it may use.
    pub(crate) group: Arc<ControlGroup>,
    /// Where it leaves its last words; what is exec'd has none.
    pub(crate) termination: Option<Arc<TerminationLog>>,
}

/// What a container says about itself, to the closure given to the one who starts it. Either `StartFailed` alone, or `Exited`, before
/// which comes `Started` unless it ended in its first turn.
#[derive(Debug)]
pub enum ContainerEvent {
    /// It runs: a program has had its first turn (it is over when the program waits, or after about a millisecond, or longer only with
    /// what cannot be interrupted), a `wasi:http` container listens.
    Started,
    /// It could not be made.
    StartFailed(Error),
    /// It ended, and what it held (memory, sockets) is free again.
    Exited(ContainerExit),
}

/// A handle to a container that runs, or to something exec'd into one. Dropping it kills that.
pub struct Container {
    engine: Engine,
    control: Arc<Control>,
    group: Arc<ControlGroup>,
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container").field("control", &self.control).field("group", &self.group).finish_non_exhaustive()
    }
}

impl Container {
    /// Starts a container on the engine's guest threads. `report` is called there and must not block.
    pub(crate) fn start(engine: &Engine, config: ContainerConfig, report: impl FnMut(ContainerEvent) + Send + 'static) -> Self {
        let (control, group) = (Arc::new(Control::new()), Arc::clone(&config.group));
        let container = Self { engine: engine.clone(), control: Arc::clone(&control), group: Arc::clone(&group) };
        let run = Run::new(engine, control, config);
        let mut report = Report::new(report);
        // The task ends by itself once the latch says so; nobody needs its handle.
        drop(engine.spawn(async move {
            // Even when the host panics: what was exec'd must not outlive the container.
            let _over = group.over().clone().drop_guard();
            let exit = match run {
                Ok(run) => run.container_until_exit(&mut report).await,
                Err(error) => Err(error),
            };
            report.end(exit);
        }));
        container
    }

    /// Asks the container to stop, or ends it.
    ///
    /// A program has no signal handlers: SIGTERM ends it as SIGKILL does. A `wasi:http` container takes no more connections after
    /// SIGTERM, finishes the requests it has and ends then, with status 0.
    pub fn signal(&self, signal: Signal) {
        self.control.send(signal);
        self.engine.bump_epoch();
    }

    /// Lets none of the container's guests go on, from their next epoch (about a millisecond) on. Host calls that are under way end,
    /// and connections are still accepted. Signals work as ever.
    pub fn pause(&self) {
        self.group.set_paused(true);
        self.engine.bump_epoch();
    }

    /// Lets the guests of a paused container go on.
    pub fn resume(&self) {
        self.group.set_paused(false);
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.group.is_paused()
    }

    /// Sets other limits, which hold from now on. A memory limit below what is used takes nothing away: the container is ended at its
    /// next growth.
    pub fn set_limits(&self, limits: ContainerLimits) {
        self.group.set_limits(limits);
    }

    /// What the container uses, with all that was exec'd into it. What it used last stays known after its end.
    pub fn usage(&self) -> ContainerUsage {
        self.group.usage()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.signal(Signal::Kill);
    }
}
