//! Images: from what a manifest writes under `image:` to the bytes of a WebAssembly module or component.
//!
//! ```text
//!   "file:./app.wasm" ────────────── reference ──▶ source ──▶ ImageContents { bytes, path }
//!   "ghcr.io/acme/web:1" ── reference ──▶ a registry ──┐ BlobSource
//!   "oci:out:1" ─────────── reference ──▶ archive ─────┴──▶ store ──▶ format ──▶ Image ──▶ ImageModule { bytes, digest }
//!                                                                                  └─unpack──▶ root file system
//! ```
//!
//! * [`ImageReference`] and [`RegistryReference`] are names.
//! * [`store`] keeps verified blobs; [`mod@format`] knows what they mean; [`unpack`] makes layers into files; [`archive`] reads and writes
//!   OCI layouts and archives.
//!
//! Nothing here looks into WebAssembly beyond its first bytes: what the program is (module, component) is for the engine to find out.

mod apply;
pub mod archive;
mod descriptor;
mod digest;
pub mod format;
mod pull;
mod push;
mod reference;
pub mod registry;
mod registry_reference;
mod source;
pub mod store;
pub mod unpack;

pub use descriptor::{Descriptor, Platform};
pub use digest::Digest;
pub use format::{Contents, Image, ImageConfig, ImageModule};
pub use pull::{Images, ObtainedImage, PullObserver, PullProgress};
pub use push::{ArtifactInterface, PushObserver};
pub use reference::ImageReference;
pub use registry_reference::RegistryReference;
pub use source::{ImageContents, load};
pub use store::{BlobBody, BlobSource, FetchObserver, FetchProgress, ImageStore, Lease};
