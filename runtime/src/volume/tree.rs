//! Directories that we make and remove again with everything that guests put into them.

use crate::directory::{open_dir, remove_contents};
use rustix::fs::{AtFlags, FlockOperation, Mode};
use rustix::io::Errno;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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

/// Makes and opens the directory `name` in `parent`, with exactly `mode` whatever the umask; it must not exist.
pub(super) fn make_dir(parent: BorrowedFd<'_>, name: &str, mode: u32) -> io::Result<OwnedFd> {
    let name = CString::new(name)?;
    rustix::fs::mkdirat(parent, &name, Mode::RWXU)?;
    let dir = open_dir(parent, &name)?;
    rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode))?;
    Ok(dir)
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
