//! Terminals: a pseudo-terminal of the kernel between the guest and the client.
//!
//! ```text
//!   guest ◀──▶ slave ═ line discipline (echo, \n to \r\n) ═ master ◀──▶ FIFOs ◀──▶ client in raw mode
//! ```

use crate::limits::TERMINAL_CHUNK_BYTES;
use crate::stdio::{StreamControls, StreamPaths, Streams, carry, open_input, open_target};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use wasmpod::wasi::Stdin;
use wasmpod::{Error, Result};

/// The master's side, to change its size.
#[derive(Debug)]
pub(crate) struct Terminal(Side);

impl Terminal {
    /// Tells the terminal its size, in characters.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&*self.0.0, size)
            .map_err(|errno| Error::io("cannot change the terminal's size", errno.into()))
    }
}

/// Makes a terminal and carries it to and from the pipes in `paths`.
///
/// # Errors
/// The machine has no more terminals, or a pipe cannot be opened.
pub(crate) fn open(paths: &StreamPaths) -> Result<(Streams, StreamControls)> {
    let failed = |errno: rustix::io::Errno| Error::io("cannot make a terminal", errno.into());
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).map_err(failed)?;
    rustix::pty::grantpt(&master).and_then(|()| rustix::pty::unlockpt(&master)).map_err(failed)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).map_err(failed)?;
    let (master, slave) = (Side::new(master)?, Side::new(slave)?);
    let (input, stdin_writer) = open_input(&paths.stdin)?;
    if let Some(mut input) = input {
        let mut keyboard = master.clone();
        tokio::spawn(async move { copy(&mut input, &mut keyboard).await });
    }
    if let Some(mut screen) = open_target(&paths.stdout)? {
        let mut shown = master.clone();
        tokio::spawn(async move { copy(&mut shown, &mut screen).await });
    }
    let (writer, reader) = wasmpod::log::pipe();
    tokio::spawn(carry(reader, slave.clone()));
    let streams = Streams::merged(Stdin::reader(slave), writer);
    Ok((streams, StreamControls { stdin: stdin_writer, terminal: Some(Terminal(master)) }))
}

/// Until one side ends. A master whose slaves are all closed answers with an error: that is its end.
async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) {
    let mut chunk = vec![0; TERMINAL_CHUNK_BYTES];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        if to.write_all(chunk.get(..length).unwrap_or_default()).await.is_err() {
            return;
        }
    }
}

/// One side of a terminal, as an async stream.
#[derive(Clone, Debug)]
struct Side(Arc<AsyncFd<OwnedFd>>);

impl Side {
    fn new(fd: OwnedFd) -> Result<Self> {
        let failed = |error: io::Error| Error::io("cannot use a terminal", error);
        rustix::io::ioctl_fionbio(&fd, true).map_err(|errno| failed(errno.into()))?;
        #[expect(
            deprecated,
            reason = "unsound for types that give up their descriptor, which an OwnedFd does not; the replacement is unsafe"
        )]
        AsyncFd::new(fd).map(|fd| Self(Arc::new(fd))).map_err(failed)
    }
}

impl AsyncRead for Side {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let space = buffer.initialize_unfilled();
            match guard.try_io(|fd| Ok(rustix::io::read(fd, space)?)) {
                Ok(Ok(length)) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Side {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            match guard.try_io(|fd| Ok(rustix::io::write(fd, bytes)?)) {
                Ok(written) => return Poll::Ready(written),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
