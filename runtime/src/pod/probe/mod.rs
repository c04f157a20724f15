//! Asking a probe: what [`state`](crate::pod::state) decides to ask is put to the container here, over the pod's network.
//!
//! ```text
//!   httpGet   ─▶ connection ─▶ [TLS] ─▶ HTTP/1.1 GET ─▶ 200 to 399
//!   grpc      ─▶ connection ─▶ HTTP/2 ─▶ grpc.health.v1.Health/Check ─▶ SERVING
//!   tcpSocket ─▶ connection
//!   exec      ─▶ one more instance in the container ─▶ status 0
//! ```
//! Answers are those of a kubelet, to the text of their failures. A probe of the pod itself reaches what a kubelet reaches: listeners
//! on the pod's address or on the wildcard, and no kernel socket takes part in it.

pub(super) mod connection;
pub(super) mod exec;
mod grpc;
pub(super) mod http;

use super::go_duration::go_duration;
use super::spec::{Probe, ProbeAction};
use super::state::ProbeAnswer;
use crate::net::PodNet;
use crate::{Error, Result};
use connection::Target;
use exec::ExecRun;
use std::time::Duration;

/// What the requests of probes call themselves.
const USER_AGENT: &str = "kube-probe/1.35";

/// Asks a probe over the network of a pod, as the pod's own task does; an `exec`, which takes a container, is answered with an error.
/// Needs a tokio runtime with time.
pub async fn ask_over_network(probe: &Probe, net: &PodNet) -> ProbeAnswer {
    ask(probe, net, None).await
}

/// Asks `probe`, and says so when its timeout is over. `run` is the instance of an `exec`, which is killed by then.
pub(super) async fn ask(probe: &Probe, net: &PodNet, run: Option<Result<ExecRun>>) -> ProbeAnswer {
    let answer = async {
        match (&probe.action, run) {
            (ProbeAction::HttpGet(get), _) => http::ask(net, get, USER_AGENT).await,
            (ProbeAction::TcpSocket { host, port }, _) => {
                let target = Target::new(net, host.as_deref(), *port);
                target.connect(net).await.map_or_else(ProbeAnswer::Failure, |_| ProbeAnswer::Success)
            }
            (ProbeAction::Grpc { port, service }, _) => grpc::check(net, *port, service, USER_AGENT, probe.timeout).await,
            (ProbeAction::Exec { .. }, Some(run)) => exec_answer(run).await,
            (ProbeAction::Exec { .. }, None) => ProbeAnswer::Error("there is nothing to exec in".to_owned()),
        }
    };
    match tokio::time::timeout(probe.timeout, answer).await {
        Ok(answer) => answer,
        Err(_) => ProbeAnswer::Failure(timed_out(&probe.action, net, probe.timeout)),
    }
}

async fn exec_answer(run: Result<ExecRun>) -> ProbeAnswer {
    let ended = match run {
        Ok(run) => run.finished().await,
        Err(error) => Err(error),
    };
    match ended {
        Ok((0, _)) => ProbeAnswer::Success,
        Ok((_, output)) => ProbeAnswer::Failure(output),
        Err(error) => ProbeAnswer::Error(said(&error)),
    }
}

fn said(error: &Error) -> String {
    error.chain()
}

/// What a kubelet says of an answer that did not come in time.
fn timed_out(action: &ProbeAction, net: &PodNet, timeout: Duration) -> String {
    match action {
        ProbeAction::HttpGet(get) => {
            let url = http::url(net, get);
            format!("Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)")
        }
        ProbeAction::TcpSocket { host, port } => format!("dial tcp {}: i/o timeout", Target::new(net, host.as_deref(), *port)),
        ProbeAction::Grpc { .. } => format!("timeout: health rpc did not complete within {}", go_duration(timeout)),
        ProbeAction::Exec { command } => {
            format!("command timed out: \"{}\" timed out after {}", command.join(" "), go_duration(timeout))
        }
    }
}

#[cfg(test)]
mod tests;
