//! Lists directories a piece at a time.
//!
//! wasmtime-wasi reads a whole directory into memory whenever a guest lists it, and looks at every entry: a guest that has made a hundred
//! thousand of them could fill the host's memory with a handful of calls, and hold up a thread for as long as each takes. Here a guest
//! gets what one system call gives, and says where it wants to go on; nothing is kept that grows with the directory.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;
use std::ffi::CString;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name: any bytes but `/` and NUL.
    pub(super) name: CString,
    /// What it is; a symbolic link is not followed.
    pub(super) kind: FileType,
    /// Its number, as [`file_number`] gives it.
    pub(super) number: u64,
    /// From where on the next one is found.
    pub(super) next: u64,
}

/// What stands in the directory that is open as `dir`, from `position` on (0 at its beginning, then [`Entry::next`]): as much as fits
/// into `bytes`, at least one entry, none at the end. `.` and `..` are among them.
pub(super) fn read(dir: BorrowedFd<'_>, position: u64, bytes: usize) -> io::Result<Vec<Entry>> {
    // A description of its own, whose position nobody else moves.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fresh = rustix::fs::openat(dir, c".", flags, Mode::empty())?;
    if position != 0 {
        rustix::fs::seek(&fresh, SeekFrom::Start(position))?;
    }
    let device = rustix::fs::fstat(&fresh)?.st_dev;
    let mut space = Vec::with_capacity(bytes);
    let mut raw = RawDir::new(&fresh, space.spare_capacity_mut());
    let mut entries = Vec::new();
    while let Some(entry) = raw.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // The directory was removed: there is nothing in it any more.
            Err(Errno::NOENT) => break,
            Err(errno) => return Err(errno.into()),
        };
        let (name, number) = (entry.file_name().to_owned(), file_number(device, entry.ino()));
        entries.push(Entry { kind: entry.file_type(), next: entry.next_entry_cookie(), name, number });
        if raw.is_buffer_empty() {
            break;
        }
    }
    entries.iter_mut().filter(|entry| entry.kind == FileType::Unknown).for_each(|entry| entry.kind = look(&fresh, entry));
    Ok(entries)
}

/// What an entry is where the file system does not say it in the directory.
fn look(dir: &OwnedFd, entry: &Entry) -> FileType {
    let stat = rustix::fs::statat(dir, &entry.name, AtFlags::SYMLINK_NOFOLLOW);
    stat.map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode))
}

/// The number of a file as wasmtime-wasi tells it to guests, so that a listing and `fd_filestat_get` agree: a hash of its device and
/// inode, as nobody shall learn those.
pub(super) fn file_number(device: u64, inode: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (device, inode).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs::{self, File};
    use std::os::fd::AsFd as _;

    /// All names, read `bytes` at a time, and into how many pieces that fell.
    fn names(dir: &File, bytes: usize) -> (BTreeSet<String>, usize) {
        let (mut names, mut position, mut pieces) = (BTreeSet::new(), 0, 0);
        loop {
            let entries = read(dir.as_fd(), position, bytes).unwrap();
            let Some(last) = entries.last() else { return (names, pieces) };
            (position, pieces) = (last.next, pieces + 1);
            for entry in entries {
                assert!(names.insert(entry.name.into_string().unwrap()), "twice");
            }
        }
    }

    #[test]
    fn each_entry_comes_once_whatever_the_size_of_the_pieces() {
        let folder = tempfile::tempdir().unwrap();
        for at in 0..500 {
            fs::write(folder.path().join(format!("file-{at}")), "").unwrap();
        }
        let dir = File::open(folder.path()).unwrap();
        let (small, pieces) = names(&dir, 512);
        assert!(pieces > 20, "{pieces}");
        assert_eq!((small.len(), &small), (502, &names(&dir, 1 << 20).0));
    }

    #[test]
    fn says_what_things_are_and_ends_when_the_directory_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dir");
        fs::create_dir_all(path.join("inner")).unwrap();
        std::os::unix::fs::symlink("/", path.join("link")).unwrap();
        let dir = File::open(&path).unwrap();
        let mut kinds: Vec<_> =
            read(dir.as_fd(), 0, 4096).unwrap().into_iter().map(|entry| (entry.name.into_string().unwrap(), entry.kind)).collect();
        kinds.sort_by(|a, b| a.0.cmp(&b.0));
        let kind = |name: &str, kind| (name.to_owned(), kind);
        let expected = [
            kind(".", FileType::Directory),
            kind("..", FileType::Directory),
            kind("inner", FileType::Directory),
            kind("link", FileType::Symlink),
        ];
        assert_eq!(kinds, expected);
        fs::remove_dir_all(&path).unwrap();
        assert_eq!(read(dir.as_fd(), 0, 4096).unwrap(), []);
    }
}
