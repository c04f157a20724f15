//! Label selectors: which objects are meant.
//!
//! Two forms say the same. The text of `-l` and of Services (`app=web,tier in (front, back),!canary`), and the object
//! `LabelSelector` of Deployments (`matchLabels`, `matchExpressions`). A selector is a list of requirements, all of which must hold; the
//! empty one selects everything. The grammar and the meaning are those of Kubernetes' `pkg/labels/selector.go`: `!=` and `notin` hold
//! for an object without the key, and values may be empty.

use super::names;
use crate::limits::SELECTOR_BYTES_MAX;
use crate::{Error, Result};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Requirements on the labels of an object, all of which must hold.
///
/// ```
/// use std::collections::BTreeMap;
/// use wasmpod::manifest::Selector;
/// let selector = Selector::parse("app in (web, shop), tier != test, !canary")?;
/// let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
/// assert!(selector.matches(&labels));
/// # Ok::<(), wasmpod::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// What the label `key` must be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    condition: Condition,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Exists,
    DoesNotExist,
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    GreaterThan(i64),
    LessThan(i64),
}

impl Selector {
    /// Reads the text of `-l`.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) at the selector: what is wrong, and at which character.
    pub fn parse(text: &str) -> Result<Self> {
        let failed = |message: String| {
            Error::invalid(message)
                .at(format!("selector {:?}", text.get(..80).unwrap_or(text)))
                .hint("write requirements such as app=web, tier!=test, env in (dev, test), canary, !canary, separated by commas")
        };
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(failed(format!("it has {} bytes; at most {SELECTOR_BYTES_MAX} are read", text.len())));
        }
        let mut parser = Parser { text, at: 0 };
        let mut requirements = Vec::new();
        while parser.peek() != Token::End {
            requirements.push(parser.requirement().map_err(failed)?);
            match parser.next() {
                Token::End => break,
                Token::Comma if parser.peek() == Token::End => {
                    return Err(failed("found nothing after the last ','; expected another requirement".to_owned()));
                }
                Token::Comma => {}
                other => return Err(failed(format!("found {other}, expected ',' or the end"))),
            }
        }
        Ok(Self { requirements })
    }

    /// The selector of labels that must be exactly these: `spec.selector` of a Service.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) at the key, for what can be no label.
    pub fn of_labels(labels: &BTreeMap<String, String>) -> Result<Self> {
        let requirement = |(key, value): (&String, &String)| {
            names::qualified_name(key).map_err(|rule| broken(key, key, rule))?;
            names::label_value(value).map_err(|rule| broken(key, value, rule))?;
            Ok(Requirement { key: key.clone(), condition: Condition::In(BTreeSet::from([value.clone()])) })
        };
        Ok(Self { requirements: labels.iter().map(requirement).collect::<Result<_>>()? })
    }

    /// The selector of a `LabelSelector` object.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) at the field below the object, such as `matchExpressions[0].operator`.
    pub fn of_object(object: &LabelSelector) -> Result<Self> {
        let labels = object.match_labels.clone().unwrap_or_default();
        let mut selector = Self::of_labels(&labels).map_err(|error| error.within("matchLabels"))?;
        for (index, expression) in object.match_expressions.iter().flatten().enumerate() {
            let field = |name: &str| format!("matchExpressions[{index}].{name}");
            let values: BTreeSet<String> = expression.values.iter().flatten().cloned().collect();
            let needs_values = matches!(expression.operator.as_str(), "In" | "NotIn");
            if needs_values == values.is_empty()
                && matches!(expression.operator.as_str(), "In" | "NotIn" | "Exists" | "DoesNotExist")
            {
                let message = match needs_values {
                    true => "Required value: must be specified when `operator` is 'In' or 'NotIn'",
                    false => "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                };
                return Err(Error::invalid(message).at(field("values")));
            }
            let condition = match expression.operator.as_str() {
                "In" => Condition::In(values),
                "NotIn" => Condition::NotIn(values),
                "Exists" => Condition::Exists,
                "DoesNotExist" => Condition::DoesNotExist,
                other => {
                    let message = format!("Invalid value: {other:?}: not a valid selector operator");
                    return Err(Error::invalid(message).at(field("operator")).hint("use In, NotIn, Exists or DoesNotExist"));
                }
            };
            let requirement = Requirement { key: expression.key.clone(), condition };
            requirement.check().map_err(|message| Error::invalid(message).at(field("key")))?;
            selector.requirements.push(requirement);
        }
        Ok(selector)
    }

    /// Whether an object with these labels is meant.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(labels))
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
}

impl std::str::FromStr for Selector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

fn broken(key: &str, value: &str, rule: String) -> Error {
    Error::invalid(format!("Invalid value: {value:?}: {rule}")).at(format!("[{key}]"))
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.condition {
            Condition::Exists => value.is_some(),
            Condition::DoesNotExist => value.is_none(),
            Condition::In(values) => value.is_some_and(|value| values.contains(value)),
            Condition::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Condition::GreaterThan(bound) => number().is_some_and(|number| number > *bound),
            Condition::LessThan(bound) => number().is_some_and(|number| number < *bound),
        }
    }

    /// Whether key and values can be those of a label.
    fn check(&self) -> Result<(), String> {
        names::qualified_name(&self.key).map_err(|rule| format!("{:?} is no label key: {rule}", self.key))?;
        if let Condition::In(values) | Condition::NotIn(values) = &self.condition {
            for value in values {
                names::label_value(value).map_err(|rule| format!("{value:?} is no label value: {rule}"))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Selector {
    /// The text form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { key, condition }) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let list = |values: &BTreeSet<String>| values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
            match condition {
                Condition::Exists => write!(f, "{key}")?,
                Condition::DoesNotExist => write!(f, "!{key}")?,
                Condition::In(values) if values.len() == 1 => write!(f, "{key}={}", list(values))?,
                Condition::In(values) => write!(f, "{key} in ({})", list(values))?,
                Condition::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", list(values))?,
                Condition::NotIn(values) => write!(f, "{key} notin ({})", list(values))?,
                Condition::GreaterThan(bound) => write!(f, "{key}>{bound}")?,
                Condition::LessThan(bound) => write!(f, "{key}<{bound}")?,
            }
        }
        Ok(())
    }
}

/// A piece of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    End,
    Comma,
    Open,
    Close,
    Not,
    Equal,
    NotEqual,
    Greater,
    Less,
    /// A key, a value, or the word of an operator: where it stands decides.
    Word(&'a str),
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::End => "the end",
            Self::Comma => "','",
            Self::Open => "'('",
            Self::Close => "')'",
            Self::Not => "'!'",
            Self::Equal => "'='",
            Self::NotEqual => "'!='",
            Self::Greater => "'>'",
            Self::Less => "'<'",
            Self::Word(word) => return write!(f, "{word:?}"),
        })
    }
}

struct Parser<'a> {
    text: &'a str,
    /// The byte from which on the text has not been read.
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.token().0
    }

    fn next(&mut self) -> Token<'a> {
        let (token, end) = self.token();
        self.at = end;
        token
    }

    /// The next token and the byte after it.
    fn token(&self) -> (Token<'a>, usize) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let start = self.at + (rest.len() - trimmed.len());
        let signs = [
            ("!=", Token::NotEqual),
            ("==", Token::Equal),
            ("=", Token::Equal),
            ("!", Token::Not),
            (">", Token::Greater),
            ("<", Token::Less),
            (",", Token::Comma),
            ("(", Token::Open),
            (")", Token::Close),
        ];
        if let Some((sign, token)) = signs.into_iter().find(|(sign, _)| trimmed.starts_with(sign)) {
            return (token, start + sign.len());
        }
        let length = trimmed.find(|letter| " \t\r\n!=><,()".contains(letter)).unwrap_or(trimmed.len());
        match trimmed.get(..length) {
            Some(word) if !word.is_empty() => (Token::Word(word), start + length),
            _ => (Token::End, start),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = self.peek() == Token::Not;
        if negated {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => key.to_owned(),
            other => return Err(format!("found {other}, expected a label key")),
        };
        let condition = match self.peek() {
            _ if negated => Condition::DoesNotExist,
            Token::End | Token::Comma => Condition::Exists,
            _ => self.condition()?,
        };
        let requirement = Requirement { key, condition };
        requirement.check()?;
        Ok(requirement)
    }

    fn condition(&mut self) -> Result<Condition, String> {
        Ok(match self.next() {
            Token::Equal => Condition::In(BTreeSet::from([self.value()?])),
            Token::NotEqual => Condition::NotIn(BTreeSet::from([self.value()?])),
            Token::Word("in") => Condition::In(self.values()?),
            Token::Word("notin") => Condition::NotIn(self.values()?),
            Token::Greater => Condition::GreaterThan(self.number()?),
            Token::Less => Condition::LessThan(self.number()?),
            other => {
                return Err(format!("found {other}, expected one of '=', '==', '!=', 'in', 'notin', '>', '<', ',' or the end"));
            }
        })
    }

    /// One value; an empty one stands where nothing does.
    fn value(&mut self) -> Result<String, String> {
        match self.peek() {
            Token::End | Token::Comma => Ok(String::new()),
            Token::Word(word) => {
                self.next();
                Ok(word.to_owned())
            }
            other => Err(format!("found {other}, expected a value")),
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        let value = self.value()?;
        value.parse().map_err(|_| format!("{value:?} is no whole number, which '>' and '<' compare with"))
    }

    /// `(a, b, c)`; between two commas there may be an empty value.
    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        match self.next() {
            Token::Open => {}
            other => return Err(format!("found {other}, expected '('")),
        }
        let mut values = BTreeSet::new();
        loop {
            let value = match self.peek() {
                Token::Comma | Token::Close => String::new(),
                _ => self.value()?,
            };
            values.insert(value);
            match self.next() {
                Token::Comma => {}
                Token::Close => return Ok(values),
                other => return Err(format!("found {other}, expected ',' or ')'")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(pairs: &str) -> BTreeMap<String, String> {
        pairs.split_whitespace().filter_map(|pair| pair.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
    }

    #[track_caller]
    fn check(selector: &str, matching: &[&str], others: &[&str]) {
        let selector = Selector::parse(selector).unwrap_or_else(|error| panic!("{error}"));
        for object in matching {
            assert!(selector.matches(&labels(object)), "{selector} selects {object}");
        }
        for object in others {
            assert!(!selector.matches(&labels(object)), "{selector} does not select {object}");
        }
    }

    #[test]
    fn every_operator() {
        check("", &["", "a=b"], &[]);
        check("x=a", &["x=a"], &["x=b", "y=a", ""]);
        check("x==a , y = b", &["x=a y=b"], &["x=a", "y=b"]);
        check("x!=a", &["x=b", "x=", ""], &["x=a"]);
        check("x in (a,b)", &["x=a", "x=b"], &["x=c", ""]);
        check("x notin (a, b)", &["x=c", ""], &["x=a", "x=b"]);
        check("x", &["x=a", "x="], &["y=a", ""]);
        check("!x", &["", "y=a"], &["x=a", "x="]);
        check("x>1,x<5", &["x=2", "x=4"], &["x=1", "x=5", "x=two", ""]);
        check("x>-2", &["x=-1"], &["x=-2"]);
    }

    /// The example of Kubernetes' documentation of the grammar: values may be empty, in lists and after the sign.
    #[test]
    fn values_may_be_empty() {
        check("x in (foo,,baz),y,z notin ()", &["x=foo y=1", "x= y=1", "x=baz y= z=a"], &["x=bar y=1", "x=foo", "x=foo y=1 z="]);
        check("x=,y", &["x= y=a"], &["x=a y=a", "y=a"]);
        check("x!=", &["x=a", ""], &["x="]);
    }

    #[test]
    fn words_are_operators_only_in_their_place() {
        check("in in (in,notin)", &["in=in", "in=notin"], &["in=x"]);
        check("notin,in=in", &["notin=a in=in"], &["in=in"]);
        check("example.com/app in (a)", &["example.com/app=a"], &["app=a"]);
    }

    #[test]
    fn what_is_no_selector_is_named() {
        let said = |text: &str| Selector::parse(text).unwrap_err().chain();
        let texts = [
            "x=a,",
            ",x",
            "x a",
            "x=a b",
            "x in a",
            "x in (a",
            "x in (a b)",
            "x>a",
            "=a",
            "!x=a",
            "x==a=b",
            "-x",
            "x=a/b",
            "(",
            "x!a",
            "!",
            "ä=b",
        ];
        let all: Vec<String> = texts.iter().map(|text| said(text)).collect();
        insta::assert_snapshot!(all.join("\n"));
        assert!(said(&"x,".repeat(100_000)).ends_with("it has 200000 bytes; at most 65536 are read"));
    }

    fn object(json: serde_json::Value) -> Result<Selector> {
        Selector::of_object(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn objects_say_the_same() {
        let selector = object(serde_json::json!({
            "matchLabels": {"app": "web", "tier": ""},
            "matchExpressions": [
                {"key": "env", "operator": "In", "values": ["dev", "test"]},
                {"key": "old", "operator": "DoesNotExist"},
                {"key": "new", "operator": "Exists", "values": []},
                {"key": "zone", "operator": "NotIn", "values": ["a"]},
            ],
        }));
        let text = "app=web,tier=,env in (dev,test),!old,new,zone!=a";
        assert_eq!(selector.unwrap(), Selector::parse(text).unwrap());
        assert_eq!(Selector::parse(text).unwrap().to_string(), text);
        assert!(object(serde_json::json!({})).unwrap().is_empty());
    }

    #[test]
    fn bad_objects_are_told_by_their_field() {
        let said =
            |expression: serde_json::Value| object(serde_json::json!({"matchExpressions": [expression]})).unwrap_err().to_string();
        let all = [
            said(serde_json::json!({"key": "a", "operator": "In"})),
            said(serde_json::json!({"key": "a", "operator": "Exists", "values": ["b"]})),
            said(serde_json::json!({"key": "a", "operator": "Is"})),
            said(serde_json::json!({"key": "-a", "operator": "Exists"})),
            said(serde_json::json!({"key": "a", "operator": "In", "values": ["-"]})),
            object(serde_json::json!({"matchLabels": {"a": "b c"}})).unwrap_err().to_string(),
        ];
        insta::assert_snapshot!(all.join("\n"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_selector_or_an_error(text in "[a-c!=<>(), 1ä-]{0,30}") {
            if let Ok(selector) = Selector::parse(&text) {
                prop_assert_eq!(Selector::parse(&selector.to_string()).ok(), Some(selector));
            }
        }
    }
}
