//! An OCI image layout, in a directory or in a tar file, as a source of blobs. Source: OCI image specification, `image-layout.md`.

use super::super::store::{BlobBody, BlobSource, LayoutIndex, name_of};
use super::super::{Descriptor, ImageReference};
use super::directory::Directory;
use super::tarball::Tarball;
use crate::limits::{FETCH_BATCH_BYTES, IMAGE_INDEX_MANIFESTS_MAX, STORE_INDEX_BYTES_MAX};
use crate::{Error, ErrorKind, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

/// A layout that was opened. What is in it may be wrong in every way; [`fetch_image`](super::super::ImageStore::fetch_image) verifies.
#[derive(Debug)]
pub struct LocalLayout {
    files: Files,
    /// What it is called in messages.
    name: String,
    index: LayoutIndex,
}

/// Where the files of a layout are.
#[derive(Debug)]
pub(super) enum Files {
    Directory(Directory),
    Tarball(Tarball),
}

/// A part of a file: one file of a layout.
#[derive(Clone, Debug)]
pub(super) struct Region {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl LocalLayout {
    /// Opens what `reference`, an `oci:` or `oci-archive:` reference, names, and chooses the image that it means. Blocking.
    ///
    /// # Errors
    /// Reason `ErrImagePull`: [`NotFound`](ErrorKind::NotFound) where there is no layout or no such tag, with the tags that there are;
    /// [`Invalid`](ErrorKind::Invalid) where it cannot be read, or several images are in it and none is named.
    pub fn open(reference: &ImageReference) -> Result<(Self, Descriptor)> {
        let opened = match reference {
            ImageReference::Layout { path, tag } => Self::directory(path).and_then(|layout| layout.choose(tag.as_deref())),
            ImageReference::Archive { path, tag } => Self::tarball(path).and_then(|layout| layout.choose(tag.as_deref())),
            _ => Err(Error::internal("this is no reference to a layout").at(reference.to_string())),
        };
        opened.map_err(|error| error.with_reason("ErrImagePull"))
    }

    /// The layout in a directory.
    pub(super) fn directory(path: &Path) -> Result<Self> {
        Self::with_files(Files::Directory(Directory::open(path)?), path)
    }

    /// The layout in a tar file.
    pub(super) fn tarball(path: &Path) -> Result<Self> {
        Self::with_files(Files::Tarball(Tarball::open(path)?), path)
    }

    /// The layout among files that were opened already.
    pub(super) fn with_files(files: Files, path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let no_layout = || {
            Error::new(ErrorKind::NotFound, "this is no OCI image layout: there is no index.json in it")
                .at(name.clone())
                .hint("make one with wasmpod save, or with skopeo copy")
        };
        let text = files.read("index.json", STORE_INDEX_BYTES_MAX).map_err(|error| error.within(&name))?.ok_or_else(no_layout)?;
        let index: LayoutIndex = serde_json::from_slice(&text)
            .map_err(|error| Error::invalid("the layout's index.json cannot be read").at(name.clone()).because(error))?;
        if index.manifests.len() > IMAGE_INDEX_MANIFESTS_MAX {
            return Err(Error::limit(format!("the layout lists more than {IMAGE_INDEX_MANIFESTS_MAX} images")).at(name));
        }
        Ok(Self { files, name, index })
    }

    /// The images in it.
    pub(super) fn images(&self) -> &[Descriptor] {
        &self.index.manifests
    }

    fn choose(self, tag: Option<&str>) -> Result<(Self, Descriptor)> {
        let is_named = |image: &&Descriptor, tag: &str| {
            let name = name_of(image).unwrap_or_default();
            // Podman and we write the whole reference where skopeo writes a tag.
            name == tag || name.rsplit_once('/').is_some_and(|(_, last)| last.split_once(':').is_some_and(|(_, last)| last == tag))
        };
        let chosen = match (tag, self.images()) {
            (None, [only]) => only,
            (None, []) => return Err(Error::not_found("the layout holds no image").at(self.name)),
            (None, several) => {
                let hint = format!("name one of them behind a colon: {}", self.tags());
                return Err(Error::invalid(format!("the layout holds {} images", several.len())).at(self.name).hint(hint));
            }
            (Some(tag), images) => match images.iter().find(|image| is_named(image, tag)) {
                Some(image) => image,
                None => {
                    let hint = format!("it holds {}", self.tags());
                    return Err(Error::not_found(format!("the layout holds no image {tag:?}")).at(self.name).hint(hint));
                }
            },
        };
        let chosen = chosen.clone();
        Ok((self, chosen))
    }

    /// The names in it, for a hint.
    fn tags(&self) -> String {
        const SHOWN: usize = 10;
        let names: Vec<String> =
            self.images().iter().filter_map(name_of).take(SHOWN).map(|name| name.escape_debug().to_string()).collect();
        if names.is_empty() { "images without names".to_owned() } else { names.join(", ") }
    }
}

impl Files {
    /// One file of the layout, if it is there.
    pub(super) fn find(&self, name: &str) -> Result<Option<Region>> {
        match self {
            Self::Directory(directory) => directory.find(name),
            Self::Tarball(tarball) => Ok(tarball.find(name)),
        }
    }

    /// The whole of a file, if it is there and not too long.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(region) = self.find(name)? else { return Ok(None) };
        if region.len > limit {
            return Err(Error::limit(format!("the file has {} bytes, more than the {limit} allowed", region.len)).at(name));
        }
        let mut bytes = Vec::new();
        let read = region.reader(0).read_to_end(&mut bytes);
        read.map_err(|error| Error::io("cannot read it", error).at(name))?;
        Ok(Some(bytes))
    }
}

#[async_trait]
impl BlobSource for LocalLayout {
    async fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobBody> {
        let name = format!("blobs/sha256/{}", descriptor.digest.hex());
        let missing = || Error::not_found("the blob is missing in the layout").at(descriptor.digest.to_string());
        let region = self.files.find(&name)?.ok_or_else(missing).map_err(|error| error.within(&self.name))?;
        Ok(BlobBody { offset, chunks: region.stream(offset) })
    }
}

impl Region {
    /// Reads from `offset` to its end.
    pub(super) fn reader(&self, offset: u64) -> impl io::Read + use<> {
        RegionReader { region: self.clone(), position: offset.min(self.len) }
    }

    /// The same in chunks, each read where blocking is allowed.
    pub(super) fn stream(self, offset: u64) -> BoxStream<'static, Result<Bytes>> {
        let position = offset.min(self.len);
        futures::stream::try_unfold((self, position), |(region, position)| async move {
            if position >= region.len {
                return Ok(None);
            }
            let read = tokio::task::spawn_blocking(move || region.chunk(position).map(|chunk| (region, chunk))).await;
            let read = read.map_err(|error| Error::internal("a read ended early").because(error))?;
            let (region, chunk) = read.map_err(|error| Error::io("cannot read the layout", error))?;
            let next = position + chunk.len() as u64;
            Ok((!chunk.is_empty()).then_some((chunk, (region, next))))
        })
        .boxed()
    }

    fn chunk(&self, position: u64) -> io::Result<Bytes> {
        let len = usize::try_from(self.len - position).unwrap_or(usize::MAX).min(FETCH_BATCH_BYTES);
        let mut chunk = vec![0; len];
        let read = self.file.read_at(&mut chunk, self.offset + position)?;
        chunk.truncate(read);
        Ok(chunk.into())
    }
}

struct RegionReader {
    region: Region,
    position: u64,
}

impl io::Read for RegionReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.region.len - self.position).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = buffer.get_mut(..left).unwrap_or_default();
        let read = self.region.file.read_at(buffer, self.region.offset + self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}
