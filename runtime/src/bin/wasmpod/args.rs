//! What one can type: the flags, and their conversion into values that the rest of the program takes.

mod bench;
mod deferred;
mod image;
mod registry;

use crate::shim::ShimArgs;
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use deferred::Deferred;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use wasmpod::manifest::{PodSecurity, Selector};
use wasmpod::net::EgressPolicy;
use wasmpod::pod::spec::Protocol;

pub(crate) use bench::{BenchArgs, BenchFormat, Mode};
pub(crate) use image::{ImagesArgs, InspectArgs, LoadArgs, PruneArgs, RemoveArgs, SaveArgs, TableFormat, TagArgs, TextFormat};
pub(crate) use registry::{LoginArgs, LogoutArgs, PullArg, PullArgs, PushArgs, RegistryArgs, ResultFormat};

/// Run WebAssembly pods: each container one Wasm instance, all of them on one network that lives inside this process.
#[derive(Debug, Parser)]
#[command(name = "wasmpod", version, max_term_width = 110)]
pub(crate) struct Args {
    /// Say more on stderr: -v what happens, -vv in detail, -vvv everything.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// Where wasmpod keeps its data, images among it [default: wasmpod in the user's data directory].
    #[arg(long, value_name = "DIR", env = "WASMPOD_ROOT", global = true)]
    pub(crate) root: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The verbs, one file each.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the Pods, Deployments, StatefulSets and Jobs of a manifest, or a single WebAssembly file, in the foreground.
    ///
    /// Deployments and their like run until Ctrl-C; a manifest of Pods that end and of Jobs runs until all have ended. The exit
    /// status is 0 when everything succeeded, the failing container's own when a Pod or a Job failed, 130 after Ctrl-C, 124 after
    /// --timeout, 141 when nobody reads the output any more, and 1 or 2 when it could not be started at all.
    Run(Deferred<RunArgs>),
    /// Measure how fast images, WebAssembly files and pods start, beside what one would use instead.
    ///
    /// The exit status is 0 when everything was measured, 130 after Ctrl-C, which shows what was measured until then, and 1 or 2 when
    /// something failed.
    Bench(Deferred<BenchArgs>),
    /// Check manifests without running them, and say what becomes of every field that they set.
    ///
    /// The exit status is 0 when all are valid and 2 when one is not.
    Validate(Deferred<ValidateArgs>),
    /// Say what becomes of a field, such as pod.spec.containers.livenessProbe, or of every field.
    Explain(Deferred<ExplainArgs>),
    /// List the images that are here.
    Images(Deferred<ImagesArgs>),
    /// Show what an image is: its digests, sizes and config, what its program imports and exports, and what a pod would grant it.
    Inspect(Deferred<InspectArgs>),
    /// Remove images by their names, and what nothing else needs of them.
    Rmi(Deferred<RemoveArgs>),
    /// Remove what no image needs: blobs without a name, broken-off downloads, old root file systems.
    ///
    /// What a running pod or pull of any wasmpod process uses stays.
    Prune(Deferred<PruneArgs>),
    /// Write images into an OCI archive, which podman, skopeo and wasmpod can read.
    Save(Deferred<SaveArgs>),
    /// Read images from an archive: an OCI archive, or one by `docker save` or `podman save`.
    Load(Deferred<LoadArgs>),
    /// Give an image one more name.
    Tag(Deferred<TagArgs>),
    /// Bring images here from their registries, verified, and compile them.
    Pull(Deferred<PullArgs>),
    /// Upload an image, or a WebAssembly file as a CNCF Wasm artifact, to a registry.
    Push(Deferred<PushArgs>),
    /// Keep a credential for a registry, once the registry has accepted it, where podman and docker keep theirs.
    Login(Deferred<LoginArgs>),
    /// Forget the credential for a registry.
    Logout(Deferred<LogoutArgs>),
    /// Run pods under containerd and Kubernetes.
    Shim(Deferred<ShimArgs>),
}

/// The flags of `wasmpod validate`.
#[derive(Debug, Parser)]
pub(crate) struct ValidateArgs {
    /// A manifest (YAML or JSON), or `-` for one from standard input; may be given several times.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Leave out objects of kinds that wasmpod does not know, instead of calling them an error.
    #[arg(long)]
    pub(crate) ignore_unknown: bool,
    /// Check against this level of the Pod Security Standards too: privileged, baseline or restricted.
    #[arg(long, value_name = "LEVEL", default_value = "privileged", value_parser = parse_pod_security)]
    pub(crate) pod_security: PodSecurity,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = TextFormat::Text)]
    pub(crate) output: TextFormat,
}

/// The flags of `wasmpod explain`.
#[derive(Debug, Parser)]
pub(crate) struct ExplainArgs {
    /// The field, by the kind of its object: pod.spec.containers.image.
    #[arg(required_unless_present = "support", conflicts_with = "support")]
    pub(crate) field: Option<String>,
    /// Print the whole table: every field that Kubernetes has, and what becomes of it.
    #[arg(long)]
    pub(crate) support: bool,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = TextFormat::Text)]
    pub(crate) output: TextFormat,
}

/// The flags of `wasmpod run`.
#[derive(Debug, Parser)]
pub(crate) struct RunArgs {
    /// A manifest (YAML or JSON), `-` for one from standard input, a .wasm or .wat file, or an image: of a registry, oci:DIR[:TAG] or
    /// oci-archive:FILE[:TAG].
    pub(crate) target: PathBuf,
    /// Arguments for the WebAssembly file or image; a manifest has its own.
    #[arg(last = true)]
    pub(crate) args: Vec<String>,
    /// Run only the pods with these labels: app=web,tier!=cache,release in (a,b),!canary.
    #[arg(short = 'l', long, value_name = "LABELS", value_parser = parse_selector)]
    pub(crate) selector: Option<Selector>,
    /// Leave out objects of kinds that wasmpod does not run, with a warning, instead of refusing the manifest.
    #[arg(long)]
    pub(crate) ignore_unknown: bool,
    /// Put the container's name before each line that it prints: when several containers print to a terminal, always, or never.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = PrefixArg::Auto)]
    pub(crate) prefix: PrefixArg,
    /// Let what the containers print command the terminal: colours, cursor, window title and all.
    ///
    /// Without it a terminal shows escape sequences and other control characters written out, such as \u{1b}; pipes and files always
    /// get what was printed.
    #[arg(long)]
    pub(crate) raw: bool,
    /// Publish a port of the pod on this machine: [IP:]HOST:CONTAINER[/udp].
    #[arg(short, long, value_name = "PORTS")]
    pub(crate) publish: Vec<PublishArg>,
    /// Set an environment variable in every container: NAME=VALUE, or NAME to pass this one's own.
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<EnvArg>,
    /// Mount a directory of this machine in every container: HOST:CONTAINER[:ro].
    #[arg(long, value_name = "DIRS")]
    pub(crate) volume: Vec<VolumeArg>,
    /// Stop the pods after this time, such as 90s, 5m or 1h; the exit status is then 124.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// What of the outside world the pods may reach: internet, none, or a list such as api.example.com:443,10.0.0.0/8.
    ///
    /// Entries are [tcp://|udp://]HOST[:PORT], where HOST is a name, *.NAME, an address or ADDRESS/BITS. The annotation
    /// wasmpod.dev/egress of a pod narrows it further. This machine's own loopback is reached only where host.wasmpod.internal[:PORT]
    /// is an entry, and under that name; its link-local addresses only when an entry is that very address.
    #[arg(long, value_name = "POLICY", value_parser = parse_egress, default_value = "internet")]
    pub(crate) egress: EgressPolicy,
    /// Refuse pods that break this level of the Pod Security Standards: privileged, baseline or restricted.
    #[arg(long, value_name = "LEVEL", default_value = "privileged", value_parser = parse_pod_security)]
    pub(crate) pod_security: PodSecurity,
    /// The first pause before a crashed container, or a Job's failed pod, is replaced, or an image pulled again; it doubles up to 300s
    /// (360s for pods).
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10s")]
    pub(crate) restart_backoff_initial: Duration,
    /// At the end, print the Pods and Jobs with their status on stdout, several as a List; the containers' output goes to stderr then.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
    /// When registries are asked for images, whatever the manifest says.
    #[arg(long, value_enum, value_name = "WHEN", help_heading = "Registries")]
    pub(crate) pull: Option<PullArg>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// Show on stderr what happens to the pods, one event a line: the pod's age, type, reason, object, message.
    #[arg(long)]
    pub(crate) events: bool,
    /// Where compiled artifacts are kept.
    #[arg(long, value_name = "DIR", env = "WASMPOD_CACHE_DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Write into this file when each phase of the start began and ended: how `wasmpod bench` sees inside.
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) phases: Option<PathBuf>,
}

/// The form in which `--output` prints.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum OutputFormat {
    /// One JSON document.
    Json,
    /// One YAML document a pod.
    Yaml,
}

/// `--prefix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrefixArg {
    /// When several containers print to a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// `[IP:]HOST:CONTAINER[/PROTOCOL]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublishArg {
    pub(crate) host_ip: Option<IpAddr>,
    pub(crate) host_port: u16,
    pub(crate) container_port: u16,
    pub(crate) protocol: Protocol,
}

impl FromStr for PublishArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (ports, protocol) = match text.rsplit_once('/') {
            None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some((_, other)) => return Err(format!("unknown protocol {other:?}: use tcp or udp")),
        };
        let (rest, container) =
            ports.rsplit_once(':').ok_or("expected [IP:]HOST:CONTAINER, such as 8080:80 or 127.0.0.1:8080:80")?;
        let (host_ip, host) = match rest.rsplit_once(':') {
            None => (None, rest),
            Some((ip, host)) => {
                let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
                (Some(bare.parse().map_err(|_| format!("{ip:?} is not an IP address"))?), host)
            }
        };
        Ok(Self { host_ip, host_port: parse_port(host, 0)?, container_port: parse_port(container, 1)?, protocol })
    }
}

/// An error with its hint, in the one line that clap shows.
fn in_one_line(error: &wasmpod::Error) -> String {
    error.advice().map_or_else(|| error.chain(), |hint| format!("{}; {hint}", error.chain()))
}

fn parse_selector(text: &str) -> Result<Selector, String> {
    Selector::parse(text).map_err(|error| in_one_line(&error))
}

fn parse_egress(text: &str) -> Result<EgressPolicy, String> {
    EgressPolicy::parse(text).map_err(|error| in_one_line(&error))
}

fn parse_pod_security(text: &str) -> Result<PodSecurity, String> {
    text.parse().map_err(|error| in_one_line(&error))
}

fn parse_port(text: &str, least: u16) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port >= least => Ok(port),
        _ => Err(format!("{text:?} is not a port: use {least} to 65535")),
    }
}

/// `NAME=VALUE`, or `NAME` for the value that the variable has here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvArg {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

impl FromStr for EnvArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() {
            return Err("the variable has no name: write NAME=VALUE".to_owned());
        }
        Ok(Self { name: name.to_owned(), value })
    }
}

/// `HOST:CONTAINER[:ro|:rw]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeArg {
    pub(crate) host: PathBuf,
    pub(crate) container: String,
    pub(crate) read_only: bool,
}

impl FromStr for VolumeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (paths, read_only) = match text.strip_suffix(":ro") {
            Some(paths) => (paths, true),
            None => (text.strip_suffix(":rw").unwrap_or(text), false),
        };
        match paths.split_once(':') {
            Some((host, container)) if !host.is_empty() && container.starts_with('/') => {
                Ok(Self { host: PathBuf::from(host), container: container.to_owned(), read_only })
            }
            _ => Err("expected HOST:CONTAINER[:ro] with an absolute CONTAINER path, such as ./data:/data".to_owned()),
        }
    }
}

/// A time as Kubernetes' and Go's tools take it: a whole or decimal number with a unit, or several after one another (`1m30s`).
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time: write a number with a unit, such as 500ms, 10s, 5m or 1h30m");
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_agree_with_one_another() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn publish_takes_an_address_two_ports_and_a_protocol() {
        let publish = |text: &str| text.parse::<PublishArg>();
        let parsed = publish("127.0.0.1:8080:80/udp").unwrap();
        assert_eq!((parsed.host_ip, parsed.host_port), (Some("127.0.0.1".parse().unwrap()), 8080));
        assert_eq!((parsed.container_port, parsed.protocol), (80, Protocol::Udp));
        assert_eq!(publish("[::1]:1:2/tcp").unwrap().host_ip, Some("::1".parse().unwrap()));
        assert_eq!(publish("0:80").unwrap().host_port, 0);
        for wrong in ["80", "80:0", "70000:1", "a:b", "1:2/sctp", "host:1:2"] {
            assert!(publish(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("0.5s"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "10", "s", "10x", "-1s", "1.2.3s", "99999999999999999999h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn volumes_have_two_paths() {
        let volume: VolumeArg = "./data:/data:ro".parse().unwrap();
        assert_eq!(volume, VolumeArg { host: "./data".into(), container: "/data".to_owned(), read_only: true });
        assert!("data".parse::<VolumeArg>().is_err());
        assert!("a:b".parse::<VolumeArg>().is_err());
    }
}
