//! From the tree of a document to Kubernetes' own types, strictly.
//!
//! `k8s-openapi` reads any object and forgets what it does not know. It tells the deserializer the names of the fields of each type
//! though, so the strictness is here: a key that is no field is a problem with its path and the word that was probably meant. The same
//! names tell [`support`](super::support) which fields an object sets.
//!
//! A value of a wrong type ends serde's pass. It is then taken for absent and the object is read again, so that one reading
//! tells all such values.

use super::node::{Entry, Node, Position, Value};
use super::problem::{FieldPath, Problem, Step};
use super::similar::closest;
use crate::limits::{MANIFEST_KNOWN_FIELDS_LISTED_MAX, MANIFEST_PROBLEMS_MAX, MANIFEST_TYPE_ERRORS_MAX};
use serde::de::{self, Deserialize, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

/// What one reading of an object yields.
#[derive(Debug)]
pub(super) struct Reading<T> {
    /// The object, unless a value of a wrong type stands where the whole would make no sense.
    pub(super) object: Option<T>,
    /// Values of wrong types: the object lacks them.
    pub(super) mistyped: Vec<Problem>,
    /// Keys that are no fields.
    pub(super) unknown: Vec<Problem>,
    /// The fields that are set.
    pub(super) set: Vec<SetField>,
}

/// A field that an object sets.
#[derive(Clone, Debug)]
pub(super) struct SetField {
    /// The type that has the field: `Container`.
    pub(super) owner: &'static str,
    /// The field: `livenessProbe`.
    pub(super) field: &'static str,
    /// Where it is: `spec.containers[0].livenessProbe`.
    pub(super) path: FieldPath,
    /// Its value, if that is a text.
    pub(super) text: Option<String>,
    /// The keys of its value, if that is an object or a map.
    pub(super) keys: Vec<String>,
    /// Whether its value says the same as leaving it out.
    pub(super) zero: bool,
}

/// Reads `node` as a `T`; `conceal` keeps the values of a Secret out of messages.
pub(super) fn read<T: for<'de> Deserialize<'de>>(node: &Node, conceal: bool) -> Reading<T> {
    let mut mistyped: Vec<Mistyped> = Vec::new();
    loop {
        let session = Session { conceal, absent: mistyped.iter().map(|error| error.node).collect(), ..Session::default() };
        let result = T::deserialize(Reader { node, link: &Link::Root, session: &session });
        let unknown = session.unknown.into_inner();
        let set = session.set.into_inner();
        let object = match result {
            Ok(object) => Some(object),
            Err(error) => {
                let repeated = mistyped.iter().any(|known| known.node == error.node);
                if !repeated {
                    mistyped.push(error);
                    if mistyped.len() < MANIFEST_TYPE_ERRORS_MAX {
                        continue;
                    }
                }
                None
            }
        };
        return Reading { object, mistyped: mistyped.into_iter().map(Mistyped::into_problem).collect(), unknown, set };
    }
}

/// What one pass notes down.
#[derive(Default)]
struct Session {
    conceal: bool,
    /// The values that have turned out to be of a wrong type, by their address.
    absent: Vec<usize>,
    unknown: RefCell<Vec<Problem>>,
    set: RefCell<Vec<SetField>>,
}

/// The way down to a value, kept on the stack: most values need no path.
enum Link<'a> {
    Root,
    Field(&'a Link<'a>, &'a str),
    Key(&'a Link<'a>, &'a str),
    Index(&'a Link<'a>, usize),
}

impl Link<'_> {
    fn path(&self) -> FieldPath {
        let mut steps = Vec::new();
        let mut link = self;
        loop {
            link = match link {
                Link::Root => break,
                Link::Field(parent, name) => {
                    steps.push(Step::Field(Cow::Owned((*name).to_owned())));
                    parent
                }
                Link::Key(parent, name) => {
                    steps.push(Step::Key((*name).to_owned()));
                    parent
                }
                Link::Index(parent, index) => {
                    steps.push(Step::Index(*index));
                    parent
                }
            };
        }
        steps.reverse();
        FieldPath(steps)
    }
}

/// A value of a wrong type.
#[derive(Debug)]
struct Mistyped {
    message: String,
    hint: Option<String>,
    path: FieldPath,
    position: Position,
    /// The address of the value; 0 as long as it is not known.
    node: usize,
}

impl Mistyped {
    fn into_problem(self) -> Problem {
        let problem = Problem::new(self.path, self.message).at(self.position);
        if let Some(hint) = self.hint { problem.hint(hint) } else { problem }
    }
}

impl fmt::Display for Mistyped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl std::error::Error for Mistyped {}

impl de::Error for Mistyped {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), hint: None, path: FieldPath::default(), position: Position::default(), node: 0 }
    }
}

/// The deserializer of one value.
#[derive(Clone, Copy)]
struct Reader<'de, 'p> {
    node: &'de Node,
    link: &'p Link<'p>,
    session: &'p Session,
}

impl<'de> Reader<'de, '_> {
    fn address(&self) -> usize {
        std::ptr::from_ref(self.node).addr()
    }

    /// The value; null, if it has turned out to be of a wrong type.
    fn value(&self) -> &'de Value {
        if self.session.absent.contains(&self.address()) { &Value::Null } else { &self.node.value }
    }

    /// Says that this value is not what the field needs.
    fn mistyped(&self, expected: &str) -> Mistyped {
        let hint = match (expected, &self.node.value) {
            ("a string", Value::Bool(_) | Value::Signed(_) | Value::Unsigned(_) | Value::Float(_)) => Some("put it in quotes"),
            ("a list", Value::Map(_)) => Some("begin each element of a list with \"- \""),
            _ => None,
        };
        let message = format!("must be {expected}, not {}", self.describe());
        Mistyped { hint: hint.map(str::to_owned), ..self.place(de::Error::custom(message)) }
    }

    /// Gives the error of a visitor its place, if it has none yet.
    fn place(&self, error: Mistyped) -> Mistyped {
        if error.node != 0 {
            return error;
        }
        Mistyped { path: self.link.path(), position: self.node.position, node: self.address(), ..error }
    }

    fn describe(&self) -> String {
        let concealed = self.session.conceal;
        match &self.node.value {
            Value::Null => "empty".to_owned(),
            Value::Bool(_) if concealed => "a boolean".to_owned(),
            Value::Signed(_) | Value::Unsigned(_) | Value::Float(_) if concealed => "a number".to_owned(),
            Value::Text(_) if concealed => "a string".to_owned(),
            Value::Bool(truth) => format!("the boolean {truth}"),
            Value::Signed(number) => format!("the number {number}"),
            Value::Unsigned(number) => format!("the number {number}"),
            Value::Float(number) => format!("the number {number}"),
            Value::Text(text) if text.len() > 40 => "a long string".to_owned(),
            Value::Text(text) => format!("the string {text:?}"),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "an object".to_owned(),
        }
    }

    /// The number, if this is a whole one from `min` to `max`.
    fn whole(&self, min: i64, max: u64) -> Result<i128, Mistyped> {
        let number = match self.value() {
            Value::Signed(number) => i128::from(*number),
            Value::Unsigned(number) => i128::from(*number),
            _ => return Err(self.mistyped("a whole number")),
        };
        if number < i128::from(min) || number > i128::from(max) {
            return Err(self.mistyped(&format!("a number from {min} to {max}")));
        }
        Ok(number)
    }

    /// Notes the keys of an object that are not among its type's fields, and the fields that are.
    fn check_fields(&self, owner: &'static str, fields: &'static [&'static str], entries: &[Entry]) {
        for entry in entries {
            let path = Link::Field(self.link, &entry.key).path();
            let null = matches!(entry.node.value, Value::Null);
            match fields.iter().find(|field| **field == entry.key) {
                // A field that is null is not there.
                Some(_) if null => {}
                Some(field) => self.session.set.borrow_mut().push(SetField {
                    owner,
                    field,
                    path,
                    text: entry.node.text().filter(|_| !self.session.conceal).map(str::to_owned),
                    keys: entry.node.keys(),
                    zero: entry.node.is_zero(),
                }),
                None => {
                    let mut problem = Problem::new(path, "unknown field").at(entry.position);
                    let mut unknown = self.session.unknown.borrow_mut();
                    if unknown.len() < MANIFEST_PROBLEMS_MAX {
                        problem.hint = field_hint(&entry.key, fields);
                    }
                    unknown.push(problem);
                }
            }
        }
    }
}

fn field_hint(key: &str, fields: &'static [&'static str]) -> Option<String> {
    if let Some(field) = closest(key, fields.iter().copied()) {
        return Some(format!("did you mean {field:?}?"));
    }
    (fields.len() <= MANIFEST_KNOWN_FIELDS_LISTED_MAX).then(|| format!("the fields here are {}", fields.join(", ")))
}

/// The whole-number methods of a [`Deserializer`]: a check of the range, then the visitor.
macro_rules! deserialize_whole_numbers {
    ($($method:ident $visit:ident $type:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistyped> {
            let number = self.whole(i64::try_from(<$type>::MIN).unwrap_or(i64::MIN), u64::try_from(<$type>::MAX).unwrap_or(u64::MAX))?;
            let number = <$type>::try_from(number).map_err(|_| self.mistyped("a smaller number"))?;
            visitor.$visit(number).map_err(|error| self.place(error))
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'de, '_> {
    type Error = Mistyped;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistyped> {
        match self.value() {
            Value::Null => visitor.visit_unit(),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Signed(number) => visitor.visit_i64(*number),
            Value::Unsigned(number) => visitor.visit_u64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(_) => return self.deserialize_seq(visitor),
            Value::Map(_) => return self.deserialize_map(visitor),
        }
        .map_err(|_: Mistyped| self.mistyped("a number or a string"))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistyped> {
        match self.value() {
            Value::Bool(truth) => visitor.visit_bool(*truth),
            // The parser of Kubernetes reads YAML 1.1.
            Value::Text(text) => match text.to_ascii_lowercase().as_str() {
                "yes" | "y" | "on" => visitor.visit_bool(true),
                "no" | "n" | "off" => visitor.visit_bool(false),
                _ => Err(self.mistyped("true or false")),
            },
            _ => Err(self.mistyped("true or false")),
        }
    }

    deserialize_whole_numbers! {
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistyped> {
        match self.value() {
            Value::Float(number) => visitor.visit_f64(*number),
            _ => Err(self.mistyped("a number")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistyped> {
        match self.value() {
            Value::Text(text) => visitor.visit_borrowed_str(text).map_err(|error| self.place(error)),
            _ => Err(self.mistyped("a string")),
        }
    }

    /// Base64 data and times, the only values that `k8s-openapi` reads so. Base64 may be broken into lines, as Kubernetes allows.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistyped> {
        match self.value() {
            Value::Text(text) if text.contains(['\n', '\r']) => visitor.visit_string(text.replace(['\n', '\r'], "")),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            _ => return Err(self.mistyped("a string")),
        }
        .map_err(|error: Mistyped| {
            let message = if self.session.conceal { "is not base64".to_owned() } else { error.message };
            self.place(de::Error::custom(message))
        })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistyped> {
        match self.value() {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Mistyped> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistyped> {
        let Value::List(items) = self.value() else { return Err(self.mistyped("a list")) };
        visitor.visit_seq(Items { reader: self, items, next: 0 })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistyped> {
        let Value::Map(entries) = self.value() else { return Err(self.mistyped("an object")) };
        visitor.visit_map(Entries { reader: self, entries, next: 0, fields: false })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistyped> {
        let Value::Map(entries) = self.value() else { return Err(self.mistyped("an object")) };
        self.check_fields(name, fields, entries);
        visitor.visit_map(Entries { reader: self, entries, next: 0, fields: true })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistyped> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 u8 u16 f32 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

/// The elements of a list, in turn.
struct Items<'de, 'p> {
    reader: Reader<'de, 'p>,
    items: &'de [Node],
    next: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'de, '_> {
    type Error = Mistyped;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mistyped> {
        let Some(node) = self.items.get(self.next) else { return Ok(None) };
        let link = Link::Index(self.reader.link, self.next);
        self.next += 1;
        seed.deserialize(Reader { node, link: &link, session: self.reader.session }).map(Some)
    }
}

/// The entries of an object or a map, in turn.
struct Entries<'de, 'p> {
    reader: Reader<'de, 'p>,
    entries: &'de [Entry],
    next: usize,
    /// Whether the keys are the fields of a known type.
    fields: bool,
}

impl<'de> de::MapAccess<'de> for Entries<'de, '_> {
    type Error = Mistyped;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mistyped> {
        match self.entries.get(self.next) {
            Some(entry) => seed.deserialize(entry.key.as_str().into_deserializer()).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mistyped> {
        let Some(entry) = self.entries.get(self.next) else { return Err(de::Error::custom("a value without a key")) };
        self.next += 1;
        let link = match self.fields {
            true => Link::Field(self.reader.link, &entry.key),
            false => Link::Key(self.reader.link, &entry.key),
        };
        seed.deserialize(Reader { node: &entry.node, link: &link, session: self.reader.session })
    }
}
