//! What stands behind the code in each file of the cache.
//!
//! ```text
//!   offset  bytes
//!        0     16  "wasmpod artifact"
//!       16     32  the compatibility key, which is also the directory's name
//!       48     32  the SHA-256 of the WebAssembly, which is also the file's name
//!       80      8  the size of the WebAssembly, little-endian like the others
//!       88      8  the size of the code, which is also where this trailer begins
//!       96      8  what sort of program it is
//!      104     32  the SHA-256 of the code and of all of the above
//! ```
//!
//! It is a checksum and no signature: whoever could write to the directory could also read a key in it. It finds torn writes, damage,
//! and files under the wrong name or in the wrong directory. ELF readers do not mind what stands behind their last section.

use crate::engine::artifact::Digest;
use crate::engine::kind::Kind;
use crate::limits::{ARTIFACT_BYTES_MAX, CACHE_READ_CHUNK_BYTES};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;

const MAGIC: &[u8; 16] = b"wasmpod artifact";
const FIELDS_BYTES: usize = 104;
const TRAILER_BYTES: usize = FIELDS_BYTES + 32;

/// A trailer, checked against the file's name and size, but not against its code unless [verified](Self::verify).
#[derive(Debug)]
pub(super) struct Trailer {
    pub(super) kind: Kind,
    pub(super) wasm_bytes: u64,
    pub(super) body_bytes: u64,
    fields: Vec<u8>,
    seal: [u8; 32],
}

impl Trailer {
    /// A trailer for code that is still to be [sealed](Self::seal).
    pub(super) fn new(kind: Kind, wasm_bytes: u64, body_bytes: u64, key: &str, digest: &Digest) -> Self {
        let kind_number: u64 = match kind {
            Kind::Core => 1,
            Kind::Command => 2,
            Kind::Proxy => 3,
        };
        let sizes = [wasm_bytes.to_le_bytes(), body_bytes.to_le_bytes(), kind_number.to_le_bytes()].concat();
        let fields = [MAGIC.as_slice(), key.as_bytes(), &digest.0, &sizes].concat();
        Self { kind, wasm_bytes, body_bytes, fields, seal: [0; 32] }
    }

    /// Reads the trailer of a file with `file_bytes` and checks everything in it but the seal.
    pub(super) fn read(file: &File, file_bytes: u64, key: &str, digest: &Digest) -> Result<Self, &'static str> {
        let mut bytes = [0; TRAILER_BYTES];
        let body_bytes = file_bytes.checked_sub(TRAILER_BYTES as u64).ok_or("is too short")?;
        if body_bytes > ARTIFACT_BYTES_MAX {
            return Err("is too big");
        }
        file.read_exact_at(&mut bytes, body_bytes).map_err(|_| "cannot be read")?;
        let number = |at: usize| bytes.get(at..at + 8).and_then(|field| field.try_into().ok()).map_or(0, u64::from_le_bytes);
        let kind = match number(96) {
            1 => Kind::Core,
            2 => Kind::Command,
            3 => Kind::Proxy,
            _ => return Err("has a damaged trailer"),
        };
        // What is expected, made anew, must be what stands there.
        let mut trailer = Self::new(kind, number(80), body_bytes, key, digest);
        let (fields, seal) = bytes.split_at(FIELDS_BYTES);
        if fields != trailer.fields {
            return Err("is not the artifact that its name says");
        }
        trailer.seal.copy_from_slice(seal);
        Ok(trailer)
    }

    /// Reads the code and checks it against the seal.
    pub(super) fn verify(&self, file: &File) -> Result<(), &'static str> {
        match self.sum(file) {
            Ok(sum) if sum == self.seal => Ok(()),
            Ok(_) => Err("is damaged"),
            Err(_) => Err("cannot be read"),
        }
    }

    /// The bytes of the trailer, for the code in `file`.
    pub(super) fn seal(&self, file: &File) -> std::io::Result<Vec<u8>> {
        Ok([self.fields.as_slice(), &self.sum(file)?].concat())
    }

    fn sum(&self, file: &File) -> std::io::Result<[u8; 32]> {
        let mut hash = Sha256::new();
        let mut chunk = vec![0; CACHE_READ_CHUNK_BYTES];
        let mut at = 0;
        while at < self.body_bytes {
            let left = usize::try_from(self.body_bytes - at).unwrap_or(usize::MAX).min(CACHE_READ_CHUNK_BYTES);
            let chunk = chunk.get_mut(..left).unwrap_or_default();
            file.read_exact_at(chunk, at)?;
            hash.update(&*chunk);
            at += left as u64;
        }
        hash.update(&self.fields);
        Ok(hash.finalize().into())
    }
}
