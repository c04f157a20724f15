//! From a registry's challenge to the header that answers it (distribution specification, "token authentication").
//!
//! Where a credential may go is decided here, by one rule: to the registry that it is for, and to that registry's token service if the
//! service is asked by `https` (or on the loopback or an insecure registry, as the registry itself) and has the registry's own host or
//! a host under the same registrable domain. A token service anywhere else gets a credential only if one is kept for *its* host;
//! otherwise it is asked anonymously.

use super::answer::refusal;
use super::challenge::Challenge;
use super::endpoint::{Location, same_owner, without_port};
use super::transport::{Request, Transport, host_of, read_document};
use super::{Credential, Credentials};
use crate::limits::REGISTRY_TOKEN_BYTES_MAX;
use crate::{Error, ErrorKind, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderValue;
use reqwest::Url;
use serde::Deserialize;

/// What is needed to answer a challenge.
#[derive(Debug)]
pub(super) struct Authorizer<'a> {
    pub(super) transport: &'a Transport,
    pub(super) credentials: &'a Credentials,
    pub(super) location: &'a Location,
    /// The registry itself: `https://host/`.
    pub(super) base: &'a Url,
    /// What the token must allow, such as `repository:acme/app:pull`; empty to only log in.
    pub(super) scope: &'a str,
}

/// The header, and the secrets in it, which must never be shown.
#[derive(Clone, Default)]
pub(super) struct Authorization {
    pub(super) header: Option<HeaderValue>,
    pub(super) secrets: Vec<String>,
    /// Whether there was a credential at all, or everything is anonymous.
    pub(super) has_credential: bool,
}

/// A token service's answer.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Authorizer<'_> {
    /// Answers `challenge`.
    ///
    /// # Errors
    /// [`Denied`](ErrorKind::Denied) when the credential is refused or there is none; a token service that must not be asked.
    pub(super) async fn answer(&self, challenge: Challenge) -> Result<Authorization> {
        let credential = self.credentials.for_repository(&self.location.host, &self.location.repository).await?;
        let challenge = match (challenge, &credential) {
            (_, Some(Credential::RegistryToken(token))) => {
                return bearer(token.reveal(), vec![token.reveal().to_owned()], true);
            }
            (Challenge::Basic, Some(Credential::Basic { username, password })) => return basic(username, password.reveal()),
            (Challenge::Basic, Some(Credential::IdentityToken(_))) => {
                let message = "the registry wants a name and password, and the credential for it is an identity token";
                return Err(Error::new(ErrorKind::Denied, message).at(&self.location.host));
            }
            (Challenge::Basic, None) => return Ok(Authorization::default()),
            (bearer, _) => bearer,
        };
        let Challenge::Bearer { realm, service, scope } = challenge else { return Ok(Authorization::default()) };
        let realm = self.realm(&realm)?;
        let credential = self.for_realm(&realm, credential).await?;
        // Of our own scope and the registry's: a registry that asks for more than is wanted does not get it.
        let scope = if self.scope.is_empty() { scope.unwrap_or_default() } else { self.scope.to_owned() };
        self.token(realm, service, &scope, credential).await
    }

    /// The token service's URL, if it may be asked at all.
    fn realm(&self, realm: &str) -> Result<Url> {
        let wrong = |message: String| Error::invalid(message).at(host_of(self.base));
        let url = Url::parse(realm).map_err(|_| wrong("the registry names a token service that is not a URL".to_owned()))?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(format!("the registry names a token service with a password in its URL, at {host}")));
        }
        let is_plain = self.base.scheme() == "http" && self.location.may_be_plain() && host == without_port(&self.location.host);
        match url.scheme() {
            "https" => Ok(url),
            "http" if is_plain => Ok(url),
            scheme => Err(wrong(format!("the registry names a token service at {scheme}://{host}, which is not safe"))),
        }
    }

    /// The credential that this token service may have.
    async fn for_realm(&self, realm: &Url, credential: Option<Credential>) -> Result<Option<Credential>> {
        let host = realm.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let registry = self.base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        if credential.is_none() || same_owner(registry, host) {
            return Ok(credential);
        }
        let own = self.credentials.for_repository(&host_of(realm), "").await?;
        if own.is_none() {
            tracing::warn!(
                target: "wasmpod::image", registry, token_service = host,
                "the registry's token service is under another domain: it is asked without the registry's credential"
            );
        }
        Ok(own)
    }

    async fn token(
        &self,
        mut realm: Url,
        service: Option<String>,
        scope: &str,
        credential: Option<Credential>,
    ) -> Result<Authorization> {
        let service = service.as_deref().unwrap_or_default();
        let parameters = [("service", service), ("scope", scope)].into_iter().filter(|(_, value)| !value.is_empty());
        let (response, mut secrets) = match &credential {
            Some(Credential::IdentityToken(token)) => {
                let form = refresh_form(parameters, token.reveal());
                (self.transport.send_form(&realm, form).await?, vec![token.reveal().to_owned()])
            }
            other => {
                realm.query_pairs_mut().extend_pairs(parameters);
                let Authorization { header, secrets, .. } = match other {
                    Some(Credential::Basic { username, password }) => basic(username, password.reveal())?,
                    _ => Authorization::default(),
                };
                (self.transport.send(Request { authorization: header, ..Request::get(realm.clone()) }).await?, secrets)
            }
        };
        if !response.status().is_success() {
            return Err(refusal(response, &secrets).await.at(format!("token service {}", host_of(&realm))));
        }
        let document = read_document(response, REGISTRY_TOKEN_BYTES_MAX, "the token service's answer").await?;
        let wrong = || Error::invalid("the token service's answer holds no token").at(host_of(&realm));
        let token: Token = serde_json::from_slice(&document).map_err(|_| wrong())?;
        let token = [token.token, token.access_token].into_iter().flatten().find(|token| !token.is_empty()).ok_or_else(wrong)?;
        secrets.push(token.clone());
        bearer(&token, secrets, credential.is_some())
    }
}

/// The form by which a refresh token is exchanged (distribution's `oauth` document, RFC 6749, 6).
fn refresh_form<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>, token: &str) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(parameters);
    form.append_pair("client_id", "wasmpod").append_pair("grant_type", "refresh_token");
    form.append_pair("refresh_token", token);
    form.finish()
}

fn bearer(token: &str, secrets: Vec<String>, has_credential: bool) -> Result<Authorization> {
    Ok(Authorization { header: Some(sensitive(&format!("Bearer {token}"))?), secrets, has_credential })
}

fn basic(username: &str, password: &str) -> Result<Authorization> {
    let encoded = BASE64.encode(format!("{username}:{password}"));
    let header = sensitive(&format!("Basic {encoded}"))?;
    Ok(Authorization { header: Some(header), secrets: vec![password.to_owned(), encoded], has_credential: true })
}

/// A header that HTTP libraries do not show.
fn sensitive(value: &str) -> Result<HeaderValue> {
    let mut value =
        HeaderValue::from_str(value).map_err(|_| Error::invalid("the credential holds characters that HTTP cannot send"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::super::{DockerConfig, RegistryConfig, Secret};
    use super::*;

    /// What becomes of the registry's credential when it names this token service.
    async fn realm_gets(registry: &str, base: &str, realm: &str) -> String {
        let file = br#"{"auths": {"registry.acme.example": {"auth": "cmVnOjE="}, "other.example": {"auth": "b3RoZXI6Mg=="},
            "127.0.0.1:5000": {"auth": "bG9jYWw6Mw=="}}}"#;
        let credentials = Credentials::new(vec![DockerConfig::parse(file, "test").unwrap()]);
        let (location, base) = (Location::parse(registry, false), Url::parse(base).unwrap());
        let transport = Transport::new(&RegistryConfig::anonymous(), &location.host, false).await.unwrap();
        let authorizer =
            Authorizer { transport: &transport, credentials: &credentials, location: &location, base: &base, scope: "" };
        let realm = match authorizer.realm(realm) {
            Ok(realm) => realm,
            Err(error) => return error.to_string(),
        };
        let own = credentials.for_repository(&location.host, &location.repository).await.unwrap();
        match authorizer.for_realm(&realm, own).await.unwrap() {
            Some(Credential::Basic { username, .. }) => username,
            other => format!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_credential_goes_to_its_registry_and_its_own_token_service() {
        let acme = |realm: &'static str| realm_gets("registry.acme.example/app", "https://registry.acme.example/", realm);
        assert_eq!(acme("https://registry.acme.example/token").await, "reg");
        assert_eq!(acme("https://registry.acme.example:8443/token").await, "reg");
        // `example` is no public suffix, so nobody knows whether these two have one owner.
        assert_eq!(acme("https://auth.acme.example/token").await, "None");
        assert_eq!(acme("https://evil.example/token").await, "None");
        assert_eq!(acme("https://other.example/token").await, "other");
        assert_eq!(
            acme("http://registry.acme.example/token").await,
            "registry.acme.example: the registry names a token service at http://registry.acme.example, which is not safe"
        );
        assert!(acme("https://u:p@registry.acme.example/token").await.contains("with a password in its URL"));
        assert!(acme("token").await.contains("not a URL"));
    }

    #[tokio::test]
    async fn on_the_loopback_plain_http_will_do() {
        let local = |realm: &'static str| realm_gets("127.0.0.1:5000/app", "http://127.0.0.1:5000/", realm);
        assert_eq!(local("http://127.0.0.1:5001/token").await, "local");
        assert!(local("http://localhost:5001/token").await.contains("not safe"));
        assert!(local("http://10.0.0.1/token").await.contains("not safe"));
    }

    #[test]
    fn headers_do_not_show_what_they_hold() {
        let header = basic("me", Secret::new("hunter2").reveal()).unwrap().header.unwrap();
        assert_eq!(format!("{header:?}"), "Sensitive");
    }
}
