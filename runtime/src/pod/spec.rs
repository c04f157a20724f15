//! What a pod is, once its manifest is understood: every default applied, every reference resolved, every name checked.
//!
//! [`manifest`](crate::manifest) makes these values from Kubernetes objects, the containerd shim will make them from OCI bundles;
//! everything behind works on them alone. They are plain data: no I/O, no time, nothing of wasmtime.

pub use crate::net::{EgressPolicy, HostAlias, Protocol};

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A pod, ready to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct PodSpec {
    /// `metadata.name`: a DNS-1123 subdomain.
    pub name: String,
    /// `metadata.namespace`; `default` when the manifest names none.
    pub namespace: String,
    /// `metadata.uid`: given by the manifest or made when it was read.
    pub uid: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `spec.hostname`, or the pod's name cut to 63 bytes: what the pod calls itself.
    pub hostname: String,
    /// `spec.hostAliases`: names that resolve inside this pod only.
    pub host_aliases: Vec<HostAlias>,
    /// `spec.restartPolicy`.
    pub restart_policy: RestartPolicy,
    /// `spec.terminationGracePeriodSeconds`: how long a container may take to stop.
    pub termination_grace_period: Duration,
    /// `spec.activeDeadlineSeconds`: after this time from its start the pod fails.
    pub active_deadline: Option<Duration>,
    /// All containers: those of `spec.initContainers` in their order, then those of `spec.containers` in theirs.
    pub containers: Vec<ContainerSpec>,
    /// `spec.volumes`.
    pub volumes: Vec<VolumeSpec>,
    /// What of the outside world the pod may reach.
    pub egress: EgressPolicy,
}

/// `spec.restartPolicy`: which ended containers are started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Every one.
    Always,
    /// Those that ended with a status other than 0.
    OnFailure,
    /// None.
    Never,
}

/// What part a container plays in its pod's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerRole {
    /// An init container: must succeed before the next container starts.
    Init,
    /// An init container with `restartPolicy: Always`: starts in its turn and runs as long as the pod.
    Sidecar,
    /// An ordinary container of `spec.containers`.
    App,
}

/// One container.
#[derive(Clone, PartialEq)]
pub struct ContainerSpec {
    /// `name`: a DNS label, unique in the pod.
    pub name: String,
    /// Init container, sidecar or ordinary container.
    pub role: ContainerRole,
    /// `image`, as the manifest writes it.
    pub image: String,
    /// `command`, expanded: replaces the image's entrypoint when not empty.
    pub command: Vec<String>,
    /// `args`, expanded: replaces the image's arguments when not empty.
    pub args: Vec<String>,
    /// `env` and `envFrom`, resolved and expanded, in the order in which they were first set.
    pub env: Vec<(String, String)>,
    /// `workingDir`: an absolute path in the container.
    pub working_dir: Option<String>,
    /// `ports`.
    pub ports: Vec<ContainerPort>,
    /// `volumeMounts`.
    pub mounts: Vec<VolumeMount>,
    /// `resources.limits.memory` in bytes.
    pub memory_limit_bytes: Option<u64>,
}

/// One entry of `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPort {
    /// `name`: unique in its container.
    pub name: Option<String>,
    /// `containerPort`, 1 to 65535.
    pub container_port: u16,
    /// `protocol`.
    pub protocol: Protocol,
    /// `hostPort`: a port of the machine that leads to this one.
    pub host_port: Option<u16>,
    /// `hostIP`: the machine's address on which `host_port` listens; every address when there is none.
    pub host_ip: Option<IpAddr>,
}

/// One entry of `volumeMounts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeMount {
    /// `name`: the volume's, which is known to exist.
    pub volume: String,
    /// `mountPath`: an absolute path in the container, unique among the container's mounts.
    pub mount_path: String,
    /// `readOnly`.
    pub read_only: bool,
    /// `subPath`: a relative path inside the volume without `..`.
    pub sub_path: Option<String>,
}

/// One entry of `volumes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSpec {
    /// `name`: a DNS label, unique in the pod.
    pub name: String,
    /// Where its files come from.
    pub source: VolumeSource,
}

/// Where the files of a volume come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// `emptyDir`: an empty directory that lives as long as the pod.
    EmptyDir {
        /// On disk or in memory.
        medium: StorageMedium,
        /// `sizeLimit` in bytes: a pod that uses more is evicted.
        size_limit_bytes: Option<u64>,
    },
    /// `hostPath`: a path of the machine.
    HostPath {
        /// The path.
        path: PathBuf,
        /// What must be there, or is made.
        kind: HostPathType,
    },
    /// `configMap` or `secret`: files made from the keys of an object; always read-only.
    Files {
        /// Which of the two; a secret's files never touch a disk where that can be had.
        sensitive: bool,
        /// The files.
        files: Vec<VolumeFile>,
    },
}

/// `emptyDir.medium`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageMedium {
    /// The default: the machine's disk.
    Disk,
    /// A file system in memory.
    Memory,
}

/// `hostPath.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPathType {
    /// `""`: no check.
    Unchecked,
    /// A directory must exist.
    Directory,
    /// A directory, made with mode 0755 where there is none.
    DirectoryOrCreate,
    /// A file must exist.
    File,
    /// A file, made empty with mode 0644 where there is none.
    FileOrCreate,
    /// A Unix socket must exist.
    Socket,
    /// A character device must exist.
    CharDevice,
    /// A block device must exist.
    BlockDevice,
}

/// One file of a `configMap` or `secret` volume.
#[derive(Clone, PartialEq, Eq)]
pub struct VolumeFile {
    /// A relative path without `..`.
    pub path: String,
    /// Its bytes.
    pub contents: Vec<u8>,
    /// Its permission bits, such as 0o644.
    pub mode: u32,
}

impl std::fmt::Debug for ContainerSpec {
    /// Leaves out command, arguments and the values of variables: they may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let variables: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ContainerSpec")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("image", &self.image)
            .field("env", &variables)
            .field("working_dir", &self.working_dir)
            .field("ports", &self.ports)
            .field("mounts", &self.mounts)
            .field("memory_limit_bytes", &self.memory_limit_bytes)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for VolumeFile {
    /// Leaves the contents out: they may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VolumeFile").field("path", &self.path).field("len", &self.contents.len()).field("mode", &self.mode).finish()
    }
}

impl PodSpec {
    /// `namespace/name`, as Kubernetes writes it in messages.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}
