//! The store into an OCI archive.

use super::super::format::{Document, MANIFEST};
use super::super::store::{LAYOUT, LayoutIndex, REF_NAME, TaggedImage};
use super::super::{Descriptor, Digest, Image, ImageStore};
use crate::limits::IMAGE_MANIFEST_BYTES_MAX;
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::io::{self, Write};
use tar::{Builder, EntryType, Header};

/// Writes images of the store as one OCI archive. The same images make the same bytes. Blocking.
///
/// Of an image with an index the archive gets the manifest that was chosen here: the others are not in the store.
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) when a part of an image is missing; what writing answers.
pub fn save(store: &ImageStore, images: &[TaggedImage], out: impl Write) -> Result<()> {
    let lease = store.lease()?;
    let mut index = LayoutIndex::default();
    let mut blobs: Vec<Descriptor> = Vec::new();
    for tagged in images {
        lease.hold_blocking(tagged.descriptor.digest)?;
        let image = store.image(&tagged.descriptor).map_err(|error| error.within(&tagged.name))?;
        blobs.extend(blobs_of(store, &image)?);
        let mut manifest = image.manifest.clone();
        if manifest.media_type.is_empty() {
            MANIFEST.clone_into(&mut manifest.media_type);
        }
        manifest.annotations.insert(REF_NAME.to_owned(), tagged.name.clone());
        index.manifests.push(manifest);
    }
    let failed = |error| Error::io("cannot write the archive", error);
    let mut archive = Builder::new(out);
    append(&mut archive, "oci-layout", LAYOUT.as_bytes()).map_err(failed)?;
    let index = serde_json::to_vec(&index).map_err(|error| failed(error.into()))?;
    append(&mut archive, "index.json", &index).map_err(failed)?;
    let mut written: BTreeSet<Digest> = BTreeSet::new();
    for blob in blobs {
        if written.insert(blob.digest) {
            let file = store.open_blob(&blob)?;
            let header = header(EntryType::Regular, blob.size);
            append_stream(&mut archive, header, &blob_name(&blob), file).map_err(failed)?;
        }
    }
    archive.into_inner().and_then(|mut out| out.flush()).map_err(failed)
}

fn blobs_of(store: &ImageStore, image: &Image) -> Result<Vec<Descriptor>> {
    let bytes = store.read(&image.manifest, IMAGE_MANIFEST_BYTES_MAX)?;
    let Document::Manifest(manifest) = Document::parse(&image.manifest, &bytes)? else {
        return Err(Error::internal("a manifest is an index").at(image.manifest.digest.to_string()));
    };
    let mut blobs = vec![image.manifest.clone(), manifest.config];
    blobs.extend(manifest.layers);
    Ok(blobs)
}

fn blob_name(blob: &Descriptor) -> String {
    format!("blobs/sha256/{}", blob.digest.hex())
}

fn append(archive: &mut Builder<impl Write>, name: &str, contents: &[u8]) -> io::Result<()> {
    append_stream(archive, header(EntryType::Regular, contents.len() as u64), name, contents)
}

fn append_stream(archive: &mut Builder<impl Write>, mut header: Header, name: &str, contents: impl io::Read) -> io::Result<()> {
    archive.append_data(&mut header, name, contents)
}

/// A header without anything of this machine in it.
fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header
}
