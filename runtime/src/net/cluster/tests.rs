//! Pods that call each other and each other's Services.

use super::*;
use crate::net::{ContainerNet, PodNetConfig, ServicePort, TcpSocket, UdpSocket};
use std::future::Future as _;
use std::task::{Context, Poll, Waker};

/// A pod of the cluster with the label `app`, ready.
struct Member {
    net: ContainerNet,
    place: ClusterMember,
}

fn member(cluster: &Cluster, app: &str, pod: ClusterPod) -> Member {
    let config = PodNetConfig { hostname: "pod".into(), host_aliases: vec![], addresses: cluster.take().unwrap(), gateway: None };
    let net = PodNet::new(config);
    let labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
    let namespace = if pod.namespace.is_empty() { "default".to_owned() } else { pod.namespace.clone() };
    let place = cluster.join(ClusterPod { labels, namespace, ..pod }, &net);
    place.set_ready(true);
    Member { net: net.container("main"), place }
}

fn pod(cluster: &Cluster, app: &str) -> Member {
    member(cluster, app, ClusterPod::default())
}

fn service(name: &str, kind: ServiceKind, protocol: Protocol) -> ServiceConfig {
    ServiceConfig {
        name: name.to_owned(),
        namespace: "default".to_owned(),
        kind,
        selector: BTreeMap::from([("app".to_owned(), name.to_owned())]),
        ports: vec![ServicePort { name: String::new(), port: 80, target: TargetPort::Number(8080), protocol, node_port: None }],
        publish_not_ready: false,
        client_ip_affinity: false,
    }
}

impl Member {
    fn address(&self) -> IpAddr {
        self.net.pod().address(AddressFamily::Ipv4)
    }

    fn listen(&self, address: &str) -> TcpSocket {
        let socket = self.net.tcp_socket(AddressFamily::Ipv4).unwrap();
        socket.bind(address.parse().unwrap()).unwrap();
        socket.listen().unwrap();
        socket
    }

    fn connect(&self, ip: IpAddr, port: u16) -> Result<TcpSocket, NetError> {
        let socket = self.net.tcp_socket(AddressFamily::Ipv4).unwrap();
        socket.connect(SocketAddr::new(ip, port))?;
        socket.finish_connect()?;
        Ok(socket)
    }

    fn udp(&self, address: &str) -> UdpSocket {
        let socket = self.net.udp_socket(AddressFamily::Ipv4).unwrap();
        socket.bind(address.parse().unwrap()).unwrap();
        socket
    }

    fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, NetError> {
        let mut lookup = std::pin::pin!(self.net.resolve(name).addresses());
        match lookup.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer.map(|addresses| addresses.into_iter().filter(IpAddr::is_ipv4).collect()),
            Poll::Pending => panic!("somebody else was asked"),
        }
    }
}

#[test]
fn pods_reach_each_others_addresses_but_not_each_others_loopback() {
    let cluster = Cluster::new();
    let (a, b) = (pod(&cluster, "a"), pod(&cluster, "b"));
    let (open, _closed) = (b.listen("0.0.0.0:80"), b.listen("127.0.0.1:81"));
    let client = a.connect(b.address(), 80).unwrap();
    let server = open.accept().unwrap();
    assert_eq!(server.remote_address().unwrap().ip(), a.address());
    assert_eq!((client.remote_address().unwrap().ip(), server.local_address().unwrap().ip()), (b.address(), b.address()));
    client.stream().unwrap().try_write(b"hello").unwrap();
    assert_eq!(&server.stream().unwrap().try_read_bytes(9).unwrap()[..], b"hello");
    assert_eq!(a.connect(b.address(), 81).unwrap_err(), NetError::ConnectionRefused);
    let bound = a.net.tcp_socket(AddressFamily::Ipv4).unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    assert_eq!(bound.connect(SocketAddr::new(b.address(), 80)), Err(NetError::InvalidArgument));
}

#[test]
fn a_pod_that_is_gone_is_unreachable() {
    let cluster = Cluster::new();
    let (a, b) = (pod(&cluster, "a"), pod(&cluster, "b"));
    let address = b.address();
    drop(b);
    assert_eq!(a.connect(address, 80).unwrap_err(), NetError::NetworkUnreachable);
}

#[test]
fn connections_to_a_service_take_turns_over_its_ready_pods() {
    let cluster = Cluster::new();
    let ip = cluster.add_service(service("web", ServiceKind::ClusterIp, Protocol::Tcp)).unwrap()[0];
    let (client, _other) = (pod(&cluster, "client"), pod(&cluster, "other"));
    let pods = [pod(&cluster, "web"), pod(&cluster, "web"), pod(&cluster, "web")];
    let listeners: Vec<TcpSocket> = pods.iter().map(|pod| pod.listen("0.0.0.0:8080")).collect();
    pods[1].place.set_ready(false);
    let connections: Vec<TcpSocket> = (0..6).map(|_| client.connect(ip, 80).unwrap()).collect();
    assert!(connections.iter().all(|socket| socket.remote_address().unwrap() == SocketAddr::new(ip, 80)));
    let counts: Vec<usize> = listeners.iter().map(|listener| std::iter::from_fn(|| listener.accept().ok()).count()).collect();
    assert_eq!(counts, [3, 0, 3]);
}

#[test]
fn a_service_without_ready_pods_refuses() {
    let cluster = Cluster::new();
    let ip = cluster.add_service(service("web", ServiceKind::ClusterIp, Protocol::Tcp)).unwrap()[0];
    let (client, web) = (pod(&cluster, "client"), pod(&cluster, "web"));
    let _listener = web.listen("0.0.0.0:8080");
    assert!(client.connect(ip, 80).is_ok());
    assert_eq!(client.connect(ip, 81).unwrap_err(), NetError::ConnectionRefused, "a port that the Service has not");
    web.place.set_ready(false);
    assert_eq!(client.connect(ip, 80).unwrap_err(), NetError::ConnectionRefused);
    drop(web);
    assert_eq!(client.connect(ip, 80).unwrap_err(), NetError::ConnectionRefused);
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    let cluster = Cluster::new();
    let ip = cluster.add_service(service("web", ServiceKind::ClusterIp, Protocol::Tcp)).unwrap()[0];
    let web = pod(&cluster, "web");
    let listener = web.listen("0.0.0.0:8080");
    assert!(web.connect(ip, 80).is_ok());
    assert_eq!(listener.accept().unwrap().remote_address().unwrap().ip(), web.address());
}

#[test]
fn a_named_target_port_is_each_pods_own() {
    let cluster = Cluster::new();
    let mut config = service("web", ServiceKind::ClusterIp, Protocol::Tcp);
    config.ports[0].target = TargetPort::Name("http".to_owned());
    let ip = cluster.add_service(config).unwrap()[0];
    let client = pod(&cluster, "client");
    let with = |port| {
        let ports = vec![NamedPort { name: "http".to_owned(), port, protocol: Protocol::Tcp }];
        member(&cluster, "web", ClusterPod { ports, ..ClusterPod::default() })
    };
    let (one, two, nameless) = (with(1000), with(2000), pod(&cluster, "web"));
    let listeners = [one.listen("0.0.0.0:1000"), two.listen("0.0.0.0:2000"), nameless.listen("0.0.0.0:80")];
    let connections: Vec<TcpSocket> = (0..4).map(|_| client.connect(ip, 80).unwrap()).collect();
    let counts = listeners.map(|listener| std::iter::from_fn(|| listener.accept().ok()).count());
    assert_eq!((counts, connections.len()), ([2, 2, 0], 4));
}

#[test]
fn with_client_affinity_a_client_stays_with_its_pod() {
    let cluster = Cluster::new();
    let ip =
        cluster.add_service(ServiceConfig { client_ip_affinity: true, ..service("web", ServiceKind::ClusterIp, Protocol::Tcp) });
    let ip = ip.unwrap()[0];
    let client = pod(&cluster, "client");
    let pods: Vec<Member> = (0..5).map(|_| pod(&cluster, "web")).collect();
    let listeners: Vec<TcpSocket> = pods.iter().map(|pod| pod.listen("0.0.0.0:8080")).collect();
    let _connections: Vec<TcpSocket> = (0..10).map(|_| client.connect(ip, 80).unwrap()).collect();
    let mut counts: Vec<usize> = listeners.iter().map(|listener| std::iter::from_fn(|| listener.accept().ok()).count()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 0, 0, 10]);
}

#[test]
fn datagrams_to_a_service_are_answered_by_the_service() {
    let cluster = Cluster::new();
    let ip = cluster.add_service(service("dns", ServiceKind::ClusterIp, Protocol::Udp)).unwrap()[0];
    let service = SocketAddr::new(ip, 80);
    let client = pod(&cluster, "client");
    let pods = [pod(&cluster, "dns"), pod(&cluster, "dns")];
    let servers = pods.each_ref().map(|pod| pod.udp("0.0.0.0:8080"));
    let mut served = [0, 0];
    for _ in 0..2 {
        let socket = client.udp("0.0.0.0:0");
        socket.connect(service).unwrap();
        for _ in 0..3 {
            socket.send(b"question", None).unwrap();
            let (at, question) = servers.iter().enumerate().find_map(|(at, server)| Some((at, server.receive().ok()?))).unwrap();
            served[at] += 1;
            assert_eq!(question.remote.ip(), client.address());
            servers[at].send(b"answer", Some(question.remote)).unwrap();
            assert_eq!(socket.receive().unwrap().remote, service);
        }
    }
    assert_eq!(served, [3, 3], "a socket stays with its pod, and the next one gets the next");
    drop(pods);
    let socket = client.udp("0.0.0.0:0");
    socket.connect(service).unwrap();
    socket.send(b"question", None).unwrap();
    assert_eq!(socket.receive(), Err(NetError::ConnectionRefused));
}

#[test]
fn a_service_has_the_names_that_kubernetes_gives_it() {
    let cluster = Cluster::new();
    let ip = cluster.add_service(service("web", ServiceKind::ClusterIp, Protocol::Tcp)).unwrap()[0];
    let client = pod(&cluster, "client");
    for name in ["web", "WEB.", "web.default", "web.default.svc", "web.default.svc.cluster.local", "web.default.svc.cluster.local."]
    {
        assert_eq!(client.lookup(name), Ok(vec![ip]), "{name}");
    }
    for name in ["api", "web.other", "web.other.svc", "web.default.pod.cluster.local", "web.cluster.local", "cluster.local"] {
        assert_eq!(client.lookup(name), Err(NetError::NameUnresolvable), "{name}");
    }
    let stranger = member(&cluster, "client", ClusterPod { namespace: "other".to_owned(), ..ClusterPod::default() });
    assert_eq!(stranger.lookup("web"), Err(NetError::NameUnresolvable));
    assert_eq!(stranger.lookup("web.default"), Ok(vec![ip]));
}

#[test]
fn a_headless_service_stands_for_its_ready_pods_and_each_has_a_name() {
    let cluster = Cluster::new();
    assert_eq!(cluster.add_service(service("web", ServiceKind::Headless, Protocol::Tcp)).unwrap(), [] as [IpAddr; 0]);
    let client = pod(&cluster, "client");
    assert_eq!(client.lookup("web"), Err(NetError::NameUnresolvable));
    let named = |hostname: &str| {
        let (hostname, subdomain) = (Some(hostname.to_owned()), Some("web".to_owned()));
        member(&cluster, "web", ClusterPod { hostname, subdomain, ..ClusterPod::default() })
    };
    let pods = [named("web-0"), named("web-1")];
    assert_eq!(client.lookup("web"), Ok(vec![pods[0].address(), pods[1].address()]));
    for name in ["web-1.web", "web-1.web.default", "web-1.web.default.svc", "web-1.web.default.svc.cluster.local"] {
        assert_eq!(client.lookup(name), Ok(vec![pods[1].address()]), "{name}");
    }
    pods[0].place.set_ready(false);
    assert_eq!(client.lookup("web"), Ok(vec![pods[1].address()]));
    assert_eq!(client.lookup("web-0.web"), Err(NetError::NameUnresolvable));
}

#[test]
fn pods_that_are_not_ready_are_found_where_the_service_says_so() {
    let cluster = Cluster::new();
    let config = ServiceConfig { publish_not_ready: true, ..service("web", ServiceKind::Headless, Protocol::Tcp) };
    cluster.add_service(config).unwrap();
    let (client, web) = (pod(&cluster, "client"), pod(&cluster, "web"));
    web.place.set_ready(false);
    assert_eq!(client.lookup("web"), Ok(vec![web.address()]));
}

#[test]
fn addresses_of_pods_and_services_are_distinct_and_given_back() {
    let cluster = Cluster::new();
    let a = pod(&cluster, "a");
    let ip = cluster.add_service(service("web", ServiceKind::ClusterIp, Protocol::Tcp)).unwrap()[0];
    let b = pod(&cluster, "b");
    let address = b.address();
    assert!(a.address() != ip && ip != address);
    drop(b);
    assert_eq!(cluster.take().unwrap().of(AddressFamily::Ipv4), address);
}
