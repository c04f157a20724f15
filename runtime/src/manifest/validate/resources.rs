//! The rules for `resources`.

use super::volume::amount;
use crate::manifest::problem::{FieldPath, Problem, Problems};
use crate::manifest::quantity::Quantity as Amount;
use crate::manifest::resources;
use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::{BTreeMap, HashMap};

pub(super) fn check(path: &FieldPath, requirements: &ResourceRequirements, problems: &mut Problems) {
    let mut limits = HashMap::new();
    for (name, quantity) in requirements.limits.iter().flatten() {
        let path = path.field("limits").key(name);
        problems.check(resource_name(path.clone(), name));
        match amount(path, &quantity.0) {
            Ok(amount) => drop(limits.insert(name, (amount, quantity))),
            Err(problem) => problems.push(problem),
        }
    }
    for (name, quantity) in requirements.requests.iter().flatten() {
        // A request that was filled in from its limit has been checked with it.
        if requirements.limits.as_ref().and_then(|limits| limits.get(name)) == Some(quantity) {
            continue;
        }
        let path = path.field("requests").key(name);
        problems.check(resource_name(path.clone(), name));
        match (amount(path.clone(), &quantity.0), limits.get(name)) {
            (Ok(request), Some((limit, text))) if request > *limit => {
                let rule = format!("must be less than or equal to {name} limit of {}", text.0);
                problems.push(Problem::invalid(path, &quantity.0, rule));
            }
            (Ok(_), _) => {}
            (Err(problem), _) => problems.push(problem),
        }
    }
}

/// What is wrong with the resources of a pod as a whole, by themselves and against those of its containers.
pub(super) fn check_pod(spec: &PodSpec, containers: &[(FieldPath, &Container)], problems: &mut Problems) {
    let Some(own) = &spec.resources else { return };
    let path = FieldPath::of("spec.resources");
    for (list, amounts) in [("limits", &own.limits), ("requests", &own.requests)] {
        for name in amounts.iter().flatten().map(|(name, _)| name).filter(|name| *name == "ephemeral-storage") {
            problems.push(Problem::unsupported(path.field(list).key(name), name, &["cpu", "memory"]));
        }
    }
    check(&path, own, problems);
    for resource in ["cpu", "memory"] {
        let text = |amounts: &Option<BTreeMap<String, Quantity>>| Some(amounts.as_ref()?.get(resource)?.0.clone());
        let parsed = |text: &String| text.parse::<Amount>().ok();
        if let (Some(request), Some(sum)) = (text(&own.requests), resources::requested(spec, resource))
            && parsed(&request).is_some_and(|request| request < sum)
        {
            let sum = if resource == "cpu" { format!("{}m", sum.millis()) } else { sum.units().to_string() };
            let rule = format!("must be greater than or equal to aggregate container requests of {sum}");
            problems.push(Problem::invalid(path.field("requests").key(resource), request, rule));
        }
        let Some(limit) = text(&own.limits) else { continue };
        for (path, container) in containers {
            let own = container.resources.as_ref().and_then(|resources| text(&resources.limits));
            if let Some(own) = own.filter(|own| parsed(own) > parsed(&limit)) {
                let path = path.field("resources.limits").key(resource);
                problems.push(Problem::invalid(path, own, format!("must be less than or equal to pod limits of {limit}")));
            }
        }
    }
}

fn resource_name(path: FieldPath, name: &str) -> Result<(), Problem> {
    match name {
        "cpu" | "memory" | "ephemeral-storage" => Ok(()),
        _ if name.contains('/') || name.starts_with("hugepages-") => {
            Err(Problem::new(path, "not supported: wasmpod hands no devices or huge pages to guests"))
        }
        _ => Err(Problem::unsupported(path, name, &["cpu", "memory", "ephemeral-storage"])),
    }
}
