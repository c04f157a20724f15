//! The sockets that listen before the guest runs: those of `wasi:http` containers, and the descriptors that preview-1 modules inherit.
//!
//! There are no dual-stack sockets, so each port is two of them, IPv4 and IPv6, that act as one.

use crate::net::{AddressFamily, ContainerNet, NetError, TcpSocket, UdpSocket};
use crate::pod::spec::{ContainerPort, Protocol};
use crate::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::sync::Arc;

/// A port of the container that is open when its module starts.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The name that the port has in the manifest, for `LISTEN_FDNAMES`.
    pub name: Option<String>,
    /// Its sockets.
    pub socket: ListenSocket,
}

/// The sockets of one port.
#[derive(Clone, Debug)]
pub enum ListenSocket {
    /// Both listen.
    Tcp(Dual<TcpSocket>),
    /// Both are bound.
    Udp(Dual<UdpSocket>),
}

/// The same socket for either family.
#[derive(Debug)]
pub struct Dual<S> {
    /// On `0.0.0.0`.
    pub ipv4: Arc<S>,
    /// On `::`.
    pub ipv6: Arc<S>,
}

impl<S> Clone for Dual<S> {
    fn clone(&self) -> Self {
        Self { ipv4: Arc::clone(&self.ipv4), ipv6: Arc::clone(&self.ipv6) }
    }
}

/// Opens the ports that a container declares, in their order.
///
/// # Errors
/// [`Conflict`](ErrorKind::Conflict) when another container of the pod has the port.
pub fn listeners(net: &ContainerNet, ports: &[ContainerPort]) -> Result<Vec<Listener>> {
    let listen = |port: &ContainerPort| {
        let socket = match port.protocol {
            Protocol::Tcp => ListenSocket::Tcp(listen_tcp(net, port.container_port)?),
            Protocol::Udp => ListenSocket::Udp(bind_udp(net, port.container_port)?),
        };
        Ok(Listener { name: port.name.clone(), socket })
    };
    ports.iter().map(listen).collect()
}

/// Listens on a TCP port, on every address of the pod.
///
/// # Errors
/// [`Conflict`](ErrorKind::Conflict) when another container of the pod has the port.
pub fn listen_tcp(net: &ContainerNet, port: u16) -> Result<Dual<TcpSocket>> {
    let listen = |family: AddressFamily| {
        let socket = net.tcp_socket(family)?;
        socket.bind(SocketAddr::new(family.unspecified(), port))?;
        socket.listen()?;
        Ok(Arc::new(socket))
    };
    both(listen).map_err(|error| explain(error, port))
}

fn bind_udp(net: &ContainerNet, port: u16) -> Result<Dual<UdpSocket>> {
    let bind = |family: AddressFamily| {
        let socket = net.udp_socket(family)?;
        socket.bind(SocketAddr::new(family.unspecified(), port))?;
        Ok(Arc::new(socket))
    };
    both(bind).map_err(|error| explain(error, port))
}

fn both<S>(make: impl Fn(AddressFamily) -> Result<Arc<S>, NetError>) -> Result<Dual<S>, NetError> {
    Ok(Dual { ipv4: make(AddressFamily::Ipv4)?, ipv6: make(AddressFamily::Ipv6)? })
}

fn explain(error: NetError, port: u16) -> Error {
    let error = match error {
        NetError::AddressInUse => Error::new(ErrorKind::Conflict, format!("port {port} is in use in this pod"))
            .hint("give each container of the pod a port of its own"),
        _ => Error::new(ErrorKind::Unavailable, format!("cannot listen on port {port}")).because(error),
    };
    error.with_reason("CreateContainerError")
}

/// What tells a module about its listeners, as systemd does; without the process id, which a guest has none of.
pub(super) fn environment(listeners: &[Listener]) -> Vec<(String, String)> {
    if listeners.is_empty() {
        return Vec::new();
    }
    let names: Vec<&str> = listeners.iter().map(|listener| listener.name.as_deref().unwrap_or("unknown")).collect();
    vec![("LISTEN_FDS".into(), listeners.len().to_string()), ("LISTEN_FDNAMES".into(), names.join(":"))]
}
