//! One instance after the other: how a container starts, ends, and waits for its next start.

use super::{Container, ContainerState, Stopping, Termination, Waiting};
use crate::pod::state::checks::Checks;
use crate::pod::state::event::{Attempt, ContainerExit, StartError};
use crate::pod::state::restart::AfterExit;
use std::time::Duration;

impl Container {
    /// A start is asked for.
    pub(in crate::pod::state) fn start(&mut self) -> Attempt {
        let attempt = Attempt(self.starts);
        self.starts = self.starts.saturating_add(1);
        self.state = ContainerState::Starting { attempt, cancelled: false };
        attempt
    }

    /// The instance runs; false when nobody waited for that. A start that was given up and yet succeeded is one that was killed.
    pub(in crate::pod::state) fn started(&mut self, attempt: Attempt, now: Duration) -> bool {
        let ContainerState::Starting { attempt: awaited, cancelled } = self.state else { return false };
        if awaited != attempt {
            return false;
        }
        let stopping = if cancelled { Stopping::Killed } else { Stopping::No };
        self.runs = self.runs.saturating_add(1);
        self.start_backoff.reset();
        self.state = ContainerState::Running { attempt, since: now, stopping, checks: Checks::new(&self.plan, now) };
        true
    }

    /// No instance came to run; false when nobody waited for that, or it was given up.
    pub(in crate::pod::state) fn start_failed(&mut self, attempt: Attempt, error: StartError, now: Duration) -> bool {
        let ContainerState::Starting { attempt: awaited, cancelled } = self.state else { return false };
        if awaited != attempt {
            return false;
        }
        self.state = ContainerState::Waiting(if cancelled {
            Waiting::Turn
        } else if error.permanent {
            Waiting::Refused(error)
        } else {
            Waiting::Retry { error, until: now.saturating_add(self.start_backoff.after_failed_start()) }
        });
        !cancelled
    }

    /// What follows from the end of the living instance, if the pod goes on: what the rules say, and a container that was killed for
    /// its health is started again unless its policy is `Never`.
    pub(in crate::pod::state) fn after_exit(&self, exit: &ContainerExit) -> AfterExit {
        let unwell = self.checks().is_some_and(|checks| checks.kill().is_some());
        match self.plan.restart.after(exit) {
            AfterExit::StayEnded if unwell && self.plan.restart.restarts_when_killed() => AfterExit::Restart,
            after => after,
        }
    }

    /// Whether a container whose last run ended so is to be started again.
    pub(in crate::pod::state) fn restarts_after(&self, exit: &ContainerExit) -> bool {
        self.plan.restart.after(exit) != AfterExit::StayEnded
    }

    /// Whether it is started again when it is killed for its health.
    pub(in crate::pod::state) fn restarts_when_killed(&self) -> bool {
        self.plan.restart.restarts_when_killed()
    }

    /// The instance is gone (false when it was not there); `restart` says whether it gets a successor, after its back-off.
    pub(in crate::pod::state) fn exited(&mut self, attempt: Attempt, exit: ContainerExit, now: Duration, restart: bool) -> bool {
        let ContainerState::Running { attempt: alive, since, .. } = self.state else { return false };
        if alive != attempt {
            return false;
        }
        let termination = Termination { attempt, exit, started_at: since, finished_at: now };
        if !restart {
            self.state = ContainerState::Terminated(termination);
            return true;
        }
        let wait = self.restart_backoff.after_run(now.saturating_sub(since));
        self.last = Some(termination);
        self.state = ContainerState::Waiting(if wait.is_zero() {
            Waiting::Turn
        } else {
            Waiting::Restart { wait, until: now.saturating_add(wait) }
        });
        true
    }

    /// The whole pod starts over: whatever it did before, it waits for its turn again. Its back-off is left alone.
    pub(in crate::pod::state) fn start_over(&mut self) {
        let waits = matches!(self.state, ContainerState::Waiting(Waiting::Restart { .. } | Waiting::Retry { .. }));
        if !waits && !self.is_alive() {
            self.last = self.latest_termination().cloned();
            self.state = ContainerState::Waiting(Waiting::Turn);
        }
    }

    /// The instance is gone because the whole pod starts over, which is not its fault: no back-off.
    pub(in crate::pod::state) fn exited_to_start_over(&mut self, attempt: Attempt, exit: ContainerExit, now: Duration) {
        if self.exited(attempt, exit, now, false) {
            self.start_over();
        }
    }

    /// There will be no next run: a container that waits for one shows how its last run ended.
    pub(in crate::pod::state) fn settle_for_good(&mut self) {
        if matches!(self.state, ContainerState::Waiting(_))
            && let Some(termination) = self.last.take()
        {
            self.state = ContainerState::Terminated(termination);
        }
    }
}
