//! From the text of a manifest to its objects: documents, Lists, kinds.

use super::defaults;
use super::node::{self, Node, Value};
use super::problem::{FieldPath, Origin, Problem, Problems, Report};
use super::similar::closest;
use super::support::{self, FieldWarning};
use super::typed::{self, SetField};
use super::{Manifest, validate};
use crate::limits::MANIFEST_DEPTH_MAX;
use crate::{Error, Result};
use k8s_openapi::api::core::v1::Pod;
use serde::de::DeserializeOwned;

/// The kinds that a manifest may have.
const KINDS: [&str; 5] = ["Pod", "ConfigMap", "Secret", "PersistentVolumeClaim", "List"];

/// An object of the manifest and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Object<T> {
    pub(super) origin: Origin,
    pub(super) value: T,
    /// The fields that it sets without effect.
    pub(super) warnings: Vec<FieldWarning>,
}

/// Reads a whole manifest.
pub(super) fn manifest(text: &str, source: &str) -> Result<Manifest> {
    let documents = node::documents(text, source)?;
    if documents.is_empty() {
        return Err(Error::invalid("the manifest has no objects").at(source).hint("write a Pod: apiVersion: v1, kind: Pod, ..."));
    }
    let mut reader = Reader::new(source, documents.len());
    for (document, node) in documents.into_iter().enumerate() {
        reader.object(document + 1, FieldPath::default(), node, 0);
    }
    reader.finish()
}

/// Takes one pod made in code as a manifest of its own.
pub(super) fn single_pod(pod: &Pod, source: &str) -> Result<Manifest> {
    let json = serde_json::to_value(pod).map_err(|error| Error::internal("the pod cannot be written as JSON").because(error))?;
    let mut reader = Reader::new(source, 1);
    let origin = Origin { document: 1, kind: "Pod".to_owned(), name: None, base: FieldPath::default(), node: None };
    reader.pod(origin, &Node::from(json));
    reader.finish()
}

/// Collects the objects of a manifest, and the problems of all of them.
struct Reader<'a> {
    manifest: Manifest,
    report: Report<'a>,
}

impl<'a> Reader<'a> {
    fn new(source: &'a str, documents: usize) -> Self {
        let manifest = Manifest {
            source: source.to_owned(),
            documents,
            pods: Vec::new(),
            config_maps: Vec::new(),
            secrets: Vec::new(),
            claims: Vec::new(),
        };
        Self { manifest, report: Report::new(source, documents) }
    }

    fn finish(mut self) -> Result<Manifest> {
        for (origin, problems) in validate::together(&self.manifest) {
            self.report.take(&origin, problems);
        }
        self.report.finish()?;
        Ok(self.manifest)
    }

    /// Takes the object in `node`, or the objects of the List in it.
    fn object(&mut self, document: usize, base: FieldPath, node: Node, depth: usize) {
        let kind = node.get("kind").and_then(Node::text).unwrap_or_default().to_owned();
        let name = node.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Node::text).map(str::to_owned);
        let mut origin = Origin { document, kind, name, base, node: None };
        if let Err(problem) = check_kind(&origin.kind, &node) {
            let mut problems = Problems::default();
            problems.push(problem);
            origin.node = Some(node);
            self.report.take(&origin, problems);
            return;
        }
        match origin.kind.as_str() {
            "Pod" => self.pod(Origin { node: Some(node.clone()), ..origin }, &node),
            "ConfigMap" => {
                if let Some(object) = self.typed(origin, node, false, validate::config_map) {
                    self.manifest.config_maps.push(object);
                }
            }
            "Secret" => {
                if let Some(object) = self.typed(origin, node, true, validate::secret) {
                    self.manifest.secrets.push(object);
                }
            }
            "PersistentVolumeClaim" => {
                if let Some(object) = self.typed(origin, node, false, validate::claim) {
                    self.manifest.claims.push(object);
                }
            }
            _ => self.list(origin, node, depth),
        }
    }

    /// Takes the items of a List; Lists inside Lists are as deep at most as the document is.
    fn list(&mut self, mut origin: Origin, mut node: Node, depth: usize) {
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
            Some(Value::List(items)) if depth < MANIFEST_DEPTH_MAX => {
                for (index, item) in std::mem::take(items).into_iter().enumerate() {
                    let base = FieldPath(origin.base.0.iter().cloned().chain(FieldPath::of("items").index(index).0).collect());
                    self.object(origin.document, base, item, depth + 1);
                }
            }
            Some(_) => problems.push(Problem::new(FieldPath::of("items"), "must be a list")),
        }
        origin.node = Some(node);
        self.report.take(&origin, problems);
    }

    /// Takes an object that pods refer to; `conceal` keeps its values out of messages.
    fn typed<T: DeserializeOwned>(
        &mut self,
        mut origin: Origin,
        node: Node,
        conceal: bool,
        check: fn(&T) -> Problems,
    ) -> Option<Object<T>> {
        let reading = typed::read::<T>(&node, conceal);
        let mut problems = Problems::default();
        let whole = reading.mistyped.is_empty();
        problems.extend(reading.mistyped.into_iter().chain(reading.unknown));
        let (warnings, refused) = support::review(&reading.set);
        problems.extend(refused);
        let value = reading.object.filter(|_| whole);
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

    fn pod(&mut self, mut origin: Origin, node: &Node) {
        let reading = typed::read::<Pod>(node, false);
        let mut problems = Problems::default();
        let whole = reading.mistyped.is_empty();
        problems.extend(reading.mistyped.into_iter().chain(reading.unknown));
        let (warnings, refused) = support::review(&reading.set);
        problems.extend(refused);
        if let Some(mut pod) = reading.object.filter(|_| whole) {
            defaults::pod(&mut pod);
            problems.extend(validate::pod(&pod).into_listed());
            origin.name.clone_from(&pod.metadata.name);
            self.report.take(&origin, problems);
            self.manifest.pods.push(Object { origin, value: pod, warnings });
        } else {
            self.report.take(&origin, problems);
        }
    }
}

/// Whether an object of this kind can be taken at all.
fn check_kind(kind: &str, node: &Node) -> Result<(), Problem> {
    if !matches!(node.value, Value::Map(_)) {
        let problem = Problem::new(FieldPath::default(), "is not an object");
        return Err(problem.hint("a manifest has the fields apiVersion, kind, metadata and spec"));
    }
    let path = FieldPath::of("kind");
    let version = node.get("apiVersion").and_then(Node::text).unwrap_or_default();
    if kind.is_empty() {
        return Err(Problem::required(path).hint("write kind: Pod, ConfigMap or Secret"));
    }
    if !KINDS.contains(&kind) {
        return Err(unknown_kind(path, kind, version));
    }
    match version {
        "v1" => Ok(()),
        "" => Err(Problem::required(FieldPath::of("apiVersion")).hint("write apiVersion: v1")),
        version => Err(Problem::unsupported(FieldPath::of("apiVersion"), version, &["v1"])),
    }
}

fn unknown_kind(path: FieldPath, kind: &str, version: &str) -> Problem {
    let group = if version.is_empty() { String::new() } else { format!(" ({version})") };
    let problem = Problem::new(path, format!("{kind}{group} is not supported yet"));
    match kind {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicationController" => {
            problem.hint("write its spec.template as a Pod: apiVersion: v1, kind: Pod, then its metadata and spec")
        }
        "PodList" | "ConfigMapList" | "SecretList" => problem.hint("write kind: List, and the kind of each item"),
        _ => match closest(kind, KINDS) {
            Some(known) => problem.hint(format!("did you mean {known:?}?")),
            None => problem.hint("wasmpod reads Pod, ConfigMap, Secret, PersistentVolumeClaim and List"),
        },
    }
}

/// The fields that a pod made in code or read from a text sets.
///
/// # Errors
/// [`Internal`](crate::ErrorKind::Internal) if the pod cannot be written as JSON.
pub(super) fn fields_set(pod: &Pod) -> Result<Vec<SetField>> {
    let json = serde_json::to_value(pod).map_err(|error| Error::internal("the pod cannot be written as JSON").because(error))?;
    Ok(typed::read::<Pod>(&Node::from(json), false).set)
}
