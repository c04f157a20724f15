//! What a container answers to its probes: HTTP/1, and gRPC over HTTP/2. The input is what is sent, connection by connection.

use super::{block_on, pod_network, wire};
use std::time::Duration;
use wasmpod::limits::PROBE_ANSWER_BYTES_MAX;
use wasmpod::pod::probe::ask_over_network;
use wasmpod::pod::spec::{HttpGet, Probe, ProbeAction};
use wasmpod::pod::state::ProbeAnswer;

/// What a kubelet's message has besides the answer's own words.
const WORDS_MAX: usize = 16 << 10;

pub fn run(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let action = match kind % 2 {
        0 => ProbeAction::HttpGet(HttpGet { tls: false, host: None, port: 80, path: "/ready".to_owned(), headers: Vec::new() }),
        _ => ProbeAction::Grpc { port: 80, service: "db".to_owned() },
    };
    let probe = Probe {
        action,
        initial_delay: Duration::ZERO,
        timeout: Duration::from_secs(1),
        period: Duration::from_secs(1),
        success_threshold: 1,
        failure_threshold: 1,
        termination_grace_period: None,
    };
    let net = pod_network();
    let answer = block_on(async {
        tokio::select! {
            answer = ask_over_network(&probe, &net) => answer,
            () = wire::answer(&net, 80, wire::split(data)) => unreachable!("it serves for ever"),
        }
    });
    if let ProbeAnswer::Failure(said) | ProbeAnswer::Warning(said) | ProbeAnswer::Error(said) = answer {
        assert!(said.len() <= 3 * PROBE_ANSWER_BYTES_MAX + WORDS_MAX, "{} bytes", said.len());
    }
}
