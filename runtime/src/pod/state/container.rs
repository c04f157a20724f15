//! One container's part of the pod's state: which instance lives, how the one before ended, when the next may start.

use super::event::{Attempt, ContainerExit, StartError};
use crate::pod::backoff::{Backoff, BackoffPolicy};
use crate::pod::spec::ContainerRole;
use std::time::Duration;

/// The state of one container, over all its instances.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    name: String,
    role: ContainerRole,
    state: ContainerState,
    /// How the run before the present state ended.
    last: Option<Termination>,
    /// Starts so far: the number of the next attempt.
    starts: u32,
    /// Instances that ran so far.
    runs: u32,
    restart_backoff: Backoff,
    start_backoff: Backoff,
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
    pub(super) fn new(name: &str, role: ContainerRole, backoff: BackoffPolicy) -> Self {
        Self {
            name: name.to_owned(),
            role,
            state: ContainerState::Waiting(Waiting::Turn),
            last: None,
            starts: 0,
            runs: 0,
            restart_backoff: Backoff::new(backoff),
            start_backoff: Backoff::new(backoff),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its part in the pod.
    pub fn role(&self) -> ContainerRole {
        self.role
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

    /// `started`: it runs. (A startup probe, where there is one, will have its say here.)
    pub fn is_started(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }

    /// `ready`: an init container that succeeded, any other that runs. (A readiness probe will have its say here.)
    pub fn is_ready(&self) -> bool {
        match self.role {
            ContainerRole::Init => self.has_succeeded(),
            ContainerRole::Sidecar | ContainerRole::App => self.is_started(),
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
        match self.role {
            ContainerRole::Init => self.has_succeeded(),
            ContainerRole::Sidecar => self.is_started(),
            ContainerRole::App => false,
        }
    }

    /// When it may start, if it waits to: in the past when it may at once.
    pub(super) fn due_at(&self) -> Option<Duration> {
        match self.state {
            ContainerState::Waiting(Waiting::Turn) => Some(Duration::ZERO),
            ContainerState::Waiting(Waiting::Restart { until, .. } | Waiting::Retry { until, .. }) => Some(until),
            _ => None,
        }
    }

    /// A start is asked for.
    pub(super) fn start(&mut self) -> Attempt {
        let attempt = Attempt(self.starts);
        self.starts = self.starts.saturating_add(1);
        self.state = ContainerState::Starting { attempt, cancelled: false };
        attempt
    }

    /// The instance runs. A start that was given up and yet succeeded is one that was killed.
    pub(super) fn started(&mut self, attempt: Attempt, now: Duration) {
        let ContainerState::Starting { attempt: awaited, cancelled } = self.state else { return };
        if awaited != attempt {
            return;
        }
        let stopping = if cancelled { Stopping::Killed } else { Stopping::No };
        self.runs = self.runs.saturating_add(1);
        self.start_backoff.reset();
        self.state = ContainerState::Running { attempt, since: now, stopping };
    }

    /// No instance came to run.
    pub(super) fn start_failed(&mut self, attempt: Attempt, error: StartError, now: Duration) {
        let ContainerState::Starting { attempt: awaited, cancelled } = self.state else { return };
        if awaited != attempt {
            return;
        }
        self.state = ContainerState::Waiting(if cancelled {
            Waiting::Turn
        } else if error.permanent {
            Waiting::Refused(error)
        } else {
            Waiting::Retry { error, until: now.saturating_add(self.start_backoff.after_failed_start()) }
        });
    }

    /// The instance is gone.
    pub(super) fn exited(&mut self, attempt: Attempt, exit: ContainerExit, now: Duration, restart: bool) {
        self.started(attempt, now);
        let ContainerState::Running { attempt: alive, since, .. } = self.state else { return };
        if alive != attempt {
            return;
        }
        let termination = Termination { attempt, exit, started_at: since, finished_at: now };
        if !restart {
            self.state = ContainerState::Terminated(termination);
            return;
        }
        let wait = self.restart_backoff.after_run(now.saturating_sub(since));
        self.last = Some(termination);
        self.state = ContainerState::Waiting(if wait.is_zero() {
            Waiting::Turn
        } else {
            Waiting::Restart { wait, until: now.saturating_add(wait) }
        });
    }

    /// Asks the instance to stop until `kill_at`; `Some` when it had not been asked before.
    pub(super) fn terminate(&mut self, kill_at: Duration) -> Option<Attempt> {
        match &mut self.state {
            ContainerState::Running { attempt, stopping: stopping @ Stopping::No, .. } => {
                *stopping = Stopping::Asked { kill_at };
                Some(*attempt)
            }
            _ => None,
        }
    }

    /// Brings the kill of an instance that was asked to stop forward to `kill_at`.
    pub(super) fn shorten_grace(&mut self, kill_at: Duration) {
        if let ContainerState::Running { stopping: Stopping::Asked { kill_at: planned }, .. } = &mut self.state {
            *planned = kill_at.min(*planned);
        }
    }

    /// When it is to be killed, if it was asked to stop.
    pub(super) fn kill_at(&self) -> Option<Duration> {
        match self.state {
            ContainerState::Running { stopping: Stopping::Asked { kill_at }, .. } => Some(kill_at),
            _ => None,
        }
    }

    /// Whether it lives and nobody asked it to stop.
    pub(super) fn is_untouched(&self) -> bool {
        matches!(self.state, ContainerState::Running { stopping: Stopping::No, .. })
    }

    /// Whether a start is under way.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.state, ContainerState::Starting { .. })
    }

    /// Kills the instance, or gives up its start; `Some` the first time.
    pub(super) fn kill(&mut self) -> Option<Attempt> {
        match &mut self.state {
            ContainerState::Starting { attempt, cancelled: cancelled @ false } => {
                *cancelled = true;
                Some(*attempt)
            }
            ContainerState::Running { attempt, stopping: stopping @ (Stopping::No | Stopping::Asked { .. }), .. } => {
                *stopping = Stopping::Killed;
                Some(*attempt)
            }
            _ => None,
        }
    }

    /// There will be no next run: a container that waits for one shows how its last run ended.
    pub(super) fn settle_for_good(&mut self) {
        if matches!(self.state, ContainerState::Waiting(_))
            && let Some(termination) = self.last.take()
        {
            self.state = ContainerState::Terminated(termination);
        }
    }
}
