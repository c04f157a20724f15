//! One container's part of the pod's state: which instance lives, how the one before ended, when the next may start.

use super::checks::{Checks, Kill, KillCause};
use super::event::{Attempt, ContainerExit, StartError};
use super::probe::{ProbeAnswer, ProbeKind};
use super::restart::{AfterExit, RestartRules};
use crate::pod::backoff::{Backoff, BackoffPolicy};
use crate::pod::spec::{ContainerRole, ContainerSpec, PodSpec, Probe};
use std::sync::Arc;
use std::time::Duration;

/// The state of one container, over all its instances.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    plan: Arc<Plan>,
    state: ContainerState,
    /// How the run before the present state ended.
    last: Option<Termination>,
    /// Starts so far: the number of the next attempt.
    starts: u32,
    /// Instances that ran so far.
    runs: u32,
    restart_backoff: Backoff,
    start_backoff: Backoff,
}

/// What of its spec decides about a container's life.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    name: String,
    image: String,
    role: ContainerRole,
    restart: RestartRules,
    startup: Option<Probe>,
    liveness: Option<Probe>,
    readiness: Option<Probe>,
    has_post_start: bool,
    has_pre_stop: bool,
    /// The pod's grace period.
    grace: Duration,
}

impl Plan {
    fn new(spec: &ContainerSpec, pod: &PodSpec) -> Self {
        Self {
            name: spec.name.clone(),
            image: spec.image.clone(),
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
    pub(super) fn probe(&self, kind: ProbeKind) -> Option<&Probe> {
        match kind {
            ProbeKind::Startup => self.startup.as_ref(),
            ProbeKind::Liveness => self.liveness.as_ref(),
            ProbeKind::Readiness => self.readiness.as_ref(),
        }
    }

    /// Whether there is a postStart hook.
    pub(super) fn has_post_start(&self) -> bool {
        self.has_post_start
    }

    /// How long an instance that is killed for `cause` may take to stop: a probe's own grace period stands before the pod's.
    fn grace_of(&self, cause: KillCause) -> Duration {
        let probe = match cause {
            KillCause::LivenessProbe => self.liveness.as_ref(),
            KillCause::StartupProbe => self.startup.as_ref(),
            KillCause::PostStartHook => None,
        };
        probe.and_then(|probe| probe.termination_grace_period).unwrap_or(self.grace)
    }
}

/// What a container is doing. Times are since the pod's start.
#[derive(Clone, Debug, PartialEq)]
pub enum ContainerState {
    /// Nothing lives.
    Waiting(Waiting),
    /// A start was asked for and not yet answered: something may live.
    Starting {
        /// Which start.
        attempt: Attempt,
        /// Whether it was asked to be given up since.
        cancelled: bool,
    },
    /// An instance lives.
    Running {
        /// Which one.
        attempt: Attempt,
        /// Since when.
        since: Duration,
        /// Whether it was asked to stop.
        stopping: Stopping,
        /// Its probes and its postStart hook.
        checks: Checks,
    },
    /// It ended, and will not be started again.
    Terminated(Termination),
}

/// For what a container waits.
#[derive(Clone, Debug, PartialEq)]
pub enum Waiting {
    /// For its turn.
    Turn,
    /// For the end of its back-off after a run: `CrashLoopBackOff`.
    Restart {
        /// The length of the wait.
        wait: Duration,
        /// Its end.
        until: Duration,
    },
    /// For the end of its back-off after a start that failed.
    Retry {
        /// Why the start failed.
        error: StartError,
        /// The end of the wait.
        until: Duration,
    },
    /// For nothing: its start failed for good, and with it the pod.
    Refused(StartError),
}

/// How far the stopping of a running instance has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// Nobody asked it to.
    No,
    /// Its preStop hook runs, or has ended and it waits for its turn.
    PreStop {
        /// Whether the hook has ended.
        hook_ended: bool,
    },
    /// It was asked to stop and is killed at this time.
    Asked {
        /// The end of its grace period.
        kill_at: Duration,
    },
    /// It was killed; its end is only a matter of being told.
    Killed,
}

/// How and when an instance ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Termination {
    /// Which instance.
    pub attempt: Attempt,
    /// How.
    pub exit: ContainerExit,
    /// When it started, since the pod's start.
    pub started_at: Duration,
    /// When it ended, since the pod's start.
    pub finished_at: Duration,
}

impl Container {
    /// A container that never ran.
    pub(super) fn new(spec: &ContainerSpec, pod: &PodSpec, backoff: BackoffPolicy) -> Self {
        Self {
            plan: Arc::new(Plan::new(spec, pod)),
            state: ContainerState::Waiting(Waiting::Turn),
            last: None,
            starts: 0,
            runs: 0,
            restart_backoff: Backoff::new(backoff),
            start_backoff: Backoff::new(backoff),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Its image, as the spec writes it.
    pub(super) fn image(&self) -> &str {
        &self.plan.image
    }

    /// Its part in the pod.
    pub fn role(&self) -> ContainerRole {
        self.plan.role
    }

    /// What it is doing.
    pub fn state(&self) -> &ContainerState {
        &self.state
    }

    /// How the run before the present state ended: `lastState`.
    pub fn last_termination(&self) -> Option<&Termination> {
        self.last.as_ref()
    }

    /// How it ended most recently: the present state's termination if it is terminated, else the last one's.
    pub fn latest_termination(&self) -> Option<&Termination> {
        match &self.state {
            ContainerState::Terminated(termination) => Some(termination),
            _ => self.last.as_ref(),
        }
    }

    /// `restartCount`: how many instances ran after the first.
    pub fn restart_count(&self) -> u32 {
        self.runs.saturating_sub(1)
    }

    /// Whether any instance ever ran.
    pub fn has_run(&self) -> bool {
        self.runs > 0
    }

    /// Whether something of it lives, or may.
    pub fn is_alive(&self) -> bool {
        matches!(self.state, ContainerState::Starting { .. } | ContainerState::Running { .. })
    }

    /// Whether an instance runs.
    pub fn is_running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }

    /// `started`: it runs, its postStart hook is over and its startup probe has succeeded, as far as there are any.
    pub fn is_started(&self) -> bool {
        self.checks().is_some_and(Checks::is_started)
    }

    /// `ready`: an init container that succeeded; any other that has started, if its readiness probe agrees.
    pub fn is_ready(&self) -> bool {
        match self.role() {
            ContainerRole::Init => self.has_succeeded(),
            ContainerRole::Sidecar | ContainerRole::App => self.checks().is_some_and(Checks::is_ready),
        }
    }

    /// What is asked of the instance that runs.
    pub(super) fn checks(&self) -> Option<&Checks> {
        match &self.state {
            ContainerState::Running { checks, .. } => Some(checks),
            _ => None,
        }
    }

    /// Whether it ended well, for good.
    pub fn has_succeeded(&self) -> bool {
        matches!(&self.state, ContainerState::Terminated(termination) if termination.exit.is_success())
    }

    /// Whether it ended, for good.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, ContainerState::Terminated(_))
    }

    /// Whether the next container in the order of initialization may start because of the present state.
    pub(super) fn lets_next_start(&self) -> bool {
        match self.role() {
            ContainerRole::Init => self.has_succeeded(),
            ContainerRole::Sidecar => self.is_started(),
            ContainerRole::App => false,
        }
    }

    /// When it may start, if it waits to: in the past when it may at once.
    pub(super) fn due_at(&self) -> Option<Duration> {
        match self.state {
            ContainerState::Waiting(Waiting::Turn) => Some(Duration::ZERO),
            ContainerState::Waiting(Waiting::Restart { until, .. } | Waiting::Retry { until, .. }) => Some(until),
            _ => None,
        }
    }

    /// A start is asked for.
    pub(super) fn start(&mut self) -> Attempt {
        let attempt = Attempt(self.starts);
        self.starts = self.starts.saturating_add(1);
        self.state = ContainerState::Starting { attempt, cancelled: false };
        attempt
    }

    /// The instance runs; false when nobody waited for that. A start that was given up and yet succeeded is one that was killed.
    pub(super) fn started(&mut self, attempt: Attempt, now: Duration) -> bool {
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
    pub(super) fn start_failed(&mut self, attempt: Attempt, error: StartError, now: Duration) -> bool {
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
    pub(super) fn after_exit(&self, exit: &ContainerExit) -> AfterExit {
        let unwell = self.checks().is_some_and(|checks| checks.kill().is_some());
        match self.plan.restart.after(exit) {
            AfterExit::StayEnded if unwell && self.plan.restart.restarts_when_killed() => AfterExit::Restart,
            after => after,
        }
    }

    /// Whether a container whose last run ended so is to be started again.
    pub(super) fn restarts_after(&self, exit: &ContainerExit) -> bool {
        self.plan.restart.after(exit) != AfterExit::StayEnded
    }

    /// Whether it is started again when it is killed for its health.
    pub(super) fn restarts_when_killed(&self) -> bool {
        self.plan.restart.restarts_when_killed()
    }

    /// The instance is gone (false when it was not there); `restart` says whether it gets a successor, after its back-off.
    pub(super) fn exited(&mut self, attempt: Attempt, exit: ContainerExit, now: Duration, restart: bool) -> bool {
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
    pub(super) fn start_over(&mut self) {
        let waits = matches!(self.state, ContainerState::Waiting(Waiting::Restart { .. } | Waiting::Retry { .. }));
        if !waits && !self.is_alive() {
            self.last = self.latest_termination().cloned();
            self.state = ContainerState::Waiting(Waiting::Turn);
        }
    }

    /// The instance is gone because the whole pod starts over, which is not its fault: no back-off.
    pub(super) fn exited_to_start_over(&mut self, attempt: Attempt, exit: ContainerExit, now: Duration) {
        if self.exited(attempt, exit, now, false) {
            self.start_over();
        }
    }

    /// Whether it holds back the containers after it: it has a postStart hook, which is still to end.
    pub(super) fn holds_back(&self) -> bool {
        match &self.state {
            ContainerState::Starting { cancelled, .. } => self.plan.has_post_start && !cancelled,
            ContainerState::Running { stopping: Stopping::No, checks, .. } => checks.awaits_post_start(),
            _ => false,
        }
    }

    /// Whether the postStart hook is to be run now; `Some` once.
    pub(super) fn take_post_start(&mut self) -> Option<Attempt> {
        match &mut self.state {
            ContainerState::Running { attempt, stopping: Stopping::No, checks, .. } => checks.take_post_start().then_some(*attempt),
            _ => None,
        }
    }

    /// The postStart hook of the instance has ended; false when nobody waited for that any more.
    pub(super) fn post_start_ended(&mut self, ended: Attempt, succeeded: bool) -> bool {
        match &mut self.state {
            ContainerState::Running { attempt, stopping: Stopping::No, checks, .. } if *attempt == ended => {
                checks.post_start_ended(succeeded)
            }
            _ => false,
        }
    }

    /// A probe of the instance was answered; false when nobody waited for that any more.
    pub(super) fn probed(&mut self, asked: Attempt, kind: ProbeKind, answer: &ProbeAnswer) -> bool {
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
    pub(super) fn next_probe(&self, pod_ends: bool) -> Option<(Duration, ProbeKind)> {
        match &self.state {
            ContainerState::Running { stopping: Stopping::Killed, .. } => None,
            ContainerState::Running { stopping, checks, .. } => checks.next_probe(pod_ends || *stopping != Stopping::No),
            _ => None,
        }
    }

    /// The probe that is due at `now`; `Some` once.
    pub(super) fn take_probe(&mut self, now: Duration, pod_ends: bool) -> Option<(Attempt, ProbeKind)> {
        let (_, kind) = self.next_probe(pod_ends).filter(|(due, _)| *due <= now)?;
        let ContainerState::Running { attempt, checks, .. } = &mut self.state else { return None };
        checks.ask(kind, now);
        Some((*attempt, kind))
    }

    /// Decides to kill the instance when its hook or a probe has failed; says why, once.
    pub(super) fn condemn(&mut self, now: Duration) -> Option<KillCause> {
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
    pub(super) fn condemned(&self) -> Option<Kill> {
        self.checks().and_then(Checks::kill)
    }

    /// Whether there is a preStop hook to run before the instance is asked to stop.
    pub(super) fn has_pre_stop(&self) -> bool {
        self.plan.has_pre_stop
    }

    /// Begins to stop the instance with its preStop hook; `Some` when nobody had begun before.
    pub(super) fn begin_pre_stop(&mut self) -> Option<Attempt> {
        match &mut self.state {
            ContainerState::Running { attempt, stopping: stopping @ Stopping::No, .. } => {
                *stopping = Stopping::PreStop { hook_ended: false };
                Some(*attempt)
            }
            _ => None,
        }
    }

    /// The preStop hook of the instance has ended; false when nobody waited for that any more.
    pub(super) fn pre_stop_ended(&mut self, ended: Attempt) -> bool {
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
    pub(super) fn terminate(&mut self, kill_at: Duration) -> Option<Attempt> {
        match &mut self.state {
            ContainerState::Running { attempt, stopping: stopping @ (Stopping::No | Stopping::PreStop { .. }), .. } => {
                *stopping = Stopping::Asked { kill_at };
                Some(*attempt)
            }
            _ => None,
        }
    }

    /// Brings the kill of an instance that was asked to stop forward to `kill_at`.
    pub(super) fn shorten_grace(&mut self, kill_at: Duration) {
        if let ContainerState::Running { stopping: Stopping::Asked { kill_at: planned }, .. } = &mut self.state {
            *planned = kill_at.min(*planned);
        }
    }

    /// How far the stopping of the living instance has come.
    pub(super) fn stopping(&self) -> Option<Stopping> {
        match self.state {
            ContainerState::Running { stopping, .. } => Some(stopping),
            _ => None,
        }
    }

    /// When it is to be killed, if it was asked to stop.
    pub(super) fn kill_at(&self) -> Option<Duration> {
        match self.stopping() {
            Some(Stopping::Asked { kill_at }) => Some(kill_at),
            _ => None,
        }
    }

    /// Whether it lives and nobody began to stop it.
    pub(super) fn is_untouched(&self) -> bool {
        self.stopping() == Some(Stopping::No)
    }

    /// Whether it lives and was not asked to stop yet.
    pub(super) fn is_unasked(&self) -> bool {
        matches!(self.stopping(), Some(Stopping::No | Stopping::PreStop { .. }))
    }

    /// Whether a start is under way.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.state, ContainerState::Starting { .. })
    }

    /// Kills the instance, or gives up its start; `Some` the first time.
    pub(super) fn kill(&mut self) -> Option<Attempt> {
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

    /// There will be no next run: a container that waits for one shows how its last run ended.
    pub(super) fn settle_for_good(&mut self) {
        if matches!(self.state, ContainerState::Waiting(_))
            && let Some(termination) = self.last.take()
        {
            self.state = ContainerState::Terminated(termination);
        }
    }
}
