//! Files that were removed while a guest has them open: they take their space until they are closed, and no walk finds them.

use rustix::fs::FileType;
use std::collections::HashSet;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The files that one container has opened to write, for as long as they are open.
#[derive(Debug, Default)]
pub(super) struct OpenFiles(Mutex<Opened>);

#[derive(Debug, Default)]
struct Opened {
    files: Vec<Weak<File>>,
    /// At how many of them those that were closed are forgotten.
    tidy_at: usize,
}

/// A file without a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedFile {
    /// The path that it had; none where that is too long to be told.
    path: Option<PathBuf>,
    bytes: u64,
}

impl OpenFiles {
    /// Remembers `file` until it is closed.
    pub(super) fn note(&self, file: &Arc<File>) {
        let mut opened = self.lock();
        if opened.files.len() >= opened.tidy_at {
            opened.files.retain(|file| file.strong_count() > 0);
            // As many again may come before the next time, so that each costs little.
            opened.tidy_at = opened.files.len() * 2 + 64;
        }
        opened.files.push(Arc::downgrade(file));
    }

    /// Those that were removed, each once.
    pub(super) fn removed(&self) -> Vec<RemovedFile> {
        let files: Vec<Arc<File>> = self.lock().files.iter().filter_map(Weak::upgrade).collect();
        let mut seen = HashSet::new();
        let removed = |file: &Arc<File>| {
            let stat = rustix::fs::fstat(file).ok()?;
            let is_removed = stat.st_nlink == 0 && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            (is_removed && seen.insert((stat.st_dev, stat.st_ino))).then(|| RemovedFile {
                path: path_of(file.as_fd()),
                bytes: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
            })
        };
        files.iter().filter_map(removed).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Opened> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What files take that were below `dir`.
pub(super) fn bytes_below(files: &[RemovedFile], dir: impl AsFd) -> u64 {
    let Some(dir) = path_of(dir) else { return 0 };
    files.iter().filter(|file| file.path.as_deref().is_some_and(|path| path.starts_with(&dir))).map(|file| file.bytes).sum()
}

/// What files take whose path cannot be told: somebody has to answer for them.
pub(super) fn bytes_nowhere(files: &[RemovedFile]) -> u64 {
    files.iter().filter(|file| file.path.is_none()).map(|file| file.bytes).sum()
}

/// Where the kernel says that an open file is, or was.
fn path_of(file: impl AsFd) -> Option<PathBuf> {
    std::fs::read_link(Path::new("/proc/self/fd").join(file.as_fd().as_raw_fd().to_string())).ok()
}
