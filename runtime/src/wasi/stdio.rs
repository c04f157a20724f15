//! Standard input and output of a guest.
//!
//! Output goes to a [`log::OutputSink`](crate::log::OutputSink), which is bounded and never blocks: when it is full, the guest waits.
//! wasmtime-wasi's own writer is not used, as it stores every write, empty ones too, without bound (GHSA-5m8g-xhq4-4h93).

use crate::limits;
use crate::log::OutputSink;
use bytes::{Buf, Bytes, BytesMut};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// Where a guest's standard input comes from; cheap to clone, all clones read from one place.
#[derive(Clone, Default)]
pub struct Stdin(Option<Arc<Mutex<Input>>>);

struct Input {
    reader: Pin<Box<dyn AsyncRead + Send>>,
    /// What was read and not yet taken: at most [`limits::STDIN_BUFFER_BYTES`].
    buffer: BytesMut,
    ended: bool,
    error: Option<io::Error>,
}

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Stdin(reader)" } else { "Stdin(empty)" })
    }
}

impl Stdin {
    /// Input that has ended.
    pub fn empty() -> Self {
        Self(None)
    }

    /// Input from `reader`, such as the standard input of this process.
    pub fn reader(reader: impl AsyncRead + Send + 'static) -> Self {
        Self(Some(Arc::new(Mutex::new(Input { reader: Box::pin(reader), buffer: BytesMut::new(), ended: false, error: None }))))
    }

    /// Ready when [`take`](Self::take) would give bytes, the end or an error.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.input() {
            None => Poll::Ready(()),
            Some(mut input) => input.poll_fill(cx),
        }
    }

    /// At most `length_max` bytes; `None` when there are none yet, empty at the end.
    pub(super) fn take(&self, length_max: usize) -> io::Result<Option<Bytes>> {
        let Some(mut input) = self.input() else { return Ok(Some(Bytes::new())) };
        if input.poll_fill(&mut Context::from_waker(Waker::noop())).is_pending() {
            return Ok(None);
        }
        if let Some(error) = input.error.take() {
            return Err(error);
        }
        let length = length_max.min(input.buffer.len());
        Ok(Some(input.buffer.split_to(length).freeze()))
    }

    fn input(&self) -> Option<MutexGuard<'_, Input>> {
        self.0.as_ref().map(|input| input.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Input {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.buffer.is_empty() || self.ended || self.error.is_some() {
            return Poll::Ready(());
        }
        let mut space = vec![0; limits::STDIN_BUFFER_BYTES];
        let mut space = ReadBuf::new(&mut space);
        match ready!(self.reader.as_mut().poll_read(cx, &mut space)) {
            Ok(()) => {
                self.ended = space.filled().is_empty();
                self.buffer.extend_from_slice(space.filled());
            }
            Err(error) => {
                self.error = Some(error);
                self.ended = true;
            }
        }
        Poll::Ready(())
    }
}

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Stdin {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

impl AsyncRead for Stdin {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(cx));
        let taken = self.take(buffer.remaining())?.unwrap_or_default();
        buffer.put_slice(&taken);
        Poll::Ready(Ok(()))
    }
}

#[async_trait]
impl Pollable for Stdin {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await;
    }
}

#[async_trait]
impl InputStream for Stdin {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        match self.take(size) {
            Ok(None) => Ok(Bytes::new()),
            Ok(Some(bytes)) if bytes.is_empty() && size > 0 => Err(StreamError::Closed),
            Ok(Some(bytes)) => Ok(bytes),
            Err(error) => Err(StreamError::LastOperationFailed(error.into())),
        }
    }
}

/// A guest's standard output or standard error; cheap to clone, all clones write to one sink.
#[derive(Clone)]
pub struct Output {
    sink: Arc<dyn OutputSink>,
    /// What a guest was permitted to write and the sink had no more room for: it shares the sink with the container's other stream.
    /// At most [`limits::OUTPUT_PENDING_BYTES_MAX`].
    pending: Arc<Mutex<BytesMut>>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("room", &self.sink.room()).finish_non_exhaustive()
    }
}

impl Output {
    /// Output to `sink`.
    pub fn new(sink: Arc<dyn OutputSink>) -> Self {
        Self { sink, pending: Arc::default() }
    }

    /// Ready when [`try_write`](Self::try_write) would take at least one byte.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.poll_drained(cx));
        self.sink.poll_ready(cx)
    }

    /// Takes as many bytes as there is room for and says how many; 0 means wait.
    pub(super) fn try_write(&self, bytes: &[u8]) -> usize {
        if bytes.is_empty() || self.poll_drained(&mut Context::from_waker(Waker::noop())).is_pending() {
            return 0;
        }
        self.sink.try_write(bytes)
    }

    /// Waits until the sink has everything.
    pub(super) async fn drained(&self) {
        std::future::poll_fn(|cx| self.poll_drained(cx)).await;
    }

    fn poll_drained(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut pending = self.pending();
        while !pending.is_empty() {
            ready!(self.sink.poll_ready(cx));
            match self.sink.try_write(&pending) {
                // Another writer was faster; look again in a moment.
                0 => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                written => pending.advance(written),
            }
        }
        Poll::Ready(())
    }

    /// Writes what `check-write` has permitted.
    fn write_permitted(&self, bytes: &[u8]) -> StreamResult<()> {
        let written = self.try_write(bytes);
        let rest = bytes.get(written..).unwrap_or_default();
        let mut pending = self.pending();
        if pending.len() + rest.len() > limits::OUTPUT_PENDING_BYTES_MAX {
            return Err(StreamError::trap("wrote to many streams of one output at once"));
        }
        pending.extend_from_slice(rest);
        Ok(())
    }

    fn pending(&self) -> MutexGuard<'_, BytesMut> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(OutputWriter { output: self.clone(), permit: 0 })
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_ready(cx));
        Poll::Ready(Ok(self.try_write(bytes)))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_drained(cx).map(Ok)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

/// One `output-stream` of a component.
struct OutputWriter {
    output: Output,
    /// What the last `check-write` permitted to the next write.
    permit: usize,
}

#[async_trait]
impl Pollable for OutputWriter {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.output.poll_ready(cx)).await;
    }
}

#[async_trait]
impl OutputStream for OutputWriter {
    fn check_write(&mut self) -> StreamResult<usize> {
        let drained = self.output.poll_drained(&mut Context::from_waker(Waker::noop())).is_ready();
        self.permit = if drained { self.output.sink.room().min(limits::STREAM_CHUNK_BYTES_MAX) } else { 0 };
        Ok(self.permit)
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.len() > std::mem::take(&mut self.permit) {
            return Err(StreamError::trap("write exceeds what check-write permitted"));
        }
        self.output.write_permitted(&bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        // Nothing is held back: what is pending goes on as soon as there is room, and until then `check-write` gives 0.
        Ok(())
    }

    /// Unlike the provided one, does not wait for room beyond what it writes.
    async fn blocking_write_and_flush(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        while !bytes.is_empty() {
            self.ready().await;
            let permit = self.check_write()?;
            self.write(bytes.split_to(permit.min(bytes.len())))?;
        }
        self.output.drained().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasi::testing::Sink;

    fn writer(room: usize) -> (Arc<Sink>, Box<dyn OutputStream>) {
        let sink = Arc::new(Sink::with_room(room));
        let stream = Output::new(Arc::clone(&sink) as Arc<dyn OutputSink>).p2_stream();
        (sink, stream)
    }

    #[test]
    fn a_write_needs_a_permit_and_uses_it_up() {
        let (sink, mut stream) = writer(100);
        assert!(matches!(stream.write(Bytes::from_static(b"x")), Err(StreamError::Trap(_))));
        assert_eq!(stream.check_write().unwrap(), 100);
        stream.write(Bytes::from_static(b"hello")).unwrap();
        assert!(matches!(stream.write(Bytes::from_static(b"x")), Err(StreamError::Trap(_))));
        assert_eq!(sink.contents(), "hello");
    }

    #[test]
    fn empty_writes_need_no_permit_and_store_nothing() {
        let (sink, mut stream) = writer(0);
        for _ in 0..1_000_000 {
            stream.write(Bytes::new()).unwrap();
        }
        assert_eq!((sink.writes(), sink.contents().as_str()), (0, ""));
    }

    #[tokio::test]
    async fn a_full_sink_gives_no_permit_and_blocks() {
        let (sink, mut stream) = writer(4);
        let write = stream.blocking_write_and_flush(Bytes::from_static(b"12345678"));
        let read = async {
            tokio::task::yield_now().await;
            assert_eq!(sink.contents(), "1234");
            sink.drain();
        };
        let (written, ()) = tokio::join!(write, read);
        written.unwrap();
        assert_eq!(sink.contents(), "5678");
        assert_eq!(stream.check_write().unwrap(), 0);
    }

    #[tokio::test]
    async fn a_permit_is_kept_though_another_stream_took_the_room() {
        let sink = Arc::new(Sink::with_room(4));
        let output = Output::new(Arc::clone(&sink) as Arc<dyn OutputSink>);
        let (mut one, mut two) = (output.p2_stream(), output.p2_stream());
        assert_eq!((one.check_write().unwrap(), two.check_write().unwrap()), (4, 4));
        one.write(Bytes::from_static(b"aaaa")).unwrap();
        two.write(Bytes::from_static(b"bbbb")).unwrap();
        assert_eq!(two.check_write().unwrap(), 0);
        sink.drain();
        output.drained().await;
        assert_eq!(sink.contents(), "bbbb");
    }

    #[tokio::test]
    async fn input_is_read_once_and_then_ends() {
        let stdin = Stdin::reader(&b"hello"[..]);
        let (mut one, mut two) = (stdin.p2_stream(), stdin.p2_stream());
        assert_eq!(one.blocking_read(3).await.unwrap(), "hel");
        assert_eq!(two.blocking_read(100).await.unwrap(), "lo");
        assert!(matches!(one.blocking_read(1).await, Err(StreamError::Closed)));
        assert!(matches!(Stdin::empty().p2_stream().read(1), Err(StreamError::Closed)));
    }
}
