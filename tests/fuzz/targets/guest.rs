//! What the targets that run guests share: an engine, a store with bounded memory, a container's surroundings.

use super::folder::Folder;
use super::pod_network;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use wasmpod::log::OutputSink;
use wasmpod::net::{ContainerNet, PodNet};
use wasmpod::pod::spec::{ContainerPort, Protocol};
use wasmpod::wasi::{Directories, HasWasi, Preopen, Stdin, WasiConfig, WasiState, limit_host_calls, listeners};
use wasmtime::{Config, Engine, Store, StoreLimits, StoreLimitsBuilder};

/// How often the epoch moves.
const TICK: Duration = Duration::from_millis(10);
/// Ticks until a guest that computes is stopped: far more than any needs, on a machine that has other things to do.
const TICKS_MAX: u64 = 1000;
/// Linear memory and tables of one store.
const MEMORY_BYTES_MAX: usize = 4 << 20;
const TABLE_ELEMENTS_MAX: usize = 10_000;
/// How long a guest may wait, in the paused time of the fuzzers: until nothing else can happen.
pub const PATIENCE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

pub struct Data {
    wasi: WasiState,
    limits: StoreLimits,
}

impl HasWasi for Data {
    fn wasi(&mut self) -> &mut WasiState {
        &mut self.wasi
    }
}

/// An engine with the proposals that containers have, whose epoch moves.
pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let mut config = Config::new();
        config.epoch_interruption(true).concurrency_support(false).gc_support(false).wasm_gc(false).wasm_function_references(false);
        config.wasm_exceptions(false).wasm_threads(false).wasm_memory64(false).wasm_multi_memory(true).wasm_tail_call(true);
        config.cranelift_opt_level(wasmtime::OptLevel::None).max_wasm_stack(128 << 10).memory_reservation(1 << 23);
        let engine = Engine::new(&config).unwrap();
        let clock = engine.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(TICK);
                clock.increment_epoch();
            }
        });
        engine
    })
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl OutputSink for Nowhere {
    fn try_write(&self, bytes: &[u8]) -> usize {
        bytes.len()
    }

    fn room(&self) -> usize {
        4096
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// What a guest has around it: a pod's network, and two directories, one of them read-only.
pub struct Surroundings {
    folder: Folder,
    pub net: PodNet,
    config: WasiConfig,
}

impl Surroundings {
    pub fn new() -> Self {
        let (folder, net) = (Folder::new(), pod_network());
        let config = config(&folder, &net);
        Self { folder, net, config }
    }

    /// A store for one guest. Its time runs from here: what it runs should be compiled already.
    pub fn store(&self) -> Store<Data> {
        store(&self.config)
    }

    /// The container's own end of the network.
    pub fn container(&self) -> &ContainerNet {
        &self.config.net
    }

    /// Checks what a guest that is gone has left: nothing outside, nothing changed where it could only read, no socket.
    pub fn check(self) {
        let Self { folder, net, config } = self;
        folder.check(&["data", "fixed"]);
        let fixed = folder.path("fixed");
        assert_eq!(super::folder::names(&fixed), ["dir-out", "file", "link", "sub"]);
        assert_eq!(super::folder::names(&fixed.join("sub")), ["out"]);
        assert_eq!(std::fs::read(fixed.join("file")).unwrap(), b"a file");
        let container = config.net.clone();
        drop(config);
        container.close();
        assert_eq!((net.bound_count(), container.socket_count()), (0, 0));
    }
}

/// The surroundings of a container of `net`: two directories of `folder`, one of them read-only, and a port of each kind that is open.
fn config(folder: &Folder, net: &PodNet) -> WasiConfig {
    let container = net.container("guest");
    let data = folder.make("data");
    let fixed = folder.make("fixed");
    for directory in [&data, &fixed] {
        std::fs::create_dir(directory.join("sub")).unwrap();
        std::fs::write(directory.join("file"), "a file").unwrap();
        std::os::unix::fs::symlink("../../outside/secret", directory.join("sub/out")).unwrap();
        std::os::unix::fs::symlink("../outside", directory.join("dir-out")).unwrap();
        std::os::unix::fs::symlink("file", directory.join("link")).unwrap();
    }
    let open = |path: &std::path::Path, guest_path: &str, read_only| Preopen {
        dir: Arc::new(Dir::open_ambient_dir(path, ambient_authority()).unwrap()),
        guest_path: guest_path.to_owned(),
        read_only,
        may_block: false,
    };
    let port = |container_port, protocol| ContainerPort { name: None, container_port, protocol, host_port: None, host_ip: None };
    WasiConfig {
        args: vec!["guest".into(), "one".into()],
        env: vec![("NAME".into(), "value".into())],
        working_dir: None,
        directories: Directories::given(vec![open(&data, "/data", false), open(&fixed, "/fixed", true)]),
        stdin: Stdin::reader(&b"some input\n"[..]),
        stdout: Arc::new(Nowhere),
        stderr: Arc::new(Nowhere),
        listeners: listeners(&container, &[port(80, Protocol::Tcp), port(53, Protocol::Udp)]).unwrap(),
        net: container,
        on_open: None,
        tls: None,
    }
}

fn store(config: &WasiConfig) -> Store<Data> {
    let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES_MAX).table_elements(TABLE_ELEMENTS_MAX).instances(50).build();
    let mut store = Store::new(engine(), Data { wasi: WasiState::new(config).unwrap(), limits });
    store.limiter(|data| &mut data.limits);
    limit_host_calls(&mut store);
    store.set_epoch_deadline(TICKS_MAX);
    store
}
