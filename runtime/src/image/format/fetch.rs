//! Bringing a whole image into the store, and finding it there.

use super::super::store::{BlobSource, FetchObserver, Lease};
use super::super::{Descriptor, ImageStore};
use super::document::{Document, Manifest};
use super::image::{Image, reads_config};
use crate::limits::{IMAGE_INDEX_DEPTH_MAX, IMAGE_LAYERS_PARALLEL, IMAGE_MANIFEST_BYTES_MAX};
use crate::{Error, Result};
use futures::FutureExt as _;
use futures::stream::{StreamExt as _, TryStreamExt as _};

impl ImageStore {
    /// Makes sure that the image which `top` points at, a manifest or an index, is in the store entirely, and that `lease` keeps it
    /// there: manifests and config first, then, if it is an image to run, its layers. Tag it before the lease ends.
    ///
    /// # Errors
    /// As for [`fetch`](Self::fetch), and [`Invalid`](crate::ErrorKind::Invalid) for what is not WebAssembly, with what it is.
    pub async fn fetch_image(
        &self,
        lease: &Lease,
        top: &Descriptor,
        source: &dyn BlobSource,
        observer: &FetchObserver<'_>,
    ) -> Result<Image> {
        let mut current = top.clone();
        for _ in 0..=IMAGE_INDEX_DEPTH_MAX {
            current.check_size_below(IMAGE_MANIFEST_BYTES_MAX)?;
            self.fetch(lease, &current, source, observer).await?;
            match Document::parse(&current, &self.read(&current, IMAGE_MANIFEST_BYTES_MAX)?)? {
                Document::Index(index) => current = index.choose().map_err(|error| error.at(current.digest.to_string()))?.clone(),
                Document::Manifest(manifest) => return self.fetch_contents(lease, top, current, manifest, source, observer).await,
            }
        }
        Err(too_deep(top))
    }

    async fn fetch_contents(
        &self,
        lease: &Lease,
        top: &Descriptor,
        descriptor: Descriptor,
        manifest: Manifest,
        source: &dyn BlobSource,
        observer: &FetchObserver<'_>,
    ) -> Result<Image> {
        manifest.config.check_size_below(IMAGE_MANIFEST_BYTES_MAX)?;
        self.fetch(lease, &manifest.config, source, observer).await?;
        let image = self.understand(top, descriptor, manifest)?;
        let layers = image.layers();
        // Boxed: a future that borrows from a closure's argument is not known to be `Send`.
        let fetches: Vec<_> = layers.into_iter().map(|layer| self.fetch(lease, layer, source, observer).boxed()).collect();
        let fetches = futures::stream::iter(fetches);
        fetches.buffer_unordered(IMAGE_LAYERS_PARALLEL).try_collect::<Vec<()>>().await?;
        image.check_module(self)?;
        Ok(image)
    }

    /// The image which `top` points at, if all of it is in the store. Blocking.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when a part of it is missing; [`Invalid`](crate::ErrorKind::Invalid) for what is not
    /// WebAssembly.
    pub fn image(&self, top: &Descriptor) -> Result<Image> {
        let mut current = top.clone();
        for _ in 0..=IMAGE_INDEX_DEPTH_MAX {
            match Document::parse(&current, &self.read(&current, IMAGE_MANIFEST_BYTES_MAX)?)? {
                Document::Index(index) => current = index.choose().map_err(|error| error.at(current.digest.to_string()))?.clone(),
                Document::Manifest(manifest) => {
                    let image = self.understand(top, current, manifest)?;
                    for layer in image.layers() {
                        self.open_blob(layer)?;
                    }
                    return Ok(image);
                }
            }
        }
        Err(too_deep(top))
    }

    fn understand(&self, top: &Descriptor, descriptor: Descriptor, manifest: Manifest) -> Result<Image> {
        let config = match reads_config(&manifest) {
            true => Some(self.read(&manifest.config, IMAGE_MANIFEST_BYTES_MAX)?),
            false => None,
        };
        Image::new(top.digest, descriptor, manifest, config.as_deref())
    }
}

fn too_deep(top: &Descriptor) -> Error {
    Error::limit(format!("the image has more than {IMAGE_INDEX_DEPTH_MAX} indexes inside each other")).at(top.digest.to_string())
}
