//! What the user at the terminal, or whoever supervises this process, asks for.

use tokio::signal::unix::{Signal, SignalKind, signal};
use wasmpod::{Error, Result};

/// What the shell sees after Ctrl-C: 128 + SIGINT.
const EXIT_INTERRUPTED: u8 = 130;
/// What the shell sees after SIGTERM: 128 + SIGTERM.
const EXIT_TERMINATED: u8 = 143;
/// What the shell sees when its terminal is gone: 128 + SIGHUP.
const EXIT_HUNG_UP: u8 = 129;

/// The signals that ask the program to stop. From [`listen`](Self::listen) on they no longer end the process by themselves.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Starts to listen.
    pub(super) fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(|error| Error::io("cannot listen for signals", error));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one and says the exit status that goes with it.
    pub(super) async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => EXIT_INTERRUPTED,
            _ = self.terminate.recv() => EXIT_TERMINATED,
            _ = self.hangup.recv() => EXIT_HUNG_UP,
        }
    }
}
