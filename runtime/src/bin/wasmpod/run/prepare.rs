//! Makes everything ready that a pod needs before its first container starts.
//!
//! All that can be wrong with what the user gave is found here, before anything runs: files that are missing or no WebAssembly,
//! imports that nobody provides, ports in use, volumes that are not there. What registries have to say comes later.

use super::programs::{Programs, user_of};
use super::publish;
use super::target::Target;
use crate::args::{EnvArg, RunArgs, VolumeArg};
use crate::engine::engine;
use crate::progress::Progress;
use crate::{environment, image_store, report};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;
use wasmpod::engine::{Engine, EngineMode};
use wasmpod::manifest::{LowerContext, LoweredPod, Manifest};
use wasmpod::net::{Cluster, ClusterMember, ClusterPod, EgressPolicy, NamedPort, PodAddresses};
use wasmpod::pod::spec::{ContainerRole, HostPathType, PodSpec, VolumeMount, VolumeSource, VolumeSpec};
use wasmpod::pod::state::ContainerIndex;
use wasmpod::pod::{ContainerImage, ImagePuller, PublishedPort, Sandbox, SandboxConfig};
use wasmpod::wasi::Stdin;
use wasmpod::workload::{Replica, WorkloadSpec};
use wasmpod::{Error, Result};

/// The volumes that `--volume` adds are called this, with a number.
const EXTRA_VOLUME: &str = "wasmpod-volume";

/// A pod that can be started.
pub(crate) struct Prepared {
    /// What the manifest says, defaults filled in.
    pub(crate) object: v1::Pod,
    /// Its network and volumes.
    pub(crate) sandbox: Sandbox,
    /// Who brings what its containers run.
    pub(crate) puller: Arc<dyn ImagePuller>,
    /// How each container is called when its image is spoken of; by nothing where it is plain.
    pub(crate) users: Vec<Option<String>>,
    /// Its place in the network between the pods.
    pub(crate) member: ClusterMember,
}

/// What every pod of the run is made ready with.
pub(crate) struct Kit {
    manifest: Manifest,
    engine: Engine,
    programs: Arc<Programs>,
    cluster: Cluster,
    env: Vec<(String, String)>,
    volumes: Vec<VolumeArg>,
    egress: EgressPolicy,
    /// For each workload.
    publish: Vec<Vec<PublishedPort>>,
    /// Where claimed volumes are.
    claims_dir: Option<PathBuf>,
    is_file: bool,
    /// Where relative image paths start.
    base: PathBuf,
}

impl Kit {
    /// Makes everything ready that the pods share, and looks at the first pod of each workload, so that what is wrong with any of
    /// them is said before anything runs; `tell` says what is not worth failing for.
    pub(crate) async fn assemble(
        args: &RunArgs,
        target: Target,
        root: Option<&Path>,
        mode: EngineMode,
        tell: fn(&str),
    ) -> Result<Self> {
        target.manifest.check_pod_security(args.pod_security)?;
        let progress = Progress::new();
        // Whoever wants a pool has many at a time.
        let guests = target.guests.filter(|_| mode == EngineMode::Once);
        let engine = engine(args.cache_dir.clone(), mode, guests, &progress)?;
        let programs = Arc::new(Programs::new(args, root, &engine, &target, &progress));
        let mut kit = Self {
            engine,
            programs,
            cluster: Cluster::new(),
            env: args.env.iter().map(extra_env).collect::<Result<Vec<_>>>()?,
            volumes: args.volume.clone(),
            egress: args.egress.clone(),
            publish: Vec::new(),
            claims_dir: image_store::root(root).ok().map(|root| root.join("volumes")),
            is_file: target.is_file,
            base: target.base,
            manifest: target.manifest,
        };
        // Any address will do to see whether a pod can be lowered.
        let addresses = kit.cluster.take()?;
        let mut lowered = kit.manifest.lower(|_| kit.context(&addresses))?;
        for pod in &mut lowered {
            kit.adjust(&mut pod.spec)?;
        }
        let warnings = lowered.iter().flat_map(|pod| pod.warnings.iter().map(ToString::to_string));
        warnings.chain(kit.manifest.object_warnings()).chain(kit.manifest.skipped().iter().cloned()).for_each(|text| tell(&text));
        kit.programs.load_local(lowered.iter().map(|pod| &pod.spec)).await?;
        let counts = kit.manifest.workloads().map(WorkloadSpec::pods_at_once);
        kit.publish = publish::assign(&args.publish, lowered.iter().map(|pod| &pod.spec).zip(counts))?;
        Ok(kit)
    }

    /// The network between the pods.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What the manifest says.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where relative image paths start.
    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    /// Brings what a pod of a workload runs, for who wants it here before the pod begins: one for each container, in their order.
    pub(crate) async fn pull(&self, workload: usize, replica: &Replica) -> Result<Vec<ContainerImage>> {
        let spec = Arc::new(self.lower(workload, replica, &self.cluster.take()?).await?.spec);
        let puller = self.programs.puller(&spec);
        let pulls = spec.containers.iter().enumerate().map(|(index, container)| {
            let pull = puller.pull(ContainerIndex(index), Arc::new(|_| ()));
            let within = |error: Error| if self.is_file { error } else { error.within(&user_of(&spec, container)) };
            async move { pull.await.map(|pulled| pulled.image).map_err(|failed| within(failed.error)) }
        });
        try_join_all(pulls).await
    }

    /// Makes one pod of a workload ready to start.
    pub(crate) async fn prepare(&self, workload: usize, replica: &Replica) -> Result<Prepared> {
        let addresses = self.cluster.take()?;
        let pod = self.lower(workload, replica, &addresses).await?;
        let publish = self.publish.get(workload).cloned().unwrap_or_default();
        let any_port = publish.iter().any(|port| port.host.port() == 0);
        let config = SandboxConfig {
            engine: self.engine.clone(),
            addresses,
            state_dir: environment::temporary_dir(),
            claims_dir: self.claims_dir.clone(),
            publish,
            stdin: self.is_file.then(|| (ContainerIndex(0), Stdin::reader(tokio::io::stdin()))),
        };
        let pod_name = format!("pod {}", pod.spec.name);
        let within = |error: Error| match error.subject().filter(|field| field.starts_with("spec.")) {
            // It is about a field of the manifest: say where that stands.
            Some(field) => {
                self.manifest.locate(workload, field).map_or_else(|| Error::internal("no such pod"), |place| error.at(place))
            }
            None => error.within(&pod_name),
        };
        let sandbox = Sandbox::prepare(pod.spec, config).await.map_err(within)?;
        for chosen in sandbox.published().iter().filter(|_| any_port) {
            report::note(&format!("published on {}", chosen.address()));
        }
        let member = self.cluster.join(cluster_pod(sandbox.spec(), &pod.pod), sandbox.network());
        let user = |container| (!self.is_file).then(|| user_of(sandbox.spec(), container));
        let users = sandbox.spec().containers.iter().map(user).collect();
        Ok(Prepared { object: pod.pod, puller: self.programs.puller(sandbox.spec()), users, sandbox, member })
    }

    /// What the manifest and the command line say of one pod of a workload; what it names of this machine is loaded then.
    async fn lower(&self, workload: usize, replica: &Replica, addresses: &PodAddresses) -> Result<LoweredPod> {
        let mut pod = self.manifest.lower_replica(workload, replica, &self.context(addresses))?;
        self.adjust(&mut pod.spec)?;
        // All but what this replica alone names is here already.
        self.programs.load_local([&pod.spec]).await?;
        Ok(pod)
    }

    fn context(&self, addresses: &PodAddresses) -> LowerContext {
        LowerContext {
            pod_ips: vec![addresses.ipv4().into(), addresses.ipv6().into()],
            host_ips: host_ips(),
            node_cpu_millis: || environment::processors().saturating_mul(1000),
            extra_env: self.env.clone(),
            egress: self.egress.clone(),
            ..LowerContext::new(Uuid::new_v4().to_string())
        }
    }

    /// What the command line says of every pod.
    fn adjust(&self, spec: &mut PodSpec) -> Result<()> {
        for (index, volume) in self.volumes.iter().enumerate() {
            add_volume(spec, volume, format!("{EXTRA_VOLUME}-{index}"))?;
        }
        Ok(())
    }
}

/// So many containers are started sooner without a pool than with one that must be laid out first.
const CONTAINERS_WITHOUT_POOL_MAX: u64 = 16;

/// The engine's mode for running `manifest` once.
pub(super) fn mode(manifest: &Manifest) -> EngineMode {
    if containers(manifest) <= CONTAINERS_WITHOUT_POOL_MAX { EngineMode::Once } else { EngineMode::Run }
}

/// How many containers there will be in all, those of later pods among them.
fn containers(manifest: &Manifest) -> u64 {
    let of_pod = |pod: &v1::Pod| {
        let spec = pod.spec.as_ref();
        spec.map_or(0, |spec| spec.containers.len() + spec.init_containers.as_ref().map_or(0, Vec::len))
    };
    let of_workload = |(workload, pod): (&WorkloadSpec, &v1::Pod)| {
        u64::from(workload.pods_in_all()).saturating_mul(u64::try_from(of_pod(pod)).unwrap_or(u64::MAX))
    };
    manifest.workloads().zip(manifest.pods()).map(of_workload).fold(0, u64::saturating_add)
}

/// The pod as Services see it.
fn cluster_pod(spec: &PodSpec, object: &v1::Pod) -> ClusterPod {
    let containers = spec.containers.iter().filter(|container| container.role != ContainerRole::Init);
    let named = containers
        .flat_map(|container| &container.ports)
        .filter_map(|port| Some(NamedPort { name: port.name.clone()?, port: port.container_port, protocol: port.protocol }));
    ClusterPod {
        namespace: spec.namespace.clone(),
        labels: spec.labels.clone(),
        hostname: Some(spec.hostname.clone()),
        subdomain: object.spec.as_ref().and_then(|spec| spec.subdomain.clone()),
        ports: named.collect(),
    }
}

/// Where the pods see the machine: at the address from which published connections come.
pub(crate) fn host_ips() -> Vec<IpAddr> {
    vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]
}

fn extra_env(env: &EnvArg) -> Result<(String, String)> {
    let value = env.value.clone().or_else(|| environment::variable(&env.name));
    let missing =
        || Error::invalid("the variable is not set here").at(format!("--env {}", env.name)).hint("write --env NAME=VALUE");
    Ok((env.name.clone(), value.ok_or_else(missing)?))
}

fn add_volume(spec: &mut PodSpec, volume: &VolumeArg, name: String) -> Result<()> {
    let flag = || format!("--volume {}:{}", volume.host.display(), volume.container);
    let path = std::path::absolute(&volume.host).map_err(|error| Error::io("not a path", error).at(flag()))?;
    let metadata =
        std::fs::metadata(&path).map_err(|error| Error::io("cannot be mounted", error).at(flag()).hint("create the directory"))?;
    if !metadata.is_dir() {
        return Err(Error::invalid("is not a directory").at(flag()).hint("mount the directory that holds the file"));
    }
    for container in &mut spec.containers {
        if container.mounts.iter().any(|mount| mount.mount_path == volume.container) {
            return Err(Error::invalid(format!("container {} already mounts something at {}", container.name, volume.container))
                .at(flag())
                .hint("choose another path in the container"));
        }
        let mount_path = volume.container.clone();
        container.mounts.push(VolumeMount { volume: name.clone(), mount_path, read_only: volume.read_only, sub_path: None });
    }
    spec.volumes.push(VolumeSpec { name, source: VolumeSource::HostPath { path, kind: HostPathType::Directory } });
    Ok(())
}
