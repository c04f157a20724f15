//! From the text of a manifest to its objects: documents, Lists, kinds.

use super::defaults;
use super::examine::ObjectFields;
use super::kinds::{self, Fate};
use super::node::{self, Node, Value};
use super::problem::{FieldPath, Origin, Problem, Problems, Report};
use super::support::{self, FieldWarning};
use super::typed::{self, Reading, SetField};
use super::workload::{self, Parts, Template, Wraps, derived_uid};
use super::{Manifest, ParseOptions, names, validate};
use crate::limits::MANIFEST_DEPTH_MAX;
use crate::workload::spec::{ControllerSpec, WorkloadKind, WorkloadSpec};
use crate::{Error, Result};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;

/// An object of the manifest and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Object<T> {
    pub(super) origin: Origin,
    pub(super) value: T,
    /// The fields that it sets without effect.
    pub(super) warnings: Vec<FieldWarning>,
}

impl<T> Object<T> {
    /// The fields that it sets without effect, each with the object's kind and name before it.
    pub(super) fn described_warnings(&self) -> impl Iterator<Item = String> + '_ {
        let name = self.origin.name.as_deref().unwrap_or_default();
        self.warnings.iter().map(move |warning| format!("{} {name:?}: {warning}", self.origin.kind))
    }
}

/// Reads a whole manifest.
pub(super) fn manifest(text: &str, source: &str, options: ParseOptions) -> Result<Manifest> {
    read(text, source, options, None).1
}

/// The same, and the verdicts on the fields of every object that could be read.
pub(super) fn examined(text: &str, source: &str, options: ParseOptions) -> (Vec<ObjectFields>, Result<Manifest>) {
    read(text, source, options, Some(Vec::new()))
}

fn read(
    text: &str,
    source: &str,
    options: ParseOptions,
    examined: Option<Vec<ObjectFields>>,
) -> (Vec<ObjectFields>, Result<Manifest>) {
    let documents = match node::documents(text, source) {
        Ok(documents) => documents,
        Err(error) => return (Vec::new(), Err(error)),
    };
    if documents.is_empty() {
        let error = Error::invalid("the manifest has no objects").at(source).hint("write a Pod: apiVersion: v1, kind: Pod, ...");
        return (Vec::new(), Err(error));
    }
    let mut reader = Reader { examined, ..Reader::new(source, documents.len(), options) };
    for (document, node) in documents.into_iter().enumerate() {
        reader.object(document + 1, FieldPath::default(), node, Place { depth: 0, implied: None });
    }
    (reader.examined.take().unwrap_or_default(), reader.finish())
}

/// Takes one pod made in code as a manifest of its own.
pub(super) fn single_pod(pod: &Pod, source: &str) -> Result<Manifest> {
    let json = serde_json::to_value(pod).map_err(|error| Error::internal("the pod cannot be written as JSON").because(error))?;
    let mut reader = Reader::new(source, 1, ParseOptions::default());
    let origin = Origin { document: 1, kind: "Pod".to_owned(), name: None, base: FieldPath::default(), node: None };
    reader.pod(origin, &Node::from(json));
    reader.finish()
}

/// Where an object stands.
#[derive(Clone, Copy)]
struct Place {
    /// In how many Lists.
    depth: usize,
    /// The kind that the List around it gives its items.
    implied: Option<&'static str>,
}

/// Collects the objects of a manifest, and the problems of all of them.
struct Reader<'a> {
    manifest: Manifest,
    report: Report<'a>,
    options: ParseOptions,
    /// The verdicts on the fields of each object, where they are asked for.
    examined: Option<Vec<ObjectFields>>,
}

impl<'a> Reader<'a> {
    fn new(source: &'a str, documents: usize, options: ParseOptions) -> Self {
        let manifest = Manifest { source: source.to_owned(), documents, ..Manifest::default() };
        Self { manifest, report: Report::new(source, documents), options, examined: None }
    }

    fn finish(mut self) -> Result<Manifest> {
        for (origin, problems) in validate::together(&self.manifest) {
            self.report.take(&origin, problems);
        }
        self.report.finish()?;
        Ok(self.manifest)
    }

    /// Takes the object in `node`, or the objects of the List in it.
    fn object(&mut self, document: usize, base: FieldPath, node: Node, place: Place) {
        let kind = node.get("kind").and_then(Node::text).or(place.implied).unwrap_or_default().to_owned();
        let name = node.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Node::text).map(str::to_owned);
        let mut origin = Origin { document, kind, name, base, node: None };
        match kinds::fate(&origin.kind, &node, place.implied.is_some()) {
            Fate::Read => self.read(origin, node),
            Fate::Items(implied) => self.list(origin, node, Place { implied, ..place }),
            Fate::Unknown(_) if self.options.ignore_unknown_kinds => {
                let name = origin.name.map(|name| format!(" {name:?}")).unwrap_or_default();
                self.manifest.skipped.push(format!("{}: {}{name}: skipped: {}", self.manifest.source, origin.kind, NOT_OURS));
            }
            Fate::Unknown(problem) | Fate::Wrong(problem) => {
                let mut problems = Problems::default();
                problems.push(problem);
                origin.node = Some(node);
                self.report.take(&origin, problems);
            }
        }
    }

    /// Takes an object of a known kind.
    fn read(&mut self, origin: Origin, node: Node) {
        match origin.kind.as_str() {
            "Pod" => self.pod(Origin { node: Some(node.clone()), ..origin }, &node),
            "Deployment" => self.workload::<Deployment>(origin, node),
            "ReplicaSet" => self.workload::<ReplicaSet>(origin, node),
            "StatefulSet" => self.workload::<StatefulSet>(origin, node),
            "DaemonSet" => self.workload::<DaemonSet>(origin, node),
            "Job" => self.workload::<Job>(origin, node),
            "ConfigMap" => {
                let object = self.typed(origin, node, false, validate::config_map);
                self.manifest.config_maps.extend(object);
            }
            "Secret" => {
                let object = self.typed(origin, node, true, validate::secret);
                self.manifest.secrets.extend(object);
            }
            "PersistentVolumeClaim" => {
                let object = self.typed(origin, node, false, validate::claim);
                self.manifest.claims.extend(object);
            }
            _ => {
                let object = self.typed(origin, node, false, |service: &Service| {
                    let mut problems = validate::service(service);
                    problems.extend(workload::service(service).1.into_listed());
                    problems
                });
                self.manifest.services.extend(object);
            }
        }
    }

    /// Takes the items of a List; Lists inside Lists are as deep at most as the document is.
    fn list(&mut self, mut origin: Origin, mut node: Node, place: Place) {
        let mut problems = Problems::default();
        let items = match &mut node.value {
            Value::Map(entries) => {
                let known = ["apiVersion", "kind", "metadata", "items"];
                for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
                    let problem = Problem::new(FieldPath::default().named(&entry.key), "unknown field").at(entry.position);
                    problems.push(problem.hint(format!("the fields here are {}", known.join(", "))));
                }
                entries.iter_mut().find(|entry| entry.key == "items").map(|entry| &mut entry.node.value)
            }
            _ => None,
        };
        match items {
            None | Some(Value::Null) => {}
            Some(Value::List(items)) if place.depth < MANIFEST_DEPTH_MAX => {
                for (index, item) in std::mem::take(items).into_iter().enumerate() {
                    let base = FieldPath(origin.base.0.iter().cloned().chain(FieldPath::of("items").index(index).0).collect());
                    self.object(origin.document, base, item, Place { depth: place.depth + 1, ..place });
                }
            }
            Some(_) => problems.push(Problem::new(FieldPath::of("items"), "must be a list")),
        }
        origin.node = Some(node);
        self.report.take(&origin, problems);
    }

    /// Takes an object that holds no pod; `conceal` keeps its values out of messages.
    fn typed<T: DeserializeOwned>(
        &mut self,
        mut origin: Origin,
        node: Node,
        conceal: bool,
        check: fn(&T) -> Problems,
    ) -> Option<Object<T>> {
        let (value, mut problems, set) = taken(typed::read::<T>(&node, conceal));
        let (warnings, refused) = self.review(&origin, &set);
        problems.extend(refused);
        origin.node = Some(node);
        if let Some(value) = &value {
            self.report.take(&origin, problems);
            self.report.take(&origin, check(value));
        } else {
            self.report.take(&origin, problems);
        }
        // The tree has told the lines of everything that can be wrong with it, and a Secret should not lie around twice.
        origin.node = origin.node.take().map(|node| Node { value: Value::Null, ..node });
        value.map(|value| Object { origin, value, warnings })
    }

    /// The warnings and refusals for the fields that an object sets; notes the verdict on each where that is asked for.
    fn review(&mut self, origin: &Origin, set: &[SetField]) -> (Vec<FieldWarning>, Vec<Problem>) {
        if let Some(examined) = &mut self.examined {
            let fields = support::verdicts_on(set);
            examined.push(ObjectFields { kind: origin.kind.clone(), name: origin.name.clone(), fields });
        }
        support::review(set)
    }

    fn pod(&mut self, mut origin: Origin, node: &Node) {
        let (pod, mut problems, set) = taken(typed::read::<Pod>(node, false));
        let (warnings, refused) = self.review(&origin, &set);
        problems.extend(refused);
        let Some(mut pod) = pod else {
            self.report.take(&origin, problems);
            return;
        };
        defaults::pod(&mut pod);
        problems.extend(validate::pod(&pod).into_listed());
        origin.name.clone_from(&pod.metadata.name);
        self.report.take(&origin, problems);
        self.manifest.templates.push(Template { spec: bare(&pod), pod: pod.clone(), claims: Vec::new(), service_name: None });
        self.manifest.pods.push(Object { origin, value: pod, warnings });
    }

    /// Takes an object that wraps a pod. Its template is checked as a pod is: the first that will be made from it.
    fn workload<T: Wraps>(&mut self, mut origin: Origin, node: Node) {
        let (object, mut problems, set) = taken(typed::read::<T>(&node, false));
        let (warnings, refused) = self.review(&origin, &set);
        problems.extend(refused);
        let template_node = node.get("spec").and_then(|spec| spec.get("template")).cloned();
        origin.node = Some(node);
        let Some(object) = object else {
            self.report.take(&origin, problems);
            return;
        };
        let mut own = Problems::default();
        let Some(parts) = object.parts(&mut own) else {
            problems.push(Problem::required(FieldPath::of("spec")));
            self.report.take(&origin, problems);
            return;
        };
        let metadata = validate::metadata_of(&parts.metadata);
        // What is made up for a name that is wrong must not be wrong a second time.
        let named = parts.metadata.name.as_deref().is_some_and(|name| names::subdomain(name).is_ok());
        let mut template = Parts::template(parts, T::KIND, &mut own);
        problems.extend(metadata.into_listed().into_iter().chain(own.into_listed()));
        if !named {
            template.spec.name = "pod".to_owned();
        }
        defaults::pod(&mut template.pod);
        let first = template.instance(&template.spec.first_replica());
        let inner = validate::pod(&first);
        self.claims_of(&origin, &template);
        self.report.take(&origin, problems);
        let base = FieldPath(origin.base.0.iter().cloned().chain(FieldPath::of("spec.template").0).collect());
        let origin = Origin { base, node: template_node.or(origin.node), ..origin };
        self.report.take(&origin, inner);
        self.manifest.templates.push(template);
        self.manifest.pods.push(Object { origin, value: first, warnings });
    }

    /// Adds the claims that a StatefulSet makes for its pods.
    fn claims_of(&mut self, origin: &Origin, template: &Template) {
        for ordinal in template.spec.ordinals() {
            let replica = template.spec.replica(Some(ordinal), 0);
            for claim in &template.claims {
                let name = workload::claim_name(claim.metadata.name.as_deref().unwrap_or_default(), &replica);
                let namespace = Some(template.spec.namespace.clone());
                let metadata = ObjectMeta { name: Some(name.clone()), namespace, ..ObjectMeta::default() };
                let value = PersistentVolumeClaim { metadata, ..claim.clone() };
                let kind = "PersistentVolumeClaim".to_owned();
                let origin = Origin { kind, name: Some(name), node: None, ..origin.clone() };
                self.manifest.claims.push(Object { origin, value, warnings: Vec::new() });
            }
        }
    }
}

/// Why an object of an unknown kind is left out.
const NOT_OURS: &str = "wasmpod does not run this kind";

/// The object, unless a value of it is of a wrong type; the problems of reading it; the fields that it sets.
fn taken<T>(reading: Reading<T>) -> (Option<T>, Problems, Vec<SetField>) {
    let mut problems = Problems::default();
    let whole = reading.mistyped.is_empty();
    problems.extend(reading.mistyped.into_iter().chain(reading.unknown));
    (reading.object.filter(|_| whole), problems, reading.set)
}

/// A pod on its own, as a workload.
fn bare(pod: &Pod) -> WorkloadSpec {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let uid = pod.metadata.uid.clone().unwrap_or_else(|| derived_uid("Pod", &namespace, &name));
    let (kind, controller) = (WorkloadKind::Pod, ControllerSpec::Once);
    WorkloadSpec { kind, name, namespace, uid, template_hash: String::new(), controller }
}

/// The fields that a pod made in code or read from a text sets.
///
/// # Errors
/// [`Internal`](crate::ErrorKind::Internal) if the pod cannot be written as JSON.
pub(super) fn fields_set(pod: &Pod) -> Result<Vec<SetField>> {
    let json = serde_json::to_value(pod).map_err(|error| Error::internal("the pod cannot be written as JSON").because(error))?;
    Ok(typed::read::<Pod>(&Node::from(json), false).set)
}
