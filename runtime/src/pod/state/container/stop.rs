//! How the instance that lives is stopped: its preStop hook, the request, the kill.

use super::{Container, ContainerState, Stopping};
use crate::pod::state::event::Attempt;
use std::time::Duration;

impl Container {
    /// Whether there is a preStop hook to run before the instance is asked to stop.
    pub(in crate::pod::state) fn has_pre_stop(&self) -> bool {
        self.plan.has_pre_stop
    }

    /// Begins to stop the instance with its preStop hook; `Some` when nobody had begun before.
    pub(in crate::pod::state) fn begin_pre_stop(&mut self) -> Option<Attempt> {
        match &mut self.state {
            ContainerState::Running { attempt, stopping: stopping @ Stopping::No, .. } => {
                *stopping = Stopping::PreStop { hook_ended: false };
                Some(*attempt)
            }
            _ => None,
        }
    }

    /// The preStop hook of the instance has ended; false when nobody waited for that any more.
    pub(in crate::pod::state) fn pre_stop_ended(&mut self, ended: Attempt) -> bool {
        match &mut self.state {
            ContainerState::Running { attempt, stopping: Stopping::PreStop { hook_ended: hook_ended @ false }, .. }
                if *attempt == ended =>
            {
                *hook_ended = true;
                true
            }
            _ => false,
        }
    }

    /// Asks the instance to stop until `kill_at`; `Some` when it had not been asked before.
    pub(in crate::pod::state) fn terminate(&mut self, kill_at: Duration) -> Option<Attempt> {
        match &mut self.state {
            ContainerState::Running { attempt, stopping: stopping @ (Stopping::No | Stopping::PreStop { .. }), .. } => {
                *stopping = Stopping::Asked { kill_at };
                Some(*attempt)
            }
            _ => None,
        }
    }

    /// Brings the kill of an instance that was asked to stop forward to `kill_at`.
    pub(in crate::pod::state) fn shorten_grace(&mut self, kill_at: Duration) {
        if let ContainerState::Running { stopping: Stopping::Asked { kill_at: planned }, .. } = &mut self.state {
            *planned = kill_at.min(*planned);
        }
    }

    /// How far the stopping of the living instance has come.
    pub(in crate::pod::state) fn stopping(&self) -> Option<Stopping> {
        match self.state {
            ContainerState::Running { stopping, .. } => Some(stopping),
            _ => None,
        }
    }

    /// When it is to be killed, if it was asked to stop.
    pub(in crate::pod::state) fn kill_at(&self) -> Option<Duration> {
        match self.stopping() {
            Some(Stopping::Asked { kill_at }) => Some(kill_at),
            _ => None,
        }
    }

    /// Whether it lives and nobody began to stop it.
    pub(in crate::pod::state) fn is_untouched(&self) -> bool {
        self.stopping() == Some(Stopping::No)
    }

    /// Whether it lives and was not asked to stop yet.
    pub(in crate::pod::state) fn is_unasked(&self) -> bool {
        matches!(self.stopping(), Some(Stopping::No | Stopping::PreStop { .. }))
    }

    /// Whether a start is under way.
    pub(in crate::pod::state) fn is_starting(&self) -> bool {
        matches!(self.state, ContainerState::Starting { .. })
    }

    /// Kills the instance, or gives up its start; `Some` the first time.
    pub(in crate::pod::state) fn kill(&mut self) -> Option<Attempt> {
        match &mut self.state {
            ContainerState::Starting { attempt, cancelled: cancelled @ false } => {
                *cancelled = true;
                Some(*attempt)
            }
            ContainerState::Running { attempt, stopping, .. } if *stopping != Stopping::Killed => {
                *stopping = Stopping::Killed;
                Some(*attempt)
            }
            _ => None,
        }
    }
}
