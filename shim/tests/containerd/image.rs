//! Images made on the spot, as archives in the OCI layout.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// An image that is being made.
pub(crate) struct Image {
    name: String,
    blobs: Vec<Vec<u8>>,
    config: Value,
    config_type: &'static str,
    layers: Vec<Value>,
}

fn digest(bytes: &[u8]) -> String {
    let digits: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

impl Image {
    /// An ordinary image: one layer with these files.
    pub(crate) fn of_files(name: &str, entrypoint: &str, files: &[(&str, Vec<u8>)]) -> Self {
        let mut layer = tar::Builder::new(Vec::new());
        for (path, contents) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(contents.len() as u64);
            header.set_mode(0o755);
            layer.append_data(&mut header, path, contents.as_slice()).unwrap();
        }
        let layer = layer.into_inner().unwrap();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Entrypoint": [entrypoint]},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        });
        let mut image = Self::new(name, config, "application/vnd.oci.image.config.v1+json");
        image.add_layer(layer, "application/vnd.oci.image.layer.v1.tar");
        image
    }

    /// A Wasm artifact: its layer is the module itself, which containerd does not unpack.
    pub(crate) fn artifact(name: &str, module: Vec<u8>) -> Self {
        let config = json!({
            "architecture": "wasm", "os": "wasip1", "layerDigests": [digest(&module)],
            "rootfs": {"type": "layers", "diff_ids": []},
        });
        let mut image = Self::new(name, config, "application/vnd.oci.image.config.v1+json");
        image.add_layer(module, "application/wasm");
        image
    }

    fn new(name: &str, config: Value, config_type: &'static str) -> Self {
        Self { name: name.to_owned(), blobs: Vec::new(), config, config_type, layers: Vec::new() }
    }

    fn add_layer(&mut self, bytes: Vec<u8>, media_type: &str) {
        self.layers.push(json!({"mediaType": media_type, "digest": digest(&bytes), "size": bytes.len()}));
        self.blobs.push(bytes);
    }

    /// Writes the archive, which `ctr images import` takes.
    pub(crate) fn write(mut self, path: &Path) {
        let config = self.config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": self.config_type, "digest": digest(&config), "size": config.len()},
            "layers": self.layers,
        });
        let manifest = manifest.to_string().into_bytes();
        let index = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(&manifest), "size": manifest.len(),
            "annotations": {"io.containerd.image.name": self.name},
            "platform": {"architecture": "amd64", "os": "linux"},
        }]});
        self.blobs.extend([config, manifest]);
        let mut archive = tar::Builder::new(std::fs::File::create(path).unwrap());
        let mut add = |name: &str, contents: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(contents.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, contents).unwrap();
        };
        add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        add("index.json", index.to_string().as_bytes());
        for blob in &self.blobs {
            add(&format!("blobs/sha256/{}", digest(blob).trim_start_matches("sha256:")), blob);
        }
        archive.finish().unwrap();
    }
}
