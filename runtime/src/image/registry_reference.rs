//! The name of an image of a registry: `[HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]`.
//!
//! The grammar is that of distribution/reference, the short forms are Docker's, as in Kubernetes: no host means `docker.io`, one
//! path component there means `library/…`, neither tag nor digest means the tag `latest`; with both, the digest decides.

use super::Digest;
use super::reference::invalid;
use crate::limits::{IMAGE_REPOSITORY_BYTES_MAX, IMAGE_TAG_BYTES_MAX};
use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// Docker's registry, when no host is named.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Where Docker's own images are.
const DEFAULT_FOLDER: &str = "library/";
/// The tag when none is named.
const DEFAULT_TAG: &str = "latest";

/// An image of a registry, every default filled in. Its text form is the name under which the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RegistryReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl RegistryReference {
    /// Reads a name and fills in the defaults.
    ///
    /// # Errors
    /// Reason `InvalidImageName`, with the part that is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let digest = digest.map(str::parse::<Digest>).transpose().map_err(|error| {
            let hint = error.advice().unwrap_or_default().to_owned();
            invalid(format!("the image {text:?}: {error}")).hint(hint)
        })?;
        let slash = name.rfind('/').map_or(0, |slash| slash + 1);
        let colon = name.get(slash..).and_then(|last| last.find(':')).map(|colon| slash + colon);
        let (name, tag) = match colon.and_then(|colon| name.split_at_checked(colon)) {
            Some((name, tag)) => (name, Some(tag.trim_start_matches(':'))),
            None => (name, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            let tag = tag.unwrap_or_default();
            return Err(invalid(format!("the image {text:?} has the tag {tag:?}, which is none"))
                .hint("a tag has up to 128 letters, digits, `_`, `.` and `-`, and does not start with `.` or `-`"));
        }
        let (registry, repository) = split_registry(name);
        check_registry(text, registry)?;
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        let mut repository = repository.to_owned();
        if registry == DEFAULT_REGISTRY && !repository.contains('/') {
            repository.insert_str(0, DEFAULT_FOLDER);
        }
        check_repository(text, &repository)?;
        let tag = tag.or_else(|| digest.is_none().then_some(DEFAULT_TAG)).map(str::to_owned);
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }

    /// The registry's host, with its port where one is named: `docker.io`, `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in the registry: `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `None` when only a digest is named.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one is named; it decides, whatever the tag is.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same image by its digest alone: `status.containerStatuses[].imageID`.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), tag: None, ..self.clone() }
    }

    /// What a registry is asked for: the digest, or else the tag.
    pub fn manifest_name(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.clone().unwrap_or_else(|| DEFAULT_TAG.to_owned()),
        }
    }
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl FromStr for RegistryReference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// As in every container tool: a first part with a dot or a port, or `localhost`, is a registry's host.
pub(super) fn looks_like_a_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        // No repository has capitals, so what has some is a host.
        Some((first, rest)) if looks_like_a_registry(first) || first.bytes().any(|byte| byte.is_ascii_uppercase()) => (first, rest),
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn check_registry(text: &str, registry: &str) -> Result<()> {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (registry, None),
    };
    let is_ipv6 =
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let inner = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
        inner
            && bytes.len() <= 63
            && bytes.first().is_some_and(|byte| *byte != b'-')
            && bytes.last().is_some_and(|byte| *byte != b'-')
    };
    let is_name = host.len() <= 253 && host.split('.').all(is_label);
    let is_port =
        port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0));
    if (is_ipv6 || is_name) && is_port {
        return Ok(());
    }
    Err(invalid(format!("the image {text:?} names no registry: {registry:?} is not a host with an optional port")))
}

fn check_repository(text: &str, repository: &str) -> Result<()> {
    if repository.len() > IMAGE_REPOSITORY_BYTES_MAX {
        return Err(invalid(format!("the image's repository has more than {IMAGE_REPOSITORY_BYTES_MAX} bytes")));
    }
    match repository.split('/').find(|part| !is_component(part)) {
        None => Ok(()),
        Some("") => Err(invalid(format!("the image {text:?} names no repository, or has an empty part in it"))),
        Some(part) => {
            let error = invalid(format!("the image {text:?} has the part {part:?}, which no repository can have"));
            Err(match part.bytes().any(|byte| byte.is_ascii_uppercase()) {
                true => error.hint(format!("repositories are in lower case: {}", part.to_lowercase())),
                false => error.hint("use lower-case letters and digits, with `.`, `_`, `__` or dashes between them"),
            })
        }
    }
}

/// Lower-case letters and digits, joined by one of `.`, `_`, `__` or any number of `-`.
fn is_component(part: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_separator = |text: &[u8]| matches!(text, b"." | b"_" | b"__") || text.iter().all(|byte| *byte == b'-');
    let words_at_the_ends = part.bytes().next().is_some_and(is_word) && part.bytes().last().is_some_and(is_word);
    words_at_the_ends && part.as_bytes().split(|byte| is_word(*byte)).all(is_separator)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let inner = tag.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-');
    inner && tag.bytes().next().is_some_and(is_word) && tag.len() <= IMAGE_TAG_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_filled_in_as_docker_does() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (text, full) in [
            ("nginx", "docker.io/library/nginx:latest".to_owned()),
            ("nginx:1.27", "docker.io/library/nginx:1.27".to_owned()),
            ("acme/web", "docker.io/acme/web:latest".to_owned()),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest".to_owned()),
            ("docker.io/library/nginx", "docker.io/library/nginx:latest".to_owned()),
            ("localhost/web", "localhost/web:latest".to_owned()),
            ("localhost:5000/web", "localhost:5000/web:latest".to_owned()),
            ("[::1]:5000/web:1", "[::1]:5000/web:1".to_owned()),
            ("reg.example/a/b__c/d-e.f:V1_x", "reg.example/a/b__c/d-e.f:V1_x".to_owned()),
            (&format!("nginx@{digest}"), format!("docker.io/library/nginx@{digest}")),
            (&format!("nginx:1@{digest}"), format!("docker.io/library/nginx:1@{digest}")),
        ] {
            let reference = RegistryReference::parse(text).unwrap();
            assert_eq!(reference.to_string(), full, "{text}");
            // The full name names itself.
            assert_eq!(RegistryReference::parse(&full).unwrap(), reference, "{text}");
        }
    }

    #[test]
    fn the_digest_decides_what_is_asked_for() {
        let digest = Digest::of(b"x");
        let reference = RegistryReference::parse("ghcr.io/acme/web:1").unwrap();
        assert_eq!(reference.manifest_name(), "1");
        assert_eq!(reference.with_digest(digest).to_string(), format!("ghcr.io/acme/web@{digest}"));
        assert_eq!(RegistryReference::parse(&format!("web:1@{digest}")).unwrap().manifest_name(), digest.to_string());
    }

    #[test]
    fn what_no_registry_would_take_is_refused() {
        for text in [
            "Nginx",
            "reg.example/Web",
            "reg.example/",
            "reg.example//web",
            "a/../b",
            "web:",
            "web:-x",
            "web:a b",
            "web:a:b",
            "-reg.example/web",
            "reg.example:0/web",
            "reg.example:99999/web",
            "web@sha256:1234",
            "web@sha1:a9993e364706816aba3e25717850c26c9cd0d89d",
            "we__ _b",
            "a___b",
            "a..b/c_",
            "wéb",
            &format!("web:{}", "x".repeat(129)),
            &"x".repeat(300),
        ] {
            let error = RegistryReference::parse(text).unwrap_err();
            assert_eq!(error.reason(), Some("InvalidImageName"), "{text}");
        }
    }
}
