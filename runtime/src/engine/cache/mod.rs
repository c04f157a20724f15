//! The artifact cache: compiled code on disk, shared by all processes of a user.
//!
//! ```text
//!   <cache>/aot/v1/<compatibility key>/      0700, ours
//!       <sha256 of the wasm>.cwasm           0600: wasmtime's ELF file, then a trailer of ours (see `trailer`)
//!       <sha256 of the wasm>.stamp           0600: the file above was read and found whole (see `stamp`)
//!       <sha256 of the wasm>.lock            0600, empty: locked while the artifact is made
//!       <sha256 of the wasm>.tmp             0600: the artifact being made, by whoever holds the lock
//! ```
//!
//! Whoever can write an artifact can run code as us, so the directories must be ours alone ([`Cache::open`] refuses others), and each
//! file is opened once, without following links, and checked on that descriptor: owner, mode, size, name and content. What does not
//! pass is ignored and made again. A file appears under its final name only when it is complete and on disk, and is never changed
//! afterwards; a reader holds either the old file or the new one.
//!
//! Locks are `flock`s: the kernel drops them with the process that holds them, so a crash leaves none behind. Lock files are never
//! removed, because somebody may be waiting on them. What a crash can leave is the temporary file, which the next one to take the
//! lock removes; and the first compilation of a process sweeps those of others away.

mod entry;
mod stamp;
mod trailer;

pub(super) use entry::CacheEntry;

use super::artifact::Digest;
use super::config::compatibility_key;
use super::kind::Kind;
use crate::{Error, Result};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::{DirBuilder, File, Metadata};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use trailer::Trailer;

/// The opened cache; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Cache(Arc<Directory>);

#[derive(Debug)]
struct Directory {
    fd: OwnedFd,
    /// For messages only: every access goes through the descriptor.
    path: PathBuf,
    key: String,
    swept: AtomicBool,
}

/// The right to make one artifact, among all processes. Dropping it frees it and removes what was not finished.
#[derive(Debug)]
pub(super) struct EntryLock {
    cache: Cache,
    digest: Digest,
    locked: File,
}

impl Cache {
    /// Opens the cache below `root`, which is made where it does not exist.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let hint = "choose another directory with --cache-dir";
        let unusable =
            |error: std::io::Error, path: &Path| Error::io("cannot open the artifact cache", error).at(shown(path)).hint(hint);
        DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(|error| unusable(error, root))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut fd = rustix::fs::open(root, flags, Mode::empty()).map_err(|errno| unusable(errno.into(), root))?;
        // The root may hold things that others may read; what is below it may not.
        check_directory(&fd, root, 0o022)?;
        let key = compatibility_key();
        let mut path = root.to_owned();
        for name in ["aot", "v1", &key] {
            path.push(name);
            match rustix::fs::mkdirat(&fd, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(unusable(errno.into(), &path)),
            }
            fd = rustix::fs::openat(&fd, name, flags | OFlags::NOFOLLOW, Mode::empty())
                .map_err(|errno| unusable(errno.into(), &path))?;
            check_directory(&fd, &path, 0o077)?;
        }
        Ok(Self(Arc::new(Directory { fd, path, key, swept: AtomicBool::new(false) })))
    }

    /// The size of an artifact's file; 0 when there is none.
    pub(super) fn artifact_bytes(&self, digest: &Digest) -> u64 {
        let stat = rustix::fs::statat(&self.0.fd, format!("{digest}.cwasm"), AtFlags::SYMLINK_NOFOLLOW);
        stat.map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(u64::MAX))
    }

    /// The artifact of the WebAssembly with this digest, if there is one and it is whole.
    pub(super) fn find(&self, digest: &Digest) -> Option<CacheEntry> {
        match self.examine(digest) {
            Ok(entry) => entry,
            Err(reason) => {
                let path = self.0.path.join(format!("{digest}.cwasm"));
                tracing::warn!(target: "wasmpod::engine", path = %path.display(), reason, "ignoring a cached artifact; it is compiled again");
                None
            }
        }
    }

    /// As [`find`](Self::find), with the reason for which a file is ignored.
    fn examine(&self, digest: &Digest) -> Result<Option<CacheEntry>, &'static str> {
        let Some(file) = self.0.open_ours(&format!("{digest}.cwasm"))? else { return Ok(None) };
        let before = file.metadata().map_err(|_| "cannot be examined")?;
        let trailer = Trailer::read(&file, before.len(), &self.0.key, digest)?;
        let stamp = stamp::Stamp::of(&before);
        if !stamp::is_wanted(&before) || !stamp.is_kept(&self.0, digest) {
            trailer.verify(&file)?;
            let after = file.metadata().map_err(|_| "cannot be examined")?;
            if stamp != stamp::Stamp::of(&after) {
                return Err("changed while it was read");
            }
            if stamp::is_wanted(&before) {
                stamp.keep(&self.0, digest, &before);
            }
        }
        Ok(Some(CacheEntry::new(file, trailer)))
    }

    /// Takes the lock of one artifact; none while another process or task holds it.
    pub(super) fn try_lock(&self, digest: &Digest) -> Result<Option<EntryLock>> {
        let failed = |errno: Errno| Error::io("cannot lock the artifact cache", errno.into()).at(shown(&self.0.path));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.0.fd, format!("{digest}.lock"), flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        }
        if !self.0.swept.swap(true, Ordering::Relaxed) {
            self.sweep();
        }
        Ok(Some(EntryLock { cache: self.clone(), digest: *digest, locked: file.into() }))
    }

    /// Removes temporary files that nobody works on.
    fn sweep(&self) {
        let Ok(names) = rustix::fs::Dir::read_from(&self.0.fd) else { return };
        for name in names.flatten() {
            let Some(digest) = name.file_name().to_str().ok().and_then(|name| name.strip_suffix(".tmp")).and_then(Digest::from_hex)
            else {
                continue;
            };
            // Dropping the lock removes the file.
            drop(self.try_lock(&digest));
        }
    }
}

impl EntryLock {
    /// An empty file for the artifact, to be [committed](Self::commit).
    pub(super) fn temporary(&self) -> Result<File> {
        self.remove_temporary();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd =
            rustix::fs::openat(&self.cache.0.fd, self.temporary_name(), flags, mode).map_err(|errno| self.failed(errno.into()))?;
        // Whatever the umask says.
        rustix::fs::fchmod(&fd, mode).map_err(|errno| self.failed(errno.into()))?;
        Ok(fd.into())
    }

    /// Seals what was written to the [temporary](Self::temporary) file, and gives it its name.
    pub(super) fn commit(&self, mut file: File, kind: Kind, wasm_bytes: u64) -> Result<()> {
        let body_bytes = file.metadata().map_err(|error| self.failed(error))?.len();
        let trailer = Trailer::new(kind, wasm_bytes, body_bytes, &self.cache.0.key, &self.digest);
        let sealed = trailer.seal(&file).map_err(|error| self.failed(error))?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(body_bytes)).map_err(|error| self.failed(error))?;
        file.write_all(&sealed).and_then(|()| file.sync_all()).map_err(|error| self.failed(error))?;
        let fd = &self.cache.0.fd;
        let name = format!("{}.cwasm", self.digest);
        let renamed = rustix::fs::renameat(fd, self.temporary_name(), fd, name).and_then(|()| rustix::fs::fsync(fd));
        renamed.map_err(|errno| self.failed(errno.into()))
    }

    fn temporary_name(&self) -> String {
        format!("{}.tmp", self.digest)
    }

    fn remove_temporary(&self) {
        // Mostly there is none.
        let _ = rustix::fs::unlinkat(&self.cache.0.fd, self.temporary_name(), AtFlags::empty());
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::io("cannot write to the artifact cache", error)
            .at(shown(&self.cache.0.path))
            .hint("free some space, or choose another directory with --cache-dir")
    }
}

impl Drop for EntryLock {
    fn drop(&mut self) {
        self.remove_temporary();
        // Closing alone would leave it locked while a process that is just being started still has a copy of the descriptor.
        let _ = rustix::fs::flock(&self.locked, FlockOperation::Unlock);
    }
}

impl Directory {
    /// Opens a file of the cache and checks on the descriptor that only we can have written it.
    fn open_ours(&self, name: &str) -> Result<Option<File>, &'static str> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err("is a symbolic link"),
            Err(_) => return Err("cannot be opened"),
        };
        let metadata = file.metadata().map_err(|_| "cannot be examined")?;
        match () {
            () if !metadata.is_file() => Err("is not a regular file"),
            () if !is_owned_by_us(&metadata) => Err("belongs to somebody else"),
            () if metadata.mode() & 0o7777 != 0o600 => Err("has another mode than 0600"),
            () if metadata.nlink() != 1 => Err("has another name as well"),
            () => Ok(Some(file)),
        }
    }
}

/// Refuses a directory that is not ours, or that has one of the mode bits in `forbidden`.
fn check_directory(fd: &OwnedFd, path: &Path, forbidden: u32) -> Result<()> {
    let metadata = fd.try_clone().map(File::from).and_then(|file| file.metadata());
    let metadata = metadata.map_err(|error| Error::io("cannot examine the artifact cache", error).at(shown(path)))?;
    let denied = |message: String| Error::new(crate::ErrorKind::Denied, message).at(shown(path));
    if !is_owned_by_us(&metadata) {
        return Err(denied(format!(
            "the artifact cache belongs to user {}: only code that you compiled may be run",
            metadata.uid()
        ))
        .hint("choose a directory of your own with --cache-dir"));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(denied(format!("others may write to the artifact cache or look into it (its mode is {mode:04o}): only code that you compiled may be run"))
            .hint(format!("if nobody else has written to it, run `chmod 700 {}`; otherwise remove it", path.display())));
    }
    Ok(())
}

fn is_owned_by_us(metadata: &Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;
