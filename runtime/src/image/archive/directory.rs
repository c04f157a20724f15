//! A directory as a layout's files.

use super::layout::Region;
use crate::{Error, ErrorKind, Result};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory that somebody made.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    /// Looks at what is there.
    pub(super) fn open(path: &Path) -> Result<Self> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(Self(path.to_path_buf())),
            Ok(_) => Err(Error::invalid("this is a file, not a directory")
                .at(path.display().to_string())
                .hint("write oci-archive: for a layout in a tar file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::new(ErrorKind::NotFound, "there is no such directory").at(path.display().to_string()))
            }
            Err(error) => Err(Error::io("cannot open the layout", error).at(path.display().to_string())),
        }
    }

    /// Opens one of its files; anything that is no regular file is refused without being waited for.
    pub(super) fn find(&self, name: &str) -> Result<Option<Region>> {
        let path = self.0.join(name);
        let failed = |error| Error::io("cannot open a file of the layout", error).at(path.display().to_string());
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).map_err(|_| Error::internal("open flags out of range"))?;
        let file: File = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Error::invalid("a file of the layout is no regular file").at(path.display().to_string()));
        }
        Ok(Some(Region { file: Arc::new(file), offset: 0, len: metadata.len() }))
    }
}
