//! Files of a container, by the path at which the container knows them.

use super::super::PodVolumes;
use super::{ContainerFiles, Made, MountedDir, beneath, config_error, explain, is_at_or_below, normalize, private_dir};
use crate::directory::open_dir;
use crate::{Error, Result};
use rustix::fs::{FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

impl ContainerFiles {
    /// Opens a regular file for reading; `None` when there is none at that path, as in files that nobody has looked at yet. Symbolic
    /// links do not lead out of the directory that the path belongs to.
    ///
    /// # Errors
    /// A path that is not absolute or has `..` in it; whatever else the operating system says.
    pub fn open_file(&self, guest_path: &str) -> Result<Option<File>> {
        let path = normalize(guest_path)?;
        let Some((dir, name)) = self.made.get().and_then(|made| made.lookup(&path)) else { return Ok(None) };
        match open_regular(dir, name, OFlags::RDONLY) {
            Ok(file) => Ok(Some(file)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(config_error(format!("cannot open {path} of the container: {}", explain(&error)))),
        }
    }

    /// Gives back what a file takes beyond its last `bytes_kept` bytes, if it takes more than that; its length stays. Does nothing where
    /// there is no regular file.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub fn trim_file(&self, guest_path: &str, bytes_kept: u64) -> Result<()> {
        let path = normalize(guest_path)?;
        let Some((dir, name)) = self.made.get().and_then(|made| made.lookup(&path)) else { return Ok(()) };
        match open_regular(dir, name, OFlags::WRONLY).and_then(|file| trim(&file, bytes_kept)) {
            Err(error) if !is_absent(&error) => Err(Error::io(format!("cannot trim {path} of the container"), error)),
            _ => Ok(()),
        }
    }
}

impl Made {
    /// Makes an empty file that the container can write to, and the folders above it. In a writable volume it is made there, and emptied
    /// if it exists; where a read-only one is mounted, its folder is replaced by one that holds nothing else.
    ///
    /// # Errors
    /// Reason `CreateContainerConfigError`: it cannot be had at that path.
    pub(super) fn make_file(&mut self, volumes: &PodVolumes, guest_path: &str) -> Result<()> {
        let path = normalize(guest_path)?;
        let failed = |error: io::Error| config_error(format!("cannot make the file {path}: {}", explain(&error)));
        let Some((dir, name)) = self.lookup(&path) else { return Err(config_error(format!("{path} cannot be a file"))) };
        if !dir.read_only {
            let (folder, name) = name.rsplit_once('/').unwrap_or(("", name));
            let folder = beneath::make_dirs(dir.as_fd(), folder, Some(0o755)).map_err(failed)?;
            return make_empty(folder.as_fd(), name).map_err(failed);
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if folder == dir.guest_path.trim_end_matches('/') {
            return Err(config_error(format!("cannot make the file {path}: a read-only volume is mounted at {}", dir.guest_path)));
        }
        let tree = private_dir(volumes.directory.open()?, "files").map_err(failed)?;
        make_empty(tree.dir(), name).map_err(failed)?;
        let dir = open_dir(tree.dir(), c".").map_err(failed)?;
        self.dirs.push(MountedDir { dir, read_only: false, foreign: false, guest_path: folder.to_owned() });
        self.single_files.push(tree);
        Ok(())
    }

    /// The directory that a normalized path belongs to, and what is left of the path below it.
    pub(super) fn lookup<'a>(&self, path: &'a str) -> Option<(&MountedDir, &'a str)> {
        let above = self.dirs.iter().filter(|dir| is_at_or_below(path, &dir.guest_path));
        let dir = above.max_by_key(|dir| dir.guest_path.trim_end_matches('/').len())?;
        let name = path.get(dir.guest_path.trim_end_matches('/').len()..)?.trim_start_matches('/');
        (!name.is_empty()).then_some((dir, name))
    }
}

/// Opens what is known to be a regular file: anything else (a pipe, a device) could hold up whoever opens it.
fn open_regular(dir: &MountedDir, name: &str, access: OFlags) -> io::Result<File> {
    let node = beneath::open(dir.as_fd(), name)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&node)?.st_mode) != FileType::RegularFile {
        return Err(io::ErrorKind::NotFound.into());
    }
    let path = format!("/proc/self/fd/{}", node.as_raw_fd());
    let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

fn make_empty(folder: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o666))?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(()),
        _ => Err(io::ErrorKind::AlreadyExists.into()),
    }
}

fn trim(file: &File, bytes_kept: u64) -> io::Result<()> {
    let stat = rustix::fs::fstat(file)?;
    // st_blocks counts units of 512 bytes, whatever the file system's own block is.
    let allocated = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
    let surplus = u64::try_from(stat.st_size).unwrap_or(0).saturating_sub(bytes_kept);
    if allocated <= bytes_kept.saturating_mul(2) || surplus == 0 {
        return Ok(());
    }
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, hole, 0, surplus) {
        // A file system without holes: its end cannot be kept without the rest.
        Err(Errno::OPNOTSUPP) => Ok(rustix::fs::ftruncate(file, 0)?),
        done => Ok(done?),
    }
}

/// Whether there is nothing that could be opened: no entry, a file where a folder should be, a way out.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::CrossesDevices)
}
