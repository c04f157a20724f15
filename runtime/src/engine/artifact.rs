//! What the engine hands out: compiled code, ready to be instantiated, and what is known about it.

use super::admission::Cost;
use super::cache::CacheEntry;
use crate::{Error, Result};
use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::Module;
use wasmtime::component::Component;

/// The SHA-256 of some WebAssembly.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The digest that these 64 hexadecimal digits stand for.
    pub fn from_hex(digits: &str) -> Option<Self> {
        let mut digest = [0; 32];
        let pairs = digits.as_bytes().chunks(2);
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(pairs) {
            // `from_str_radix` would take a sign.
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(digest))
    }
}

impl fmt::Display for Digest {
    /// 64 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

/// The code, by what it exports.
#[derive(Clone)]
pub enum ArtifactKind {
    /// A core module for WASI preview 1 that exports `_start`.
    Core(Module),
    /// A component that exports `wasi:cli/run@0.2`.
    Command(Component),
    /// A component that exports `wasi:http/incoming-handler@0.2`.
    Proxy(Component),
}

impl fmt::Debug for ArtifactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Core(_) => "Core",
            Self::Command(_) => "Command",
            Self::Proxy(_) => "Proxy",
        })
    }
}

/// Compiled WebAssembly. Clones share the code and what was [prepared](Self::prepare) from it.
#[derive(Clone)]
pub struct Artifact(pub(super) Arc<Inner>);

pub(super) struct Inner {
    digest: Digest,
    kind: ArtifactKind,
    imports: Vec<String>,
    wasm_bytes: u64,
    artifact_bytes: u64,
    cost: Cost,
    prepared: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
}

impl Artifact {
    /// What was mapped from `entry`, with room in the pool or without.
    pub(super) fn new(digest: Digest, kind: ArtifactKind, entry: &CacheEntry, pooled: bool) -> Self {
        let (imports, resources) = match &kind {
            ArtifactKind::Core(module) => {
                let imports = module.imports().map(|import| format!("{}.{}", import.module(), import.name())).collect();
                (imports, Some(module.resources_required()))
            }
            ArtifactKind::Command(component) | ArtifactKind::Proxy(component) => {
                let imports = component.component_type().imports(component.engine()).map(|(name, _)| name.to_owned()).collect();
                (imports, component.resources_required())
            }
        };
        let imports: BTreeSet<String> = imports;
        let cost = Cost {
            memories: resources.as_ref().map_or(1, |resources| resources.num_memories),
            tables: resources.as_ref().map_or(1, |resources| resources.num_tables),
            pooled,
        };
        Self(Arc::new(Inner {
            digest,
            kind,
            imports: imports.into_iter().collect(),
            wasm_bytes: entry.wasm_bytes(),
            artifact_bytes: entry.artifact_bytes(),
            cost,
            prepared: Mutex::new(None),
        }))
    }

    /// The SHA-256 of the WebAssembly.
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// The code.
    pub fn kind(&self) -> &ArtifactKind {
        &self.0.kind
    }

    /// The wasmtime engine that the code belongs to: stores and linkers for it must be made of this one.
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        match &self.0.kind {
            ArtifactKind::Core(module) => module.engine(),
            ArtifactKind::Command(component) | ArtifactKind::Proxy(component) => component.engine(),
        }
    }

    /// What it imports: `module.name` for a core module, interface names for a component; sorted, each once.
    pub fn imports(&self) -> &[String] {
        &self.0.imports
    }

    /// The size of the WebAssembly in bytes.
    pub fn wasm_bytes(&self) -> u64 {
        self.0.wasm_bytes
    }

    /// The size of the compiled artifact in bytes.
    pub fn artifact_bytes(&self) -> u64 {
        self.0.artifact_bytes
    }

    /// What was made of the artifact once for all its instances (linked, say), made by `make` at the first call.
    ///
    /// # Errors
    /// Those of `make`, which is called again the next time; [`Internal`](crate::ErrorKind::Internal) when two callers want
    /// different types.
    pub fn prepare<P: Any + Send + Sync>(&self, make: impl FnOnce(&Self) -> Result<P>) -> Result<Arc<P>> {
        let mut slot = self.0.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let prepared = match &*slot {
            Some(prepared) => prepared.clone(),
            None => slot.insert(Arc::new(make(self)?)).clone(),
        };
        prepared.downcast().map_err(|_| Error::internal("an artifact was prepared as two different things"))
    }

    pub(super) fn cost(&self) -> Cost {
        self.0.cost
    }
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artifact").field("digest", &self.0.digest).field("kind", &self.0.kind).finish_non_exhaustive()
    }
}
