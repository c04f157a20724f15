//! Which pod a `--publish` is meant for.

use crate::args::PublishArg;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use wasmpod::pod::PublishedPort;
use wasmpod::pod::spec::{PodSpec, Protocol};
use wasmpod::{Error, Result};

/// For each workload the ports to publish for its pod: with one workload all of them, with several those that a container of it
/// declares. `pods` has the first pod of each, and how many there are at once.
pub(super) fn assign<'a>(
    publish: &[PublishArg],
    pods: impl Iterator<Item = (&'a PodSpec, u32)>,
) -> Result<Vec<Vec<PublishedPort>>> {
    let (pods, counts): (Vec<&PodSpec>, Vec<u32>) = pods.unzip();
    refuse_repeated(publish)?;
    let mut assigned = vec![Vec::new(); pods.len()];
    for wanted in publish {
        let declares = |pod: &PodSpec| {
            let mut ports = pod.containers.iter().flat_map(|container| &container.ports);
            ports.any(|port| port.container_port == wanted.container_port && port.protocol == wanted.protocol)
        };
        let candidates: Vec<usize> = if pods.len() == 1 {
            vec![0]
        } else {
            (0..pods.len()).filter(|at| pods.get(*at).is_some_and(|pod| declares(pod))).collect()
        };
        let [chosen] = candidates[..] else {
            let problem = if candidates.is_empty() {
                "no container of the pods declares this port"
            } else {
                "several pods declare this port"
            };
            return Err(Error::invalid(problem)
                .at(flag(wanted))
                .hint("declare it in the ports of one container of one pod, or use hostPort in the manifest"));
        };
        if let Some(count) = counts.get(chosen).filter(|count| **count > 1) {
            return Err(Error::invalid(format!("{count} pods cannot share a port of the machine"))
                .at(flag(wanted))
                .hint("put a Service of type LoadBalancer before them, which publishes its port"));
        }
        if let Some(ports) = assigned.get_mut(chosen) {
            let host = SocketAddr::new(wanted.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), wanted.host_port);
            ports.push(PublishedPort { host, pod_port: wanted.container_port, protocol: wanted.protocol });
        }
    }
    Ok(assigned)
}

/// The machine would refuse the second one and blame another program.
fn refuse_repeated(publish: &[PublishArg]) -> Result<()> {
    let host_ip = |flag: &PublishArg| flag.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    for (index, second) in publish.iter().enumerate().filter(|(_, flag)| flag.host_port != 0) {
        let clashes = |first: &&PublishArg| {
            let same_ip = host_ip(first) == host_ip(second);
            let same_family = host_ip(first).is_ipv4() == host_ip(second).is_ipv4();
            let overlaps = same_family && (host_ip(first).is_unspecified() || host_ip(second).is_unspecified());
            (first.host_port, first.protocol) == (second.host_port, second.protocol) && (same_ip || overlaps)
        };
        if let Some(first) = publish.iter().take(index).find(clashes) {
            return Err(Error::invalid(format!("port {} of this machine is published twice", second.host_port))
                .at(format!("{} and {}", flag(first), flag(second)))
                .hint("take one of the flags away, or choose another port for it"));
        }
    }
    Ok(())
}

/// The flag as it was typed, or nearly.
fn flag(publish: &PublishArg) -> String {
    let ip = publish.host_ip.map(|ip| if ip.is_ipv6() { format!("[{ip}]:") } else { format!("{ip}:") }).unwrap_or_default();
    let protocol = match publish.protocol {
        Protocol::Tcp => "",
        Protocol::Udp => "/udp",
    };
    format!("--publish {ip}{}:{}{protocol}", publish.host_port, publish.container_port)
}
