//! Which pod answers whom: datagrams have no connection that would tell.
//!
//! The datagrams of one client to one address of a Service go to the same pod for as long as it is behind the Service, and what that
//! pod answers carries the Service's address, for this is whom the client has written to. This is what conntrack does for kube-proxy.

use crate::limits::SERVICE_UDP_FLOWS_MAX;
use std::collections::HashMap;
use std::net::SocketAddr;

#[derive(Debug, Default)]
pub(super) struct Flows {
    /// By client and Service.
    backends: HashMap<(SocketAddr, SocketAddr), Flow>,
    /// The Service, by pod and client.
    services: HashMap<(SocketAddr, SocketAddr), SocketAddr>,
    uses: u64,
}

#[derive(Debug)]
struct Flow {
    backend: SocketAddr,
    last_use: u64,
}

impl Flows {
    /// The pod that `client` has been sent to.
    pub(super) fn backend(&self, client: SocketAddr, service: SocketAddr) -> Option<SocketAddr> {
        self.backends.get(&(client, service)).map(|flow| flow.backend)
    }

    /// The Service for which `backend` answers `client`.
    pub(super) fn answered_by(&self, backend: SocketAddr, client: SocketAddr) -> Option<SocketAddr> {
        self.services.get(&(backend, client)).copied()
    }

    /// Remembers that `client` is served by `backend`; one client too many replaces the one idle for longest.
    pub(super) fn note(&mut self, client: SocketAddr, service: SocketAddr, backend: SocketAddr) {
        self.uses += 1;
        let former = self.backends.insert((client, service), Flow { backend, last_use: self.uses });
        if let Some(former) = former.filter(|former| former.backend != backend) {
            self.services.remove(&(former.backend, client));
        }
        self.services.insert((backend, client), service);
        if self.backends.len() > SERVICE_UDP_FLOWS_MAX
            && let Some(idle) = self.backends.iter().min_by_key(|(_, flow)| flow.last_use).map(|(key, _)| *key)
            && let Some(flow) = self.backends.remove(&idle)
        {
            self.services.remove(&(flow.backend, idle.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_bounded_and_forgets_the_idlest() {
        let address = |port: usize| SocketAddr::from(([10, 88, 0, 2], u16::try_from(port).unwrap()));
        let (service, backend) = (SocketAddr::from(([10, 88, 0, 9], 53)), SocketAddr::from(([10, 88, 0, 3], 53)));
        let mut flows = Flows::default();
        for port in 1..=SERVICE_UDP_FLOWS_MAX + 1 {
            flows.note(address(1), service, backend);
            flows.note(address(port), service, backend);
        }
        assert_eq!((flows.backends.len(), flows.services.len()), (SERVICE_UDP_FLOWS_MAX, SERVICE_UDP_FLOWS_MAX));
        assert_eq!(flows.backend(address(1), service), Some(backend), "it was used all the time");
        assert_eq!(flows.backend(address(2), service), None);
    }
}
