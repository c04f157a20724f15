//! Servers that say what the input says.

use std::net::SocketAddr;
use wasmpod::net::{AddressFamily, PodNet, Shutdown};

/// Between what is sent on two connections.
const SEPARATOR: &[u8] = b"\0--\0";

/// Listens on a port of the pod and gives each connection one of `answers`, then empty ones. Never ends.
pub async fn answer(net: &PodNet, port: u16, answers: Vec<&[u8]>) {
    let container = net.container("app");
    let listener = container.tcp_socket(AddressFamily::Ipv4).unwrap();
    listener.bind(SocketAddr::from(([0, 0, 0, 0], port))).unwrap();
    listener.listen().unwrap();
    let mut kept = Vec::new();
    for bytes in answers.into_iter().chain(std::iter::repeat(&b""[..])) {
        let socket = listener.accepted().await.unwrap();
        let stream = socket.stream().unwrap();
        // Once the question is there; a client that is gone by then does not matter.
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown(Shutdown::Write);
        kept.push(socket);
    }
}

/// The answers of an input.
pub fn split(data: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = data;
    while let Some(at) = rest.windows(SEPARATOR.len()).position(|window| window == SEPARATOR) {
        parts.push(&rest[..at]);
        rest = &rest[at + SEPARATOR.len()..];
    }
    parts.push(rest);
    parts
}
