//! Ctrl-C, and runs that take too long: what ends a measurement before its time.
//!
//! Measuring waits for child processes on a thread that does nothing else, so that nobody wakes it but what it waits for. A second
//! thread hears the signals, looks at the clock now and then, and ends the child that is waited for.

use rustix::process::{Pid, Signal, kill_process};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use wasmpod::{Error, Result};

/// How often the clock is looked at: often enough for limits of seconds, too seldom to disturb.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Whether the user wants to see what there is: cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Interrupt {
    asked: CancellationToken,
    child: Arc<Mutex<Option<Watched>>>,
}

/// A child that somebody waits for.
#[derive(Clone, Copy, Debug)]
struct Watched {
    pid: Pid,
    /// When it has taken too long.
    until: Instant,
    /// It was told to end.
    is_late: bool,
}

/// How a child's time ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself.
    Itself,
    /// It took too long.
    Late,
}

impl Interrupt {
    /// Hears SIGINT and SIGTERM from now on; a second one ends children at once.
    pub(super) fn listen() -> Result<Self> {
        let failed = |error| Error::io("cannot listen for signals", error);
        let this = Self { asked: CancellationToken::new(), child: Arc::default() };
        let listening = this.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (mut interrupt, mut terminate) = {
            let _entered = runtime.enter();
            (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?)
        };
        let hear = async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => listening.ask(),
                    _ = terminate.recv() => listening.ask(),
                    () = tokio::time::sleep(LOOK_EVERY) => listening.end_late_child(),
                }
            }
        };
        std::thread::Builder::new().name("wasmpod-signals".to_owned()).spawn(move || runtime.block_on(hear)).map_err(failed)?;
        Ok(this)
    }

    /// Whether to stop.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// Waits until it is time to stop.
    pub(super) async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// From now on this child is ended when the user asks, and after `time`.
    pub(super) fn watch(&self, pid: Pid, time: Duration) {
        *self.child() = Some(Watched { pid, until: Instant::now() + time, is_late: false });
        // It may have been too soon for the other thread.
        if self.is_asked() {
            kill(pid, Signal::INT);
        }
    }

    /// The child has ended and is about to be forgotten: no signal goes to its number any more.
    pub(super) fn let_go(&self) -> Ended {
        match self.child().take() {
            Some(Watched { is_late: true, .. }) => Ended::Late,
            _ => Ended::Itself,
        }
    }

    fn child(&self) -> MutexGuard<'_, Option<Watched>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self) {
        let signal = if self.is_asked() { Signal::KILL } else { Signal::INT };
        self.asked.cancel();
        if let Some(watched) = *self.child() {
            kill(watched.pid, signal);
        }
    }

    fn end_late_child(&self) {
        if let Some(watched) = &mut *self.child()
            && watched.until <= Instant::now()
        {
            watched.is_late = true;
            kill(watched.pid, Signal::KILL);
        }
    }
}

/// A child that has ended meanwhile needs no signal.
fn kill(pid: Pid, signal: Signal) {
    let _ = kill_process(pid, signal);
}
