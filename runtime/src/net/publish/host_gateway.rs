//! The way out through the kernel's sockets and resolver, as far as the egress policy allows.

use super::{mirror, pump};
use crate::limits;
use crate::net::policy::is_outside;
use crate::net::{
    AddressFamily, Datagram, Dial, EgressPolicy, Exposure, Gateway, LookupFuture, NetError, OutsideChannel, PodNet, PodStream,
    Protocol,
};
use std::collections::{HashMap, HashSet};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

/// Which listeners of a pod have a mirror: a real socket in the network namespace in which this process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirrors {
    /// None: the process does not stand in a namespace of the pod's.
    None,
    /// Those on the wildcard or the pod's address, so that others reach them as they reach any pod. For a namespace that the pod shares
    /// with the machine.
    PodAddress,
    /// Those on the loopback too, on the loopback of the namespace: for one that is the pod's alone. Whoever enters it reaches them
    /// (`port-forward` does so), and nobody from outside.
    All,
}

/// The gateway of one pod; when it is dropped, all that goes through it ends.
#[derive(Debug)]
pub struct HostGateway {
    policy: EgressPolicy,
    /// Filled only by a policy that has names.
    resolved: Arc<Mutex<Resolved>>,
    runtime: Handle,
    mirrors: Mirrors,
    /// One for each kernel socket and each lookup under way.
    permits: Arc<Semaphore>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl HostGateway {
    /// A gateway that runs its work on `runtime` and lets through what `policy` allows.
    pub fn new(policy: EgressPolicy, runtime: Handle) -> Self {
        let stop = CancellationToken::new();
        let permits = Arc::new(Semaphore::new(limits::EGRESS_CONNECTIONS_PER_POD_MAX));
        let (stop_on_drop, resolved) = (stop.clone().drop_guard(), Arc::default());
        Self { policy, resolved, runtime, mirrors: Mirrors::None, permits, _stop_on_drop: stop_on_drop, stop }
    }

    /// A gateway for a process that stands in the pod's network namespace: the sockets of the process are the pod's, and those of the
    /// pod that `mirrors` names have a real one beside them.
    pub fn in_namespace(policy: EgressPolicy, runtime: Handle, mirrors: Mirrors) -> Self {
        Self { mirrors, ..Self::new(policy, runtime) }
    }

    /// The names that addresses were resolved from.
    pub(super) fn resolved(&self) -> MutexGuard<'_, Resolved> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().try_acquire_owned().ok()
    }

    /// Runs `work` until it is done or the gateway is dropped.
    pub(super) fn spawn(&self, permit: OwnedSemaphorePermit, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.runtime.spawn(async move {
            stop.run_until_cancelled(work).await;
            drop(permit);
        });
    }
}

impl Gateway for HostGateway {
    fn allows(&self, protocol: Protocol, remote: SocketAddr) -> bool {
        match self.policy {
            EgressPolicy::Internet | EgressPolicy::Deny => self.policy.allows(protocol, remote, &[]),
            EgressPolicy::Listed(_) => self.policy.allows(protocol, remote, self.resolved().names(remote.ip().to_canonical())),
        }
    }

    fn connect_tcp(&self, dial: Dial) {
        match self.permit() {
            Some(_) if !self.allows(Protocol::Tcp, dial.remote()) => dial.failed(NetError::AccessDenied),
            Some(permit) => self.spawn(permit, carry_out(dial)),
            None => dial.failed(NetError::OutOfBuffers),
        }
    }

    fn open_udp(&self, channel: OutsideChannel) {
        // Without a permit the channel is dropped here, and the guest's datagrams with it.
        if let Some(permit) = self.permit() {
            self.spawn(permit, exchange(channel));
        }
    }

    fn resolve(&self, name: &str) -> LookupFuture {
        if !self.policy.may_look_up(name) {
            return Box::pin(std::future::ready(Err(NetError::NameUnresolvable)));
        }
        let Some(permit) = self.permit() else {
            return Box::pin(std::future::ready(Err(NetError::TemporaryResolverFailure)));
        };
        let name = name.to_owned();
        let resolved = matches!(self.policy, EgressPolicy::Listed(_)).then(|| Arc::clone(&self.resolved));
        let lookup = AbortOnDropHandle::new(self.runtime.spawn(async move {
            let answer = look_up(&name).await;
            if let (Some(resolved), Ok(addresses)) = (resolved, &answer) {
                resolved.lock().unwrap_or_else(PoisonError::into_inner).note(&name, addresses);
            }
            drop(permit);
            answer
        }));
        Box::pin(async move { lookup.await.unwrap_or(Err(NetError::TemporaryResolverFailure)) })
    }

    fn expose(&self, net: &PodNet, protocol: Protocol, local: SocketAddr) -> Result<Option<Exposure>, NetError> {
        let is_loopback = local.ip().is_loopback();
        let wanted = match self.mirrors {
            Mirrors::None => false,
            Mirrors::PodAddress => !is_loopback,
            // `port-forward` knows TCP alone.
            Mirrors::All => !is_loopback || protocol == Protocol::Tcp,
        };
        if !wanted {
            return Ok(None);
        }
        match mirror::open(net, &self.runtime, protocol, local) {
            Ok(mirror) => Ok(Some(Box::new(mirror))),
            Err(error) if is_loopback => {
                // The pod itself does not need it.
                tracing::debug!(%error, %local, "a socket on the pod's loopback is not reached by port-forward");
                Ok(None)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::AddrInUse => Err(NetError::AddressInUse),
                io::ErrorKind::PermissionDenied => Err(NetError::AccessDenied),
                _ => {
                    // The namespace has no IPv6, most likely: nobody can come that way.
                    tracing::debug!(%error, %local, "a socket of the pod is not reachable from outside");
                    Ok(None)
                }
            },
        }
    }
}

async fn carry_out(dial: Dial) {
    let limit = Duration::from_secs(limits::EGRESS_CONNECT_SECONDS_MAX);
    let connected = tokio::select! {
        connected = tokio::time::timeout(limit, TcpStream::connect(dial.remote())) => connected,
        () = poll_fn(|cx| dial.poll_abandoned(cx)) => return,
    };
    match connected {
        Ok(Ok(socket)) => {
            if let Some(stream) = dial.established() {
                pump(socket, PodStream::new(stream)).await;
            }
        }
        Ok(Err(error)) => dial.failed(net_error(&error)),
        Err(_) => dial.failed(NetError::TimedOut),
    }
}

async fn exchange(channel: OutsideChannel) {
    let local = SocketAddr::new(channel.family().unspecified(), 0);
    let Ok(socket) = UdpSocket::bind(local).await else { return };
    let mut buffer = vec![0; usize::from(u16::MAX)];
    // As behind any home router: only those whom the guest has written to can write to it.
    let mut correspondents = HashSet::new();
    loop {
        tokio::select! {
            outgoing = poll_fn(|cx| channel.poll_outgoing(cx)) => {
                let Some(Datagram { payload, remote }) = outgoing else { return };
                if correspondents.len() >= limits::EGRESS_CORRESPONDENTS_MAX {
                    correspondents.clear();
                }
                correspondents.insert(remote);
                // A datagram that the kernel does not take is lost, as on any link.
                let _ = socket.send_to(&payload, remote).await;
            }
            received = socket.recv_from(&mut buffer) => if let Ok((length, remote)) = received
                && correspondents.contains(&remote)
            {
                channel.deliver(buffer.get(..length).unwrap_or_default(), remote);
            }
        }
    }
}

/// From which names addresses were resolved for the pod: what a policy's names allow.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    names: HashMap<IpAddr, Vec<String>>,
}

impl Resolved {
    /// Notes that `name` stands for `addresses`.
    pub(super) fn note(&mut self, name: &str, addresses: &[IpAddr]) {
        for ip in addresses {
            if self.names.len() >= limits::EGRESS_NAMED_ADDRESSES_MAX && !self.names.contains_key(ip) {
                self.names.clear();
            }
            let names = self.names.entry(*ip).or_default();
            names.retain(|known| known != name);
            if names.len() >= limits::EGRESS_NAMES_PER_ADDRESS_MAX {
                names.remove(0);
            }
            names.push(name.to_owned());
        }
    }

    /// The names of an address, the latest one last.
    pub(super) fn names(&self, ip: IpAddr) -> &[String] {
        self.names.get(&ip).map(Vec::as_slice).unwrap_or_default()
    }
}

async fn look_up(name: &str) -> Result<Vec<IpAddr>, NetError> {
    let answers = lookup_host((name, 1)).await.map_err(|error| resolver_error(&error))?;
    // A name must not lead a guest to the host's own services, whoever answers for it.
    let mut addresses: Vec<IpAddr> = answers.map(|answer| answer.ip().to_canonical()).filter(|ip| is_outside(*ip)).collect();
    addresses.sort_by_key(|ip| AddressFamily::of(*ip) == AddressFamily::Ipv6);
    addresses.dedup();
    if addresses.is_empty() { Err(NetError::NameUnresolvable) } else { Ok(addresses) }
}

/// `std` keeps the resolver's code only in the text of its error.
fn resolver_error(error: &io::Error) -> NetError {
    let text = error.to_string();
    if text.contains("emporary failure") || text.contains("Try again") {
        NetError::TemporaryResolverFailure
    } else {
        NetError::NameUnresolvable
    }
}

pub(super) fn net_error(error: &io::Error) -> NetError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => NetError::ConnectionRefused,
        io::ErrorKind::ConnectionReset => NetError::ConnectionReset,
        io::ErrorKind::TimedOut => NetError::TimedOut,
        io::ErrorKind::PermissionDenied => NetError::AccessDenied,
        _ => NetError::NetworkUnreachable,
    }
}
