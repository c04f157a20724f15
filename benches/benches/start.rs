//! What it costs to start: bare wasmtime, then whole pods of 1, 2 and 10 containers, each run to its end.
#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros; a benchmark that cannot be set up has no result")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use wasmpod::engine::ArtifactKind;
use wasmpod_bench::Bench;
use wasmtime::{Linker, Store};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p1::{WasiP1Ctx, add_to_linker_async};

/// The floor: a store and an instance of the same module on the same engine, without a container around it.
fn bare_wasmtime(criterion: &mut Criterion) {
    let bench = Bench::new();
    let artifact = bench.image.program.artifact();
    let ArtifactKind::Core(module) = artifact.kind() else { return };
    let mut linker: Linker<WasiP1Ctx> = Linker::new(artifact.wasmtime());
    add_to_linker_async(&mut linker, |ctx| ctx).unwrap();
    let pre = linker.instantiate_pre(module).unwrap();
    criterion.bench_function("bare wasmtime: one instance to its end", |bencher| {
        bencher.iter(|| {
            bench.runtime.block_on(async {
                let mut store = Store::new(artifact.wasmtime(), WasiCtxBuilder::new().build_p1());
                store.set_epoch_deadline(u64::MAX / 2);
                let instance = pre.instantiate_async(&mut store).await.unwrap();
                let start = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap();
                start.call_async(&mut store, ()).await.unwrap();
            });
        });
    });
}

fn pods(criterion: &mut Criterion) {
    let bench = Bench::new();
    for containers in [1, 2, 10] {
        let name = format!("pod of {containers}: spec to its end");
        criterion.bench_function(&name, |bencher| {
            let setup = || Bench::spec(containers);
            bencher.iter_batched(setup, |spec| bench.runtime.block_on(bench.run_pod(spec)), BatchSize::SmallInput);
        });
    }
}

criterion_group!(benches, bare_wasmtime, pods);
criterion_main!(benches);
