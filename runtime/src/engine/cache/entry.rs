//! The one `unsafe` of this library: turning a file of the cache into code.

use super::trailer::Trailer;
use crate::engine::artifact::ArtifactKind;
use crate::engine::kind::Kind;
use std::fs::File;
use std::os::fd::AsRawFd;
use wasmtime::Module;
use wasmtime::component::Component;

/// A file of the cache that passed every check. Only the cache makes these: nothing that came from an image can become one.
#[derive(Debug)]
pub(in crate::engine) struct CacheEntry {
    file: File,
    trailer: Trailer,
}

impl CacheEntry {
    pub(super) fn new(file: File, trailer: Trailer) -> Self {
        Self { file, trailer }
    }

    /// What sort of program it is.
    pub(in crate::engine) fn kind(&self) -> Kind {
        self.trailer.kind
    }

    /// The size of the WebAssembly in bytes.
    pub(in crate::engine) fn wasm_bytes(&self) -> u64 {
        self.trailer.wasm_bytes
    }

    /// The size of the code in bytes.
    pub(in crate::engine) fn artifact_bytes(&self) -> u64 {
        self.trailer.body_bytes
    }

    /// Maps the code. Fails when `engine` has other settings than the compiler had, or when the program does not fit its pool.
    #[allow(unsafe_code, clippy::disallowed_methods)]
    pub(in crate::engine) fn load(&self, engine: &wasmtime::Engine) -> wasmtime::Result<ArtifactKind> {
        // wasmtime opens the file by name; this name leads to the very inode that was checked.
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        // SAFETY: wasmtime demands that the bytes are what its own compiler put out, and that nobody changes them while they are
        // mapped. Both follow from how files come into the cache and from what was checked on this descriptor:
        // * `EntryLock::commit` is the only writer. It seals the output of our compiler, whose version, settings, target and
        //   processor features are in the compatibility key, and wasmtime checks them again.
        // * The directories are 0700 and ours, the file is regular, 0600, ours, and has one name: no other user can have written it,
        //   replaced it or kept a writable descriptor. A process of our own user that means harm needs no forged artifact.
        // * The seal over code, key and digest held when the file was read in whole, and its identity is still the same (`stamp`),
        //   so these are the bytes that were sealed.
        // * No code of ours writes to a file that has its final name; it is only ever replaced by another inode.
        unsafe {
            Ok(match self.trailer.kind {
                Kind::Core => ArtifactKind::Core(Module::deserialize_file(engine, path)?),
                Kind::Command => ArtifactKind::Command(Component::deserialize_file(engine, path)?),
                Kind::Proxy => ArtifactKind::Proxy(Component::deserialize_file(engine, path)?),
            })
        }
    }
}
