//! Root file systems: the layers of an ordinary image, unpacked once into the store, read-only from then on.

use super::ImageStore;
use super::format::{Contents, Image};
use crate::Result;
use bytes::Bytes;
use std::path::{Path, PathBuf};

/// The root file system of an image, on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootFileSystem {
    path: PathBuf,
}

impl RootFileSystem {
    /// The directory; nobody may write to it.
    pub fn path(&self) -> &Path {
        &self.path
    }
    pub(super) fn read_program(&self, _program: &str, _working_dir: Option<&str>) -> Result<Bytes> {
        Ok(Bytes::new())
    }
}

impl Image {
    /// The root file system of an ordinary image, unpacked now if it was not yet; `None` for an image without files. Blocking.
    ///
    /// # Errors
    /// To be.
    pub fn root_file_system(&self, _store: &ImageStore) -> Result<Option<RootFileSystem>> {
        let Contents::RootFileSystem(_layers) = &self.contents else { return Ok(None) };
        Ok(None)
    }
}
