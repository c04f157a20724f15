//! `wasi:http` 0.2: a component that serves requests, and the requests that components send.
//!
//! ```text
//!   client ─▶ listener in the pod ─▶ server: hyper ─▶ a fresh instance for each request
//!   guest  ─▶ outgoing-handler ─▶ client: names, then the pod's network, then out by policy; TLS for https ─▶ hyper
//! ```

mod client;
mod error;
mod guest;
mod server;
mod timer;
mod tls;

#[cfg(test)]
mod tests;

pub use guest::{GuestTask, HttpGuests};
pub use server::HttpServer;

use super::{HasWasi, WasiState};
use crate::limits;
use crate::net::ContainerNet;
use client::Client;
use std::sync::Arc;
use wasmtime::component::Linker;
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi_http::p2::bindings::http as wasi;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

/// What `wasi:http` needs in a store.
pub(super) struct HttpState {
    context: WasiHttpCtx,
    hooks: Hooks,
}

impl HttpState {
    pub(super) fn new(net: ContainerNet, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(limits::HTTP_HEADER_BYTES_MAX);
        Self { context, hooks: Hooks { client: Client::new(net, tls) } }
    }
}

impl WasiHttpView for WasiState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.http.hooks, table: self.host.ctx().table, ctx: &mut self.http.context }
    }
}

/// Links `wasi:http/types` and `wasi:http/outgoing-handler`.
pub(super) fn add_to_linker<T: HasWasi>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let options = wasmtime_wasi_http::p2::bindings::LinkOptions::default();
    wasi::outgoing_handler::add_to_linker::<T, WasiHttp>(linker, |t| t.wasi().http())?;
    wasi::types::add_to_linker::<T, WasiHttp>(linker, &(&options).into(), |t| t.wasi().http())
}

/// Where wasmtime-wasi-http asks us.
struct Hooks {
    client: Client,
}

type Transmission = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Transmission,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Transmission), Error>> + Send> {
        let client = self.client.clone();
        Box::new(async move {
            let (response, connection) = client.send(request, options.unwrap_or_default()).await?;
            Ok((response, Box::new(connection) as Transmission))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        limits::HTTP_BODY_CHUNK_BYTES_MAX
    }

    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        error::of_hyper(error)
    }

    fn p2_error_from_tls(&mut self, error: &std::io::Error) -> ErrorCode {
        error::of_tls(error)
    }
}
