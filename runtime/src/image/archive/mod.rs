//! Images outside of the store: OCI layouts in directories and in tar files, read and written, and Docker's archives, read.
//!
//! ```text
//!   oci:DIR          ──┐
//!   oci-archive:FILE ──┴▶ LocalLayout: a BlobSource ──fetch_image──▶ store        (nothing in a layout is believed unverified)
//!   wasmpod load FILE ──▶ LocalLayout or docker archive ────────────▶ store, tagged
//!   store ──▶ wasmpod save ──▶ an OCI archive
//! ```

mod directory;
mod docker;
mod layout;
mod load;
mod save;
mod tarball;

pub use layout::LocalLayout;
pub use load::{Loaded, load};
pub use save::save;

#[cfg(test)]
mod tests;
