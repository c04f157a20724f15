//! The engine: WebAssembly bytes become [`Artifact`]s (compiled once, cached, loaded in about a millisecond), and guests get what
//! they run on: pool slots, an epoch clock, threads of their own.
//!
//! ```text
//!  bytes ──hash──▶ digest ──cache──▶ there and whole? ─────────────────────────────────────────▶ Artifact ──admit──▶ Store (container/)
//!                                       │ no                                                      ▲
//!                                       └─kind──▶ what is it? ──▶ wasmpod-compile (a child) ──▶ cache
//! ```
//!
//! * [`config`] is the one place where both sides, the program that compiles and the program that runs, get their settings.
//! * `kind` tells by its bytes what a file is, and says clearly why something is not runnable.
//! * `cache` keeps the compiled artifacts; the one `unsafe` of this library is there.
//! * [`compile`] runs the compiler, as a bounded child program or, for embedders, in this process.
//! * [`admission`] counts pool slots and kernel mappings, so that the container too many gets an error and the process lives.
//! * [`ticker`] and [`threads`] are the clock and the threads of the guests.
//!
//! Invariants: the engines that run guests have no compiler switched on; bytes that came from an image are parsed, hashed and handed
//! to the compiler, and never deserialized; nothing but guests runs on the guests' threads.

pub mod admission;
pub mod artifact;
mod cache;
pub mod compile;
pub mod config;
mod describe;
mod kind;
mod load;
pub mod threads;
pub mod ticker;

pub use admission::Admission;
pub use artifact::{Artifact, ArtifactKind, Digest};
pub use compile::{CompileLimits, CompileObserver, CompileProgress, Compiler};
pub use config::EngineMode;
pub use describe::{Description, Target, describe};
pub use kind::{binary_form, looks_like_webassembly};
pub use ticker::Running;

use crate::Result;
use crate::observe::{Phase, span};
use bytes::Bytes;
use once_cell::sync::OnceCell;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Everything that an [`Engine`] is made from.
#[derive(Clone)]
pub struct EngineConfig {
    /// How many instances the pool is laid out for.
    pub mode: EngineMode,
    /// The cache directory of wasmpod; the artifacts live in `aot/` below it. Made with mode 0700 where it does not exist.
    pub cache_dir: PathBuf,
    /// What compiles.
    pub compiler: Compiler,
    /// What a compilation may use.
    pub compile_limits: CompileLimits,
    /// Called when a compilation starts and ends, so that somebody can show progress.
    pub on_compile: Option<CompileObserver>,
    /// How many threads run guests; the machine's parallelism, but at least 2, when there is none.
    pub guest_threads: Option<NonZeroUsize>,
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineConfig").field("mode", &self.mode).field("cache_dir", &self.cache_dir).finish_non_exhaustive()
    }
}

/// The engine of a process: cheap to clone, one a process.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    mode: EngineMode,
    /// Made when the first program is loaded that is worth a pool.
    pooled: OnceCell<Pooled>,
    /// For the others, and for modules that fit no slot: made when the first of them is loaded.
    on_demand: OnceCell<wasmtime::Engine>,
    cache: cache::Cache,
    compilation: compile::Compilation,
    loaded: load::Loaded,
    admission: admission::Ledger,
    ticker: ticker::Ticker,
    threads: threads::GuestThreads,
}

/// An engine with a pool, unless the machine has no address space for one.
struct Pooled {
    engine: wasmtime::Engine,
    has_pool: bool,
}

impl Engine {
    /// Makes an engine: opens the cache. Starts neither threads nor processes.
    ///
    /// # Errors
    /// [`Denied`](crate::ErrorKind::Denied) when the cache directory is not ours alone,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when it cannot be made or opened.
    pub fn new(config: EngineConfig) -> Result<Self> {
        let _phase = span(Phase::Engine);
        let cache = cache::Cache::open(&config.cache_dir)?;
        let inner = Inner {
            mode: config.mode,
            pooled: OnceCell::new(),
            on_demand: OnceCell::new(),
            cache,
            compilation: compile::Compilation::new(config.compiler, config.compile_limits, config.on_compile),
            loaded: load::Loaded::default(),
            admission: admission::Ledger::new(),
            ticker: ticker::Ticker::new(),
            threads: threads::GuestThreads::new(config.guest_threads),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Makes `bytes` (WebAssembly or its text form) runnable: finds the compiled artifact in the cache or compiles it.
    ///
    /// `name` says in messages what the bytes are: an image reference, a file. Loading the same bytes again, also at the same time,
    /// gives the same artifact. Needs a tokio runtime with I/O and time; when the future is dropped, the compiler is killed.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for what is not runnable WebAssembly, [`Limit`](crate::ErrorKind::Limit) for what
    /// is too big or takes too long to compile, [`Unavailable`](crate::ErrorKind::Unavailable) when the compiler is missing or died.
    #[tracing::instrument(target = "wasmpod::engine", level = "debug", skip_all, fields(name))]
    pub async fn load(&self, name: &str, bytes: Bytes) -> Result<Artifact> {
        self.load_bytes(name, bytes).await.map_err(|error| {
            let error = if error.subject().is_some() { error } else { error.at(name) };
            if error.reason().is_some() { error } else { error.with_reason("CreateContainerError") }
        })
    }

    /// The artifact of the WebAssembly with this SHA-256, if it is loaded or in the cache: no need to read, hash or parse the bytes.
    ///
    /// # Errors
    /// Only when the cache cannot be read; a damaged artifact counts as none.
    pub async fn cached(&self, digest: &Digest) -> Result<Option<Artifact>> {
        self.load_cached(*digest).await
    }

    /// Takes the pool slots and kernel mappings of one more instance of `artifact`; hold the permit as long as the `Store` lives.
    ///
    /// # Errors
    /// [`Limit`](crate::ErrorKind::Limit) with the reason `CreateContainerError` when the pool or the machine has no room.
    pub fn admit(&self, artifact: &Artifact) -> Result<Admission> {
        self.0.admission.admit(artifact.cost())
    }

    /// How many instances live now, of all artifacts together.
    pub fn live_instances(&self) -> u64 {
        self.0.admission.instances()
    }

    /// Keeps the epoch clock going, at [`EPOCH_TICK`](crate::limits::EPOCH_TICK), while the guard lives. Cheap enough for every poll
    /// of a guest.
    pub fn running(&self) -> Running {
        self.0.ticker.running()
    }

    /// Ends the epoch at once, so that a guest in a busy loop reaches its epoch callback within microseconds: for kills.
    pub fn bump_epoch(&self) {
        self.0.ticker.bump();
    }

    /// Runs a guest's future on the guests' threads. Dropping the handle does not stop it; [`JoinHandle::abort`] does.
    pub fn spawn<F>(&self, guest: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let task = self.0.threads.handle().spawn(guest);
        // While the thread of the first guest comes to life.
        self.0.ticker.start();
        task
    }

    /// The runtime of the guests' threads, for what must register timers or I/O with it. Only guests may be spawned on it.
    ///
    /// The first call of this or of [`spawn`](Self::spawn) makes all threads of the engine, so they have the privileges of its caller.
    pub fn guest_runtime(&self) -> tokio::runtime::Handle {
        let runtime = self.0.threads.handle();
        self.0.ticker.start();
        runtime
    }
}

impl Inner {
    /// The engine with the pool.
    fn pooled(&self) -> Result<&Pooled> {
        self.pooled.get_or_try_init(|| {
            let (engine, pool) = config::pooled(self.mode)?;
            self.admission.set_pool(pool);
            self.ticker.add(engine.clone());
            Ok(Pooled { engine, has_pool: pool.stacks > 0 })
        })
    }

    /// The engine without a pool.
    fn on_demand(&self) -> Result<&wasmtime::Engine> {
        self.on_demand.get_or_try_init(|| {
            let engine = config::on_demand()?;
            self.ticker.add(engine.clone());
            Ok(engine)
        })
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("mode", &self.0.mode).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
