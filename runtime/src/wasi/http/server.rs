//! Serves HTTP: a listener in the pod's network, hyper on each connection, a handler for each request.
//!
//! ```text
//!   accept loop ──▶ one task a connection (hyper, HTTP/1) ──▶ handler, at most HTTP_REQUESTS_PER_CONTAINER_MAX at once
//!        │                        │                             │ a RequestSlot goes along with the request, to its very end
//!      stop: listens no more      answers what has begun        │
//!      kill: listens no more      ends                          told to end; the server waits until each slot is back
//! ```

use super::guest::{GuestHandler, HttpGuests, plain};
use super::timer::TokioTimer;
use crate::limits;
use crate::net::{NetError, PodStream, TcpSocket, TcpState};
use crate::wasi::HasWasi;
use crate::wasi::listen::Dual;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

/// An HTTP container at work: each request on a fresh instance of its component.
pub struct HttpServer<T: 'static> {
    /// The port it serves.
    pub listener: Dual<TcpSocket>,
    /// The component.
    pub proxy: ProxyPre<T>,
    /// The container behind it.
    pub guests: Arc<dyn HttpGuests<T>>,
}

impl<T: 'static> fmt::Debug for HttpServer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl<T: HasWasi> HttpServer<T> {
    /// Serves until `stop` is ready and every request that had begun is answered, or until `kill` is, which cuts the connections and
    /// ends the guests at their next wait or epoch. Either way no guest is left when this returns. Dropping the future is a kill that
    /// nobody waits for.
    ///
    /// # Errors
    /// When the container's network was closed.
    pub async fn serve(self, stop: impl Future<Output = ()>, kill: impl Future<Output = ()>) -> Result<(), NetError> {
        let handler = GuestHandler { proxy: self.proxy, guests: self.guests };
        serve(&self.listener, handler, stop, kill).await
    }
}

/// Answers requests.
pub(super) trait Handler: Send + Sync + 'static {
    /// The answer to `request`. The task of the connection waits for it, and drops it when the client goes away. Work that outlives
    /// it, as of a guest that still writes its body, takes the slot along.
    fn handle(&self, request: Request<Incoming>, slot: RequestSlot) -> impl Future<Output = Response<WasiBody>> + Send;
}

/// The place of one request among those that a container works on at once; free again when this is dropped.
#[derive(Debug)]
pub(super) struct RequestSlot {
    killed: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl RequestSlot {
    /// Waits until the server is killed.
    pub(super) async fn killed(&self) {
        self.killed.cancelled().await;
    }
}

impl Drop for RequestSlot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(target: "wasmpod::http", "the host panicked at work on a request; this is a bug of wasmpod");
        }
    }
}

/// What the connections of a listener share.
struct Shared<H> {
    handler: H,
    slots: Arc<Semaphore>,
    /// Connections end after the requests that have begun.
    draining: CancellationToken,
    /// Requests end.
    killed: CancellationToken,
}

pub(super) async fn serve<H: Handler>(
    listener: &Dual<TcpSocket>,
    handler: H,
    stop: impl Future<Output = ()>,
    kill: impl Future<Output = ()>,
) -> Result<(), NetError> {
    let killed = CancellationToken::new();
    let _kill_on_drop = killed.clone().drop_guard();
    let slots = Arc::new(Semaphore::new(limits::HTTP_REQUESTS_PER_CONTAINER_MAX));
    let shared = Arc::new(Shared { handler, slots, draining: CancellationToken::new(), killed });
    let mut connections = JoinSet::new();
    let result = tokio::select! {
        biased;
        () = kill => Ok(()),
        result = shared.serve_until(stop, listener, &mut connections) => result,
    };
    close(listener);
    shared.killed.cancel();
    connections.shutdown().await;
    shared.all_slots_free().await;
    result
}

impl<H: Handler> Shared<H> {
    /// Serves until `stop` is ready, and on until all that had begun by then is done.
    async fn serve_until(
        self: &Arc<Self>,
        stop: impl Future<Output = ()>,
        listener: &Dual<TcpSocket>,
        connections: &mut JoinSet<()>,
    ) -> Result<(), NetError> {
        let result = tokio::select! {
            result = self.accept_all(listener, connections) => result,
            () = stop => Ok(()),
        };
        close(listener);
        self.draining.cancel();
        while let Some(ended) = connections.join_next().await {
            report_panic(ended);
        }
        // What guests do after their answer still counts.
        self.all_slots_free().await;
        result
    }

    async fn accept_all(self: &Arc<Self>, listener: &Dual<TcpSocket>, connections: &mut JoinSet<()>) -> Result<(), NetError> {
        let mut not_before = Instant::now();
        loop {
            let accepted = tokio::select! {
                Some(ended) = connections.join_next() => {
                    report_panic(ended);
                    continue;
                }
                accepted = accept(listener, not_before), if connections.len() < limits::HTTP_CONNECTIONS_PER_CONTAINER_MAX => accepted,
            };
            match accepted.and_then(PodStream::of_socket) {
                Ok(stream) => drop(connections.spawn(Arc::clone(self).serve_connection(stream))),
                // The client has gone while it waited.
                Err(NetError::NotConnected | NetError::ConnectionAborted) if is_listening(listener) => {}
                // The connection stays in the backlog until the container has closed a socket.
                Err(NetError::TooManySockets | NetError::OutOfBuffers) => not_before = Instant::now() + limits::HTTP_ACCEPT_RETRY,
                Err(error) => return Err(error),
            }
        }
    }

    async fn serve_connection(self: Arc<Self>, stream: PodStream) {
        let service = hyper::service::service_fn(|request| async { Ok::<_, Infallible>(self.answer(request).await) });
        // Without `half_close`: a client that has ended its half has left, and must not hold a guest that is silent itself.
        let connection = http1::Builder::new()
            .timer(TokioTimer)
            .header_read_timeout(Duration::from_secs(limits::HTTP_HEADER_SECONDS_MAX))
            .max_headers(limits::HTTP_HEADERS_MAX)
            .max_buf_size(limits::HTTP_BUFFER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = &mut connection => result,
            () = self.draining.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(target: "wasmpod::http", %error, "a connection broke off");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<WasiBody> {
        let Ok(permit) = Arc::clone(&self.slots).acquire_owned().await else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "the container stops\n");
        };
        self.handler.handle(request, RequestSlot { killed: self.killed.clone(), _permit: permit }).await
    }

    async fn all_slots_free(&self) {
        let all = u32::try_from(limits::HTTP_REQUESTS_PER_CONTAINER_MAX).unwrap_or(u32::MAX);
        drop(self.slots.acquire_many(all).await);
    }
}

fn close(listener: &Dual<TcpSocket>) {
    listener.ipv4.close();
    listener.ipv6.close();
}

fn is_listening(listener: &Dual<TcpSocket>) -> bool {
    listener.ipv4.state() == TcpState::Listening
}

/// Waits for a connection of either family, and for `not_before`.
async fn accept(listener: &Dual<TcpSocket>, not_before: Instant) -> Result<TcpSocket, NetError> {
    if not_before > Instant::now() {
        tokio::time::sleep_until(not_before).await;
    }
    std::future::poll_fn(|cx| {
        for socket in [&listener.ipv4, &listener.ipv6] {
            if socket.poll_ready(cx).is_ready() {
                match socket.accept() {
                    Err(NetError::WouldBlock) => cx.waker().wake_by_ref(),
                    accepted => return Poll::Ready(accepted),
                }
            }
        }
        Poll::Pending
    })
    .await
}

/// A task ends by itself or is aborted; a panic in one must not end the others, nor go unseen.
fn report_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(target: "wasmpod::http", %error, "the host panicked at work on a connection; this is a bug of wasmpod");
    }
}
