//! One layer, applied to what the layers below it have made. Source: OCI image specification, `layer.md`.

use super::super::ImageStore;
use super::super::format::Layer;
use super::decompress::{Meter, TarStream, drain};
use super::entries::{Kind, Name, for_each};
use super::tree::Tree;
use crate::{Error, Result};
use rustix::io::Errno;
use std::io::{self, Read};
use std::rc::Rc;
use tar::Archive;

/// A file of this name says that the directory it is in begins empty.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// A file whose name begins so says that the rest of its name is not there any more.
const WHITEOUT: &[u8] = b".wh.";

/// What the layers have come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget {
    bytes: u64,
    entries: u64,
}

/// Removes from the tree, which the layers below have made, what this layer declares to be gone.
///
/// A pass of its own: a whiteout is about the layers below only, wherever it stands among the layer's entries.
pub(super) fn remove_whited_out(store: &ImageStore, layer: &Layer, tree: &Tree, budget: &Budget) -> Result<()> {
    let (mut archive, meter) = open(store, layer, budget)?;
    let mut entries = budget.entries;
    let read = for_each(&mut archive, &mut entries, |name, _, _| {
        let Some((last, parent)) = name.split_last() else { return Ok(()) };
        let removed = match last.strip_prefix(WHITEOUT) {
            None => Ok(()),
            Some(_) if last == OPAQUE => tree.clear_dir(parent),
            // Names that the old AUFS kept its books in.
            Some(hidden) if hidden.starts_with(WHITEOUT) => Ok(()),
            Some(b"" | b"." | b"..") => return Err(Error::invalid("the layer has a whiteout of no name")),
            Some(hidden) => tree.remove(parent, hidden),
        };
        removed.map_err(|error| cannot("remove", &name, error))
    });
    read.map_err(|error| meter.error().unwrap_or(error))
}

/// Makes what is in the layer, and compares its digest with what the image's config says.
pub(super) fn write(store: &ImageStore, layer: &Layer, tree: &Tree, budget: &mut Budget) -> Result<()> {
    let (mut archive, meter) = open(store, layer, budget)?;
    let read = for_each(&mut archive, &mut budget.entries, |name, kind, contents| {
        if name.last().is_some_and(|last| last.starts_with(WHITEOUT)) {
            return Ok(());
        }
        make(tree, &name, kind, contents).map_err(|error| cannot("make", &name, error))
    });
    read.map_err(|error| meter.error().unwrap_or(error))?;
    // Behind the end of the archive there may be anything; it is part of what the config's digest is of.
    let mut stream = archive.into_inner();
    drain(&mut stream)?;
    budget.bytes = meter.total();
    let digest = stream.digest();
    match layer.diff_id {
        Some(diff_id) if diff_id != digest => {
            Err(Error::invalid(format!("the layer unpacks to {digest}, not to {diff_id} as the image's config says")))
        }
        _ => Ok(()),
    }
}

fn open(store: &ImageStore, layer: &Layer, budget: &Budget) -> Result<(Archive<TarStream>, Rc<Meter>)> {
    let meter = Meter::new(budget.bytes);
    let stream = TarStream::new(store.open_blob(&layer.descriptor)?, layer.compression, Rc::clone(&meter));
    Ok((Archive::new(stream), meter))
}

fn make(tree: &Tree, name: &Name, kind: Kind, contents: &mut dyn Read) -> io::Result<()> {
    // The root itself is there.
    let Some((last, parent)) = name.split_last() else { return Ok(()) };
    match kind {
        Kind::Directory => tree.make_dir(parent, last),
        Kind::File { executable, modified } => tree.make_file(parent, last, executable, modified, contents),
        Kind::SymbolicLink(target) => tree.make_symbolic_link(parent, last, &target),
        Kind::HardLink(target) => tree.make_hard_link(parent, last, &target),
    }
}

fn cannot(what: &str, name: &Name, error: io::Error) -> Error {
    let name = String::from_utf8_lossy(&name.join(&b'/')).escape_debug().to_string();
    match error.kind() {
        // Reasons that are the layer's.
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => {
            Error::invalid(format!("the layer is damaged at {name}")).because(error)
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => {
            Error::invalid(format!("the layer has {name}, which cannot be made")).because(error)
        }
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            Error::invalid(format!("the layer has {name}, behind links that lead nowhere")).because(error)
        }
        _ => Error::io(format!("cannot {what} {name}"), error),
    }
}
