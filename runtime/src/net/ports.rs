//! Who holds which address and port: the one table that all containers of a pod share.
//!
//! Two sockets of one protocol and family may hold the same port on different addresses of the pod; the wildcard address clashes with
//! every other. A clash shows at `bind`, whichever container made the sockets. A connection that was accepted holds nothing, and there
//! is no `TIME_WAIT`: once a listener is closed its port is free.

use super::listener::Listener;
use super::udp::Mailbox;
use super::{AddressFamily, NetError, Protocol};
use crate::limits::{EPHEMERAL_PORT_FIRST, EPHEMERAL_PORT_LAST};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Tells the sockets of a pod apart.
pub(super) type SocketId = u64;

/// What a holder of a port does with what arrives.
#[derive(Clone, Debug)]
pub(super) enum Role {
    /// Nothing: bound only, or connected.
    Bound,
    /// Queues connections.
    Listening(Arc<Listener>),
    /// Queues datagrams.
    Receiving(Arc<Mailbox>),
}

#[derive(Debug)]
struct Holder {
    socket: SocketId,
    ip: IpAddr,
    role: Role,
}

type Key = (Protocol, AddressFamily, u16);

/// The table.
#[derive(Debug)]
pub(super) struct PortTable {
    holders: HashMap<Key, Vec<Holder>>,
    next_ephemeral: u16,
}

impl Default for PortTable {
    fn default() -> Self {
        Self { holders: HashMap::new(), next_ephemeral: EPHEMERAL_PORT_FIRST }
    }
}

impl PortTable {
    /// Takes `address` for a socket; port 0 means any free ephemeral port. The answer has the real port.
    pub(super) fn bind(
        &mut self,
        protocol: Protocol,
        address: SocketAddr,
        socket: SocketId,
        role: Role,
    ) -> Result<SocketAddr, NetError> {
        let port = match address.port() {
            0 => self.free_ephemeral(protocol, address.ip())?,
            port if self.clashes(protocol, SocketAddr::new(address.ip(), port)) => return Err(NetError::AddressInUse),
            port => port,
        };
        let address = SocketAddr::new(address.ip(), port);
        self.holders.entry(key(protocol, address)).or_default().push(Holder { socket, ip: address.ip(), role });
        Ok(address)
    }

    /// Gives an address back.
    pub(super) fn release(&mut self, protocol: Protocol, address: SocketAddr, socket: SocketId) {
        if let Some(holders) = self.holders.get_mut(&key(protocol, address)) {
            holders.retain(|holder| holder.socket != socket);
            if holders.is_empty() {
                self.holders.remove(&key(protocol, address));
            }
        }
    }

    /// Changes what a holder does with what arrives.
    pub(super) fn set_role(&mut self, protocol: Protocol, address: SocketAddr, socket: SocketId, role: Role) {
        if let Some(holder) = self.holder(protocol, address, socket) {
            holder.role = role;
        }
    }

    /// Changes the address of a holder and leaves its port: a socket bound to the wildcard narrows when it connects.
    pub(super) fn set_ip(&mut self, protocol: Protocol, address: SocketAddr, socket: SocketId, ip: IpAddr) {
        if let Some(holder) = self.holder(protocol, address, socket) {
            holder.ip = ip;
        }
    }

    /// The listener that a connection to `destination` reaches.
    pub(super) fn listener(&self, destination: SocketAddr) -> Option<Arc<Listener>> {
        match self.role(Protocol::Tcp, destination)? {
            Role::Listening(listener) => Some(listener.clone()),
            Role::Bound | Role::Receiving(_) => None,
        }
    }

    /// The mailbox that a datagram to `destination` reaches.
    pub(super) fn mailbox(&self, destination: SocketAddr) -> Option<Arc<Mailbox>> {
        match self.role(Protocol::Udp, destination)? {
            Role::Receiving(mailbox) => Some(mailbox.clone()),
            Role::Bound | Role::Listening(_) => None,
        }
    }

    /// How many sockets hold a port.
    pub(super) fn len(&self) -> usize {
        self.holders.values().map(Vec::len).sum()
    }

    /// The holder of exactly this address, or else of the wildcard.
    fn role(&self, protocol: Protocol, address: SocketAddr) -> Option<&Role> {
        let holders = self.holders.get(&key(protocol, address))?;
        let exact = holders.iter().find(|holder| holder.ip == address.ip());
        exact.or_else(|| holders.iter().find(|holder| holder.ip.is_unspecified())).map(|holder| &holder.role)
    }

    fn holder(&mut self, protocol: Protocol, address: SocketAddr, socket: SocketId) -> Option<&mut Holder> {
        self.holders.get_mut(&key(protocol, address))?.iter_mut().find(|holder| holder.socket == socket)
    }

    fn clashes(&self, protocol: Protocol, address: SocketAddr) -> bool {
        self.holders.get(&key(protocol, address)).is_some_and(|holders| {
            holders.iter().any(|holder| holder.ip == address.ip() || holder.ip.is_unspecified() || address.ip().is_unspecified())
        })
    }

    fn free_ephemeral(&mut self, protocol: Protocol, ip: IpAddr) -> Result<u16, NetError> {
        for _ in EPHEMERAL_PORT_FIRST..=EPHEMERAL_PORT_LAST {
            let port = self.next_ephemeral;
            self.next_ephemeral = if port == EPHEMERAL_PORT_LAST { EPHEMERAL_PORT_FIRST } else { port + 1 };
            if !self.clashes(protocol, SocketAddr::new(ip, port)) {
                return Ok(port);
            }
        }
        Err(NetError::AddressInUse)
    }
}

fn key(protocol: Protocol, address: SocketAddr) -> Key {
    (protocol, AddressFamily::of(address.ip()), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(table: &mut PortTable, protocol: Protocol, address: &str, socket: SocketId) -> Result<u16, NetError> {
        table.bind(protocol, address.parse().unwrap(), socket, Role::Bound).map(|address| address.port())
    }

    #[test]
    fn two_specific_addresses_share_a_port_and_the_wildcard_clashes_with_both() {
        let table = &mut PortTable::default();
        bind(table, Protocol::Tcp, "127.0.0.1:80", 1).unwrap();
        bind(table, Protocol::Tcp, "10.88.0.2:80", 2).unwrap();
        assert_eq!(bind(table, Protocol::Tcp, "127.0.0.1:80", 3), Err(NetError::AddressInUse));
        assert_eq!(bind(table, Protocol::Tcp, "0.0.0.0:80", 3), Err(NetError::AddressInUse));
        bind(table, Protocol::Tcp, "[::]:80", 3).unwrap();
        assert_eq!(bind(table, Protocol::Tcp, "[::1]:80", 4), Err(NetError::AddressInUse));
        bind(table, Protocol::Udp, "0.0.0.0:80", 4).unwrap();
        assert_eq!(table.len(), 4);
    }

    #[test]
    fn a_port_is_free_once_released() {
        let table = &mut PortTable::default();
        for socket in 0..10 {
            bind(table, Protocol::Tcp, "0.0.0.0:80", socket).unwrap();
            table.release(Protocol::Tcp, "0.0.0.0:80".parse().unwrap(), socket);
        }
        assert_eq!((table.len(), table.holders.len()), (0, 0));
    }

    #[test]
    fn ephemeral_ports_are_distinct_in_range_and_finite() {
        let table = &mut PortTable::default();
        let ports: Vec<u16> = (0..28232).map(|socket| bind(table, Protocol::Tcp, "0.0.0.0:0", socket).unwrap()).collect();
        assert_eq!((ports[0], ports[28231]), (32768, 60999));
        assert_eq!(bind(table, Protocol::Tcp, "127.0.0.1:0", 99999), Err(NetError::AddressInUse));
        table.release(Protocol::Tcp, "0.0.0.0:40000".parse().unwrap(), 40000 - 32768);
        assert_eq!(bind(table, Protocol::Tcp, "127.0.0.1:0", 99999), Ok(40000));
    }
}
