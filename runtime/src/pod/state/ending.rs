//! How a pod ends: why, in which order its containers are stopped, and what comes of it.
//!
//! ```text
//!   t = 0            apps and init containers are asked to stop; starts under way are given up
//!   all of them gone the last sidecar is asked to stop; when it is gone the one before, …
//!   t = grace        whoever still lives is killed; sidecars that were not asked yet are asked now, all together,
//!                    and killed 2 s later (whoever is asked has 2 s at least)
//!   nothing lives    Finish
//! ```

use super::event::{Action, ContainerIndex, Outcome, StartError};
use super::phase::{Finality, Phase};
use super::{Container, ContainerState, PodState, Stage, Waiting};
use crate::limits::TERMINATION_GRACE_MIN;
use crate::pod::spec::ContainerRole;
use std::time::Duration;

/// A pod that is being stopped.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ending {
    reason: Reason,
    /// The end of the grace period.
    deadline: Duration,
    /// No grace for anybody.
    at_once: bool,
}

/// Why a pod ends. The first reason decides.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reason {
    /// Every app ended and none is to be restarted.
    Completed,
    /// An init container failed and is not to be restarted.
    InitFailed,
    /// This container can never start.
    Refused {
        /// Its name.
        container: String,
        /// Why.
        error: StartError,
    },
    /// `activeDeadlineSeconds` have passed.
    DeadlineExceeded,
    /// A limit of the machine was broken.
    Evicted(String),
    /// Somebody asked for it.
    Stopped,
}

impl PodState {
    /// What of the present state ends the pod. What the containers did comes before the deadline that passed meanwhile.
    pub(super) fn reason_to_end(&self) -> Option<Reason> {
        if self.is_ending() {
            return None;
        }
        let refused = self.containers.iter().find_map(|container| match container.state() {
            ContainerState::Waiting(Waiting::Refused(error)) => {
                Some(Reason::Refused { container: container.name().to_owned(), error: error.clone() })
            }
            _ => None,
        });
        let init_failed = |container: &Container| {
            container.role() == ContainerRole::Init && container.is_terminated() && !container.has_succeeded()
        };
        if refused.is_some() {
            refused
        } else if self.containers.iter().any(init_failed) {
            Some(Reason::InitFailed)
        } else if self.all_apps_terminated() {
            Some(Reason::Completed)
        } else if self.active_deadline.is_some_and(|deadline| deadline <= self.now) {
            Some(Reason::DeadlineExceeded)
        } else {
            None
        }
    }

    fn all_apps_terminated(&self) -> bool {
        let mut apps = self.containers.iter().filter(|container| container.role() == ContainerRole::App).peekable();
        apps.peek().is_some() && apps.all(Container::is_terminated)
    }

    /// Ends the pod with `grace` from now; if it is ending already, at most shortens what is left.
    pub(super) fn end(&mut self, reason: Reason, grace: Duration) {
        let deadline = self.now.saturating_add(grace);
        match &mut self.stage {
            Stage::Created | Stage::Active => self.stage = Stage::Ending(Ending { reason, deadline, at_once: false }),
            Stage::Ending(ending) => {
                ending.deadline = ending.deadline.min(deadline);
                let kill_at = self.now.saturating_add(grace.max(TERMINATION_GRACE_MIN));
                self.containers.iter_mut().for_each(|container| container.shorten_grace(kill_at));
            }
            Stage::Finished(_) => {}
        }
    }

    /// Ends the pod without any grace.
    pub(super) fn end_at_once(&mut self) {
        self.end(Reason::Stopped, Duration::ZERO);
        if let Stage::Ending(ending) = &mut self.stage {
            ending.at_once = true;
        }
    }

    /// Stops whatever it is the turn of, and finishes when nothing lives any more.
    pub(super) fn wind_down(&mut self, actions: &mut Vec<Action>) {
        let Stage::Ending(ending) = self.stage.clone() else { return };
        let regular = (0..self.containers.len()).filter(|&index| !self.is_sidecar(index));
        let sidecars = (0..self.containers.len()).rev().filter(|&index| self.is_sidecar(index));
        let order: Vec<usize> = regular.chain(sidecars).collect();
        for index in order {
            self.stop_container(index, &ending, actions);
        }
        if !self.containers.iter().any(Container::is_alive) {
            let outcome = self.conclude(ending.reason);
            self.stage = Stage::Finished(outcome.clone());
            actions.push(Action::Finish(outcome));
        }
    }

    /// Asks one container to stop or kills it, if it is its turn and its time.
    fn stop_container(&mut self, index: usize, ending: &Ending, actions: &mut Vec<Action>) {
        let now = self.now;
        let asks = now >= ending.deadline || self.is_turn_to_stop(index);
        let Some(container) = self.containers.get_mut(index) else { return };
        let kill_now = ending.at_once || container.is_starting() || container.kill_at().is_some_and(|kill_at| kill_at <= now);
        let index = ContainerIndex(index);
        if kill_now {
            actions.extend(container.kill().map(|attempt| Action::Kill { container: index, attempt }));
        } else if asks {
            let kill_at = ending.deadline.max(now.saturating_add(TERMINATION_GRACE_MIN));
            actions.extend(container.terminate(kill_at).map(|attempt| Action::Terminate { container: index, attempt }));
        }
    }

    /// Whether a container's turn to stop has come: a sidecar waits until everything but earlier sidecars is gone, so that what
    /// it serves can end in peace; all others stop together.
    ///
    /// (A kubelet has sidecars wait for apps only; here they wait for a running init container too.)
    fn is_turn_to_stop(&self, index: usize) -> bool {
        let waits_for = |other: usize| !self.is_sidecar(other) || other > index;
        !self.is_sidecar(index)
            || !self.containers.iter().enumerate().any(|(other, container)| waits_for(other) && container.is_alive())
    }

    fn is_sidecar(&self, index: usize) -> bool {
        self.containers.get(index).is_some_and(|container| container.role() == ContainerRole::Sidecar)
    }

    /// When the next container is to be killed, or asked because the grace period is over.
    pub(super) fn next_kill(&self, ending: &Ending) -> Option<Duration> {
        let untouched = self.containers.iter().any(Container::is_untouched).then_some(ending.deadline);
        self.containers.iter().filter_map(Container::kill_at).chain(untouched).min()
    }

    /// Nothing lives any more: what came of it all.
    fn conclude(&mut self, reason: Reason) -> Outcome {
        self.containers.iter_mut().for_each(Container::settle_for_good);
        let failed = |reason: &'static str, message: String| Outcome {
            succeeded: false,
            reason: Some(reason),
            message: Some(message),
            exit_code: 1,
        };
        match reason {
            Reason::DeadlineExceeded => {
                failed("DeadlineExceeded", "Pod was active on the node longer than the specified deadline".to_owned())
            }
            Reason::Evicted(message) => failed("Evicted", message),
            Reason::Refused { container, error } => failed(error.reason, format!("container {container}: {}", error.message)),
            Reason::Completed | Reason::InitFailed | Reason::Stopped => {
                let succeeded = self.phase_of_containers(Finality::Final) == Phase::Succeeded;
                let exit_code = if succeeded { 0 } else { self.first_failure().unwrap_or(1) };
                Outcome { succeeded, reason: None, message: None, exit_code }
            }
        }
    }

    /// The status of the first container, sidecars apart, that failed.
    fn first_failure(&self) -> Option<i32> {
        let regular = self.containers.iter().filter(|container| container.role() != ContainerRole::Sidecar);
        regular.filter_map(Container::latest_termination).map(|termination| termination.exit.code).find(|&code| code != 0)
    }
}
