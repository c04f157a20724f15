//! Files made from the pod's own fields: `downwardAPI` volumes.

use super::env::{self, FieldRef, Surroundings};
use k8s_openapi::api::core::v1::DownwardAPIVolumeFile;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A field of the pod that a file can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VolumeField<'a> {
    /// `metadata.labels`: all of them, one a line.
    Labels,
    /// `metadata.annotations`: all of them, one a line.
    Annotations,
    /// A field of the metadata that a variable can hold too.
    One(FieldRef<'a>),
}

impl<'a> VolumeField<'a> {
    /// Every field, as it is written.
    pub(super) const NAMES: [&'static str; 7] = [
        "metadata.annotations",
        "metadata.annotations['<KEY>']",
        "metadata.labels",
        "metadata.labels['<KEY>']",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
    ];

    /// Reads a `fieldPath`. What only the status or the node knows is for variables alone, as in Kubernetes.
    pub(super) fn parse(path: &'a str) -> Option<Self> {
        match path {
            "metadata.labels" => Some(Self::Labels),
            "metadata.annotations" => Some(Self::Annotations),
            _ => FieldRef::parse(path).filter(|_| path.starts_with("metadata.")).map(Self::One),
        }
    }
}

/// The contents of one file; it has been checked.
pub(super) fn contents(item: &DownwardAPIVolumeFile, around: &Surroundings<'_>) -> String {
    if let Some(reference) = &item.resource_field_ref {
        return env::resource_value(None, reference, around);
    }
    let metadata = &around.pod.metadata;
    match item.field_ref.as_ref().and_then(|field| VolumeField::parse(&field.field_path)) {
        Some(VolumeField::Labels) => lines(metadata.labels.as_ref()),
        Some(VolumeField::Annotations) => lines(metadata.annotations.as_ref()),
        Some(VolumeField::One(field)) => field.value(around),
        None => String::new(),
    }
}

/// `key="value"` lines, sorted, the last without its end (`fieldpath.FormatMap` of Kubernetes).
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quoted(value)));
    lines.collect::<Vec<_>>().join("\n")
}

/// A text as Go's `%q` writes it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            _ if letter.is_ascii_control() => _ = write!(quoted, "\\x{:02x}", u32::from(letter)),
            // What Rust would escape is what cannot be printed.
            _ if !letter.is_ascii() && letter.escape_debug().len() > 1 => {
                let code = u32::from(letter);
                _ = if code < 0x1_0000 { write!(quoted, "\\u{code:04x}") } else { write!(quoted, "\\U{code:08x}") };
            }
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_quoted_as_go_quotes() {
        let map = BTreeMap::from([
            ("b".to_owned(), "line\nbreak \"quoted\" \\ tab\t".to_owned()),
            ("a/x".to_owned(), "ä€😀\u{1}\u{200b}\u{7f}".to_owned()),
        ]);
        assert_eq!(lines(Some(&map)), "a/x=\"ä€😀\\x01\\u200b\\x7f\"\nb=\"line\\nbreak \\\"quoted\\\" \\\\ tab\\t\"");
        assert_eq!(lines(None), "");
    }

    #[test]
    fn a_file_holds_metadata_only() {
        assert_eq!(VolumeField::parse("metadata.labels"), Some(VolumeField::Labels));
        assert_eq!(VolumeField::parse("metadata.labels['a']"), Some(VolumeField::One(FieldRef::Label("a"))));
        for field in ["status.podIP", "spec.nodeName", "metadata", "metadata.labels['']", ""] {
            assert_eq!(VolumeField::parse(field), None, "{field}");
        }
    }
}
