//! The media types of images that hold WebAssembly, and of those that do not but are taken for such.

use super::image::Compression;

/// An OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's image manifest, schema 2.
pub const MANIFEST_DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's manifest list.
pub const INDEX_DOCKER: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// The config of an ordinary image.
pub const CONFIG_IMAGE: &str = "application/vnd.oci.image.config.v1+json";
/// Docker's name for the same.
pub const CONFIG_DOCKER: &str = "application/vnd.docker.container.image.v1+json";
/// The config of a CNCF Wasm artifact. Source: <https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>.
pub const CONFIG_WASM: &str = "application/vnd.wasm.config.v0+json";
/// The layer of a CNCF Wasm artifact: a module or component.
pub const LAYER_WASM: &str = "application/wasm";

/// Layers that are a module or component as they are.
const WASM_LAYERS: [&str; 5] = [
    LAYER_WASM,
    // runwasi's oci-tar-builder.
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
    // krustlet, wasm-to-oci, oci-client.
    "application/vnd.wasm.content.layer.v1+wasm",
    // wasmCloud.
    "application/vnd.module.wasm.content.layer.v1+wasm",
    // wasmCloud's older tools.
    "application/vnd.wasmcloud.actor.wasm.layer.v1+wasm",
];

/// What a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LayerKind {
    /// WebAssembly.
    Wasm,
    /// Files.
    Files(Compression),
    /// Something else.
    Unknown,
}

/// What a layer of this media type is.
pub(super) fn layer_kind(media_type: &str) -> LayerKind {
    if WASM_LAYERS.contains(&media_type) {
        return LayerKind::Wasm;
    }
    match media_type {
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
            LayerKind::Files(Compression::None)
        }
        "application/vnd.oci.image.layer.v1.tar+gzip" | "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
            LayerKind::Files(Compression::Gzip)
        }
        "application/vnd.oci.image.layer.v1.tar+zstd" | "application/vnd.docker.image.rootfs.diff.tar.zstd" => {
            LayerKind::Files(Compression::Zstd)
        }
        _ => LayerKind::Unknown,
    }
}

/// Whether a document of this media type points at further blobs, and is asked of a registry as a manifest.
pub fn is_manifest_or_index(media_type: &str) -> bool {
    [MANIFEST, MANIFEST_DOCKER, INDEX, INDEX_DOCKER].contains(&media_type)
}

/// Whether the config is that of an ordinary image.
pub(super) fn is_image_config(media_type: &str) -> bool {
    [CONFIG_IMAGE, CONFIG_DOCKER].contains(&media_type)
}

/// What an image is that is none of ours, told by one of its media types, and what to do about it.
pub(super) fn known_stranger(media_type: &str) -> Option<(&'static str, &'static str)> {
    let strangers = [
        ("application/vnd.fermyon.spin.", "a Spin application", "build its component alone: push the .wasm file with wasmpod push"),
        ("application/vnd.cncf.helm.", "a Helm chart", "name the image that it installs"),
        ("application/vnd.cncf.flux.", "a Flux bundle", "name an image that holds WebAssembly"),
        ("application/vnd.dev.cosign.", "a cosign signature", "name the image that it signs"),
        ("application/vnd.dev.sigstore.", "a sigstore bundle", "name the image that it signs"),
        ("application/vnd.in-toto", "an attestation", "name the image that it is about"),
        ("application/vnd.docker.plugin.", "a Docker plugin", "name an image that holds WebAssembly"),
        ("application/vnd.docker.ai.", "a model", "name an image that holds WebAssembly"),
        ("application/vnd.wasmcloud.provider.", "a wasmCloud provider, which is a native program", "name a component"),
    ];
    strangers.iter().find(|(prefix, ..)| media_type.starts_with(prefix)).map(|(_, what, hint)| (*what, *hint))
}
