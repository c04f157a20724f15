//! From an image in the store to a registry; and from a WebAssembly file to an image.
//!
//! What is made from a file is a CNCF Wasm artifact: one layer of the type `application/wasm`, and a config that says by which WASI it
//! runs and what it imports and exports. Source: <https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>.

use super::format::{CONFIG_WASM, Document, LAYER_WASM, MANIFEST};
use super::registry::{Access, Location, OnSent, Session};
use super::{Descriptor, Images, Lease, RegistryReference};
use crate::limits::{BLOB_TRANSFERS_MAX, IMAGE_INDEX_DEPTH_MAX, IMAGE_MANIFEST_BYTES_MAX};
use crate::{Error, Result};
use bytes::Bytes;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde_json::json;
use std::sync::Arc;

/// Told about the progress of a push: the blob, and how many bytes more are on their way; all of them at once for a blob that the
/// registry has already.
pub type PushObserver = Arc<dyn Fn(&Descriptor, u64) + Send + Sync>;

impl Images {
    /// Puts the module or component `wasm` into the store as a CNCF Wasm artifact made at `created`, under `lease`, and gives its
    /// manifest's descriptor. Tag it before the lease ends.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for what is not WebAssembly in its binary form, and what the store answers.
    pub async fn add_artifact(
        &self,
        lease: &Lease,
        wasm: Bytes,
        interface: &ArtifactInterface,
        created: Timestamp,
    ) -> Result<Descriptor> {
        if !wasm.starts_with(b"\0asm") {
            return Err(Error::invalid("this is not WebAssembly in its binary form"));
        }
        let layer = self.store().put(lease, LAYER_WASM, wasm).await?;
        let (config, manifest) = documents(&layer, interface, created)?;
        self.store().put(lease, CONFIG_WASM, config).await?;
        self.store().put(lease, MANIFEST, manifest).await
    }

    /// Uploads the image `top` of the store as `reference`: what the registry does not have yet, the manifest last.
    ///
    /// # Errors
    /// [`Denied`](crate::ErrorKind::Denied), [`Unavailable`](crate::ErrorKind::Unavailable), and
    /// [`NotFound`](crate::ErrorKind::NotFound) when a part of the image is not in the store.
    pub async fn push(&self, top: &Descriptor, reference: &RegistryReference, observer: &PushObserver) -> Result<()> {
        if let Some(digest) = reference.digest().filter(|digest| *digest != top.digest) {
            return Err(Error::invalid(format!("the image is {}, not {digest}", top.digest)).at(reference.to_string()));
        }
        let location = Location::parse(&format!("{}/{}", reference.registry(), reference.repository()), false);
        let session = Session::open(self.registries(), self.registries().credentials.clone(), location, Access::Push).await?;
        let documents = self.read_documents(top)?;
        let blobs = documents.iter().flat_map(|(_, _, blobs)| blobs);
        let uploads = futures::stream::iter(blobs.map(|blob| self.push_blob(&session, blob, observer)));
        uploads.buffer_unordered(BLOB_TRANSFERS_MAX).try_collect::<Vec<()>>().await?;
        // What is pointed at comes before what points at it.
        for (descriptor, bytes, _) in documents.into_iter().rev() {
            let is_top = descriptor.digest == top.digest;
            let name = if is_top { reference.manifest_name() } else { descriptor.digest.to_string() };
            session.put_manifest(&name, &descriptor, bytes).await?;
        }
        Ok(())
    }

    /// The manifest, or the index with its manifests that are here, each with its blobs.
    fn read_documents(&self, top: &Descriptor) -> Result<Vec<(Descriptor, Bytes, Vec<Descriptor>)>> {
        let mut documents = Vec::new();
        let mut level = vec![top.clone()];
        for _ in 0..=IMAGE_INDEX_DEPTH_MAX {
            let mut below = Vec::new();
            for descriptor in level {
                let bytes = self.store().read(&descriptor, IMAGE_MANIFEST_BYTES_MAX)?;
                match Document::parse(&descriptor, &bytes)? {
                    Document::Index(index) => {
                        let missing = index.manifests.iter().find(|child| !self.store().contains(child).unwrap_or(false));
                        if let Some(missing) = missing {
                            return Err(Error::not_found("the image is an index of which only this machine's part was pulled")
                                .at(missing.digest.to_string())
                                .hint("push the one manifest of it by its digest"));
                        }
                        below.extend(index.manifests.iter().cloned());
                        documents.push((descriptor, bytes, Vec::new()));
                    }
                    Document::Manifest(manifest) => {
                        let blobs = manifest.layers.iter().chain(Some(&manifest.config)).cloned().collect();
                        documents.push((descriptor, bytes, blobs));
                    }
                }
            }
            if below.is_empty() {
                return Ok(documents);
            }
            level = below;
        }
        Err(Error::limit("the image has too many indexes inside each other").at(top.digest.to_string()))
    }

    async fn push_blob(&self, session: &Session, blob: &Descriptor, observer: &PushObserver) -> Result<()> {
        if session.has_blob(&blob.digest).await? {
            observer(blob, blob.size);
            return Ok(());
        }
        let open = || self.store().open_blob(blob);
        let (observer, about) = (Arc::clone(observer), blob.clone());
        let on_sent: OnSent = Arc::new(move |bytes| observer(&about, bytes));
        session.put_blob(blob, open, on_sent).await
    }
}

/// What an artifact's config says about its program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactInterface {
    /// Whether it is a component; a core module for WASI preview 1 otherwise.
    pub is_component: bool,
    /// The interfaces that a component imports.
    pub imports: Vec<String>,
    /// The interfaces that it exports.
    pub exports: Vec<String>,
    /// The world that it is made for, where that is known: `wasi:cli/command`.
    pub target: Option<String>,
}

/// The config and the manifest of the artifact whose layer is `layer`.
fn documents(layer: &Descriptor, interface: &ArtifactInterface, created: Timestamp) -> Result<(Bytes, Bytes)> {
    let ArtifactInterface { is_component, imports, exports, target } = interface;
    let mut config = json!({
        "created": created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "architecture": "wasm",
        "os": if *is_component { "wasip2" } else { "wasip1" },
        "layerDigests": [layer.digest],
    });
    if *is_component {
        let component = json!({ "imports": imports, "exports": exports, "target": target });
        config.as_object_mut().map(|config| config.insert("component".to_owned(), component));
    }
    let failed = |error: serde_json::Error| Error::internal("cannot write an image's documents").because(error);
    let config = Bytes::from(serde_json::to_vec(&config).map_err(failed)?);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": Descriptor::of(CONFIG_WASM, &config),
        "layers": [layer],
    });
    Ok((config, Bytes::from(serde_json::to_vec(&manifest).map_err(failed)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(interface: &ArtifactInterface) -> (serde_json::Value, serde_json::Value) {
        let layer = Descriptor::of(LAYER_WASM, b"\0asm\x01\0\0\0");
        let created = Timestamp::from_second(1_700_000_000).unwrap();
        let (config, manifest) = documents(&layer, interface, created).unwrap();
        (serde_json::from_slice(&config).unwrap(), serde_json::from_slice(&manifest).unwrap())
    }

    #[test]
    fn a_module_is_for_wasip1() {
        let module = ArtifactInterface { is_component: false, imports: vec!["a.b".to_owned()], exports: vec![], target: None };
        let (config, manifest) = artifact(&module);
        let digest = manifest["layers"][0]["digest"].clone();
        assert_eq!(
            config,
            json!({ "created": "2023-11-14T22:13:20Z", "architecture": "wasm", "os": "wasip1", "layerDigests": [digest] })
        );
        assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
        assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
        assert_eq!(manifest["layers"][0]["size"], 8);
    }

    #[test]
    fn a_component_says_its_interfaces_and_its_world() {
        let component = ArtifactInterface {
            is_component: true,
            imports: vec!["wasi:keyvalue/store@0.2.0".to_owned()],
            exports: vec!["wasi:cli/run@0.2.3".to_owned()],
            target: Some("wasi:cli/command".to_owned()),
        };
        let (config, _) = artifact(&component);
        assert_eq!(config["os"], "wasip2");
        assert_eq!(
            config["component"],
            json!({ "imports": ["wasi:keyvalue/store@0.2.0"], "exports": ["wasi:cli/run@0.2.3"], "target": "wasi:cli/command" })
        );
    }
}
