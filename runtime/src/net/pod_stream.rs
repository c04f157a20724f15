//! A pod's stream as `tokio` reads and writes it.

use super::handover::OutsideStream;
use super::{NetError, Shutdown, TcpSocket, TcpStream};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One end of a connection in a pod, for `tokio`, `hyper` and TLS; dropped, it is closed.
pub struct PodStream {
    inner: Inner,
    /// A stream is dead once the socket that it came from is gone.
    _socket: Option<TcpSocket>,
}

enum Inner {
    Pod(TcpStream),
    /// A connection from outside that was [taken over](TcpSocket::take_over).
    Outside(Box<dyn OutsideStream>),
}

impl fmt::Debug for PodStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.inner {
            Inner::Pod(_) => "Pod",
            Inner::Outside(_) => "Outside",
        };
        f.debug_tuple("PodStream").field(&kind).finish()
    }
}

impl PodStream {
    /// Wraps `stream`. Where it came from a socket, that has to live as long.
    pub fn new(stream: TcpStream) -> Self {
        Self { inner: Inner::Pod(stream), _socket: None }
    }

    /// Takes a socket that is connected.
    ///
    /// # Errors
    /// `NotConnected`; `OutOfBuffers` when the machine cannot give a connection from outside to this thread.
    pub fn of_socket(socket: TcpSocket) -> Result<Self, NetError> {
        let inner = match socket.handover() {
            Some(handover) => Inner::Outside(handover.take().map_err(|_| NetError::OutOfBuffers)?),
            None => Inner::Pod(socket.stream()?),
        };
        Ok(Self { inner, _socket: Some(socket) })
    }
}

impl Drop for PodStream {
    fn drop(&mut self) {
        if let Inner::Pod(stream) = &self.inner {
            stream.close();
        }
    }
}

impl AsyncRead for PodStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Pod(stream) => {
                // A fresh buffer is zeroed before safe code may write to it, so no more of it is taken than there are bytes; one at
                // least, for the end of the stream and for errors, which an empty buffer would not meet.
                let length = stream.readable_bytes().max(1).min(buffer.remaining());
                let length = ready!(stream.poll_read(cx, buffer.initialize_unfilled_to(length)))?;
                buffer.advance(length);
                Poll::Ready(Ok(()))
            }
            Inner::Outside(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for PodStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Pod(stream) => stream.poll_write(cx, bytes).map_err(Into::into),
            Inner::Outside(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Pod(stream) => {
                let first = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[] as &[u8], |piece| &**piece);
                stream.poll_write(cx, first).map_err(Into::into)
            }
            Inner::Outside(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.inner {
            Inner::Pod(_) => false,
            Inner::Outside(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Pod(_) => Poll::Ready(Ok(())),
            Inner::Outside(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Pod(stream) => match stream.shutdown(Shutdown::Write) {
                // What is over needs no end.
                Ok(()) | Err(NetError::NotConnected) => Poll::Ready(Ok(())),
                Err(error) => Poll::Ready(Err(error.into())),
            },
            Inner::Outside(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
