//! The network as one container sees it: what belongs to it, how much it may have, and that all of it ends with it.

use super::names::{self, Lookup};
use super::ports::SocketId;
use super::tcp::TcpSocket;
use super::udp::UdpSocket;
use super::{AddressFamily, NetError, PodNet};
use crate::limits::SOCKETS_PER_CONTAINER_MAX;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A socket, as its container sees it.
pub(super) trait Close: Send + Sync {
    /// Closes it; again: no effect.
    fn close(&self);
}

/// The sockets of one container.
pub(super) struct Owner {
    name: String,
    sockets: Mutex<Sockets>,
}

#[derive(Default)]
struct Sockets {
    closed: bool,
    open: HashMap<SocketId, Weak<dyn Close>>,
    /// Counted apart from `open`, so that a place can be taken before the socket exists.
    count: usize,
}

impl Owner {
    /// Takes a place for a socket.
    pub(super) fn reserve(self: &Arc<Self>) -> Result<Place, NetError> {
        let mut sockets = self.lock();
        if sockets.closed {
            return Err(NetError::ConnectionAborted);
        }
        if sockets.count >= SOCKETS_PER_CONTAINER_MAX {
            return Err(NetError::TooManySockets);
        }
        sockets.count += 1;
        Ok(Place { owner: self.clone(), socket: None })
    }

    fn close(&self) {
        let mut sockets = self.lock();
        sockets.closed = true;
        let open = std::mem::take(&mut sockets.open);
        drop(sockets);
        for socket in open.into_values().filter_map(|socket| socket.upgrade()) {
            socket.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a container's table of sockets; dropped, it is free again.
pub(super) struct Place {
    owner: Arc<Owner>,
    socket: Option<SocketId>,
}

impl Place {
    /// The container.
    pub(super) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    /// Which socket is to be closed with the container.
    ///
    /// # Errors
    /// `ConnectionAborted` when the container's network was closed since the place was taken.
    pub(super) fn fill(&mut self, id: SocketId, socket: Weak<dyn Close>) -> Result<(), NetError> {
        let mut sockets = self.owner.lock();
        if sockets.closed {
            return Err(NetError::ConnectionAborted);
        }
        sockets.open.insert(id, socket);
        self.socket = Some(id);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut sockets = self.owner.lock();
        sockets.count -= 1;
        if let Some(id) = self.socket {
            sockets.open.remove(&id);
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.owner.name)
    }
}

/// The network as one container sees it: makes its sockets, counts them, and closes all of them when it is closed or the last clone
/// is dropped.
#[derive(Clone)]
pub struct ContainerNet(Arc<Handle>);

struct Handle {
    net: PodNet,
    owner: Arc<Owner>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.owner.close();
    }
}

impl ContainerNet {
    pub(super) fn new(net: PodNet, name: &str) -> Self {
        Self(Arc::new(Handle { net, owner: Arc::new(Owner { name: name.to_owned(), sockets: Mutex::default() }) }))
    }

    /// The pod's network.
    pub fn pod(&self) -> &PodNet {
        &self.0.net
    }

    /// A new TCP socket.
    ///
    /// # Errors
    /// `TooManySockets`; `ConnectionAborted` once closed.
    pub fn tcp_socket(&self, family: AddressFamily) -> Result<TcpSocket, NetError> {
        TcpSocket::new(self.0.net.clone(), self.0.owner.reserve()?, family)
    }

    /// A new UDP socket.
    ///
    /// # Errors
    /// `TooManySockets`; `ConnectionAborted` once closed.
    pub fn udp_socket(&self, family: AddressFamily) -> Result<UdpSocket, NetError> {
        UdpSocket::new(self.0.net.clone(), self.0.owner.reserve()?, family)
    }

    /// Looks up a name: an address in text form, `localhost`, the pod's hostname, a host alias, then by the gateway.
    pub fn resolve(&self, name: &str) -> Lookup {
        names::resolve(&self.0.net, name)
    }

    /// How many sockets the container has.
    pub fn socket_count(&self) -> usize {
        self.0.owner.lock().count
    }

    /// Closes everything the container has: ports are free, connections ended as if each socket had been closed, waiting tasks woken.
    /// No socket can be made after. Bytes that were written before still reach their readers, as when a process ends.
    pub fn close(&self) {
        self.0.owner.close();
    }
}

impl fmt::Debug for ContainerNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContainerNet").field("container", &self.0.owner.name).finish_non_exhaustive()
    }
}
