//! The table by a field's name, and as a page.

use super::{FieldSupport, Verdict, row, table};
use crate::manifest::similar::closest;
use crate::{Error, Result};
use std::fmt::Write as _;

/// The types inside the honoured fields of each type; what is not listed holds a plain value.
pub(super) static INSIDE: &[(&str, &[(&str, &str)])] = &[
    (
        "PodSpec",
        &[
            ("containers", "Container"),
            ("hostAliases", "HostAlias"),
            ("imagePullSecrets", "LocalObjectReference"),
            ("initContainers", "Container"),
            ("os", "PodOS"),
            ("resources", "ResourceRequirements"),
            ("securityContext", "PodSecurityContext"),
            ("volumes", "Volume"),
        ],
    ),
    (
        "Container",
        &[
            ("env", "EnvVar"),
            ("envFrom", "EnvFromSource"),
            ("lifecycle", "Lifecycle"),
            ("livenessProbe", "Probe"),
            ("ports", "ContainerPort"),
            ("readinessProbe", "Probe"),
            ("resources", "ResourceRequirements"),
            ("restartPolicyRules", "ContainerRestartRule"),
            ("securityContext", "SecurityContext"),
            ("startupProbe", "Probe"),
            ("volumeMounts", "VolumeMount"),
        ],
    ),
    ("Probe", &[("exec", "ExecAction"), ("grpc", "GRPCAction"), ("httpGet", "HTTPGetAction"), ("tcpSocket", "TCPSocketAction")]),
    ("HTTPGetAction", &[("httpHeaders", "HTTPHeader")]),
    ("Lifecycle", &[("postStart", "LifecycleHandler"), ("preStop", "LifecycleHandler")]),
    ("LifecycleHandler", &[("exec", "ExecAction"), ("httpGet", "HTTPGetAction"), ("sleep", "SleepAction")]),
    ("ContainerRestartRule", &[("exitCodes", "ContainerRestartRuleOnExitCodes")]),
    ("EnvVar", &[("valueFrom", "EnvVarSource")]),
    (
        "EnvVarSource",
        &[
            ("configMapKeyRef", "ConfigMapKeySelector"),
            ("fieldRef", "ObjectFieldSelector"),
            ("fileKeyRef", "FileKeySelector"),
            ("resourceFieldRef", "ResourceFieldSelector"),
            ("secretKeyRef", "SecretKeySelector"),
        ],
    ),
    ("EnvFromSource", &[("configMapRef", "ConfigMapEnvSource"), ("secretRef", "SecretEnvSource")]),
    (
        "Volume",
        &[
            ("configMap", "ConfigMapVolumeSource"),
            ("downwardAPI", "DownwardAPIVolumeSource"),
            ("emptyDir", "EmptyDirVolumeSource"),
            ("hostPath", "HostPathVolumeSource"),
            ("image", "ImageVolumeSource"),
            ("persistentVolumeClaim", "PersistentVolumeClaimVolumeSource"),
            ("projected", "ProjectedVolumeSource"),
            ("secret", "SecretVolumeSource"),
        ],
    ),
    ("ConfigMapVolumeSource", &[("items", "KeyToPath")]),
    ("SecretVolumeSource", &[("items", "KeyToPath")]),
    ("DownwardAPIVolumeSource", &[("items", "DownwardAPIVolumeFile")]),
    ("DownwardAPIVolumeFile", &[("fieldRef", "ObjectFieldSelector"), ("resourceFieldRef", "ResourceFieldSelector")]),
    ("ProjectedVolumeSource", &[("sources", "VolumeProjection")]),
    (
        "VolumeProjection",
        &[("configMap", "ConfigMapProjection"), ("downwardAPI", "DownwardAPIProjection"), ("secret", "SecretProjection")],
    ),
    ("ConfigMapProjection", &[("items", "KeyToPath")]),
    ("SecretProjection", &[("items", "KeyToPath")]),
    ("DownwardAPIProjection", &[("items", "DownwardAPIVolumeFile")]),
    ("DeploymentSpec", &[("selector", "LabelSelector"), ("template", "PodTemplateSpec")]),
    ("ReplicaSetSpec", &[("selector", "LabelSelector"), ("template", "PodTemplateSpec")]),
    (
        "StatefulSetSpec",
        &[
            ("ordinals", "StatefulSetOrdinals"),
            ("selector", "LabelSelector"),
            ("template", "PodTemplateSpec"),
            ("volumeClaimTemplates", "PersistentVolumeClaim"),
        ],
    ),
    ("DaemonSetSpec", &[("selector", "LabelSelector"), ("template", "PodTemplateSpec")]),
    (
        "JobSpec",
        &[
            ("podFailurePolicy", "PodFailurePolicy"),
            ("selector", "LabelSelector"),
            ("successPolicy", "SuccessPolicy"),
            ("template", "PodTemplateSpec"),
        ],
    ),
    ("PodFailurePolicy", &[("rules", "PodFailurePolicyRule")]),
    (
        "PodFailurePolicyRule",
        &[("onExitCodes", "PodFailurePolicyOnExitCodesRequirement"), ("onPodConditions", "PodFailurePolicyOnPodConditionsPattern")],
    ),
    ("SuccessPolicy", &[("rules", "SuccessPolicyRule")]),
    ("PodTemplateSpec", &[("metadata", "ObjectMeta"), ("spec", "PodSpec")]),
    ("LabelSelector", &[("matchExpressions", "LabelSelectorRequirement")]),
    ("ServiceSpec", &[("ports", "ServicePort")]),
];

/// What becomes of one field, and of those inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The field, as it was asked for: `pod.spec.containers`.
    pub path: String,
    /// Its row; none for a whole kind.
    pub support: Option<FieldSupport>,
    /// The rows of the type inside; none for a plain value.
    pub fields: Vec<FieldSupport>,
}

/// Looks up `pod.spec.containers.image`, written with or without indices; the first word is a kind in any case.
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) for what is no kind or no field, with the one that was probably meant.
pub fn explain(path: &str) -> Result<Explanation> {
    let mut words = path.split('.').map(|word| word.split('[').next().unwrap_or_default());
    let kind = words.next().unwrap_or_default();
    let mut owner = kinds().find(|known| known.eq_ignore_ascii_case(kind)).ok_or_else(|| {
        let all: Vec<&str> = kinds().collect();
        unknown(path, &format!("there is no kind {kind:?} in the table"), kind, &all)
    })?;
    let mut owner_ended = None;
    let mut support = None;
    for word in words {
        if let Some(ended) = owner_ended {
            return Err(
                Error::not_found(format!("{ended} has no fields in the table, as its own verdict stands for them")).at(path)
            );
        }
        let fields: Vec<&str> = table().filter(|row| row.owner == owner).map(|row| row.field).collect();
        let found = row(owner, word).ok_or_else(|| unknown(path, &format!("{owner} has no field {word:?}"), word, &fields))?;
        support = Some(found);
        match inside(found) {
            Some(inner) => owner = inner,
            None => owner_ended = Some(word),
        }
    }
    let fields = if owner_ended.is_some() { Vec::new() } else { table().filter(|row| row.owner == owner).collect() };
    Ok(Explanation { path: path.to_owned(), support, fields })
}

fn unknown(path: &str, message: &str, word: &str, known: &[&str]) -> Error {
    let hint = match closest(word, known.iter().copied()) {
        Some(close) => format!("did you mean {close:?}?"),
        None => format!("there are {}", known.join(", ")),
    };
    Error::not_found(message).at(path).hint(hint)
}

/// The types that are whole objects.
fn kinds() -> impl Iterator<Item = &'static str> {
    table().filter(|row| row.field == "kind").map(|row| row.owner)
}

/// The type inside an honoured field, if it is an object.
pub(super) fn inside(field: FieldSupport) -> Option<&'static str> {
    if field.verdict != Verdict::Honoured {
        return None;
    }
    let listed = INSIDE.iter().find(|(owner, _)| *owner == field.owner).map(|(_, fields)| *fields).unwrap_or_default();
    if let Some((_, inner)) = listed.iter().find(|(name, _)| *name == field.field) {
        return Some(inner);
    }
    match field.field {
        "metadata" => Some("ObjectMeta"),
        // The spec of a kind is the type of its name.
        "spec" => table().map(|row| row.owner).find(|owner| owner.strip_suffix("Spec") == Some(field.owner)),
        _ => None,
    }
}

/// The whole table as a page in Markdown: `docs/support.md`.
pub fn markdown() -> String {
    let mut page = "# What becomes of each field\n\
        Every field of the objects that wasmpod reads, made from the one table in the code; `wasmpod explain --support` prints it,\n\
        `wasmpod validate -f pod.yaml` the rows that a manifest uses. A field inside one that is not honoured shares its fate.\n\n\
        - **honoured**: it does what Kubernetes says that it does.\n\
        - **satisfied by the sandbox**: what it asks for holds for every container here, whatever it says.\n\
        - **ignored**: it has no effect; every start says so, with the reason.\n\
        - **rejected**: the manifest is refused, as the pod would be another one without it.\n"
        .to_owned();
    let mut owner = "";
    for row in table() {
        if row.owner != owner {
            owner = row.owner;
            let _ = write!(page, "\n## {owner}\n| field | verdict | why |\n|---|---|---|\n");
        }
        let _ = writeln!(page, "| `{}` | {} | {} |", row.field, row.verdict, row.reason.replace('|', "\\|"));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_path() {
        let image = explain("pod.spec.containers.image").unwrap();
        assert_eq!(image.support.map(|row| (row.owner, row.field, row.verdict)), Some(("Container", "image", Verdict::Honoured)));
        assert_eq!(image.fields, []);
        let probe = explain("Deployment.spec.template.spec.containers[0].livenessProbe").unwrap();
        assert!(probe.fields.iter().any(|row| row.field == "httpGet" && row.owner == "Probe"));
        assert!(explain("pod").unwrap().support.is_none());
        assert!(explain("persistentvolumeclaim.spec.accessModes").is_ok());
    }

    #[test]
    fn what_is_no_field_is_told_what_was_meant() {
        let said = |path: &str| {
            let error = explain(path).unwrap_err();
            format!("{error} ({})", error.advice().unwrap_or("-"))
        };
        let paths = ["pot.spec", "pod.spec.contaners", "pod.spec.containers.image.tag", "pod.spec.affinity.nodeAffinity", "gadget"];
        insta::assert_snapshot!(paths.map(said).join("\n"));
    }
}
