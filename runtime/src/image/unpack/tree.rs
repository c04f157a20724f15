//! Files beneath one directory: whatever a layer names, nothing outside of it is touched.
//!
//! Parents are resolved by the kernel with the tree as their root (`openat2`, `RESOLVE_IN_ROOT`), so that a link such as
//! `lib -> /usr/lib`, made by a lower layer, is followed inside the tree. Where the kernel cannot do that, links are not followed at all.
//! The last part of a name is never followed: what is there is removed first.

use crate::directory::{open_dir, remove_contents};
use crate::limits::{PATH_ATTEMPTS_MAX, UNPACKED_DEPTH_MAX};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

/// Directories, whatever the layer says: nobody but their user gets to them through the store.
const DIR_MODE: u32 = 0o755;
/// Opens a directory and nothing else.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The tree. The caller sees to it that nobody else changes it.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    /// How deep the root itself is.
    depth: usize,
}

/// The parts of a directory's path.
type Parts<'a> = &'a [Vec<u8>];

impl Tree {
    /// The tree in a directory.
    pub(super) fn new(root: OwnedFd) -> io::Result<Self> {
        let depth = depth_of(root.as_fd())?;
        rustix::fs::fchmod(&root, Mode::from_raw_mode(0o700))?;
        Ok(Self { root, depth })
    }

    /// Waits until everything is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.root)?)
    }

    /// Removes everything.
    pub(super) fn clear(&self) -> io::Result<()> {
        remove_contents(self.root.as_fd())
    }

    /// Removes everything in a directory, if it is there.
    pub(super) fn clear_dir(&self, dir: Parts<'_>) -> io::Result<()> {
        match self.existing(dir)? {
            Some(dir) => remove_contents(open_dir(dir.as_fd(), c".")?.as_fd()),
            None => Ok(()),
        }
    }

    /// Removes a file, a link or a whole directory, if it is there.
    pub(super) fn remove(&self, parent: Parts<'_>, name: &[u8]) -> io::Result<()> {
        match self.existing(parent)? {
            Some(parent) => remove(parent.as_fd(), &c_string(name)?),
            None => Ok(()),
        }
    }

    /// Makes a directory, unless it is there; in place of whatever else is there.
    pub(super) fn make_dir(&self, parent: Parts<'_>, name: &[u8]) -> io::Result<()> {
        let (parent, name) = (self.parent(parent)?, c_string(name)?);
        match kind_of(parent.as_fd(), &name)? {
            Some(FileType::Directory) => return Ok(()),
            Some(_) => remove(parent.as_fd(), &name)?,
            None => {}
        }
        self.make_one_dir(parent.as_fd(), &name).map(drop)
    }

    /// Makes a regular file in place of whatever is there.
    pub(super) fn make_file(
        &self,
        parent: Parts<'_>,
        name: &[u8],
        executable: bool,
        modified: i64,
        contents: &mut dyn Read,
    ) -> io::Result<()> {
        let (parent, name) = (self.parent(parent)?, c_string(name)?);
        remove(parent.as_fd(), &name)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file: File = rustix::fs::openat(&parent, &name, flags, Mode::RUSR | Mode::WUSR)?.into();
        io::copy(contents, &mut file)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(if executable { 0o755 } else { 0o644 }))?;
        let time = Timespec { tv_sec: modified, tv_nsec: 0 };
        Ok(rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })?)
    }

    /// Makes a symbolic link in place of whatever is there.
    pub(super) fn make_symbolic_link(&self, parent: Parts<'_>, name: &[u8], target: &[u8]) -> io::Result<()> {
        let (parent, name) = (self.parent(parent)?, c_string(name)?);
        remove(parent.as_fd(), &name)?;
        Ok(rustix::fs::symlinkat(c_string(target)?, &parent, &name)?)
    }

    /// Gives a regular file of the tree a further name, in place of whatever is there.
    pub(super) fn make_hard_link(&self, parent: Parts<'_>, name: &[u8], target: Parts<'_>) -> io::Result<()> {
        let (parent, name) = (self.parent(parent)?, c_string(name)?);
        let (last, target) = target.split_last().ok_or(Errno::ISDIR)?;
        let (target, last) = (self.existing(target)?.ok_or(Errno::NOENT)?, c_string(last)?);
        let found = rustix::fs::statat(&target, &last, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a hard link to something other than a file"));
        }
        match rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino) => return Ok(()),
            Ok(_) => remove(parent.as_fd(), &name)?,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(rustix::fs::linkat(&target, &last, &parent, &name, AtFlags::empty())?)
    }

    /// Opens a directory, if it is there.
    fn existing(&self, dir: Parts<'_>) -> io::Result<Option<OwnedFd>> {
        match open_in_root(self.root.as_fd(), &dir.join(&b'/'), OFlags::PATH | OFlags::DIRECTORY) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a directory, and makes what is missing of it.
    fn parent(&self, dir: Parts<'_>) -> io::Result<OwnedFd> {
        match open_in_root(self.root.as_fd(), &dir.join(&b'/'), OFlags::PATH | OFlags::DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let mut current = self.root.try_clone()?;
        for (index, part) in dir.iter().enumerate() {
            let prefix = dir.get(..=index).unwrap_or_default().join(&b'/');
            // Always from the top: a part may be a link to a place higher up.
            current = match open_in_root(self.root.as_fd(), &prefix, OFlags::PATH | OFlags::DIRECTORY) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_one_dir(current.as_fd(), &c_string(part)?)?,
                opened => opened?,
            };
        }
        Ok(current)
    }

    /// Makes a directory where nothing is. Links can make a tree deeper than any one name; what removes trees relies on the limit.
    fn make_one_dir(&self, parent: BorrowedFd<'_>, name: &CString) -> io::Result<OwnedFd> {
        if depth_of(parent)?.saturating_sub(self.depth) >= UNPACKED_DEPTH_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many directories inside each other"));
        }
        rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
        let dir = open_dir(parent, name)?;
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(DIR_MODE))?;
        Ok(dir)
    }
}

/// Opens `path` as if `root` were `/`: absolute links and `..` stay inside.
pub(super) fn open_in_root(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let whole = c_string(if path.is_empty() { b"." } else { path })?;
    for _ in 0..PATH_ATTEMPTS_MAX {
        match rustix::fs::openat2(root, &whole, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::PERM) => return open_without_links(root, path, flags),
            opened => return Ok(opened?),
        }
    }
    open_without_links(root, path, flags)
}

/// The same for kernels and filters without `openat2`: part by part, and a link is an error.
fn open_without_links(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if parts.contains(&b"..".as_slice()) {
        return Err(Errno::XDEV.into());
    }
    let Some((last, parents)) = parts.split_last() else {
        return Ok(rustix::fs::openat(root, c".", flags, Mode::empty())?);
    };
    let mut current = root.try_clone_to_owned()?;
    for part in parents {
        current = rustix::fs::openat(&current, c_string(part)?, OFlags::PATH | DIRECTORY, Mode::empty())?;
    }
    Ok(rustix::fs::openat(&current, c_string(last)?, flags | OFlags::NOFOLLOW, Mode::empty())?)
}

/// How many directories a directory is beneath `/`.
fn depth_of(dir: BorrowedFd<'_>) -> io::Result<usize> {
    let path = rustix::fs::readlink(format!("/proc/self/fd/{}", dir.as_raw_fd()), Vec::new())?;
    Ok(path.as_bytes().split(|byte| *byte == b'/').filter(|part| !part.is_empty()).count())
}

fn kind_of(dir: BorrowedFd<'_>, name: &CString) -> io::Result<Option<FileType>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes what has this name, if anything has; links are not followed.
fn remove(dir: BorrowedFd<'_>, name: &CString) -> io::Result<()> {
    match kind_of(dir, name)? {
        None => Ok(()),
        Some(FileType::Directory) => {
            remove_contents(open_dir(dir, name)?.as_fd())?;
            Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
        }
        Some(_) => Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?),
    }
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    Ok(CString::new(bytes)?)
}
