//! A request, answered by a guest: a fresh instance in a store of its own.
//!
//! ```text
//!   request ─▶ resources in the store ─▶ instantiate ─▶ incoming-handler.handle ─ response-outparam.set ─▶ head ─▶ client
//!                                                            │ goes on: body ─────────────────────────────────▶
//!                                                            └─ returns, traps, or is killed
//! ```
//! A guest that fails costs its client a `500`, or the connection where the head of the answer has left already, and nobody else
//! anything.

use super::server::{Handler, RequestSlot};
use crate::wasi::{HasWasi, limit_host_calls};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::{Error, WasiBody};

/// The work on one request: instantiation, the guest, its end.
pub type GuestTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the server asks of the container it serves for.
pub trait HttpGuests<T: 'static>: Send + Sync + 'static {
    /// A store for one request, with every limit set.
    ///
    /// # Errors
    /// When there is no room for one more; the client gets a `503`.
    fn store(&self) -> wasmtime::Result<Store<T>>;

    /// Runs the work on a request, where guests run. It ends soon after the server was killed or dropped.
    fn spawn(&self, task: GuestTask) {
        drop(tokio::spawn(task));
    }

    /// A guest trapped, or ended without an answer.
    fn failed(&self, error: &wasmtime::Error);
}

/// Has a component answer requests.
pub(super) struct GuestHandler<T: 'static> {
    pub(super) proxy: ProxyPre<T>,
    pub(super) guests: Arc<dyn HttpGuests<T>>,
}

impl<T: HasWasi> Handler for GuestHandler<T> {
    async fn handle(&self, request: Request<Incoming>, slot: RequestSlot) -> Response<WasiBody> {
        if !names_a_host(&request) {
            return plain(StatusCode::BAD_REQUEST, "the request names no host\n");
        }
        let store = match self.guests.store() {
            Ok(store) => store,
            Err(error) => {
                self.guests.failed(&error);
                return plain(StatusCode::SERVICE_UNAVAILABLE, "no room for one more request\n");
            }
        };
        let (answer, head) = oneshot::channel();
        let call = GuestCall { proxy: self.proxy.clone(), guests: Arc::clone(&self.guests), request, answer };
        self.guests.spawn(Box::pin(run(slot, store, call)));
        match head.await {
            Ok(Ok(response)) => response,
            // The guest gave an error instead of an answer.
            Ok(Err(code)) => {
                tracing::debug!(target: "wasmpod::http", ?code, "the guest answered with an error");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "the container could not answer\n")
            }
            Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the container failed\n"),
        }
    }
}

/// Whether a guest can be told which host the request is for: by its URI, or by a `Host` that is text.
fn names_a_host<B>(request: &Request<B>) -> bool {
    request.uri().authority().is_some() || request.headers().get(HOST).is_some_and(|host| host.to_str().is_ok())
}

/// What a guest is called with, and whom it belongs to.
struct GuestCall<T: 'static> {
    proxy: ProxyPre<T>,
    guests: Arc<dyn HttpGuests<T>>,
    request: Request<Incoming>,
    answer: oneshot::Sender<Result<Response<WasiBody>, ErrorCode>>,
}

/// Runs a guest to its end. The slot comes first, so that it is given back last: the room that the store takes is free by then.
async fn run<T: HasWasi>(slot: RequestSlot, store: Store<T>, call: GuestCall<T>) {
    let guests = Arc::clone(&call.guests);
    let result = tokio::select! {
        biased;
        () = slot.killed() => Ok(()),
        result = handle(store, call) => result,
    };
    if let Err(error) = result {
        guests.failed(&error);
    }
}

async fn handle<T: HasWasi>(mut store: Store<T>, call: GuestCall<T>) -> wasmtime::Result<()> {
    // Declared after the store, so dropped before it: the body must know of a failure when its writer, in the store, is gone.
    let mut verdict = Verdict { failed: Arc::default(), returned: false };
    let answered = Arc::new(AtomicBool::new(false));
    limit_host_calls(&mut store);

    let GuestCall { proxy, guests: _, request, answer } = call;
    let mut http = store.data_mut().wasi().http();
    let request = http.new_incoming_request(Scheme::Http, request)?;
    let (note, failed) = (Arc::clone(&answered), Arc::clone(&verdict.failed));
    let outparam = http.new_response_outparam_from_callback(move |response| {
        note.store(true, Ordering::Relaxed);
        // The client may have gone.
        drop(answer.send(response.map(|response| response.map(|body| GuestBody { body, failed }.boxed_unsync()))));
    })?;
    let instance = proxy.instantiate_async(&mut store).await?;
    instance.wasi_http_incoming_handler().call_handle(&mut store, request, outparam).await?;
    verdict.returned = true;
    store.data_mut().wasi().flush_output().await;
    if answered.load(Ordering::Relaxed) { Ok(()) } else { Err(wasmtime::format_err!("the guest ended without an answer")) }
}

/// Says that the guest failed, unless it returned: it trapped, was killed, or the host panicked.
struct Verdict {
    failed: Arc<AtomicBool>,
    returned: bool,
}

impl Drop for Verdict {
    fn drop(&mut self) {
        if !self.returned {
            self.failed.store(true, Ordering::Release);
        }
    }
}

/// The body of a guest's answer, whose end counts only if the guest did not fail. `wasmtime-wasi-http` takes the end of the writer
/// for the end of the body; here it is an error then, upon which hyper cuts the connection: no client takes half an answer for a
/// whole one.
struct GuestBody {
    body: WasiBody,
    failed: Arc<AtomicBool>,
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None if self.failed.load(Ordering::Acquire) => Poll::Ready(Some(Err(Error::HttpResponseIncomplete))),
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer of the server's own.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Response<WasiBody> {
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use http_body_util::Empty;

    /// How a body ends whose writer is gone, with the guest that had it.
    fn end_of_body(returned: bool) -> Result<(), Error> {
        let failed = Arc::default();
        drop(Verdict { failed: Arc::clone(&failed), returned });
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        GuestBody { body, failed }.collect().now_or_never().unwrap().map(drop)
    }

    #[test]
    fn the_body_of_a_guest_that_failed_has_no_good_end() {
        assert!(end_of_body(true).is_ok());
        assert!(matches!(end_of_body(false), Err(Error::HttpResponseIncomplete)));
    }

    #[test]
    fn a_request_needs_a_host_that_is_text() {
        let request = |uri: &str, host: Option<&[u8]>| {
            let mut request = Request::new(());
            *request.uri_mut() = uri.parse().unwrap();
            host.map(|host| request.headers_mut().insert(HOST, HeaderValue::from_bytes(host).unwrap()));
            names_a_host(&request)
        };
        assert!(request("/", Some(b"shop")));
        assert!(request("http://shop/", None));
        assert!(!request("/", None));
        assert!(!request("/", Some("café".as_bytes())));
    }
}
