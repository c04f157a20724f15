//! A private place on a file system in memory, for secrets and for `medium: Memory`.
//!
//! `/dev/shm` is writable by everyone, so the folder of ours in it is trusted only if it is a directory of this user's that no one
//! else can enter. A pod's place in it is one of [`place`].

use super::place;
use super::tree::PrivateTree;
use crate::directory::open_dir;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Where Linux systems have a file system in memory for all users.
pub(super) const SHARED_MEMORY_DIR: &str = "/dev/shm";

/// `TMPFS_MAGIC` of statfs(2).
const TMPFS_MAGIC: u64 = 0x0102_1994;

const PLACE_PREFIX: &str = "pod-";

/// Makes a pod's place in `shared`; the error says why there is none.
pub(super) fn private_tree(shared: &Path) -> Result<PrivateTree, String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(shared, flags, Mode::empty()).map_err(|errno| format!("{}: {errno}", shared.display()))?;
    let statfs = rustix::fs::fstatfs(&dir).map_err(|errno| format!("{}: {errno}", shared.display()))?;
    if u64::try_from(statfs.f_type).ok() != Some(TMPFS_MAGIC) {
        return Err(format!("{} is not in memory", shared.display()));
    }
    let name = format!("wasmpod-{}", rustix::process::geteuid().as_raw());
    let ours = open_ours(dir.as_fd(), &name).map_err(|why| format!("{}/{name}: {why}", shared.display()))?;
    place::remove_left_behind(ours.as_fd(), PLACE_PREFIX);
    place::make(ours.as_fd(), PLACE_PREFIX).map_err(|error| format!("{}/{name}: {error}", shared.display()))
}

fn open_ours(shared: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, String> {
    match rustix::fs::mkdirat(shared, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.to_string()),
    }
    let name = CString::new(name).map_err(|error| error.to_string())?;
    let dir = open_dir(shared, &name).map_err(|error| error.to_string())?;
    let stat = rustix::fs::fstat(&dir).map_err(|errno| errno.to_string())?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(format!("it belongs to the user {}", stat.st_uid));
    }
    match stat.st_mode & 0o7777 {
        0o700 => Ok(dir),
        mode => Err(format!("it has mode {mode:04o} where it should have 0700")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;
    use tempfile::TempDir;

    /// A stand-in for `/dev/shm`, in memory, and the folder of ours in it; `None` on a machine without any.
    fn setup() -> Option<(TempDir, PathBuf)> {
        let shared = tempfile::tempdir_in(SHARED_MEMORY_DIR).ok()?;
        let ours = shared.path().join(format!("wasmpod-{}", rustix::process::geteuid().as_raw()));
        Some((shared, ours))
    }

    fn places(ours: &Path) -> usize {
        fs::read_dir(ours).unwrap().count()
    }

    #[test]
    fn a_place_is_private_and_goes_with_its_pod() {
        let Some((shared, ours)) = setup() else { return };
        let tree = private_tree(shared.path()).unwrap();
        assert_eq!(fs::metadata(&ours).unwrap().permissions().mode() & 0o7777, 0o700);
        let other = private_tree(shared.path()).unwrap();
        assert_eq!(places(&ours), 2);
        drop((tree, other));
        assert_eq!(places(&ours), 0);
    }

    #[test]
    fn what_a_killed_process_left_behind_is_removed() {
        let Some((shared, ours)) = setup() else { return };
        let alive = private_tree(shared.path()).unwrap();
        fs::create_dir_all(ours.join("pod-dead/volume")).unwrap();
        fs::write(ours.join("pod-dead/volume/secret"), "x").unwrap();
        fs::create_dir(ours.join("new-being-made")).unwrap();
        let next = private_tree(shared.path()).unwrap();
        assert!(!ours.join("pod-dead").exists());
        assert_eq!(places(&ours), 3);
        drop((alive, next));
    }

    #[test]
    fn a_folder_that_others_may_have_prepared_is_not_trusted() {
        let Some((shared, ours)) = setup() else { return };
        fs::create_dir(&ours).unwrap();
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(private_tree(shared.path()).unwrap_err().ends_with("it has mode 0777 where it should have 0700"));
        fs::remove_dir(&ours).unwrap();
        fs::create_dir(shared.path().join("elsewhere")).unwrap();
        symlink("elsewhere", &ours).unwrap();
        assert!(private_tree(shared.path()).is_err());
        assert_eq!(places(&shared.path().join("elsewhere")), 0);
    }

    #[test]
    fn a_disk_is_no_memory() {
        let why = private_tree(Path::new("/proc")).unwrap_err();
        assert_eq!(why, "/proc is not in memory");
    }
}
