//! `udp` and `udp-create-socket`.

use super::Sockets;
use super::bindings::wasi::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use super::bindings::wasi::sockets::{udp, udp_create_socket};
use super::network::{Network, SocketError, SocketResult, check_address, check_remote};
use super::tcp::{clamp, not_zero, size};
use crate::limits;
use crate::net::{NetError, UdpOptions, UdpSocket};
use std::net::SocketAddr;
use std::sync::Arc;
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

/// The `udp-socket` resource.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct UdpResource {
    socket: Arc<UdpSocket>,
    binding: bool,
}

/// The `incoming-datagram-stream` resource.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct IncomingDatagrams {
    socket: Arc<UdpSocket>,
    /// The only peer whose datagrams are given out; those of others may wait in the queue from before.
    peer: Option<SocketAddr>,
}

/// The `outgoing-datagram-stream` resource.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct OutgoingDatagrams {
    socket: Arc<UdpSocket>,
    peer: Option<SocketAddr>,
    /// How many datagrams the last `check-send` permitted to the next `send`.
    permit: usize,
}

impl Sockets<'_> {
    fn udp(&self, socket: &Resource<UdpResource>) -> SocketResult<&UdpSocket> {
        Ok(&self.table.get(socket)?.socket)
    }

    fn set_udp(&self, socket: &Resource<UdpResource>, change: impl FnOnce(&mut UdpOptions)) -> SocketResult<()> {
        self.udp(socket)?.set_options(change);
        Ok(())
    }
}

impl udp_create_socket::Host for Sockets<'_> {
    fn create_udp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<UdpResource>> {
        let socket = self.net.udp_socket(family.into())?;
        Ok(self.table.push(UdpResource { socket: Arc::new(socket), binding: false })?)
    }
}

impl udp::Host for Sockets<'_> {}

impl udp::HostUdpSocket for Sockets<'_> {
    fn start_bind(&mut self, this: Resource<UdpResource>, network: Resource<Network>, local: IpSocketAddress) -> SocketResult<()> {
        self.table.get(&network)?;
        let resource = self.table.get_mut(&this)?;
        if resource.binding {
            return Err(ErrorCode::ConcurrencyConflict.into());
        }
        if resource.socket.is_bound() {
            return Err(ErrorCode::InvalidState.into());
        }
        let local = SocketAddr::from(local);
        check_address(local, resource.socket.family())?;
        resource.socket.bind(local)?;
        resource.binding = true;
        Ok(())
    }

    fn finish_bind(&mut self, this: Resource<UdpResource>) -> SocketResult<()> {
        let resource = self.table.get_mut(&this)?;
        if std::mem::take(&mut resource.binding) { Ok(()) } else { Err(ErrorCode::NotInProgress.into()) }
    }

    fn stream(
        &mut self,
        this: Resource<UdpResource>,
        remote: Option<IpSocketAddress>,
    ) -> SocketResult<(Resource<IncomingDatagrams>, Resource<OutgoingDatagrams>)> {
        if self.table.iter_children(&this)?.any(|child| child.is::<IncomingDatagrams>() || child.is::<OutgoingDatagrams>()) {
            return Err(SocketError::Trap(wasmtime::format_err!("the streams of an earlier call are still there")));
        }
        let resource = self.table.get(&this)?;
        let socket = Arc::clone(&resource.socket);
        if resource.binding || !socket.is_bound() {
            return Err(ErrorCode::InvalidState.into());
        }
        let peer = remote.map(SocketAddr::from);
        match peer {
            Some(peer) => {
                check_remote(peer, socket.family())?;
                socket.connect(peer)?;
            }
            None => socket.disconnect(),
        }
        let incoming = IncomingDatagrams { socket: Arc::clone(&socket), peer };
        let outgoing = OutgoingDatagrams { socket, peer, permit: 0 };
        Ok((self.table.push_child(incoming, &this)?, self.table.push_child(outgoing, &this)?))
    }

    fn local_address(&mut self, this: Resource<UdpResource>) -> SocketResult<IpSocketAddress> {
        let socket = self.udp(&this)?;
        if !socket.is_bound() {
            return Err(ErrorCode::InvalidState.into());
        }
        Ok(socket.local_address()?.into())
    }

    fn remote_address(&mut self, this: Resource<UdpResource>) -> SocketResult<IpSocketAddress> {
        Ok(self.udp(&this)?.remote_address()?.into())
    }

    fn address_family(&mut self, this: Resource<UdpResource>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&this)?.socket.family().into())
    }

    fn unicast_hop_limit(&mut self, this: Resource<UdpResource>) -> SocketResult<u8> {
        Ok(self.udp(&this)?.options().hop_limit)
    }

    fn set_unicast_hop_limit(&mut self, this: Resource<UdpResource>, value: u8) -> SocketResult<()> {
        not_zero(value.into())?;
        self.set_udp(&this, |options| options.hop_limit = value)
    }

    fn receive_buffer_size(&mut self, this: Resource<UdpResource>) -> SocketResult<u64> {
        Ok(size(self.udp(&this)?.options().receive_buffer_bytes))
    }

    fn set_receive_buffer_size(&mut self, this: Resource<UdpResource>, value: u64) -> SocketResult<()> {
        let value = not_zero(value)?;
        self.set_udp(&this, |options| options.receive_buffer_bytes = clamp(value))
    }

    fn send_buffer_size(&mut self, this: Resource<UdpResource>) -> SocketResult<u64> {
        Ok(size(self.udp(&this)?.options().send_buffer_bytes))
    }

    fn set_send_buffer_size(&mut self, this: Resource<UdpResource>, value: u64) -> SocketResult<()> {
        let value = not_zero(value)?;
        self.set_udp(&this, |options| options.send_buffer_bytes = clamp(value))
    }

    fn subscribe(&mut self, this: Resource<UdpResource>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, this)
    }

    fn drop(&mut self, this: Resource<UdpResource>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

#[async_trait]
impl Pollable for UdpResource {
    /// No operation of the socket itself waits.
    async fn ready(&mut self) {}
}

impl IncomingDatagrams {
    /// The next datagram of the peer, if there is one.
    fn receive(&self) -> Result<udp::IncomingDatagram, NetError> {
        loop {
            let datagram = self.socket.receive()?;
            if self.peer.is_none_or(|peer| same_endpoint(peer, datagram.remote)) {
                return Ok(udp::IncomingDatagram { data: datagram.payload.to_vec(), remote_address: datagram.remote.into() });
            }
        }
    }
}

impl udp::HostIncomingDatagramStream for Sockets<'_> {
    fn receive(&mut self, this: Resource<IncomingDatagrams>, max_results: u64) -> SocketResult<Vec<udp::IncomingDatagram>> {
        let stream = self.table.get(&this)?;
        let max_results = clamp(max_results).min(limits::DATAGRAMS_PER_CALL_MAX);
        let (mut datagrams, mut bytes) = (Vec::new(), 0);
        while datagrams.len() < max_results && bytes < limits::STREAM_CHUNK_BYTES_MAX {
            match stream.receive() {
                Ok(datagram) => {
                    bytes += datagram.data.len();
                    datagrams.push(datagram);
                }
                Err(NetError::WouldBlock) => break,
                Err(error) if datagrams.is_empty() => return Err(error.into()),
                Err(_) => break,
            }
        }
        Ok(datagrams)
    }

    fn subscribe(&mut self, this: Resource<IncomingDatagrams>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, this)
    }

    fn drop(&mut self, this: Resource<IncomingDatagrams>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

#[async_trait]
impl Pollable for IncomingDatagrams {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.socket.poll_readable(cx)).await;
    }
}

impl OutgoingDatagrams {
    fn send(&self, datagram: &udp::OutgoingDatagram) -> Result<(), ErrorCode> {
        let remote = datagram.remote_address.map(SocketAddr::from);
        let remote = match (self.peer, remote) {
            (None, None) => return Err(ErrorCode::InvalidArgument),
            (Some(peer), Some(remote)) if !same_endpoint(peer, remote) => return Err(ErrorCode::InvalidArgument),
            (Some(_), _) => None,
            (None, Some(remote)) => {
                check_remote(remote, self.socket.family())?;
                Some(remote)
            }
        };
        Ok(self.socket.send(&datagram.data, remote)?)
    }
}

impl udp::HostOutgoingDatagramStream for Sockets<'_> {
    fn check_send(&mut self, this: Resource<OutgoingDatagrams>) -> SocketResult<u64> {
        let stream = self.table.get_mut(&this)?;
        let ready = stream.socket.poll_writable(&mut super::without_waiting()).is_ready();
        stream.permit = if ready { limits::DATAGRAMS_PER_CALL_MAX } else { 0 };
        Ok(size(stream.permit))
    }

    fn send(&mut self, this: Resource<OutgoingDatagrams>, datagrams: Vec<udp::OutgoingDatagram>) -> SocketResult<u64> {
        let stream = self.table.get_mut(&this)?;
        if datagrams.is_empty() {
            return Ok(0);
        }
        if datagrams.len() > std::mem::take(&mut stream.permit) {
            return Err(SocketError::Trap(wasmtime::format_err!("send exceeds what check-send permitted")));
        }
        let mut sent = 0;
        for datagram in &datagrams {
            match stream.send(datagram) {
                Ok(()) => sent += 1,
                Err(ErrorCode::WouldBlock) => break,
                Err(error) if sent == 0 => return Err(error.into()),
                // Once one is sent, the error waits for the next call.
                Err(_) => break,
            }
        }
        Ok(sent)
    }

    fn subscribe(&mut self, this: Resource<OutgoingDatagrams>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, this)
    }

    fn drop(&mut self, this: Resource<OutgoingDatagrams>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

#[async_trait]
impl Pollable for OutgoingDatagrams {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.socket.poll_writable(cx)).await;
    }
}

/// Whether two addresses name one endpoint; flow information and scope do not count.
fn same_endpoint(a: SocketAddr, b: SocketAddr) -> bool {
    a.ip() == b.ip() && a.port() == b.port()
}
