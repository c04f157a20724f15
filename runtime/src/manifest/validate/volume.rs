//! The rules for `spec.volumes`.

use super::{named, one_of};
use crate::manifest::lower::HOST_PATH_TYPES;
use crate::manifest::names;
use crate::manifest::problem::{FieldPath, Problem, Problems};
use crate::manifest::quantity::Quantity;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, KeyToPath, Volume};
use std::collections::{BTreeSet, HashSet};

/// Checks all volumes and yields their names.
pub(super) fn check<'a>(path: &FieldPath, volumes: &'a [Volume], problems: &mut Problems) -> BTreeSet<&'a str> {
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
        source(&path, volume, problems);
    }
    seen
}

/// Sources that are not supported are refused elsewhere.
fn source(path: &FieldPath, volume: &Volume, problems: &mut Problems) {
    let mut sources = Vec::new();
    if let Some(source) = &volume.empty_dir {
        sources.push("emptyDir");
        empty_dir(&path.field("emptyDir"), source, problems);
    }
    if let Some(source) = &volume.host_path {
        sources.push("hostPath");
        host_path(&path.field("hostPath"), source, problems);
    }
    if let Some(source) = &volume.config_map {
        sources.push("configMap");
        let path = path.field("configMap");
        problems.check(named(path.field("name"), &source.name, names::subdomain));
        files(&path, source.default_mode, source.items.as_deref(), problems);
    }
    if let Some(source) = &volume.secret {
        sources.push("secret");
        let path = path.field("secret");
        problems.check(named(path.field("secretName"), source.secret_name.as_deref().unwrap_or_default(), names::subdomain));
        files(&path, source.default_mode, source.items.as_deref(), problems);
    }
    if let [first, second, ..] = sources.as_slice() {
        let problem = Problem::forbidden(path.field(second), "may not specify more than 1 volume type");
        problems.push(problem.hint(format!("the volume has {first} too")));
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

fn files(path: &FieldPath, mode: Option<i32>, items: Option<&[KeyToPath]>, problems: &mut Problems) {
    let mut check_mode = |path: FieldPath, mode: Option<i32>| {
        if let Some(mode) = mode {
            problems.check(names::file_mode(mode).map_err(|rule| Problem::invalid(path, mode, rule)));
        }
    };
    check_mode(path.field("defaultMode"), mode);
    for (index, item) in items.unwrap_or_default().iter().enumerate() {
        check_mode(path.field("items").index(index).field("mode"), item.mode);
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
