//! The image store: an OCI image layout on disk, shared by every wasmpod process of its user.
//!
//! ```text
//!   oci-layout                    says what the directory is
//!   index.json                    the tags: descriptors with their full reference in `org.opencontainers.image.ref.name`
//!   blobs/sha256/<hex>            verified blobs, never modified
//!   ingest/<hex>                  a download under way, or one that was cut off and can be resumed
//!   rootfs/<hex>                  an ordinary image's layers, unpacked; `rootfs/partial-<hex>` while it is being made
//!   leases/<uuid>                 what a running pull or pod uses: a digest a line
//!   prune.lock, index.lock        see below
//! ```
//!
//! Invariants:
//! * A file under `blobs/` has the digest that its name says and is complete: it was verified before it was renamed there, and its
//!   contents were synced before that.
//! * Whoever writes to `ingest/<hex>` holds its flock, so there is one download of a blob at a time; the kernel lets go of the lock
//!   when a process dies, and the next one goes on with the bytes that are there.
//! * `index.json` is replaced as a whole, by whoever holds `index.lock`.
//!
//! Leases keep garbage collection away from what is in use. A lease is a file that its owner holds an exclusive flock on, for as
//! long as it lives; in it stand the digests that it holds, each written *before* the blob is looked for. [`prune`](ImageStore::prune)
//! holds `prune.lock` alone; leases are made under it alone, and get further digests, and tags are set, under it shared. So a prune
//! sees every digest that somebody has already found in the store. A lease whose lock nobody holds is of a process that died.
//!
//! Locks are taken in the order `prune.lock`, lease, `ingest` or `rootfs`, `index.lock`.

mod blob;
mod fetch;
mod index;
mod ingest;
mod lease;
mod lock;
mod prune;

pub(super) use fetch::blocking;
pub use fetch::{BlobBody, BlobSource, FetchObserver, FetchProgress, MemorySource};
pub use index::TaggedImage;
pub(super) use index::{LayoutIndex, REF_NAME, name_of};
pub use lease::Lease;
use lock::Lock;
pub(super) use lock::{Locked, lock_current, lock_file, sync_dir};
pub use prune::Pruned;

use super::Digest;
use crate::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

/// What stands in `oci-layout`. Source: OCI image specification, `image-layout.md`.
pub(super) const LAYOUT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";

/// A store: cheap to clone, and as many processes as like may have it open.
#[derive(Clone)]
pub struct ImageStore(Arc<Inner>);

struct Inner {
    root: PathBuf,
    /// The downloads of this process, so that its tasks wait for each other without polling.
    fetching: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
}

impl ImageStore {
    /// Opens the store in the directory `root`; makes it, with mode 0700, where there is none. Blocking.
    ///
    /// # Errors
    /// [`Denied`](ErrorKind::Denied) when the directory is another user's or others may write to it,
    /// [`Unavailable`](ErrorKind::Unavailable) when it cannot be made.
    pub fn open(root: &Path) -> Result<Self> {
        let failed = |error| Error::io("cannot open the image store", error).at(root.display().to_string());
        let root = std::path::absolute(root).map_err(failed)?;
        make_private(&root).map_err(failed)?;
        check_owner(&root)?;
        for dir in ["blobs", "blobs/sha256", "ingest", "leases", "rootfs"] {
            make_private(&root.join(dir)).map_err(failed)?;
        }
        let store = Self(Arc::new(Inner { root, fetching: Mutex::default() }));
        store.write_layout().map_err(failed)?;
        Ok(store)
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.root.join(name)
    }

    pub(super) fn blob_path(&self, digest: Digest) -> PathBuf {
        self.0.root.join("blobs/sha256").join(digest.hex())
    }

    fn write_layout(&self) -> io::Result<()> {
        let path = self.path("oci-layout");
        if path.exists() {
            return Ok(());
        }
        let _lock = Lock::exclusive(&self.path("index.lock"))?;
        lock::replace(&path, LAYOUT.as_bytes())
    }
}

impl std::fmt::Debug for ImageStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ImageStore").field(&self.0.root).finish()
    }
}

/// Makes a directory for this user alone, and those above it.
fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn check_owner(root: &Path) -> Result<()> {
    let at = || root.display().to_string();
    let metadata = fs::metadata(root).map_err(|error| Error::io("cannot open the image store", error).at(at()))?;
    let denied = |message: &str| Err(Error::new(ErrorKind::Denied, message).at(at()));
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return denied("the image store belongs to another user").map_err(|error| error.hint("choose another directory by --root"));
    }
    if metadata.mode() & 0o022 != 0 {
        let hint = format!("take it back: chmod go-w {}", root.display());
        return denied("others may write to the image store").map_err(|error| error.hint(hint));
    }
    Ok(())
}

/// For errors about the store itself.
pub(super) fn damaged(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("the image store is damaged: {what}"))
        .at(path.display().to_string())
        .hint("remove the file, then pull the image again")
}

#[cfg(test)]
mod tests;
