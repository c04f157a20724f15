//! Reading an image's bytes.

use super::ImageReference;
use crate::limits::{IMAGE_BYTES_MAX, IMAGE_FOLDER_ENTRIES_MAX, IMAGE_FOLDER_NAMES_LISTED_MAX};
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// An image's bytes and where they are from.
#[derive(Clone)]
pub struct ImageContents {
    /// All of them; a clone shares them.
    pub bytes: Bytes,
    /// The file that they were read from.
    pub path: PathBuf,
}

impl std::fmt::Debug for ImageContents {
    /// The number of bytes in place of the bytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let len = self.bytes.len();
        f.debug_struct("ImageContents").field("len", &len).field("path", &self.path).finish()
    }
}

/// Reads an image. It reads a whole file: call it where blocking is allowed.
///
/// # Errors
/// Reason `ErrImagePull`, at the file: it is missing, no regular file (a pipe or a device is not waited for), empty, longer than
/// [`IMAGE_BYTES_MAX`] or cannot be read.
pub fn load(reference: &ImageReference) -> Result<ImageContents> {
    let ImageReference::File(path) = reference else {
        return Err(Error::invalid("the image is not a file").at(reference.to_string()).with_reason("ErrImagePull"));
    };
    let bytes = read(path).map_err(|error| error.at(path.display().to_string()).with_reason("ErrImagePull"))?;
    Ok(ImageContents { bytes: bytes.into(), path: path.clone() })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    // Looked at before it is opened: to open a device can do things. Looked at again once open: it may have been exchanged.
    check(path, fs::metadata(path).map_err(|error| cannot_read(path, error))?.file_type())?;
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(|_| Error::internal("open flags out of range"))?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| cannot_read(path, error))?;
    let metadata = file.metadata().map_err(|error| cannot_read(path, error))?;
    check(path, metadata.file_type())?;
    if metadata.len() > IMAGE_BYTES_MAX {
        return Err(too_large());
    }
    let bytes = read_all(&file, metadata.len()).map_err(|error| cannot_read(path, error))?;
    match bytes.len() {
        0 => Err(Error::invalid("the image is an empty file").hint("was the build that makes it interrupted?")),
        // It grew while it was read.
        len if len as u64 > IMAGE_BYTES_MAX => Err(too_large()),
        _ => Ok(bytes),
    }
}

fn read_all(file: &File, expected: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(expected).unwrap_or(usize::MAX).saturating_add(1))?;
    file.take(IMAGE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check(path: &Path, found: FileType) -> Result<()> {
    if found.is_file() {
        return Ok(());
    }
    if found.is_dir() {
        let error = Error::invalid("the image is a folder, not a file");
        return Err(match wasm_files(path).as_slice() {
            [] => error.hint("name a .wasm file"),
            names => error.hint(format!("in it {} {}", if names.len() == 1 { "is" } else { "are" }, names.join(", "))),
        });
    }
    let what = match found {
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "of an unknown kind",
    };
    Err(Error::invalid(format!("the image is {what}, not a regular file")))
}

fn too_large() -> Error {
    Error::limit(format!("the image is larger than {} MiB", IMAGE_BYTES_MAX >> 20))
}

fn cannot_read(path: &Path, error: io::Error) -> Error {
    if error.kind() != io::ErrorKind::NotFound {
        return Error::io("cannot read the image", error);
    }
    let missing = Error::new(ErrorKind::NotFound, "there is no such image file").because(error);
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return missing,
    };
    if !folder.is_dir() {
        return missing.hint(format!("the folder {} does not exist either", folder.display()));
    }
    let wanted = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match (near_names(folder, &wanted).as_slice(), wasm_files(folder).as_slice()) {
        ([], []) => missing.hint("has it been built?"),
        ([], names) => missing.hint(format!("the WebAssembly files there: {}", names.join(", "))),
        (names, _) => missing.hint(format!("did you mean {}?", names.join(" or "))),
    }
}

/// The first names in `folder` that `pick` likes, in order; looks at a bounded number of entries.
fn names(folder: &Path, pick: impl Fn(&str) -> bool) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().take(IMAGE_FOLDER_ENTRIES_MAX).flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| pick(name)).collect();
    names.sort_unstable();
    names.truncate(IMAGE_FOLDER_NAMES_LISTED_MAX);
    names
}

fn wasm_files(folder: &Path) -> Vec<String> {
    names(folder, |name| name.ends_with(".wasm") || name.ends_with(".wat"))
}

/// Names that someone who typed `wanted` may have meant: another case, a letter or two off, another ending.
fn near_names(folder: &Path, wanted: &str) -> Vec<String> {
    let stem = |name: &str| name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_lowercase();
    names(folder, |name| {
        let same_stem = stem(name) == stem(wanted) && (name.ends_with(".wasm") || name.ends_with(".wat"));
        same_stem || distance(&name.to_lowercase(), &wanted.to_lowercase()) <= 2
    })
}

/// How many letters must be put in, taken out or exchanged to make `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            left = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, left);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn folder(files: &[(&str, &[u8])]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, contents) in files {
            fs::write(folder.path().join(name), contents).unwrap();
        }
        folder
    }

    fn load_file(folder: &TempDir, name: &str) -> Result<ImageContents> {
        load(&ImageReference::File(folder.path().join(name)))
    }

    /// The message and the hint, without the folder's name.
    fn failure(folder: &TempDir, name: &str) -> String {
        let error = load_file(folder, name).unwrap_err();
        assert_eq!(error.reason(), Some("ErrImagePull"));
        assert_eq!(error.subject(), folder.path().join(name).to_str());
        let text = format!("{} | {}", error, error.advice().unwrap_or("-"));
        text.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn reads_the_bytes() {
        let folder = folder(&[("x.wasm", b"abc")]);
        let contents = load_file(&folder, "x.wasm").unwrap();
        assert_eq!(contents.bytes.as_ref(), b"abc");
        assert_eq!(contents.path, folder.path().join("x.wasm"));
    }

    #[test]
    fn a_missing_file_is_named_with_what_may_have_been_meant() {
        let folder = folder(&[("hello.wasm", b"x"), ("other.wasm", b"x"), ("notes.txt", b"x")]);
        assert_eq!(failure(&folder, "helo.wasm"), "helo.wasm: there is no such image file | did you mean hello.wasm?");
        assert_eq!(failure(&folder, "Hello.wat"), "Hello.wat: there is no such image file | did you mean hello.wasm?");
        assert_eq!(
            failure(&folder, "zzzzzz.wasm"),
            "zzzzzz.wasm: there is no such image file | the WebAssembly files there: hello.wasm, other.wasm"
        );
        assert!(
            failure(&folder, "no/x.wasm").ends_with("/no does not exist either")
                || failure(&folder, "no/x.wasm").contains("the folder no")
        );
    }

    #[test]
    fn only_regular_files_with_contents_are_images() {
        let folder = folder(&[("empty.wasm", b"")]);
        fs::create_dir(folder.path().join("dir")).unwrap();
        fs::write(folder.path().join("dir/a.wasm"), b"x").unwrap();
        assert_eq!(
            failure(&folder, "empty.wasm"),
            "empty.wasm: the image is an empty file | was the build that makes it interrupted?"
        );
        assert_eq!(failure(&folder, "dir"), "dir: the image is a folder, not a file | in it is a.wasm");
        assert_eq!(failure(&folder, "dir/.."), "dir/..: the image is a folder, not a file | in it is empty.wasm");
    }

    #[test]
    fn a_pipe_or_a_device_is_refused_at_once() {
        let folder = folder(&[]);
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        assert_eq!(failure(&folder, "fifo"), "fifo: the image is a named pipe, not a regular file | -");
        let error = load(&ImageReference::File("/dev/zero".into())).unwrap_err();
        assert_eq!(error.to_string(), "/dev/zero: the image is a device, not a regular file");
    }

    #[test]
    fn a_file_over_the_limit_is_refused_unread() {
        let folder = folder(&[]);
        File::create(folder.path().join("big.wasm")).unwrap().set_len(IMAGE_BYTES_MAX + 1).unwrap();
        assert_eq!(failure(&folder, "big.wasm"), "big.wasm: the image is larger than 512 MiB | -");
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!((distance("", "abc"), distance("abc", "abc"), distance("kitten", "sitting")), (3, 0, 3));
    }
}
