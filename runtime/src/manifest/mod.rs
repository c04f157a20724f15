//! From the text of a manifest to pods that can be run.
//!
//! ```text
//! text ──node──▶ tree with lines ──typed──▶ Kubernetes objects ──defaults──▶ ──validate──▶ Manifest
//!                                              │                                             │ lower
//!                                              └─support──▶ warnings and refusals            ▼
//!                                                                  PodSpec  ◀── env, volumes (ConfigMaps, Secrets)
//! ```
//!
//! Everything here is a function of its input: no file is read, no clock is asked, no name is resolved.
//! Whatever is wrong with a manifest is said at once and together, each problem with its file, line, object and field path,
//! in the words that the Kubernetes API server uses.

mod defaults;
mod downward;
mod env;
mod examine;
mod handlers;
mod kinds;
mod lower;
mod names;
mod node;
mod parse;
mod pod_security;
mod problem;
mod pull_secrets;
pub mod quantity;
mod resources;
pub mod selector;
mod similar;
mod stack;
pub mod support;
mod typed;
mod validate;
mod volumes;
mod workload;

#[cfg(test)]
mod tests;

use crate::net::{EgressPolicy, ServiceConfig};
use crate::observe::{Phase, span};
use crate::pod::spec::PodSpec;
use crate::workload::spec::{Replica, WorkloadSpec};
use crate::{Error, Result};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use std::fmt;
use std::net::IpAddr;

pub use examine::{Examination, ObjectFields};
pub use pod_security::PodSecurity;
pub use quantity::Quantity;
pub use selector::Selector;
pub use support::FieldWarning;

/// The objects of a manifest, understood, defaulted and checked.
///
/// ```
/// use wasmpod::manifest::{LowerContext, Manifest};
/// let text = "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: app, image: 'file:./app.wasm'}]}}";
/// let manifest = Manifest::parse(text, "pod.yaml")?;
/// let pods = manifest.lower(|_| LowerContext::new("b9c1d2aa-0000-4000-8000-000000000001"))?;
/// assert_eq!(pods[0].spec.containers[0].image, "file:./app.wasm");
/// # Ok::<(), wasmpod::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Manifest {
    source: String,
    documents: usize,
    /// The first pod of each workload.
    pods: Vec<parse::Object<Pod>>,
    /// What the pods of each workload are made from; as many as there are `pods`.
    templates: Vec<workload::Template>,
    services: Vec<parse::Object<Service>>,
    config_maps: Vec<parse::Object<ConfigMap>>,
    secrets: Vec<parse::Object<Secret>>,
    claims: Vec<parse::Object<PersistentVolumeClaim>>,
    skipped: Vec<String>,
}

/// How a manifest is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParseOptions {
    /// Objects of kinds that wasmpod does not know are left out instead of being an error.
    pub ignore_unknown_kinds: bool,
}

impl fmt::Debug for Manifest {
    /// Leaves the objects out: they may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manifest").field("source", &self.source).field("pods", &self.pods.len()).finish_non_exhaustive()
    }
}

/// What a pod's specification cannot say because it depends on where and when the pod runs.
#[derive(Clone, Debug)]
pub struct LowerContext {
    /// The pod's uid, used when the manifest gives none.
    pub uid: String,
    /// The machine's name: `spec.nodeName` for the downward API.
    pub node_name: String,
    /// The addresses of the pod, the primary one first: `status.podIP` and `status.podIPs`.
    pub pod_ips: Vec<IpAddr>,
    /// The addresses of the machine, the primary one first: `status.hostIP` and `status.hostIPs`.
    pub host_ips: Vec<IpAddr>,
    /// What a `resourceFieldRef` to a CPU limit that is not set yields, in millicores; asked only for one: to know it can take long.
    pub node_cpu_millis: fn() -> u64,
    /// What a `resourceFieldRef` to a memory limit that is not set yields, in bytes.
    pub node_memory_bytes: u64,
    /// What a `resourceFieldRef` to an ephemeral-storage limit that is not set yields, in bytes.
    pub node_storage_bytes: u64,
    /// Variables set for every container over those of the manifest.
    pub extra_env: Vec<(String, String)>,
    /// What the pods may reach outside at most: the annotation `wasmpod.dev/egress` can only narrow it.
    pub egress: EgressPolicy,
}

impl LowerContext {
    /// A context with this uid, the node name `localhost`, no addresses, one CPU, 1 GiB of memory and of storage, and the default
    /// egress.
    pub fn new(uid: impl Into<String>) -> Self {
        Self {
            uid: uid.into(),
            node_name: "localhost".to_owned(),
            pod_ips: Vec::new(),
            host_ips: Vec::new(),
            node_cpu_millis: || 1000,
            node_memory_bytes: 1 << 30,
            node_storage_bytes: 1 << 30,
            extra_env: Vec::new(),
            egress: EgressPolicy::Internet,
        }
    }
}

/// A pod that is ready to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct LoweredPod {
    /// The Kubernetes object with every default filled in, as an API server would return it; it has no status.
    pub pod: Pod,
    /// The same, resolved against its ConfigMaps and Secrets.
    pub spec: PodSpec,
    /// The fields that the manifest sets and that have no effect.
    pub warnings: Vec<FieldWarning>,
}

impl Manifest {
    /// Reads a stream of YAML or JSON documents; `source` names it in errors, such as `pod.yaml`.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) with every problem found, one a line, or [`Limit`](crate::ErrorKind::Limit) for a
    /// text beyond the `MANIFEST_*` limits.
    pub fn parse(text: &str, source: &str) -> Result<Self> {
        Self::from_bytes_with(text.as_bytes(), source, ParseOptions::default())
    }

    /// The same for bytes, which must be UTF-8.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn from_bytes(bytes: &[u8], source: &str) -> Result<Self> {
        Self::from_bytes_with(bytes, source, ParseOptions::default())
    }

    /// The same, read as `options` says.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn from_bytes_with(bytes: &[u8], source: &str, options: ParseOptions) -> Result<Self> {
        let _phase = span(Phase::Parse);
        let text = node::text(bytes, source)?;
        stack::with_room(|| parse::manifest(text, source, options))
    }

    /// Takes one pod that was made in code, such as the one around a bare `.wasm` file; it is defaulted and checked like any other.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn from_pod(pod: &Pod, source: &str) -> Result<Self> {
        let _phase = span(Phase::Parse);
        // All that can nest in a Pod without end is in there.
        if pod.metadata.managed_fields.is_none() {
            return parse::single_pod(pod, source);
        }
        stack::with_room(|| parse::single_pod(pod, source))
    }

    /// What the manifest is called in errors.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The workloads, in the order of the manifest: its Pods, and the objects that wrap a pod template.
    pub fn workloads(&self) -> impl ExactSizeIterator<Item = &WorkloadSpec> {
        self.templates.iter().map(|template| &template.spec)
    }

    /// Keeps the workloads whose pods have labels that `selector` selects, and drops the others.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when none is left.
    pub fn select(&mut self, selector: &Selector) -> Result<()> {
        let labels = |pod: &Pod| pod.metadata.labels.clone().unwrap_or_default();
        let keep: Vec<bool> = self.pods.iter().map(|object| selector.matches(&labels(&object.value))).collect();
        let (mut pods, mut templates) = (keep.iter(), keep.iter());
        self.pods.retain(|_| pods.next() == Some(&true));
        self.templates.retain(|_| templates.next() == Some(&true));
        if self.pods.is_empty() {
            return Err(Error::not_found("no pod of the manifest has labels that the selector selects").at(self.source.as_str()));
        }
        Ok(())
    }

    /// The Services, in the order of the manifest.
    pub fn services(&self) -> impl Iterator<Item = ServiceConfig> + '_ {
        self.services.iter().filter_map(|object| workload::service_config(&object.value))
    }

    /// The Services as Kubernetes has them.
    pub fn service_objects(&self) -> impl ExactSizeIterator<Item = &Service> {
        self.services.iter().map(|object| &object.value)
    }

    /// The objects that were left out because of their kind, each with the reason.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// The first pod of each workload, in their order, defaults filled in; a uid only where the manifest gives one.
    pub fn pods(&self) -> impl ExactSizeIterator<Item = &Pod> {
        self.pods.iter().map(|object| &object.value)
    }

    /// The fields without effect, for each workload in turn.
    pub fn warnings(&self) -> impl ExactSizeIterator<Item = &[FieldWarning]> {
        self.pods.iter().map(|object| object.warnings.as_slice())
    }

    /// Says everything about a manifest that can be said without running it.
    pub fn examine(bytes: &[u8], source: &str, options: ParseOptions, level: PodSecurity) -> Examination {
        examine::manifest(bytes, source, options, level)
    }

    /// Checks that every pod keeps to a level of the Pod Security Standards.
    ///
    /// # Errors
    /// [`Denied`](crate::ErrorKind::Denied), reason `Forbidden`, in Kubernetes' words:
    /// `violates PodSecurity "baseline:latest": hostPath volumes (volume "data")`.
    pub fn check_pod_security(&self, level: PodSecurity) -> Result<()> {
        pod_security::check(self, level)
    }

    /// Where `field` of the pod `index` stands, as errors say it: `pod.yaml:12:5: Pod "web": spec.volumes[0].hostPath`.
    ///
    /// `index` counts the [`pods`](Self::pods). Nothing when there is no such pod.
    pub fn locate(&self, index: usize, field: &str) -> Option<String> {
        let object = self.pods.get(index)?;
        Some(problem::subject(&self.source, self.documents, &object.origin, &problem::FieldPath::parse(field), None))
    }

    /// Makes the first pod of every workload ready to run: resolves its references to ConfigMaps and Secrets of this manifest and
    /// expands its variables.
    ///
    /// `context_for` is asked once for each pod, in order.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) with every reference that leads nowhere, or [`Limit`](crate::ErrorKind::Limit).
    pub fn lower(&self, context_for: impl FnMut(&Pod) -> LowerContext) -> Result<Vec<LoweredPod>> {
        let _phase = span(Phase::Parse);
        lower::manifest(self, context_for)
    }

    /// Makes one pod of the workload at `index` ready to run.
    ///
    /// # Errors
    /// As [`lower`](Self::lower); [`Internal`](crate::ErrorKind::Internal) when there is no such workload.
    pub fn lower_replica(&self, index: usize, replica: &Replica, context: &LowerContext) -> Result<LoweredPod> {
        let _phase = span(Phase::Parse);
        lower::replica(self, index, replica, context)
    }

    /// The fields without effect of the objects that hold no pods: Services and claims.
    pub fn object_warnings(&self) -> impl Iterator<Item = String> + '_ {
        let services = self.services.iter().flat_map(|object| object.described_warnings());
        services.chain(self.claims.iter().flat_map(|object| object.described_warnings()))
    }
}
