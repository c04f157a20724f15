//! Variables that are read from files of the pod's volumes when a container starts: `valueFrom.fileKeyRef`.
//!
//! Until then [`FileVariable::reference`] stands for the value wherever it has been expanded to: in other variables, in `command`, in
//! `args`.

use super::ContainerSpec;
use std::borrow::Cow;
use std::fmt;

/// Stands on both sides of a name in a reference. No argument and no variable of a program can hold it.
const MARK: char = '\0';

/// A variable whose value stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileVariable {
    /// Its name.
    pub name: String,
    /// `volumeName`: the volume that has the file.
    pub volume: String,
    /// `path`: a relative path in the volume, without `..`.
    pub path: String,
    /// `key`: the name of the value in the file.
    pub key: String,
    /// `optional`: without the file or the key, the variable is not set.
    pub optional: bool,
}

impl FileVariable {
    /// What stands for its value until the container starts.
    pub fn reference(&self) -> String {
        format!("{MARK}{}{MARK}", self.name)
    }

    /// Whether a text has references in it, and so is not known yet.
    pub fn is_awaited_in(text: &str) -> bool {
        text.contains(MARK)
    }
}

impl ContainerSpec {
    /// The same container with the values of its [`file_variables`](Self::file_variables), each as `read` says; a reference to one that
    /// has no value stays as the manifest writes it.
    ///
    /// # Errors
    /// The first error of `read`.
    pub fn with_file_variables<E>(
        &self,
        mut read: impl FnMut(&FileVariable) -> Result<Option<String>, E>,
    ) -> Result<Cow<'_, Self>, E> {
        if self.file_variables.is_empty() {
            return Ok(Cow::Borrowed(self));
        }
        let mut container = self.clone();
        for variable in &self.file_variables {
            let (reference, value) = (variable.reference(), read(variable)?);
            if value.is_none() {
                container.env.retain(|(name, text)| *name != variable.name || *text != reference);
            }
            let text = value.unwrap_or_else(|| format!("$({})", variable.name));
            let values = container.env.iter_mut().map(|(_, value)| value);
            for place in
                values.chain(&mut container.command).chain(&mut container.args).filter(|place| FileVariable::is_awaited_in(place))
            {
                *place = place.replace(&reference, &text);
            }
        }
        Ok(Cow::Owned(container))
    }
}

/// What is wrong with a file of variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvFileError {
    /// Its line, from 1.
    pub line: usize,
    /// In the kubelet's words.
    pub message: &'static str,
}

impl fmt::Display for EnvFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid environment variable format at line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for EnvFileError {}

/// The value that `key` has in a file of variables, and nothing when it is not there or empty. Only lines up to it are looked at.
///
/// The rules are those of the kubelet's `pkg/kubelet/util/env`: `KEY='VALUE'`, the value as it is between single quotes, over several
/// lines if need be; blank lines and comments are left out; white space after the `=` makes the value empty, as in a shell.
///
/// # Errors
/// The first line that is not written so.
pub fn value_in_env_file(text: &str, key: &str) -> Result<Option<String>, EnvFileError> {
    let (mut rest, mut line) = (text, 1);
    while !rest.is_empty() {
        let wrong = |message| EnvFileError { line, message };
        let unindented = rest.trim_start_matches([' ', '\t']);
        let (current, following) = split_line(unindented);
        if current.is_empty() || current.starts_with('#') {
            (rest, line) = (following, line + 1);
            continue;
        }
        let (name, value) = current.split_once('=').ok_or_else(|| wrong("missing '='"))?;
        match name.trim_end_matches([' ', '\t']) {
            "" => return Err(wrong("empty variable name")),
            bare if bare != name => return Err(wrong("whitespace before '=' is not allowed")),
            _ => {}
        }
        if value.starts_with([' ', '\t']) {
            if name == key {
                return Ok(None);
            }
            (rest, line) = (following, line + 1);
            continue;
        }
        // The value may go on over the next lines.
        let quoted = unindented.get(name.len() + 1..).and_then(|value| value.strip_prefix('\''));
        let quoted = quoted.ok_or_else(|| wrong("value must be enclosed in single quotes"))?;
        let (value, after) = quoted.split_once('\'').ok_or_else(|| wrong("unclosed single quote"))?;
        line += value.matches('\n').count();
        let (behind, following) = split_line(after.trim_start_matches([' ', '\t']));
        if !behind.is_empty() && !behind.starts_with('#') {
            return Err(EnvFileError { line, message: "unexpected content after closing quote" });
        }
        if name == key {
            return Ok(Some(value.to_owned()).filter(|value| !value.is_empty()));
        }
        (rest, line) = (following, line + 1);
    }
    Ok(None)
}

/// The first line, without its end, and what follows it.
fn split_line(text: &str) -> (&str, &str) {
    let (line, following) = text.split_once('\n').unwrap_or((text, ""));
    (line.strip_suffix('\r').unwrap_or(line), following)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::spec::ContainerRole;

    const FILE: &str = "# a comment\n\n  A='1' # one\nB='two\nlines # no comment'\nEMPTY=''\nSHELL= 'x'\nLAST='$(A) \\n \"'";

    #[test]
    fn values_stand_between_single_quotes() {
        let value = |key| value_in_env_file(FILE, key).unwrap();
        assert_eq!(value("A").as_deref(), Some("1"));
        assert_eq!(value("B").as_deref(), Some("two\nlines # no comment"));
        assert_eq!(value("LAST").as_deref(), Some("$(A) \\n \""));
        for missing in ["EMPTY", "SHELL", "NONE", "a"] {
            assert_eq!(value(missing), None, "{missing}");
        }
        assert_eq!(value_in_env_file(&FILE.replace('\n', "\r\n"), "A").unwrap().as_deref(), Some("1"));
    }

    #[test]
    fn what_is_written_otherwise_is_told_with_its_line() {
        let wrong = |text| value_in_env_file(text, "Z").unwrap_err().to_string().split_once("format at ").unwrap().1.to_owned();
        assert_eq!(wrong("A='1'\nB"), "line 2: missing '='");
        assert_eq!(wrong("='1'"), "line 1: empty variable name");
        assert_eq!(wrong("A ='1'"), "line 1: whitespace before '=' is not allowed");
        assert_eq!(wrong("\nA=1"), "line 2: value must be enclosed in single quotes");
        assert_eq!(wrong("A='1\n2' x\n"), "line 2: unexpected content after closing quote");
        assert_eq!(wrong("A='1\n2"), "line 1: unclosed single quote");
    }

    #[test]
    fn a_container_gets_the_values_wherever_they_are_referred_to() {
        let variable = |name: &str| FileVariable {
            name: name.to_owned(),
            volume: "data".to_owned(),
            path: "env".to_owned(),
            key: name.to_owned(),
            optional: true,
        };
        let (a, b) = (variable("A"), variable("B"));
        let mut container = ContainerSpec::new("app", ContainerRole::App, "app.wasm");
        container.args = vec![format!("--a={}", a.reference()), format!("{} {}", a.reference(), b.reference())];
        let env = [("A", a.reference()), ("B", b.reference()), ("C", format!("<{}{}>", a.reference(), b.reference()))];
        container.env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
        container.file_variables = vec![a, b];
        let known = |variable: &FileVariable| Ok::<_, ()>((variable.name == "A").then(|| "1".to_owned()));
        let resolved = container.with_file_variables(known).unwrap();
        assert_eq!(resolved.args, ["--a=1", "1 $(B)"]);
        let env: Vec<String> = resolved.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(env, ["A=1", "C=<1$(B)>"]);
        assert_eq!(container.with_file_variables(|_| Err("gone")).unwrap_err(), "gone");
    }
}
