//! What of the outside world a pod may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The rule for connections that leave the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EgressPolicy {
    /// Everything but the host's own loopback and link-local addresses (cloud metadata services live there).
    Internet,
    /// Nothing.
    Deny,
}

impl EgressPolicy {
    /// Whether a connection or datagram may go to `remote`. An address that is written in another form (IPv4-mapped or -compatible
    /// IPv6, the NAT64 prefix, 6to4) is judged by the address it means.
    pub fn allows(&self, remote: SocketAddr) -> bool {
        match self {
            Self::Deny => false,
            Self::Internet => remote.port() != 0 && is_outside(remote.ip()),
        }
    }
}

/// Whether `ip` is a unicast address that is neither this host's own by its form nor one of the link.
fn is_outside(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_outside_ipv4(ip),
        IpAddr::V6(ip) => match embedded_ipv4(ip) {
            Some(ip) => is_outside_ipv4(ip),
            None => is_outside_ipv6(ip),
        },
    }
}

fn is_outside_ipv4(ip: Ipv4Addr) -> bool {
    // 0.0.0.0/8 is "this host"; 240.0.0.0/4 is reserved and holds the broadcast address. Link-local holds 169.254.169.254, where
    // clouds give out credentials; Alibaba's stands at 100.100.100.200, Oracle's old one at 192.0.0.192.
    let [a, b, c, d] = ip.octets();
    let metadata = matches!([a, b, c, d], [100, 100, 100, 200] | [192, 0, 0, 192]);
    !(a == 0 || ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || a >= 240 || metadata)
}

fn is_outside_ipv6(ip: Ipv6Addr) -> bool {
    // fec0::/10 is the old site-local range; AWS gives out credentials at fd00:ec2::254, Google at fd20:ce::254.
    let [a, ..] = ip.segments();
    let metadata = matches!(ip.segments(), [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254]);
    let link_or_site = matches!(a & 0xffc0, 0xfe80 | 0xfec0);
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_or_site || metadata)
}

/// The IPv4 address that an IPv6 address stands for: `::ffff:a.b.c.d`, `::a.b.c.d`, `64:ff9b::a.b.c.d`, `2002:aabb:ccdd::`.
fn embedded_ipv4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        // `::` and `::1` are addresses of IPv6's own.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(address: &str) -> bool {
        EgressPolicy::Internet.allows(address.parse().unwrap())
    }

    #[test]
    fn the_internet_and_private_networks_are_outside() {
        for address in ["1.1.1.1:53", "192.168.1.1:80", "10.0.0.1:80", "172.16.0.1:80", "100.64.0.1:80", "[2606:4700::1111]:443"] {
            assert!(allows(address), "{address}");
        }
        assert!(allows("[64:ff9b::1.1.1.1]:53") && allows("[fd12::1]:80") && allows("[::ffff:1.1.1.1]:53"));
    }

    #[test]
    fn the_host_its_link_and_metadata_are_not() {
        let addresses = "127.0.0.1:80 127.255.1.1:80 0.0.0.0:80 0.1.2.3:80 169.254.169.254:80 169.254.0.1:80 100.100.100.200:80 \
                         192.0.0.192:80 [::1]:80 [::]:80 [fe80::1]:80 [febf::1]:80 [fec0::1]:80 [fd00:ec2::254]:80 [fd20:ce::254]:80";
        for address in addresses.split_whitespace() {
            assert!(!allows(address), "{address}");
        }
    }

    #[test]
    fn another_spelling_of_a_forbidden_address_is_forbidden() {
        let addresses = "[::ffff:127.0.0.1]:80 [::ffff:0.0.0.0]:80 [::ffff:169.254.169.254]:80 [::127.0.0.1]:80 [64:ff9b::127.0.0.1]:80 \
                         [64:ff9b::169.254.169.254]:80 [2002:7f00:1::]:80 [2002:a9fe:a9fe::1]:80";
        for address in addresses.split_whitespace() {
            assert!(!allows(address), "{address}");
        }
    }

    #[test]
    fn multicast_broadcast_and_port_zero_are_not() {
        for address in ["224.0.0.1:80", "239.1.2.3:80", "255.255.255.255:80", "240.0.0.1:80", "[ff02::1]:80", "1.1.1.1:0"] {
            assert!(!allows(address), "{address}");
        }
    }

    #[test]
    fn deny_denies_all() {
        assert!(!EgressPolicy::Deny.allows("1.1.1.1:53".parse().unwrap()));
    }
}
