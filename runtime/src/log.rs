//! Container output: from what a guest writes to what people and files get.
//!
//! ```text
//! guest ─ OutputSink (stdout) ─┐                     ┌─ raw: bytes as they come (one container on a terminal)
//!                              ├─ pipe ─ LogReader ──┤
//! guest ─ OutputSink (stderr) ─┘  64 KiB   (deliver) └─ Lines: LogLine by LogLine, 16 KiB at most (prefixes, CRI files)
//! ```
//!
//! Both streams share one pipe, so that what was written first comes out first. The pipe is bounded and holds its bytes in one
//! piece: a writer whose pipe is full waits, an empty write costs and stores nothing. Nothing here needs an async runtime.

mod lines;
mod pipe;
mod tail;

pub use lines::{LineSink, LineSplitter, Lines, LogLine};
pub use pipe::{Batch, LogReader, LogWriter, StreamWriter, pipe};
pub use tail::{Tail, TailedSink};

use std::io;
use std::task::{Context, Poll};

/// Which of a container's two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`, as CRI log files write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Where the host side of a guest's output stream puts the bytes.
///
/// No method blocks. A sink that nobody reads any more takes everything and throws it away, as a container outlives its reader.
pub trait OutputSink: Send + Sync {
    /// Takes as many bytes from the front of `bytes` as there is room for and says how many; 0 when full.
    /// Empty `bytes` change nothing.
    fn try_write(&self, bytes: &[u8]) -> usize;

    /// How many bytes [`try_write`](Self::try_write) would take now; 0 when full.
    ///
    /// A hint for `check-write`: another writer of the same pipe may be faster, so the caller keeps what was not taken.
    fn room(&self) -> usize;

    /// Ready as soon as there is room for at least one byte; otherwise wakes `cx` when that changes.
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// Who gets a container's output; [`deliver`] feeds it.
pub trait LogSink: Send {
    /// Takes bytes of one stream, cut anywhere.
    ///
    /// # Errors
    /// Whatever the place they go to answers; it ends the delivery.
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()>;

    /// Nothing more is at hand for now: whatever is held back to write in larger pieces should go out.
    ///
    /// # Errors
    /// As for [`chunk`](Self::chunk).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The container will write nothing more.
    ///
    /// # Errors
    /// As for [`chunk`](Self::chunk).
    fn end(&mut self) -> io::Result<()> {
        self.flush()
    }
}

/// Passes a container's output to `sink` until the container has written its last.
///
/// The sink runs on the thread that polls this. One that can block (a terminal, a file) belongs on a thread of its own, never on
/// one that runs guests; while it blocks, the pipe fills and the guest waits.
///
/// # Errors
/// The sink's first error. The reader is gone then, so that the container's further output is thrown away and it never waits.
pub async fn deliver(mut reader: LogReader, sink: &mut dyn LogSink) -> io::Result<()> {
    let mut batch = Batch::default();
    while reader.receive(&mut batch).await {
        for (stream, bytes) in batch.chunks() {
            sink.chunk(stream, bytes)?;
        }
        sink.flush()?;
    }
    sink.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// Counts what arrives, in lines.
    #[derive(Default)]
    struct Count {
        lines: u64,
        bytes: u64,
    }

    impl LineSink for Count {
        fn line(&mut self, line: LogLine<'_>) -> io::Result<()> {
            self.lines += 1;
            self.bytes += line.text.len() as u64;
            Ok(())
        }
    }

    /// Fails at once, as a closed terminal does.
    struct Broken;

    impl LogSink for Broken {
        fn chunk(&mut self, _: Stream, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    async fn write_all(sink: &dyn OutputSink, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            std::future::poll_fn(|cx| sink.poll_ready(cx)).await;
            bytes = &bytes[sink.try_write(bytes)..];
        }
    }

    #[test]
    fn delivers_lines_across_threads_and_says_when_it_is_over() {
        let (writer, reader) = pipe();
        let guest = std::thread::spawn(move || {
            let stdout = writer.stream(Stream::Stdout);
            block_on(async {
                let line = [b"x".repeat(63), b"\n".to_vec()].concat().repeat(1024);
                for _ in 0..1024 {
                    write_all(&stdout, &line).await;
                }
            });
        });
        let started = Instant::now();
        let mut lines = Lines::new(Count::default());
        block_on(deliver(reader, &mut lines)).unwrap();
        guest.join().unwrap();
        let count = lines.into_inner();
        assert_eq!((count.lines, count.bytes), (1 << 20, 63 << 20));
        assert!(started.elapsed().as_secs() < 20, "64 MiB took {:?}", started.elapsed());
    }

    #[test]
    fn a_sink_that_fails_does_not_hold_the_container_up() {
        let (writer, reader) = pipe();
        let stdout = writer.stream(Stream::Stdout);
        assert_eq!(stdout.try_write(b"lost"), 4);
        let error = block_on(deliver(reader, &mut Broken)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(stdout.try_write(&[0; 1 << 20]), 1 << 20);
    }
}
