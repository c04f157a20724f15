//! The pod's network: in this process between its containers, in the pod's namespace towards everybody else.

use crate::bundle::{Network, Plan};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use tokio::runtime::Handle;
use wasmpod::net::publish::{HostGateway, Mirrors};
use wasmpod::net::{AddressPool, EgressPolicy, PodAddresses, PodNet, PodNetConfig};
use wasmpod::{Error, Result};

/// The network of the pod that `plan` founds. Call it inside the pod's network namespace.
///
/// # Errors
/// The namespace's addresses cannot be read.
pub(crate) fn open(plan: &Plan, runtime: Handle) -> Result<PodNet> {
    let hostname = plan.hostname.clone();
    let config = |addresses, gateway| PodNetConfig { hostname, host_aliases: Vec::new(), addresses, gateway };
    let mirrors = match plan.network {
        Network::Isolated => return Ok(PodNet::new(config(AddressPool::new().take()?, None))),
        // What is on the loopback of a pod stays off that of the machine.
        Network::Host => Mirrors::PodAddress,
        Network::Namespace(_) => Mirrors::All,
    };
    let (ipv4, ipv6) = addresses()?;
    let gateway = HostGateway::in_namespace(EgressPolicy::Internet, runtime, mirrors);
    Ok(PodNet::new(config(PodAddresses::of_namespace(ipv4, ipv6)?, Some(Arc::new(gateway)))))
}

/// The first address of each family that others can reach this namespace under.
fn addresses() -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>)> {
    let interfaces = if_addrs::get_if_addrs().map_err(|error| Error::io("cannot read the addresses of the pod", error))?;
    Ok(pick(interfaces.iter().map(if_addrs::Interface::ip)))
}

fn pick(addresses: impl Iterator<Item = IpAddr> + Clone) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let ipv4 = addresses.clone().find_map(|ip| match ip {
        IpAddr::V4(ip) if !ip.is_loopback() && !ip.is_link_local() => Some(ip),
        _ => None,
    });
    let mut addresses = addresses;
    let ipv6 = addresses.find_map(|ip| match ip {
        IpAddr::V6(ip) if !ip.is_loopback() && !ip.is_unicast_link_local() => Some(ip),
        _ => None,
    });
    (ipv4, ipv6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_has_the_first_address_that_others_can_use() {
        let addresses = ["127.0.0.1", "::1", "fe80::1", "169.254.1.1", "10.0.0.5", "10.0.0.6", "fd00::5"];
        let (ipv4, ipv6) = pick(addresses.iter().map(|ip| ip.parse().unwrap()));
        assert_eq!((ipv4, ipv6), (Some(Ipv4Addr::new(10, 0, 0, 5)), Some("fd00::5".parse().unwrap())));
        assert_eq!(pick(["127.0.0.1"].iter().map(|ip| ip.parse().unwrap())), (None, None));
    }
}
