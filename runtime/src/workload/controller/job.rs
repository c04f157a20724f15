//! Jobs: pods until enough of them have succeeded, or too many have failed.

use super::{Action, Controller, JobProgress, ReplacePolicy, Stage, WorkloadOutcome};
use crate::workload::spec::JobSpec;
use std::collections::BTreeSet;
use std::time::Duration;

/// What has become of a Job's pods so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    succeeded: u32,
    failed: u32,
    completed: BTreeSet<u32>,
    /// Failures since the last success: what the back-off grows with.
    failures_in_a_row: u32,
    /// No pod is made before this time.
    not_before: Duration,
    began_at: Duration,
    /// A pod cannot be made at all.
    is_stuck: bool,
    verdict: Option<Verdict>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Complete,
    BackoffLimitExceeded,
    DeadlineExceeded,
    CannotBeMade,
}

impl Progress {
    pub(super) fn begin(&mut self, now: Duration) {
        self.began_at = now;
    }

    pub(super) fn ended(&mut self, index: Option<u32>, succeeded: bool, now: Duration, policy: &ReplacePolicy) {
        if succeeded {
            self.succeeded = self.succeeded.saturating_add(1);
            self.completed.extend(index);
            self.failures_in_a_row = 0;
            self.not_before = now;
        } else {
            self.failed = self.failed.saturating_add(1);
            self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
            self.not_before = now + policy.wait(self.failures_in_a_row);
        }
    }

    pub(super) fn cannot_go_on(&mut self) {
        self.is_stuck = true;
    }

    pub(super) fn progress(&self) -> JobProgress {
        let completed_indexes = self.completed.iter().copied().collect();
        JobProgress { succeeded: self.succeeded, failed: self.failed, completed_indexes, ..JobProgress::default() }
    }

    /// When time alone calls for something: a pod that is due, or the deadline.
    pub(super) fn wake_at(&self, job: &JobSpec, now: Duration) -> Option<Duration> {
        let deadline = job.active_deadline.map(|deadline| self.began_at + deadline);
        deadline.into_iter().chain([self.not_before]).filter(|at| *at > now).min()
    }

    /// What the Job came to, once that is decided.
    pub(super) fn verdict(&self, first_failure: Option<i32>) -> Option<WorkloadOutcome> {
        let failed = |reason, message: &str| WorkloadOutcome {
            succeeded: false,
            // A Job fails though its pods may not have: at the deadline.
            exit_code: first_failure.filter(|code| *code != 0).unwrap_or(1),
            reason,
            message: Some(message.to_owned()),
        };
        Some(match self.verdict? {
            Verdict::Complete => WorkloadOutcome { succeeded: true, exit_code: 0, reason: None, message: None },
            Verdict::BackoffLimitExceeded => failed(Some("BackoffLimitExceeded"), "Job has reached the specified backoff limit"),
            Verdict::DeadlineExceeded => failed(Some("DeadlineExceeded"), "Job was active longer than specified deadline"),
            Verdict::CannotBeMade => failed(None, "a pod of the Job could not be made"),
        })
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
        if self.job.not_before > self.now || (job.completions.is_none() && self.job.succeeded > 0) {
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

    /// The lowest indexes that have neither succeeded nor a pod.
    fn free_indexes(&self, job: &JobSpec, wanted: u32) -> Vec<u32> {
        let taken: BTreeSet<u32> = self.live.values().filter_map(|live| live.ordinal).collect();
        let free = (0..job.completions.unwrap_or(0)).filter(|index| !taken.contains(index) && !self.job.completed.contains(index));
        free.take(usize::try_from(wanted).unwrap_or(usize::MAX)).collect()
    }

    /// Whether the Job is over, in the order in which the Job controller looks.
    fn judge(&self, job: &JobSpec) -> Option<Verdict> {
        let progress = &self.job;
        let is_idle = self.live.is_empty();
        // The containers of pods that restart them (`OnFailure`) fail too.
        let restarts = self.live.values().fold(0_u32, |sum, live| sum.saturating_add(live.restarts));
        let restarted_too_often = if job.backoff_limit == 0 { restarts > 0 } else { restarts >= job.backoff_limit };
        if progress.is_stuck {
            return Some(Verdict::CannotBeMade);
        }
        if progress.failed > job.backoff_limit || restarted_too_often {
            return Some(Verdict::BackoffLimitExceeded);
        }
        if job.active_deadline.is_some_and(|deadline| self.now >= progress.began_at + deadline) {
            return Some(Verdict::DeadlineExceeded);
        }
        let complete = match job.completions {
            Some(completions) => progress.succeeded >= completions,
            None => progress.succeeded > 0 && is_idle,
        };
        // A Job that makes no pods has nothing to wait for in a run.
        let makes_none = is_idle && (job.suspended || job.parallelism == 0);
        (complete || makes_none).then_some(Verdict::Complete)
    }
}
