//! The connections of probes and hooks: to the pod itself as from outside, to anything else as the pod itself would make them.

use crate::limits::{ADDRESSES_PER_NAME_MAX, EPHEMERAL_PORT_FIRST, EPHEMERAL_PORT_LAST};
use crate::net::{AddressFamily, ContainerNet, NetError, PodNet, PodStream, Reach};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Whom to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pod) struct Target {
    /// A name or an address.
    pub(in crate::pod) host: String,
    pub(in crate::pod) port: u16,
    /// Whether it is the pod itself.
    is_pod: bool,
}

impl Target {
    /// `host`, or the pod itself where there is none.
    pub(in crate::pod) fn new(net: &PodNet, host: Option<&str>, port: u16) -> Self {
        let pod = net.address(AddressFamily::Ipv4).to_string();
        let is_pod = host.is_none_or(|host| host == pod);
        Self { host: host.map_or(pod, str::to_owned), port, is_pod }
    }

    /// Connects.
    ///
    /// # Errors
    /// In Go's words.
    pub(in crate::pod) async fn connect(&self, net: &PodNet) -> Result<ProbeStream, String> {
        let connected = if self.is_pod {
            let stream = net.dial(self.port, client(), Reach::PodAddress).await;
            stream.map(|stream| ProbeStream { stream: PodStream::new(stream), _owner: None })
        } else {
            self.connect_from_within(net).await
        };
        connected.map_err(|error| match error {
            NetError::NameUnresolvable | NetError::TemporaryResolverFailure => {
                format!("dial tcp: lookup {}: no such host", self.host)
            }
            error => format!("dial tcp {self}: connect: {error}"),
        })
    }

    /// As a container of the pod would: by its names, and as far as its egress policy goes.
    async fn connect_from_within(&self, net: &PodNet) -> Result<ProbeStream, NetError> {
        let owner = net.container("probe");
        let addresses = owner.resolve(&self.host).addresses().await?;
        let mut first_error = None;
        for ip in addresses.into_iter().take(ADDRESSES_PER_NAME_MAX) {
            let socket = owner.tcp_socket(AddressFamily::of(ip))?;
            match socket.connected(SocketAddr::new(ip, self.port)).await {
                Ok(_) => return Ok(ProbeStream { stream: PodStream::of_socket(socket)?, _owner: Some(owner) }),
                Err(error) => _ = first_error.get_or_insert(error),
            }
        }
        Err(first_error.unwrap_or(NetError::NameUnresolvable))
    }
}

impl fmt::Display for Target {
    /// `host:port`, an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse() {
            Ok(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The client that the pod sees: the outside, with a port of its own for each connection.
fn client() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let range = EPHEMERAL_PORT_LAST - EPHEMERAL_PORT_FIRST;
    let port = EPHEMERAL_PORT_FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % range;
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// A connection of a probe or a hook; dropped, it is closed.
#[derive(Debug)]
pub(in crate::pod) struct ProbeStream {
    stream: PodStream,
    /// A socket lives as long as its owner.
    _owner: Option<ContainerNet>,
}

impl AsyncRead for ProbeStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ProbeStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
