//! The rules for names, labels and annotations of every kind of object.

use super::{keep, named};
use crate::limits::ANNOTATIONS_BYTES_MAX;
use crate::manifest::names;
use crate::manifest::problem::{FieldPath, Problem, Problems};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub(super) fn check(metadata: &ObjectMeta, problems: &mut Problems) {
    let root = FieldPath::of("metadata");
    problems.check(named(root.field("name"), metadata.name.as_deref().unwrap_or_default(), names::subdomain));
    if let Some(namespace) = &metadata.namespace {
        problems.check(keep(root.field("namespace"), namespace, names::label(namespace)));
    }
    if let Some(uid) = &metadata.uid {
        // It becomes a part of paths.
        problems.check(keep(root.field("uid"), uid, names::label(uid)));
    }
    for (key, value) in metadata.labels.iter().flatten() {
        let path = root.field("labels");
        problems.check(keep(path.clone(), key, names::qualified_name(key)));
        problems.check(keep(path.key(key), value, names::label_value(value)));
    }
    let mut bytes = 0;
    for (key, value) in metadata.annotations.iter().flatten() {
        problems.check(keep(root.field("annotations"), key, names::qualified_name(&key.to_ascii_lowercase())));
        bytes += key.len() + value.len();
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        let message = format!("Too long: may not be more than {ANNOTATIONS_BYTES_MAX} bytes");
        problems.push(Problem::new(root.field("annotations"), message));
    }
}
