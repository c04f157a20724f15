//! `-info` and `-v`: what this runtime is.

use containerd_shim_protos::protobuf::{Message as _, MessageField};
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use std::io::Write as _;
use wasmpod::{Error, Result};

/// The runtime type, as containerd's configuration names it.
const RUNTIME_TYPE: &str = "io.containerd.wasmpod.v1";

/// Writes the `RuntimeInfo` that containerd 2 asks for before the first pod.
pub(crate) fn run() -> Result<()> {
    let version = RuntimeVersion { version: env!("CARGO_PKG_VERSION").to_owned(), ..RuntimeVersion::default() };
    let info = RuntimeInfo { name: RUNTIME_TYPE.to_owned(), version: MessageField::some(version), ..RuntimeInfo::default() };
    let bytes = info.write_to_bytes().map_err(|error| Error::internal("cannot encode the runtime's info").because(error))?;
    std::io::stdout().write_all(&bytes).map_err(|error| Error::io("cannot write the runtime's info", error))
}

/// Writes the version for people.
pub(crate) fn version() -> Result<()> {
    let line = format!("containerd-shim-wasmpod-v1 {}\n", env!("CARGO_PKG_VERSION"));
    std::io::stdout().write_all(line.as_bytes()).map_err(|error| Error::io("cannot write the version", error))
}
