//! Published UDP ports.
//!
//! A guest answers the address that it sees. So each client is noted in the network of the pod that it talks to, under that address: a
//! datagram from the published port of the pod to it goes back through the kernel socket that the client had sent to.

use super::Inward;
use crate::limits::PUBLISHED_UDP_CLIENTS_MAX;
use crate::net::outbox::Outbox;
use crate::net::{Client, Datagram, PodNet, Shared};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use tokio::net::UdpSocket;

/// Carries datagrams between `socket` and where they go in.
pub(super) async fn serve(socket: UdpSocket, inward: Inward) {
    let mut clients = Clients { inward, outbox: Arc::default(), talks: HashMap::new(), uses: 0 };
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

/// Who has sent to the port, as noted in the network of the pod that receives it.
struct Clients {
    inward: Inward,
    outbox: Arc<Outbox>,
    /// By the client's address.
    talks: HashMap<SocketAddr, Talk>,
    uses: u64,
}

/// A client, and the pod that it talks to.
struct Talk {
    /// The pod may be gone before its clients are.
    net: Weak<Shared>,
    pod_port: u16,
    /// What the pod sees as the client's address.
    shown: SocketAddr,
    last_use: u64,
}

impl Talk {
    fn is_with(&self, net: &PodNet, pod_port: u16, shown: SocketAddr) -> bool {
        std::ptr::eq(self.net.as_ptr(), Arc::as_ptr(&net.0)) && (self.pod_port, self.shown) == (pod_port, shown)
    }

    /// The pod can no longer answer the client.
    fn end(self) {
        if let Some(net) = self.net.upgrade() {
            PodNet(net).clients().remove(&(self.pod_port, self.shown));
        }
    }
}

impl Clients {
    fn deliver(&mut self, payload: &[u8], client: SocketAddr) {
        let receiver = self.inward.receiver(client);
        let found = receiver.and_then(|(net, port)| Some((net.published_mailbox(port, client)?, net, port)));
        let Some(((mailbox, shown), net, pod_port)) = found else {
            tracing::debug!(%client, inward = ?self.inward, "nobody receives behind the published port");
            return;
        };
        self.uses += 1;
        let last_use = self.uses;
        match self.talks.get_mut(&client) {
            Some(talk) if talk.is_with(&net, pod_port, shown) => talk.last_use = last_use,
            _ => self.note(client, Talk { net: Arc::downgrade(&net.0), pod_port, shown, last_use }, &net),
        }
        mailbox.deliver(payload, shown);
    }

    /// Lets the pod answer the client; one client too many replaces the one that was silent for longest.
    fn note(&mut self, client: SocketAddr, talk: Talk, net: &PodNet) {
        let key = (talk.pod_port, talk.shown);
        if let Some(former) = self.talks.insert(client, talk) {
            former.end();
        }
        if self.talks.len() > PUBLISHED_UDP_CLIENTS_MAX
            && let Some(idle) = self.talks.iter().min_by_key(|(_, talk)| talk.last_use).map(|(client, _)| *client)
            && let Some(talk) = self.talks.remove(&idle)
        {
            talk.end();
        }
        net.clients().insert(key, Client { outbox: self.outbox.clone(), address: client });
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.talks.drain().for_each(|(_, talk)| talk.end());
    }
}
