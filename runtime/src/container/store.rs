//! The data of a container's store, and how a store is made: bounded, interruptible, used once.

use super::control::Control;
use super::memory::{Limiter, MemoryBudget};
use crate::engine::{Admission, Artifact};
use crate::pod::state::Signal;
use crate::wasi::{HasWasi, WasiState, limit_host_calls};
use std::fmt;
use std::sync::Arc;
use wasmtime::{Store, UpdateDeadline};

/// What the host keeps for one instance.
pub(crate) struct StoreData {
    wasi: WasiState,
    limiter: Limiter,
    control: Arc<Control>,
    /// The room that the instance takes; given back with the store.
    _admission: Admission,
}

impl fmt::Debug for StoreData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreData").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}

impl StoreData {
    /// The data of a store whose memory is charged to `budget` and that ends as `control` says.
    pub(super) fn new(wasi: WasiState, admission: Admission, budget: &Arc<MemoryBudget>, control: &Arc<Control>) -> Self {
        Self { wasi, limiter: Limiter::new(Arc::clone(budget)), control: Arc::clone(control), _admission: admission }
    }

    /// Waits until everything that the guest wrote is on its way; bounded, like the pipe it goes to.
    pub(super) fn flush_output(&self) -> impl Future<Output = ()> + Send + use<> {
        self.wasi.flush_output()
    }
}

impl HasWasi for StoreData {
    fn wasi(&mut self) -> &mut WasiState {
        &mut self.wasi
    }
}

/// Which signal ends the guests of a container without further ado.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiesAt {
    /// Any: a program has no handler for SIGTERM.
    Term,
    /// Only SIGKILL: an HTTP container finishes its requests first.
    Kill,
}

impl DiesAt {
    fn is_reached(self, signal: Option<Signal>) -> bool {
        match self {
            Self::Term => signal.is_some(),
            Self::Kill => signal == Some(Signal::Kill),
        }
    }
}

/// A store for one instance of `artifact`.
///
/// Its turn is over at every epoch ([`take_turns`](super::turn::take_turns)), and it ends there once it was told to. It must be thrown away after any
/// exit, trap or kill.
pub(super) fn make(artifact: &Artifact, data: StoreData, dies_at: DiesAt) -> Store<StoreData> {
    let mut store = Store::new(artifact.wasmtime(), data);
    store.limiter(|data| &mut data.limiter);
    limit_host_calls(&mut store);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |store| {
        let ended = dies_at.is_reached(store.data().control.signal());
        Ok(if ended { UpdateDeadline::Interrupt } else { UpdateDeadline::Yield(1) })
    });
    store
}
