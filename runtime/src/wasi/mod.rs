//! The WASI host of a container: everything that a guest can ask for, and nothing else.
//!
//! ```text
//!   WasiConfig ──▶ WasiState (in the Store's data, found by HasWasi)
//!                    │
//!                    ├─ clocks, random, environment ── wasmtime-wasi, as it is
//!                    ├─ files    wasmtime-wasi, but for streams and listings, and within what the process can open
//!                    ├─ stdio    our own streams over log::OutputSink: bounded, a slow reader blocks the guest
//!                    ├─ sockets  wasi:sockets 0.2 ─┐
//!                    ├─ p1       preview 1 sockets ┼──▶ net::ContainerNet, the pod's network
//!                    └─ http     wasi:http 0.2 ────┘
//! ```
//!
//! Components get their imports from [`component_linker`], core modules from [`p1::link`], once per artifact. The kernel's network is
//! out of reach by construction: wasmtime-wasi's own sockets are linked nowhere.

mod directories;
mod file_streams;
mod files;
pub mod http;
mod linker;
mod listen;
mod listing;
pub mod p1;
mod sockets;
mod stdio;

pub use directories::{Directories, Preopen};
pub use linker::component_linker;
pub use listen::{ListenSocket, Listener, listen_tcp, listeners};
pub use stdio::{Output, Stdin};

use crate::log::OutputSink;
use crate::net::ContainerNet;
use crate::{Error, Result, limits};
use std::fmt;
use std::fs::File;
use std::sync::Arc;
use tokio::sync::Semaphore;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{HostMonotonicClock, WasiCtxBuilder, WasiCtxView, WasiView};

/// A store's data that holds a [`WasiState`].
pub trait HasWasi: Send + 'static {
    /// The WASI half of the data.
    fn wasi(&mut self) -> &mut WasiState;
}

/// Called with a file that a guest has opened to write.
pub type OnOpen = Arc<dyn Fn(&Arc<File>) + Send + Sync>;

/// What a container's WASI is made from. It can be used again, for the next start or for each request.
#[derive(Clone)]
pub struct WasiConfig {
    /// The program's name and its arguments.
    pub args: Vec<String>,
    /// The environment, and nothing of the machine's.
    pub env: Vec<(String, String)>,
    /// The working directory: `wasi:cli/environment.initial-cwd`, and `PWD` for preview 1, which has no such notion.
    pub working_dir: Option<String>,
    /// The directories.
    pub directories: Directories,
    /// Where input comes from.
    pub stdin: Stdin,
    /// Where output goes to.
    pub stdout: Arc<dyn OutputSink>,
    /// Where errors go to.
    pub stderr: Arc<dyn OutputSink>,
    /// The network: its sockets belong to this run of the container.
    pub net: ContainerNet,
    /// Listening sockets that a preview-1 module finds open, from the first descriptor after the directories on.
    pub listeners: Vec<Listener>,
    /// Told of every file that the guest opens to write, for whoever measures what it takes.
    pub on_open: Option<OnOpen>,
    /// How outgoing requests speak TLS; with the machine's root certificates when there is nothing here.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

impl fmt::Debug for WasiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The environment may hold secrets.
        f.debug_struct("WasiConfig")
            .field("args", &self.args.first())
            .field("directories", &self.directories)
            .finish_non_exhaustive()
    }
}

/// The WASI state of one store.
pub struct WasiState {
    /// wasmtime-wasi's state: for preview 1 with its descriptors, for components with its resource table.
    host: WasiP1Ctx,
    directories: Directories,
    /// Whether `host` has the directories: not before the guest asks for files.
    has_directories: bool,
    net: ContainerNet,
    http: http::HttpState,
    /// The descriptors of preview 1, as the guest numbers them.
    descriptors: p1::DescriptorTable,
    on_open: Option<OnOpen>,
    /// The streams that may still be opened, where files may block.
    blocking_streams: Option<Arc<Semaphore>>,
    stdin: Stdin,
    stdout: Output,
    stderr: Output,
    clock: MonotonicClock,
}

impl fmt::Debug for WasiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasiState").field("net", &self.net).field("descriptors", &self.descriptors).finish_non_exhaustive()
    }
}

impl WasiState {
    /// The state for one run of a container, or for one request to it.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when arguments and environment are too long.
    pub fn new(config: &WasiConfig) -> Result<Self> {
        check_size(config)?;
        let (stdout, stderr) = (Output::new(Arc::clone(&config.stdout)), Output::new(Arc::clone(&config.stderr)));
        let clock = MonotonicClock { start: tokio::time::Instant::now() };

        let mut builder = WasiCtxBuilder::new();
        builder.args(&config.args).envs(&config.env).envs(&listen::environment(&config.listeners));
        builder.stdin(config.stdin.clone()).stdout(stdout.clone()).stderr(stderr.clone());
        builder.monotonic_clock(clock).max_random_size(limits::RANDOM_BYTES_PER_CALL_MAX);
        if let Some(dir) = &config.working_dir {
            builder.initial_cwd(dir);
            if !config.env.iter().any(|(name, _)| name == "PWD") {
                builder.env("PWD", dir);
            }
        }
        let mut host = builder.build_p1();
        host.ctx().table.set_max_capacity(limits::WASI_RESOURCES_MAX);

        Ok(Self {
            host,
            directories: config.directories.clone(),
            has_directories: false,
            net: config.net.clone(),
            http: http::HttpState::new(config.net.clone(), config.tls.clone()),
            descriptors: p1::DescriptorTable::new(config.directories.guest_paths().len(), &config.listeners),
            on_open: config.on_open.clone(),
            blocking_streams: None,
            stdin: config.stdin.clone(),
            stdout,
            stderr,
            clock,
        })
    }

    /// Waits until the sinks have taken what the guest had written when it ended; at once, but for guests that write to several
    /// output streams at a time.
    pub fn flush_output(&self) -> impl Future<Output = ()> + Send + use<> {
        let (stdout, stderr) = (self.stdout.clone(), self.stderr.clone());
        async move {
            stdout.drained().await;
            stderr.drained().await;
        }
    }

    /// Makes sure that wasmtime-wasi has the directories: called before the guest can see any of them.
    fn open_directories(&mut self) -> Result<()> {
        if !self.has_directories {
            let opened = self.directories.open()?;
            *self.host.ctx().ctx.filesystem() = opened.filesystem.clone();
            self.blocking_streams = file_streams::blocking_streams(opened.may_block());
            self.has_directories = true;
        }
        Ok(())
    }

    /// The resources of a component.
    fn table(&mut self) -> &mut ResourceTable {
        self.host.ctx().table
    }
}

impl WasiView for WasiState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.host.ctx()
    }
}

/// Bounds what one call from this store's guest can make the host allocate; call it once per store.
pub fn limit_host_calls<T: 'static>(store: &mut wasmtime::Store<T>) {
    store.set_hostcall_fuel(limits::HOSTCALL_BYTES_MAX);
}

/// Refuses what Linux would refuse with `E2BIG`.
fn check_size(config: &WasiConfig) -> Result<()> {
    let args = config.args.iter().map(|arg| arg.len() + 1);
    let env = config.env.iter().map(|(name, value)| name.len() + value.len() + 2);
    if args.chain(env).sum::<usize>() > limits::ARGS_AND_ENV_BYTES_MAX {
        let message = format!("arguments and environment are longer than {} bytes", limits::ARGS_AND_ENV_BYTES_MAX);
        return Err(Error::invalid(message).with_reason("CreateContainerError").hint("pass large values in a file, by a volume"));
    }
    Ok(())
}

/// The guest's monotonic clock: nanoseconds since its start. Preview 1 and components share it, and tests can pause it.
#[derive(Clone, Copy, Debug)]
struct MonotonicClock {
    start: tokio::time::Instant,
}

impl HostMonotonicClock for MonotonicClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests;
