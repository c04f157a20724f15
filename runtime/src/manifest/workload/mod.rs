//! The kinds that wrap pods, and Services: from Kubernetes' objects to what the controllers and the network work on.
//!
//! A workload's template is a pod in all but its name. It is read, judged, defaulted and checked as one, under the path
//! `spec.template`, and each pod of the workload is made from it by [`Template::instance`].

mod instance;
mod job;
mod kinds;
mod service;
mod support;

pub(super) use instance::claim_name;
pub(super) use kinds::{Parts, Wraps};
pub(super) use service::{lower as service, lowered as service_config};
pub(super) use support::TYPES;

use crate::workload::spec::WorkloadSpec;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// A workload, and what its pods are made from.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// The workload.
    pub(super) spec: WorkloadSpec,
    /// The pod that all of its pods are copies of, defaults filled in; a bare Pod is its own.
    pub(super) pod: Pod,
    /// `volumeClaimTemplates` of a StatefulSet.
    pub(super) claims: Vec<PersistentVolumeClaim>,
    /// `serviceName` of a StatefulSet.
    pub(super) service_name: Option<String>,
}

/// The uid of an object whose manifest gives none: the same in every run, and another one for every other object.
pub(super) fn derived_uid(kind: &str, namespace: &str, name: &str) -> String {
    let hash = Sha256::digest(format!("{kind}/{namespace}/{name}"));
    let mut text = String::new();
    for (index, byte) in hash.iter().take(16).enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Version 8, variant 1: an identifier made by a rule of the application's own (RFC 9562).
        let byte = match index {
            6 => (byte & 0x0f) | 0x80,
            8 => (byte & 0x3f) | 0x80,
            _ => *byte,
        };
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The namespace of an object, with its default.
fn namespace(metadata: &ObjectMeta) -> String {
    metadata.namespace.clone().unwrap_or_else(|| "default".to_owned())
}
