//! The tree of a YAML or JSON document, each value with its line and column.
//!
//! Kubernetes' types drop what they do not know and forget where it stood; this tree keeps both, so that a field that nobody knows is
//! an error and every error has a line. The rules are those of Kubernetes' own parser where it differs from YAML 1.2: `0644` is octal,
//! and `yes` and `on` are taken for booleans, though only where a boolean is wanted: `value: no` is the text that it seems to be.

use super::problem::{FieldPath, Origin, Problem, Problems, Report, Step};
use crate::limits::{
    MANIFEST_ALIASES_MAX, MANIFEST_BYTES_MAX, MANIFEST_DEPTH_MAX, MANIFEST_DOCUMENTS_MAX, MANIFEST_NODES_MAX,
    MANIFEST_TEXT_BYTES_MAX,
};
use crate::{Error, ErrorKind, Result};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{DefaultMessageFormatter, MessageFormatter, Spanned};
use std::fmt;

/// A place in the text, counted from 1; the line is 0 for a value that was made in code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    line: u64,
    column: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl From<serde_saphyr::Location> for Position {
    fn from(location: serde_saphyr::Location) -> Self {
        Self { line: location.line(), column: location.column() }
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) position: Position,
    pub(super) value: Value,
}

/// What YAML and JSON can say.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map with its value; keys are unique in their map.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) position: Position,
    pub(super) node: Node,
}

impl Node {
    /// The value of `key`, if this is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The text, if this is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The keys, if this is an object or a map.
    pub(super) fn keys(&self) -> Vec<String> {
        match &self.value {
            Value::Map(entries) => entries.iter().map(|entry| entry.key.clone()).collect(),
            _ => Vec::new(),
        }
    }

    /// Where the field at `path` stands, or the innermost object around it that exists.
    pub(super) fn locate(&self, path: &FieldPath) -> Position {
        let mut node = self;
        let mut position = self.position;
        for step in &path.0 {
            let next = match (step, &node.value) {
                (Step::Index(index), Value::List(items)) => items.get(*index).map(|item| (item, item.position)),
                (Step::Field(name), _) => node.entry(name).map(|entry| (&entry.node, entry.position)),
                (Step::Key(name), _) => node.entry(name).map(|entry| (&entry.node, entry.position)),
                (Step::Index(_), _) => None,
            };
            let Some((next, found)) = next else { break };
            (node, position) = (next, found);
        }
        position
    }

    /// Whether it says nothing: null, false, zero, or an empty text, list or map, which all mean the same as leaving the field out.
    pub(super) fn is_zero(&self) -> bool {
        match &self.value {
            Value::Null | Value::Bool(false) | Value::Signed(0) | Value::Unsigned(0) => true,
            Value::Bool(true) | Value::Signed(_) | Value::Unsigned(_) => false,
            Value::Float(number) => *number == 0.0,
            Value::Text(text) => text.is_empty(),
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
        }
    }
}

impl From<serde_json::Value> for Node {
    /// The tree of an object that was made in code; it has no lines.
    fn from(json: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(truth) => Value::Bool(truth),
            Json::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => Value::Unsigned(number),
                (None, Some(number)) => Value::Signed(number),
                (None, None) => Value::Float(number.as_f64().unwrap_or_default()),
            },
            Json::String(text) => Value::Text(text),
            Json::Array(items) => Value::List(items.into_iter().map(Node::from).collect()),
            Json::Object(fields) => Value::Map(
                fields
                    .into_iter()
                    .map(|(key, value)| Entry { key, position: Position::default(), node: Node::from(value) })
                    .collect(),
            ),
        };
        Self { position: Position::default(), value }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { position: spanned.referenced.into(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or(Value::Signed(value), Value::Unsigned))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            map.push(Entry { key: key.value, position: key.referenced.into(), node: entries.next_value()? });
        }
        Ok(Value::Map(map))
    }
}

/// The text of a manifest, from its bytes.
pub(super) fn text<'a>(bytes: &'a [u8], source: &str) -> Result<&'a str> {
    check_size(bytes.len(), source)?;
    std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Error::invalid("the text is not UTF-8").at(format!("{source}:{line}")).hint("a manifest is a text file in YAML or JSON")
    })
}

fn check_size(bytes: usize, source: &str) -> Result<()> {
    if bytes <= MANIFEST_BYTES_MAX {
        return Ok(());
    }
    let message = format!("the manifest has {bytes} bytes; at most {MANIFEST_BYTES_MAX} are read");
    Err(Error::limit(message).at(source).hint("split it into several manifests, or put large data into a hostPath volume"))
}

/// The documents of a manifest, those left out that say nothing.
pub(super) fn documents(text: &str, source: &str) -> Result<Vec<Node>> {
    check_size(text.len(), source)?;
    serde_saphyr::from_multiple_with_options(text, options()).map_err(|error| stream_error(&error, text, source))
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(MANIFEST_BYTES_MAX),
            max_documents: MANIFEST_DOCUMENTS_MAX,
            max_depth: MANIFEST_DEPTH_MAX,
            flow_nesting_limit: MANIFEST_DEPTH_MAX,
            max_nodes: MANIFEST_NODES_MAX,
            // A value is one event, or two and its parts; a document adds two.
            max_events: 2 * MANIFEST_NODES_MAX + 2 * MANIFEST_DOCUMENTS_MAX,
            max_total_scalar_bytes: MANIFEST_TEXT_BYTES_MAX,
            max_aliases: MANIFEST_ALIASES_MAX,
            max_anchors: MANIFEST_ALIASES_MAX,
            max_merge_keys: MANIFEST_ALIASES_MAX,
            max_recorded_anchor_events: MANIFEST_NODES_MAX,
            max_recorded_anchor_bytes: MANIFEST_TEXT_BYTES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MANIFEST_NODES_MAX, max_replay_stack_depth: 16 },
        emit_comments: false,
        with_snippet: false,
        legacy_octal_numbers: true,
        strict_booleans: true,
        reject_unsupported_tags: true,
    }
}

/// The one error of a text that is not YAML, with the line, the number of the document and, where it is clear, what to do.
fn stream_error(error: &serde_saphyr::Error, text: &str, source: &str) -> Error {
    use serde_saphyr::Error as Yaml;
    let error = error.without_snippet();
    let position = error.location().map(Position::from).filter(|position| position.line > 0);
    if let Some(message) = limit_message(error) {
        let at = position.map_or_else(|| source.to_owned(), |position| format!("{source}:{position}"));
        return Error::new(ErrorKind::Limit, message).at(at);
    }
    let (message, hint) = match error {
        Yaml::DuplicateMappingKey { key: Some(key), .. } => {
            (format!("the key {key:?} appears twice in the same object"), Some("keep one of the two".to_owned()))
        }
        Yaml::RecursiveReferencesRequireWeakTypes { .. } => ("an alias stands for a value that contains it".to_owned(), None),
        Yaml::NonFiniteFloat { value, .. } => (format!("{value} is not a number that a manifest can hold"), None),
        _ => (DefaultMessageFormatter.format_message(error).into_owned(), syntax_hint(text, position)),
    };
    let mut problem = Problem::new(FieldPath::default(), message);
    problem.hint = hint;
    problem.position = position;
    let (document, documents) = document_of(text, position);
    let origin = Origin { document, kind: String::new(), name: None, base: FieldPath::default(), node: None };
    let mut problems = Problems::default();
    problems.push(problem);
    let mut report = Report::new(source, documents);
    report.take(&origin, problems);
    report.finish().err().unwrap_or_else(|| Error::internal("a YAML error without a problem"))
}

/// What limit the text went over, if that is what stopped it.
fn limit_message(error: &serde_saphyr::Error) -> Option<String> {
    use serde_saphyr::Error as Yaml;
    let aliases = || format!("the aliases of the manifest stand for more than {MANIFEST_NODES_MAX} values");
    let depth = || format!("values are nested more than {MANIFEST_DEPTH_MAX} deep");
    Some(match error {
        // The scanner counts the brackets on its own, and has nothing but a text to tell it.
        Yaml::ExternalMessage { msg, .. } if msg.contains("recursion limit") => depth(),
        Yaml::AliasError { error, .. } => return limit_message(error.without_snippet()),
        Yaml::Budget { breach, .. } => match breach {
            BudgetBreach::Depth { .. } => depth(),
            BudgetBreach::Documents { .. } => format!("the manifest has more than {MANIFEST_DOCUMENTS_MAX} documents"),
            BudgetBreach::Aliases { .. }
            | BudgetBreach::Anchors { .. }
            | BudgetBreach::MergeKeys { .. }
            | BudgetBreach::AliasAnchorRatio { .. } => {
                format!("the manifest has too many aliases, anchors or merges; at most {MANIFEST_ALIASES_MAX} are read")
            }
            BudgetBreach::RecordedAnchorEvents { .. } | BudgetBreach::RecordedAnchorBytes { .. } => aliases(),
            BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } => {
                format!("the manifest has more than {MANIFEST_NODES_MAX} values")
            }
            BudgetBreach::ScalarBytes { .. } => {
                format!("the texts of the manifest, its aliases expanded, have more than {MANIFEST_TEXT_BYTES_MAX} bytes")
            }
            BudgetBreach::SequenceUnbalanced => return None,
            _ => "the manifest goes over a limit of its parser".to_owned(),
        },
        Yaml::AliasReplayLimitExceeded { .. }
        | Yaml::AliasExpansionLimitExceeded { .. }
        | Yaml::AliasReplayStackDepthExceeded { .. }
        | Yaml::AliasReplayCounterOverflow { .. } => aliases(),
        _ => return None,
    })
}

fn syntax_hint(text: &str, position: Option<Position>) -> Option<String> {
    let line = usize::try_from(position?.line).ok()?;
    let indentation = text.lines().nth(line.checked_sub(1)?)?.chars().take_while(|letter| letter.is_whitespace());
    indentation.into_iter().any(|letter| letter == '\t').then(|| "indent with spaces; this line begins with a tab".to_owned())
}

/// The number of the document at `position` and the number of all documents, told by the lines that begin with `---`.
fn document_of(text: &str, position: Option<Position>) -> (usize, usize) {
    let upto = position.map_or(u64::MAX, |position| position.line);
    let (mut current, mut all, mut begun) = (1, 1, false);
    for (line, number) in text.lines().zip(1_u64..) {
        if line.starts_with("---") {
            all += usize::from(begun);
            current += usize::from(begun && number <= upto);
            begun = false;
        } else if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
            begun = true;
        }
    }
    (current, all)
}
