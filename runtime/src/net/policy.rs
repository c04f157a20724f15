//! What of the outside world a pod may reach.

use super::{EgressList, Protocol};
use crate::Result;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The rule for connections that leave the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EgressPolicy {
    /// Everything but the host's own loopback and link-local addresses (cloud metadata services live there).
    Internet,
    /// Nothing.
    Deny,
    /// What each of these lists allows.
    Listed(Vec<EgressList>),
}

impl EgressPolicy {
    /// Reads `internet`, `none`, or an [`EgressList`].
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) with the entry that is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        match text.trim() {
            "internet" => Ok(Self::Internet),
            "none" => Ok(Self::Deny),
            list => Ok(Self::Listed(vec![EgressList::parse(list)?])),
        }
    }

    /// What both this policy and `other` allow: a policy can be narrowed, never widened.
    #[must_use]
    pub fn narrowed_by(self, other: Self) -> Self {
        match (self, other) {
            (Self::Deny, _) | (_, Self::Deny) => Self::Deny,
            (Self::Internet, Self::Internet) => Self::Internet,
            (one, other) => Self::Listed([one.into_lists(), other.into_lists()].concat()),
        }
    }

    fn into_lists(self) -> Vec<EgressList> {
        match self {
            Self::Internet => vec![EgressList::internet()],
            Self::Listed(lists) => lists,
            Self::Deny => Vec::new(),
        }
    }

    /// Whether a connection or datagram may go to `remote`, to which these names were resolved for the pod. An address that is written
    /// in another form (IPv4-mapped or -compatible IPv6, the NAT64 prefix, 6to4) is judged by the address it means.
    pub fn allows(&self, protocol: Protocol, remote: SocketAddr, names: &[String]) -> bool {
        match self {
            Self::Deny => false,
            _ if remote.port() == 0 => false,
            Self::Internet => is_outside(remote.ip()),
            Self::Listed(lists) => lists.iter().all(|list| list.allows(protocol, remote, names)),
        }
    }

    /// Whether a name may be looked up: a pod that may not reach what it names may not tell a name server anything either.
    pub fn may_look_up(&self, name: &str) -> bool {
        match self {
            Self::Deny => false,
            Self::Internet => true,
            Self::Listed(lists) => lists.iter().all(|list| list.names(name)),
        }
    }
}

/// Whether `ip` is a unicast address that is neither this host's own by its form nor one of the link.
pub(super) fn is_outside(ip: IpAddr) -> bool {
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
        // NAT64 within one network (RFC 8215): with a prefix of 48 bits (RFC 6052) or of 96; and addresses translated without state.
        [0x64, 0xff9b, 1, high, middle, low, 0, 0] => Some(join(high, middle << 8 | low >> 8)),
        [0x64, 0xff9b, 1, _, _, _, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => Some(join(high, low)),
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
        EgressPolicy::Internet.allows(Protocol::Tcp, address.parse().unwrap(), &[])
    }

    #[test]
    fn the_internet_and_private_networks_are_outside() {
        for address in ["1.1.1.1:53", "192.168.1.1:80", "10.0.0.1:80", "172.16.0.1:80", "100.64.0.1:80", "[2606:4700::1111]:443"] {
            assert!(allows(address), "{address}");
        }
        assert!(allows("[64:ff9b:1::1.1.1.1]:53") && allows("[64:ff9b:1:101:1:100::]:53"));
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
                         [64:ff9b::169.254.169.254]:80 [2002:7f00:1::]:80 [2002:a9fe:a9fe::1]:80 [64:ff9b:1::169.254.169.254]:80 \
                         [64:ff9b:1:fffe::127.0.0.1]:80 [64:ff9b:1:a9fe:a9:fe00::]:80 [::ffff:0:127.0.0.1]:80";
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
        assert!(!EgressPolicy::Deny.allows(Protocol::Udp, "1.1.1.1:53".parse().unwrap(), &[]));
        assert!(!EgressPolicy::Deny.may_look_up("example.com"));
    }

    #[test]
    fn a_policy_can_only_be_narrowed() {
        let policy = |text: &str| EgressPolicy::parse(text).unwrap();
        let allows = |policy: &EgressPolicy, address: &str| policy.allows(Protocol::Tcp, address.parse().unwrap(), &[]);
        assert_eq!(policy("internet").narrowed_by(policy("internet")), EgressPolicy::Internet);
        for other in ["internet", "none", "1.1.1.1"] {
            assert_eq!(policy("none").narrowed_by(policy(other)), EgressPolicy::Deny);
            assert_eq!(policy(other).narrowed_by(policy("none")), EgressPolicy::Deny);
        }
        let both = policy("10.0.0.0/8").narrowed_by(policy("10.1.0.0/16, 192.168.0.0/16"));
        assert!(allows(&both, "10.1.2.3:80") && !allows(&both, "10.2.0.1:80") && !allows(&both, "192.168.0.1:80"));
        let machine = "127.0.0.1:80";
        assert!(!allows(&policy("internet").narrowed_by(policy("host.wasmpod.internal")), machine));
        assert!(allows(&policy("internet, host.wasmpod.internal").narrowed_by(policy("host.wasmpod.internal:80")), machine));
        let metadata = policy("internet").narrowed_by(policy("169.254.169.254, 1.1.1.1"));
        assert!(allows(&metadata, "1.1.1.1:80") && !allows(&metadata, "169.254.169.254:80"));
        assert!(!allows(&metadata, "2.2.2.2:80"));
    }
}
