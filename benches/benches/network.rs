//! The pod network against the kernel's loopback, host to host: a 64-byte round trip between two threads, and a stream.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "criterion's macros; a benchmark that cannot be set up has no result"
)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;
use wasmpod::net::{AddressFamily, AddressPool, ContainerNet, PodNet, PodNetConfig, TcpSocket, TcpStream};

const MESSAGE_BYTES: usize = 64;
const PIECE_BYTES: usize = 64 << 10;
const STREAM_BYTES: usize = 16 << 20;

/// A connection inside a pod; the sockets and the container keep it open.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    _sockets: [TcpSocket; 2],
    _container: ContainerNet,
}

fn connect() -> Connection {
    let addresses = AddressPool::new().take().unwrap();
    let net = PodNet::new(PodNetConfig { hostname: "bench".to_owned(), host_aliases: Vec::new(), addresses, gateway: None });
    let container = net.container("bench");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 7000));
    let socket = || container.tcp_socket(AddressFamily::Ipv4).unwrap();
    let (listener, client) = (socket(), socket());
    listener.bind(address).unwrap();
    listener.listen().unwrap();
    client.connect(address).unwrap();
    client.finish_connect().unwrap();
    let server = listener.accept().unwrap();
    Connection {
        client: client.stream().unwrap(),
        server: server.stream().unwrap(),
        _sockets: [client, server],
        _container: container,
    }
}

async fn read(stream: &TcpStream, buffer: &mut [u8]) -> usize {
    poll_fn(|cx| stream.poll_read(cx, buffer)).await.unwrap()
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| stream.poll_write(cx, bytes)).await.unwrap();
        bytes = &bytes[written..];
    }
}

async fn kernel_connection() -> (tokio::net::TcpStream, tokio::net::TcpStream) {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    (client, server)
}

fn threads() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn round_trip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("64-byte round trip");
    let runtime = threads();
    let connection = connect();
    let server = connection.server.clone();
    let echo = runtime.spawn(async move {
        let mut buffer = [0; MESSAGE_BYTES];
        loop {
            let length = read(&server, &mut buffer).await;
            write_all(&server, &buffer[..length]).await;
        }
    });
    group.bench_function("pod network", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                write_all(&connection.client, &[1; MESSAGE_BYTES]).await;
                read(&connection.client, &mut [0; MESSAGE_BYTES]).await
            })
        });
    });
    echo.abort();
    let (mut client, mut server) = runtime.block_on(kernel_connection());
    let echo = runtime.spawn(async move {
        let mut buffer = [0; MESSAGE_BYTES];
        while server.read_exact(&mut buffer).await.is_ok() {
            server.write_all(&buffer).await.unwrap();
        }
    });
    group.bench_function("kernel loopback", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                client.write_all(&[1; MESSAGE_BYTES]).await.unwrap();
                client.read_exact(&mut [0; MESSAGE_BYTES]).await.unwrap()
            })
        });
    });
    echo.abort();
    group.finish();
}

fn stream(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("16 MiB stream");
    group.throughput(Throughput::Bytes(STREAM_BYTES as u64));
    let runtime = threads();
    let connection = connect();
    group.bench_function("pod network", |bencher| {
        bencher.iter(|| {
            let writer = connection.client.clone();
            let written = runtime.spawn(async move {
                let piece = vec![1; PIECE_BYTES];
                for _ in 0..STREAM_BYTES / PIECE_BYTES {
                    write_all(&writer, &piece).await;
                }
            });
            runtime.block_on(async {
                let (mut buffer, mut left) = (vec![0; PIECE_BYTES], STREAM_BYTES);
                while left > 0 {
                    left -= read(&connection.server, &mut buffer).await;
                }
                written.await.unwrap();
            });
        });
    });
    let (client, mut server) = runtime.block_on(kernel_connection());
    let client = std::sync::Arc::new(tokio::sync::Mutex::new(client));
    group.bench_function("kernel loopback", |bencher| {
        bencher.iter(|| {
            let writer = std::sync::Arc::clone(&client);
            let written = runtime.spawn(async move {
                let piece = vec![1; PIECE_BYTES];
                let mut writer = writer.lock().await;
                for _ in 0..STREAM_BYTES / PIECE_BYTES {
                    writer.write_all(&piece).await.unwrap();
                }
            });
            runtime.block_on(async {
                let (mut buffer, mut left) = (vec![0; PIECE_BYTES], STREAM_BYTES);
                while left > 0 {
                    left -= server.read(&mut buffer).await.unwrap();
                }
                written.await.unwrap();
            });
        });
    });
    group.finish();
}

criterion_group!(benches, round_trip, stream);
criterion_main!(benches);
