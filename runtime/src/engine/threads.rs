//! The threads that run guests, and nothing else.
//!
//! Some things a guest does cannot be interrupted (one `memory.fill` over 4 GiB takes seconds), so whatever must stay prompt (the
//! pod's driver, published ports, signals) runs elsewhere: on the runtime of whoever embeds the library. Guests run on a tokio
//! runtime of their own, made when the first of them starts.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use tokio::runtime::{Handle, Runtime};

use crate::limits::{GUEST_BLOCKING_THREADS_MAX, GUEST_THREADS_MIN, GUEST_TURNS_PER_EVENT_LOOK};

/// The lazily made runtime.
pub(super) struct GuestThreads {
    workers: Option<NonZeroUsize>,
    runtime: OnceLock<Option<Runtime>>,
}

impl GuestThreads {
    /// Threads for guests: `workers` of them, or as many as the machine runs in parallel.
    pub(super) fn new(workers: Option<NonZeroUsize>) -> Self {
        Self { workers, runtime: OnceLock::new() }
    }

    /// The runtime, made at the first call.
    ///
    /// Where the machine cannot give it threads, guests run on the caller's runtime: better together than not at all.
    pub(super) fn handle(&self) -> Handle {
        let runtime = self.runtime.get_or_init(|| {
            let machine =
                || std::thread::available_parallelism().map_or(GUEST_THREADS_MIN, NonZeroUsize::get).max(GUEST_THREADS_MIN);
            let built = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(self.workers.map_or_else(machine, NonZeroUsize::get))
                .max_blocking_threads(GUEST_BLOCKING_THREADS_MAX)
                .event_interval(GUEST_TURNS_PER_EVENT_LOOK)
                .thread_name("wasmpod-guest")
                // No processes and no signals: to look after them costs at every wait.
                .enable_io()
                .enable_time()
                .build();
            built.inspect_err(|error| tracing::error!(target: "wasmpod::engine", %error, "no threads for guests of their own")).ok()
        });
        runtime.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }
}

impl Drop for GuestThreads {
    /// Does not wait: a guest may be in the middle of something that cannot be interrupted.
    fn drop(&mut self) {
        if let Some(Some(runtime)) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
