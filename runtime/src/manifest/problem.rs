//! What is wrong with a manifest, and where: field paths in Kubernetes' spelling, problems, and the error made of them.
//!
//! One problem is an error with the subject `pod.yaml:7:5: Pod "web": spec.containers[0].image`; several are one error that
//! lists them, one a line, so that a manifest is repaired in one go.

use super::node::{Node, Position};
use crate::limits::MANIFEST_PROBLEMS_MAX;
use crate::{Error, ErrorKind};
use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// One step into an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// A field of an object with known fields: `.image`.
    Field(Cow<'static, str>),
    /// An element of a list: `[0]`.
    Index(usize),
    /// A key of a map: `[app.kubernetes.io/name]`.
    Key(String),
}

/// The way to a field: `spec.containers[0].env[2].valueFrom`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldPath(pub(super) Vec<Step>);

impl FieldPath {
    /// The path of the fields in `dotted`, such as `spec.containers`.
    pub(super) fn of(dotted: &'static str) -> Self {
        Self::default().field(dotted)
    }

    /// The path that is written `spec.volumes[0].hostPath`; what is no number in brackets is a key.
    pub(super) fn parse(text: &str) -> Self {
        let mut steps = Vec::new();
        for part in text.split('.').filter(|part| !part.is_empty()) {
            let mut pieces = part.split('[');
            steps.extend(pieces.next().filter(|name| !name.is_empty()).map(|name| Step::Field(Cow::Owned(name.to_owned()))));
            steps.extend(pieces.map(|piece| piece.trim_end_matches(']')).map(|piece| match piece.parse() {
                Ok(index) => Step::Index(index),
                Err(_) => Step::Key(piece.to_owned()),
            }));
        }
        Self(steps)
    }

    /// This path and the fields in `dotted` below it.
    pub(super) fn field(&self, dotted: &'static str) -> Self {
        let steps = dotted.split('.').map(|name| Step::Field(Cow::Borrowed(name)));
        Self(self.0.iter().cloned().chain(steps).collect())
    }

    /// The element `index` of the list at this path.
    pub(super) fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    /// The value of `key` in the map at this path.
    pub(super) fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }

    /// The field `name`, which a manifest made up, below this path.
    pub(super) fn named(&self, name: &str) -> Self {
        self.with(Step::Field(Cow::Owned(name.to_owned())))
    }

    /// The paths that lead here, the outermost first; this one is not among them.
    pub(super) fn parents(&self) -> impl Iterator<Item = &[Step]> {
        (1..self.0.len()).filter_map(|length| self.0.get(..length))
    }

    fn with(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if position == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => write!(f, "[{key}]")?,
            }
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Problem {
    /// The field.
    pub(super) path: FieldPath,
    /// What is wrong with it, in Kubernetes' words.
    pub(super) message: String,
    /// What the reader can do about it.
    pub(super) hint: Option<String>,
    /// What sort of error it is when it is the only one.
    pub(super) kind: ErrorKind,
    /// Kubernetes' word for it, where it is not simply invalid.
    pub(super) reason: Option<&'static str>,
    /// Where it stands, if that is known already; else the place is looked up by the path.
    pub(super) position: Option<Position>,
}

impl Problem {
    pub(super) fn new(path: FieldPath, message: impl Into<String>) -> Self {
        Self { path, message: message.into(), hint: None, kind: ErrorKind::Invalid, reason: None, position: None }
    }

    /// A field that must be there and is not.
    pub(super) fn required(path: FieldPath) -> Self {
        Self::new(path, "Required value")
    }

    /// A value that breaks a rule.
    pub(super) fn invalid(path: FieldPath, value: impl fmt::Debug, rule: impl fmt::Display) -> Self {
        Self::new(path, format!("Invalid value: {value:?}: {rule}"))
    }

    /// A value that must be unique and is not; `of` says what has it already.
    pub(super) fn duplicate(path: FieldPath, value: impl fmt::Debug, of: &str) -> Self {
        let of = if of.is_empty() { String::new() } else { format!(": {of}") };
        Self::new(path, format!("Duplicate value: {value:?}{of}"))
    }

    /// A reference that leads nowhere.
    pub(super) fn not_found(path: FieldPath, name: &str) -> Self {
        Self::new(path, format!("Not found: {name:?}"))
    }

    /// A value that is none of those that are known.
    pub(super) fn unsupported(path: FieldPath, value: &str, known: &[&str]) -> Self {
        let list = known.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        let problem = Self::new(path, format!("Unsupported value: {value:?}: supported values: {list}"));
        match super::similar::closest(value, known.iter().copied()) {
            Some(name) => problem.hint(format!("did you mean {name:?}?")),
            None => problem,
        }
    }

    /// Something that is not allowed here.
    pub(super) fn forbidden(path: FieldPath, why: impl fmt::Display) -> Self {
        Self::new(path, format!("Forbidden: {why}"))
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(super) fn reason(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    #[must_use]
    pub(super) fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }
}

/// The problems of one object, in the order of their discovery: the first [`MANIFEST_PROBLEMS_MAX`] and the number of all.
#[derive(Clone, Debug, Default)]
pub(super) struct Problems {
    listed: Vec<Problem>,
    count: usize,
}

impl Problems {
    pub(super) fn push(&mut self, problem: Problem) {
        self.count += 1;
        if self.listed.len() < MANIFEST_PROBLEMS_MAX {
            self.listed.push(problem);
        }
    }

    /// Adds the problem, if there is one.
    pub(super) fn check(&mut self, result: Result<(), Problem>) {
        if let Err(problem) = result {
            self.push(problem);
        }
    }

    pub(super) fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        problems.into_iter().for_each(|problem| self.push(problem));
    }

    /// Whether no further problem would be listed: time to stop looking for them.
    pub(super) fn is_full(&self) -> bool {
        self.listed.len() == MANIFEST_PROBLEMS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The problems that are listed.
    pub(super) fn into_listed(self) -> Vec<Problem> {
        self.listed
    }
}

/// Where an object comes from: what an error says before the field path.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The number of its document in the stream, from 1.
    pub(super) document: usize,
    /// Its kind.
    pub(super) kind: String,
    /// Its name, where it has one.
    pub(super) name: Option<String>,
    /// The path from the document to the object: `items[3]` inside a List.
    pub(super) base: FieldPath,
    /// Its tree, to look up lines; none for an object that was made in code.
    pub(super) node: Option<Node>,
}

impl Origin {
    fn describe(&self, documents: usize) -> String {
        let mut text = String::new();
        if documents > 1 {
            let _ = write!(text, "document {}", self.document);
        }
        if !self.kind.is_empty() {
            let separator = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{separator}{}", self.kind);
        }
        if let Some(name) = &self.name {
            let _ = write!(text, " {name:?}");
        }
        text
    }
}

/// `pod.yaml:7:5: document 2, Pod "web": spec.containers[0].image`: where the field at `path` of the object from `origin` stands.
///
/// The position is looked up where none is given; the number of the document is told when there are several.
pub(super) fn subject(source: &str, documents: usize, origin: &Origin, path: &FieldPath, position: Option<Position>) -> String {
    let mut subject = source.to_owned();
    if let Some(position) = position.or_else(|| origin.node.as_ref().map(|node| node.locate(path))) {
        let _ = write!(subject, ":{position}");
    }
    let path = FieldPath(origin.base.0.iter().chain(&path.0).cloned().collect()).to_string();
    for part in [origin.describe(documents), path] {
        if !part.is_empty() {
            let _ = write!(subject, ": {part}");
        }
    }
    subject
}

/// Gathers the problems of all objects of a manifest and makes the one error of them.
#[derive(Debug)]
pub(super) struct Report<'a> {
    source: &'a str,
    /// How many documents the stream has; their numbers are only told when there are several.
    documents: usize,
    lines: Vec<Line>,
    count: usize,
}

#[derive(Debug)]
struct Line {
    subject: String,
    problem: Problem,
}

impl<'a> Report<'a> {
    pub(super) fn new(source: &'a str, documents: usize) -> Self {
        Self { source, documents, lines: Vec::new(), count: 0 }
    }

    /// Takes the problems of the object from `origin`.
    pub(super) fn take(&mut self, origin: &Origin, problems: Problems) {
        self.count += problems.count;
        let locate = |problem: Problem| {
            let position = problem.position.or_else(|| origin.node.as_ref().map(|node| node.locate(&problem.path)));
            (position, problem)
        };
        let mut located: Vec<_> = problems.listed.into_iter().map(locate).collect();
        located.sort_by_key(|(position, _)| *position);
        for (position, problem) in located {
            if self.lines.len() == MANIFEST_PROBLEMS_MAX {
                return;
            }
            let subject = subject(self.source, self.documents, origin, &problem.path, position);
            self.lines.push(Line { subject, problem });
        }
    }

    /// Nothing, if there was no problem; else the error that tells them all.
    pub(super) fn finish(mut self) -> crate::Result<()> {
        let reason = self.lines.first().and_then(|line| line.problem.reason);
        let error = match (self.lines.pop(), self.count) {
            (None, _) => return Ok(()),
            (Some(line), 1) => {
                let error = Error::new(line.problem.kind, line.problem.message).at(line.subject);
                if let Some(hint) = line.problem.hint { error.hint(hint) } else { error }
            }
            (Some(last), _) => {
                self.lines.push(last);
                self.list()
            }
        };
        Err(if let Some(reason) = reason { error.with_reason(reason) } else { error })
    }

    fn list(&self) -> Error {
        let mut message = format!("{} problems", self.count);
        for Line { subject, problem } in &self.lines {
            let _ = write!(message, "\n  {subject}: {}", problem.message);
            if let Some(hint) = &problem.hint {
                let _ = write!(message, " ({hint})");
            }
        }
        let rest = self.count.saturating_sub(self.lines.len());
        if rest > 0 {
            let _ = write!(message, "\n  and {rest} more");
        }
        Error::new(ErrorKind::Invalid, message).at(self.source)
    }
}
