//! The policy of one workload: given what happened to its pods and the time, which pods to make and which to stop.
//!
//! ```text
//!   Begin, Ready, Unready, Restarted, Ended, Failed to start, Stop ──▶ step ──▶ Create, Delete, Finish
//! ```
//!
//! Pure: no clock, no task, no I/O. A pod is known by its serial, the number of its making; names are for people.

mod job;
mod keep;

#[cfg(test)]
mod tests;

use super::spec::{ControllerSpec, PodEnd, Replica, WorkloadSpec};
use crate::limits::{JOB_BACKOFF_INITIAL, JOB_BACKOFF_MAX};
use std::collections::BTreeMap;
use std::time::Duration;

/// The number of a pod's making within its workload, from 0.
pub type Serial = u32;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Start. Once.
    Begin,
    /// The pod is ready, or is so no longer.
    Ready {
        /// Which.
        serial: Serial,
        /// Whether it is.
        ready: bool,
    },
    /// The containers of the pod were restarted so many times in all.
    Restarted {
        /// Which.
        serial: Serial,
        /// How many times.
        restarts: u32,
    },
    /// The pod is over and holds nothing any more. Answers [`Action::Create`] in the end, unless [`Event::NotMade`] does.
    Ended {
        /// Which.
        serial: Serial,
        /// How.
        end: PodEnd,
    },
    /// The pod could not be made, or a container of it can never start, and trying again would not help. Answers [`Action::Create`].
    NotMade {
        /// Which.
        serial: Serial,
        /// The status for the command line.
        exit_code: i32,
    },
    /// Stop all pods gracefully, in the workload's order.
    Stop,
    /// Time has passed; sent at [`Step::wake_at`], harmless at any time.
    Tick,
}

/// What the owner of the pods has to do now, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make this pod and run it.
    Create {
        /// To be repeated in every word about it.
        serial: Serial,
        /// Which one of the workload it is.
        replica: Replica,
    },
    /// Stop this pod gracefully. It still has to be answered with [`Event::Ended`].
    Delete {
        /// Which.
        serial: Serial,
    },
    /// Nothing runs, nothing will. The last action.
    Finish(WorkloadOutcome),
}

/// The answer to an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// What to do, in order.
    pub actions: Vec<Action>,
    /// When to send [`Event::Tick`], in time since the run's start.
    pub wake_at: Option<Duration>,
}

/// How a workload ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadOutcome {
    /// Whether it did what it was to do; a workload that was stopped and whose pods did not fail has.
    pub succeeded: bool,
    /// 0 when it succeeded; else the status of its first pod that failed, or 1.
    pub exit_code: i32,
    /// Kubernetes' word for the end of a Job: `CompletionsReached`, `BackoffLimitExceeded`, `PodFailurePolicy`, …
    pub reason: Option<&'static str>,
    /// The message that goes with it.
    pub message: Option<String>,
}

/// How long to wait before a pod that ended is replaced by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplacePolicy {
    initial: Duration,
    max: Duration,
}

impl ReplacePolicy {
    /// The Job controller's numbers: 10 s, doubled up to 6 minutes.
    pub const KUBERNETES: Self = Self { initial: JOB_BACKOFF_INITIAL, max: JOB_BACKOFF_MAX };

    /// The same policy with another first wait.
    #[must_use]
    pub fn with_initial(self, initial: Duration) -> Self {
        Self { initial: initial.min(self.max), ..self }
    }

    /// The wait after the `failures`-th failure in a row, from 1.
    fn wait(&self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.initial.saturating_mul(factor).min(self.max)
    }
}

/// How a Job stands: `status` of a `batch/v1` Job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobProgress {
    /// Pods that run or are being made.
    pub active: u32,
    /// Of those, how many are ready.
    pub ready: u32,
    /// Pods that succeeded.
    pub succeeded: u32,
    /// Pods that failed, but for those whose failure does not count.
    pub failed: u32,
    /// The indexes that succeeded, of an Indexed Job.
    pub completed_indexes: Vec<u32>,
    /// The indexes that failed, of a Job with `backoffLimitPerIndex`.
    pub failed_indexes: Option<Vec<u32>>,
    /// The types of the conditions that it has; they share reason and message of its outcome.
    pub conditions: &'static [&'static str],
}

/// A pod that was asked for and is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Live {
    ordinal: Option<u32>,
    ready: bool,
    restarts: u32,
    deleted: bool,
    since: Duration,
}

/// The controller of one workload. Made once from its spec, changed by [`step`](Self::step) alone.
#[derive(Clone, Debug)]
pub struct Controller {
    spec: WorkloadSpec,
    policy: ReplacePolicy,
    next_serial: Serial,
    live: BTreeMap<Serial, Live>,
    stage: Stage,
    /// The status of the first pod that failed for good.
    first_failure: Option<i32>,
    keep: keep::Keep,
    job: job::Progress,
    now: Duration,
}

/// Where the workload as a whole stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Created,
    Active,
    /// No pod is made any more; those that run are stopped in order.
    Stopping,
    Finished(WorkloadOutcome),
}

impl Controller {
    /// The controller of a workload that has not begun.
    pub fn new(spec: WorkloadSpec, policy: ReplacePolicy) -> Self {
        Self {
            policy,
            next_serial: 0,
            live: BTreeMap::new(),
            stage: Stage::Created,
            first_failure: None,
            keep: keep::Keep::new(&spec),
            job: job::Progress::default(),
            now: Duration::ZERO,
            spec,
        }
    }

    /// The workload.
    pub fn spec(&self) -> &WorkloadSpec {
        &self.spec
    }

    /// How it ended, once it did.
    pub fn outcome(&self) -> Option<&WorkloadOutcome> {
        match &self.stage {
            Stage::Finished(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// How it stands, for a Job.
    pub fn job_progress(&self) -> JobProgress {
        let count =
            |pick: fn(&Live) -> bool| u32::try_from(self.live.values().filter(|live| pick(live)).count()).unwrap_or(u32::MAX);
        match &self.spec.controller {
            ControllerSpec::Job(job) => {
                JobProgress { active: count(|_| true), ready: count(|live| live.ready), ..self.job.progress(job) }
            }
            _ => JobProgress::default(),
        }
    }

    /// Takes in what happened at `now` (time since the run's start) and says what to do about it.
    pub fn step(&mut self, event: Event, now: Duration) -> Step {
        if matches!(self.stage, Stage::Finished(_)) {
            return Step::default();
        }
        self.now = self.now.max(now);
        self.record(event);
        let mut actions = Vec::new();
        if self.stage == Stage::Active {
            match self.spec.controller.clone() {
                ControllerSpec::Job(job) => self.settle_job(&job, &mut actions),
                _ => self.settle_kept(&mut actions),
            }
        }
        if self.stage == Stage::Stopping {
            self.wind_down(&mut actions);
        }
        let wake_at = self.wake_at();
        Step { actions, wake_at }
    }

    fn record(&mut self, event: Event) {
        match event {
            Event::Begin if self.stage == Stage::Created => {
                self.stage = Stage::Active;
                self.job.begin(self.now);
            }
            Event::Begin | Event::Tick => {}
            Event::Ready { serial, ready } => {
                if let Some(live) = self.live.get_mut(&serial) {
                    live.ready = ready;
                }
            }
            Event::Restarted { serial, restarts } => {
                if let Some(live) = self.live.get_mut(&serial) {
                    live.restarts = restarts;
                }
            }
            Event::Ended { serial, end } => self.ended(serial, &end),
            Event::NotMade { serial, exit_code } => self.not_made(serial, exit_code),
            Event::Stop => self.stage = Stage::Stopping,
        }
    }

    fn ended(&mut self, serial: Serial, end: &PodEnd) {
        let Some(live) = self.live.remove(&serial) else { return };
        // What a pod says when it is stopped is not what it would have said.
        let counts = !live.deleted && self.stage == Stage::Active;
        match &self.spec.controller {
            ControllerSpec::Job(job) if counts => {
                let name = format!("{}/{}", self.spec.namespace, self.spec.replica(live.ordinal, serial).name);
                let pod = job::EndedPod { name: &name, index: live.ordinal, end };
                if self.job.ended(job, &pod, self.now, &self.policy) {
                    self.note_failure(end.exit_code);
                }
            }
            ControllerSpec::Job(_) => {}
            ControllerSpec::Once => {
                self.keep.give_up(live.ordinal);
                if !end.succeeded {
                    self.note_failure(end.exit_code);
                }
            }
            ControllerSpec::Replicas { .. } | ControllerSpec::Ordered { .. } if counts => {
                let ran_for = self.now.saturating_sub(live.since);
                self.keep.replace(live.ordinal, ran_for, self.now, &self.policy);
            }
            ControllerSpec::Replicas { .. } | ControllerSpec::Ordered { .. } => self.keep.give_up(live.ordinal),
        }
    }

    fn not_made(&mut self, serial: Serial, exit_code: i32) {
        let Some(live) = self.live.remove(&serial) else { return };
        self.note_failure(exit_code);
        match &self.spec.controller {
            ControllerSpec::Job(_) => self.job.cannot_go_on(),
            _ => self.keep.give_up(live.ordinal),
        }
    }

    fn note_failure(&mut self, exit_code: i32) {
        self.first_failure.get_or_insert(exit_code);
    }

    fn create(&mut self, ordinal: Option<u32>, actions: &mut Vec<Action>) {
        let serial = self.next_serial;
        self.next_serial += 1;
        let replica = self.spec.replica(ordinal, serial);
        self.live.insert(serial, Live { ordinal, ready: false, restarts: 0, deleted: false, since: self.now });
        actions.push(Action::Create { serial, replica });
    }

    /// Stops what runs: everything at once, but for a StatefulSet, whose last pod goes first and alone.
    fn wind_down(&mut self, actions: &mut Vec<Action>) {
        let one_by_one = matches!(self.spec.controller, ControllerSpec::Ordered { parallel: false, .. });
        let mut waiting: Vec<(Serial, Option<u32>)> =
            self.live.iter().filter(|(_, live)| !live.deleted).map(|(serial, live)| (*serial, live.ordinal)).collect();
        if matches!(self.spec.controller, ControllerSpec::Ordered { .. }) {
            waiting.sort_by_key(|(_, ordinal)| std::cmp::Reverse(*ordinal));
        }
        let room = match one_by_one {
            true => usize::from(self.live.len() == waiting.len()),
            false => waiting.len(),
        };
        for (serial, _) in waiting.into_iter().take(room) {
            if let Some(live) = self.live.get_mut(&serial) {
                live.deleted = true;
            }
            actions.push(Action::Delete { serial });
        }
        if self.live.is_empty() {
            let outcome = self.present_outcome();
            self.finish(outcome, actions);
        }
    }

    /// What became of the workload, now that nothing of it runs.
    fn present_outcome(&self) -> WorkloadOutcome {
        if let Some(outcome) = self.job.verdict(self.first_failure) {
            return outcome;
        }
        let exit_code = self.first_failure.unwrap_or(0);
        WorkloadOutcome { succeeded: self.first_failure.is_none(), exit_code, reason: None, message: None }
    }

    fn finish(&mut self, outcome: WorkloadOutcome, actions: &mut Vec<Action>) {
        self.stage = Stage::Finished(outcome.clone());
        actions.push(Action::Finish(outcome));
    }

    fn wake_at(&self) -> Option<Duration> {
        match (&self.stage, &self.spec.controller) {
            (Stage::Active, ControllerSpec::Job(job)) => self.job.wake_at(job, self.now),
            (Stage::Active, _) => self.keep.wake_at(self.now),
            _ => None,
        }
    }
}
