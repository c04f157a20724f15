//! The volumes of a pod, and the files that ConfigMaps and Secrets become in them.

use super::defaults::FILE_MODE;
use super::lower::{Allowance, HOST_PATH_TYPES, Objects, Source};
use super::problem::{FieldPath, Problem, Problems};
use super::quantity::Quantity;
use crate::pod::spec::{HostPathType, StorageMedium, VolumeFile, VolumeSource, VolumeSpec};
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, KeyToPath, PodSpec, Volume};

/// Lowers `spec.volumes`; references that lead nowhere are added to `problems`.
///
/// # Errors
/// The problem of a pod that goes over its allowance.
pub(super) fn lower(
    path: &FieldPath,
    spec: &PodSpec,
    objects: &Objects<'_>,
    allowance: &mut Allowance,
    problems: &mut Problems,
) -> Result<Vec<VolumeSpec>, Problem> {
    let mut lowered = Vec::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        if problems.is_full() {
            break;
        }
        if let Some(source) = source(&path.index(index), volume, objects, allowance, problems)? {
            lowered.push(VolumeSpec { name: volume.name.clone(), source });
        }
    }
    Ok(lowered)
}

/// The source of one volume; nothing if something is wrong with it, which `problems` tells.
fn source(
    path: &FieldPath,
    volume: &Volume,
    objects: &Objects<'_>,
    allowance: &mut Allowance,
    problems: &mut Problems,
) -> Result<Option<VolumeSource>, Problem> {
    let files = if let Some(empty_dir) = &volume.empty_dir {
        return Ok(Some(empty_dir_source(empty_dir)));
    } else if let Some(host_path) = &volume.host_path {
        return Ok(Some(host_path_source(host_path)));
    } else if let Some(source) = &volume.config_map {
        Files {
            path: path.field("configMap"),
            name_field: "name",
            source: Source::ConfigMap,
            name: &source.name,
            optional: source.optional == Some(true),
            mode: source.default_mode.unwrap_or(FILE_MODE),
            items: source.items.as_deref(),
        }
    } else if let Some(source) = &volume.secret {
        Files {
            path: path.field("secret"),
            name_field: "secretName",
            source: Source::Secret,
            name: source.secret_name.as_deref().unwrap_or_default(),
            optional: source.optional == Some(true),
            mode: source.default_mode.unwrap_or(FILE_MODE),
            items: source.items.as_deref(),
        }
    } else {
        // Every other source has been refused when the manifest was read.
        problems.push(Problem::required(path.clone()));
        return Ok(None);
    };
    let files = files.read(objects, allowance, problems)?;
    Ok(Some(VolumeSource::Files { sensitive: volume.secret.is_some(), files }))
}

fn empty_dir_source(source: &EmptyDirVolumeSource) -> VolumeSource {
    let limit = source.size_limit.as_ref().and_then(|limit| limit.0.parse::<Quantity>().ok());
    VolumeSource::EmptyDir {
        medium: if source.medium.as_deref() == Some("Memory") { StorageMedium::Memory } else { StorageMedium::Disk },
        // A limit of zero is none, as it is for a kubelet.
        size_limit_bytes: limit.and_then(|limit| u64::try_from(limit.units()).ok()).filter(|bytes| *bytes > 0),
    }
}

fn host_path_source(source: &HostPathVolumeSource) -> VolumeSource {
    let name = source.type_.as_deref().unwrap_or_default();
    let kind = HOST_PATH_TYPES.iter().find(|(known, _)| *known == name).map_or(HostPathType::Unchecked, |(_, kind)| *kind);
    VolumeSource::HostPath { path: source.path.clone().into(), kind }
}

/// What the sources `configMap` and `secret` have in common.
struct Files<'a> {
    path: FieldPath,
    name_field: &'static str,
    source: Source,
    name: &'a str,
    optional: bool,
    mode: i32,
    items: Option<&'a [KeyToPath]>,
}

impl Files<'_> {
    /// Every key as a file of its name, or the items as they say.
    fn read(&self, objects: &Objects<'_>, allowance: &mut Allowance, problems: &mut Problems) -> Result<Vec<VolumeFile>, Problem> {
        let data = match objects.find(&self.path.field(self.name_field), self.source, self.name, self.optional) {
            Ok(Some(data)) => data,
            Ok(None) => return Ok(Vec::new()),
            Err(problem) => {
                problems.push(problem);
                return Ok(Vec::new());
            }
        };
        let mut files = Vec::new();
        let mut add = |path: &str, contents: &[u8], mode: i32| -> Result<(), Problem> {
            allowance.spend(contents.len(), &self.path)?;
            let mode = u32::try_from(mode).unwrap_or_default();
            files.push(VolumeFile { path: path.to_owned(), contents: contents.to_vec(), mode });
            Ok(())
        };
        let Some(items) = self.items.filter(|items| !items.is_empty()) else {
            for (key, contents) in data.all() {
                add(key, contents, self.mode)?;
            }
            return Ok(files);
        };
        for (index, item) in items.iter().enumerate() {
            if problems.is_full() {
                break;
            }
            match data.get(&item.key) {
                Some(contents) => add(&item.path, contents, item.mode.unwrap_or(self.mode))?,
                None if self.optional => {}
                None => problems.push(data.missing_key(self.path.field("items").index(index).field("key"), &item.key)),
            }
        }
        Ok(files)
    }
}
