//! Descriptors: how OCI documents point at blobs, by media type, digest and size.

use super::Digest;
use crate::limits::BLOB_BYTES_MAX;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Points at a blob: what it is, what it hashes to and how long it is. Source: OCI image specification, `descriptor.md`.
///
/// `urls` and embedded `data` are not read: a blob comes from where its document came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the bytes are said to be.
    pub media_type: String,
    /// The SHA-256 of the bytes.
    pub digest: Digest,
    /// How many bytes there are.
    pub size: u64,
    /// For what platform it is; in indexes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What an artifact is said to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Notes of whoever made the document.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// For what an image is made. Source: OCI image specification, `image-index.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The instruction set: `wasm`, `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// The operating system: `wasi`, `wasip1`, `wasip2`, `linux`.
    #[serde(default)]
    pub os: String,
    /// The variant of the instruction set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
        write!(f, "{}/{}", known(&self.os), known(&self.architecture))
    }
}

impl Descriptor {
    /// Points at `bytes`.
    pub fn of(media_type: impl Into<String>, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// Points at a blob with this digest and size in bytes.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.into(), digest, size, platform: None, artifact_type: None, annotations: BTreeMap::new() }
    }

    /// Checks that the declared size is one that is taken at all.
    ///
    /// # Errors
    /// [`Limit`](crate::ErrorKind::Limit), at the digest, above [`BLOB_BYTES_MAX`].
    pub(super) fn check_size(&self) -> Result<()> {
        self.check_size_below(BLOB_BYTES_MAX)
    }

    /// As [`check_size`](Self::check_size), for a smaller bound in bytes.
    pub(super) fn check_size_below(&self, limit: u64) -> Result<()> {
        if self.size <= limit {
            return Ok(());
        }
        let message = format!("the blob has {} bytes, more than the {limit} allowed for {}", self.size, self.media_type);
        Err(Error::limit(message).at(self.digest.to_string()))
    }
}

/// Go writes an empty map or list as `null`.
pub(super) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
