//! The environment of a container: `envFrom`, then `env`, references resolved, `$(VAR)` expanded.
//!
//! The order is the kubelet's: the sources of `envFrom` one after the other, later ones over earlier ones; then `env` in its order,
//! over those. `$(VAR)` in a value means a variable that was set before it, in `command` and `args` any variable of the container.
//! What is not set stays as it is written, and `$$(VAR)` is how to write `$(VAR)`.

use super::LowerContext;
use super::lower::{Allowance, Objects, Source};
use super::problem::{FieldPath, Problem, Problems};
use super::quantity::Quantity;
use crate::pod::spec::FileVariable;
use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, EnvVar, EnvVarSource, FileKeySelector, Pod, ResourceFieldSelector, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::HashMap;
use std::net::IpAddr;

/// Replaces each `$(name)` for which `lookup` has a value (`third_party/forked/golang/expansion` of Kubernetes).
///
/// # Errors
/// The first error of `spend`, which is asked for every piece before it is added.
pub(super) fn expand<'a, E>(
    text: &'a str,
    lookup: impl Fn(&str) -> Option<&'a str>,
    mut spend: impl FnMut(usize) -> Result<(), E>,
) -> Result<String, E> {
    let mut expanded = String::new();
    let mut add = |piece: &str| -> Result<(), E> {
        spend(piece.len())?;
        expanded.push_str(piece);
        Ok(())
    };
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        add(before)?;
        rest = if let Some(escaped) = after.strip_prefix('$') {
            add("$")?;
            escaped
        } else if let Some((name, following)) = after.strip_prefix('(').and_then(|reference| reference.split_once(')')) {
            match lookup(name) {
                Some(value) => add(value)?,
                None => {
                    add("$(")?;
                    add(name)?;
                    add(")")?;
                }
            }
            following
        } else {
            add("$")?;
            after
        };
    }
    add(rest)?;
    Ok(expanded)
}

/// Variables in the order in which they were first set.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    list: Vec<(String, String)>,
    index: HashMap<String, usize>,
    from_files: Vec<FileVariable>,
}

impl Variables {
    fn set(&mut self, name: String, value: String) {
        match self.index.get(&name).and_then(|index| self.list.get_mut(*index)) {
            Some(entry) => entry.1 = value,
            None => {
                self.index.insert(name.clone(), self.list.len());
                self.list.push((name, value));
            }
        }
    }

    /// The value of a variable that is set.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.index.get(name).and_then(|index| self.list.get(*index)).map(|(_, value)| value.as_str())
    }

    /// Those that are read from files when the container starts; a reference stands for their values.
    pub(super) fn take_from_files(&mut self) -> Vec<FileVariable> {
        std::mem::take(&mut self.from_files)
    }

    /// All of them.
    pub(super) fn into_list(self) -> Vec<(String, String)> {
        self.list
    }
}

/// What the variables of a container are made from.
pub(super) struct Surroundings<'a> {
    pub(super) pod: &'a Pod,
    pub(super) context: &'a LowerContext,
    pub(super) objects: &'a Objects<'a>,
}

/// The variables of `container`; references that lead nowhere are added to `problems`.
///
/// # Errors
/// The problem of a pod that goes over its allowance.
pub(super) fn variables(
    path: &FieldPath,
    container: &Container,
    around: &Surroundings<'_>,
    allowance: &mut Allowance,
    problems: &mut Problems,
) -> Result<Variables, Problem> {
    let mut variables = Variables::default();
    for (index, source) in container.env_from.iter().flatten().enumerate() {
        if problems.is_full() {
            break;
        }
        let path = path.field("envFrom").index(index);
        match all_keys(&path, source, around.objects) {
            Ok(pairs) => {
                for (key, value) in pairs {
                    allowance.spend(key.len() + value.len(), &path)?;
                    variables.set(format!("{}{key}", source.prefix.as_deref().unwrap_or_default()), value);
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    for (index, variable) in container.env.iter().flatten().enumerate() {
        if problems.is_full() {
            break;
        }
        let path = path.field("env").index(index);
        allowance.spend(variable.name.len(), &path)?;
        match variable_value(&path, container, variable, around) {
            Ok(Value::Literal(text)) => {
                let value = expand(text, |name| variables.get(name), |bytes| allowance.spend(bytes, &path))?;
                variables.set(variable.name.clone(), value);
            }
            Ok(Value::Resolved(value)) => {
                allowance.spend(value.len(), &path)?;
                variables.set(variable.name.clone(), value);
            }
            Ok(Value::File(reference)) => {
                let from_file = FileVariable {
                    name: variable.name.clone(),
                    volume: reference.volume_name.clone(),
                    path: reference.path.clone(),
                    key: reference.key.clone(),
                    optional: reference.optional == Some(true),
                };
                variables.set(variable.name.clone(), from_file.reference());
                variables.from_files.push(from_file);
            }
            Ok(Value::Absent) => {}
            Err(problem) => problems.push(problem),
        }
    }
    for (name, value) in &around.context.extra_env {
        variables.set(name.clone(), value.clone());
    }
    Ok(variables)
}

/// All variables of one `envFrom` source.
fn all_keys(path: &FieldPath, source: &EnvFromSource, objects: &Objects<'_>) -> Result<Vec<(String, String)>, Problem> {
    let (path, name, optional, kind) = if let Some(reference) = &source.config_map_ref {
        (path.field("configMapRef"), &reference.name, reference.optional, Source::ConfigMap)
    } else if let Some(reference) = &source.secret_ref {
        (path.field("secretRef"), &reference.name, reference.optional, Source::Secret)
    } else {
        return Ok(Vec::new());
    };
    let Some(data) = objects.find(&path.field("name"), kind, name, optional == Some(true))? else { return Ok(Vec::new()) };
    data.texts()
        .map(|(key, bytes)| match std::str::from_utf8(bytes) {
            Ok(value) => Ok((key.to_owned(), value.to_owned())),
            Err(_) => Err(not_text(path.field("name"), key)),
        })
        .collect()
}

fn not_text(path: FieldPath, key: &str) -> Problem {
    let problem = Problem::new(path, format!("the value of {key:?} is not UTF-8 text and cannot be a variable"));
    problem.hint("mount it as a file").reason("CreateContainerConfigError")
}

/// Where the value of a variable comes from.
enum Value<'a> {
    /// `value`, not yet expanded.
    Literal(&'a str),
    /// A reference; its value is not expanded.
    Resolved(String),
    /// It is read from a file when the container starts.
    File(&'a FileKeySelector),
    /// An optional reference that leads nowhere: the variable is not set.
    Absent,
}

fn variable_value<'a>(
    path: &FieldPath,
    container: &Container,
    variable: &'a EnvVar,
    around: &Surroundings<'_>,
) -> Result<Value<'a>, Problem> {
    let literal = variable.value.as_deref().unwrap_or_default();
    let Some(source) = variable.value_from.as_ref().filter(|_| literal.is_empty()) else { return Ok(Value::Literal(literal)) };
    let path = path.field("valueFrom");
    if let Some(reference) = &source.field_ref {
        let value = FieldRef::parse(&reference.field_path).map(|field| field.value(around)).unwrap_or_default();
        return Ok(Value::Resolved(value));
    }
    if let Some(reference) = &source.resource_field_ref {
        return Ok(Value::Resolved(resource_value(Some(container), reference, around)));
    }
    if let Some(reference) = &source.file_key_ref {
        return Ok(Value::File(reference));
    }
    key_value(&path, source, around.objects)
}

fn key_value(path: &FieldPath, source: &EnvVarSource, objects: &Objects<'_>) -> Result<Value<'static>, Problem> {
    let (path, kind, name, key, optional) = if let Some(reference) = &source.config_map_key_ref {
        (path.field("configMapKeyRef"), Source::ConfigMap, &reference.name, &reference.key, reference.optional)
    } else if let Some(reference) = &source.secret_key_ref {
        (path.field("secretKeyRef"), Source::Secret, &reference.name, &reference.key, reference.optional)
    } else {
        return Ok(Value::Absent);
    };
    let optional = optional == Some(true);
    let Some(data) = objects.find(&path.field("name"), kind, name, optional)? else { return Ok(Value::Absent) };
    match data.text(key) {
        Some(bytes) => match String::from_utf8(bytes.to_vec()) {
            Ok(value) => Ok(Value::Resolved(value)),
            Err(_) => Err(not_text(path.field("key"), key)),
        },
        None if optional => Ok(Value::Absent),
        None => Err(data.missing_key(path.field("key"), key)),
    }
}

/// A field of the pod that a variable can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldRef<'a> {
    /// `metadata.name`
    Name,
    /// `metadata.namespace`
    Namespace,
    /// `metadata.uid`
    Uid,
    /// `metadata.labels['key']`
    Label(&'a str),
    /// `metadata.annotations['key']`
    Annotation(&'a str),
    /// `spec.nodeName`
    NodeName,
    /// `spec.serviceAccountName`
    ServiceAccountName,
    /// `status.hostIP`
    HostIp,
    /// `status.hostIPs`
    HostIps,
    /// `status.podIP`
    PodIp,
    /// `status.podIPs`
    PodIps,
}

impl<'a> FieldRef<'a> {
    /// Every field, as it is written.
    pub(super) const NAMES: [&'static str; 11] = [
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.labels['<KEY>']",
        "metadata.annotations['<KEY>']",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    ];

    /// Reads a `fieldPath`.
    pub(super) fn parse(path: &'a str) -> Option<Self> {
        let key = |field: &str| path.strip_prefix(field)?.strip_prefix("['")?.strip_suffix("']").filter(|key| !key.is_empty());
        Some(match path {
            "metadata.name" => Self::Name,
            "metadata.namespace" => Self::Namespace,
            "metadata.uid" => Self::Uid,
            "spec.nodeName" | "spec.host" => Self::NodeName,
            "spec.serviceAccountName" => Self::ServiceAccountName,
            "status.hostIP" => Self::HostIp,
            "status.hostIPs" => Self::HostIps,
            "status.podIP" => Self::PodIp,
            "status.podIPs" => Self::PodIps,
            _ => match key("metadata.labels") {
                Some(key) => Self::Label(key),
                None => Self::Annotation(key("metadata.annotations")?),
            },
        })
    }

    /// The key of a label or an annotation.
    pub(super) fn key(self) -> Option<&'a str> {
        match self {
            Self::Label(key) | Self::Annotation(key) => Some(key),
            _ => None,
        }
    }

    /// What it holds; empty where the pod has nothing there.
    pub(super) fn value(self, around: &Surroundings<'_>) -> String {
        let ObjectMeta { name, namespace, uid, labels, annotations, .. } = &around.pod.metadata;
        let spec = around.pod.spec.as_ref();
        let first = |ips: &[IpAddr]| ips.first().map(ToString::to_string);
        let joined = |ips: &[IpAddr]| Some(ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
        let value = match self {
            Self::Name => name.clone(),
            Self::Namespace => namespace.clone(),
            Self::Uid => uid.clone(),
            Self::Label(key) => labels.as_ref().and_then(|labels| labels.get(key).cloned()),
            Self::Annotation(key) => annotations.as_ref().and_then(|annotations| annotations.get(key).cloned()),
            Self::NodeName => spec.and_then(|spec| spec.node_name.clone()),
            Self::ServiceAccountName => spec.and_then(|spec| spec.service_account_name.clone()),
            Self::HostIp => first(&around.context.host_ips),
            Self::HostIps => joined(&around.context.host_ips),
            Self::PodIp => first(&around.context.pod_ips),
            Self::PodIps => joined(&around.context.pod_ips),
        };
        value.unwrap_or_default()
    }
}

/// A resource of a container that a variable can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResourceField {
    limit: bool,
    resource: &'static str,
}

impl ResourceField {
    /// Every resource, as it is written.
    pub(super) const NAMES: [&'static str; 6] = [
        "limits.cpu",
        "limits.memory",
        "limits.ephemeral-storage",
        "requests.cpu",
        "requests.memory",
        "requests.ephemeral-storage",
    ];

    /// Reads a `resource`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let name = Self::NAMES.into_iter().find(|name| *name == text)?;
        let (kind, resource) = name.split_once('.')?;
        Some(Self { limit: kind == "limits", resource })
    }

    /// What the amount may be counted in, and Kubernetes' word for the resource.
    pub(super) fn divisors(self) -> (&'static [&'static str], &'static str) {
        const BYTES: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
        match self.resource {
            "cpu" => (&["1m", "1"], "cpu"),
            "memory" => (BYTES, "memory"),
            _ => (BYTES, "local ephemeral storage"),
        }
    }
}

/// The amount in units of the divisor, rounded up. A limit that is not set is what the machine has, a request that is not set zero.
///
/// `own` is the container that asks, which a reference without a `containerName` means; a volume has none.
pub(super) fn resource_value(own: Option<&Container>, reference: &ResourceFieldSelector, around: &Surroundings<'_>) -> String {
    let Some(field) = ResourceField::parse(&reference.resource) else { return String::new() };
    let named = reference.container_name.as_deref().filter(|name| !name.is_empty());
    let spec = around.pod.spec.as_ref();
    let mut all = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    let container = named.and_then(|name| all.find(|other| other.name == name)).or(own);
    let requirements = container.and_then(|container| container.resources.as_ref());
    let amount_of = |requirements: Option<&ResourceRequirements>| {
        let amounts = requirements.and_then(|own| if field.limit { own.limits.as_ref() } else { own.requests.as_ref() });
        amounts.and_then(|amounts| amounts.get(field.resource)).and_then(|amount| amount.0.parse::<Quantity>().ok())
    };
    // A container without a limit has that of its pod.
    let of_pod = || amount_of(spec.and_then(|spec| spec.resources.as_ref())).filter(|_| field.limit);
    let amount = amount_of(requirements).or_else(of_pod).unwrap_or_else(|| match (field.limit, field.resource) {
        (true, "cpu") => Quantity::from_millis((around.context.node_cpu_millis)()),
        (true, "memory") => Quantity::from_units(around.context.node_memory_bytes),
        (true, _) => Quantity::from_units(around.context.node_storage_bytes),
        (false, _) => Quantity::from_units(0),
    });
    let divisor = reference.divisor.as_ref().and_then(|divisor| divisor.0.parse().ok()).unwrap_or_else(|| Quantity::from_units(1));
    amount.in_units_of(divisor).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of Kubernetes' own test (`expansion_test.go`).
    #[test]
    fn expansion_is_that_of_kubernetes() {
        let known = |name: &str| match name {
            "VAR_A" => Some("A"),
            "VAR_B" => Some("B"),
            "VAR_EMPTY" => Some(""),
            "VAR_REF" => Some("$(VAR_A)"),
            _ => None,
        };
        for (input, expected) in [
            ("$(VAR_A)", "A"),
            ("___$(VAR_B)___", "___B___"),
            ("$(VAR_A)$(VAR_B)", "AB"),
            ("x$(VAR_EMPTY)y", "xy"),
            ("$(VAR_REF)", "$(VAR_A)"),
            ("$$(VAR_A)", "$(VAR_A)"),
            ("$$$(VAR_A)", "$A"),
            ("$$$$(VAR_A)", "$$(VAR_A)"),
            ("$(UNKNOWN)", "$(UNKNOWN)"),
            ("foo$$var", "foo$var"),
            ("$VAR_A", "$VAR_A"),
            ("$(VAR_A", "$(VAR_A"),
            ("$", "$"),
            ("$$", "$"),
            ("$()", "$()"),
            ("$(VAR_A)$", "A$"),
            ("$(VAR_A$(VAR_B)", "$(VAR_A$(VAR_B)"),
            ("ä$(VAR_A)ö", "äAö"),
            ("", ""),
        ] {
            assert_eq!(expand(input, known, |_| Ok::<(), ()>(())), Ok(expected.to_owned()), "{input}");
        }
    }

    #[test]
    fn expansion_stops_at_its_allowance() {
        let mut left = 10;
        let spend = |bytes: usize| {
            left = usize::checked_sub(left, bytes).ok_or("too much")?;
            Ok(())
        };
        assert_eq!(expand("$(A)$(A)$(A)", |_| Some("12345"), spend), Err("too much"));
    }
}
