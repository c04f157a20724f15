//! Files as locks between processes, and files that are replaced as a whole.

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A lock file, held until this is dropped. The file stays.
#[derive(Debug)]
pub(in super::super) struct Lock(#[expect(dead_code, reason = "the lock lives as long as the descriptor")] File);

impl Lock {
    /// Waits until nobody else holds the lock. Blocking.
    pub(in super::super) fn exclusive(path: &Path) -> io::Result<Self> {
        Self::take(path, FlockOperation::LockExclusive)
    }

    /// Waits until nobody holds the lock alone. Blocking.
    pub(in super::super) fn shared(path: &Path) -> io::Result<Self> {
        Self::take(path, FlockOperation::LockShared)
    }

    fn take(path: &Path, operation: FlockOperation) -> io::Result<Self> {
        let file = open_or_create(path)?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation))?;
        Ok(Self(file))
    }
}

/// What became of the wish to lock a file that its owner may rename or remove.
#[derive(Debug)]
pub(in super::super) enum Locked<T> {
    /// It is ours as long as the descriptor lives.
    Ours(T),
    /// Somebody else has it.
    Busy,
}

/// Opens, or makes, `path` with mode 0600 and locks it, without waiting.
pub(in super::super) fn lock_file(path: &Path) -> io::Result<Locked<File>> {
    lock_current(path, || open_or_create(path))
}

/// Locks what `open` opens at `path`; when it was renamed or removed before it was locked, opens what is there now.
pub(in super::super) fn lock_current(path: &Path, open: impl Fn() -> io::Result<File>) -> io::Result<Locked<File>> {
    loop {
        let file = open()?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(Locked::Busy),
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        let locked = file.metadata()?;
        match std::fs::symlink_metadata(path) {
            Ok(current) if (current.dev(), current.ino()) == (locked.dev(), locked.ino()) => return Ok(Locked::Ours(file)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

fn open_or_create(path: &Path) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Makes the file at `path` hold `contents`, entirely or not at all; the caller holds the lock that goes with it.
pub(super) fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    // A fixed name: what a process that was killed leaves behind is overwritten by the next.
    let temporary = path.with_extension("new");
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file: File = rustix::fs::openat(rustix::fs::CWD, &temporary, flags, Mode::RUSR | Mode::WUSR)?.into();
    file.write_all(contents)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    sync_dir(path.parent().unwrap_or_else(|| Path::new("/")))
}

/// Makes sure that the names in a directory survive a power cut.
pub(in super::super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
