//! What leads out of the pod, as the core sees it: a trait, so that the core touches no kernel socket.
//!
//! A guest always has the same [`TcpSocket`](super::TcpSocket) and [`UdpSocket`](super::UdpSocket). When it connects to an address
//! outside the pod, the core makes an ordinary connection of two byte queues, keeps one end for the guest and gives the other to the
//! gateway, which dials and then pumps bytes ([`publish::HostGateway`](super::publish::HostGateway) does so with kernel sockets).

use super::listener::Connect;
use super::outbox::OutsideChannel;
use super::{NetError, PodNet, Protocol, TcpStream};
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The answer of a name lookup that is still under way.
pub type LookupFuture = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, NetError>> + Send>>;

/// What keeps a socket of the pod reachable from outside; dropped with the socket.
pub type Exposure = Box<dyn std::any::Any + Send + Sync>;

/// The way out of a pod.
pub trait Gateway: Send + Sync + fmt::Debug {
    /// Whether the pod may reach `remote`; asked before `connect_tcp` and before every datagram.
    fn allows(&self, protocol: Protocol, remote: SocketAddr) -> bool;

    /// Dials `dial.remote()`, without blocking: the work goes on elsewhere. Dropping the [`Dial`] without an answer refuses it.
    fn connect_tcp(&self, dial: Dial);

    /// Carries the datagrams of one UDP socket, without blocking, until the channel says that the socket is closed.
    fn open_udp(&self, channel: OutsideChannel);

    /// Looks up a name that the pod itself does not know. `name` is a valid host name in lower case without a trailing dot.
    fn resolve(&self, name: &str) -> LookupFuture;

    /// A socket of `net` is about to listen (TCP) or receive (UDP) at `local`: the wildcard, the pod's address or the loopback. A
    /// gateway through which others reach the pod there answers with what keeps that socket reachable. Must not block.
    ///
    /// # Errors
    /// What the guest sees: `AddressInUse`, `AccessDenied`.
    fn expose(&self, net: &PodNet, protocol: Protocol, local: SocketAddr) -> Result<Option<Exposure>, NetError> {
        let _ = (net, protocol, local);
        Ok(None)
    }
}

/// One connection that a guest wants to the outside.
pub struct Dial {
    connect: Arc<Connect>,
    outside: TcpStream,
}

impl Dial {
    pub(super) fn new(connect: Arc<Connect>, outside: TcpStream) -> Self {
        Self { connect, outside }
    }

    /// Where to.
    pub fn remote(&self) -> SocketAddr {
        self.outside.local_address()
    }

    /// The connection stands: the guest sees it connected. The answer is the outside's end of it, which its holder has to
    /// [close](TcpStream::close); `None` when the guest has given up in the meantime.
    pub fn established(self) -> Option<TcpStream> {
        self.connect.decide(Ok(())).then(|| self.outside.clone())
    }

    /// The connection could not be made.
    pub fn failed(self, error: NetError) {
        self.connect.decide(Err(error));
    }

    /// Ready when the guest has given up.
    pub fn poll_abandoned(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.connect.poll(cx).map(|_| ())
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        self.connect.decide(Err(NetError::ConnectionRefused));
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dial({})", self.remote())
    }
}
