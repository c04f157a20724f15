//! TCP sockets of the pod network.
//!
//! ```text
//!                    ┌── listen ──▶ Listening ── accept ──▶ a new socket, Connected
//!   Unconnected ─────┤
//!   (bound or not)   └── connect ─▶ Connecting ─────────▶ Connected ── close ─▶ Closed
//!        ▲                             │ refused
//!        └─────────────────────────────┘
//! ```

use super::address::{Route, destination, validate};
use super::container::{Close, Place};
use super::gateway::Dial;
use super::handover::Handover;
use super::listener::{Connect, Listener};
use super::ports::{Role, SocketId};
use super::stream::EndConfig;
use super::{AddressFamily, NetError, PodNet, Protocol, TcpOptions, TcpStream};
use crate::limits;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

/// Which directions of a connection to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// This end reads no more: after the bytes that wait, reads give the end of the stream.
    Read,
    /// This end writes no more: the peer reads the end of the stream after the bytes under way.
    Write,
    /// Both.
    Both,
}

/// Where a socket is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpState {
    /// New, or back from a connect that failed; it may be bound.
    Unconnected,
    /// Waits for connections.
    Listening,
    /// A connect is under way.
    Connecting,
    /// Has, or had, a connection.
    Connected,
    /// [`TcpSocket::close`] was called, or the container's network was closed.
    Closed,
}

/// A TCP socket: dropped, it is closed. All methods take `&self` and never block; share it by `Arc`.
pub struct TcpSocket(Arc<Core>);

/// What the socket and its container share; the container holds it weakly.
struct Core {
    net: PodNet,
    id: SocketId,
    family: AddressFamily,
    inner: Mutex<Inner>,
}

struct Inner {
    phase: Phase,
    binding: Option<Binding>,
    options: TcpOptions,
    backlog: usize,
    /// Why the last connect failed, until somebody asks.
    error: Option<NetError>,
    /// A connect has succeeded, and nobody has asked yet: `poll_ready` says so.
    succeeded: bool,
    /// The connection from outside that was accepted as it is.
    handover: Option<Handover>,
    /// Keeps the socket counted; given up when it is closed.
    place: Option<Place>,
}

enum Phase {
    Unconnected,
    Listening(Arc<Listener>),
    /// `listener` is none when the way leads out of the pod.
    Connecting {
        connect: Arc<Connect>,
        listener: Option<Arc<Listener>>,
    },
    Connected(TcpStream),
    Closed,
}

/// What the socket holds in the port table.
#[derive(Clone, Copy)]
struct Binding {
    /// As it stands in the table now.
    address: SocketAddr,
    /// As it was bound: the wildcard narrows while connected.
    original: SocketAddr,
    /// By `bind`, so that it survives a connect that fails.
    explicit: bool,
}

impl TcpSocket {
    pub(super) fn new(net: PodNet, place: Place, family: AddressFamily) -> Result<Self, NetError> {
        Self::with_phase(net, place, family, Phase::Unconnected, TcpOptions::default())
    }

    fn with_phase(
        net: PodNet,
        mut place: Place,
        family: AddressFamily,
        phase: Phase,
        options: TcpOptions,
    ) -> Result<Self, NetError> {
        let id = net.next_socket_id();
        let backlog = limits::TCP_BACKLOG_DEFAULT_CONNECTIONS;
        let inner = Mutex::new(Inner {
            phase,
            binding: None,
            options,
            backlog,
            error: None,
            succeeded: false,
            handover: None,
            place: None,
        });
        let core = Arc::new(Core { net, id, family, inner });
        let weak = Arc::downgrade(&core);
        let socket = Self(core);
        place.fill(id, weak)?;
        socket.0.lock().place = Some(place);
        Ok(socket)
    }

    /// IPv4 or IPv6.
    pub fn family(&self) -> AddressFamily {
        self.0.family
    }

    /// Where the socket is in its life.
    pub fn state(&self) -> TcpState {
        match self.0.settled().phase {
            Phase::Unconnected => TcpState::Unconnected,
            Phase::Listening(_) => TcpState::Listening,
            Phase::Connecting { .. } => TcpState::Connecting,
            Phase::Connected(_) => TcpState::Connected,
            Phase::Closed => TcpState::Closed,
        }
    }

    /// Gives the socket a local address; port 0 picks a free ephemeral port.
    ///
    /// # Errors
    /// `InvalidArgument` when bound already or connected, `FamilyMismatch`, `AddressNotAvailable` when the address is not the pod's,
    /// `AddressInUse`.
    pub fn bind(&self, address: SocketAddr) -> Result<(), NetError> {
        let mut inner = self.0.settled();
        if inner.binding.is_some() || !matches!(inner.phase, Phase::Unconnected) {
            return Err(NetError::InvalidArgument);
        }
        self.0.net.check_local(self.0.family, address)?;
        self.0.bind(&mut inner, address, true)
    }

    /// How many connections may wait to be accepted; clamped to [`limits`]. Works before and after `listen`.
    pub fn set_backlog(&self, connections: usize) {
        let mut inner = self.0.settled();
        inner.backlog = connections.min(limits::TCP_BACKLOG_MAX_CONNECTIONS);
        if let Phase::Listening(listener) = &inner.phase {
            let (listener, backlog) = (listener.clone(), inner.backlog);
            drop(inner);
            listener.set_limit(backlog);
        }
    }

    /// Starts to listen; an unbound socket binds to the wildcard address and an ephemeral port first. Again on a listening socket: no
    /// effect.
    ///
    /// # Errors
    /// `InvalidArgument` when connecting or connected, `AddressInUse` when no ephemeral port is free, or when the pod is reached from
    /// outside under its own address and somebody else has the port there.
    pub fn listen(&self) -> Result<(), NetError> {
        let mut inner = self.0.settled();
        match inner.phase {
            Phase::Unconnected => {}
            Phase::Listening(_) => return Ok(()),
            Phase::Connecting { .. } | Phase::Connected(_) | Phase::Closed => return Err(NetError::InvalidArgument),
        }
        if inner.binding.is_none() {
            self.0.bind(&mut inner, SocketAddr::new(self.0.family.unspecified(), 0), false)?;
        }
        let exposure = match inner.binding {
            Some(binding) => self.0.net.expose(Protocol::Tcp, binding.address)?,
            None => None,
        };
        let listener = Listener::new(inner.backlog, inner.options, exposure);
        self.0.set_role(&inner, Role::Listening(listener.clone()));
        inner.phase = Phase::Listening(listener);
        Ok(())
    }

    /// Takes the next connection. The new socket belongs to the same container and has the listener's options.
    ///
    /// # Errors
    /// `WouldBlock` when none waits, `InvalidArgument` when not listening, `TooManySockets` (the connection then stays in the queue).
    pub fn accept(&self) -> Result<Self, NetError> {
        let inner = self.0.lock();
        let (Phase::Listening(listener), Some(place)) = (&inner.phase, &inner.place) else { return Err(NetError::InvalidArgument) };
        let (listener, owner) = (listener.clone(), place.owner().clone());
        drop(inner);
        let place = owner.reserve()?;
        let accepted = listener.accept()?;
        let socket =
            Self::with_phase(self.0.net.clone(), place, self.0.family, Phase::Connected(accepted.stream), accepted.options)?;
        socket.0.lock().handover = accepted.handover;
        Ok(socket)
    }

    /// For a socket that listens and whose connections the host answers, by way of [`PodStream`](super::PodStream): those from outside
    /// the pod come as they are, instead of being carried into the pod and out again. No effect on others.
    pub fn take_over(&self) {
        if let Phase::Listening(listener) = &self.0.lock().phase {
            listener.take_over();
        }
    }

    /// The connection from outside that this socket stands for, given once.
    pub(super) fn handover(&self) -> Option<Handover> {
        self.0.lock().handover.take()
    }

    /// Starts to connect. `Ok` means started, even when it is done by then, and also when it is refused: fetch the outcome with
    /// [`finish_connect`](Self::finish_connect), wait for it with [`poll_ready`](Self::poll_ready).
    ///
    /// # Errors
    /// `AlreadyInProgress`, `AlreadyConnected` (also when listening), `FamilyMismatch`, `InvalidArgument` (port 0, multicast, mapped
    /// addresses, from loopback to the outside), `NetworkUnreachable`, `AccessDenied`, `AddressInUse` when no ephemeral port is free;
    /// the error of an earlier connect that nobody fetched.
    pub fn connect(&self, remote: SocketAddr) -> Result<(), NetError> {
        let mut inner = self.0.settled();
        match inner.phase {
            Phase::Unconnected => {}
            Phase::Connecting { .. } => return Err(NetError::AlreadyInProgress),
            Phase::Listening(_) | Phase::Connected(_) => return Err(NetError::AlreadyConnected),
            Phase::Closed => return Err(NetError::InvalidArgument),
        }
        if let Some(error) = inner.error.take() {
            return Err(error);
        }
        validate(self.0.family, remote)?;
        let remote = destination(remote, inner.binding.map(|binding| binding.address));
        let local_port = inner.binding.map_or(0, |binding| binding.address.port());
        let route = self.0.net.route(Protocol::Tcp, local_port, remote)?;
        let local = self.0.bind_to_connect(&mut inner, remote, &route)?;
        let end = EndConfig {
            address: local,
            send_limit: inner.options.send_buffer_bytes,
            receive_limit: inner.options.receive_buffer_bytes,
        };
        match route {
            Route::Inside => {
                let listener = self.0.net.ports().listener(remote);
                self.0.connect_to(&mut inner, listener, end, remote, remote);
            }
            Route::Pod { net, address, .. } => {
                let listener = net.ports().listener(address);
                self.0.connect_to(&mut inner, listener, end, address, remote);
            }
            Route::Refused => self.0.connect_failed(&mut inner, NetError::ConnectionRefused),
            // Only datagrams have clients.
            Route::Client { .. } => self.0.connect_failed(&mut inner, NetError::NetworkUnreachable),
            Route::Outside { gateway, remote: real } => {
                let (stream, outside) = TcpStream::pair(end, EndConfig { address: real, ..end }, remote);
                let connect = Connect::new(stream);
                inner.phase = Phase::Connecting { connect: connect.clone(), listener: None };
                drop(inner);
                gateway.connect_tcp(Dial::new(connect, outside));
            }
        }
        Ok(())
    }

    /// The outcome of a connect; after an error the socket is [`Unconnected`](TcpState::Unconnected) again, as on Linux.
    ///
    /// # Errors
    /// `WouldBlock` while under way, `ConnectionRefused`, `TimedOut`, `NetworkUnreachable`, `AccessDenied`; `NotConnected` when no
    /// connect is in progress. On a connected socket: `Ok`.
    pub fn finish_connect(&self) -> Result<(), NetError> {
        let mut inner = self.0.settled();
        match inner.phase {
            Phase::Connecting { .. } => Err(NetError::WouldBlock),
            Phase::Connected(_) => {
                inner.succeeded = false;
                Ok(())
            }
            Phase::Unconnected | Phase::Listening(_) | Phase::Closed => Err(inner.error.take().unwrap_or(NetError::NotConnected)),
        }
    }

    /// Ready when the socket can do what its state waits for: `accept` when listening, `finish_connect` after `connect`; when
    /// connected and told so by `finish_connect` or `stream`, reading. In every other state ready at once. This is `wasi:sockets` `tcp-socket.subscribe`.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let inner = self.0.settled();
        match &inner.phase {
            Phase::Unconnected | Phase::Closed => Poll::Ready(()),
            Phase::Connected(_) if inner.succeeded => Poll::Ready(()),
            Phase::Listening(listener) => {
                let listener = listener.clone();
                drop(inner);
                listener.poll_ready(cx)
            }
            Phase::Connecting { connect, .. } => {
                let connect = connect.clone();
                drop(inner);
                connect.poll(cx).map(|_| ())
            }
            Phase::Connected(stream) => {
                let stream = stream.clone();
                drop(inner);
                stream.poll_readable(cx)
            }
        }
    }

    /// The bytes of the connection.
    ///
    /// # Errors
    /// `NotConnected` in every state but [`Connected`](TcpState::Connected).
    pub fn stream(&self) -> Result<TcpStream, NetError> {
        let mut inner = self.0.settled();
        let Phase::Connected(stream) = &inner.phase else { return Err(NetError::NotConnected) };
        let stream = stream.clone();
        inner.succeeded = false;
        Ok(stream)
    }

    /// Ends one or both directions; again: no effect. On a listening socket, `Read` and `Both` end the listening, on a connecting one
    /// any ends the connect, as on Linux.
    ///
    /// # Errors
    /// `NotConnected`, also when the connection was reset or both directions have ended.
    pub fn shutdown(&self, how: Shutdown) -> Result<(), NetError> {
        let mut inner = self.0.settled();
        match &inner.phase {
            Phase::Unconnected | Phase::Closed => Err(NetError::NotConnected),
            Phase::Listening(_) if how == Shutdown::Write => Ok(()),
            Phase::Listening(_) | Phase::Connecting { .. } => {
                let phase = std::mem::replace(&mut inner.phase, Phase::Unconnected);
                self.0.set_role(&inner, Role::Bound);
                self.0.restore_binding(&mut inner);
                drop(inner);
                phase.end();
                Ok(())
            }
            Phase::Connected(stream) => {
                let stream = stream.clone();
                drop(inner);
                stream.shutdown(how)
            }
        }
    }

    /// `getsockname`: the unspecified address with port 0 while unbound.
    ///
    /// # Errors
    /// `NotConnected` when closed.
    pub fn local_address(&self) -> Result<SocketAddr, NetError> {
        let inner = self.0.settled();
        match (&inner.phase, inner.binding) {
            (Phase::Closed, _) => Err(NetError::NotConnected),
            (Phase::Connected(stream), _) => Ok(stream.local_address()),
            (_, Some(binding)) => Ok(binding.address),
            (_, None) => Ok(SocketAddr::new(self.0.family.unspecified(), 0)),
        }
    }

    /// Whether the socket has a local port.
    pub fn is_bound(&self) -> bool {
        self.local_address().is_ok_and(|address| address.port() != 0)
    }

    /// `getpeername`.
    ///
    /// # Errors
    /// `NotConnected`, also when the connection was reset or both directions have ended, as on Linux.
    pub fn remote_address(&self) -> Result<SocketAddr, NetError> {
        let stream = self.stream()?;
        if stream.is_over() { Err(NetError::NotConnected) } else { Ok(stream.remote_address()) }
    }

    /// The options.
    pub fn options(&self) -> TcpOptions {
        self.0.lock().options
    }

    /// Changes options, and clamps them: `socket.set_options(|options| options.hop_limit = 3)`. Buffer sizes take effect at once.
    pub fn set_options(&self, change: impl FnOnce(&mut TcpOptions)) {
        let mut inner = self.0.settled();
        change(&mut inner.options);
        inner.options = inner.options.clamped();
        let options = inner.options;
        match &inner.phase {
            Phase::Listening(listener) => listener.set_options(options),
            Phase::Connected(stream) => {
                let stream = stream.clone();
                drop(inner);
                stream.set_limits(options.send_buffer_bytes, options.receive_buffer_bytes);
            }
            Phase::Unconnected | Phase::Connecting { .. } | Phase::Closed => {}
        }
    }

    /// Closes the socket: frees its port, resets what waits in its backlog, ends its connection (with a reset when bytes are unread).
    /// Every later operation fails with `NotConnected` or `InvalidArgument`. Dropping does the same.
    pub fn close(&self) {
        self.0.close();
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// `InvalidArgument` when not listening, `TooManySockets`.
    pub async fn accepted(&self) -> Result<Self, NetError> {
        std::future::poll_fn(|cx| {
            loop {
                match self.accept() {
                    Err(NetError::WouldBlock) => ready!(self.poll_ready(cx)),
                    result => return Poll::Ready(result),
                }
            }
        })
        .await
    }

    /// Connects and waits for the outcome.
    ///
    /// # Errors
    /// Those of [`connect`](Self::connect) and [`finish_connect`](Self::finish_connect).
    pub async fn connected(&self, remote: SocketAddr) -> Result<TcpStream, NetError> {
        self.connect(remote)?;
        std::future::poll_fn(|cx| self.poll_ready(cx)).await;
        self.finish_connect()?;
        self.stream()
    }
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks, and draws the conclusion of a connect that has been decided.
    fn settled(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.lock();
        if let Phase::Connecting { connect, .. } = &inner.phase {
            match connect.outcome() {
                None => {}
                Some(Ok(())) => {
                    inner.phase = Phase::Connected(connect.stream.clone());
                    inner.succeeded = true;
                }
                Some(Err(error)) => self.connect_failed(&mut inner, error),
            }
        }
        inner
    }

    fn bind(&self, inner: &mut Inner, address: SocketAddr, explicit: bool) -> Result<(), NetError> {
        let address = self.net.ports().bind(Protocol::Tcp, address, self.id, Role::Bound)?;
        inner.binding = Some(Binding { address, original: address, explicit });
        Ok(())
    }

    /// Gives the socket the address from which it connects: that of the route, unless it is bound to a specific one.
    fn bind_to_connect(&self, inner: &mut Inner, remote: SocketAddr, route: &Route) -> Result<SocketAddr, NetError> {
        let bound = inner.binding.map(|binding| binding.address);
        let source = self.net.source(bound, remote, route)?;
        match &mut inner.binding {
            None => self.bind(inner, SocketAddr::new(source, 0), false)?,
            Some(binding) => {
                self.net.ports().set_ip(Protocol::Tcp, binding.address, self.id, source);
                binding.address.set_ip(source);
            }
        }
        Ok(inner.binding.map_or_else(|| SocketAddr::new(source, 0), |binding| binding.address))
    }

    /// Connects to a listener at `address`, which the guest knows as `shown`.
    fn connect_to(
        &self,
        inner: &mut Inner,
        listener: Option<Arc<Listener>>,
        end: EndConfig,
        address: SocketAddr,
        shown: SocketAddr,
    ) {
        let connect = listener.as_ref().ok_or(NetError::ConnectionRefused);
        match connect.and_then(|listener| listener.connect(end, address, shown)) {
            Ok(connect) => inner.phase = Phase::Connecting { connect, listener },
            Err(error) => self.connect_failed(inner, error),
        }
    }

    fn connect_failed(&self, inner: &mut Inner, error: NetError) {
        inner.phase = Phase::Unconnected;
        inner.error = Some(error);
        self.restore_binding(inner);
    }

    /// Back to what `bind` asked for.
    fn restore_binding(&self, inner: &mut Inner) {
        let Some(binding) = &mut inner.binding else { return };
        if binding.explicit {
            self.net.ports().set_ip(Protocol::Tcp, binding.address, self.id, binding.original.ip());
            binding.address = binding.original;
        } else {
            self.net.ports().release(Protocol::Tcp, binding.address, self.id);
            inner.binding = None;
        }
    }

    fn set_role(&self, inner: &Inner, role: Role) {
        if let Some(binding) = inner.binding {
            self.net.ports().set_role(Protocol::Tcp, binding.address, self.id, role);
        }
    }
}

impl Phase {
    /// Ends what the socket was doing; no lock may be held.
    fn end(self) {
        match self {
            Self::Unconnected | Self::Closed => {}
            Self::Listening(listener) => listener.close(),
            Self::Connecting { connect, listener } => {
                if connect.decide(Err(NetError::ConnectionAborted))
                    && let Some(listener) = listener
                {
                    listener.cancel(&connect);
                }
                connect.stream.close();
            }
            Self::Connected(stream) => stream.close(),
        }
    }
}

impl Close for Core {
    fn close(&self) {
        let mut inner = self.lock();
        let phase = std::mem::replace(&mut inner.phase, Phase::Closed);
        if let Some(binding) = inner.binding.take() {
            self.net.ports().release(Protocol::Tcp, binding.address, self.id);
        }
        let (place, handover) = (inner.place.take(), inner.handover.take());
        drop(inner);
        phase.end();
        drop((place, handover));
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl fmt::Debug for TcpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpSocket").field("id", &self.0.id).field("state", &self.state()).finish_non_exhaustive()
    }
}
