//! Image formats: from the documents of OCI to one WebAssembly program, its configuration and its files.
//!
//! ```text
//!   index ──platform──▶ manifest ──media types──▶ one layer of WebAssembly                      → Contents::Module
//!                          │                      an ordinary image: tar, gzip or zstd layers  → Contents::RootFileSystem
//!                          │                      a Linux image, Spin, Helm, unknown types       an error that says what it is
//!                          └──config──▶ entrypoint, arguments, environment, working directory; nothing else is looked at
//! ```
//!
//! Accepted are the CNCF Wasm artifact, the older Wasm layer types, runwasi's and wasmCloud's layers, and ordinary images that hold a
//! `.wasm` file. What an image says about itself decides which program runs and what its process is given, never what it may do: labels,
//! users, volumes and ports of a config are not even read.

mod choose;
mod config;
mod document;
mod fetch;
mod image;
mod media_type;

pub use config::ImageConfig;
pub use document::{Document, Index, Manifest};
pub(super) use image::layers_id;
pub use image::{Compression, Contents, Image, ImageModule, Layer};
pub use media_type::{
    CONFIG_DOCKER, CONFIG_IMAGE, CONFIG_WASM, INDEX, INDEX_DOCKER, LAYER_WASM, MANIFEST, MANIFEST_DOCKER, is_manifest_or_index,
};

#[cfg(test)]
mod tests;
