//! The rules for what the downward API hands to variables and files.

use super::{keep, named};
use crate::manifest::downward;
use crate::manifest::env::ResourceField;
use crate::manifest::names;
use crate::manifest::problem::{FieldPath, Problem, Problems};
use crate::manifest::quantity::Quantity;
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, ResourceFieldSelector};

/// Checks a `resourceFieldRef`; `containers` are the names of the pod's.
pub(super) fn resource_field(path: &FieldPath, reference: &ResourceFieldSelector, containers: &[&str], problems: &mut Problems) {
    let name = reference.resource.as_str();
    let field = ResourceField::parse(name);
    if name.is_empty() {
        problems.push(Problem::required(path.field("resource")));
    } else if field.is_none() {
        problems.push(Problem::unsupported(path.field("resource"), name, &ResourceField::NAMES));
    }
    if let Some(name) = reference.container_name.as_deref().filter(|name| !name.is_empty() && !containers.contains(name)) {
        problems.push(Problem::not_found(path.field("containerName"), name));
    }
    if let (Some(field), Some(divisor)) = (field, &reference.divisor) {
        problems.check(check_divisor(path.field("divisor"), &divisor.0, field));
    }
}

/// Only powers of the unit make sense to count in; zero is how Go says that there is none.
fn check_divisor(path: FieldPath, text: &str, field: ResourceField) -> Result<(), Problem> {
    let divisor = super::volume::amount(path.clone(), text)?;
    let (known, resource) = field.divisors();
    let is_known = known.iter().any(|known| known.parse::<Quantity>() == Ok(divisor));
    if is_known || divisor == Quantity::from_units(0) {
        return Ok(());
    }
    let rule = format!("only divisor's values {} are supported with the {resource} resource", known.join(", "));
    Err(Problem::invalid(path, text, rule))
}

/// Checks the files of a `downwardAPI` volume or projection.
pub(super) fn files(path: &FieldPath, items: &[DownwardAPIVolumeFile], containers: &[&str], problems: &mut Problems) {
    for (index, item) in items.iter().enumerate() {
        if problems.is_full() {
            return;
        }
        let path = path.index(index);
        problems.check(named(path.field("path"), &item.path, names::item_path));
        if let Some(mode) = item.mode {
            problems.check(names::file_mode(mode).map_err(|rule| Problem::invalid(path.field("mode"), mode, rule)));
        }
        match (&item.field_ref, &item.resource_field_ref) {
            (Some(_), Some(_)) => {
                let rule = "fieldRef and resourceFieldRef can not be specified simultaneously";
                problems.push(Problem::invalid(path, "resource", rule));
            }
            (None, None) => {
                problems.push(Problem::new(path, "Required value: one of fieldRef and resourceFieldRef is required"));
            }
            (Some(field), None) => problems.check(volume_field(path.field("fieldRef.fieldPath"), &field.field_path)),
            (None, Some(reference)) => {
                let path = path.field("resourceFieldRef");
                if reference.container_name.as_deref().unwrap_or_default().is_empty() {
                    problems.push(Problem::required(path.field("containerName")));
                }
                resource_field(&path, reference, containers, problems);
            }
        }
    }
}

fn volume_field(path: FieldPath, field: &str) -> Result<(), Problem> {
    if field.is_empty() {
        return Err(Problem::required(path));
    }
    match downward::VolumeField::parse(field) {
        Some(downward::VolumeField::One(field)) => match field.key() {
            Some(key) => keep(path, key, names::qualified_name(&key.to_ascii_lowercase())),
            None => Ok(()),
        },
        Some(_) => Ok(()),
        None => Err(Problem::unsupported(path, field, &downward::VolumeField::NAMES)),
    }
}
