//! The end of a container's output, kept for its termination message.

use super::OutputSink;
use crate::limits::{TERMINATION_LOG_TAIL_BYTES_MAX, TERMINATION_LOG_TAIL_LINES_MAX};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

/// The last [`TERMINATION_LOG_TAIL_BYTES_MAX`] bytes of what went through its sinks.
#[derive(Debug, Default)]
pub struct Tail(Mutex<VecDeque<u8>>);

impl Tail {
    /// A sink that passes everything on to `sink` and remembers the end of it.
    pub fn of(self: &Arc<Self>, sink: Arc<dyn OutputSink>) -> TailedSink {
        TailedSink { sink, tail: Arc::clone(self) }
    }

    /// The last [`TERMINATION_LOG_TAIL_LINES_MAX`] lines, as far as they were kept.
    pub fn text(&self) -> String {
        let bytes: Vec<u8> = self.lock().iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let body = text.strip_suffix('\n').unwrap_or(&text);
        let before_last_lines = body.rmatch_indices('\n').nth(TERMINATION_LOG_TAIL_LINES_MAX - 1);
        before_last_lines.and_then(|(at, _)| text.get(at + 1..)).unwrap_or(&text).to_owned()
    }

    fn push(&self, bytes: &[u8]) {
        let bytes = bytes.get(bytes.len().saturating_sub(TERMINATION_LOG_TAIL_BYTES_MAX)..).unwrap_or(bytes);
        let mut kept = self.lock();
        let surplus = (kept.len() + bytes.len()).saturating_sub(TERMINATION_LOG_TAIL_BYTES_MAX);
        kept.drain(..surplus);
        kept.extend(bytes);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sink whose [`Tail`] remembers the end of what it took.
pub struct TailedSink {
    sink: Arc<dyn OutputSink>,
    tail: Arc<Tail>,
}

impl fmt::Debug for TailedSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TailedSink").finish_non_exhaustive()
    }
}

impl OutputSink for TailedSink {
    fn try_write(&self, bytes: &[u8]) -> usize {
        let taken = self.sink.try_write(bytes);
        self.tail.push(bytes.get(..taken).unwrap_or(bytes));
        taken
    }

    fn room(&self) -> usize {
        self.sink.room()
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.sink.poll_ready(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Stream, pipe};

    fn tailed() -> (TailedSink, Arc<Tail>) {
        let (writer, _reader) = pipe();
        let tail = Arc::new(Tail::default());
        (tail.of(Arc::new(writer.stream(Stream::Stdout))), tail)
    }

    #[test]
    fn only_the_end_is_kept_however_much_is_written() {
        let (sink, tail) = tailed();
        for _ in 0..1000 {
            sink.try_write(&[b'a'; 5000]);
            sink.try_write(b"b");
        }
        let text = tail.text();
        assert_eq!(text.len(), TERMINATION_LOG_TAIL_BYTES_MAX);
        assert!(text.ends_with("aab"));
        assert!(tail.lock().capacity() <= 4 * TERMINATION_LOG_TAIL_BYTES_MAX);
    }

    #[test]
    fn no_more_than_the_last_lines_are_told() {
        let (sink, tail) = tailed();
        for line in 0..100 {
            sink.try_write(format!("{line}\n").as_bytes());
        }
        let text = tail.text();
        assert_eq!(text.lines().count(), TERMINATION_LOG_TAIL_LINES_MAX);
        assert!(text.starts_with("20\n") && text.ends_with("\n99\n"));
    }

    #[test]
    fn what_the_sink_did_not_take_is_not_kept() {
        let (writer, reader) = pipe();
        let tail = Arc::new(Tail::default());
        let sink = tail.of(Arc::new(writer.stream(Stream::Stderr)));
        let taken = sink.try_write(&vec![b'x'; 1 << 20]);
        sink.try_write(b"lost");
        assert!(taken < 1 << 20 && tail.text().ends_with('x'));
        drop(reader);
    }
}
