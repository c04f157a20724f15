//! Directories that others fill: opened, and emptied whatever is in them.
//!
//! Guests and layers decide how deep and how wide such a tree is, so emptying it neither recurses nor builds paths: a directory that is
//! not empty is moved up beside the first ones and taken apart there. Every step names one entry of an open directory and follows no
//! symbolic link, so nothing outside can be hit.

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Opens the directory `name` of `parent`, which must not be a symbolic link.
pub(crate) fn open_dir(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Removes everything in a directory.
///
/// # Errors
/// What could not be removed, with all that is above it; whatever lies on another file system.
pub(crate) fn remove_contents(top: BorrowedFd<'_>) -> io::Result<()> {
    // No entry can have this name already, short of a guess at random bits.
    let mut moved = Moved { prefix: uuid::Uuid::new_v4().simple().to_string(), count: 0 };
    make_writable(top)?;
    for_each_entry(top, |name| {
        if !remove_entry(top, name)? {
            take_apart(top, name, &mut moved)?;
        }
        Ok(())
    })
}

/// Names for the directories that were moved up.
struct Moved {
    prefix: String,
    count: u64,
}

impl Moved {
    fn next(&mut self) -> String {
        self.count += 1;
        format!("{}-{}", self.prefix, self.count)
    }
}

/// Removes a directory of `top`; the directories in it that are not empty are moved into `top`.
fn take_apart(top: BorrowedFd<'_>, name: &CStr, moved: &mut Moved) -> io::Result<()> {
    let dir = open_removable(top, name)?;
    if rustix::fs::fstat(&dir)?.st_dev != rustix::fs::fstat(top)?.st_dev {
        return Err(io::Error::new(io::ErrorKind::CrossesDevices, "another file system is mounted in it"));
    }
    for_each_entry(dir.as_fd(), |entry| {
        if !remove_entry(dir.as_fd(), entry)? {
            // A directory can only be moved by who may write to it.
            open_removable(dir.as_fd(), entry)?;
            rustix::fs::renameat(&dir, entry, top, moved.next())?;
        }
        Ok(())
    })?;
    Ok(rustix::fs::unlinkat(top, name, AtFlags::REMOVEDIR)?)
}

/// Removes a file or an empty directory; false when it is a directory with something in it.
fn remove_entry(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        // Linux says ISDIR, POSIX says PERM.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a directory so that its entries can be listed and removed, whatever its mode was.
fn open_removable(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    make_writable(dir.as_fd())?;
    open_dir(dir.as_fd(), c".")
}

fn make_writable(dir: BorrowedFd<'_>) -> io::Result<()> {
    let mode = Mode::from_raw_mode(rustix::fs::fstat(dir)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        // By way of /proc, as a descriptor that was opened without the right to read has no fchmod.
        rustix::fs::chmod(format!("/proc/self/fd/{}", dir.as_raw_fd()), mode | Mode::RWXU)?;
    }
    Ok(())
}

/// Calls `remove` for every entry, again and again until there is none left.
fn for_each_entry(dir: BorrowedFd<'_>, mut remove: impl FnMut(&CStr) -> io::Result<()>) -> io::Result<()> {
    loop {
        let mut any = false;
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                any = true;
                remove(name)?;
            }
        }
        if !any {
            return Ok(());
        }
    }
}
