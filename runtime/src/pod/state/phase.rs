//! The pod's phase: the kubelet's `getPhase`, in its order, over our container states.

use super::{Container, ContainerState, PodState, Stage};
use crate::pod::spec::ContainerRole;
use std::fmt;

/// `status.phase`. (`Unknown` is for whoever finds a pod without an owner; no state of a living pod leads there.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Some container has not run yet.
    Pending,
    /// Every container has run, and at least one runs, or is to run again.
    Running,
    /// Every app ended with status 0.
    Succeeded,
    /// Every app ended, at least one not with status 0; or the pod failed as a whole.
    Failed,
}

/// Whether containers may be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finality {
    /// As the restart policy says.
    Open,
    /// No: the pod ends.
    Final,
}

/// How many containers are where; a container that waits after a run counts as stopped.
#[derive(Debug, Default)]
struct Tally {
    pending_init: usize,
    failed_init: usize,
    pending_sidecar: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    succeeded: usize,
    to_be_restarted: usize,
}

impl PodState {
    /// `status.phase`. The phases `Succeeded` and `Failed` are shown once nothing lives any more, and never left.
    pub fn phase(&self) -> Phase {
        match &self.stage {
            Stage::Finished(outcome) if outcome.succeeded => Phase::Succeeded,
            Stage::Finished(_) => Phase::Failed,
            Stage::Created | Stage::Active => self.while_alive(self.phase_of_containers(Finality::Open)),
            Stage::Ending(_) => self.while_alive(self.phase_of_containers(Finality::Final)),
        }
    }

    /// A pod of which something may still live keeps its phase from before, as in the kubelet's status manager.
    fn while_alive(&self, phase: Phase) -> Phase {
        match phase {
            Phase::Succeeded | Phase::Failed if self.any_app_has_run() => Phase::Running,
            Phase::Succeeded | Phase::Failed => Phase::Pending,
            Phase::Pending | Phase::Running => phase,
        }
    }

    /// Whether an app ever ran: from then on the pod counts as initialized, whatever its sidecars do.
    pub(super) fn any_app_has_run(&self) -> bool {
        self.containers.iter().any(|container| container.role() == ContainerRole::App && container.has_run())
    }

    /// Whether waiting containers are said to wait for `PodInitializing`: there are init containers, and no app has run yet.
    pub(crate) fn is_initializing(&self) -> bool {
        !self.any_app_has_run() && self.containers.iter().any(|container| container.role() != ContainerRole::App)
    }

    /// `getPhase`.
    pub(super) fn phase_of_containers(&self, finality: Finality) -> Phase {
        let tally = self.tally();
        let restarts = finality == Finality::Open && tally.to_be_restarted > 0;
        if tally.failed_init > 0 {
            Phase::Failed
        } else if tally.pending_init > 0 || (tally.pending_sidecar > 0 && !self.any_app_has_run()) || tally.waiting > 0 {
            Phase::Pending
        } else if tally.running > 0 {
            Phase::Running
        } else if tally.stopped == 0 {
            Phase::Pending
        } else if restarts {
            Phase::Running
        } else if tally.stopped == tally.succeeded {
            Phase::Succeeded
        } else {
            Phase::Failed
        }
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for container in &self.containers {
            match container.role() {
                ContainerRole::Init => tally.add_init(container),
                ContainerRole::Sidecar => tally.add_sidecar(container),
                ContainerRole::App => tally.add_app(container),
            }
        }
        tally
    }
}

impl Tally {
    fn add_init(&mut self, container: &Container) {
        let ended = match container.state() {
            ContainerState::Running { .. } => None,
            _ => container.latest_termination(),
        };
        match ended {
            None => self.pending_init += 1,
            Some(termination) => {
                let failed = !termination.exit.is_success();
                self.failed_init += usize::from(failed && !container.restarts_after(&termination.exit));
            }
        }
    }

    fn add_sidecar(&mut self, container: &Container) {
        if matches!(container.state(), ContainerState::Running { .. }) {
            self.pending_sidecar += usize::from(!container.is_started());
            self.running += 1;
        } else if container.latest_termination().is_none() {
            self.pending_sidecar += 1;
            self.waiting += 1;
        }
    }

    fn add_app(&mut self, container: &Container) {
        if matches!(container.state(), ContainerState::Running { .. }) {
            self.running += 1;
            return;
        }
        let Some(termination) = container.latest_termination() else {
            self.waiting += 1;
            return;
        };
        self.stopped += 1;
        self.succeeded += usize::from(container.has_succeeded());
        self.to_be_restarted += usize::from(container.restarts_after(&termination.exit));
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        })
    }
}
