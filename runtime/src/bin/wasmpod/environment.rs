//! The one place that reads the process's environment.
#![allow(clippy::disallowed_methods, reason = "the command line is where the environment is read, and this file is where it does")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;
use wasmpod::image::registry::ProxyConfig;

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

/// The user's configuration directory by the same specification: `$XDG_CONFIG_HOME`, or `~/.config`.
pub(crate) fn config_dir() -> Option<PathBuf> {
    absolute(std::env::var_os("XDG_CONFIG_HOME")).or_else(|| Some(home_dir()?.join(".config")))
}

/// The directory of what lives as long as the user's session, by the same specification.
pub(crate) fn runtime_dir() -> Option<PathBuf> {
    absolute(std::env::var_os("XDG_RUNTIME_DIR"))
}

/// The user's home directory.
pub(crate) fn home_dir() -> Option<PathBuf> {
    absolute(std::env::var_os("HOME"))
}

/// Where docker keeps its `config.json`, when the user said so.
pub(crate) fn docker_config_dir() -> Option<PathBuf> {
    std::env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// The `registries.conf` in place of the user's and the machine's.
pub(crate) fn registries_conf() -> Option<PathBuf> {
    std::env::var_os("CONTAINERS_REGISTRIES_CONF").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The proxies that the network demands. `HTTP_PROXY` in capitals is what everybody writes for programs that are no CGI scripts.
pub(crate) fn proxies() -> ProxyConfig {
    let either = |upper: &str, lower: &str| variable(lower).or_else(|| variable(upper)).filter(|value| !value.is_empty());
    ProxyConfig {
        https: either("HTTPS_PROXY", "https_proxy").or_else(|| either("ALL_PROXY", "all_proxy")),
        http: either("HTTP_PROXY", "http_proxy").or_else(|| either("ALL_PROXY", "all_proxy")),
        exceptions: either("NO_PROXY", "no_proxy"),
    }
}

/// Where temporary files go: `$TMPDIR`, or `/tmp`.
pub(crate) fn temporary_dir() -> PathBuf {
    std::env::temp_dir()
}

/// How many processors this process may use. Asked once: the answer is in the files of its control group.
pub(crate) fn processors() -> u64 {
    static PROCESSORS: OnceLock<u64> = OnceLock::new();
    let count = || std::thread::available_parallelism().ok().and_then(|count| u64::try_from(count.get()).ok()).unwrap_or(1);
    *PROCESSORS.get_or_init(count)
}

/// The path of this very program, to find `wasmpod-compile` beside it.
pub(crate) fn program() -> Option<PathBuf> {
    std::env::current_exe().ok()
}

/// The file of a program: the one that a path names, or the first of this name in the directories of `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(is_program);
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(is_program)
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
