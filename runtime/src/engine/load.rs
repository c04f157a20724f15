//! From bytes to an artifact: each program is compiled once a machine and loaded once a process.
//!
//! ```text
//!   in this process             among processes
//!   ───────────────             ───────────────
//!   the slot of the digest ───▶ found in the cache ────────────────────────────────▶ map it
//!   (one at a time; the                │ no                                           ▲
//!   others wait, then share)    take the file lock ──▶ found now? ── yes ─────────────┤
//!                                                          │ no                       │
//!                                                       compile, seal, rename ────────┘
//! ```

use super::artifact::{self, Artifact, ArtifactKind, Digest};
use super::cache::{Cache, CacheEntry, EntryLock};
use super::kind::{self, Detected};
use super::{Engine, Inner};
use crate::limits::{CACHE_LOCK_POLL, LOAD_AT_ONCE_BYTES_MAX};
use crate::observe::{self, Phase};
use crate::{Error, Result};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The artifacts that somebody in this process holds, and those being made.
#[derive(Default)]
pub(super) struct Loaded(Mutex<HashMap<Digest, Slot>>);

type Slot = Arc<tokio::sync::Mutex<Weak<artifact::Inner>>>;

impl Loaded {
    /// The slot of a digest. Whoever holds its lock loads; the others find the result in it.
    fn slot(&self, digest: Digest) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !slots.contains_key(&digest) {
            // The table stays as small as what is in use.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|held| held.strong_count() > 0));
        }
        slots.entry(digest).or_default().clone()
    }
}

impl Engine {
    /// See [`Engine::load`].
    pub(super) async fn load_bytes(&self, name: &str, bytes: Bytes) -> Result<Artifact> {
        let _phase = observe::span(Phase::Load);
        // Text takes longer to read than its binary form does.
        let little = is_little(bytes.len() as u64) && bytes.starts_with(b"\0asm");
        let (digest, wasm) = blocking(little, move || {
            let wasm = kind::binary_form(bytes)?;
            Ok((Digest::of(&wasm), wasm))
        })
        .await?;
        let slot = self.0.loaded.slot(digest);
        let mut held = slot.lock().await;
        if let Some(inner) = held.upgrade() {
            return Ok(Artifact(inner));
        }
        let artifact = match self.find(digest).await? {
            Some(artifact) => artifact,
            None => self.make(name, digest, wasm).await?,
        };
        *held = Arc::downgrade(&artifact.0);
        Ok(artifact)
    }

    /// See [`Engine::cached`].
    pub(super) async fn load_cached(&self, digest: Digest) -> Result<Option<Artifact>> {
        let _phase = observe::span(Phase::Load);
        let slot = self.0.loaded.slot(digest);
        let mut held = slot.lock().await;
        if let Some(inner) = held.upgrade() {
            return Ok(Some(Artifact(inner)));
        }
        let found = self.find(digest).await?;
        if let Some(artifact) = &found {
            *held = Arc::downgrade(&artifact.0);
        }
        Ok(found)
    }

    /// Finds an artifact in the cache and maps it. One that this engine cannot load is stale, and counts as none.
    async fn find(&self, digest: Digest) -> Result<Option<Artifact>> {
        let engine = self.0.clone();
        blocking(is_little(engine.cache.artifact_bytes(&digest)), move || {
            let Some(entry) = engine.cache.find(&digest) else { return Ok(None) };
            match engine.map(digest, &entry) {
                Ok(artifact) => Ok(Some(artifact)),
                Err(error) => {
                    tracing::warn!(target: "wasmpod::engine", %digest, error = %error.chain(), "ignoring a stale artifact; it is compiled again");
                    Ok(None)
                }
            }
        })
        .await
    }

    /// Compiles a program, unless another process has done so meanwhile.
    async fn make(&self, name: &str, digest: Digest, wasm: Bytes) -> Result<Artifact> {
        let Detected { kind, wasm } = blocking(is_little(wasm.len() as u64), move || kind::detect(wasm)).await?;
        let lock = wait_for_lock(&self.0.cache, &digest).await?;
        if let Some(artifact) = self.find(digest).await? {
            return Ok(artifact);
        }
        let output = lock.temporary()?;
        let wasm_bytes = wasm.len() as u64;
        self.0.compilation.compile(name, wasm, &output).await?;
        let engine = self.0.clone();
        blocking(false, move || {
            lock.commit(output, kind, wasm_bytes)?;
            let entry = engine
                .cache
                .find(&digest)
                .ok_or_else(|| Error::internal("the artifact vanished or changed as soon as it was made"))?;
            engine.map(digest, &entry)
        })
        .await
    }
}

impl Inner {
    /// Maps an artifact into the engine with the pool, or, when it is not worth one or does not fit, into the one without.
    #[tracing::instrument(target = "wasmpod::engine", level = "debug", name = "map", skip_all, fields(%digest))]
    fn map(&self, digest: Digest, entry: &CacheEntry) -> Result<Artifact> {
        if !self.mode.pools(entry.kind()) {
            let kind = entry.load(self.on_demand()?).map_err(stale)?;
            return Ok(Artifact::new(digest, kind, entry, false));
        }
        let pooled = self.pooled()?;
        let refused = match entry.load(&pooled.engine) {
            Ok(kind) => return Ok(Artifact::new(digest, kind, entry, pooled.has_pool)),
            Err(refused) => refused,
        };
        // Only modules too big for a slot load here; stale ones fail again.
        let kind: ArtifactKind = match self.on_demand() {
            Ok(engine) => entry.load(engine).map_err(|_| stale(refused))?,
            Err(_) => return Err(stale(refused)),
        };
        tracing::info!(target: "wasmpod::engine", %digest, "the program is too big for a slot of the pool; its memory is mapped on demand");
        Ok(Artifact::new(digest, kind, entry, false))
    }
}

fn stale(error: wasmtime::Error) -> Error {
    Error::internal("wasmtime does not load what its compiler made").because(error.into_boxed_dyn_error())
}

/// Waits until no other process makes this artifact. The kernel has no way to wait for a lock and for anything else, so this asks
/// again and again; whoever waits here waits for a compiler.
async fn wait_for_lock(cache: &Cache, digest: &Digest) -> Result<EntryLock> {
    loop {
        if let Some(lock) = cache.try_lock(digest)? {
            return Ok(lock);
        }
        tokio::time::sleep(CACHE_LOCK_POLL).await;
    }
}

/// Whether so much is read and hashed sooner than another thread is woken for it.
fn is_little(bytes: u64) -> bool {
    bytes <= LOAD_AT_ONCE_BYTES_MAX
}

/// Runs what reads, hashes and maps where it holds nobody up: elsewhere, unless it is little.
async fn blocking<T: Send + 'static>(little: bool, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    if little {
        return work();
    }
    let span = tracing::Span::current();
    let done = tokio::task::spawn_blocking(move || span.in_scope(work)).await;
    done.map_err(|error| Error::internal("loading an artifact ended in a panic").because(error))?
}
