//! What becomes of each field of a pod: one table, and its verdict on a manifest.
//!
//! A field is honoured, satisfied by the sandbox without further ado, ignored with a warning, or refused because the pod would not be
//! what its author wrote. Nothing is dropped in silence, and a test compares the table with the fields of Kubernetes' own types.

mod explain;
mod table;

pub use explain::{Explanation, explain, markdown};

pub(super) use table::TypeSupport;

use super::parse;
use super::problem::{FieldPath, Problem};
use super::typed::SetField;
use super::workload;
use crate::Result;
use k8s_openapi::api::core::v1::Pod;
use std::collections::HashSet;
use std::fmt;

/// What becomes of a field that a manifest sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It does what Kubernetes says that it does; the fields inside it have verdicts of their own.
    Honoured,
    /// What it asks for holds for every container here, whatever it says.
    SatisfiedBySandbox,
    /// It has no effect, which the author is told.
    Ignored,
    /// The pod is refused: without the field it would be another one.
    Rejected,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Honoured => "honoured",
            Self::SatisfiedBySandbox => "satisfied by the sandbox",
            Self::Ignored => "ignored",
            Self::Rejected => "rejected",
        })
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldSupport {
    /// The Kubernetes type that has the field, such as `Container`.
    pub owner: &'static str,
    /// The field, such as `livenessProbe`; `limits[cpu]` for a key of a map.
    pub field: &'static str,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why; empty where it is honoured.
    pub reason: &'static str,
}

/// The whole table: every field of `Pod`, of the kinds that wrap pods, of `Service` and of `PersistentVolumeClaim`, and of the types
/// inside their honoured fields.
///
/// A field inside one that is ignored, satisfied or rejected shares its fate and has no row.
pub fn table() -> impl Iterator<Item = FieldSupport> {
    table::TYPES.iter().chain(workload::TYPES).flat_map(|rows| {
        let with = |verdict, fields: &'static [(&'static str, &'static str)]| {
            fields.iter().map(move |(field, reason)| FieldSupport { owner: rows.owner, field, verdict, reason })
        };
        let honoured =
            rows.honoured.iter().map(|field| FieldSupport { owner: rows.owner, field, verdict: Verdict::Honoured, reason: "" });
        honoured
            .chain(with(Verdict::SatisfiedBySandbox, rows.satisfied))
            .chain(with(Verdict::Ignored, rows.ignored))
            .chain(with(Verdict::Rejected, rows.rejected))
    })
}

/// The verdict on one field that a pod sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldVerdict {
    /// Where it is, such as `spec.containers[0].livenessProbe`.
    pub path: String,
    /// Its row in the table.
    pub support: FieldSupport,
}

/// A field that a pod sets and that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldWarning {
    /// Where it is, such as `spec.containers[0].livenessProbe`.
    pub path: String,
    /// Why it has none.
    pub message: String,
}

impl fmt::Display for FieldWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ignored: {}", self.path, self.message)
    }
}

/// The verdict on every field that a pod sets to something else than its default.
///
/// # Errors
/// [`Internal`](crate::ErrorKind::Internal) if the pod cannot be written as JSON.
pub fn verdicts(pod: &Pod) -> Result<Vec<FieldVerdict>> {
    Ok(verdicts_on(&parse::fields_set(pod)?))
}

/// The verdict on every field that is set to something else than its default.
pub(super) fn verdicts_on(set: &[SetField]) -> Vec<FieldVerdict> {
    judge(set).into_iter().map(|(path, support)| FieldVerdict { path: path.to_string(), support }).collect()
}

/// The fields that a pod sets without effect.
///
/// # Errors
/// [`Internal`](crate::ErrorKind::Internal) if the pod cannot be written as JSON.
pub fn warnings(pod: &Pod) -> Result<Vec<FieldWarning>> {
    Ok(review(&parse::fields_set(pod)?).0)
}

/// The warnings about the fields that are set, and the refusals.
pub(super) fn review(set: &[SetField]) -> (Vec<FieldWarning>, Vec<Problem>) {
    let (mut warnings, mut refused) = (Vec::new(), Vec::new());
    for (path, support) in judge(set) {
        match support.verdict {
            Verdict::Ignored => warnings.push(FieldWarning { path: path.to_string(), message: support.reason.to_owned() }),
            Verdict::Rejected => refused.push(Problem::new(path, format!("not supported: {}", support.reason))),
            Verdict::Honoured | Verdict::SatisfiedBySandbox => {}
        }
    }
    (warnings, refused)
}

/// The rows of the fields that are set to something that is not their default.
fn judge(set: &[SetField]) -> Vec<(FieldPath, FieldSupport)> {
    let mut judged: Vec<(FieldPath, FieldSupport)> = Vec::new();
    let mut decided = HashSet::new();
    for field in set.iter().filter(|field| !says_nothing(field)) {
        if !decided.is_empty() && field.path.parents().any(|parent| decided.contains(parent)) {
            continue;
        }
        if let Some(support) = row(field.owner, field.field) {
            if support.verdict != Verdict::Honoured {
                decided.insert(field.path.0.as_slice());
            }
            judged.push((field.path.clone(), support));
        }
        for key in &field.keys {
            if let Some(support) = row(field.owner, &format!("{}[{key}]", field.field)) {
                judged.push((field.path.key(key), support));
            }
        }
    }
    judged
}

fn row(owner: &str, field: &str) -> Option<FieldSupport> {
    table().find(|row| row.owner == owner && row.field == field)
}

/// Whether a field says what holds anyway: manifests that come out of a cluster are full of written-out defaults.
fn says_nothing(field: &SetField) -> bool {
    let default = match (field.owner, field.field) {
        ("PodSpec", "dnsPolicy") => "ClusterFirst",
        ("Container", "terminationMessagePath") => "/dev/termination-log",
        ("Container", "terminationMessagePolicy") => "File",
        ("VolumeMount", "mountPropagation") => "None",
        // The API server writes it out as true.
        ("PodSpec", "enableServiceLinks") => return true,
        // A headless Service.
        ("ServiceSpec", "clusterIP") => "None",
        // `emptyDir: {}` is a volume, and `projected: {}` would be one.
        ("Volume", _) => return false,
        _ => return field.zero,
    };
    field.zero || field.text.as_deref() == Some(default)
}

#[cfg(test)]
mod tests;
