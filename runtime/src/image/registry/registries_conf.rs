//! `registries.conf`: which registry is asked for a name, in the format of the containers' tools (containers-registries.conf(5),
//! version 2).
//!
//! ```toml
//! [[registry]]
//! prefix = "docker.io/library"        # which names; `*.example.com` fits every host below it; without it, location
//! location = "registry.acme.example/hub"
//! [[registry.mirror]]
//! location = "mirror.acme.example:5000/hub"
//! insecure = true
//! ```
//! Mirrors are asked in their order, then the registry itself. Names without a registry always mean Docker Hub here, so
//! `unqualified-search-registries` and short-name aliases say nothing.

use super::endpoint::Location;
use crate::limits::{REGISTRIES_CONF_BYTES_MAX, REGISTRY_MIRRORS_MAX};
use crate::{Error, Result};
use serde::Deserialize;

/// The rules of all files together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistriesConf {
    rules: Vec<Rule>,
}

/// One file.
#[derive(Deserialize)]
struct File {
    #[serde(default, rename = "registry")]
    registries: Vec<Rule>,
}

/// `[[registry]]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
struct Rule {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default, rename = "mirror")]
    mirrors: Vec<Mirror>,
}

/// `[[registry.mirror]]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: PullFromMirror,
}

/// `pull-from-mirror`: for which references a mirror is asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum PullFromMirror {
    /// The rule's `mirror-by-digest-only` decides.
    #[default]
    #[serde(alias = "")]
    Unsaid,
    All,
    DigestOnly,
    TagOnly,
}

impl RegistriesConf {
    /// Reads one file's text; `source` says in messages which.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when it is not TOML of this format, or of its first version.
    pub fn parse(text: &str, source: &str) -> Result<Self> {
        let wrong = |message: String| Error::invalid(message).at(source).hint("see containers-registries.conf(5)");
        if text.len() > REGISTRIES_CONF_BYTES_MAX {
            return Err(Error::limit(format!("the file is larger than {REGISTRIES_CONF_BYTES_MAX} bytes")).at(source));
        }
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(error.message().to_owned()).because(error))?;
        if table.contains_key("registries") {
            return Err(wrong(
                "the file is of the format's first version ([registries.…]), which nobody writes any more".to_owned(),
            ));
        }
        let file: File = table.try_into().map_err(|error: toml::de::Error| wrong(error.message().to_owned()))?;
        let mut rules = Vec::with_capacity(file.registries.len());
        for mut rule in file.registries {
            if rule.prefix.is_empty() {
                rule.prefix.clone_from(&rule.location);
            }
            if rule.prefix.is_empty() {
                return Err(wrong("a [[registry]] has neither prefix nor location".to_owned()));
            }
            if rule.mirrors.len() > REGISTRY_MIRRORS_MAX {
                return Err(wrong(format!("{} has more than {REGISTRY_MIRRORS_MAX} mirrors", rule.prefix)));
            }
            let mut locations = rule.mirrors.iter().map(|mirror| &mirror.location).chain(Some(&rule.location));
            if let Some(url) = locations.find(|location| location.contains("://")) {
                return Err(wrong(format!("the location {url:?} is a URL, not host[:port][/path]")));
            }
            rules.push(rule);
        }
        Ok(Self { rules })
    }

    /// Adds the rules of a further file, which count before those that are here (as files of `registries.conf.d` do).
    #[must_use]
    pub fn overridden_by(self, other: Self) -> Self {
        let mut rules = other.rules;
        rules.extend(
            self.rules.into_iter().filter(|rule| !rules.iter().any(|newer| newer.prefix == rule.prefix)).collect::<Vec<_>>(),
        );
        Self { rules }
    }

    /// Where to ask for a repository, in order: the mirrors, then the registry itself.
    ///
    /// # Errors
    /// [`Denied`](crate::ErrorKind::Denied) when the registry is blocked.
    pub(crate) fn locations(&self, repository: &Location, by_digest: bool) -> Result<Vec<Location>> {
        let name = repository.to_string();
        let fitting = self.rules.iter().filter_map(|rule| Some((rule, rule.rest_of(&name)?)));
        // The longest prefix; of equal ones the first.
        let Some((rule, rest)) = fitting.reduce(|best, next| if next.1.len() < best.1.len() { next } else { best }) else {
            return Ok(vec![repository.clone()]);
        };
        if rule.blocked {
            let message = format!("{} is blocked by registries.conf", rule.prefix);
            return Err(Error::new(crate::ErrorKind::Denied, message));
        }
        let mirrors = rule.mirrors.iter().filter(|mirror| match mirror.pull_from_mirror {
            PullFromMirror::Unsaid => by_digest || !rule.mirror_by_digest_only,
            PullFromMirror::All => true,
            PullFromMirror::DigestOnly => by_digest,
            PullFromMirror::TagOnly => !by_digest,
        });
        let mirrors = mirrors.map(|mirror| Location::parse(&format!("{}{rest}", mirror.location), mirror.insecure));
        let own = if rule.location.is_empty() || rule.prefix.starts_with('*') {
            Location { insecure: rule.insecure || repository.insecure, ..repository.clone() }
        } else {
            Location::parse(&format!("{}{rest}", rule.location), rule.insecure)
        };
        Ok(mirrors.chain(Some(own)).collect())
    }

    /// Whether a rule for the whole of `host` says that it is insecure.
    pub(super) fn is_insecure(&self, host: &str) -> bool {
        self.rules.iter().any(|rule| rule.insecure && rule.rest_of(host).is_some_and(str::is_empty))
    }
}

impl Rule {
    /// What of `name` comes after the prefix, if it fits: the prefix ends where a part of the name ends.
    fn rest_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        if let Some(domain) = self.prefix.strip_prefix('*') {
            let (host, _) = name.split_once('/').unwrap_or((name, ""));
            return host.ends_with(domain).then(|| name.get(host.len()..).unwrap_or_default());
        }
        let rest = name.strip_prefix(&self.prefix)?;
        (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locations(conf: &str, name: &str, by_digest: bool) -> Vec<String> {
        let conf = RegistriesConf::parse(conf, "test").unwrap();
        let found = conf.locations(&Location::parse(name, false), by_digest).unwrap();
        found.iter().map(|location| format!("{location}{}", if location.insecure { " insecure" } else { "" })).collect()
    }

    const MIRRORED: &str = r#"
        unqualified-search-registries = ["docker.io"]
        [[registry]]
        prefix = "docker.io/library"
        location = "hub.acme.example/hub"
        [[registry.mirror]]
        location = "mirror.acme.example:5000/m"
        insecure = true
        [[registry.mirror]]
        location = "digests.acme.example"
        pull-from-mirror = "digest-only"
        [[registry]]
        location = "docker.io"
        [[registry]]
        prefix = "*.corp.example"
        insecure = true
    "#;

    #[test]
    fn mirrors_come_before_the_registry() {
        assert_eq!(
            locations(MIRRORED, "docker.io/library/nginx", false),
            ["mirror.acme.example:5000/m/nginx insecure", "hub.acme.example/hub/nginx"]
        );
        assert_eq!(locations(MIRRORED, "docker.io/library/nginx", true)[1], "digests.acme.example/nginx");
    }

    #[test]
    fn the_longest_prefix_decides_and_ends_with_a_part_of_the_name() {
        assert_eq!(locations(MIRRORED, "docker.io/acme/app", false), ["docker.io/acme/app"]);
        assert_eq!(locations(MIRRORED, "docker.io/librarything/app", false), ["docker.io/librarything/app"]);
        assert_eq!(locations(MIRRORED, "a.corp.example/app", false), ["a.corp.example/app insecure"]);
        assert_eq!(locations(MIRRORED, "ghcr.io/app", false), ["ghcr.io/app"]);
    }

    #[test]
    fn a_blocked_registry_is_not_asked() {
        let conf = RegistriesConf::parse("[[registry]]\nlocation = \"evil.example\"\nblocked = true\n", "test").unwrap();
        let error = conf.locations(&Location::parse("evil.example/app", false), false).unwrap_err();
        assert_eq!(error.to_string(), "evil.example is blocked by registries.conf");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let refusal = |text: &str| RegistriesConf::parse(text, "r.conf").unwrap_err().to_string();
        assert_eq!(refusal("[[registry]]\ninsecure = true"), "r.conf: a [[registry]] has neither prefix nor location");
        assert_eq!(
            refusal("[[registry]]\nlocation = 'https://a'"),
            "r.conf: the location \"https://a\" is a URL, not host[:port][/path]"
        );
        assert!(refusal("[registries.search]\nregistries = []").contains("first version"));
        assert!(refusal("[[registry").starts_with("r.conf: "));
    }
}
