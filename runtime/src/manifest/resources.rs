//! `resources`: the limits of a container, and the quality of service of its pod.

use super::quantity::Quantity;
use crate::pod::spec::QosClass;
use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use std::collections::BTreeMap;

/// The resources that `status.qosClass` is about.
const QOS_RESOURCES: [&str; 2] = ["cpu", "memory"];

/// A limit that is set and more than zero; a limit of zero is none, as it is for a kubelet.
pub(super) fn limit(container: &Container, resource: &str) -> Option<Quantity> {
    positive(container.resources.as_ref()?.limits.as_ref(), resource)
}

/// The limit in whole units: bytes.
pub(super) fn limit_units(container: &Container, resource: &str) -> Option<u64> {
    u64::try_from(limit(container, resource)?.units()).ok()
}

/// The limit in thousandths: millicores.
pub(super) fn limit_millis(container: &Container, resource: &str) -> Option<u64> {
    u64::try_from(limit(container, resource)?.millis()).ok()
}

fn positive(amounts: Option<&BTreeMap<String, Text>>, resource: &str) -> Option<Quantity> {
    let amount = amounts?.get(resource)?.0.parse::<Quantity>().ok()?;
    (amount > Quantity::from_units(0)).then_some(amount)
}

/// The quality of service that all containers, init containers included, come to (`ComputePodQOS` of Kubernetes).
pub(super) fn qos_class(spec: &PodSpec) -> QosClass {
    let none = ResourceRequirements::default();
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut any = false;
    let mut guaranteed = true;
    for container in all {
        let resources = container.resources.as_ref().unwrap_or(&none);
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
