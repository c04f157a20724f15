//! What it costs to load an artifact that is in the cache, by its size: checked, mapped, linked.
//!
//! Real programs found as `.cache/bench/*.wasm` in the repository are measured too; `benches/programs.sh` fetches some.
#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros; a benchmark that cannot be set up has no result")]

use criterion::{Criterion, criterion_group, criterion_main};
use std::path::Path;
use std::time::{Duration, Instant};
use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, MemArg, MemorySection, MemoryType, Module, TypeSection,
    ValType,
};
use wasmpod::container::Program;
use wasmpod_bench::{Bench, HELLO, is_measured};

/// Where real programs are.
const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.cache/bench");

/// How long an artifact must have been left alone before it need not be read again.
const SETTLED: Duration = Duration::from_secs(3);

/// Steps of one generated function, some 40 bytes of machine code each.
const STEPS: i32 = 72;

/// A program of so many functions, each some 3 KB of machine code.
fn program(functions: u32) -> Vec<u8> {
    let (mut types, mut declared, mut memories) = (TypeSection::new(), FunctionSection::new(), MemorySection::new());
    let (mut exports, mut code) = (ExportSection::new(), CodeSection::new());
    types.ty().function([], []);
    types.ty().function([ValType::I32, ValType::I64], [ValType::I64]);
    memories.memory(MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None });
    exports.export("memory", ExportKind::Memory, 0).export("_start", ExportKind::Func, 0);
    declared.function(0);
    let mut start = Function::new([]);
    start.instructions().end();
    code.function(&start);
    for function in 0..functions {
        declared.function(1);
        code.function(&body(i64::from(function)));
    }
    let mut module = Module::new();
    module.section(&types).section(&declared).section(&memories).section(&exports).section(&code);
    module.finish()
}

/// Arithmetic, loads and stores, different for each function.
fn body(number: i64) -> Function {
    let at = MemArg { offset: 0, align: 3, memory_index: 0 };
    let mut function = Function::new([]);
    for step in 0..STEPS {
        let mut code = function.instructions();
        code.local_get(0).i32_const(step).i32_add().i32_const(4095).i32_and();
        code.local_get(1).i64_const(number * 1000 + i64::from(step)).i64_mul();
        code.local_get(0).i32_const(4095).i32_and().i64_load(at).i64_add().local_tee(1).i64_store(at);
    }
    function.instructions().local_get(1).end();
    function
}

fn load(criterion: &mut Criterion, name: &str, wasm: impl Into<bytes::Bytes>) {
    let bench = Bench::new();
    let image = bench.image(wasm);
    let (digest, megabytes) = (image.program.artifact().digest(), image.program.artifact().artifact_bytes() as f64 / 1e6);
    drop(image);
    if is_measured() {
        std::thread::sleep(SETTLED);
    }
    // The first load after that reads the file in whole, and notes that it did.
    let load = || bench.runtime.block_on(bench.engine.cached(&digest)).unwrap().unwrap();
    drop(load());
    criterion.bench_function(&format!("load: {name}, artifact of {megabytes:.1} MB"), |bencher| {
        bencher.iter_custom(|loads| (0..loads).map(|_| timed(load)).sum());
    });
    criterion.bench_function(&format!("load and link: {name}"), |bencher| {
        bencher.iter_custom(|loads| (0..loads).map(|_| timed(|| Program::link(&load()).unwrap())).sum());
    });
}

/// How long it takes to make something; to throw it away is not counted.
fn timed<T>(make: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    let made = std::hint::black_box(make());
    let elapsed = start.elapsed();
    drop(made);
    elapsed
}

fn loads(criterion: &mut Criterion) {
    load(criterion, "hello", HELLO);
    let functions: &[u32] = if is_measured() { &[300, 3000, 17_000] } else { &[10] };
    for functions in functions {
        load(criterion, &format!("{functions} functions"), program(*functions));
    }
    let programs = Path::new(PROGRAMS).read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    for path in programs.filter(|path| is_measured() && path.extension().is_some_and(|extension| extension == "wasm")) {
        load(criterion, &path.file_stem().unwrap_or_default().to_string_lossy(), std::fs::read(&path).unwrap());
    }
}

criterion_group!(benches, loads);
criterion_main!(benches);
