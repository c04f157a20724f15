//! From an image in the store to a registry; and from a WebAssembly file to an image.
//!
//! What is made from a file is a CNCF Wasm artifact: one layer of the type `application/wasm`, and a config that says by which WASI it
//! runs and what it imports and exports. Source: <https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>.

use super::format::{CONFIG_WASM, Document, LAYER_WASM, MANIFEST};
use super::registry::{Access, Location, OnSent, Session};
use super::{Descriptor, Images, Lease, RegistryReference};
use crate::limits::{BLOB_TRANSFERS_MAX, IMAGE_INDEX_DEPTH_MAX, IMAGE_MANIFEST_BYTES_MAX, WASM_NAMES_MAX};
use crate::{Error, Result};
use bytes::Bytes;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde_json::json;
use std::sync::Arc;
use tokio::task::spawn_blocking;
use wasmparser::{Parser, Payload};

/// Told about the progress of a push: the blob, and how many bytes more are on their way; all of them at once for a blob that the
/// registry has already.
pub type PushObserver = Arc<dyn Fn(&Descriptor, u64) + Send + Sync>;

impl Images {
    /// Puts the module or component `wasm` into the store as a CNCF Wasm artifact made at `created`, under `lease`, and gives its
    /// manifest's descriptor. Tag it before the lease ends.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for what is not WebAssembly in its binary form, and what the store answers.
    pub async fn add_artifact(&self, lease: &Lease, wasm: Bytes, created: Timestamp) -> Result<Descriptor> {
        let layer = self.store().put(lease, LAYER_WASM, wasm.clone()).await?;
        let (config, manifest) = spawn_blocking(move || wasm_artifact(&wasm, &layer, created))
            .await
            .map_err(|error| Error::internal("reading a program ended early").because(error))??;
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
        let documents = self.documents(top)?;
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
    fn documents(&self, top: &Descriptor) -> Result<Vec<(Descriptor, Bytes, Vec<Descriptor>)>> {
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

/// The config and the manifest of the artifact whose layer is `wasm`.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for what is not WebAssembly in its binary form.
pub fn wasm_artifact(wasm: &[u8], layer: &Descriptor, created: Timestamp) -> Result<(Bytes, Bytes)> {
    let Interface { is_component, imports, exports } = interface(wasm)?;
    let mut config = json!({
        "created": created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "architecture": "wasm",
        "os": if is_component { "wasip2" } else { "wasip1" },
        "layerDigests": [layer.digest],
    });
    if is_component {
        let component = json!({ "imports": imports, "exports": exports, "target": target(&exports) });
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

/// The names that decide where a program runs.
struct Interface {
    is_component: bool,
    imports: Vec<String>,
    exports: Vec<String>,
}

/// Reads a program's outermost names; nothing is compiled or validated.
fn interface(wasm: &[u8]) -> Result<Interface> {
    let wrong = |error: wasmparser::BinaryReaderError| Error::invalid("this is not WebAssembly, or damaged").because(error);
    let is_component = Parser::is_component(wasm);
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_usize;
    if !wasm.starts_with(b"\0asm") {
        return Err(Error::invalid("this is not WebAssembly in its binary form"));
    }
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(wrong)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(wrong)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(wrong)?.name.name.to_owned());
                }
            }
            _ => {}
        }
        if imports.len().max(exports.len()) > WASM_NAMES_MAX {
            return Err(Error::limit(format!("it imports or exports more than {WASM_NAMES_MAX} names")));
        }
    }
    Ok(Interface { is_component, imports, exports })
}

/// The world of WASI that a component is made for, by what it exports; none when it is another.
fn target(exports: &[String]) -> Option<String> {
    let world = |interface: &str, world: &str| {
        let version = exports.iter().find_map(|export| export.strip_prefix(interface)?.strip_prefix('@'))?;
        Some(format!("{world}@{version}"))
    };
    world("wasi:cli/run", "wasi:cli/command").or_else(|| world("wasi:http/incoming-handler", "wasi:http/proxy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(text: &str) -> (serde_json::Value, serde_json::Value) {
        let wasm = wat::parse_str(text).unwrap();
        let layer = Descriptor::of(LAYER_WASM, &wasm);
        let created = Timestamp::from_second(1_700_000_000).unwrap();
        let (config, manifest) = wasm_artifact(&wasm, &layer, created).unwrap();
        (serde_json::from_slice(&config).unwrap(), serde_json::from_slice(&manifest).unwrap())
    }

    #[test]
    fn a_module_is_for_wasip1() {
        let (config, manifest) = artifact("(module)");
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
        let (config, _) = artifact(
            r#"(component
                (import "wasi:keyvalue/store@0.2.0" (instance))
                (component $inner (import "inner:one/two@1.0.0" (instance)))
                (component $nothing) (instance $run (instantiate $nothing))
                (export "wasi:cli/run@0.2.3" (instance $run)))"#,
        );
        assert_eq!(config["os"], "wasip2");
        assert_eq!(
            config["component"],
            json!({ "imports": ["wasi:keyvalue/store@0.2.0"], "exports": ["wasi:cli/run@0.2.3"], "target": "wasi:cli/command@0.2.3" })
        );
    }

    #[test]
    fn what_is_not_webassembly_makes_no_artifact() {
        for bytes in [b"".as_slice(), b"\x7fELF", b"(module)", b"\0asm", b"\0asm\x01\0\0\0\xff"] {
            let layer = Descriptor::of(LAYER_WASM, bytes);
            assert!(wasm_artifact(bytes, &layer, Timestamp::UNIX_EPOCH).is_err(), "{bytes:?}");
        }
    }
}
