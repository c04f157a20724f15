//! The fields of the kinds that wrap pods, of Services and of claims, by what becomes of them: a part of the one table.

use crate::manifest::support::TypeSupport;

const NONE: &[(&str, &str)] = &[];
const ALL_AT_ONCE: &str = "a run begins with its pods and ends with them: nothing is rolled out";
const NO_HISTORY: &str = "there is no API server that keeps revisions";
const ONE_MACHINE: &str = "there is one machine, and every pod runs on it";
const READY_COUNTS: &str = "a pod counts as available as soon as it is ready";
const NO_STORAGE_CLASSES: &str = "a claim is a directory of this machine";
const OWN_ADDRESS: &str = "a Service gets an address of the network inside this process";
const BOTH_FAMILIES: &str = "every Service has an IPv4 and an IPv6 address";

/// A kind with the fields that every object has.
const fn object(owner: &'static str) -> TypeSupport {
    TypeSupport {
        owner,
        honoured: &["apiVersion", "kind", "metadata", "spec"],
        satisfied: NONE,
        ignored: &[("status", "the status is what wasmpod reports, not what it is told")],
        rejected: NONE,
    }
}

const fn all(owner: &'static str, honoured: &'static [&'static str]) -> TypeSupport {
    TypeSupport { owner, honoured, satisfied: NONE, ignored: NONE, rejected: NONE }
}

/// The rows.
pub(in crate::manifest) static TYPES: &[TypeSupport] = &[
    object("Deployment"),
    TypeSupport {
        owner: "DeploymentSpec",
        honoured: &["replicas", "selector", "template"],
        satisfied: &[("progressDeadlineSeconds", ALL_AT_ONCE), ("revisionHistoryLimit", NO_HISTORY), ("strategy", ALL_AT_ONCE)],
        ignored: &[("minReadySeconds", READY_COUNTS), ("paused", ALL_AT_ONCE)],
        rejected: NONE,
    },
    object("ReplicaSet"),
    TypeSupport {
        owner: "ReplicaSetSpec",
        honoured: &["replicas", "selector", "template"],
        satisfied: NONE,
        ignored: &[("minReadySeconds", READY_COUNTS)],
        rejected: NONE,
    },
    object("StatefulSet"),
    TypeSupport {
        owner: "StatefulSetSpec",
        honoured: &["ordinals", "podManagementPolicy", "replicas", "selector", "serviceName", "template", "volumeClaimTemplates"],
        satisfied: &[
            ("persistentVolumeClaimRetentionPolicy", "claims outlive their pods and are never removed by a run"),
            ("revisionHistoryLimit", NO_HISTORY),
            ("updateStrategy", ALL_AT_ONCE),
        ],
        ignored: &[("minReadySeconds", READY_COUNTS)],
        rejected: NONE,
    },
    all("StatefulSetOrdinals", &["start"]),
    object("DaemonSet"),
    TypeSupport {
        owner: "DaemonSetSpec",
        honoured: &["selector", "template"],
        satisfied: &[("revisionHistoryLimit", NO_HISTORY), ("updateStrategy", ALL_AT_ONCE)],
        ignored: &[("minReadySeconds", READY_COUNTS)],
        rejected: NONE,
    },
    object("Job"),
    TypeSupport {
        owner: "JobSpec",
        honoured: &[
            "activeDeadlineSeconds",
            "backoffLimit",
            "backoffLimitPerIndex",
            "completionMode",
            "completions",
            "manualSelector",
            "maxFailedIndexes",
            "parallelism",
            "podFailurePolicy",
            "selector",
            "successPolicy",
            "suspend",
            "template",
        ],
        satisfied: &[("podReplacementPolicy", "a pod is replaced once it has ended")],
        ignored: &[("ttlSecondsAfterFinished", "what is left of a Job is the output of the run")],
        rejected: &[("managedBy", "no other controller runs here")],
    },
    all("PodFailurePolicy", &["rules"]),
    all("PodFailurePolicyRule", &["action", "onExitCodes", "onPodConditions"]),
    all("PodFailurePolicyOnExitCodesRequirement", &["containerName", "operator", "values"]),
    all("PodFailurePolicyOnPodConditionsPattern", &["status", "type"]),
    all("SuccessPolicy", &["rules"]),
    all("SuccessPolicyRule", &["succeededCount", "succeededIndexes"]),
    all("PodTemplateSpec", &["metadata", "spec"]),
    all("LabelSelector", &["matchExpressions", "matchLabels"]),
    all("LabelSelectorRequirement", &["key", "operator", "values"]),
    object("Service"),
    TypeSupport {
        owner: "ServiceSpec",
        honoured: &["externalName", "ports", "publishNotReadyAddresses", "selector", "sessionAffinity", "type"],
        satisfied: &[
            ("allocateLoadBalancerNodePorts", ONE_MACHINE),
            ("externalTrafficPolicy", ONE_MACHINE),
            ("healthCheckNodePort", ONE_MACHINE),
            ("internalTrafficPolicy", ONE_MACHINE),
            ("ipFamilies", BOTH_FAMILIES),
            ("ipFamilyPolicy", BOTH_FAMILIES),
            ("loadBalancerClass", "the machine's own ports stand for a load balancer"),
            ("trafficDistribution", ONE_MACHINE),
        ],
        ignored: &[
            ("clusterIP", OWN_ADDRESS),
            ("clusterIPs", OWN_ADDRESS),
            ("externalIPs", "only the machine's loopback leads to a Service, by type NodePort or LoadBalancer"),
            ("loadBalancerIP", "a load balancer's port is on the machine's loopback"),
            ("loadBalancerSourceRanges", "a load balancer's port is on the machine's loopback"),
            ("sessionAffinityConfig", "a client stays with its pod for as long as the pods behind the Service stay the same"),
        ],
        rejected: NONE,
    },
    TypeSupport {
        owner: "ServicePort",
        honoured: &["name", "nodePort", "port", "protocol", "targetPort"],
        satisfied: &[("appProtocol", "bytes pass as they are, whatever they mean")],
        ignored: NONE,
        rejected: NONE,
    },
    object("PersistentVolumeClaim"),
    TypeSupport {
        owner: "PersistentVolumeClaimSpec",
        honoured: &["accessModes", "volumeMode"],
        satisfied: &[("storageClassName", NO_STORAGE_CLASSES), ("volumeAttributesClassName", NO_STORAGE_CLASSES)],
        ignored: &[
            ("resources", "the machine's disk is the only limit of a claim"),
            ("selector", NO_STORAGE_CLASSES),
            ("volumeName", NO_STORAGE_CLASSES),
        ],
        rejected: &[
            ("dataSource", "a claim begins empty; there is nothing that it could be copied from"),
            ("dataSourceRef", "a claim begins empty; there is nothing that it could be copied from"),
        ],
    },
];
