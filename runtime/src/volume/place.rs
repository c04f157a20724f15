//! A pod's own place in a folder that others use too: locked as long as the pod lives.
//!
//! A process that is killed leaves its places behind. The next one finds them without a lock, and removes them.

use super::tree::PrivateTree;
use crate::directory::open_dir;
use crate::{Error, Result};
use rustix::fs::{Dir, Mode, OFlags};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

/// What the directories of pods are called.
const POD_DIRECTORY_PREFIX: &str = "wasmpod-pod-";

/// A pod's own directory, private to its user (0700), removed with all that is in it when this is dropped.
#[derive(Debug)]
pub struct PodDirectory {
    tree: PrivateTree,
    path: PathBuf,
}

impl PodDirectory {
    /// Makes one in `parent`, and removes those in it whose processes are gone.
    ///
    /// # Errors
    /// Reason `FailedMount`: it cannot be made there.
    pub fn create(parent: &Path) -> Result<Self> {
        let failed = |error: io::Error| {
            Error::io("cannot make a directory for the pod", error).at(parent.display().to_string()).with_reason("FailedMount")
        };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(parent, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        remove_left_behind(folder.as_fd(), POD_DIRECTORY_PREFIX);
        let tree = make(folder.as_fd(), POD_DIRECTORY_PREFIX).map_err(failed)?;
        let path = parent.join(tree.name());
        Ok(Self { tree, path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it. Dropping does the same, but only logs what cannot be removed.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn remove(mut self) -> Result<()> {
        self.tree.remove().map_err(|error| Error::io("cannot remove the pod's directory", error))
    }
}

/// A place gets its final name once it is locked, so that no one takes it for left behind.
pub(super) fn make(folder: BorrowedFd<'_>, prefix: &str) -> io::Result<PrivateTree> {
    let id = uuid::Uuid::new_v4().simple();
    let mut tree = PrivateTree::create(folder, &format!(".new-{prefix}{id}"))?;
    tree.try_lock()?;
    tree.rename(&format!("{prefix}{id}"))?;
    Ok(tree)
}

/// Removes this user's places without a lock. What cannot be removed stays for the next one to try: it stands in nobody's way.
pub(super) fn remove_left_behind(folder: BorrowedFd<'_>, prefix: &str) {
    let entries = Dir::read_from(folder).into_iter().flatten().flatten();
    let names: Vec<CString> =
        entries.map(|entry| entry.file_name().to_owned()).filter(|name| name.to_bytes().starts_with(prefix.as_bytes())).collect();
    for name in names {
        let Ok(text) = name.to_str() else { continue };
        let Ok(place) = open_dir(folder, &name).and_then(|dir| PrivateTree::adopt(folder, text, dir)) else { continue };
        match is_ours(&place).and_then(|ours| Ok(ours && place.try_lock()?)) {
            Ok(true) => drop(place),
            Ok(false) | Err(_) => place.forget(),
        }
    }
}

/// In a folder such as `/tmp` anybody can make something of that name.
fn is_ours(place: &PrivateTree) -> io::Result<bool> {
    Ok(rustix::fs::fstat(place.dir())?.st_uid == rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_directory_is_private_and_goes_with_its_pod() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let directory = PodDirectory::create(folder.path()).unwrap();
        fs::write(directory.path().join("file"), "x").unwrap();
        assert_eq!(fs::metadata(directory.path()).unwrap().permissions().mode() & 0o7777, 0o700);
        directory.remove().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_process_left_behind_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let alive = PodDirectory::create(folder.path()).unwrap();
        fs::create_dir_all(folder.path().join("wasmpod-pod-dead/volumes/cache")).unwrap();
        fs::create_dir(folder.path().join("wasmpod-test-other")).unwrap();
        fs::write(folder.path().join("wasmpod-pod-file"), "").unwrap();
        let next = PodDirectory::create(folder.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        let mut expected = ["wasmpod-pod-file", "wasmpod-test-other"].map(|name| folder.path().join(name)).to_vec();
        expected.extend([alive.path().to_owned(), next.path().to_owned()]);
        left.sort();
        expected.sort();
        assert_eq!(left, expected);
    }
}
