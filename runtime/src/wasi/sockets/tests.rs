//! The states and errors of `wasi:sockets`, on the host functions themselves.

use super::Sockets;
use super::bindings::wasi::sockets::instance_network::Host as _;
use super::bindings::wasi::sockets::ip_name_lookup::{Host as _, HostResolveAddressStream as _};
use super::bindings::wasi::sockets::network::{ErrorCode, IpAddress, IpAddressFamily};
use super::bindings::wasi::sockets::tcp::{HostTcpSocket as _, ShutdownType};
use super::bindings::wasi::sockets::tcp_create_socket::Host as _;
use super::bindings::wasi::sockets::udp::{
    HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket, OutgoingDatagram,
};
use super::bindings::wasi::sockets::udp_create_socket::Host as _;
use super::network::{Network, SocketError, SocketResult};
use super::tcp::TcpResource;
use super::udp::UdpResource;
use crate::net::ContainerNet;
use crate::wasi::testing::pod;
use bytes::Bytes;
use std::net::SocketAddr;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, Pollable, StreamError};

/// A guest: its table, its network, and the token for it.
struct Guest {
    table: ResourceTable,
    net: ContainerNet,
    network: Resource<Network>,
}

impl Guest {
    fn new(net: ContainerNet) -> Self {
        let mut table = ResourceTable::new();
        let network = Sockets { table: &mut table, net: &net }.instance_network().unwrap();
        Self { table, net, network }
    }

    fn sockets(&mut self) -> Sockets<'_> {
        Sockets { table: &mut self.table, net: &self.net }
    }

    fn network(&self) -> Resource<Network> {
        Resource::new_borrow(self.network.rep())
    }

    fn tcp(&mut self) -> u32 {
        self.sockets().create_tcp_socket(IpAddressFamily::Ipv4).unwrap().rep()
    }

    fn udp(&mut self) -> u32 {
        self.sockets().create_udp_socket(IpAddressFamily::Ipv4).unwrap().rep()
    }

    fn bind(&mut self, socket: u32, address: &str) -> Result<(), ErrorCode> {
        let network = self.network();
        code(self.sockets().start_bind_tcp(tcp(socket), network, address))?;
        code(tcp_fn(&mut self.sockets()).finish_bind(tcp(socket)))
    }

    fn listen(&mut self, address: &str) -> u32 {
        let socket = self.tcp();
        self.bind(socket, address).unwrap();
        self.sockets().start_listen(tcp(socket)).unwrap();
        self.sockets().finish_listen(tcp(socket)).unwrap();
        socket
    }

    fn start_connect(&mut self, socket: u32, address: &str) -> Result<(), ErrorCode> {
        let network = self.network();
        code(self.sockets().start_connect(tcp(socket), network, parse(address).into()))
    }

    /// A connected pair: the client's socket and streams, the accepted socket's.
    fn connection(&mut self, listener: u32, address: &str) -> (Connection, Connection) {
        let client = self.tcp();
        self.start_connect(client, address).unwrap();
        let (input, output) = self.sockets().finish_connect(tcp(client)).unwrap();
        let (socket, accepted_input, accepted_output) = self.sockets().accept(tcp(listener)).unwrap();
        let accepted = Connection { socket: socket.rep(), input: accepted_input, output: accepted_output };
        (Connection { socket: client, input, output }, accepted)
    }

    fn input(&mut self, connection: &Connection) -> &mut DynInputStream {
        self.table.get_mut(&connection.input).unwrap()
    }

    fn output(&mut self, connection: &Connection) -> &mut DynOutputStream {
        self.table.get_mut(&connection.output).unwrap()
    }
}

struct Connection {
    socket: u32,
    input: Resource<DynInputStream>,
    output: Resource<DynOutputStream>,
}

impl Sockets<'_> {
    fn start_bind_tcp(&mut self, socket: Resource<TcpResource>, network: Resource<Network>, address: &str) -> SocketResult<()> {
        tcp_fn(self).start_bind(socket, network, parse(address).into())
    }
}

/// TCP and UDP have functions of the same names.
fn tcp_fn<'a>(sockets: &'a mut Sockets<'_>) -> &'a mut impl super::bindings::wasi::sockets::tcp::HostTcpSocket {
    sockets
}

fn udp_fn<'a>(sockets: &'a mut Sockets<'_>) -> &'a mut impl HostUdpSocket {
    sockets
}

fn tcp(rep: u32) -> Resource<TcpResource> {
    Resource::new_borrow(rep)
}

fn udp(rep: u32) -> Resource<UdpResource> {
    Resource::new_borrow(rep)
}

fn parse(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn code<T>(result: SocketResult<T>) -> Result<T, ErrorCode> {
    result.map_err(|error| match error {
        SocketError::Code(code) => code,
        SocketError::Trap(trap) => panic!("{trap:?}"),
    })
}

fn error<T>(result: SocketResult<T>) -> ErrorCode {
    code(result).map(|_| ()).unwrap_err()
}

#[test]
fn an_unbound_socket_can_be_bound_connected_and_set_and_nothing_else() {
    let mut guest = Guest::new(pod().container("guest"));
    let socket = guest.tcp();
    let sockets = &mut guest.sockets();
    assert_eq!(error(tcp_fn(sockets).finish_bind(tcp(socket))), ErrorCode::NotInProgress);
    assert_eq!(error(sockets.finish_connect(tcp(socket))), ErrorCode::NotInProgress);
    assert_eq!(error(sockets.finish_listen(tcp(socket))), ErrorCode::NotInProgress);
    assert_eq!(error(sockets.start_listen(tcp(socket))), ErrorCode::InvalidState);
    assert_eq!(error(sockets.accept(tcp(socket))), ErrorCode::InvalidState);
    assert_eq!(error(sockets.shutdown(tcp(socket), ShutdownType::Both)), ErrorCode::InvalidState);
    assert_eq!(error(tcp_fn(sockets).local_address(tcp(socket))), ErrorCode::InvalidState);
    assert_eq!(error(tcp_fn(sockets).remote_address(tcp(socket))), ErrorCode::InvalidState);
    assert!(!sockets.is_listening(tcp(socket)).unwrap());
    sockets.set_listen_backlog_size(tcp(socket), 32).unwrap();
    assert_eq!(error(sockets.set_listen_backlog_size(tcp(socket), 0)), ErrorCode::InvalidArgument);
    assert_eq!(error(sockets.set_hop_limit(tcp(socket), 0)), ErrorCode::InvalidArgument);
    assert_eq!(error(sockets.set_keep_alive_count(tcp(socket), 0)), ErrorCode::InvalidArgument);
    sockets.set_keep_alive_idle_time(tcp(socket), u64::MAX).unwrap();
    assert!(sockets.keep_alive_idle_time(tcp(socket)).unwrap() > 0);
}

#[test]
fn a_bind_is_finished_before_anything_else_starts() {
    let mut guest = Guest::new(pod().container("guest"));
    let socket = guest.tcp();
    let network = guest.network();
    guest.sockets().start_bind_tcp(tcp(socket), network, "127.0.0.1:0").unwrap();
    assert_eq!(guest.start_connect(socket, "127.0.0.1:80"), Err(ErrorCode::ConcurrencyConflict));
    assert_eq!(error(guest.sockets().start_listen(tcp(socket))), ErrorCode::ConcurrencyConflict);
    assert_eq!(guest.bind(socket, "127.0.0.1:0"), Err(ErrorCode::ConcurrencyConflict));
    tcp_fn(&mut guest.sockets()).finish_bind(tcp(socket)).unwrap();
    assert_eq!(guest.bind(socket, "127.0.0.1:0"), Err(ErrorCode::InvalidState));
    let local = SocketAddr::from(tcp_fn(&mut guest.sockets()).local_address(tcp(socket)).unwrap());
    assert!((32768..=60999).contains(&local.port()));
}

#[test]
fn a_bind_that_failed_can_be_tried_again() {
    let mut guest = Guest::new(pod().container("guest"));
    guest.listen("127.0.0.1:80");
    let socket = guest.tcp();
    assert_eq!(guest.bind(socket, "127.0.0.1:80"), Err(ErrorCode::AddressInUse));
    assert_eq!(guest.bind(socket, "1.1.1.1:80"), Err(ErrorCode::AddressNotBindable));
    assert_eq!(guest.bind(socket, "[::1]:80"), Err(ErrorCode::InvalidArgument));
    assert_eq!(guest.bind(socket, "224.0.0.1:80"), Err(ErrorCode::InvalidArgument));
    assert_eq!(guest.bind(socket, "127.0.0.1:81"), Ok(()));
}

#[test]
fn a_refused_connect_closes_the_socket() {
    let mut guest = Guest::new(pod().container("guest"));
    let socket = guest.tcp();
    for invalid in ["0.0.0.0:80", "127.0.0.1:0", "[::1]:80", "255.255.255.255:80"] {
        assert_eq!(guest.start_connect(socket, invalid), Err(ErrorCode::InvalidArgument), "{invalid}");
    }
    guest.start_connect(socket, "127.0.0.1:80").unwrap();
    assert_eq!(guest.start_connect(socket, "127.0.0.1:80"), Err(ErrorCode::ConcurrencyConflict));
    assert_eq!(error(guest.sockets().finish_connect(tcp(socket))), ErrorCode::ConnectionRefused);
    assert_eq!(error(guest.sockets().finish_connect(tcp(socket))), ErrorCode::NotInProgress);
    assert_eq!(guest.start_connect(socket, "127.0.0.1:80"), Err(ErrorCode::InvalidState));
    // Nowhere leads out of a pod without a gateway; that too is heard at the end of the connect.
    let socket = guest.tcp();
    guest.start_connect(socket, "1.1.1.1:80").unwrap();
    assert_eq!(error(guest.sockets().finish_connect(tcp(socket))), ErrorCode::RemoteUnreachable);
}

#[test]
fn a_listening_socket_accepts_and_nothing_else() {
    let mut guest = Guest::new(pod().container("guest"));
    let socket = guest.listen("127.0.0.1:80");
    assert_eq!(error(guest.sockets().accept(tcp(socket))), ErrorCode::WouldBlock);
    assert_eq!(guest.bind(socket, "127.0.0.1:81"), Err(ErrorCode::InvalidState));
    assert_eq!(guest.start_connect(socket, "127.0.0.1:80"), Err(ErrorCode::InvalidState));
    let sockets = &mut guest.sockets();
    assert_eq!(error(sockets.start_listen(tcp(socket))), ErrorCode::InvalidState);
    assert_eq!(error(sockets.shutdown(tcp(socket), ShutdownType::Both)), ErrorCode::InvalidState);
    assert_eq!(error(tcp_fn(sockets).remote_address(tcp(socket))), ErrorCode::InvalidState);
    assert!(sockets.is_listening(tcp(socket)).unwrap());
}

#[tokio::test]
async fn accepting_waits_by_the_sockets_pollable() {
    let mut guest = Guest::new(pod().container("guest"));
    let listener = guest.listen("127.0.0.1:80");
    let client = guest.tcp();
    assert!(futures::poll!(guest.table.get_mut(&tcp(listener)).unwrap().ready()).is_pending());
    guest.start_connect(client, "127.0.0.1:80").unwrap();
    guest.table.get_mut(&tcp(listener)).unwrap().ready().await;
    guest.table.get_mut(&tcp(client)).unwrap().ready().await;
    guest.sockets().finish_connect(tcp(client)).unwrap();
    let (accepted, ..) = guest.sockets().accept(tcp(listener)).unwrap();
    let sockets = &mut guest.sockets();
    let local = tcp_fn(sockets).local_address(tcp(client)).unwrap();
    assert_eq!(SocketAddr::from(tcp_fn(sockets).remote_address(tcp(accepted.rep())).unwrap()), SocketAddr::from(local));
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_direction_ends_for_itself() {
    let mut guest = Guest::new(pod().container("guest"));
    let listener = guest.listen("127.0.0.1:80");
    let (client, server) = guest.connection(listener, "127.0.0.1:80");
    guest.output(&client).blocking_write_and_flush(Bytes::from_static(b"ping")).await.unwrap();
    guest.sockets().shutdown(tcp(client.socket), ShutdownType::Send).unwrap();
    guest.sockets().shutdown(tcp(client.socket), ShutdownType::Send).unwrap();
    assert!(matches!(guest.output(&client).check_write(), Err(StreamError::Closed)));
    assert!(matches!(guest.output(&client).write(Bytes::from_static(b"x")), Err(StreamError::Closed)));
    assert_eq!(guest.input(&server).blocking_read(100).await.unwrap(), "ping");
    assert!(matches!(guest.input(&server).blocking_read(100).await, Err(StreamError::Closed)));
    guest.output(&server).blocking_write_and_flush(Bytes::from_static(b"pong")).await.unwrap();
    assert_eq!(guest.input(&client).blocking_read(2).await.unwrap(), "po");
    guest.sockets().shutdown(tcp(client.socket), ShutdownType::Both).unwrap();
    assert!(matches!(guest.input(&client).read(100), Err(StreamError::Closed)));
    guest.sockets().shutdown(tcp(client.socket), ShutdownType::Both).unwrap();
}

#[tokio::test]
async fn a_peer_that_does_not_read_takes_the_permit_away() {
    let mut guest = Guest::new(pod().container("guest"));
    let listener = guest.listen("127.0.0.1:80");
    let (client, server) = guest.connection(listener, "127.0.0.1:80");
    let output = guest.output(&client);
    assert!(matches!(output.write(Bytes::from_static(b"x")), Err(StreamError::Trap(_))));
    for _ in 0..1_000_000 {
        output.write(Bytes::new()).unwrap();
    }
    let mut written = 0;
    loop {
        match output.check_write().unwrap() {
            0 => break,
            permit => {
                assert!(permit <= crate::limits::TCP_PIECE_BYTES_MAX);
                written += permit;
                output.write(Bytes::from(vec![7; permit])).unwrap();
            }
        }
    }
    assert_eq!(written, crate::limits::TCP_BUFFER_DEFAULT_BYTES);
    assert!(futures::poll!(std::pin::pin!(guest.output(&client).ready())).is_pending());
    let read = guest.input(&server).read(1000).unwrap();
    assert_eq!(read.len(), 1000);
    let mut read = read.len();
    while read < written {
        let piece = guest.input(&server).read(1 << 20).unwrap().len();
        assert!(piece <= crate::limits::TCP_PIECE_BYTES_MAX);
        read += piece;
    }
    guest.output(&client).ready().await;
    assert!(guest.output(&client).check_write().unwrap() > 0);
}

#[tokio::test]
async fn a_reset_is_told_once_and_then_the_stream_is_closed() {
    let mut guest = Guest::new(pod().container("guest"));
    let listener = guest.listen("127.0.0.1:80");
    let (client, server) = guest.connection(listener, "127.0.0.1:80");
    guest.output(&client).blocking_write_and_flush(Bytes::from_static(b"unread")).await.unwrap();
    guest.table.delete(server.input).unwrap();
    guest.table.delete(server.output).unwrap();
    tcp_fn(&mut guest.sockets()).drop(Resource::new_own(server.socket)).unwrap();
    let failed = guest.input(&client).blocking_read(1).await;
    let Err(StreamError::LastOperationFailed(error)) = failed else { panic!("{failed:?}") };
    assert_eq!(ErrorCode::from(*error.downcast_ref::<crate::net::NetError>().unwrap()), ErrorCode::ConnectionReset);
    assert!(matches!(guest.input(&client).read(1), Err(StreamError::Closed)));
}

#[test]
fn datagrams_need_a_bound_socket_a_permit_and_a_valid_address() {
    let mut guest = Guest::new(pod().container("guest"));
    let socket = guest.udp();
    assert_eq!(error(guest.sockets().stream(udp(socket), None)), ErrorCode::InvalidState);
    let network = guest.network();
    udp_fn(&mut guest.sockets()).start_bind(udp(socket), network, parse("127.0.0.1:53").into()).unwrap();
    udp_fn(&mut guest.sockets()).finish_bind(udp(socket)).unwrap();
    assert_eq!(error(udp_fn(&mut guest.sockets()).finish_bind(udp(socket))), ErrorCode::NotInProgress);
    let (incoming, outgoing) = guest.sockets().stream(udp(socket), None).unwrap();
    assert!(matches!(guest.sockets().stream(udp(socket), None), Err(SocketError::Trap(_))));

    let to = |address: Option<&str>, data: &[u8]| {
        vec![OutgoingDatagram { data: data.to_vec(), remote_address: address.map(|address| parse(address).into()) }]
    };
    let mut send = |datagrams| {
        let sockets = &mut guest.sockets();
        HostOutgoingDatagramStream::check_send(sockets, Resource::new_borrow(outgoing.rep())).unwrap();
        HostOutgoingDatagramStream::send(sockets, Resource::new_borrow(outgoing.rep()), datagrams)
    };
    assert_eq!(error(send(to(None, b"x"))), ErrorCode::InvalidArgument);
    assert_eq!(error(send(to(Some("0.0.0.0:53"), b"x"))), ErrorCode::InvalidArgument);
    assert_eq!(error(send(to(Some("[::1]:53"), b"x"))), ErrorCode::InvalidArgument);
    assert_eq!(error(send(to(Some("127.0.0.1:53"), &[0; 65508]))), ErrorCode::DatagramTooLarge);
    assert_eq!(send(vec![]).unwrap(), 0);
    assert_eq!(send(to(Some("127.0.0.1:53"), b"myself")).unwrap(), 1);
    let unpermitted = HostOutgoingDatagramStream::send(
        &mut guest.sockets(),
        Resource::new_borrow(outgoing.rep()),
        to(Some("127.0.0.1:53"), b"x"),
    );
    assert!(matches!(unpermitted, Err(SocketError::Trap(_))));

    let mut receive =
        |max| HostIncomingDatagramStream::receive(&mut guest.sockets(), Resource::new_borrow(incoming.rep()), max).unwrap();
    assert_eq!(receive(0).len(), 0);
    let received = receive(10);
    assert_eq!((received.len(), received[0].data.as_slice()), (1, &b"myself"[..]));
    assert_eq!(SocketAddr::from(received[0].remote_address), parse("127.0.0.1:53"));
    assert_eq!(receive(10).len(), 0);
}

#[test]
fn a_connected_socket_hears_its_peer_alone() {
    let mut guest = Guest::new(pod().container("guest"));
    let (one, two) = (guest.udp(), guest.udp());
    for (socket, address) in [(one, "127.0.0.1:1"), (two, "127.0.0.1:2")] {
        let network = guest.network();
        udp_fn(&mut guest.sockets()).start_bind(udp(socket), network, parse(address).into()).unwrap();
        udp_fn(&mut guest.sockets()).finish_bind(udp(socket)).unwrap();
    }
    let sockets = &mut guest.sockets();
    let (_, from_two) = sockets.stream(udp(two), None).unwrap();
    // It comes before the other end has a peer, and waits.
    HostOutgoingDatagramStream::check_send(sockets, Resource::new_borrow(from_two.rep())).unwrap();
    let early = vec![OutgoingDatagram { data: b"early".to_vec(), remote_address: Some(parse("127.0.0.1:1").into()) }];
    HostOutgoingDatagramStream::send(sockets, Resource::new_borrow(from_two.rep()), early).unwrap();
    let (incoming, outgoing) = sockets.stream(udp(one), Some(parse("127.0.0.1:9").into())).unwrap();
    assert_eq!(HostIncomingDatagramStream::receive(sockets, incoming, 10).unwrap().len(), 0);
    assert_eq!(SocketAddr::from(udp_fn(sockets).remote_address(udp(one)).unwrap()), parse("127.0.0.1:9"));
    HostOutgoingDatagramStream::check_send(sockets, Resource::new_borrow(outgoing.rep())).unwrap();
    let other = vec![OutgoingDatagram { data: b"x".to_vec(), remote_address: Some(parse("127.0.0.1:2").into()) }];
    assert_eq!(error(HostOutgoingDatagramStream::send(sockets, outgoing, other)), ErrorCode::InvalidArgument);
}

#[test]
fn names_of_the_pod_resolve_and_others_do_not() {
    let mut guest = Guest::new(pod().container("guest"));
    let mut resolve = |name: &str| {
        let network = guest.network();
        let stream = code(guest.sockets().resolve_addresses(network, name.into()))?.rep();
        let mut addresses = Vec::new();
        while let Some(address) = code(guest.sockets().resolve_next_address(Resource::new_borrow(stream)))? {
            addresses.push(matches!(address, IpAddress::Ipv4(_)));
        }
        Ok::<_, ErrorCode>(addresses)
    };
    assert_eq!(resolve("localhost"), Ok(vec![true, false]));
    assert_eq!(resolve("pod"), Ok(vec![true, false]));
    assert_eq!(resolve("127.0.0.1"), Ok(vec![true]));
    assert_eq!(resolve("::1"), Ok(vec![false]));
    assert_eq!(resolve("nowhere.example"), Err(ErrorCode::NameUnresolvable));
    assert_eq!(resolve("a name"), Err(ErrorCode::InvalidArgument));
}
