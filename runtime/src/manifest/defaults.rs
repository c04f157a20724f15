//! The values that the Kubernetes API server fills in (`pkg/apis/core/v1/defaults.go`), on the object itself.

use super::quantity::Quantity;
use super::resources;
use crate::pod::spec::PullPolicy;
use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, EmptyDirVolumeSource, EnvVar, HTTPGetAction, Pod, PodSecurityContext, PodSpec, Probe,
    ResourceRequirements, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

/// The default permission bits of files made from ConfigMaps and Secrets.
pub(super) const FILE_MODE: i32 = 0o644;
/// The default of `terminationGracePeriodSeconds`.
pub(super) const GRACE_SECONDS: i64 = 30;

fn default_to<T>(field: &mut Option<T>, value: impl Into<T>) {
    if field.is_none() {
        *field = Some(value.into());
    }
}

/// Fills in what the pod leaves out; name and uid are left to others.
pub(super) fn pod(pod: &mut Pod) {
    default_to(&mut pod.metadata.namespace, "default");
    if let Some(spec) = &mut pod.spec {
        pod_spec(spec);
    }
}

fn pod_spec(spec: &mut PodSpec) {
    default_to(&mut spec.restart_policy, "Always");
    default_to(&mut spec.dns_policy, "ClusterFirst");
    default_to(&mut spec.scheduler_name, "default-scheduler");
    default_to(&mut spec.termination_grace_period_seconds, GRACE_SECONDS);
    default_to(&mut spec.enable_service_links, true);
    default_to(&mut spec.security_context, PodSecurityContext::default());
    let account = spec.service_account_name.clone().or_else(|| spec.service_account.clone());
    default_to(&mut spec.service_account_name, account.unwrap_or_else(|| "default".to_owned()));
    spec.init_containers.iter_mut().flatten().chain(&mut spec.containers).for_each(container);
    spec.volumes.iter_mut().flatten().for_each(volume);
    pod_resources(spec);
}

/// A pod with resources of its own requests what it does not say from what its containers request together, or else its limit.
fn pod_resources(spec: &mut PodSpec) {
    let requested = ["cpu", "memory"].map(|resource| (resource, resources::requested(spec, resource)));
    let Some(own) = spec.resources.as_mut().filter(|own| **own != ResourceRequirements::default()) else { return };
    let requests = own.requests.get_or_insert_default();
    for (resource, amount) in requested {
        if let Some(amount) = amount.filter(|_| !requests.contains_key(resource)) {
            let text = if resource == "cpu" { format!("{}m", amount.millis()) } else { amount.units().to_string() };
            requests.insert(resource.to_owned(), Text(text));
        }
    }
    requirements(own);
}

fn container(container: &mut Container) {
    if container.termination_message_path.as_ref().is_none_or(String::is_empty) {
        container.termination_message_path = Some("/dev/termination-log".to_owned());
    }
    default_to(&mut container.termination_message_policy, "File");
    if let Some(image) = &container.image {
        let policy = pull_policy(image);
        default_to(&mut container.image_pull_policy, policy);
    }
    for port in container.ports.iter_mut().flatten() {
        default_to(&mut port.protocol, "TCP");
    }
    for probe in [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe] {
        probe.iter_mut().for_each(probe_defaults);
    }
    if let Some(lifecycle) = &mut container.lifecycle {
        let hooks = [&mut lifecycle.post_start, &mut lifecycle.pre_stop].into_iter().flatten();
        hooks.filter_map(|hook| hook.http_get.as_mut()).for_each(http_get);
    }
    container.env.iter_mut().flatten().for_each(variable);
    requirements(container.resources.get_or_insert_default());
}

/// `imagePullPolicy` or `pullPolicy` of an image that has none.
fn pull_policy(image: &str) -> &'static str {
    match PullPolicy::default_of(image) {
        PullPolicy::Always => "Always",
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Never => "Never",
    }
}

fn probe_defaults(probe: &mut Probe) {
    let numbers = [
        (&mut probe.timeout_seconds, 1),
        (&mut probe.period_seconds, 10),
        (&mut probe.success_threshold, 1),
        (&mut probe.failure_threshold, 3),
    ];
    for (field, value) in numbers {
        // Zero is how Go says that a number is not there.
        *field = field.filter(|number| *number != 0).or(Some(value));
    }
    probe.http_get.iter_mut().for_each(http_get);
    if let Some(grpc) = &mut probe.grpc {
        default_to(&mut grpc.service, "");
    }
}

fn http_get(HTTPGetAction { path, scheme, .. }: &mut HTTPGetAction) {
    for (field, value) in [(path, "/"), (scheme, "HTTP")] {
        *field = field.take().filter(|text| !text.is_empty()).or_else(|| Some(value.to_owned()));
    }
}

fn variable(variable: &mut EnvVar) {
    let Some(source) = &mut variable.value_from else { return };
    if let Some(field) = &mut source.field_ref {
        default_to(&mut field.api_version, "v1");
    }
    if let Some(resource) = &mut source.resource_field_ref {
        default_to(&mut resource.divisor, Text("0".to_owned()));
    }
}

/// A resource that has a limit and no request requests its limit.
fn requirements(requirements: &mut ResourceRequirements) {
    let Some(limits) = &requirements.limits else { return };
    let requests = requirements.requests.get_or_insert_default();
    for (name, limit) in limits {
        if limit.0.parse::<Quantity>().is_ok() && !requests.contains_key(name) {
            requests.insert(name.clone(), limit.clone());
        }
    }
}

fn volume(volume: &mut Volume) {
    if *volume == (Volume { name: volume.name.clone(), ..Volume::default() }) {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
    if let Some(source) = &mut volume.config_map {
        default_to(&mut source.default_mode, FILE_MODE);
    }
    if let Some(source) = &mut volume.secret {
        default_to(&mut source.default_mode, FILE_MODE);
    }
    if let Some(source) = &mut volume.downward_api {
        default_to(&mut source.default_mode, FILE_MODE);
        downward_api(source.items.as_deref_mut());
    }
    if let Some(source) = &mut volume.projected {
        default_to(&mut source.default_mode, FILE_MODE);
        for projection in source.sources.iter_mut().flatten().filter_map(|source| source.downward_api.as_mut()) {
            downward_api(projection.items.as_deref_mut());
        }
    }
    if let Some(source) = &mut volume.image {
        let policy = pull_policy(source.reference.as_deref().unwrap_or_default());
        default_to(&mut source.pull_policy, policy);
    }
    if let Some(source) = &mut volume.host_path {
        default_to(&mut source.type_, "");
    }
}

fn downward_api(items: Option<&mut [DownwardAPIVolumeFile]>) {
    for field in items.into_iter().flatten().filter_map(|item| item.field_ref.as_mut()) {
        default_to(&mut field.api_version, "v1");
    }
}
