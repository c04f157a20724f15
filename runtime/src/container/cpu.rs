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

    const TURN: Duration = Duration::from_millis(1);

    /// Runs a busy container for `span`, in turns; returns what it used.
    fn busy(bucket: &mut Bucket, now: &mut Instant, span: Duration, turn: Duration, rate: CpuRate) -> Duration {
        let (end, mut used) = (*now + span, Duration::ZERO);
        while *now < end {
            match bucket.wait(*now, rate) {
                // Timers have a resolution of a millisecond.
                Some(wait) => *now += Duration::from_millis(u64::try_from(wait.as_millis()).unwrap() + 1),
                None => {
                    *now += turn;
                    used += turn;
                    bucket.spend(*now, turn, rate);
                }
            }
        }
        used
    }

    fn bucket() -> (Bucket, Instant) {
        let now = Instant::now();
        (Bucket { balance_ns: i64::MAX, refilled_at: now }, now)
    }

    #[test]
    fn a_busy_container_holds_its_limit_in_every_second_from_the_first() {
        for millicores in [10, 100, 250, 500, 900] {
            let (mut bucket, mut now) = bucket();
            for second in 0..5 {
                let used = busy(&mut bucket, &mut now, Duration::from_secs(1), TURN, CpuRate::of_millicores(millicores));
                let share = used.as_secs_f64() * 1000.0;
                let expected = millicores as f64;
                // A single turn is 1m: at 10m that is a tenth.
                let off = (share - expected).abs();
                assert!(off <= expected * 0.05 + 1.0, "second {second}: {share} of {millicores}m");
            }
        }
    }

    #[test]
    fn a_turn_that_could_not_be_interrupted_is_paid_back_but_not_for_ever() {
        let (mut bucket, now) = bucket();
        let rate = CpuRate::of_millicores(100);
        bucket.spend(now, Duration::from_millis(14), rate);
        // 4 ms were saved up, 10 ms are owed.
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

    proptest! {
        #[test]
        fn over_ten_seconds_any_rate_and_any_turns_stay_close(millicores in 20u64..1000, turn_us in 100u64..3000) {
            let (mut bucket, mut now) = bucket();
            let (start, turn) = (now, Duration::from_micros(turn_us));
            let used = busy(&mut bucket, &mut now, Duration::from_secs(10), turn, CpuRate::of_millicores(millicores));
            let share = used.as_secs_f64() / (now - start).as_secs_f64() * 1000.0;
            prop_assert!((share - millicores as f64).abs() <= millicores as f64 * 0.05, "{} of {}", share, millicores);
        }
    }
}
