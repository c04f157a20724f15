//! The bounded handoff between a container's output streams and the one reader of its log.
//!
//! The waiting bytes of both streams lie in one buffer; runs say which stretch belongs to which stream. The reader swaps that
//! buffer for an empty one of its own, so a byte is copied once on its way in and nothing is allocated once both have grown.
//! A waker is stored and a state looked at under the same lock, so no wake-up is lost; wakers are called outside it.

use super::{OutputSink, Stream};
use crate::limits::{LOG_PIPE_BYTES_MAX, LOG_WRITERS_WAITING_MAX};
use crate::observe::{self, Phase};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A pipe for one run of one container, with room for [`LOG_PIPE_BYTES_MAX`].
pub fn pipe() -> (LogWriter, LogReader) {
    let shared = Arc::new(Shared { state: Mutex::default(), capacity: LOG_PIPE_BYTES_MAX });
    (LogWriter(Arc::new(WriteEnd(Arc::clone(&shared)))), LogReader(shared))
}

/// The container's end of a pipe; the log ends when every clone and every [`StreamWriter`] is gone, or at [`close`](Self::close).
#[derive(Clone, Debug)]
pub struct LogWriter(Arc<WriteEnd>);

impl LogWriter {
    /// The sink for one of the container's streams.
    pub fn stream(&self, stream: Stream) -> StreamWriter {
        StreamWriter { stream, end: Arc::clone(&self.0) }
    }

    /// Ends the log: what was written until now still reaches the reader, what comes later is thrown away.
    pub fn close(&self) {
        self.0.0.close();
    }
}

/// One output stream of a container.
#[derive(Clone, Debug)]
pub struct StreamWriter {
    stream: Stream,
    end: Arc<WriteEnd>,
}

impl OutputSink for StreamWriter {
    fn try_write(&self, bytes: &[u8]) -> usize {
        self.end.0.try_write(self.stream, bytes)
    }

    fn room(&self) -> usize {
        let shared = &self.end.0;
        shared.lock().room(self.stream, shared.capacity)
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.end.0.poll_ready(self.stream, cx)
    }
}

/// The reader's end of a pipe. Once it is dropped, writers never wait again and their bytes are thrown away.
#[derive(Debug)]
pub struct LogReader(Arc<Shared>);

impl LogReader {
    /// Waits for output and puts all there is into `batch`, in place of what was there; false when the log has ended.
    pub async fn receive(&mut self, batch: &mut Batch) -> bool {
        std::future::poll_fn(|cx| self.poll_receive(cx, batch)).await
    }

    /// As [`receive`](Self::receive), for those who poll. Only the last caller's waker is kept.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<bool> {
        batch.clear();
        let mut state = self.0.lock();
        if !state.waiting.is_empty() {
            std::mem::swap(&mut state.waiting, batch);
            let writers = std::mem::take(&mut state.writers);
            drop(state);
            writers.into_iter().for_each(Waker::wake);
            return Poll::Ready(true);
        }
        if state.closed {
            return Poll::Ready(false);
        }
        match &mut state.reader {
            Some(waker) => waker.clone_from(cx.waker()),
            None => state.reader = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.discards = true;
        state.waiting = Batch::default();
        let writers = std::mem::take(&mut state.writers);
        drop(state);
        writers.into_iter().for_each(Waker::wake);
    }
}

/// Output in the order in which it was written, as the reader gets it.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    runs: Vec<Run>,
}

/// So many bytes of one stream.
#[derive(Debug)]
struct Run {
    stream: Stream,
    len: usize,
}

impl Batch {
    /// The stretches, each of one stream, none of them empty.
    pub fn chunks(&self) -> impl Iterator<Item = (Stream, &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.runs.iter().filter_map(move |run| {
            let (chunk, tail) = rest.split_at_checked(run.len)?;
            rest = tail;
            Some((run.stream, chunk))
        })
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.runs.clear();
    }

    fn push(&mut self, stream: Stream, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        match self.runs.last_mut() {
            Some(run) if run.stream == stream => run.len += bytes.len(),
            _ => self.runs.push(Run { stream, len: bytes.len() }),
        }
    }
}

/// Closes the pipe when the last writer is gone.
#[derive(Debug)]
struct WriteEnd(Arc<Shared>);

impl Drop for WriteEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: Batch,
    /// Something was written.
    has_begun: bool,
    /// The writers' end is gone or closed.
    closed: bool,
    /// Nobody will read: writes succeed and store nothing.
    discards: bool,
    reader: Option<Waker>,
    writers: Vec<Waker>,
}

impl State {
    /// How many bytes of `stream` fit. A change of stream costs as much as its bookkeeping, or alternating single bytes would
    /// take many times the capacity.
    fn room(&self, stream: Stream, capacity: usize) -> usize {
        if self.closed || self.discards {
            return capacity;
        }
        let same = self.waiting.runs.last().is_some_and(|run| run.stream == stream);
        let runs = self.waiting.runs.len() + usize::from(!same);
        capacity.saturating_sub(self.waiting.bytes.len()).saturating_sub(runs * size_of::<Run>())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_write(&self, stream: Stream, bytes: &[u8]) -> usize {
        if bytes.is_empty() {
            return 0;
        }
        let mut state = self.lock();
        if !std::mem::replace(&mut state.has_begun, true) {
            observe::moment(Phase::FirstOutput);
        }
        if state.closed || state.discards {
            return bytes.len();
        }
        let taken = bytes.get(..state.room(stream, self.capacity)).unwrap_or(bytes);
        if taken.is_empty() {
            return 0;
        }
        state.waiting.push(stream, taken);
        let reader = state.reader.take();
        drop(state);
        if let Some(waker) = reader {
            waker.wake();
        }
        taken.len()
    }

    fn poll_ready(&self, stream: Stream, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.room(stream, self.capacity) > 0 {
            return Poll::Ready(());
        }
        if state.writers.iter().any(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        let evicted = (state.writers.len() >= LOG_WRITERS_WAITING_MAX).then(|| state.writers.remove(0));
        state.writers.push(cx.waker().clone());
        drop(state);
        if let Some(waker) = evicted {
            waker.wake();
        }
        Poll::Pending
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let reader = state.reader.take();
        let writers = std::mem::take(&mut state.writers);
        drop(state);
        reader.into_iter().chain(writers).for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::{ArcWake, waker};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl ArcWake for Wakes {
        fn wake_by_ref(wakes: &Arc<Self>) {
            wakes.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Wakes {
        fn count(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    struct Setup {
        stdout: StreamWriter,
        stderr: StreamWriter,
        writer: LogWriter,
        reader: LogReader,
        batch: Batch,
        wakes: Arc<Wakes>,
    }

    fn setup() -> Setup {
        let (writer, reader) = pipe();
        let (stdout, stderr) = (writer.stream(Stream::Stdout), writer.stream(Stream::Stderr));
        Setup { stdout, stderr, writer, reader, batch: Batch::default(), wakes: Arc::default() }
    }

    impl Setup {
        fn receive(&mut self) -> Poll<bool> {
            let waker = waker(Arc::clone(&self.wakes));
            self.reader.poll_receive(&mut Context::from_waker(&waker), &mut self.batch)
        }

        fn received(&mut self) -> Vec<(Stream, Vec<u8>)> {
            assert_eq!(self.receive(), Poll::Ready(true));
            self.batch.chunks().map(|(stream, bytes)| (stream, bytes.to_vec())).collect()
        }

        fn ready(&self) -> bool {
            let waker = waker(Arc::clone(&self.wakes));
            self.stdout.poll_ready(&mut Context::from_waker(&waker)).is_ready()
        }

        fn fill(&self) -> usize {
            self.stdout.try_write(&vec![b'x'; 2 * LOG_PIPE_BYTES_MAX])
        }
    }

    #[test]
    fn keeps_the_order_of_both_streams() {
        let mut setup = setup();
        setup.stdout.try_write(b"a");
        setup.stdout.try_write(b"b");
        setup.stderr.try_write(b"oops");
        setup.stdout.try_write(b"c");
        let expected = [(Stream::Stdout, b"ab".to_vec()), (Stream::Stderr, b"oops".to_vec()), (Stream::Stdout, b"c".to_vec())];
        assert_eq!(setup.received(), expected);
        assert!(setup.receive().is_pending());
    }

    #[test]
    fn takes_no_more_than_its_capacity() {
        let setup = setup();
        assert_eq!(setup.stdout.room(), setup.fill());
        assert_eq!((setup.stdout.room(), setup.stdout.try_write(b"x")), (0, 0));
        let state = setup.reader.0.lock();
        assert!(state.waiting.bytes.len() < LOG_PIPE_BYTES_MAX && state.waiting.bytes.capacity() <= 2 * LOG_PIPE_BYTES_MAX);
    }

    #[test]
    fn alternating_single_bytes_pay_for_their_bookkeeping() {
        let setup = setup();
        while setup.stdout.try_write(b"x") + setup.stderr.try_write(b"y") > 0 {}
        let state = setup.reader.0.lock();
        let (bytes, runs) = (state.waiting.bytes.len(), state.waiting.runs.len());
        assert!(bytes + runs * size_of::<Run>() <= LOG_PIPE_BYTES_MAX, "{bytes} bytes in {runs} runs");
    }

    #[test]
    fn ten_million_empty_writes_store_nothing_and_wake_nobody() {
        let mut setup = setup();
        assert!(setup.receive().is_pending());
        for _ in 0..10_000_000 {
            assert_eq!(setup.stdout.try_write(b""), 0);
        }
        assert!(setup.receive().is_pending());
        assert_eq!(setup.wakes.count(), 0);
        assert_eq!(setup.reader.0.lock().waiting.runs.capacity(), 0);
    }

    #[test]
    fn a_reader_that_waits_is_woken_by_the_first_byte_and_by_the_end() {
        let mut setup = setup();
        assert!(setup.receive().is_pending());
        setup.stdout.try_write(b"x");
        setup.stdout.try_write(b"y");
        assert_eq!(setup.wakes.count(), 1);
        assert_eq!(setup.receive(), Poll::Ready(true));
        assert!(setup.receive().is_pending());
        setup.writer.close();
        assert_eq!(setup.wakes.count(), 2);
        assert_eq!(setup.receive(), Poll::Ready(false));
    }

    #[test]
    fn a_writer_that_waits_is_woken_when_the_reader_takes_the_bytes() {
        let mut setup = setup();
        setup.fill();
        assert!(!setup.ready());
        assert!(!setup.ready());
        assert_eq!(setup.receive(), Poll::Ready(true));
        assert_eq!(setup.wakes.count(), 1);
        assert!(setup.ready());
    }

    #[test]
    fn waiting_writers_are_bounded_and_none_is_forgotten() {
        let mut setup = setup();
        setup.fill();
        let tasks: Vec<Arc<Wakes>> = (0..=LOG_WRITERS_WAITING_MAX).map(|_| Arc::default()).collect();
        for task in &tasks {
            assert!(setup.stdout.poll_ready(&mut Context::from_waker(&waker(Arc::clone(task)))).is_pending());
        }
        assert_eq!(setup.reader.0.lock().writers.len(), LOG_WRITERS_WAITING_MAX);
        assert_eq!(tasks[0].count(), 1);
        assert_eq!(setup.receive(), Poll::Ready(true));
        assert!(tasks.iter().all(|task| task.count() == 1));
    }

    #[test]
    fn the_log_ends_when_the_last_writer_is_gone_and_loses_nothing() {
        let Setup { stdout, stderr, writer, mut reader, mut batch, .. } = setup();
        let mut cx = Context::from_waker(Waker::noop());
        stdout.try_write(b"last words");
        drop((writer, stderr));
        assert_eq!(reader.poll_receive(&mut cx, &mut batch), Poll::Ready(true));
        assert!(reader.poll_receive(&mut cx, &mut batch).is_pending());
        drop(stdout);
        assert_eq!(reader.poll_receive(&mut cx, &mut batch), Poll::Ready(false));
    }

    #[test]
    fn without_a_reader_writers_never_wait() {
        let Setup { stdout, reader, .. } = setup();
        stdout.try_write(&[0; 2 * LOG_PIPE_BYTES_MAX]);
        assert_eq!(stdout.room(), 0);
        drop(reader);
        assert!(stdout.room() > 0);
        assert_eq!(stdout.try_write(&[0; 1 << 20]), 1 << 20);
        assert!(stdout.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
    }

    #[test]
    fn a_closed_pipe_takes_and_forgets() {
        let mut setup = setup();
        setup.fill();
        setup.writer.close();
        assert_eq!(setup.stdout.try_write(b"late"), 4);
        assert!(setup.ready());
        assert_eq!(setup.receive(), Poll::Ready(true));
        assert_eq!(setup.receive(), Poll::Ready(false));
    }
}
