//! Which kinds a manifest may have, in which API version, and what is said about others.

use super::node::{Node, Value};
use super::problem::{FieldPath, Problem};
use super::similar::closest;

/// The kinds that a manifest may have, each with its API version.
const KINDS: [(&str, &str); 11] = [
    ("Pod", "v1"),
    ("Deployment", "apps/v1"),
    ("ReplicaSet", "apps/v1"),
    ("StatefulSet", "apps/v1"),
    ("DaemonSet", "apps/v1"),
    ("Job", "batch/v1"),
    ("Service", "v1"),
    ("ConfigMap", "v1"),
    ("Secret", "v1"),
    ("PersistentVolumeClaim", "v1"),
    ("List", "v1"),
];

/// What a manifest cannot do without, in hints.
const SUGGESTION: &str = "write kind: Pod, ConfigMap or Secret";

/// What becomes of an object of some kind.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is read.
    Read,
    /// It holds objects: those of a `List`, or of a `PodList`, whose items need not say what they are.
    Items(Option<&'static str>),
    /// It is one that wasmpod does not know: an error, unless such objects are to be skipped.
    Unknown(Problem),
    /// It is wrong.
    Wrong(Problem),
}

/// What becomes of the object in `node`, whose kind is `kind` (or `implied` by the list that it stands in).
pub(super) fn fate(kind: &str, node: &Node, implied: bool) -> Fate {
    if !matches!(node.value, Value::Map(_)) {
        let problem = Problem::new(FieldPath::default(), "is not an object");
        return Fate::Wrong(problem.hint("a manifest has the fields apiVersion, kind, metadata and spec"));
    }
    if kind.is_empty() {
        return Fate::Wrong(Problem::required(FieldPath::of("kind")).hint(SUGGESTION));
    }
    let version = node.get("apiVersion").and_then(Node::text).unwrap_or_default();
    let item = kind.strip_suffix("List").filter(|item| !item.is_empty());
    let item = item.and_then(|item| KINDS.iter().find(|(known, _)| *known == item));
    let Some((known, expected)) = item.or_else(|| KINDS.iter().find(|(known, _)| *known == kind)) else {
        return Fate::Unknown(unknown(kind, version));
    };
    match version {
        version if version == *expected => {}
        "" if implied => {}
        "" => {
            let problem = Problem::required(FieldPath::of("apiVersion"));
            return Fate::Wrong(problem.hint(format!("write apiVersion: {expected}")));
        }
        version => return Fate::Wrong(Problem::unsupported(FieldPath::of("apiVersion"), version, &[expected])),
    }
    match (kind, item) {
        ("List", _) => Fate::Items(None),
        (_, Some(_)) => Fate::Items(Some(known)),
        _ => Fate::Read,
    }
}

fn unknown(kind: &str, version: &str) -> Problem {
    let group = if version.is_empty() { String::new() } else { format!(" ({version})") };
    let path = FieldPath::of("kind");
    let problem = |what: &str| Problem::new(path.clone(), format!("{kind}{group} {what}"));
    match kind {
        "CronJob" => problem("is not run: wasmpod runs what a manifest has now, and keeps no calendar")
            .hint("write its spec.jobTemplate as a Job (apiVersion: batch/v1, kind: Job), and let cron or a systemd timer run it"),
        "ReplicationController" => problem("is not supported").hint("write it as a Deployment (apiVersion: apps/v1)"),
        _ => {
            let problem = problem("is not a kind that wasmpod runs");
            let known = KINDS.map(|(kind, _)| kind);
            match closest(kind, known) {
                Some(known) => problem.hint(format!("did you mean {known:?}?")),
                None => problem.hint("take it out of the manifest, or skip such objects with --ignore-unknown"),
            }
        }
    }
}
