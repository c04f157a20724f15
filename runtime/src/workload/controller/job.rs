//! Jobs: pods until enough of them have succeeded, or too many have failed. The Job controller's rules (`pkg/controller/job`).

use super::{Action, Controller, JobProgress, ReplacePolicy, Stage, WorkloadOutcome};
use crate::workload::spec::{FailureAction, JobSpec, PodEnd, SuccessRule};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What has become of a Job's pods so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    succeeded: u32,
    /// Failures that count.
    failed: u32,
    completed: BTreeSet<u32>,
    /// All failures since the last success: what the back-off grows with.
    failures_in_a_row: u32,
    /// No pod is made before this time, unless each index waits for itself.
    not_before: Duration,
    /// Of the indexes that failed before, where each has failures of its own.
    indexes: BTreeMap<u32, IndexFailures>,
    failed_indexes: BTreeSet<u32>,
    /// The failure for which a rule fails the whole Job.
    fatal: Option<String>,
    began_at: Duration,
    /// A pod cannot be made at all.
    is_stuck: bool,
    verdict: Option<Verdict>,
}

/// The failures of one index.
#[derive(Clone, Copy, Debug, Default)]
struct IndexFailures {
    /// Those that count.
    counted: u32,
    /// All of them: what the index's back-off grows with.
    all: u32,
    not_before: Duration,
}

/// A pod that is over, as the Job's books have it.
pub(super) struct EndedPod<'a> {
    /// `namespace/name`.
    pub(super) name: &'a str,
    pub(super) index: Option<u32>,
    pub(super) end: &'a PodEnd,
}

/// Why a Job is over.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Complete,
    /// The rule with this number is met.
    SuccessPolicy(usize),
    /// It may make no pods, and in a run nobody would change that.
    Suspended,
    Idle,
    PodFailurePolicy(String),
    BackoffLimitExceeded,
    DeadlineExceeded,
    MaxFailedIndexesExceeded,
    FailedIndexes,
    CannotBeMade,
}

impl Progress {
    pub(super) fn begin(&mut self, now: Duration) {
        self.began_at = now;
    }

    /// Takes in the end of a pod; says whether it is a failure that counts.
    pub(super) fn ended(&mut self, job: &JobSpec, pod: &EndedPod<'_>, now: Duration, policy: &ReplacePolicy) -> bool {
        if pod.end.succeeded {
            self.succeeded = self.succeeded.saturating_add(1);
            self.completed.extend(pod.index);
            self.failures_in_a_row = 0;
            self.not_before = now;
            return false;
        }
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.not_before = now + policy.wait(self.failures_in_a_row);
        let action = self.action(job, pod);
        let counts = action != FailureAction::Ignore;
        self.failed = self.failed.saturating_add(u32::from(counts));
        if let (Some(limits), Some(index)) = (job.per_index, pod.index) {
            let failures = self.indexes.entry(index).or_default();
            failures.all = failures.all.saturating_add(1);
            failures.counted = failures.counted.saturating_add(u32::from(counts));
            failures.not_before = now + policy.wait(failures.all);
            if action == FailureAction::FailIndex || failures.counted > limits.backoff_limit {
                self.failed_indexes.insert(index);
            }
        }
        counts
    }

    /// What a failure means: what the first rule says that fits, or that it counts.
    fn action(&mut self, job: &JobSpec, pod: &EndedPod<'_>) -> FailureAction {
        let mut rules = job.failure_rules.iter().enumerate();
        let fitting = rules.find_map(|(at, rule)| Some((at, rule.action, rule.fitting(pod.name, pod.end)?)));
        let Some((at, action, failure)) = fitting else { return FailureAction::Count };
        if action == FailureAction::FailJob {
            self.fatal.get_or_insert_with(|| format!("{failure} matching FailJob rule at index {at}"));
        }
        action
    }

    pub(super) fn cannot_go_on(&mut self) {
        self.is_stuck = true;
    }

    pub(super) fn progress(&self, job: &JobSpec) -> JobProgress {
        JobProgress {
            succeeded: self.succeeded,
            failed: self.failed,
            completed_indexes: self.completed.iter().copied().collect(),
            failed_indexes: job.per_index.map(|_| self.failed_indexes.iter().copied().collect()),
            conditions: self.verdict.as_ref().map_or(&[][..], Verdict::conditions),
            ..JobProgress::default()
        }
    }

    /// When time alone calls for something: a pod that is due, or the deadline.
    pub(super) fn wake_at(&self, job: &JobSpec, now: Duration) -> Option<Duration> {
        let deadline = job.active_deadline.map(|deadline| self.began_at + deadline);
        let waiting = |index: &u32| !self.completed.contains(index) && !self.failed_indexes.contains(index);
        let indexes = self.indexes.iter().filter(|(index, _)| waiting(index)).map(|(_, failures)| failures.not_before);
        let due = indexes.chain((job.per_index.is_none()).then_some(self.not_before));
        deadline.into_iter().chain(due).filter(|at| *at > now).min()
    }

    /// Whether a pod of this index may be made now.
    fn is_due(&self, index: u32, now: Duration) -> bool {
        self.indexes.get(&index).is_none_or(|failures| failures.not_before <= now)
    }

    /// What the Job came to, once that is decided.
    pub(super) fn verdict(&self, first_failure: Option<i32>) -> Option<WorkloadOutcome> {
        let verdict = self.verdict.as_ref()?;
        let succeeded = verdict.is_success();
        // A Job fails though its pods may not have: at the deadline.
        let exit_code = if succeeded { 0 } else { first_failure.filter(|code| *code != 0).unwrap_or(1) };
        Some(WorkloadOutcome { succeeded, exit_code, reason: verdict.reason(), message: verdict.message() })
    }
}

impl Verdict {
    fn is_success(&self) -> bool {
        matches!(self, Self::Complete | Self::SuccessPolicy(_) | Self::Suspended | Self::Idle)
    }

    /// `status.conditions`, by type, of a Job that came to this.
    fn conditions(&self) -> &'static [&'static str] {
        match self {
            Self::Complete | Self::SuccessPolicy(_) => &["SuccessCriteriaMet", "Complete"],
            Self::Suspended => &["Suspended"],
            Self::Idle | Self::CannotBeMade => &[],
            _ => &["FailureTarget", "Failed"],
        }
    }

    fn reason(&self) -> Option<&'static str> {
        Some(match self {
            Self::Complete => "CompletionsReached",
            Self::SuccessPolicy(_) => "SuccessPolicy",
            Self::Suspended => "JobSuspended",
            Self::PodFailurePolicy(_) => "PodFailurePolicy",
            Self::BackoffLimitExceeded => "BackoffLimitExceeded",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::MaxFailedIndexesExceeded => "MaxFailedIndexesExceeded",
            Self::FailedIndexes => "FailedIndexes",
            Self::Idle | Self::CannotBeMade => return None,
        })
    }

    fn message(&self) -> Option<String> {
        let words = match self {
            Self::Complete => "Reached expected number of succeeded pods",
            Self::SuccessPolicy(rule) => return Some(format!("Matched rules at index {rule}")),
            Self::Suspended => "Job suspended",
            Self::PodFailurePolicy(failure) => failure,
            Self::BackoffLimitExceeded => "Job has reached the specified backoff limit",
            Self::DeadlineExceeded => "Job was active longer than specified deadline",
            Self::MaxFailedIndexesExceeded => "Job has exceeded the specified maximal number of failed indexes",
            Self::FailedIndexes => "Job has failed indexes",
            Self::CannotBeMade => "a pod of the Job could not be made",
            Self::Idle => return None,
        };
        Some(words.to_owned())
    }
}

impl Controller {
    /// Decides whether the Job is over, and makes the pods that it lacks.
    pub(super) fn settle_job(&mut self, job: &JobSpec, actions: &mut Vec<Action>) {
        if let Some(verdict) = self.judge(job) {
            self.job.verdict = Some(verdict);
            self.stage = Stage::Stopping;
            return;
        }
        let must_wait = job.per_index.is_none() && self.job.not_before > self.now;
        if must_wait || (job.completions.is_none() && self.job.succeeded > 0) {
            return;
        }
        let active = u32::try_from(self.live.len()).unwrap_or(u32::MAX);
        let left = job.completions.map_or(u32::MAX, |completions| completions.saturating_sub(self.job.succeeded));
        let wanted = job.parallelism.min(left).saturating_sub(active);
        if job.indexed {
            for index in self.free_indexes(job, wanted) {
                self.create(Some(index), actions);
            }
        } else {
            (0..wanted).for_each(|_| self.create(None, actions));
        }
    }

    /// The lowest indexes that have neither succeeded nor failed nor a pod; of these, those whose back-off is over.
    fn free_indexes(&self, job: &JobSpec, wanted: u32) -> Vec<u32> {
        let taken: BTreeSet<u32> = self.live.values().filter_map(|live| live.ordinal).collect();
        let done = |index: &u32| self.job.completed.contains(index) || self.job.failed_indexes.contains(index);
        let free = (0..job.completions.unwrap_or(0)).filter(|index| !taken.contains(index) && !done(index));
        let next = free.take(usize::try_from(wanted).unwrap_or(usize::MAX));
        next.filter(|index| self.job.is_due(*index, self.now)).collect()
    }

    /// Whether the Job is over, in the order in which the Job controller looks.
    fn judge(&self, job: &JobSpec) -> Option<Verdict> {
        if self.job.is_stuck {
            return Some(Verdict::CannotBeMade);
        }
        self.failure(job).or_else(|| self.success(job))
    }

    fn failure(&self, job: &JobSpec) -> Option<Verdict> {
        let progress = &self.job;
        if let Some(failure) = &progress.fatal {
            return Some(Verdict::PodFailurePolicy(failure.clone()));
        }
        // The containers of pods that restart them (`OnFailure`) fail too.
        let restarts = self.live.values().fold(0_u32, |sum, live| sum.saturating_add(live.restarts));
        let restarted_too_often = if job.backoff_limit == 0 { restarts > 0 } else { restarts >= job.backoff_limit };
        if progress.failed > job.backoff_limit || restarted_too_often {
            return Some(Verdict::BackoffLimitExceeded);
        }
        if job.active_deadline.is_some_and(|deadline| self.now >= progress.began_at + deadline) {
            return Some(Verdict::DeadlineExceeded);
        }
        let (failed, completed) = (progress.failed_indexes.len(), progress.completed.len());
        let over = |max: Option<u32>| max.and_then(|max| usize::try_from(max).ok()).is_some_and(|max| failed > max);
        if over(job.per_index.and_then(|limits| limits.failed_indexes_max)) {
            return Some(Verdict::MaxFailedIndexesExceeded);
        }
        let indexes = job.completions.and_then(|completions| usize::try_from(completions).ok());
        (failed > 0 && indexes.is_some_and(|indexes| failed + completed >= indexes)).then_some(Verdict::FailedIndexes)
    }

    fn success(&self, job: &JobSpec) -> Option<Verdict> {
        let (progress, is_idle) = (&self.job, self.live.is_empty());
        let met = |rule: &SuccessRule| !progress.completed.is_empty() && rule.is_met_by(&progress.completed);
        if let Some(rule) = job.success_rules.iter().position(met) {
            return Some(Verdict::SuccessPolicy(rule));
        }
        let complete = match job.completions {
            Some(completions) => progress.succeeded >= completions,
            None => progress.succeeded > 0 && is_idle,
        };
        if complete {
            return Some(Verdict::Complete);
        }
        match (is_idle, job.suspended) {
            (true, true) => Some(Verdict::Suspended),
            (true, false) if job.parallelism == 0 => Some(Verdict::Idle),
            _ => None,
        }
    }
}
