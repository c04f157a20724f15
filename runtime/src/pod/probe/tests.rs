//! Probes against servers in the pod's network, each with its own way to answer.

use super::*;
use crate::net::{AddressFamily, AddressPool, ContainerNet, PodNetConfig, PodStream, TcpSocket};
use crate::pod::spec::HttpGet;
use ::http::{Request, Response};
use bytes::Bytes;
use http_body_util::{Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio_util::task::AbortOnDropHandle;

struct World {
    net: PodNet,
    container: ContainerNet,
}

fn world() -> World {
    let addresses = AddressPool::new().take().unwrap();
    let net = PodNet::new(PodNetConfig { hostname: "pod".to_owned(), host_aliases: vec![], addresses, gateway: None });
    World { container: net.container("app"), net }
}

impl World {
    fn listen(&self, address: &str) -> TcpSocket {
        let socket = self.container.tcp_socket(AddressFamily::Ipv4).unwrap();
        socket.bind(address.parse().unwrap()).unwrap();
        socket.listen().unwrap();
        socket
    }

    /// Serves HTTP on port 80; the answer of a request is a matter of its path.
    fn serve(
        &self,
        answer: impl Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Clone + Send + 'static,
    ) -> AbortOnDropHandle<()> {
        let listener = self.listen("0.0.0.0:80");
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let stream = PodStream::of_socket(listener.accepted().await.unwrap()).unwrap();
                let answer = answer.clone();
                let service = service_fn(move |request| std::future::ready(Ok::<_, Infallible>(answer(&request))));
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        }))
    }

    async fn ask(&self, action: ProbeAction) -> ProbeAnswer {
        let probe = Probe {
            action,
            initial_delay: Duration::ZERO,
            timeout: Duration::from_secs(1),
            period: Duration::from_secs(1),
            success_threshold: 1,
            failure_threshold: 1,
            termination_grace_period: None,
        };
        let answer = ask(&probe, &self.net, None).await;
        // The pod's address differs from test to test.
        let pod = self.net.address(AddressFamily::Ipv4).to_string();
        match answer {
            ProbeAnswer::Failure(text) => ProbeAnswer::Failure(text.replace(&pod, "POD")),
            ProbeAnswer::Warning(text) => ProbeAnswer::Warning(text.replace(&pod, "POD")),
            other => other,
        }
    }
}

fn get(path: &str) -> HttpGet {
    HttpGet { tls: false, host: None, port: 80, path: path.to_owned(), headers: Vec::new() }
}

fn failure(text: &str) -> ProbeAnswer {
    ProbeAnswer::Failure(text.to_owned())
}

fn response(status: u16) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::from("the body")).unwrap()
}

/// `/200` has that status; `/to/X` leads to X; `/again` to itself.
fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let target = if path == "/again" { Some(path) } else { path.strip_prefix("/to/") };
    let mut response = response(if target.is_some() { 302 } else { path[1..].parse().unwrap_or(404) });
    if let Some(target) = target {
        response.headers_mut().insert("location", target.parse().unwrap());
    }
    response
}

// ---- httpGet

#[tokio::test(start_paused = true)]
async fn a_status_from_200_to_399_is_success() {
    let world = world();
    let _server = world.serve(answer);
    for status in [200, 204, 299] {
        assert_eq!(world.ask(ProbeAction::HttpGet(get(&format!("/{status}")))).await, ProbeAnswer::Success);
    }
    for status in [400, 404, 500, 503] {
        let expected = failure(&format!("HTTP probe failed with statuscode: {status}"));
        assert_eq!(world.ask(ProbeAction::HttpGet(get(&format!("/{status}")))).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn redirects_to_the_same_host_are_followed_and_others_are_told() {
    let world = world();
    let _server = world.serve(answer);
    assert_eq!(world.ask(ProbeAction::HttpGet(get("/to//200"))).await, ProbeAnswer::Success);
    let itself = format!("/to/http://{}/500", world.net.address(AddressFamily::Ipv4));
    assert_eq!(world.ask(ProbeAction::HttpGet(get(&itself))).await, failure("HTTP probe failed with statuscode: 500"));
    let elsewhere = ProbeAnswer::Warning("Probe terminated redirects, Response body: the body".to_owned());
    assert_eq!(world.ask(ProbeAction::HttpGet(get("/to/http://example.com/"))).await, elsewhere);
    let expected = failure("Get \"http://POD:80/again\": stopped after 10 redirects");
    assert_eq!(world.ask(ProbeAction::HttpGet(get("/again"))).await, expected);
}

#[tokio::test(start_paused = true)]
async fn the_request_is_a_kubelets() {
    let world = world();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&seen);
    let _server = world.serve(move |request| {
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        heard.lock().unwrap().push(["host", "user-agent", "accept", "x-custom"].map(header));
        response(200)
    });
    let plain = get("/");
    let headers = [("Host", "shop.example"), ("Accept", ""), ("X-Custom", "yes"), ("User-Agent", "me")];
    let custom = HttpGet { headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(), ..get("/") };
    for get in [plain, custom] {
        assert_eq!(world.ask(ProbeAction::HttpGet(get)).await, ProbeAnswer::Success);
    }
    let text = |value: &str| Some(value.to_owned());
    let pod = format!("{}:80", world.net.address(AddressFamily::Ipv4));
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0], [Some(pod), text("kube-probe/1.35"), text("*/*"), None]);
    assert_eq!(seen[1], [text("shop.example"), text("me"), None, text("yes")]);
}

#[tokio::test(start_paused = true)]
async fn nobody_who_listens_and_nobody_who_answers_are_failures() {
    let world = world();
    let expected = "Get \"http://POD:80/x\": dial tcp POD:80: connect: connection refused";
    assert_eq!(world.ask(ProbeAction::HttpGet(get("/x"))).await, failure(expected));
    let _mute = world.listen("0.0.0.0:80");
    let expected = "Get \"http://POD:80/x\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    assert_eq!(world.ask(ProbeAction::HttpGet(get("/x"))).await, failure(expected));
}

#[tokio::test(start_paused = true)]
async fn an_endless_body_is_not_read_to_its_end() {
    let world = world();
    let listener = world.listen("0.0.0.0:80");
    let _server = AbortOnDropHandle::new(tokio::spawn(async move {
        let stream = PodStream::of_socket(listener.accepted().await.unwrap()).unwrap();
        let service = service_fn(|_: Request<Incoming>| async {
            let frames = futures::stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b'x'; 4096]))));
            Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
        });
        drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
    }));
    assert_eq!(world.ask(ProbeAction::HttpGet(get("/"))).await, ProbeAnswer::Success);
}

#[tokio::test(start_paused = true)]
async fn any_certificate_will_do() {
    let world = world();
    let listener = world.listen("0.0.0.0:80");
    let pem = include_bytes!("../../wasi/http/testdata/certificate.pem");
    let key = include_bytes!("../../wasi/http/testdata/key.pem");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let certificate = CertificateDer::from_pem_slice(pem).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate], PrivateKeyDer::from_pem_slice(key).unwrap());
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config.unwrap()));
    let _server = AbortOnDropHandle::new(tokio::spawn(async move {
        let stream = PodStream::of_socket(listener.accepted().await.unwrap()).unwrap();
        let stream = acceptor.accept(stream).await.unwrap();
        let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&request))));
        drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
    }));
    assert_eq!(world.ask(ProbeAction::HttpGet(HttpGet { tls: true, ..get("/200") })).await, ProbeAnswer::Success);
}

// ---- tcpSocket

#[tokio::test(start_paused = true)]
async fn a_listener_on_the_loopback_is_out_of_reach_unless_it_is_named() {
    let world = world();
    let _listener = world.listen("127.0.0.1:5432");
    let tcp = |host: Option<&str>| ProbeAction::TcpSocket { host: host.map(str::to_owned), port: 5432 };
    assert_eq!(world.ask(tcp(None)).await, failure("dial tcp POD:5432: connect: connection refused"));
    assert_eq!(world.ask(tcp(Some("127.0.0.1"))).await, ProbeAnswer::Success);
    let expected = failure("dial tcp 192.0.2.1:5432: connect: network unreachable");
    assert_eq!(world.ask(tcp(Some("192.0.2.1"))).await, expected, "this pod has no way out");
}

// ---- grpc

/// Serves the health protocol: SERVING for `well`, NOT_SERVING for anything else.
async fn serve_health(listener: TcpSocket) {
    let stream = PodStream::of_socket(listener.accepted().await.unwrap()).unwrap();
    let service = service_fn(|request: Request<Incoming>| async move {
        use http_body_util::BodyExt as _;
        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/grpc.health.v1.Health/Check"));
        let question = request.into_body().collect().await.unwrap().to_bytes();
        let serving = if question.ends_with(b"well") { 1 } else { 2 };
        let mut trailers = ::http::HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let message = Bytes::from(vec![0, 0, 0, 0, 2, 0x08, serving]);
        let frames = [Ok::<_, Infallible>(Frame::data(message)), Ok(Frame::trailers(trailers))];
        Ok::<_, Infallible>(Response::new(StreamBody::new(futures::stream::iter(frames))))
    });
    drop(hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
}

#[tokio::test(start_paused = true)]
async fn grpc_asks_for_the_service_that_is_named() {
    for (service, expected) in
        [("well", ProbeAnswer::Success), ("ill", failure("service unhealthy (responded with \"NOT_SERVING\")"))]
    {
        let world = world();
        let _server = AbortOnDropHandle::new(tokio::spawn(serve_health(world.listen("0.0.0.0:9000"))));
        assert_eq!(world.ask(ProbeAction::Grpc { port: 9000, service: service.to_owned() }).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn grpc_needs_somebody_who_speaks_it() {
    let world = world();
    let ask = || world.ask(ProbeAction::Grpc { port: 80, service: String::new() });
    let expected = "timeout: failed to connect service \"POD:80\" within 1s: dial tcp POD:80: connect: connection refused";
    assert_eq!(ask().await, failure(expected));
    let server = world.serve(answer);
    assert!(matches!(ask().await, ProbeAnswer::Failure(text) if text.starts_with("error: health rpc probe failed")));
    drop(server);
}
