//! Where a repository is: host, path, and how safe the way there is.

use std::fmt;
use std::net::IpAddr;

/// A repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Location {
    /// `host[:port]`, as references name it.
    pub(crate) host: String,
    /// The repository's path; empty for the registry as a whole.
    pub(crate) repository: String,
    /// Whether plain HTTP and certificates that nobody vouches for are allowed.
    pub(crate) insecure: bool,
}

impl Location {
    /// Takes `host[:port]/path` apart.
    pub(crate) fn parse(name: &str, insecure: bool) -> Self {
        let (host, repository) = name.split_once('/').unwrap_or((name, ""));
        Self { host: host.to_owned(), repository: repository.to_owned(), insecure }
    }

    /// The host that is really asked: Docker Hub's name is not where its registry listens.
    pub(super) fn api_host(&self) -> &str {
        match self.host.as_str() {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            host => host,
        }
    }

    /// Whether plain HTTP may be tried: it never leaves the machine, or the user said so.
    pub(super) fn may_be_plain(&self) -> bool {
        self.insecure || is_loopback(without_port(&self.host))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.repository.as_str() {
            "" => f.write_str(&self.host),
            repository => write!(f, "{}/{repository}", self.host),
        }
    }
}

/// `host` of `host[:port]`, an IPv6 address without its brackets.
pub(super) fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    host.split(':').next().unwrap_or(host)
}

/// Whether a host without its port is this machine's loopback.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether two hosts without their ports belong to one owner: the same host, or names under one registrable domain.
pub(super) fn same_owner(one: &str, other: &str) -> bool {
    if one.eq_ignore_ascii_case(other) {
        return true;
    }
    let owner = |host: &str| {
        let host = host.to_ascii_lowercase();
        let is_address = host.parse::<IpAddr>().is_ok();
        // Only suffixes that are on the public list: `a.local` and `b.local` may be anybody's.
        let domain = psl::domain(host.as_bytes()).filter(|domain| domain.suffix().is_known())?;
        (!is_address).then(|| String::from_utf8_lossy(domain.as_bytes()).into_owned())
    };
    owner(one).is_some_and(|domain| owner(other).as_deref() == Some(&domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_the_loopback() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000"] {
            assert!(Location::parse(&format!("{host}/app"), false).may_be_plain(), "{host}");
        }
        for host in ["ghcr.io", "10.0.0.1:5000", "localhost.example.com", "127.0.0.1.nip.io"] {
            assert!(!Location::parse(&format!("{host}/app"), false).may_be_plain(), "{host}");
        }
    }

    #[test]
    fn an_owner_is_a_host_or_a_registrable_domain() {
        assert!(same_owner("registry-1.docker.io", "auth.docker.io"));
        assert!(same_owner("registry.gitlab.example.co.uk", "gitlab.example.co.uk"));
        assert!(same_owner("127.0.0.1", "127.0.0.1"));
        assert!(!same_owner("a.co.uk", "b.co.uk"));
        // On the public list: everybody can have a name there.
        assert!(!same_owner("a.github.io", "b.github.io"));
        assert!(!same_owner("127.0.0.1", "127.0.0.2"));
        assert!(!same_owner("127.0.0.1", "localhost"));
        assert!(!same_owner("registry.local", "auth.local"));
        assert!(!same_owner("ghcr.io", "ghcr.io.evil.example"));
    }
}
