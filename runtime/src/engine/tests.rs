//! Loading as a whole: bytes in, runnable code out; compiled once, found again, bounded.

use super::*;
use crate::ErrorKind;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use wasmtime::{Linker, Store};

/// Exports `answer` beside `_start`, so that a test can see it run.
const MODULE: &str = r#"(module (memory (export "memory") 1) (data (i32.const 0) "x") (func (export "_start"))
    (func (export "answer") (result i32) (i32.const 42)))"#;

/// An engine in a directory of its own, and what was compiled.
struct Fixture {
    root: tempfile::TempDir,
    compiled: Arc<Mutex<Vec<CompileProgress>>>,
}

impl Fixture {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), compiled: Arc::default() }
    }

    /// One more engine, as another process would make it.
    fn engine(&self, mode: EngineMode, compiler: Compiler) -> Engine {
        self.engine_within(mode, compiler, CompileLimits::STANDARD)
    }

    fn engine_within(&self, mode: EngineMode, compiler: Compiler, compile_limits: CompileLimits) -> Engine {
        let compiled = self.compiled.clone();
        let observer: CompileObserver = Arc::new(move |progress| compiled.lock().unwrap().push(progress.clone()));
        let cache_dir = self.root.path().to_owned();
        Engine::new(EngineConfig { mode, cache_dir, compiler, compile_limits, on_compile: Some(observer), guest_threads: None })
            .unwrap()
    }

    fn times_compiled(&self) -> usize {
        self.compiled.lock().unwrap().iter().filter(|progress| matches!(progress, CompileProgress::Started { .. })).count()
    }

    /// The files of the cache with this ending.
    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let key = self.root.path().join("aot/v1").join(config::compatibility_key());
        let paths = std::fs::read_dir(key).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == ending)).collect()
    }
}

/// The compiler program, where it was built beside the tests (`cargo test --lib` does not build it).
#[allow(clippy::disallowed_methods, reason = "cargo names the programs of a package to its integration tests only")]
fn program() -> Option<PathBuf> {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().and_then(Path::parent).map(|directory| directory.join(compile::PROGRAM))?;
    program.exists().then_some(program)
}

/// What compiles in most tests: this process where it can. A build without a compiler shows that it runs what the program makes.
fn compiler() -> Compiler {
    #[cfg(feature = "compiler")]
    return Compiler::InProcess;
    #[cfg(not(feature = "compiler"))]
    return Compiler::Program(program().expect("first run `cargo build -p wasmpod --features compiler --bin wasmpod-compile`"));
}

async fn answer(artifact: &Artifact) -> i32 {
    let ArtifactKind::Core(module) = artifact.kind() else { panic!("not a core module") };
    let mut store = Store::new(artifact.wasmtime(), ());
    store.set_epoch_deadline(1000);
    let instance = Linker::new(artifact.wasmtime()).instantiate_async(&mut store, module).await.unwrap();
    instance.get_typed_func::<(), i32>(&mut store, "answer").unwrap().call_async(&mut store, ()).await.unwrap()
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[tokio::test]
async fn a_program_is_compiled_once_and_runs_with_and_without_a_pool() {
    let fixture = Fixture::new();
    for mode in [EngineMode::Shim, EngineMode::OnDemand, EngineMode::Once, EngineMode::Run] {
        let engine = fixture.engine(mode, compiler());
        let artifact = engine.load("x.wat", bytes(MODULE)).await.unwrap();
        let _admission = engine.admit(&artifact).unwrap();
        assert_eq!(answer(&artifact).await, 42);
        assert_eq!(artifact.cost().pooled, matches!(mode, EngineMode::Shim | EngineMode::Run));
    }
    assert_eq!(fixture.times_compiled(), 1);
    assert!(
        matches!(&fixture.compiled.lock().unwrap()[..], [CompileProgress::Started { name, .. }, CompileProgress::Finished { artifact_bytes: Some(_), .. }] if name == "x.wat")
    );
}

#[tokio::test]
async fn text_and_binary_form_are_the_same_program() {
    let fixture = Fixture::new();
    let engine = fixture.engine(EngineMode::OnDemand, compiler());
    let wasm = Bytes::from(wat::parse_str(MODULE).unwrap());
    let (text, binary) = (engine.load("x.wat", bytes(MODULE)).await.unwrap(), engine.load("x.wasm", wasm.clone()).await.unwrap());
    assert_eq!(text.digest(), Digest::of(&wasm));
    assert!(Arc::ptr_eq(&text.0, &binary.0));
    assert_eq!(text.wasm_bytes(), wasm.len() as u64);
    assert!(text.artifact_bytes() > 0);
}

#[tokio::test]
async fn a_known_digest_needs_no_bytes() {
    let fixture = Fixture::new();
    let digest = {
        let engine = fixture.engine(EngineMode::OnDemand, compiler());
        assert!(engine.cached(&Digest::of(b"never seen")).await.unwrap().is_none());
        engine.load("x.wat", bytes(MODULE)).await.unwrap().digest()
    };
    let artifact = fixture.engine(EngineMode::Shim, Compiler::Program("/nowhere".into())).cached(&digest).await.unwrap().unwrap();
    assert_eq!(answer(&artifact).await, 42);
}

#[tokio::test]
async fn components_are_told_apart_and_know_their_imports() {
    let fixture = Fixture::new();
    let engine = fixture.engine(EngineMode::Shim, compiler());
    let command = r#"(component (import "wasi:io/poll@0.2.0" (instance)) (import "wasi:cli/exit@0.2.0" (instance))
        (core module $m (memory 1) (table 3 funcref)) (core instance (instantiate $m)) (core instance (instantiate $m))
        (component $c) (instance $i (instantiate $c)) (export "wasi:cli/run@0.2.6" (instance $i)))"#;
    let artifact = engine.load("command", bytes(command)).await.unwrap();
    assert!(matches!(artifact.kind(), ArtifactKind::Command(_)));
    assert_eq!(artifact.imports(), ["wasi:cli/exit@0.2.0", "wasi:io/poll@0.2.0"]);
    assert_eq!(artifact.cost(), admission::Cost { memories: 2, tables: 2, pooled: true });
    let proxy = command.replace("cli/run", "http/incoming-handler");
    assert!(matches!(engine.load("proxy", bytes(&proxy)).await.unwrap().kind(), ArtifactKind::Proxy(_)));
}

/// Strings that go from one component to another pass through modules that wasmtime makes, which use proposals of their own.
#[tokio::test]
async fn composed_components_compile() {
    let composed = r#"(component
        (component $callee
            (core module $m (memory (export "memory") 1) (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8)) (func (export "take") (param i32 i32)))
            (core instance $i (instantiate $m))
            (func (export "take") (param "text" string) (canon lift (core func $i "take") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))
        (component $caller
            (import "take" (func $take (param "text" string)))
            (core module $libc (memory (export "memory") 1))
            (core instance $libc (instantiate $libc))
            (core func $lowered (canon lower (func $take) (memory (core memory $libc "memory"))))
            (core module $m (import "" "take" (func (param i32 i32))))
            (core instance (instantiate $m (with "" (instance (export "take" (func $lowered)))))))
        (instance $callee (instantiate $callee))
        (instance (instantiate $caller (with "take" (func $callee "take"))))
        (component $c) (instance $i (instantiate $c)) (export "wasi:cli/run@0.2.0" (instance $i)))"#;
    let fixture = Fixture::new();
    fixture.engine(EngineMode::Shim, compiler()).load("composed", bytes(composed)).await.unwrap();
}

#[tokio::test]
async fn a_module_too_big_for_a_slot_runs_outside_of_the_pool() {
    let tables = r#"(table 1 funcref)"#.repeat(crate::limits::TABLES_PER_MODULE_MAX as usize + 1);
    let module = MODULE.replace("(module", &format!("(module {tables}"));
    let fixture = Fixture::new();
    let engine = fixture.engine(EngineMode::Shim, compiler());
    let (big, small) = (engine.load("big", bytes(&module)).await.unwrap(), engine.load("small", bytes(MODULE)).await.unwrap());
    assert!(!wasmtime::Engine::same(big.wasmtime(), small.wasmtime()));
    assert_eq!((answer(&big).await, answer(&small).await), (42, 42));
    assert!(!big.cost().pooled && small.cost().pooled);
}

#[tokio::test]
async fn damaged_and_stale_artifacts_are_made_again() {
    let fixture = Fixture::new();
    drop(fixture.engine(EngineMode::OnDemand, compiler()).load("x", bytes(MODULE)).await.unwrap());
    let [path] = &fixture.files("cwasm")[..] else { panic!("one artifact") };
    let good = std::fs::read(path).unwrap();
    let mut damaged = good.clone();
    damaged[good.len() / 2] ^= 1;
    for bad in [damaged.as_slice(), &good[..100], b""] {
        std::fs::write(path, bad).unwrap();
        let artifact = fixture.engine(EngineMode::OnDemand, compiler()).load("x", bytes(MODULE)).await.unwrap();
        assert_eq!(answer(&artifact).await, 42);
    }
    // Sealed, but of no use to wasmtime: as from a compiler with other settings.
    let engine = fixture.engine(EngineMode::OnDemand, compiler());
    let digest = Digest::of(&wat::parse_str(MODULE).unwrap());
    let lock = engine.0.cache.try_lock(&digest).unwrap().unwrap();
    let mut file = lock.temporary().unwrap();
    std::io::Write::write_all(&mut file, b"\x7fELF and nothing more").unwrap();
    lock.commit(file, kind::Kind::Core, 4).unwrap();
    drop(lock);
    assert_eq!(answer(&engine.load("x", bytes(MODULE)).await.unwrap()).await, 42);
    assert_eq!(fixture.times_compiled(), 5);
}

#[tokio::test]
async fn twenty_first_starts_compile_once() {
    let fixture = Fixture::new();
    // Four processes with five tasks each, as far as locks can tell.
    let engines: Vec<_> = (0..4).map(|_| fixture.engine(EngineMode::OnDemand, compiler())).collect();
    let loads = (0..20).map(|task| {
        let engine = engines[task % 4].clone();
        tokio::spawn(async move { engine.load("x", bytes(MODULE)).await.map(|artifact| artifact.digest()) })
    });
    for load in loads.collect::<Vec<_>>() {
        load.await.unwrap().unwrap();
    }
    assert_eq!(fixture.times_compiled(), 1);
    assert!(fixture.files("tmp").is_empty());
}

#[tokio::test]
async fn what_was_prepared_is_shared() {
    let fixture = Fixture::new();
    let artifact = fixture.engine(EngineMode::OnDemand, compiler()).load("x", bytes(MODULE)).await.unwrap();
    assert!(artifact.prepare::<String>(|_| Err(crate::Error::invalid("not now"))).is_err());
    let first = artifact.prepare(|artifact| Ok(artifact.digest().to_string())).unwrap();
    let second = artifact.clone().prepare::<String>(|_| panic!("made twice")).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(artifact.prepare(|_| Ok(1)).unwrap_err().kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn a_busy_guest_yields_to_the_clock_and_is_killed() {
    let fixture = Fixture::new();
    let engine = fixture.engine(EngineMode::Shim, compiler());
    let artifact = engine.load("x", bytes(r#"(module (func (export "_start") (loop $l (br $l))))"#)).await.unwrap();
    let ArtifactKind::Core(module) = artifact.kind().clone() else { panic!("not a core module") };
    let (running, wasmtime) = (engine.running(), artifact.wasmtime().clone());
    let (yielded, mut yields) = tokio::sync::watch::channel(0);
    let guest = engine.spawn(async move {
        let _running = running;
        let mut store = Store::new(&wasmtime, ());
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            yielded.send_modify(|count| *count += 1);
            Ok(wasmtime::UpdateDeadline::Yield(1))
        });
        let instance = Linker::new(&wasmtime).instantiate_async(&mut store, &module).await.unwrap();
        instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap().call_async(&mut store, ()).await.unwrap();
    });
    yields.wait_for(|count| *count > 3).await.unwrap();
    guest.abort();
    engine.bump_epoch();
    assert!(guest.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn what_fails_says_why_in_one_clear_error() {
    let fixture = Fixture::new();
    let engine = fixture.engine(EngineMode::OnDemand, compiler());
    let invalid = r#"(module (func (export "_start") (i32.const 1)))"#;
    let error = engine.load("./bad.wat", bytes(invalid)).await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Invalid, Some("CreateContainerError")));
    insta::assert_snapshot!(error.chain());
    let nowhere = fixture.engine(EngineMode::OnDemand, Compiler::beside(Path::new("/nowhere/wasmpod")));
    let error = nowhere.load("./x.wat", bytes(MODULE)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    insta::assert_snapshot!(format!("{}; hint: {}", error.chain(), error.advice().unwrap()));
}

/// A small module that takes seconds and hundreds of megabytes to compile: functions of very many blocks.
fn bomb() -> Bytes {
    let blocks =
        "(local.set 0 (i64.add (local.get 1) (local.get 2))) (if (i64.eqz (local.get 0)) (then (local.set 1 (local.get 0))))";
    let function = format!("(func (param i64 i64 i64) {})", blocks.repeat(20_000));
    Bytes::from(wat::parse_str(format!("(module (func (export \"_start\")) {function} {function})")).unwrap())
}

#[cfg(feature = "compiler")]
#[tokio::test]
async fn the_compiler_program_makes_the_same_artifacts() {
    let Some(program) = program() else { return };
    let fixture = Fixture::new();
    let engine = fixture.engine(EngineMode::Shim, Compiler::Program(program.clone()));
    assert_eq!(answer(&engine.load("x", bytes(MODULE)).await.unwrap()).await, 42);
    let invalid = r#"(module (func (export "_start") (i32.const 1)))"#;
    let error = engine.load("./bad.wat", bytes(invalid)).await.unwrap_err();
    insta::assert_snapshot!("what_fails_says_why_in_one_clear_error", error.chain());
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(fixture.files("tmp").is_empty());
    let [path] = &fixture.files("cwasm")[..] else { panic!("one artifact") };
    let child_made = std::fs::read(path).unwrap();
    std::fs::remove_file(path).unwrap();
    let in_process = fixture.engine(EngineMode::Shim, compiler());
    in_process.load("x", bytes(MODULE)).await.unwrap();
    assert!(child_made == std::fs::read(path).unwrap(), "both ways make the same bytes");
}

#[tokio::test]
async fn a_bomb_costs_one_child_and_ends_at_its_limits() {
    let Some(program) = program() else { return };
    let (fixture, bomb) = (Fixture::new(), bomb());
    let load = async |limits: CompileLimits| {
        let engine = fixture.engine_within(EngineMode::OnDemand, Compiler::Program(program.clone()), limits);
        let error = engine.load("bomb", bomb.clone()).await.unwrap_err();
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Limit, Some("CreateContainerError")), "{}", error.chain());
        error.chain()
    };
    let standard = CompileLimits::STANDARD;
    let wall_time_max = Duration::from_millis(20);
    assert_eq!(load(CompileLimits { wall_time_max, ..standard }).await, "bomb: compiling took longer than 0.02 s");
    let memory_bytes_max = 32 << 20;
    assert_eq!(load(CompileLimits { memory_bytes_max, ..standard }).await, "bomb: compiling took more than 32 MiB of memory");
    let cpu_time_max = Duration::from_secs(1);
    assert_eq!(load(CompileLimits { cpu_time_max, ..standard }).await, "bomb: compiling took longer than 1 s");
    assert!(fixture.files("tmp").is_empty() && fixture.files("cwasm").is_empty());
}

#[tokio::test]
async fn who_gives_up_kills_the_compiler_and_frees_the_lock() {
    let Some(program) = program() else { return };
    let fixture = Fixture::new();
    let engine = fixture.engine(EngineMode::OnDemand, Compiler::Program(program));
    let module = bomb();
    let compiling = async {
        while fixture.times_compiled() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = engine.load("bomb", module.clone()) => panic!("compiled too fast"),
        () = compiling => {}
    }
    assert!(matches!(fixture.compiled.lock().unwrap().last(), Some(CompileProgress::Finished { artifact_bytes: None, .. })));
    assert!(engine.0.cache.try_lock(&Digest::of(&module)).unwrap().is_some());
    assert!(fixture.files("tmp").is_empty());
}
