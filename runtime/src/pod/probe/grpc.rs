//! `grpc`: one call of `grpc.health.v1.Health/Check`. The two messages have one field each, so they are written and read by hand.

use super::connection::Target;
use crate::limits::{HTTP_HEADER_BYTES_MAX, PROBE_ANSWER_BYTES_MAX};
use crate::net::PodNet;
use crate::pod::go_duration::go_duration;
use crate::pod::state::ProbeAnswer;
use ::http::header::{CONTENT_TYPE, TE, USER_AGENT};
use ::http::{HeaderMap, Request};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// `grpc-status` 0.
const OK: u32 = 0;
/// `grpc-status` 12.
const UNIMPLEMENTED: u32 = 12;
/// `HealthCheckResponse.ServingStatus`, in the order of their numbers.
const SERVING_STATUS: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// Asks for `service`; SERVING is success. Failures are told in the words of the kubelet's `pkg/probe/grpc`.
pub(super) async fn check(net: &PodNet, port: u16, service: &str, agent: &str, timeout: Duration) -> ProbeAnswer {
    let target = Target::new(net, None, port);
    let stream = match target.connect(net).await {
        Ok(stream) => stream,
        Err(error) => {
            let within = go_duration(timeout);
            return ProbeAnswer::Failure(format!("timeout: failed to connect service \"{target}\" within {within}: {error}"));
        }
    };
    let failed = |error: String| ProbeAnswer::Failure(format!("error: health rpc probe failed: {error}"));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let header_bytes = u32::try_from(HTTP_HEADER_BYTES_MAX).unwrap_or(u32::MAX);
    let handshake = builder.max_header_list_size(header_bytes).handshake(TokioIo::new(stream));
    let (mut sender, connection) = match handshake.await {
        Ok(pair) => pair,
        Err(error) => return failed(error.to_string()),
    };
    let _driven = AbortOnDropHandle::new(tokio::spawn(async move {
        // What goes wrong is told to whoever waits for the answer.
        drop(connection.await);
    }));
    let request = Request::post(format!("http://{target}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, agent)
        .body(Full::new(question(service)));
    let response = match request {
        Ok(request) => sender.send_request(request).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let (head, body) = match response {
        Ok(response) => response.into_parts(),
        Err(error) => return failed(error),
    };
    let collected = match Limited::new(body, PROBE_ANSWER_BYTES_MAX).collect().await {
        Ok(collected) => collected,
        Err(error) => return failed(error.to_string()),
    };
    // A call that fails at once has its status among the headers.
    let status = collected.trailers().and_then(status).or_else(|| status(&head.headers));
    judge(status, &collected.to_bytes())
}

/// `HealthCheckRequest { service = 1 }`, behind the prefix of a gRPC message.
fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        push_varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], &message].concat().into()
}

fn push_varint(message: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        message.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    message.push(low_bits(value));
}

/// The lowest seven bits.
fn low_bits(value: usize) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

/// `grpc-status`, with `grpc-message`.
fn status(headers: &HeaderMap) -> Option<(u32, String)> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers.get("grpc-message").and_then(|message| message.to_str().ok()).unwrap_or_default();
    Some((code, message.to_owned()))
}

fn judge(status: Option<(u32, String)>, body: &[u8]) -> ProbeAnswer {
    ProbeAnswer::Failure(match status {
        Some((OK, _)) => match serving_status(body) {
            Some(1) => return ProbeAnswer::Success,
            Some(number) => {
                let name = SERVING_STATUS.get(number).map_or_else(|| number.to_string(), |name| (*name).to_owned());
                format!("service unhealthy (responded with \"{name}\")")
            }
            None => "error: health rpc probe failed: the answer cannot be read".to_owned(),
        },
        Some((UNIMPLEMENTED, message)) => {
            format!("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}")
        }
        Some((code, message)) => format!("error: health rpc probe failed: rpc error: code = {code} desc = {message}"),
        None => "error: health rpc probe failed: the answer has no grpc-status".to_owned(),
    })
}

/// `HealthCheckResponse { status = 1 }` behind its prefix; 0 when the field is left out.
fn serving_status(body: &[u8]) -> Option<usize> {
    let (&[compressed, a, b, c, d], message) = body.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    match message {
        _ if compressed != 0 || message.len() != length => None,
        [] => Some(0),
        [0x08, status, ..] => Some(usize::from(*status)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_names_the_service() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("db")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'd', b'b']);
        assert_eq!(&question(&"x".repeat(300))[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
    }

    #[test]
    fn only_serving_is_success() {
        let answer = |status: u8| judge(Some((OK, String::new())), &[0, 0, 0, 0, 2, 0x08, status]);
        assert_eq!(answer(1), ProbeAnswer::Success);
        assert_eq!(answer(2), ProbeAnswer::Failure("service unhealthy (responded with \"NOT_SERVING\")".to_owned()));
        let empty = judge(Some((OK, String::new())), &[0, 0, 0, 0, 0]);
        assert_eq!(empty, ProbeAnswer::Failure("service unhealthy (responded with \"UNKNOWN\")".to_owned()));
    }

    #[test]
    fn what_is_no_answer_is_a_failure() {
        for (status, body) in [
            (Some((UNIMPLEMENTED, "unknown service".to_owned())), &[][..]),
            (Some((5, "unknown".to_owned())), &[][..]),
            (Some((OK, String::new())), &[1, 0, 0, 0, 0][..]),
            (Some((OK, String::new())), &[0, 0][..]),
            (Some((OK, String::new())), &[0, 255, 255, 255, 255, 8][..]),
            (None, &[0, 0, 0, 0, 2, 8, 1][..]),
        ] {
            assert!(matches!(judge(status.clone(), body), ProbeAnswer::Failure(_)), "{status:?}");
        }
    }
}
