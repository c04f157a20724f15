//! What it costs to start: instances on bare wasmtime, then pods of 1, 2 and 10 containers until all of them run, until their end, and
//! as many at a time as both processors can do.
#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros; a benchmark that cannot be set up has no result")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use wasmpod::engine::EngineMode;
use wasmpod_bench::bare::{BareCommand, BareCore, BareProxy};
use wasmpod_bench::output::Output;
use wasmpod_bench::{Bench, COMMAND, HELLO, PROXY};

/// Pods that are started at the same time when as many as possible are.
const PODS_AT_ONCE: usize = 16;

/// The floor: what wasmpod cannot be faster than.
fn bare_wasmtime(criterion: &mut Criterion) {
    let bench = Bench::new();
    let mut group = criterion.benchmark_group("bare wasmtime");
    let core = BareCore::new(bench.image(HELLO).program.artifact());
    group.bench_function("preview 1: one instance", |bencher| bencher.iter(|| bench.runtime.block_on(core.instantiate())));
    group.bench_function("preview 1: one instance to its end", |bencher| bencher.iter(|| bench.runtime.block_on(core.run())));
    group.bench_function("preview 1: two instances to their ends", |bencher| {
        bencher.iter(|| {
            bench.runtime.block_on(async {
                core.run().await;
                core.run().await;
            });
        });
    });
    // What it costs besides that guests run on threads of their own, which sleep until there is work.
    let guests = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let core = Arc::new(core);
    group.bench_function("preview 1: two instances to their ends, on threads of their own", |bencher| {
        let spawned = || {
            let core = Arc::clone(&core);
            guests.spawn(async move { core.run().await })
        };
        bencher.iter(|| {
            bench.runtime.block_on(async {
                let (first, second) = (spawned(), spawned());
                first.await.unwrap();
                second.await.unwrap();
            });
        });
    });
    let command = BareCommand::new(bench.image(COMMAND).program.artifact());
    group.bench_function("component: one instance", |bencher| bencher.iter(|| bench.runtime.block_on(command.instantiate())));
    let proxy = BareProxy::new(bench.image(PROXY).program.artifact());
    group.bench_function("wasi:http: one instance", |bencher| bencher.iter(|| bench.runtime.block_on(proxy.instantiate())));
    group.finish();
}

/// From the spec until every container has printed its first byte.
async fn until_all_run(bench: &Bench, image: &wasmpod::pod::ContainerImage, containers: usize) -> Duration {
    let (spec, output) = (Bench::plain_spec(containers), Arc::new(Output::new(containers)));
    let start = Instant::now();
    let pod = bench.start(spec, image, Arc::clone(&output) as _).await;
    let elapsed = output.all_started(start).await;
    pod.finished().await.unwrap();
    elapsed
}

fn pods(criterion: &mut Criterion) {
    let bench = Bench::new();
    let image = bench.image(HELLO);
    for containers in [1, 2, 10] {
        criterion.bench_function(&format!("pod of {containers}: spec to all running"), |bencher| {
            bencher.iter_custom(|pods| {
                bench.runtime.block_on(async {
                    let mut sum = Duration::ZERO;
                    for _ in 0..pods {
                        sum += until_all_run(&bench, &image, containers).await;
                    }
                    sum
                })
            });
        });
        criterion.bench_function(&format!("pod of {containers}: spec to its end"), |bencher| {
            let setup = || Bench::plain_spec(containers);
            bencher.iter_batched(setup, |spec| bench.runtime.block_on(bench.run_pod(spec, &image)), BatchSize::SmallInput);
        });
    }
}

/// Pods of one container from spec to end, as many at a time as keeps every processor busy; the time of one is the time of all by their
/// number.
fn throughput(criterion: &mut Criterion) {
    let bench = Arc::new(Bench::for_pods(EngineMode::Run, 2));
    let image = bench.image(HELLO);
    criterion.bench_function("hello pods, started and ended, both processors", |bencher| {
        bencher.iter_custom(|pods| {
            let left = Arc::new(AtomicU64::new(pods));
            let start = Instant::now();
            bench.runtime.block_on(async {
                let starters = (0..PODS_AT_ONCE).map(|_| {
                    let (bench, image, left) = (Arc::clone(&bench), image.clone(), Arc::clone(&left));
                    tokio::spawn(async move {
                        let spec = Bench::plain_spec(1);
                        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                            bench.run_pod(spec.clone(), &image).await;
                        }
                    })
                });
                for starter in starters.collect::<Vec<_>>() {
                    starter.await.unwrap();
                }
            });
            start.elapsed()
        });
    });
}

criterion_group!(benches, bare_wasmtime, pods, throughput);
criterion_main!(benches);
