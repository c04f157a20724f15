//! How a pod ends: why, in which order its containers are stopped, and what comes of it.
//!
//! ```text
//!   t = 0            every preStop hook begins; starts under way are given up
//!   hook over        apps and init containers are asked to stop
//!   all of them gone the last sidecar is asked to stop; when it is gone the one before, …
//!   t = grace        whoever still lives is killed; hooks are given up; sidecars that were not asked yet are asked now, all together,
//!                    and killed 2 s later (whoever is asked has 2 s at least)
//!   nothing lives    Finish
//! ```

use super::container::Stopping;
use super::event::{Action, ContainerIndex, HookKind, Outcome, StartError};
use super::journal::EventReason;
use super::phase::{Finality, Phase};
use super::{Container, ContainerState, PodState, Stage, Waiting};
use crate::limits::TERMINATION_GRACE_MIN;
use crate::pod::spec::ContainerRole;
use std::time::Duration;

/// What is said of a pod whose `activeDeadlineSeconds` have passed.
const DEADLINE_EXCEEDED: &str = "Pod was active on the node longer than the specified deadline";

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
            Stage::Created | Stage::Active => {
                match &reason {
                    Reason::DeadlineExceeded => self.note(None, EventReason::DeadlineExceeded, DEADLINE_EXCEEDED),
                    Reason::Evicted(message) => self.note(None, EventReason::Evicted, message.clone()),
                    _ => {}
                }
                self.stage = Stage::Ending(Ending { reason, deadline, at_once: false });
            }
            Stage::Ending(ending) => ending.deadline = ending.deadline.min(deadline),
            Stage::Finished(_) => return,
        }
        let kill_at = self.now.saturating_add(grace.max(TERMINATION_GRACE_MIN));
        self.containers.iter_mut().for_each(|container| container.shorten_grace(kill_at));
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
            if ending.at_once {
                self.kill_container(ContainerIndex(index), actions);
            } else {
                self.stop_container(index, ending.deadline, self.is_turn_to_stop(index), actions);
            }
        }
        if !self.containers.iter().any(Container::is_alive) {
            let outcome = self.conclude(ending.reason);
            self.stage = Stage::Finished(outcome.clone());
            actions.push(Action::Finish(outcome));
        }
    }

    /// Brings the stopping of one container as far as it can come now: its preStop hook, as long as there is grace; when that is over
    /// and it is its `turn`, the request to stop; when its time is up, the kill.
    pub(super) fn stop_container(&mut self, index: usize, deadline: Duration, turn: bool, actions: &mut Vec<Action>) {
        let (now, at) = (self.now, ContainerIndex(index));
        let Some(container) = self.containers.get_mut(index) else { return };
        // One that was to be killed before its pod ended has no more time than it had.
        let deadline = container.condemned().map_or(deadline, |kill| kill.deadline.min(deadline));
        let expired = container.kill_at().is_some_and(|kill_at| kill_at <= now);
        if container.is_starting() || expired {
            self.kill_container(at, actions);
            if expired {
                self.note_grace_exceeded(at);
            }
            return;
        }
        let untouched = container.is_untouched();
        if untouched && container.has_pre_stop() && now < deadline {
            let begun = container.begin_pre_stop();
            actions.extend(begun.map(|attempt| Action::RunHook { container: at, attempt, hook: HookKind::PreStop }));
            return self.note_killing(at);
        }
        let ready = now >= deadline || (turn && container.stopping() != Some(Stopping::PreStop { hook_ended: false }));
        if ready {
            let kill_at = deadline.max(now.saturating_add(TERMINATION_GRACE_MIN));
            let asked = container.terminate(kill_at);
            actions.extend(asked.map(|attempt| Action::Terminate { container: at, attempt }));
            if asked.is_some() && untouched {
                self.note_killing(at);
            }
        }
    }

    /// Ends what lives of one container, or gives up its start.
    pub(super) fn kill_container(&mut self, at: ContainerIndex, actions: &mut Vec<Action>) {
        let Some(container) = self.containers.get_mut(at.0) else { return };
        let untouched = container.is_untouched();
        if let Some(attempt) = container.kill() {
            actions.push(Action::Kill { container: at, attempt });
            if untouched {
                self.note_killing(at);
            }
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
        let unasked = self.containers.iter().filter(|container| container.is_unasked());
        let deadlines =
            unasked.map(|container| container.condemned().map_or(ending.deadline, |kill| kill.deadline.min(ending.deadline)));
        self.containers.iter().filter_map(Container::kill_at).chain(deadlines).min()
    }

    /// When the next of the containers that are stopped for their health is to be killed, or its hook to be given up.
    pub(super) fn next_kill_of_unwell(&self) -> Option<Duration> {
        let hooks = self.containers.iter().filter(|container| container.is_unasked());
        let deadlines = hooks.filter_map(|container| container.condemned().map(|kill| kill.deadline));
        self.containers.iter().filter_map(Container::kill_at).chain(deadlines).min()
    }

    /// Nothing lives any more: what came of it all.
    fn conclude(&mut self, reason: Reason) -> Outcome {
        self.containers.iter_mut().for_each(Container::settle_for_good);
        let failed = |reason: &'static str, message: String| Outcome {
            succeeded: false,
            reason: Some(reason),
            message: Some(message),
            hopeless: false,
            exit_code: 1,
        };
        match reason {
            Reason::DeadlineExceeded => failed("DeadlineExceeded", DEADLINE_EXCEEDED.to_owned()),
            Reason::Evicted(message) => failed("Evicted", message),
            Reason::Refused { container, error } => Outcome {
                hopeless: true,
                exit_code: error.exit_code,
                ..failed(error.reason, format!("container {container}: {}", error.message))
            },
            Reason::Completed | Reason::InitFailed | Reason::Stopped => {
                let succeeded = self.phase_of_containers(Finality::Final) == Phase::Succeeded;
                let exit_code = if succeeded { 0 } else { self.first_failure().unwrap_or(1) };
                Outcome { succeeded, reason: None, message: None, hopeless: false, exit_code }
            }
        }
    }

    /// The status of the first container, sidecars apart, that failed.
    fn first_failure(&self) -> Option<i32> {
        let regular = self.containers.iter().filter(|container| container.role() != ContainerRole::Sidecar);
        regular.filter_map(Container::latest_termination).map(|termination| termination.exit.code).find(|&code| code != 0)
    }
}
