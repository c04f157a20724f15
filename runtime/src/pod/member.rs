//! A container whose surroundings somebody else has made: the containerd shim, where each container comes with a root file system that
//! is mounted already, with streams of its own, and joins or leaves its pod at any time.
//!
//! What the [`Sandbox`](super::Sandbox) does from a manifest, its owner does here: the network outlives the members, and each member
//! is one run of one container.

use super::spec::{ContainerPort, HostPathType, Protocol, VolumeMount, VolumeSource, VolumeSpec};
use crate::container::{Container, ContainerConfig, ContainerEvent, ContainerLimits, ControlGroup, ExecConfig, ExecStart, Program};
use crate::engine::Engine;
use crate::log::OutputSink;
use crate::net::PodNet;
use crate::volume::{ContainerFiles, FilesConfig, PodDirectory, PodVolumes, VolumePlaces};
use crate::wasi::{Directories, Stdin, WasiConfig};
use crate::{Error, ErrorKind, Result};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The volume that a member's root file system is.
const ROOT: &str = "root";

/// What one member is made from.
pub struct MemberConfig {
    /// Its name, for messages.
    pub name: String,
    /// What it runs.
    pub program: Program,
    /// The program's name and its arguments.
    pub args: Vec<String>,
    /// Its variables.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub working_dir: Option<String>,
    /// Its whole file system: a directory of the machine, with everything mounted in it that the container is to see.
    pub root: PathBuf,
    /// Whether it may only read. What is mounted read-only below `root` is so in any case.
    pub read_only: bool,
    /// A directory that exists and is the member's alone, for what has to be made for it.
    pub state_dir: PathBuf,
    /// Where input comes from.
    pub stdin: Stdin,
    /// Where output goes to.
    pub stdout: Arc<dyn OutputSink>,
    /// Where errors go to.
    pub stderr: Arc<dyn OutputSink>,
    /// The pod's network.
    pub network: PodNet,
    /// The TCP port on which a `wasi:http` container listens, and that a preview-1 module finds open.
    pub port: Option<u16>,
    /// What it may use.
    pub limits: ContainerLimits,
}

impl fmt::Debug for MemberConfig {
    /// Leaves out arguments and variables: they may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemberConfig").field("name", &self.name).field("root", &self.root).finish_non_exhaustive()
    }
}

/// A container that can be started once.
#[derive(Debug)]
pub struct Member {
    config: ContainerConfig,
    /// What a later exec needs of it.
    shared: Shared,
}

/// A member that was started. Dropping it kills it, and all that was exec'd into it.
#[derive(Debug)]
pub struct RunningMember {
    container: Container,
    shared: Shared,
}

#[derive(Debug)]
struct Shared {
    name: String,
    program: Program,
    env: Vec<(String, String)>,
    working_dir: Option<String>,
    network: PodNet,
    files: Arc<ContainerFiles>,
    group: Arc<ControlGroup>,
}

impl Member {
    /// Opens the container's directories; nothing runs yet.
    ///
    /// # Errors
    /// Reason `FailedMount` or `CreateContainerConfigError` when the root file system cannot be opened.
    pub fn new(config: MemberConfig) -> Result<Self> {
        let MemberConfig { name, program, args, env, working_dir, root, read_only, state_dir, .. } = config;
        let source = VolumeSource::HostPath { path: root, kind: HostPathType::Directory };
        let places = VolumePlaces { claims_dir: None };
        let volumes = [VolumeSpec { name: ROOT.to_owned(), source }];
        let volumes = Arc::new(PodVolumes::prepare(&volumes, PodDirectory::given(state_dir), &places)?);
        let mount = VolumeMount { volume: ROOT.to_owned(), mount_path: "/".to_owned(), read_only, sub_path: None };
        let files = Arc::new(ContainerFiles::prepare(&volumes, &[mount], FilesConfig::default())?);
        // The root file system is the snapshotter's to measure, and its owner leaves the termination message.
        let group = ControlGroup::new(config.limits, Box::new(|| ()));
        let wasi = WasiConfig {
            args,
            env: env.clone(),
            working_dir: working_dir.clone(),
            directories: Directories::none(),
            stdin: config.stdin,
            stdout: config.stdout,
            stderr: config.stderr,
            net: config.network.container(&name),
            listeners: Vec::new(),
            on_open: None,
            tls: None,
        };
        let ports = config.port.map(|container_port| ContainerPort {
            name: None,
            container_port,
            protocol: Protocol::Tcp,
            host_port: None,
            host_ip: None,
        });
        let shared = Shared {
            name,
            program: program.clone(),
            env,
            working_dir,
            network: config.network,
            files: Arc::clone(&files),
            group: Arc::clone(&group),
        };
        Ok(Self {
            config: ContainerConfig { program, wasi, files, ports: ports.into_iter().collect(), group, termination: None },
            shared,
        })
    }

    /// Sets other limits than it was made with.
    pub fn set_limits(&self, limits: ContainerLimits) {
        self.shared.group.set_limits(limits);
    }

    /// Starts it. `report` is called on the guest threads and must not block.
    pub fn start(self, engine: &Engine, report: impl FnMut(ContainerEvent) + Send + 'static) -> RunningMember {
        RunningMember { container: Container::start(engine, self.config, report), shared: self.shared }
    }
}

impl RunningMember {
    /// The container: to be stopped, paused, limited, measured.
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// Runs something in the container: a further instance in its network and its file system, which counts against its limits and
    /// ends with it. Its variables are those of `exec` alone where it has any, as containerd gives all of them. What it is:
    /// [`ExecConfig::program`], or else the container's own program. `report` is called on the guest threads and must not block.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when the container has ended, [`Invalid`](ErrorKind::Invalid) when there is nothing that
    /// could be run from start to end.
    pub fn exec(
        &self,
        engine: &Engine,
        exec: ExecConfig,
        report: impl FnMut(ContainerEvent) + Send + 'static,
    ) -> Result<Container> {
        let shared = &self.shared;
        if shared.group.is_over() {
            return Err(Error::new(ErrorKind::Conflict, "the container has ended, so nothing can be exec'd into it"));
        }
        let program = exec.program.unwrap_or_else(|| shared.program.clone());
        if program.serves_http() {
            return Err(Error::invalid("there is nothing to exec: the container serves wasi:http, which has no command")
                .hint("name a .wasm file that the container can see"));
        }
        let wasi = WasiConfig {
            args: exec.command,
            env: if exec.env.is_empty() { shared.env.clone() } else { exec.env },
            working_dir: exec.working_dir.or_else(|| shared.working_dir.clone()),
            directories: Directories::none(),
            stdin: exec.stdin,
            stdout: exec.stdout,
            stderr: exec.stderr,
            net: shared.network.container(&shared.name),
            listeners: Vec::new(),
            on_open: None,
            tls: None,
        };
        let start = ExecStart { wasi, files: Arc::clone(&shared.files), group: Arc::clone(&shared.group) };
        Ok(Container::exec(engine, start, std::future::ready(Ok(program)), report))
    }
}
