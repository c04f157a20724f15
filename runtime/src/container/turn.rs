//! The turns of a guest: it runs from one wait, or one epoch, to the next; between two turns it can be held back.
//!
//! ```text
//!   may it run? ──▶ one poll of the guest ──▶ count its time ──▶ wait for what it waits for ──┐
//!        ▲ paused, or over its CPU limit: no; killed: always                                  │
//!        └────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! A guest that computes gives way at every epoch, so a turn is about a millisecond long; only a bulk operation (`memory.fill`) takes
//! longer. A guest that is held back holds no thread.

use super::control::Control;
use super::group::ControlGroup;
use crate::engine::Engine;
use crate::limits::CPU_CLOCK_TURN_MIN;
use rustix::time::{ClockId, clock_gettime};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Runs a guest to its end, turn by turn: counted in `group`, held back as it says, unless `control` says that it is to die.
pub(super) async fn take_turns<T>(engine: &Engine, group: &ControlGroup, control: &Control, guest: impl Future<Output = T>) -> T {
    let mut guest = pin!(guest);
    let mut clock = Clock::Wall;
    loop {
        group.may_run(control).await;
        let (polled, spent) = poll_fn(|cx| {
            // Keeps the epochs coming: only now can the guest be interrupted, and only now does it need to be.
            let _running = engine.running();
            let watch = Stopwatch::start(clock);
            let polled = guest.as_mut().poll(cx);
            Poll::Ready((polled, watch.elapsed()))
        })
        .await;
        group.charge(spent);
        if let Poll::Ready(output) = polled {
            return output;
        }
        clock = if spent >= CPU_CLOCK_TURN_MIN { Clock::Thread } else { Clock::Wall };
        woken().await;
    }
}

/// Waits until the task is woken: the guest has left its waker where it waits.
async fn woken() {
    let mut waited = false;
    poll_fn(|_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// What a turn is measured with.
///
/// The thread's CPU clock does not count time in which the kernel ran something else, but costs a system call to read. So it is read
/// for guests that compute, a thousand times a second; for one that only answers and waits again the wall clock is near enough.
#[derive(Clone, Copy, Debug)]
enum Clock {
    Wall,
    Thread,
}

enum Stopwatch {
    Wall(Instant),
    Thread(Duration),
}

impl Stopwatch {
    fn start(clock: Clock) -> Self {
        match clock {
            Clock::Wall => Self::Wall(Instant::now()),
            Clock::Thread => Self::Thread(thread_time()),
        }
    }

    fn elapsed(&self) -> Duration {
        match self {
            Self::Wall(start) => start.elapsed(),
            Self::Thread(start) => thread_time().saturating_sub(*start),
        }
    }
}

/// The CPU time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanoseconds.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_clock_counts_work_and_not_waiting() {
        let watch = Stopwatch::start(Clock::Thread);
        std::thread::sleep(Duration::from_millis(20));
        let waiting = watch.elapsed();
        assert!(waiting < Duration::from_millis(10), "{waiting:?}");
        let mut sum = 0_u64;
        while watch.elapsed() < waiting + Duration::from_millis(5) {
            sum = std::hint::black_box(sum + 1);
        }
    }
}
