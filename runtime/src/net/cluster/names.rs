//! What the names of Services and of their pods mean: the records of the cluster's DNS, without a DNS server.
//!
//! A short name is looked up as with the search list of a Kubernetes pod (`NS.svc.cluster.local svc.cluster.local cluster.local`).

use super::{AddressFamily, AddressPool, ServiceKind, Switch, addresses_of};
use std::net::IpAddr;

/// The domain of the cluster; nothing in it is asked of the machine's resolver.
const DOMAIN: &str = "cluster.local";

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::net) enum Answer {
    /// These addresses.
    Addresses(Vec<IpAddr>),
    /// The same as another name, outside.
    Alias(String),
    /// Nothing: it would be a name of the cluster, and the cluster has no such name.
    Absent,
    /// It is not the cluster's to say.
    Elsewhere,
}

impl Switch {
    /// What `name` (in lower case, without a trailing dot) means to the pod with this number.
    pub(in crate::net) fn lookup(&self, number: u16, name: &str) -> Answer {
        let Some(member) = self.members.get(&number) else { return Answer::Elsewhere };
        let own = member.pod.namespace.as_str();
        let qualified = name.strip_suffix(DOMAIN).and_then(|rest| rest.strip_suffix('.'));
        let (rest, is_qualified) = (qualified.unwrap_or(name), qualified.is_some());
        let found = match rest.split('.').collect::<Vec<_>>()[..] {
            [service, namespace, "svc"] => self.service(service, namespace),
            [host, service, namespace, "svc"] => self.host(host, service, namespace),
            [service] if !is_qualified => self.service(service, own),
            // `service.namespace` and `host.service` look alike; the search list tries the own namespace first.
            [first, second] if !is_qualified => self.host(first, second, own).or_else(|| self.service(first, second)),
            [host, service, namespace] if !is_qualified => self.host(host, service, namespace),
            _ => None,
        };
        match found {
            Some(answer) => answer,
            None if is_qualified || rest.ends_with(".svc") => Answer::Absent,
            None => Answer::Elsewhere,
        }
    }

    fn service(&self, name: &str, namespace: &str) -> Option<Answer> {
        let service = self.services.iter().find(|service| service.config.name == name && service.config.namespace == namespace)?;
        Some(match (&service.config.kind, service.number) {
            (ServiceKind::ExternalName(name), _) => Answer::Alias(name.clone()),
            (_, Some(number)) => Answer::Addresses(addresses_of(number)),
            (_, None) => self.addresses(name, namespace, |_| true),
        })
    }

    /// The record of a pod with a host name below a headless Service.
    fn host(&self, host: &str, service: &str, namespace: &str) -> Option<Answer> {
        let known = self.services.iter().any(|known| {
            known.config.name == service && known.config.namespace == namespace && known.config.kind == ServiceKind::Headless
        });
        known.then(|| {
            self.addresses(service, namespace, |pod| {
                pod.hostname.as_deref() == Some(host) && pod.subdomain.as_deref() == Some(service)
            })
        })
    }

    /// The addresses of the ready pods behind a headless Service, IPv4 first.
    fn addresses(&self, service: &str, namespace: &str, pick: impl Fn(&super::ClusterPod) -> bool) -> Answer {
        let config = self.services.iter().map(|service| &service.config);
        let Some(config) = config.into_iter().find(|config| config.name == service && config.namespace == namespace) else {
            return Answer::Absent;
        };
        let members = self.members.iter().filter(|(_, member)| member.ready || config.publish_not_ready);
        let chosen = members.filter(|(_, member)| member.belongs_to(config) && pick(&member.pod)).map(|(number, _)| *number);
        let numbers: Vec<u16> = chosen.take(crate::limits::ADDRESSES_PER_NAME_MAX / 2).collect();
        let of = |family: AddressFamily| numbers.iter().map(move |number| AddressPool::address(*number, family));
        let addresses: Vec<IpAddr> = of(AddressFamily::Ipv4).chain(of(AddressFamily::Ipv6)).collect();
        if addresses.is_empty() { Answer::Absent } else { Answer::Addresses(addresses) }
    }
}
