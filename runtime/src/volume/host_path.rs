//! `hostPath` volumes: what must be there, and what is made.

use super::{describe, file_type};
use crate::pod::spec::HostPathType;
use crate::{Error, ErrorKind, Result};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Opens what `path` names, without access to its contents, after it was checked against its type.
///
/// A missing path of the type that checks nothing is an error too: Kubernetes leaves it to the container runtime, of which some
/// make a directory and some refuse, and a directory made from a misspelt path helps nobody.
pub(super) fn open(volume: &str, path: &Path, kind: HostPathType) -> Result<OwnedFd> {
    let node =
        match open_node(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_made(kind) => make(path, kind)
                .and_then(|()| open_node(path))
                .map_err(|error| Error::io(format!("cannot make {} for the volume {volume:?}", path.display()), error))?,
            opened => opened.map_err(|error| cannot_open(volume, path, kind, error))?,
        };
    let found = file_type(node.as_fd()).map_err(|error| cannot_open(volume, path, kind, error))?;
    match expected(kind) {
        Some(wanted) if wanted != found => Err(Error::invalid(format!(
            "hostPath type check failed for the volume {volume:?}: {} is not {} but {}",
            path.display(),
            describe(wanted),
            describe(found)
        ))),
        _ => Ok(node),
    }
}

/// The kind of file that a type asks for.
fn expected(kind: HostPathType) -> Option<FileType> {
    match kind {
        HostPathType::Unchecked => None,
        HostPathType::Directory | HostPathType::DirectoryOrCreate => Some(FileType::Directory),
        HostPathType::File | HostPathType::FileOrCreate => Some(FileType::RegularFile),
        HostPathType::Socket => Some(FileType::Socket),
        HostPathType::CharDevice => Some(FileType::CharacterDevice),
        HostPathType::BlockDevice => Some(FileType::BlockDevice),
    }
}

fn is_made(kind: HostPathType) -> bool {
    matches!(kind, HostPathType::DirectoryOrCreate | HostPathType::FileOrCreate)
}

/// As kubelet: a directory with those above it, a file without.
fn make(path: &Path, kind: HostPathType) -> io::Result<()> {
    if kind == HostPathType::DirectoryOrCreate {
        return DirBuilder::new().recursive(true).mode(0o755).create(path);
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o644).open(path) {
        // Somebody else made it meanwhile; what it is gets checked.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

fn open_node(path: &Path) -> io::Result<OwnedFd> {
    loop {
        match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::INTR) => {}
            opened => return Ok(opened?),
        }
    }
}

fn cannot_open(volume: &str, path: &Path, kind: HostPathType, error: io::Error) -> Error {
    if error.kind() != io::ErrorKind::NotFound {
        return Error::io(format!("cannot open {} for the volume {volume:?}", path.display()), error);
    }
    let wanted = expected(kind).map_or("nothing", describe);
    let message = match kind {
        HostPathType::Unchecked => format!("{} does not exist, for the volume {volume:?}", path.display()),
        _ => format!("hostPath type check failed for the volume {volume:?}: {} is not {wanted}, it does not exist", path.display()),
    };
    let error = Error::new(ErrorKind::NotFound, message);
    match kind {
        HostPathType::Unchecked | HostPathType::Directory => error.hint("create it, or write type: DirectoryOrCreate"),
        HostPathType::File => error.hint("create it, or write type: FileOrCreate"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;
    use tempfile::TempDir;

    /// A folder with `dir`, `file`, `socket` and `link` to `dir`.
    fn setup() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("dir")).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        UnixListener::bind(folder.path().join("socket")).unwrap();
        std::os::unix::fs::symlink("dir", folder.path().join("link")).unwrap();
        folder
    }

    fn check(folder: &TempDir, name: &str, kind: HostPathType) -> String {
        match open("v", &folder.path().join(name), kind) {
            Ok(node) => describe(file_type(node.as_fd()).unwrap()).into(),
            Err(error) => error.to_string().replace(&format!("{}/", folder.path().display()), "/"),
        }
    }

    #[test]
    fn each_type_takes_its_own_kind() {
        let folder = setup();
        for (name, kind, found) in [
            ("dir", HostPathType::Directory, "a directory"),
            ("link", HostPathType::Directory, "a directory"),
            ("dir", HostPathType::DirectoryOrCreate, "a directory"),
            ("file", HostPathType::File, "a regular file"),
            ("file", HostPathType::FileOrCreate, "a regular file"),
            ("socket", HostPathType::Socket, "a socket"),
            ("socket", HostPathType::Unchecked, "a socket"),
        ] {
            assert_eq!(check(&folder, name, kind), found, "{kind:?}");
        }
        assert_eq!(
            describe(file_type(open("v", Path::new("/dev/null"), HostPathType::CharDevice).unwrap().as_fd()).unwrap()),
            "a character device"
        );
    }

    #[test]
    fn another_kind_is_named_in_the_error() {
        let folder = setup();
        let failed = "hostPath type check failed for the volume \"v\": ";
        for (name, kind, message) in [
            ("file", HostPathType::Directory, "/file is not a directory but a regular file"),
            ("file", HostPathType::DirectoryOrCreate, "/file is not a directory but a regular file"),
            ("dir", HostPathType::File, "/dir is not a regular file but a directory"),
            ("link", HostPathType::FileOrCreate, "/link is not a regular file but a directory"),
            ("dir", HostPathType::Socket, "/dir is not a socket but a directory"),
            ("file", HostPathType::CharDevice, "/file is not a character device but a regular file"),
            ("file", HostPathType::BlockDevice, "/file is not a block device but a regular file"),
            ("none", HostPathType::Directory, "/none is not a directory, it does not exist"),
            ("none", HostPathType::File, "/none is not a regular file, it does not exist"),
            ("none", HostPathType::Socket, "/none is not a socket, it does not exist"),
        ] {
            assert_eq!(check(&folder, name, kind), format!("{failed}{message}"), "{kind:?}");
        }
        assert_eq!(check(&folder, "none", HostPathType::Unchecked), "/none does not exist, for the volume \"v\"");
        assert!(!folder.path().join("none").exists());
    }

    #[test]
    fn what_is_made_has_kubelets_modes() {
        let folder = setup();
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(check(&folder, "new/deep", HostPathType::DirectoryOrCreate), "a directory");
        assert_eq!(check(&folder, "new.txt", HostPathType::FileOrCreate), "a regular file");
        let umask = mode("dir") ^ 0o777;
        assert_eq!((mode("new/deep"), mode("new.txt")), (0o755 & !umask, 0o644 & !umask));
        assert!(
            check(&folder, "missing/new.txt", HostPathType::FileOrCreate)
                .starts_with("cannot make /missing/new.txt for the volume \"v\"")
        );
    }
}
