//! The network between the pods of a process: who has which address, which Services there are, and what their names mean.
//!
//! ```text
//!   pod "front" ── connect api:80 ──▶ Switch: Service api ──▶ a ready pod that its selector picks ──▶ its port table
//! ```
//!
//! All pods whose addresses come from one [`AddressPool`] can reach each other at those addresses: listeners on the wildcard or the
//! pod's address, never those on its loopback. A Service has an address from the same pool; each connection to it goes to the next of
//! its ready pods, and the client sees the Service's address as its peer, as behind kube-proxy. Not one kernel socket is opened.
//!
//! One lock guards the tables. It is the innermost of all, and no pod network is dropped under it, for that would take it again.

mod flows;
mod names;
#[cfg(test)]
mod tests;

pub(super) use names::Answer;

use super::address::AddressPool;
use super::{AddressFamily, NetError, PodAddresses, PodNet, Protocol, ServiceConfig, ServiceKind, TargetPort};
use crate::Result;
use flows::Flows;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Weak;

/// The name under which pods find the machine, where the egress policy lets them.
pub const HOST_NAME: &str = "host.wasmpod.internal";

/// The network between pods; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pool: AddressPool,
}

/// A pod as Services see it.
#[derive(Clone, Debug, Default)]
pub struct ClusterPod {
    /// `metadata.namespace`: the one in which short names are looked up.
    pub namespace: String,
    /// `metadata.labels`, by which Services pick it.
    pub labels: BTreeMap<String, String>,
    /// `spec.hostname`: with `subdomain`, the pod's own name below a headless Service.
    pub hostname: Option<String>,
    /// `spec.subdomain`.
    pub subdomain: Option<String>,
    /// The named ports of its containers.
    pub ports: Vec<NamedPort>,
}

/// A container's port that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPort {
    /// `name`.
    pub name: String,
    /// `containerPort`.
    pub port: u16,
    /// `protocol`.
    pub protocol: Protocol,
}

/// A pod's place behind the Services; dropped, the pod is behind none.
#[derive(Debug)]
pub struct ClusterMember {
    pool: AddressPool,
    number: u16,
}

impl Cluster {
    /// A network without pods and Services.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the addresses for a pod.
    ///
    /// # Errors
    /// As [`AddressPool::take`].
    pub fn take(&self) -> Result<PodAddresses> {
        self.pool.take()
    }

    /// Adds a Service, for as long as the network exists. Says its addresses, IPv4 first; none for one that has no address.
    ///
    /// # Errors
    /// When every address is taken.
    pub fn add_service(&self, config: ServiceConfig) -> Result<Vec<IpAddr>> {
        let mut switch = self.pool.lock();
        let number = match config.kind {
            ServiceKind::ClusterIp | ServiceKind::NodePort | ServiceKind::LoadBalancer => Some(switch.take_number()?),
            ServiceKind::Headless | ServiceKind::ExternalName(_) => None,
        };
        switch.services.push(Service { config, number, turns: HashMap::new() });
        Ok(number.map(addresses_of).unwrap_or_default())
    }

    /// Puts a pod behind the Services that select it; it is not ready yet.
    pub fn join(&self, pod: ClusterPod, net: &PodNet) -> ClusterMember {
        let number = net.0.addresses.number();
        self.pool.lock().members.insert(number, Member { pod, ready: false });
        ClusterMember { pool: self.pool.clone(), number }
    }

    /// How many pods of the run a Service picks now, ready or not.
    pub fn selected(&self, service: &ServiceConfig) -> usize {
        self.pool.lock().members.values().filter(|member| member.belongs_to(service)).count()
    }

    /// The pod, and its port, that is next behind a Service's address for a client outside.
    ///
    /// # Errors
    /// `ConnectionRefused` when no ready pod is behind it.
    pub(super) fn choose(&self, service: SocketAddr, client: SocketAddr) -> Result<(PodNet, u16), NetError> {
        let target = self.pool.lock().target(Protocol::Tcp, client, service);
        match target {
            Target::Pod { net, address, .. } => Ok((PodNet(net.upgrade().ok_or(NetError::ConnectionRefused)?), address.port())),
            Target::Refused | Target::Nowhere => Err(NetError::ConnectionRefused),
        }
    }

    /// The pod, and its port, that gets the datagrams of a client outside to a Service's address.
    pub(super) fn receiver(&self, service: SocketAddr, client: SocketAddr) -> Option<(PodNet, u16)> {
        let target = self.pool.lock().target(Protocol::Udp, client, service);
        match target {
            Target::Pod { net, address, .. } => Some((PodNet(net.upgrade()?), address.port())),
            Target::Refused | Target::Nowhere => None,
        }
    }
}

impl ClusterMember {
    /// Says whether the pod is ready: whether Services may send to it.
    pub fn set_ready(&self, ready: bool) {
        if let Some(member) = self.pool.lock().members.get_mut(&self.number) {
            member.ready = ready;
        }
    }
}

impl Drop for ClusterMember {
    fn drop(&mut self) {
        self.pool.lock().members.remove(&self.number);
    }
}

/// Both addresses of a number, IPv4 first.
fn addresses_of(number: u16) -> Vec<IpAddr> {
    [AddressFamily::Ipv4, AddressFamily::Ipv6].map(|family| AddressPool::address(number, family)).to_vec()
}

#[derive(Debug)]
struct Member {
    pod: ClusterPod,
    ready: bool,
}

impl Member {
    fn belongs_to(&self, service: &ServiceConfig) -> bool {
        self.pod.namespace == service.namespace && service.selects(&self.pod.labels)
    }

    /// The pod's port that a port of a Service leads to.
    fn port(&self, target: &TargetPort, protocol: Protocol) -> Option<u16> {
        match target {
            TargetPort::Number(port) => Some(*port),
            TargetPort::Name(name) => {
                let named = self.pod.ports.iter().find(|port| port.name == *name && port.protocol == protocol);
                named.map(|port| port.port)
            }
        }
    }
}

#[derive(Debug)]
struct Service {
    config: ServiceConfig,
    number: Option<u16>,
    /// Whose turn it is, for each port.
    turns: HashMap<(u16, Protocol), usize>,
}

/// Where a connection or datagram between pods goes.
pub(super) enum Target {
    /// To a port of a pod.
    Pod {
        /// The pod.
        net: Weak<super::Shared>,
        /// Its address and port.
        address: SocketAddr,
        /// What the receiver is to take for the sender: the Service, in an answer to one of its clients.
        source: Option<SocketAddr>,
    },
    /// To a Service, or a port of one, behind which nobody is.
    Refused,
    /// There is no such address.
    Nowhere,
}

/// The tables.
#[derive(Default)]
pub(super) struct Switch {
    pub(super) taken: BTreeSet<u16>,
    pub(super) nets: HashMap<u16, Weak<super::Shared>>,
    members: BTreeMap<u16, Member>,
    services: Vec<Service>,
    flows: Flows,
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch").field("taken", &self.taken.len()).field("services", &self.services).finish_non_exhaustive()
    }
}

impl Switch {
    /// Where the way from `client` to the virtual address `remote` leads.
    pub(super) fn target(&mut self, protocol: Protocol, client: SocketAddr, remote: SocketAddr) -> Target {
        let Some(number) = AddressPool::number(remote.ip()) else { return Target::Nowhere };
        if let Some(net) = self.nets.get(&number) {
            let source = (protocol == Protocol::Udp).then(|| self.flows.answered_by(client, remote)).flatten();
            return Target::Pod { net: net.clone(), address: remote, source };
        }
        let Some(at) = self.services.iter().position(|service| service.number == Some(number)) else { return Target::Nowhere };
        match self.behind(at, protocol, client, remote) {
            Some((net, address)) => Target::Pod { net, address, source: None },
            None => Target::Refused,
        }
    }

    /// The pod, and its port, that gets what `client` sends to `remote`, an address of the service at `at`.
    fn behind(
        &mut self,
        at: usize,
        protocol: Protocol,
        client: SocketAddr,
        remote: SocketAddr,
    ) -> Option<(Weak<super::Shared>, SocketAddr)> {
        let candidates = self.candidates(at, protocol, remote.port());
        let family = AddressFamily::of(remote.ip());
        let known = (protocol == Protocol::Udp).then(|| self.flows.backend(client, remote)).flatten();
        let known = known.filter(|known| candidates.iter().any(|candidate| AddressPool::socket(*candidate, family) == *known));
        let address = match known {
            Some(known) => known,
            None => AddressPool::socket(self.pick(at, protocol, client, remote.port(), &candidates)?, family),
        };
        if protocol == Protocol::Udp {
            self.flows.note(client, remote, address);
        }
        let net = self.nets.get(&AddressPool::number(address.ip())?)?.clone();
        Some((net, address))
    }

    /// The ready pods behind a port of a service, each with its own port.
    fn candidates(&self, at: usize, protocol: Protocol, port: u16) -> Vec<(u16, u16)> {
        let Some(Service { config, .. }) = self.services.get(at) else { return Vec::new() };
        let Some(entry) = config.ports.iter().find(|entry| entry.port == port && entry.protocol == protocol) else {
            return Vec::new();
        };
        let members =
            self.members.iter().filter(|(_, member)| member.belongs_to(config) && (member.ready || config.publish_not_ready));
        members.filter_map(|(number, member)| Some((*number, member.port(&entry.target, protocol)?))).collect()
    }

    /// The next one of `candidates`, or the client's own.
    fn pick(
        &mut self,
        at: usize,
        protocol: Protocol,
        client: SocketAddr,
        port: u16,
        candidates: &[(u16, u16)],
    ) -> Option<(u16, u16)> {
        let service = self.services.get_mut(at)?;
        if service.config.client_ip_affinity {
            // Rendezvous hashing: another pod that comes or goes moves none but its own clients.
            return candidates.iter().copied().max_by_key(|(number, _)| hash(client.ip(), *number));
        }
        let turn = service.turns.entry((port, protocol)).or_default();
        let chosen = candidates.get(turn.checked_rem(candidates.len())?).copied();
        *turn = turn.wrapping_add(1);
        chosen
    }

    pub(super) fn forget(&mut self, number: u16) {
        self.taken.remove(&number);
        self.nets.remove(&number);
        self.members.remove(&number);
    }
}

fn hash(client: IpAddr, number: u16) -> u64 {
    let mut hasher = DefaultHasher::new();
    (client, number).hash(&mut hasher);
    hasher.finish()
}
