//! Mirrors: real sockets in the pod's network namespace for those of the pod that others may reach.
//!
//! The process stands in that namespace, so a mirror is an ordinary socket on the very address that the guest has bound: kubelet
//! probes, Services and other pods find it as they find any pod's. A port that somebody else has there is taken for the guest too.
//! What listens on the pod's loopback is mirrored on the namespace's: nothing but `port-forward` comes that way.

use super::{Inward, serve, udp};
use crate::limits::TCP_BACKLOG_MAX_CONNECTIONS;
use crate::net::{AddressFamily, PodNet, Protocol};
use rustix::net::{Shutdown, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

/// A real socket beside one of the pod's, until this is dropped.
#[derive(Debug)]
pub(super) struct Mirror {
    /// Of TCP, the listening socket once more.
    listening: Option<OwnedFd>,
    task: AbortOnDropHandle<()>,
}

impl Drop for Mirror {
    /// The task has the socket until its runtime comes round to ending it. The guest may listen on its port again at once.
    fn drop(&mut self) {
        self.task.abort();
        if let Some(socket) = &self.listening {
            let _ = rustix::net::shutdown(socket, Shutdown::Both);
        }
    }
}

/// Binds `local` in the namespace and carries what arrives there to the pod's port of the same number, on `runtime`.
pub(super) fn open(net: &PodNet, runtime: &Handle, protocol: Protocol, local: SocketAddr) -> io::Result<Mirror> {
    let socket = bind(protocol, local)?;
    // Both kinds register with the runtime that will serve them.
    let _inside = runtime.enter();
    let (listening, task) = match protocol {
        Protocol::Tcp => {
            let backlog = i32::try_from(TCP_BACKLOG_MAX_CONNECTIONS).unwrap_or(i32::MAX);
            rustix::net::listen(&socket, backlog)?;
            let inward = match local.ip().is_loopback() {
                true => Inward::Loopback(net.clone(), local),
                false => Inward::Pod(net.clone(), local.port()),
            };
            (Some(socket.try_clone()?), runtime.spawn(serve(TcpListener::from_std(socket.into())?, inward)))
        }
        Protocol::Udp => {
            let inward = Inward::Pod(net.clone(), local.port());
            (None, runtime.spawn(udp::serve(UdpSocket::from_std(socket.into())?, inward)))
        }
    };
    Ok(Mirror { listening, task: AbortOnDropHandle::new(task) })
}

fn bind(protocol: Protocol, local: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = match AddressFamily::of(local.ip()) {
        AddressFamily::Ipv4 => rustix::net::AddressFamily::INET,
        AddressFamily::Ipv6 => rustix::net::AddressFamily::INET6,
    };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if local.is_ipv6() {
        // As the guest's own socket is: an IPv4 one may have the same port.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections of an earlier listener that linger in TIME_WAIT do not hold the port, as in the pod's own network.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &local)?;
    Ok(socket)
}
