//! The rules that the Kubernetes API server checks (`pkg/apis/core/validation`), for what a pod can be here.
//!
//! Each function adds to one list of problems and goes on, so that all are told at once. Objects come here with their defaults.

mod container;
mod downward;
mod handler;
mod metadata;
mod resources;
mod restart;
mod volume;

use super::Manifest;
use super::lower::{Data, EGRESS_ANNOTATION};
use super::names::{self, Rule};
use super::problem::{FieldPath, Origin, Problem, Problems};
use super::pull_secrets::{DOCKER_CONFIG, DOCKER_CONFIG_JSON};
use crate::limits::POD_CONTAINERS_MAX;
use crate::net::EgressPolicy;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Container, HostAlias, PersistentVolumeClaim, Pod, PodSpec, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

/// The problem of a value that breaks a rule, if it does.
fn keep(path: FieldPath, value: &str, rule: Rule) -> Result<(), Problem> {
    rule.map_err(|rule| Problem::invalid(path, value, rule))
}

/// The problem of a name that is missing or breaks its rule.
fn named(path: FieldPath, name: &str, rule: fn(&str) -> Rule) -> Result<(), Problem> {
    if name.is_empty() { Err(Problem::required(path)) } else { keep(path, name, rule(name)) }
}

/// The problem of a value that is none of the known ones.
fn one_of(path: FieldPath, value: Option<&str>, known: &[&str]) -> Result<(), Problem> {
    match value {
        Some(value) if !known.contains(&value) => Err(Problem::unsupported(path, value, known)),
        _ => Ok(()),
    }
}

/// The problem of a number below its least value.
fn at_least(path: FieldPath, value: Option<i64>, least: i64) -> Result<(), Problem> {
    match value {
        Some(value) if value < least => {
            Err(Problem::invalid(path, value, format_args!("must be greater than or equal to {least}")))
        }
        _ => Ok(()),
    }
}

/// What is wrong with a pod by itself.
pub(super) fn pod(pod: &Pod) -> Problems {
    let mut problems = Problems::default();
    metadata::check(&pod.metadata, &mut problems);
    let egress = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(EGRESS_ANNOTATION));
    let path = FieldPath::of("metadata.annotations").key(EGRESS_ANNOTATION);
    if let Some(Err(error)) = egress.map(|text| EgressPolicy::parse(text)) {
        let problem = Problem::new(path, format!("Invalid value: {error}"));
        let hint = error.advice().unwrap_or_default().to_owned();
        problems.push(problem.hint(hint));
    }
    match &pod.spec {
        Some(spec) => pod_spec(spec, &mut problems),
        None => problems.push(Problem::required(FieldPath::of("spec"))),
    }
    problems
}

fn pod_spec(spec: &PodSpec, problems: &mut Problems) {
    let root = FieldPath::of("spec");
    problems.check(one_of(root.field("restartPolicy"), spec.restart_policy.as_deref(), &["Always", "OnFailure", "Never"]));
    problems.check(at_least(root.field("terminationGracePeriodSeconds"), spec.termination_grace_period_seconds, 0));
    if let Some(seconds) = spec.active_deadline_seconds.filter(|seconds| !(1..=i64::from(i32::MAX)).contains(seconds)) {
        let rule = format!("must be between 1 and {}, inclusive", i32::MAX);
        problems.push(Problem::invalid(root.field("activeDeadlineSeconds"), seconds, rule));
    }
    for (index, secret) in spec.image_pull_secrets.iter().flatten().enumerate() {
        problems.check(named(root.field("imagePullSecrets").index(index).field("name"), &secret.name, names::subdomain));
    }
    if let Some(name) = &spec.hostname {
        problems.check(keep(root.field("hostname"), name, names::label(name)));
    }
    if let Some(name) = &spec.hostname_override {
        let rule = if name.len() > 64 { Err("must be no more than 64 bytes".to_owned()) } else { names::subdomain(name) };
        problems.check(keep(root.field("hostnameOverride"), name, rule));
    }
    if let Some(os) = &spec.os {
        problems.check(one_of(root.field("os.name"), Some(&os.name), &["linux"]));
    }
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        host_alias(&root.field("hostAliases").index(index), alias, problems);
    }
    let containers: Vec<&str> = placed(spec).map(|placed| placed.container.name.as_str()).take(POD_CONTAINERS_MAX).collect();
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    let volumes = volume::check(&root.field("volumes"), volumes, &containers, problems);
    self::containers(&root, spec, &volumes, problems);
    let placed: Vec<_> = placed(spec).take(POD_CONTAINERS_MAX).map(|placed| (placed.path, placed.container)).collect();
    resources::check_pod(spec, &placed, problems);
}

fn host_alias(path: &FieldPath, alias: &HostAlias, problems: &mut Problems) {
    problems.check(ip_address(path.field("ip"), &alias.ip));
    for (index, name) in alias.hostnames.iter().flatten().enumerate() {
        problems.check(named(path.field("hostnames").index(index), name, names::subdomain));
    }
}

fn ip_address(path: FieldPath, text: &str) -> Result<(), Problem> {
    if text.is_empty() {
        return Err(Problem::required(path));
    }
    let parsed = text.parse::<IpAddr>().map(|_| ());
    parsed.map_err(|_| Problem::invalid(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"))
}

/// A port is 1 to 65535.
fn port_number(path: FieldPath, number: i32) -> Result<(), Problem> {
    if (1..=65535).contains(&number) {
        return Ok(());
    }
    Err(Problem::invalid(path, number, "must be between 1 and 65535, inclusive"))
}

/// A container with its place, and whether it runs beside the others (all but plain init containers do).
struct Placed<'a> {
    path: FieldPath,
    container: &'a Container,
    init: bool,
    sidecar: bool,
}

fn placed(spec: &PodSpec) -> impl Iterator<Item = Placed<'_>> {
    let place = |list: &'static str, init: bool| {
        move |(index, container): (usize, _)| {
            let container: &Container = container;
            let sidecar = init && container.restart_policy.as_deref() == Some("Always");
            Placed { path: FieldPath::of("spec").field(list).index(index), container, init, sidecar }
        }
    };
    let init = spec.init_containers.iter().flatten().enumerate().map(place("initContainers", true));
    init.chain(spec.containers.iter().enumerate().map(place("containers", false)))
}

fn containers(root: &FieldPath, spec: &PodSpec, volumes: &BTreeSet<&str>, problems: &mut Problems) {
    if spec.containers.is_empty() {
        problems.push(Problem::required(root.field("containers")).hint("a pod has at least one container"));
    }
    let count = spec.containers.len() + spec.init_containers.iter().flatten().count();
    if count > POD_CONTAINERS_MAX {
        let message = format!("Too many: {count}: must have at most {POD_CONTAINERS_MAX} containers, init containers included");
        problems.push(Problem::new(root.field("containers"), message));
        return;
    }
    let all_names: Vec<&str> = placed(spec).map(|placed| placed.container.name.as_str()).collect();
    let grace_seconds = spec.termination_grace_period_seconds.unwrap_or_default();
    let mut seen_names = HashSet::new();
    let mut ports = BTreeMap::new();
    for placed in placed(spec) {
        let name = placed.container.name.as_str();
        if !name.is_empty() && !seen_names.insert(name) {
            problems.push(Problem::duplicate(placed.path.field("name"), name, ""));
        }
        container::check(&placed, &container::Pod { volumes, containers: &all_names, grace_seconds }, problems);
        if !placed.init || placed.sidecar {
            shared_ports(&placed, &mut ports, problems);
        }
    }
}

/// Containers that run side by side share the pod's addresses: two of them cannot serve the same port.
fn shared_ports<'a>(placed: &Placed<'a>, taken: &mut BTreeMap<(i32, &'a str), &'a str>, problems: &mut Problems) {
    let name = placed.container.name.as_str();
    for (index, port) in placed.container.ports.iter().flatten().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or_default();
        let owner = *taken.entry((port.container_port, protocol)).or_insert(name);
        if owner != name {
            let path = placed.path.field("ports").index(index).field("containerPort");
            let of = format!("container {owner:?} has {protocol} port {} too", port.container_port);
            let problem = Problem::duplicate(path, port.container_port, &of);
            problems.push(problem.hint("the containers of a pod share one network; give each its own port"));
        }
    }
}

/// What is wrong with a ConfigMap by itself.
pub(super) fn config_map(object: &ConfigMap) -> Problems {
    let mut problems = Problems::default();
    metadata::check(&object.metadata, &mut problems);
    let (data, binary) = (FieldPath::of("data"), FieldPath::of("binaryData"));
    keys(&data, object.data.iter().flatten().map(|(key, _)| key), &mut problems);
    keys(&binary, object.binary_data.iter().flatten().map(|(key, _)| key), &mut problems);
    for key in object.data.iter().flatten().map(|(key, _)| key) {
        if object.binary_data.as_ref().is_some_and(|binary| binary.contains_key(key)) {
            problems.push(Problem::duplicate(binary.key(key), key, "data has this key too"));
        }
    }
    problems
}

/// What is wrong with a Secret by itself.
pub(super) fn secret(object: &Secret) -> Problems {
    let mut problems = Problems::default();
    metadata::check(&object.metadata, &mut problems);
    let names = |data: &Option<BTreeMap<String, ByteString>>| data.iter().flatten().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    keys(&FieldPath::of("data"), names(&object.data).iter(), &mut problems);
    keys(&FieldPath::of("stringData"), object.string_data.iter().flatten().map(|(key, _)| key), &mut problems);
    for (kind, key) in [DOCKER_CONFIG_JSON, DOCKER_CONFIG] {
        if object.type_.as_deref() == Some(kind) {
            problems.check(docker_config(object, key));
        }
    }
    problems
}

/// What is wrong with a PersistentVolumeClaim by itself.
pub(super) fn claim(object: &PersistentVolumeClaim) -> Problems {
    const MODES: [&str; 4] = ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"];
    let mut problems = metadata_of(&object.metadata);
    let path = FieldPath::of("spec");
    let Some(spec) = &object.spec else {
        problems.push(Problem::required(path));
        return problems;
    };
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    if modes.is_empty() {
        problems.push(Problem::new(path.field("accessModes"), "Required value: at least 1 access mode is required"));
    }
    for (index, mode) in modes.iter().enumerate() {
        problems.check(one_of(path.field("accessModes").index(index), Some(mode), &MODES));
    }
    problems.check(one_of(path.field("volumeMode"), spec.volume_mode.as_deref(), &["Filesystem"]));
    let storage = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()?.get("storage"));
    let path = path.field("resources.requests").key("storage");
    problems.check(match storage {
        Some(storage) => volume::amount(path, &storage.0).map(|_| ()),
        None => Err(Problem::required(path).hint("write how much the claim is for, such as 1Gi")),
    });
    problems
}

/// A Secret with credentials for registries must have them, as a JSON object; they are never told.
fn docker_config(object: &Secret, key: &'static str) -> Result<(), Problem> {
    let path = FieldPath::of("data").key(key);
    let Some(bytes) = Data::Secret(object).get(key) else { return Err(Problem::required(path)) };
    match serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(bytes) {
        Ok(_) => Ok(()),
        Err(_) => Err(Problem::new(path, "Invalid value: \"<secret contents redacted>\": must be a JSON object")),
    }
}

/// What is wrong with the name, labels and annotations of an object.
pub(super) fn metadata_of(metadata: &ObjectMeta) -> Problems {
    let mut problems = Problems::default();
    metadata::check(metadata, &mut problems);
    problems
}

/// What is wrong with the metadata of a Service; the rest is for those who lower it.
pub(super) fn service(object: &Service) -> Problems {
    metadata_of(&object.metadata)
}

fn keys<'a>(path: &FieldPath, keys: impl Iterator<Item = &'a String>, problems: &mut Problems) {
    for key in keys {
        problems.check(keep(path.key(key), key, names::data_key(key)));
    }
}

/// What is wrong with the objects of a manifest together: names that two have, ports of the machine that two pods want.
pub(super) fn together(manifest: &Manifest) -> Vec<(Origin, Problems)> {
    let mut found = Vec::new();
    let mut names = HashSet::new();
    let pods = manifest.pods.iter().map(|object| (&object.origin, &object.value.metadata));
    let services = manifest.services.iter().map(|object| (&object.origin, &object.value.metadata));
    let claims = manifest.claims.iter().map(|object| (&object.origin, &object.value.metadata));
    let config_maps = manifest.config_maps.iter().map(|object| (&object.origin, &object.value.metadata));
    let secrets = manifest.secrets.iter().map(|object| (&object.origin, &object.value.metadata));
    for (origin, metadata) in pods.chain(config_maps).chain(secrets).chain(services).chain(claims) {
        let namespace = metadata.namespace.as_deref().unwrap_or("default");
        // Not the name of a workload's first pod, which tells its template too.
        let name = origin.name.as_deref().unwrap_or_default();
        if !name.is_empty() && !names.insert((origin.kind.as_str(), namespace, name)) {
            let mut problems = Problems::default();
            let of = format!("the manifest has another {} of this name", origin.kind);
            problems.push(Problem::duplicate(FieldPath::of("metadata.name"), name, &of));
            found.push((origin.clone(), problems));
        }
    }
    found.extend(host_ports(manifest));
    found
}

/// Two listeners on the same port of the machine would clash when the second pod starts.
fn host_ports(manifest: &Manifest) -> Vec<(Origin, Problems)> {
    let mut taken: HashMap<(i32, &str), BTreeMap<&str, String>> = HashMap::new();
    let mut found = Vec::new();
    for (object, template) in manifest.pods.iter().zip(&manifest.templates) {
        let pod_name = object.value.metadata.name.as_deref().unwrap_or_default();
        let pods = template.spec.pods_at_once();
        let mut problems = Problems::default();
        for placed in object.value.spec.iter().flat_map(placed).filter(|placed| !placed.init || placed.sidecar) {
            for (index, port) in placed.container.ports.iter().flatten().enumerate() {
                let Some(number) = port.host_port.filter(|number| *number > 0) else { continue };
                let (protocol, ip) = (port.protocol.as_deref().unwrap_or_default(), port.host_ip.as_deref().unwrap_or_default());
                if pods > 1 {
                    let path = placed.path.field("ports").index(index).field("hostPort");
                    let problem =
                        Problem::forbidden(path, format_args!("{pods} pods cannot share {protocol} port {number} of the machine"));
                    problems.push(problem.hint("put a Service of type LoadBalancer before them"));
                    continue;
                }
                let owners = taken.entry((number, protocol)).or_default();
                if let Some(owner) = overlapping(owners, ip) {
                    let path = placed.path.field("ports").index(index).field("hostPort");
                    let problem = Problem::duplicate(path, number, &format!("{owner} has {protocol} port {number} too"));
                    problems.push(problem.hint("each port of the machine leads to one container"));
                }
                owners.insert(ip, format!("container {:?} of pod {pod_name:?}", placed.container.name));
            }
        }
        if !problems.is_empty() {
            found.push((object.origin.clone(), problems));
        }
    }
    found
}

/// Who listens on `ip` already, where an address that stands for all overlaps with every other.
fn overlapping<'a>(owners: &'a BTreeMap<&str, String>, ip: &str) -> Option<&'a String> {
    const ALL: [&str; 3] = ["", "0.0.0.0", "::"];
    match ALL.contains(&ip) {
        true => owners.values().next(),
        false => owners.get(ip).or_else(|| ALL.iter().find_map(|all| owners.get(all))),
    }
}
