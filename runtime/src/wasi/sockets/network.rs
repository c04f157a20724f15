//! `network` and `instance-network`: a token that stands for the pod's network, errors and addresses.

use super::Sockets;
use super::bindings::wasi::sockets::instance_network;
use super::bindings::wasi::sockets::network::{
    self, ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use crate::net::{AddressFamily, NetError};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use wasmtime::component::{Resource, ResourceTableError};

/// The `network` resource: there is one network, so it says nothing.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Network;

/// An error code for the guest, or a reason to trap it.
#[derive(Debug)]
pub(crate) enum SocketError {
    /// What the guest hears.
    Code(ErrorCode),
    /// Why the guest cannot go on.
    Trap(wasmtime::Error),
}

/// The result of a socket function.
pub(super) type SocketResult<T> = Result<T, SocketError>;

impl network::Host for Sockets<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        match error {
            SocketError::Code(code) => Ok(code),
            SocketError::Trap(trap) => Err(trap),
        }
    }

    fn network_error_code(&mut self, error: Resource<wasmtime_wasi::p2::IoError>) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(self.table.get(&error)?.downcast_ref::<NetError>().map(|error| ErrorCode::from(*error)))
    }
}

impl network::HostNetwork for Sockets<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        self.table.delete(network)?;
        Ok(())
    }
}

impl instance_network::Host for Sockets<'_> {
    fn instance_network(&mut self) -> wasmtime::Result<Resource<Network>> {
        Ok(self.table.push(Network)?)
    }
}

impl From<ResourceTableError> for SocketError {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl From<ErrorCode> for SocketError {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

impl From<NetError> for SocketError {
    fn from(error: NetError) -> Self {
        Self::Code(error.into())
    }
}

impl From<NetError> for ErrorCode {
    fn from(error: NetError) -> Self {
        match error {
            NetError::WouldBlock => Self::WouldBlock,
            NetError::AccessDenied => Self::AccessDenied,
            NetError::AddressInUse => Self::AddressInUse,
            NetError::AddressNotAvailable => Self::AddressNotBindable,
            NetError::FamilyMismatch | NetError::InvalidArgument | NetError::DestinationRequired => Self::InvalidArgument,
            NetError::AlreadyConnected | NetError::NotConnected => Self::InvalidState,
            NetError::AlreadyInProgress => Self::ConcurrencyConflict,
            // Streams tell a broken pipe as "closed"; here no code fits better.
            NetError::BrokenPipe => Self::ConnectionAborted,
            NetError::ConnectionRefused => Self::ConnectionRefused,
            NetError::ConnectionReset => Self::ConnectionReset,
            NetError::ConnectionAborted => Self::ConnectionAborted,
            NetError::NetworkUnreachable => Self::RemoteUnreachable,
            NetError::TimedOut => Self::Timeout,
            NetError::DatagramTooLarge => Self::DatagramTooLarge,
            NetError::TooManySockets => Self::NewSocketLimit,
            NetError::OutOfBuffers => Self::OutOfMemory,
            NetError::NotSupported => Self::NotSupported,
            NetError::NameUnresolvable => Self::NameUnresolvable,
            NetError::TemporaryResolverFailure => Self::TemporaryResolverFailure,
            NetError::PermanentResolverFailure => Self::PermanentResolverFailure,
        }
    }
}

impl From<IpAddressFamily> for AddressFamily {
    fn from(family: IpAddressFamily) -> Self {
        match family {
            IpAddressFamily::Ipv4 => Self::Ipv4,
            IpAddressFamily::Ipv6 => Self::Ipv6,
        }
    }
}

impl From<AddressFamily> for IpAddressFamily {
    fn from(family: AddressFamily) -> Self {
        match family {
            AddressFamily::Ipv4 => Self::Ipv4,
            AddressFamily::Ipv6 => Self::Ipv6,
        }
    }
}

impl From<IpAddr> for IpAddress {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4(address.octets().into()),
            IpAddr::V6(address) => Self::Ipv6(address.segments().into()),
        }
    }
}

impl From<IpSocketAddress> for SocketAddr {
    fn from(address: IpSocketAddress) -> Self {
        match address {
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (a, b, c, d) }) => {
                SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port).into()
            }
            IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info, address, scope_id }) => {
                let segments: [u16; 8] = address.into();
                SocketAddrV6::new(Ipv6Addr::from(segments), port, flow_info, scope_id).into()
            }
        }
    }
}

impl From<SocketAddr> for IpSocketAddress {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => {
                Self::Ipv4(Ipv4SocketAddress { port: address.port(), address: address.ip().octets().into() })
            }
            SocketAddr::V6(address) => Self::Ipv6(Ipv6SocketAddress {
                port: address.port(),
                flow_info: address.flowinfo(),
                address: address.ip().segments().into(),
                scope_id: address.scope_id(),
            }),
        }
    }
}

/// What every address a guest gives must be: of the socket's family, unicast, and no IPv4 address in IPv6 clothes.
pub(super) fn check_address(address: SocketAddr, family: AddressFamily) -> Result<(), ErrorCode> {
    let valid = match (address.ip(), family) {
        (IpAddr::V4(ip), AddressFamily::Ipv4) => !ip.is_multicast() && !ip.is_broadcast(),
        (IpAddr::V6(ip), AddressFamily::Ipv6) => !ip.is_multicast() && ip.to_ipv4_mapped().is_none() && !is_ipv4_compatible(ip),
        _ => false,
    };
    if valid { Ok(()) } else { Err(ErrorCode::InvalidArgument) }
}

/// What the address of a peer must be besides: a definite host and port.
pub(super) fn check_remote(address: SocketAddr, family: AddressFamily) -> Result<(), ErrorCode> {
    check_address(address, family)?;
    if address.ip().is_unspecified() || address.port() == 0 { Err(ErrorCode::InvalidArgument) } else { Ok(()) }
}

/// The deprecated form `::a.b.c.d`.
fn is_ipv4_compatible(ip: Ipv6Addr) -> bool {
    matches!(ip.segments(), [0, 0, 0, 0, 0, 0, _, _]) && !ip.is_unspecified() && !ip.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_the_same_there_and_back() {
        for text in ["127.0.0.1:80", "[fd77::1]:65535", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddr::from(IpSocketAddress::from(address)), address);
        }
    }

    #[test]
    fn only_unicast_addresses_of_the_family_are_valid() {
        let check = |text: &str, family| check_address(text.parse().unwrap(), family).is_ok();
        assert!(check("127.0.0.1:80", AddressFamily::Ipv4) && check("0.0.0.0:0", AddressFamily::Ipv4));
        assert!(check("[::1]:80", AddressFamily::Ipv6) && check("[::]:0", AddressFamily::Ipv6));
        for text in ["[::1]:80", "224.0.0.1:80", "255.255.255.255:80"] {
            assert!(!check(text, AddressFamily::Ipv4), "{text}");
        }
        for text in ["127.0.0.1:80", "[::ffff:127.0.0.1]:80", "[::127.0.0.1]:80", "[ff02::1]:80"] {
            assert!(!check(text, AddressFamily::Ipv6), "{text}");
        }
        assert!(check_remote("0.0.0.0:80".parse().unwrap(), AddressFamily::Ipv4).is_err());
        assert!(check_remote("127.0.0.1:0".parse().unwrap(), AddressFamily::Ipv4).is_err());
    }
}
