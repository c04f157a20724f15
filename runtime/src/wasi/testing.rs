//! What the tests of this module share: a sink that can be full, a store, modules from text.

use super::{Directories, HasWasi, Stdin, WasiConfig, WasiState};
use crate::log::OutputSink;
use crate::net::{AddressPool, ContainerNet, PodNet, PodNetConfig};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// A sink of limited room.
#[derive(Default)]
pub(super) struct Sink(Mutex<SinkState>);

#[derive(Default)]
struct SinkState {
    contents: Vec<u8>,
    room: usize,
    size: usize,
    writes: usize,
    waker: Option<Waker>,
}

impl Sink {
    pub(super) fn with_room(room: usize) -> Self {
        Self(Mutex::new(SinkState { room, size: room, ..SinkState::default() }))
    }

    pub(super) fn contents(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().contents.clone()).unwrap()
    }

    pub(super) fn writes(&self) -> usize {
        self.0.lock().unwrap().writes
    }

    /// The reader takes everything.
    pub(super) fn drain(&self) {
        let mut state = self.0.lock().unwrap();
        state.contents.clear();
        state.room = state.size;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl OutputSink for Sink {
    fn try_write(&self, bytes: &[u8]) -> usize {
        let mut state = self.0.lock().unwrap();
        let length = bytes.len().min(state.room);
        state.contents.extend_from_slice(&bytes[..length]);
        state.room -= length;
        state.writes += 1;
        length
    }

    fn room(&self) -> usize {
        self.0.lock().unwrap().room
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        if state.room > 0 {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The data of a store in these tests.
pub(super) struct Data(pub(super) WasiState);

impl HasWasi for Data {
    fn wasi(&mut self) -> &mut WasiState {
        &mut self.0
    }
}

/// A pod's network without a way out.
pub(super) fn pod() -> PodNet {
    let addresses = AddressPool::new().take().unwrap();
    PodNet::new(PodNetConfig { hostname: "pod".into(), host_aliases: Vec::new(), addresses, gateway: None })
}

/// A configuration with nothing in it, whose output goes to `sink`.
pub(super) fn config(net: ContainerNet, sink: &Arc<Sink>) -> WasiConfig {
    WasiConfig {
        args: vec!["guest".into()],
        env: Vec::new(),
        working_dir: None,
        directories: Directories::none(),
        stdin: Stdin::empty(),
        stdout: Arc::clone(sink) as _,
        stderr: Arc::clone(sink) as _,
        net,
        listeners: Vec::new(),
        on_open: None,
        tls: None,
    }
}

/// How a guest ended: its status or its trap, and what it wrote.
#[cfg(feature = "compiler")]
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) status: Result<i32, String>,
    pub(super) output: String,
}

/// An engine as containers have it, without epochs.
#[cfg(feature = "compiler")]
pub(super) fn engine() -> wasmtime::Engine {
    static ENGINE: std::sync::OnceLock<wasmtime::Engine> = std::sync::OnceLock::new();
    let make = || wasmtime::Engine::new(wasmtime::Config::new().concurrency_support(false)).unwrap();
    ENGINE.get_or_init(make).clone()
}

/// Runs a module or component, binary or text, with `net` and what `configure` adds; its two outputs are one.
#[cfg(feature = "compiler")]
pub(super) async fn run(net: ContainerNet, wasm: &[u8], configure: impl FnOnce(&mut WasiConfig)) -> Ended {
    let sink = Arc::new(Sink::with_room(1 << 20));
    let mut config = config(net, &sink);
    configure(&mut config);
    let status = run_with(&config, wasm).await;
    let status = match status {
        Ok(()) => Ok(0),
        Err(error) => match error.downcast_ref::<wasmtime_wasi::I32Exit>() {
            Some(exit) => Ok(exit.0),
            None => Err(format!("{error:?}")),
        },
    };
    Ended { status, output: sink.contents() }
}

#[cfg(feature = "compiler")]
async fn run_with(config: &WasiConfig, wasm: &[u8]) -> wasmtime::Result<()> {
    let engine = engine();
    let wasm = wat::parse_bytes(wasm)?;
    let mut store = wasmtime::Store::new(&engine, Data(WasiState::new(config)?));
    super::limit_host_calls(&mut store);
    if wasmparser::Parser::is_component(&wasm) {
        let component = wasmtime::component::Component::new(&engine, &wasm)?;
        let pre = super::component_linker::<Data>(&engine)?.instantiate_pre(&component)?;
        let command = wasmtime_wasi::p2::bindings::CommandPre::new(pre)?.instantiate_async(&mut store).await?;
        command.wasi_cli_run().call_run(&mut store).await?.map_err(|()| wasmtime_wasi::I32Exit(1).into())
    } else {
        let module = wasmtime::Module::new(&engine, &wasm)?;
        let pre = super::p1::link::<Data>(&module)?;
        let instance = pre.instantiate_async(&mut store).await?;
        instance.get_typed_func::<(), ()>(&mut store, "_start")?.call_async(&mut store, ()).await
    }
}

/// One of the guests in `examples/`.
#[cfg(feature = "compiler")]
pub(super) fn example(path: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(path)).unwrap()
}
