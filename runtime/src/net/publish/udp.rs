//! Published UDP ports.
//!
//! A guest answers the address that it sees. So each client is noted in the pod network under that address: a datagram from the
//! published port of the pod to it goes back through the kernel socket that the client had sent to.

use super::{Published, cannot_publish};
use crate::Result;
use crate::limits::PUBLISHED_UDP_CLIENTS_MAX;
use crate::net::outbox::Outbox;
use crate::net::{Client, Datagram, PodNet};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio_util::task::AbortOnDropHandle;

/// Receives on `host`, carries each datagram to UDP port `pod_port` of the pod, and what is sent from there back to its client.
///
/// # Errors
/// When the machine's port is taken, or may not be used.
pub async fn publish_udp(net: &PodNet, host: SocketAddr, pod_port: u16) -> Result<Published> {
    let socket = UdpSocket::bind(host).await.map_err(|error| cannot_publish("UDP", host, error))?;
    let address = socket.local_addr().map_err(|error| cannot_publish("UDP", host, error))?;
    let task = tokio::spawn(serve(socket, net.clone(), pod_port));
    Ok(Published { address, _task: AbortOnDropHandle::new(task) })
}

/// Carries datagrams between `socket` and UDP port `pod_port` of the pod.
pub(super) async fn serve(socket: UdpSocket, net: PodNet, pod_port: u16) {
    let mut clients = Clients { net, pod_port, outbox: Arc::default(), last_use: HashMap::new(), uses: 0 };
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let outbox = clients.outbox.clone();
    loop {
        tokio::select! {
            // An error here is one that an earlier datagram met; the next call is a new chance.
            received = socket.recv_from(&mut buffer) => if let Ok((length, client)) = received {
                clients.deliver(buffer.get(..length).unwrap_or_default(), client);
            },
            outgoing = poll_fn(|cx| outbox.poll_pop(cx)) => {
                let Some(Datagram { payload, remote }) = outgoing else { return };
                // A datagram that the kernel does not take is lost, as on any link.
                let _ = socket.send_to(&payload, remote).await;
            }
        }
    }
}

/// Who has sent to the port, as noted in the pod network.
struct Clients {
    net: PodNet,
    pod_port: u16,
    outbox: Arc<Outbox>,
    /// By the address that the pod sees.
    last_use: HashMap<SocketAddr, u64>,
    uses: u64,
}

impl Clients {
    fn deliver(&mut self, payload: &[u8], client: SocketAddr) {
        let Some((mailbox, shown)) = self.net.published_mailbox(self.pod_port, client) else {
            tracing::debug!(%client, pod_port = self.pod_port, "the pod does not receive on the published port");
            return;
        };
        self.uses += 1;
        if self.last_use.insert(shown, self.uses).is_none() {
            if self.last_use.len() > PUBLISHED_UDP_CLIENTS_MAX
                && let Some(idle) = self.last_use.iter().min_by_key(|(_, last_use)| **last_use).map(|(shown, _)| *shown)
            {
                self.last_use.remove(&idle);
                self.net.clients().remove(&(self.pod_port, idle));
            }
            let entry = Client { outbox: self.outbox.clone(), address: client };
            self.net.clients().insert((self.pod_port, shown), entry);
        }
        mailbox.deliver(payload, shown);
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let mut clients = self.net.clients();
        for shown in self.last_use.keys() {
            clients.remove(&(self.pod_port, *shown));
        }
    }
}
