//! One pod of a workload: its template with a name, an owner, and what Kubernetes' controllers write into it.

use super::Template;
use crate::workload::spec::{ControllerSpec, Replica, WorkloadKind, WorkloadSpec};
use k8s_openapi::api::core::v1::{
    EnvVar, EnvVarSource, ObjectFieldSelector, PersistentVolumeClaimVolumeSource, Pod, PodSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Where an Indexed Job's pods find their index.
const INDEX_KEY: &str = "batch.kubernetes.io/job-completion-index";
/// The variable that holds it.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

impl Template {
    /// The pod that `replica` stands for; a bare Pod as it is.
    pub(in crate::manifest) fn instance(&self, replica: &Replica) -> Pod {
        let mut pod = self.pod.clone();
        if self.spec.kind == WorkloadKind::Pod {
            return pod;
        }
        pod.metadata.name = Some(replica.name.clone());
        pod.metadata.generate_name = generate_name(&self.spec);
        pod.metadata.owner_references = Some(vec![owner(&self.spec)]);
        label(&mut pod.metadata, &self.spec, replica);
        let spec = pod.spec.get_or_insert_default();
        match self.spec.kind {
            WorkloadKind::StatefulSet => self.ordered(spec, replica),
            WorkloadKind::Job if replica.ordinal.is_some() => indexed(spec, &self.spec, replica),
            _ => {}
        }
        pod
    }

    /// A StatefulSet's pod has a host name of its own, and volumes of its own.
    fn ordered(&self, spec: &mut PodSpec, replica: &Replica) {
        spec.hostname = Some(replica.name.clone());
        spec.subdomain.clone_from(&self.service_name);
        for claim in &self.claims {
            let name = claim.metadata.name.clone().unwrap_or_default();
            let source = PersistentVolumeClaimVolumeSource { claim_name: claim_name(&name, replica), read_only: None };
            let volume = Volume { name, persistent_volume_claim: Some(source), ..Volume::default() };
            let volumes = spec.volumes.get_or_insert_default();
            volumes.retain(|other| other.name != volume.name);
            volumes.push(volume);
        }
    }
}

/// The claim that a pod of a StatefulSet has for the claim template `template`.
pub(in crate::manifest) fn claim_name(template: &str, replica: &Replica) -> String {
    format!("{template}-{}", replica.name)
}

fn generate_name(workload: &WorkloadSpec) -> Option<String> {
    Some(match workload.kind {
        WorkloadKind::Pod => return None,
        WorkloadKind::Deployment => format!("{}-{}-", workload.name, workload.template_hash),
        _ => format!("{}-", workload.name),
    })
}

/// A Deployment owns its pods through a ReplicaSet.
fn owner(workload: &WorkloadSpec) -> OwnerReference {
    let (api_version, kind, name, uid) = match workload.kind {
        WorkloadKind::Deployment => {
            let name = format!("{}-{}", workload.name, workload.template_hash);
            let uid = super::derived_uid("ReplicaSet", &workload.namespace, &name);
            ("apps/v1", "ReplicaSet".to_owned(), name, uid)
        }
        WorkloadKind::Job => ("batch/v1", "Job".to_owned(), workload.name.clone(), workload.uid.clone()),
        kind => ("apps/v1", kind.to_string(), workload.name.clone(), workload.uid.clone()),
    };
    let api_version = api_version.to_owned();
    OwnerReference { api_version, kind, name, uid, controller: Some(true), block_owner_deletion: Some(true) }
}

fn label(metadata: &mut ObjectMeta, workload: &WorkloadSpec, replica: &Replica) {
    let labels = metadata.labels.get_or_insert_default();
    let mut set = |key: &str, value: &str| drop(labels.insert(key.to_owned(), value.to_owned()));
    match workload.kind {
        WorkloadKind::Pod => {}
        WorkloadKind::Deployment => set("pod-template-hash", &workload.template_hash),
        WorkloadKind::ReplicaSet => {}
        WorkloadKind::DaemonSet => {
            set("controller-revision-hash", &workload.template_hash);
            set("pod-template-generation", "1");
        }
        WorkloadKind::StatefulSet => {
            set("controller-revision-hash", &format!("{}-{}", workload.name, workload.template_hash));
            set("statefulset.kubernetes.io/pod-name", &replica.name);
            set("apps.kubernetes.io/pod-index", &replica.ordinal.unwrap_or(0).to_string());
        }
        WorkloadKind::Job => {
            for prefix in ["", "batch.kubernetes.io/"] {
                set(&format!("{prefix}job-name"), &workload.name);
                set(&format!("{prefix}controller-uid"), &workload.uid);
            }
            if let Some(index) = replica.ordinal {
                set(INDEX_KEY, &index.to_string());
                metadata.annotations.get_or_insert_default().insert(INDEX_KEY.to_owned(), index.to_string());
            }
        }
    }
}

/// A pod of an Indexed Job knows its index.
fn indexed(spec: &mut PodSpec, workload: &WorkloadSpec, replica: &Replica) {
    spec.hostname.get_or_insert_with(|| format!("{}-{}", workload.name, replica.ordinal.unwrap_or(0)));
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        let env = container.env.get_or_insert_default();
        if env.iter().any(|variable| variable.name == INDEX_VARIABLE) {
            continue;
        }
        let field_path = format!("metadata.annotations['{INDEX_KEY}']");
        let field_ref = ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path };
        let value_from = EnvVarSource { field_ref: Some(field_ref), ..EnvVarSource::default() };
        env.push(EnvVar { name: INDEX_VARIABLE.to_owned(), value: None, value_from: Some(value_from) });
    }
}

impl WorkloadSpec {
    /// The ordinals of the pods that there are at once, where they have any.
    pub(in crate::manifest) fn ordinals(&self) -> std::ops::Range<u32> {
        match &self.controller {
            ControllerSpec::Ordered { replicas, first_ordinal, .. } => *first_ordinal..first_ordinal.saturating_add(*replicas),
            _ => 0..0,
        }
    }
}
