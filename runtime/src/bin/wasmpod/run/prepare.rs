//! Makes everything ready that a pod needs before its first container starts.
//!
//! All that can be wrong with what the user gave is found here, before anything runs: images that are missing or no WebAssembly,
//! imports that nobody provides, ports in use, volumes that are not there.

use super::programs::{LoadedPod, Programs};
use super::publish;
use super::target::Target;
use crate::args::{EnvArg, RunArgs, VolumeArg};
use crate::engine::engine;
use crate::progress::Progress;
use crate::{environment, report};
use k8s_openapi::api::core::v1;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use uuid::Uuid;
use wasmpod::image::Lease;
use wasmpod::manifest::{LowerContext, LoweredPod};
use wasmpod::net::{AddressPool, PodAddresses};
use wasmpod::pod::spec::{HostPathType, PodSpec, VolumeMount, VolumeSource, VolumeSpec};
use wasmpod::pod::state::ContainerIndex;
use wasmpod::pod::{ContainerImage, Sandbox, SandboxConfig};
use wasmpod::wasi::Stdin;
use wasmpod::{Error, Result};

/// The volumes that `--volume` adds are called this, with a number.
const EXTRA_VOLUME: &str = "wasmpod-volume";

/// A pod that can be started.
pub(super) struct Prepared {
    /// What the manifest says, defaults filled in.
    pub(super) object: v1::Pod,
    /// Its network and volumes.
    pub(super) sandbox: Sandbox,
    /// What its containers run, in their order.
    pub(super) images: Vec<ContainerImage>,
    /// What keeps the images in the store while the pod may start containers.
    pub(super) leases: Vec<Lease>,
}

/// Makes all pods of the target ready.
pub(super) async fn pods(args: &RunArgs, target: Target, root: Option<&Path>) -> Result<Vec<Prepared>> {
    target.manifest.check_pod_security(args.pod_security)?;
    let pool = AddressPool::new();
    let addresses: Vec<PodAddresses> = target.manifest.pods().map(|_| pool.take()).collect::<Result<_>>()?;
    let mut lowered = lower(&target, args, &addresses)?;
    for warning in lowered.iter().flat_map(|pod| &pod.warnings) {
        report::warn(&warning.to_string());
    }
    let progress = Progress::new();
    let engine = engine(args.cache_dir.clone(), &progress)?;
    let programs = Programs::new(args, root, &engine, &target, lowered.iter().map(|pod| &pod.spec), &progress)?;
    let loaded = programs.load(lowered.iter_mut().map(|pod| &mut pod.spec)).await?;
    let mut loaded = loaded.into_iter();
    let manifest = &target.manifest;
    let mut publish = publish::assign(&args.publish, lowered.iter().map(|pod| &pod.spec))?.into_iter();
    let mut prepared = Vec::with_capacity(lowered.len());
    for (index, (pod, addresses)) in lowered.into_iter().zip(addresses).enumerate() {
        let LoadedPod { images, volumes, leases } = loaded.next().ok_or_else(|| Error::internal("a pod was not loaded"))?;
        let config = SandboxConfig {
            engine: engine.clone(),
            addresses,
            state_dir: environment::temporary_dir(),
            claims_dir: environment::data_dir().map(|dir| dir.join("wasmpod/volumes")),
            image_volumes: volumes,
            publish: publish.next().unwrap_or_default(),
            stdin: target.is_file.then(|| (ContainerIndex(0), Stdin::reader(tokio::io::stdin()))),
        };
        let pod_name = format!("pod {}", pod.spec.name);
        let within = |error: Error| match error.subject().filter(|field| field.starts_with("spec.")) {
            // It is about a field of the manifest: say where that stands.
            Some(field) => manifest.locate(index, field).map_or_else(|| Error::internal("no such pod"), |place| error.at(place)),
            None => error.within(&pod_name),
        };
        let sandbox = Sandbox::prepare(pod.spec, config).await.map_err(within)?;
        sandbox.warnings().for_each(|warning| report::warn(&warning));
        for chosen in sandbox.published().iter().filter(|_| args.publish.iter().any(|publish| publish.host_port == 0)) {
            report::note(&format!("published on {}", chosen.address()));
        }
        prepared.push(Prepared { object: pod.pod, sandbox, images, leases });
    }
    Ok(prepared)
}

fn lower(target: &Target, args: &RunArgs, addresses: &[PodAddresses]) -> Result<Vec<LoweredPod>> {
    let env = args.env.iter().map(extra_env).collect::<Result<Vec<_>>>()?;
    let mut addresses = addresses.iter();
    let mut lowered = target.manifest.lower(|_| LowerContext {
        pod_ips: addresses.next().map(|pod| vec![pod.ipv4().into(), pod.ipv6().into()]).unwrap_or_default(),
        host_ips: host_ips(),
        node_cpu_millis: environment::processors().saturating_mul(1000),
        extra_env: env.clone(),
        egress: args.egress.clone(),
        ..LowerContext::new(Uuid::new_v4().to_string())
    })?;
    for (index, volume) in args.volume.iter().enumerate() {
        for pod in &mut lowered {
            add_volume(&mut pod.spec, volume, format!("{EXTRA_VOLUME}-{index}"))?;
        }
    }
    Ok(lowered)
}

/// Where the pods see the machine: at the address from which published connections come.
pub(super) fn host_ips() -> Vec<IpAddr> {
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
