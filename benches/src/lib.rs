//! What the benchmarks share: an engine with a compiler, a guest that does nothing, and pods made of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot be set up has no result"
)]

use bytes::Bytes;
use std::sync::Arc;
use wasmpod::container::Program;
use wasmpod::engine::{CompileLimits, Compiler, Engine, EngineConfig, EngineMode};
use wasmpod::log::{LogWriter, pipe};
use wasmpod::manifest::{LowerContext, Manifest};
use wasmpod::net::AddressPool;
use wasmpod::pod::backoff::BackoffPolicy;
use wasmpod::pod::spec::PodSpec;
use wasmpod::pod::state::{Attempt, ContainerIndex};
use wasmpod::pod::{ContainerImage, ContainerOutput, Pod, PodConfig, PodImages, Sandbox, SandboxConfig};

/// A preview-1 program that says hello and ends: the least that a container does.
pub const HELLO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
    (func (export "_start") (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))))"#;

/// An engine and everything that a pod of `HELLO` containers needs.
#[derive(Debug)]
pub struct Bench {
    /// Where the benchmark's own tasks run; guests have the engine's threads.
    pub runtime: tokio::runtime::Runtime,
    /// The engine.
    pub engine: Engine,
    /// `HELLO`, compiled and linked.
    pub image: ContainerImage,
    addresses: AddressPool,
    folder: tempfile::TempDir,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    /// Compiles `HELLO` in this process.
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::new(EngineConfig {
            mode: EngineMode::Run,
            cache_dir: folder.path().join("cache"),
            compiler: Compiler::InProcess,
            compile_limits: CompileLimits::STANDARD,
            on_compile: None,
            guest_threads: None,
        })
        .unwrap();
        let artifact = runtime.block_on(engine.load("hello", Bytes::from_static(HELLO.as_bytes()))).unwrap();
        let program = Program::link(&artifact).unwrap();
        let image = ContainerImage::of_program(program, artifact.digest().to_string(), "hello");
        Self { runtime, engine, image, addresses: AddressPool::new(), folder }
    }

    /// The spec of a pod with so many containers.
    pub fn spec(containers: usize) -> PodSpec {
        let containers: String = (0..containers).map(|at| format!("{{name: c{at}, image: 'file:./x.wasm'}},")).collect();
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{restartPolicy: Never, containers: [{containers}]}}}}"
        );
        Manifest::parse(&text, "bench").unwrap().lower(|_| LowerContext::new("uid")).unwrap().remove(0).spec
    }

    /// Runs a pod from its spec to its end, its output thrown away.
    pub async fn run_pod(&self, spec: PodSpec) {
        let images = PodImages::Present(vec![self.image.clone(); spec.containers.len()]);
        let config = SandboxConfig {
            engine: self.engine.clone(),
            addresses: self.addresses.take().unwrap(),
            state_dir: self.folder.path().to_path_buf(),
            claims_dir: None,
            publish: Vec::new(),
            stdin: None,
        };
        let sandbox = Sandbox::prepare(spec, config).await.unwrap();
        let config =
            PodConfig { sandbox, images, backoff: BackoffPolicy::KUBELET, output: Arc::new(Nowhere), host_ips: Vec::new() };
        let pod = Pod::start(config).unwrap();
        assert_eq!(pod.finished().await.unwrap().exit_code, 0);
    }
}

/// Output that nobody reads.
#[derive(Debug)]
struct Nowhere;

impl ContainerOutput for Nowhere {
    fn open(&self, _container: ContainerIndex, _attempt: Attempt) -> LogWriter {
        pipe().0
    }
}
