//! CPU time of a container: how much its instances have used, and how long they must wait when that is more than they may.
//!
//! `resources.limits.cpu` is a rate. The container earns time at that rate, spends it by running, and waits when it has none left:
//!
//! ```text
//!   balance   ▲ CPU_BURST at its rate: what an idle container may save up
//!             │    run: spends real time         wait: earns
//!           0 ┼────────────────╲─────────────╱────────────────
//!             │                 ╲___________╱   a turn ends at an epoch, so it may overspend; that is paid back
//!             ▼ CPU_DEBT at its rate: more is forgiven
//! ```

use crate::limits::{CPU_BURST, CPU_DEBT_MAX};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The CPU time of one container, all its instances together.
#[derive(Debug)]
pub(super) struct CpuAccount {
    used_ns: AtomicU64,
    throttled_ns: AtomicU64,
    bucket: Mutex<Bucket>,
}

impl CpuAccount {
    /// An account of nothing.
    pub(super) fn new() -> Self {
        let bucket = Bucket { balance_ns: i64::MAX, refilled_at: Instant::now() };
        Self { used_ns: AtomicU64::new(0), throttled_ns: AtomicU64::new(0), bucket: Mutex::new(bucket) }
    }

    /// Counts `spent`, and takes it from the balance if there is a limit. Says how much was used before.
    pub(super) fn charge(&self, spent: Duration, limit: Option<CpuRate>) -> Duration {
        let before = self.used_ns.fetch_add(nanoseconds(spent), Ordering::Relaxed);
        if let Some(rate) = limit {
            self.bucket().spend(Instant::now(), spent, rate);
        }
        Duration::from_nanos(before)
    }

    /// How long the container must wait before it may run again.
    pub(super) fn wait(&self, limit: Option<CpuRate>) -> Option<Duration> {
        limit.and_then(|rate| self.bucket().wait(Instant::now(), rate))
    }

    /// Counts time that an instance was made to wait.
    pub(super) fn throttled(&self, waited: Duration) {
        self.throttled_ns.fetch_add(nanoseconds(waited), Ordering::Relaxed);
    }

    /// Nanoseconds used until now.
    pub(super) fn used_ns(&self) -> u64 {
        self.used_ns.load(Ordering::Relaxed)
    }

    /// Nanoseconds waited until now, of all instances together.
    pub(super) fn throttled_ns(&self) -> u64 {
        self.throttled_ns.load(Ordering::Relaxed)
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A share of processors, in thousandths of one; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CpuRate {
    millicores: u64,
}

impl CpuRate {
    /// So many thousandths; 0 would be a container that never runs and counts as 1.
    pub(super) fn of_millicores(millicores: u64) -> Self {
        Self { millicores: millicores.clamp(1, 1_000_000) }
    }

    /// What is earned in `time`, in nanoseconds.
    fn earned_in(self, time: Duration) -> i64 {
        let earned = time.as_nanos().saturating_mul(u128::from(self.millicores)) / 1000;
        i64::try_from(earned).unwrap_or(i64::MAX)
    }

    /// How long it takes to earn so many nanoseconds, rounded up.
    fn time_for(self, nanoseconds: u64) -> Duration {
        let time = u128::from(nanoseconds).saturating_mul(1000).div_ceil(u128::from(self.millicores));
        Duration::from_nanos(u64::try_from(time).unwrap_or(u64::MAX))
    }
}

/// The balance of a container with a limit.
#[derive(Debug)]
struct Bucket {
    balance_ns: i64,
    refilled_at: Instant,
}

impl Bucket {
    fn spend(&mut self, now: Instant, spent: Duration, rate: CpuRate) {
        self.refill(now, rate);
        let spent = i64::try_from(nanoseconds(spent)).unwrap_or(i64::MAX);
        self.balance_ns = self.balance_ns.saturating_sub(spent).max(-rate.earned_in(CPU_DEBT_MAX));
    }

    fn wait(&mut self, now: Instant, rate: CpuRate) -> Option<Duration> {
        self.refill(now, rate);
        (self.balance_ns < 0).then(|| rate.time_for(self.balance_ns.unsigned_abs()))
    }

    fn refill(&mut self, now: Instant, rate: CpuRate) {
        let earned = rate.earned_in(now.saturating_duration_since(self.refilled_at));
        self.refilled_at = self.refilled_at.max(now);
        self.balance_ns = self.balance_ns.saturating_add(earned).min(rate.earned_in(CPU_BURST));
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bucket() -> (Bucket, Instant) {
        let now = Instant::now();
        (Bucket { balance_ns: i64::MAX, refilled_at: now }, now)
    }

    #[test]
    fn a_turn_that_could_not_be_interrupted_is_paid_back_but_not_for_ever() {
        let (mut bucket, now) = bucket();
        let rate = CpuRate::of_millicores(100);
        bucket.spend(now, Duration::from_millis(13), rate);
        // 3 ms were saved up, 10 ms are owed.
        assert_eq!(bucket.wait(now, rate), Some(Duration::from_millis(100)));
        bucket.spend(now, Duration::from_secs(3600), rate);
        assert_eq!(bucket.wait(now, rate), Some(CPU_DEBT_MAX));
        assert_eq!(bucket.wait(now + CPU_DEBT_MAX, rate), None);
    }

    #[test]
    fn an_idle_container_saves_up_no_more_than_its_burst() {
        let (mut bucket, now) = bucket();
        let rate = CpuRate::of_millicores(500);
        let later = now + Duration::from_secs(3600);
        bucket.spend(later, CPU_BURST, rate);
        assert_eq!(bucket.wait(later, rate), Some(CPU_BURST));
    }

    #[test]
    fn several_processors_can_be_given() {
        let (mut bucket, now) = bucket();
        let rate = CpuRate::of_millicores(2000);
        bucket.spend(now, CPU_BURST * 2, rate);
        assert_eq!(bucket.wait(now, rate), None);
        bucket.spend(now, Duration::from_millis(2), rate);
        assert_eq!(bucket.wait(now, rate), Some(Duration::from_millis(1)));
    }

    #[test]
    fn without_a_limit_nobody_waits_and_everything_counts() {
        let account = CpuAccount::new();
        assert_eq!(account.charge(Duration::from_secs(3), None), Duration::ZERO);
        assert_eq!(account.charge(Duration::from_secs(1), None), Duration::from_secs(3));
        assert_eq!((account.wait(None), account.used_ns()), (None, 4_000_000_000));
    }

    /// When a busy container ran, from its start on: turns and the lateness of timers come from the lists, over and over.
    fn runs(millicores: u64, span: Duration, turns_us: &[u64], lateness_us: &[u64]) -> Vec<(Duration, Duration)> {
        let (mut bucket, start) = bucket();
        let rate = CpuRate::of_millicores(millicores);
        let (mut turns, mut lateness) = (turns_us.iter().cycle(), lateness_us.iter().cycle());
        let (mut now, mut runs) = (start, Vec::new());
        while now - start < span {
            let wait = bucket.wait(now, rate).map(|wait| wait + Duration::from_micros(*lateness.next().unwrap()));
            now += wait.unwrap_or_default();
            if wait.is_none() {
                let turn = Duration::from_micros(*turns.next().unwrap());
                runs.push((now - start, now - start + turn));
                now += turn;
                bucket.spend(now, turn, rate);
            }
        }
        runs
    }

    /// The CPU time used until `at`.
    fn used_until(runs: &[(Duration, Duration)], before: &[Duration], at: Duration) -> Duration {
        let index = runs.partition_point(|(start, _)| *start <= at);
        let Some((start, end)) = index.checked_sub(1).map(|last| runs[last]) else { return Duration::ZERO };
        before[index - 1] + at.min(end) - start
    }

    /// The least and the most that was used in any second, in thousandths of it. Both are found where a run begins or ends at an edge of
    /// the second.
    fn extremes(runs: &[(Duration, Duration)], span: Duration) -> (f64, f64) {
        let mut total = Duration::ZERO;
        let before: Vec<Duration> = runs
            .iter()
            .map(|(start, end)| {
                let before = total;
                total += *end - *start;
                before
            })
            .collect();
        let second = Duration::from_secs(1);
        let edges = runs.iter().flat_map(|(start, end)| [*start, *end]);
        let starts =
            edges.flat_map(|edge| [Some(edge), edge.checked_sub(second)]).flatten().filter(|start| *start + second <= span);
        let used = starts.map(|start| used_until(runs, &before, start + second) - used_until(runs, &before, start));
        let shares: Vec<f64> = used.map(|used| used.as_secs_f64() * 1000.0).collect();
        (shares.iter().copied().fold(f64::INFINITY, f64::min), shares.iter().copied().fold(0.0, f64::max))
    }

    #[test]
    fn the_containers_of_the_promise_hold_their_limits_over_every_second() {
        for millicores in [100, 250, 500, 900] {
            let span = Duration::from_secs(10);
            let (least, most) = extremes(&runs(millicores, span, &[1000], &[0, 1000]), span);
            let limit = millicores as f64;
            assert!(least >= limit * 0.95 && most <= limit * 1.05, "{millicores}m: {least} to {most}");
        }
    }

    #[test]
    fn a_limit_that_does_not_hold_is_found() {
        let span = Duration::from_secs(3);
        let seen = |turns: &[u64], lateness: &[u64]| extremes(&runs(100, span, turns, lateness), span);
        assert!(seen(&[1000], &[90_000]).0 < 95.0, "timers that are late by more than may be saved up");
        assert!(seen(&[12_000], &[0]).1 > 105.0, "turns that nobody interrupts");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// As long as turns are as short as epochs make them and timers no later than what may be saved up.
        #[test]
        fn over_any_second_any_rate_any_turns_and_any_timers_stay_within_five_percent(
            millicores in 100u64..=1000,
            turns_us in proptest::collection::vec(50u64..=1500, 1..20),
            lateness_us in proptest::collection::vec(0u64..=30_000, 1..20),
        ) {
            let span = Duration::from_secs(4);
            let (least, most) = extremes(&runs(millicores, span, &turns_us, &lateness_us), span);
            let limit = millicores as f64;
            prop_assert!(least >= limit * 0.95 && most <= limit * 1.05, "{}m: {} to {}", millicores, least, most);
        }

        #[test]
        fn over_ten_seconds_lower_rates_and_longer_turns_stay_close_too(millicores in 20u64..1000, turn_us in 100u64..3000) {
            let span = Duration::from_secs(10);
            let runs = runs(millicores, span, &[turn_us], &[1000]);
            let used: Duration = runs.iter().map(|(start, end)| *end - *start).sum();
            let share = used.as_secs_f64() / span.as_secs_f64() * 1000.0;
            prop_assert!((share - millicores as f64).abs() <= millicores as f64 * 0.05, "{} of {}", share, millicores);
        }
    }
}
