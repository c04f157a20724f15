//! Sockets behind descriptors: preview 1's own functions on them.

use super::FDFLAG_NONBLOCK;
use super::descriptors::Descriptor;
use super::errno::Errno;
use super::guest::Guest;
use crate::limits;
use crate::net::{Datagram, NetError, Shutdown, TcpSocket, TcpState, TcpStream, UdpSocket};
use crate::wasi::HasWasi;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A socket of either kind; cheap to clone.
#[derive(Clone, Debug)]
pub(super) enum Socket {
    Tcp(Arc<TcpSocket>),
    Udp(Arc<UdpSocket>),
}

/// A socket behind a descriptor.
#[derive(Clone, Debug)]
pub(super) struct SocketDescriptor {
    pub(super) socket: Socket,
    /// The IPv6 half of a port that was open from the start; what comes in on either half comes in here.
    pub(super) second: Option<Socket>,
    pub(super) nonblocking: bool,
    /// `SO_RCVTIMEO`: how long a read or accept waits.
    pub(super) receive_timeout: Option<Duration>,
    /// `SO_SNDTIMEO`: how long a write or connect waits.
    pub(super) send_timeout: Option<Duration>,
}

/// `riflags` of `sock_recv`.
const RECEIVE_PEEK: u32 = 1;
const RECEIVE_WAIT_ALL: u32 = 2;

/// `roflags.recv_data_truncated`.
const RECEIVED_TRUNCATED: u16 = 1;

/// What was received.
pub(super) struct Received {
    pub(super) length: usize,
    pub(super) truncated: bool,
    pub(super) remote: Option<SocketAddr>,
}

impl SocketDescriptor {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, second: None, nonblocking: false, receive_timeout: None, send_timeout: None }
    }

    pub(super) fn dual(ipv4: Socket, ipv6: Socket) -> Self {
        Self { second: Some(ipv6), ..Self::new(ipv4) }
    }

    /// The TCP socket; `EPROTOTYPE` when it is none.
    pub(super) fn tcp(&self) -> Result<&Arc<TcpSocket>, Errno> {
        match &self.socket {
            Socket::Tcp(socket) => Ok(socket),
            Socket::Udp(_) => Err(Errno::Prototype),
        }
    }

    /// Ready when a read, or an accept, would not wait.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut result = Poll::Pending;
        for socket in std::iter::once(&self.socket).chain(&self.second) {
            let ready = match socket {
                Socket::Tcp(socket) => poll_tcp_readable(socket, cx),
                Socket::Udp(socket) => socket.poll_readable(cx),
            };
            if ready.is_ready() {
                result = ready;
            }
        }
        result
    }

    /// Ready when a write would not wait, or a connect is done.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.socket {
            Socket::Udp(socket) => socket.poll_writable(cx),
            Socket::Tcp(socket) => match socket.state() {
                TcpState::Connecting => socket.poll_ready(cx),
                TcpState::Listening => Poll::Pending,
                _ => socket.stream().map_or(Poll::Ready(()), |stream| stream.poll_writable(cx)),
            },
        }
    }

    /// Waits for a read, as long as the socket may.
    pub(super) async fn readable(&self) -> Result<(), Errno> {
        self.wait(self.receive_timeout, |cx| self.poll_readable(cx)).await
    }

    /// Waits for a write, as long as the socket may.
    pub(super) async fn writable(&self) -> Result<(), Errno> {
        self.wait(self.send_timeout, |cx| self.poll_writable(cx)).await
    }

    async fn wait(&self, limit: Option<Duration>, poll: impl FnMut(&mut Context<'_>) -> Poll<()>) -> Result<(), Errno> {
        if self.nonblocking {
            return Err(Errno::Again);
        }
        let ready = std::future::poll_fn(poll);
        match limit {
            None => ready.await,
            Some(limit) => tokio::time::timeout(limit, ready).await.map_err(|_| Errno::Again)?,
        }
        Ok(())
    }

    /// Takes a connection from whichever half has one.
    pub(super) async fn accept(&self) -> Result<TcpSocket, Errno> {
        loop {
            for socket in std::iter::once(&self.socket).chain(&self.second) {
                let Socket::Tcp(socket) = socket else { return Err(Errno::Prototype) };
                match socket.accept() {
                    Err(NetError::WouldBlock) => {}
                    accepted => return Ok(accepted?),
                }
            }
            self.readable().await?;
        }
    }

    /// The stream of a connected TCP socket, after waiting for a connect that is under way.
    async fn stream(&self) -> Result<TcpStream, Errno> {
        let socket = self.tcp()?;
        while socket.state() == TcpState::Connecting {
            match socket.finish_connect() {
                Err(NetError::WouldBlock) => self.writable().await?,
                result => result?,
            }
        }
        Ok(socket.stream()?)
    }

    /// Takes a datagram from whichever half has one.
    fn receive_datagram(&self, peek: bool) -> Result<Datagram, NetError> {
        let mut result = Err(NetError::WouldBlock);
        for socket in std::iter::once(&self.socket).chain(&self.second) {
            let Socket::Udp(socket) = socket else { return Err(NetError::NotSupported) };
            result = if peek { socket.peek() } else { socket.receive() };
            if !matches!(result, Err(NetError::WouldBlock)) {
                break;
            }
        }
        result
    }
}

/// Ready when a read or accept would not wait; a connect that is under way is waited for first.
fn poll_tcp_readable(socket: &TcpSocket, cx: &mut Context<'_>) -> Poll<()> {
    match socket.state() {
        TcpState::Connecting if socket.poll_ready(cx).is_pending() => Poll::Pending,
        TcpState::Connecting | TcpState::Connected => socket.stream().map_or(Poll::Ready(()), |stream| stream.poll_readable(cx)),
        TcpState::Listening | TcpState::Unconnected | TcpState::Closed => socket.poll_ready(cx),
    }
}

impl<T: HasWasi> Guest<'_, '_, T> {
    /// A copy of the socket behind `fd`, to wait with while the guest's memory is not borrowed.
    pub(super) fn socket(&mut self, fd: u32) -> Result<SocketDescriptor, Errno> {
        Ok(self.state().descriptors.socket(fd)?.clone())
    }

    /// `sock_accept`: the new descriptor's number goes to `fd_out`.
    pub(super) async fn sock_accept(&mut self, fd: u32, flags: u32, fd_out: u32) -> Result<(), Errno> {
        if flags & !u32::from(FDFLAG_NONBLOCK) != 0 {
            return Err(Errno::Inval);
        }
        let listener = self.socket(fd)?;
        self.state().descriptors.reserve()?;
        self.memory().u32(fd_out)?;
        let socket = Socket::Tcp(Arc::new(listener.accept().await?));
        let nonblocking = flags != 0;
        self.add_socket(SocketDescriptor { nonblocking, ..SocketDescriptor::new(socket) }, fd_out)
    }

    /// Gives a socket a descriptor.
    pub(super) fn add_socket(&mut self, socket: SocketDescriptor, fd_out: u32) -> Result<(), Errno> {
        let (mut memory, state) = self.parts();
        let fd = state.descriptors.insert(Descriptor::Socket(socket))?;
        memory.put_u32(fd_out, fd)
    }

    /// `sock_recv`.
    pub(super) async fn sock_recv(
        &mut self,
        fd: u32,
        (buffers, count): (u32, u32),
        flags: u32,
        (length_out, flags_out): (u32, u32),
    ) -> Result<(), Errno> {
        let received = self.receive(fd, buffers, count, flags).await?;
        let mut memory = self.memory();
        memory.put_u16(flags_out, if received.truncated { RECEIVED_TRUNCATED } else { 0 })?;
        memory.put_length(length_out, received.length)
    }

    /// Receives bytes or a datagram.
    pub(super) async fn receive(&mut self, fd: u32, buffers: u32, count: u32, flags: u32) -> Result<Received, Errno> {
        if flags & !(RECEIVE_PEEK | RECEIVE_WAIT_ALL) != 0 {
            return Err(Errno::Notsup);
        }
        let socket = self.socket(fd)?;
        let total = self.memory().total(buffers, count)?;
        match &socket.socket {
            Socket::Tcp(_) => self.receive_bytes(&socket, (buffers, count), total, flags).await,
            Socket::Udp(_) => self.receive_datagram(&socket, (buffers, count), flags & RECEIVE_PEEK != 0).await,
        }
    }

    async fn receive_bytes(
        &mut self,
        socket: &SocketDescriptor,
        (buffers, count): (u32, u32),
        total: usize,
        flags: u32,
    ) -> Result<Received, Errno> {
        let stream = socket.stream().await?;
        let peek = flags & RECEIVE_PEEK != 0;
        let wait_for_all = flags & RECEIVE_WAIT_ALL != 0 && !peek;
        let mut length = 0;
        while length < total {
            let result = match self.read_stream(&stream, (buffers, count), length, peek) {
                Ok(0) => break,
                Ok(read) => {
                    length += read;
                    if wait_for_all {
                        continue;
                    }
                    break;
                }
                Err(Errno::Again) => socket.readable().await,
                Err(errno) => Err(errno),
            };
            match result {
                Ok(()) => {}
                // What was read before counts; the error shows again.
                Err(_) if length > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(Received { length, truncated: false, remote: Some(stream.remote_address()) })
    }

    /// Reads once, into what an array of buffers has after its first `skip` bytes.
    fn read_stream(
        &mut self,
        stream: &TcpStream,
        (buffers, count): (u32, u32),
        mut skip: usize,
        peek: bool,
    ) -> Result<usize, Errno> {
        let mut memory = self.memory();
        let mut read = 0;
        for index in 0..count {
            let buffer = memory.buffer(buffers, index)?;
            let space = memory.slice_mut(buffer.address, buffer.length)?;
            let length = space.len();
            let Some(space) = space.get_mut(skip..) else {
                skip -= length;
                continue;
            };
            skip = 0;
            if space.is_empty() {
                continue;
            }
            let room = space.len();
            match if peek { stream.try_peek(space) } else { stream.try_read(space) } {
                Ok(length) => {
                    read += length;
                    // A second peek would see the same bytes again.
                    if length < room || peek {
                        break;
                    }
                }
                Err(_) if read > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(read)
    }

    async fn receive_datagram(
        &mut self,
        socket: &SocketDescriptor,
        (buffers, count): (u32, u32),
        peek: bool,
    ) -> Result<Received, Errno> {
        loop {
            match socket.receive_datagram(peek) {
                Ok(Datagram { payload, remote }) => {
                    let length = self.memory().scatter(buffers, count, &payload)?;
                    return Ok(Received { length, truncated: length < payload.len(), remote: Some(remote) });
                }
                Err(NetError::WouldBlock) => socket.readable().await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// `sock_send`, and `sock_send_to` with an address.
    pub(super) async fn sock_send(
        &mut self,
        fd: u32,
        (buffers, count): (u32, u32),
        remote: Option<SocketAddr>,
        length_out: u32,
    ) -> Result<(), Errno> {
        let length = self.send(fd, buffers, count, remote).await?;
        self.memory().put_length(length_out, length)
    }

    /// Sends bytes, all of them if it may wait, or one datagram.
    pub(super) async fn send(&mut self, fd: u32, buffers: u32, count: u32, remote: Option<SocketAddr>) -> Result<usize, Errno> {
        let socket = self.socket(fd)?;
        let total = self.memory().total(buffers, count)?;
        match &socket.socket {
            Socket::Tcp(_) => self.send_bytes(&socket, (buffers, count), total).await,
            Socket::Udp(udp) => {
                if total > limits::UDP_PAYLOAD_IPV6_MAX_BYTES {
                    return Err(Errno::Msgsize);
                }
                let payload = self.memory().join(buffers, count, total)?;
                udp.send(&payload, remote)?;
                Ok(total)
            }
        }
    }

    async fn send_bytes(&mut self, socket: &SocketDescriptor, (buffers, count): (u32, u32), total: usize) -> Result<usize, Errno> {
        let stream = socket.stream().await?;
        let mut sent = 0;
        while sent < total {
            let written = {
                let memory = self.memory();
                let (slices, used) = memory.gather(buffers, count, sent)?;
                stream.try_write_vectored(slices.get(..used).unwrap_or_default())
            };
            let result = match written {
                Ok(written) => {
                    sent += written;
                    continue;
                }
                Err(NetError::WouldBlock) => socket.writable().await,
                Err(error) => Err(error.into()),
            };
            match result {
                Ok(()) => {}
                // What was sent before counts; the error shows again.
                Err(_) if sent > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(sent)
    }

    /// `sock_shutdown`.
    pub(super) fn sock_shutdown(&mut self, fd: u32, how: u32) -> Result<(), Errno> {
        let how = match how {
            1 => Shutdown::Read,
            2 => Shutdown::Write,
            3 => Shutdown::Both,
            _ => return Err(Errno::Inval),
        };
        let descriptor = self.socket(fd)?;
        match &descriptor.socket {
            Socket::Tcp(socket) => Ok(socket.shutdown(how)?),
            Socket::Udp(socket) => {
                socket.remote_address()?;
                Ok(())
            }
        }
    }
}
