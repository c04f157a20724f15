//! What the benchmarks share: an engine with a compiler, guests, pods made of them, and the same work on bare wasmtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark that cannot be set up has no result"
)]

pub mod bare;
pub mod output;

use bytes::Bytes;
use output::Output;
use std::sync::Arc;
use wasmpod::container::Program;
use wasmpod::engine::{CompileLimits, Compiler, Engine, EngineConfig, EngineMode};
use wasmpod::manifest::{LowerContext, Manifest};
use wasmpod::net::AddressPool;
use wasmpod::pod::backoff::BackoffPolicy;
use wasmpod::pod::spec::PodSpec;
use wasmpod::pod::{ContainerImage, ContainerOutput, Pod, PodConfig, PodImages, PublishedPort, Sandbox, SandboxConfig};

/// A preview-1 program that says hello and ends: the least that a container does.
pub const HELLO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
    (func (export "_start") (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))))"#;

/// A preview-1 program that says hello and then waits, an hour at a time: an idle container.
pub const IDLE: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
    (func (export "_start")
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))
        ;; A subscription to the monotonic clock, in nanoseconds from now.
        (i32.store (i32.const 80) (i32.const 1))
        (i64.store (i32.const 88) (i64.const 3600000000000))
        (loop $wait
            (drop (call $poll_oneoff (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 20)))
            (br $wait))))"#;

/// The guest of the network benchmarks: a component, see `guests/network`.
pub const NETWORK: &[u8] = include_bytes!("../guests/network/network.wasm");

/// A component that runs from start to end: one of the examples.
pub const COMMAND: &[u8] = include_bytes!("../../examples/two-containers/server.wasm");

/// A component that answers HTTP requests: one of the examples.
pub const PROXY: &[u8] = include_bytes!("../../examples/http/front.wasm");

/// Whether this is a measurement, and not a test that the benchmark works: cargo says so.
pub fn is_measured() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// An engine and everything that pods need. What is compiled is kept in a directory of its own, until this is dropped.
#[derive(Debug)]
pub struct Bench {
    /// Where the benchmark's own tasks run; guests have the engine's threads.
    pub runtime: tokio::runtime::Runtime,
    /// The engine.
    pub engine: Engine,
    addresses: AddressPool,
    folder: tempfile::TempDir,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    /// An engine with a pool, which compiles in this process; the pods' own tasks share the caller's thread, as in `wasmpod run`.
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self::on(runtime, EngineMode::Run)
    }

    /// The same for many pods: with so many threads for the pods' own tasks.
    pub fn for_pods(mode: EngineMode, threads: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
        Self::on(runtime, mode)
    }

    fn on(runtime: tokio::runtime::Runtime, mode: EngineMode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::new(EngineConfig {
            mode,
            cache_dir: folder.path().join("cache"),
            compiler: Compiler::InProcess,
            compile_limits: CompileLimits::STANDARD,
            on_compile: None,
            guest_threads: None,
        })
        .unwrap();
        Self { runtime, engine, addresses: AddressPool::new(), folder }
    }

    /// Compiles and links a program.
    pub fn image(&self, wasm: impl Into<Bytes>) -> ContainerImage {
        let artifact = self.runtime.block_on(self.engine.load("guest", wasm.into())).unwrap();
        let program = Program::link(&artifact).unwrap();
        ContainerImage::of_program(program, artifact.digest().to_string(), "guest")
    }

    /// The spec of a pod with a container for each of these lists of arguments.
    pub fn spec(containers: &[&[String]]) -> PodSpec {
        let container = |(at, args): (usize, &&[String])| format!("{{name: c{at}, image: 'file:./x.wasm', args: {args:?}}},");
        let containers: String = containers.iter().enumerate().map(container).collect();
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{restartPolicy: Never, containers: [{containers}]}}}}"
        );
        Manifest::parse(&text, "bench").unwrap().lower(|_| LowerContext::new("uid")).unwrap().remove(0).spec
    }

    /// The spec of a pod with so many containers without arguments.
    pub fn plain_spec(containers: usize) -> PodSpec {
        Self::spec(&vec![&[] as &[String]; containers])
    }

    /// Starts a pod whose containers all run `image`.
    pub async fn start(&self, spec: PodSpec, image: &ContainerImage, output: Arc<dyn ContainerOutput>) -> Pod {
        self.start_published(spec, image, output, Vec::new()).await
    }

    /// The same, with ports published on the machine.
    pub async fn start_published(
        &self,
        spec: PodSpec,
        image: &ContainerImage,
        output: Arc<dyn ContainerOutput>,
        publish: Vec<PublishedPort>,
    ) -> Pod {
        let images = PodImages::Present(vec![image.clone(); spec.containers.len()]);
        let config = SandboxConfig {
            engine: self.engine.clone(),
            addresses: self.addresses.take().unwrap(),
            state_dir: self.folder.path().to_path_buf(),
            claims_dir: None,
            publish,
            stdin: None,
        };
        let sandbox = Sandbox::prepare(spec, config).await.unwrap();
        Pod::start(PodConfig { sandbox, images, backoff: BackoffPolicy::KUBELET, output, host_ips: Vec::new() }).unwrap()
    }

    /// Runs a pod from its spec to its end, its output thrown away.
    pub async fn run_pod(&self, spec: PodSpec, image: &ContainerImage) {
        let pod = self.start(spec, image, Arc::new(output::Nowhere)).await;
        assert_eq!(pod.finished().await.unwrap().exit_code, 0);
    }

    /// Runs one container of `image` to its end; what it printed.
    pub async fn run_alone(&self, image: &ContainerImage, args: &[String]) -> String {
        self.run_all(image, &[args]).await
    }

    /// Runs two containers of `image` to their end; what the second one printed.
    pub async fn run_pair(&self, image: &ContainerImage, first: &[String], second: &[String]) -> String {
        self.run_all(image, &[first, second]).await
    }

    /// Runs a container of `image` for each of these lists of arguments; what the last one printed.
    async fn run_all(&self, image: &ContainerImage, containers: &[&[String]]) -> String {
        let output = Arc::new(Output::new(containers.len()));
        let pod = self.start(Self::spec(containers), image, Arc::clone(&output) as _).await;
        assert_eq!(pod.finished().await.unwrap().exit_code, 0);
        output.text(containers.len() - 1)
    }
}
