//! What a workload is, once its manifest is understood: how many pods its controller keeps, and what each of them is called.
//!
//! [`manifest`](crate::manifest) makes these values; the controllers of this module work on them alone.

mod job;

pub use job::{FailureAction, FailureRule, Failures, IndexLimits, JobSpec, PodConditionPattern, PodEnd, SuccessRule};

use std::fmt;

/// The letters of generated names, as Kubernetes has them: no vowels, so that no words come out.
const SUFFIX_LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many letters a generated name ends with.
const SUFFIX_LENGTH: u32 = 5;
/// How many different endings there are.
const SUFFIXES: u64 = 27_u64.pow(SUFFIX_LENGTH);
/// Neighbouring serials get endings that look nothing alike, and none twice: the step shares no factor with [`SUFFIXES`].
const SUFFIX_STEP: u64 = 7_654_321;
/// The most bytes of what stands before a generated ending, as Kubernetes has it: name and ending fit a DNS label.
const GENERATED_BASE_BYTES_MAX: usize = 58;

/// An object that makes pods: a Pod itself, or one of the kinds that wrap a pod template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadSpec {
    /// Its kind.
    pub kind: WorkloadKind,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`, with its default.
    pub namespace: String,
    /// `metadata.uid`, or one that is made from kind, namespace and name.
    pub uid: String,
    /// Tells its pod template from every other: the label `pod-template-hash`.
    pub template_hash: String,
    /// What its controller keeps to.
    pub controller: ControllerSpec,
}

/// Which kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkloadKind {
    /// A pod on its own.
    Pod,
    /// `apps/v1`.
    Deployment,
    /// `apps/v1`.
    ReplicaSet,
    /// `apps/v1`.
    StatefulSet,
    /// `apps/v1`; there is one machine, and so one pod.
    DaemonSet,
    /// `batch/v1`.
    Job,
}

/// How many pods there are to be, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControllerSpec {
    /// One pod, which is not replaced when it ends.
    Once,
    /// So many pods at all times; one that ends is replaced by another.
    Replicas {
        /// How many.
        replicas: u32,
    },
    /// So many pods, each with an ordinal and a name that its replacement has too.
    Ordered {
        /// How many.
        replicas: u32,
        /// The ordinal of the first: `spec.ordinals.start`.
        first_ordinal: u32,
        /// Whether they start and stop all at once: `podManagementPolicy: Parallel`.
        parallel: bool,
    },
    /// Pods until enough of them have succeeded.
    Job(JobSpec),
}

/// One pod of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Replica {
    /// The pod's name.
    pub name: String,
    /// A StatefulSet's ordinal, or the completion index of an Indexed Job.
    pub ordinal: Option<u32>,
}

impl WorkloadSpec {
    /// The pod with this ordinal (where the workload has them) that is made as the `serial`-th of the workload, from 0.
    ///
    /// The same workload gives the same names in every run.
    pub fn replica(&self, ordinal: Option<u32>, serial: u32) -> Replica {
        let ordinal = match self.kind {
            WorkloadKind::StatefulSet | WorkloadKind::Job => ordinal,
            _ => None,
        };
        let name = match (self.kind, ordinal) {
            (WorkloadKind::Pod, _) => self.name.clone(),
            (WorkloadKind::StatefulSet, ordinal) => format!("{}-{}", self.name, ordinal.unwrap_or(0)),
            (WorkloadKind::Deployment, _) => self.generated(&format!("{}-{}-", self.name, self.template_hash), serial),
            (WorkloadKind::Job, Some(index)) => self.generated(&format!("{}-{index}-", self.name), serial),
            (WorkloadKind::ReplicaSet | WorkloadKind::DaemonSet | WorkloadKind::Job, _) => {
                self.generated(&format!("{}-", self.name), serial)
            }
        };
        Replica { name, ordinal }
    }

    /// The first pod that the controller makes; what a template is checked with.
    pub fn first_replica(&self) -> Replica {
        let ordinal = match &self.controller {
            ControllerSpec::Ordered { first_ordinal, .. } => Some(*first_ordinal),
            ControllerSpec::Job(job) if job.indexed => Some(0),
            _ => None,
        };
        self.replica(ordinal, 0)
    }

    /// How many pods there may be at once.
    pub fn pods_at_once(&self) -> u32 {
        match &self.controller {
            ControllerSpec::Once => 1,
            ControllerSpec::Replicas { replicas } | ControllerSpec::Ordered { replicas, .. } => *replicas,
            ControllerSpec::Job(job) => job.completions.map_or(job.parallelism, |completions| completions.min(job.parallelism)),
        }
    }

    /// How many pods there may be over the whole run, when nothing fails.
    pub fn pods_in_all(&self) -> u32 {
        match &self.controller {
            ControllerSpec::Job(job) => job.completions.unwrap_or(job.parallelism),
            _ => self.pods_at_once(),
        }
    }

    /// `Deployment default/web`, for messages.
    pub fn full_name(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }

    fn generated(&self, base: &str, serial: u32) -> String {
        // Names are ASCII, so every byte is a character.
        let base = base.get(..GENERATED_BASE_BYTES_MAX).unwrap_or(base);
        let start = u64::from(fnv1a(&[self.namespace.as_bytes(), b"/", base.as_bytes()]));
        let mut value = (start + u64::from(serial) * SUFFIX_STEP) % SUFFIXES;
        let mut name = base.to_owned();
        for _ in 0..SUFFIX_LENGTH {
            name.push(letter(value));
            value /= 27;
        }
        name
    }
}

/// What tells a template's text from every other, in the letters of generated names: the digits of its FNV-1a hash.
pub fn template_hash(text: &[u8]) -> String {
    fnv1a(&[text]).to_string().bytes().map(|digit| letter(u64::from(digit))).collect()
}

fn letter(value: u64) -> char {
    let index = usize::try_from(value % 27).unwrap_or(0);
    SUFFIX_LETTERS.get(index).copied().map_or('b', char::from)
}

/// The 32-bit FNV-1a hash that Kubernetes makes such names from.
fn fnv1a(parts: &[&[u8]]) -> u32 {
    let bytes = parts.iter().copied().flatten();
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pod => "Pod",
            Self::Deployment => "Deployment",
            Self::ReplicaSet => "ReplicaSet",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::Job => "Job",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn workload(kind: WorkloadKind, name: &str) -> WorkloadSpec {
        WorkloadSpec {
            kind,
            name: name.to_owned(),
            namespace: "default".to_owned(),
            uid: "uid".to_owned(),
            template_hash: template_hash(b"template"),
            controller: ControllerSpec::Once,
        }
    }

    #[test]
    fn pods_are_named_as_kubernetes_names_them_and_the_same_in_every_run() {
        let name = |kind, ordinal, serial| workload(kind, "web").replica(ordinal, serial).name;
        assert_eq!(name(WorkloadKind::Pod, None, 0), "web");
        assert_eq!(name(WorkloadKind::StatefulSet, Some(3), 7), "web-3");
        insta::assert_snapshot!(name(WorkloadKind::Deployment, None, 0), @"web-5cbb944dc9-ltsp5");
        insta::assert_snapshot!(name(WorkloadKind::Job, Some(4), 0), @"web-4-dlpqj");
        assert_ne!(name(WorkloadKind::Job, None, 0), name(WorkloadKind::Job, None, 1));
    }

    #[test]
    fn no_generated_name_comes_twice() {
        let web = workload(WorkloadKind::ReplicaSet, "web");
        let names: BTreeSet<String> = (0..20_000).map(|serial| web.replica(None, serial).name).collect();
        assert_eq!(names.len(), 20_000);
    }

    #[test]
    fn a_long_name_is_cut_so_that_the_generated_one_is_a_label() {
        let long = workload(WorkloadKind::Job, &"a".repeat(63));
        assert_eq!(long.replica(None, 0).name.len(), 63);
    }
}
