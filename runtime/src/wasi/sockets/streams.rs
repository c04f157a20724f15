//! The two streams of a TCP connection, as `wasi:io` has them.
//!
//! The bytes wait in the connection's own bounded queues and nowhere else, but for one case: when the queue was made smaller between
//! a `check-write` and its write, what no longer fits stays with the stream, at most one permit of it.

use crate::limits;
use crate::net::{NetError, Shutdown, TcpStream};
use bytes::{Buf as _, Bytes};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// What `shutdown` tells the streams of its socket.
#[derive(Debug, Default)]
pub(super) struct ShutDown {
    receive: AtomicBool,
    send: AtomicBool,
}

impl ShutDown {
    /// Notes which directions have ended.
    pub(super) fn note(&self, how: Shutdown) {
        self.receive.fetch_or(matches!(how, Shutdown::Read | Shutdown::Both), Ordering::Relaxed);
        self.send.fetch_or(matches!(how, Shutdown::Write | Shutdown::Both), Ordering::Relaxed);
    }
}

/// The reading half.
pub(super) struct TcpInput {
    stream: TcpStream,
    shut_down: Arc<ShutDown>,
    failed: bool,
}

impl TcpInput {
    pub(super) fn new(stream: TcpStream, shut_down: Arc<ShutDown>) -> Self {
        Self { stream, shut_down, failed: false }
    }

    fn is_closed(&self) -> bool {
        // What waits when a guest shuts its receiving side down is discarded: the WIT says so, though Linux does not.
        self.failed || self.shut_down.receive.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Pollable for TcpInput {
    async fn ready(&mut self) {
        if !self.is_closed() {
            self.stream.readable().await;
        }
    }
}

#[async_trait]
impl InputStream for TcpInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.is_closed() {
            return Err(StreamError::Closed);
        }
        if size == 0 {
            return Ok(Bytes::new());
        }
        match self.stream.try_read_bytes(size.min(limits::TCP_PIECE_BYTES_MAX)) {
            Ok(bytes) if bytes.is_empty() => Err(StreamError::Closed),
            Ok(bytes) => Ok(bytes),
            Err(NetError::WouldBlock) => Ok(Bytes::new()),
            Err(error) => {
                self.failed = true;
                Err(failure(error))
            }
        }
    }
}

/// The writing half.
pub(super) struct TcpOutput {
    stream: TcpStream,
    shut_down: Arc<ShutDown>,
    /// What the last `check-write` permitted to the next write.
    permit: usize,
    pending: Bytes,
    failed: bool,
}

impl TcpOutput {
    pub(super) fn new(stream: TcpStream, shut_down: Arc<ShutDown>) -> Self {
        Self { stream, shut_down, permit: 0, pending: Bytes::new(), failed: false }
    }

    fn is_closed(&self) -> bool {
        self.failed || self.shut_down.send.load(Ordering::Relaxed)
    }

    /// Puts what is pending; ready when nothing is, or nothing ever will be.
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        while !self.pending.is_empty() {
            let written = ready!(self.stream.poll_write_bytes(cx, &self.pending))?;
            self.pending.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Puts as much as there is room for.
    fn put(&mut self) -> Result<(), NetError> {
        match self.poll_pending(&mut super::without_waiting()) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    fn fail(&mut self, error: NetError) -> StreamError {
        self.failed = true;
        self.pending = Bytes::new();
        failure(error)
    }
}

#[async_trait]
impl Pollable for TcpOutput {
    async fn ready(&mut self) {
        if self.is_closed() {
            return;
        }
        // An error shows again in `check-write`.
        if std::future::poll_fn(|cx| self.poll_pending(cx)).await.is_ok() {
            self.stream.writable().await;
        }
    }
}

#[async_trait]
impl OutputStream for TcpOutput {
    fn check_write(&mut self) -> StreamResult<usize> {
        if self.is_closed() {
            return Err(StreamError::Closed);
        }
        let room = self.put().and_then(|()| self.stream.writable_bytes());
        match room {
            Ok(room) => {
                self.permit = if self.pending.is_empty() { room.min(limits::TCP_PIECE_BYTES_MAX) } else { 0 };
                Ok(self.permit)
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if self.is_closed() {
            return Err(StreamError::Closed);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.len() > std::mem::take(&mut self.permit) {
            return Err(StreamError::trap("write exceeds what check-write permitted"));
        }
        self.pending = bytes;
        self.put().map_err(|error| self.fail(error))
    }

    fn flush(&mut self) -> StreamResult<()> {
        // The bytes are on their way as soon as they are written.
        if self.is_closed() { Err(StreamError::Closed) } else { Ok(()) }
    }

    /// Unlike the provided one, does not wait for room beyond what it writes, as a write to a socket does not.
    async fn blocking_write_and_flush(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        while !bytes.is_empty() {
            self.ready().await;
            let permit = self.check_write()?;
            self.write(bytes.split_to(permit.min(bytes.len())))?;
        }
        std::future::poll_fn(|cx| self.poll_pending(cx)).await.map_err(|error| self.fail(error))
    }

    async fn cancel(&mut self) {
        // The guest drops the stream: what it was told is written must not be lost.
        let _ = std::future::poll_fn(|cx| self.poll_pending(cx)).await;
    }
}

/// How a stream says that its connection failed: once as an error, from then on as closed.
fn failure(error: NetError) -> StreamError {
    match error {
        NetError::BrokenPipe | NetError::NotConnected => StreamError::Closed,
        error => StreamError::LastOperationFailed(error.into()),
    }
}
