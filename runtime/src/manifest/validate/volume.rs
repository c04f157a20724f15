//! The rules for `spec.volumes`.

use super::{downward, named, one_of};
use crate::manifest::lower::HOST_PATH_TYPES;
use crate::manifest::names;
use crate::manifest::problem::{FieldPath, Problem, Problems};
use crate::manifest::quantity::Quantity;
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, HostPathVolumeSource, ImageVolumeSource, KeyToPath, ProjectedVolumeSource, Volume, VolumeProjection,
};
use std::collections::{BTreeSet, HashSet};

/// Checks all volumes and yields their names; `containers` are the names of the pod's.
pub(super) fn check<'a>(
    path: &FieldPath,
    volumes: &'a [Volume],
    containers: &[&str],
    problems: &mut Problems,
) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        if problems.is_full() {
            break;
        }
        let path = path.index(index);
        problems.check(named(path.field("name"), &volume.name, names::label));
        if !seen.insert(volume.name.as_str()) && !volume.name.is_empty() {
            problems.push(Problem::duplicate(path.field("name"), &volume.name, ""));
        }
        source(&path, volume, containers, problems);
        other_source(&path, volume, problems);
    }
    seen
}

/// The sources whose files are made from objects. Sources that are not supported are refused elsewhere.
fn source(path: &FieldPath, volume: &Volume, containers: &[&str], problems: &mut Problems) {
    if let Some(source) = &volume.config_map {
        let path = path.field("configMap");
        problems.check(named(path.field("name"), &source.name, names::subdomain));
        files(&path, source.default_mode, source.items.as_deref(), problems);
    }
    if let Some(source) = &volume.secret {
        let path = path.field("secret");
        problems.check(named(path.field("secretName"), source.secret_name.as_deref().unwrap_or_default(), names::subdomain));
        files(&path, source.default_mode, source.items.as_deref(), problems);
    }
    if let Some(source) = &volume.downward_api {
        let path = path.field("downwardAPI");
        problems.check(mode(path.field("defaultMode"), source.default_mode));
        downward::files(&path.field("items"), source.items.as_deref().unwrap_or_default(), containers, problems);
    }
    if let Some(source) = &volume.projected {
        projected(&path.field("projected"), source, containers, problems);
    }
}

/// The sources that are directories, and that there is one source.
fn other_source(path: &FieldPath, volume: &Volume, problems: &mut Problems) {
    if let Some(source) = &volume.empty_dir {
        empty_dir(&path.field("emptyDir"), source, problems);
    }
    if let Some(source) = &volume.host_path {
        host_path(&path.field("hostPath"), source, problems);
    }
    if let Some(source) = &volume.persistent_volume_claim {
        // It becomes the name of a directory.
        problems.check(named(path.field("persistentVolumeClaim.claimName"), &source.claim_name, names::subdomain));
    }
    if let Some(source) = &volume.image {
        image(&path.field("image"), source, problems);
    }
    let given = [
        ("emptyDir", volume.empty_dir.is_some()),
        ("hostPath", volume.host_path.is_some()),
        ("configMap", volume.config_map.is_some()),
        ("secret", volume.secret.is_some()),
        ("downwardAPI", volume.downward_api.is_some()),
        ("projected", volume.projected.is_some()),
        ("persistentVolumeClaim", volume.persistent_volume_claim.is_some()),
        ("image", volume.image.is_some()),
    ];
    let mut sources = given.iter().filter(|(_, given)| *given).map(|(name, _)| *name);
    if let (Some(first), Some(second)) = (sources.next(), sources.next()) {
        let problem = Problem::forbidden(path.field(second), "may not specify more than 1 volume type");
        problems.push(problem.hint(format!("the volume has {first} too")));
    }
}

fn image(path: &FieldPath, source: &ImageVolumeSource, problems: &mut Problems) {
    let reference = source.reference.as_deref().unwrap_or_default();
    if reference.is_empty() {
        problems.push(Problem::required(path.field("reference")));
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    problems.check(one_of(path.field("pullPolicy"), source.pull_policy.as_deref(), &policies));
}

fn projected(path: &FieldPath, source: &ProjectedVolumeSource, containers: &[&str], problems: &mut Problems) {
    problems.check(mode(path.field("defaultMode"), source.default_mode));
    for (index, source) in source.sources.iter().flatten().enumerate() {
        if problems.is_full() {
            return;
        }
        projection(&path.field("sources").index(index), source, containers, problems);
    }
}

fn projection(path: &FieldPath, source: &VolumeProjection, containers: &[&str], problems: &mut Problems) {
    if let Some(source) = &source.config_map {
        let path = path.field("configMap");
        problems.check(named(path.field("name"), &source.name, names::subdomain));
        files(&path, None, source.items.as_deref(), problems);
    }
    if let Some(source) = &source.secret {
        let path = path.field("secret");
        problems.check(named(path.field("name"), &source.name, names::subdomain));
        files(&path, None, source.items.as_deref(), problems);
    }
    if let Some(source) = &source.downward_api {
        downward::files(&path.field("downwardAPI.items"), source.items.as_deref().unwrap_or_default(), containers, problems);
    }
    let given = [
        source.config_map.is_some(),
        source.secret.is_some(),
        source.downward_api.is_some(),
        source.service_account_token.is_some(),
        source.cluster_trust_bundle.is_some(),
        source.pod_certificate.is_some(),
    ];
    match given.iter().filter(|given| **given).count() {
        0 => problems.push(Problem::new(path.clone(), "Required value: must specify a source")),
        1 => {}
        _ => problems.push(Problem::forbidden(path.clone(), "may not specify more than 1 volume type per source")),
    }
}

fn empty_dir(path: &FieldPath, source: &EmptyDirVolumeSource, problems: &mut Problems) {
    problems.check(one_of(path.field("medium"), source.medium.as_deref(), &["", "Memory"]));
    if let Some(limit) = &source.size_limit {
        problems.check(amount(path.field("sizeLimit"), &limit.0).map(|_| ()));
    }
}

/// Reads a quantity that must not be negative.
pub(super) fn amount(path: FieldPath, text: &str) -> Result<Quantity, Problem> {
    match text.parse::<Quantity>() {
        Err(error) => Err(Problem::invalid(path, text, error).hint("write it like 128Mi, 1.5Gi, 250m or 1e3")),
        Ok(amount) if amount < Quantity::from_units(0) => Err(Problem::invalid(path, text, "must be greater than or equal to 0")),
        Ok(amount) => Ok(amount),
    }
}

fn host_path(path: &FieldPath, source: &HostPathVolumeSource, problems: &mut Problems) {
    problems.check(named(path.field("path"), &source.path, names::absolute_path));
    let known: Vec<&str> = HOST_PATH_TYPES.iter().map(|(name, _)| *name).collect();
    problems.check(one_of(path.field("type"), source.type_.as_deref(), &known));
}

fn mode(path: FieldPath, mode: Option<i32>) -> Result<(), Problem> {
    let Some(mode) = mode else { return Ok(()) };
    names::file_mode(mode).map_err(|rule| Problem::invalid(path, mode, rule))
}

fn files(path: &FieldPath, default_mode: Option<i32>, items: Option<&[KeyToPath]>, problems: &mut Problems) {
    problems.check(mode(path.field("defaultMode"), default_mode));
    for (index, item) in items.unwrap_or_default().iter().enumerate() {
        problems.check(mode(path.field("items").index(index).field("mode"), item.mode));
    }
    let mut seen = HashSet::new();
    for (index, item) in items.unwrap_or_default().iter().enumerate() {
        let path = path.field("items").index(index);
        if item.key.is_empty() {
            problems.push(Problem::required(path.field("key")));
        }
        let result = named(path.field("path"), &item.path, names::item_path);
        let good = result.is_ok();
        problems.check(result);
        if good && !seen.insert(item.path.as_str()) {
            problems.push(Problem::duplicate(path.field("path"), &item.path, ""));
        }
    }
    // A path that is a file for one item cannot be a directory for another.
    for (index, item) in items.unwrap_or_default().iter().enumerate() {
        let mut above = item.path.match_indices('/').filter_map(|(end, _)| item.path.get(..end));
        if let Some(file) = above.find(|parent| seen.contains(parent)) {
            let rule = format!("{file:?} is the file of another key and cannot be a directory");
            problems.push(Problem::invalid(path.field("items").index(index).field("path"), &item.path, rule));
        }
    }
}
