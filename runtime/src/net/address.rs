//! The addresses of a pod: loopback is its own, and two virtual addresses are unique in the process.

use super::cluster::Switch;
use super::gateway::Gateway;
use super::outbox::Outbox;
use super::{NetError, PodNet};
use crate::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// IPv4 or IPv6. There are no dual-stack sockets: `wasi:sockets` has none, every IPv6 socket is `IPV6_V6ONLY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressFamily {
    /// IPv4.
    Ipv4,
    /// IPv6 and nothing else.
    Ipv6,
}

impl AddressFamily {
    /// The family of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    /// How many bits an address has.
    pub(super) fn bits(self) -> u8 {
        match self {
            Self::Ipv4 => 32,
            Self::Ipv6 => 128,
        }
    }

    /// `0.0.0.0` or `::`.
    pub fn unspecified(self) -> IpAddr {
        match self {
            Self::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// `127.0.0.1` or `::1`.
    pub fn loopback(self) -> IpAddr {
        match self {
            Self::Ipv4 => Ipv4Addr::LOCALHOST.into(),
            Self::Ipv6 => Ipv6Addr::LOCALHOST.into(),
        }
    }
}

/// The transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// A byte stream.
    Tcp,
    /// Datagrams.
    Udp,
}

/// The virtual addresses of one pod, its own until dropped.
#[derive(Debug)]
pub struct PodAddresses {
    number: u16,
    pool: AddressPool,
}

impl PodAddresses {
    /// `10.88.x.y`.
    pub fn ipv4(&self) -> Ipv4Addr {
        ipv4_of(self.number)
    }

    /// `fd77:6173:6d70:6f64::xxyy`: a unique local address.
    pub fn ipv6(&self) -> Ipv6Addr {
        ipv6_of(self.number)
    }

    /// Tells the pod from every other of its pool.
    pub(super) fn number(&self) -> u16 {
        self.number
    }

    /// The pool, and with it all that the pods in it share.
    pub(super) fn pool(&self) -> &AddressPool {
        &self.pool
    }

    /// The pod's address of a family.
    pub fn of(&self, family: AddressFamily) -> IpAddr {
        match family {
            AddressFamily::Ipv4 => self.ipv4().into(),
            AddressFamily::Ipv6 => self.ipv6().into(),
        }
    }

    /// Whether a packet to `ip` stays in this pod: its loopback, its own addresses.
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || ip == IpAddr::from(self.ipv4()) || ip == IpAddr::from(self.ipv6())
    }

    /// The address from which a socket without one of its own sends to `destination`, as Linux' loopback routes choose it.
    pub(super) fn source_for(&self, destination: IpAddr) -> IpAddr {
        let family = AddressFamily::of(destination);
        if destination.is_loopback() { family.loopback() } else { self.of(family) }
    }
}

impl Drop for PodAddresses {
    fn drop(&mut self) {
        self.pool.lock().forget(self.number);
    }
}

fn ipv4_of(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 88, high, low)
}

fn ipv6_of(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0x6173, 0x6d70, 0x6f64, 0, 0, 0, number)
}

/// The virtual addresses of a process: each pod takes the lowest that is free. Pods of one pool can reach each other.
#[derive(Clone, Debug, Default)]
pub struct AddressPool(Arc<Mutex<Switch>>);

impl AddressPool {
    /// `.0.0` is the network, `.0.1` stands for the outside (see [`outside`](Self::outside)), `.255.255` is the broadcast address.
    const NUMBERS: std::ops::RangeInclusive<u16> = 2..=0xfffe;

    /// A pool with every address free.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the addresses for a pod.
    ///
    /// # Errors
    /// When 65,533 pods hold all of them.
    pub fn take(&self) -> crate::Result<PodAddresses> {
        let number = self.lock().take_number()?;
        Ok(PodAddresses { number, pool: self.clone() })
    }

    /// What a pod sees as the peer of a connection that came from outside over the other family.
    pub fn outside(family: AddressFamily) -> IpAddr {
        match family {
            AddressFamily::Ipv4 => Ipv4Addr::new(10, 88, 0, 1).into(),
            AddressFamily::Ipv6 => Ipv6Addr::new(0xfd77, 0x6173, 0x6d70, 0x6f64, 0, 0, 0, 1).into(),
        }
    }

    /// Whether `ip` belongs to the pool, taken or not; such an address never leads out of the process.
    pub fn is_virtual(ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => matches!(ip.octets(), [10, 88, ..]),
            IpAddr::V6(ip) => matches!(ip.segments(), [0xfd77, 0x6173, 0x6d70, 0x6f64, ..]),
        }
    }

    /// The number of a virtual address.
    pub(super) fn number(ip: IpAddr) -> Option<u16> {
        match ip {
            IpAddr::V4(ip) => match ip.octets() {
                [10, 88, high, low] => Some(u16::from_be_bytes([high, low])),
                _ => None,
            },
            IpAddr::V6(ip) => match ip.segments() {
                [0xfd77, 0x6173, 0x6d70, 0x6f64, 0, 0, 0, number] => Some(number),
                _ => None,
            },
        }
    }

    /// The address of a number.
    pub(super) fn address(number: u16, family: AddressFamily) -> IpAddr {
        match family {
            AddressFamily::Ipv4 => ipv4_of(number).into(),
            AddressFamily::Ipv6 => ipv6_of(number).into(),
        }
    }

    /// The address of a number, with a port.
    pub(super) fn socket((number, port): (u16, u16), family: AddressFamily) -> SocketAddr {
        SocketAddr::new(Self::address(number, family), port)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Switch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Switch {
    /// Takes the lowest free number.
    pub(super) fn take_number(&mut self) -> crate::Result<u16> {
        let mut number = *AddressPool::NUMBERS.start();
        for used in &self.taken {
            if *used > number {
                break;
            }
            number += 1;
        }
        if !AddressPool::NUMBERS.contains(&number) {
            return Err(Error::limit("every virtual pod address is taken").hint("stop a pod first"));
        }
        self.taken.insert(number);
        Ok(number)
    }
}

/// Where the way to an address leads.
pub(super) enum Route {
    /// To a socket of this pod.
    Inside,
    /// To a socket of a pod, another one or (through a Service) this one.
    Pod {
        /// The pod.
        net: PodNet,
        /// Its address and port.
        address: SocketAddr,
        /// Whom the pod is to take for the sender of a datagram, if not the sender itself.
        source: Option<SocketAddr>,
    },
    /// To a Service behind which nobody is.
    Refused,
    /// To a client of a published UDP port, who has sent before.
    Client {
        /// What leads to it.
        outbox: Arc<Outbox>,
        /// Its real address.
        client: SocketAddr,
    },
    /// Out of the pod.
    Outside {
        /// The way.
        gateway: Arc<dyn Gateway>,
        /// The real address, where the one that the guest named stands for another.
        remote: SocketAddr,
    },
}

/// `0.0.0.0` and `::` as a destination mean this machine, as on Linux: the loopback, or over IPv4 the address that the socket has.
pub(super) fn destination(mut address: SocketAddr, bound: Option<SocketAddr>) -> SocketAddr {
    if address.ip().is_unspecified() {
        let own = bound.map(|bound| bound.ip()).filter(|ip| ip.is_ipv4() && !ip.is_unspecified());
        address.set_ip(own.unwrap_or_else(|| AddressFamily::of(address.ip()).loopback()));
    }
    address
}

/// Whether a socket of `family` can have `remote` for a peer at all.
pub(super) fn validate(family: AddressFamily, remote: SocketAddr) -> Result<(), NetError> {
    if AddressFamily::of(remote.ip()) != family {
        return Err(NetError::FamilyMismatch);
    }
    let senseless = match remote.ip() {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
        // A socket that is IPv6 only reaches no IPv4 address in disguise.
        IpAddr::V6(ip) => ip.is_multicast() || ip.to_ipv4_mapped().is_some(),
    };
    if senseless || remote.port() == 0 { Err(NetError::InvalidArgument) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pod_takes_the_lowest_free_address_and_gives_it_back() {
        let pool = AddressPool::new();
        let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
        assert_eq!((a.ipv4(), b.ipv4()), (Ipv4Addr::new(10, 88, 0, 2), Ipv4Addr::new(10, 88, 0, 3)));
        assert_eq!(a.ipv6().to_string(), "fd77:6173:6d70:6f64::2");
        drop(a);
        let c = pool.take().unwrap();
        assert_eq!(c.ipv4(), Ipv4Addr::new(10, 88, 0, 2));
    }

    #[test]
    fn the_pool_ends_with_a_clear_error() {
        let pool = AddressPool::new();
        pool.lock().taken.extend(AddressPool::NUMBERS);
        assert_eq!(pool.take().unwrap_err().kind(), crate::ErrorKind::Limit);
    }

    #[test]
    fn a_pod_is_its_loopback_and_its_two_addresses() {
        let pool = AddressPool::new();
        let (pod, other) = (pool.take().unwrap(), pool.take().unwrap());
        for local in ["127.0.0.1", "127.9.9.9", "::1", "10.88.0.2", "fd77:6173:6d70:6f64::2"] {
            assert!(pod.contains(local.parse().unwrap()), "{local}");
        }
        for foreign in [other.ipv4().into(), other.ipv6().into(), "10.88.0.1".parse().unwrap(), "::ffff:127.0.0.1".parse().unwrap()]
        {
            assert!(!pod.contains(foreign), "{foreign}");
        }
    }
}
