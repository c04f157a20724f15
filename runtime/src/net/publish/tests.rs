//! Published ports and the way out, over the machine's own loopback.

use super::*;
use crate::ErrorKind;
use crate::net::tests::pod;
use crate::net::{
    AddressFamily, AddressPool, ClusterPod, ContainerNet, Dial, EgressPolicy, Gateway, LookupFuture, NetError, OutsideChannel,
    PodAddresses, PodNetConfig, ServiceConfig, ServiceKind, ServicePort, TargetPort, TcpSocket, UdpSocket,
};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ANY_PORT: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

fn listen(container: &ContainerNet, address: &str) -> TcpSocket {
    let address: SocketAddr = address.parse().unwrap();
    let socket = container.tcp_socket(AddressFamily::of(address.ip())).unwrap();
    socket.bind(address).unwrap();
    socket.listen().unwrap();
    socket
}

fn bound_udp(container: &ContainerNet, address: &str) -> UdpSocket {
    let address: SocketAddr = address.parse().unwrap();
    let socket = container.udp_socket(AddressFamily::of(address.ip())).unwrap();
    socket.bind(address).unwrap();
    socket
}

#[tokio::test]
async fn bytes_and_half_closes_pass_both_ways() {
    let net = pod();
    let one = net.container("one");
    let listener = listen(&one, "0.0.0.0:80");
    let published = publish_tcp(&net, ANY_PORT.into(), 80).await.unwrap();
    let mut client = TcpStream::connect(published.address()).await.unwrap();
    let payload: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let echo = async {
        let server = listener.accepted().await.unwrap();
        let stream = server.stream().unwrap();
        let mut received = Vec::new();
        let mut buffer = [0; 5000];
        loop {
            match stream.read(&mut buffer).await.unwrap() {
                0 => break,
                length => received.extend_from_slice(&buffer[..length]),
            }
        }
        stream.write_all(&received).await.unwrap();
    };
    let talk = async {
        client.write_all(&payload).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let ((), answer) = tokio::join!(echo, talk);
    assert!(answer == payload);
}

#[tokio::test]
async fn a_listener_on_loopback_only_is_not_reached() {
    let net = pod();
    let one = net.container("one");
    let _listener = listen(&one, "127.0.0.1:80");
    let published = publish_tcp(&net, ANY_PORT.into(), 80).await.unwrap();
    let mut client = TcpStream::connect(published.address()).await.unwrap();
    assert_eq!(client.read(&mut [0; 9]).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_reset_in_the_pod_is_a_reset_outside() {
    let net = pod();
    let one = net.container("one");
    let listener = listen(&one, "[::]:80");
    let published = publish_tcp(&net, ANY_PORT.into(), 80).await.unwrap();
    let mut client = TcpStream::connect(published.address()).await.unwrap();
    client.write_all(b"unread").await.unwrap();
    let server = listener.accepted().await.unwrap();
    server.stream().unwrap().readable().await;
    drop(server);
    assert_eq!(client.read(&mut [0; 9]).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

/// A listener that takes connections over, and what publishes it.
async fn taker(net: &PodNet) -> (ContainerNet, TcpSocket, Published) {
    let container = net.container("server");
    let listener = listen(&container, "0.0.0.0:80");
    listener.take_over();
    let published = publish_tcp(net, ANY_PORT.into(), 80).await.unwrap();
    (container, listener, published)
}

#[tokio::test]
async fn a_connection_that_is_taken_over_carries_bytes_both_ways_and_ends_in_order() {
    let (_container, listener, published) = taker(&pod()).await;
    let mut client = TcpStream::connect(published.address()).await.unwrap();
    let mut server = PodStream::of_socket(listener.accepted().await.unwrap()).unwrap();
    client.write_all(b"question").await.unwrap();
    let mut buffer = [0; 8];
    server.read_exact(&mut buffer).await.unwrap();
    server.write_all(b"answer").await.unwrap();
    drop(server);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!((&buffer, answer.as_str()), (b"question", "answer"));
}

#[tokio::test]
async fn a_connection_that_is_taken_over_is_cut_when_its_port_is_published_no_more() {
    let (_container, listener, published) = taker(&pod()).await;
    let mut client = TcpStream::connect(published.address()).await.unwrap();
    let mut server = PodStream::of_socket(listener.accepted().await.unwrap()).unwrap();
    drop(published);
    assert_eq!(server.read(&mut [0; 1]).await.unwrap_or(0), 0);
    drop(server);
    assert_eq!(client.read(&mut [0; 1]).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_connection_that_nobody_takes_over_is_reset_when_the_listener_closes() {
    let (_container, listener, published) = taker(&pod()).await;
    let mut client = TcpStream::connect(published.address()).await.unwrap();
    std::future::poll_fn(|cx| listener.poll_ready(cx)).await;
    drop(listener);
    assert_eq!(client.read(&mut [0; 1]).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_error() {
    let net = pod();
    let first = publish_tcp(&net, ANY_PORT.into(), 80).await.unwrap();
    let error = publish_tcp(&net, first.address(), 80).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains(&first.address().to_string()), "{error}");
    assert!(error.advice().unwrap().contains("another port"));
    let address = first.address();
    drop(first);
    // The task that held the port ends at its next turn.
    while publish_tcp(&net, address, 80).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn datagrams_find_the_pod_and_their_way_back_to_each_client() {
    let net = pod();
    let one = net.container("one");
    let server = bound_udp(&one, "0.0.0.0:53");
    let published = publish_udp(&net, ANY_PORT.into(), 53).await.unwrap();
    let [a, b] = [
        tokio::net::UdpSocket::bind(SocketAddr::from(ANY_PORT)).await.unwrap(),
        tokio::net::UdpSocket::bind(SocketAddr::from(ANY_PORT)).await.unwrap(),
    ];
    for (client, name) in [(&a, "a"), (&b, "b")] {
        client.send_to(name.as_bytes(), published.address()).await.unwrap();
        let datagram = server.received().await.unwrap();
        assert_eq!(datagram.payload, name);
        assert_eq!(datagram.remote.ip(), AddressPool::outside(AddressFamily::Ipv4));
        server.send(format!("hello {name}").as_bytes(), Some(datagram.remote)).unwrap();
    }
    for (client, expected) in [(&b, "hello b"), (&a, "hello a")] {
        let mut buffer = [0; 99];
        let (length, from) = client.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..length], from), (expected.as_bytes(), published.address()));
    }
    drop(published);
    while !net.clients().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_datagrams_of_a_client_of_a_service_stay_with_a_pod_as_long_as_it_is_ready() {
    let cluster = Cluster::new();
    let pods = [0, 1].map(|_| {
        let config =
            PodNetConfig { hostname: "dns".into(), host_aliases: vec![], addresses: cluster.take().unwrap(), gateway: None };
        let net = PodNet::new(config);
        let place = cluster.join(
            ClusterPod { namespace: "default".into(), labels: [("app".into(), "dns".into())].into(), ..ClusterPod::default() },
            &net,
        );
        place.set_ready(true);
        let container = net.container("one");
        let socket = bound_udp(&container, "0.0.0.0:5353");
        (net, place, socket, container)
    });
    let port =
        ServicePort { name: String::new(), port: 53, target: TargetPort::Number(5353), protocol: Protocol::Udp, node_port: None };
    let config = ServiceConfig {
        name: "dns".into(),
        namespace: "default".into(),
        kind: ServiceKind::LoadBalancer,
        selector: [("app".into(), "dns".into())].into(),
        ports: vec![port],
        publish_not_ready: false,
        client_ip_affinity: false,
    };
    let service = SocketAddr::new(cluster.add_service(config).unwrap()[0], 53);
    let published = publish_service(&cluster, Protocol::Udp, ANY_PORT.into(), service).await.unwrap();
    let clients = [
        tokio::net::UdpSocket::bind(SocketAddr::from(ANY_PORT)).await.unwrap(),
        tokio::net::UdpSocket::bind(SocketAddr::from(ANY_PORT)).await.unwrap(),
    ];
    let ask = async |client: usize, pod: usize| {
        clients[client].send_to(b"who?", published.address()).await.unwrap();
        let socket = &pods[pod].2;
        let question = socket.received().await.unwrap();
        socket.send(format!("pod {pod}").as_bytes(), Some(question.remote)).unwrap();
        let mut buffer = [0; 9];
        let (length, from) = clients[client].recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..length], from), (format!("pod {pod}").as_bytes(), published.address()));
    };
    // Each client has its own pod.
    for (client, pod) in [(0, 0), (1, 1), (0, 0), (1, 1)] {
        ask(client, pod).await;
    }
    pods[0].1.set_ready(false);
    ask(0, 1).await;
    assert!(pods[0].0.clients().is_empty(), "the pod that is not asked any more cannot answer");
    assert_eq!(pods[1].0.clients().len(), 2);
    drop(published);
    while !pods[1].0.clients().is_empty() {
        tokio::task::yield_now().await;
    }
}

/// The host's gateway with the policy turned upside down, so that a test needs nothing but the loopback.
#[derive(Debug)]
struct LoopbackGateway(HostGateway, SocketAddr);

impl Gateway for LoopbackGateway {
    fn allows(&self, _: Protocol, _remote: SocketAddr) -> bool {
        true
    }
    fn connect_tcp(&self, dial: Dial) {
        let target = self.1;
        self.0.spawn(self.0.permit().unwrap(), async move {
            match TcpStream::connect(target).await {
                Ok(socket) => pump(socket, PodStream::new(dial.established().unwrap())).await,
                Err(error) => dial.failed(host_gateway::net_error(&error)),
            }
        });
    }
    fn open_udp(&self, channel: OutsideChannel) {
        self.0.open_udp(channel);
    }
    fn resolve(&self, name: &str) -> LookupFuture {
        self.0.resolve(name)
    }
}

fn pod_beside(target: SocketAddr) -> PodNet {
    let gateway = HostGateway::new(EgressPolicy::Internet, tokio::runtime::Handle::current());
    PodNet::new(PodNetConfig {
        hostname: "shop".into(),
        host_aliases: vec![],
        addresses: AddressPool::new().take().unwrap(),
        gateway: Some(Arc::new(LoopbackGateway(gateway, target))),
    })
}

#[tokio::test]
async fn a_guest_talks_to_a_server_outside() {
    let listener = TcpListener::bind(SocketAddr::from(ANY_PORT)).await.unwrap();
    let net = pod_beside(listener.local_addr().unwrap()).container("one");
    let socket = net.tcp_socket(AddressFamily::Ipv4).unwrap();
    let (stream, accepted) = tokio::join!(socket.connected("1.2.3.4:80".parse().unwrap()), listener.accept());
    let (stream, mut server) = (stream.unwrap(), accepted.unwrap().0);
    stream.write_all(b"ping").await.unwrap();
    stream.shutdown(crate::net::Shutdown::Write).unwrap();
    let mut request = Vec::new();
    server.read_to_end(&mut request).await.unwrap();
    assert_eq!(request, b"ping");
    server.write_all(b"pong").await.unwrap();
    let mut buffer = [0; 9];
    assert_eq!(stream.read(&mut buffer).await, Ok(4));
    drop(server);
    assert_eq!(stream.read(&mut buffer).await, Ok(0));
}

#[tokio::test]
async fn nobody_there_is_refused() {
    let listener = TcpListener::bind(SocketAddr::from(ANY_PORT)).await.unwrap();
    let target = listener.local_addr().unwrap();
    drop(listener);
    let net = pod_beside(target).container("one");
    let socket = net.tcp_socket(AddressFamily::Ipv4).unwrap();
    assert_eq!(socket.connected("1.2.3.4:80".parse().unwrap()).await.unwrap_err(), NetError::ConnectionRefused);
}

#[tokio::test]
async fn the_policy_keeps_a_guest_off_the_host() {
    let canary = TcpListener::bind(SocketAddr::from(ANY_PORT)).await.unwrap();
    let gateway = HostGateway::new(EgressPolicy::Internet, tokio::runtime::Handle::current());
    let addresses = AddressPool::new().take().unwrap();
    let config = PodNetConfig { hostname: "shop".into(), host_aliases: vec![], addresses, gateway: Some(Arc::new(gateway)) };
    let net = PodNet::new(config).container("one");
    let port = canary.local_addr().unwrap().port();
    let attempts = [
        ("127.0.0.1", NetError::ConnectionRefused),
        ("0.0.0.0", NetError::ConnectionRefused),
        ("::1", NetError::ConnectionRefused),
        ("::", NetError::ConnectionRefused),
        ("::ffff:127.0.0.1", NetError::InvalidArgument),
        ("64:ff9b::7f00:1", NetError::AccessDenied),
        ("169.254.169.254", NetError::AccessDenied),
        ("fe80::1", NetError::AccessDenied),
        ("10.88.0.1", NetError::AccessDenied),
        ("10.88.0.99", NetError::NetworkUnreachable),
    ];
    for (ip, expected) in attempts {
        let remote = SocketAddr::new(ip.parse().unwrap(), port);
        let tcp = net.tcp_socket(AddressFamily::of(remote.ip())).unwrap();
        assert_eq!(tcp.connected(remote).await.unwrap_err(), expected, "{ip}");
        let udp = net.udp_socket(AddressFamily::of(remote.ip())).unwrap();
        assert_eq!(
            udp.send(b"x", Some(remote)).err(),
            Some(expected).filter(|error| *error != NetError::ConnectionRefused),
            "{ip}"
        );
    }
    let accepted = std::future::poll_fn(|cx| std::task::Poll::Ready(canary.poll_accept(cx).is_ready())).await;
    assert!(!accepted, "a guest reached the host");
}

/// A pod that may reach outside what `policy` says.
fn pod_with_egress(policy: &str) -> PodNet {
    let gateway = HostGateway::new(EgressPolicy::parse(policy).unwrap(), tokio::runtime::Handle::current());
    let addresses = AddressPool::new().take().unwrap();
    PodNet::new(PodNetConfig { hostname: "shop".into(), host_aliases: vec![], addresses, gateway: Some(Arc::new(gateway)) })
}

#[tokio::test]
async fn the_machine_is_reached_under_its_name_where_the_policy_has_it() {
    let listener = TcpListener::bind(SocketAddr::from(ANY_PORT)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let net = pod_with_egress(&format!("host.wasmpod.internal:{port}")).container("one");
    let machine = net.resolve("host.wasmpod.internal").addresses().await.unwrap();
    assert_eq!(machine, [AddressPool::outside(AddressFamily::Ipv4)]);
    let socket = net.tcp_socket(AddressFamily::Ipv4).unwrap();
    let (stream, accepted) = tokio::join!(socket.connected(SocketAddr::new(machine[0], port)), listener.accept());
    stream.unwrap().write_all(b"ping").await.unwrap();
    let mut buffer = [0; 4];
    accepted.unwrap().0.read_exact(&mut buffer).await.unwrap();
    assert_eq!((&buffer, socket.remote_address()), (b"ping", Ok(SocketAddr::new(machine[0], port))));

    let other = net.tcp_socket(AddressFamily::Ipv4).unwrap();
    assert_eq!(other.connect(SocketAddr::new(machine[0], port ^ 1)), Err(NetError::AccessDenied));
    let own = net.tcp_socket(AddressFamily::Ipv4).unwrap();
    assert_eq!(own.connected(listener.local_addr().unwrap()).await.err(), Some(NetError::ConnectionRefused), "its own loopback");
    for policy in ["internet", "none", "0.0.0.0/0, ::/0", "*.wasmpod.internal"] {
        let net = pod_with_egress(policy).container("one");
        let closed = net.tcp_socket(AddressFamily::Ipv4).unwrap();
        assert_eq!(closed.connect(SocketAddr::new(machine[0], port)), Err(NetError::AccessDenied), "{policy}");
    }
}

#[tokio::test]
async fn datagrams_to_the_machine_are_answered_by_it() {
    let server = tokio::net::UdpSocket::bind(SocketAddr::from(ANY_PORT)).await.unwrap();
    let machine = SocketAddr::new(AddressPool::outside(AddressFamily::Ipv4), server.local_addr().unwrap().port());
    let net = pod_with_egress("udp://host.wasmpod.internal").container("one");
    let guest = bound_udp(&net, "0.0.0.0:0");
    guest.send(b"ping", Some(machine)).unwrap();
    let mut buffer = [0; 9];
    let (length, client) = server.recv_from(&mut buffer).await.unwrap();
    server.send_to(b"pong", client).await.unwrap();
    let answer = guest.received().await.unwrap();
    assert_eq!((&buffer[..length], &answer.payload[..], answer.remote), (&b"ping"[..], &b"pong"[..], machine));
}

#[tokio::test]
async fn names_that_mean_the_host_do_not_resolve() {
    let gateway = HostGateway::new(EgressPolicy::Internet, tokio::runtime::Handle::current());
    assert_eq!(gateway.resolve("127.0.0.1").await, Err(NetError::NameUnresolvable));
    assert_eq!(gateway.resolve("1.2.3.4").await, Ok(vec!["1.2.3.4".parse().unwrap()]));
    let deny = HostGateway::new(EgressPolicy::Deny, tokio::runtime::Handle::current());
    assert_eq!(deny.resolve("1.2.3.4").await, Err(NetError::NameUnresolvable));
}

/// A port that nobody has on any address of the machine: pods choose their own without asking it.
fn free_port() -> u16 {
    std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

/// A pod whose network namespace is this process's own.
fn pod_in_namespace(mirrors: Mirrors) -> PodNet {
    let gateway = HostGateway::in_namespace(EgressPolicy::Internet, tokio::runtime::Handle::current(), mirrors);
    let addresses = PodAddresses::of_namespace(None, None).unwrap();
    PodNet::new(PodNetConfig { hostname: "pod".into(), host_aliases: vec![], addresses, gateway: Some(Arc::new(gateway)) })
}

#[tokio::test]
async fn a_wildcard_listener_of_a_pod_in_a_namespace_is_reached_from_outside_and_its_port_is_taken() {
    let net = pod_in_namespace(Mirrors::All);
    let one = net.container("one");
    let listener = listen(&one, "0.0.0.0:0");
    let port = listener.local_address().unwrap().port();
    assert_eq!(std::net::TcpListener::bind(("0.0.0.0", port)).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let server = listener.accepted().await.unwrap();
    server.stream().unwrap().write_all(b"hello").await.unwrap();
    drop(server);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "hello");
    drop((listener, client));
    // The kernel's socket goes with the task that serves it.
    while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_loopback_listener_is_reached_in_a_namespace_of_the_pods_own_and_by_its_loopback_alone() {
    let net = pod_in_namespace(Mirrors::All);
    let one = net.container("one");
    let local = SocketAddr::new("127.0.0.2".parse().unwrap(), free_port());
    let listener = listen(&one, &local.to_string());
    let mut client = TcpStream::connect(local).await.unwrap();
    let server = listener.accepted().await.unwrap();
    assert_eq!(server.local_address(), Ok(local));
    drop(server);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert!(TcpStream::connect(("127.0.0.1", local.port())).await.is_err(), "another address");

    let shared = pod_in_namespace(Mirrors::PodAddress).container("one");
    let listener = listen(&shared, &format!("127.0.0.1:{}", free_port()));
    assert!(TcpStream::connect(listener.local_address().unwrap()).await.is_err(), "the machine's loopback is not the pod's");
}

#[tokio::test]
async fn a_listener_that_is_closed_can_be_opened_again_at_once() {
    let net = pod_in_namespace(Mirrors::All);
    let one = net.container("one");
    for address in ["0.0.0.0", "127.0.0.1"] {
        let port = free_port();
        for _ in 0..10 {
            let listener = listen(&one, &format!("{address}:{port}"));
            let (client, server) = tokio::join!(TcpStream::connect(("127.0.0.1", port)), listener.accepted());
            assert!(client.is_ok() && server.is_ok());
        }
    }
}

#[tokio::test]
async fn a_port_that_somebody_else_has_in_the_namespace_is_taken() {
    let net = pod_in_namespace(Mirrors::All);
    let one = net.container("one");
    let other = std::net::TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let socket = one.tcp_socket(AddressFamily::Ipv4).unwrap();
    socket.bind(other.local_addr().unwrap()).unwrap();
    assert_eq!(socket.listen(), Err(NetError::AddressInUse));
    drop(other);
    socket.listen().unwrap();
}

#[tokio::test]
async fn a_udp_port_of_a_pod_in_a_namespace_is_reached_from_outside() {
    let net = pod_in_namespace(Mirrors::All);
    let one = net.container("one");
    let free = std::net::UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap();
    let guest = bound_udp(&one, &free.to_string());
    let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(b"ping", ("127.0.0.1", free.port())).await.unwrap();
    let datagram = guest.received().await.unwrap();
    guest.send(b"pong", Some(datagram.remote)).unwrap();
    let mut answer = [0; 16];
    let length = client.recv(&mut answer).await.unwrap();
    assert_eq!(&answer[..length], b"pong");
}

#[tokio::test]
async fn a_name_on_the_list_opens_its_addresses_and_no_other_is_asked_for() {
    let policy = EgressPolicy::parse("1.2.3.4:443, udp://5.6.7.8").unwrap();
    let gateway = HostGateway::new(policy, tokio::runtime::Handle::current());
    assert!(gateway.allows(Protocol::Tcp, "1.2.3.4:443".parse().unwrap()));
    assert!(!gateway.allows(Protocol::Udp, "1.2.3.4:444".parse().unwrap()));
    assert!(!gateway.allows(Protocol::Tcp, "5.6.7.8:53".parse().unwrap()));
    assert_eq!(gateway.resolve("localhost").await, Err(NetError::NameUnresolvable));

    let gateway = HostGateway::new(EgressPolicy::parse("db.example.com:5432").unwrap(), tokio::runtime::Handle::current());
    let [remote, other]: [SocketAddr; 2] = ["198.51.100.7:5432", "198.51.100.8:5432"].map(|address| address.parse().unwrap());
    assert!(!gateway.allows(Protocol::Tcp, remote), "it was not looked up yet");
    gateway.resolved().note("db.example.com", &[remote.ip()]);
    gateway.resolved().note("elsewhere.example.com", &[other.ip()]);
    assert!(gateway.allows(Protocol::Tcp, remote) && !gateway.allows(Protocol::Tcp, other));
    assert!(!gateway.allows(Protocol::Tcp, "198.51.100.7:5433".parse().unwrap()));
}

#[test]
fn what_was_resolved_is_bounded() {
    let mut resolved = host_gateway::Resolved::default();
    for number in 0..u32::try_from(limits::EGRESS_NAMED_ADDRESSES_MAX).unwrap() + 1 {
        resolved.note("a", &[IpAddr::from(number.to_be_bytes())]);
    }
    assert!(resolved.names(IpAddr::from([0, 0, 0, 0])).is_empty(), "wiped when it was full");
    for number in 0..100 {
        resolved.note(&format!("name-{number}"), &["1.2.3.4".parse().unwrap()]);
        resolved.note("name-0", &["1.2.3.4".parse().unwrap()]);
    }
    let names = resolved.names("1.2.3.4".parse().unwrap());
    assert!(names.len() <= limits::EGRESS_NAMES_PER_ADDRESS_MAX && names.last().unwrap() == "name-0", "{names:?}");
}
