//! The list of what a pod may reach outside, as people write it.
//!
//! ```text
//! api.example.com:443, *.example.org, 192.0.2.0/24:5432, [2001:db8::/32]:53, udp://9.9.9.9:53, internet
//! ```
//!
//! A name allows the addresses that it resolves to for the pod, and itself to be looked up; names that no entry has are not looked up.
//! Addresses that belong to the host or its link, such as a cloud's metadata service, are only reached when an entry is that very
//! address: no name, no network and no `internet` stands for them. The machine's own loopback is reached under the name
//! `host.wasmpod.internal` alone, when that is an entry.

use super::policy::is_outside;
use super::{AddressFamily, HOST_NAME, Protocol};
use crate::limits::{EGRESS_ENTRIES_MAX, HOST_NAME_MAX_BYTES};
use crate::{Error, Result};
use std::net::{IpAddr, SocketAddr};

/// What a pod may reach outside; whatever no entry allows is forbidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressList {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    protocol: Option<Protocol>,
    destination: Destination,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Destination {
    /// Everything but what is the host's own.
    Internet,
    /// The machine's loopback: `host.wasmpod.internal`.
    Machine,
    /// The addresses of this name.
    Name(String),
    /// The addresses of every name that ends with a dot and this one.
    Below(String),
    /// The addresses that have the first `prefix` bits of `address`.
    Network { address: IpAddr, prefix: u8 },
}

impl EgressList {
    /// Reads entries that are separated by commas or white space: `[tcp://|udp://](NAME|*.NAME|ADDRESS|NETWORK/BITS)[:PORT]`, or
    /// `internet`. An IPv6 address or network with a port stands in brackets.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) with the first entry that is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let words = text.split(|letter: char| letter == ',' || letter.is_whitespace()).filter(|word| !word.is_empty());
        let entries: Vec<Entry> = words.take(EGRESS_ENTRIES_MAX + 1).map(entry).collect::<Result<_>>()?;
        let hint = "write internet, none, or a list such as example.com:443, 10.0.0.0/8, udp://9.9.9.9:53";
        match entries.len() {
            0 => Err(Error::invalid("names nothing that may be reached").hint(hint)),
            count if count > EGRESS_ENTRIES_MAX => {
                Err(Error::limit(format!("has more than {EGRESS_ENTRIES_MAX} entries")).hint("write networks instead of addresses"))
            }
            _ => Ok(Self { entries }),
        }
    }

    /// The list with the one entry `internet`.
    pub(super) fn internet() -> Self {
        Self { entries: vec![Entry { protocol: None, destination: Destination::Internet, port: None }] }
    }

    /// Whether `remote`, to which `names` were resolved, may be reached.
    pub(super) fn allows(&self, protocol: Protocol, remote: SocketAddr, names: &[String]) -> bool {
        let fitting = self.entries.iter().filter(|entry| {
            entry.port.is_none_or(|port| port == remote.port()) && entry.protocol.is_none_or(|listed| listed == protocol)
        });
        let ip = remote.ip().to_canonical();
        let outside = is_outside(ip);
        fitting.into_iter().any(|entry| match &entry.destination {
            Destination::Internet => outside,
            // What a pod calls its own loopback never comes here, nor does another spelling of it stand for the machine.
            Destination::Machine => remote.ip() == AddressFamily::of(remote.ip()).loopback(),
            Destination::Name(_) | Destination::Below(_) => outside && names.iter().any(|name| entry.destination.is_named(name)),
            Destination::Network { address, prefix } => {
                is_in(ip, *address, *prefix) && (outside || *prefix == AddressFamily::of(ip).bits())
            }
        })
    }

    /// Whether an entry has the name.
    pub(super) fn names(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.destination == Destination::Internet || entry.destination.is_named(name))
    }
}

impl Destination {
    /// `name` is in lower case and has no dot at its end.
    fn is_named(&self, name: &str) -> bool {
        match self {
            Self::Name(listed) => name == listed,
            Self::Below(parent) => name.strip_suffix(parent.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            Self::Internet | Self::Machine | Self::Network { .. } => false,
        }
    }
}

fn is_in(ip: IpAddr, network: IpAddr, prefix: u8) -> bool {
    // An IPv4 address as the last bits of an IPv6 one, so that both are compared alike.
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let family = AddressFamily::of(ip);
    let below = family.bits().saturating_sub(prefix);
    let shifted = |ip: IpAddr| bits(ip).checked_shr(below.into()).unwrap_or(0);
    family == AddressFamily::of(network) && shifted(ip) == shifted(network)
}

fn entry(text: &str) -> Result<Entry> {
    let failed = |why: &str| {
        Error::invalid(format!("{text:?} {why}"))
            .hint("write [tcp://|udp://]HOST[:PORT], where HOST is a name, *.NAME, an address or ADDRESS/BITS")
    };
    let (protocol, rest) = match text.split_once("://") {
        None => (None, text),
        Some(("tcp", rest)) => (Some(Protocol::Tcp), rest),
        Some(("udp", rest)) => (Some(Protocol::Udp), rest),
        Some((scheme, _)) => return Err(failed(&format!("begins with {scheme}://, which is neither tcp:// nor udp://"))),
    };
    let (host, port) = split_port(rest).ok_or_else(|| failed("has a port that is not a number from 1 to 65535"))?;
    let destination = destination(host).map_err(|why| failed(&why))?;
    Ok(Entry { protocol, destination, port })
}

/// `host:port`, `[host]:port`, `[host]` or `host`; nothing when the port is none. A host with two colons is an IPv6 address without port.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let number = |port: &str| port.parse::<u16>().ok().filter(|port| *port > 0);
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(number(port)?))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => Some((host, Some(number(port)?))),
        _ => Some((text, None)),
    }
}

fn destination(host: &str) -> Result<Destination, String> {
    if host == "internet" {
        return Ok(Destination::Internet);
    }
    let (address, prefix) = match host.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (host, None),
    };
    if let Ok(address) = address.parse::<IpAddr>() {
        return network(address.to_canonical(), prefix);
    }
    if prefix.is_some() {
        return Err("is no network: what stands before the / is not an address".to_owned());
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let (name, below) = match name.strip_prefix("*.") {
        Some(parent) => (parent.to_owned(), true),
        None => (name, false),
    };
    let is_label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    // `1.2.3` and `10.0.0.0.1` are misspelt addresses, not names.
    let is_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if name.len() > HOST_NAME_MAX_BYTES || !name.split('.').all(is_label) || is_number {
        return Err("is neither a name nor an address".to_owned());
    }
    Ok(match below {
        true => Destination::Below(name),
        false if name == HOST_NAME => Destination::Machine,
        false => Destination::Name(name),
    })
}

fn network(address: IpAddr, prefix: Option<&str>) -> Result<Destination, String> {
    let whole = AddressFamily::of(address).bits();
    let prefix = match prefix {
        None => whole,
        Some(text) => {
            text.parse().ok().filter(|prefix| *prefix <= whole).ok_or_else(|| format!("has no number of bits from 0 to {whole}"))?
        }
    };
    if prefix == whole && address.is_loopback() {
        return Err(format!("is the pod's own; the loopback of the machine is {HOST_NAME}"));
    }
    if prefix == whole && (address.is_unspecified() || address.is_multicast()) {
        return Err("is an address that never leaves the pod".to_owned());
    }
    Ok(Destination::Network { address, prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(list: &str, allowed: &[&str], forbidden: &[&str]) {
        check_named(list, &[], allowed, forbidden);
    }

    /// Remotes are `tcp` unless they begin with `udp://`.
    #[track_caller]
    fn check_named(list: &str, names: &[&str], allowed: &[&str], forbidden: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let parsed = EgressList::parse(list).unwrap();
        let allows = |remote: &str| {
            let (protocol, address) = match remote.strip_prefix("udp://") {
                Some(address) => (Protocol::Udp, address),
                None => (Protocol::Tcp, remote),
            };
            parsed.allows(protocol, address.parse().unwrap(), &names)
        };
        for remote in allowed {
            assert!(allows(remote), "{list} allows {remote}");
        }
        for remote in forbidden {
            assert!(!allows(remote), "{list} forbids {remote}");
        }
    }

    #[test]
    fn addresses_networks_and_ports() {
        check("192.0.2.1", &["192.0.2.1:80", "udp://192.0.2.1:53", "[::ffff:192.0.2.1]:80"], &["192.0.2.2:80"]);
        check("192.0.2.0/24:5432", &["192.0.2.200:5432"], &["192.0.2.200:5433", "192.0.3.1:5432"]);
        check(
            "[2001:db8::/32]:53 2001:db9::1",
            &["[2001:db8:1::1]:53", "[2001:db9::1]:80"],
            &["[2001:db8::1]:80", "[2001:da8::1]:53"],
        );
        check("udp://9.9.9.9:53", &["udp://9.9.9.9:53"], &["9.9.9.9:53", "udp://9.9.9.9:54"]);
        check("tcp://10.0.0.0/8", &["10.1.2.3:1"], &["udp://10.1.2.3:1", "11.0.0.1:1"]);
        check("0.0.0.0/0", &["1.2.3.4:80"], &["[2001:db8::1]:80"]);
        check("::/0", &["[2001:db8::1]:80"], &["1.2.3.4:80", "[::1]:80", "[fe80::1]:80"]);
        check("internet", &["1.2.3.4:80", "udp://[2001:db8::1]:80"], &["127.0.0.1:80", "169.254.169.254:80"]);
        check("tcp://internet:443", &["1.2.3.4:443"], &["1.2.3.4:80", "udp://1.2.3.4:443"]);
    }

    #[test]
    fn a_name_allows_the_addresses_that_it_had() {
        check_named("example.com:443", &["example.com"], &["1.2.3.4:443"], &["1.2.3.4:80"]);
        check_named("example.com", &["other.com"], &[], &["1.2.3.4:443"]);
        check_named("*.example.com", &["a.b.example.com"], &["1.2.3.4:443"], &[]);
        for name in ["example.com", "badexample.com", ".example.com", "example.com.evil"] {
            check_named("*.example.com", &[name], &[], &["1.2.3.4:443"]);
        }
        let list = EgressList::parse("Example.COM., *.test:80").unwrap();
        assert!(list.names("example.com") && list.names("a.test") && !list.names("test") && !list.names("example.org"));
        assert!(EgressList::parse("internet:53").unwrap().names("anything"));
        assert!(!EgressList::parse("10.0.0.0/8").unwrap().names("anything"));
    }

    #[test]
    fn the_hosts_own_addresses_are_only_reached_as_themselves() {
        check("169.254.169.254:80", &["169.254.169.254:80"], &["169.254.169.253:80", "169.254.169.254:81"]);
        check("fe80::1", &["[fe80::1]:80"], &["[fe80::2]:80"]);
        check("169.254.0.0/16 fe80::/10 0.0.0.0/0 ::/0", &[], &["169.254.169.254:80", "[fe80::1]:80", "[fd00:ec2::254]:80"]);
        check("::/0, 0.0.0.0/0", &[], &["[64:ff9b::a9fe:a9fe]:80", "[::ffff:127.0.0.1]:80"]);
        check_named("rebound.example.com", &["rebound.example.com"], &[], &["169.254.169.254:80", "127.0.0.1:80"]);
    }

    #[test]
    fn the_machines_loopback_is_reached_by_its_name_alone() {
        check("host.wasmpod.internal:5432", &["127.0.0.1:5432", "[::1]:5432", "udp://127.0.0.1:5432"], &["127.0.0.1:5433"]);
        check("tcp://Host.Wasmpod.Internal.", &["127.0.0.1:80"], &["udp://127.0.0.1:80", "127.0.0.2:80", "[::ffff:127.0.0.1]:80"]);
        check("*.wasmpod.internal, internet, 0.0.0.0/0, ::/0, 127.0.0.0/8", &["1.2.3.4:80"], &["127.0.0.1:80", "[::1]:80"]);
        check("host.wasmpod.internal", &["127.0.0.1:80"], &["1.2.3.4:80", "169.254.169.254:80", "0.0.0.0:80"]);
        assert!(!EgressList::parse("host.wasmpod.internal").unwrap().names("host.wasmpod.internal"), "nobody else is asked for it");
    }

    #[test]
    fn what_is_no_entry_is_named() {
        let said = |text: &str| EgressList::parse(text).unwrap_err().to_string();
        let texts = [
            "",
            " , ",
            "a b:0",
            "host:70000",
            "host:http",
            "http://example.com",
            "10.0.0.0/33",
            "host/8",
            "1.2.3",
            "a..b",
            "*",
            "*.",
            "a.*.b",
            "[::1",
            "[::1]80",
            "127.0.0.1:5432",
            "::",
            "224.0.0.1",
            "ä.de",
            "10.0.0.0/x",
            "tcp://",
        ];
        let all: Vec<String> = texts.iter().map(|text| format!("{text:?}: {}", said(text))).collect();
        insta::assert_snapshot!(all.join("\n"));
        assert_eq!(said(&"a ".repeat(100_000)), "has more than 256 entries");
    }
}
