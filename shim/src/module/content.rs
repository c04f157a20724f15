//! containerd's content store: where the layer of a Wasm artifact is, whose root file system is empty.
//!
//! containerd unpacks layers that are archives. A layer that is a `.wasm` it only keeps, so the server asks for it over containerd's
//! gRPC socket: the image by its name, its manifest, then the blob by its digest. What comes is checked against that digest.

use crate::limits::{INDEX_DEPTH_MAX, MANIFEST_BYTES_MAX, MODULE_BYTES_MAX};
use bytes::{Bytes, BytesMut};
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::{GetContainerRequest, GetImageRequest, ReadContentRequest};
use containerd_client::tonic::metadata::MetadataValue;
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Request, Status};
use serde::Deserialize;
use std::collections::BTreeMap;
use wasmpod::engine::Digest;
use wasmpod::{Error, ErrorKind, Result};

/// Where an image names its file (OCI's predefined annotation).
const TITLE: &str = "org.opencontainers.image.title";

/// The way to the content store of the containerd that started us.
#[derive(Clone, Debug)]
pub(crate) struct ContentStore {
    /// containerd's gRPC socket.
    pub(crate) address: String,
    /// containerd's namespace.
    pub(crate) namespace: String,
    /// The container whose image is meant when its name is not known.
    pub(crate) container: String,
}

/// A layer that is WebAssembly.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// The image's name, for messages.
    pub(crate) image: String,
    digest: String,
    size: u64,
}

impl Layer {
    /// The digest, if it is a SHA-256.
    pub(crate) fn sha256(&self) -> Option<Digest> {
        Digest::from_hex(self.digest.strip_prefix("sha256:")?)
    }
}

/// A manifest or an index, as far as it matters.
#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
}

impl ContentStore {
    /// Finds the WebAssembly layer of an image; `command` chooses where there are several.
    ///
    /// # Errors
    /// containerd does not know the image, or it has no such layer.
    pub(crate) async fn find_layer(&self, image: Option<&str>, command: &str) -> Result<Layer> {
        let channel = self.connect().await?;
        let image = match image {
            Some(image) => image.to_owned(),
            None => self.image_of_container(&channel).await?,
        };
        let request = self.request(GetImageRequest { name: image.clone() })?;
        let answer = ImagesClient::new(channel.clone()).get(request).await.map_err(|status| refused("find the image", &status))?;
        let target = answer.into_inner().image.and_then(|image| image.target);
        let target = target.ok_or_else(|| Error::not_found("containerd does not say what the image is").at(&image))?;
        let mut digest = target.digest;
        for _ in 0..=INDEX_DEPTH_MAX {
            let bytes = self.read_blob(&channel, &digest, MANIFEST_BYTES_MAX).await?;
            let manifest: Manifest = serde_json::from_slice(&bytes)
                .map_err(|error| Error::invalid("not a manifest of an image").because(error).at(&digest))?;
            match choose_manifest(&manifest.manifests) {
                Some(next) => digest = next.digest.clone(),
                None => {
                    let layer = choose_layer(&manifest.layers, command)
                        .ok_or_else(|| Error::not_found("none of its layers is WebAssembly").at(&image))?;
                    return Ok(Layer { digest: layer.digest.clone(), size: layer.size, image });
                }
            }
        }
        Err(Error::invalid("its indexes lead nowhere").at(&image))
    }

    /// Reads a layer.
    ///
    /// # Errors
    /// It is too large, missing, or not what its digest says.
    pub(crate) async fn read(&self, layer: &Layer) -> Result<Bytes> {
        if layer.size > MODULE_BYTES_MAX {
            return Err(Error::limit(format!("the layer is larger than {} MiB", MODULE_BYTES_MAX >> 20)).at(&layer.image));
        }
        let bytes = self.read_blob(&self.connect().await?, &layer.digest, layer.size).await?;
        if layer.sha256().is_none_or(|expected| expected != Digest::of(&bytes)) {
            return Err(Error::invalid("the layer is not what its digest says").at(&layer.digest));
        }
        Ok(bytes)
    }

    async fn connect(&self) -> Result<Channel> {
        let path = self.address.strip_prefix("unix://").unwrap_or(&self.address);
        let failed = |error| Error::new(ErrorKind::Unavailable, "containerd does not answer").at(path).because(error);
        containerd_client::connect(path).await.map_err(failed)
    }

    async fn image_of_container(&self, channel: &Channel) -> Result<String> {
        let request = self.request(GetContainerRequest { id: self.container.clone() })?;
        let answer = ContainersClient::new(channel.clone()).get(request).await;
        let answer = answer.map_err(|status| refused("find the container", &status))?;
        let image = answer.into_inner().container.map(|container| container.image).filter(|image| !image.is_empty());
        image.ok_or_else(|| Error::not_found("the container has no image").at(&self.container))
    }

    async fn read_blob(&self, channel: &Channel, digest: &str, bytes_max: u64) -> Result<Bytes> {
        let size = i64::try_from(bytes_max).unwrap_or(i64::MAX);
        let request = self.request(ReadContentRequest { digest: digest.to_owned(), offset: 0, size: 0 })?;
        let answer = ContentClient::new(channel.clone()).read(request).await.map_err(|status| refused("read a blob", &status))?;
        let mut parts = answer.into_inner();
        let mut bytes = BytesMut::new();
        while let Some(part) = parts.message().await.map_err(|status| refused("read a blob", &status))? {
            bytes.extend_from_slice(&part.data);
            if i64::try_from(bytes.len()).unwrap_or(i64::MAX) > size {
                return Err(Error::limit(format!("the blob is longer than {bytes_max} bytes")).at(digest));
            }
        }
        Ok(bytes.freeze())
    }

    fn request<T>(&self, message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        let namespace = MetadataValue::try_from(&self.namespace)
            .map_err(|error| Error::invalid("no namespace of containerd").at(&self.namespace).because(error))?;
        request.metadata_mut().insert("containerd-namespace", namespace);
        Ok(request)
    }
}

fn refused(what: &str, status: &Status) -> Error {
    let kind = match status.code() {
        containerd_client::tonic::Code::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("containerd could not {what}: {}", status.message()))
}

/// The manifest for WebAssembly, or else the first; none when this is no index.
fn choose_manifest(manifests: &[Descriptor]) -> Option<&Descriptor> {
    let wasm =
        |descriptor: &&Descriptor| descriptor.platform.as_ref().is_some_and(|platform| platform.architecture.starts_with("wasm"));
    manifests.iter().find(wasm).or_else(|| manifests.first())
}

/// The layer that is WebAssembly; of several, the one whose title is what `command` names, or else the first.
fn choose_layer<'a>(layers: &'a [Descriptor], command: &str) -> Option<&'a Descriptor> {
    let is_wasm = |layer: &&Descriptor| {
        let media_type = layer.media_type.as_str();
        media_type == "application/wasm" || media_type.ends_with("+wasm") || media_type.ends_with("content.layer.v1+wasm")
    };
    let name = command.rsplit('/').next().unwrap_or(command);
    let titled = layers.iter().filter(is_wasm).find(|layer| layer.annotations.get(TITLE).is_some_and(|title| title == name));
    titled.or_else(|| layers.iter().find(is_wasm))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Manifest {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_wasm_layer_is_chosen_by_its_media_type_and_title() {
        let manifest = manifest(
            r#"{"layers":[
                {"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:00","size":1},
                {"mediaType":"application/wasm","digest":"sha256:01","size":1},
                {"mediaType":"application/vnd.wasm.content.layer.v1+wasm","digest":"sha256:02","size":1,
                 "annotations":{"org.opencontainers.image.title":"job.wasm"}}]}"#,
        );
        assert_eq!(choose_layer(&manifest.layers, "/app").unwrap().digest, "sha256:01");
        assert_eq!(choose_layer(&manifest.layers, "/job.wasm").unwrap().digest, "sha256:02");
        assert!(choose_layer(&manifest.layers[..1], "/app").is_none());
    }

    #[test]
    fn of_an_index_the_manifest_for_wasm_is_taken() {
        let index = manifest(
            r#"{"manifests":[
                {"digest":"sha256:aa","size":1,"platform":{"os":"linux","architecture":"amd64"}},
                {"digest":"sha256:bb","size":1,"platform":{"os":"wasip1","architecture":"wasm"}}]}"#,
        );
        assert_eq!(choose_manifest(&index.manifests).unwrap().digest, "sha256:bb");
        assert_eq!(choose_manifest(&index.manifests[..1]).unwrap().digest, "sha256:aa");
        assert!(choose_manifest(&[]).is_none());
    }
}
