//! Preview 1: what core modules import, with sockets of the pod.
//!
//! wasmtime-wasi hosts the files, clocks and the rest; sockets, standard streams and waiting are ours. Both kinds of descriptors live
//! in one number space, as a guest expects it: ours. Each function that takes a descriptor looks it up in [`DescriptorTable`] and, when
//! it is a file or directory, calls wasmtime-wasi's with the number that it has there.
//!
//! ```text
//!   guest's number   0 1 2     3 …          next …                  then the lowest that is free
//!                    stdio     directories  pre-opened listeners    files, accepted and opened sockets
//! ```
//!
//! Of the socket functions there are preview 1's own, which work on pre-opened listeners (systemd's `LISTEN_FDS`), and WasmEdge's,
//! with which a guest can open sockets of its own.

mod descriptors;
mod directory;
mod errno;
mod guest;
mod imports;
mod linker;
mod poll;
mod sockets;
mod stdio;
mod wasmedge;

pub use descriptors::DescriptorTable;
pub use imports::wants_listeners;
pub use linker::link;

/// The module that all of it is imported from.
const MODULE: &str = "wasi_snapshot_preview1";

/// `fdflags.nonblock`, the one flag that sockets and standard streams have.
const FDFLAG_NONBLOCK: u16 = 1 << 2;

#[cfg(test)]
mod tests;
