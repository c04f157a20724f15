//! Connections from outside that whoever accepts them takes over as they are.
//!
//! ```text
//!   a guest accepts            kernel socket ◀── pump ──▶ TcpStream of the pod ◀──▶ guest
//!   the host accepts for it    kernel socket ◀──────────────────────────────────▶ the HTTP server of a container
//! ```
//! Where the host itself answers for a container, every byte would be carried into the pod only to be read out of it again by the same
//! process. The connection counts as any other, against the same limits, and ends with the listener's container.

use super::listener::Listener;
use super::stream::EndConfig;
use super::{AddressFamily, NetError, PodNet};
use crate::limits;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection of the machine, as bytes.
pub(super) trait OutsideStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> OutsideStream for S {}

/// A connection that waits to be taken over: on the runtime of whoever does. Dropped, it is reset.
pub(super) struct Handover(Box<dyn FnOnce() -> io::Result<Box<dyn OutsideStream>> + Send>);

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handover").finish_non_exhaustive()
    }
}

impl Handover {
    /// What `take` gives.
    pub(super) fn new(take: impl FnOnce() -> io::Result<Box<dyn OutsideStream>> + Send + 'static) -> Self {
        Self(Box::new(take))
    }

    /// The connection.
    pub(super) fn take(self) -> io::Result<Box<dyn OutsideStream>> {
        (self.0)()
    }
}

/// A listener that takes connections over.
pub(super) struct Taker {
    listener: Arc<Listener>,
    address: SocketAddr,
    net: PodNet,
}

impl PodNet {
    /// The listener on `port` of the pod's address, over IPv4 or else IPv6, if it takes connections over.
    pub(super) fn taker(&self, port: u16) -> Option<Taker> {
        let addresses = [AddressFamily::Ipv4, AddressFamily::Ipv6].map(|family| SocketAddr::new(self.address(family), port));
        let found = addresses.into_iter().find_map(|address| Some((self.ports().listener(address)?, address)));
        let (listener, address) = found.filter(|(listener, _)| listener.takes_over())?;
        Some(Taker { listener, address, net: self.clone() })
    }
}

impl Taker {
    /// Puts the connection of `client` into the listener's backlog.
    pub(super) fn hand_over(&self, client: SocketAddr, connection: Handover) -> Result<(), NetError> {
        let end = EndConfig {
            address: self.net.shown_client(client, AddressFamily::of(self.address.ip())),
            send_limit: limits::TCP_BUFFER_DEFAULT_BYTES,
            receive_limit: limits::TCP_BUFFER_DEFAULT_BYTES,
        };
        self.listener.hand_over(end, self.address, connection)
    }
}
