//! Images: from what a manifest writes under `image:` to the bytes of a WebAssembly module or component.
//!
//! ```text
//! "file:./app.wasm" ── reference ──▶ ImageReference ── source ──▶ ImageContents { bytes, digest, path }
//! ```
//!
//! Today an image is a file. Registries come as a further kind of reference behind the same two steps. What the bytes are (module,
//! component, text format) is for the engine to find out: nothing here looks at them, and a name decides nothing about them.

mod reference;
mod source;

pub use reference::ImageReference;
pub use source::{ImageContents, load};
