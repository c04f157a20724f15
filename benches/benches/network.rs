//! The pod network against the kernel's loopback, guest to guest: the same component is both ends of both, in a pod and under plain
//! wasmtime with real sockets, on the same engine. The guests time themselves, without their start.
#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros; a benchmark that cannot be set up has no result")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::net::TcpListener;
use std::time::Duration;
use tokio::runtime::Runtime;
use wasmpod::pod::ContainerImage;
use wasmpod_bench::bare::BareCommand;
use wasmpod_bench::{Bench, NETWORK};

/// Bytes of one message of a round trip.
const MESSAGE_BYTES: u64 = 64;
/// Bytes of one write of a stream; the guest has the same number.
const PIECE_BYTES: u64 = 64 << 10;
/// The port in a pod.
const PORT: u16 = 7000;

/// Both networks.
struct Networks {
    bench: Bench,
    image: ContainerImage,
    bare: BareCommand,
    /// As many threads as a pod's guests have.
    threads: Runtime,
}

impl Networks {
    fn new() -> Self {
        let bench = Bench::new();
        let image = bench.image(NETWORK);
        let bare = BareCommand::new(image.program.artifact());
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { bench, image, bare, threads }
    }

    fn pod(&self, server: Guest, client: Guest, count: u64) -> Duration {
        let (server, client) = (server.args(PORT, count), client.args(PORT, count));
        nanoseconds(&self.bench.runtime.block_on(self.bench.run_pair(&self.image, &server, &client)))
    }

    fn alone_in_pod(&self, args: Vec<String>) -> String {
        self.bench.runtime.block_on(self.bench.run_alone(&self.image, &args))
    }

    fn kernel(&self, server: Guest, client: Guest, count: u64) -> Duration {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (server, client) = (server.args(port, count), client.args(port, count));
        self.threads.block_on(async {
            let (serves, printed) = tokio::join!(self.spawned(server), self.spawned(client));
            drop(serves);
            nanoseconds(&printed)
        })
    }

    /// Runs a guest on a task of its own, as containers are.
    async fn spawned(&self, args: Vec<String>) -> String {
        let bare = self.bare.clone();
        tokio::spawn(async move { bare.run(&args).await }).await.unwrap()
    }
}

fn nanoseconds(printed: &str) -> Duration {
    Duration::from_nanos(printed.trim().parse().unwrap())
}

/// What one end does: its name, and what comes after the port; the count is filled in where it stands.
#[derive(Clone, Copy)]
struct Guest(&'static str, &'static [Argument]);

#[derive(Clone, Copy)]
enum Argument {
    Bytes,
    Count,
}

impl Guest {
    fn args(self, port: u16, count: u64) -> Vec<String> {
        let rest = self.1.iter().map(|argument| match argument {
            Argument::Bytes => MESSAGE_BYTES,
            Argument::Count => count,
        });
        [self.0.to_owned(), port.to_string()].into_iter().chain(rest.map(|number| number.to_string())).collect()
    }
}

fn networks(criterion: &mut Criterion) {
    use Argument::{Bytes, Count};
    let networks = Networks::new();
    let cases = [
        ("64-byte round trip", Guest("tcp-echo", &[Bytes]), Guest("tcp-ping", &[Bytes, Count]), None),
        ("stream", Guest("sink", &[]), Guest("pour", &[Count]), Some(Throughput::Bytes(PIECE_BYTES))),
        ("connection", Guest("accept", &[Count]), Guest("dial", &[Count]), None),
        ("64-byte datagram round trip", Guest("udp-echo", &[Bytes]), Guest("udp-ping", &[Bytes, Count]), None),
    ];
    for (name, server, client, throughput) in cases {
        let mut group = criterion.benchmark_group(name);
        if let Some(throughput) = throughput {
            group.throughput(throughput);
        }
        group.bench_function("pod network", |bencher| bencher.iter_custom(|count| networks.pod(server, client, count)));
        group.bench_function("kernel loopback", |bencher| bencher.iter_custom(|count| networks.kernel(server, client, count)));
        group.finish();
    }
}

/// What a call of the host costs that only looks at a socket. A guest sends, receives and waits by calls like it, five for each end of a
/// round trip (check-write, write, read, block, read), so ten of them are less than any network can take for one.
fn host_calls(criterion: &mut Criterion) {
    let networks = Networks::new();
    let calls = Guest("calls", &[Argument::Count]);
    let mut group = criterion.benchmark_group("host call");
    group.bench_function("pod network", |bencher| {
        bencher.iter_custom(|count| nanoseconds(&networks.alone_in_pod(calls.args(PORT, count))));
    });
    group.bench_function("bare wasmtime", |bencher| {
        bencher.iter_custom(|count| nanoseconds(&networks.threads.block_on(networks.spawned(calls.args(0, count)))));
    });
    group.finish();
}

criterion_group!(benches, networks, host_calls);
criterion_main!(benches);
