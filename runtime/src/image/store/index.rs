//! Tags: the names under which images are in the store.

use super::super::Descriptor;
use super::lock::{Lock, replace};
use super::{ImageStore, damaged};
use crate::limits::{IMAGE_MANIFEST_BYTES_MAX, STORE_INDEX_BYTES_MAX};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read as _};

/// The annotation that holds an image's name. Source: OCI image specification, `annotations.md`.
pub(in super::super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedImage {
    /// The full reference: `docker.io/library/web:latest`.
    pub name: String,
    /// The manifest or index, its digest is the image's.
    pub descriptor: Descriptor,
}

/// `index.json`. Source: OCI image specification, `image-layout.md`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct LayoutIndex {
    schema_version: u8,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    pub(in super::super) manifests: Vec<Descriptor>,
}

impl Default for LayoutIndex {
    fn default() -> Self {
        Self { schema_version: 2, media_type: "application/vnd.oci.image.index.v1+json".to_owned(), manifests: Vec::new() }
    }
}

impl ImageStore {
    /// Gives the image `descriptor`, whose manifest is in the store, the name `name`; takes the name from what had it. Blocking.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when the manifest is not here.
    pub fn tag(&self, name: &str, descriptor: &Descriptor) -> Result<()> {
        let failed = |error| Error::io("cannot tag an image", error).at(name);
        let _shared = Lock::shared(&self.path("prune.lock")).map_err(failed)?;
        self.read(descriptor, IMAGE_MANIFEST_BYTES_MAX)?;
        let mut tagged = Descriptor::new(descriptor.media_type.clone(), descriptor.digest, descriptor.size);
        tagged.artifact_type.clone_from(&descriptor.artifact_type);
        tagged.annotations.insert(REF_NAME.to_owned(), name.to_owned());
        self.change(|manifests| {
            manifests.retain(|manifest| name_of(manifest) != Some(name));
            manifests.push(tagged);
        })
    }

    /// Takes the name `name` away, and says what had it. The blobs stay until somebody prunes. Blocking.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn untag(&self, name: &str) -> Result<Option<Descriptor>> {
        let mut removed = None;
        self.change(|manifests| {
            let found = manifests.iter().position(|manifest| name_of(manifest) == Some(name));
            removed = found.map(|at| manifests.remove(at));
        })?;
        Ok(removed.map(without_name))
    }

    /// What the name `name` stands for. Blocking.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn resolve(&self, name: &str) -> Result<Option<Descriptor>> {
        Ok(self.list()?.into_iter().find(|image| image.name == name).map(|image| image.descriptor))
    }

    /// All names, in order. Blocking.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self) -> Result<Vec<TaggedImage>> {
        let named = |manifest: Descriptor| {
            let name = name_of(&manifest)?.to_owned();
            Some(TaggedImage { name, descriptor: without_name(manifest) })
        };
        let mut images: Vec<_> = self.read_index()?.manifests.into_iter().filter_map(named).collect();
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(images)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Descriptor>)) -> Result<()> {
        let path = self.path("index.json");
        let failed = |error| Error::io("cannot write the store's index", error).at(path.display().to_string());
        let _lock = Lock::exclusive(&self.path("index.lock")).map_err(failed)?;
        let mut index = self.read_index()?;
        change(&mut index.manifests);
        let text = serde_json::to_vec(&index).map_err(|error| failed(error.into()))?;
        if text.len() as u64 > STORE_INDEX_BYTES_MAX {
            return Err(Error::limit("the image store has too many tags").hint("remove some by wasmpod rmi"));
        }
        replace(&path, &text).map_err(failed)
    }

    fn read_index(&self) -> Result<LayoutIndex> {
        let path = self.path("index.json");
        let failed = |error| Error::io("cannot read the store's index", error).at(path.display().to_string());
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(LayoutIndex::default()),
            opened => opened.map_err(failed)?,
        };
        let mut text = Vec::new();
        file.take(STORE_INDEX_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
        serde_json::from_slice(&text).map_err(|error| damaged(&path, "index.json cannot be read").because(error))
    }
}

pub(in super::super) fn name_of(manifest: &Descriptor) -> Option<&str> {
    manifest.annotations.get(REF_NAME).map(String::as_str)
}

fn without_name(mut manifest: Descriptor) -> Descriptor {
    manifest.annotations.remove(REF_NAME);
    manifest
}
