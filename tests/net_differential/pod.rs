//! The operations on the pod network.

use super::plan::{Op, Place, SLOTS};
use super::{Answer, System};
use std::net::SocketAddr;
use wasmpod::net::{AddressFamily, AddressPool, ContainerNet, NetError, PodNet, PodNetConfig, TcpSocket, TcpState, UdpSocket};

pub(super) struct PodSystem {
    net: PodNet,
    container: ContainerNet,
    slots: [Option<Socket>; SLOTS],
    base_port: u16,
}

enum Socket {
    Tcp(TcpSocket),
    Udp(UdpSocket),
}

impl PodSystem {
    pub(super) fn new(base_port: u16) -> Self {
        let addresses = AddressPool::new().take().unwrap();
        let net = PodNet::new(PodNetConfig { hostname: "pod".into(), host_aliases: vec![], addresses, gateway: None });
        Self { container: net.container("one"), net, slots: Default::default(), base_port }
    }

    /// Ports held and sockets open.
    pub(super) fn left_over(&self) -> (usize, usize) {
        (self.net.bound_count(), self.container.socket_count())
    }

    /// Whether a TCP socket has, or had, a connection.
    pub(super) fn was_connected(&self, slot: usize) -> bool {
        matches!(&self.slots[slot], Some(Socket::Tcp(socket)) if socket.state() == TcpState::Connected)
    }

    fn resolve(&self, place: Place) -> Result<SocketAddr, NetError> {
        match place {
            Place::At(ip, port) => Ok(SocketAddr::new(ip, self.base_port + port)),
            Place::AnyPort(ip) => Ok(SocketAddr::new(ip, 0)),
            Place::Of(slot) => self.local_address(slot).ok_or(NetError::InvalidArgument),
        }
    }

    fn open(&mut self, slot: usize, is_tcp: bool, is_ipv4: bool) -> Result<Answer, NetError> {
        let family = if is_ipv4 { AddressFamily::Ipv4 } else { AddressFamily::Ipv6 };
        self.slots[slot] = Some(match is_tcp {
            true => Socket::Tcp(self.container.tcp_socket(family)?),
            false => Socket::Udp(self.container.udp_socket(family)?),
        });
        Ok(Answer::Done)
    }

    fn try_run(&mut self, op: &Op) -> Result<Answer, NetError> {
        match *op {
            Op::Open { slot, is_tcp, is_ipv4 } => return self.open(slot, is_tcp, is_ipv4),
            Op::Close { slot } => {
                self.close(slot);
                return Ok(Answer::Done);
            }
            _ => {}
        }
        let place = match *op {
            Op::Bind { place, .. } | Op::Connect { to: place, .. } | Op::Send { to: Some(place), .. } => Some(self.resolve(place)?),
            _ => None,
        };
        match (self.slots[op.slot()].as_ref().unwrap(), op) {
            (Socket::Tcp(socket), Op::Accept { into, .. }) => {
                let accepted = socket.accept()?;
                self.slots[*into] = Some(Socket::Tcp(accepted));
                Ok(Answer::Done)
            }
            (Socket::Tcp(socket), op) => run_tcp(socket, op, place),
            (Socket::Udp(socket), op) => run_udp(socket, op, place),
        }
    }
}

fn run_tcp(socket: &TcpSocket, op: &Op, place: Option<SocketAddr>) -> Result<Answer, NetError> {
    match *op {
        Op::Bind { .. } => socket.bind(place.unwrap()).map(|()| Answer::Done),
        Op::Listen { backlog, .. } => {
            socket.listen()?;
            socket.set_backlog(backlog);
            Ok(Answer::Done)
        }
        Op::Connect { .. } => {
            socket.connect(place.unwrap())?;
            socket.finish_connect().map(|()| Answer::Done)
        }
        // A stream exists only once connected; before, these are the answers of Linux, which whoever serves preview 1 gives too.
        Op::Send { length, first, .. } => match socket.state() {
            TcpState::Connected => socket.stream()?.try_write(&super::kernel::payload(length, first)).map(Answer::Count),
            TcpState::Connecting => Err(NetError::WouldBlock),
            _ => Err(NetError::BrokenPipe),
        },
        Op::Receive { length, .. } => match socket.state() {
            TcpState::Connecting => Err(NetError::WouldBlock),
            _ => {
                let mut buffer = vec![0; length];
                let received = socket.stream()?.try_read(&mut buffer)?;
                Ok(Answer::Bytes(buffer[..received].to_vec()))
            }
        },
        Op::Shutdown { how, .. } => socket.shutdown(how).map(|()| Answer::Done),
        Op::RemoteAddress { .. } => socket.remote_address().map(Answer::Address),
        _ => Err(NetError::NotSupported),
    }
}

fn run_udp(socket: &UdpSocket, op: &Op, place: Option<SocketAddr>) -> Result<Answer, NetError> {
    match *op {
        Op::Bind { .. } => socket.bind(place.unwrap()).map(|()| Answer::Done),
        Op::Connect { .. } => socket.connect(place.unwrap()).map(|()| Answer::Done),
        Op::Send { length, first, .. } => {
            socket.send(&super::kernel::payload(length, first), place).map(|()| Answer::Count(length))
        }
        Op::Receive { .. } => socket.receive().map(|datagram| Answer::Datagram(datagram.payload.to_vec(), datagram.remote)),
        Op::RemoteAddress { .. } => socket.remote_address().map(Answer::Address),
        _ => Err(NetError::NotSupported),
    }
}

impl System for PodSystem {
    fn run(&mut self, op: &Op, _expected: Option<&Answer>) -> Answer {
        self.try_run(op).unwrap_or_else(Answer::Error)
    }

    fn local_address(&self, slot: usize) -> Option<SocketAddr> {
        match self.slots[slot].as_ref()? {
            Socket::Tcp(socket) => socket.local_address().ok(),
            Socket::Udp(socket) => socket.local_address().ok(),
        }
    }

    fn close(&mut self, slot: usize) {
        self.slots[slot] = None;
    }

    fn end(&mut self) {
        self.slots = Default::default();
    }
}
