//! `resources`: the limits of a container, and the quality of service of its pod.

use super::quantity::Quantity;
use crate::pod::spec::QosClass;
use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use std::collections::BTreeMap;

/// The resources that `status.qosClass` is about.
const QOS_RESOURCES: [&str; 2] = ["cpu", "memory"];

/// A limit that is set and more than zero; a limit of zero is none, as it is for a kubelet.
fn limit(resources: Option<&ResourceRequirements>, resource: &str) -> Option<Quantity> {
    positive(resources?.limits.as_ref(), resource)
}

/// The limit in whole units: bytes.
pub(super) fn limit_units(resources: Option<&ResourceRequirements>, resource: &str) -> Option<u64> {
    u64::try_from(limit(resources, resource)?.units()).ok()
}

/// The limit in thousandths: millicores.
pub(super) fn limit_millis(resources: Option<&ResourceRequirements>, resource: &str) -> Option<u64> {
    u64::try_from(limit(resources, resource)?.millis()).ok()
}

fn positive(amounts: Option<&BTreeMap<String, Text>>, resource: &str) -> Option<Quantity> {
    let amount = amounts?.get(resource)?.0.parse::<Quantity>().ok()?;
    (amount > Quantity::from_units(0)).then_some(amount)
}

/// The quality of service that the pod's own resources come to, or, where it has none, those of all its containers, init containers
/// included (`ComputePodQOS` of Kubernetes).
pub(super) fn qos_class(spec: &PodSpec) -> QosClass {
    let none = ResourceRequirements::default();
    let all = match spec.resources.as_ref().filter(|resources| **resources != none) {
        Some(own) => vec![own],
        None => containers(spec).map(|container| container.resources.as_ref().unwrap_or(&none)).collect(),
    };
    let mut any = false;
    let mut guaranteed = true;
    for resources in all {
        for resource in QOS_RESOURCES {
            let request = positive(resources.requests.as_ref(), resource);
            let limit = positive(resources.limits.as_ref(), resource);
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// What the containers request together: those that run side by side, or an init container with the sidecars before it, whichever is
/// more (`AggregateContainerRequests` of Kubernetes). Nothing when none of them requests any.
pub(super) fn requested(spec: &PodSpec, resource: &str) -> Option<Quantity> {
    let request = |container: &Container| positive(container.resources.as_ref()?.requests.as_ref(), resource);
    let zero = Quantity::from_units(0);
    let (mut sidecars, mut most) = (zero, zero);
    for init in spec.init_containers.iter().flatten() {
        let own = request(init).unwrap_or(zero);
        if init.restart_policy.as_deref() == Some("Always") {
            sidecars = sidecars.plus(own);
        } else {
            most = most.max(sidecars.plus(own));
        }
    }
    let together = spec.containers.iter().filter_map(request).fold(sidecars, Quantity::plus);
    Some(together.max(most)).filter(|sum| *sum > zero)
}
