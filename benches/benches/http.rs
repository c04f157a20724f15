//! `wasi:http` requests over 10 connections: a pod with a published port, and `wasmtime serve` where there is one. The client is the
//! same, and shares the machine with the server.
//!
//! `WASMTIME=/path/to/wasmtime` names the program to compare with; without it the one on the `PATH` is taken.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "criterion's macros; a benchmark that cannot be set up has no result; the user says which wasmtime"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use wasmpod::engine::EngineMode;
use wasmpod::pod::PublishedPort;
use wasmpod::pod::spec::Protocol;
use wasmpod_bench::output::Nowhere;
use wasmpod_bench::{Bench, PROXY};

const CONNECTIONS: usize = 10;

type Connection = SendRequest<Empty<bytes::Bytes>>;

/// Opens the connections; the server may not listen yet.
async fn connect(address: SocketAddr) -> Vec<Connection> {
    let mut connections = Vec::new();
    let start = Instant::now();
    while connections.len() < CONNECTIONS {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true).unwrap();
                let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                connections.push(sender);
            }
            Err(error) => {
                assert!(start.elapsed() < Duration::from_secs(10), "nobody listens on {address}: {error}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    connections
}

/// Sends so many requests over all connections, each of which has one under way.
async fn requests(connections: Vec<Connection>, count: u64) -> (Vec<Connection>, Duration) {
    let left = Arc::new(AtomicU64::new(count));
    let start = Instant::now();
    let tasks = connections.into_iter().map(|mut connection| {
        let left = Arc::clone(&left);
        tokio::spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let request = http::Request::get("/").header("host", "localhost").body(Empty::new()).unwrap();
                connection.ready().await.unwrap();
                let response = connection.send_request(request).await.unwrap();
                assert_eq!(response.status(), 200);
                response.into_body().collect().await.unwrap();
            }
            connection
        })
    });
    let mut connections = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        connections.push(task.await.unwrap());
    }
    (connections, start.elapsed())
}

fn measure(criterion: &mut Criterion, name: &str, client: &Runtime, address: SocketAddr) {
    let mut connections = client.block_on(connect(address));
    criterion.bench_function(&format!("wasi:http request, 10 connections: {name}"), |bencher| {
        bencher.iter_custom(|count| {
            let (back, elapsed) = client.block_on(requests(std::mem::take(&mut connections), count));
            connections = back;
            elapsed
        });
    });
}

fn pod(criterion: &mut Criterion) {
    let client = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let bench = Bench::for_pods(EngineMode::Run, 1);
    let image = bench.image(PROXY);
    let publish = PublishedPort { host: free_address(), pod_port: 8080, protocol: Protocol::Tcp };
    let address = publish.host;
    let pod = bench.start_published(Bench::plain_spec(1), &image, Arc::new(Nowhere), vec![publish]);
    let pod = bench.runtime.block_on(pod);
    assert!(bench.runtime.block_on(pod.wait_until(|state| state.containers().iter().all(|container| container.is_running()))));
    measure(criterion, "wasmpod", &client, address);
    bench.runtime.block_on(async {
        pod.kill().await;
        pod.finished().await.unwrap();
    });
}

/// Ends the server with the benchmark.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn wasmtime_serve(criterion: &mut Criterion) {
    let program = std::env::var_os("WASMTIME").unwrap_or_else(|| OsString::from("wasmtime"));
    let folder = tempfile::tempdir().unwrap();
    let (wasm, compiled) = (folder.path().join("front.wasm"), folder.path().join("front.cwasm"));
    std::fs::write(&wasm, PROXY).unwrap();
    match Command::new(&program).arg("compile").arg(&wasm).arg("-o").arg(&compiled).status() {
        Ok(status) => assert!(status.success()),
        // It is not installed: nothing to compare with.
        Err(_) => return,
    }
    let client = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = free_address();
    let mut serve = Command::new(&program);
    serve.args(["serve", "--allow-precompiled", "-Scli", "--addr"]).arg(address.to_string()).arg(&compiled);
    let _server = Server(serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    measure(criterion, "wasmtime serve", &client, address);
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

criterion_group!(benches, pod, wasmtime_serve);
criterion_main!(benches);
