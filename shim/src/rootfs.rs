//! The root file system of a container: what the snapshotter gives, with the bundle's mounts in it.
//!
//! The kernel puts it together, in the server's own mount namespace, as a Linux runtime would have it. The guest gets one open
//! directory, in which read-only mounts are read-only because the kernel says so. An image may hold hostile links, so every path
//! inside is resolved as if the root file system were the root.

use crate::bundle::{MountPlan, MountSource, Plan};
use crate::limits::MOUNT_OPTIONS_BYTES_MAX;
use containerd_shim_protos::api::Mount;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use wasmpod::{Error, Result};

/// A root file system that is put together; taken apart when it is dropped.
#[derive(Debug)]
pub(crate) struct RootFs {
    path: PathBuf,
    mounted: bool,
}

impl RootFs {
    /// Mounts what the snapshotter asks for at the bundle's root, then the plan's mounts inside.
    ///
    /// # Errors
    /// Reason `CreateContainerError`: a mount that the kernel refuses, a source that is missing.
    pub(crate) fn prepare(plan: &Plan, mounts: &[Mount]) -> Result<Self> {
        let root = Self::assemble(plan, mounts);
        root.map_err(|error| error.with_reason("CreateContainerError"))
    }

    fn assemble(plan: &Plan, mounts: &[Mount]) -> Result<Self> {
        let path = plan.root.clone();
        std::fs::create_dir_all(&path)
            .map_err(|error| Error::io("cannot make the root directory", error).at(path.display().to_string()))?;
        let mut root = Self { path, mounted: false };
        for mount in mounts {
            mount_layer(mount, &root.path)?;
            root.mounted = true;
        }
        if !root.mounted {
            // Something that mounts can hang on, and that can be made read-only without a word to others.
            rustix::mount::mount_bind_recursive(&root.path, &root.path).map_err(|errno| failed(&root.path, errno))?;
            root.mounted = true;
        }
        let dir = open(&root.path)?;
        for mount in &plan.mounts {
            place(dir.as_fd(), mount).map_err(|error| error.within(&format!("mount {}", mount.destination.display())))?;
        }
        if plan.root_read_only {
            make_read_only(&root.path).map_err(|errno| failed(&root.path, errno))?;
        }
        Ok(root)
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file by the path that it has in the container.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn open_file(&self, path: &Path) -> Result<std::fs::File> {
        let dir = open(&self.path)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat2(&dir, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS);
        file.map(std::fs::File::from).map_err(|errno| Error::io("cannot open it", errno.into()).at(path.display().to_string()))
    }
}

impl Drop for RootFs {
    fn drop(&mut self) {
        if self.mounted
            && let Err(errno) = rustix::mount::unmount(&self.path, UnmountFlags::DETACH)
        {
            tracing::warn!(%errno, path = %self.path.display(), "a root file system could not be unmounted");
        }
    }
}

fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(path, errno))
}

fn failed(path: &Path, errno: Errno) -> Error {
    Error::io("cannot mount the root file system", errno.into()).at(path.display().to_string())
}

/// One of the snapshotter's mounts: an overlay, or a bind mount of a single layer.
fn mount_layer(mount: &Mount, root: &Path) -> Result<()> {
    let target = root.join(relative(Path::new(&mount.target)));
    let failed = |errno: Errno| {
        let what = format!("cannot mount the root file system ({} from {})", mount.type_, mount.source);
        Error::io(what, errno.into()).at(target.display().to_string())
    };
    let (flags, data) = options(&mount.options);
    if mount.type_ == "bind" || flags.contains(MountFlags::BIND) {
        rustix::mount::mount_bind_recursive(&mount.source, &target).map_err(failed)?;
        if flags.contains(MountFlags::RDONLY) {
            make_read_only(&target).map_err(failed)?;
        }
        return Ok(());
    }
    if data.len() > MOUNT_OPTIONS_BYTES_MAX {
        return Err(Error::limit("the image has more layers than one mount can name").hint("build it with fewer layers"));
    }
    let data = CString::new(data).map_err(|_| Error::invalid("a mount option contains a NUL character"))?;
    rustix::mount::mount(&mount.source, &target, &mount.type_, flags, Some(data.as_c_str())).map_err(failed)
}

/// mount(8)'s options as mount(2) has them: flags, and the rest for the file system.
fn options(options: &[String]) -> (MountFlags, String) {
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for option in options {
        match option.as_str() {
            "ro" => flags |= MountFlags::RDONLY,
            "bind" | "rbind" => flags |= MountFlags::BIND,
            "nosuid" => flags |= MountFlags::NOSUID,
            "nodev" => flags |= MountFlags::NODEV,
            "noexec" => flags |= MountFlags::NOEXEC,
            "sync" => flags |= MountFlags::SYNCHRONOUS,
            "dirsync" => flags |= MountFlags::DIRSYNC,
            "noatime" => flags |= MountFlags::NOATIME,
            "nodiratime" => flags |= MountFlags::NODIRATIME,
            "relatime" => flags |= MountFlags::RELATIME,
            "strictatime" => flags |= MountFlags::STRICTATIME,
            "rw" | "suid" | "dev" | "exec" | "async" | "atime" | "diratime" | "norelatime" | "defaults" => {}
            "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" | "unbindable" | "runbindable" => {}
            other => data.push(other),
        }
    }
    (flags, data.join(","))
}

/// Mounts inside the root file system that `root` is.
fn place(root: BorrowedFd<'_>, mount: &MountPlan) -> Result<()> {
    let failed = |errno: Errno| Error::io("cannot mount it", errno.into());
    match &mount.source {
        MountSource::Tmpfs(given) => {
            let target = resolve(root, &mount.destination, true).map_err(failed)?;
            let (mut flags, data) = options(given);
            flags.set(MountFlags::RDONLY, mount.read_only);
            let data = CString::new(data).map_err(|_| Error::invalid("a mount option contains a NUL character"))?;
            rustix::mount::mount("tmpfs", through(&target), "tmpfs", flags, Some(data.as_c_str())).map_err(failed)
        }
        MountSource::Bind { path, recursive } => {
            let source = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            let source =
                source.map_err(|errno| Error::io("cannot open the source", errno.into()).at(path.display().to_string()))?;
            let is_dir = FileType::from_raw_mode(rustix::fs::fstat(&source).map_err(failed)?.st_mode) == FileType::Directory;
            let target = resolve(root, &mount.destination, is_dir).map_err(failed)?;
            let bound = match recursive {
                true => rustix::mount::mount_bind_recursive(through(&source), through(&target)),
                false => rustix::mount::mount_bind(through(&source), through(&target)),
            };
            bound.map_err(failed)?;
            if mount.read_only {
                // The descriptor still leads to what lies under the mount.
                let mounted = resolve(root, &mount.destination, is_dir).map_err(failed)?;
                make_read_only(Path::new(&through(&mounted))).map_err(failed)?;
            }
            Ok(())
        }
    }
}

fn make_read_only(target: &Path) -> rustix::io::Result<()> {
    rustix::mount::mount_remount(target, MountFlags::BIND | MountFlags::RDONLY, "")
}

/// A path that leads to what is open already.
fn through(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Opens the place for a mount inside `root`, and makes it where it is missing, with every folder above it.
fn resolve(root: BorrowedFd<'_>, path: &Path, is_dir: bool) -> rustix::io::Result<OwnedFd> {
    let path = relative(path);
    let mut reached = PathBuf::new();
    let mut parts = path.components().peekable();
    let mut dir = rustix::fs::openat(root, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    while let Some(part) = parts.next() {
        reached.push(part);
        let is_last = parts.peek().is_none();
        dir = match in_root(root, &reached) {
            Err(Errno::NOENT) => {
                make(dir.as_fd(), part, is_dir || !is_last)?;
                in_root(root, &reached)?
            }
            opened => opened?,
        };
    }
    Ok(dir)
}

fn in_root(root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

fn make(parent: BorrowedFd<'_>, name: Component<'_>, is_dir: bool) -> rustix::io::Result<()> {
    let name = name.as_os_str();
    if is_dir {
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))
    } else {
        // A regular file without contents: what is mounted hides it.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
    }
}

/// The path without its root, `.` and `..`.
fn relative(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// Whether a file or folder is there, for tests of what was made.
#[cfg(test)]
fn exists(root: BorrowedFd<'_>, path: &str) -> bool {
    rustix::fs::statat(root, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn options_become_flags_and_the_rest_goes_to_the_file_system() {
        let given = ["ro", "nosuid", "lowerdir=/a:/b", "index=off"].map(str::to_owned);
        let (flags, data) = options(&given);
        assert_eq!((flags, data.as_str()), (MountFlags::RDONLY | MountFlags::NOSUID, "lowerdir=/a:/b,index=off"));
    }

    #[test]
    fn places_for_mounts_are_made_and_no_link_leads_out() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), folder.path().join("etc")).unwrap();
        symlink("/var/data", folder.path().join("data")).unwrap();
        std::fs::create_dir_all(folder.path().join("var/data")).unwrap();
        let root = open(folder.path()).unwrap();
        resolve(root.as_fd(), Path::new("/a/b/file"), false).unwrap();
        resolve(root.as_fd(), Path::new("/data/deep"), true).unwrap();
        assert!(exists(root.as_fd(), "a/b/file") && exists(root.as_fd(), "var/data/deep"));
        assert!(resolve(root.as_fd(), Path::new("/etc/hosts"), false).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
