//! What is asked of one instance while it lives: its postStart hook, its probes, and the decision to kill it that they may lead to.

use super::container::Plan;
use super::probe::{ProbeAnswer, ProbeKind, ProbeProgress, Verdict};
use std::time::Duration;

/// How far the hook and the probes of one instance have come.
#[derive(Clone, Debug, PartialEq)]
pub struct Checks {
    post_start: PostStart,
    startup: Option<ProbeProgress>,
    liveness: Option<ProbeProgress>,
    readiness: Option<ProbeProgress>,
    kill: Option<Kill>,
}

/// The postStart hook of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PostStart {
    /// To be run.
    Due,
    /// It runs.
    Running,
    /// It succeeded, or there is none.
    Done,
    /// It failed.
    Failed,
}

/// The decision to kill one instance although its pod goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    pub(super) cause: KillCause,
    /// The end of its grace period.
    pub(super) deadline: Duration,
}

/// What leads to the killing of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KillCause {
    LivenessProbe,
    StartupProbe,
    PostStartHook,
}

impl Checks {
    /// Those of an instance that started at `now`.
    pub(super) fn new(plan: &Plan, now: Duration) -> Self {
        let probe = |kind| plan.probe(kind).map(|probe| ProbeProgress::new(kind, probe, now));
        Self {
            post_start: if plan.has_post_start() { PostStart::Due } else { PostStart::Done },
            startup: probe(ProbeKind::Startup),
            liveness: probe(ProbeKind::Liveness),
            readiness: probe(ProbeKind::Readiness),
            kill: None,
        }
    }

    /// `started`: the hook is over, and the startup probe has succeeded, as far as there are any.
    pub(super) fn is_started(&self) -> bool {
        self.post_start == PostStart::Done && self.startup.as_ref().is_none_or(|probe| probe.verdict() == Verdict::Success)
    }

    /// `ready`: it has started, and the readiness probe says so, if there is one.
    pub(super) fn is_ready(&self) -> bool {
        self.is_started() && self.readiness.as_ref().is_none_or(|probe| probe.verdict() == Verdict::Success)
    }

    /// Whether the postStart hook is still to end.
    pub(super) fn awaits_post_start(&self) -> bool {
        matches!(self.post_start, PostStart::Due | PostStart::Running)
    }

    /// Whether the postStart hook is to be run now; true once.
    pub(super) fn take_post_start(&mut self) -> bool {
        let due = self.post_start == PostStart::Due;
        if due {
            self.post_start = PostStart::Running;
        }
        due
    }

    /// The postStart hook has ended; false when it did not run.
    pub(super) fn post_start_ended(&mut self, succeeded: bool) -> bool {
        let awaited = self.post_start == PostStart::Running;
        if awaited {
            self.post_start = if succeeded { PostStart::Done } else { PostStart::Failed };
        }
        awaited
    }

    /// The decision to kill the instance, once it is made.
    pub(super) fn kill(&self) -> Option<Kill> {
        self.kill
    }

    /// Decides to kill the instance. The first cause counts.
    pub(super) fn decide_kill(&mut self, cause: KillCause, deadline: Duration) {
        self.kill.get_or_insert(Kill { cause, deadline });
    }

    /// Whether a verdict or a failed hook calls for the killing of the instance.
    pub(super) fn cause_to_kill(&self) -> Option<KillCause> {
        let failed = |probe: &Option<ProbeProgress>| probe.as_ref().is_some_and(|probe| probe.verdict() == Verdict::Failure);
        if self.post_start == PostStart::Failed {
            Some(KillCause::PostStartHook)
        } else if failed(&self.startup) {
            Some(KillCause::StartupProbe)
        } else if failed(&self.liveness) {
            Some(KillCause::LivenessProbe)
        } else {
            None
        }
    }

    /// Takes in the answer to a probe; false when none was awaited.
    pub(super) fn probed(&mut self, kind: ProbeKind, answer: &ProbeAnswer) -> bool {
        self.progress_mut(kind).as_mut().is_some_and(|probe| probe.answered(answer))
    }

    /// The next question, and when it is due. Once the instance is being stopped (`stopping`), only whether it is ready is asked.
    pub(super) fn next_probe(&self, stopping: bool) -> Option<(Duration, ProbeKind)> {
        let due = ProbeKind::ALL.into_iter().filter(|kind| match kind {
            ProbeKind::Startup => !stopping && !self.awaits_post_start() && !self.is_started(),
            ProbeKind::Liveness => !stopping && self.is_started(),
            ProbeKind::Readiness => self.is_started(),
        });
        due.filter_map(|kind| Some((self.progress(kind)?.due_at()?, kind))).min()
    }

    /// A probe is asked at `now`.
    pub(super) fn ask(&mut self, kind: ProbeKind, now: Duration) {
        if let Some(probe) = self.progress_mut(kind) {
            probe.ask(now);
        }
    }

    fn progress(&self, kind: ProbeKind) -> Option<&ProbeProgress> {
        match kind {
            ProbeKind::Startup => self.startup.as_ref(),
            ProbeKind::Liveness => self.liveness.as_ref(),
            ProbeKind::Readiness => self.readiness.as_ref(),
        }
    }

    fn progress_mut(&mut self, kind: ProbeKind) -> &mut Option<ProbeProgress> {
        match kind {
            ProbeKind::Startup => &mut self.startup,
            ProbeKind::Liveness => &mut self.liveness,
            ProbeKind::Readiness => &mut self.readiness,
        }
    }
}
