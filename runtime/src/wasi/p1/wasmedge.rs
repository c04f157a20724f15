//! WasmEdge's socket functions, as the crate `wasmedge_wasi_socket` calls them.
//!
//! They grew in two steps, and both are in use: addresses came as their 4 or 16 bytes, later also as 128 bytes that begin with the
//! family. Functions whose number of parameters changed are linked by what the module imports, see [`link`](super::link).

use super::errno::Errno;
use super::guest::{Bytes, Guest};
use super::sockets::{Socket, SocketDescriptor};
use crate::limits;
use crate::net::{AddressFamily, NetError, TcpState};
use crate::wasi::HasWasi;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Address families and kinds of sockets, as numbers.
const INET4: u8 = 1;
const INET6: u8 = 2;
const DATAGRAM: u8 = 1;
const STREAM: u8 = 2;

/// The size of an address that says its family itself.
const STORAGE_BYTES: u32 = 128;

/// How the guest wants to be told an address: where, and the family and port beside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddressOut {
    /// The `{ buffer, size }` pair.
    pub(super) address: u32,
    /// Where the family goes, as 4 or 6.
    pub(super) family: Option<u32>,
    /// Where the port goes.
    pub(super) port: Option<PortOut>,
}

/// Where a port goes, and in how many bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum PortOut {
    U16(u32),
    U32(u32),
}

impl<T: HasWasi> Guest<'_, '_, T> {
    /// `sock_open`.
    pub(super) fn sock_open(&mut self, family: u32, kind: u32, fd_out: u32) -> Result<(), Errno> {
        let family = match u8::try_from(family) {
            Ok(INET4) => AddressFamily::Ipv4,
            Ok(INET6) => AddressFamily::Ipv6,
            _ => return Err(Errno::Afnosupport),
        };
        self.memory().u32(fd_out)?;
        let state = self.state();
        state.descriptors.reserve()?;
        let socket = match u8::try_from(kind) {
            Ok(STREAM) => Socket::Tcp(Arc::new(state.net.tcp_socket(family)?)),
            Ok(DATAGRAM) => Socket::Udp(Arc::new(state.net.udp_socket(family)?)),
            _ => return Err(Errno::Inval),
        };
        self.add_socket(SocketDescriptor::new(socket), fd_out)
    }

    /// `sock_bind`.
    pub(super) fn sock_bind(&mut self, fd: u32, address: u32, port: u32) -> Result<(), Errno> {
        let local = read_address(&self.memory(), address, port)?;
        match &self.socket(fd)?.socket {
            Socket::Tcp(socket) => Ok(socket.bind(local)?),
            Socket::Udp(socket) => Ok(socket.bind(local)?),
        }
    }

    /// `sock_listen`.
    pub(super) fn sock_listen(&mut self, fd: u32, backlog: i32) -> Result<(), Errno> {
        let descriptor = self.socket(fd)?;
        let socket = descriptor.tcp().map_err(|_| Errno::Notsup)?;
        // As on Linux, a negative backlog is the longest.
        socket.set_backlog(usize::try_from(backlog).unwrap_or(limits::TCP_BACKLOG_MAX_CONNECTIONS));
        Ok(socket.listen()?)
    }

    /// `sock_connect`.
    pub(super) async fn sock_connect(&mut self, fd: u32, address: u32, port: u32) -> Result<(), Errno> {
        let remote = read_address(&self.memory(), address, port)?;
        let descriptor = self.socket(fd)?;
        let socket = match &descriptor.socket {
            Socket::Tcp(socket) => socket,
            Socket::Udp(socket) => return Ok(socket.connect(remote)?),
        };
        socket.connect(remote)?;
        loop {
            match socket.finish_connect() {
                Err(NetError::WouldBlock) if descriptor.nonblocking => return Err(Errno::Inprogress),
                Err(NetError::WouldBlock) => descriptor.writable().await.map_err(|_| Errno::Inprogress)?,
                result => return Ok(result?),
            }
        }
    }

    /// `sock_recv_from`.
    pub(super) async fn sock_recv_from(
        &mut self,
        fd: u32,
        (buffers, count): (u32, u32),
        flags: u32,
        from: AddressOut,
        (length_out, flags_out): (u32, u32),
    ) -> Result<(), Errno> {
        let received = self.receive(fd, buffers, count, flags).await?;
        let mut memory = self.memory();
        if let Some(remote) = received.remote {
            write_address(&mut memory, remote, from)?;
        }
        memory.put_u16(flags_out, received.truncated.into())?;
        memory.put_length(length_out, received.length)
    }

    /// `sock_send_to`.
    pub(super) async fn sock_send_to(
        &mut self,
        fd: u32,
        buffers: (u32, u32),
        (address, port): (u32, u32),
        length_out: u32,
    ) -> Result<(), Errno> {
        let remote = read_address(&self.memory(), address, port)?;
        self.sock_send(fd, buffers, Some(remote), length_out).await
    }

    /// `sock_getlocaladdr`.
    pub(super) fn sock_getlocaladdr(&mut self, fd: u32, out: AddressOut) -> Result<(), Errno> {
        let address = match &self.socket(fd)?.socket {
            Socket::Tcp(socket) => socket.local_address()?,
            Socket::Udp(socket) => socket.local_address()?,
        };
        write_address(&mut self.memory(), address, out)
    }

    /// `sock_getpeeraddr`.
    pub(super) fn sock_getpeeraddr(&mut self, fd: u32, out: AddressOut) -> Result<(), Errno> {
        let address = match &self.socket(fd)?.socket {
            Socket::Tcp(socket) => socket.remote_address()?,
            Socket::Udp(socket) => socket.remote_address()?,
        };
        write_address(&mut self.memory(), address, out)
    }

    /// `sock_getsockopt`.
    pub(super) fn sock_getsockopt(&mut self, fd: u32, level: u32, name: u32, value: u32, size: u32) -> Result<(), Errno> {
        let descriptor = self.socket(fd)?;
        if level != 0 {
            return Err(Errno::Noprotoopt);
        }
        let answer = get_option(&descriptor, name)?;
        let mut memory = self.memory();
        let room = memory.u32(size)?;
        let (bytes, length): ([u8; 16], u32) = match answer {
            OptionValue::Number(number) => (widen(number.to_le_bytes()), 4),
            OptionValue::Time(time) => (timeval(time), 16),
            OptionValue::Nothing => ([0; 16], 0),
        };
        if room < length {
            return Err(Errno::Inval);
        }
        memory.put(value, bytes.get(..usize::try_from(length).map_err(|_| Errno::Inval)?).ok_or(Errno::Inval)?)?;
        memory.put_u32(size, length)
    }

    /// `sock_setsockopt`.
    pub(super) fn sock_setsockopt(&mut self, fd: u32, level: u32, name: u32, value: u32, size: u32) -> Result<(), Errno> {
        if level != 0 {
            return Err(Errno::Noprotoopt);
        }
        self.socket(fd)?;
        match Opt::of(name)? {
            Opt::ReceiveTimeout => {
                let time = read_timeval(&self.memory(), value, size)?;
                self.state().descriptors.socket_mut(fd)?.receive_timeout = time;
            }
            Opt::SendTimeout => {
                let time = read_timeval(&self.memory(), value, size)?;
                self.state().descriptors.socket_mut(fd)?.send_timeout = time;
            }
            option => {
                if size < 4 {
                    return Err(Errno::Inval);
                }
                let number = i32::from_le_bytes(self.memory().array(value)?);
                set_option(&self.socket(fd)?, option, number)?;
            }
        }
        Ok(())
    }

    /// `sock_getaddrinfo`: fills the chain of entries that the guest has prepared.
    pub(super) async fn sock_getaddrinfo(
        &mut self,
        node: (u32, u32),
        service: (u32, u32),
        hints: u32,
        (result, length_max): (u32, u32),
        length_out: u32,
    ) -> Result<(), Errno> {
        let memory = self.memory();
        let (node, service) = (text(&memory, node)?, text(&memory, service)?);
        let hints = Hints::read(&memory, hints)?;
        if node.is_empty() && service.is_empty() {
            return Err(Errno::Ainoname);
        }
        let port = service_port(&service)?;
        let addresses = if node.is_empty() {
            let families = [AddressFamily::Ipv4, AddressFamily::Ipv6];
            families.map(|family| if hints.passive { family.unspecified() } else { family.loopback() }).to_vec()
        } else {
            let lookup = self.state().net.resolve(&node);
            lookup.addresses().await.map_err(|error| match error {
                NetError::InvalidArgument => Errno::Ainoname,
                error => error.into(),
            })?
        };

        let mut memory = self.memory();
        let (mut entry, mut count) = (memory.u32(result)?, 0);
        for ip in addresses.into_iter().take(limits::ADDRESSES_PER_NAME_MAX).filter(|ip| hints.wants(*ip)) {
            if count == length_max || entry == 0 {
                break;
            }
            if write_entry(&mut memory, entry, SocketAddr::new(ip, port), &hints)? {
                count += 1;
                entry = memory.u32(at(entry, 24)?)?;
            }
        }
        memory.put_u32(length_out, count)?;
        if count == 0 { Err(Errno::Ainodata) } else { Ok(()) }
    }
}

/// Options of `SOL_SOCKET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opt {
    Type,
    Error,
    SendBuffer,
    ReceiveBuffer,
    KeepAlive,
    ReceiveTimeout,
    SendTimeout,
    IsListening,
    Device,
    /// Known, settable, and without meaning in a pod: address reuse is always on, there is no broadcast, no linger.
    NoEffect,
}

impl Opt {
    fn of(name: u32) -> Result<Self, Errno> {
        Ok(match name {
            0 | 3 | 4 | 8 | 9 | 10 => Self::NoEffect,
            1 => Self::Type,
            2 => Self::Error,
            5 => Self::SendBuffer,
            6 => Self::ReceiveBuffer,
            7 => Self::KeepAlive,
            11 => Self::ReceiveTimeout,
            12 => Self::SendTimeout,
            13 => Self::IsListening,
            14 => Self::Device,
            _ => return Err(Errno::Noprotoopt),
        })
    }
}

enum OptionValue {
    Number(i32),
    Time(Option<Duration>),
    Nothing,
}

fn get_option(descriptor: &SocketDescriptor, name: u32) -> Result<OptionValue, Errno> {
    let bytes = |size: usize| i32::try_from(size).unwrap_or(i32::MAX);
    Ok(OptionValue::Number(match (Opt::of(name)?, &descriptor.socket) {
        (Opt::ReceiveTimeout, _) => return Ok(OptionValue::Time(descriptor.receive_timeout)),
        (Opt::SendTimeout, _) => return Ok(OptionValue::Time(descriptor.send_timeout)),
        (Opt::Device, _) => return Ok(OptionValue::Nothing),
        (Opt::NoEffect, _) => i32::from(name == 0),
        (Opt::Type, Socket::Tcp(_)) => STREAM.into(),
        (Opt::Type, Socket::Udp(_)) => DATAGRAM.into(),
        (Opt::Error, Socket::Tcp(socket)) => match socket.finish_connect() {
            Ok(()) | Err(NetError::WouldBlock | NetError::NotConnected) => 0,
            Err(error) => Errno::from(error) as i32,
        },
        (Opt::SendBuffer, Socket::Tcp(socket)) => bytes(socket.options().send_buffer_bytes),
        (Opt::SendBuffer, Socket::Udp(socket)) => bytes(socket.options().send_buffer_bytes),
        (Opt::ReceiveBuffer, Socket::Tcp(socket)) => bytes(socket.options().receive_buffer_bytes),
        (Opt::ReceiveBuffer, Socket::Udp(socket)) => bytes(socket.options().receive_buffer_bytes),
        (Opt::KeepAlive, Socket::Tcp(socket)) => socket.options().keep_alive.into(),
        (Opt::IsListening, Socket::Tcp(socket)) => (socket.state() == TcpState::Listening).into(),
        (Opt::Error | Opt::KeepAlive | Opt::IsListening, _) => 0,
    }))
}

fn set_option(descriptor: &SocketDescriptor, option: Opt, value: i32) -> Result<(), Errno> {
    let bytes = usize::try_from(value).unwrap_or_default();
    match (option, &descriptor.socket) {
        (Opt::SendBuffer, Socket::Tcp(socket)) => socket.set_options(|options| options.send_buffer_bytes = bytes),
        (Opt::SendBuffer, Socket::Udp(socket)) => socket.set_options(|options| options.send_buffer_bytes = bytes),
        (Opt::ReceiveBuffer, Socket::Tcp(socket)) => socket.set_options(|options| options.receive_buffer_bytes = bytes),
        (Opt::ReceiveBuffer, Socket::Udp(socket)) => socket.set_options(|options| options.receive_buffer_bytes = bytes),
        (Opt::KeepAlive, Socket::Tcp(socket)) => socket.set_options(|options| options.keep_alive = value != 0),
        (Opt::KeepAlive | Opt::NoEffect, _) => {}
        _ => return Err(Errno::Noprotoopt),
    }
    Ok(())
}

/// `struct timeval` of wasi-libc: seconds and microseconds, 8 bytes each. Zero means: wait without end.
fn read_timeval(memory: &Bytes<'_>, address: u32, size: u32) -> Result<Option<Duration>, Errno> {
    if size < 16 {
        return Err(Errno::Inval);
    }
    let (seconds, microseconds) = (memory.u64(address)?, memory.u64(at(address, 8)?)?);
    let time = Duration::from_secs(seconds).saturating_add(Duration::from_micros(microseconds));
    Ok((!time.is_zero()).then_some(time))
}

fn timeval(time: Option<Duration>) -> [u8; 16] {
    let time = time.unwrap_or_default();
    let [seconds, microseconds] = [time.as_secs(), time.subsec_micros().into()].map(u64::to_le_bytes);
    let mut bytes = [0; 16];
    for (space, byte) in bytes.iter_mut().zip(seconds.into_iter().chain(microseconds)) {
        *space = byte;
    }
    bytes
}

fn widen(number: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = number;
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// What kind of answer a lookup shall give.
struct Hints {
    passive: bool,
    family: u8,
    kind: u8,
    protocol: u8,
}

impl Hints {
    fn read(memory: &Bytes<'_>, address: u32) -> Result<Self, Errno> {
        let hints = Self {
            passive: memory.u16(address)? & 1 != 0,
            family: memory.u8(at(address, 2)?)?,
            kind: memory.u8(at(address, 3)?)?,
            protocol: memory.u8(at(address, 4)?)?,
        };
        if hints.family > INET6 { Err(Errno::Aifamily) } else { Ok(hints) }
    }

    fn wants(&self, ip: IpAddr) -> bool {
        match self.family {
            INET4 => ip.is_ipv4(),
            INET6 => ip.is_ipv6(),
            _ => true,
        }
    }
}

/// Writes one address into an entry of `sock_getaddrinfo`; not when the guest's buffer for it is too small.
///
/// An entry: flags `u16`, family, kind, protocol `u8`, then at 8 the length, at 12 the pointer to `{ family, at 4 size, at 8 buffer }`,
/// at 20 the length of the canonical name. The buffer gets what follows the family in a `struct sockaddr`.
fn write_entry(memory: &mut Bytes<'_>, entry: u32, address: SocketAddr, hints: &Hints) -> Result<bool, Errno> {
    let sockaddr = memory.u32(at(entry, 12)?)?;
    let (room, buffer) = (memory.u32(at(sockaddr, 4)?)?, memory.u32(at(sockaddr, 8)?)?);
    let port = address.port().to_be_bytes();
    let (family, length, data): (u8, u32, Vec<u8>) = match address.ip() {
        IpAddr::V4(ip) => (INET4, 16, [&port[..], &ip.octets(), &[0; 8]].concat()),
        IpAddr::V6(ip) => (INET6, 28, [&port[..], &[0; 4], &ip.octets(), &[0; 4]].concat()),
    };
    let size = u32::try_from(data.len()).map_err(|_| Errno::Fault)?;
    if room < size {
        return Ok(false);
    }
    memory.put(buffer, &data)?;
    memory.put(sockaddr, &[family])?;
    memory.put_u32(at(sockaddr, 4)?, size)?;
    let kind = if hints.kind == DATAGRAM { DATAGRAM } else { STREAM };
    let protocol = match (hints.protocol, kind) {
        (0, DATAGRAM) => 2,
        (0, _) => 1,
        (protocol, _) => protocol,
    };
    memory.put(at(entry, 2)?, &[family, kind, protocol])?;
    memory.put_u32(at(entry, 8)?, length)?;
    memory.put_u32(at(entry, 20)?, 0)?;
    Ok(true)
}

/// A name, which may end in NUL bytes.
fn text(memory: &Bytes<'_>, (address, length): (u32, u32)) -> Result<String, Errno> {
    let bytes = memory.slice(address, length)?;
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    if bytes.len() > limits::HOST_NAME_MAX_BYTES {
        return Err(Errno::Ainoname);
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| Errno::Ainoname)
}

/// A port by its number or one of the few names that programs use.
fn service_port(service: &str) -> Result<u16, Errno> {
    match service {
        "" => Ok(0),
        "http" => Ok(80),
        "https" => Ok(443),
        "domain" => Ok(53),
        "ftp" => Ok(21),
        "ssh" => Ok(22),
        "smtp" => Ok(25),
        _ => service.parse().map_err(|_| Errno::Aiservice),
    }
}

/// Reads an address: 4 or 16 bytes, or 128 that begin with the family.
fn read_address(memory: &Bytes<'_>, address: u32, port: u32) -> Result<SocketAddr, Errno> {
    let (buffer, size) = (memory.u32(address)?, memory.u32(at(address, 4)?)?);
    let ip = match size {
        4 => IpAddr::from(Ipv4Addr::from(memory.array::<4>(buffer)?)),
        16 => IpAddr::from(Ipv6Addr::from(memory.array::<16>(buffer)?)),
        STORAGE_BYTES => match u8::try_from(memory.u16(buffer)?) {
            Ok(INET4) => IpAddr::from(Ipv4Addr::from(memory.array::<4>(at(buffer, 2)?)?)),
            Ok(INET6) => IpAddr::from(Ipv6Addr::from(memory.array::<16>(at(buffer, 2)?)?)),
            _ => return Err(Errno::Afnosupport),
        },
        _ => return Err(Errno::Inval),
    };
    Ok(SocketAddr::new(ip, u16::try_from(port).map_err(|_| Errno::Inval)?))
}

/// Writes an address the way the guest wants it.
fn write_address(memory: &mut Bytes<'_>, address: SocketAddr, out: AddressOut) -> Result<(), Errno> {
    let (buffer, size) = (memory.u32(out.address)?, memory.u32(at(out.address, 4)?)?);
    let (family, text_family) = if address.is_ipv4() { (INET4, 4) } else { (INET6, 6) };
    let bytes = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let buffer = match size {
        STORAGE_BYTES => {
            memory.put_u16(buffer, family.into())?;
            at(buffer, 2)?
        }
        4 | 16 if usize::try_from(size).is_ok_and(|size| size >= bytes.len()) => buffer,
        _ => return Err(Errno::Inval),
    };
    memory.put(buffer, &bytes)?;
    if let Some(out) = out.family {
        memory.put_u32(out, text_family)?;
    }
    match out.port {
        Some(PortOut::U16(out)) => memory.put_u16(out, address.port()),
        Some(PortOut::U32(out)) => memory.put_u32(out, address.port().into()),
        None => Ok(()),
    }
}

fn at(address: u32, offset: u32) -> Result<u32, Errno> {
    address.checked_add(offset).ok_or(Errno::Fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A memory with the pair `{ 16, size }` at 0.
    fn memory(size: u32) -> Vec<u8> {
        let mut memory = vec![0; 200];
        memory[0..4].copy_from_slice(&16u32.to_le_bytes());
        memory[4..8].copy_from_slice(&size.to_le_bytes());
        memory
    }

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        let out = AddressOut { address: 0, family: Some(160), port: Some(PortOut::U32(164)) };
        for (size, address, family) in
            [(4, "127.0.0.1:80", 4), (16, "[fd77::1]:65535", 6), (128, "10.88.0.2:1", 4), (128, "[::1]:2", 6)]
        {
            let mut memory = memory(size);
            let mut bytes = Bytes::new(&mut memory);
            let address: SocketAddr = address.parse().unwrap();
            write_address(&mut bytes, address, out).unwrap();
            assert_eq!(bytes.u32(160), Ok(family));
            let port = bytes.u32(164).unwrap();
            assert_eq!(read_address(&bytes, 0, port), Ok(address));
        }
    }

    #[test]
    fn an_address_that_does_not_fit_is_refused() {
        let out = AddressOut { address: 0, family: None, port: None };
        for size in [0, 4, 5, 127] {
            let mut memory = memory(size);
            assert_eq!(write_address(&mut Bytes::new(&mut memory), "[::1]:2".parse().unwrap(), out), Err(Errno::Inval), "{size}");
        }
        let mut memory = memory(16);
        assert_eq!(read_address(&Bytes::new(&mut memory), 0, 65536), Err(Errno::Inval));
        assert_eq!(read_address(&Bytes::new(&mut memory), 196, 1), Err(Errno::Fault));
    }

    #[test]
    fn timeouts_are_seconds_and_microseconds() {
        let mut memory = timeval(Some(Duration::from_micros(2_500_000))).to_vec();
        assert_eq!(read_timeval(&Bytes::new(&mut memory), 0, 16), Ok(Some(Duration::from_millis(2500))));
        assert_eq!(read_timeval(&Bytes::new(&mut timeval(None).to_vec()), 0, 16), Ok(None));
    }

    #[test]
    fn services_are_numbers_or_well_known_names() {
        assert_eq!((service_port("8080"), service_port("http"), service_port("")), (Ok(8080), Ok(80), Ok(0)));
        assert_eq!((service_port("70000"), service_port("gopher")), (Err(Errno::Aiservice), Err(Errno::Aiservice)));
    }
}
