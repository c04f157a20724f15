//! How much a volume holds: what `du` would say, measured while guests go on changing it.
//!
//! The walk keeps one directory open and goes up by `..`, so depth costs neither stack nor descriptors. A guest can move the
//! directory away meanwhile; then `..` is not where the walk came from, and it begins anew.

use crate::directory::open_dir;
use crate::limits::VOLUME_WALKS_MAX;
use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a volume holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes allocated for files and directories; the volume's own directory is not counted, a file with several names once.
    pub bytes: u64,
    /// Whether all of it was seen. Not so when the volume has more than
    /// [`VOLUME_ENTRIES_MAX`](crate::limits::VOLUME_ENTRIES_MAX) entries, or never stood still; it is then over any limit.
    pub complete: bool,
}

impl Usage {
    /// Whether this is more than `limit_bytes`.
    pub fn exceeds(&self, limit_bytes: u64) -> bool {
        !self.complete || self.bytes > limit_bytes
    }

    /// The same with so many bytes more.
    pub(super) fn plus(self, bytes: u64) -> Self {
        Self { bytes: self.bytes.saturating_add(bytes), ..self }
    }
}

/// An `emptyDir` over its `sizeLimit`. It displays as the message with which kubelet evicts the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverLimit {
    /// The volume's name.
    pub volume: String,
    /// What it holds.
    pub used: Usage,
    /// What it may hold.
    pub limit_bytes: u64,
}

impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Usage of EmptyDir volume {:?} exceeds the limit {:?}.", self.volume, quantity(self.limit_bytes))
    }
}

/// Bytes as a Kubernetes quantity, with the largest suffix that leaves a whole number; powers of 1024 go first.
pub(crate) fn quantity(bytes: u64) -> String {
    const BINARY: [&str; 6] = ["Ei", "Pi", "Ti", "Gi", "Mi", "Ki"];
    const DECIMAL: [&str; 6] = ["E", "P", "T", "G", "M", "k"];
    let whole = |base: u64, suffixes: [&str; 6]| {
        suffixes.into_iter().zip((1..=6).rev()).find_map(|(suffix, power)| {
            let unit = base.pow(power);
            (bytes > 0 && bytes.is_multiple_of(unit)).then(|| format!("{}{suffix}", bytes / unit))
        })
    };
    whole(1024, BINARY).or_else(|| whole(1000, DECIMAL)).unwrap_or_else(|| bytes.to_string())
}

/// Adds up what is in `dir`; looks at no more than `entries_max` entries.
pub(super) fn measure(dir: BorrowedFd<'_>, entries_max: usize) -> io::Result<Usage> {
    let mut seen = 0;
    for _ in 0..VOLUME_WALKS_MAX {
        let mut tally = Tally { bytes: 0, entries_left: entries_max, linked: HashSet::new() };
        let outcome = walk(dir, &mut tally)?;
        seen = seen.max(tally.bytes);
        match outcome {
            Outcome::Complete => return Ok(Usage { bytes: tally.bytes, complete: true }),
            Outcome::TooMany => break,
            Outcome::Moved => {}
        }
    }
    Ok(Usage { bytes: seen, complete: false })
}

struct Tally {
    bytes: u64,
    entries_left: usize,
    /// Files with several names that were counted: at most as many as entries.
    linked: HashSet<(u64, u64)>,
}

enum Outcome {
    Complete,
    TooMany,
    Moved,
}

/// A directory between the volume and where the walk is.
struct Level {
    identity: (u64, u64),
    /// Its subdirectories that are still to be visited.
    pending: Vec<CString>,
}

fn walk(top: BorrowedFd<'_>, tally: &mut Tally) -> io::Result<Outcome> {
    let mut current = open_dir(top, c".")?;
    let mut levels: Vec<Level> = Vec::new();
    loop {
        let Some(pending) = tally.count(&current)? else { return Ok(Outcome::TooMany) };
        levels.push(Level { identity: identity(&rustix::fs::fstat(&current)?), pending });
        // To the next directory: one below this one, or else below the nearest above it that has one left.
        loop {
            let Some(level) = levels.last_mut() else { return Ok(Outcome::Complete) };
            if let Some(name) = level.pending.pop() {
                match open_dir(current.as_fd(), &name) {
                    Ok(below) => {
                        current = below;
                        break;
                    }
                    Err(error) if is_gone(&error) => continue,
                    Err(error) => return Err(error),
                }
            }
            levels.pop();
            let Some(above) = levels.last() else { return Ok(Outcome::Complete) };
            current = match open_dir(current.as_fd(), c"..") {
                Ok(parent) if identity(&rustix::fs::fstat(&parent)?) == above.identity => parent,
                _ => return Ok(Outcome::Moved),
            };
        }
    }
}

impl Tally {
    /// Counts the entries of `dir` and returns its subdirectories; `None` when that is more than may be looked at.
    fn count(&mut self, dir: &OwnedFd) -> io::Result<Option<Vec<CString>>> {
        let mut directories = Vec::new();
        let entries = match Dir::read_from(dir) {
            Ok(entries) => entries,
            Err(Errno::NOENT) => return Ok(Some(directories)),
            Err(errno) => return Err(errno.into()),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                // The directory itself was removed.
                Err(Errno::NOENT) => break,
                Err(errno) => return Err(errno.into()),
            };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let Some(left) = self.entries_left.checked_sub(1) else { return Ok(None) };
            self.entries_left = left;
            match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    self.add(&stat);
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                        directories.push(name.to_owned());
                    }
                }
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Some(directories))
    }

    fn add(&mut self, stat: &Stat) {
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if directory || stat.st_nlink == 1 || self.linked.insert(identity(stat)) {
            // st_blocks counts units of 512 bytes, whatever the file system's own block is.
            self.bytes = self.bytes.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512));
        }
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Whether a directory was removed or exchanged since its name was read.
fn is_gone(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    [Errno::NOENT, Errno::NOTDIR, Errno::LOOP].into_iter().any(|gone| errno == Some(gone.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    fn setup() -> (TempDir, OwnedFd) {
        let folder = tempfile::tempdir().unwrap();
        let dir = File::open(folder.path()).unwrap().into();
        (folder, dir)
    }

    fn bytes(dir: &OwnedFd) -> u64 {
        let usage = measure(dir.as_fd(), 1000).unwrap();
        assert!(usage.complete);
        usage.bytes
    }

    #[test]
    fn counts_what_is_allocated() {
        let (folder, dir) = setup();
        assert_eq!(bytes(&dir), 0);
        fs::write(folder.path().join("file"), vec![1; 100_000]).unwrap();
        File::create(folder.path().join("sparse")).unwrap().set_len(1 << 40).unwrap();
        let used = bytes(&dir);
        assert!((100_000..200_000).contains(&used), "{used}");
    }

    #[test]
    fn a_file_with_two_names_counts_once_and_a_link_leads_nowhere() {
        let (folder, dir) = setup();
        fs::write(folder.path().join("file"), vec![1; 100_000]).unwrap();
        let once = bytes(&dir);
        fs::hard_link(folder.path().join("file"), folder.path().join("name")).unwrap();
        symlink("/usr", folder.path().join("usr")).unwrap();
        symlink(".", folder.path().join("loop")).unwrap();
        assert_eq!(bytes(&dir), once);
    }

    #[test]
    fn visits_every_directory_once() {
        let (folder, dir) = setup();
        let mut expected = 0;
        for outer in 0..5 {
            for inner in 0..5 {
                let path = folder.path().join(format!("{outer}/{inner}/leaf"));
                fs::create_dir_all(&path).unwrap();
                fs::write(path.join("file"), vec![1; 8192]).unwrap();
                expected += 8192;
            }
        }
        let directories = 5 + 25 + 25;
        let per_directory = (bytes(&dir) - expected) / directories;
        assert_eq!(bytes(&dir), expected + directories * per_directory);
        assert!(per_directory <= 4096);
    }

    #[test]
    fn depth_costs_neither_stack_nor_descriptors() {
        let (folder, dir) = setup();
        let top = super::super::tree::PrivateTree::create(dir.as_fd(), "top").unwrap();
        let name = CString::new("d".repeat(200)).unwrap();
        let mut current = top.dir().try_clone_to_owned().unwrap();
        for _ in 0..5000 {
            rustix::fs::mkdirat(&current, &name, rustix::fs::Mode::RWXU).unwrap();
            current = open_dir(current.as_fd(), &name).unwrap();
        }
        assert!(measure(dir.as_fd(), 10_000).unwrap().complete);
        drop((current, top, folder));
    }

    #[test]
    fn more_entries_than_may_be_looked_at_are_over_any_limit() {
        let (folder, dir) = setup();
        for index in 0..10 {
            fs::write(folder.path().join(index.to_string()), "").unwrap();
        }
        assert!(!measure(dir.as_fd(), 10).unwrap().exceeds(0));
        let usage = measure(dir.as_fd(), 9).unwrap();
        assert!(!usage.complete && usage.exceeds(u64::MAX));
    }

    #[test]
    fn speaks_as_kubelet_does() {
        let used = Usage { bytes: 2 << 20, complete: true };
        let over = |limit_bytes| OverLimit { volume: "x".into(), used, limit_bytes }.to_string();
        assert_eq!(over(1 << 20), "Usage of EmptyDir volume \"x\" exceeds the limit \"1Mi\".");
        assert_eq!(over(1500 << 10), "Usage of EmptyDir volume \"x\" exceeds the limit \"1500Ki\".");
        assert_eq!(over(2_000_000), "Usage of EmptyDir volume \"x\" exceeds the limit \"2M\".");
        assert_eq!(over(1001), "Usage of EmptyDir volume \"x\" exceeds the limit \"1001\".");
        assert_eq!(over(0), "Usage of EmptyDir volume \"x\" exceeds the limit \"0\".");
    }
}
