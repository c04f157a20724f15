//! Streams of files: `read-via-stream` and its like.
//!
//! wasmtime-wasi's own read ahead, and hold a write of any length until a thread has done it, for each stream: a component with ten
//! thousand of them would hold gigabytes in the host. Ours read and write on the guest's own thread and hold nothing. Where a file may
//! block for ever (`hostPath`), wasmtime-wasi's threads have to do it; there the number of streams is limited, and the length of a write.

use super::WasiState;
use crate::limits;
use bytes::{Bytes, BytesMut};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::{ErrorCode, HostDescriptor as _};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// What a function that opens a stream answers.
pub(super) type Opened<S> = wasmtime::Result<Result<Resource<S>, ErrorCode>>;

/// Where a stream writes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    At(u64),
    End,
}

/// The streams that may still be opened on files that may block; none of those is limited in a container without such files.
pub(super) fn blocking_streams(may_block: bool) -> Option<Arc<Semaphore>> {
    may_block.then(|| Arc::new(Semaphore::new(limits::BLOCKING_FILE_STREAMS_MAX)))
}

impl WasiState {
    pub(super) fn read_via_stream(&mut self, fd: Resource<Descriptor>, position: u64) -> Opened<DynInputStream> {
        let permit = match self.permit() {
            Ok(permit) => permit,
            Err(code) => return Ok(Err(code)),
        };
        let opened = match self.filesystem().read_via_stream(Resource::new_borrow(fd.rep()), position) {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error.downcast()?)),
        };
        let upstream: DynInputStream = self.table().delete(opened)?;
        let stream: DynInputStream = match (permit, self.table().get(&fd)?) {
            (None, Descriptor::File(file)) => Box::new(Reader { file: Arc::clone(&file.file), position }),
            (permit, _) => Box::new(Counted { stream: upstream, _permit: permit }),
        };
        Ok(Ok(self.table().push(stream)?))
    }

    pub(super) fn write_via_stream(&mut self, fd: Resource<Descriptor>, place: Place) -> Opened<DynOutputStream> {
        let permit = match self.permit() {
            Ok(permit) => permit,
            Err(code) => return Ok(Err(code)),
        };
        let borrowed = Resource::new_borrow(fd.rep());
        let opened = match place {
            Place::At(position) => self.filesystem().write_via_stream(borrowed, position),
            Place::End => self.filesystem().append_via_stream(borrowed),
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error.downcast()?)),
        };
        let upstream: DynOutputStream = self.table().delete(opened)?;
        let stream: DynOutputStream = match (permit, self.table().get(&fd)?) {
            (None, Descriptor::File(file)) => Box::new(Writer { file: Arc::clone(&file.file), place }),
            (permit, _) => Box::new(Counted { stream: upstream, _permit: permit }),
        };
        Ok(Ok(self.table().push(stream)?))
    }

    /// The right to one more stream, where they are limited.
    fn permit(&self) -> Result<Option<OwnedSemaphorePermit>, ErrorCode> {
        let Some(streams) = &self.blocking_streams else { return Ok(None) };
        Arc::clone(streams).try_acquire_owned().map(Some).map_err(|_| ErrorCode::InsufficientMemory)
    }
}

/// Reads a file when it is told to.
struct Reader {
    file: Arc<File>,
    position: u64,
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {}
}

#[async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let mut bytes = BytesMut::zeroed(size.min(limits::STREAM_CHUNK_BYTES_MAX));
        let length = uninterrupted(|| self.file.read_at(&mut bytes, self.position))?;
        if length == 0 {
            return Err(StreamError::Closed);
        }
        self.position += length as u64;
        bytes.truncate(length);
        Ok(bytes.freeze())
    }
}

/// Writes to a file when it is told to.
struct Writer {
    file: Arc<File>,
    place: Place,
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Writer {
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(limits::STREAM_CHUNK_BYTES_MAX)
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        check_length(&bytes)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let written = match &mut self.place {
                Place::At(position) => {
                    let written = uninterrupted(|| self.file.write_at(rest, *position))?;
                    *position += written as u64;
                    written
                }
                Place::End => uninterrupted(|| append(&self.file, rest))?,
            };
            if written == 0 {
                return Err(StreamError::LastOperationFailed(io::Error::from(io::ErrorKind::WriteZero).into()));
            }
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
}

fn append(file: &File, bytes: &[u8]) -> io::Result<usize> {
    match rustix::io::pwritev2(file, &[IoSlice::new(bytes)], 0, ReadWriteFlags::APPEND) {
        // A kernel or a file system that does not know how.
        Err(Errno::NOSYS | Errno::OPNOTSUPP) => file.write_at(bytes, file.metadata()?.len()),
        written => Ok(written?),
    }
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> StreamResult<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done.map_err(|error| StreamError::LastOperationFailed(error.into())),
        }
    }
}

fn check_length(bytes: &Bytes) -> StreamResult<()> {
    if bytes.len() > limits::STREAM_CHUNK_BYTES_MAX {
        return Err(StreamError::trap("write exceeds what check-write permitted"));
    }
    Ok(())
}

/// A stream of wasmtime-wasi's, one of a limited number.
struct Counted<S> {
    stream: S,
    _permit: Option<OwnedSemaphorePermit>,
}

#[async_trait]
impl Pollable for Counted<DynInputStream> {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}

#[async_trait]
impl InputStream for Counted<DynInputStream> {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.stream.read(size)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.stream.blocking_read(size).await
    }

    async fn cancel(&mut self) {
        self.stream.cancel().await;
    }
}

#[async_trait]
impl Pollable for Counted<DynOutputStream> {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}

#[async_trait]
impl OutputStream for Counted<DynOutputStream> {
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.stream.check_write()?.min(limits::STREAM_CHUNK_BYTES_MAX))
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        check_length(&bytes)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.stream.flush()
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.stream.blocking_write_and_flush(bytes).await
    }

    async fn cancel(&mut self) {
        self.stream.cancel().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Arc<File> {
        Arc::new(tempfile::tempfile().unwrap())
    }

    #[test]
    fn what_is_written_is_in_the_file_at_once() {
        let file = file();
        let mut writer = Writer { file: Arc::clone(&file), place: Place::At(2) };
        writer.write(Bytes::from_static(b"hello")).unwrap();
        writer.write(Bytes::from_static(b" world")).unwrap();
        Writer { file: Arc::clone(&file), place: Place::End }.write(Bytes::from_static(b"!")).unwrap();
        let mut reader = Reader { file, position: 0 };
        assert_eq!(reader.read(100).unwrap(), &b"\0\0hello world!"[..]);
        assert!(matches!(reader.read(1), Err(StreamError::Closed)));
    }

    #[test]
    fn no_more_is_read_or_written_at_once_than_was_permitted() {
        let file = file();
        file.set_len(1 << 20).unwrap();
        let mut writer = Writer { file: Arc::clone(&file), place: Place::End };
        let permitted = writer.check_write().unwrap();
        writer.write(vec![0; permitted].into()).unwrap();
        assert!(matches!(writer.write(vec![0; permitted + 1].into()), Err(StreamError::Trap(_))));
        assert_eq!(Reader { file, position: 0 }.read(usize::MAX).unwrap().len(), limits::STREAM_CHUNK_BYTES_MAX);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error() {
        let read_only = Arc::new(File::open("/dev/null").unwrap());
        let mut writer = Writer { file: read_only, place: Place::At(0) };
        assert!(matches!(writer.write(Bytes::from_static(b"x")), Err(StreamError::LastOperationFailed(_))));
    }
}
