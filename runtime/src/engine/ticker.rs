//! The epoch clock: one thread that ends wasmtime's epoch every millisecond, but only while guests run.
//!
//! Compiled code compares the engine's epoch with its deadline at every loop head and function entry; that is how a busy loop yields,
//! is throttled and is killed. An idle process must not wake a thousand times a second for it, so the thread parks when no
//! [`Running`] guard is held. It stays awake for [`EPOCH_LINGER_TICKS`] more, so that guests which sleep and wake in quick turns
//! (a request, an answer) do not pay for waking it each time.
//!
//! ```text
//!              running() with none before                  EPOCH_LINGER_TICKS without a guard
//!   parked ─────────────────────────────────▶ ticking ─────────────────────────────────────────▶ parked
//! ```

use crate::limits::{EPOCH_LINGER_TICKS, EPOCH_TICK};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;

/// The clock. Its thread starts with the first guest and ends with the clock.
pub(super) struct Ticker(Arc<Shared>);

/// A guest may be executing: the clock ticks while one of these lives.
#[derive(Debug)]
pub struct Running(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// How many guards live.
    guards: AtomicUsize,
    /// Set by the thread before it parks, cleared by whoever wakes it.
    parked: AtomicBool,
    /// Set when the clock goes away.
    stopped: AtomicBool,
    /// How many epochs have been ended by the thread.
    ticks: AtomicU64,
    engines: Mutex<Vec<EpochSource>>,
    thread: OnceLock<Option<Thread>>,
}

struct EpochSource(wasmtime::Engine);

impl std::fmt::Debug for EpochSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EpochSource")
    }
}

impl Ticker {
    /// A clock for the epochs of engines that are [added](Self::add).
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            guards: AtomicUsize::new(0),
            parked: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            ticks: AtomicU64::new(0),
            engines: Mutex::default(),
            thread: OnceLock::new(),
        }))
    }

    /// Lets the clock drive the epochs of an engine.
    pub(super) fn add(&self, engine: wasmtime::Engine) {
        self.0.engines.lock().unwrap_or_else(PoisonError::into_inner).push(EpochSource(engine));
    }

    /// Ends the epoch now.
    pub(super) fn bump(&self) {
        self.0.end_epoch();
    }

    /// Starts the thread, so that the first guard need not.
    pub(super) fn start(&self) {
        self.0.thread();
    }

    /// A guard that keeps the clock ticking.
    pub(super) fn running(&self) -> Running {
        self.0.guards.fetch_add(1, Ordering::SeqCst);
        let running = Running(self.0.clone());
        running.0.wake();
        running
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        if let Some(Some(thread)) = self.0.thread.get() {
            thread.unpark();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.guards.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn end_epoch(&self) {
        for engine in self.engines.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            engine.0.increment_epoch();
        }
    }

    /// The thread, started if there is none yet; `None` where the machine has none to give.
    fn thread(self: &Arc<Self>) -> Option<&Thread> {
        let thread = self.thread.get_or_init(|| {
            let shared = self.clone();
            let built = std::thread::Builder::new().name("wasmpod-epoch".into()).spawn(move || shared.run());
            match built {
                Ok(handle) => Some(handle.thread().clone()),
                Err(error) => {
                    tracing::error!(target: "wasmpod::engine", %error, "no thread for the epoch clock: busy guests cannot be stopped");
                    None
                }
            }
        });
        thread.as_ref()
    }

    /// Wakes the thread if it sleeps, starts it if there is none yet.
    fn wake(self: &Arc<Self>) {
        let thread = self.thread();
        if self.parked.swap(false, Ordering::SeqCst)
            && let Some(thread) = thread
        {
            thread.unpark();
        }
    }

    fn run(&self) {
        let mut idle_ticks = 0;
        while !self.stopped.load(Ordering::SeqCst) || self.guards.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(EPOCH_TICK);
            self.end_epoch();
            self.ticks.fetch_add(1, Ordering::Relaxed);
            idle_ticks = if self.guards.load(Ordering::SeqCst) == 0 { idle_ticks + 1 } else { 0 };
            if idle_ticks >= EPOCH_LINGER_TICKS {
                self.park();
                idle_ticks = 0;
            }
        }
    }

    /// Sleeps until a guard is taken. The flag goes up before the guards are counted and a guard counts before it looks at the flag,
    /// so one of the two always sees the other.
    fn park(&self) {
        self.parked.store(true, Ordering::SeqCst);
        while self.parked.load(Ordering::SeqCst) && self.guards.load(Ordering::SeqCst) == 0 && !self.stopped.load(Ordering::SeqCst)
        {
            std::thread::park();
        }
        self.parked.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn ticker() -> Ticker {
        let ticker = Ticker::new();
        ticker.add(super::super::config::on_demand().unwrap());
        ticker
    }

    /// Waits for what another thread does within milliseconds.
    fn eventually(what: &str, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn ticks_while_a_guest_runs_and_parks_afterwards() {
        let ticker = ticker();
        let ticks = || ticker.0.ticks.load(Ordering::SeqCst);
        assert!(ticker.0.thread.get().is_none(), "no thread before the first guest");
        for round in 0..3 {
            let (before, guards) = (ticks(), [ticker.running(), ticker.running()]);
            eventually("it ticks", || ticks() > before + 2);
            let [first, second] = guards;
            drop(first);
            let before = ticks();
            eventually("it ticks for the second guest", || ticks() > before + u64::from(EPOCH_LINGER_TICKS) + 2);
            drop(second);
            eventually("it parks", || ticker.0.parked.load(Ordering::SeqCst));
            let parked = ticks();
            for _ in 0..100 {
                std::thread::yield_now();
            }
            assert_eq!(ticks(), parked, "round {round}");
        }
    }

    #[test]
    fn a_clock_that_was_started_before_its_first_guest_parks_until_then() {
        let ticker = ticker();
        ticker.start();
        eventually("it parks", || ticker.0.parked.load(Ordering::SeqCst));
        let (before, _guard) = (ticker.0.ticks.load(Ordering::SeqCst), ticker.running());
        eventually("it ticks", || ticker.0.ticks.load(Ordering::SeqCst) > before + 2);
    }

    #[test]
    fn the_thread_ends_with_the_clock() {
        let ticker = ticker();
        drop(ticker.running());
        let shared = Arc::downgrade(&ticker.0);
        drop(ticker);
        eventually("the thread lets go", || shared.strong_count() == 0);
    }

    #[test]
    fn a_guard_that_outlives_the_clock_keeps_it_ticking() {
        let ticker = ticker();
        let guard = ticker.running();
        drop(ticker);
        let before = guard.0.ticks.load(Ordering::SeqCst);
        eventually("it ticks", || guard.0.ticks.load(Ordering::SeqCst) > before + 2);
    }
}
