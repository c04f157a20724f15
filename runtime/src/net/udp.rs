//! UDP sockets of the pod network.
//!
//! A datagram is copied once, into the mailbox of whoever holds the destination port, or dropped when that is full. Sending never
//! waits. A datagram from a connected socket to a port that nobody holds leaves `ConnectionRefused` at the sender, once.

use super::address::{Route, destination, validate};
use super::container::{Close, Place};
use super::outbox::{Outbox, OutsideChannel};
use super::ports::{Role, SocketId};
use super::waiters::Waiters;
use super::{AddressFamily, NetError, PodNet, Protocol, UdpOptions};
use crate::limits;
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

/// A datagram, received or on its way out of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The payload; it may be empty.
    pub payload: Bytes,
    /// Who sent it, or who is to get it.
    pub remote: SocketAddr,
}

/// What a socket has received and its guest has not yet taken.
#[derive(Debug)]
pub(super) struct Mailbox(Mutex<Received>);

#[derive(Debug)]
struct Received {
    queue: VecDeque<Datagram>,
    /// What `queue` holds, each datagram with its overhead.
    queued_bytes: usize,
    limit_bytes: usize,
    /// Only datagrams from here are wanted.
    peer: Option<SocketAddr>,
    error: Option<NetError>,
    closed: bool,
    readers: Waiters,
}

/// What became of a datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It waits to be received, or was dropped for lack of room: the sender cannot tell.
    Taken,
    /// The receiver is connected to somebody else, or closed: as if nobody held the port.
    Unwanted,
}

impl Mailbox {
    fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Received {
            queue: VecDeque::new(),
            queued_bytes: 0,
            limit_bytes,
            peer: None,
            error: None,
            closed: false,
            readers: Waiters::default(),
        })))
    }

    /// Takes a datagram from `remote` in, if it is wanted and there is room.
    pub(super) fn deliver(&self, payload: &[u8], remote: SocketAddr) -> Delivery {
        let mut received = self.lock();
        if received.closed || received.peer.is_some_and(|peer| peer != remote) {
            return Delivery::Unwanted;
        }
        let size = payload.len() + limits::UDP_DATAGRAM_OVERHEAD_BYTES;
        if received.queued_bytes + size > received.limit_bytes {
            return Delivery::Taken;
        }
        received.queued_bytes += size;
        received.queue.push_back(Datagram { payload: Bytes::copy_from_slice(payload), remote });
        let readers = received.readers.take();
        drop(received);
        readers.wake();
        Delivery::Taken
    }

    /// Leaves an error for the next operation.
    fn fail(&self, error: NetError) {
        let mut received = self.lock();
        received.error = Some(error);
        let readers = received.readers.take();
        drop(received);
        readers.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Received> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A UDP socket: dropped, it is closed. All methods take `&self` and never block; share it by `Arc`.
pub struct UdpSocket(Arc<Core>);

struct Core {
    net: PodNet,
    id: SocketId,
    family: AddressFamily,
    mailbox: Arc<Mailbox>,
    inner: Mutex<Inner>,
}

struct Inner {
    /// As it stands in the port table, and as it was bound: the wildcard narrows while connected.
    binding: Option<(SocketAddr, SocketAddr)>,
    peer: Option<SocketAddr>,
    options: UdpOptions,
    /// Made when the first datagram leaves the pod.
    outbox: Option<Arc<Outbox>>,
    closed: bool,
    place: Option<Place>,
}

impl UdpSocket {
    pub(super) fn new(net: PodNet, mut place: Place, family: AddressFamily) -> Result<Self, NetError> {
        let options = UdpOptions::default();
        let inner = Inner { binding: None, peer: None, options, outbox: None, closed: false, place: None };
        let mailbox = Mailbox::new(options.receive_buffer_bytes);
        let core = Arc::new(Core { id: net.next_socket_id(), net, family, mailbox, inner: Mutex::new(inner) });
        let weak = Arc::downgrade(&core);
        let socket = Self(core);
        place.fill(socket.0.id, weak)?;
        socket.0.lock().place = Some(place);
        Ok(socket)
    }

    /// IPv4 or IPv6.
    pub fn family(&self) -> AddressFamily {
        self.0.family
    }

    /// Gives the socket a local address; port 0 picks a free ephemeral port.
    ///
    /// # Errors
    /// `InvalidArgument` when bound already, `FamilyMismatch`, `AddressNotAvailable` when the address is not the pod's,
    /// `AddressInUse`.
    pub fn bind(&self, address: SocketAddr) -> Result<(), NetError> {
        let mut inner = self.0.open()?;
        if inner.binding.is_some() {
            return Err(NetError::InvalidArgument);
        }
        self.0.net.check_local(self.0.family, address)?;
        self.0.bind(&mut inner, address)
    }

    /// Fixes the peer: only its datagrams are received, `send` needs no address, a closed port there is reported as
    /// `ConnectionRefused`. May be called again with another peer. An unbound socket binds to an ephemeral port first.
    /// Datagrams that wait already stay, as on Linux.
    ///
    /// # Errors
    /// `FamilyMismatch`, `InvalidArgument`, `NetworkUnreachable`, `AccessDenied`, `AddressInUse` when no ephemeral port is free.
    pub fn connect(&self, remote: SocketAddr) -> Result<(), NetError> {
        let mut inner = self.0.open()?;
        let local = self.0.bound(&mut inner)?;
        validate(self.0.family, remote)?;
        let remote = destination(remote, Some(local));
        let route = self.0.net.route_datagram(Some(local), remote)?;
        let source = self.0.net.source(Some(local), remote, &route)?;
        if let Some((address, _)) = &mut inner.binding {
            self.0.net.ports().set_ip(Protocol::Udp, local, self.0.id, source);
            address.set_ip(source);
        }
        inner.peer = Some(remote);
        self.0.mailbox.lock().peer = Some(remote);
        Ok(())
    }

    /// Forgets the peer; the local port stays.
    pub fn disconnect(&self) {
        let mut inner = self.0.lock();
        inner.peer = None;
        self.0.mailbox.lock().peer = None;
        if let Some((address, original)) = &mut inner.binding {
            self.0.net.ports().set_ip(Protocol::Udp, *address, self.0.id, original.ip());
            *address = *original;
        }
    }

    /// Sends one datagram, to `remote` or to the peer. A datagram for which nobody has room is dropped, and that is no error.
    ///
    /// # Errors
    /// `DestinationRequired`, `DatagramTooLarge`, `FamilyMismatch`, `InvalidArgument`, `NetworkUnreachable`, `AccessDenied`,
    /// `ConnectionRefused` once after an earlier datagram to the peer met a closed port.
    pub fn send(&self, payload: &[u8], remote: Option<SocketAddr>) -> Result<(), NetError> {
        let core = &self.0;
        let mut inner = core.open()?;
        let local = core.bound(&mut inner)?;
        let peer = inner.peer;
        let remote = remote.or(peer).ok_or(NetError::DestinationRequired)?;
        if payload.len() > core.payload_max() {
            return Err(NetError::DatagramTooLarge);
        }
        validate(core.family, remote)?;
        let remote = destination(remote, Some(local));
        let route = core.net.route_datagram(Some(local), remote)?;
        if let Some(error) = core.mailbox.lock().error.take() {
            return Err(error);
        }
        let own = SocketAddr::new(core.net.source(Some(local), remote, &route)?, local.port());
        let delivered = |delivery: Delivery| {
            if delivery == Delivery::Unwanted && peer == Some(remote) {
                core.mailbox.fail(NetError::ConnectionRefused);
            }
        };
        match route {
            Route::Inside => {
                drop(inner);
                delivered(core.net.deliver_datagram(payload, own, remote));
            }
            Route::Pod { net, address, source } => {
                drop(inner);
                delivered(net.deliver_datagram(payload, source.unwrap_or(own), address));
            }
            Route::Refused => {
                drop(inner);
                delivered(Delivery::Unwanted);
            }
            Route::Client { outbox, client } => {
                outbox.push(Datagram { payload: Bytes::copy_from_slice(payload), remote: client });
            }
            Route::Outside { gateway, remote } => {
                let (outbox, is_new) = match &inner.outbox {
                    Some(outbox) => (outbox.clone(), false),
                    None => (inner.outbox.insert(Arc::default()).clone(), true),
                };
                drop(inner);
                outbox.push(Datagram { payload: Bytes::copy_from_slice(payload), remote });
                if is_new {
                    gateway.open_udp(OutsideChannel { family: core.family, outbox, mailbox: core.mailbox.clone() });
                }
            }
        }
        Ok(())
    }

    /// Takes the next datagram.
    ///
    /// # Errors
    /// `WouldBlock`, `ConnectionRefused` once after an earlier datagram to the peer met a closed port, `NotConnected` when closed.
    pub fn receive(&self) -> Result<Datagram, NetError> {
        let mut received = self.0.mailbox.lock();
        if let Some(error) = received.error.take() {
            return Err(error);
        }
        match received.queue.pop_front() {
            Some(datagram) => {
                received.queued_bytes -= datagram.payload.len() + limits::UDP_DATAGRAM_OVERHEAD_BYTES;
                Ok(datagram)
            }
            None if received.closed => Err(NetError::NotConnected),
            None => Err(NetError::WouldBlock),
        }
    }

    /// Like [`receive`](Self::receive), but leaves the datagram in the queue.
    ///
    /// # Errors
    /// As `receive`.
    pub fn peek(&self) -> Result<Datagram, NetError> {
        let mut received = self.0.mailbox.lock();
        match (received.error.take(), received.queue.front()) {
            (Some(error), _) => Err(error),
            (None, Some(datagram)) => Ok(datagram.clone()),
            (None, None) if received.closed => Err(NetError::NotConnected),
            (None, None) => Err(NetError::WouldBlock),
        }
    }

    /// Ready when `receive` would not give `WouldBlock`.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut received = self.0.mailbox.lock();
        if !received.queue.is_empty() || received.error.is_some() || received.closed {
            return Poll::Ready(());
        }
        let evicted = received.readers.add(cx.waker());
        drop(received);
        if let Some(waker) = evicted {
            waker.wake();
        }
        Poll::Pending
    }

    /// Always ready: a send never waits. (`wasi:sockets` `check-send` can permit any number.)
    pub fn poll_writable(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// Waits for the next datagram.
    ///
    /// # Errors
    /// As [`receive`](Self::receive), without `WouldBlock`.
    pub async fn received(&self) -> Result<Datagram, NetError> {
        std::future::poll_fn(|cx| {
            loop {
                match self.receive() {
                    Err(NetError::WouldBlock) => ready!(self.poll_readable(cx)),
                    result => return Poll::Ready(result),
                }
            }
        })
        .await
    }

    /// `getsockname`: the unspecified address with port 0 while unbound.
    ///
    /// # Errors
    /// `NotConnected` when closed.
    pub fn local_address(&self) -> Result<SocketAddr, NetError> {
        let inner = self.0.open()?;
        Ok(inner.binding.map_or_else(|| SocketAddr::new(self.0.family.unspecified(), 0), |(address, _)| address))
    }

    /// Whether the socket has a local port.
    pub fn is_bound(&self) -> bool {
        self.0.lock().binding.is_some()
    }

    /// `getpeername`.
    ///
    /// # Errors
    /// `NotConnected` without a peer.
    pub fn remote_address(&self) -> Result<SocketAddr, NetError> {
        self.0.lock().peer.ok_or(NetError::NotConnected)
    }

    /// The options.
    pub fn options(&self) -> UdpOptions {
        self.0.lock().options
    }

    /// Changes options, and clamps them. A smaller receive buffer drops nothing that waits.
    pub fn set_options(&self, change: impl FnOnce(&mut UdpOptions)) {
        let mut inner = self.0.lock();
        change(&mut inner.options);
        inner.options = inner.options.clamped();
        self.0.mailbox.lock().limit_bytes = inner.options.receive_buffer_bytes;
    }

    /// Closes the socket and frees its port; what waits is dropped. Dropping does the same.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks, unless the socket is closed.
    fn open(&self) -> Result<MutexGuard<'_, Inner>, NetError> {
        let inner = self.lock();
        if inner.closed { Err(NetError::NotConnected) } else { Ok(inner) }
    }

    fn bind(&self, inner: &mut Inner, address: SocketAddr) -> Result<(), NetError> {
        let address = self.net.ports().bind(Protocol::Udp, address, self.id, Role::Receiving(self.mailbox.clone()))?;
        inner.binding = Some((address, address));
        Ok(())
    }

    /// The local address, after binding to an ephemeral port where there is none. Linux does so before it looks at the other
    /// arguments: what then fails leaves the socket bound.
    fn bound(&self, inner: &mut Inner) -> Result<SocketAddr, NetError> {
        if inner.binding.is_none() {
            self.bind(inner, SocketAddr::new(self.family.unspecified(), 0))?;
        }
        inner.binding.map(|(address, _)| address).ok_or(NetError::AddressInUse)
    }

    fn payload_max(&self) -> usize {
        match self.family {
            AddressFamily::Ipv4 => limits::UDP_PAYLOAD_IPV4_MAX_BYTES,
            AddressFamily::Ipv6 => limits::UDP_PAYLOAD_IPV6_MAX_BYTES,
        }
    }
}

impl Close for Core {
    fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.peer = None;
        if let Some((address, _)) = inner.binding.take() {
            self.net.ports().release(Protocol::Udp, address, self.id);
        }
        let (outbox, place) = (inner.outbox.take(), inner.place.take());
        drop(inner);
        if let Some(outbox) = outbox {
            outbox.close();
        }
        let mut received = self.mailbox.lock();
        received.closed = true;
        received.queue = VecDeque::new();
        received.queued_bytes = 0;
        let readers = received.readers.take();
        drop(received);
        readers.wake();
        drop(place);
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSocket").field("id", &self.0.id).finish_non_exhaustive()
    }
}
