//! What core modules can import: preview 1 and WasmEdge's socket functions.

use super::FDFLAG_NONBLOCK;
use super::descriptors::{Descriptor, STANDARD_STREAMS, Standard};
use super::directory::OpenDirectory;
use super::errno::{Errno, answer};
use super::guest::Guest;
use super::imports::Imports;
use super::sockets::{Socket, SocketDescriptor};
use super::wasmedge::{AddressOut, PortOut};
use crate::limits;
use crate::wasi::files::admit;
use crate::wasi::{HasWasi, WasiState};
use std::sync::Arc;
use wasmtime::component::Resource;
use wasmtime::{Caller, InstancePre, Module, Result};
use wasmtime_wasi::filesystem::Descriptor as Opened;
use wasmtime_wasi::p1::wasi_snapshot_preview1 as upstream;
use wasmtime_wasi::{I32Exit, WasiView as _};
use wiggle::GuestMemory;

/// Links a core module: resolves all that it imports.
///
/// # Errors
/// When it imports something that is not here.
pub fn link<T: HasWasi>(module: &Module) -> Result<InstancePre<T>> {
    let mut imports = Imports::of(module);
    add_process_functions(&mut imports)?;
    add_file_functions(&mut imports)?;
    add_path_functions(&mut imports)?;
    add_descriptor_functions(&mut imports)?;
    add_socket_functions(&mut imports)?;
    add_wasmedge_functions(&mut imports)?;
    imports.instantiate_pre()
}

/// Defines a function of the guest's call: `|guest, (parameters)| result`.
macro_rules! define {
    ($imports:ident, $name:literal, async |$guest:ident, ($($arg:ident: $type:ty),*)| $body:expr) => {
        $imports.func_wrap_async($name, |mut caller: Caller<'_, T>, ($($arg,)*): ($($type,)*)| {
            Box::new(async move {
                #[allow(unused_mut, reason = "not every function changes something")]
                let mut $guest = Guest::new(&mut caller)?;
                Ok(answer($body))
            })
        })?
    };
    ($imports:ident, $name:literal, |$guest:ident, ($($arg:ident: $type:ty),*)| $body:expr) => {
        $imports.func_wrap($name, |mut caller: Caller<'_, T>, $($arg: $type),*| -> Result<i32> {
            let mut $guest = Guest::new(&mut caller)?;
            Ok(answer($body))
        })?
    };
}

/// Defines a function of wasmtime-wasi's that has to do with no descriptor.
macro_rules! pass {
    ($imports:ident, $name:ident, ($($arg:ident: $type:ty),*)) => {
        $imports.func_wrap(stringify!($name), |mut caller: Caller<'_, T>, $($arg: $type),*| -> Result<i32> {
            let mut guest = Guest::new(&mut caller)?;
            let (mut memory, host) = guest.host();
            upstream::$name(host, &mut memory, $($arg),*)
        })?
    };
}

/// Defines a function of wasmtime-wasi's, called with its own number for the descriptors in the brackets; `otherwise` is what a guest
/// hears about a socket.
macro_rules! delegate {
    ($imports:ident, $name:ident, [$($fd:ident),+], ($($arg:ident: $type:ty),+), otherwise $errno:ident $(, $await:ident)?) => {
        $imports.func_wrap_async(stringify!($name), |mut caller: Caller<'_, T>, ($($arg,)+): ($($type,)+)| {
            Box::new(async move {
                let mut guest = Guest::new(&mut caller)?;
                $(
                    let $fd = match guest.upstream_fd($fd, Errno::$errno) {
                        Ok(fd) => fd,
                        Err(errno) => return Ok(errno as i32),
                    };
                )+
                let (mut memory, host) = guest.upstream()?;
                upstream::$name(host, &mut memory, $($arg),+)$(.$await)?
            })
        })?
    };
}

/// Defines a function of wasmtime-wasi's that moves bytes between a place in a file and the guest's buffers: no more than are copied at
/// once.
macro_rules! transfer {
    ($imports:ident, $name:ident) => {
        $imports.func_wrap_async(
            stringify!($name),
            |mut caller: Caller<'_, T>, (fd, buffers, count, offset, out): (i32, u32, u32, i64, i32)| {
                Box::new(async move {
                    let mut guest = Guest::new(&mut caller)?;
                    let fd = match guest.upstream_fd(fd, Errno::Spipe) {
                        Ok(fd) => fd,
                        Err(errno) => return Ok(errno as i32),
                    };
                    let shortened = guest.shorten(buffers, count);
                    let (mut memory, host) = guest.upstream()?;
                    let (buffers, count) = (buffers.cast_signed(), count.cast_signed());
                    let result = upstream::$name(host, &mut memory, fd, buffers, count, offset, out).await;
                    guest.restore(shortened);
                    result
                })
            },
        )?
    };
}

impl<T: HasWasi> Guest<'_, '_, T> {
    fn upstream_fd(&mut self, fd: i32, otherwise: Errno) -> Result<i32, Errno> {
        Ok(self.state().descriptors.upstream(fd.cast_unsigned(), otherwise)?.cast_signed())
    }
}

/// What a program asks about itself, the time and chance.
fn add_process_functions<T: HasWasi>(imports: &mut Imports<T>) -> Result<()> {
    pass!(imports, args_get, (a: i32, b: i32));
    pass!(imports, args_sizes_get, (a: i32, b: i32));
    pass!(imports, environ_get, (a: i32, b: i32));
    pass!(imports, environ_sizes_get, (a: i32, b: i32));
    pass!(imports, clock_res_get, (a: i32, b: i32));
    pass!(imports, clock_time_get, (a: i32, b: i64, c: i32));
    pass!(imports, random_get, (a: i32, b: i32));
    pass!(imports, sched_yield, ());
    pass!(imports, proc_raise, (a: i32));
    // wasmtime-wasi traps at a status of 126 and above; Kubernetes shows every one.
    imports.func_wrap("proc_exit", |status: i32| -> Result<()> { Err(I32Exit(status).into()) })?;
    Ok(())
}

/// The functions on open files and directories.
fn add_file_functions<T: HasWasi>(imports: &mut Imports<T>) -> Result<()> {
    delegate!(imports, fd_advise, [a], (a: i32, b: i64, c: i64, d: i32), otherwise Spipe, await);
    delegate!(imports, fd_allocate, [a], (a: i32, b: i64, c: i64), otherwise Spipe);
    delegate!(imports, fd_datasync, [a], (a: i32), otherwise Inval, await);
    delegate!(imports, fd_fdstat_set_rights, [a], (a: i32, b: i64, c: i64), otherwise Notsup);
    delegate!(imports, fd_filestat_set_size, [a], (a: i32, b: i64), otherwise Inval, await);
    delegate!(imports, fd_filestat_set_times, [a], (a: i32, b: i64, c: i64, d: i32), otherwise Inval, await);
    delegate!(imports, fd_seek, [a], (a: i32, b: i64, c: i32, d: i32), otherwise Spipe, await);
    delegate!(imports, fd_sync, [a], (a: i32), otherwise Inval, await);
    delegate!(imports, fd_tell, [a], (a: i32, b: i32), otherwise Spipe);
    define!(imports, "fd_readdir", async |guest, (fd: u32, buffer: u32, length: u32, cookie: u64, used: u32)| {
        guest.fd_readdir(fd, buffer, length, cookie, used).await
    });
    transfer!(imports, fd_pread);
    transfer!(imports, fd_pwrite);
    imports.func_wrap("fd_prestat_get", |mut caller: Caller<'_, T>, fd: i32, out: i32| {
        Guest::new(&mut caller)?.fd_prestat_get(fd, out)
    })?;
    imports.func_wrap("fd_prestat_dir_name", |mut caller: Caller<'_, T>, fd: i32, path: i32, length: i32| {
        Guest::new(&mut caller)?.fd_prestat_dir_name(fd, path, length)
    })?;
    Ok(())
}

/// What programs ask about their directories when they start, answered without opening them.
impl<T: HasWasi> Guest<'_, '_, T> {
    fn fd_prestat_get(&mut self, fd: i32, out: i32) -> Result<i32> {
        let fd = match self.upstream_fd(fd, Errno::Badf) {
            Ok(fd) => fd,
            Err(errno) => return Ok(errno as i32),
        };
        if let Some(path) = self.unopened(fd) {
            let prestat = u32::try_from(path.len()).map_err(|_| Errno::Nametoolong);
            // Two words: which kind (0 is a directory), and the length of the path.
            let prestat = prestat.map(|length| [0, length].map(u32::to_le_bytes));
            return Ok(answer(prestat.and_then(|prestat| self.memory().put(out.cast_unsigned(), prestat.as_flattened()))));
        }
        let (mut memory, host) = self.upstream()?;
        upstream::fd_prestat_get(host, &mut memory, fd, out)
    }

    fn fd_prestat_dir_name(&mut self, fd: i32, path_out: i32, length: i32) -> Result<i32> {
        let fd = match self.upstream_fd(fd, Errno::Badf) {
            Ok(fd) => fd,
            Err(errno) => return Ok(errno as i32),
        };
        if let Some(path) = self.unopened(fd) {
            let fits = usize::try_from(length.cast_unsigned()).is_ok_and(|length| path.len() <= length);
            let result = if fits { self.memory().put(path_out.cast_unsigned(), path.as_bytes()) } else { Err(Errno::Nametoolong) };
            return Ok(answer(result));
        }
        let (mut memory, host) = self.upstream()?;
        upstream::fd_prestat_dir_name(host, &mut memory, fd, path_out, length)
    }

    /// Where the directory is that wasmtime-wasi will know as `fd`, as long as nothing is open.
    fn unopened(&mut self, fd: i32) -> Option<String> {
        let state = self.state();
        let index = usize::try_from(fd).ok()?.checked_sub(STANDARD_STREAMS)?;
        state.directories.guest_paths().get(index).filter(|_| !state.has_directories).cloned()
    }
}

/// The functions on paths below a directory.
fn add_path_functions<T: HasWasi>(imports: &mut Imports<T>) -> Result<()> {
    delegate!(imports, path_create_directory, [a], (a: i32, b: i32, c: i32), otherwise Notdir, await);
    delegate!(imports, path_filestat_get, [a], (a: i32, b: i32, c: i32, d: i32, e: i32), otherwise Notdir, await);
    delegate!(imports, path_filestat_set_times, [a], (a: i32, b: i32, c: i32, d: i32, e: i64, f: i64, g: i32), otherwise Notdir, await);
    delegate!(imports, path_link, [a, e], (a: i32, b: i32, c: i32, d: i32, e: i32, f: i32, g: i32), otherwise Notdir, await);
    delegate!(imports, path_readlink, [a], (a: i32, b: i32, c: i32, d: i32, e: i32, f: i32), otherwise Notdir, await);
    delegate!(imports, path_remove_directory, [a], (a: i32, b: i32, c: i32), otherwise Notdir, await);
    delegate!(imports, path_rename, [a, d], (a: i32, b: i32, c: i32, d: i32, e: i32, f: i32), otherwise Notdir, await);
    delegate!(imports, path_symlink, [c], (a: i32, b: i32, c: i32, d: i32, e: i32), otherwise Notdir, await);
    delegate!(imports, path_unlink_file, [a], (a: i32, b: i32, c: i32), otherwise Notdir, await);
    imports.func_wrap_async(
        "path_open",
        |mut caller: Caller<'_, T>, (fd, a, b, c, d, e, f, g, fd_out): (i32, i32, i32, i32, i32, i64, i64, i32, i32)| {
            Box::new(async move {
                let mut guest = Guest::new(&mut caller)?;
                let fd = match guest.reserve(fd_out.cast_unsigned()).and_then(|()| guest.upstream_fd(fd, Errno::Notdir)) {
                    Ok(fd) => fd,
                    Err(errno) => return Ok(errno as i32),
                };
                let place = guest.next_resource()?;
                let (mut memory, host) = guest.upstream()?;
                match upstream::path_open(host, &mut memory, fd, a, b, c, d, e, f, g, fd_out).await? {
                    0 => guest.number(place, fd_out.cast_unsigned()).await,
                    errno => Ok(errno),
                }
            })
        },
    )?;
    Ok(())
}

impl<T: HasWasi> Guest<'_, '_, T> {
    /// Makes sure that a new file can be told to the guest. Otherwise it would stay open, with no number for anybody.
    fn reserve(&mut self, fd_out: u32) -> Result<(), Errno> {
        if !fd_out.is_multiple_of(4) {
            return Err(Errno::Inval);
        }
        self.memory().u32(fd_out)?;
        self.state().descriptors.reserve()
    }

    /// The place that wasmtime-wasi's table gives to its next resource: its functions on descriptors do not tell.
    fn next_resource(&mut self) -> Result<Option<u32>> {
        let place = self.free_place();
        if place != Some(0) {
            return Ok(place);
        }
        // Nothing is in the table before the first call that needs a descriptor, such as this one; the directories come first there.
        self.state().open_directories()?;
        let mut space = [0; 8];
        let host = &mut self.state().host;
        upstream::fd_prestat_get(host, &mut GuestMemory::Unshared(&mut space), 0, 0)?;
        Ok(self.free_place())
    }

    fn free_place(&mut self) -> Option<u32> {
        let table = self.state().table();
        let probe = table.push(()).ok()?;
        let place = probe.rep();
        table.delete(probe).ok()?;
        Some(place)
    }

    /// Replaces wasmtime-wasi's number of a new file, whose resource is at `place`, by one of ours.
    async fn number(&mut self, place: Option<u32>, fd_out: u32) -> Result<i32> {
        let (mut memory, state) = self.parts();
        let upstream = match memory.u32(fd_out) {
            Ok(upstream) => upstream,
            Err(errno) => return Ok(errno as i32),
        };
        // Builds with debug assertions do not use a place again, so that there it is the next one.
        let mut places = place.into_iter().flat_map(|place| [place, place.saturating_add(1)]);
        let WasiState { host, on_open, descriptors, .. } = state;
        let table = host.ctx().table;
        let opened = places.find_map(|place| table.get(&Resource::<Opened>::new_borrow(place)).ok());
        let Some(opened) = opened.filter(|opened| admit(opened, on_open.as_ref())) else {
            self.close(Descriptor::File(upstream)).await?;
            return Ok(Errno::Nfile as i32);
        };
        let descriptor = match opened {
            Opened::Dir(dir) => Descriptor::Directory(upstream, OpenDirectory::Opened(Arc::clone(&dir.dir))),
            Opened::File(_) => Descriptor::File(upstream),
        };
        Ok(answer(descriptors.insert(descriptor).and_then(|fd| memory.put_u32(fd_out, fd))))
    }

    /// Lets wasmtime-wasi see no more of the first buffer that is not empty than it may copy at once, until [`restore`](Self::restore):
    /// for more it would answer that it is out of memory, where files read or write less than was asked.
    fn shorten(&mut self, buffers: u32, count: u32) -> Option<(u32, u32)> {
        let mut memory = self.memory();
        for index in 0..count.min(limits::IOVECS_PER_CALL_MAX) {
            let length = memory.buffer(buffers, index).ok()?.length;
            if length > limits::FILE_TRANSFER_BYTES_MAX {
                let place = buffers.checked_add(index * 8 + 4)?;
                memory.put_u32(place, limits::FILE_TRANSFER_BYTES_MAX).ok()?;
                return Some((place, length));
            }
            if length > 0 {
                return None;
            }
        }
        None
    }

    /// Gives a buffer that was shortened its length back.
    fn restore(&mut self, shortened: Option<(u32, u32)>) {
        if let Some((place, length)) = shortened {
            // It could be written a moment ago, and memory does not shrink.
            let _ = self.memory().put_u32(place, length);
        }
    }

    /// `fd_close`, and the end of what `fd_renumber` replaces.
    async fn close(&mut self, descriptor: Descriptor) -> Result<i32> {
        match descriptor {
            Descriptor::File(fd) | Descriptor::Directory(fd, _) | Descriptor::Standard { upstream: fd, .. } => {
                let (mut memory, host) = self.upstream()?;
                upstream::fd_close(host, &mut memory, fd.cast_signed()).await
            }
            Descriptor::Socket(_) => Ok(0),
        }
    }
}

/// What a descriptor is, for the functions on all kinds of them.
enum Kind {
    Standard(Standard, bool),
    Socket,
    File(i32),
}

impl<T: HasWasi> Guest<'_, '_, T> {
    fn kind(&mut self, fd: u32) -> Result<Kind, Errno> {
        Ok(match self.state().descriptors.get(fd)? {
            Descriptor::Standard { stream, nonblocking, .. } => Kind::Standard(*stream, *nonblocking),
            Descriptor::Socket(_) => Kind::Socket,
            Descriptor::File(fd) | Descriptor::Directory(fd, _) => Kind::File(fd.cast_signed()),
        })
    }

    async fn fd_read(&mut self, fd: u32, buffers: u32, count: u32, length_out: u32) -> Result<i32> {
        let result = match self.kind(fd) {
            Ok(Kind::File(fd)) => {
                let shortened = self.shorten(buffers, count);
                let (mut memory, host) = self.upstream()?;
                let (buffers, count, out) = (buffers.cast_signed(), count.cast_signed(), length_out.cast_signed());
                let result = upstream::fd_read(host, &mut memory, fd, buffers, count, out).await;
                self.restore(shortened);
                return result;
            }
            Ok(Kind::Socket) => self.receive(fd, buffers, count, 0).await.map(|received| received.length),
            Ok(Kind::Standard(Standard::Input, nonblocking)) => {
                let input = self.state().stdin.clone();
                self.read_input(input, nonblocking, buffers, count).await
            }
            Ok(Kind::Standard(..)) => Err(Errno::Badf),
            Err(errno) => Err(errno),
        };
        Ok(answer(result.and_then(|length| self.memory().put_length(length_out, length))))
    }

    async fn fd_write(&mut self, fd: u32, buffers: u32, count: u32, length_out: u32) -> Result<i32> {
        let result = match self.kind(fd) {
            Ok(Kind::File(fd)) => {
                let shortened = self.shorten(buffers, count);
                let (mut memory, host) = self.upstream()?;
                let (buffers, count, out) = (buffers.cast_signed(), count.cast_signed(), length_out.cast_signed());
                let result = upstream::fd_write(host, &mut memory, fd, buffers, count, out).await;
                self.restore(shortened);
                return result;
            }
            Ok(Kind::Socket) => self.send(fd, buffers, count, None).await,
            Ok(Kind::Standard(Standard::Input, _)) => Err(Errno::Badf),
            Ok(Kind::Standard(stream, nonblocking)) => {
                let state = self.state();
                let output = if stream == Standard::Output { state.stdout.clone() } else { state.stderr.clone() };
                self.write_output(output, nonblocking, buffers, count).await
            }
            Err(errno) => Err(errno),
        };
        Ok(answer(result.and_then(|length| self.memory().put_length(length_out, length))))
    }

    /// `fd_fdstat_get`: of a socket all is ours, of a standard stream the flags.
    async fn fd_fdstat_get(&mut self, fd: u32, out: u32) -> Result<i32> {
        let kind = self.kind(fd);
        let fd = match kind {
            Err(errno) => return Ok(errno as i32),
            Ok(Kind::Socket) => return Ok(answer(self.socket_fdstat(fd, out))),
            Ok(Kind::Standard(stream, nonblocking)) => return Ok(answer(self.standard_fdstat(stream, nonblocking, out))),
            Ok(Kind::File(fd)) => fd,
        };
        let (mut memory, host) = self.upstream()?;
        upstream::fd_fdstat_get(host, &mut memory, fd, out.cast_signed()).await
    }

    /// As wasmtime-wasi has it of streams that are no terminals; ours never are.
    fn standard_fdstat(&mut self, stream: Standard, nonblocking: bool, out: u32) -> Result<(), Errno> {
        const FD_READ: u64 = 1 << 1;
        const FD_WRITE: u64 = 1 << 6;
        // `filetype.unknown`.
        const FILE_TYPE: u64 = 0;
        let flags = if nonblocking { FDFLAG_NONBLOCK } else { 0 };
        let rights = if stream == Standard::Input { FD_READ } else { FD_WRITE };
        let words = [FILE_TYPE | u64::from(flags) << 16, rights, rights];
        self.memory().put(out, words.map(u64::to_le_bytes).as_flattened())
    }

    fn socket_fdstat(&mut self, fd: u32, out: u32) -> Result<(), Errno> {
        // What a socket may do: read, write, set flags, be told about, be polled, be shut down, accept.
        const RIGHTS: u64 = 1 << 1 | 1 << 3 | 1 << 6 | 1 << 21 | 1 << 27 | 1 << 28 | 1 << 29;
        let (mut memory, state) = self.parts();
        let socket = state.descriptors.socket(fd)?;
        let flags = if socket.nonblocking { FDFLAG_NONBLOCK } else { 0 };
        let words = [u64::from(file_type(socket)) | u64::from(flags) << 16, RIGHTS, RIGHTS];
        memory.put(out, words.map(u64::to_le_bytes).as_flattened())
    }

    async fn fd_fdstat_set_flags(&mut self, fd: u32, flags: u32) -> Result<i32> {
        let descriptor = self.state().descriptors.get_mut(fd);
        let nonblocking = match descriptor {
            Err(errno) => return Ok(errno as i32),
            Ok(Descriptor::File(fd) | Descriptor::Directory(fd, _)) => {
                let fd = fd.cast_signed();
                let (mut memory, host) = self.upstream()?;
                return upstream::fd_fdstat_set_flags(host, &mut memory, fd, flags.cast_signed());
            }
            Ok(Descriptor::Standard { nonblocking, .. }) => nonblocking,
            Ok(Descriptor::Socket(socket)) => &mut socket.nonblocking,
        };
        if flags & !u32::from(FDFLAG_NONBLOCK) != 0 {
            return Ok(Errno::Inval as i32);
        }
        *nonblocking = flags != 0;
        Ok(0)
    }

    async fn fd_filestat_get(&mut self, fd: u32, out: u32) -> Result<i32> {
        let fd = match self.kind(fd) {
            Err(errno) => return Ok(errno as i32),
            Ok(Kind::Socket) => return Ok(answer(self.socket_filestat(fd, out))),
            Ok(Kind::File(fd)) => fd,
            Ok(Kind::Standard(..)) => self.upstream_fd(fd.cast_signed(), Errno::Badf).unwrap_or_default(),
        };
        let (mut memory, host) = self.upstream()?;
        upstream::fd_filestat_get(host, &mut memory, fd, out.cast_signed()).await
    }

    fn socket_filestat(&mut self, fd: u32, out: u32) -> Result<(), Errno> {
        let (mut memory, state) = self.parts();
        let file_type = file_type(state.descriptors.socket(fd)?);
        // Device, inode, type, links, size and three times, 8 bytes each.
        let words = [0, 0, u64::from(file_type), 1, 0, 0, 0, 0];
        memory.put(out, words.map(u64::to_le_bytes).as_flattened())
    }
}

/// `filetype`.
fn file_type(socket: &SocketDescriptor) -> u8 {
    match socket.socket {
        Socket::Udp(_) => 5,
        Socket::Tcp(_) => 6,
    }
}

/// The functions on descriptors of every kind.
fn add_descriptor_functions<T: HasWasi>(imports: &mut Imports<T>) -> Result<()> {
    imports.func_wrap_async("fd_read", |mut caller: Caller<'_, T>, (fd, buffers, count, out): (u32, u32, u32, u32)| {
        Box::new(async move { Guest::new(&mut caller)?.fd_read(fd, buffers, count, out).await })
    })?;
    imports.func_wrap_async("fd_write", |mut caller: Caller<'_, T>, (fd, buffers, count, out): (u32, u32, u32, u32)| {
        Box::new(async move { Guest::new(&mut caller)?.fd_write(fd, buffers, count, out).await })
    })?;
    imports.func_wrap_async("fd_close", |mut caller: Caller<'_, T>, (fd,): (u32,)| {
        Box::new(async move {
            let mut guest = Guest::new(&mut caller)?;
            match guest.state().descriptors.remove(fd) {
                Ok(descriptor) => guest.close(descriptor).await,
                Err(errno) => Ok(errno as i32),
            }
        })
    })?;
    imports.func_wrap_async("fd_renumber", |mut caller: Caller<'_, T>, (from, to): (u32, u32)| {
        Box::new(async move {
            let mut guest = Guest::new(&mut caller)?;
            match guest.state().descriptors.renumber(from, to) {
                Ok(Some(replaced)) => guest.close(replaced).await,
                Ok(None) => Ok(0),
                Err(errno) => Ok(errno as i32),
            }
        })
    })?;
    imports.func_wrap_async("fd_fdstat_get", |mut caller: Caller<'_, T>, (fd, out): (u32, u32)| {
        Box::new(async move { Guest::new(&mut caller)?.fd_fdstat_get(fd, out).await })
    })?;
    imports.func_wrap_async("fd_fdstat_set_flags", |mut caller: Caller<'_, T>, (fd, flags): (u32, u32)| {
        Box::new(async move { Guest::new(&mut caller)?.fd_fdstat_set_flags(fd, flags).await })
    })?;
    imports.func_wrap_async("fd_filestat_get", |mut caller: Caller<'_, T>, (fd, out): (u32, u32)| {
        Box::new(async move { Guest::new(&mut caller)?.fd_filestat_get(fd, out).await })
    })?;
    define!(imports, "poll_oneoff", async |guest, (input: u32, output: u32, count: u32, out: u32)| {
        guest.poll_oneoff(input, output, count, out).await
    });
    Ok(())
}

/// Preview 1's own functions on sockets.
fn add_socket_functions<T: HasWasi>(imports: &mut Imports<T>) -> Result<()> {
    if imports.parameters("sock_accept") == Some(2) {
        define!(imports, "sock_accept", async |guest, (fd: u32, out: u32)| guest.sock_accept(fd, 0, out).await);
    } else {
        define!(imports, "sock_accept", async |guest, (fd: u32, flags: u32, out: u32)| guest.sock_accept(fd, flags, out).await);
    }
    define!(imports, "sock_recv", async |guest, (fd: u32, buffers: u32, count: u32, flags: u32, length: u32, flags_out: u32)| {
        guest.sock_recv(fd, (buffers, count), flags, (length, flags_out)).await
    });
    define!(imports, "sock_send", async |guest, (fd: u32, buffers: u32, count: u32, _flags: u32, length: u32)| {
        guest.sock_send(fd, (buffers, count), None, length).await
    });
    define!(imports, "sock_shutdown", |guest, (fd: u32, how: u32)| guest.sock_shutdown(fd, how));
    Ok(())
}

/// WasmEdge's functions.
fn add_wasmedge_functions<T: HasWasi>(imports: &mut Imports<T>) -> Result<()> {
    define!(imports, "sock_open", |guest, (family: u32, kind: u32, out: u32)| guest.sock_open(family, kind, out));
    define!(imports, "sock_bind", |guest, (fd: u32, address: u32, port: u32)| guest.sock_bind(fd, address, port));
    define!(imports, "sock_listen", |guest, (fd: u32, backlog: i32)| guest.sock_listen(fd, backlog));
    define!(imports, "sock_connect", async |guest, (fd: u32, address: u32, port: u32)| guest.sock_connect(fd, address, port).await);
    define!(imports, "sock_send_to", async |guest,
        (fd: u32, buffers: u32, count: u32, address: u32, port: u32, _flags: u32, length: u32)| {
        guest.sock_send_to(fd, (buffers, count), (address, port), length).await
    });
    define!(imports, "sock_getsockopt", |guest, (fd: u32, level: u32, name: u32, value: u32, size: u32)| {
        guest.sock_getsockopt(fd, level, name, value, size)
    });
    define!(imports, "sock_setsockopt", |guest, (fd: u32, level: u32, name: u32, value: u32, size: u32)| {
        guest.sock_setsockopt(fd, level, name, value, size)
    });
    define!(imports, "sock_getaddrinfo", async |guest,
        (node: u32, node_length: u32, service: u32, service_length: u32, hints: u32, result: u32, length_max: u32, length: u32)| {
        guest.sock_getaddrinfo((node, node_length), (service, service_length), hints, (result, length_max), length).await
    });
    add_forms(imports)
}

/// WasmEdge's functions that tell addresses, each in the form in which the module imports it: how many parameters it has tells.
fn add_forms<T: HasWasi>(imports: &mut Imports<T>) -> Result<()> {
    if imports.parameters("sock_recv_from") == Some(7) {
        define!(imports, "sock_recv_from", async |guest,
            (fd: u32, buffers: u32, count: u32, address: u32, flags: u32, length: u32, flags_out: u32)| {
            let from = AddressOut { address, family: None, port: None };
            guest.sock_recv_from(fd, (buffers, count), flags, from, (length, flags_out)).await
        });
    } else {
        define!(imports, "sock_recv_from", async |guest,
            (fd: u32, buffers: u32, count: u32, address: u32, flags: u32, port: u32, length: u32, flags_out: u32)| {
            let from = AddressOut { address, family: None, port: Some(PortOut::U16(port)) };
            guest.sock_recv_from(fd, (buffers, count), flags, from, (length, flags_out)).await
        });
    }
    if imports.parameters("sock_getlocaladdr") == Some(3) {
        define!(imports, "sock_getlocaladdr", |guest, (fd: u32, address: u32, port: u32)| {
            guest.sock_getlocaladdr(fd, AddressOut { address, family: None, port: Some(PortOut::U32(port)) })
        });
    } else {
        define!(imports, "sock_getlocaladdr", |guest, (fd: u32, address: u32, family: u32, port: u32)| {
            guest.sock_getlocaladdr(fd, AddressOut { address, family: Some(family), port: Some(PortOut::U32(port)) })
        });
    }
    if imports.parameters("sock_getpeeraddr") == Some(3) {
        define!(imports, "sock_getpeeraddr", |guest, (fd: u32, address: u32, port: u32)| {
            guest.sock_getpeeraddr(fd, AddressOut { address, family: None, port: Some(PortOut::U32(port)) })
        });
    } else {
        define!(imports, "sock_getpeeraddr", |guest, (fd: u32, address: u32, family: u32, port: u32)| {
            guest.sock_getpeeraddr(fd, AddressOut { address, family: Some(family), port: Some(PortOut::U32(port)) })
        });
    }
    Ok(())
}
