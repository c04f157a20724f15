//! One container's part of the pod's state: which instance lives, how the one before ended, when the next may start.

mod plan;
mod questions;
mod runs;
mod stop;

pub(super) use plan::Plan;

use super::checks::Checks;
use super::event::{Attempt, ContainerExit, PullError, StartError};
use super::image::ImageState;
use crate::pod::backoff::{Backoff, BackoffPolicy};
use crate::pod::spec::{ContainerRole, ContainerSpec, PodSpec};
use std::sync::Arc;
use std::time::Duration;

/// The state of one container, over all its instances.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    plan: Arc<Plan>,
    state: ContainerState,
    pub(super) image: ImageState,
    /// How the run before the present state ended.
    last: Option<Termination>,
    /// Starts so far: the number of the next attempt.
    starts: u32,
    /// Instances that ran so far.
    runs: u32,
    restart_backoff: Backoff,
    start_backoff: Backoff,
    pull_backoff: Backoff,
}

/// What a container is doing. Times are since the pod's start.
#[derive(Clone, Debug, PartialEq)]
pub enum ContainerState {
    /// Nothing lives.
    Waiting(Waiting),
    /// A start was asked for and not yet answered: something may live.
    Starting {
        /// Which start.
        attempt: Attempt,
        /// Whether it was asked to be given up since.
        cancelled: bool,
    },
    /// An instance lives.
    Running {
        /// Which one.
        attempt: Attempt,
        /// Since when.
        since: Duration,
        /// Whether it was asked to stop.
        stopping: Stopping,
        /// Its probes and its postStart hook.
        checks: Checks,
    },
    /// It ended, and will not be started again.
    Terminated(Termination),
}

/// For what a container waits.
#[derive(Clone, Debug, PartialEq)]
pub enum Waiting {
    /// For its turn.
    Turn,
    /// For the end of its back-off after a run: `CrashLoopBackOff`.
    Restart {
        /// The length of the wait.
        wait: Duration,
        /// Its end.
        until: Duration,
    },
    /// For the end of its back-off after a start that failed.
    Retry {
        /// Why the start failed.
        error: StartError,
        /// The end of the wait.
        until: Duration,
    },
    /// For nothing: its start failed for good, and with it the pod.
    Refused(StartError),
}

/// How far the stopping of a running instance has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// Nobody asked it to.
    No,
    /// Its preStop hook runs, or has ended and it waits for its turn.
    PreStop {
        /// Whether the hook has ended.
        hook_ended: bool,
    },
    /// It was asked to stop and is killed at this time.
    Asked {
        /// The end of its grace period.
        kill_at: Duration,
    },
    /// It was killed; its end is only a matter of being told.
    Killed,
}

/// How and when an instance ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Termination {
    /// Which instance.
    pub attempt: Attempt,
    /// How.
    pub exit: ContainerExit,
    /// When it started, since the pod's start.
    pub started_at: Duration,
    /// When it ended, since the pod's start.
    pub finished_at: Duration,
}

impl Container {
    /// A container that never ran.
    pub(super) fn new(spec: &ContainerSpec, pod: &PodSpec, backoff: BackoffPolicy) -> Self {
        Self {
            plan: Arc::new(Plan::new(spec, pod)),
            state: ContainerState::Waiting(Waiting::Turn),
            image: ImageState::Present,
            last: None,
            starts: 0,
            runs: 0,
            restart_backoff: Backoff::new(backoff),
            start_backoff: Backoff::new(backoff),
            pull_backoff: Backoff::new(backoff),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Where its images are.
    pub fn image(&self) -> &ImageState {
        &self.image
    }

    /// Whether its image was asked for, and nobody has answered yet.
    pub(super) fn is_pulling(&self) -> bool {
        matches!(self.image, ImageState::Pulling { .. })
    }

    /// An image could not be brought: it is asked for again after a while, or the container can never start.
    pub(super) fn pull_failed(&mut self, error: PullError, now: Duration) {
        if error.error.permanent {
            self.image = ImageState::Refused;
            self.state = ContainerState::Waiting(Waiting::Refused(error.error));
        } else {
            let wait = self.pull_backoff.after_failed_start();
            self.image = ImageState::BackOff { error, wait, until: now.saturating_add(wait) };
        }
    }

    /// Its part in the pod.
    pub fn role(&self) -> ContainerRole {
        self.plan.role
    }

    /// What it is doing.
    pub fn state(&self) -> &ContainerState {
        &self.state
    }

    /// How the run before the present state ended: `lastState`.
    pub fn last_termination(&self) -> Option<&Termination> {
        self.last.as_ref()
    }

    /// How it ended most recently: the present state's termination if it is terminated, else the last one's.
    pub fn latest_termination(&self) -> Option<&Termination> {
        match &self.state {
            ContainerState::Terminated(termination) => Some(termination),
            _ => self.last.as_ref(),
        }
    }

    /// `restartCount`: how many instances ran after the first.
    pub fn restart_count(&self) -> u32 {
        self.runs.saturating_sub(1)
    }

    /// Whether any instance ever ran.
    pub fn has_run(&self) -> bool {
        self.runs > 0
    }

    /// Whether something of it lives, or may.
    pub fn is_alive(&self) -> bool {
        matches!(self.state, ContainerState::Starting { .. } | ContainerState::Running { .. })
    }

    /// Whether an instance runs.
    pub fn is_running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }

    /// `started`: it runs, its postStart hook is over and its startup probe has succeeded, as far as there are any.
    pub fn is_started(&self) -> bool {
        self.checks().is_some_and(Checks::is_started)
    }

    /// `ready`: an init container that succeeded; any other that has started, if its readiness probe agrees.
    pub fn is_ready(&self) -> bool {
        match self.role() {
            ContainerRole::Init => self.has_succeeded(),
            ContainerRole::Sidecar | ContainerRole::App => self.checks().is_some_and(Checks::is_ready),
        }
    }

    /// What is asked of the instance that runs.
    pub(super) fn checks(&self) -> Option<&Checks> {
        match &self.state {
            ContainerState::Running { checks, .. } => Some(checks),
            _ => None,
        }
    }

    /// Whether it ended well, for good.
    pub fn has_succeeded(&self) -> bool {
        matches!(&self.state, ContainerState::Terminated(termination) if termination.exit.is_success())
    }

    /// Whether it ended, for good.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, ContainerState::Terminated(_))
    }

    /// Whether the next container in the order of initialization may start because of the present state.
    pub(super) fn lets_next_start(&self) -> bool {
        match self.role() {
            ContainerRole::Init => self.has_succeeded(),
            ContainerRole::Sidecar => self.is_started(),
            ContainerRole::App => false,
        }
    }

    /// Whether its end may restart the whole pod, by one of its rules.
    pub(super) fn may_restart_all(&self) -> bool {
        self.plan.restart.may_restart_all()
    }

    /// When it may start, if it waits to and its image is here: in the past when it may at once.
    pub(super) fn due_at(&self) -> Option<Duration> {
        match self.state {
            _ if self.image != ImageState::Present => None,
            ContainerState::Waiting(Waiting::Turn) => Some(Duration::ZERO),
            ContainerState::Waiting(Waiting::Restart { until, .. } | Waiting::Retry { until, .. }) => Some(until),
            _ => None,
        }
    }
}
