//! The model's view of the probes and hooks of one instance.

use super::super::{HookKind, ProbeAnswer, ProbeKind};
use crate::pod::spec::{ContainerSpec, Probe};

/// What was asked of one instance, and what its answers come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    /// By kind: asked, and not answered.
    probes: [bool; 3],
    /// By kind: answers of the same kind in a row, counted up for successes and down for failures.
    streaks: [i32; 3],
    hook: Option<HookKind>,
    post_start_begun: bool,
    post_start_ended: bool,
    pre_stop_begun: bool,
    startup_succeeded: bool,
    /// Its startup or liveness probe, or its postStart hook, has failed for good.
    pub(super) unwell: bool,
    /// It was asked to stop: no hook can run any more.
    pub(super) terminated: bool,
}

pub(super) fn probe_of(spec: &ContainerSpec, kind: ProbeKind) -> Option<&Probe> {
    match kind {
        ProbeKind::Startup => spec.startup_probe.as_ref(),
        ProbeKind::Liveness => spec.liveness_probe.as_ref(),
        ProbeKind::Readiness => spec.readiness_probe.as_ref(),
    }
}

impl Asked {
    /// A question that waits for its answer; `pick` chooses among several.
    pub(super) fn open(&self, pick: u16) -> Option<Question> {
        let probes = ProbeKind::ALL.into_iter().filter(|kind| self.probes[*kind as usize]).map(Question::Probe);
        let open: Vec<Question> = probes.chain(self.hook.map(Question::Hook)).collect();
        open.get(usize::from(pick) % open.len().max(1)).copied()
    }

    /// Whether the instance counts as started.
    pub(super) fn is_started(&self, spec: &ContainerSpec) -> bool {
        (spec.post_start.is_none() || self.post_start_ended) && (spec.startup_probe.is_none() || self.startup_succeeded)
    }

    /// A probe is asked: one at a time, only of those that there are, and in the order of their suspension.
    pub(super) fn ask(&mut self, spec: &ContainerSpec, kind: ProbeKind, ending: bool) {
        assert!(probe_of(spec, kind).is_some(), "{kind}: there is none");
        assert!(!self.probes[kind as usize], "{kind}: asked twice");
        assert!(
            kind == ProbeKind::Readiness || !(ending || self.pre_stop_begun || self.terminated),
            "{kind}: asked while it stops"
        );
        assert_eq!(kind == ProbeKind::Startup, !self.is_started(spec), "{kind}: asked out of turn");
        self.probes[kind as usize] = true;
    }

    /// A hook begins: each once, and none beside another but in its place.
    pub(super) fn begin(&mut self, spec: &ContainerSpec, hook: HookKind, ending: bool) {
        assert!(!self.terminated && !self.pre_stop_begun, "a hook after the end began");
        match hook {
            HookKind::PostStart => {
                assert!(spec.post_start.is_some() && !self.post_start_begun && !ending);
                self.post_start_begun = true;
            }
            HookKind::PreStop => {
                assert!(spec.pre_stop.is_some() && (ending || self.unwell));
                self.pre_stop_begun = true;
            }
        }
        self.hook = Some(hook);
    }

    /// The preStop hook, if there is one, is not left out.
    pub(super) fn terminate(&mut self, spec: &ContainerSpec, no_time_left: bool) {
        assert!(spec.pre_stop.is_none() || no_time_left || (self.pre_stop_begun && self.hook.is_none()), "preStop was left out");
        (self.terminated, self.hook) = (true, None);
    }

    /// The answer to a probe is given.
    pub(super) fn answered(&mut self, spec: &ContainerSpec, kind: ProbeKind, answer: &ProbeAnswer, ending: bool) {
        self.probes[kind as usize] = false;
        let heard = kind == ProbeKind::Readiness || !(ending || self.pre_stop_begun || self.terminated);
        let Some(probe) = probe_of(spec, kind).filter(|_| heard) else { return };
        let streak = &mut self.streaks[kind as usize];
        *streak = match answer {
            ProbeAnswer::Success | ProbeAnswer::Warning(_) => streak.max(&mut 0).saturating_add(1),
            ProbeAnswer::Failure(_) => streak.min(&mut 0).saturating_sub(1),
            ProbeAnswer::Error(_) => return,
        };
        let failed = *streak <= -probe.failure_threshold.cast_signed();
        self.unwell |= failed && kind != ProbeKind::Readiness;
        self.startup_succeeded |= kind == ProbeKind::Startup && *streak >= probe.success_threshold.cast_signed();
    }

    /// A hook is over.
    pub(super) fn ended(&mut self, hook: HookKind, succeeded: bool, ending: bool) {
        self.hook = None;
        if hook == HookKind::PostStart && !ending && !self.pre_stop_begun && !self.terminated {
            self.post_start_ended = succeeded;
            self.unwell |= !succeeded;
        }
    }
}

/// Something that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    Probe(ProbeKind),
    Hook(HookKind),
}
