//! One conversation with one repository: requests, with the credential that they turn out to need.

use super::answer::refusal;
use super::authorize::{Authorization, Authorizer};
use super::challenge::Challenge;
use super::endpoint::Location;
use super::transport::{Request, Transport, Upload, is_certificate_error};
use super::{Credentials, RegistryConfig};
use crate::{Error, ErrorKind, Result};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::{Response, Url};
use tokio::sync::Mutex;

/// What is to be done in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read.
    Pull,
    /// Read and write.
    Push,
    /// Nothing: only find out whether a credential is good.
    LogIn,
}

/// A conversation. Nothing is asked with a credential before the registry has said that it wants one.
pub(crate) struct Session {
    transport: Transport,
    credentials: Credentials,
    location: Location,
    base: Url,
    scope: String,
    /// Held while a challenge is answered, so that requests side by side answer it once.
    authorization: Mutex<Authorization>,
}

impl Session {
    /// Starts a conversation. Sends nothing, except to a registry that may be asked by plain HTTP, to find out whether it must be.
    ///
    /// # Errors
    /// Certificates that cannot be read; a registry that cannot be reached.
    pub(crate) async fn open(
        config: &RegistryConfig,
        credentials: Credentials,
        location: Location,
        access: Access,
    ) -> Result<Self> {
        let host = location.host.as_str();
        let said = config.insecure_hosts.iter().any(|insecure| insecure == host) || config.registries.is_insecure(host);
        let location = Location { insecure: location.insecure || said, ..location };
        let transport = Transport::new(config, &location.host, location.insecure).await?;
        let base = base(&transport, &location).await?;
        let scope = match access {
            Access::Pull => format!("repository:{}:pull", location.repository),
            Access::Push => format!("repository:{}:pull,push", location.repository),
            Access::LogIn => String::new(),
        };
        Ok(Self { transport, credentials, location, base, scope, authorization: Mutex::default() })
    }

    /// Where the conversation is held.
    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    /// `/v2/<repository>/<path>` of the registry.
    pub(super) fn url(&self, path: &str) -> Result<Url> {
        let wrong =
            |_| Error::invalid("the repository's name makes no URL").at(self.location.to_string()).with_reason("InvalidImageName");
        match self.location.repository.as_str() {
            "" => self.base.join(&format!("v2/{path}")).map_err(wrong),
            repository => self.base.join(&format!("v2/{repository}/{path}")).map_err(wrong),
        }
    }

    /// Whether `url` is the registry itself: nowhere else may a credential go.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// Sends a request without a body to the registry.
    ///
    /// # Errors
    /// No answer, or a challenge that cannot be answered. Any other answer is for the caller.
    pub(super) async fn send(&self, method: Method, url: Url, headers: HeaderMap) -> Result<Response> {
        let sent = self.header().await;
        let request = |authorization: Option<HeaderValue>| {
            self.transport.send(Request { method: method.clone(), url: url.clone(), headers: headers.clone(), authorization })
        };
        let response = request(sent.clone()).await?;
        match self.answer(&response, sent).await? {
            Some(header) => request(Some(header)).await,
            None => Ok(response),
        }
    }

    /// Sends a request with a body that `make` makes, once more when the registry wants a credential.
    pub(super) async fn upload(&self, method: Method, url: Url, headers: HeaderMap, make: impl Fn() -> Upload) -> Result<Response> {
        let sent = if self.is_own(&url) { self.header().await } else { None };
        let request = |authorization: Option<HeaderValue>| {
            let request = Request { method: method.clone(), url: url.clone(), headers: headers.clone(), authorization };
            self.transport.upload(request, make())
        };
        let response = request(sent.clone()).await?;
        match self.answer(&response, sent).await? {
            Some(header) => request(Some(header)).await,
            None => Ok(response),
        }
    }

    async fn header(&self) -> Option<HeaderValue> {
        self.authorization.lock().await.header.clone()
    }

    /// The header with which to ask again, if the registry itself wants one: `sent` was not enough.
    async fn answer(&self, response: &Response, sent: Option<HeaderValue>) -> Result<Option<HeaderValue>> {
        if response.status() != StatusCode::UNAUTHORIZED || !self.is_own(response.url()) {
            return Ok(None);
        }
        let mut authorization = self.authorization.lock().await;
        // Unless another request has got a newer one meanwhile.
        if authorization.header == sent {
            let challenges = response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|header| header.to_str().ok());
            let Some(challenge) = challenges.filter_map(Challenge::parse).next() else { return Ok(None) };
            let authorizer = Authorizer {
                transport: &self.transport,
                credentials: &self.credentials,
                location: &self.location,
                base: &self.base,
                scope: &self.scope,
            };
            *authorization = authorizer.answer(challenge).await?;
        }
        Ok(authorization.header.clone())
    }

    /// The error that an answer means, about `what`.
    pub(super) async fn refuse(&self, response: Response, what: &str) -> Error {
        let status = response.status();
        let (secrets, has_credential) = {
            let authorization = self.authorization.lock().await;
            (authorization.secrets.clone(), authorization.has_credential)
        };
        let error = refusal(response, &secrets).await.at(what);
        let host = &self.location.host;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if has_credential => {
                error.hint(format!("the credential for {host} was refused: log in anew by wasmpod login {host}"))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                error.hint(format!("there is no credential for {host}: log in by wasmpod login {host}, or name an imagePullSecret"))
            }
            _ => error,
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("location", &self.location).finish_non_exhaustive()
    }
}

/// Where the registry answers. `https` unless it may be plain and only that works: a certificate that is not trusted is never a
/// reason to go on without one.
async fn base(transport: &Transport, location: &Location) -> Result<Url> {
    let url = |scheme: &str| {
        let wrong = |_| Error::invalid("the registry's host makes no URL").at(location.to_string()).with_reason("InvalidImageName");
        Url::parse(&format!("{scheme}://{}/", location.api_host())).map_err(wrong)
    };
    let secure = url("https")?;
    if !location.may_be_plain() {
        return Ok(secure);
    }
    let ping = |base: Url| async {
        let url = base.join("v2/").map_err(|_| Error::internal("no URL"))?;
        transport.send(Request::get(url)).await.map(|_| base)
    };
    match ping(secure).await {
        Err(error) if error.kind() == ErrorKind::Unavailable && !is_certificate_error(&error) => ping(url("http")?).await,
        answered => answered,
    }
}
