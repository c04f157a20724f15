//! The rules for `resources`.

use super::volume::amount;
use crate::manifest::problem::{FieldPath, Problem, Problems};
use k8s_openapi::api::core::v1::ResourceRequirements;
use std::collections::HashMap;

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

fn resource_name(path: FieldPath, name: &str) -> Result<(), Problem> {
    match name {
        "cpu" | "memory" | "ephemeral-storage" => Ok(()),
        _ if name.contains('/') || name.starts_with("hugepages-") => {
            Err(Problem::new(path, "not supported: wasmpod hands no devices or huge pages to guests"))
        }
        _ => Err(Problem::unsupported(path, name, &["cpu", "memory", "ephemeral-storage"])),
    }
}
