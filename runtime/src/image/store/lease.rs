//! Leases: what keeps a blob in the store while no tag does.

use super::super::Digest;
use super::fetch::blocking;
use super::lock::{Lock, Locked, lock_file};
use super::{ImageStore, damaged};
use crate::limits::STORE_LEASE_BYTES_MAX;
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps the blobs that it names, and all that they point at, from being pruned, by any process, while it or a clone of it lives.
///
/// A pull holds one until its image is tagged, a pod as long as it may start containers.
#[derive(Clone)]
pub struct Lease(Arc<Inner>);

struct Inner {
    store: ImageStore,
    path: PathBuf,
    held: Mutex<Held>,
}

struct Held {
    /// Locked as long as it is open.
    file: File,
    digests: BTreeSet<Digest>,
}

impl ImageStore {
    /// Makes a lease that holds nothing yet. Blocking: it waits while somebody prunes.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn lease(&self) -> Result<Lease> {
        let path = self.path("leases").join(uuid::Uuid::new_v4().simple().to_string());
        let failed = |error| Error::io("cannot make a lease", error).at(path.display().to_string());
        let _alone = Lock::exclusive(&self.path("prune.lock")).map_err(failed)?;
        // What processes that were killed left behind, so that it never piles up.
        self.live_leases(|_| Ok(()))?;
        let Locked::Ours(file) = lock_file(&path).map_err(failed)? else {
            return Err(Error::internal("a new lease is locked by another").at(path.display().to_string()));
        };
        let held = Mutex::new(Held { file, digests: BTreeSet::new() });
        Ok(Lease(Arc::new(Inner { store: self.clone(), path, held })))
    }

    /// Calls `each` with the contents of every lease whose owner lives and removes the others. The caller holds `prune.lock` alone.
    pub(super) fn live_leases(&self, mut each: impl FnMut(Vec<Digest>) -> Result<()>) -> Result<()> {
        let dir = self.path("leases");
        let failed = |error| Error::io("cannot read the leases", error).at(dir.display().to_string());
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            match lock_existing(&path).map_err(failed)? {
                Some(Locked::Busy) => each(read(&path)?)?,
                Some(Locked::Ours(_)) => fs::remove_file(&path).map_err(failed)?,
                None => {}
            }
        }
        Ok(())
    }
}

/// Tries to lock a lease; `None` when its owner has just removed it.
fn lock_existing(path: &Path) -> io::Result<Option<Locked<File>>> {
    match super::lock::lock_current(path, || File::open(path)) {
        Ok(locked) => Ok(Some(locked)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> Result<Vec<Digest>> {
    let mut text = String::new();
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.map_err(|error| Error::io("cannot read a lease", error).at(path.display().to_string()))?,
    };
    let read = file.take(STORE_LEASE_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| Error::io("cannot read a lease", error).at(path.display().to_string()))?;
    text.lines().map(|line| line.parse().map_err(|_| damaged(path, "a lease is no list of digests"))).collect()
}

impl Lease {
    /// Keeps the blob with this digest, whether it is here or comes later, and what it points at.
    ///
    /// # Errors
    /// When the store cannot be written, and above [`STORE_LEASE_BYTES_MAX`].
    pub async fn hold(&self, digest: Digest) -> Result<()> {
        let lease = self.clone();
        blocking(move || lease.hold_blocking(digest)).await
    }

    /// As [`hold`](Self::hold), for callers that may block.
    ///
    /// # Errors
    /// As for [`hold`](Self::hold).
    pub fn hold_blocking(&self, digest: Digest) -> Result<()> {
        let failed = |error| Error::io("cannot write a lease", error).at(self.0.path.display().to_string());
        let _shared = Lock::shared(&self.0.store.path("prune.lock")).map_err(failed)?;
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.digests.contains(&digest) {
            return Ok(());
        }
        let line = format!("{digest}\n");
        let lines = held.digests.len() as u64 + 1;
        if lines.saturating_mul(line.len() as u64) > STORE_LEASE_BYTES_MAX {
            return Err(Error::limit("a lease holds too many blobs").at(self.0.path.display().to_string()));
        }
        held.file.write_all(line.as_bytes()).map_err(failed)?;
        held.digests.insert(digest);
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "cannot remove a lease");
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Lease").field(&self.0.path).finish()
    }
}
