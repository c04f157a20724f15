//! What each kind says about the pods that it wraps, and the rules that the API server checks for it.

use super::{Template, derived_uid, namespace};
use crate::limits::WORKLOAD_REPLICAS_MAX;
use crate::manifest::names;
use crate::manifest::problem::{FieldPath, Problem, Problems};
use crate::manifest::selector::Selector;
use crate::workload::spec::{ControllerSpec, WorkloadKind, WorkloadSpec, template_hash};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

/// What `restartPolicy` a template may have when its pods are to run for ever.
const ALWAYS: &[&str] = &["Always"];
/// The same for pods that are to end.
const ENDING: &[&str] = &["OnFailure", "Never"];

/// A kind that wraps a pod template.
pub(in crate::manifest) trait Wraps: serde::de::DeserializeOwned {
    /// Which one.
    const KIND: WorkloadKind;

    /// What it says; what is wrong with it goes to `problems`.
    fn parts(self, problems: &mut Problems) -> Option<Parts>;
}

/// What all such kinds have.
pub(in crate::manifest) struct Parts {
    pub(in crate::manifest) metadata: ObjectMeta,
    controller: ControllerSpec,
    selector: Option<LabelSelector>,
    template: PodTemplateSpec,
    restart_policies: &'static [&'static str],
    claims: Vec<PersistentVolumeClaim>,
    service_name: Option<String>,
}

impl Parts {
    /// Checks the parts against one another and makes the template of the workload's pods; its pod has no defaults and no name yet.
    pub(in crate::manifest) fn template(self, kind: WorkloadKind, problems: &mut Problems) -> Template {
        let Self { metadata, controller, selector, mut template, restart_policies, claims, service_name } = self;
        if let Some(selector) = &selector {
            check_selector(selector, &template, problems);
        }
        let policy = template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
        let path = FieldPath::of("spec.template.spec.restartPolicy");
        match policy {
            Some(policy) if !restart_policies.contains(&policy) => {
                problems.push(Problem::unsupported(path, policy, restart_policies));
            }
            None if restart_policies == ENDING && template.spec.is_some() => {
                problems.push(Problem::required(path).hint("a Job's pods end: write Never or OnFailure"));
            }
            _ => {}
        }
        let hash = serde_json::to_vec(&template).map(|text| template_hash(&text)).unwrap_or_default();
        let (name, namespace) = (metadata.name.clone().unwrap_or_default(), namespace(&metadata));
        let uid = metadata.uid.clone().unwrap_or_else(|| derived_uid(&kind.to_string(), &namespace, &name));
        let mut metadata = template.metadata.take().unwrap_or_default();
        metadata.namespace = Some(namespace.clone());
        let spec = WorkloadSpec { kind, name, namespace, uid, template_hash: hash, controller };
        Template { spec, pod: Pod { metadata, spec: template.spec, status: None }, claims, service_name }
    }
}

fn check_selector(selector: &LabelSelector, template: &PodTemplateSpec, problems: &mut Problems) {
    let path = FieldPath::of("spec.selector");
    let is_empty =
        selector.match_labels.iter().flatten().next().is_none() && selector.match_expressions.iter().flatten().next().is_none();
    if is_empty {
        problems.push(Problem::required(path).hint("write matchLabels with labels that spec.template.metadata.labels has"));
        return;
    }
    let selector = match Selector::of_object(selector) {
        Ok(selector) => selector,
        Err(error) => {
            // The selector names the field below it.
            let path = FieldPath(path.0.into_iter().chain(FieldPath::parse(error.subject().unwrap_or_default()).0).collect());
            let problem = Problem::new(path, error.chain().split_once(": ").map_or("is wrong", |(_, message)| message));
            problems.push(if let Some(hint) = error.advice() { problem.hint(hint) } else { problem });
            return;
        }
    };
    let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.clone()).unwrap_or_default();
    if !selector.matches(&labels) {
        let path = FieldPath::of("spec.template.metadata.labels");
        problems.push(Problem::invalid(path, labels, "`selector` does not match template `labels`"));
    }
}

/// A whole number of the manifest, from 0 to `max`.
pub(super) fn count(path: &'static str, value: Option<i32>, default: u32, max: u32, problems: &mut Problems) -> u32 {
    let Some(value) = value else { return default };
    let path = FieldPath::of(path);
    match u32::try_from(value) {
        Ok(value) if value <= max => return value,
        Ok(_) => problems.push(Problem::invalid(path, value, format_args!("must be less than or equal to {max}"))),
        Err(_) => problems.push(Problem::invalid(path, value, "must be greater than or equal to 0")),
    }
    default
}

fn replicas(value: Option<i32>, problems: &mut Problems) -> u32 {
    count("spec.replicas", value, 1, WORKLOAD_REPLICAS_MAX, problems)
}

impl Wraps for Deployment {
    const KIND: WorkloadKind = WorkloadKind::Deployment;

    fn parts(self, problems: &mut Problems) -> Option<Parts> {
        let spec = self.spec?;
        Some(Parts {
            metadata: self.metadata,
            controller: ControllerSpec::Replicas { replicas: replicas(spec.replicas, problems) },
            selector: Some(spec.selector),
            template: spec.template,
            restart_policies: ALWAYS,
            claims: Vec::new(),
            service_name: None,
        })
    }
}

impl Wraps for ReplicaSet {
    const KIND: WorkloadKind = WorkloadKind::ReplicaSet;

    fn parts(self, problems: &mut Problems) -> Option<Parts> {
        let spec = self.spec?;
        let template = spec.template.unwrap_or_default();
        Some(Parts {
            metadata: self.metadata,
            controller: ControllerSpec::Replicas { replicas: replicas(spec.replicas, problems) },
            selector: Some(spec.selector),
            template,
            restart_policies: ALWAYS,
            claims: Vec::new(),
            service_name: None,
        })
    }
}

impl Wraps for DaemonSet {
    const KIND: WorkloadKind = WorkloadKind::DaemonSet;

    fn parts(self, _problems: &mut Problems) -> Option<Parts> {
        let spec = self.spec?;
        Some(Parts {
            metadata: self.metadata,
            controller: ControllerSpec::Replicas { replicas: 1 },
            selector: Some(spec.selector),
            template: spec.template,
            restart_policies: ALWAYS,
            claims: Vec::new(),
            service_name: None,
        })
    }
}

impl Wraps for StatefulSet {
    const KIND: WorkloadKind = WorkloadKind::StatefulSet;

    fn parts(self, problems: &mut Problems) -> Option<Parts> {
        let spec = self.spec?;
        let known = ["OrderedReady", "Parallel"];
        let policy = spec.pod_management_policy.as_deref().unwrap_or("OrderedReady");
        if !known.contains(&policy) {
            problems.push(Problem::unsupported(FieldPath::of("spec.podManagementPolicy"), policy, &known));
        }
        let start = spec.ordinals.and_then(|ordinals| ordinals.start);
        let first_ordinal = count("spec.ordinals.start", start, 0, u32::try_from(i32::MAX).unwrap_or(0), problems);
        let replicas = replicas(spec.replicas, problems);
        for (index, claim) in spec.volume_claim_templates.iter().flatten().enumerate() {
            let path = FieldPath::of("spec.volumeClaimTemplates").index(index).field("metadata.name");
            match claim.metadata.name.as_deref().filter(|name| !name.is_empty()) {
                None => problems.push(Problem::required(path)),
                Some(name) => problems.check(names::label(name).map_err(|rule| Problem::invalid(path, name, rule))),
            }
        }
        Some(Parts {
            metadata: self.metadata,
            controller: ControllerSpec::Ordered { replicas, first_ordinal, parallel: policy == "Parallel" },
            selector: Some(spec.selector),
            template: spec.template,
            restart_policies: ALWAYS,
            claims: spec.volume_claim_templates.unwrap_or_default(),
            service_name: spec.service_name.filter(|name| !name.is_empty()),
        })
    }
}

impl Wraps for Job {
    const KIND: WorkloadKind = WorkloadKind::Job;

    fn parts(self, problems: &mut Problems) -> Option<Parts> {
        let spec = self.spec?;
        let selector = spec.selector.clone().filter(|_| spec.manual_selector == Some(true));
        let (controller, template) = (ControllerSpec::Job(super::job::job(&spec, problems)), spec.template);
        Some(Parts {
            metadata: self.metadata,
            controller,
            selector,
            template,
            restart_policies: ENDING,
            claims: Vec::new(),
            service_name: None,
        })
    }
}
