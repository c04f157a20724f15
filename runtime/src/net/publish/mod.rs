//! Where kernel sockets meet the pod network, and the only place that has any.
//!
//! ```text
//!   host:8080 ── publish_tcp ──▶ PodNet::dial ──▶ a listener on 0.0.0.0, :: or the pod's address
//!                    └────────▶ whoever takes connections over: the HTTP server of a container
//!   host:80   ── publish_service ▶ Cluster ──▶ the same, in the next ready pod behind a Service
//!   host:5353 ── publish_udp ──▶ a mailbox there, and its answers back to the client (and so for the UDP port of a Service)
//!   guest connect / send / lookup ──▶ HostGateway ── by EgressPolicy ──▶ the world
//!   guest listens on 0.0.0.0:80 ──▶ HostGateway ──▶ mirror: a real listener in the pod's network namespace, if it has one
//! ```
//!
//! As with a Kubernetes `hostPort`, a listener on `127.0.0.1` or `::1` of the pod is not reached by a published port: the client's
//! connection is reset. Its mirror, in a namespace of the pod's own, is on that namespace's loopback: `port-forward` comes from there.
//! Whatever is published ends when its handle is dropped.

mod hand_over;
mod host_gateway;
mod mirror;
mod udp;

pub use host_gateway::{HostGateway, Mirrors};

use hand_over::hand_over;

use super::{Cluster, NetError, PodNet, PodStream, Protocol, Reach};
use crate::limits;
use crate::{Error, Result};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// A port of the machine that leads into a pod, until this is dropped.
#[derive(Debug)]
pub struct Published {
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Published {
    /// The machine's address and port, with the real port where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Listens on `host` and carries each connection to TCP port `pod_port` of the pod.
///
/// # Errors
/// When the machine's port is taken, or may not be used.
pub async fn publish_tcp(net: &PodNet, host: SocketAddr, pod_port: u16) -> Result<Published> {
    open(Protocol::Tcp, host, Inward::Pod(net.clone(), pod_port)).await
}

/// Receives on `host`, carries each datagram to UDP port `pod_port` of the pod, and what is sent from there back to its client.
///
/// # Errors
/// When the machine's port is taken, or may not be used.
pub async fn publish_udp(net: &PodNet, host: SocketAddr, pod_port: u16) -> Result<Published> {
    open(Protocol::Udp, host, Inward::Pod(net.clone(), pod_port)).await
}

/// Listens on `host` and carries each connection to the next ready pod behind a port of a Service; the datagrams of one client go to
/// one pod for as long as it is ready.
///
/// # Errors
/// When the machine's port is taken, or may not be used.
pub async fn publish_service(cluster: &Cluster, protocol: Protocol, host: SocketAddr, service: SocketAddr) -> Result<Published> {
    open(protocol, host, Inward::Service(cluster.clone(), service)).await
}

async fn open(protocol: Protocol, host: SocketAddr, inward: Inward) -> Result<Published> {
    let (address, task) = match protocol {
        Protocol::Tcp => {
            let listener = TcpListener::bind(host).await.map_err(|error| cannot_publish("TCP", host, error))?;
            (listener.local_addr(), tokio::spawn(serve(listener, inward)))
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind(host).await.map_err(|error| cannot_publish("UDP", host, error))?;
            (socket.local_addr(), tokio::spawn(udp::serve(socket, inward)))
        }
    };
    let task = AbortOnDropHandle::new(task);
    let address = address.map_err(|error| Error::io("the published port has no address", error))?;
    Ok(Published { address, _task: task })
}

/// Where what comes to a published port goes.
#[derive(Clone, Debug)]
enum Inward {
    /// To a port of a pod.
    Pod(PodNet, u16),
    /// To a listener on the loopback of a pod.
    Loopback(PodNet, SocketAddr),
    /// To whoever is behind this address.
    Service(Cluster, SocketAddr),
}

impl Inward {
    /// The pod, its port, and where its listener may be, for a connection of a client.
    fn destination(&self, client: SocketAddr) -> std::result::Result<(PodNet, u16, Reach), NetError> {
        match self {
            Self::Pod(net, port) => Ok((net.clone(), *port, Reach::PodAddress)),
            Self::Loopback(net, local) => Ok((net.clone(), local.port(), Reach::Loopback(local.ip()))),
            Self::Service(cluster, service) => cluster.choose(*service, client).map(|(net, port)| (net, port, Reach::PodAddress)),
        }
    }

    /// The pod, and its port, that gets a datagram of a client.
    fn receiver(&self, client: SocketAddr) -> Option<(PodNet, u16)> {
        match self {
            Self::Pod(net, port) => Some((net.clone(), *port)),
            // Only connections are carried there.
            Self::Loopback(..) => None,
            Self::Service(cluster, service) => cluster.receiver(*service, client),
        }
    }
}

fn cannot_publish(protocol: &str, host: SocketAddr, error: std::io::Error) -> Error {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => "another program, or another pod, has this port: stop it or publish another port",
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: publish a higher port",
        std::io::ErrorKind::AddrNotAvailable => "the machine has no such address",
        _ => return Error::io(format!("cannot publish {protocol} port {host}"), error),
    };
    Error::io(format!("cannot publish {protocol} port {host}"), error).hint(hint)
}

async fn serve(listener: TcpListener, inward: Inward) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) if connections.len() >= limits::PUBLISHED_CONNECTIONS_PER_PORT_MAX => reset(&socket),
                Ok((socket, client)) => {
                    connections.spawn(carry_in(socket, client, inward.clone()));
                }
                Err(error) => {
                    // Out of descriptors, most likely: the connection stays in the kernel's backlog.
                    tracing::warn!(%error, ?inward, "cannot accept a connection to a published port");
                    tokio::time::sleep(Duration::from_millis(limits::PUBLISHED_ACCEPT_PAUSE_MILLISECONDS)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry_in(socket: TcpStream, client: SocketAddr, inward: Inward) {
    let carried = match inward.destination(client) {
        Ok((net, port, reach)) => match net.taker(port).filter(|_| reach == Reach::PodAddress) {
            Some(taker) => return hand_over(socket, client, &taker).await,
            None => net.dial(port, client, reach).await,
        },
        Err(error) => Err(error),
    };
    match carried {
        Ok(stream) => pump(socket, PodStream::new(stream)).await,
        Err(error) => {
            tracing::debug!(%error, %client, ?inward, "nobody listens behind the published port");
            reset(&socket);
        }
    }
}

/// Carries bytes both ways until both directions have ended, or one broke.
async fn pump(mut socket: TcpStream, mut pod: PodStream) {
    // Latency over packet count: guests write whole messages.
    let _ = socket.set_nodelay(true);
    let size = limits::TCP_BUFFER_DEFAULT_BYTES;
    if let Err(error) = tokio::io::copy_bidirectional_with_sizes(&mut socket, &mut pod, size, size).await {
        tracing::debug!(%error, "a connection between the pod and the outside broke");
        reset(&socket);
    }
}

/// Makes the close that follows a reset, so that the peer does not take it for an orderly end.
fn reset(socket: &TcpStream) {
    let _ = socket.set_zero_linger();
}

#[cfg(test)]
mod tests;
