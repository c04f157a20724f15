//! Datagrams on their way out of the pod, between a guest's socket and the task that has the kernel's.

use super::udp::Mailbox;
use super::waiters::Waiters;
use super::{AddressFamily, AddressPool, Datagram};
use crate::limits::EGRESS_DATAGRAMS_QUEUED_MAX;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

/// A bounded queue; when it is full, datagrams are dropped, as on any link.
#[derive(Debug, Default)]
pub(super) struct Outbox(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Datagram>,
    closed: bool,
    waiters: Waiters,
}

impl Outbox {
    /// Queues a datagram to `datagram.remote`, or drops it.
    pub(super) fn push(&self, datagram: Datagram) {
        let mut state = self.lock();
        if state.closed || state.queue.len() >= EGRESS_DATAGRAMS_QUEUED_MAX {
            return;
        }
        state.queue.push_back(datagram);
        let waiters = state.waiters.take();
        drop(state);
        waiters.wake();
    }

    /// No more will come.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiters = state.waiters.take();
        drop(state);
        waiters.wake();
    }

    /// The next datagram; `None` when there will be none.
    pub(super) fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Option<Datagram>> {
        let mut state = self.lock();
        if let Some(datagram) = state.queue.pop_front() {
            return Poll::Ready(Some(datagram));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        let evicted = state.waiters.add(cx.waker());
        drop(state);
        if let Some(waker) = evicted {
            waker.wake();
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The datagrams that one guest socket exchanges with the outside.
#[derive(Debug)]
pub struct OutsideChannel {
    pub(super) family: AddressFamily,
    pub(super) outbox: Arc<Outbox>,
    pub(super) mailbox: Arc<Mailbox>,
}

impl OutsideChannel {
    /// IPv4 or IPv6.
    pub fn family(&self) -> AddressFamily {
        self.family
    }

    /// The next datagram to send to its `remote`; `None` when the guest's socket is closed.
    pub fn poll_outgoing(&self, cx: &mut Context<'_>) -> Poll<Option<Datagram>> {
        self.outbox.poll_pop(cx)
    }

    /// Gives the guest a datagram that came from `remote`, if it wants it and has room.
    pub fn deliver(&self, payload: &[u8], remote: SocketAddr) {
        // The machine's own loopback is known to guests under the address that stands for the machine.
        let ip = if remote.ip().is_loopback() { AddressPool::outside(self.family) } else { remote.ip() };
        self.mailbox.deliver(payload, SocketAddr::new(ip, remote.port()));
    }
}

impl Drop for OutsideChannel {
    /// A channel that nobody serves takes nothing more.
    fn drop(&mut self) {
        self.outbox.close();
    }
}
