//! What is asked of the instance that lives, its postStart hook and its probes, and when they lead to its end.

use super::{Container, ContainerState, Stopping};
use crate::pod::state::checks::{Checks, Kill, KillCause};
use crate::pod::state::event::Attempt;
use crate::pod::state::probe::{ProbeAnswer, ProbeKind};
use std::sync::Arc;
use std::time::Duration;

impl Container {
    /// Whether it holds back the containers after it: it has a postStart hook, which is still to end.
    pub(in crate::pod::state) fn holds_back(&self) -> bool {
        match &self.state {
            ContainerState::Starting { cancelled, .. } => self.plan.has_post_start && !cancelled,
            ContainerState::Running { stopping: Stopping::No, checks, .. } => checks.awaits_post_start(),
            _ => false,
        }
    }

    /// Whether the postStart hook is to be run now; `Some` once.
    pub(in crate::pod::state) fn take_post_start(&mut self) -> Option<Attempt> {
        match &mut self.state {
            ContainerState::Running { attempt, stopping: Stopping::No, checks, .. } => checks.take_post_start().then_some(*attempt),
            _ => None,
        }
    }

    /// The postStart hook of the instance has ended; false when nobody waited for that any more.
    pub(in crate::pod::state) fn post_start_ended(&mut self, ended: Attempt, succeeded: bool) -> bool {
        match &mut self.state {
            ContainerState::Running { attempt, stopping: Stopping::No, checks, .. } if *attempt == ended => {
                checks.post_start_ended(succeeded)
            }
            _ => false,
        }
    }

    /// A probe of the instance was answered; false when nobody waited for that any more.
    pub(in crate::pod::state) fn probed(&mut self, asked: Attempt, kind: ProbeKind, answer: &ProbeAnswer) -> bool {
        match &mut self.state {
            ContainerState::Running { attempt, stopping, checks, .. }
                if *attempt == asked && (*stopping == Stopping::No || kind == ProbeKind::Readiness) =>
            {
                checks.probed(kind, answer)
            }
            _ => false,
        }
    }

    /// The next probe, and when it is due. `pod_ends` says whether the pod is being stopped: then only readiness is asked.
    pub(in crate::pod::state) fn next_probe(&self, pod_ends: bool) -> Option<(Duration, ProbeKind)> {
        match &self.state {
            ContainerState::Running { stopping: Stopping::Killed, .. } => None,
            ContainerState::Running { stopping, checks, .. } => checks.next_probe(pod_ends || *stopping != Stopping::No),
            _ => None,
        }
    }

    /// The probe that is due at `now`; `Some` once.
    pub(in crate::pod::state) fn take_probe(&mut self, now: Duration, pod_ends: bool) -> Option<(Attempt, ProbeKind)> {
        let (_, kind) = self.next_probe(pod_ends).filter(|(due, _)| *due <= now)?;
        let ContainerState::Running { attempt, checks, .. } = &mut self.state else { return None };
        checks.ask(kind, now);
        Some((*attempt, kind))
    }

    /// Decides to kill the instance when its hook or a probe has failed; says why, once.
    pub(in crate::pod::state) fn condemn(&mut self, now: Duration) -> Option<KillCause> {
        let plan = Arc::clone(&self.plan);
        let ContainerState::Running { stopping: Stopping::No, checks, .. } = &mut self.state else { return None };
        if checks.kill().is_some() {
            return None;
        }
        let cause = checks.cause_to_kill()?;
        checks.decide_kill(cause, now.saturating_add(plan.grace_of(cause)));
        Some(cause)
    }

    /// The decision to kill the living instance although its pod goes on.
    pub(in crate::pod::state) fn condemned(&self) -> Option<Kill> {
        self.checks().and_then(Checks::kill)
    }
}
