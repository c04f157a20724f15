//! The same work on bare wasmtime: the same compiled code on the same engine and pool, with wasmtime-wasi's own host and nothing around
//! it. What wasmpod costs beyond that is what wasmpod costs.

use wasmpod::engine::{Artifact, ArtifactKind};
use wasmtime::component::{Component, Linker as ComponentLinker, ResourceTable};
use wasmtime::{InstancePre, Linker, Store};
use wasmtime_wasi::p1::{WasiP1Ctx, add_to_linker_async};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

/// More than a guest prints.
const OUTPUT_BYTES: usize = 64 << 10;

/// A preview-1 module.
pub struct BareCore {
    engine: wasmtime::Engine,
    pre: InstancePre<WasiP1Ctx>,
}

impl std::fmt::Debug for BareCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BareCore").finish_non_exhaustive()
    }
}

impl BareCore {
    /// Links a core module; panics for a component.
    pub fn new(artifact: &Artifact) -> Self {
        let ArtifactKind::Core(module) = artifact.kind() else { panic!("not a core module") };
        let mut linker = Linker::new(artifact.wasmtime());
        add_to_linker_async(&mut linker, |ctx| ctx).unwrap();
        Self { engine: artifact.wasmtime().clone(), pre: linker.instantiate_pre(module).unwrap() }
    }

    fn store(&self) -> Store<WasiP1Ctx> {
        let mut store = Store::new(&self.engine, WasiCtxBuilder::new().build_p1());
        store.set_epoch_deadline(u64::MAX / 2);
        store
    }

    /// A store and an instance in it.
    pub async fn instantiate(&self) {
        self.pre.instantiate_async(&mut self.store()).await.unwrap();
    }

    /// The same, and its `_start`.
    pub async fn run(&self) {
        let mut store = self.store();
        let instance = self.pre.instantiate_async(&mut store).await.unwrap();
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap();
        start.call_async(&mut store, ()).await.unwrap();
    }
}

/// What a store of a component holds.
#[derive(Default)]
pub struct Host {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoRequests,
    table: ResourceTable,
}

/// Guests of benchmarks ask nobody.
#[derive(Default)]
struct NoRequests;

type Transmission = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for NoRequests {
    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _sent: Transmission,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Transmission), Error>> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

fn store(engine: &wasmtime::Engine, host: Host) -> Store<Host> {
    let mut store = Store::new(engine, host);
    store.set_epoch_deadline(u64::MAX / 2);
    store
}

fn component(artifact: &Artifact) -> &Component {
    match artifact.kind() {
        ArtifactKind::Command(component) | ArtifactKind::Proxy(component) => component,
        ArtifactKind::Core(_) => panic!("not a component"),
    }
}

/// A `wasi:cli/command` component, with the kernel's network.
#[derive(Clone)]
pub struct BareCommand {
    engine: wasmtime::Engine,
    pre: CommandPre<Host>,
}

impl std::fmt::Debug for BareCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BareCommand").finish_non_exhaustive()
    }
}

impl BareCommand {
    /// Links a component; panics for a core module.
    pub fn new(artifact: &Artifact) -> Self {
        let mut linker = ComponentLinker::new(artifact.wasmtime());
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        let pre = linker.instantiate_pre(component(artifact)).unwrap();
        Self { engine: artifact.wasmtime().clone(), pre: CommandPre::new(pre).unwrap() }
    }

    /// A store and an instance in it.
    pub async fn instantiate(&self) {
        self.pre.instantiate_async(&mut store(&self.engine, Host::default())).await.unwrap();
    }

    /// Runs it with arguments; what it printed.
    pub async fn run(&self, args: &[String]) -> String {
        let output = MemoryOutputPipe::new(OUTPUT_BYTES);
        let mut wasi = WasiCtxBuilder::new();
        wasi.arg("guest").args(args).stdout(output.clone()).inherit_stderr().inherit_network().allow_tcp(true).allow_udp(true);
        wasi.allow_ip_name_lookup(true);
        let mut store = store(&self.engine, Host { wasi: wasi.build(), ..Host::default() });
        let command = self.pre.instantiate_async(&mut store).await.unwrap();
        command.wasi_cli_run().call_run(&mut store).await.unwrap().unwrap();
        String::from_utf8(output.contents().to_vec()).unwrap()
    }
}

/// A `wasi:http/proxy` component.
pub struct BareProxy {
    engine: wasmtime::Engine,
    pre: ProxyPre<Host>,
}

impl std::fmt::Debug for BareProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BareProxy").finish_non_exhaustive()
    }
}

impl BareProxy {
    /// Links a component; panics for a core module.
    pub fn new(artifact: &Artifact) -> Self {
        let mut linker = ComponentLinker::new(artifact.wasmtime());
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).unwrap();
        let pre = linker.instantiate_pre(component(artifact)).unwrap();
        Self { engine: artifact.wasmtime().clone(), pre: ProxyPre::new(pre).unwrap() }
    }

    /// A store and an instance in it.
    pub async fn instantiate(&self) {
        self.pre.instantiate_async(&mut store(&self.engine, Host::default())).await.unwrap();
    }
}
