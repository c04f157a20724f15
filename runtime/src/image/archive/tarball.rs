//! A tar file as a layout's files: read through once for the names, then at the places where the files are. Nothing is unpacked.

use super::layout::Region;
use crate::limits::{ARCHIVE_ENTRIES_MAX, UNPACKED_EXTENSION_BYTES_MAX, UNPACKED_PATH_BYTES_MAX};
use crate::{Error, ErrorKind, Result};
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use tar::{Archive, EntryType};

/// A tar file and where its files are.
#[derive(Debug)]
pub(super) struct Tarball {
    file: Arc<File>,
    /// Offset and length by name.
    files: HashMap<String, (u64, u64)>,
    /// Links by name: Docker's older archives have some.
    links: HashMap<String, String>,
}

impl Tarball {
    /// Reads the names.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let at = |error: Error| error.at(path.display().to_string());
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).map_err(|_| Error::internal("open flags out of range"))?;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let file = file.map_err(|error| {
            at(match error.kind() {
                io::ErrorKind::NotFound => Error::new(ErrorKind::NotFound, "there is no such archive"),
                _ => Error::io("cannot open the archive", error),
            })
        })?;
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Err(at(Error::invalid("the archive is no regular file")));
        }
        refuse_compressed(&file).map_err(at)?;
        Self::scan(file).map_err(at)
    }

    fn scan(file: File) -> Result<Self> {
        let damaged = |error: io::Error| Error::invalid("this is no tar file, or a damaged one").because(error);
        let file = Arc::new(file);
        let (mut files, mut links) = (HashMap::new(), HashMap::new());
        let mut archive = Archive::new(&*file);
        let mut long_name = None;
        for (seen, entry) in archive.entries_with_seek().map_err(damaged)?.raw(true).enumerate() {
            if seen >= ARCHIVE_ENTRIES_MAX {
                return Err(Error::limit(format!("the archive has more than {ARCHIVE_ENTRIES_MAX} files")));
            }
            let mut entry = entry.map_err(damaged)?;
            let kind = entry.header().entry_type();
            match kind {
                EntryType::XHeader | EntryType::GNULongName if entry.size() <= UNPACKED_EXTENSION_BYTES_MAX => {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes).map_err(damaged)?;
                    long_name = name_in(kind, &bytes)?.or(long_name);
                    continue;
                }
                EntryType::XGlobalHeader | EntryType::XHeader | EntryType::GNULongName | EntryType::GNULongLink => continue,
                _ => {}
            }
            let name = long_name.take().unwrap_or_else(|| entry.header().path_bytes().into_owned());
            let Some(name) = plain(&name) else { continue };
            let position = (entry.raw_file_position(), entry.size());
            match (kind, entry.header().link_name_bytes()) {
                (EntryType::Regular | EntryType::Continuous, _) => drop(files.insert(name, position)),
                (EntryType::Symlink, Some(target)) => {
                    if let Some(target) = beside(&name, &target) {
                        links.insert(name, target);
                    }
                }
                (EntryType::Link, Some(target)) => {
                    if let Some(target) = plain(&target) {
                        links.insert(name, target);
                    }
                }
                _ => {}
            }
        }
        Ok(Self { file, files, links })
    }

    /// Where a file is, if it is there; through one link.
    pub(super) fn find(&self, name: &str) -> Option<Region> {
        let place = self.files.get(name).or_else(|| self.files.get(self.links.get(name)?));
        place.map(|(offset, len)| Region { file: Arc::clone(&self.file), offset: *offset, len: *len })
    }
}

/// The name that an extended header gives the next entry. A size would move the entries behind it.
fn name_in(kind: EntryType, bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    if kind == EntryType::GNULongName {
        return Ok(bytes.split(|byte| *byte == 0).next().map(<[u8]>::to_vec));
    }
    let mut name = None;
    for field in tar::PaxExtensions::new(bytes) {
        let field = field.map_err(|error| Error::invalid("the archive is damaged").because(error))?;
        match field.key_bytes() {
            b"path" => name = Some(field.value_bytes().to_vec()),
            b"size" => return Err(Error::invalid("the archive has files of 8 GiB or more, or means to mislead")),
            _ => {}
        }
    }
    Ok(name)
}

/// A name without `./`; none where it leads out of the archive, or is no text.
fn plain(name: &[u8]) -> Option<String> {
    let name = str::from_utf8(name).ok().filter(|name| name.len() <= UNPACKED_PATH_BYTES_MAX)?;
    let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    (!parts.contains(&"..")).then(|| parts.join("/"))
}

/// What a symbolic link in the archive means, from the root of the archive.
fn beside(name: &str, target: &[u8]) -> Option<String> {
    let target = str::from_utf8(target).ok().filter(|target| target.len() <= UNPACKED_PATH_BYTES_MAX)?;
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match part {
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn refuse_compressed(file: &File) -> Result<()> {
    let mut start = [0; 4];
    let read = file.read_at(&mut start, 0).map_err(|error| Error::io("cannot read the archive", error))?;
    let with = match start.get(..read).unwrap_or_default() {
        [0x1f, 0x8b, ..] => "gunzip",
        [0x28, 0xb5, 0x2f, 0xfd] => "unzstd",
        _ => return Ok(()),
    };
    Err(Error::invalid("the archive is compressed").hint(format!("decompress it first, with {with}")))
}
