//! A connection: two bounded byte queues, one for each direction, between two ends.
//!
//! ```text
//!   opener (connect)                               acceptor (accept)
//!   try_write ──▶ [ flow: bytes, ended, broken ] ──▶ try_read
//!   try_read  ◀── [ flow: bytes, ended, broken ] ◀── try_write
//! ```
//!
//! Reading and writing lock one flow; what concerns both (shutdown, close, reset) locks both, the opener's first.
//! Tasks are woken after the locks are released. The rules are those of Linux' TCP over loopback, where every segment arrives at once:
//!
//! * closed with bytes unread, or written to when nobody will read: *reset*; bytes that arrived before stay readable, then the error
//!   is given once (`ConnectionReset`, or `BrokenPipe` to an end that had seen the peer's end of stream);
//! * ended in both directions: *over*, like reset but without an error.

use super::flow::Flow;
use super::{NetError, Shutdown};
use bytes::Bytes;
use std::fmt;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What one end starts with.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndConfig {
    pub(super) address: SocketAddr,
    pub(super) send_limit: usize,
    pub(super) receive_limit: usize,
}

/// One end of a connection, cheap to clone; a clone may outlive its socket, but is dead once that is closed.
#[derive(Clone)]
pub struct TcpStream {
    connection: Arc<Connection>,
    side: Side,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Opener,
    Acceptor,
}

struct Connection {
    opener: End,
    acceptor: End,
}

struct End {
    address: SocketAddr,
    /// What the other end takes for it.
    shown: SocketAddr,
    /// What this end writes.
    outgoing: Mutex<Flow>,
    /// The error of a reset, given once: `NO_ERROR`, `RESET`, `PIPE`.
    error: AtomicU8,
}

const NO_ERROR: u8 = 0;
const RESET: u8 = 1;
const PIPE: u8 = 2;

impl End {
    fn outgoing(&self) -> MutexGuard<'_, Flow> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_error(&self) -> Option<NetError> {
        match self.error.swap(NO_ERROR, Ordering::Relaxed) {
            NO_ERROR => None,
            RESET => Some(NetError::ConnectionReset),
            _ => Some(NetError::BrokenPipe),
        }
    }
}

/// Both directions as one end sees them, locked.
struct Both<'a> {
    outgoing: MutexGuard<'a, Flow>,
    incoming: MutexGuard<'a, Flow>,
}

impl Both<'_> {
    /// Whether the connection is past: reset, or ended in both directions.
    fn is_over(&self) -> bool {
        self.outgoing.broken || self.incoming.broken || (self.outgoing.ended && self.incoming.ended)
    }

    fn release_and_wake_all(mut self) {
        let waiters = [
            self.outgoing.readers.take(),
            self.outgoing.writers.take(),
            self.incoming.readers.take(),
            self.incoming.writers.take(),
        ];
        drop(self);
        waiters.into_iter().for_each(super::waiters::Waiters::wake);
    }
}

impl TcpStream {
    /// A new connection: the end that opens it and the end that accepts it, which the opener knows as `shown`.
    pub(super) fn pair(opener: EndConfig, acceptor: EndConfig, shown: SocketAddr) -> (Self, Self) {
        let end = |own: EndConfig, peer: EndConfig, shown: SocketAddr| End {
            address: own.address,
            shown,
            outgoing: Mutex::new(Flow::new(own.send_limit, peer.receive_limit)),
            error: AtomicU8::new(NO_ERROR),
        };
        let connection =
            Arc::new(Connection { opener: end(opener, acceptor, opener.address), acceptor: end(acceptor, opener, shown) });
        (Self { connection: connection.clone(), side: Side::Opener }, Self { connection, side: Side::Acceptor })
    }

    /// Takes bytes. `Ok(0)` is the end of the stream (or an empty `buffer`).
    ///
    /// # Errors
    /// `WouldBlock`, `ConnectionReset`; `NotConnected` when this end is closed.
    pub fn try_read(&self, buffer: &mut [u8]) -> Result<usize, NetError> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.read_with(None, |flow| flow.pop(buffer), || 0)
    }

    /// Like [`try_read`](Self::try_read), but leaves the bytes where they are.
    ///
    /// # Errors
    /// As `try_read`.
    pub fn try_peek(&self, buffer: &mut [u8]) -> Result<usize, NetError> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.read_with(None, |flow| flow.peek(buffer), || 0)
    }

    /// Takes at most `length_max` bytes; empty at the end of the stream (or when `length_max` is 0).
    ///
    /// # Errors
    /// As `try_read`.
    pub fn try_read_bytes(&self, length_max: usize) -> Result<Bytes, NetError> {
        if length_max == 0 {
            return Ok(Bytes::new());
        }
        self.read_with(None, |flow| flow.pop_bytes(length_max), Bytes::new)
    }

    /// Puts bytes, as many as there is room for. An empty write costs and stores nothing.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room, `BrokenPipe`, `ConnectionReset`.
    pub fn try_write(&self, bytes: &[u8]) -> Result<usize, NetError> {
        self.write_with(None, bytes.len(), |flow| flow.push(bytes))
    }

    /// Like [`try_write`](Self::try_write) for several slices at once.
    ///
    /// # Errors
    /// As `try_write`.
    pub fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> Result<usize, NetError> {
        self.write_with(None, slices.iter().map(|slice| slice.len()).sum(), |flow| flow.push_vectored(slices))
    }

    /// How many bytes can be read now.
    pub fn readable_bytes(&self) -> usize {
        self.peer().outgoing().len()
    }

    /// How many bytes a write would take now; `Ok(0)` means wait.
    ///
    /// # Errors
    /// `BrokenPipe` when no write will ever succeed again. A pending `ConnectionReset` is left for the next read or write.
    pub fn writable_bytes(&self) -> Result<usize, NetError> {
        let flow = self.own().outgoing();
        if flow.ended || flow.broken { Err(NetError::BrokenPipe) } else { Ok(flow.room()) }
    }

    /// Ready when a read would not give `WouldBlock`.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut flow = self.peer().outgoing();
        if flow.len() > 0 || flow.ended || flow.broken || flow.reader_shut || flow.reader_closed {
            return Poll::Ready(());
        }
        let evicted = flow.readers.add(cx.waker());
        drop(flow);
        wake(evicted);
        Poll::Pending
    }

    /// Ready when a write would not give `WouldBlock`. As on Linux it comes only when a good part of the queue is free.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut flow = self.own().outgoing();
        if flow.ended || flow.broken || flow.unwanted || flow.has_good_room() {
            return Poll::Ready(());
        }
        let evicted = flow.writers.add(cx.waker());
        drop(flow);
        wake(evicted);
        Poll::Pending
    }

    /// Reads, or registers the task to be woken when it can.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, NetError>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        pending_if_would_block(self.read_with(Some(cx.waker()), |flow| flow.pop(buffer), || 0))
    }

    /// Writes, or registers the task to be woken when it can.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, NetError>> {
        pending_if_would_block(self.write_with(Some(cx.waker()), bytes.len(), |flow| flow.push(bytes)))
    }

    /// The same for bytes whose memory the connection may keep until they are read.
    pub fn poll_write_bytes(&self, cx: &mut Context<'_>, bytes: &Bytes) -> Poll<Result<usize, NetError>> {
        pending_if_would_block(self.write_with(Some(cx.waker()), bytes.len(), |flow| flow.push_bytes(bytes)))
    }

    /// Ends one or both directions, like [`TcpSocket::shutdown`](super::TcpSocket::shutdown); again: no effect.
    ///
    /// # Errors
    /// `NotConnected` when the connection is over: reset, closed, or ended in both directions.
    pub fn shutdown(&self, how: Shutdown) -> Result<(), NetError> {
        let mut both = self.lock_both();
        if both.is_over() || both.incoming.reader_closed {
            return Err(NetError::NotConnected);
        }
        both.outgoing.ended |= how != Shutdown::Read;
        both.incoming.reader_shut |= how != Shutdown::Write;
        both.incoming.unwanted |= both.incoming.reader_shut && both.outgoing.ended;
        both.release_and_wake_all();
        Ok(())
    }

    /// Closes this end: the peer reads the end of the stream, or finds the connection reset when bytes were left unread here.
    /// Again: no effect.
    pub fn close(&self) {
        let mut both = self.lock_both();
        if both.incoming.reader_closed {
            return;
        }
        both.incoming.reader_closed = true;
        let unread = both.incoming.len() > 0;
        both.incoming.clear();
        if unread && !both.is_over() {
            self.mark_reset(&mut both);
        }
        // After a reset the peer must see the error, not the end of the stream.
        both.outgoing.ended |= !both.outgoing.broken;
        both.incoming.unwanted = true;
        both.release_and_wake_all();
    }

    /// Breaks the connection at once, for both ends.
    pub(super) fn reset(&self) {
        let mut both = self.lock_both();
        if !both.is_over() {
            self.mark_reset(&mut both);
        }
        both.release_and_wake_all();
    }

    /// This end's address.
    pub fn local_address(&self) -> SocketAddr {
        self.own().address
    }

    /// The other end's address, also after the connection is over.
    pub fn remote_address(&self) -> SocketAddr {
        self.peer().shown
    }

    /// Whether the connection is past: reset, or ended in both directions. Bytes may still wait to be read.
    pub fn is_over(&self) -> bool {
        self.lock_both().is_over()
    }

    /// Changes the buffer sizes of this end.
    pub(super) fn set_limits(&self, send: usize, receive: usize) {
        let mut both = self.lock_both();
        both.outgoing.set_limits(Some(send), None);
        both.incoming.set_limits(None, Some(receive));
        // More room may be what a writer waits for.
        both.release_and_wake_all();
    }

    fn own(&self) -> &End {
        match self.side {
            Side::Opener => &self.connection.opener,
            Side::Acceptor => &self.connection.acceptor,
        }
    }

    fn peer(&self) -> &End {
        match self.side {
            Side::Opener => &self.connection.acceptor,
            Side::Acceptor => &self.connection.opener,
        }
    }

    fn lock_both(&self) -> Both<'_> {
        let opener = self.connection.opener.outgoing();
        let acceptor = self.connection.acceptor.outgoing();
        match self.side {
            Side::Opener => Both { outgoing: opener, incoming: acceptor },
            Side::Acceptor => Both { outgoing: acceptor, incoming: opener },
        }
    }

    /// Breaks both directions and leaves each end its error.
    fn mark_reset(&self, both: &mut Both<'_>) {
        let error_of = |peer_ended: bool| if peer_ended { PIPE } else { RESET };
        self.own().error.store(error_of(both.incoming.ended), Ordering::Relaxed);
        self.peer().error.store(error_of(both.outgoing.ended), Ordering::Relaxed);
        both.incoming.broken = true;
        both.outgoing.broken = true;
    }

    /// Reads by `take` where there are bytes; `end` is the answer at the end of the stream.
    fn read_with<T>(
        &self,
        waker: Option<&Waker>,
        take: impl FnOnce(&mut Flow) -> T,
        end: impl FnOnce() -> T,
    ) -> Result<T, NetError> {
        let mut flow = self.peer().outgoing();
        if flow.len() > 0 {
            let taken = take(&mut flow);
            if !flow.writers.is_empty() && flow.has_good_room() {
                let writers = flow.writers.take();
                drop(flow);
                writers.wake();
            }
            return Ok(taken);
        }
        if flow.reader_closed {
            return Err(NetError::NotConnected);
        }
        if flow.ended {
            return Ok(end());
        }
        if let Some(error) = self.own().take_error() {
            return Err(error);
        }
        if flow.broken || flow.reader_shut {
            return Ok(end());
        }
        let evicted = waker.and_then(|waker| flow.readers.add(waker));
        drop(flow);
        wake(evicted);
        Err(NetError::WouldBlock)
    }

    /// Writes by `put`; `length` is what it would like to put.
    fn write_with(&self, waker: Option<&Waker>, length: usize, put: impl FnOnce(&mut Flow) -> usize) -> Result<usize, NetError> {
        let mut flow = self.own().outgoing();
        if flow.ended || flow.broken {
            return Err(self.own().take_error().unwrap_or(NetError::BrokenPipe));
        }
        if length == 0 {
            return Ok(0);
        }
        if flow.unwanted {
            // The bytes leave, meet nobody, and a reset comes back: this write succeeds, the next does not.
            drop(flow);
            self.reset();
            return Ok(length);
        }
        let written = put(&mut flow);
        if written == 0 {
            let evicted = waker.and_then(|waker| flow.writers.add(waker));
            drop(flow);
            wake(evicted);
            return Err(NetError::WouldBlock);
        }
        if !flow.readers.is_empty() {
            let readers = flow.readers.take();
            drop(flow);
            readers.wake();
        }
        Ok(written)
    }
}

fn wake(evicted: Option<Waker>) {
    if let Some(waker) = evicted {
        waker.wake();
    }
}

fn pending_if_would_block<T>(result: Result<T, NetError>) -> Poll<Result<T, NetError>> {
    match result {
        Err(NetError::WouldBlock) => Poll::Pending,
        result => Poll::Ready(result),
    }
}

impl TcpStream {
    /// Waits until a read would not give `WouldBlock`.
    pub async fn readable(&self) {
        std::future::poll_fn(|cx| self.poll_readable(cx)).await;
    }

    /// Waits until a write would not give `WouldBlock`.
    pub async fn writable(&self) {
        std::future::poll_fn(|cx| self.poll_writable(cx)).await;
    }

    /// Reads, waiting for the first byte.
    ///
    /// # Errors
    /// `ConnectionReset`; `NotConnected` when this end is closed.
    pub async fn read(&self, buffer: &mut [u8]) -> Result<usize, NetError> {
        std::future::poll_fn(|cx| self.poll_read(cx, buffer)).await
    }

    /// Writes everything.
    ///
    /// # Errors
    /// `BrokenPipe`, `ConnectionReset`.
    pub async fn write_all(&self, mut bytes: &[u8]) -> Result<(), NetError> {
        while !bytes.is_empty() {
            let written = std::future::poll_fn(|cx| self.poll_write(cx, bytes)).await?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpStream({} → {})", self.local_address(), self.remote_address())
    }
}
