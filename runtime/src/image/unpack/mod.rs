//! Root file systems: the layers of an ordinary image, unpacked once into the store.
//!
//! ```text
//!   blob ──decompress──▶ metered stream ──entries──▶ names and contents ──layer──▶ tree: files beneath one directory
//! ```
//!
//! A layer is somebody else's program for making files. So: names are resolved beneath the root, by the kernel; `..` is refused; only
//! directories, regular files, symbolic and hard links are made; owners, set-id bits, devices and pipes are never made; and the bytes,
//! the entries, the depth and the ratio to the compressed size are limited. The result is made under another name and renamed when it is
//! complete and on the disk, and is not changed any more.

mod decompress;
mod entries;
mod layer;
mod tree;

use super::ImageStore;
use super::format::{Contents, Image, Layer, layers_id};
use super::store::{Locked, lock_current, sync_dir};
use crate::limits::{IMAGE_BYTES_MAX, STORE_LOCK_POLL};
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use layer::Budget;
use rustix::fs::OFlags;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use tree::Tree;

/// The root file system of an image, on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootFileSystem {
    path: PathBuf,
}

impl RootFileSystem {
    /// The directory. It is shared by all containers of the image: nobody may write to it. A [`Lease`](super::Lease) on the image's
    /// digest keeps it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole of the regular file that `program` names, as a container's process would find it: links are followed inside the root
    /// file system, relative names start at `working_dir`, a bare name is looked for in `/` too.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) where there is none, [`Invalid`](ErrorKind::Invalid) where it is no regular file,
    /// [`Limit`](ErrorKind::Limit) above [`IMAGE_BYTES_MAX`].
    pub(super) fn read_program(&self, program: &str, working_dir: Option<&str>) -> Result<Bytes> {
        let in_working_dir = format!("{}/{program}", working_dir.unwrap_or("/"));
        let candidates = if program.starts_with('/') { vec![program] } else { vec![in_working_dir.as_str(), program] };
        let mut missing = None;
        for name in candidates {
            match self.read_file(name) {
                Err(error) if error.kind() == ErrorKind::NotFound => missing = Some(error),
                read => return read.map_err(|error| error.at(program)),
            }
        }
        let hint = "set the container's command to the path of the .wasm file in the image";
        let error = Error::not_found("the image has no such file to run").at(program).hint(hint);
        Err(missing.map_or_else(|| Error::internal("no name was tried"), |cause| error.because(cause)))
    }

    fn read_file(&self, name: &str) -> Result<Bytes> {
        let failed = |error| Error::io("cannot open the image's program", error);
        let root = File::open(&self.path).map_err(failed)?;
        // Neither a pipe nor a terminal can be in there; one more line of defence.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file: File = tree::open_in_root(root.as_fd(), name.as_bytes(), flags).map_err(failed)?.into();
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Error::invalid("the image's program is a directory, not a file"));
        }
        if metadata.len() > IMAGE_BYTES_MAX {
            return Err(Error::limit(format!("the image's program is larger than {} MiB", IMAGE_BYTES_MAX >> 20)));
        }
        let mut bytes = Vec::new();
        file.take(IMAGE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes.into())
    }
}

impl Image {
    /// The root file system of an ordinary image, unpacked now if it was not yet; `None` for an image without files. Blocking: while
    /// another process unpacks the same one, it waits for that.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid), at the layer, for one that is damaged, tries to lead out of the root file system or is not what
    /// the image's config says; [`Limit`](ErrorKind::Limit) for what is too big once unpacked.
    pub fn root_file_system(&self, store: &ImageStore) -> Result<Option<RootFileSystem>> {
        let Contents::RootFileSystem(layers) = &self.contents else { return Ok(None) };
        let id = layers_id(layers.iter().map(|layer| &layer.descriptor)).hex();
        let path = store.path("rootfs").join(&id);
        let partial = store.path("rootfs").join(format!("partial-{id}"));
        let failed = |error| Error::io("cannot unpack the image", error).at(self.manifest.digest.to_string());
        loop {
            if path.exists() {
                return Ok(Some(RootFileSystem { path }));
            }
            let Locked::Ours(dir) = lock_current(&partial, || make_dir(&partial)).map_err(failed)? else {
                std::thread::sleep(STORE_LOCK_POLL);
                continue;
            };
            // It came between the two looks; then the partial one is new and empty.
            if path.exists() {
                fs::remove_dir(&partial).map_err(failed)?;
                return Ok(Some(RootFileSystem { path }));
            }
            let tree = Tree::new(dir.into()).map_err(failed)?;
            let unpacked = unpack(store, layers, &tree).and_then(|()| tree.sync().map_err(failed));
            if let Err(error) = unpacked {
                // What cannot be removed is in nobody's way, and the next prune tries again.
                let _ = fs::remove_dir_all(&partial);
                return Err(error);
            }
            fs::rename(&partial, &path).and_then(|()| sync_dir(&store.path("rootfs"))).map_err(failed)?;
            return Ok(Some(RootFileSystem { path }));
        }
    }
}

fn make_dir(path: &Path) -> io::Result<File> {
    match rustix::fs::mkdir(path, rustix::fs::Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?.into())
}

/// Unpacks the layers, the lowest first, into an empty tree; what a process that was killed left in it is removed first.
fn unpack(store: &ImageStore, layers: &[Layer], tree: &Tree) -> Result<()> {
    tree.clear().map_err(|error| Error::io("cannot remove an unfinished root file system", error))?;
    let mut budget = Budget::default();
    for (index, layer) in layers.iter().enumerate() {
        let at = |error: Error| error.within(&format!("layer {}", layer.descriptor.digest));
        if index > 0 {
            layer::remove_whited_out(store, layer, tree, &budget).map_err(at)?;
        }
        layer::write(store, layer, tree, &mut budget).map_err(at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
