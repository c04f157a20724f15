//! What a guest is told when a request does not succeed: the errors of the network, of hyper and of TLS as those of `wasi:http`,
//! which are those of RFC 9209.

use crate::net::NetError;
use std::error::Error as _;
use std::io;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, TlsAlertReceivedPayload};

/// A name that could not be resolved.
pub(super) fn of_lookup(error: NetError) -> Error {
    let dns = |rcode: &str| Error::DnsError { rcode: Some(rcode.to_owned()), info_code: None };
    match error {
        NetError::InvalidArgument => Error::HttpRequestUriInvalid,
        NetError::NameUnresolvable => dns("NXDOMAIN"),
        NetError::TemporaryResolverFailure | NetError::TimedOut => Error::DnsTimeout,
        _ => dns("SERVFAIL"),
    }
}

/// An address that could not be connected to.
pub(super) fn of_connect(error: NetError) -> Error {
    match error {
        NetError::AccessDenied => Error::DestinationIpProhibited,
        // The latter are port 0, multicast and the like.
        NetError::NetworkUnreachable | NetError::InvalidArgument => Error::DestinationIpUnroutable,
        NetError::ConnectionRefused => Error::ConnectionRefused,
        NetError::ConnectionReset | NetError::ConnectionAborted | NetError::BrokenPipe => Error::ConnectionTerminated,
        NetError::TimedOut => Error::ConnectionTimeout,
        NetError::TooManySockets | NetError::OutOfBuffers | NetError::AddressInUse => Error::ConnectionLimitReached,
        _ => Error::DestinationUnavailable,
    }
}

/// A TLS session that could not be made.
pub(super) fn of_tls(error: &io::Error) -> ErrorCode {
    match error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => ErrorCode::TlsCertificateError,
        Some(rustls::Error::AlertReceived(alert)) => ErrorCode::TlsAlertReceived(TlsAlertReceivedPayload {
            alert_id: Some(u8::from(*alert)),
            alert_message: Some(format!("{alert:?}")),
        }),
        Some(_) => ErrorCode::TlsProtocolError,
        None => ErrorCode::ConnectionTerminated,
    }
}

/// An exchange that broke off.
pub(super) fn of_hyper(error: &hyper::Error) -> ErrorCode {
    if error.is_timeout() {
        return ErrorCode::HttpResponseTimeout;
    }
    if error.is_parse_too_large() {
        return ErrorCode::HttpResponseHeaderSectionSize(None);
    }
    if error.is_incomplete_message() {
        return ErrorCode::HttpResponseIncomplete;
    }
    if error.is_closed() || error.is_canceled() {
        return ErrorCode::ConnectionTerminated;
    }
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        // The connection ended, in good order, in the middle of a body.
        Some(error) if error.kind() == io::ErrorKind::UnexpectedEof => ErrorCode::HttpResponseIncomplete,
        Some(_) => ErrorCode::ConnectionTerminated,
        None => ErrorCode::HttpProtocolError,
    }
}
