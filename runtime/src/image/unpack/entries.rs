//! The entries of a layer's tar file, one after another.
//!
//! The crate `tar` finds the headers; the extended headers (PAX, GNU long names) are read here, since it would read them into memory
//! whatever their size. An entry whose extended header says another size than its header is refused: readers disagree on where the next
//! header is then, and show different files to whoever looks at the image.

use crate::limits::{UNPACKED_DEPTH_MAX, UNPACKED_ENTRIES_MAX, UNPACKED_EXTENSION_BYTES_MAX, UNPACKED_PATH_BYTES_MAX};
use crate::{Error, Result};
use std::io::Read;
use tar::{Archive, Entry, EntryType, PaxExtensions};

/// A name in the layer: the parts of its path, without `.`, `..` and empty ones. Empty for the root itself.
pub(super) type Name = Vec<Vec<u8>>;

/// What an entry makes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A directory.
    Directory,
    /// A regular file; its contents follow.
    File {
        /// Whether somebody may execute it.
        executable: bool,
        /// Seconds since 1970.
        modified: i64,
    },
    /// A symbolic link with this target, which is not looked at.
    SymbolicLink(Vec<u8>),
    /// A further name for a file that is there already.
    HardLink(Name),
}

/// What came before an entry about it.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

/// Calls `each` for every entry, with its contents to read.
pub(super) fn for_each(
    archive: &mut Archive<impl Read>,
    entries_seen: &mut u64,
    mut each: impl FnMut(Name, Kind, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    let mut extension = Extension::default();
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        *entries_seen += 1;
        if *entries_seen > UNPACKED_ENTRIES_MAX {
            return Err(Error::limit(format!("the image has more than {UNPACKED_ENTRIES_MAX} files")));
        }
        match entry.header().entry_type() {
            EntryType::XGlobalHeader => {}
            EntryType::XHeader => extension.read_pax(&mut entry)?,
            EntryType::GNULongName => extension.path = Some(until_nul(read_extension(&mut entry)?)),
            EntryType::GNULongLink => extension.link = Some(until_nul(read_extension(&mut entry)?)),
            _ => {
                let (name, kind) = understand(&entry, std::mem::take(&mut extension))?;
                each(name, kind, &mut entry)?;
            }
        }
    }
    Ok(())
}

impl Extension {
    fn read_pax(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<()> {
        let bytes = read_extension(entry)?;
        for field in PaxExtensions::new(&bytes) {
            let field = field.map_err(damaged)?;
            let value = field.value_bytes().to_vec();
            match field.key_bytes() {
                b"path" => self.path = Some(value),
                b"linkpath" => self.link = Some(value),
                b"size" => {
                    let size = str::from_utf8(&value).ok().and_then(|size| size.parse().ok());
                    self.size = Some(size.ok_or_else(|| Error::invalid("the layer is damaged: a size is not a number"))?);
                }
                key if key.starts_with(b"GNU.sparse") => return Err(unsupported("a sparse file")),
                // Owners, times to the nanosecond, extended attributes.
                _ => {}
            }
        }
        Ok(())
    }
}

fn understand(entry: &Entry<'_, impl Read>, extension: Extension) -> Result<(Name, Kind)> {
    let header = entry.header();
    if extension.size.is_some_and(|size| size != entry.size()) {
        return Err(Error::invalid("the layer gives a file two sizes, so that readers disagree on what follows it"));
    }
    let path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let link = extension.link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
    let link = || link.filter(|link| !link.is_empty()).ok_or_else(|| Error::invalid("the layer has a link to nothing"));
    let name = name(&path)?;
    let kind = match header.entry_type() {
        EntryType::Directory => Kind::Directory,
        // Before POSIX, directories were files whose names ended in a slash.
        EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File {
            executable: header.mode().map_err(damaged)? & 0o111 != 0,
            modified: header.mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or(0),
        },
        EntryType::Symlink => {
            let target = link()?;
            if target.len() > UNPACKED_PATH_BYTES_MAX {
                return Err(too_long());
            }
            Kind::SymbolicLink(target)
        }
        EntryType::Link => Kind::HardLink(self::name(&link()?)?),
        EntryType::Char | EntryType::Block => return Err(unsupported("a device")),
        EntryType::Fifo => return Err(unsupported("a pipe")),
        EntryType::GNUSparse => return Err(unsupported("a sparse file")),
        other => return Err(unsupported(&format!("an entry of the unknown type {:?}", char::from(other.as_byte())))),
    };
    Ok((name, kind))
}

/// The parts of a path. Absolute ones are meant to start at the root of the image.
fn name(path: &[u8]) -> Result<Name> {
    if path.len() > UNPACKED_PATH_BYTES_MAX {
        return Err(too_long());
    }
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let name: Name = parts.map(<[u8]>::to_vec).collect();
    if name.iter().any(|part| part == b"..") || path.contains(&0) {
        let shown = String::from_utf8_lossy(path).escape_debug().to_string();
        return Err(Error::invalid(format!("the layer has the path {shown}, which leads out of the image")));
    }
    if name.len() > UNPACKED_DEPTH_MAX {
        return Err(Error::limit(format!("the layer has more than {UNPACKED_DEPTH_MAX} directories inside each other")));
    }
    Ok(name)
}

fn read_extension(entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>> {
    if entry.size() > UNPACKED_EXTENSION_BYTES_MAX {
        return Err(Error::limit(format!("the layer has an extended header of {} bytes", entry.size())));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(damaged)?;
    Ok(bytes)
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

fn too_long() -> Error {
    Error::limit(format!("the layer has a path of more than {UNPACKED_PATH_BYTES_MAX} bytes"))
}

fn unsupported(what: &str) -> Error {
    Error::invalid(format!("the layer has {what}, which no WebAssembly program could use"))
        .hint("build the image FROM scratch, with directories, files and links only")
}

fn damaged(error: std::io::Error) -> Error {
    Error::invalid("the layer is damaged").because(error)
}
