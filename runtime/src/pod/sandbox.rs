//! What the containers of a pod share: the network, the volumes, the ports published on the machine.
//!
//! The word is the CRI's: a pod sandbox is the pod without its containers. It outlives all of them and is released last.

mod exec;
mod storage;

use super::spec::{ContainerRole, ContainerSpec, FileVariable, PodSpec, Protocol, TerminationMessagePolicy, value_in_env_file};
use super::state::ContainerIndex;
use crate::container::{
    Container, ContainerConfig, ContainerEvent, ContainerLimits, ControlGroup, PodGroup, Program, TerminationLog,
};
use crate::engine::Engine;
use crate::image::{Image, Lease};
use crate::limits::ENV_FILE_BYTES_MAX;
use crate::log::{LogWriter, OutputSink, Stream, Tail};
use crate::net::publish::{HostGateway, Published, publish_tcp, publish_udp};
use crate::net::{AddressFamily, PodAddresses, PodNet, PodNetConfig};
use crate::observe::{Phase, span};
use crate::volume::{ContainerFiles, FilesConfig, ImageFiles, PodDirectory, PodVolumes, VolumePlaces};
use crate::wasi::{Directories, Stdin, WasiConfig};
use crate::{Error, ErrorKind, Result};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use storage::StorageWatch;
use tokio::runtime::Handle;

/// What a sandbox is made with.
#[derive(Debug)]
pub struct SandboxConfig {
    /// What runs the containers.
    pub engine: Engine,
    /// The pod's addresses.
    pub addresses: PodAddresses,
    /// The directory in which the pod's own is made, with its volumes, if it needs any; removed when the pod is released.
    pub state_dir: PathBuf,
    /// The directory of persistent volume claims: `<namespace>/<claim>` in it outlives the pods. Without it a pod with a claim is
    /// refused.
    pub claims_dir: Option<PathBuf>,
    /// Ports to publish besides those of the spec.
    pub publish: Vec<PublishedPort>,
    /// Which container has standard input, and from where; the others find theirs empty.
    pub stdin: Option<(ContainerIndex, Stdin)>,
}

/// A port of the machine that leads to one of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedPort {
    /// Where the machine listens; port 0 takes a free one.
    pub host: SocketAddr,
    /// The pod's port.
    pub pod_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// What one container of a pod runs.
#[derive(Clone, Debug)]
pub struct ContainerImage {
    /// The linked program.
    pub program: Program,
    /// What is exec'd into the container instead, where the pod names an image for that.
    pub exec_program: Option<Program>,
    /// The image's digest, `sha256:…`: `imageID` in the status.
    pub id: String,
    /// The first argument of a container that has no `command`, where its image says none.
    pub entrypoint: String,
    /// What the image says of its process; none for a file.
    pub image: Option<Image>,
    /// The files that the container gets from images.
    pub files: ImageFiles,
    /// What keeps all of it in the image store.
    pub leases: Vec<Lease>,
}

impl ContainerImage {
    /// A program and nothing else.
    pub fn of_program(program: Program, id: impl Into<String>, entrypoint: impl Into<String>) -> Self {
        let (id, entrypoint) = (id.into(), entrypoint.into());
        Self { program, exec_program: None, id, entrypoint, image: None, files: ImageFiles::default(), leases: Vec::new() }
    }

    /// The container as it runs: what the image says and the container does not is filled in.
    fn configured<'a>(&self, container: &'a ContainerSpec) -> Cow<'a, ContainerSpec> {
        let Some(image) = &self.image else { return Cow::Borrowed(container) };
        let mut container = container.clone();
        image.configure(&mut container);
        Cow::Owned(container)
    }
}

/// The sandbox of one pod.
pub struct Sandbox {
    spec: Arc<PodSpec>,
    engine: Engine,
    network: PodNet,
    volumes: Arc<PodVolumes>,
    published: Vec<Published>,
    stdin: Option<(ContainerIndex, Stdin)>,
    /// The limits that its containers share.
    group: Option<Arc<PodGroup>>,
    /// The latest run of each container.
    runs: Mutex<BTreeMap<ContainerIndex, LatestRun>>,
    /// What its containers may have written.
    storage: Arc<StorageWatch>,
    /// Where work is done for guests that is not theirs.
    runtime: Handle,
}

/// What others can join while a run of a container lasts.
#[derive(Clone, Debug)]
struct LatestRun {
    group: Weak<ControlGroup>,
    files: Weak<ContainerFiles>,
    env: Arc<[(String, String)]>,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("pod", &self.spec.full_name()).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Makes the network and the volumes, and takes the machine's ports.
    ///
    /// # Errors
    /// A volume that cannot be made (reason `FailedMount`), a port of the machine that is taken
    /// ([`Conflict`](crate::ErrorKind::Conflict)).
    pub async fn prepare(spec: PodSpec, config: SandboxConfig) -> Result<Self> {
        let _phase = span(Phase::Start);
        let claims_dir = config.claims_dir.as_ref().map(|dir| dir.join(&spec.namespace));
        let places = VolumePlaces { claims_dir: claims_dir.as_deref() };
        let volumes = PodVolumes::prepare(&spec.volumes, PodDirectory::in_parent(config.state_dir), &places)?;
        let network = PodNet::new(PodNetConfig {
            hostname: spec.hostname.clone(),
            host_aliases: spec.host_aliases.clone(),
            addresses: config.addresses,
            gateway: Some(Arc::new(HostGateway::new(spec.egress.clone(), Handle::current()))),
        });
        let mut published = Vec::new();
        for port in declared_ports(&spec).chain(config.publish) {
            published.push(match port.protocol {
                Protocol::Tcp => publish_tcp(&network, port.host, port.pod_port).await?,
                Protocol::Udp => publish_udp(&network, port.host, port.pod_port).await?,
            });
        }
        let volumes = Arc::new(volumes);
        let limits = ContainerLimits { memory_bytes: spec.memory_limit_bytes, cpu_millicores: spec.cpu_limit_millicores };
        let group = (limits != ContainerLimits::default()).then(|| PodGroup::new(limits));
        Ok(Self {
            spec: Arc::new(spec),
            engine: config.engine,
            network,
            volumes,
            published,
            stdin: config.stdin,
            group,
            runs: Mutex::default(),
            storage: Arc::default(),
            runtime: Handle::current(),
        })
    }

    /// What the pod is.
    pub fn spec(&self) -> &Arc<PodSpec> {
        &self.spec
    }

    /// What runs its containers.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The pod's network.
    pub fn network(&self) -> &PodNet {
        &self.network
    }

    /// The pod's addresses, IPv4 first: `status.podIPs`.
    pub fn pod_ips(&self) -> Vec<IpAddr> {
        [AddressFamily::Ipv4, AddressFamily::Ipv6].map(|family| self.network.address(family)).to_vec()
    }

    /// Where the machine listens for the pod, in the order of the spec, then of the configuration.
    pub fn published(&self) -> &[Published] {
        &self.published
    }

    /// What was not done as the spec asks, and is not worth failing for.
    pub fn warnings(&self) -> impl Iterator<Item = String> + '_ {
        self.volumes.warnings().iter().map(ToString::to_string)
    }

    /// Starts a container of the pod, with its output in `log`. `report` is called on the guest threads and must not block.
    ///
    /// # Errors
    /// Reason `CreateContainerConfigError` when a volume cannot be mounted as the spec asks. What goes wrong later is reported.
    pub fn start(
        &self,
        index: ContainerIndex,
        image: &ContainerImage,
        log: &LogWriter,
        report: impl FnMut(ContainerEvent) + Send + 'static,
    ) -> Result<Container> {
        let config = self.container_config(index, image, log)?;
        let env = config.wasi.env.clone().into();
        let run = LatestRun { group: Arc::downgrade(&config.group), files: Arc::downgrade(&config.files), env };
        self.runs().insert(index, run);
        Ok(Container::start(&self.engine, config, report))
    }

    /// Everything that one run of a container is made from.
    fn container_config(&self, index: ContainerIndex, image: &ContainerImage, log: &LogWriter) -> Result<ContainerConfig> {
        let configured = image.configured(self.container(index)?);
        let spec = configured.with_file_variables(|variable| self.read_variable(variable))?;
        let spec = spec.as_ref();
        let wanted = FilesConfig {
            working_dir: spec.working_dir.clone(),
            file: Some(spec.termination_message_path.clone()),
            read_only_root: spec.read_only_root,
            images: image.files.clone(),
        };
        let files = Arc::new(ContainerFiles::prepare(&self.volumes, &spec.mounts, wanted)?);
        let tail = Arc::new(Tail::default());
        let fallback = spec.termination_message_policy == TerminationMessagePolicy::FallbackToLogsOnError;
        let output = |stream| -> Arc<dyn OutputSink> {
            let sink = Arc::new(log.stream(stream));
            if fallback { Arc::new(tail.of(sink)) } else { sink }
        };
        let wasi = WasiConfig {
            args: arguments(spec, image),
            env: environment(&self.spec, spec),
            working_dir: spec.working_dir.clone(),
            directories: Directories::none(),
            stdin: self.stdin.as_ref().filter(|(reader, _)| *reader == index).map_or_else(Stdin::empty, |(_, stdin)| stdin.clone()),
            stdout: output(Stream::Stdout),
            stderr: output(Stream::Stderr),
            net: self.network.container(&spec.name),
            listeners: Vec::new(),
            on_open: None,
            tls: None,
        };
        let limits = ContainerLimits { memory_bytes: spec.memory_limit_bytes, cpu_millicores: spec.cpu_limit_millicores };
        let termination = TerminationLog::new(&files, &spec.termination_message_path, fallback.then_some(tail));
        let termination = Arc::new(termination);
        let group = ControlGroup::in_pod(self.group.clone(), limits, self.storage.on_work(&self.volumes, &termination));
        let (program, ports) = (image.program.clone(), spec.ports.clone());
        Ok(ContainerConfig { program, wasi, files, ports, group, termination: Some(termination) })
    }

    /// The value of a variable that stands in a file of a volume. Who waits for the file starts again until it is there.
    fn read_variable(&self, variable: &FileVariable) -> Result<Option<String>> {
        let FileVariable { name, volume, path, key, optional } = variable;
        let failed = |error: Error| error.within(&format!("variable {name}"));
        let absent = |what: String| match optional {
            true => Ok(None),
            false => Err(failed(Error::not_found(what).with_reason("CreateContainerConfigError"))),
        };
        let Some(contents) = self.volumes.read_file(volume, path, ENV_FILE_BYTES_MAX).map_err(failed)? else {
            return absent(format!("there is no file {path:?} in the volume {volume:?}"));
        };
        let unreadable = |error: String| {
            let error = Error::new(ErrorKind::Unavailable, format!("{path:?} in the volume {volume:?}: {error}"));
            failed(error.with_reason("CreateContainerConfigError"))
        };
        let text = String::from_utf8(contents).map_err(|error| unreadable(error.to_string()))?;
        match value_in_env_file(&text, key).map_err(|error| unreadable(error.to_string()))? {
            Some(value) => Ok(Some(value)),
            None => absent(format!("environment variable key {key:?} not found in file {path:?} of the volume {volume:?}")),
        }
    }

    fn container(&self, index: ContainerIndex) -> Result<&ContainerSpec> {
        self.spec.containers.get(index.0).ok_or_else(|| Error::internal("the pod has no such container"))
    }

    fn runs(&self) -> MutexGuard<'_, BTreeMap<ContainerIndex, LatestRun>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives everything back: the machine's ports, the network, the volumes. No container may run any more, and no
    /// [`measure`](Self::measure) be under way.
    ///
    /// # Errors
    /// What could not be removed.
    pub async fn release(self) -> Result<()> {
        let Self { volumes, published, network, .. } = self;
        drop((published, network));
        if volumes.are_empty() {
            return Ok(());
        }
        let remove = move || Arc::into_inner(volumes).map_or(Ok(()), PodVolumes::remove);
        tokio::task::spawn_blocking(remove).await.unwrap_or_else(|_| Err(Error::internal("the removal of the volumes failed")))
    }
}

/// The ports that the spec publishes by `hostPort`.
fn declared_ports(spec: &PodSpec) -> impl Iterator<Item = PublishedPort> + '_ {
    // A hostPort of an init container is only wanted while it runs, which is before anybody could use it.
    let containers = spec.containers.iter().filter(|container| container.role != ContainerRole::Init);
    containers.flat_map(|container| &container.ports).filter_map(|port| {
        let host = SocketAddr::new(port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port.host_port?);
        Some(PublishedPort { host, pod_port: port.container_port, protocol: port.protocol })
    })
}

/// `command` stands for the image's entrypoint, `args` for its arguments; a plain module has no arguments of its own.
fn arguments(spec: &ContainerSpec, image: &ContainerImage) -> Vec<String> {
    let entrypoint = if spec.command.is_empty() { vec![image.entrypoint.clone()] } else { spec.command.clone() };
    [entrypoint, spec.args.clone()].concat()
}

/// The container's variables, and `HOSTNAME`, which every container of Kubernetes has.
fn environment(pod: &PodSpec, spec: &ContainerSpec) -> Vec<(String, String)> {
    let mut env = spec.env.clone();
    if !env.iter().any(|(name, _)| name == "HOSTNAME") {
        env.insert(0, ("HOSTNAME".to_owned(), pod.hostname.clone()));
    }
    env
}
