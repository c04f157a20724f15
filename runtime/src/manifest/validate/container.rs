//! The rules for one container.

use super::{Placed, downward, handler, ip_address, keep, named, one_of, port_number, resources, restart};
use crate::manifest::env;
use crate::manifest::names;
use crate::manifest::problem::{FieldPath, Problem, Problems};
use crate::manifest::similar::closest;
use k8s_openapi::api::core::v1::{Container, ContainerPort, EnvFromSource, EnvVar, EnvVarSource, VolumeMount};
use std::collections::{BTreeSet, HashMap, HashSet};

/// What a container's fields may refer to in its pod.
pub(super) struct Pod<'a> {
    pub(super) volumes: &'a BTreeSet<&'a str>,
    pub(super) containers: &'a [&'a str],
    /// `terminationGracePeriodSeconds`.
    pub(super) grace_seconds: i64,
}

pub(super) fn check(placed: &Placed<'_>, pod: &Pod<'_>, problems: &mut Problems) {
    let Placed { path, container, .. } = placed;
    problems.check(named(path.field("name"), &container.name, names::label));
    problems.check(image(path.field("image"), container.image.as_deref().unwrap_or_default()));
    let pull = ["Always", "IfNotPresent", "Never"];
    problems.check(one_of(path.field("imagePullPolicy"), container.image_pull_policy.as_deref(), &pull));
    let message = ["File", "FallbackToLogsOnError"];
    problems.check(one_of(path.field("terminationMessagePolicy"), container.termination_message_policy.as_deref(), &message));
    if let Some(dir) = container.working_dir.as_deref().filter(|dir| !dir.is_empty()) {
        problems.check(keep(path.field("workingDir"), dir, names::absolute_path(dir)));
    }
    let message_path = container.termination_message_path.as_deref().unwrap_or_default();
    problems.check(keep(path.field("terminationMessagePath"), message_path, names::absolute_path(message_path)));
    restart::check(placed, problems);
    handler::check(placed, pod.grace_seconds, problems);
    if placed.init && !placed.sidecar {
        init_only(path, container, problems);
    }
    ports(&path.field("ports"), container.ports.as_deref().unwrap_or_default(), problems);
    for (index, source) in container.env_from.iter().flatten().enumerate() {
        env_from(&path.field("envFrom").index(index), source, problems);
    }
    for (index, variable) in container.env.iter().flatten().enumerate() {
        if problems.is_full() {
            break;
        }
        env_var(&path.field("env").index(index), variable, pod, problems);
    }
    mounts(&path.field("volumeMounts"), container.volume_mounts.as_deref().unwrap_or_default(), pod, problems);
    if let Some(requirements) = &container.resources {
        resources::check(&path.field("resources"), requirements, problems);
    }
}

fn image(path: FieldPath, image: &str) -> Result<(), Problem> {
    if image.is_empty() {
        return Err(Problem::required(path).hint("name a WebAssembly file, such as file:./app.wasm"));
    }
    if image.trim() != image {
        return Err(Problem::invalid(path, image, "must not have leading or trailing whitespace"));
    }
    Ok(())
}

/// An init container that runs to its end cannot be probed, nor told of its start and stop.
fn init_only(path: &FieldPath, container: &Container, problems: &mut Problems) {
    let fields = [
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
        ("lifecycle", container.lifecycle.is_some()),
    ];
    for (field, _) in fields.into_iter().filter(|(_, set)| *set) {
        let problem = Problem::forbidden(path.field(field), "may not be set for init containers without restartPolicy=Always");
        problems.push(problem);
    }
}

fn ports(path: &FieldPath, ports: &[ContainerPort], problems: &mut Problems) {
    let mut port_names = HashSet::new();
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            problems.check(keep(path.field("name"), name, names::port_name(name)));
            if !port_names.insert(name) {
                problems.push(Problem::duplicate(path.field("name"), name, ""));
            }
        }
        match port.container_port {
            0 => problems.push(Problem::required(path.field("containerPort"))),
            number => problems.check(port_number(path.field("containerPort"), number)),
        }
        if let Some(number) = port.host_port.filter(|number| *number != 0) {
            problems.check(port_number(path.field("hostPort"), number));
        }
        if let Some(ip) = port.host_ip.as_deref().filter(|ip| !ip.is_empty()) {
            problems.check(ip_address(path.field("hostIP"), ip));
        }
        problems.check(one_of(path.field("protocol"), port.protocol.as_deref(), &["TCP", "UDP"]));
        if !seen.insert((port.container_port, port.protocol.as_deref(), port.host_port, port.host_ip.as_deref())) {
            problems.push(Problem::duplicate(path.field("containerPort"), port.container_port, ""));
        }
    }
}

fn env_from(path: &FieldPath, source: &EnvFromSource, problems: &mut Problems) {
    if let Some(prefix) = source.prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
        problems.check(keep(path.field("prefix"), prefix, names::env_name(prefix)));
    }
    if let Some(reference) = &source.config_map_ref {
        problems.check(named(path.field("configMapRef.name"), &reference.name, names::subdomain));
    }
    if let Some(reference) = &source.secret_ref {
        problems.check(named(path.field("secretRef.name"), &reference.name, names::subdomain));
    }
    match (&source.config_map_ref, &source.secret_ref) {
        (None, None) => problems.push(Problem::invalid(path.clone(), "", "must specify one of: `configMapRef` or `secretRef`")),
        (Some(_), Some(_)) => {
            problems.push(Problem::invalid(path.clone(), "", "may not have more than one field specified at a time"));
        }
        _ => {}
    }
}

fn env_var(path: &FieldPath, variable: &EnvVar, pod: &Pod<'_>, problems: &mut Problems) {
    problems.check(named(path.field("name"), &variable.name, names::env_name));
    let Some(source) = &variable.value_from else { return };
    let path = path.field("valueFrom");
    if variable.value.as_deref().is_some_and(|value| !value.is_empty()) {
        problems.push(Problem::invalid(path.clone(), "", "may not be specified when `value` is not empty"));
    }
    let given = [
        source.field_ref.is_some(),
        source.resource_field_ref.is_some(),
        source.config_map_key_ref.is_some(),
        source.secret_key_ref.is_some(),
        source.file_key_ref.is_some(),
    ];
    match given.iter().filter(|given| **given).count() {
        0 => {
            let rule = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            problems.push(Problem::invalid(path, "", rule));
        }
        1 => env_source(&path, source, pod, problems),
        _ => problems.push(Problem::invalid(path, "", "may not have more than one field specified at a time")),
    }
}

fn env_source(path: &FieldPath, source: &EnvVarSource, pod: &Pod<'_>, problems: &mut Problems) {
    let mut key = |path: FieldPath, name: &str, key: &str| {
        problems.check(named(path.field("name"), name, names::subdomain));
        problems.check(named(path.field("key"), key, names::data_key));
    };
    if let Some(reference) = &source.config_map_key_ref {
        key(path.field("configMapKeyRef"), &reference.name, &reference.key);
    }
    if let Some(reference) = &source.secret_key_ref {
        key(path.field("secretKeyRef"), &reference.name, &reference.key);
    }
    if let Some(reference) = &source.file_key_ref {
        let path = path.field("fileKeyRef");
        problems.check(volume_of(path.field("volumeName"), &reference.volume_name, pod.volumes));
        problems.check(named(path.field("path"), &reference.path, names::relative_path));
        problems.check(named(path.field("key"), &reference.key, names::env_name));
    }
    if let Some(reference) = &source.field_ref {
        problems.check(field_ref(path.field("fieldRef.fieldPath"), &reference.field_path));
    }
    if let Some(reference) = &source.resource_field_ref {
        downward::resource_field(&path.field("resourceFieldRef"), reference, pod.containers, problems);
    }
}

fn field_ref(path: FieldPath, field: &str) -> Result<(), Problem> {
    if field.is_empty() {
        return Err(Problem::required(path));
    }
    if env::FieldRef::parse(field).is_some() {
        return Ok(());
    }
    Err(Problem::unsupported(path, field, &env::FieldRef::NAMES))
}

fn mounts(path: &FieldPath, mounts: &[VolumeMount], pod: &Pod<'_>, problems: &mut Problems) {
    let mut paths: HashMap<&str, &str> = HashMap::new();
    for (index, mount) in mounts.iter().enumerate() {
        if problems.is_full() {
            break;
        }
        let path = path.index(index);
        problems.check(volume_of(path.field("name"), &mount.name, pod.volumes));
        let at = path.field("mountPath");
        problems.check(named(at.clone(), &mount.mount_path, names::absolute_path));
        if mount.mount_path.contains(':') {
            problems.push(Problem::invalid(at.clone(), &mount.mount_path, "must not contain ':'"));
        }
        if !mount.mount_path.is_empty() && paths.insert(mount.mount_path.trim_end_matches('/'), &mount.name).is_some() {
            problems.push(Problem::invalid(at, &mount.mount_path, "must be unique"));
        }
        let (sub, expression) = (mount.sub_path.as_deref().unwrap_or_default(), mount.sub_path_expr.as_deref().unwrap_or_default());
        problems.check(keep(path.field("subPath"), sub, names::relative_path(sub)));
        problems.check(keep(path.field("subPathExpr"), expression, names::relative_path(expression)));
        if !sub.is_empty() && !expression.is_empty() {
            problems.push(Problem::invalid(
                path.field("subPathExpr"),
                expression,
                "subPathExpr and subPath are mutually exclusive",
            ));
        }
    }
}

fn volume_of(path: FieldPath, name: &str, volumes: &BTreeSet<&str>) -> Result<(), Problem> {
    if name.is_empty() {
        return Err(Problem::required(path));
    }
    if volumes.contains(name) {
        return Ok(());
    }
    let hint = match closest(name, volumes.iter().copied()) {
        Some(close) => format!("did you mean {close:?}?"),
        None => "add a volume of this name to spec.volumes".to_owned(),
    };
    Err(Problem::not_found(path, name).hint(hint))
}
