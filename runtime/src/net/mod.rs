//! The network of a pod: TCP and UDP over IPv4 and IPv6, inside this process, without one kernel socket.
//!
//! ```text
//!  container "web"            container "store"
//!  ContainerNet               ContainerNet            sockets belong to a container: its end closes them
//!    TcpSocket ─┐               ┌─ TcpSocket (listening) ── backlog
//!    UdpSocket ─┼── PodNet ─────┼─ UdpSocket ── mailbox
//!               │  port table   │
//!               │  names        │      a connection = two byte queues, TcpStream ⇄ TcpStream
//!               └──── Gateway ──┘
//!                        │             only `publish` knows kernel sockets:
//!                 publish::HostGateway (out, by EgressPolicy), publish_tcp / publish_udp (in)
//! ```
//!
//! Every operation is synchronous and never blocks; `poll_*` register the task to be woken, the few `async` methods wrap them.
//! The semantics are those of Linux, but for the differences listed in `docs/network.md`.
//!
//! Locks are taken in this order: a socket, the port table, a backlog or mailbox, a flow; that of the network between pods is held with no other
//! but a socket's. No task is woken under a lock.
//!
//! ```
//! # use wasmpod::net::{AddressFamily, AddressPool, PodNet, PodNetConfig};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let addresses = AddressPool::new().take()?;
//! let net = PodNet::new(PodNetConfig { hostname: "shop".into(), host_aliases: vec![], addresses, gateway: None });
//! let (web, store) = (net.container("web"), net.container("store"));
//!
//! let listener = store.tcp_socket(AddressFamily::Ipv4)?;
//! listener.bind("0.0.0.0:6379".parse()?)?;
//! listener.listen()?;
//!
//! let client = web.tcp_socket(AddressFamily::Ipv4)?;
//! client.connect("127.0.0.1:6379".parse()?)?;
//! client.finish_connect()?;
//! client.stream()?.try_write(b"PING")?;
//!
//! let server = listener.accept()?;
//! assert_eq!(&server.stream()?.try_read_bytes(64)?[..], b"PING");
//! # Ok(())
//! # }
//! ```

mod address;
mod byte_queue;
mod cluster;
mod container;
mod egress_list;
mod error;
mod flow;
mod gateway;
mod handover;
mod listener;
#[cfg(test)]
mod model;
mod names;
mod options;
mod outbox;
mod pod_stream;
mod policy;
mod ports;
pub mod publish;
mod service;
mod stream;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;
mod waiters;

pub use address::{AddressFamily, AddressPool, PodAddresses, Protocol};
pub use cluster::{Cluster, ClusterMember, ClusterPod, HOST_NAME, NamedPort};
pub use container::ContainerNet;
pub use egress_list::EgressList;
pub use error::NetError;
pub use gateway::{Dial, Exposure, Gateway, LookupFuture};
pub use names::{HostAlias, Lookup};
pub use options::{TcpOptions, UdpOptions};
pub use outbox::OutsideChannel;
pub use pod_stream::PodStream;
pub use policy::EgressPolicy;
pub use service::{ServiceConfig, ServiceKind, ServicePort, TargetPort};
pub use stream::TcpStream;
pub use tcp::{Shutdown, TcpSocket, TcpState};
pub use udp::{Datagram, UdpSocket};

use crate::limits;
use address::Route;
use cluster::{Answer, Target};
use listener::Connect;
use names::Names;
use outbox::Outbox;
use ports::{PortTable, SocketId};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stream::EndConfig;
use udp::{Delivery, Mailbox};

/// What a pod network is made from.
#[derive(Debug)]
pub struct PodNetConfig {
    /// What the pod calls itself; resolves to the pod's addresses.
    pub hostname: String,
    /// Further names that resolve inside this pod only.
    pub host_aliases: Vec<HostAlias>,
    /// The pod's virtual addresses, from [`AddressPool::take`].
    pub addresses: PodAddresses,
    /// The way out; without one the pod is alone.
    pub gateway: Option<Arc<dyn Gateway>>,
}

/// The network of one pod; cheap to clone, gone with the last clone and the last socket.
#[derive(Clone)]
pub struct PodNet(Arc<Shared>);

struct Shared {
    addresses: PodAddresses,
    names: Names,
    gateway: Option<Arc<dyn Gateway>>,
    ports: Mutex<PortTable>,
    clients: Mutex<HashMap<ClientKey, Client>>,
    next_socket: AtomicU64,
}

/// The pod's port that a client of a published UDP port talks to, and the address that the pod sees for it.
type ClientKey = (u16, SocketAddr);

/// A client of a published UDP port.
#[derive(Clone)]
struct Client {
    outbox: Arc<Outbox>,
    address: SocketAddr,
}

/// Which of a pod's listeners a connection from outside may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those on the wildcard or the pod's address: what a `hostPort` or a Service leads to.
    PodAddress,
    /// The one at this address of the loopback, or on the wildcard: what `port-forward` leads to.
    Loopback(IpAddr),
}

impl PodNet {
    /// A network without sockets.
    pub fn new(config: PodNetConfig) -> Self {
        let net = Self(Arc::new(Shared {
            names: Names::new(&config.hostname, &config.host_aliases),
            addresses: config.addresses,
            gateway: config.gateway,
            ports: Mutex::default(),
            clients: Mutex::default(),
            next_socket: AtomicU64::new(0),
        }));
        let addresses = &net.0.addresses;
        addresses.pool().lock().nets.insert(addresses.number(), Arc::downgrade(&net.0));
        net
    }

    /// The pod's virtual address of a family: `status.podIP`, `status.podIPs`.
    pub fn address(&self, family: AddressFamily) -> IpAddr {
        self.0.addresses.of(family)
    }

    /// The network as one container sees it. Each call makes an owner of its own: one for each run of a container.
    pub fn container(&self, name: &str) -> ContainerNet {
        ContainerNet::new(self.clone(), name)
    }

    /// How many addresses and ports are held; 0 once every socket is closed.
    pub fn bound_count(&self) -> usize {
        self.ports().len()
    }

    /// Connects to `port` of this pod for a client outside, to a listener within `reach`: by the pod's IPv4 address or else by IPv6.
    /// Waits while its backlog is full; dropped, gives up. Whoever gets the stream has to [close](TcpStream::close) it.
    ///
    /// # Errors
    /// `ConnectionRefused` when there is no such listener, or it closes.
    pub async fn dial(&self, port: u16, client: SocketAddr, reach: Reach) -> Result<TcpStream, NetError> {
        let targets = match reach {
            Reach::PodAddress => vec![self.address(AddressFamily::Ipv4), self.address(AddressFamily::Ipv6)],
            Reach::Loopback(ip) => vec![ip],
        };
        let find = |ip| {
            let address = SocketAddr::new(ip, port);
            self.ports().listener(address).map(|listener| (listener, address))
        };
        let (listener, address) = targets.into_iter().find_map(find).ok_or(NetError::ConnectionRefused)?;
        let end = EndConfig {
            address: self.shown_client(client, AddressFamily::of(address.ip())),
            send_limit: limits::TCP_BUFFER_DEFAULT_BYTES,
            receive_limit: limits::TCP_BUFFER_DEFAULT_BYTES,
        };
        let mut dialing = Dialing { connect: listener.connect(end, address, address)?, listener, done: false };
        std::future::poll_fn(|cx| dialing.connect.poll(cx)).await?;
        dialing.done = true;
        Ok(dialing.connect.stream.clone())
    }

    fn ports(&self) -> MutexGuard<'_, PortTable> {
        self.0.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<ClientKey, Client>> {
        self.0.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> &Names {
        &self.0.names
    }

    fn gateway(&self) -> Option<&Arc<dyn Gateway>> {
        self.0.gateway.as_ref()
    }

    fn next_socket_id(&self) -> SocketId {
        self.0.next_socket.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether a socket of `family` may bind to `address`.
    fn check_local(&self, family: AddressFamily, address: SocketAddr) -> Result<(), NetError> {
        if AddressFamily::of(address.ip()) != family {
            return Err(NetError::FamilyMismatch);
        }
        if matches!(address.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()) {
            return Err(NetError::InvalidArgument);
        }
        if address.ip().is_unspecified() || self.0.addresses.contains(address.ip()) {
            Ok(())
        } else {
            Err(NetError::AddressNotAvailable)
        }
    }

    /// Where the way to `remote` leads, for a socket with this local port.
    fn route(&self, protocol: Protocol, local_port: u16, remote: SocketAddr) -> Result<Route, NetError> {
        if self.0.addresses.contains(remote.ip()) && protocol == Protocol::Tcp {
            return Ok(Route::Inside);
        }
        if !self.0.addresses.is_virtual(remote.ip()) {
            return if self.0.addresses.contains(remote.ip()) { Ok(Route::Inside) } else { self.route_outside(protocol, remote) };
        }
        let family = AddressFamily::of(remote.ip());
        if remote.ip() == AddressPool::outside(family) {
            // The machine, as pods see it.
            return self.route_outside(protocol, SocketAddr::new(family.loopback(), remote.port()));
        }
        let client = SocketAddr::new(self.address(family), local_port);
        let target = self.0.addresses.pool().lock().target(protocol, client, remote);
        match target {
            Target::Pod { net, address, source } => match net.upgrade() {
                Some(net) => Ok(Route::Pod { net: Self(net), address, source }),
                None => Err(NetError::NetworkUnreachable),
            },
            Target::Refused => Ok(Route::Refused),
            Target::Nowhere => Err(NetError::NetworkUnreachable),
        }
    }

    fn route_outside(&self, protocol: Protocol, remote: SocketAddr) -> Result<Route, NetError> {
        match &self.0.gateway {
            Some(gateway) if gateway.allows(protocol, remote) => Ok(Route::Outside { gateway: gateway.clone(), remote }),
            Some(_) => Err(NetError::AccessDenied),
            None => Err(NetError::NetworkUnreachable),
        }
    }

    /// Like [`route`](Self::route), and the clients of published UDP ports can be answered whatever the policy says.
    fn route_datagram(&self, local: Option<SocketAddr>, remote: SocketAddr) -> Result<Route, NetError> {
        if let Some(local) = local
            && !self.0.addresses.contains(remote.ip())
            && let Some(client) = self.clients().get(&(local.port(), remote))
        {
            return Ok(Route::Client { outbox: client.outbox.clone(), client: client.address });
        }
        self.route(Protocol::Udp, local.map_or(0, |local| local.port()), remote)
    }

    /// Makes a socket that listens or receives at `local` reachable from outside, where the way out is one that does.
    fn expose(&self, protocol: Protocol, local: SocketAddr) -> Result<Option<Exposure>, NetError> {
        self.0.gateway.as_ref().map_or(Ok(None), |gateway| gateway.expose(self, protocol, local))
    }

    /// The address that a socket bound to `bound` sends from.
    fn source(&self, bound: Option<SocketAddr>, remote: SocketAddr, route: &Route) -> Result<IpAddr, NetError> {
        let bound = bound.map(|address| address.ip()).filter(|ip| !ip.is_unspecified());
        let is_own = self.0.addresses.contains(remote.ip());
        match (bound, route) {
            (Some(ip), Route::Inside) => Ok(ip),
            (None, Route::Inside) => Ok(self.0.addresses.source_for(remote.ip())),
            (Some(ip), Route::Pod { .. }) if is_own => Ok(ip),
            // A loopback address never leaves the pod.
            (Some(ip), _) if ip.is_loopback() => Err(NetError::InvalidArgument),
            _ => Ok(self.address(AddressFamily::of(remote.ip()))),
        }
    }

    /// What a name means in the network between pods.
    fn cluster_name(&self, name: &str) -> Answer {
        let machine = AddressPool::outside(AddressFamily::Ipv4);
        // In a network namespace the machine has no such address.
        if name == HOST_NAME && self.0.gateway.is_some() && self.0.addresses.is_virtual(machine) {
            return Answer::Addresses(vec![machine]);
        }
        self.0.addresses.pool().lock().lookup(self.0.addresses.number(), name)
    }

    fn deliver_datagram(&self, payload: &[u8], source: SocketAddr, destination: SocketAddr) -> Delivery {
        let mailbox = self.ports().mailbox(destination);
        mailbox.map_or(Delivery::Unwanted, |mailbox| mailbox.deliver(payload, source))
    }

    /// The mailbox that a published UDP port leads to, and the address under which the pod sees the client.
    fn published_mailbox(&self, port: u16, client: SocketAddr) -> Option<(Arc<Mailbox>, SocketAddr)> {
        [AddressFamily::Ipv4, AddressFamily::Ipv6].into_iter().find_map(|family| {
            let mailbox = self.ports().mailbox(SocketAddr::new(self.address(family), port))?;
            Some((mailbox, self.shown_client(client, family)))
        })
    }

    /// What the pod sees of a client: its address, or one that stands for the outside when that would mean something else in here.
    fn shown_client(&self, client: SocketAddr, family: AddressFamily) -> SocketAddr {
        let ip = client.ip().to_canonical();
        let misleading =
            ip.is_loopback() || ip.is_unspecified() || self.0.addresses.is_virtual(ip) || AddressFamily::of(ip) != family;
        SocketAddr::new(if misleading { AddressPool::outside(family) } else { ip }, client.port())
    }
}

impl fmt::Debug for PodNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PodNet").field("addresses", &self.0.addresses).finish_non_exhaustive()
    }
}

/// A connect from outside that is given up when dropped before its end.
struct Dialing {
    connect: Arc<Connect>,
    listener: Arc<listener::Listener>,
    done: bool,
}

impl Drop for Dialing {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        if self.connect.decide(Err(NetError::ConnectionAborted)) {
            self.listener.cancel(&self.connect);
        }
        self.connect.stream.close();
    }
}
