//! The rules for names, keys, paths and modes, each with the words that the Kubernetes API server has for it.

/// The most bytes of a DNS-1123 label.
const LABEL_BYTES_MAX: usize = 63;
/// The most bytes of a DNS-1123 subdomain, and of a key of a ConfigMap or Secret.
const SUBDOMAIN_BYTES_MAX: usize = 253;
/// The most bytes of a port's name.
const PORT_NAME_BYTES_MAX: usize = 15;

/// A rule that a text keeps or breaks; the error says what the rule is.
pub(super) type Rule = Result<(), String>;

fn rule(kept: bool, text: &str) -> Rule {
    if kept { Ok(()) } else { Err(text.to_owned()) }
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
        && bytes.first().is_some_and(|byte| inner(*byte))
        && bytes.last().is_some_and(|byte| inner(*byte))
}

/// A DNS-1123 label: a container's, a volume's, a namespace's name.
pub(super) fn label(text: &str) -> Rule {
    rule(text.len() <= LABEL_BYTES_MAX, "must be no more than 63 bytes")?;
    rule(
        is_label(text),
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an \
         alphanumeric character (e.g. 'my-name', or '123-abc')",
    )
}

/// A DNS-1123 subdomain: the name of a pod, a ConfigMap, a Secret.
pub(super) fn subdomain(text: &str) -> Rule {
    rule(text.len() <= SUBDOMAIN_BYTES_MAX, "must be no more than 253 bytes")?;
    rule(
        text.split('.').all(is_label),
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with \
         an alphanumeric character (e.g. 'example.com')",
    )
}

/// An IANA service name: a port's name.
pub(super) fn port_name(text: &str) -> Rule {
    rule(text.len() <= PORT_NAME_BYTES_MAX, "must be no more than 15 characters")?;
    rule(
        text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    )?;
    rule(text.bytes().any(|byte| byte.is_ascii_lowercase()), "must contain at least one letter (a-z)")?;
    rule(!text.contains("--"), "must not contain consecutive hyphens")?;
    rule(is_label(text), "must not begin or end with a hyphen")
}

/// The name of an HTTP header, by the rule that Kubernetes has for those of probes.
pub(super) fn http_header(name: &str) -> Rule {
    rule(
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
        "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name')",
    )
}

/// The value of an HTTP header: a line break in it would begin another header.
pub(super) fn http_header_value(value: &str) -> Rule {
    rule(value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)), "must not contain control characters")
}

/// The name part of a label key, and the value of a label.
fn is_label_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

/// A key of a label or an annotation: `name` or `prefix/name`.
pub(super) fn qualified_name(key: &str) -> Rule {
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            rule(!prefix.is_empty(), "prefix part must be non-empty")?;
            subdomain(prefix).map_err(|rule| format!("prefix part {rule}"))?;
            name
        }
        None => key,
    };
    rule(!name.is_empty(), "name part must be non-empty")?;
    rule(name.len() <= LABEL_BYTES_MAX, "name part must be no more than 63 bytes")?;
    rule(
        is_label_name(name),
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character \
         (e.g. 'MyName', or 'my.name', or '123-abc')",
    )
}

/// The value of a label.
pub(super) fn label_value(text: &str) -> Rule {
    rule(text.len() <= LABEL_BYTES_MAX, "must be no more than 63 bytes")?;
    rule(
        text.is_empty() || is_label_name(text),
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
         an alphanumeric character (e.g. 'MyValue', or 'my_value', or '12345')",
    )
}

/// A key of a ConfigMap or a Secret.
pub(super) fn data_key(key: &str) -> Rule {
    rule(!key.is_empty() && key.len() <= SUBDOMAIN_BYTES_MAX, "must be 1 to 253 bytes")?;
    rule(
        key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name', or 'KEY_NAME', or 'key-name')",
    )?;
    rule(key != "." && !key.starts_with(".."), "must not be '.' or begin with '..'")
}

/// The name of an environment variable, by the relaxed rule of Kubernetes 1.34.
pub(super) fn env_name(name: &str) -> Rule {
    rule(
        !name.is_empty() && name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'='),
        "a valid environment variable name must consist only of printable ASCII characters other than '='",
    )
}

/// A path below a volume: `subPath`, or the `path` of an item.
pub(super) fn relative_path(path: &str) -> Rule {
    rule(!path.starts_with('/'), "must be a relative path")?;
    rule(path.split('/').all(|part| part != ".."), "must not contain '..'")?;
    rule(!path.contains('\0'), "must not contain a null character")
}

/// The path of a file made from a key, which is also a name in the volume's own directory.
pub(super) fn item_path(path: &str) -> Rule {
    relative_path(path)?;
    rule(!path.starts_with(".."), "must not start with '..'")?;
    let named = path.split('/').all(|part| !part.is_empty() && part != ".");
    rule(named, "must be a clean path: no '.', no empty part and no '/' at its end")
}

/// The path of a mount, or a working directory: from the root of the container.
pub(super) fn absolute_path(path: &str) -> Rule {
    rule(path.starts_with('/'), "must be an absolute path")?;
    rule(path.split('/').all(|part| part != ".."), "must not contain '..'")?;
    rule(!path.contains('\0'), "must not contain a null character")
}

/// The permission bits of a file, as a number.
pub(super) fn file_mode(mode: i32) -> Rule {
    rule((0..=0o777).contains(&mode), "must be a number between 0 and 0777 (octal), both inclusive")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: fn(&str) -> Rule, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(rule(text), Ok(()), "{text:?}");
        }
        for text in bad {
            assert!(rule(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_keep_the_rules_of_kubernetes() {
        let long = "a".repeat(64);
        check(label, &["web", "a", "1", "my-name", "123-abc"], &["", "-a", "a-", "A", "a.b", "a_b", "ä", &long]);
        check(subdomain, &["web", "a.b-c.d", "1.2"], &["", ".a", "a.", "a..b", "a.-b", "Web", &"a.".repeat(127)]);
        check(port_name, &["http", "a1", "h2-c"], &["", "HTTP", "80", "-a", "a-", "a--b", "waytoolongportname"]);
        check(qualified_name, &["app", "app.kubernetes.io/name", "A_b.c", "1"], &["", "/a", "a/", "a/b/c", "-a", "UP/a", &long]);
        check(label_value, &["", "v1.2_3", "A"], &["-", "a b", "a/b", &long]);
        check(data_key, &["a", "KEY_1", "ca.crt", ".hidden"], &["", ".", "..", "..a", "a/b", "a b"]);
        check(env_name, &["A", "a.b", "with space", "1"], &["", "a=b", "ä", "tab\t"]);
    }

    #[test]
    fn paths_cannot_climb_out() {
        check(relative_path, &["a", "a/b", "a/..b", "."], &["/a", "..", "a/..", "a/../b", "a\0"]);
        check(item_path, &["a", "a/b"], &["", "/a", "..", "..a", "a//b", "a/", "./a"]);
        check(absolute_path, &["/", "/data", "/a/..b"], &["", "data", "/../etc", "/a/.."]);
        assert!(file_mode(0o644).is_ok() && file_mode(0o1000).is_err() && file_mode(-1).is_err());
    }
}
