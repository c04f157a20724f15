//! The rules of the pod network, each by its test.

use super::waiters::tests::Count;
use super::*;
use std::task::{Context, Poll, Waker};

/// A pod named `shop` with the first address of a pool of its own, two aliases, and no way out.
pub(super) fn pod() -> PodNet {
    let alias = |ip: &str, names: &[&str]| HostAlias {
        ip: ip.parse().unwrap(),
        hostnames: names.iter().map(ToString::to_string).collect(),
    };
    PodNet::new(PodNetConfig {
        hostname: "Shop".into(),
        host_aliases: vec![alias("127.0.0.1", &["db", "db.local"]), alias("10.1.2.3", &["DB.local."])],
        addresses: AddressPool::new().take().unwrap(),
        gateway: None,
    })
}

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn tcp(container: &ContainerNet, address: &str) -> TcpSocket {
    container.tcp_socket(AddressFamily::of(at(address).ip())).unwrap()
}

fn listen(container: &ContainerNet, address: &str) -> Result<TcpSocket, NetError> {
    let socket = tcp(container, address);
    socket.bind(at(address))?;
    socket.listen()?;
    Ok(socket)
}

fn connect(container: &ContainerNet, address: &str) -> Result<TcpSocket, NetError> {
    let socket = tcp(container, address);
    socket.connect(at(address))?;
    socket.finish_connect()?;
    Ok(socket)
}

fn udp(container: &ContainerNet, address: &str) -> Result<UdpSocket, NetError> {
    let socket = container.udp_socket(AddressFamily::of(at(address).ip()))?;
    socket.bind(at(address))?;
    Ok(socket)
}

/// A listener on `[::]:80` or `0.0.0.0:80`, a connection to it, and both its streams.
struct Pair {
    _net: ContainerNet,
    listener: TcpSocket,
    client: TcpSocket,
    server: TcpSocket,
    c: TcpStream,
    s: TcpStream,
}

fn pair() -> Pair {
    let net = pod().container("one");
    let listener = listen(&net, "0.0.0.0:80").unwrap();
    let client = connect(&net, "127.0.0.1:80").unwrap();
    let server = listener.accept().unwrap();
    let (c, s) = (client.stream().unwrap(), server.stream().unwrap());
    Pair { _net: net, listener, client, server, c, s }
}

fn is_ready(poll: impl FnOnce(&mut Context<'_>) -> Poll<()>) -> bool {
    poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

mod binding {
    use super::*;

    #[test]
    fn every_address_of_the_pod_can_be_bound_and_reached_from_any_container() {
        let net = pod();
        let (one, two) = (net.container("one"), net.container("two"));
        for address in ["127.0.0.1:80", "127.0.0.2:80", "10.88.0.2:80", "[::1]:80", "[fd77:6173:6d70:6f64::2]:80"] {
            let listener = listen(&one, address).unwrap();
            let client = connect(&two, address).unwrap();
            assert_eq!(listener.accept().unwrap().local_address(), Ok(at(address)));
            assert_eq!(client.remote_address(), Ok(at(address)));
        }
    }

    #[test]
    fn a_wildcard_listener_is_reached_at_every_address_of_its_family_only() {
        let net = pod().container("one");
        let _v4 = listen(&net, "0.0.0.0:80").unwrap();
        for address in ["127.0.0.1:80", "127.1.2.3:80", "10.88.0.2:80", "0.0.0.0:80"] {
            connect(&net, address).unwrap();
        }
        assert_eq!(connect(&net, "[::1]:80").unwrap_err(), NetError::ConnectionRefused);
        let _v6 = listen(&net, "[::]:80").unwrap();
        for address in ["[::1]:80", "[fd77:6173:6d70:6f64::2]:80", "[::]:80"] {
            connect(&net, address).unwrap();
        }
    }

    #[test]
    fn a_loopback_listener_is_not_reached_at_the_pods_address() {
        let net = pod().container("one");
        let _listener = listen(&net, "127.0.0.1:80").unwrap();
        assert_eq!(connect(&net, "10.88.0.2:80").unwrap_err(), NetError::ConnectionRefused);
    }

    #[test]
    fn clashes_show_at_bind_across_containers() {
        let net = pod();
        let (one, two) = (net.container("one"), net.container("two"));
        let _held = listen(&one, "127.0.0.1:80").unwrap();
        assert_eq!(tcp(&two, "0.0.0.0:80").bind(at("127.0.0.1:80")), Err(NetError::AddressInUse));
        assert_eq!(tcp(&two, "0.0.0.0:80").bind(at("0.0.0.0:80")), Err(NetError::AddressInUse));
        assert!(udp(&two, "127.0.0.1:80").is_ok());
        assert!(listen(&two, "10.88.0.2:80").is_ok());
        assert!(listen(&two, "[::]:80").is_ok());
    }

    #[test]
    fn a_closed_listeners_port_is_free_at_once_also_while_its_connections_live() {
        let p = pair();
        drop(p.listener);
        let again = listen(&p._net, "0.0.0.0:80").unwrap();
        p.c.try_write(b"old").unwrap();
        assert_eq!(&p.s.try_read_bytes(9).unwrap()[..], b"old");
        p.client.close();
        p.server.close();
        drop(again);
        listen(&p._net, "127.0.0.1:80").unwrap();
    }

    #[test]
    fn foreign_addresses_cannot_be_bound() {
        let net = pod().container("one");
        for address in ["10.88.0.3:80", "8.8.8.8:80", "[fd77:6173:6d70:6f64::3]:80", "[2001:db8::1]:80"] {
            assert_eq!(tcp(&net, address).bind(at(address)), Err(NetError::AddressNotAvailable), "{address}");
            assert_eq!(udp(&net, address).unwrap_err(), NetError::AddressNotAvailable, "{address}");
        }
        assert_eq!(tcp(&net, "0.0.0.0:0").bind(at("[::1]:80")), Err(NetError::FamilyMismatch));
        assert_eq!(tcp(&net, "[::]:0").bind(at("127.0.0.1:80")), Err(NetError::FamilyMismatch));
        assert_eq!(tcp(&net, "[::]:0").bind(at("[::ffff:127.0.0.1]:80")), Err(NetError::InvalidArgument));
    }

    #[test]
    fn a_socket_is_bound_once() {
        let net = pod().container("one");
        let socket = tcp(&net, "0.0.0.0:0");
        assert_eq!(socket.local_address(), Ok(at("0.0.0.0:0")));
        socket.bind(at("127.0.0.1:0")).unwrap();
        let port = socket.local_address().unwrap().port();
        assert!((32768..=60999).contains(&port));
        assert_eq!(socket.bind(at("127.0.0.1:81")), Err(NetError::InvalidArgument));
    }
}

mod connecting {
    use super::*;

    #[test]
    fn both_ends_know_both_addresses() {
        let p = pair();
        let client = p.client.local_address().unwrap();
        assert_eq!(client.ip(), IpAddr::from([127, 0, 0, 1]));
        assert!((32768..=60999).contains(&client.port()));
        assert_eq!(p.server.remote_address(), Ok(client));
        assert_eq!(p.server.local_address(), Ok(at("127.0.0.1:80")));
        assert_eq!(p.client.remote_address(), p.server.local_address());
    }

    #[test]
    fn the_source_address_is_that_of_the_destination() {
        let net = pod().container("one");
        let listener = listen(&net, "0.0.0.0:80").unwrap();
        for (to, from) in [("127.0.0.1:80", "127.0.0.1"), ("127.0.0.9:80", "127.0.0.1"), ("10.88.0.2:80", "10.88.0.2")] {
            let _client = connect(&net, to).unwrap();
            assert_eq!(listener.accept().unwrap().remote_address().unwrap().ip(), from.parse::<IpAddr>().unwrap());
        }
        let bound = tcp(&net, "0.0.0.0:0");
        bound.bind(at("127.0.0.7:7")).unwrap();
        bound.connect(at("10.88.0.2:80")).unwrap();
        assert_eq!(listener.accept().unwrap().remote_address(), Ok(at("127.0.0.7:7")));
    }

    #[test]
    fn refused_without_a_listener_and_the_socket_can_try_again() {
        let net = pod().container("one");
        let socket = tcp(&net, "0.0.0.0:0");
        socket.bind(at("0.0.0.0:99")).unwrap();
        socket.connect(at("127.0.0.1:80")).unwrap();
        assert_eq!(socket.finish_connect(), Err(NetError::ConnectionRefused));
        assert_eq!(socket.local_address(), Ok(at("0.0.0.0:99")));
        let listener = listen(&net, "127.0.0.1:80").unwrap();
        socket.connect(at("127.0.0.1:80")).unwrap();
        socket.finish_connect().unwrap();
        assert_eq!(listener.accept().unwrap().remote_address(), Ok(at("127.0.0.1:99")));
    }

    #[test]
    fn a_bound_socket_that_does_not_listen_refuses() {
        let net = pod().container("one");
        let bound = tcp(&net, "0.0.0.0:0");
        bound.bind(at("127.0.0.1:80")).unwrap();
        assert_eq!(connect(&net, "127.0.0.1:80").unwrap_err(), NetError::ConnectionRefused);
    }

    #[test]
    fn states_answer_as_on_linux() {
        let p = pair();
        assert_eq!(p.client.connect(at("127.0.0.1:80")), Err(NetError::AlreadyConnected));
        assert_eq!(p.listener.connect(at("127.0.0.1:80")), Err(NetError::AlreadyConnected));
        assert_eq!(p.client.listen(), Err(NetError::InvalidArgument));
        assert_eq!(p.client.accept().unwrap_err(), NetError::InvalidArgument);
        assert_eq!(p.listener.accept().unwrap_err(), NetError::WouldBlock);
        assert_eq!(p.listener.listen(), Ok(()));
        assert_eq!(p.listener.stream().unwrap_err(), NetError::NotConnected);
        assert_eq!(p.listener.remote_address(), Err(NetError::NotConnected));
        assert_eq!((p.listener.state(), p.client.state()), (TcpState::Listening, TcpState::Connected));
    }

    #[test]
    fn what_is_no_peer_is_an_error_at_once() {
        let net = pod().container("one");
        let v4 = |address: &str| tcp(&net, "0.0.0.0:0").connect(at(address));
        let v6 = |address: &str| tcp(&net, "[::]:0").connect(at(address));
        assert_eq!(v4("[::1]:80"), Err(NetError::FamilyMismatch));
        assert_eq!(v4("127.0.0.1:0"), Err(NetError::InvalidArgument));
        assert_eq!(v4("224.0.0.1:80"), Err(NetError::InvalidArgument));
        assert_eq!(v4("255.255.255.255:80"), Err(NetError::InvalidArgument));
        assert_eq!(v6("[::ffff:127.0.0.1]:80"), Err(NetError::InvalidArgument));
        assert_eq!(v6("[ff02::1]:80"), Err(NetError::InvalidArgument));
        assert_eq!(v4("8.8.8.8:80"), Err(NetError::NetworkUnreachable));
        assert_eq!(v4("10.88.0.3:80"), Err(NetError::NetworkUnreachable));
        assert_eq!(v6("[2001:db8::1]:80"), Err(NetError::NetworkUnreachable));
    }

    #[test]
    fn ephemeral_ports_return_when_the_client_closes() {
        let net = pod();
        let one = net.container("one");
        let _listener = listen(&one, "0.0.0.0:80").unwrap();
        for _ in 0..30_000 {
            connect(&one, "127.0.0.1:80").map(|client| client.close()).unwrap();
            _listener.accept().unwrap();
        }
        assert_eq!((net.bound_count(), one.socket_count()), (1, 1));
    }
}

mod backlog {
    use super::*;

    #[test]
    fn a_connect_waits_while_the_backlog_is_full_and_completes_when_one_is_accepted() {
        let net = pod().container("one");
        let listener = tcp(&net, "0.0.0.0:0");
        listener.set_backlog(1);
        listener.bind(at("127.0.0.1:80")).unwrap();
        listener.listen().unwrap();
        let _established = [connect(&net, "127.0.0.1:80").unwrap(), connect(&net, "127.0.0.1:80").unwrap()];
        let late = tcp(&net, "0.0.0.0:0");
        late.connect(at("127.0.0.1:80")).unwrap();
        assert_eq!((late.finish_connect(), late.state()), (Err(NetError::WouldBlock), TcpState::Connecting));
        assert_eq!(late.connect(at("127.0.0.1:80")), Err(NetError::AlreadyInProgress));
        let count = Arc::new(Count::default());
        assert!(late.poll_ready(&mut Context::from_waker(&count.clone().into())).is_pending());
        listener.accept().unwrap();
        assert_eq!((count.get(), late.finish_connect()), (1, Ok(())));
        listener.accept().unwrap();
        assert_eq!(listener.accept().unwrap().remote_address(), late.local_address());
    }

    #[test]
    fn a_connect_given_up_leaves_no_trace() {
        let net = pod().container("one");
        let listener = tcp(&net, "0.0.0.0:0");
        listener.set_backlog(0);
        listener.bind(at("127.0.0.1:80")).unwrap();
        listener.listen().unwrap();
        let first = connect(&net, "127.0.0.1:80").unwrap();
        for _ in 0..10_000 {
            let late = tcp(&net, "0.0.0.0:0");
            late.connect(at("127.0.0.1:80")).unwrap();
        }
        assert_eq!(listener.accept().unwrap().remote_address(), first.local_address());
        assert_eq!(listener.accept().unwrap_err(), NetError::WouldBlock);
    }

    #[test]
    fn closing_the_listener_resets_what_is_established_and_refuses_what_waits() {
        let net = pod().container("one");
        let listener = tcp(&net, "0.0.0.0:0");
        listener.set_backlog(0);
        listener.bind(at("127.0.0.1:80")).unwrap();
        listener.listen().unwrap();
        let established = connect(&net, "127.0.0.1:80").unwrap();
        let waiting = tcp(&net, "0.0.0.0:0");
        waiting.connect(at("127.0.0.1:80")).unwrap();
        drop(listener);
        let stream = established.stream().unwrap();
        assert_eq!(stream.try_read(&mut [0; 9]), Err(NetError::ConnectionReset));
        assert_eq!(stream.try_read(&mut [0; 9]), Ok(0));
        assert_eq!(stream.try_write(b"x"), Err(NetError::BrokenPipe));
        assert_eq!(waiting.finish_connect(), Err(NetError::ConnectionRefused));
    }

    #[test]
    fn a_connection_closed_before_accept_is_still_accepted() {
        let p = pair();
        let early = connect(&p._net, "127.0.0.1:80").unwrap();
        early.stream().unwrap().try_write(b"bye").unwrap();
        drop(early);
        let stream = p.listener.accept().unwrap();
        let stream = stream.stream().unwrap();
        assert_eq!(&stream.try_read_bytes(9).unwrap()[..], b"bye");
        assert_eq!(stream.try_read(&mut [0; 9]), Ok(0));
    }

    #[test]
    fn accepted_sockets_inherit_the_listeners_options() {
        let net = pod().container("one");
        let listener = listen(&net, "127.0.0.1:80").unwrap();
        listener.set_options(|options| {
            options.hop_limit = 7;
            options.keep_alive = true;
            options.receive_buffer_bytes = 8192;
        });
        let client = connect(&net, "127.0.0.1:80").unwrap();
        let server = listener.accept().unwrap();
        assert_eq!(server.options(), listener.options());
        assert_eq!(client.stream().unwrap().try_write(&[0; 70_000]), Ok(8192));
    }
}

mod streams {
    use super::*;

    #[test]
    fn a_writer_stops_at_the_buffer_and_goes_on_when_a_good_part_is_read() {
        let p = pair();
        assert_eq!(p.c.try_write(&[7; 100_000]), Ok(65536));
        assert_eq!((p.c.try_write(&[7]), p.c.writable_bytes()), (Err(NetError::WouldBlock), Ok(0)));
        let count = Arc::new(Count::default());
        assert!(p.c.poll_writable(&mut Context::from_waker(&count.clone().into())).is_pending());
        assert_eq!(p.s.try_read(&mut [0; 16383]), Ok(16383));
        assert_eq!((count.get(), p.c.writable_bytes()), (0, Ok(16383)));
        assert_eq!(p.s.try_read(&mut [0; 1]), Ok(1));
        assert_eq!(count.get(), 1);
        assert!(is_ready(|cx| p.c.poll_writable(cx)));
    }

    #[test]
    fn empty_writes_cost_and_store_nothing() {
        let p = pair();
        for _ in 0..1_000_000 {
            assert_eq!(p.c.try_write(&[]), Ok(0));
        }
        assert_eq!(p.s.readable_bytes(), 0);
        assert_eq!(p.s.try_read(&mut [0; 1]), Err(NetError::WouldBlock));
    }

    #[test]
    fn half_close_ends_one_direction_only() {
        let p = pair();
        p.c.try_write(b"last").unwrap();
        p.client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(p.c.try_write(b"x"), Err(NetError::BrokenPipe));
        assert_eq!(&p.s.try_read_bytes(9).unwrap()[..], b"last");
        assert_eq!(p.s.try_read(&mut [0; 9]), Ok(0));
        p.s.try_write(b"still here").unwrap();
        assert_eq!(&p.c.try_read_bytes(99).unwrap()[..], b"still here");
        assert_eq!(p.client.shutdown(Shutdown::Write), Ok(()));
        p.server.shutdown(Shutdown::Write).unwrap();
        assert_eq!(p.client.remote_address(), Err(NetError::NotConnected));
        assert_eq!(p.client.shutdown(Shutdown::Write), Err(NetError::NotConnected));
    }

    #[test]
    fn closing_with_bytes_unread_resets_but_what_arrived_stays_readable() {
        let p = pair();
        p.c.try_write(b"ignored").unwrap();
        p.s.try_write(b"answer").unwrap();
        p.server.close();
        assert_eq!(&p.c.try_read_bytes(99).unwrap()[..], b"answer");
        assert_eq!(p.c.try_read(&mut [0; 9]), Err(NetError::ConnectionReset));
        assert_eq!(p.c.try_read(&mut [0; 9]), Ok(0));
        assert_eq!(p.c.try_write(b"x"), Err(NetError::BrokenPipe));
    }

    #[test]
    fn closing_with_nothing_unread_is_an_end_and_the_first_write_after_it_is_lost() {
        let p = pair();
        p.server.close();
        assert_eq!(p.c.try_read(&mut [0; 9]), Ok(0));
        assert_eq!(p.c.try_write(b"lost"), Ok(4));
        assert_eq!(p.c.try_write(b"x"), Err(NetError::BrokenPipe));
        assert_eq!(p.c.try_read(&mut [0; 9]), Ok(0));
    }

    #[test]
    fn after_shutdown_of_reading_bytes_can_be_read_and_nothing_waits() {
        let p = pair();
        p.server.shutdown(Shutdown::Read).unwrap();
        assert_eq!(p.s.try_read(&mut [0; 9]), Ok(0));
        assert_eq!(p.c.try_write(b"more"), Ok(4));
        assert_eq!(&p.s.try_read_bytes(9).unwrap()[..], b"more");
        p.server.shutdown(Shutdown::Write).unwrap();
        assert_eq!(p.c.try_write(b"unwanted"), Ok(8));
        assert_eq!(p.c.try_write(b"x"), Err(NetError::BrokenPipe));
        assert_eq!(p.s.try_read(&mut [0; 9]), Err(NetError::ConnectionReset));
    }

    #[test]
    fn every_task_that_waits_on_one_end_is_woken() {
        let p = pair();
        let counts: Vec<_> = (0..10).map(|_| Arc::new(Count::default())).collect();
        for count in &counts {
            assert!(p.s.poll_readable(&mut Context::from_waker(&count.clone().into())).is_pending());
        }
        p.c.try_write(b"x").unwrap();
        assert!(counts.iter().all(|count| count.get() == 1));
    }

    #[test]
    fn whoever_waits_learns_of_close_shutdown_and_reset() {
        let waits = |act: fn(&Pair)| {
            let p = pair();
            p.c.try_write(&[0; 65536]).unwrap();
            let (reader, writer) = (Arc::new(Count::default()), Arc::new(Count::default()));
            assert!(p.c.poll_readable(&mut Context::from_waker(&reader.clone().into())).is_pending());
            assert!(p.c.poll_writable(&mut Context::from_waker(&writer.clone().into())).is_pending());
            act(&p);
            (reader.get(), writer.get())
        };
        assert_eq!(waits(|p| p.server.close()), (1, 1));
        assert_eq!(waits(|p| p.client.close()), (1, 1));
        assert_eq!(waits(|p| p._net.close()), (1, 1));
        assert_eq!(waits(|p| p.client.shutdown(Shutdown::Both).unwrap()), (1, 1));
        assert_eq!(waits(|p| p.server.shutdown(Shutdown::Write).unwrap()).0, 1);
    }

    #[test]
    fn peeked_bytes_stay() {
        let p = pair();
        p.c.try_write(b"abc").unwrap();
        let mut buffer = [0; 2];
        assert_eq!((p.s.try_peek(&mut buffer), buffer), (Ok(2), *b"ab"));
        assert_eq!(p.s.readable_bytes(), 3);
    }
}

mod datagrams {
    use super::*;

    fn payload(socket: &UdpSocket) -> Result<Vec<u8>, NetError> {
        socket.receive().map(|datagram| datagram.payload.to_vec())
    }

    #[test]
    fn boundaries_are_kept_and_empty_ones_arrive() {
        let net = pod().container("one");
        let (a, b) = (udp(&net, "127.0.0.1:0").unwrap(), udp(&net, "127.0.0.1:53").unwrap());
        for bytes in [&b"one"[..], b"", b"three"] {
            a.send(bytes, Some(at("127.0.0.1:53"))).unwrap();
        }
        assert_eq!(b.receive().unwrap(), Datagram { payload: "one".into(), remote: a.local_address().unwrap() });
        assert_eq!((payload(&b).unwrap(), payload(&b).unwrap()), (b"".to_vec(), b"three".to_vec()));
        assert_eq!(b.receive(), Err(NetError::WouldBlock));
    }

    #[test]
    fn the_largest_datagram_passes_and_one_byte_more_does_not() {
        let net = pod().container("one");
        for (address, max) in [("127.0.0.1:53", 65507), ("[::1]:53", 65527)] {
            let socket = udp(&net, address).unwrap();
            socket.send(&vec![1; max], Some(at(address))).unwrap();
            assert_eq!(payload(&socket).unwrap().len(), max);
            assert_eq!(socket.send(&vec![1; max + 1], Some(at(address))), Err(NetError::DatagramTooLarge));
        }
    }

    #[test]
    fn when_the_receiver_is_full_datagrams_are_dropped_empty_ones_too() {
        let net = pod().container("one");
        let socket = udp(&net, "127.0.0.1:53").unwrap();
        for length in [0, 1000] {
            for _ in 0..10_000 {
                socket.send(&vec![0; length], Some(at("127.0.0.1:53"))).unwrap();
            }
            let received = std::iter::from_fn(|| socket.receive().ok()).count();
            assert_eq!(received, limits::UDP_BUFFER_DEFAULT_BYTES / (length + limits::UDP_DATAGRAM_OVERHEAD_BYTES));
        }
    }

    #[test]
    fn a_connected_socket_hears_its_peer_alone() {
        let net = pod().container("one");
        let [a, peer, other] = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"].map(|address| udp(&net, address).unwrap());
        a.connect(at("127.0.0.1:2")).unwrap();
        other.send(b"no", Some(at("127.0.0.1:1"))).unwrap();
        peer.send(b"yes", Some(at("127.0.0.1:1"))).unwrap();
        assert_eq!((payload(&a), payload(&a)), (Ok(b"yes".to_vec()), Err(NetError::WouldBlock)));
        a.send(b"back", None).unwrap();
        assert_eq!(payload(&peer).unwrap(), b"back");
        a.disconnect();
        other.send(b"now", Some(at("127.0.0.1:1"))).unwrap();
        assert_eq!(payload(&a).unwrap(), b"now");
        assert_eq!(a.send(b"whom", None), Err(NetError::DestinationRequired));
    }

    #[test]
    fn a_connected_socket_learns_once_that_the_port_is_closed() {
        let net = pod().container("one");
        let socket = udp(&net, "127.0.0.1:1").unwrap();
        socket.send(b"unheard", Some(at("127.0.0.1:2"))).unwrap();
        assert_eq!(socket.receive(), Err(NetError::WouldBlock));
        socket.connect(at("127.0.0.1:2")).unwrap();
        socket.send(b"unheard", None).unwrap();
        assert!(is_ready(|cx| socket.poll_readable(cx)));
        assert_eq!(socket.receive(), Err(NetError::ConnectionRefused));
        assert_eq!(socket.receive(), Err(NetError::WouldBlock));
        socket.send(b"unheard", None).unwrap();
        assert_eq!(socket.send(b"unheard", None), Err(NetError::ConnectionRefused));
    }

    #[test]
    fn an_unbound_socket_binds_when_it_sends_and_narrows_when_it_connects() {
        let net = pod().container("one");
        let server = udp(&net, "0.0.0.0:53").unwrap();
        let socket = net.udp_socket(AddressFamily::Ipv4).unwrap();
        socket.send(b"x", Some(at("10.88.0.2:53"))).unwrap();
        let local = socket.local_address().unwrap();
        assert!(local.ip().is_unspecified() && local.port() >= 32768);
        assert_eq!(server.receive().unwrap().remote, SocketAddr::new([10, 88, 0, 2].into(), local.port()));
        socket.connect(at("0.0.0.0:53")).unwrap();
        assert_eq!(socket.local_address().unwrap(), SocketAddr::new([127, 0, 0, 1].into(), local.port()));
        assert_eq!(socket.remote_address(), Ok(at("127.0.0.1:53")));
    }
}

mod containers {
    use super::*;

    #[test]
    fn closing_a_container_frees_its_ports_and_ends_its_connections() {
        let net = pod();
        let (one, two) = (net.container("one"), net.container("two"));
        let listener = listen(&one, "0.0.0.0:80").unwrap();
        let _datagrams = udp(&one, "0.0.0.0:80").unwrap();
        let client = connect(&two, "127.0.0.1:80").unwrap();
        let server = listener.accept().unwrap();
        let queued = connect(&two, "127.0.0.1:80").unwrap();
        server.stream().unwrap().try_write(b"said before").unwrap();
        let count = Arc::new(Count::default());
        assert!(listener.poll_ready(&mut Context::from_waker(&count.clone().into())).is_ready());
        one.close();
        assert_eq!(net.bound_count(), 2, "the two clients");
        assert_eq!(&client.stream().unwrap().try_read_bytes(99).unwrap()[..], b"said before");
        assert_eq!(client.stream().unwrap().try_read(&mut [0; 9]), Ok(0));
        assert_eq!(queued.stream().unwrap().try_read(&mut [0; 9]), Err(NetError::ConnectionReset));
        assert_eq!(listener.state(), TcpState::Closed);
        assert_eq!(one.tcp_socket(AddressFamily::Ipv4).unwrap_err(), NetError::ConnectionAborted);
        listen(&two, "0.0.0.0:80").unwrap();
    }

    #[test]
    fn dropping_the_last_handle_closes_too() {
        let net = pod();
        let one = net.container("one");
        let clone = one.clone();
        let _listener = listen(&one, "0.0.0.0:80").unwrap();
        drop(one);
        assert_eq!(net.bound_count(), 1);
        drop(clone);
        assert_eq!(net.bound_count(), 0);
    }

    #[test]
    fn a_container_has_no_more_sockets_than_its_limit() {
        let net = pod();
        let (one, two) = (net.container("one"), net.container("two"));
        let listener = listen(&one, "0.0.0.0:80").unwrap();
        let mut sockets: Vec<_> = (1..limits::SOCKETS_PER_CONTAINER_MAX).map(|_| tcp(&one, "0.0.0.0:0")).collect();
        assert_eq!(one.udp_socket(AddressFamily::Ipv4).unwrap_err(), NetError::TooManySockets);
        let client = connect(&two, "127.0.0.1:80").unwrap();
        assert_eq!(listener.accept().unwrap_err(), NetError::TooManySockets);
        sockets.pop();
        assert_eq!(listener.accept().unwrap().remote_address(), client.local_address());
    }

    #[test]
    fn a_hundred_pods_listen_on_one_port_and_each_is_reached_at_its_own_address() {
        let pool = AddressPool::new();
        let pods: Vec<_> = (0..100)
            .map(|number: u32| {
                let addresses = pool.take().unwrap();
                let net =
                    PodNet::new(PodNetConfig { hostname: format!("pod-{number}"), host_aliases: vec![], addresses, gateway: None });
                let container = net.container("one");
                let listener = listen(&container, "0.0.0.0:8080").unwrap();
                (net, container, listener)
            })
            .collect();
        for (net, _, listener) in &pods {
            let address = SocketAddr::new(net.address(AddressFamily::Ipv4), 8080);
            for (from, container, _) in &pods {
                let client = connect(container, &address.to_string()).unwrap();
                let server = listener.accept().unwrap();
                assert_eq!(server.remote_address().unwrap().ip(), from.address(AddressFamily::Ipv4));
                assert_eq!((client.remote_address(), server.local_address()), (Ok(address), Ok(address)));
            }
            assert_eq!(listener.accept().unwrap_err(), NetError::WouldBlock);
        }
    }
}

mod outside {
    use super::*;

    /// Everything but one address is out of bounds; keeps what it is asked to do.
    #[derive(Debug, Default)]
    struct Fake {
        dials: Mutex<Vec<Dial>>,
        channels: Mutex<Vec<OutsideChannel>>,
    }

    impl Gateway for Fake {
        fn allows(&self, _: Protocol, remote: SocketAddr) -> bool {
            remote == at("1.2.3.4:80")
        }
        fn connect_tcp(&self, dial: Dial) {
            self.dials.lock().unwrap().push(dial);
        }
        fn open_udp(&self, channel: OutsideChannel) {
            self.channels.lock().unwrap().push(channel);
        }
        fn resolve(&self, name: &str) -> LookupFuture {
            let answer =
                if name == "example.com" { Ok(vec!["::ffff:1.2.3.4".parse().unwrap()]) } else { Err(NetError::NameUnresolvable) };
            Box::pin(std::future::ready(answer))
        }
    }

    fn pod_with_gateway() -> (Arc<Fake>, ContainerNet) {
        let fake = Arc::new(Fake::default());
        let (addresses, gateway) = (AddressPool::new().take().unwrap(), Some(fake.clone() as Arc<dyn Gateway>));
        let net = PodNet::new(PodNetConfig { hostname: "shop".into(), host_aliases: vec![], addresses, gateway });
        (fake, net.container("one"))
    }

    #[test]
    fn a_connection_to_the_outside_is_like_any_other() {
        let (fake, net) = pod_with_gateway();
        let socket = tcp(&net, "0.0.0.0:0");
        socket.connect(at("1.2.3.4:80")).unwrap();
        assert_eq!(socket.finish_connect(), Err(NetError::WouldBlock));
        assert!(!is_ready(|cx| socket.poll_ready(cx)));
        let outside = fake.dials.lock().unwrap().pop().unwrap().established().unwrap();
        assert!(is_ready(|cx| socket.poll_ready(cx)), "for finish_connect");
        socket.finish_connect().unwrap();
        assert!(!is_ready(|cx| socket.poll_ready(cx)), "for reading");
        assert_eq!(socket.remote_address(), Ok(at("1.2.3.4:80")));
        assert_eq!(socket.local_address().unwrap().ip(), IpAddr::from([10, 88, 0, 2]));
        socket.stream().unwrap().try_write(b"GET /").unwrap();
        assert_eq!(&outside.try_read_bytes(9).unwrap()[..], b"GET /");
        outside.close();
        assert_eq!(socket.stream().unwrap().try_read(&mut [0; 9]), Ok(0));
    }

    #[test]
    fn a_dial_that_is_dropped_refuses_and_one_given_up_says_so() {
        let (fake, net) = pod_with_gateway();
        let socket = tcp(&net, "0.0.0.0:0");
        socket.connect(at("1.2.3.4:80")).unwrap();
        fake.dials.lock().unwrap().clear();
        assert_eq!(socket.finish_connect(), Err(NetError::ConnectionRefused));
        socket.connect(at("1.2.3.4:80")).unwrap();
        drop(socket);
        let dial = fake.dials.lock().unwrap().pop().unwrap();
        assert!(is_ready(|cx| dial.poll_abandoned(cx)));
        assert!(dial.established().is_none());
    }

    #[test]
    fn the_policy_and_other_pods_addresses_are_asked_for_first() {
        let (fake, net) = pod_with_gateway();
        assert_eq!(tcp(&net, "0.0.0.0:0").connect(at("1.2.3.4:81")), Err(NetError::AccessDenied));
        assert_eq!(tcp(&net, "0.0.0.0:0").connect(at("10.88.0.3:80")), Err(NetError::NetworkUnreachable));
        let loopback = tcp(&net, "0.0.0.0:0");
        loopback.bind(at("127.0.0.1:0")).unwrap();
        assert_eq!(loopback.connect(at("1.2.3.4:80")), Err(NetError::InvalidArgument));
        assert_eq!(udp(&net, "0.0.0.0:0").unwrap().send(b"x", Some(at("9.9.9.9:53"))), Err(NetError::AccessDenied));
        assert_eq!(udp(&net, "0.0.0.0:0").unwrap().connect(at("9.9.9.9:53")), Err(NetError::AccessDenied));
        assert!(fake.dials.lock().unwrap().is_empty() && fake.channels.lock().unwrap().is_empty());
    }

    #[test]
    fn datagrams_leave_through_one_channel_and_the_answers_come_back() {
        let (fake, net) = pod_with_gateway();
        let socket = udp(&net, "0.0.0.0:0").unwrap();
        for _ in 0..1000 {
            socket.send(b"query", Some(at("1.2.3.4:80"))).unwrap();
        }
        let channel = fake.channels.lock().unwrap().pop().unwrap();
        assert!(fake.channels.lock().unwrap().is_empty());
        let cx = &mut Context::from_waker(Waker::noop());
        for _ in 0..limits::EGRESS_DATAGRAMS_QUEUED_MAX {
            let expected = Datagram { payload: "query".into(), remote: at("1.2.3.4:80") };
            assert_eq!(channel.poll_outgoing(cx), Poll::Ready(Some(expected)));
        }
        assert!(channel.poll_outgoing(cx).is_pending());
        channel.deliver(b"answer", at("1.2.3.4:80"));
        assert_eq!(socket.receive().unwrap().payload, "answer");
        drop(socket);
        assert_eq!(channel.poll_outgoing(cx), Poll::Ready(None));
    }

    #[tokio::test]
    async fn names_that_the_pod_does_not_know_go_to_the_gateway() {
        let (_, net) = pod_with_gateway();
        assert_eq!(net.resolve("Example.COM.").addresses().await, Ok(vec!["1.2.3.4".parse().unwrap()]));
        assert_eq!(net.resolve("nowhere.test").addresses().await, Err(NetError::NameUnresolvable));
        assert_eq!(net.resolve("localhost").addresses().await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_host_port_reaches_the_pods_address_and_a_port_forward_the_loopback_too() {
        let net = pod();
        let one = net.container("one");
        let client = at("9.8.7.6:1000");
        let loopback = listen(&one, "127.0.0.1:80").unwrap();
        assert_eq!(net.dial(80, client, Reach::PodAddress).await.unwrap_err(), NetError::ConnectionRefused);
        net.dial(80, client, Reach::Loopback("127.0.0.1".parse().unwrap())).await.unwrap();
        assert_eq!(loopback.accept().unwrap().remote_address(), Ok(client));
        let wildcard = listen(&one, "[::]:81").unwrap();
        net.dial(81, client, Reach::PodAddress).await.unwrap();
        assert_eq!(wildcard.accept().unwrap().remote_address(), Ok(at("[fd77:6173:6d70:6f64::1]:1000")));
    }

    #[tokio::test]
    async fn a_client_on_the_hosts_loopback_does_not_look_like_the_pods_own() {
        let net = pod();
        let listener = listen(&net.container("one"), "0.0.0.0:80");
        drop(listener);
        let one = net.container("one");
        let listener = listen(&one, "0.0.0.0:80").unwrap();
        net.dial(80, at("127.0.0.1:1000"), Reach::PodAddress).await.unwrap();
        assert_eq!(listener.accept().unwrap().remote_address(), Ok(at("10.88.0.1:1000")));
    }
}
