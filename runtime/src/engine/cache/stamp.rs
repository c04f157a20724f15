//! Stamps: a note that a big artifact was read once and found whole, so that it need not be read again at every start.
//!
//! Reading and hashing 69 MB takes some 40 ms, mapping it takes 1 ms. Small artifacts are hashed at every load. For a big one the
//! process that hashed it notes the file's identity: device, inode, size, and the times of its last change of content and of
//! anything else. The kernel sets the last of these (`ctime`) at every write and lets nobody choose it, so as long as the identity is
//! the same, so are the bytes, and anything that changes the file or replaces it makes for another full reading. What it does not
//! see is a disk that rots silently; neither does it for any other program on that disk.
//!
//! A file that changed a moment ago gets no stamp: on coarse clocks the next change could bear the same time.

use super::Directory;
use crate::engine::artifact::Digest;
use crate::limits::{CACHE_HASH_ALWAYS_BYTES_MAX, CACHE_STAMP_AGE_MIN};
use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use std::fs::{File, Metadata};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const STAMP_BYTES: usize = 16 + 7 * 8 + 32;

/// The identity of a file, as it is written to disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamp([u8; STAMP_BYTES]);

/// Whether a file is big enough for a stamp to be worth it.
pub(super) fn is_wanted(metadata: &Metadata) -> bool {
    metadata.len() > CACHE_HASH_ALWAYS_BYTES_MAX
}

impl Stamp {
    /// The identity of the file with this metadata.
    pub(super) fn of(metadata: &Metadata) -> Self {
        let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
        let mut fields = b"wasmpod verified".to_vec();
        for number in [metadata.dev(), metadata.ino(), metadata.len()] {
            fields.extend(number.to_le_bytes());
        }
        for number in times {
            fields.extend(number.to_le_bytes());
        }
        let sum = Sha256::digest(&fields);
        let mut bytes = [0; STAMP_BYTES];
        for (byte, value) in bytes.iter_mut().zip(fields.into_iter().chain(sum)) {
            *byte = value;
        }
        Self(bytes)
    }

    /// Whether this very stamp is on disk.
    pub(super) fn is_kept(&self, directory: &Directory, digest: &Digest) -> bool {
        let Ok(Some(file)) = directory.open_ours(&name(digest)) else { return false };
        let mut bytes = [0; STAMP_BYTES];
        file.read_exact_at(&mut bytes, 0).is_ok() && bytes == self.0
    }

    /// Writes the stamp, unless the file changed too recently. A failure only costs time at the next start.
    pub(super) fn keep(&self, directory: &Directory, digest: &Digest, metadata: &Metadata) {
        let changed = u64::try_from(metadata.ctime()).unwrap_or(u64::MAX);
        let settled =
            UNIX_EPOCH.checked_add(Duration::from_secs(changed)).and_then(|changed| changed.checked_add(CACHE_STAMP_AGE_MIN));
        if settled.is_none_or(|settled| settled > SystemTime::now()) {
            return;
        }
        self.write(directory, digest);
    }

    pub(super) fn write(&self, directory: &Directory, digest: &Digest) {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        if let Ok(fd) = rustix::fs::openat(&directory.fd, name(digest), flags, Mode::RUSR | Mode::WUSR) {
            // Torn or mixed with another writer's it is no valid stamp, and counts as none.
            let _ = File::from(fd).write_all(&self.0);
        }
    }
}

fn name(digest: &Digest) -> String {
    format!("{digest}.stamp")
}
