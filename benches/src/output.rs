//! Where the output of benchmarked containers goes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use wasmpod::log::{Batch, LogReader, LogWriter, pipe};
use wasmpod::pod::ContainerOutput;
use wasmpod::pod::state::{Attempt, ContainerIndex};

/// Output that nobody reads.
#[derive(Debug)]
pub struct Nowhere;

impl ContainerOutput for Nowhere {
    fn open(&self, _container: ContainerIndex, _attempt: Attempt) -> LogWriter {
        pipe().0
    }
}

/// Output that is kept, with the moment at which the last container printed its first byte. No task of ours reads it, so that watching
/// costs the pod nothing: the moment is taken in the call of the guest.
#[derive(Debug)]
pub struct Output {
    readers: Mutex<Vec<Option<LogReader>>>,
    first_bytes: Arc<FirstBytes>,
}

#[derive(Debug)]
struct FirstBytes {
    missing: AtomicUsize,
    complete_at: Mutex<Option<Instant>>,
    complete: Notify,
}

impl Wake for FirstBytes {
    fn wake(self: Arc<Self>) {
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            *self.complete_at.lock().unwrap() = Some(Instant::now());
            self.complete.notify_one();
        }
    }
}

impl Output {
    /// For a pod of so many containers, each of which starts once.
    pub fn new(containers: usize) -> Self {
        let first_bytes =
            FirstBytes { missing: AtomicUsize::new(containers), complete_at: Mutex::default(), complete: Notify::new() };
        Self { readers: Mutex::new((0..containers).map(|_| None).collect()), first_bytes: Arc::new(first_bytes) }
    }

    /// Waits until every container has printed something, and says how long after `start` that was.
    pub async fn all_started(&self, start: Instant) -> Duration {
        self.first_bytes.complete.notified().await;
        self.first_bytes.complete_at.lock().unwrap().unwrap().duration_since(start)
    }

    /// What a container has printed since the last call; of a short-lived one everything.
    pub fn text(&self, container: usize) -> String {
        let (mut batch, mut text) = (Batch::default(), String::new());
        let mut readers = self.readers.lock().unwrap();
        let Some(reader) = readers.get_mut(container).and_then(Option::as_mut) else { return text };
        while let Poll::Ready(true) = reader.poll_receive(&mut Context::from_waker(Waker::noop()), &mut batch) {
            batch.chunks().for_each(|(_, bytes)| text.push_str(&String::from_utf8_lossy(bytes)));
        }
        text
    }
}

impl ContainerOutput for Output {
    fn open(&self, container: ContainerIndex, _attempt: Attempt) -> LogWriter {
        let (writer, mut reader) = pipe();
        let waker = Waker::from(Arc::clone(&self.first_bytes));
        let nothing = reader.poll_receive(&mut Context::from_waker(&waker), &mut Batch::default());
        assert!(nothing.is_pending());
        if let Some(slot) = self.readers.lock().unwrap().get_mut(container.0) {
            *slot = Some(reader);
        }
        writer
    }
}
