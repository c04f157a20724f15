//! The server and the client against each other, over a pod network: no guest, no kernel, and a clock that stands still until every
//! task waits.

use super::client::Client;
use super::error::{of_hyper, of_tls};
use super::server::{Handler, RequestSlot, serve as serve_listener};
use super::tls;
use crate::limits;
use crate::net::publish::publish_tcp;
use crate::net::{AddressFamily, AddressPool, ContainerNet, PodNet, PodNetConfig, PodStream, TcpSocket, TcpStream};
use crate::wasi::listen_tcp;
use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

const PORT: u16 = 8080;

fn pod() -> PodNet {
    let addresses = AddressPool::new().take().unwrap();
    PodNet::new(PodNetConfig { hostname: "shop".into(), host_aliases: Vec::new(), addresses, gateway: None })
}

/// A handler made of a closure.
struct ByClosure<F>(F);

impl<F, R> Handler for ByClosure<F>
where
    F: Fn(Request<Incoming>, RequestSlot) -> R + Send + Sync + 'static,
    R: Future<Output = Response<WasiBody>> + Send,
{
    fn handle(&self, request: Request<Incoming>, slot: RequestSlot) -> impl Future<Output = Response<WasiBody>> + Send {
        (self.0)(request, slot)
    }
}

/// A server that runs, until it is told to stop, killed or dropped.
struct Running {
    stop: Option<oneshot::Sender<()>>,
    kill: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    net: ContainerNet,
}

fn serve<F, R>(pod: &PodNet, handler: F) -> Running
where
    F: Fn(Request<Incoming>, RequestSlot) -> R + Send + Sync + 'static,
    R: Future<Output = Response<WasiBody>> + Send + 'static,
{
    let net = pod.container("server");
    let listener = listen_tcp(&net, PORT).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let (kill, killed) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let (stopped, killed) = (async { drop(stopped.await) }, async { drop(killed.await) });
        let _served = serve_listener(&listener, ByClosure(handler), stopped, killed).await;
    });
    Running { stop: Some(stop), kill: Some(kill), task, net }
}

impl Running {
    fn stop(&mut self) {
        self.stop = None;
    }

    fn kill(&mut self) {
        self.kill = None;
    }
}

fn text(text: impl Into<Bytes>) -> Response<WasiBody> {
    Response::new(Full::new(text.into()).map_err(|never| match never {}).boxed_unsync())
}

/// Says what it sees of a request.
async fn echo(request: Request<Incoming>, _slot: RequestSlot) -> Response<WasiBody> {
    let host = request.headers().get(HOST).map_or("no host", |host| host.to_str().unwrap()).to_owned();
    let line = format!("{} {} {host} ", request.method(), request.uri());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    text([line.as_bytes(), &body].concat())
}

/// A body that is fed by a channel.
fn streamed(frames: mpsc::Receiver<Bytes>) -> Response<WasiBody> {
    let frames =
        futures::stream::unfold(frames, async |mut frames| frames.recv().await.map(|frame| (Ok(Frame::data(frame)), frames)));
    Response::new(StreamBody::new(frames).boxed_unsync())
}

/// Sends a request as a guest's `outgoing-handler.handle` does.
async fn send(net: &ContainerNet, uri: &str, body: &'static str, options: RequestOptions) -> Result<Response<WasiBody>, Error> {
    send_with(Client::new(net.clone(), None), uri, body, options).await
}

async fn send_with(client: Client, uri: &str, body: &'static str, options: RequestOptions) -> Result<Response<WasiBody>, Error> {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let (response, connection) = client.send(Request::post(uri).body(body).unwrap(), options).await?;
    tokio::spawn(connection);
    Ok(response)
}

async fn whole(response: Response<WasiBody>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// A client that writes bytes of its own; dropped, it goes away.
struct RawClient {
    _net: ContainerNet,
    stream: TcpStream,
    _socket: TcpSocket,
}

impl std::ops::Deref for RawClient {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

async fn connect(pod: &PodNet) -> RawClient {
    let net = pod.container("client");
    let socket = net.tcp_socket(AddressFamily::Ipv4).unwrap();
    let stream = socket.connected(([127, 0, 0, 1], PORT).into()).await.unwrap();
    RawClient { _net: net, stream, _socket: socket }
}

/// Reads until `end` was read, or the stream ends.
async fn read_until(stream: &TcpStream, end: &str) -> String {
    let (mut all, mut part) = (String::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut part).await.unwrap_or(0);
        all.push_str(std::str::from_utf8(&part[..length]).unwrap());
        if length == 0 || all.ends_with(end) {
            return all;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_reaches_a_server_of_the_pod_by_each_of_its_names() {
    let pod = pod();
    let _server = serve(&pod, echo);
    let net = pod.container("client");
    for host in ["localhost", "shop", "127.0.0.1", "[::1]"] {
        let response = send(&net, &format!("http://{host}:{PORT}/a?b"), "body", RequestOptions::default()).await.unwrap();
        assert_eq!(whole(response).await, format!("POST /a?b {host}:{PORT} body"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_serves_one_request_after_the_other() {
    let pod = pod();
    let _server = serve(&pod, echo);
    let client = connect(&pod).await;
    for path in ["/first", "/second"] {
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let answer = read_until(&client, "x ").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(&format!("GET {path} x ")), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_lets_a_request_finish_and_takes_no_more() {
    let pod = pod();
    let (finish, finished) = oneshot::channel::<()>();
    let gate = tokio::sync::Mutex::new(Some(finished));
    let gate = Arc::new(gate);
    let mut server = serve(&pod, move |_, slot| {
        let gate = Arc::clone(&gate);
        async move {
            let finished = gate.lock().await.take().unwrap();
            let (frames, body) = mpsc::channel(1);
            tokio::spawn(async move {
                finished.await.unwrap();
                frames.send("the end".into()).await.unwrap();
                drop(slot);
            });
            streamed(body)
        }
    });
    let idle = connect(&pod).await;
    let net = pod.container("client");
    let response = send(&net, "http://localhost:8080/", "", RequestOptions::default()).await.unwrap();
    server.stop();
    assert_eq!(read_until(&idle, "never").await, "", "an idle connection is closed at once");
    assert!(!server.task.is_finished());
    let late = send(&net, "http://localhost:8080/", "", RequestOptions::default()).await;
    assert!(matches!(late, Err(Error::ConnectionRefused)));
    finish.send(()).unwrap();
    assert_eq!(whole(response).await, "the end");
    server.task.await.unwrap();
}

/// A server whose guests answer with the head alone and end a second after they were told to.
fn serve_reluctantly(pod: &PodNet, begun: mpsc::Sender<()>, ended: mpsc::Sender<()>) -> Running {
    serve(pod, move |_, slot| {
        let (begun, ended) = (begun.clone(), ended.clone());
        async move {
            let (frames, body) = mpsc::channel(1);
            tokio::spawn(async move {
                begun.send(()).await.unwrap();
                slot.killed().await;
                tokio::time::sleep(Duration::from_secs(1)).await;
                ended.send(()).await.unwrap();
                drop((frames, slot));
            });
            streamed(body)
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_killed_server_cuts_its_connections_and_returns_when_the_guests_are_gone() {
    let pod = pod();
    let (begun, mut begin) = mpsc::channel(1);
    let (ended, mut end) = mpsc::channel(1);
    let mut server = serve_reluctantly(&pod, begun, ended);
    let net = pod.container("client");
    let response = send(&net, "http://localhost:8080/", "", RequestOptions::default()).await.unwrap();
    begin.recv().await.unwrap();
    server.stop();
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.kill();
    assert!(response.into_body().collect().await.is_err(), "half an answer is none");
    assert!(end.try_recv().is_err() && !server.task.is_finished());
    server.task.await.unwrap();
    assert!(end.try_recv().is_ok());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_server_ends_requests_and_guests() {
    let pod = pod();
    let (begun, mut begin) = mpsc::channel(1);
    let (ended, mut end) = mpsc::channel(1);
    let server = serve_reluctantly(&pod, begun, ended);
    let client = connect(&pod).await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    begin.recv().await.unwrap();
    server.task.abort();
    end.recv().await.unwrap();
    let answer = read_until(&client, "never").await;
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn closing_the_containers_network_ends_the_server() {
    let pod = pod();
    let server = serve(&pod, echo);
    let client = connect(&pod).await;
    server.net.close();
    assert_eq!(read_until(&client, "never").await, "");
    server.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_holds_the_body_up() {
    let pod = pod();
    let produced = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&produced);
    let _server = serve(&pod, move |_, slot| {
        let count = Arc::clone(&count);
        async move {
            let (frames, body) = mpsc::channel(1);
            tokio::spawn(async move {
                let _slot = slot;
                while frames.send(Bytes::from(vec![0; 16 << 10])).await.is_ok() {
                    count.fetch_add(16 << 10, Ordering::Relaxed);
                }
            });
            streamed(body)
        }
    });
    let net = pod.container("client");
    let response = send(&net, "http://localhost:8080/", "", RequestOptions::default()).await.unwrap();
    // Time passes only when every task waits.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let held_up = produced.load(Ordering::Relaxed);
    assert!(held_up < 1 << 20, "{held_up} bytes wait");
    let mut body = response.into_body();
    let mut read = 0;
    while read < 4 << 20 {
        read += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
    drop(body);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let total = produced.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(produced.load(Ordering::Relaxed), total, "nobody reads: the connection is gone");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_long_is_refused() {
    let pod = pod();
    let _server = serve(&pod, echo);
    let client = connect(&pod).await;
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nLong: {}", "x".repeat(limits::HTTP_BUFFER_BYTES_MAX + 1));
    let (answer, _) = tokio::join!(read_until(&client, "never"), client.write_all(head.as_bytes()));
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_given_up() {
    let pod = pod();
    let _server = serve(&pod, echo);
    let client = connect(&pod).await;
    client.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    let began = tokio::time::Instant::now();
    read_until(&client, "never").await;
    assert_eq!(began.elapsed().as_secs(), limits::HTTP_HEADER_SECONDS_MAX);
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_limit_wait() {
    let pod = pod();
    let (begun, mut begin) = mpsc::channel(limits::HTTP_REQUESTS_PER_CONTAINER_MAX + 1);
    let _server = serve(&pod, move |_, slot| {
        let begun = begun.clone();
        async move {
            let (finish, finished) = oneshot::channel::<()>();
            begun.send(finish).await.unwrap();
            tokio::spawn(async move { drop((finished.await, slot)) });
            text("begun")
        }
    });
    let mut clients = Vec::new();
    for _ in 0..=limits::HTTP_REQUESTS_PER_CONTAINER_MAX {
        let client = connect(&pod).await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        clients.push(client);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(begin.len(), limits::HTTP_REQUESTS_PER_CONTAINER_MAX);
    // The guest of one is done: the one that waits begins.
    drop(begin.recv().await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(begin.len(), limits::HTTP_REQUESTS_PER_CONTAINER_MAX);
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_the_limit_wait_in_the_backlog() {
    let pod = pod();
    let _server = serve(&pod, echo);
    let mut clients = Vec::new();
    for _ in 0..limits::HTTP_CONNECTIONS_PER_CONTAINER_MAX {
        clients.push(connect(&pod).await);
    }
    let late = connect(&pod).await;
    late.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(late.readable_bytes(), 0);
    clients.pop();
    assert!(read_until(&late, "x ").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_reached_says_why() {
    let net = pod().container("client");
    let error = async |uri: &str| send(&net, uri, "", RequestOptions::default()).await.unwrap_err();
    assert!(matches!(error("http://localhost:1/").await, Error::ConnectionRefused));
    assert!(matches!(error("http://nowhere/").await, Error::DnsError { rcode: Some(rcode), .. } if rcode == "NXDOMAIN"));
    assert!(matches!(error("http://1.1.1.1/").await, Error::DestinationIpUnroutable));
    assert!(matches!(error("http://localhost:0/").await, Error::DestinationIpUnroutable));
    assert!(matches!(error("http://localhost:99999/").await, Error::HttpRequestUriInvalid));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_is_given_up_in_the_time_that_the_guest_set() {
    let pod = pod();
    let second = Some(Duration::from_secs(1));
    let (frames, body) = mpsc::channel::<Bytes>(1);
    let body = std::sync::Mutex::new(Some(body));
    let _server = serve(&pod, move |request, _slot| {
        let body = (request.uri() == "/body").then(|| body.lock().unwrap().take().unwrap());
        async move {
            match body {
                Some(body) => streamed(body),
                None => pending().await,
            }
        }
    });
    let net = pod.container("client");
    let options = RequestOptions { first_byte_timeout: second, ..RequestOptions::default() };
    let silent = send(&net, "http://localhost:8080/", "", options).await;
    assert!(matches!(silent, Err(Error::ConnectionReadTimeout)));

    let options = RequestOptions { between_bytes_timeout: second, ..RequestOptions::default() };
    let mut body = send(&net, "http://localhost:8080/body", "", options).await.unwrap().into_body();
    frames.send("one".into()).await.unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    // The guest is slow, not the server.
    tokio::time::sleep(Duration::from_secs(5)).await;
    frames.send("two".into()).await.unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "two");
    assert!(matches!(body.frame().await, Some(Err(Error::ConnectionReadTimeout))));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_no_whole_one() {
    let pod = pod();
    let _server = serve(&pod, async |_, _| {
        let frames = [Ok(Frame::data(Bytes::from("half"))), Err(Error::HttpResponseIncomplete)];
        Response::new(StreamBody::new(futures::stream::iter(frames)).boxed_unsync())
    });
    let net = pod.container("client");
    let response = send(&net, "http://localhost:8080/", "", RequestOptions::default()).await;
    // hyper may cut the connection before the head has left.
    if let Ok(response) = response {
        assert!(response.into_body().collect().await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_takes_its_request_along() {
    let pod = pod();
    let (alive, mut dead) = mpsc::channel::<()>(1);
    let (begun, mut begin) = mpsc::channel::<()>(1);
    let alive = std::sync::Mutex::new(Some(alive));
    let _server = serve(&pod, move |_, _slot| {
        let (alive, begun) = (alive.lock().unwrap().take(), begun.clone());
        async move {
            begun.send(()).await.unwrap();
            pending::<()>().await;
            drop(alive);
            text("never")
        }
    });
    let client = connect(&pod).await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    begin.recv().await.unwrap();
    drop(client);
    assert_eq!(dead.recv().await, None);
}

/// A certificate for `api` and 127.0.0.1 that signs itself, made for these tests alone.
fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(include_bytes!("testdata/certificate.pem")).unwrap()
}

/// Answers TLS clients with the path that they ask for.
async fn serve_tls(listener: TcpSocket) {
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("testdata/key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    loop {
        let connection = PodStream::of_socket(listener.accepted().await.unwrap()).unwrap();
        let Ok(session) = acceptor.accept(connection).await else { continue };
        let service = hyper::service::service_fn(async |request: Request<Incoming>| {
            Ok::<_, std::convert::Infallible>(text(format!("{} over TLS", request.uri())))
        });
        drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(session), service).await);
    }
}

#[tokio::test(start_paused = true)]
async fn https_is_for_servers_whose_certificate_is_trusted_and_theirs() {
    let pod = pod();
    let server_net = pod.container("server");
    let listener = server_net.tcp_socket(AddressFamily::Ipv4).unwrap();
    listener.bind(([127, 0, 0, 1], 443).into()).unwrap();
    listener.listen().unwrap();
    let server = tokio::spawn(serve_tls(listener));
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).unwrap();
    let net = pod.container("client");
    let get = async |roots: &RootCertStore, uri: &str| {
        let config = Arc::new(tls::trusting(roots.clone()).unwrap());
        let response = send_with(Client::new(net.clone(), Some(config)), uri, "", RequestOptions::default()).await;
        match response {
            Ok(response) => Ok(whole(response).await),
            Err(Error::Tls(error)) => Err(of_tls(&error)),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(get(&roots, "https://127.0.0.1/x").await.unwrap(), "/x over TLS");
    let other_name = get(&roots, "https://localhost/x").await;
    assert!(matches!(other_name, Err(ErrorCode::TlsCertificateError)), "{other_name:?}");
    let signed_by_nobody_we_know = get(&RootCertStore::empty(), "https://127.0.0.1/x").await;
    assert!(matches!(signed_by_nobody_we_know, Err(ErrorCode::TlsCertificateError)), "{signed_by_nobody_we_know:?}");
    server.abort();
}

/// A server of plain bytes: waits until a client has spoken, answers with `answer`, and leaves. What it has heard comes out.
async fn answer_once(net: ContainerNet, answer: String) -> String {
    let listener = net.tcp_socket(AddressFamily::Ipv4).unwrap();
    listener.bind(([0, 0, 0, 0], PORT).into()).unwrap();
    listener.listen().unwrap();
    let socket = listener.accepted().await.unwrap();
    let stream = socket.stream().unwrap();
    let request = read_until(&stream, "\r\n\r\n").await;
    stream.write_all(answer.as_bytes()).await.unwrap();
    request
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_none_says_what_is_wrong_with_it() {
    let long = format!("HTTP/1.1 200 OK\r\nLong: {}\r\n\r\n", "x".repeat(limits::HTTP_BUFFER_BYTES_MAX));
    let incomplete = ErrorCode::HttpResponseIncomplete;
    let cases = [
        ("", incomplete.clone()),
        ("HTTP/1.1 200", incomplete.clone()),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", incomplete.clone()),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", incomplete),
        ("SSH-2.0\r\n\r\n", ErrorCode::HttpProtocolError),
        (&*long, ErrorCode::HttpResponseHeaderSectionSize(None)),
    ];
    for (answer, expected) in cases {
        let pod = pod();
        let _server = tokio::spawn(answer_once(pod.container("server"), answer.to_owned()));
        tokio::task::yield_now().await;
        let net = pod.container("client");
        let response = send(&net, "http://shop:8080/", "", RequestOptions::default()).await;
        let error = match response {
            Ok(response) => response.into_body().collect().await.unwrap_err(),
            Err(error) => error,
        };
        let Error::Hyper(error) = error else { panic!("{error}") };
        assert_eq!(format!("{:?}", of_hyper(&error)), format!("{expected:?}"), "{error:?}");
    }
}

/// Without the paused clock: kernel sockets are outside of it.
#[tokio::test]
async fn a_client_on_the_machine_reaches_a_server_that_waits_for_it_to_speak_first() {
    let pod = pod();
    let server = tokio::spawn(answer_once(pod.container("server"), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".into()));
    let published = publish_tcp(&pod, ([127, 0, 0, 1], 0).into(), PORT).await.unwrap();
    // The server's task may not listen yet.
    tokio::task::yield_now().await;
    let socket = tokio::net::TcpStream::connect(published.address()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/x").header(HOST, "shop").body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    assert_eq!(server.await.unwrap(), "GET /x HTTP/1.1\r\nhost: shop\r\n\r\n");
}

#[tokio::test]
async fn a_published_http_container_answers_one_request_after_the_other() {
    let pod = pod();
    let _server = serve(&pod, echo);
    let published = publish_tcp(&pod, ([127, 0, 0, 1], 0).into(), PORT).await.unwrap();
    let socket = tokio::net::TcpStream::connect(published.address()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    for path in ["/first", "/second"] {
        let request = Request::put(path).header(HOST, "shop").body(Full::new(Bytes::from("body"))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), format!("PUT {path} shop body"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_ends_an_answer_that_is_silent() {
    let pod = pod();
    let (left, mut leave) = mpsc::channel(1);
    let _server = serve(&pod, move |_, slot| {
        let left = left.clone();
        async move {
            let (frames, body) = mpsc::channel(1);
            tokio::spawn(async move {
                frames.closed().await;
                left.send(()).await.unwrap();
                drop(slot);
            });
            streamed(body)
        }
    });
    let client = connect(&pod).await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(read_until(&client, "\r\n\r\n").await.starts_with("HTTP/1.1 200 OK"));
    drop(client);
    leave.recv().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_container_without_sockets_to_spare_accepts_again_when_it_has() {
    let pod = pod();
    let server = serve(&pod, echo);
    let mut taken = Vec::new();
    while let Ok(socket) = server.net.tcp_socket(AddressFamily::Ipv4) {
        taken.push(socket);
    }
    let client = connect(&pod).await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(client.readable_bytes(), 0);
    taken.pop();
    assert!(read_until(&client, "x ").await.starts_with("HTTP/1.1 200 OK\r\n"));
}
