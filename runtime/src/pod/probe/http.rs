//! `httpGet` of probes and hooks: the kubelet's `pkg/probe/http`.

use super::connection::{ProbeStream, Target};
use crate::limits::{HTTP_BUFFER_BYTES_MAX, HTTP_HEADERS_MAX, PROBE_ANSWER_BYTES_MAX, PROBE_REDIRECTS_MAX};
use crate::net::PodNet;
use crate::pod::spec::HttpGet;
use crate::pod::state::ProbeAnswer;
use crate::tls::{self, Trust};
use ::http::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use ::http::uri::Scheme;
use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// What came back in the end.
#[derive(Debug)]
pub(in crate::pod) struct Reply {
    status: u16,
    /// The start of the body.
    body: String,
}

/// Asks and judges: a status from 200 to 399 is success. A redirect that is not followed is one with a warning.
pub(super) async fn ask(net: &PodNet, get: &HttpGet, agent: &str) -> ProbeAnswer {
    match request(net, get, agent).await {
        Ok(Reply { status: 200..=299, .. }) => ProbeAnswer::Success,
        Ok(Reply { status: 300..=399, body }) => ProbeAnswer::Warning(format!("Probe terminated redirects, Response body: {body}")),
        Ok(Reply { status, .. }) => ProbeAnswer::Failure(format!("HTTP probe failed with statuscode: {status}")),
        Err(error) => ProbeAnswer::Failure(error),
    }
}

/// Sends the request and follows redirects to the same host.
///
/// # Errors
/// In Go's words, when there was no answer.
pub(in crate::pod) async fn request(net: &PodNet, get: &HttpGet, agent: &str) -> Result<Reply, String> {
    let mut place = Place::of(net, get);
    let first = place.target.host.clone();
    for _ in 0..=PROBE_REDIRECTS_MAX {
        let failed = |error: String| format!("Get \"{}\": {error}", place.url());
        let response = send(net, &place, get, agent).await.map_err(failed)?;
        let status = response.status().as_u16();
        let next = matches!(status, 301 | 302 | 303 | 307 | 308).then(|| place.redirected(net, response.headers())).flatten();
        match next.filter(|next| next.target.host == first) {
            Some(next) => place = next,
            None => return Ok(Reply { status, body: read(response).await }),
        }
    }
    Err(format!("Get \"{}\": stopped after {PROBE_REDIRECTS_MAX} redirects", place.url()))
}

/// The URL of an `httpGet`.
pub(super) fn url(net: &PodNet, get: &HttpGet) -> String {
    Place::of(net, get).url()
}

/// What is asked for, and of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    target: Target,
    tls: bool,
    path: String,
}

impl Place {
    fn of(net: &PodNet, get: &HttpGet) -> Self {
        Self { target: Target::new(net, get.host.as_deref(), get.port), tls: get.tls, path: get.path.clone() }
    }

    fn url(&self) -> String {
        format!("{}://{}{}", if self.tls { "https" } else { "http" }, self.target, self.path)
    }

    /// Where a `Location` leads from here, if it can be understood.
    fn redirected(&self, net: &PodNet, headers: &HeaderMap) -> Option<Self> {
        let location: Uri = headers.get(LOCATION)?.to_str().ok()?.parse().ok()?;
        let path = location.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let Some(host) = location.host() else {
            return path.starts_with('/').then(|| Self { path, ..self.clone() });
        };
        let tls = location.scheme().map_or(self.tls, |scheme| *scheme == Scheme::HTTPS);
        let port = location.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some(Self { target: Target::new(net, Some(host), port), tls, path })
    }
}

/// One request on a connection of its own.
async fn send(net: &PodNet, place: &Place, get: &HttpGet, agent: &str) -> Result<Response<Body>, String> {
    let request = build(place, get, agent).map_err(|error| error.to_string())?;
    let stream = place.target.connect(net).await?;
    if place.tls { exchange(encrypted(&place.target.host, stream).await?, request).await } else { exchange(stream, request).await }
}

/// A body with the task that drives its connection.
type Body = (Incoming, AbortOnDropHandle<()>);

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Response<Body>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    let handshake = builder.max_buf_size(HTTP_BUFFER_BYTES_MAX).max_headers(HTTP_HEADERS_MAX).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| error.to_string())?;
    let driven = AbortOnDropHandle::new(tokio::spawn(async move {
        // What goes wrong is told to whoever waits for the answer.
        drop(connection.await);
    }));
    let response = sender.send_request(request).await.map_err(|error| go_words(&error))?;
    Ok(response.map(|body| (body, driven)))
}

fn go_words(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_closed() { "EOF".to_owned() } else { error.to_string() }
}

/// The request, with what a kubelet adds to the headers of the manifest.
fn build(place: &Place, get: &HttpGet, agent: &str) -> Result<Request<Empty<Bytes>>, ::http::Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in &get.headers {
        headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    for (name, default) in [(HOST, place.target.to_string()), (USER_AGENT, agent.to_owned()), (ACCEPT, "*/*".to_owned())] {
        match headers.get(&name) {
            // An empty value of the manifest means: none at all.
            Some(value) if value.is_empty() && name != HOST => _ = headers.remove(&name),
            Some(_) => {}
            None => _ = headers.insert(name, HeaderValue::try_from(default)?),
        }
    }
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let mut request = Request::get(&place.path).body(Empty::new())?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// The start of the body; the rest is not waited for.
async fn read(response: Response<Body>) -> String {
    let (mut body, _driven) = response.into_body();
    let mut bytes = Vec::new();
    while bytes.len() < PROBE_ANSWER_BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
    }
    bytes.truncate(PROBE_ANSWER_BYTES_MAX);
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn encrypted(host: &str, stream: ProbeStream) -> Result<tokio_rustls::client::TlsStream<ProbeStream>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    // A kubelet does not check the certificates of what it probes.
    let config = tls::client_config(Trust::Everybody).map_err(|error| error.to_string())?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| format!("tls: {error}"))
}
