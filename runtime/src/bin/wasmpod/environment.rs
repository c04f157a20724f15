//! The one place that reads the process's environment.
#![allow(clippy::disallowed_methods, reason = "the command line is where the environment is read, and this file is where it does")]

use std::ffi::OsString;
use std::path::PathBuf;

/// The value of an environment variable, for `--env NAME`.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).and_then(|value| value.into_string().ok())
}

/// Whether the user asked for no colours (no-color.org).
pub(crate) fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// The user's cache directory by the XDG base directory specification: `$XDG_CACHE_HOME`, or `~/.cache`.
pub(crate) fn cache_dir() -> Option<PathBuf> {
    absolute(std::env::var_os("XDG_CACHE_HOME")).or_else(|| Some(absolute(std::env::var_os("HOME"))?.join(".cache")))
}

/// The user's data directory by the same specification: `$XDG_DATA_HOME`, or `~/.local/share`.
pub(crate) fn data_dir() -> Option<PathBuf> {
    absolute(std::env::var_os("XDG_DATA_HOME")).or_else(|| Some(absolute(std::env::var_os("HOME"))?.join(".local/share")))
}

/// Where temporary files go: `$TMPDIR`, or `/tmp`.
pub(crate) fn temporary_dir() -> PathBuf {
    std::env::temp_dir()
}

/// How many processors this process may use.
pub(crate) fn processors() -> u64 {
    std::thread::available_parallelism().ok().and_then(|count| u64::try_from(count.get()).ok()).unwrap_or(1)
}

/// The path of this very program, to find `wasmpod-compile` beside it.
pub(crate) fn program() -> Option<PathBuf> {
    std::env::current_exe().ok()
}

/// Whether this process was started under the name `name`, whatever its file is called.
#[cfg(feature = "compiler")]
pub(crate) fn called_as(name: &str) -> bool {
    std::env::args_os().next().is_some_and(|program| std::path::Path::new(&program).file_name() == Some(name.as_ref()))
}

/// A relative path in these variables is to be ignored, says the specification.
fn absolute(value: Option<OsString>) -> Option<PathBuf> {
    value.map(PathBuf::from).filter(|path| path.is_absolute())
}
