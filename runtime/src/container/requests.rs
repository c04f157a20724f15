//! The instances of a `wasi:http` container: one for each request, all charged to the container's budget.

use super::exit;
use super::run::Run;
use super::store::{DiesAt, StoreData};
use crate::pod::state::Signal;
use crate::wasi::http::{GuestTask, HttpGuests};
use wasmtime::Store;

/// Makes and runs the instances that answer requests.
pub(super) struct Requests(pub(super) Run);

impl HttpGuests<StoreData> for Requests {
    fn store(&self) -> wasmtime::Result<Store<StoreData>> {
        self.0.store(DiesAt::Kill).map_err(wasmtime::Error::from)
    }

    fn spawn(&self, task: GuestTask) {
        drop(tokio::spawn(self.0.turns(task)));
    }

    /// Says it in the container's own log, where its author looks.
    fn failed(&self, error: &wasmtime::Error) {
        if self.0.signal() == Some(Signal::Kill) {
            // The epoch callback was quicker than the server: the trap is the signal's doing.
            return;
        }
        let text = exit::describe(error);
        tracing::debug!(target: "wasmpod::container", error = text, "a request failed");
        // A log that is full loses the message rather than hold up the server.
        self.0.stderr().try_write(format!("wasmpod: a request failed: {text}\n").as_bytes());
    }
}
