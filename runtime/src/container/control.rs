//! How a container is told to stop: a latch that only ever moves towards the end.
//!
//! ```text
//!   running ──TERM──▶ terminating ──KILL──▶ killed
//!      └──────────────KILL────────────────────▲
//! ```
//! Two things look at it: the task that runs the guest waits on it, and the guest's epoch callback, which may be entered in the
//! middle of a busy loop, reads it.

use crate::pod::state::Signal;
use tokio::sync::watch;

/// The latch of one container.
#[derive(Debug)]
pub(super) struct Control(watch::Sender<Option<Signal>>);

impl Control {
    /// The latch of a container that nobody has asked to stop.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Moves the latch. SIGTERM after SIGKILL changes nothing.
    pub(super) fn send(&self, signal: Signal) {
        self.0.send_if_modified(|latch| {
            let moves = match (*latch, signal) {
                (None, _) | (Some(Signal::Term), Signal::Kill) => true,
                (Some(_), _) => false,
            };
            if moves {
                *latch = Some(signal);
            }
            moves
        });
    }

    /// What was asked for so far.
    pub(super) fn signal(&self) -> Option<Signal> {
        *self.0.borrow()
    }

    /// Waits until the container is asked to stop in any way, and says how.
    pub(super) async fn stopped(&self) -> Signal {
        let mut latch = self.0.subscribe();
        loop {
            if let Some(signal) = *latch.borrow_and_update() {
                return signal;
            }
            if latch.changed().await.is_err() {
                return Signal::Kill;
            }
        }
    }

    /// Waits until the container is to end at once.
    pub(super) async fn killed(&self) {
        let mut latch = self.0.subscribe();
        // An error would mean that the sender is gone; `self` holds it.
        drop(latch.wait_for(|signal| *signal == Some(Signal::Kill)).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latch_never_moves_back() {
        let control = Control::new();
        assert_eq!(control.signal(), None);
        control.send(Signal::Term);
        assert_eq!(control.signal(), Some(Signal::Term));
        control.send(Signal::Kill);
        control.send(Signal::Term);
        assert_eq!(control.signal(), Some(Signal::Kill));
    }

    #[tokio::test]
    async fn whoever_waits_is_told_whatever_came_first() {
        let control = Control::new();
        control.send(Signal::Term);
        assert_eq!(control.stopped().await, Signal::Term);
        control.send(Signal::Kill);
        control.killed().await;
    }
}
