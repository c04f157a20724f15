//! `fd_readdir`: lists a directory a piece at a time.

use super::errno::Errno;
use super::guest::Guest;
use crate::limits;
use crate::wasi::HasWasi;
use crate::wasi::listing::{self, Entry};
use rustix::fs::FileType;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

/// A directory that a guest has a descriptor for.
#[derive(Clone, Debug)]
pub(super) enum OpenDirectory {
    /// Which of those that it has from the start.
    Preopened(usize),
    /// By `path_open`.
    Opened(Arc<File>),
}

impl<T: HasWasi> Guest<'_, '_, T> {
    /// `fd_readdir`: fills the buffer with entries from `cookie` on, the last one cut off where it ends. A buffer that is not full is the
    /// end of the directory.
    pub(super) async fn fd_readdir(&mut self, fd: u32, buffer: u32, length: u32, cookie: u64, used_out: u32) -> Result<(), Errno> {
        let dir = self.directory(fd)?;
        self.memory().slice(buffer, length)?;
        let own = rustix::fs::fstat(&dir).map_err(|errno| Errno::from(io::Error::from(errno)))?;
        let own = listing::file_number(own.st_dev, own.st_ino);
        let (mut used, mut position) = (0, cookie);
        while used < length {
            let entries = listing::read(dir.as_fd(), position, limits::DIRECTORY_READ_BYTES)?;
            let Some(last) = entries.last() else { break };
            position = last.next;
            let mut memory = self.memory();
            for entry in entries {
                let record = record(&entry, own)?;
                let room = usize::try_from(length - used).map_err(|_| Errno::Inval)?;
                let record = record.get(..room.min(record.len())).unwrap_or_default();
                memory.put(buffer.checked_add(used).ok_or(Errno::Fault)?, record)?;
                used += u32::try_from(record.len()).map_err(|_| Errno::Inval)?;
            }
            // A directory can be long, and the guest may have to end or to let others have their turn.
            tokio::task::yield_now().await;
        }
        self.memory().put_u32(used_out, used)
    }

    /// The directory itself, opened now where nobody has looked at it before.
    fn directory(&mut self, fd: u32) -> Result<OwnedFd, Errno> {
        let state = self.state();
        let dir = match state.descriptors.directory(fd)?.clone() {
            OpenDirectory::Opened(dir) => dir.as_fd().try_clone_to_owned(),
            OpenDirectory::Preopened(index) => {
                let opened = state.directories.open().map_err(|_| Errno::Io)?;
                opened.dir(index).ok_or(Errno::Badf)?.as_fd().try_clone_to_owned()
            }
        };
        dir.map_err(Errno::from)
    }
}

/// A `dirent`: where the next one is, the file's number, the length of its name and its type; then the name.
///
/// Of the directory above no more is told than that it is there: it may be the machine's.
fn record(entry: &Entry, own: u64) -> Result<Vec<u8>, Errno> {
    let name = entry.name.as_bytes();
    if std::str::from_utf8(name).is_err() {
        return Err(Errno::Ilseq);
    }
    let number = if name == b".." { own } else { entry.number };
    let length = u32::try_from(name.len()).map_err(|_| Errno::Inval)?;
    let mut record = Vec::with_capacity(24 + name.len());
    record.extend_from_slice(&entry.next.to_le_bytes());
    record.extend_from_slice(&number.to_le_bytes());
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(&[file_type(entry.kind), 0, 0, 0]);
    record.extend_from_slice(name);
    Ok(record)
}

/// `filetype`.
fn file_type(kind: FileType) -> u8 {
    match kind {
        FileType::BlockDevice => 1,
        FileType::CharacterDevice => 2,
        FileType::Directory => 3,
        FileType::RegularFile => 4,
        FileType::Symlink => 7,
        _ => 0,
    }
}
