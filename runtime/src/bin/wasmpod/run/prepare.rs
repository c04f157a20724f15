//! Makes everything ready that a pod needs before its first container starts.
//!
//! All that can be wrong with what the user gave is found here, before anything runs: images that are missing or no WebAssembly,
//! imports that nobody provides, ports in use, volumes that are not there.

use super::target::Target;
use super::{progress, publish};
use crate::args::{EnvArg, RunArgs, VolumeArg};
use crate::{environment, report};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use uuid::Uuid;
use wasmpod::container::Program;
use wasmpod::engine::{CompileLimits, Compiler, Engine, EngineConfig, EngineMode};
use wasmpod::image::{self, ImageReference};
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
}

/// Makes all pods of the target ready.
pub(super) async fn pods(args: &RunArgs, target: Target, root: Option<&Path>) -> Result<Vec<Prepared>> {
    target.manifest.check_pod_security(args.pod_security)?;
    let pool = AddressPool::new();
    let addresses: Vec<PodAddresses> = target.manifest.pods().map(|_| pool.take()).collect::<Result<_>>()?;
    let lowered = lower(&target, args, &addresses)?;
    for warning in lowered.iter().flat_map(|pod| &pod.warnings) {
        report::warn(&warning.to_string());
    }
    let engine = engine(args)?;
    let mut programs = Programs { engine: engine.clone(), base: target.base, is_file: target.is_file, ready: BTreeMap::new() };
    programs.load(lowered.iter().map(|pod| &pod.spec)).await?;
    let manifest = &target.manifest;
    let mut publish = publish::assign(&args.publish, lowered.iter().map(|pod| &pod.spec))?.into_iter();
    let mut prepared = Vec::with_capacity(lowered.len());
    for (index, (pod, addresses)) in lowered.into_iter().zip(addresses).enumerate() {
        let images = programs.of(&pod.spec)?;
        let config = SandboxConfig {
            engine: engine.clone(),
            addresses,
            state_dir: environment::temporary_dir(),
            claims_dir: claims_dir(root),
            image_volumes: BTreeMap::new(),
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
        prepared.push(Prepared { object: pod.pod, sandbox, images });
    }
    Ok(prepared)
}

/// Where persistent volume claims lie: below `--root`, or below the user's data directory.
fn claims_dir(root: Option<&Path>) -> Option<PathBuf> {
    let default = || environment::data_dir().map(|dir| dir.join("wasmpod"));
    Some(root.map(Path::to_path_buf).or_else(default)?.join("volumes"))
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

fn engine(args: &RunArgs) -> Result<Engine> {
    let cache_dir = args.cache_dir.clone().or_else(|| Some(environment::cache_dir()?.join("wasmpod")));
    let cache_dir = cache_dir.ok_or_else(|| {
        Error::invalid("there is no directory for compiled artifacts: neither HOME nor XDG_CACHE_HOME is set")
            .hint("give one by --cache-dir")
    })?;
    Engine::new(EngineConfig {
        mode: EngineMode::Run,
        cache_dir,
        compiler: compiler()?,
        compile_limits: CompileLimits::STANDARD,
        on_compile: Some(progress::observer()),
        guest_threads: None,
    })
}

/// The compiler installed beside this program; a program that carries a compiler is its own where there is none.
fn compiler() -> Result<Compiler> {
    let program = environment::program().ok_or_else(|| Error::internal("cannot tell where this program is"))?;
    let beside = Compiler::beside(&program);
    let is_installed = matches!(&beside, Compiler::Program(path) if path.exists());
    Ok(if cfg!(feature = "compiler") && !is_installed { Compiler::Program(program) } else { beside })
}

/// The programs of all pods, each image loaded once.
struct Programs {
    engine: Engine,
    base: PathBuf,
    /// A single file is what the user named: no need to say in which container of which pod it is.
    is_file: bool,
    ready: BTreeMap<String, ContainerImage>,
}

impl Programs {
    /// Loads what the pods name, compiling several at a time where the cache has them not.
    async fn load<'a>(&mut self, specs: impl Iterator<Item = &'a PodSpec>) -> Result<()> {
        let containers = specs.flat_map(|spec| spec.containers.iter().map(move |container| (spec, container)));
        let mut wanted: BTreeMap<&str, String> = BTreeMap::new();
        for (spec, container) in containers {
            wanted.entry(&container.image).or_insert_with(|| format!("container {} of pod {}", container.name, spec.name));
        }
        let this = &*self;
        let loaded = try_join_all(wanted.into_iter().map(|(image, user)| async move {
            let within = |error: Error| if this.is_file { error } else { error.within(&user) };
            this.load_one(image).await.map(|loaded| (image.to_owned(), loaded)).map_err(within)
        }));
        let loaded = loaded.await?;
        self.ready.extend(loaded);
        Ok(())
    }

    async fn load_one(&self, image: &str) -> Result<ContainerImage> {
        let reference = ImageReference::parse(image, Some(&self.base))?;
        let contents = image::load(&reference)?;
        let artifact = self.engine.load(image, contents.bytes).await?;
        let program = Program::link(&artifact).map_err(|error| error.at(image))?;
        let entrypoint = contents.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(ContainerImage { program, id: format!("sha256:{}", contents.digest), entrypoint })
    }

    /// What the containers of `spec` run, in their order.
    fn of(&self, spec: &PodSpec) -> Result<Vec<ContainerImage>> {
        let lost = || Error::internal("an image was not loaded");
        spec.containers.iter().map(|container| self.ready.get(&container.image).cloned().ok_or_else(lost)).collect()
    }
}
