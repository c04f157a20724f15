//! Directories that we make and remove again with everything that guests put into them.
//!
//! Guests decide how deep and how wide such a tree is, so removing it neither recurses nor builds paths: a directory that is not
//! empty is moved up beside the first ones and taken apart there. Every step names one entry of an open directory and follows no
//! symbolic link, so nothing outside can be hit.

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A directory of mode 0700 that is removed, with all that is in it, when this is dropped.
#[derive(Debug)]
pub(super) struct PrivateTree {
    parent: OwnedFd,
    /// `None` once it is removed.
    name: Option<String>,
    dir: OwnedFd,
}

impl PrivateTree {
    /// Makes the directory `name` in `parent`; it must not exist.
    pub(super) fn create(parent: BorrowedFd<'_>, name: &str) -> io::Result<Self> {
        let dir = make_dir(parent, name, 0o700)?;
        Ok(Self { parent: parent.try_clone_to_owned()?, name: Some(name.to_owned()), dir })
    }

    /// Takes over the directory `name` in `parent`, which is open as `dir`.
    pub(super) fn adopt(parent: BorrowedFd<'_>, name: &str, dir: OwnedFd) -> io::Result<Self> {
        Ok(Self { parent: parent.try_clone_to_owned()?, name: Some(name.to_owned()), dir })
    }

    /// What it is called in its parent; empty once it is removed.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The open directory.
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Locks the directory for as long as this lives; false when someone else has it locked.
    pub(super) fn try_lock(&self) -> io::Result<bool> {
        match rustix::fs::flock(&self.dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives the directory another name in the same parent.
    pub(super) fn rename(&mut self, name: &str) -> io::Result<()> {
        let old = self.name.as_deref().unwrap_or_default();
        rustix::fs::renameat(&self.parent, old, &self.parent, name)?;
        self.name = Some(name.to_owned());
        Ok(())
    }

    /// Leaves the directory where it is: somebody else's.
    pub(super) fn forget(mut self) {
        self.name = None;
    }

    /// Removes the directory and all that is in it. A second call does nothing.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        let Some(name) = self.name.take() else { return Ok(()) };
        remove_contents(self.dir.as_fd())?;
        Ok(rustix::fs::unlinkat(&self.parent, name, AtFlags::REMOVEDIR)?)
    }
}

impl Drop for PrivateTree {
    fn drop(&mut self) {
        let name = self.name.clone();
        if let Err(error) = self.remove() {
            tracing::warn!(?name, %error, "cannot remove a directory");
        }
    }
}

/// Whether `name` can be one entry of a directory.
pub(super) fn is_plain_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

/// Opens the directory `name` of `parent`, which must not be a symbolic link.
pub(super) fn open_dir(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Makes and opens the directory `name` in `parent`, with exactly `mode` whatever the umask; it must not exist.
pub(super) fn make_dir(parent: BorrowedFd<'_>, name: &str, mode: u32) -> io::Result<OwnedFd> {
    let name = CString::new(name)?;
    rustix::fs::mkdirat(parent, &name, Mode::RWXU)?;
    let dir = open_dir(parent, &name)?;
    rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode))?;
    Ok(dir)
}

fn remove_contents(top: BorrowedFd<'_>) -> io::Result<()> {
    // No entry can have this name already, short of a guess at random bits.
    let mut moved = Moved { prefix: uuid::Uuid::new_v4().simple().to_string(), count: 0 };
    make_writable(top)?;
    for_each_entry(top, |name| {
        if !remove_entry(top, name)? {
            take_apart(top, name, &mut moved)?;
        }
        Ok(())
    })
}

/// Names for the directories that were moved up.
struct Moved {
    prefix: String,
    count: u64,
}

impl Moved {
    fn next(&mut self) -> String {
        self.count += 1;
        format!("{}-{}", self.prefix, self.count)
    }
}

/// Removes a directory of `top`; the directories in it that are not empty are moved into `top`.
fn take_apart(top: BorrowedFd<'_>, name: &CStr, moved: &mut Moved) -> io::Result<()> {
    let dir = open_removable(top, name)?;
    if rustix::fs::fstat(&dir)?.st_dev != rustix::fs::fstat(top)?.st_dev {
        return Err(io::Error::new(io::ErrorKind::CrossesDevices, "another file system is mounted in it"));
    }
    for_each_entry(dir.as_fd(), |entry| {
        if !remove_entry(dir.as_fd(), entry)? {
            // A directory can only be moved by who may write to it.
            open_removable(dir.as_fd(), entry)?;
            rustix::fs::renameat(&dir, entry, top, moved.next())?;
        }
        Ok(())
    })?;
    Ok(rustix::fs::unlinkat(top, name, AtFlags::REMOVEDIR)?)
}

/// Removes a file or an empty directory; false when it is a directory with something in it.
fn remove_entry(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        // Linux says ISDIR, POSIX says PERM.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a directory so that its entries can be listed and removed, whatever its mode was.
fn open_removable(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    make_writable(dir.as_fd())?;
    open_dir(dir.as_fd(), c".")
}

fn make_writable(dir: BorrowedFd<'_>) -> io::Result<()> {
    let mode = Mode::from_raw_mode(rustix::fs::fstat(dir)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        // By way of /proc, as a descriptor that was opened without the right to read has no fchmod.
        rustix::fs::chmod(format!("/proc/self/fd/{}", dir.as_raw_fd()), mode | Mode::RWXU)?;
    }
    Ok(())
}

/// Calls `remove` for every entry, again and again until there is none left.
fn for_each_entry(dir: BorrowedFd<'_>, mut remove: impl FnMut(&CStr) -> io::Result<()>) -> io::Result<()> {
    loop {
        let mut any = false;
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                any = true;
                remove(name)?;
            }
        }
        if !any {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use tempfile::TempDir;

    fn setup() -> (TempDir, PrivateTree) {
        let folder = tempfile::tempdir().unwrap();
        let parent = open_dir(rustix::fs::CWD, &CString::new(folder.path().to_str().unwrap()).unwrap()).unwrap();
        let tree = PrivateTree::create(parent.as_fd(), "tree").unwrap();
        (folder, tree)
    }

    #[test]
    fn is_private_and_removed_when_dropped() {
        let (folder, tree) = setup();
        let path = folder.path().join("tree");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
        fs::create_dir_all(path.join("a/b/c")).unwrap();
        fs::write(path.join("a/b/file"), "x").unwrap();
        drop(tree);
        assert!(!path.exists());
    }

    #[test]
    fn ten_thousand_levels_do_not_overflow_the_stack() {
        let (folder, mut tree) = setup();
        let name = CString::new("d".repeat(200)).unwrap();
        let mut dir = tree.dir().try_clone_to_owned().unwrap();
        for _ in 0..10_000 {
            rustix::fs::mkdirat(&dir, &name, Mode::RWXU).unwrap();
            dir = open_dir(dir.as_fd(), &name).unwrap();
        }
        tree.remove().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn wide_and_nested_trees_go_entirely() {
        let (folder, mut tree) = setup();
        for outer in 0..20 {
            for inner in 0..20 {
                let dir = folder.path().join(format!("tree/{outer}/{inner}/leaf"));
                fs::create_dir_all(&dir).unwrap();
                fs::write(dir.join("file"), "x").unwrap();
            }
        }
        tree.remove().unwrap();
        tree.remove().unwrap();
        assert!(!folder.path().join("tree").exists());
    }

    #[test]
    fn directories_that_forbid_writing_and_reading_are_removed_too() {
        let (folder, mut tree) = setup();
        let locked = folder.path().join("tree/locked");
        fs::create_dir_all(locked.join("inner/leaf")).unwrap();
        fs::set_permissions(locked.join("inner"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
        tree.remove().unwrap();
        assert!(!folder.path().join("tree").exists());
    }

    #[test]
    fn symbolic_links_are_removed_and_not_followed() {
        let (folder, mut tree) = setup();
        fs::create_dir_all(folder.path().join("outside/dir")).unwrap();
        fs::write(folder.path().join("outside/file"), "kept").unwrap();
        symlink(folder.path().join("outside"), folder.path().join("tree/link")).unwrap();
        fs::create_dir(folder.path().join("tree/dir")).unwrap();
        symlink("../../outside", folder.path().join("tree/dir/link")).unwrap();
        tree.remove().unwrap();
        assert!(folder.path().join("outside/dir").exists());
        assert_eq!(fs::read_to_string(folder.path().join("outside/file")).unwrap(), "kept");
    }
}
