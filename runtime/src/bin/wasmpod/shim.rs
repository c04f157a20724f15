//! `wasmpod shim install`: makes this machine's containerd know the runtime `wasmpod`.
//!
//! Two things: the shim and the compiler where containerd finds programs, and a table in containerd's configuration. Everything that
//! is there already is left alone, so it can be run again.

use crate::{environment, report};
use clap::{Parser, Subcommand};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wasmpod::engine::compile;
use wasmpod::{Error, ErrorKind, Result};

/// The shim's program: containerd derives the name from the runtime type.
const SHIM: &str = "containerd-shim-wasmpod-v1";
/// The tables of the runtime, by the version of the configuration.
const TABLE_VERSION_2: &str = r#"[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wasmpod]"#;
const TABLE_VERSION_3: &str = r#"[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.wasmpod]"#;
/// What stands in them.
const SETTINGS: &str = r#"  runtime_type = "io.containerd.wasmpod.v1"
  pod_annotations = ["wasmpod.dev/*"]
"#;

/// The flags of `wasmpod shim`.
#[derive(Debug, Parser)]
pub(crate) struct ShimArgs {
    #[command(subcommand)]
    verb: ShimVerb,
}

#[derive(Debug, Subcommand)]
enum ShimVerb {
    /// Install the shim and add the runtime to containerd's configuration.
    ///
    /// containerd has to be restarted afterwards; running containers do not notice.
    Install(InstallArgs),
}

#[derive(Debug, Parser)]
struct InstallArgs {
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Where the programs go: a directory of containerd's PATH.
    #[arg(long, value_name = "DIR", default_value = "/usr/local/bin")]
    bin_dir: PathBuf,
    /// containerd's configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/containerd/config.toml")]
    config: PathBuf,
}

/// Runs the verb.
pub(crate) fn run(args: &ShimArgs) -> Result<ExitCode> {
    let ShimVerb::Install(args) = &args.verb;
    let beside = environment::program().ok_or_else(|| Error::internal("cannot find the path of this program"))?;
    for name in [SHIM, compile::PROGRAM] {
        install_program(&beside.with_file_name(name), &args.bin_dir.join(name), args.dry_run)?;
    }
    install_configuration(&args.config, args.dry_run)?;
    report::note("restart containerd, then create the RuntimeClass: docs/kubernetes.md has both");
    Ok(ExitCode::SUCCESS)
}

fn say(dry_run: bool, what: &str) {
    report::note(&if dry_run { format!("would {what}") } else { what.to_owned() });
}

fn install_program(from: &Path, to: &Path, dry_run: bool) -> Result<()> {
    if !from.is_file() {
        let missing = Error::new(ErrorKind::NotFound, "the program is not installed beside wasmpod").at(from.display().to_string());
        return Err(missing.hint("build it by `cargo build --release --workspace`"));
    }
    if from.canonicalize().ok() == to.canonicalize().ok() {
        return Ok(());
    }
    say(dry_run, &format!("copy {} to {}", from.display(), to.display()));
    if dry_run {
        return Ok(());
    }
    let bytes = fs::read(from).map_err(|error| Error::io("cannot read the program", error).at(from.display().to_string()))?;
    write(to, &bytes, 0o755)
}

fn install_configuration(path: &Path, dry_run: bool) -> Result<()> {
    let at = |error: Error| error.at(path.display().to_string());
    let old = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(at(Error::io("cannot read containerd's configuration", error))),
    };
    let Some(added) = addition(&old).map_err(at)? else {
        say(false, &format!("{} knows the runtime already", path.display()));
        return Ok(());
    };
    say(dry_run, &format!("add to {}:\n{added}", path.display()));
    if dry_run {
        return Ok(());
    }
    if !old.is_empty() {
        write(&path.with_extension("toml.before-wasmpod"), old.as_bytes(), 0o644)?;
    }
    write(path, format!("{old}{added}").as_bytes(), 0o644)
}

/// What to add to a configuration so that it has the runtime; nothing when it has it.
fn addition(config: &str) -> Result<Option<String>> {
    if config.contains("containerd.runtimes.wasmpod") {
        return Ok(None);
    }
    let lines = config.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let top = lines.take_while(|line| !line.starts_with('['));
    let version = top.filter_map(|line| line.split_once('=')).find(|(key, _)| key.trim() == "version");
    let (start, table) = match version.map(|(_, value)| value.split('#').next().unwrap_or_default().trim()) {
        Some("3") => ("\n", TABLE_VERSION_3),
        Some("2") => ("\n", TABLE_VERSION_2),
        // containerd 1.6 to 2.x all read version 2.
        None if config.lines().all(|line| line.trim().is_empty() || line.trim().starts_with('#')) => {
            ("version = 2\n\n", TABLE_VERSION_2)
        }
        _ => {
            return Err(Error::invalid("the configuration is of a version that cannot be extended")
                .hint("bring it to version 2 by `containerd config migrate`"));
        }
    };
    if config.contains("disabled_plugins")
        && config.lines().any(|line| line.starts_with("disabled_plugins") && line.contains("cri"))
    {
        report::warn("containerd's configuration disables the CRI: Kubernetes cannot use it until `disabled_plugins` is changed");
    }
    let separator = if config.is_empty() || config.ends_with('\n') { "" } else { "\n" };
    Ok(Some(format!("{separator}{start}{table}\n{SETTINGS}")))
}

/// Writes a file in one step: under another name first, then renamed.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let failed = |error| Error::io("cannot write the file", error).at(path.display().to_string());
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(dir).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_data()).map_err(failed)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)?;
    file.persist(path).map(drop).map_err(|error| failed(error.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_that_of_the_configurations_version() {
        let added = addition("version = 2\nroot = \"/x\"\n").unwrap().unwrap();
        assert!(added.starts_with('\n') && added.contains(TABLE_VERSION_2) && !added.contains("version ="));
        assert!(addition("# a comment\nversion=3 # of 2.x").unwrap().unwrap().contains(TABLE_VERSION_3));
        assert!(addition("").unwrap().unwrap().starts_with("version = 2\n"));
        assert_eq!(addition("root = \"/x\"\n").unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(addition("version = 1\n").unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn installing_twice_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, "version = 2").unwrap();
        install_configuration(&path, true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "version = 2");
        install_configuration(&path, false).unwrap();
        let once = fs::read_to_string(&path).unwrap();
        install_configuration(&path, false).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), once);
        assert!(once.starts_with("version = 2\n\n[plugins"));
        assert_eq!(fs::read_to_string(folder.path().join("config.toml.before-wasmpod")).unwrap(), "version = 2");
    }
}
