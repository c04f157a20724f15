//! Outgoing requests: the authority is looked up as every name in the pod, so `localhost`, the pod's own names and addresses stay in
//! the pod, and everything else goes out by the egress policy.
//!
//! ```text
//!   http://api:8080/x ─▶ Target {api, 8080} ─▶ ContainerNet::resolve ─▶ tcp_socket, connect ─▶ [TLS] ─▶ hyper, HTTP/1
//! ```
//! The request line has the path alone, and `Host` is the very authority that was connected to: what the policy judged is what the
//! server sees.

use super::error::{of_connect, of_lookup};
use super::tls;
use crate::limits;
use crate::net::{AddressFamily, ContainerNet, NetError, PodStream};
use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use rustls::ClientConfig;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, timeout};
use wasmtime_wasi::runtime::AbortOnDropJoinHandle;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

/// Sends the requests of one container.
#[derive(Clone)]
pub(super) struct Client {
    net: ContainerNet,
    tls: Option<Arc<ClientConfig>>,
}

/// What a connection is read from and written to, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Client {
    pub(super) fn new(net: ContainerNet, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { net, tls }
    }

    /// Sends a request on a connection of its own. The second half of the answer drives the connection and ends with it.
    pub(super) async fn send(
        self,
        mut request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<(Response<WasiBody>, impl Future<Output = Result<(), Error>> + Send + use<>), Error> {
        let limit = Duration::from_secs(limits::HTTP_CLIENT_SECONDS_MAX);
        let connect = options.connect_timeout.unwrap_or(Duration::from_secs(limits::HTTP_CONNECT_SECONDS_DEFAULT)).min(limit);
        let first_byte = options.first_byte_timeout.unwrap_or(limit).min(limit);
        let between_bytes = options.between_bytes_timeout.unwrap_or(limit).min(limit);

        let target = Target::take(&mut request)?;
        let stream = timeout(connect, self.connect(target)).await.map_err(|_| Error::ConnectionTimeout)??;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(limits::HTTP_BUFFER_BYTES_MAX)
            .max_headers(limits::HTTP_HEADERS_MAX)
            .handshake(TokioIo::new(stream))
            .await?;
        let connection = wasmtime_wasi::runtime::spawn(connection);

        let response = timeout(first_byte, sender.send_request(request)).await.map_err(|_| Error::ConnectionReadTimeout)??;
        let response = response.map(|body| ResponseBody::new(body, between_bytes).boxed_unsync());
        Ok((response, drive(connection)))
    }

    async fn connect(&self, target: Target) -> Result<Box<dyn Stream>, Error> {
        let stream = self.dial(&target.host, target.port).await?;
        if !target.tls {
            return Ok(Box::new(stream));
        }
        Ok(Box::new(tls::connect(self.tls.clone(), &target.host, stream).await?))
    }

    /// Connects to the first address of `host` that answers. When none does, it is the first one's error that counts.
    async fn dial(&self, host: &str, port: u16) -> Result<PodStream, Error> {
        let addresses = self.net.resolve(host).addresses().await.map_err(of_lookup)?;
        let mut first_error = None;
        for ip in addresses.into_iter().take(limits::ADDRESSES_PER_NAME_MAX) {
            match self.dial_address(SocketAddr::new(ip, port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => _ = first_error.get_or_insert(error),
            }
        }
        Err(first_error.map_or(Error::DestinationNotFound, of_connect))
    }

    async fn dial_address(&self, address: SocketAddr) -> Result<PodStream, NetError> {
        let socket = self.net.tcp_socket(AddressFamily::of(address.ip()))?;
        socket.connected(address).await?;
        PodStream::of_socket(socket)
    }
}

/// Waits for the end of a connection; dropping it ends the connection. Whoever reads the body is told how it ended, nobody else cares.
async fn drive(connection: AbortOnDropJoinHandle<Result<(), hyper::Error>>) -> Result<(), Error> {
    if let Err(error) = connection.await {
        tracing::debug!(target: "wasmpod::http", %error, "an outgoing connection broke off");
    }
    Ok(())
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    /// A name or an IP address, the latter without brackets.
    host: String,
    port: u16,
    tls: bool,
}

impl Target {
    /// Takes the target out of `request`, which then has the path alone in its URI and the authority as its one `Host`.
    fn take<B>(request: &mut Request<B>) -> Result<Self, Error> {
        // A tunnel cannot be had by this interface, and its request line would be an authority.
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let uri = std::mem::take(request.uri_mut());
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        // `user@host`: credentials in a `Host` are for nobody.
        if authority.as_str().contains('@') {
            return Err(Error::HttpRequestUriInvalid);
        }
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        let port = explicit_port(authority)?.unwrap_or(if tls { 443 } else { 80 });
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let value = HeaderValue::from_str(authority.as_str()).map_err(|_| Error::HttpRequestUriInvalid)?;
        *request.uri_mut() = origin_form(&uri, request.method())?;
        request.headers_mut().insert(HOST, value);
        Ok(Self { host, port, tls })
    }
}

/// The port that an authority names. [`Authority::port`] would pass over one that is no port, and the request end up elsewhere.
fn explicit_port(authority: &Authority) -> Result<Option<u16>, Error> {
    let after_host = authority.as_str().strip_prefix(authority.host()).ok_or(Error::HttpRequestUriInvalid)?;
    match after_host.strip_prefix(':') {
        None if !after_host.is_empty() => Err(Error::HttpRequestUriInvalid),
        // RFC 3986, 3.2.3: a colon without a port is the default port.
        None | Some("") => Ok(None),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => match port.parse() {
            Ok(port) => Ok(Some(port)),
            Err(_) => Err(Error::HttpRequestUriInvalid),
        },
        Some(_) => Err(Error::HttpRequestUriInvalid),
    }
}

/// The path and query alone, or the `*` of OPTIONS: never a URL, which a server behind another would take for a request to it.
fn origin_form(uri: &Uri, method: &Method) -> Result<Uri, Error> {
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    if path.starts_with('/') || (path == "*" && method == Method::OPTIONS) {
        return path.parse().map_err(|_| Error::HttpRequestUriInvalid);
    }
    Err(Error::HttpRequestUriInvalid)
}

/// The body of a response, each part of which must come in time.
struct ResponseBody {
    incoming: Incoming,
    between_bytes: Duration,
    patience: Pin<Box<Sleep>>,
    /// Whether `patience` runs: only while somebody waits, so that a guest that is slow itself sees no timeout.
    waiting: bool,
}

impl ResponseBody {
    fn new(incoming: Incoming, between_bytes: Duration) -> Self {
        Self { incoming, between_bytes, patience: Box::pin(tokio::time::sleep(between_bytes)), waiting: false }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) {
            this.waiting = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        }
        if !this.waiting {
            this.waiting = true;
            this.patience.as_mut().reset(Instant::now() + this.between_bytes);
        }
        ready!(this.patience.as_mut().poll(cx));
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request line's target, `Host`, and where to connect.
    fn taken(method: Method, uri: &str) -> Result<(String, String, Target), String> {
        let mut request = Request::builder().method(method).uri(uri).header(HOST, "somebody-else").body(()).unwrap();
        let target = Target::take(&mut request).map_err(|error| format!("{error:?}"))?;
        assert_eq!(request.headers().get_all(HOST).iter().count(), 1);
        Ok((request.uri().to_string(), request.headers()[HOST].to_str().unwrap().to_owned(), target))
    }

    fn target(host: &str, port: u16, tls: bool) -> Target {
        Target { host: host.to_owned(), port, tls }
    }

    #[test]
    fn the_request_line_is_the_path_and_host_is_the_authority() {
        let http = taken(Method::GET, "http://api:8080/a?b=http://c/").unwrap();
        assert_eq!(http, ("/a?b=http://c/".to_owned(), "api:8080".to_owned(), target("api", 8080, false)));
        let https = taken(Method::GET, "https://example.com").unwrap();
        assert_eq!(https, ("/".to_owned(), "example.com".to_owned(), target("example.com", 443, true)));
        let ipv6 = taken(Method::POST, "http://[::1]/x").unwrap();
        assert_eq!(ipv6, ("/x".to_owned(), "[::1]".to_owned(), target("::1", 80, false)));
        let ipv6 = taken(Method::POST, "http://[::1]:81/").unwrap();
        assert_eq!(ipv6.2, target("::1", 81, false));
    }

    #[test]
    fn what_is_no_authority_of_a_server_is_refused() {
        for uri in ["http://user:secret@api/", "http://api:99999/", "http://api:65536/", "/only/a/path"] {
            assert_eq!(taken(Method::GET, uri).unwrap_err(), "HttpRequestUriInvalid", "{uri}");
        }
        assert_eq!(taken(Method::CONNECT, "http://api/").unwrap_err(), "HttpRequestMethodInvalid");
    }
}
