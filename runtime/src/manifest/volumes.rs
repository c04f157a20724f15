//! The volumes of a pod, and the files that ConfigMaps, Secrets and the pod's own fields become in them.

use super::defaults::FILE_MODE;
use super::downward;
use super::env::Surroundings;
use super::lower::{Allowance, HOST_PATH_TYPES, Source, pull_policy};
use super::problem::{FieldPath, Problem, Problems};
use super::quantity::Quantity;
use crate::pod::spec::{HostPathType, StorageMedium, VolumeFile, VolumeSource, VolumeSpec};
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, EmptyDirVolumeSource, HostPathVolumeSource, KeyToPath, PersistentVolumeClaim,
    PersistentVolumeClaimVolumeSource, PodSpec, ProjectedVolumeSource, Volume, VolumeProjection,
};
use std::collections::HashMap;

/// The ConfigMap that every namespace of a cluster has and that pods are given beside their token.
const CLUSTER_CA: &str = "kube-root-ca.crt";

/// Lowers `spec.volumes`; references that lead nowhere are added to `problems`.
///
/// # Errors
/// The problem of a pod that goes over its allowance.
pub(super) fn lower(
    path: &FieldPath,
    spec: &PodSpec,
    around: &Surroundings<'_>,
    allowance: &mut Allowance,
    problems: &mut Problems,
) -> Result<Vec<VolumeSpec>, Problem> {
    let mut lowered = Vec::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        if problems.is_full() {
            break;
        }
        let path = path.index(index);
        let source = match directory(volume, around) {
            Some(source) => Some(source),
            None => Writer { around, allowance, problems, files: Vec::new(), places: HashMap::new() }.volume(&path, volume)?,
        };
        match source {
            Some(source) => lowered.push(VolumeSpec { name: volume.name.clone(), source }),
            // Every other source has been refused when the manifest was read.
            None => problems.push(Problem::required(path)),
        }
    }
    Ok(lowered)
}

/// The sources that are directories; nothing for the others.
fn directory(volume: &Volume, around: &Surroundings<'_>) -> Option<VolumeSource> {
    if let Some(source) = &volume.empty_dir {
        return Some(empty_dir_source(source));
    }
    if let Some(source) = &volume.host_path {
        return Some(host_path_source(source));
    }
    if let Some(source) = &volume.persistent_volume_claim {
        return Some(claim_source(source, around.objects.claim(&source.claim_name)));
    }
    let image = volume.image.as_ref()?;
    let reference = image.reference.clone().unwrap_or_default();
    Some(VolumeSource::Image { reference, pull_policy: pull_policy(image.pull_policy.as_deref()) })
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

/// A claim for reading alone cannot be mounted for writing.
fn claim_source(source: &PersistentVolumeClaimVolumeSource, object: Option<&PersistentVolumeClaim>) -> VolumeSource {
    let modes = object.and_then(|claim| claim.spec.as_ref()?.access_modes.as_deref()).unwrap_or_default();
    let only_reads = !modes.is_empty() && modes.iter().all(|mode| mode == "ReadOnlyMany");
    VolumeSource::PersistentVolumeClaim {
        claim: source.claim_name.clone(),
        read_only: source.read_only == Some(true) || only_reads,
        declared: object.is_some(),
    }
}

/// Which keys of a ConfigMap or a Secret become which files.
struct Keys<'a> {
    path: FieldPath,
    name_field: &'static str,
    source: Source,
    name: &'a str,
    optional: bool,
    items: Option<&'a [KeyToPath]>,
}

/// Collects the files of one volume; of two at one path the later one stands.
struct Writer<'a> {
    around: &'a Surroundings<'a>,
    allowance: &'a mut Allowance,
    problems: &'a mut Problems,
    files: Vec<VolumeFile>,
    /// Where each path is among the files.
    places: HashMap<String, usize>,
}

impl<'a> Writer<'a> {
    /// The files of a volume; nothing if it is of a kind that has none.
    fn volume(mut self, path: &FieldPath, volume: &'a Volume) -> Result<Option<VolumeSource>, Problem> {
        let mut sensitive = false;
        if let Some(source) = &volume.config_map {
            let keys = Keys {
                path: path.field("configMap"),
                name_field: "name",
                source: Source::ConfigMap,
                name: &source.name,
                optional: source.optional == Some(true),
                items: source.items.as_deref(),
            };
            self.keys(&keys, source.default_mode)?;
        } else if let Some(source) = &volume.secret {
            sensitive = true;
            let keys = Keys {
                path: path.field("secret"),
                name_field: "secretName",
                source: Source::Secret,
                name: source.secret_name.as_deref().unwrap_or_default(),
                optional: source.optional == Some(true),
                items: source.items.as_deref(),
            };
            self.keys(&keys, source.default_mode)?;
        } else if let Some(source) = &volume.downward_api {
            self.fields(&path.field("downwardAPI.items"), source.items.as_deref(), source.default_mode)?;
        } else if let Some(source) = &volume.projected {
            sensitive = source.sources.iter().flatten().any(|source| source.secret.is_some());
            self.projected(&path.field("projected.sources"), source)?;
        } else {
            return Ok(None);
        }
        self.check_places(path);
        Ok(Some(VolumeSource::Files { sensitive, files: self.files }))
    }

    fn projected(&mut self, path: &FieldPath, projected: &'a ProjectedVolumeSource) -> Result<(), Problem> {
        let with_token = projected.sources.iter().flatten().any(|source| source.service_account_token.is_some());
        for (index, source) in projected.sources.iter().flatten().enumerate() {
            if self.problems.is_full() {
                break;
            }
            self.projection(&path.index(index), source, projected.default_mode, with_token)?;
        }
        Ok(())
    }

    fn projection(
        &mut self,
        path: &FieldPath,
        projection: &'a VolumeProjection,
        mode: Option<i32>,
        with_token: bool,
    ) -> Result<(), Problem> {
        if let Some(source) = &projection.config_map {
            let keys = Keys {
                path: path.field("configMap"),
                name_field: "name",
                source: Source::ConfigMap,
                name: &source.name,
                // Pods that come out of a cluster ask for it beside the token, which there is none of here either.
                optional: source.optional == Some(true) || (with_token && source.name == CLUSTER_CA),
                items: source.items.as_deref(),
            };
            self.keys(&keys, mode)?;
        }
        if let Some(source) = &projection.secret {
            let keys = Keys {
                path: path.field("secret"),
                name_field: "name",
                source: Source::Secret,
                name: &source.name,
                optional: source.optional == Some(true),
                items: source.items.as_deref(),
            };
            self.keys(&keys, mode)?;
        }
        if let Some(source) = &projection.downward_api {
            self.fields(&path.field("downwardAPI.items"), source.items.as_deref(), mode)?;
        }
        Ok(())
    }

    /// Every key as a file of its name, or the items as they say.
    fn keys(&mut self, keys: &Keys<'a>, default_mode: Option<i32>) -> Result<(), Problem> {
        let found = self.around.objects.find(&keys.path.field(keys.name_field), keys.source, keys.name, keys.optional);
        let data = match found {
            Ok(Some(data)) => data,
            Ok(None) => return Ok(()),
            Err(problem) => {
                self.problems.push(problem);
                return Ok(());
            }
        };
        let Some(items) = keys.items.filter(|items| !items.is_empty()) else {
            return data.all().try_for_each(|(key, contents)| self.add(&keys.path, key, contents, default_mode));
        };
        for (index, item) in items.iter().enumerate() {
            if self.problems.is_full() {
                break;
            }
            match data.get(&item.key) {
                Some(contents) => self.add(&keys.path, &item.path, contents, item.mode.or(default_mode))?,
                None if keys.optional => {}
                None => {
                    let path = keys.path.field("items").index(index).field("key");
                    self.problems.push(data.missing_key(path, &item.key));
                }
            }
        }
        Ok(())
    }

    /// The fields of the pod, each in its file.
    fn fields(
        &mut self,
        path: &FieldPath,
        items: Option<&[DownwardAPIVolumeFile]>,
        default_mode: Option<i32>,
    ) -> Result<(), Problem> {
        for (index, item) in items.unwrap_or_default().iter().enumerate() {
            let contents = downward::contents(item, self.around);
            self.add(&path.index(index), &item.path, contents.as_bytes(), item.mode.or(default_mode))?;
        }
        Ok(())
    }

    fn add(&mut self, field: &FieldPath, path: &str, contents: &[u8], mode: Option<i32>) -> Result<(), Problem> {
        // Empty files are not free either: there may be as many as a manifest has keys, in each of its volumes.
        self.allowance.spend(contents.len() + path.len() + size_of::<VolumeFile>(), field)?;
        let mode = u32::try_from(mode.unwrap_or(FILE_MODE)).unwrap_or_default();
        let file = VolumeFile { path: path.to_owned(), contents: contents.to_vec(), mode };
        match self.places.get(path).and_then(|place| self.files.get_mut(*place)) {
            Some(known) => *known = file,
            None => {
                self.places.insert(path.to_owned(), self.files.len());
                self.files.push(file);
            }
        }
        Ok(())
    }

    /// A path that is a file of one source cannot be a directory of another.
    fn check_places(&mut self, path: &FieldPath) {
        for file in &self.files {
            let mut above = file.path.match_indices('/').filter_map(|(end, _)| file.path.get(..end));
            if let Some(parent) = above.find(|parent| self.places.contains_key(*parent)) {
                let rule = format!("{parent:?} is a file of this volume and cannot be a directory");
                self.problems.push(Problem::invalid(path.clone(), &file.path, rule));
            }
        }
    }
}
