//! Archives as `docker save` and `podman save` write them: a `manifest.json` that names a config and layers by their paths.
//!
//! Docker's newer archives are OCI layouts as well, and are read as those.

use super::super::format::{CONFIG_IMAGE, MANIFEST};
use super::super::store::{BlobBody, BlobSource, FetchObserver, Lease};
use super::super::{Descriptor, Digest, ImageStore};
use super::layout::{Files, Region};
use crate::limits::{BLOB_BYTES_MAX, BLOB_READ_BYTES, IMAGE_INDEX_MANIFESTS_MAX, IMAGE_LAYERS_MAX, IMAGE_MANIFEST_BYTES_MAX};
use crate::{Error, Result};
use async_trait::async_trait;
use futures::stream::StreamExt as _;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::io::Read as _;

/// A layer in a docker archive: a tar file that is not compressed.
const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// One image of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    config: String,
    #[serde(default, deserialize_with = "super::super::descriptor::null_as_default")]
    pub(super) repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// One file of an archive, as the one blob of a source.
struct FileSource(Region);

#[async_trait]
impl BlobSource for FileSource {
    async fn open(&self, _: &Descriptor, offset: u64) -> Result<BlobBody> {
        Ok(BlobBody { offset, chunks: self.0.clone().stream(offset).boxed() })
    }
}

/// The images of a docker archive; `None` when it is none.
pub(super) fn images(files: &Files) -> Result<Option<Vec<DockerImage>>> {
    let Some(text) = files.read("manifest.json", IMAGE_MANIFEST_BYTES_MAX)? else { return Ok(None) };
    let images: Vec<DockerImage> = serde_json::from_slice(&text)
        .map_err(|error| Error::invalid("the archive's manifest.json cannot be read").because(error))?;
    if images.len() > IMAGE_INDEX_MANIFESTS_MAX || images.iter().any(|image| image.layers.len() > IMAGE_LAYERS_MAX) {
        return Err(Error::limit("the archive has too many images or layers"));
    }
    Ok(Some(images))
}

/// Brings an image into the store and gives it an OCI manifest.
pub(super) async fn fetch(
    store: &ImageStore,
    lease: &Lease,
    files: &Files,
    image: &DockerImage,
    observer: &FetchObserver<'_>,
) -> Result<Descriptor> {
    let missing = |name: &str| Error::not_found("the file is missing in the archive").at(name.to_owned());
    let config = files.read(&image.config, IMAGE_MANIFEST_BYTES_MAX)?.ok_or_else(|| missing(&image.config))?;
    let config = store.put(lease, CONFIG_IMAGE, config.into()).await?;
    let mut layers = Vec::with_capacity(image.layers.len());
    for name in &image.layers {
        let region = files.find(name)?.ok_or_else(|| missing(name))?;
        let descriptor = super::super::store::blocking({
            let region = region.clone();
            move || describe(&region)
        });
        let descriptor = descriptor.await.map_err(|error| error.at(name.clone()))?;
        store.fetch(lease, &descriptor, &FileSource(region), observer).await?;
        layers.push(descriptor);
    }
    let manifest = serde_json::json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
    let manifest = serde_json::to_vec(&manifest).map_err(|error| Error::internal("cannot write a manifest").because(error))?;
    store.put(lease, MANIFEST, manifest.into()).await
}

/// The descriptor of a layer, which the archive has none for.
fn describe(region: &Region) -> Result<Descriptor> {
    if region.len > BLOB_BYTES_MAX {
        return Err(Error::limit(format!("the layer has {} bytes, more than the {BLOB_BYTES_MAX} allowed", region.len)));
    }
    let (mut hasher, mut reader, mut chunk) = (Sha256::new(), region.reader(0), vec![0; BLOB_READ_BYTES]);
    loop {
        let read = reader.read(&mut chunk).map_err(|error| Error::io("cannot read the archive", error))?;
        match chunk.get(..read) {
            Some(bytes) if !bytes.is_empty() => hasher.update(bytes),
            _ => return Ok(Descriptor::new(LAYER_TAR, Digest::from(hasher), region.len)),
        }
    }
}
