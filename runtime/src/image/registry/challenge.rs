//! What a registry answers to a request that needs a credential: the header `WWW-Authenticate` (RFC 9110, 11.6.1).

use crate::limits::REGISTRY_CHALLENGES_MAX;

/// What the registry wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A name and a password with each request.
    Basic,
    /// A token from a token service.
    Bearer {
        /// Where the token service is: a URL.
        realm: String,
        /// What the token service calls this registry.
        service: Option<String>,
        /// What the token must allow.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Reads one header; the best challenge of it that we can meet, tokens before passwords, if there is one.
    pub fn parse(header: &str) -> Option<Self> {
        let challenges = split(header);
        let bearer = challenges.iter().find(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        if let Some((_, parameters)) = bearer {
            let parameter = |name: &str| {
                let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
            };
            if let Some(realm) = parameter("realm") {
                return Some(Self::Bearer { realm, service: parameter("service"), scope: parameter("scope") });
            }
        }
        challenges.iter().any(|(scheme, _)| scheme.eq_ignore_ascii_case("basic")).then_some(Self::Basic)
    }
}

type Parameters = Vec<(String, String)>;

/// The challenges of a header, each with its parameters; stops where it cannot be read on.
fn split(header: &str) -> Vec<(String, Parameters)> {
    let mut challenges: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header;
    for _ in 0..REGISTRY_CHALLENGES_MAX {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            break;
        }
        match after.trim_start_matches([' ', '\t']).strip_prefix('=') {
            Some(value) => {
                let Some((value, tail)) = take_value(value.trim_start_matches([' ', '\t'])) else { break };
                let Some((_, parameters)) = challenges.last_mut() else { break };
                parameters.push((word.to_owned(), value));
                rest = tail;
            }
            None => {
                challenges.push((word.to_owned(), Vec::new()));
                rest = after;
            }
        }
    }
    challenges
}

/// A token or a quoted string, and what comes after it.
fn take_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, character) in quoted.char_indices() {
        match character {
            _ if escaped => {
                value.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((value, quoted.get(at + 1..).unwrap_or_default())),
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope) })
    }

    #[test]
    fn registries_ask_in_these_ways() {
        assert_eq!(
            Challenge::parse(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull""#
            ),
            bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:library/nginx:pull"))
        );
        assert_eq!(Challenge::parse(r#"Basic realm="Registry Realm""#), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("basic"), Some(Challenge::Basic));
        assert_eq!(
            Challenge::parse(r#"Basic realm="a, b", Bearer realm="https://x/t" , service=y"#),
            bearer("https://x/t", Some("y"), None)
        );
        assert_eq!(Challenge::parse(r#"Bearer realm="https://x/\"q\"""#), bearer("https://x/\"q\"", None, None));
    }

    #[test]
    fn nonsense_asks_for_nothing() {
        for nonsense in ["", "Negotiate", "Bearer", "Bearer realm=\"unclosed", "=,=,=", "realm=x", "Bearer service=x"] {
            assert_eq!(Challenge::parse(nonsense), None, "{nonsense}");
        }
        assert_eq!(Challenge::parse(&"Basic2 ".repeat(100_000)), None);
    }
}
