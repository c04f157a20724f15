//! Reading blobs that are in the store.

use super::super::{Descriptor, Digest};
use super::ImageStore;
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::fs::{self, File};
use std::io::{self, Read as _};

impl ImageStore {
    /// Whether the blob is here, complete and verified.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when a blob with this digest is here and has another size than `descriptor` says.
    pub fn contains(&self, descriptor: &Descriptor) -> Result<bool> {
        match fs::symlink_metadata(self.blob_path(descriptor.digest)) {
            Ok(metadata) if metadata.is_file() && metadata.len() == descriptor.size => Ok(true),
            Ok(metadata) if metadata.is_file() => {
                let message = format!("the blob has {} bytes, not the {} that are declared", metadata.len(), descriptor.size);
                Err(Error::invalid(message).at(descriptor.digest.to_string()))
            }
            Ok(_) => Err(super::damaged(&self.blob_path(descriptor.digest), "a blob is no regular file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("cannot look for a blob", error).at(descriptor.digest.to_string())),
        }
    }

    /// Opens a blob to be read. Its contents were verified when it came; [`read`](Self::read) verifies them again.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when it is not here.
    pub fn open_blob(&self, descriptor: &Descriptor) -> Result<File> {
        if !self.contains(descriptor)? {
            return Err(missing(descriptor));
        }
        File::open(self.blob_path(descriptor.digest))
            .map_err(|error| Error::io("cannot open a blob", error).at(descriptor.digest.to_string()))
    }

    /// The whole blob, verified again, if it has at most `limit` bytes. Blocking. A blob that was damaged on the disk is removed, so
    /// that the next pull brings it again.
    ///
    /// # Errors
    /// [`Limit`](ErrorKind::Limit) for a longer one, [`NotFound`](ErrorKind::NotFound) when it is not here,
    /// [`Unavailable`](ErrorKind::Unavailable) when it was damaged.
    pub fn read(&self, descriptor: &Descriptor, limit: u64) -> Result<Bytes> {
        descriptor.check_size_below(limit)?;
        let mut file = self.open_blob(descriptor)?;
        let failed = |error| Error::io("cannot read a blob", error).at(descriptor.digest.to_string());
        let mut bytes = Vec::new();
        let size = usize::try_from(descriptor.size).map_err(|_| Error::limit("the blob is larger than memory"))?;
        bytes.try_reserve_exact(size).map_err(|error| failed(error.into()))?;
        file.by_ref().take(descriptor.size).read_to_end(&mut bytes).map_err(failed)?;
        if Digest::of(&bytes) != descriptor.digest {
            let _ = fs::remove_file(self.blob_path(descriptor.digest));
            return Err(Error::new(ErrorKind::Unavailable, "the blob was damaged on the disk, and is removed")
                .at(descriptor.digest.to_string())
                .hint("pull the image again"));
        }
        Ok(bytes.into())
    }
}

fn missing(descriptor: &Descriptor) -> Error {
    Error::not_found("the blob is not in the image store").at(descriptor.digest.to_string()).hint("pull the image again")
}
