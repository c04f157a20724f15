//! The descriptors of a preview-1 module, as the guest numbers them.

use super::directory::OpenDirectory;
use super::errno::Errno;
use super::sockets::{Socket, SocketDescriptor};
use crate::limits;
use crate::wasi::listen::{ListenSocket, Listener};
use std::sync::Arc;

/// What a descriptor stands for.
#[derive(Debug)]
pub(super) enum Descriptor {
    /// Standard input, output or error; wasmtime-wasi knows it too, under the number given.
    Standard { stream: Standard, nonblocking: bool, upstream: u32 },
    /// A file: the number that wasmtime-wasi has for it.
    File(u32),
    /// A directory: that number, and the directory itself.
    Directory(u32, OpenDirectory),
    /// A socket of the pod.
    Socket(SocketDescriptor),
}

/// Which standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standard {
    Input,
    Output,
    Error,
}

/// How many standard streams there are; wasmtime-wasi numbers its directories after them, as is done here.
pub(super) const STANDARD_STREAMS: usize = 3;

/// The table: lowest free number first, at most [`limits::DESCRIPTORS_PER_CONTAINER_MAX`].
#[derive(Debug)]
pub struct DescriptorTable {
    slots: Vec<Option<Descriptor>>,
    /// No number below is free.
    lowest: usize,
}

impl DescriptorTable {
    /// The descriptors of a new guest: the standard streams, then its directories, then the listeners.
    pub(in crate::wasi) fn new(directories: usize, listeners: &[Listener]) -> Self {
        let standard = [Standard::Input, Standard::Output, Standard::Error];
        let standard =
            standard.into_iter().zip(0..).map(|(stream, upstream)| Descriptor::Standard { stream, nonblocking: false, upstream });
        let directories = (0..directories).zip((0..).skip(STANDARD_STREAMS));
        let directories = directories.map(|(index, upstream)| Descriptor::Directory(upstream, OpenDirectory::Preopened(index)));
        let listeners = listeners.iter().map(|listener| Descriptor::Socket(inherited(&listener.socket)));
        let slots: Vec<_> = standard.chain(directories).chain(listeners).map(Some).collect();
        Self { lowest: slots.len(), slots }
    }

    pub(super) fn get(&self, fd: u32) -> Result<&Descriptor, Errno> {
        let slot = usize::try_from(fd).ok().and_then(|fd| self.slots.get(fd));
        slot.and_then(Option::as_ref).ok_or(Errno::Badf)
    }

    pub(super) fn get_mut(&mut self, fd: u32) -> Result<&mut Descriptor, Errno> {
        let slot = usize::try_from(fd).ok().and_then(|fd| self.slots.get_mut(fd));
        slot.and_then(Option::as_mut).ok_or(Errno::Badf)
    }

    /// The socket behind `fd`; `ENOTSOCK` for everything else.
    pub(super) fn socket(&self, fd: u32) -> Result<&SocketDescriptor, Errno> {
        match self.get(fd)? {
            Descriptor::Socket(socket) => Ok(socket),
            _ => Err(Errno::Notsock),
        }
    }

    pub(super) fn socket_mut(&mut self, fd: u32) -> Result<&mut SocketDescriptor, Errno> {
        match self.get_mut(fd)? {
            Descriptor::Socket(socket) => Ok(socket),
            _ => Err(Errno::Notsock),
        }
    }

    /// The directory behind `fd`; `ENOTDIR` for everything else.
    pub(super) fn directory(&self, fd: u32) -> Result<&OpenDirectory, Errno> {
        match self.get(fd)? {
            Descriptor::Directory(_, dir) => Ok(dir),
            _ => Err(Errno::Notdir),
        }
    }

    /// wasmtime-wasi's number for `fd`; `otherwise` when it is a socket.
    pub(super) fn upstream(&self, fd: u32, otherwise: Errno) -> Result<u32, Errno> {
        match self.get(fd)? {
            Descriptor::File(upstream) | Descriptor::Directory(upstream, _) | Descriptor::Standard { upstream, .. } => {
                Ok(*upstream)
            }
            Descriptor::Socket(_) => Err(otherwise),
        }
    }

    /// Whether one more descriptor fits; `EMFILE` when not. Asked before anything is made that would need one.
    pub(super) fn reserve(&mut self) -> Result<(), Errno> {
        while self.slots.get(self.lowest).is_some_and(Option::is_some) {
            self.lowest += 1;
        }
        if self.lowest < limits::DESCRIPTORS_PER_CONTAINER_MAX { Ok(()) } else { Err(Errno::Mfile) }
    }

    /// Gives `descriptor` the lowest free number.
    pub(super) fn insert(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        self.reserve()?;
        let fd = u32::try_from(self.lowest).map_err(|_| Errno::Mfile)?;
        match self.slots.get_mut(self.lowest) {
            Some(slot) => *slot = Some(descriptor),
            None => self.slots.push(Some(descriptor)),
        }
        self.lowest += 1;
        Ok(fd)
    }

    /// Takes `fd` out; its number is free again.
    pub(super) fn remove(&mut self, fd: u32) -> Result<Descriptor, Errno> {
        let index = usize::try_from(fd).map_err(|_| Errno::Badf)?;
        let descriptor = self.slots.get_mut(index).and_then(Option::take).ok_or(Errno::Badf)?;
        self.lowest = self.lowest.min(index);
        Ok(descriptor)
    }

    /// Moves `from` to the number `to`, and gives back what was there; both must be open.
    pub(super) fn renumber(&mut self, from: u32, to: u32) -> Result<Option<Descriptor>, Errno> {
        self.get(to)?;
        self.get(from)?;
        if from == to {
            return Ok(None);
        }
        let moved = self.remove(from)?;
        Ok(Some(std::mem::replace(self.get_mut(to)?, moved)))
    }
}

fn inherited(socket: &ListenSocket) -> SocketDescriptor {
    match socket {
        ListenSocket::Tcp(tcp) => SocketDescriptor::dual(Socket::Tcp(Arc::clone(&tcp.ipv4)), Socket::Tcp(Arc::clone(&tcp.ipv6))),
        ListenSocket::Udp(udp) => SocketDescriptor::dual(Socket::Udp(Arc::clone(&udp.ipv4)), Socket::Udp(Arc::clone(&udp.ipv6))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table with so many directories.
    fn table(directories: usize) -> DescriptorTable {
        DescriptorTable::new(directories, &[])
    }

    #[test]
    fn the_lowest_free_number_is_given_first() {
        let mut table = table(2);
        assert_eq!(table.insert(Descriptor::File(5)), Ok(5));
        assert_eq!(table.insert(Descriptor::File(6)), Ok(6));
        table.remove(6).unwrap();
        table.remove(0).unwrap();
        assert_eq!(table.insert(Descriptor::File(7)), Ok(0));
        assert_eq!(table.insert(Descriptor::File(8)), Ok(6));
        assert_eq!(table.upstream(0, Errno::Inval), Ok(7));
        assert_eq!(table.remove(9).map(|_| ()), Err(Errno::Badf));
    }

    #[test]
    fn the_table_ends_with_emfile() {
        let mut table = table(0);
        for _ in 3..limits::DESCRIPTORS_PER_CONTAINER_MAX {
            table.insert(Descriptor::File(9)).unwrap();
        }
        assert_eq!(table.insert(Descriptor::File(9)), Err(Errno::Mfile));
        table.remove(77).unwrap();
        assert_eq!(table.insert(Descriptor::File(9)), Ok(77));
    }

    #[test]
    fn renumbering_replaces_and_frees() {
        let mut table = table(2);
        assert!(matches!(table.renumber(4, 3), Ok(Some(Descriptor::Directory(3, _)))));
        assert_eq!((table.upstream(3, Errno::Inval), table.upstream(4, Errno::Inval)), (Ok(4), Err(Errno::Badf)));
        assert!(matches!(table.renumber(3, 3), Ok(None)));
        assert!(matches!((table.renumber(3, 100), table.renumber(100, 3)), (Err(Errno::Badf), Err(Errno::Badf))));
        for _ in 0..1_000_000 {
            assert!(matches!(table.renumber(3, 9), Err(Errno::Badf)));
        }
        assert_eq!(table.slots.len(), 5);
    }
}
