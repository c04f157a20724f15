//! What a socket operation answers when it does not succeed.
//!
//! A small enum that maps one to one to POSIX error numbers, and through them to the error codes of `wasi:sockets` and of
//! preview 1. It is for guests; what people read is [`crate::Error`].

use std::fmt;

/// Why a socket operation did not succeed. The POSIX name stands in each description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetError {
    /// `EAGAIN`: not now; wait for readiness and try again. Nothing was changed.
    WouldBlock,
    /// `EACCES`: the egress policy forbids the address.
    AccessDenied,
    /// `EADDRINUSE`: another socket of the pod holds this address and port, or there is no free ephemeral port.
    AddressInUse,
    /// `EADDRNOTAVAIL`: the address is not one of the pod's.
    AddressNotAvailable,
    /// `EAFNOSUPPORT`: the address is of the other family than the socket.
    FamilyMismatch,
    /// `EINVAL`: an argument, or the state of the socket, makes the operation meaningless.
    InvalidArgument,
    /// `EISCONN`: the socket is connected, or listens.
    AlreadyConnected,
    /// `EALREADY`: a connect is in progress.
    AlreadyInProgress,
    /// `ENOTCONN`: the socket is not connected.
    NotConnected,
    /// `EDESTADDRREQ`: a datagram without an address on a socket without a peer.
    DestinationRequired,
    /// `EPIPE`: the stream can take no more bytes: this end shut it down, or the connection is over.
    BrokenPipe,
    /// `ECONNREFUSED`: nobody listens there.
    ConnectionRefused,
    /// `ECONNRESET`: the other end dropped the connection with bytes unread, or vanished.
    ConnectionReset,
    /// `ECONNABORTED`: the container's network was closed under the operation.
    ConnectionAborted,
    /// `ENETUNREACH`: no route leads to the address from this pod.
    NetworkUnreachable,
    /// `ETIMEDOUT`: an address outside the pod did not answer.
    TimedOut,
    /// `EMSGSIZE`: the datagram is larger than its family allows.
    DatagramTooLarge,
    /// `EMFILE`: the container has as many sockets as it may have.
    TooManySockets,
    /// `ENOBUFS`: a table or queue of the pod network is full.
    OutOfBuffers,
    /// `EOPNOTSUPP`: not for this kind of socket.
    NotSupported,
    /// `EAI_NONAME`: the name does not exist or has no address.
    NameUnresolvable,
    /// `EAI_AGAIN`: the resolver did not answer; it may later.
    TemporaryResolverFailure,
    /// `EAI_FAIL`: the resolver failed and will fail again.
    PermanentResolverFailure,
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WouldBlock => "operation would block",
            Self::AccessDenied => "access denied by the egress policy",
            Self::AddressInUse => "address in use",
            Self::AddressNotAvailable => "address not available",
            Self::FamilyMismatch => "address family not supported by the socket",
            Self::InvalidArgument => "invalid argument",
            Self::AlreadyConnected => "already connected",
            Self::AlreadyInProgress => "connect already in progress",
            Self::NotConnected => "not connected",
            Self::DestinationRequired => "destination address required",
            Self::BrokenPipe => "broken pipe",
            Self::ConnectionRefused => "connection refused",
            Self::ConnectionReset => "connection reset",
            Self::ConnectionAborted => "connection aborted",
            Self::NetworkUnreachable => "network unreachable",
            Self::TimedOut => "timed out",
            Self::DatagramTooLarge => "datagram too large",
            Self::TooManySockets => "too many sockets",
            Self::OutOfBuffers => "no buffer space",
            Self::NotSupported => "operation not supported",
            Self::NameUnresolvable => "name does not resolve",
            Self::TemporaryResolverFailure => "temporary failure in name resolution",
            Self::PermanentResolverFailure => "permanent failure in name resolution",
        })
    }
}

impl std::error::Error for NetError {}

impl From<NetError> for std::io::Error {
    /// The error of the same meaning, for those who drive a pod's stream with `tokio` or `hyper`.
    fn from(error: NetError) -> Self {
        use std::io::ErrorKind;
        let kind = match error {
            NetError::WouldBlock => ErrorKind::WouldBlock,
            NetError::AccessDenied => ErrorKind::PermissionDenied,
            NetError::AddressInUse => ErrorKind::AddrInUse,
            NetError::AddressNotAvailable => ErrorKind::AddrNotAvailable,
            NetError::InvalidArgument | NetError::FamilyMismatch => ErrorKind::InvalidInput,
            NetError::NotConnected => ErrorKind::NotConnected,
            NetError::BrokenPipe => ErrorKind::BrokenPipe,
            NetError::ConnectionRefused => ErrorKind::ConnectionRefused,
            NetError::ConnectionReset => ErrorKind::ConnectionReset,
            NetError::ConnectionAborted => ErrorKind::ConnectionAborted,
            NetError::NetworkUnreachable => ErrorKind::NetworkUnreachable,
            NetError::TimedOut => ErrorKind::TimedOut,
            NetError::NameUnresolvable => ErrorKind::NotFound,
            _ => ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
