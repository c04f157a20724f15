//! Name lookup as a pod sees it.
//!
//! In this order, as `/etc/hosts` comes before DNS: an address in text form, `localhost`, the pod's hostname, its host aliases, the
//! Services and pods beside it, and then whatever the gateway knows. Case and one trailing dot do not matter.

use super::cluster::Answer;
use super::gateway::LookupFuture;
use super::{AddressFamily, NetError, PodNet};
use crate::limits::HOST_NAME_MAX_BYTES;
use std::fmt;
use std::net::IpAddr;
use std::task::{Context, Poll};

/// One entry of `spec.hostAliases`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAlias {
    /// The address that the names stand for.
    pub ip: IpAddr,
    /// The names.
    pub hostnames: Vec<String>,
}

/// The names that a pod knows without asking anyone.
#[derive(Debug)]
pub(super) struct Names {
    hostname: String,
    aliases: Vec<(String, IpAddr)>,
}

impl Names {
    pub(super) fn new(hostname: &str, aliases: &[HostAlias]) -> Self {
        let entry = |alias: &HostAlias| alias.hostnames.iter().map(|name| (normalized(name), alias.ip)).collect::<Vec<_>>();
        Self { hostname: normalized(hostname), aliases: aliases.iter().flat_map(entry).collect() }
    }

    /// The addresses of a normalized name; empty when the pod does not know it.
    fn lookup(&self, name: &str, pod: [IpAddr; 2]) -> Vec<IpAddr> {
        // RFC 6761: names under `localhost` are the loopback too.
        if name == "localhost" || name.ends_with(".localhost") {
            return vec![AddressFamily::Ipv4.loopback(), AddressFamily::Ipv6.loopback()];
        }
        if name == self.hostname {
            return pod.to_vec();
        }
        self.aliases.iter().filter(|(alias, _)| alias == name).map(|(_, ip)| *ip).collect()
    }
}

/// The answer of a name lookup, at once or later.
pub struct Lookup(State);

enum State {
    Ready(Result<Vec<IpAddr>, NetError>),
    Asked(LookupFuture),
}

impl Lookup {
    /// The addresses. Stays ready once ready.
    pub fn poll_addresses(&mut self, cx: &mut Context<'_>) -> Poll<Result<&[IpAddr], NetError>> {
        if let State::Asked(future) = &mut self.0 {
            let Poll::Ready(answer) = future.as_mut().poll(cx) else { return Poll::Pending };
            self.0 = State::Ready(answer.map(clean));
        }
        match &self.0 {
            State::Ready(Ok(addresses)) => Poll::Ready(Ok(addresses)),
            State::Ready(Err(error)) => Poll::Ready(Err(*error)),
            State::Asked(_) => Poll::Pending,
        }
    }

    /// Waits for the addresses.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no name, `NameUnresolvable`, `TemporaryResolverFailure`, `PermanentResolverFailure`.
    pub async fn addresses(mut self) -> Result<Vec<IpAddr>, NetError> {
        std::future::poll_fn(|cx| self.poll_addresses(cx).map_ok(<[IpAddr]>::to_vec)).await
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            State::Ready(answer) => f.debug_tuple("Lookup").field(answer).finish(),
            State::Asked(_) => f.write_str("Lookup(..)"),
        }
    }
}

/// Looks a name up for a container of `net`.
pub(super) fn resolve(net: &PodNet, name: &str) -> Lookup {
    if let Ok(ip) = name.parse() {
        return Lookup(State::Ready(Ok(vec![ip])));
    }
    if !is_host_name(name) {
        return Lookup(State::Ready(Err(NetError::InvalidArgument)));
    }
    let name = normalized(name);
    let known = net.names().lookup(&name, [net.address(AddressFamily::Ipv4), net.address(AddressFamily::Ipv6)]);
    if !known.is_empty() {
        return Lookup(State::Ready(Ok(known)));
    }
    let name = match net.cluster_name(&name) {
        Answer::Addresses(addresses) => return Lookup(State::Ready(Ok(addresses))),
        Answer::Absent => return Lookup(State::Ready(Err(NetError::NameUnresolvable))),
        Answer::Alias(name) => name,
        Answer::Elsewhere => name,
    };
    match net.gateway() {
        Some(gateway) => Lookup(State::Asked(gateway.resolve(&name))),
        None => Lookup(State::Ready(Err(NetError::NameUnresolvable))),
    }
}

/// An IPv4-mapped address is of no use to a guest whose IPv6 sockets are IPv6 only, and `wasi:sockets` forbids it in an answer.
fn clean(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    for ip in &mut addresses {
        *ip = ip.to_canonical();
    }
    addresses
}

fn normalized(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Letters, digits, `-` and `_` in labels of 1 to 63 bytes, 253 in all: anything else never reaches a resolver.
fn is_host_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= HOST_NAME_MAX_BYTES && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::super::tests::pod;
    use super::*;

    fn lookup(name: &str) -> Result<Vec<String>, NetError> {
        let mut lookup = resolve(&pod(), name);
        match lookup.poll_addresses(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(answer) => answer.map(|addresses| addresses.iter().map(ToString::to_string).collect()),
            Poll::Pending => panic!("nobody was asked"),
        }
    }

    #[test]
    fn localhost_is_the_pods_loopback() {
        for name in ["localhost", "LOCALHOST", "localhost.", "api.localhost"] {
            assert_eq!(lookup(name).unwrap(), ["127.0.0.1", "::1"], "{name}");
        }
    }

    #[test]
    fn the_hostname_is_the_pods_addresses() {
        for name in ["shop", "Shop", "SHOP."] {
            assert_eq!(lookup(name).unwrap(), ["10.88.0.2", "fd77:6173:6d70:6f64::2"], "{name}");
        }
    }

    #[test]
    fn host_aliases_are_all_given_in_their_order() {
        assert_eq!(lookup("db.local").unwrap(), ["127.0.0.1", "10.1.2.3"]);
        assert_eq!(lookup("DB.").unwrap(), ["127.0.0.1"]);
    }

    #[test]
    fn an_address_is_its_own_name() {
        assert_eq!(lookup("10.0.0.7").unwrap(), ["10.0.0.7"]);
        assert_eq!(lookup("::1").unwrap(), ["::1"]);
    }

    #[test]
    fn without_a_gateway_other_names_do_not_exist() {
        assert_eq!(lookup("example.com"), Err(NetError::NameUnresolvable));
        assert_eq!(lookup("sho"), Err(NetError::NameUnresolvable));
    }

    #[test]
    fn what_is_no_name_is_invalid() {
        let long = format!("{}.x", "a".repeat(64));
        let longer = vec!["abcdefg"; 40].join(".");
        for name in ["", ".", "a..b", "a b", "a\0b", "ä.de", "1.2.3.4:80", "[::1]", &long, &longer] {
            assert_eq!(lookup(name), Err(NetError::InvalidArgument), "{name}");
        }
    }
}
