//! The OCI bundle: what of `config.json` means something to a WebAssembly container.
//!
//! | of the bundle | becomes |
//! |---|---|
//! | annotations of the CRI | the container's part in its pod ([`Role`]), its name, its image |
//! | `process.args`, `env`, `cwd` | the same |
//! | bind mounts, tmpfs mounts | mounts in the root file system |
//! | proc, sysfs, cgroup, mqueue, devpts, what lies in `/dev`, `/proc`, `/sys` | nothing: there is no kernel to show |
//! | `root.readonly` | a root file system that cannot be changed |
//! | `linux.resources` | memory and CPU limits |
//! | namespaces: network | where the pod's sockets are ([`Network`]); the others mean nothing |
//! | users, capabilities, seccomp, rlimits, devices | nothing: a guest has none of it to begin with |

use crate::limits::CONFIG_BYTES_MAX;
use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxResources, Mount, Spec};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use wasmpod::{Error, Result};

/// The kernel's own period of a CPU quota.
const CPU_PERIOD_MICROSECONDS: u64 = 100_000;
const CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";
const SANDBOX_ID: &str = "io.kubernetes.cri.sandbox-id";
const CONTAINER_NAME: &str = "io.kubernetes.cri.container-name";
const IMAGE_NAME: &str = "io.kubernetes.cri.image-name";

/// The part that a container plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The sandbox of a pod: runs nothing, and its pod lives as long as it.
    Sandbox,
    /// A container of the pod with this sandbox.
    Member {
        /// The sandbox's id.
        sandbox: String,
    },
    /// A container that knows of no pod (`ctr run`): a pod of one.
    Alone,
}

impl Role {
    fn of(annotations: &BTreeMap<String, String>) -> Self {
        match (annotations.get(CONTAINER_TYPE).map(String::as_str), annotations.get(SANDBOX_ID)) {
            (Some("sandbox"), _) => Self::Sandbox,
            (Some("container"), Some(sandbox)) => Self::Member { sandbox: sandbox.clone() },
            _ => Self::Alone,
        }
    }

    /// What the containers of a pod have in common: the sandbox's id.
    pub(crate) fn group<'a>(&'a self, id: &'a str) -> &'a str {
        match self {
            Self::Member { sandbox } => sandbox,
            Self::Sandbox | Self::Alone => id,
        }
    }
}

/// Reads from the bundle no more than the part that its container plays: `start` needs nothing else, and has to be quick.
///
/// # Errors
/// There is no `config.json`, or it is no JSON.
pub(crate) fn role(bundle: &Path) -> Result<Role> {
    #[derive(Deserialize)]
    struct Annotated {
        #[serde(default)]
        annotations: Option<BTreeMap<String, String>>,
    }
    let config: Annotated = read(bundle)?;
    Ok(Role::of(&config.annotations.unwrap_or_default()))
}

/// Where the pod's sockets are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// The machine's own network.
    Host,
    /// A new network namespace: one without a way out.
    Isolated,
    /// The network namespace at this path.
    Namespace(PathBuf),
}

/// What is said of the limits that are enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    /// Memory, in bytes.
    pub(crate) memory_limit_bytes: Limit,
    /// Thousandths of a processor.
    pub(crate) cpu_limit_millicores: Limit,
}

/// What is said of one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Nothing: what held before holds.
    #[default]
    Unnamed,
    /// That there is none.
    None,
    /// That it is this.
    At(u64),
}

impl Limit {
    /// As the OCI specification has it: 0 says nothing, a negative number that there is no limit.
    fn of(value: Option<i64>) -> Self {
        match value.map(u64::try_from) {
            None | Some(Ok(0)) => Self::Unnamed,
            Some(Ok(value)) => Self::At(value),
            Some(Err(_)) => Self::None,
        }
    }

    /// What holds then, of what held before.
    pub(crate) fn after(self, before: Option<u64>) -> Option<u64> {
        match self {
            Self::Unnamed => before,
            Self::None => None,
            Self::At(value) => Some(value),
        }
    }
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MountSource {
    /// A directory or file of the machine.
    Bind {
        /// Its path.
        path: PathBuf,
        /// With what is mounted below it.
        recursive: bool,
    },
    /// An empty file system in memory, with these options.
    Tmpfs(Vec<String>),
}

/// A mount in the root file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountPlan {
    /// Where in the container.
    pub(crate) destination: PathBuf,
    /// What.
    pub(crate) source: MountSource,
    /// Whether it cannot be changed there.
    pub(crate) read_only: bool,
}

/// What runs, of a container or of an `exec`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ProcessPlan {
    /// The program and its arguments.
    pub(crate) args: Vec<String>,
    /// The variables.
    pub(crate) env: Vec<(String, String)>,
    /// The working directory.
    pub(crate) cwd: String,
}

/// All that is to be known of a container.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Its part in the pod.
    pub(crate) role: Role,
    /// Its name in the pod, or its id.
    pub(crate) name: String,
    /// The image that it was made from, where the CRI says so.
    pub(crate) image: Option<String>,
    /// What the pod calls itself.
    pub(crate) hostname: String,
    /// What runs.
    pub(crate) process: ProcessPlan,
    /// The root file system, absolute.
    pub(crate) root: PathBuf,
    /// Whether the root file system cannot be changed.
    pub(crate) root_read_only: bool,
    /// What is mounted in it, in order.
    pub(crate) mounts: Vec<MountPlan>,
    /// Where the pod's sockets are.
    pub(crate) network: Network,
    /// `linux.cgroupsPath`.
    pub(crate) cgroup: Option<String>,
    /// The limits.
    pub(crate) resources: Resources,
}

impl Plan {
    /// Reads the bundle of the container `id`.
    ///
    /// # Errors
    /// `config.json` is missing, too long, or not one of a Linux container.
    pub(crate) fn read(bundle: &Path, id: &str) -> Result<Self> {
        let spec: Spec = read(bundle)?;
        Ok(Self::of(&spec, bundle, id))
    }

    fn of(spec: &Spec, bundle: &Path, id: &str) -> Self {
        let annotations: BTreeMap<String, String> = spec.annotations().clone().unwrap_or_default().into_iter().collect();
        let linux = spec.linux().as_ref();
        let root = spec.root().as_ref();
        Self {
            role: Role::of(&annotations),
            name: annotations.get(CONTAINER_NAME).cloned().unwrap_or_else(|| id.to_owned()),
            image: annotations.get(IMAGE_NAME).cloned(),
            hostname: spec.hostname().clone().filter(|name| !name.is_empty()).unwrap_or_else(|| id.to_owned()),
            process: spec.process().as_ref().map(ProcessPlan::of).unwrap_or_default(),
            root: bundle.join(root.map_or_else(|| Path::new("rootfs"), |root| root.path().as_path())),
            root_read_only: root.and_then(|root| root.readonly()).unwrap_or(false),
            mounts: spec.mounts().iter().flatten().filter_map(mount).collect(),
            network: network(linux),
            cgroup: linux.and_then(|linux| linux.cgroups_path().as_ref()).map(|path| path.display().to_string()),
            resources: linux.and_then(|linux| linux.resources().as_ref()).map(Resources::of).unwrap_or_default(),
        }
    }

    /// Where on the machine the container's `path` comes from, if something is mounted exactly there.
    pub(crate) fn bind_source(&self, path: &str) -> Option<&Path> {
        self.mounts.iter().find(|mount| mount.destination == Path::new(path)).and_then(|mount| match &mount.source {
            MountSource::Bind { path, .. } => Some(path.as_path()),
            MountSource::Tmpfs(_) => None,
        })
    }
}

impl ProcessPlan {
    /// From the `process` of a bundle, or the one that `exec` brings.
    pub(crate) fn of(process: &oci_spec::runtime::Process) -> Self {
        let variable = |text: &String| {
            let (name, value) = text.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        Self {
            args: process.args().clone().unwrap_or_default(),
            env: process.env().iter().flatten().filter_map(variable).collect(),
            cwd: process.cwd().display().to_string(),
        }
    }
}

impl Default for ProcessPlan {
    fn default() -> Self {
        Self { args: Vec::new(), env: Vec::new(), cwd: "/".to_owned() }
    }
}

impl Resources {
    /// From the `resources` of a bundle, or those that `Update` brings.
    pub(crate) fn of(resources: &LinuxResources) -> Self {
        let memory = Limit::of(resources.memory().as_ref().and_then(|memory| memory.limit()));
        let cpu = match resources.cpu().as_ref().map(|cpu| (Limit::of(cpu.quota()), cpu.period())) {
            Some((Limit::At(quota), period)) => {
                let period = period.filter(|period| *period > 0).unwrap_or(CPU_PERIOD_MICROSECONDS);
                Limit::At((quota.saturating_mul(1000) / period).max(1))
            }
            Some((unlimited, _)) => unlimited,
            None => Limit::Unnamed,
        };
        Self { memory_limit_bytes: memory, cpu_limit_millicores: cpu }
    }
}

fn read<T: serde::de::DeserializeOwned>(bundle: &Path) -> Result<T> {
    let path = bundle.join("config.json");
    let at = |error: Error| error.at(path.display().to_string());
    let mut bytes = Vec::new();
    let file = File::open(&path).map_err(|error| at(Error::io("cannot open the bundle's configuration", error)))?;
    let read = file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| at(Error::io("cannot read the bundle's configuration", error)))?;
    if bytes.len() as u64 > CONFIG_BYTES_MAX {
        return Err(at(Error::limit(format!("the bundle's configuration is longer than {CONFIG_BYTES_MAX} bytes"))));
    }
    serde_json::from_slice(&bytes).map_err(|error| at(Error::invalid("no configuration of an OCI bundle").because(error)))
}

fn network(linux: Option<&Linux>) -> Network {
    let namespaces = linux.and_then(|linux| linux.namespaces().as_ref()).into_iter().flatten();
    let own = namespaces.into_iter().find(|namespace| namespace.typ() == LinuxNamespaceType::Network);
    match own.map(|namespace| namespace.path().clone().filter(|path| path.as_os_str() != "")) {
        None => Network::Host,
        Some(None) => Network::Isolated,
        Some(Some(path)) => Network::Namespace(path),
    }
}

fn mount(mount: &Mount) -> Option<MountPlan> {
    let options = mount.options().clone().unwrap_or_default();
    let has = |option: &str| options.iter().any(|given| given == option);
    let destination = mount.destination().clone();
    let source = match mount.typ().as_deref() {
        kind if kind == Some("bind") || has("bind") || has("rbind") => {
            let recursive = !has("bind") || has("rbind");
            MountSource::Bind { path: mount.source().clone()?, recursive }
        }
        Some("tmpfs") if !is_pseudo(&destination) => {
            MountSource::Tmpfs(options.iter().filter(|option| !matches!(option.as_str(), "ro" | "rw")).cloned().collect())
        }
        _ => return None,
    };
    // What a kernel shows of itself has no meaning for a guest, wherever it comes from.
    let shown = destination.starts_with("/proc") || destination.starts_with("/sys");
    (!shown).then(|| MountPlan { destination, source, read_only: has("ro") })
}

/// Where every Linux container has a tmpfs that no WebAssembly program looks for.
fn is_pseudo(destination: &Path) -> bool {
    let first = destination.components().find(|part| !matches!(part, Component::RootDir));
    first.is_none_or(|part| ["dev", "proc", "sys", "run"].iter().any(|name| part.as_os_str() == *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(config: &str) -> Plan {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let plan = Plan::read(folder.path(), "id").unwrap();
        assert_eq!(role(folder.path()).unwrap(), plan.role);
        plan
    }

    const CONTAINER: &str = include_str!("testdata/container.json");
    const SANDBOX: &str = include_str!("testdata/sandbox.json");

    #[test]
    fn a_container_of_kubernetes() {
        let plan = plan(CONTAINER);
        assert_eq!(plan.role, Role::Member { sandbox: "5a4d".to_owned() });
        assert_eq!(plan.role.group("id"), "5a4d");
        assert_eq!((plan.name.as_str(), plan.image.as_deref()), ("web", Some("registry.example/web:1")));
        assert_eq!((plan.process.args.join(" ").as_str(), plan.process.cwd.as_str()), ("/app.wasm --port 80", "/data"));
        assert_eq!(plan.process.env[1], ("GREETING".to_owned(), "a=b".to_owned()));
        let limits = Resources { memory_limit_bytes: Limit::At(64 << 20), cpu_limit_millicores: Limit::At(250) };
        assert_eq!((plan.resources, plan.root_read_only), (limits, true));
        assert_eq!(plan.network, Network::Namespace("/proc/77/ns/net".into()));
    }

    #[test]
    fn bind_mounts_stay_and_pseudo_file_systems_go() {
        let plan = plan(CONTAINER);
        let destinations: Vec<_> = plan.mounts.iter().map(|mount| (mount.destination.to_str().unwrap(), mount.read_only)).collect();
        let expected = [("/etc/hosts", false), ("/dev/termination-log", false), ("/etc/resolv.conf", true), ("/scratch", false)];
        assert_eq!(destinations, expected);
        assert_eq!(plan.bind_source("/etc/hosts"), Some(Path::new("/var/lib/kubelet/pods/1/etc-hosts")));
        assert_eq!(plan.mounts[3].source, MountSource::Tmpfs(vec!["size=1m".to_owned()]));
    }

    #[test]
    fn a_sandbox_is_recognised_and_is_its_own_group() {
        let plan = plan(SANDBOX);
        assert_eq!((plan.role.clone(), plan.role.group("id")), (Role::Sandbox, "id"));
        assert_eq!(plan.network, Network::Namespace("/var/run/netns/cni-1".into()));
        assert_eq!(plan.cgroup.as_deref(), Some("/kubepods/burstable/pod1/5a4d"));
        assert_eq!(plan.hostname, "shop");
    }

    #[test]
    fn a_container_without_a_pod_is_alone() {
        let plan = plan(r#"{"ociVersion":"1.0.2","root":{"path":"rootfs"},"linux":{"namespaces":[{"type":"network"}]}}"#);
        assert_eq!((plan.role, plan.network), (Role::Alone, Network::Isolated));
        let plan = self::plan(r#"{"ociVersion":"1.0.2","linux":{"resources":{"cpu":{"quota":-1},"memory":{"limit":0}}}}"#);
        let none = Resources { memory_limit_bytes: Limit::Unnamed, cpu_limit_millicores: Limit::None };
        assert_eq!((plan.network, plan.resources), (Network::Host, none));
    }

    #[test]
    fn a_limit_that_is_not_named_stays_and_one_below_zero_goes() {
        assert_eq!(Limit::of(None).after(Some(7)), Some(7));
        assert_eq!(Limit::of(Some(0)).after(Some(7)), Some(7));
        assert_eq!(Limit::of(Some(-1)).after(Some(7)), None);
        assert_eq!(Limit::of(Some(9)).after(Some(7)), Some(9));
    }

    #[test]
    fn what_is_no_configuration_is_named_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(role(folder.path()).unwrap_err().to_string().ends_with("config.json: cannot open the bundle's configuration"));
        std::fs::write(folder.path().join("config.json"), "{").unwrap();
        assert_eq!(role(folder.path()).unwrap_err().kind(), wasmpod::ErrorKind::Invalid);
    }
}
