//! The backlog of a listening socket, and the connections that wait to get into it.
//!
//! ```text
//!   waiting:  [ c0 c1 c2 | c3 c4 ]        limit = 2: like Linux, one more than the backlog is established
//!               established  under way     accept takes c0, and c3 becomes established
//! ```

use super::handover::Handover;
use super::stream::{EndConfig, TcpStream};
use super::waiters::Waiters;
use super::{Exposure, NetError, TcpOptions};
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

/// A connect under way, as the connecting socket sees it.
#[derive(Debug)]
pub(super) struct Connect {
    /// The connecting end; dead when the connect fails.
    pub(super) stream: TcpStream,
    state: Mutex<ConnectState>,
}

#[derive(Debug)]
struct ConnectState {
    outcome: Option<Result<(), NetError>>,
    waiters: Waiters,
}

impl Connect {
    pub(super) fn new(stream: TcpStream) -> Arc<Self> {
        Arc::new(Self { stream, state: Mutex::new(ConnectState { outcome: None, waiters: Waiters::default() }) })
    }

    /// Decides it, unless it is decided; whether this call did.
    pub(super) fn decide(&self, outcome: Result<(), NetError>) -> bool {
        let waiters = self.decide_quietly(outcome);
        let decided = waiters.is_some();
        if let Some(waiters) = waiters {
            waiters.wake();
        }
        decided
    }

    /// Like [`decide`](Self::decide), for callers that hold a lock: they wake whoever waits once they have released it.
    fn decide_quietly(&self, outcome: Result<(), NetError>) -> Option<Waiters> {
        let mut state = self.lock();
        if state.outcome.is_some() {
            return None;
        }
        state.outcome = Some(outcome);
        Some(state.waiters.take())
    }

    pub(super) fn outcome(&self) -> Option<Result<(), NetError>> {
        self.lock().outcome
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        let mut state = self.lock();
        if let Some(outcome) = state.outcome {
            return Poll::Ready(outcome);
        }
        let evicted = state.waiters.add(cx.waker());
        drop(state);
        if let Some(waker) = evicted {
            waker.wake();
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, ConnectState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `accept` hands out.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) options: TcpOptions,
    /// The connection itself, where the listener takes it over.
    pub(super) handover: Option<Handover>,
}

#[derive(Debug)]
struct Incoming {
    accepted: Accepted,
    connect: Arc<Connect>,
    established: bool,
}

/// The backlog of one listening socket.
pub(super) struct Listener {
    state: Mutex<Backlog>,
    /// What leads here from outside, until it is closed.
    exposure: Mutex<Option<Exposure>>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Backlog {
    /// The established ones first.
    waiting: VecDeque<Incoming>,
    /// How many may be established, less one.
    limit: usize,
    /// For the sockets that will be accepted.
    options: TcpOptions,
    /// Whether connections from outside come as they are.
    takes_over: bool,
    closed: bool,
    waiters: Waiters,
}

impl Listener {
    pub(super) fn new(limit: usize, options: TcpOptions, exposure: Option<Exposure>) -> Arc<Self> {
        let backlog =
            Backlog { waiting: VecDeque::new(), limit, options, takes_over: false, closed: false, waiters: Waiters::default() };
        Arc::new(Self { state: Mutex::new(backlog), exposure: Mutex::new(exposure) })
    }

    /// Queues a connection from `opener` to the address `local` of this listener, which the opener knows as `shown`. It is established at once when the backlog has room,
    /// else once others have been accepted.
    pub(super) fn connect(&self, opener: EndConfig, local: SocketAddr, shown: SocketAddr) -> Result<Arc<Connect>, NetError> {
        self.queue(opener, local, shown, None)
    }

    /// As [`connect`](Self::connect), for a connection from outside that is taken over as it is.
    pub(super) fn hand_over(&self, opener: EndConfig, local: SocketAddr, connection: Handover) -> Result<(), NetError> {
        self.queue(opener, local, local, Some(connection)).map(drop)
    }

    /// Lets connections from outside come as they are.
    pub(super) fn take_over(&self) {
        self.lock().takes_over = true;
    }

    pub(super) fn takes_over(&self) -> bool {
        self.lock().takes_over
    }

    fn queue(
        &self,
        opener: EndConfig,
        local: SocketAddr,
        shown: SocketAddr,
        handover: Option<Handover>,
    ) -> Result<Arc<Connect>, NetError> {
        let mut backlog = self.lock();
        if backlog.closed {
            return Err(NetError::ConnectionRefused);
        }
        let options = backlog.options;
        let acceptor =
            EndConfig { address: local, send_limit: options.send_buffer_bytes, receive_limit: options.receive_buffer_bytes };
        let (client, server) = TcpStream::pair(opener, acceptor, shown);
        let connect = Connect::new(client);
        let established = backlog.waiting.len() <= backlog.limit;
        let accepted = Accepted { stream: server, options, handover };
        backlog.waiting.push_back(Incoming { accepted, connect: connect.clone(), established });
        if established {
            // Nobody knows of this connect yet, so nobody waits for it.
            let _ = connect.decide_quietly(Ok(()));
            let waiters = backlog.waiters.take();
            drop(backlog);
            waiters.wake();
        }
        Ok(connect)
    }

    /// Takes the next established connection.
    pub(super) fn accept(&self) -> Result<Accepted, NetError> {
        let mut backlog = self.lock();
        if !backlog.is_ready() {
            return Err(if backlog.closed { NetError::InvalidArgument } else { NetError::WouldBlock });
        }
        let incoming = backlog.waiting.pop_front().ok_or(NetError::WouldBlock)?;
        let let_in = backlog.promote();
        drop(backlog);
        let_in.into_iter().for_each(Waiters::wake);
        Ok(incoming.accepted)
    }

    /// Forgets a connect that its socket gave up before it was established.
    pub(super) fn cancel(&self, connect: &Arc<Connect>) {
        let mut backlog = self.lock();
        backlog.waiting.retain(|incoming| incoming.established || !Arc::ptr_eq(&incoming.connect, connect));
        // It may have stood where there was room.
        let let_in = backlog.promote();
        let waiters = if let_in.is_empty() { Waiters::default() } else { backlog.waiters.take() };
        drop(backlog);
        let_in.into_iter().for_each(Waiters::wake);
        waiters.wake();
    }

    /// Changes the length of the backlog; a longer one lets more in at once.
    pub(super) fn set_limit(&self, limit: usize) {
        let mut backlog = self.lock();
        backlog.limit = limit;
        let let_in = backlog.promote();
        let waiters = backlog.waiters.take();
        drop(backlog);
        let_in.into_iter().for_each(Waiters::wake);
        waiters.wake();
    }

    /// Changes the options for connections to come.
    pub(super) fn set_options(&self, options: TcpOptions) {
        self.lock().options = options;
    }

    /// Resets what is established, refuses what is under way, takes no more.
    pub(super) fn close(&self) {
        let exposure = self.exposure.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(exposure);
        let mut backlog = self.lock();
        backlog.closed = true;
        let waiting = std::mem::take(&mut backlog.waiting);
        let waiters = backlog.waiters.take();
        drop(backlog);
        for incoming in waiting {
            if incoming.established {
                incoming.accepted.stream.reset();
                incoming.accepted.stream.close();
            } else {
                incoming.connect.decide(Err(NetError::ConnectionRefused));
            }
        }
        waiters.wake();
    }

    /// Ready when `accept` would not give `WouldBlock`.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut backlog = self.lock();
        if backlog.closed || backlog.is_ready() {
            return Poll::Ready(());
        }
        let evicted = backlog.waiters.add(cx.waker());
        drop(backlog);
        if let Some(waker) = evicted {
            waker.wake();
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backlog {
    fn is_ready(&self) -> bool {
        self.waiting.front().is_some_and(|incoming| incoming.established)
    }

    /// Establishes those under way for which there is room now; the answer is who waits for it.
    #[must_use]
    fn promote(&mut self) -> Vec<Waiters> {
        let room = self.limit.saturating_add(1);
        let mut let_in = Vec::new();
        for incoming in self.waiting.iter_mut().take(room).filter(|incoming| !incoming.established) {
            // None when its socket gives up in this very moment: that removes it from the queue.
            if let Some(waiters) = incoming.connect.decide_quietly(Ok(())) {
                incoming.established = true;
                let_in.push(waiters);
            }
        }
        let_in
    }
}
