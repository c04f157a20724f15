//! Files of a container, by the path at which the container knows them.

use super::{ContainerFiles, MountedDir, beneath, config_error, explain, is_at_or_below, normalize};
use crate::Result;
use rustix::fs::{FileType, Mode, OFlags};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

impl ContainerFiles {
    /// Opens a regular file for reading; `None` when there is none at that path. Symbolic links do not lead out of the directory that
    /// the path belongs to.
    ///
    /// # Errors
    /// A path that is not absolute or has `..` in it; whatever else the operating system says.
    pub fn open_file(&self, guest_path: &str) -> Result<Option<File>> {
        let path = normalize(guest_path)?;
        let Some((dir, name)) = self.lookup(&path) else { return Ok(None) };
        match open_regular(dir, name) {
            Ok(file) => Ok(Some(file)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(config_error(format!("cannot open {path} of the container: {}", explain(&error)))),
        }
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
fn open_regular(dir: &MountedDir, name: &str) -> io::Result<File> {
    let node = beneath::open(dir.as_fd(), name)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&node)?.st_mode) != FileType::RegularFile {
        return Err(io::ErrorKind::NotFound.into());
    }
    let path = format!("/proc/self/fd/{}", node.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Whether there is nothing that could be opened: no entry, a file where a folder should be, a way out.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::CrossesDevices)
}
