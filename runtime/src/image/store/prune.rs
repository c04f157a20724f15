//! Garbage collection: removes what neither a tag nor a lease reaches.

use super::super::format::{Document, layers_id};
use super::super::{Descriptor, Digest};
use super::ImageStore;
use super::lock::{Lock, Locked, lock_current};
use crate::limits::IMAGE_MANIFEST_BYTES_MAX;
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// What a [`prune`](ImageStore::prune) removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Blobs that nothing reached.
    pub blobs: u64,
    /// Downloads that were broken off.
    pub downloads: u64,
    /// Root file systems of images that are gone.
    pub root_file_systems: u64,
    /// Bytes of the blobs and downloads; what the root file systems had is not counted.
    pub bytes: u64,
}

/// What is in use.
#[derive(Default)]
struct Reached {
    blobs: BTreeSet<Digest>,
    root_file_systems: BTreeSet<Digest>,
}

impl ImageStore {
    /// Removes every blob that no tag reaches and no lease holds, broken-off downloads that nobody is at, and root file systems whose
    /// image is gone. Blocking. Pulls and pods that run, in whatever process, go on undisturbed.
    ///
    /// # Errors
    /// When the store cannot be read or written; what is left then is as good as before.
    pub fn prune(&self) -> Result<Pruned> {
        let failed = |error| Error::io("cannot prune the image store", error).at(self.root().display().to_string());
        let _alone = Lock::exclusive(&self.path("prune.lock")).map_err(failed)?;
        let mut reached = Reached::default();
        for image in self.list()? {
            self.mark(image.descriptor.digest, &mut reached);
        }
        self.live_leases(|digests| {
            digests.into_iter().for_each(|digest| self.mark(digest, &mut reached));
            Ok(())
        })?;
        let mut pruned = Pruned::default();
        self.sweep_blobs(&reached, &mut pruned).map_err(failed)?;
        self.sweep_downloads(&mut pruned).map_err(failed)?;
        self.sweep_root_file_systems(&reached, &mut pruned).map_err(failed)?;
        Ok(pruned)
    }

    /// Marks a blob and all that it points at. What is missing or unreadable points at nothing.
    fn mark(&self, digest: Digest, reached: &mut Reached) {
        let mut waiting = vec![digest];
        while let Some(digest) = waiting.pop() {
            if !reached.blobs.insert(digest) {
                continue;
            }
            match self.document(digest) {
                Some(Document::Index(index)) => waiting.extend(index.manifests.iter().map(|manifest| manifest.digest)),
                Some(Document::Manifest(manifest)) => {
                    reached.root_file_systems.insert(layers_id(&manifest.layers));
                    reached.blobs.insert(manifest.config.digest);
                    reached.blobs.extend(manifest.layers.iter().map(|layer| layer.digest));
                }
                None => {}
            }
        }
    }

    /// The blob as a manifest or index, if it is one.
    fn document(&self, digest: Digest) -> Option<Document> {
        let size = fs::metadata(self.blob_path(digest)).ok()?.len();
        if size > IMAGE_MANIFEST_BYTES_MAX {
            return None;
        }
        let bytes = fs::read(self.blob_path(digest)).ok()?;
        // Layers end at their first byte.
        Document::parse(&Descriptor::new("", digest, size), &bytes).ok()
    }

    fn sweep_blobs(&self, reached: &Reached, pruned: &mut Pruned) -> io::Result<()> {
        for entry in fs::read_dir(self.path("blobs/sha256"))? {
            let entry = entry?;
            let digest = entry.file_name().to_str().and_then(Digest::from_hex);
            if digest.is_none_or(|digest| !reached.blobs.contains(&digest)) {
                pruned.bytes += entry.metadata()?.len();
                pruned.blobs += 1;
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn sweep_downloads(&self, pruned: &mut Pruned) -> io::Result<()> {
        for entry in fs::read_dir(self.path("ingest"))? {
            let path = entry?.path();
            let Some(file) = lock_idle(&path)? else { continue };
            pruned.bytes += file.metadata()?.len();
            pruned.downloads += 1;
            fs::remove_file(&path)?;
        }
        Ok(())
    }

    fn sweep_root_file_systems(&self, reached: &Reached, pruned: &mut Pruned) -> io::Result<()> {
        for entry in fs::read_dir(self.path("rootfs"))? {
            let entry = entry?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(Digest::from_hex);
            if digest.is_some_and(|digest| reached.root_file_systems.contains(&digest)) {
                continue;
            }
            // The directory is locked while it is made.
            if let Some(_dir) = lock_idle(&entry.path())? {
                fs::remove_dir_all(entry.path())?;
                pruned.root_file_systems += 1;
            }
        }
        Ok(())
    }
}

/// Locks what nobody else is at; `None` when somebody is, or it is gone.
fn lock_idle(path: &Path) -> io::Result<Option<File>> {
    match lock_current(path, || File::open(path)) {
        Ok(Locked::Ours(file)) => Ok(Some(file)),
        Ok(Locked::Busy) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
