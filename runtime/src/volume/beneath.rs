//! Paths that are resolved beneath a directory: no `..`, no absolute path and no symbolic link, however often it is exchanged,
//! leads out.
//!
//! The kernel does it where it can (`openat2`, Linux 5.6); where it cannot, or where a seccomp filter forbids it, cap-std walks
//! the path itself.

use crate::directory::open_dir;
use crate::limits::PATH_ATTEMPTS_MAX;
use cap_std::fs::{OpenOptions, OpenOptionsExt};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Opens whatever `path` names beneath `dir`, without access to its contents.
///
/// # Errors
/// [`CrossesDevices`](io::ErrorKind::CrossesDevices) when it leads out of `dir`, otherwise what the operating system says.
pub(super) fn open(dir: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..PATH_ATTEMPTS_MAX {
        match rustix::fs::openat2(dir, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::PERM) => return open_by_walking(dir, path),
            opened => return Ok(opened?),
        }
    }
    open_by_walking(dir, path)
}

fn open_by_walking(dir: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    let dir = cap_std::fs::Dir::from_std_file(File::from(dir.try_clone_to_owned()?));
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let mut options = OpenOptions::new();
    // A pipe must not be waited for.
    options.read(true).custom_flags(nonblocking);
    match dir.open_with(path, &options) {
        Ok(file) => Ok(file.into_std().into()),
        // What cap-std answers to a path that leads out comes from no system call.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none() => Err(Errno::XDEV.into()),
        Err(error) => Err(error),
    }
}

/// Opens the directory `path` beneath `dir` and makes what is missing of it, with `mode` or, without one, with the mode of `dir`.
///
/// # Errors
/// As for [`open`]; [`AlreadyExists`](io::ErrorKind::AlreadyExists) where a symbolic link leads nowhere.
pub(super) fn make_dirs(dir: BorrowedFd<'_>, path: &str, mode: Option<u32>) -> io::Result<OwnedFd> {
    let mode = match mode {
        Some(mode) => mode,
        None => rustix::fs::fstat(dir)?.st_mode & 0o777,
    };
    if path.starts_with('/') {
        return Err(Errno::XDEV.into());
    }
    let mut prefix = String::new();
    let mut current = dir.try_clone_to_owned()?;
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part == ".." {
            return Err(Errno::XDEV.into());
        }
        prefix.push_str(part);
        // Always from the top: a part may be a symbolic link to a place higher up.
        current = match open(dir, &prefix) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_one(current.as_fd(), part, mode)?,
            opened => opened?,
        };
        prefix.push('/');
    }
    Ok(current)
}

/// As [`super::tree::make_dir`], but content when another made it in the meantime.
fn make_one(parent: BorrowedFd<'_>, name: &str, mode: u32) -> io::Result<OwnedFd> {
    let name = CString::new(name)?;
    let made = rustix::fs::mkdirat(parent, &name, Mode::RWXU);
    match (made, open_dir(parent, &name)) {
        (Ok(()), Ok(dir)) => {
            rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode))?;
            Ok(dir)
        }
        (Err(Errno::EXIST) | Ok(()), opened) => opened,
        (Err(errno), _) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;
    use tempfile::TempDir;

    /// `outside/secret` beside `volume/{file,dir/file}`; `volume` opened.
    fn setup() -> (TempDir, OwnedFd) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("outside")).unwrap();
        fs::write(folder.path().join("outside/secret"), "").unwrap();
        fs::create_dir_all(folder.path().join("volume/dir")).unwrap();
        fs::write(folder.path().join("volume/file"), "").unwrap();
        fs::write(folder.path().join("volume/dir/file"), "").unwrap();
        let dir = File::open(folder.path().join("volume")).unwrap().into();
        (folder, dir)
    }

    fn inode(path: impl AsRef<Path>) -> u64 {
        fs::metadata(path).unwrap().ino()
    }

    /// Both ways of opening.
    fn both(dir: &OwnedFd, path: &str) -> [io::Result<u64>; 2] {
        [open(dir.as_fd(), path), open_by_walking(dir.as_fd(), path)].map(|opened| Ok(rustix::fs::fstat(opened?)?.st_ino))
    }

    #[test]
    fn finds_files_directories_and_links_that_stay_inside() {
        let (folder, dir) = setup();
        let volume = folder.path().join("volume");
        symlink("dir", volume.join("link")).unwrap();
        symlink("../file", volume.join("dir/up")).unwrap();
        for (path, target) in
            [("file", "file"), ("dir", "dir"), ("dir/file", "dir/file"), ("link/file", "dir/file"), ("dir/up", "file")]
        {
            for found in both(&dir, path) {
                assert_eq!(found.unwrap(), inode(volume.join(target)), "{path}");
            }
        }
    }

    #[test]
    fn refuses_everything_that_leads_out() {
        let (folder, dir) = setup();
        let volume = folder.path().join("volume");
        symlink("../outside", volume.join("relative")).unwrap();
        symlink("../outside/", volume.join("trailing")).unwrap();
        symlink(folder.path().join("outside"), volume.join("absolute")).unwrap();
        symlink("/proc/self/cwd", volume.join("magic")).unwrap();
        symlink("absolute", volume.join("chain")).unwrap();
        for path in [
            "..",
            "../outside",
            "/etc",
            "dir/../../outside",
            "relative",
            "relative/secret",
            "trailing",
            "absolute",
            "magic",
            "chain/secret",
        ] {
            for found in both(&dir, path) {
                assert_eq!(found.unwrap_err().kind(), io::ErrorKind::CrossesDevices, "{path}");
            }
            assert!(make_dirs(dir.as_fd(), path, None).is_err(), "{path}");
        }
        assert_eq!(fs::read_dir(folder.path().join("outside")).unwrap().count(), 1);
    }

    #[test]
    fn a_loop_and_a_nul_are_errors() {
        let (folder, dir) = setup();
        symlink("loop", folder.path().join("volume/loop")).unwrap();
        for path in ["loop", "a\0b"] {
            for found in both(&dir, path) {
                assert!(found.is_err(), "{path:?}");
            }
        }
    }

    #[test]
    fn makes_what_is_missing_with_the_mode_of_the_volume() {
        let (folder, dir) = setup();
        let volume = folder.path().join("volume");
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).unwrap();
        symlink("dir", volume.join("link")).unwrap();
        let made = make_dirs(dir.as_fd(), "link/new//./deep", None).unwrap();
        assert_eq!(rustix::fs::fstat(made).unwrap().st_ino, inode(volume.join("dir/new/deep")));
        assert_eq!(fs::metadata(volume.join("dir/new")).unwrap().permissions().mode() & 0o7777, 0o777);
    }

    #[test]
    fn a_link_to_nowhere_is_not_made_into_a_directory() {
        let (folder, dir) = setup();
        symlink("missing", folder.path().join("volume/dangling")).unwrap();
        assert!(make_dirs(dir.as_fd(), "dangling", None).is_err());
        assert!(make_dirs(dir.as_fd(), "file/below", None).is_err());
        assert!(!folder.path().join("volume/missing").exists());
    }
}
