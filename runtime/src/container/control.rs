//! How an instance is told to stop: a latch that only ever moves towards the end.
//!
//! ```text
//!   running ──TERM──▶ terminating ──KILL──▶ killed
//!      └──────────────KILL────────────────────▲
//! ```
//! Two things look at it: the task that runs the guest waits on it, and the guest's epoch callback, which may be entered in the
//! middle of a busy loop, reads it. What was exec'd into a container is killed with it, by a second latch that all of them share.

use crate::pod::state::Signal;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The latch of one instance, or of all instances of a `wasi:http` container.
#[derive(Debug)]
pub(super) struct Control {
    asked: watch::Sender<Option<Signal>>,
    /// Whose end ends this one too.
    container_over: Option<CancellationToken>,
}

impl Control {
    /// The latch of a container that nobody has asked to stop.
    pub(super) fn new() -> Self {
        Self { asked: watch::Sender::new(None), container_over: None }
    }

    /// The latch of an instance that is killed when `container_over` is.
    pub(super) fn within(container_over: CancellationToken) -> Self {
        Self { asked: watch::Sender::new(None), container_over: Some(container_over) }
    }

    /// Moves the latch. SIGTERM after SIGKILL changes nothing.
    pub(super) fn send(&self, signal: Signal) {
        self.asked.send_if_modified(|latch| {
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
        if self.container_over.as_ref().is_some_and(CancellationToken::is_cancelled) {
            return Some(Signal::Kill);
        }
        *self.asked.borrow()
    }

    /// Waits until the instance is asked to stop in any way, and says how.
    pub(super) async fn stopped(&self) -> Signal {
        self.reached(|_| true).await
    }

    /// Waits until the instance is to end at once.
    pub(super) async fn killed(&self) {
        self.reached(|signal| signal == Signal::Kill).await;
    }

    async fn reached(&self, wanted: impl Fn(Signal) -> bool) -> Signal {
        let mut asked = self.asked.subscribe();
        let asked = asked.wait_for(|signal| signal.is_some_and(&wanted));
        let container_over = async {
            match &self.container_over {
                Some(over) => over.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = container_over => Signal::Kill,
            // An error would mean that the sender is gone; `self` holds it.
            signal = asked => signal.ok().and_then(|signal| *signal).unwrap_or(Signal::Kill),
        }
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

    #[tokio::test]
    async fn the_end_of_the_container_kills_what_was_execd_into_it() {
        let over = CancellationToken::new();
        let control = Control::within(over.clone());
        assert_eq!(control.signal(), None);
        over.cancel();
        assert_eq!(control.signal(), Some(Signal::Kill));
        assert_eq!(control.stopped().await, Signal::Kill);
        control.killed().await;
    }
}
