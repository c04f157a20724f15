//! Manifests and indexes, as OCI and Docker write them.

use super::super::Descriptor;
use super::super::descriptor::null_as_default;
use super::media_type::{INDEX, INDEX_DOCKER, MANIFEST, MANIFEST_DOCKER};
use crate::limits::{IMAGE_INDEX_MANIFESTS_MAX, IMAGE_LAYERS_MAX, IMAGE_MANIFEST_BYTES_MAX};
use crate::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What an image's descriptor points at.
#[allow(clippy::large_enum_variant, reason = "one is read and looked at; there are never many of them")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Images to choose from.
    Index(Index),
}

/// An image manifest. Source: OCI image specification, `manifest.md`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// What an artifact is said to be.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// The layers, the lowest first; at most [`IMAGE_LAYERS_MAX`].
    #[serde(deserialize_with = "null_as_default")]
    pub layers: Vec<Descriptor>,
    /// Notes of whoever made the image.
    #[serde(default, deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
}

/// An image index. Source: OCI image specification, `image-index.md`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Index {
    /// The images; at most [`IMAGE_INDEX_MANIFESTS_MAX`].
    #[serde(deserialize_with = "null_as_default")]
    pub manifests: Vec<Descriptor>,
}

/// What tells the two apart: a document that could be read as either could be verified as one and used as the other (CVE-2021-41190).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads the document that `descriptor` points at; a media type that says nothing about it may be empty.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), at the digest, when it is neither or both, or not what its media type says;
    /// [`Limit`](crate::ErrorKind::Limit) above [`IMAGE_MANIFEST_BYTES_MAX`] and the limits of its parts.
    pub fn parse(descriptor: &Descriptor, bytes: &[u8]) -> Result<Self> {
        parse(descriptor, bytes).map_err(|error| error.at(descriptor.digest.to_string()))
    }
}

fn parse(descriptor: &Descriptor, bytes: &[u8]) -> Result<Document> {
    if bytes.len() as u64 > IMAGE_MANIFEST_BYTES_MAX {
        return Err(Error::limit(format!("the manifest has more than {} MiB", IMAGE_MANIFEST_BYTES_MAX >> 20)));
    }
    let unreadable = |error| Error::invalid("the image's manifest cannot be read").because(error);
    let shape: Shape = serde_json::from_slice(bytes).map_err(unreadable)?;
    if shape.fs_layers.is_some() || shape.schema_version == Some(1) {
        return Err(Error::invalid("the image has a manifest of Docker's schema 1, which nobody can verify")
            .hint("push it again with a current tool"));
    }
    if shape.schema_version != Some(2) {
        return Err(Error::invalid("this is no image manifest: its schemaVersion is not 2"));
    }
    let said =
        [Some(descriptor.media_type.as_str()), shape.media_type.as_deref()].into_iter().flatten().filter(|said| !said.is_empty());
    let is_index = match (shape.manifests.is_some(), shape.layers.is_some() || shape.config.is_some()) {
        (true, true) => return Err(Error::invalid("the document is a manifest and an index at once")),
        (false, false) => return Err(Error::invalid("the document is neither a manifest nor an index")),
        (is_index, _) => is_index,
    };
    let expected = if is_index { [INDEX, INDEX_DOCKER] } else { [MANIFEST, MANIFEST_DOCKER] };
    if let Some(other) = said.into_iter().find(|said| !expected.contains(said)) {
        let what = if is_index { "an index" } else { "a manifest" };
        return Err(Error::invalid(format!("the document is {what}, but its media type is said to be {other}")));
    }
    if is_index {
        let index: Index = serde_json::from_slice(bytes).map_err(unreadable)?;
        return match index.manifests.len() <= IMAGE_INDEX_MANIFESTS_MAX {
            true => Ok(Document::Index(index)),
            false => Err(Error::limit(format!("the index lists more than {IMAGE_INDEX_MANIFESTS_MAX} manifests"))),
        };
    }
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(unreadable)?;
    match manifest.layers.len() <= IMAGE_LAYERS_MAX {
        true => Ok(Document::Manifest(manifest)),
        false => Err(Error::limit(format!("the image has more than {IMAGE_LAYERS_MAX} layers"))),
    }
}
