//! `wasi:sockets` 0.2 over the pod's network.
//!
//! Every function of the seven interfaces is here, with the states, errors and readiness that their WIT documentation describes; the
//! network itself, with its addresses, ports and queues, is [`net`](crate::net).
//!
//! ```text
//!   instance-network ─▶ network (a token)        tcp-create-socket ─▶ tcp-socket ─▶ input-stream, output-stream
//!   ip-name-lookup ───▶ resolve-address-stream   udp-create-socket ─▶ udp-socket ─▶ incoming-, outgoing-datagram-stream
//! ```

mod names;
mod network;
mod streams;
mod tcp;
mod udp;

use super::HasWasi;
use crate::net::ContainerNet;
use std::task::Context;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::WasiCtxView;
use wasmtime_wasi::WasiView as _;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "wasmpod:host/sockets",
        imports: { default: trappable },
        require_store_data_send: true,
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
            "wasi:sockets/network.network": super::network::Network,
            "wasi:sockets/tcp.tcp-socket": super::tcp::TcpResource,
            "wasi:sockets/udp.udp-socket": super::udp::UdpResource,
            "wasi:sockets/udp.incoming-datagram-stream": super::udp::IncomingDatagrams,
            "wasi:sockets/udp.outgoing-datagram-stream": super::udp::OutgoingDatagrams,
            "wasi:sockets/ip-name-lookup.resolve-address-stream": super::names::ResolvedAddresses,
        },
        trappable_error_type: {
            "wasi:sockets/network.error-code" => super::network::SocketError,
        },
    });
}

/// What the host functions work on.
pub(super) struct Sockets<'a> {
    table: &'a mut ResourceTable,
    net: &'a ContainerNet,
}

/// Names [`Sockets`] to wasmtime.
struct HasSockets;

impl HasData for HasSockets {
    type Data<'a> = Sockets<'a>;
}

fn sockets<T: HasWasi>(data: &mut T) -> Sockets<'_> {
    data.wasi().sockets()
}

impl super::WasiState {
    fn sockets(&mut self) -> Sockets<'_> {
        let WasiCtxView { table, .. } = self.host.ctx();
        Sockets { table, net: &self.net }
    }
}

/// Links the seven interfaces.
pub(super) fn add_to_linker<T: HasWasi>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    use bindings::wasi::sockets as wasi;
    let mut options = wasi::network::LinkOptions::default();
    options.network_error_code(true);
    wasi::network::add_to_linker::<T, HasSockets>(linker, &options, sockets)?;
    wasi::instance_network::add_to_linker::<T, HasSockets>(linker, sockets)?;
    wasi::ip_name_lookup::add_to_linker::<T, HasSockets>(linker, sockets)?;
    wasi::tcp::add_to_linker::<T, HasSockets>(linker, sockets)?;
    wasi::tcp_create_socket::add_to_linker::<T, HasSockets>(linker, sockets)?;
    wasi::udp::add_to_linker::<T, HasSockets>(linker, sockets)?;
    wasi::udp_create_socket::add_to_linker::<T, HasSockets>(linker, sockets)?;
    Ok(())
}

/// To look whether something is ready without waiting for it.
fn without_waiting() -> Context<'static> {
    Context::from_waker(std::task::Waker::noop())
}

#[cfg(test)]
mod tests;
