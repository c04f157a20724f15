//! What of a container's spec decides about its life.

use crate::pod::spec::{ContainerRole, ContainerSpec, PodSpec, Probe};
use crate::pod::state::checks::KillCause;
use crate::pod::state::probe::ProbeKind;
use crate::pod::state::restart::RestartRules;
use std::time::Duration;

/// What of its spec decides about a container's life.
#[derive(Debug, PartialEq)]
pub(in crate::pod::state) struct Plan {
    pub(super) name: String,
    pub(super) role: ContainerRole,
    pub(super) restart: RestartRules,
    startup: Option<Probe>,
    liveness: Option<Probe>,
    readiness: Option<Probe>,
    pub(super) has_post_start: bool,
    pub(super) has_pre_stop: bool,
    /// The pod's grace period.
    grace: Duration,
}

impl Plan {
    pub(super) fn new(spec: &ContainerSpec, pod: &PodSpec) -> Self {
        Self {
            name: spec.name.clone(),
            role: spec.role,
            restart: RestartRules::new(spec, pod.restart_policy),
            startup: spec.startup_probe.clone(),
            liveness: spec.liveness_probe.clone(),
            readiness: spec.readiness_probe.clone(),
            has_post_start: spec.post_start.is_some(),
            has_pre_stop: spec.pre_stop.is_some(),
            grace: pod.termination_grace_period,
        }
    }

    /// The probe of a kind, if there is one.
    pub(in crate::pod::state) fn probe(&self, kind: ProbeKind) -> Option<&Probe> {
        match kind {
            ProbeKind::Startup => self.startup.as_ref(),
            ProbeKind::Liveness => self.liveness.as_ref(),
            ProbeKind::Readiness => self.readiness.as_ref(),
        }
    }

    /// Whether there is a postStart hook.
    pub(in crate::pod::state) fn has_post_start(&self) -> bool {
        self.has_post_start
    }

    /// How long an instance that is killed for `cause` may take to stop: a probe's own grace period stands before the pod's.
    pub(super) fn grace_of(&self, cause: KillCause) -> Duration {
        let probe = match cause {
            KillCause::LivenessProbe => self.liveness.as_ref(),
            KillCause::StartupProbe => self.startup.as_ref(),
            KillCause::PostStartHook => None,
        };
        probe.and_then(|probe| probe.termination_grace_period).unwrap_or(self.grace)
    }
}
