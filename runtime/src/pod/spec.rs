//! What a pod is, once its manifest is understood: every default applied, every reference resolved, every name checked.
//!
//! [`manifest`](crate::manifest) makes these values from Kubernetes objects, the containerd shim will make them from OCI bundles;
//! everything behind works on them alone. They are plain data: no I/O, no time, nothing of wasmtime.

mod env_file;
mod image;

pub use crate::net::{EgressPolicy, HostAlias, Protocol};
pub use env_file::{EnvFileError, FileVariable, value_in_env_file};
pub use image::{EXEC_IMAGE_ANNOTATION, PullPolicy, PullSecret};

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
    /// `spec.imagePullSecrets`, resolved: what opens the registries of the pod's images.
    pub pull_secrets: Vec<PullSecret>,
    /// `spec.resources.limits.memory` in bytes: what all containers may have together.
    pub memory_limit_bytes: Option<u64>,
    /// `spec.resources.limits.cpu` in thousandths of a processor: what all containers may use together.
    pub cpu_limit_millicores: Option<u64>,
    /// `status.qosClass`.
    pub qos_class: QosClass,
}

/// `status.qosClass`: what the requests and limits of all containers come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QosClass {
    /// Every container has limits for CPU and memory, and requests that equal them.
    Guaranteed,
    /// Some container has a request or a limit.
    Burstable,
    /// None has any.
    BestEffort,
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
    /// Those of `env` that are read from files when the container starts; until then a [reference](FileVariable::reference) stands for
    /// each value, here and in `command` and `args`.
    pub file_variables: Vec<FileVariable>,
    /// `workingDir`: an absolute path in the container.
    pub working_dir: Option<String>,
    /// `ports`.
    pub ports: Vec<ContainerPort>,
    /// `volumeMounts`.
    pub mounts: Vec<VolumeMount>,
    /// `securityContext.readOnlyRootFilesystem`: nothing can be written outside of its volumes.
    pub read_only_root: bool,
    /// `resources.limits.memory` in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// `resources.limits.cpu` in thousandths of a processor.
    pub cpu_limit_millicores: Option<u64>,
    /// `resources.limits.ephemeral-storage` in bytes.
    pub ephemeral_storage_limit_bytes: Option<u64>,
    /// `imagePullPolicy`, with its default.
    pub image_pull_policy: PullPolicy,
    /// `restartPolicy` of an ordinary or init container, where it overrides the pod's; a sidecar's is in its role.
    pub restart_policy: Option<RestartPolicy>,
    /// `restartPolicyRules`: the first that fits decides.
    pub restart_rules: Vec<RestartRule>,
    /// `startupProbe`.
    pub startup_probe: Option<Probe>,
    /// `livenessProbe`.
    pub liveness_probe: Option<Probe>,
    /// `readinessProbe`.
    pub readiness_probe: Option<Probe>,
    /// `lifecycle.postStart`.
    pub post_start: Option<Hook>,
    /// `lifecycle.preStop`.
    pub pre_stop: Option<Hook>,
    /// `terminationMessagePath`: a file in the container.
    pub termination_message_path: String,
    /// `terminationMessagePolicy`.
    pub termination_message_policy: TerminationMessagePolicy,
}

/// One entry of `restartPolicyRules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartRule {
    /// What happens when the container exits with a fitting status.
    pub action: RestartRuleAction,
    /// Which statuses fit.
    pub exit_codes: ExitCodes,
}

/// `restartPolicyRules[].action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartRuleAction {
    /// Restart the container.
    Restart,
    /// Restart every container of the pod, init containers included.
    RestartAllContainers,
}

/// `restartPolicyRules[].exitCodes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExitCodes {
    /// `operator: In`: one of these.
    In(Vec<i32>),
    /// `operator: NotIn`: any but these.
    NotIn(Vec<i32>),
}

/// A probe: what is asked, how often, and how many answers decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub action: ProbeAction,
    /// `initialDelaySeconds`: from the container's start to the first question.
    pub initial_delay: Duration,
    /// `timeoutSeconds`: when a question counts as failed.
    pub timeout: Duration,
    /// `periodSeconds`: from one question to the next.
    pub period: Duration,
    /// `successThreshold`: so many successes in a row after a failure count as success.
    pub success_threshold: u32,
    /// `failureThreshold`: so many failures in a row count as failure.
    pub failure_threshold: u32,
    /// `terminationGracePeriodSeconds`: the grace period of a kill that this probe causes; the pod's when `None`.
    pub termination_grace_period: Option<Duration>,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeAction {
    /// `httpGet`: a status from 200 to 399 is success.
    HttpGet(HttpGet),
    /// `tcpSocket`: a connection is success.
    TcpSocket {
        /// `host`: where to connect; the pod itself when `None`.
        host: Option<String>,
        /// `port`, its name resolved.
        port: u16,
    },
    /// `grpc`: the answer SERVING of `grpc.health.v1.Health/Check` is success.
    Grpc {
        /// `port`.
        port: u16,
        /// `service`: what is asked about.
        service: String,
    },
    /// `exec`: status 0 is success.
    Exec {
        /// `command`.
        command: Vec<String>,
    },
}

/// `httpGet` of a probe or a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGet {
    /// `scheme`: whether TLS is spoken; certificates are not checked, as by the kubelet.
    pub tls: bool,
    /// `host`: whom to connect to; the pod itself when `None`.
    pub host: Option<String>,
    /// `port`, its name resolved.
    pub port: u16,
    /// `path`, with its query; starts with `/`.
    pub path: String,
    /// `httpHeaders`, in their order.
    pub headers: Vec<(String, String)>,
}

/// What `lifecycle.postStart` or `lifecycle.preStop` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `exec`.
    Exec {
        /// `command`.
        command: Vec<String>,
    },
    /// `httpGet`.
    HttpGet(HttpGet),
    /// `sleep`.
    Sleep(Duration),
}

/// `terminationMessagePolicy`: where a container's last words come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminationMessagePolicy {
    /// From the file alone.
    File,
    /// From the end of its output, when it failed and the file is empty.
    FallbackToLogsOnError,
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
    /// `persistentVolumeClaim`: a directory that outlives the pod.
    PersistentVolumeClaim {
        /// `claimName`: claims of one name in one namespace share a directory.
        claim: String,
        /// `readOnly`, or a claim that is `ReadOnlyMany` alone.
        read_only: bool,
        /// Whether the manifest has the claim: its directory is then made at the first use, else it must be there.
        declared: bool,
    },
    /// `image`: the files of an image, read-only.
    Image {
        /// `reference`, as the manifest writes it.
        reference: String,
        /// `pullPolicy`, with its default.
        pull_policy: PullPolicy,
    },
    /// `configMap`, `secret`, `downwardAPI` or `projected`: files made from objects; always read-only.
    Files {
        /// Whether a secret is among them: such files never touch a disk where that can be had.
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

impl ContainerSpec {
    /// A container that says nothing but its name, role and image; everything else as Kubernetes has it by default.
    pub fn new(name: &str, role: ContainerRole, image: &str) -> Self {
        Self {
            name: name.to_owned(),
            role,
            image: image.to_owned(),
            command: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            file_variables: Vec::new(),
            working_dir: None,
            ports: Vec::new(),
            mounts: Vec::new(),
            read_only_root: false,
            memory_limit_bytes: None,
            cpu_limit_millicores: None,
            ephemeral_storage_limit_bytes: None,
            image_pull_policy: PullPolicy::IfNotPresent,
            restart_policy: None,
            restart_rules: Vec::new(),
            startup_probe: None,
            liveness_probe: None,
            readiness_probe: None,
            post_start: None,
            pre_stop: None,
            termination_message_path: "/dev/termination-log".to_owned(),
            termination_message_policy: TerminationMessagePolicy::File,
        }
    }
}

impl PodSpec {
    /// `namespace/name`, as Kubernetes writes it in messages.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}
