//! What a Service is, as the network between pods needs it: plain data.

use super::Protocol;
use std::collections::BTreeMap;

/// A Service: a name, and usually an address, for the pods that its selector picks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// `metadata.name`: a DNS label.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `type`, and whether it has an address.
    pub kind: ServiceKind,
    /// `selector`: the labels that a pod must have; without any, no pod is picked.
    pub selector: BTreeMap<String, String>,
    /// `ports`.
    pub ports: Vec<ServicePort>,
    /// `publishNotReadyAddresses`: pods that are not ready are found too.
    pub publish_not_ready: bool,
    /// `sessionAffinity: ClientIP`: a client stays with its pod for as long as the pods behind the Service stay the same.
    pub client_ip_affinity: bool,
}

/// What leads to a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// An address in the network between pods.
    ClusterIp,
    /// None: its name stands for the addresses of its pods.
    Headless,
    /// As `ClusterIp`, and a port of the machine for each of its ports.
    NodePort,
    /// As `ClusterIp`, and its own ports on the machine.
    LoadBalancer,
    /// None: its name stands for another name, outside.
    ExternalName(String),
}

/// One entry of `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// `name`; empty where there is only one port.
    pub name: String,
    /// `port`, 1 to 65535.
    pub port: u16,
    /// `targetPort`: the port of the pods.
    pub target: TargetPort,
    /// `protocol`.
    pub protocol: Protocol,
    /// `nodePort`.
    pub node_port: Option<u16>,
}

/// A port of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// By its number.
    Number(u16),
    /// By the name of a container's port, which each pod may give another number.
    Name(String),
}

impl ServiceConfig {
    /// Whether a pod with these labels belongs to the Service.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.selector.is_empty() && self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// `namespace/name`, as Kubernetes writes it in messages.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}
