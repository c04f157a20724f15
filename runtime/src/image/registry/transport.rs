//! HTTP with a registry: connections, redirects, time limits, errors.
//!
//! A redirect is followed by this module and not by the HTTP library, because it decides where a credential goes: to the origin that it
//! is for and, from the first redirect to another origin on, nowhere. A redirect never leads from `https` to `http`.

use super::RegistryConfig;
use super::endpoint::{is_loopback, without_port};
use super::trust;
use crate::limits::{
    REGISTRY_CONNECT_TIME_MAX, REGISTRY_CONNECTIONS_IDLE_MAX, REGISTRY_DOCUMENT_TIME_MAX, REGISTRY_HEADERS_MAX,
    REGISTRY_REDIRECTS_MAX, REGISTRY_STALL_TIME_MAX,
};
use crate::{Error, ErrorKind, Result};
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::{Body, Client, Response, Url};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a request is made of.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// Sent to the origin of `url` alone.
    pub(super) authorization: Option<HeaderValue>,
}

impl Request {
    /// `GET url`.
    pub(super) fn get(url: Url) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), authorization: None }
    }
}

/// A request's body, and how much of it is on its way.
pub(super) struct Upload {
    pub(super) body: Body,
    pub(super) length: u64,
    /// Rises with every piece; a body that stands still is given up.
    pub(super) sent: Arc<AtomicU64>,
}

/// The connections to one registry and to where it redirects.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    client: Client,
}

impl Transport {
    /// Reads the certificates for `host` and makes the client.
    ///
    /// # Errors
    /// As [`trust::client_config`], and a proxy that is no URL.
    pub(super) async fn new(config: &RegistryConfig, host: &str, insecure: bool) -> Result<Self> {
        let (config, host) = (config.clone(), host.to_owned());
        let made = tokio::task::spawn_blocking(move || {
            let tls = trust::client_config(&config, &host, insecure)?;
            let mut builder = Client::builder()
                .tls_backend_preconfigured(tls)
                .user_agent(concat!("wasmpod/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(REGISTRY_CONNECT_TIME_MAX)
                .pool_max_idle_per_host(REGISTRY_CONNECTIONS_IDLE_MAX)
                .http1_max_headers(REGISTRY_HEADERS_MAX)
                .no_proxy();
            if !is_loopback(without_port(&host)) {
                for proxy in proxies(&config)? {
                    builder = builder.proxy(proxy);
                }
            }
            builder.build().map_err(|error| Error::internal("cannot set the HTTP client up").because(error.without_url()))
        });
        Ok(Self { client: made.await.map_err(|_| Error::internal("the HTTP client could not be set up"))?? })
    }

    /// Sends a request without a body, follows redirects, and gives the last answer, whatever its status.
    ///
    /// # Errors
    /// Reason `RegistryUnavailable` when there is no answer; a redirect that must not be followed.
    pub(super) async fn send(&self, request: Request) -> Result<Response> {
        let Request { method, mut url, headers, mut authorization } = request;
        for _ in 0..=REGISTRY_REDIRECTS_MAX {
            let response = self.send_once(&method, &url, &headers, authorization.as_ref()).await?;
            let follows = method == Method::GET || method == Method::HEAD;
            if !follows || !is_redirect(response.status()) {
                return Ok(response);
            }
            let next = redirect(&url, &response)?;
            if next.origin() != url.origin() {
                authorization = None;
            }
            url = next;
        }
        Err(Error::limit(format!("the registry redirects more than {REGISTRY_REDIRECTS_MAX} times")).at(host_of(&url)))
    }

    /// Sends a form, as OAuth 2.0 has it, to a token service.
    pub(super) async fn send_form(&self, url: &Url, form: String) -> Result<Response> {
        let request = self.client.post(url.clone()).header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let sending = request.body(form).send();
        let answer = tokio::time::timeout(REGISTRY_STALL_TIME_MAX, sending).await.map_err(|_| stalled(url))?;
        answer.map_err(|error| no_answer(url, error))
    }

    /// Sends a request with a body. Redirects are not followed: nobody redirects an upload.
    pub(super) async fn upload(&self, request: Request, upload: Upload) -> Result<Response> {
        let Request { method, url, headers, authorization } = request;
        let Upload { body, length, sent } = upload;
        let mut builder = self.client.request(method, url.clone()).headers(headers).header(CONTENT_LENGTH, length).body(body);
        if let Some(value) = authorization {
            builder = builder.header(AUTHORIZATION, value);
        }
        let mut sending = std::pin::pin!(builder.send());
        let mut before = u64::MAX;
        loop {
            match tokio::time::timeout(REGISTRY_STALL_TIME_MAX, sending.as_mut()).await {
                Ok(answer) => return answer.map_err(|error| no_answer(&url, error)),
                Err(_) => {
                    let now = sent.load(Ordering::Relaxed);
                    if now == before {
                        return Err(stalled(&url));
                    }
                    before = now;
                }
            }
        }
    }

    async fn send_once(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response> {
        let mut builder = self.client.request(method.clone(), url.clone()).headers(headers.clone());
        if let Some(value) = authorization {
            builder = builder.header(AUTHORIZATION, value);
        }
        tracing::debug!(target: "wasmpod::image", %method, host = host_of(url), path = url.path(), "asking the registry");
        let answer = tokio::time::timeout(REGISTRY_STALL_TIME_MAX, builder.send()).await.map_err(|_| stalled(url))?;
        answer.map_err(|error| no_answer(url, error))
    }
}

/// Reads a body that is a small document, up to `limit` bytes.
///
/// # Errors
/// [`Limit`](ErrorKind::Limit) when it is longer, [`Unavailable`](ErrorKind::Unavailable) when it does not come in time.
pub(super) async fn read_document(mut response: Response, limit: u64, what: &str) -> Result<Bytes> {
    let host = host_of(response.url());
    let too_long = || Error::limit(format!("{what} is longer than {limit} bytes")).at(&host);
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_long());
    }
    let read = async {
        let mut document = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(&host, error))? {
            if (document.len() as u64).saturating_add(chunk.len() as u64) > limit {
                return Err(too_long());
            }
            document.extend_from_slice(&chunk);
        }
        Ok(document.freeze())
    };
    let slow = |_| {
        let message = format!("{what} did not arrive within {} s", REGISTRY_DOCUMENT_TIME_MAX.as_secs());
        Error::new(ErrorKind::Unavailable, message).at(&host).with_reason("RegistryUnavailable")
    };
    tokio::time::timeout(REGISTRY_DOCUMENT_TIME_MAX, read).await.map_err(slow)?
}

/// `host[:port]` of a URL, for messages: paths and queries may be signed, which makes them credentials.
pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A body that broke off.
pub(super) fn broken(host: &str, error: reqwest::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the connection broke off").at(host).because(error.without_url())
}

/// Whether the other side, or something between, cannot be trusted by its certificate: no reason to try without one.
pub(super) fn is_certificate_error(error: &Error) -> bool {
    error.kind() == ErrorKind::Denied
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect leads, if one may go there.
fn redirect(from: &Url, response: &Response) -> Result<Url> {
    let wrong = |message: String| Error::invalid(message).at(host_of(from));
    let to = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let to = to.ok_or_else(|| wrong("the registry redirects to nowhere".to_owned()))?;
    let to = from.join(to).map_err(|_| wrong("the registry redirects to something that is not a URL".to_owned()))?;
    let host = to.host_str().unwrap_or_default();
    let plain_is_fine = from.scheme() == "http" && (is_loopback(host.trim_matches(['[', ']'])) || from.host() == to.host());
    match to.scheme() {
        "https" => {}
        "http" if plain_is_fine => {}
        scheme => return Err(wrong(format!("the registry redirects to {scheme}://{host}, which is not safe"))),
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(wrong(format!("the registry redirects to {host} with a password in the URL")));
    }
    Ok(to)
}

fn proxies(config: &RegistryConfig) -> Result<Vec<reqwest::Proxy>> {
    let exceptions = config.proxy.exceptions.as_deref().and_then(reqwest::NoProxy::from_string);
    let proxy = |made: Result<reqwest::Proxy, reqwest::Error>| {
        // The URL may hold a password.
        made.map(|proxy| proxy.no_proxy(exceptions.clone()))
            .map_err(|_| Error::invalid("the proxy is not a URL").at("HTTPS_PROXY or HTTP_PROXY"))
    };
    let https = config.proxy.https.as_ref().map(|url| proxy(reqwest::Proxy::https(url)));
    let http = config.proxy.http.as_ref().map(|url| proxy(reqwest::Proxy::http(url)));
    https.into_iter().chain(http).collect()
}

fn stalled(url: &Url) -> Error {
    let message = format!("the registry did not answer within {} s", REGISTRY_STALL_TIME_MAX.as_secs());
    Error::new(ErrorKind::Unavailable, message).at(host_of(url)).with_reason("RegistryUnavailable")
}

/// Says why there is no answer. A certificate that is not trusted is told from a registry that is not there.
fn no_answer(url: &Url, error: reqwest::Error) -> Error {
    let host = host_of(url);
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(&error);
    let mut deepest = None;
    while let Some(inner) = cause {
        if let Some(tls) = tls_error(inner) {
            if let rustls::Error::InvalidCertificate(problem) = tls {
                return Error::new(ErrorKind::Denied, "the registry's certificate is not trusted")
                    .at(host)
                    .because(format!("{problem}"))
                    .hint(
                        "name the authority that vouches for it by --ca-file, or put it into /etc/containers/certs.d/HOST/ca.crt",
                    );
            }
            deepest = Some(tls.to_string());
        } else {
            deepest = Some(inner.to_string());
        }
        cause = inner.source();
    }
    let message = if error.is_timeout() { "the registry cannot be reached in time" } else { "the registry cannot be reached" };
    let error = Error::new(ErrorKind::Unavailable, message).at(host).with_reason("RegistryUnavailable");
    match deepest {
        Some(cause) => error.because(cause),
        None => error,
    }
}

/// The error of the TLS library, which the layers above wrap several times.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref() {
        return Some(tls);
    }
    // `source` of such an error skips what it holds.
    let mut held = error.downcast_ref::<std::io::Error>()?.get_ref()?;
    loop {
        match held.downcast_ref::<rustls::Error>() {
            Some(tls) => return Some(tls),
            None => held = held.downcast_ref::<std::io::Error>()?.get_ref()?,
        }
    }
}
