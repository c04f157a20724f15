//! `ip-name-lookup`: the names of the pod first, then the outside by policy.

use super::bindings::wasi::sockets::ip_name_lookup;
use super::bindings::wasi::sockets::network::{ErrorCode, IpAddress};
use super::network::{Network, SocketResult};
use super::{Sockets, without_waiting};
use crate::limits;
use crate::net::{Lookup, NetError};
use std::task::Poll;
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

/// The `resolve-address-stream` resource.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct ResolvedAddresses {
    lookup: Lookup,
    /// How many addresses the guest has had.
    next: usize,
}

impl ip_name_lookup::Host for Sockets<'_> {
    fn resolve_addresses(&mut self, network: Resource<Network>, name: String) -> SocketResult<Resource<ResolvedAddresses>> {
        self.table.get(&network)?;
        let mut lookup = self.net.resolve(&name);
        // What is no name fails at once; what does not resolve, when the guest asks for the first address.
        if let Poll::Ready(Err(NetError::InvalidArgument)) = lookup.poll_addresses(&mut without_waiting()) {
            return Err(ErrorCode::InvalidArgument.into());
        }
        Ok(self.table.push(ResolvedAddresses { lookup, next: 0 })?)
    }
}

impl ip_name_lookup::HostResolveAddressStream for Sockets<'_> {
    fn resolve_next_address(&mut self, stream: Resource<ResolvedAddresses>) -> SocketResult<Option<IpAddress>> {
        let stream = self.table.get_mut(&stream)?;
        let Poll::Ready(addresses) = stream.lookup.poll_addresses(&mut without_waiting()) else {
            return Err(ErrorCode::WouldBlock.into());
        };
        let address = addresses?.iter().take(limits::ADDRESSES_PER_NAME_MAX).nth(stream.next);
        stream.next = stream.next.saturating_add(1);
        // The WIT rules IPv4-mapped addresses out.
        Ok(address.map(|address| address.to_canonical().into()))
    }

    fn subscribe(&mut self, stream: Resource<ResolvedAddresses>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, stream)
    }

    fn drop(&mut self, stream: Resource<ResolvedAddresses>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}

#[async_trait]
impl Pollable for ResolvedAddresses {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.lookup.poll_addresses(cx).map(|_| ())).await;
    }
}
