//! The one place that reads the process's environment.
#![allow(clippy::disallowed_methods, reason = "a program is where the environment is read, and this file is where it does")]

use std::ffi::OsString;
use std::path::PathBuf;
use wasmpod::{Error, Result};

/// Where compiled artifacts are kept, for all shims of the node, unless `WASMPOD_CACHE_DIR` says otherwise.
const CACHE_DIR: &str = "/var/cache/wasmpod";

/// The arguments of the command line, without the program's name.
pub(crate) fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip(1)
}

/// Where containerd takes events over ttrpc.
pub(crate) fn events_address() -> Option<String> {
    std::env::var("TTRPC_ADDRESS").ok().filter(|address| !address.is_empty())
}

/// The directory of compiled artifacts.
pub(crate) fn cache_dir() -> PathBuf {
    let given = std::env::var_os("WASMPOD_CACHE_DIR").map(PathBuf::from);
    given.filter(|path| path.is_absolute()).unwrap_or_else(|| PathBuf::from(CACHE_DIR))
}

/// Where this program lies.
///
/// # Errors
/// `/proc` is not mounted.
pub(crate) fn program() -> Result<PathBuf> {
    std::env::current_exe().map_err(|error| Error::io("cannot find the path of this program", error))
}

/// The working directory: containerd starts `start` and `delete` in the bundle.
///
/// # Errors
/// It was removed.
pub(crate) fn working_dir() -> Result<PathBuf> {
    std::env::current_dir().map_err(|error| Error::io("cannot find the bundle", error))
}
