//! How long to wait before a container that ended, or that could not be started, is started again.
//!
//! The kubelet's rule, kept to the second: the first restart comes at once, the next after `initial`, then each wait doubles up
//! to `max`; a run of `reset_after` or longer wipes the slate. With the kubelet's numbers: 0, 10, 20, 40, 80, 160, 300, 300, … s.
//! A start that *failed* (no instance ever ran) is never retried at once: its first wait is `initial` already.

use crate::limits::RESTART_BACKOFF_MIN;
use std::time::Duration;

/// The numbers of the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    initial: Duration,
    max: Duration,
    reset_after: Duration,
}

impl BackoffPolicy {
    /// The kubelet's numbers: 10 s, doubled up to 300 s, forgotten after a run of 10 minutes.
    pub const KUBELET: Self =
        Self { initial: Duration::from_secs(10), max: Duration::from_secs(300), reset_after: Duration::from_secs(600) };

    /// The same policy with another first wait (`--restart-backoff-initial`), kept between
    /// [`RESTART_BACKOFF_MIN`] and the policy's maximum.
    #[must_use]
    pub fn with_initial(self, initial: Duration) -> Self {
        Self { initial: initial.max(RESTART_BACKOFF_MIN).min(self.max), ..self }
    }

    /// The longest wait.
    pub fn max(&self) -> Duration {
        self.max
    }
}

/// What one container has run up so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    policy: BackoffPolicy,
    /// The wait that the next restart will have; `None` as long as nothing went wrong.
    next: Option<Duration>,
}

impl Backoff {
    /// A clean slate.
    pub fn new(policy: BackoffPolicy) -> Self {
        Self { policy, next: None }
    }

    /// A run of `ran_for` has ended: how long to wait before the next one.
    pub fn after_run(&mut self, ran_for: Duration) -> Duration {
        if ran_for >= self.policy.reset_after {
            self.next = None;
        }
        let wait = self.next.unwrap_or(Duration::ZERO);
        self.double();
        wait
    }

    /// A start has failed: how long to wait before the next try.
    pub fn after_failed_start(&mut self) -> Duration {
        let wait = self.next.unwrap_or(self.policy.initial);
        self.next = Some(wait);
        self.double();
        wait
    }

    /// Forgets everything: a start has succeeded (for the back-off of starts).
    pub fn reset(&mut self) {
        self.next = None;
    }

    fn double(&mut self) {
        self.next = Some(match self.next {
            None => self.policy.initial,
            Some(wait) => wait.saturating_mul(2).min(self.policy.max),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(backoff: &mut Backoff, runs: usize) -> Vec<u64> {
        (0..runs).map(|_| backoff.after_run(Duration::ZERO).as_secs()).collect()
    }

    #[test]
    fn restarts_wait_as_the_kubelet_makes_them() {
        let mut backoff = Backoff::new(BackoffPolicy::KUBELET);
        assert_eq!(seconds(&mut backoff, 9), [0, 10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn failed_starts_never_retry_at_once() {
        let mut backoff = Backoff::new(BackoffPolicy::KUBELET);
        let waits: Vec<_> = (0..7).map(|_| backoff.after_failed_start().as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        backoff.reset();
        assert_eq!(backoff.after_failed_start().as_secs(), 10);
    }

    #[test]
    fn ten_minutes_of_running_wipe_the_slate() {
        let mut backoff = Backoff::new(BackoffPolicy::KUBELET);
        assert_eq!(seconds(&mut backoff, 4), [0, 10, 20, 40]);
        assert_eq!(backoff.after_run(Duration::from_millis(599_999)).as_secs(), 80);
        assert_eq!(backoff.after_run(Duration::from_secs(600)).as_secs(), 0);
        assert_eq!(seconds(&mut backoff, 2), [10, 20]);
    }

    #[test]
    fn the_first_wait_is_adjustable_within_bounds() {
        let mut quick = Backoff::new(BackoffPolicy::KUBELET.with_initial(Duration::from_secs(1)));
        assert_eq!(seconds(&mut quick, 11), [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        let mut zero = Backoff::new(BackoffPolicy::KUBELET.with_initial(Duration::ZERO));
        assert_eq!(zero.after_failed_start(), RESTART_BACKOFF_MIN);
        let mut huge = Backoff::new(BackoffPolicy::KUBELET.with_initial(Duration::from_secs(4000)));
        assert_eq!(huge.after_failed_start().as_secs(), 300);
    }
}
