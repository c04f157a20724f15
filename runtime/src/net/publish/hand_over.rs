//! Published connections that are taken over as they are: by the HTTP server of a container, which is the host's own.

use crate::net::handover::{Handover, Taker};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Gives the connection to a listener and waits until it is over. Dropped before that, it cuts the connection.
pub(super) async fn hand_over(socket: TcpStream, client: SocketAddr, taker: &Taker) {
    // Latency over packet count: an answer is written whole.
    let _ = socket.set_nodelay(true);
    let split = socket.into_std().and_then(|socket| Ok((socket.try_clone()?, socket)));
    let (kept, given) = match split {
        Ok(split) => split,
        Err(error) => {
            tracing::warn!(%error, %client, "a connection could not be handed to its container");
            return;
        }
    };
    let mut kept = Kept { socket: kept, is_over: false };
    let (ends, ended) = oneshot::channel();
    let handover = Handover::new(move || Ok(Box::new(Taken { stream: TcpStream::from_std(given)?, _ends: EndOnDrop(Some(ends)) })));
    match taker.hand_over(client, handover) {
        Ok(()) => kept.is_over = ended.await.is_ok(),
        Err(error) => tracing::debug!(%error, %client, "nobody takes the connection"),
    }
}

/// Our hold on a connection that somebody else has.
struct Kept {
    socket: std::net::TcpStream,
    /// Whoever had it is done with it.
    is_over: bool,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if !self.is_over {
            // The peer must not take this for an orderly end, so none is sent: whoever has the connection reads its end and closes it,
            // which resets it.
            let _ = rustix::net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
            let _ = self.socket.shutdown(Shutdown::Read);
        }
    }
}

/// The connection as its taker has it.
struct Taken {
    /// Closed before that is said.
    stream: TcpStream,
    _ends: EndOnDrop,
}

struct EndOnDrop(Option<oneshot::Sender<()>>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if let Some(ends) = self.0.take() {
            // An error means that nobody waits.
            let _ = ends.send(());
        }
    }
}

impl AsyncRead for Taken {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Taken {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
