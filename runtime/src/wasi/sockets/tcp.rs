//! `tcp` and `tcp-create-socket`.
//!
//! ```text
//!                start-bind         finish-bind         start-listen          finish-listen
//!   unbound ─────────────▶ (bind) ─────────────▶ bound ─────────────▶ (listen) ─────────────▶ listening ─ accept ─▶ connected
//!      │                                           │
//!      └───────────────────────────────────────────┴─ start-connect ─▶ (connect) ─ finish-connect ─▶ connected, or closed
//! ```
//!
//! Nothing but a connect takes time; the states in parentheses exist so that a guest sees the order of calls it relies on.

use super::Sockets;
use super::bindings::wasi::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use super::bindings::wasi::sockets::tcp::{self, ShutdownType};
use super::bindings::wasi::sockets::tcp_create_socket;
use super::network::{Network, SocketResult, check_address, check_remote};
use super::streams::{ShutDown, TcpInput, TcpOutput};
use crate::net::{NetError, Shutdown, TcpOptions, TcpSocket, TcpState, TcpStream};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, Pollable, subscribe};

/// The `tcp-socket` resource.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct TcpResource {
    socket: TcpSocket,
    progress: Option<Progress>,
    /// A connect failed: the WIT's `closed` state, in which the guest can only drop the socket.
    closed: bool,
    shut_down: Arc<ShutDown>,
}

/// What was started and not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Bind,
    Listen,
    /// The error is that of a connect that failed at once; the guest hears it from `finish-connect`.
    Connect(Option<NetError>),
}

type Streams = (Resource<DynInputStream>, Resource<DynOutputStream>);

impl TcpResource {
    fn new(socket: TcpSocket) -> Self {
        Self { socket, progress: None, closed: false, shut_down: Arc::default() }
    }

    /// The socket, for what can be done only while it is new or bound, and nothing else is going on.
    fn idle(&mut self) -> Result<&TcpSocket, ErrorCode> {
        if self.progress.is_some() {
            return Err(ErrorCode::ConcurrencyConflict);
        }
        if self.closed || self.socket.state() != TcpState::Unconnected {
            return Err(ErrorCode::InvalidState);
        }
        Ok(&self.socket)
    }

    fn open(&self) -> Result<&TcpSocket, ErrorCode> {
        if self.closed { Err(ErrorCode::InvalidState) } else { Ok(&self.socket) }
    }

    fn is_listening(&self) -> bool {
        self.progress.is_none() && self.socket.state() == TcpState::Listening
    }

    fn finish(&mut self, step: Progress) -> Result<(), ErrorCode> {
        if self.progress != Some(step) {
            return Err(ErrorCode::NotInProgress);
        }
        self.progress = None;
        Ok(())
    }

    fn finish_connect(&mut self) -> Result<TcpStream, ErrorCode> {
        let Some(Progress::Connect(failed)) = self.progress else { return Err(ErrorCode::NotInProgress) };
        let result = failed.map_or_else(|| self.socket.finish_connect(), Err).and_then(|()| self.socket.stream());
        match result {
            Err(NetError::WouldBlock) => return Err(ErrorCode::WouldBlock),
            Err(_) => self.closed = true,
            Ok(_) => {}
        }
        self.progress = None;
        Ok(result?)
    }
}

#[async_trait]
impl Pollable for TcpResource {
    async fn ready(&mut self) {
        let waits = match self.progress {
            Some(Progress::Connect(None)) => true,
            None => self.socket.state() == TcpState::Listening,
            _ => false,
        };
        if waits {
            std::future::poll_fn(|cx| self.socket.poll_ready(cx)).await;
        }
    }
}

impl Sockets<'_> {
    fn tcp(&self, socket: &Resource<TcpResource>) -> SocketResult<&TcpSocket> {
        Ok(self.table.get(socket)?.open()?)
    }

    fn set_tcp(&self, socket: &Resource<TcpResource>, change: impl FnOnce(&mut TcpOptions)) -> SocketResult<()> {
        self.tcp(socket)?.set_options(change);
        Ok(())
    }

    /// Makes the streams of a connected socket, as children of its resource.
    fn streams(&mut self, socket: &Resource<TcpResource>, stream: TcpStream) -> SocketResult<Streams> {
        let shut_down = Arc::clone(&self.table.get(socket)?.shut_down);
        let input: DynInputStream = Box::new(TcpInput::new(stream.clone(), Arc::clone(&shut_down)));
        let output: DynOutputStream = Box::new(TcpOutput::new(stream, shut_down));
        Ok((self.table.push_child(input, socket)?, self.table.push_child(output, socket)?))
    }
}

impl tcp_create_socket::Host for Sockets<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpResource>> {
        let socket = self.net.tcp_socket(family.into())?;
        Ok(self.table.push(TcpResource::new(socket))?)
    }
}

impl tcp::Host for Sockets<'_> {}

impl tcp::HostTcpSocket for Sockets<'_> {
    fn start_bind(&mut self, this: Resource<TcpResource>, network: Resource<Network>, local: IpSocketAddress) -> SocketResult<()> {
        self.table.get(&network)?;
        let resource = self.table.get_mut(&this)?;
        let socket = resource.idle()?;
        if socket.is_bound() {
            return Err(ErrorCode::InvalidState.into());
        }
        let local = SocketAddr::from(local);
        check_address(local, socket.family())?;
        socket.bind(local)?;
        resource.progress = Some(Progress::Bind);
        Ok(())
    }

    fn finish_bind(&mut self, this: Resource<TcpResource>) -> SocketResult<()> {
        Ok(self.table.get_mut(&this)?.finish(Progress::Bind)?)
    }

    fn start_connect(
        &mut self,
        this: Resource<TcpResource>,
        network: Resource<Network>,
        remote: IpSocketAddress,
    ) -> SocketResult<()> {
        self.table.get(&network)?;
        let resource = self.table.get_mut(&this)?;
        let socket = resource.idle()?;
        let remote = SocketAddr::from(remote);
        check_remote(remote, socket.family())?;
        resource.progress = Some(Progress::Connect(socket.connect(remote).err()));
        Ok(())
    }

    fn finish_connect(&mut self, this: Resource<TcpResource>) -> SocketResult<Streams> {
        let stream = self.table.get_mut(&this)?.finish_connect()?;
        self.streams(&this, stream)
    }

    fn start_listen(&mut self, this: Resource<TcpResource>) -> SocketResult<()> {
        let resource = self.table.get_mut(&this)?;
        let socket = resource.idle()?;
        if !socket.is_bound() {
            return Err(ErrorCode::InvalidState.into());
        }
        socket.listen()?;
        resource.progress = Some(Progress::Listen);
        Ok(())
    }

    fn finish_listen(&mut self, this: Resource<TcpResource>) -> SocketResult<()> {
        Ok(self.table.get_mut(&this)?.finish(Progress::Listen)?)
    }

    fn accept(
        &mut self,
        this: Resource<TcpResource>,
    ) -> SocketResult<(Resource<TcpResource>, Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let listener = self.table.get(&this)?;
        if !listener.is_listening() {
            return Err(ErrorCode::InvalidState.into());
        }
        let socket = listener.socket.accept()?;
        let stream = socket.stream()?;
        let accepted = self.table.push(TcpResource::new(socket))?;
        let (input, output) = self.streams(&accepted, stream)?;
        Ok((accepted, input, output))
    }

    fn local_address(&mut self, this: Resource<TcpResource>) -> SocketResult<IpSocketAddress> {
        let socket = self.tcp(&this)?;
        if !socket.is_bound() {
            return Err(ErrorCode::InvalidState.into());
        }
        Ok(socket.local_address()?.into())
    }

    fn remote_address(&mut self, this: Resource<TcpResource>) -> SocketResult<IpSocketAddress> {
        let socket = self.tcp(&this)?;
        if socket.state() != TcpState::Connected {
            return Err(ErrorCode::InvalidState.into());
        }
        Ok(socket.remote_address()?.into())
    }

    fn is_listening(&mut self, this: Resource<TcpResource>) -> wasmtime::Result<bool> {
        Ok(self.table.get(&this)?.is_listening())
    }

    fn address_family(&mut self, this: Resource<TcpResource>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&this)?.socket.family().into())
    }

    fn set_listen_backlog_size(&mut self, this: Resource<TcpResource>, value: u64) -> SocketResult<()> {
        let socket = self.tcp(&this)?;
        if value == 0 {
            return Err(ErrorCode::InvalidArgument.into());
        }
        match socket.state() {
            TcpState::Unconnected | TcpState::Listening => socket.set_backlog(clamp(value)),
            _ => return Err(ErrorCode::InvalidState.into()),
        }
        Ok(())
    }

    fn keep_alive_enabled(&mut self, this: Resource<TcpResource>) -> SocketResult<bool> {
        Ok(self.tcp(&this)?.options().keep_alive)
    }

    fn set_keep_alive_enabled(&mut self, this: Resource<TcpResource>, value: bool) -> SocketResult<()> {
        self.set_tcp(&this, |options| options.keep_alive = value)
    }

    fn keep_alive_idle_time(&mut self, this: Resource<TcpResource>) -> SocketResult<u64> {
        Ok(nanoseconds(self.tcp(&this)?.options().keep_alive_idle))
    }

    fn set_keep_alive_idle_time(&mut self, this: Resource<TcpResource>, value: u64) -> SocketResult<()> {
        let value = not_zero(value)?;
        self.set_tcp(&this, |options| options.keep_alive_idle = Duration::from_nanos(value))
    }

    fn keep_alive_interval(&mut self, this: Resource<TcpResource>) -> SocketResult<u64> {
        Ok(nanoseconds(self.tcp(&this)?.options().keep_alive_interval))
    }

    fn set_keep_alive_interval(&mut self, this: Resource<TcpResource>, value: u64) -> SocketResult<()> {
        let value = not_zero(value)?;
        self.set_tcp(&this, |options| options.keep_alive_interval = Duration::from_nanos(value))
    }

    fn keep_alive_count(&mut self, this: Resource<TcpResource>) -> SocketResult<u32> {
        Ok(self.tcp(&this)?.options().keep_alive_count)
    }

    fn set_keep_alive_count(&mut self, this: Resource<TcpResource>, value: u32) -> SocketResult<()> {
        not_zero(value.into())?;
        self.set_tcp(&this, |options| options.keep_alive_count = value)
    }

    fn hop_limit(&mut self, this: Resource<TcpResource>) -> SocketResult<u8> {
        Ok(self.tcp(&this)?.options().hop_limit)
    }

    fn set_hop_limit(&mut self, this: Resource<TcpResource>, value: u8) -> SocketResult<()> {
        not_zero(value.into())?;
        self.set_tcp(&this, |options| options.hop_limit = value)
    }

    fn receive_buffer_size(&mut self, this: Resource<TcpResource>) -> SocketResult<u64> {
        Ok(size(self.tcp(&this)?.options().receive_buffer_bytes))
    }

    fn set_receive_buffer_size(&mut self, this: Resource<TcpResource>, value: u64) -> SocketResult<()> {
        let value = not_zero(value)?;
        self.set_tcp(&this, |options| options.receive_buffer_bytes = clamp(value))
    }

    fn send_buffer_size(&mut self, this: Resource<TcpResource>) -> SocketResult<u64> {
        Ok(size(self.tcp(&this)?.options().send_buffer_bytes))
    }

    fn set_send_buffer_size(&mut self, this: Resource<TcpResource>, value: u64) -> SocketResult<()> {
        let value = not_zero(value)?;
        self.set_tcp(&this, |options| options.send_buffer_bytes = clamp(value))
    }

    fn subscribe(&mut self, this: Resource<TcpResource>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, this)
    }

    fn shutdown(&mut self, this: Resource<TcpResource>, how: ShutdownType) -> SocketResult<()> {
        let resource = self.table.get(&this)?;
        let socket = resource.open()?;
        if socket.state() != TcpState::Connected {
            return Err(ErrorCode::InvalidState.into());
        }
        let how = match how {
            ShutdownType::Receive => Shutdown::Read,
            ShutdownType::Send => Shutdown::Write,
            ShutdownType::Both => Shutdown::Both,
        };
        resource.shut_down.note(how);
        match socket.shutdown(how) {
            // Both directions have ended already, and doing it again has no effect.
            Err(NetError::NotConnected) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn drop(&mut self, this: Resource<TcpResource>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

/// Refuses the one value that no option takes.
pub(super) fn not_zero(value: u64) -> Result<u64, ErrorCode> {
    if value == 0 { Err(ErrorCode::InvalidArgument) } else { Ok(value) }
}

/// A size on this machine; the network clamps it further.
pub(super) fn clamp(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// A size for the guest.
pub(super) fn size(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
