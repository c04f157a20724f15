//! wasmpod: a WebAssembly pod runtime.
//!
//! A *pod* is a set of containers that share one network and a set of volumes; here a container is one WebAssembly instance in a
//! wasmtime store of its own, and the network lives in this process. The data flows one way:
//!
//! ```text
//! pod.yaml ──manifest──▶ PodSpec ──image──▶ bytes ──engine──▶ Artifact (compiled)
//!                                                                 │ container (+ wasi, net, volume)
//!     command line ◀── PodStatus ◀── pod::state ◀── events ◀──────┴─ Store running
//! ```
//!
//! The modules below stand in the order in which one reads them. `ARCHITECTURE.md` says which may use which.
//! The library never prints, never reads the environment and never ends the process: whoever embeds it decides.

// The simulator of pods is shared with the integration tests, which name the library from outside.
#[cfg(test)]
extern crate self as wasmpod;

mod error;
pub mod limits;
pub mod observe;
mod directory;
mod tls;
pub mod manifest;
pub mod pod;
pub mod workload;
pub mod image;
pub mod engine;
pub mod container;
pub mod wasi;
pub mod net;
pub mod volume;
pub mod log;

pub use error::{Error, ErrorKind, Result};
