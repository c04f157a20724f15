//! The flags of the verbs that talk to registries.

use clap::{ArgAction, Parser, ValueEnum};
use std::path::PathBuf;
use wasmpod::pod::spec::PullPolicy;

/// How registries are reached; on every verb that does.
#[derive(Clone, Debug, Parser)]
pub(crate) struct RegistryArgs {
    /// A registry, host[:port], that may be asked by plain HTTP, and by HTTPS whatever its certificate; the loopback always may be
    /// plain.
    #[arg(long, value_name = "HOST", help_heading = "Registries")]
    pub(crate) insecure_registry: Vec<String>,
    /// A PEM file with a certificate authority that is trusted besides the machine's.
    #[arg(long, value_name = "FILE", help_heading = "Registries")]
    pub(crate) ca_file: Vec<PathBuf>,
    /// The file with credentials, in place of those of podman and docker.
    #[arg(long, value_name = "FILE", env = "REGISTRY_AUTH_FILE", help_heading = "Registries")]
    pub(crate) authfile: Option<PathBuf>,
}

/// `--pull`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PullArg {
    /// Ask the registry at each start.
    Always,
    /// Ask only for what is not here.
    Missing,
    /// Never ask.
    Never,
}

impl From<PullArg> for PullPolicy {
    fn from(pull: PullArg) -> Self {
        match pull {
            PullArg::Always => Self::Always,
            PullArg::Missing => Self::IfNotPresent,
            PullArg::Never => Self::Never,
        }
    }
}

/// The form in which `pull`, `push`, `login` and `logout` say what they did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ResultFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The flags of `wasmpod pull`.
#[derive(Debug, Parser)]
pub(crate) struct PullArgs {
    /// The images' names.
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t = ResultFormat::Text)]
    pub(crate) output: ResultFormat,
    /// Where compiled artifacts are kept.
    #[arg(long, value_name = "DIR", env = "WASMPOD_CACHE_DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
}

/// The flags of `wasmpod push`.
#[derive(Debug, Parser)]
pub(crate) struct PushArgs {
    /// A .wasm or .wat file, of which a CNCF Wasm artifact is made, or an image that is here.
    pub(crate) source: String,
    /// The name to give it in its registry: HOST/REPOSITORY:TAG.
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t = ResultFormat::Text)]
    pub(crate) output: ResultFormat,
}

/// The flags of `wasmpod login`.
#[derive(Debug, Parser)]
pub(crate) struct LoginArgs {
    /// The registry, host[:port].
    #[arg(value_name = "REGISTRY", default_value = "docker.io")]
    pub(crate) host: String,
    /// The user's name; asked for when it is not given.
    #[arg(short, long)]
    pub(crate) username: Option<String>,
    /// Read the password from standard input; it is asked for without showing it when this is not given.
    #[arg(long, action = ArgAction::SetTrue)]
    pub(crate) password_stdin: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

/// The flags of `wasmpod logout`.
#[derive(Debug, Parser)]
pub(crate) struct LogoutArgs {
    /// The registry, host[:port].
    #[arg(value_name = "REGISTRY", default_value = "docker.io")]
    pub(crate) host: String,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}
