//! A call from the guest: its memory, every access checked, and its state.

use super::MODULE;
use super::errno::Errno;
use crate::limits;
use crate::wasi::{HasWasi, WasiState};
use std::io::IoSlice;
use wasmtime::{AsContextMut as _, Caller, Memory};
use wasmtime_wasi::p1::WasiP1Ctx;
use wiggle::GuestMemory;

/// One call: whose it is, and where its memory is.
pub(super) struct Guest<'a, 'c, T: 'static> {
    caller: &'a mut Caller<'c, T>,
    memory: Memory,
}

/// How many buffers a gathered write passes on at once; a call with more goes round again.
const SLICES_AT_ONCE: usize = 16;

impl<'a, 'c, T: HasWasi> Guest<'a, 'c, T> {
    /// The call, or a trap when its module has no memory.
    pub(super) fn new(caller: &'a mut Caller<'c, T>) -> wasmtime::Result<Self> {
        match caller.get_export("memory").and_then(wasmtime::Extern::into_memory) {
            Some(memory) => Ok(Self { caller, memory }),
            None => Err(wasmtime::format_err!("a function of {MODULE} was called by a module without an exported memory")),
        }
    }

    /// The memory and the state.
    pub(super) fn parts(&mut self) -> (Bytes<'_>, &mut WasiState) {
        let (bytes, data) = self.memory.data_and_store_mut(&mut *self.caller);
        (Bytes(bytes), data.wasi())
    }

    pub(super) fn memory(&mut self) -> Bytes<'_> {
        self.parts().0
    }

    pub(super) fn state(&mut self) -> &mut WasiState {
        self.caller.data_mut().wasi()
    }

    /// What wasmtime-wasi's own functions work on, with this call's share of host memory set. Opens the directories: whatever
    /// wasmtime-wasi does with descriptors, it numbers all of them first.
    pub(super) fn upstream(&mut self) -> wasmtime::Result<(GuestMemory<'_>, &mut WasiP1Ctx)> {
        self.state().open_directories()?;
        Ok(self.host())
    }

    /// The same for its functions that have to do with no descriptor: the directories stay as they are.
    pub(super) fn host(&mut self) -> (GuestMemory<'_>, &mut WasiP1Ctx) {
        use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1;
        let fuel = self.caller.as_context_mut().hostcall_fuel();
        let (bytes, data) = self.memory.data_and_store_mut(&mut *self.caller);
        let host = &mut data.wasi().host;
        WasiSnapshotPreview1::set_hostcall_fuel(host, fuel);
        (GuestMemory::Unshared(bytes), host)
    }
}

/// The guest's memory.
pub(super) struct Bytes<'m>(&'m mut [u8]);

/// One buffer of a scattered read or gathered write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffer {
    pub(super) address: u32,
    pub(super) length: u32,
}

impl<'m> Bytes<'m> {
    #[cfg(test)]
    pub(super) fn new(bytes: &'m mut [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn slice(&self, address: u32, length: u32) -> Result<&[u8], Errno> {
        let (start, length) = (index(address)?, index(length)?);
        let end = start.checked_add(length).ok_or(Errno::Fault)?;
        self.0.get(start..end).ok_or(Errno::Fault)
    }

    pub(super) fn slice_mut(&mut self, address: u32, length: u32) -> Result<&mut [u8], Errno> {
        let (start, length) = (index(address)?, index(length)?);
        let end = start.checked_add(length).ok_or(Errno::Fault)?;
        self.0.get_mut(start..end).ok_or(Errno::Fault)
    }

    pub(super) fn array<const N: usize>(&self, address: u32) -> Result<[u8; N], Errno> {
        let length = u32::try_from(N).map_err(|_| Errno::Fault)?;
        self.slice(address, length)?.try_into().map_err(|_| Errno::Fault)
    }

    pub(super) fn u8(&self, address: u32) -> Result<u8, Errno> {
        Ok(u8::from_le_bytes(self.array(address)?))
    }

    pub(super) fn u16(&self, address: u32) -> Result<u16, Errno> {
        Ok(u16::from_le_bytes(self.array(address)?))
    }

    pub(super) fn u32(&self, address: u32) -> Result<u32, Errno> {
        Ok(u32::from_le_bytes(self.array(address)?))
    }

    pub(super) fn u64(&self, address: u32) -> Result<u64, Errno> {
        Ok(u64::from_le_bytes(self.array(address)?))
    }

    pub(super) fn put(&mut self, address: u32, bytes: &[u8]) -> Result<(), Errno> {
        let length = u32::try_from(bytes.len()).map_err(|_| Errno::Fault)?;
        self.slice_mut(address, length)?.copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn put_u16(&mut self, address: u32, value: u16) -> Result<(), Errno> {
        self.put(address, &value.to_le_bytes())
    }

    pub(super) fn put_u32(&mut self, address: u32, value: u32) -> Result<(), Errno> {
        self.put(address, &value.to_le_bytes())
    }

    /// Writes how many bytes were read or written.
    pub(super) fn put_length(&mut self, address: u32, length: usize) -> Result<(), Errno> {
        self.put_u32(address, u32::try_from(length).map_err(|_| Errno::Inval)?)
    }

    /// The `index`-th of an array of buffers.
    pub(super) fn buffer(&self, array: u32, index: u32) -> Result<Buffer, Errno> {
        let at = index.checked_mul(8).and_then(|offset| array.checked_add(offset)).ok_or(Errno::Fault)?;
        let [a, b, c, d, e, f, g, h] = self.array(at)?;
        Ok(Buffer { address: u32::from_le_bytes([a, b, c, d]), length: u32::from_le_bytes([e, f, g, h]) })
    }

    /// How many bytes an array of buffers has room for; all of them are in the memory.
    ///
    /// Fails with `EINVAL` for too many buffers, or when the sum could not be told as a length.
    pub(super) fn total(&self, array: u32, count: u32) -> Result<usize, Errno> {
        if count > limits::IOVECS_PER_CALL_MAX {
            return Err(Errno::Inval);
        }
        let mut total: u32 = 0;
        for index in 0..count {
            let buffer = self.buffer(array, index)?;
            self.slice(buffer.address, buffer.length)?;
            total = total.checked_add(buffer.length).ok_or(Errno::Inval)?;
        }
        index(total)
    }

    /// Some of what an array of buffers holds after its first `skip` bytes: enough for one write.
    pub(super) fn gather(&self, array: u32, count: u32, mut skip: usize) -> Result<([IoSlice<'_>; SLICES_AT_ONCE], usize), Errno> {
        let mut slices = std::array::from_fn(|_| IoSlice::new(&[]));
        let mut used = 0;
        for index in 0..count {
            let buffer = self.buffer(array, index)?;
            let bytes = self.slice(buffer.address, buffer.length)?;
            let Some(bytes) = bytes.get(skip..) else {
                skip -= bytes.len();
                continue;
            };
            skip = 0;
            if bytes.is_empty() {
                continue;
            }
            let Some(slice) = slices.get_mut(used) else { break };
            *slice = IoSlice::new(bytes);
            used += 1;
        }
        Ok((slices, used))
    }

    /// All that an array of buffers holds, in one piece; `total` bytes, which the caller has bounded.
    pub(super) fn join(&self, array: u32, count: u32, total: usize) -> Result<Vec<u8>, Errno> {
        let mut joined = Vec::with_capacity(total);
        for index in 0..count {
            let buffer = self.buffer(array, index)?;
            joined.extend_from_slice(self.slice(buffer.address, buffer.length)?);
        }
        Ok(joined)
    }

    /// Spreads `bytes` over an array of buffers and says how many found room.
    pub(super) fn scatter(&mut self, array: u32, count: u32, mut bytes: &[u8]) -> Result<usize, Errno> {
        let length = bytes.len();
        for index in 0..count {
            let buffer = self.buffer(array, index)?;
            let space = self.slice_mut(buffer.address, buffer.length)?;
            let (head, tail) = bytes.split_at(space.len().min(bytes.len()));
            space.get_mut(..head.len()).ok_or(Errno::Fault)?.copy_from_slice(head);
            bytes = tail;
        }
        Ok(length - bytes.len())
    }
}

fn index(value: u32) -> Result<usize, Errno> {
    usize::try_from(value).map_err(|_| Errno::Fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three buffers at 0 of 2, 0 and 3 bytes, at 100, 0 and 200.
    fn memory() -> Vec<u8> {
        let mut memory = vec![0; 300];
        for (index, (address, length)) in [(100u32, 2u32), (0, 0), (200, 3)].into_iter().enumerate() {
            memory[index * 8..index * 8 + 4].copy_from_slice(&address.to_le_bytes());
            memory[index * 8 + 4..index * 8 + 8].copy_from_slice(&length.to_le_bytes());
        }
        memory[100..102].copy_from_slice(b"ab");
        memory[200..203].copy_from_slice(b"cde");
        memory
    }

    #[test]
    fn buffers_are_gathered_from_where_the_last_write_stopped() {
        let mut memory = memory();
        let bytes = Bytes::new(&mut memory);
        assert_eq!(bytes.total(0, 3), Ok(5));
        for (skip, expected) in [(0, "abcde"), (1, "bcde"), (2, "cde"), (4, "e"), (5, "")] {
            let (slices, used) = bytes.gather(0, 3, skip).unwrap();
            let gathered: Vec<u8> = slices[..used].iter().flat_map(|slice| slice.to_vec()).collect();
            assert_eq!(gathered, expected.as_bytes(), "skip {skip}");
        }
        assert_eq!(bytes.join(0, 3, 5).unwrap(), b"abcde");
    }

    #[test]
    fn what_was_read_is_spread_over_the_buffers() {
        let mut memory = memory();
        assert_eq!(Bytes::new(&mut memory).scatter(0, 3, b"1234567"), Ok(5));
        assert_eq!((&memory[100..102], &memory[200..203]), (&b"12"[..], &b"345"[..]));
    }

    #[test]
    fn no_access_leaves_the_memory() {
        let mut memory = memory();
        let mut bytes = Bytes::new(&mut memory);
        assert_eq!(bytes.slice(299, 2), Err(Errno::Fault));
        assert_eq!(bytes.slice(u32::MAX, u32::MAX), Err(Errno::Fault));
        assert_eq!(bytes.u64(u32::MAX - 3), Err(Errno::Fault));
        assert_eq!(bytes.put_u32(298, 1), Err(Errno::Fault));
        assert_eq!(bytes.buffer(u32::MAX - 8, 1).map(|_| ()), Err(Errno::Fault));
        assert_eq!(bytes.total(0, limits::IOVECS_PER_CALL_MAX + 1), Err(Errno::Inval));
        assert_eq!(bytes.total(290, 3), Err(Errno::Fault));
    }
}
