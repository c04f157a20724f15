//! From a checked pod to the [`PodSpec`] that runs: references resolved, variables expanded, numbers in their types.

use super::env::{self, Surroundings, Variables};
use super::parse::Object;
use super::problem::{FieldPath, Problem, Problems, Report};
use super::similar::closest;
use super::support::FieldWarning;
use super::{LowerContext, LoweredPod, Manifest, handlers, names, pull_secrets, resources, volumes};
use crate::limits::POD_EXPANDED_BYTES_MAX;
use crate::net::EgressPolicy;
use crate::pod::spec::{
    ContainerPort, ContainerRole, ContainerSpec, ExitCodes, FileVariable, HostAlias, HostPathType, PodSpec, Protocol, PullPolicy,
    RestartPolicy, RestartRule, RestartRuleAction, TerminationMessagePolicy, VolumeMount,
};
use crate::workload::spec::Replica;
use crate::{Error, ErrorKind, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{self as core, Pod};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// Says what of the outside world a pod may reach, in the form of [`EgressPolicy::parse`]; it narrows what the pod is allowed anyway.
pub(super) const EGRESS_ANNOTATION: &str = "wasmpod.dev/egress";

/// The names of `hostPath.type`.
pub(super) const HOST_PATH_TYPES: [(&str, HostPathType); 8] = [
    ("", HostPathType::Unchecked),
    ("DirectoryOrCreate", HostPathType::DirectoryOrCreate),
    ("Directory", HostPathType::Directory),
    ("FileOrCreate", HostPathType::FileOrCreate),
    ("File", HostPathType::File),
    ("Socket", HostPathType::Socket),
    ("CharDevice", HostPathType::CharDevice),
    ("BlockDevice", HostPathType::BlockDevice),
];

/// The most bytes of a host name that is made from the pod's name.
const HOSTNAME_BYTES_MAX: usize = 63;

/// Lowers every pod of the manifest.
pub(super) fn manifest(manifest: &Manifest, mut context_for: impl FnMut(&Pod) -> LowerContext) -> Result<Vec<LoweredPod>> {
    let mut report = Report::new(&manifest.source, manifest.documents);
    let mut lowered = Vec::new();
    for object in &manifest.pods {
        let context = context_for(&object.value);
        let mut problems = Problems::default();
        match lower_pod(manifest, object, &context, &mut problems) {
            Ok(pod) => lowered.push(pod),
            Err(problem) => problems.push(problem),
        }
        report.take(&object.origin, problems);
    }
    report.finish()?;
    Ok(lowered)
}

/// Lowers one pod of the workload at `index`.
pub(super) fn replica(manifest: &Manifest, index: usize, replica: &Replica, context: &LowerContext) -> Result<LoweredPod> {
    let found = manifest.pods.get(index).zip(manifest.templates.get(index));
    let (object, template) = found.ok_or_else(|| Error::internal("the manifest has no such workload"))?;
    let object = Object { value: template.instance(replica), ..object.clone() };
    let mut problems = Problems::default();
    let lowered = lower_pod(manifest, &object, context, &mut problems);
    let lowered = lowered.map_err(|problem| problems.push(problem)).ok();
    let mut report = Report::new(&manifest.source, manifest.documents);
    report.take(&object.origin, problems);
    report.finish()?;
    lowered.ok_or_else(|| Error::internal("a pod that is neither lowered nor wrong"))
}

/// What a pod may still add to its allowance of expanded bytes.
pub(super) struct Allowance {
    left: usize,
}

impl Allowance {
    /// Takes `bytes` for the field at `path`.
    pub(super) fn spend(&mut self, bytes: usize, path: &FieldPath) -> Result<(), Problem> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or_else(|| {
            let message = format!(
                "the pod's variables, arguments and files come to more than {POD_EXPANDED_BYTES_MAX} bytes with their references resolved"
            );
            Problem { kind: ErrorKind::Limit, ..Problem::new(path.clone(), message) }
        })?;
        Ok(())
    }
}

/// Which kind of object a reference means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    ConfigMap,
    Secret,
}

impl Source {
    fn kind(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

/// The ConfigMaps and Secrets that a pod can refer to: those of its namespace.
pub(super) struct Objects<'a> {
    manifest: &'a Manifest,
    namespace: &'a str,
}

/// A ConfigMap or a Secret that a reference leads to.
#[derive(Clone, Copy)]
pub(super) enum Data<'a> {
    ConfigMap(&'a core::ConfigMap),
    Secret(&'a core::Secret),
}

impl<'a> Objects<'a> {
    /// The PersistentVolumeClaim `name`, if the manifest has it.
    pub(super) fn claim(&self, name: &str) -> Option<&'a core::PersistentVolumeClaim> {
        find(&self.manifest.claims, self.namespace, name, |object| &object.metadata)
    }

    /// The data of the object `name`; nothing if there is none and the reference is optional.
    pub(super) fn find(
        &self,
        path: &FieldPath,
        source: Source,
        name: &'a str,
        optional: bool,
    ) -> Result<Option<Data<'a>>, Problem> {
        let (maps, secrets) = (&self.manifest.config_maps, &self.manifest.secrets);
        let data = match source {
            Source::ConfigMap => find(maps, self.namespace, name, |object| &object.metadata).map(Data::ConfigMap),
            Source::Secret => find(secrets, self.namespace, name, |object| &object.metadata).map(Data::Secret),
        };
        if data.is_some() || optional {
            return Ok(data);
        }
        let problem = Problem::not_found(path.clone(), name).reason("CreateContainerConfigError");
        let known: Vec<&str> = match source {
            Source::ConfigMap => maps.iter().filter_map(|object| object.value.metadata.name.as_deref()).collect(),
            Source::Secret => secrets.iter().filter_map(|object| object.value.metadata.name.as_deref()).collect(),
        };
        Err(problem.hint(match closest(name, known).filter(|close| *close != name) {
            Some(close) => format!("did you mean {close:?}?"),
            None => format!(
                "the manifest has no {} of this name in namespace {:?}; add it, or set optional: true",
                source.kind(),
                self.namespace
            ),
        }))
    }
}

fn find<'a, T>(
    objects: &'a [Object<T>],
    namespace: &str,
    name: &str,
    metadata: fn(&T) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
) -> Option<&'a T> {
    objects.iter().map(|object| &object.value).find(|object| {
        let metadata = metadata(object);
        metadata.name.as_deref() == Some(name) && metadata.namespace.as_deref().unwrap_or("default") == namespace
    })
}

fn bytes_of(data: &Option<BTreeMap<String, ByteString>>) -> impl Iterator<Item = (&str, &[u8])> {
    data.iter().flatten().map(|(key, bytes)| (key.as_str(), bytes.0.as_slice()))
}

fn texts_of(data: &Option<BTreeMap<String, String>>) -> impl Iterator<Item = (&str, &[u8])> {
    data.iter().flatten().map(|(key, text)| (key.as_str(), text.as_bytes()))
}

impl<'a> Data<'a> {
    /// The keys that can be variables (all of a Secret's, the texts of a ConfigMap) with their values.
    pub(super) fn texts(self) -> Box<dyn Iterator<Item = (&'a str, &'a [u8])> + 'a> {
        match self {
            Self::ConfigMap(object) => Box::new(texts_of(&object.data)),
            Self::Secret(object) => {
                let overridden = |key: &str| object.string_data.as_ref().is_some_and(|data| data.contains_key(key));
                Box::new(bytes_of(&object.data).filter(move |(key, _)| !overridden(key)).chain(texts_of(&object.string_data)))
            }
        }
    }

    /// All keys with their values.
    pub(super) fn all(self) -> Box<dyn Iterator<Item = (&'a str, &'a [u8])> + 'a> {
        match self {
            Self::ConfigMap(object) => Box::new(self.texts().chain(bytes_of(&object.binary_data))),
            Self::Secret(_) => self.texts(),
        }
    }

    /// The value of a key that can be a variable.
    pub(super) fn text(self, key: &str) -> Option<&'a [u8]> {
        let bytes = |data: &'a Option<BTreeMap<String, ByteString>>| Some(data.as_ref()?.get(key)?.0.as_slice());
        let text = |data: &'a Option<BTreeMap<String, String>>| Some(data.as_ref()?.get(key)?.as_bytes());
        match self {
            Self::ConfigMap(object) => text(&object.data),
            Self::Secret(object) => text(&object.string_data).or_else(|| bytes(&object.data)),
        }
    }

    /// The value of any key.
    pub(super) fn get(self, key: &str) -> Option<&'a [u8]> {
        let binary = || match self {
            Self::ConfigMap(object) => Some(object.binary_data.as_ref()?.get(key)?.0.as_slice()),
            Self::Secret(_) => None,
        };
        self.text(key).or_else(binary)
    }

    /// The problem of a reference to a key that is not there.
    pub(super) fn missing_key(self, path: FieldPath, key: &str) -> Problem {
        let problem = Problem::not_found(path, key).reason("CreateContainerConfigError");
        let (kind, name) = match self {
            Self::ConfigMap(object) => ("ConfigMap", &object.metadata.name),
            Self::Secret(object) => ("Secret", &object.metadata.name),
        };
        let keys: Vec<&str> = self.all().map(|(key, _)| key).collect();
        let of = format!("{kind} {:?}", name.as_deref().unwrap_or_default());
        problem.hint(match closest(key, keys.iter().copied()) {
            Some(close) => format!("{of} has {close:?}"),
            None if keys.is_empty() => format!("{of} has no keys"),
            None => format!("{of} has {}", keys.iter().take(10).map(|key| format!("{key:?}")).collect::<Vec<_>>().join(", ")),
        })
    }
}

fn lower_pod(
    manifest: &Manifest,
    object: &Object<Pod>,
    context: &LowerContext,
    problems: &mut Problems,
) -> Result<LoweredPod, Problem> {
    let mut pod = object.value.clone();
    pod.metadata.uid.get_or_insert_with(|| context.uid.clone());
    let spec = pod.spec.get_or_insert_default();
    spec.node_name.get_or_insert_with(|| context.node_name.clone());
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let objects = Objects { manifest, namespace: &namespace };
    let mut allowance = Allowance { left: POD_EXPANDED_BYTES_MAX };
    let mut warnings = object.warnings.clone();
    let spec = pod_spec(&Surroundings { pod: &pod, context, objects: &objects }, &mut allowance, &mut warnings, problems)?;
    Ok(LoweredPod { pod, spec, warnings })
}

fn pod_spec(
    around: &Surroundings<'_>,
    allowance: &mut Allowance,
    warnings: &mut Vec<FieldWarning>,
    problems: &mut Problems,
) -> Result<PodSpec, Problem> {
    let metadata = &around.pod.metadata;
    let Some(spec) = &around.pod.spec else { return Err(Problem::required(FieldPath::of("spec"))) };
    let annotations = metadata.annotations.clone().unwrap_or_default();
    let name = metadata.name.clone().unwrap_or_default();
    let seconds = |seconds: Option<i64>| seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let volumes = volumes::lower(&FieldPath::of("spec.volumes"), spec, around, allowance, problems)?;
    Ok(PodSpec {
        hostname: hostname(spec, &name),
        name,
        namespace: metadata.namespace.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        labels: metadata.labels.clone().unwrap_or_default(),
        egress: match annotations.get(EGRESS_ANNOTATION).and_then(|text| EgressPolicy::parse(text).ok()) {
            Some(policy) => around.context.egress.clone().narrowed_by(policy),
            None => around.context.egress.clone(),
        },
        annotations,
        host_aliases: spec.host_aliases.iter().flatten().filter_map(host_alias).collect(),
        restart_policy: restart_policy(spec.restart_policy.as_deref()),
        termination_grace_period: seconds(spec.termination_grace_period_seconds).unwrap_or_default(),
        active_deadline: seconds(spec.active_deadline_seconds),
        containers: containers(spec, around, allowance, problems)?,
        volumes,
        pull_secrets: pull_secrets::lower(spec, around.objects, warnings),
        memory_limit_bytes: resources::limit_units(spec.resources.as_ref(), "memory"),
        cpu_limit_millicores: resources::limit_millis(spec.resources.as_ref(), "cpu"),
        qos_class: resources::qos_class(spec),
    })
}

fn restart_policy(name: Option<&str>) -> RestartPolicy {
    match name {
        Some("OnFailure") => RestartPolicy::OnFailure,
        Some("Never") => RestartPolicy::Never,
        _ => RestartPolicy::Always,
    }
}

fn restart_rule(rule: &core::ContainerRestartRule) -> RestartRule {
    let values = rule.exit_codes.as_ref().and_then(|codes| codes.values.clone()).unwrap_or_default();
    let is_in = rule.exit_codes.as_ref().is_some_and(|codes| codes.operator == "In");
    RestartRule {
        action: match rule.action.as_str() {
            "RestartAllContainers" => RestartRuleAction::RestartAllContainers,
            _ => RestartRuleAction::Restart,
        },
        exit_codes: if is_in { ExitCodes::In(values) } else { ExitCodes::NotIn(values) },
    }
}

/// `imagePullPolicy` or `pullPolicy`, which have their default by now.
pub(super) fn pull_policy(name: Option<&str>) -> PullPolicy {
    match name {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        _ => PullPolicy::IfNotPresent,
    }
}

/// What the pod calls itself: as written, or its name cut to 63 bytes, as the kubelet does it.
fn hostname(spec: &core::PodSpec, pod_name: &str) -> String {
    let written = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let made = || {
        // Names are ASCII, so every byte is a character.
        pod_name.get(..HOSTNAME_BYTES_MAX).unwrap_or(pod_name).trim_end_matches(['-', '.']).to_owned()
    };
    written(&spec.hostname_override).or_else(|| written(&spec.hostname)).unwrap_or_else(made)
}

fn host_alias(alias: &core::HostAlias) -> Option<HostAlias> {
    Some(HostAlias { ip: alias.ip.parse().ok()?, hostnames: alias.hostnames.clone().unwrap_or_default() })
}

fn containers(
    spec: &core::PodSpec,
    around: &Surroundings<'_>,
    allowance: &mut Allowance,
    problems: &mut Problems,
) -> Result<Vec<ContainerSpec>, Problem> {
    let mut lowered = Vec::new();
    for (index, init) in spec.init_containers.iter().flatten().enumerate() {
        let role = if init.restart_policy.as_deref() == Some("Always") { ContainerRole::Sidecar } else { ContainerRole::Init };
        let path = FieldPath::of("spec.initContainers").index(index);
        lowered.push(container(&path, init, role, around, allowance, problems)?);
    }
    for (index, app) in spec.containers.iter().enumerate() {
        let path = FieldPath::of("spec.containers").index(index);
        lowered.push(container(&path, app, ContainerRole::App, around, allowance, problems)?);
    }
    Ok(lowered)
}

fn container(
    path: &FieldPath,
    container: &core::Container,
    role: ContainerRole,
    around: &Surroundings<'_>,
    allowance: &mut Allowance,
    problems: &mut Problems,
) -> Result<ContainerSpec, Problem> {
    let mut variables = env::variables(path, container, around, allowance, problems)?;
    let file_variables = variables.take_from_files();
    let mut expand = |field: &'static str, words: Option<&Vec<String>>| -> Result<Vec<String>, Problem> {
        let mut expanded = Vec::new();
        for (index, word) in words.into_iter().flatten().enumerate() {
            let path = path.field(field).index(index);
            expanded.push(env::expand(word, |name| variables.get(name), |bytes| allowance.spend(bytes, &path))?);
        }
        Ok(expanded)
    };
    let command = expand("command", container.command.as_ref())?;
    let args = expand("args", container.args.as_ref())?;
    let lifecycle = container.lifecycle.as_ref();
    let probe = |probe: &Option<core::Probe>| probe.as_ref().and_then(|probe| handlers::probe(probe, container));
    let hook = |hook: Option<&core::LifecycleHandler>| hook.and_then(|hook| handlers::hook(hook, container));
    Ok(ContainerSpec {
        command,
        args,
        working_dir: container.working_dir.clone().filter(|dir| !dir.is_empty()),
        ports: container.ports.iter().flatten().filter_map(port).collect(),
        read_only_root: container.security_context.as_ref().and_then(|context| context.read_only_root_filesystem) == Some(true),
        mounts: mounts(path, container, &variables, allowance, problems)?,
        memory_limit_bytes: resources::limit_units(container.resources.as_ref(), "memory"),
        cpu_limit_millicores: resources::limit_millis(container.resources.as_ref(), "cpu"),
        ephemeral_storage_limit_bytes: resources::limit_units(container.resources.as_ref(), "ephemeral-storage"),
        image_pull_policy: pull_policy(container.image_pull_policy.as_deref()),
        restart_policy: container
            .restart_policy
            .as_deref()
            .filter(|_| role != ContainerRole::Sidecar)
            .map(|name| restart_policy(Some(name))),
        restart_rules: container.restart_policy_rules.iter().flatten().map(restart_rule).collect(),
        startup_probe: probe(&container.startup_probe),
        liveness_probe: probe(&container.liveness_probe),
        readiness_probe: probe(&container.readiness_probe),
        post_start: hook(lifecycle.and_then(|lifecycle| lifecycle.post_start.as_ref())),
        pre_stop: hook(lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref())),
        termination_message_path: container.termination_message_path.clone().unwrap_or_default(),
        termination_message_policy: match container.termination_message_policy.as_deref() {
            Some("FallbackToLogsOnError") => TerminationMessagePolicy::FallbackToLogsOnError,
            _ => TerminationMessagePolicy::File,
        },
        env: variables.into_list(),
        file_variables,
        ..ContainerSpec::new(&container.name, role, container.image.as_deref().unwrap_or_default())
    })
}

/// A port; its numbers have been checked.
fn port(port: &core::ContainerPort) -> Option<ContainerPort> {
    let number = |number: i32| u16::try_from(number).ok().filter(|number| *number > 0);
    Some(ContainerPort {
        name: port.name.clone().filter(|name| !name.is_empty()),
        container_port: number(port.container_port)?,
        protocol: if port.protocol.as_deref() == Some("UDP") { Protocol::Udp } else { Protocol::Tcp },
        host_port: port.host_port.and_then(number),
        host_ip: port.host_ip.as_deref().and_then(|ip| ip.parse().ok()),
    })
}

fn mounts(
    path: &FieldPath,
    container: &core::Container,
    variables: &Variables,
    allowance: &mut Allowance,
    problems: &mut Problems,
) -> Result<Vec<VolumeMount>, Problem> {
    let mut lowered = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = path.field("volumeMounts").index(index).field("subPathExpr");
        let expression = mount.sub_path_expr.as_deref().filter(|expression| !expression.is_empty());
        let sub_path = match expression {
            Some(expression) => {
                let (expanded, checked) = sub_path(&path, expression, variables, allowance)?;
                problems.check(checked);
                Some(expanded)
            }
            None => mount.sub_path.clone().filter(|sub_path| !sub_path.is_empty()),
        };
        lowered.push(VolumeMount {
            volume: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only: mount.read_only == Some(true),
            sub_path,
        });
    }
    Ok(lowered)
}

/// The expanded `subPathExpr`, and what is wrong with it: unlike elsewhere, every variable must be set, and known by now.
fn sub_path(
    path: &FieldPath,
    expression: &str,
    variables: &Variables,
    allowance: &mut Allowance,
) -> Result<(String, Result<(), Problem>), Problem> {
    let missing = std::cell::RefCell::new(None);
    let lookup = |name: &str| {
        let value = variables.get(name);
        match value {
            None => drop(missing.replace(Some(format!("the container has no variable {name:?}")))),
            Some(value) if FileVariable::is_awaited_in(value) => {
                missing.replace(Some(format!("the variable {name:?} is read from a file, once the volumes are mounted")));
            }
            Some(_) => {}
        }
        value
    };
    let expanded = env::expand(expression, lookup, |bytes| allowance.spend(bytes, path))?;
    let rule: Cow<'_, str> = match (missing.take(), names::relative_path(&expanded)) {
        (Some(why), _) => why.into(),
        (None, Err(rule)) => format!("{expanded:?} {rule}").into(),
        (None, Ok(())) => return Ok((expanded, Ok(()))),
    };
    let problem = Problem::invalid(path.clone(), expression, rule).reason("CreateContainerConfigError");
    Ok((expanded, Err(problem)))
}
