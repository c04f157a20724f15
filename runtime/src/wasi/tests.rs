//! Guests built from Rust, two or more in a pod.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test says what is wrong by panicking")]
#![cfg(feature = "compiler")]

use super::http::{HttpGuests, HttpServer};
use super::testing::{Data, Ended, Sink, config, engine, example, pod, run};
use super::{WasiConfig, WasiState, component_linker, listen_tcp, listeners};
use crate::net::{AddressFamily, PodNet};
use crate::pod::spec::{ContainerPort, Protocol};
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

async fn run_example(pod: &PodNet, path: &str, configure: impl FnOnce(&mut WasiConfig)) -> Ended {
    run(pod.container(path), &example(path), configure).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_and_a_client_talk_over_localhost() {
    let pod = pod();
    let (server, client) = tokio::join!(
        run_example(&pod, "two-containers/server.wasm", |_| {}),
        run_example(&pod, "two-containers/client.wasm", |_| {})
    );
    assert_eq!((server.status, client.status), (Ok(0), Ok(0)));
    assert_eq!(client.output, "echoed: hello\nechoed: how is it over there?\nechoed: goodbye\n");
    assert_eq!(pod.bound_count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_go_both_ways() {
    let pod = pod();
    let (receiver, sender) =
        tokio::join!(run_example(&pod, "udp/receiver.wasm", |_| {}), run_example(&pod, "udp/sender.wasm", |_| {}));
    assert_eq!((receiver.status, sender.status), (Ok(0), Ok(0)));
    assert_eq!(sender.output, "answered: pong 1\nanswered: pong 2\nanswered: pong 3\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_containers_call_each_other_by_address_and_name() {
    let pod = pod();
    let five = (1..=5).map(|number| {
        let env = vec![("NUMBER".to_owned(), number.to_string()), ("POD_NAME".to_owned(), "pod".to_owned())];
        run_example(&pod, "five/five.wasm", |config| config.env = env)
    });
    for (number, ended) in (1..).zip(futures::future::join_all(five).await) {
        assert_eq!(ended, Ended { status: Ok(0), output: format!("container {number}: 24 calls answered, 24 served\n") });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preview_1_serves_on_a_passed_listener_and_calls_by_wasmedges_functions() {
    let pod = pod();
    let net = pod.container("shouter");
    let port =
        ContainerPort { name: Some("shout".into()), container_port: 7000, protocol: Protocol::Tcp, host_port: None, host_ip: None };
    let listeners = listeners(&net, &[port]).unwrap();
    let server = example("preview1-server/shouter.wasm");
    let server = run(net, &server, |config| config.listeners = listeners);
    let (server, caller) = tokio::join!(server, run_example(&pod, "preview1-server/caller.wasm", |_| {}));
    assert_eq!(server.output, "1 listener(s): shout\nheard: hello\nheard: is anybody there?\n");
    assert_eq!(caller.output, "heard: HELLO\nheard: IS ANYBODY THERE?\n");
    assert_eq!((server.status, caller.status), (Ok(0), Ok(0)));
}

/// The guests of an HTTP container in these tests.
struct Guests {
    config: WasiConfig,
    failures: Mutex<Vec<String>>,
}

impl HttpGuests<Data> for Guests {
    fn store(&self) -> wasmtime::Result<Store<Data>> {
        Ok(Store::new(&engine(), Data(WasiState::new(&self.config)?)))
    }

    fn failed(&self, error: &wasmtime::Error) {
        self.failures.lock().unwrap().push(format!("{error:#}"));
    }
}

/// Serves `wasm` on port 8080 until told to stop.
async fn serve(pod: &PodNet, wasm: &[u8], stop: CancellationToken) -> Arc<Guests> {
    let engine = engine();
    let net = pod.container("http");
    let component = wasmtime::component::Component::new(&engine, wasm).unwrap();
    let proxy = ProxyPre::new(component_linker::<Data>(&engine).unwrap().instantiate_pre(&component).unwrap()).unwrap();
    let config = config(net.clone(), &Arc::new(Sink::with_room(1 << 16)));
    let guests = Arc::new(Guests { config, failures: Mutex::default() });
    let listener = listen_tcp(&net, 8080).unwrap();
    let server = HttpServer { listener, proxy, guests: Arc::clone(&guests) as _ };
    server.serve(stop.cancelled(), std::future::pending()).await.unwrap();
    guests
}

/// Sends `request` and returns everything that comes until the server closes.
async fn exchange(pod: &PodNet, request: &str) -> String {
    let net = pod.container("client");
    let socket = net.tcp_socket(AddressFamily::Ipv4).unwrap();
    let stream = socket.connected("127.0.0.1:8080".parse().unwrap()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => return String::from_utf8(answer).unwrap(),
            length => answer.extend_from_slice(&buffer[..length]),
        }
    }
}

fn status_and_body(answer: &str) -> (&str, &str) {
    (&answer[9..12], answer.split_once("\r\n\r\n").unwrap().1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_container_asks_its_neighbour_and_stops_when_told() {
    let pod = pod();
    let stop = CancellationToken::new();
    let (store, front) = (example("http/store.wasm"), example("http/front.wasm"));
    let neighbour = run(pod.container("store"), &store, |_| {});
    let client = async {
        let request = |line: &str, body: &str| {
            format!("{line} HTTP/1.1\r\nhost: pod:8080\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
        };
        // The neighbour needs a moment to listen; until then the front says that it does not answer.
        loop {
            let answer = exchange(&pod, &request("PUT /greeting", "hello")).await;
            match status_and_body(&answer).0 {
                "201" => break,
                status => assert_eq!(status, "502", "{answer}"),
            }
        }
        let answer = exchange(&pod, &request("GET /greeting", "")).await;
        assert_eq!(status_and_body(&answer).0, "200", "{answer}");
        assert!(answer.contains("hello"), "{answer}");
        let answer = exchange(&pod, &request("GET /nothing", "")).await;
        assert_eq!(status_and_body(&answer).0, "404");
        // Two requests on one connection.
        let two = format!("GET / HTTP/1.1\r\nhost: x\r\n\r\n{}", request("GET /", ""));
        let answer = exchange(&pod, &two).await;
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
        stop.cancel();
    };
    let served = tokio::select! {
        (guests, ()) = async { tokio::join!(serve(&pod, &front, stop.clone()), client) } => guests,
        ended = neighbour => panic!("the store ended: {ended:?}"),
    };
    assert_eq!(*served.failures.lock().unwrap(), Vec::<String>::new());
}

/// A component that implements `wasi:http/incoming-handler` by a trap.
const TRAPS: &str = r#"(component
    (import "wasi:http/types@0.2.0" (instance $types
        (export "incoming-request" (type (sub resource)))
        (export "response-outparam" (type (sub resource)))))
    (alias export $types "incoming-request" (type $request))
    (alias export $types "response-outparam" (type $outparam))
    (core module $m (func (export "handle") (param i32 i32) unreachable))
    (core instance $i (instantiate $m))
    (func $handle (param "request" (own $request)) (param "response-out" (own $outparam)) (canon lift (core func $i "handle")))
    (component $handler
        (import "request" (type $request (sub resource)))
        (import "outparam" (type $outparam (sub resource)))
        (import "handle" (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))))
        (export $r "incoming-request" (type $request))
        (export $o "response-outparam" (type $outparam))
        (export "handle" (func $handle) (func (param "request" (own $r)) (param "response-out" (own $o)))))
    (instance $handler (instantiate $handler
        (with "request" (type $request)) (with "outparam" (type $outparam)) (with "handle" (func $handle))))
    (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_traps_costs_its_client_a_500_and_the_connection_lives() {
    let pod = pod();
    let stop = CancellationToken::new();
    let wasm = wat::parse_str(TRAPS).unwrap();
    let client = async {
        let request = "GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answer = exchange(&pod, request).await;
        assert_eq!(answer.matches("HTTP/1.1 500 ").count(), 2, "{answer}");
        let answer = exchange(&pod, "GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(status_and_body(&answer).0, "400", "{answer}");
        stop.cancel();
    };
    let (guests, ()) = tokio::join!(serve(&pod, &wasm, stop.clone()), client);
    let failures = guests.failures.lock().unwrap();
    assert_eq!(failures.len(), 2);
    assert!(failures[0].contains("unreachable"), "{failures:?}");
}
