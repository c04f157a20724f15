//! The pod's conditions: the kubelet's `status/generate.go`, over our container states.

use super::{Container, Phase, PodState, Stage};
use crate::pod::spec::ContainerRole;
use std::fmt;
use std::time::Duration;

/// Which condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionKind {
    /// There is a machine for it: always true here.
    PodScheduled,
    /// Its network and volumes exist.
    PodReadyToStartContainers,
    /// Every init container succeeded, every sidecar runs.
    Initialized,
    /// Every app and every sidecar is ready.
    ContainersReady,
    /// The pod can serve: `ContainersReady`, as long as there are no readiness gates.
    Ready,
    /// Every container is being killed because a rule restarts all of them; only pods with such a rule have it.
    AllContainersRestarting,
}

/// One entry of `status.conditions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which one.
    pub kind: ConditionKind,
    /// Whether it is met.
    pub met: bool,
    /// Why not (or `PodCompleted`).
    pub reason: Option<&'static str>,
    /// Because of which containers.
    pub message: Option<String>,
    /// Since when, in time since the pod's start.
    pub since: Duration,
}

/// When each condition last changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Transitions {
    sandbox: Transition,
    initialized: Transition,
    ready: Transition,
    pub(super) restarting: Transition,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Transition {
    met: bool,
    since: Duration,
}

impl Transition {
    pub(super) fn note(&mut self, met: bool, now: Duration) {
        if self.met != met {
            *self = Self { met, since: now };
        }
    }
}

impl PodState {
    /// `status.conditions`.
    pub fn conditions(&self) -> Vec<Condition> {
        let Transitions { sandbox, initialized, ready, restarting } = self.transitions;
        let always = Transition { met: true, since: Duration::ZERO };
        let plain = |kind, Transition { met, since }| Condition { kind, met, reason: None, message: None, since };
        let completed = (self.phase() == Phase::Succeeded).then_some("PodCompleted");
        let ended = completed.or_else(|| (self.phase() == Phase::Failed).then_some("PodFailed"));
        let (ready_reason, ready_message) = match ended {
            Some(ended) => (Some(ended), None),
            _ if ready.met => (None, None),
            _ => {
                let unready = |container: &Container| container.role() != ContainerRole::Init && !container.is_ready();
                (Some("ContainersNotReady"), Some(format!("containers with unready status: {}", self.names(unready))))
            }
        };
        let (initialized_reason, initialized_message) = if initialized.met {
            (completed, None)
        } else {
            let names = self.names(|container| !container.is_initialized());
            (Some("ContainersNotInitialized"), Some(format!("containers with incomplete status: {names}")))
        };
        let (restarting_reason, restarting_message) = match restarting.met {
            true => (Some("RestartAllContainersStarted"), Some("container exited with restart policy rule".to_owned())),
            false => (ended, None),
        };
        let with = |condition: Condition, reason, message| Condition { reason, message, ..condition };
        let mut conditions = vec![
            plain(ConditionKind::PodReadyToStartContainers, sandbox),
            with(plain(ConditionKind::Initialized, initialized), initialized_reason, initialized_message),
            with(plain(ConditionKind::Ready, ready), ready_reason, ready_message.clone()),
            with(plain(ConditionKind::ContainersReady, ready), ready_reason, ready_message),
            plain(ConditionKind::PodScheduled, always),
        ];
        if self.containers.iter().any(Container::may_restart_all) {
            let condition = plain(ConditionKind::AllContainersRestarting, restarting);
            conditions.push(with(condition, restarting_reason, restarting_message));
        }
        conditions
    }

    /// Whether the condition `Ready` is met.
    pub fn is_ready(&self) -> bool {
        self.transitions.ready.met
    }

    /// Notes which conditions changed in this step.
    pub(super) fn note_transitions(&mut self) {
        let now = self.now;
        let finished = matches!(self.stage, Stage::Finished(_));
        let serving = self.containers.iter().filter(|container| container.role() != ContainerRole::Init).all(Container::is_ready);
        let initialized =
            self.phase() == Phase::Succeeded || self.any_app_has_run() || self.containers.iter().all(Container::is_initialized);
        self.transitions.sandbox.note(!finished && self.has_begun, now);
        self.transitions.initialized.note(initialized, now);
        self.transitions.ready.note(serving && !finished, now);
        self.transitions.restarting.note(self.starting_over && !self.is_ending(), now);
    }

    /// The names of the containers that `pick` picks, as Go prints a list.
    fn names(&self, pick: impl Fn(&Container) -> bool) -> String {
        let names: Vec<&str> = self.containers.iter().filter(|container| pick(container)).map(Container::name).collect();
        format!("[{}]", names.join(" "))
    }
}

impl Container {
    /// Whether it keeps the pod from being initialized no longer (apps never did).
    fn is_initialized(&self) -> bool {
        self.role() == ContainerRole::App || self.lets_next_start()
    }
}

impl fmt::Display for ConditionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PodScheduled => "PodScheduled",
            Self::PodReadyToStartContainers => "PodReadyToStartContainers",
            Self::Initialized => "Initialized",
            Self::ContainersReady => "ContainersReady",
            Self::Ready => "Ready",
            Self::AllContainersRestarting => "AllContainersRestarting",
        })
    }
}
