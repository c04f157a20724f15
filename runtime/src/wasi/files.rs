//! `wasi:filesystem`, where wasmtime-wasi's own host would let a guest take what it has no right to: memory of the host by listing a
//! directory or by streams of files, and the last file descriptors of the process.

use super::file_streams::Place;
use super::listing::{self, Entry};
use super::{HasWasi, OnOpen, WasiState};
use crate::limits;
use rustix::fs::FileType;
use rustix::process::{Resource as Rlimit, getrlimit};
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, DirectoryEntry, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::{OpenMode, WasiView as _};

/// The interface whose functions are replaced, as wasmtime-wasi links it.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

/// A `directory-entry-stream`: where it is, and the entries that came with the last system call.
struct Listing {
    dir: Arc<File>,
    position: u64,
    ready: VecDeque<Entry>,
}

/// Puts our functions in the place of wasmtime-wasi's.
pub(super) fn add_to_linker<T: HasWasi>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.resource("directory-entry-stream", ResourceType::host::<Listing>(), |mut store: StoreContextMut<'_, T>, rep| {
        store.data_mut().wasi().table().delete(Resource::<Listing>::new_own(rep))?;
        Ok(())
    })?;
    types.func_wrap("[method]descriptor.read-directory", |mut store: StoreContextMut<'_, T>, (fd,): (Resource<Descriptor>,)| {
        Ok((store.data_mut().wasi().read_directory(&fd)?,))
    })?;
    types.func_wrap(
        "[method]directory-entry-stream.read-directory-entry",
        |mut store: StoreContextMut<'_, T>, (stream,): (Resource<Listing>,)| {
            Ok((store.data_mut().wasi().table().get_mut(&stream)?.next(),))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.read-via-stream",
        |mut store: StoreContextMut<'_, T>, (fd, position): (Resource<Descriptor>, u64)| {
            Ok((store.data_mut().wasi().read_via_stream(fd, position)?,))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.write-via-stream",
        |mut store: StoreContextMut<'_, T>, (fd, position): (Resource<Descriptor>, u64)| {
            Ok((store.data_mut().wasi().write_via_stream(fd, Place::At(position))?,))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |mut store: StoreContextMut<'_, T>, (fd,): (Resource<Descriptor>,)| {
            Ok((store.data_mut().wasi().write_via_stream(fd, Place::End)?,))
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store: StoreContextMut<'_, T>,
         (fd, links, path, open, access): (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags)| {
            Box::new(async move { Ok((store.data_mut().wasi().open_at(fd, links, path, open, access).await?,)) })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

impl WasiState {
    fn read_directory(&mut self, fd: &Resource<Descriptor>) -> wasmtime::Result<Result<Resource<Listing>, ErrorCode>> {
        let dir = match self.table().get(fd)? {
            Descriptor::Dir(dir) => Arc::clone(&dir.dir),
            Descriptor::File(_) => return Ok(Err(ErrorCode::NotDirectory)),
        };
        let listing = Listing { dir, position: 0, ready: VecDeque::new() };
        Ok(Ok(self.table().push(listing)?))
    }

    async fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        links: PathFlags,
        path: String,
        open: OpenFlags,
        access: DescriptorFlags,
    ) -> wasmtime::Result<Result<Resource<Descriptor>, ErrorCode>> {
        let opened = match self.filesystem().open_at(fd, links, path, open, access).await {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error.downcast()?)),
        };
        let WasiState { host, on_open, .. } = self;
        let table = host.ctx().table;
        if !admit(table.get(&opened)?, on_open.as_ref()) {
            table.delete(opened)?;
            return Ok(Err(ErrorCode::InsufficientMemory));
        }
        Ok(Ok(opened))
    }
}

/// Whether a guest may keep what it has opened; tells `on_open` of it then.
pub(super) fn admit(opened: &Descriptor, on_open: Option<&OnOpen>) -> bool {
    if takes_reserved_descriptor(opened) {
        return false;
    }
    if let (Descriptor::File(file), Some(on_open)) = (opened, on_open)
        && file.open_mode.contains(OpenMode::WRITE)
    {
        on_open(&file.file);
    }
    true
}

/// Whether a file that a guest has opened took one of the descriptors that are kept for the host: the kernel gives the lowest number
/// that is free, so a high one says that those below are taken.
fn takes_reserved_descriptor(opened: &Descriptor) -> bool {
    let number = match opened {
        Descriptor::File(file) => file.file.as_raw_fd(),
        Descriptor::Dir(dir) => dir.dir.as_raw_fd(),
    };
    let Some(limit) = getrlimit(Rlimit::Nofile).current else { return false };
    u64::try_from(number).is_ok_and(|number| number >= limit - limit / limits::DESCRIPTOR_RESERVE_DIVISOR)
}

impl Listing {
    fn next(&mut self) -> Result<Option<DirectoryEntry>, ErrorCode> {
        loop {
            if self.ready.is_empty() {
                let read = listing::read(self.dir.as_fd(), self.position, limits::DIRECTORY_STREAM_BYTES_MAX)?;
                self.ready = read.into();
            }
            let Some(Entry { name, kind, next, .. }) = self.ready.pop_front() else { return Ok(None) };
            self.position = next;
            if name.as_c_str() == c"." || name.as_c_str() == c".." {
                continue;
            }
            let name = name.into_string().map_err(|_| ErrorCode::IllegalByteSequence)?;
            return Ok(Some(DirectoryEntry { type_: descriptor_type(kind), name }));
        }
    }
}

fn descriptor_type(kind: FileType) -> DescriptorType {
    match kind {
        FileType::Directory => DescriptorType::Directory,
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        _ => DescriptorType::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasi::component_linker;
    use crate::wasi::testing::Data;

    /// Were they called otherwise one day, guests would get wasmtime-wasi's own again, and nobody would notice.
    #[test]
    fn what_is_replaced_is_what_wasmtime_wasi_links() {
        let define = |name: &str| {
            let mut linker = Linker::new(&wasmtime::Engine::default());
            wasmtime_wasi::p2::bindings::filesystem::types::add_to_linker::<Data, wasmtime_wasi::filesystem::WasiFilesystem>(
                &mut linker,
                |data| data.wasi().filesystem(),
            )
            .unwrap();
            linker.instance(TYPES).unwrap().func_wrap(name, |_: StoreContextMut<'_, Data>, (): ()| Ok(()))
        };
        for method in ["read-directory", "read-via-stream", "write-via-stream", "append-via-stream", "open-at"] {
            assert!(define(&format!("[method]descriptor.{method}")).is_err(), "{method}");
        }
        assert!(define("[method]directory-entry-stream.read-directory-entry").is_err());
        assert!(define("[method]descriptor.another").is_ok());
        component_linker::<Data>(&wasmtime::Engine::default()).unwrap();
    }
}
