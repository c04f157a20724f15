//! A pod's own place in a folder that others use too: locked as long as the pod lives.
//!
//! A process that is killed leaves its places behind. The next one finds them without a lock, and removes them.

use super::tree::PrivateTree;
use crate::directory::open_dir;
use crate::{Error, Result};
use once_cell::sync::OnceCell;
use rustix::fs::{Dir, Mode, OFlags};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What the directories of pods are called.
const POD_DIRECTORY_PREFIX: &str = "wasmpod-pod-";

/// The directory in which everything is made that a pod needs on disk. Most pods need nothing, so it is made when the first of it is.
#[derive(Debug)]
pub struct PodDirectory(Where);

#[derive(Debug)]
enum Where {
    /// Somebody else's, who made it for this pod alone and removes it.
    Given { path: PathBuf, opened: OnceCell<OwnedFd> },
    /// A place of the pod's own in `parent`, private to its user (0700), removed with all that is in it when this is dropped.
    Own { parent: PathBuf, made: OnceCell<PrivateTree> },
}

impl PodDirectory {
    /// One in `parent`. When it is made, those in there whose processes are gone are removed.
    pub fn in_parent(parent: impl Into<PathBuf>) -> Self {
        Self(Where::Own { parent: parent.into(), made: OnceCell::new() })
    }

    /// The directory `path`, which exists and is this pod's alone.
    pub fn given(path: impl Into<PathBuf>) -> Self {
        Self(Where::Given { path: path.into(), opened: OnceCell::new() })
    }

    /// The directory, made now if nothing was in need of it before.
    ///
    /// # Errors
    /// Reason `FailedMount`: it cannot be made or opened.
    pub(super) fn open(&self) -> Result<BorrowedFd<'_>> {
        match &self.0 {
            Where::Given { path, opened } => {
                opened.get_or_try_init(|| open_folder(path)).map(AsFd::as_fd).map_err(|error| failed(path, error))
            }
            Where::Own { parent, made } => {
                made.get_or_try_init(|| make_in(parent)).map(PrivateTree::dir).map_err(|error| failed(parent, error))
            }
        }
    }

    /// Whether something was in need of it.
    pub(super) fn is_made(&self) -> bool {
        match &self.0 {
            Where::Given { opened, .. } => opened.get().is_some(),
            Where::Own { made, .. } => made.get().is_some(),
        }
    }

    /// Removes it, if it was made here. Dropping does the same, but only logs what cannot be removed.
    ///
    /// # Errors
    /// What could not be removed.
    pub(super) fn remove(self) -> io::Result<()> {
        match self.0 {
            Where::Own { made, .. } => made.into_inner().map_or(Ok(()), |mut tree| tree.remove()),
            Where::Given { .. } => Ok(()),
        }
    }
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::io("cannot make a directory for the pod", error).at(path.display().to_string()).with_reason("FailedMount")
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn make_in(parent: &Path) -> io::Result<PrivateTree> {
    let folder = open_folder(parent)?;
    remove_left_behind(folder.as_fd(), POD_DIRECTORY_PREFIX);
    make(folder.as_fd(), POD_DIRECTORY_PREFIX)
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
    use std::os::fd::AsRawFd as _;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_directory_is_made_when_it_is_needed_is_private_and_goes_with_its_pod() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let directory = PodDirectory::in_parent(folder.path());
        assert_eq!(names(folder.path()), [""; 0]);
        assert_eq!(directory.open().unwrap().as_raw_fd(), directory.open().unwrap().as_raw_fd());
        let [name]: [String; 1] = names(folder.path()).try_into().unwrap();
        fs::write(folder.path().join(&name).join("file"), "x").unwrap();
        assert_eq!(fs::metadata(folder.path().join(&name)).unwrap().permissions().mode() & 0o7777, 0o700);
        directory.remove().unwrap();
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn a_given_directory_stays() {
        let folder = tempfile::tempdir().unwrap();
        let directory = PodDirectory::given(folder.path());
        directory.open().unwrap();
        directory.remove().unwrap();
        assert!(folder.path().is_dir());
        let error = PodDirectory::given(folder.path().join("missing")).open().unwrap_err();
        assert_eq!(error.reason(), Some("FailedMount"));
    }

    #[test]
    fn what_a_killed_process_left_behind_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let living = PodDirectory::in_parent(folder.path());
        living.open().unwrap();
        let [alive]: [String; 1] = names(folder.path()).try_into().unwrap();
        fs::create_dir_all(folder.path().join("wasmpod-pod-dead/volumes/cache")).unwrap();
        fs::create_dir(folder.path().join("wasmpod-test-other")).unwrap();
        fs::write(folder.path().join("wasmpod-pod-file"), "").unwrap();
        let next = PodDirectory::in_parent(folder.path());
        next.open().unwrap();
        let mut left = names(folder.path());
        assert_eq!(left.len(), 4, "{left:?}");
        left.retain(|name| name.starts_with("wasmpod-pod-") && *name != alive && name != "wasmpod-pod-file");
        assert!(matches!(&left[..], [next] if next != "wasmpod-pod-dead"), "{left:?}");
    }
}
