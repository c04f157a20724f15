//! The operations on kernel sockets, in a network namespace of the test's own.

use super::plan::{Op, POD_V4, POD_V6, Place, SLOTS};
use super::{Answer, System};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_linger, set_tcp_nodelay};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use wasmpod::net::{NetError, Shutdown};

/// How long the kernel may take to deliver within one machine, when its threads are busy.
const PATIENCE: Duration = Duration::from_millis(500);

/// The bytes of a send.
pub(super) fn payload(length: usize, first: u8) -> Vec<u8> {
    (0..length).map(|index| first.wrapping_add(u8::try_from(index % 251).unwrap())).collect()
}

/// Where the kernel's side runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Namespace {
    /// In a new network namespace of this thread.
    Own,
    /// On the machine's loopback.
    Machine,
}

impl Namespace {
    /// Moves this thread to a new namespace with a loopback that has the pod's addresses, if that is permitted.
    pub(super) fn enter() -> Self {
        // `unshare_unsafe` is unsafe for the sake of file tables; a network namespace concerns this thread's new sockets alone.
        #[allow(deprecated)]
        let unshared = rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET);
        match unshared {
            Ok(()) => {
                set_loopback_up();
                add_address(POD_V4.into());
                add_address(POD_V6.into());
                wait_for_address(POD_V6.into());
                Self::Own
            }
            Err(error) => {
                eprintln!("no network namespace ({error}): comparing on the machine's loopback, without the pod's addresses");
                Self::Machine
            }
        }
    }
}

/// `ip link set lo up`.
fn set_loopback_up() {
    const RTM_NEWLINK: u16 = 16;
    const UP: u32 = 1;
    let mut info = vec![0; 4];
    info.extend_from_slice(&LOOPBACK.to_ne_bytes());
    info.extend_from_slice(&UP.to_ne_bytes());
    info.extend_from_slice(&UP.to_ne_bytes());
    ask_netlink(RTM_NEWLINK, 0, &info);
}

/// `ip address add ADDRESS dev lo`.
fn add_address(ip: IpAddr) {
    const RTM_NEWADDR: u16 = 20;
    const CREATE_EXCLUSIVE: u16 = 0x600;
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    let (family, prefix, octets) = match ip {
        IpAddr::V4(ip) => (2, 32, ip.octets().to_vec()),
        IpAddr::V6(ip) => (10, 128, ip.octets().to_vec()),
    };
    let mut message = vec![family, prefix, 0, 0];
    message.extend_from_slice(&LOOPBACK.to_ne_bytes());
    for kind in [IFA_LOCAL, IFA_ADDRESS] {
        message.extend_from_slice(&u16::try_from(4 + octets.len()).unwrap().to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&octets);
    }
    ask_netlink(RTM_NEWADDR, CREATE_EXCLUSIVE, &message);
}

/// Waits until an address can be used: over IPv6 the kernel first thinks about it.
fn wait_for_address(ip: IpAddr) {
    let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let start = Instant::now();
    while let Err(error) = net::bind(net::socket(family, SocketType::DGRAM, None).unwrap(), &SocketAddr::new(ip, 0)) {
        assert!(start.elapsed() < Duration::from_secs(10), "{ip} cannot be used: {error}");
        std::thread::yield_now();
    }
}

/// The index of `lo` in every namespace.
const LOOPBACK: u32 = 1;

/// Sends one request to rtnetlink and waits for its acknowledgement.
fn ask_netlink(kind: u16, flags: u16, message: &[u8]) {
    const REQUEST_ACK: u16 = 5;
    let socket = net::socket(AddressFamily::NETLINK, SocketType::RAW, None).unwrap();
    let mut request = u32::try_from(16 + message.len()).unwrap().to_ne_bytes().to_vec();
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&(REQUEST_ACK | flags).to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(message);
    net::sendto(&socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).unwrap();
    let mut reply = [0; 4096];
    let (length, _) = net::recv(&socket, &mut reply[..], RecvFlags::empty()).unwrap();
    let error = i32::from_ne_bytes(reply[16..20].try_into().unwrap());
    assert!(length >= 20 && error == 0, "rtnetlink request {kind}: error {error}");
}

pub(super) struct KernelSystem {
    slots: [Option<Socket>; SLOTS],
    base_port: u16,
}

struct Socket {
    descriptor: OwnedFd,
    is_tcp: bool,
}

impl KernelSystem {
    pub(super) fn new(base_port: u16) -> Self {
        Self { slots: Default::default(), base_port }
    }

    /// The number of one of the sequence's ports.
    pub(super) fn port(&self, index: u16) -> u16 {
        self.base_port + index
    }

    pub(super) fn remote_address(&self, slot: usize) -> Option<SocketAddr> {
        net::getpeername(&self.slots[slot].as_ref()?.descriptor).ok().flatten()?.try_into().ok()
    }

    fn resolve(&self, place: Place) -> Result<SocketAddr, Errno> {
        match place {
            Place::At(ip, port) => Ok(SocketAddr::new(ip, self.port(port))),
            Place::AnyPort(ip) => Ok(SocketAddr::new(ip, 0)),
            Place::Of(slot) => self.local_address(slot).ok_or(Errno::INVAL),
        }
    }

    fn open(&mut self, slot: usize, is_tcp: bool, is_ipv4: bool) -> Result<Answer, Errno> {
        let family = if is_ipv4 { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = if is_tcp { SocketType::STREAM } else { SocketType::DGRAM };
        let descriptor = net::socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
        if !is_ipv4 {
            set_ipv6_v6only(&descriptor, true)?;
        }
        if is_tcp {
            // Or the kernel holds small writes back until earlier ones are acknowledged, which takes its time. Accepted sockets inherit it.
            set_tcp_nodelay(&descriptor, true)?;
        }
        self.slots[slot] = Some(Socket { descriptor, is_tcp });
        Ok(Answer::Done)
    }

    fn try_run(&mut self, op: &Op, expected: Option<&Answer>) -> Result<Answer, Errno> {
        match *op {
            Op::Open { slot, is_tcp, is_ipv4 } => return self.open(slot, is_tcp, is_ipv4),
            Op::Close { slot } => {
                self.slots[slot] = None;
                return Ok(Answer::Done);
            }
            _ => {}
        }
        let place = match *op {
            Op::Bind { place, .. } | Op::Connect { to: place, .. } | Op::Send { to: Some(place), .. } => Some(self.resolve(place)?),
            _ => None,
        };
        let waits = expected != Some(&Answer::Error(NetError::WouldBlock));
        let socket = self.slots[op.slot()].as_ref().unwrap();
        if let Op::Accept { into, .. } = op {
            let descriptor =
                patiently(waits, || net::accept_with(&socket.descriptor, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC))?;
            self.slots[*into] = Some(Socket { descriptor, is_tcp: true });
            return Ok(Answer::Done);
        }
        socket.run(op, place, waits)
    }
}

impl Socket {
    fn run(&self, op: &Op, place: Option<SocketAddr>, waits: bool) -> Result<Answer, Errno> {
        let descriptor = &self.descriptor;
        match *op {
            Op::Bind { .. } => net::bind(descriptor, &place.unwrap()).map(|()| Answer::Done),
            Op::Listen { backlog, .. } => net::listen(descriptor, i32::try_from(backlog).unwrap()).map(|()| Answer::Done),
            Op::Connect { .. } => self.connect(place.unwrap(), waits),
            Op::Send { length, first, .. } => {
                let (bytes, flags) = (payload(length, first), SendFlags::NOSIGNAL);
                let sent = match place {
                    Some(place) => net::sendto(descriptor, &bytes, flags, &place),
                    None => net::send(descriptor, &bytes, flags),
                };
                sent.map(Answer::Count)
            }
            Op::Receive { length, .. } if self.is_tcp => {
                let mut buffer = vec![0; length];
                let (received, _) = patiently(waits, || net::recv(descriptor, &mut buffer[..], RecvFlags::empty()))?;
                Ok(Answer::Bytes(buffer[..received].to_vec()))
            }
            Op::Receive { .. } => {
                let mut buffer = vec![0; 4096];
                let (received, _, from) = patiently(waits, || net::recvfrom(descriptor, &mut buffer[..], RecvFlags::empty()))?;
                Ok(Answer::Datagram(buffer[..received].to_vec(), from.unwrap().try_into().unwrap()))
            }
            Op::Shutdown { how, .. } => net::shutdown(descriptor, kernels(how)).map(|()| Answer::Done),
            Op::RemoteAddress { .. } => match net::getpeername(descriptor)? {
                Some(address) => Ok(Answer::Address(address.try_into().unwrap())),
                None => Err(Errno::NOTCONN),
            },
            _ => Err(Errno::OPNOTSUPP),
        }
    }

    /// Connects, and asks for the outcome by connecting again: unlike `SO_ERROR` that leaves the socket ready for the next connect.
    fn connect(&self, remote: SocketAddr, waits: bool) -> Result<Answer, Errno> {
        match net::connect(&self.descriptor, &remote) {
            Err(Errno::INPROGRESS) => {}
            result => return result.map(|()| Answer::Done),
        }
        let start = Instant::now();
        loop {
            match net::connect(&self.descriptor, &remote) {
                Err(Errno::ALREADY) if waits && start.elapsed() < PATIENCE => std::thread::yield_now(),
                Err(Errno::ALREADY) => return Err(Errno::AGAIN),
                Ok(()) | Err(Errno::ISCONN) => return Ok(Answer::Done),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Tries again for a while when the other network had an answer: what is under way arrives.
fn patiently<T>(waits: bool, mut attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(Errno::AGAIN) if waits && start.elapsed() < PATIENCE => std::thread::yield_now(),
            result => return result,
        }
    }
}

fn kernels(how: Shutdown) -> net::Shutdown {
    match how {
        Shutdown::Read => net::Shutdown::Read,
        Shutdown::Write => net::Shutdown::Write,
        Shutdown::Both => net::Shutdown::Both,
    }
}

fn net_error(error: Errno) -> NetError {
    match error {
        Errno::AGAIN => NetError::WouldBlock,
        Errno::ACCESS | Errno::PERM => NetError::AccessDenied,
        Errno::ADDRINUSE => NetError::AddressInUse,
        Errno::ADDRNOTAVAIL => NetError::AddressNotAvailable,
        Errno::AFNOSUPPORT => NetError::FamilyMismatch,
        Errno::INVAL => NetError::InvalidArgument,
        Errno::ISCONN => NetError::AlreadyConnected,
        Errno::ALREADY => NetError::AlreadyInProgress,
        Errno::NOTCONN => NetError::NotConnected,
        Errno::DESTADDRREQ => NetError::DestinationRequired,
        Errno::PIPE => NetError::BrokenPipe,
        Errno::CONNREFUSED => NetError::ConnectionRefused,
        Errno::CONNRESET => NetError::ConnectionReset,
        Errno::CONNABORTED => NetError::ConnectionAborted,
        Errno::NETUNREACH | Errno::HOSTUNREACH => NetError::NetworkUnreachable,
        Errno::TIMEDOUT => NetError::TimedOut,
        Errno::MSGSIZE => NetError::DatagramTooLarge,
        Errno::OPNOTSUPP => NetError::NotSupported,
        error => panic!("an error that has no counterpart: {error}"),
    }
}

impl System for KernelSystem {
    fn run(&mut self, op: &Op, expected: Option<&Answer>) -> Answer {
        self.try_run(op, expected).unwrap_or_else(|error| Answer::Error(net_error(error)))
    }

    fn local_address(&self, slot: usize) -> Option<SocketAddr> {
        net::getsockname(&self.slots[slot].as_ref()?.descriptor).ok()?.try_into().ok()
    }

    fn close(&mut self, slot: usize) {
        self.slots[slot] = None;
    }

    fn end(&mut self) {
        for socket in self.slots.iter_mut().filter_map(Option::take).filter(|socket| socket.is_tcp) {
            // With a reset there is no TIME_WAIT.
            let _ = set_socket_linger(&socket.descriptor, Some(Duration::ZERO));
        }
    }
}
