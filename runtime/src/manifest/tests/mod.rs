//! What a manifest becomes, and what is said about a bad one.

mod bad;
mod hostile;
mod lifecycle;
mod lowered;
mod volumes;
mod workloads;

use super::{LowerContext, LoweredPod, Manifest};
use crate::Error;

/// The error as the command line shows it.
fn shown(error: &Error) -> String {
    let reason = error.reason().map(|reason| format!("\nreason: {reason}")).unwrap_or_default();
    let hint = error.advice().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("{:?}: {}{hint}{reason}", error.kind(), error.chain())
}

fn context() -> LowerContext {
    LowerContext {
        node_name: "node-1".to_owned(),
        pod_ips: vec!["10.88.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
        host_ips: vec!["192.0.2.1".parse().unwrap()],
        node_cpu_millis: || 2000,
        ..LowerContext::new("uid-1")
    }
}

fn lower(text: &str) -> Result<Vec<LoweredPod>, Error> {
    // A text may begin on the line below its quotes.
    Manifest::parse(text.strip_prefix('\n').unwrap_or(text), "pod.yaml")?.lower(|_| context())
}

/// What is said about a manifest that cannot be lowered.
#[track_caller]
fn error_of(text: &str) -> String {
    shown(&lower(text).expect_err("the manifest is bad"))
}

/// The pod of a manifest that has one.
#[track_caller]
fn pod_of(text: &str) -> LoweredPod {
    match lower(text) {
        Ok(mut pods) if pods.len() == 1 => pods.remove(0),
        Ok(pods) => panic!("{} pods", pods.len()),
        Err(error) => panic!("{}", shown(&error)),
    }
}
