//! A blob on its way into the store: written under a name of its own, hashed as it comes, verified, synced, renamed.

use super::super::{Descriptor, Digest};
use super::{ImageStore, Locked, lock_file, sync_dir};
use crate::limits::BLOB_READ_BYTES;
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// The one download of a blob; the lock on its file is held until this is dropped.
pub(super) struct Ingest {
    store: ImageStore,
    descriptor: Descriptor,
    path: PathBuf,
    file: File,
    /// Of the first `len` bytes of the file, which are all it has.
    hasher: Sha256,
    len: u64,
}

/// What became of the wish to download a blob.
pub(super) enum Begun {
    /// It is here already.
    Present,
    /// Somebody else is at it.
    Busy,
    /// It is ours to bring.
    Ours(Box<Ingest>),
}

/// What became of a download.
pub(super) enum Finished {
    /// The blob is in the store.
    Stored,
    /// It has another digest; the bytes are thrown away, and the ingest is empty again.
    WrongDigest(Box<Ingest>, Error),
}

impl Ingest {
    /// Takes the download of `descriptor`, and hashes what an earlier one has left. Blocking.
    pub(super) fn begin(store: &ImageStore, descriptor: &Descriptor) -> Result<Begun> {
        let failed = |error| Error::io("cannot begin a download", error).at(descriptor.digest.to_string());
        if store.contains(descriptor)? {
            return Ok(Begun::Present);
        }
        let path = store.path("ingest").join(descriptor.digest.hex());
        let Locked::Ours(file) = lock_file(&path).map_err(failed)? else { return Ok(Begun::Busy) };
        let len = file.metadata().map_err(failed)?.len();
        // It came between the two looks; then the file at the path is a new one, made here.
        if store.contains(descriptor)? {
            fs::remove_file(&path).map_err(failed)?;
            return Ok(Begun::Present);
        }
        let descriptor = descriptor.clone();
        let mut ingest = Self { store: store.clone(), descriptor, path, file, hasher: Sha256::new(), len };
        let keep = if len <= ingest.descriptor.size { len } else { 0 };
        ingest.rewind(keep)?;
        Ok(Begun::Ours(Box::new(ingest)))
    }

    /// How many bytes are here.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Keeps the first `len` bytes, which are here, and no more. Blocking.
    pub(super) fn rewind(&mut self, len: u64) -> Result<()> {
        self.try_rewind(len).map_err(|error| self.failed("cannot resume a download", error))
    }

    fn try_rewind(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        (self.len, self.hasher) = (0, Sha256::new());
        let mut chunk = vec![0; BLOB_READ_BYTES];
        while self.len < len {
            let read = self.file.read_at(&mut chunk, self.len)?;
            let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            self.hasher.update(bytes);
            self.len += bytes.len() as u64;
        }
        Ok(())
    }

    /// Writes what came; the caller has seen to it that it is not more than the descriptor says. Blocking.
    pub(super) fn append(&mut self, chunks: &[Bytes]) -> Result<()> {
        for chunk in chunks {
            if let Err(error) = self.file.write_all_at(chunk, self.len) {
                // Half a blob on a full disk is in everybody's way, in that of a smaller one too.
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                    drop(fs::remove_file(&self.path));
                }
                return Err(self.failed("cannot write a download", error));
            }
            self.hasher.update(chunk);
            self.len += chunk.len() as u64;
        }
        Ok(())
    }

    /// Verifies the blob and puts it in its place. Blocking.
    ///
    /// # Errors
    /// When it is shorter than declared; what is here is kept.
    pub(super) fn finish(mut self: Box<Self>) -> Result<Finished> {
        let Descriptor { digest, size, .. } = self.descriptor;
        if self.len != size {
            let message = format!("the download ended after {} of {size} bytes", self.len);
            return Err(Error::new(ErrorKind::Unavailable, message)
                .at(digest.to_string())
                .hint("pull again: it goes on from there"));
        }
        let found = Digest::from(self.hasher.clone());
        if found != digest {
            self.rewind(0)?;
            let error = Error::invalid(format!("what was downloaded has the digest {found}"))
                .at(digest.to_string())
                .hint("the registry, or something on the way, exchanged it; nothing of it was kept");
            return Ok(Finished::WrongDigest(self, error));
        }
        self.put().map_err(|error| self.failed("cannot keep a download", error))?;
        Ok(Finished::Stored)
    }

    fn put(&self) -> io::Result<()> {
        self.file.sync_all()?;
        let place = self.store.blob_path(self.descriptor.digest);
        fs::rename(&self.path, &place)?;
        sync_dir(place.parent().unwrap_or_else(|| self.store.root()))
    }

    /// Throws away what came.
    pub(super) fn discard(self: Box<Self>) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a download");
        }
    }

    fn failed(&self, what: &str, error: io::Error) -> Error {
        Error::io(what, error).at(self.descriptor.digest.to_string())
    }
}
