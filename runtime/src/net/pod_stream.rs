//! A pod's stream as `tokio` reads and writes it.

use super::{NetError, Shutdown, TcpSocket, TcpStream};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One end of a connection in a pod, for `tokio`, `hyper` and TLS; dropped, it is closed.
#[derive(Debug)]
pub struct PodStream {
    stream: TcpStream,
    /// A stream is dead once the socket that it came from is gone.
    _socket: Option<TcpSocket>,
}

impl PodStream {
    /// Wraps `stream`. Where it came from a socket, that has to live as long.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, _socket: None }
    }

    /// Takes a socket that is connected.
    ///
    /// # Errors
    /// `NotConnected`.
    pub fn of_socket(socket: TcpSocket) -> Result<Self, NetError> {
        Ok(Self { stream: socket.stream()?, _socket: Some(socket) })
    }
}

impl Drop for PodStream {
    fn drop(&mut self) {
        self.stream.close();
    }
}

impl AsyncRead for PodStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // A fresh buffer is zeroed before safe code may write to it, so no more of it is taken than there are bytes; one at least,
        // for the end of the stream and for errors, which an empty buffer would not meet.
        let length = self.stream.readable_bytes().max(1).min(buffer.remaining());
        let length = ready!(self.stream.poll_read(cx, buffer.initialize_unfilled_to(length)))?;
        buffer.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PodStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, bytes).map_err(Into::into)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.stream.shutdown(Shutdown::Write) {
            // What is over needs no end.
            Ok(()) | Err(NetError::NotConnected) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}
