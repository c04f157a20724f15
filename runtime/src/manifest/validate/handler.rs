//! The rules for probes and lifecycle hooks.

use super::{Placed, at_least, keep, one_of};
use crate::manifest::handlers;
use crate::manifest::names;
use crate::manifest::problem::{FieldPath, Problem, Problems};
use crate::manifest::similar::closest;
use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The signals that `lifecycle.stopSignal` may name, by their Linux names without `SIG`.
const SIGNALS: [&str; 31] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF", "PWR",
    "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM",
];

/// Checks the probes and hooks of a container; `grace_seconds` is the pod's, which a hook's sleep must fit in.
pub(super) fn check(placed: &Placed<'_>, grace_seconds: i64, problems: &mut Problems) {
    let Placed { path, container, .. } = placed;
    let probes = [
        ("startupProbe", &container.startup_probe),
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
    ];
    for (field, probe) in probes {
        if let Some(probe) = probe {
            check_probe(&path.field(field), field, probe, container, problems);
        }
    }
    let Some(lifecycle) = &container.lifecycle else { return };
    let path = path.field("lifecycle");
    for (field, hook) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
        if let Some(hook) = hook {
            check_hook(&path.field(field), hook, container, grace_seconds, problems);
        }
    }
    if let Some(signal) = lifecycle.stop_signal.as_deref().filter(|signal| !signal.is_empty()) {
        problems.check(check_signal(path.field("stopSignal"), signal));
    }
}

fn check_probe(path: &FieldPath, kind: &str, probe: &Probe, container: &Container, problems: &mut Problems) {
    let numbers = [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ];
    for (field, number) in numbers {
        problems.check(at_least(path.field(field), number.map(i64::from), 0));
    }
    let readiness = kind == "readinessProbe";
    if let Some(successes) = probe.success_threshold.filter(|successes| *successes > 1 && !readiness) {
        problems.push(Problem::invalid(path.field("successThreshold"), successes, "must be 1"));
    }
    let grace = path.field("terminationGracePeriodSeconds");
    match probe.termination_grace_period_seconds {
        Some(seconds) if readiness => problems.push(Problem::invalid(grace, seconds, "must not be set for readinessProbes")),
        Some(seconds) if seconds <= 0 => problems.push(Problem::invalid(grace, seconds, "must be greater than 0")),
        _ => {}
    }
    let handlers = [
        ("exec", probe.exec.is_some()),
        ("httpGet", probe.http_get.is_some()),
        ("tcpSocket", probe.tcp_socket.is_some()),
        ("grpc", probe.grpc.is_some()),
    ];
    one_handler(path, &handlers, "exec, httpGet, tcpSocket or grpc", problems);
    check_exec(path, probe.exec.as_ref(), problems);
    check_http_get(path, probe.http_get.as_ref(), container, problems);
    if let Some(socket) = &probe.tcp_socket {
        problems.check(port(path.field("tcpSocket.port"), &socket.port, container));
    }
    if let Some(grpc) = &probe.grpc {
        problems.check(port(path.field("grpc.port"), &IntOrString::Int(grpc.port), container));
    }
}

fn check_hook(path: &FieldPath, hook: &LifecycleHandler, container: &Container, grace_seconds: i64, problems: &mut Problems) {
    let handlers = [
        ("exec", hook.exec.is_some()),
        ("httpGet", hook.http_get.is_some()),
        ("tcpSocket", hook.tcp_socket.is_some()),
        ("sleep", hook.sleep.is_some()),
    ];
    one_handler(path, &handlers, "exec, httpGet or sleep", problems);
    check_exec(path, hook.exec.as_ref(), problems);
    check_http_get(path, hook.http_get.as_ref(), container, problems);
    if let Some(sleep) = hook.sleep.as_ref().filter(|sleep| sleep.seconds < 0 || sleep.seconds > grace_seconds) {
        let rule = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace_seconds})");
        problems.push(Problem::invalid(path.field("sleep.seconds"), sleep.seconds, rule));
    }
}

/// There must be one way to ask, and no second.
fn one_handler(path: &FieldPath, handlers: &[(&'static str, bool)], known: &str, problems: &mut Problems) {
    let mut set = handlers.iter().filter(|(_, set)| *set).map(|(field, _)| *field);
    let Some(first) = set.next() else {
        let problem = Problem::new(path.clone(), "Required value: must specify a handler type");
        problems.push(problem.hint(format!("write {known}")));
        return;
    };
    for second in set {
        let problem = Problem::forbidden(path.field(second), "may not specify more than 1 handler type");
        problems.push(problem.hint(format!("there is {first} too")));
    }
}

fn check_exec(path: &FieldPath, exec: Option<&ExecAction>, problems: &mut Problems) {
    if exec.is_some_and(|exec| exec.command.as_ref().is_none_or(Vec::is_empty)) {
        problems.push(Problem::required(path.field("exec.command")));
    }
}

fn check_http_get(path: &FieldPath, get: Option<&HTTPGetAction>, container: &Container, problems: &mut Problems) {
    let Some(get) = get else { return };
    let path = path.field("httpGet");
    problems.check(port(path.field("port"), &get.port, container));
    problems.check(one_of(path.field("scheme"), get.scheme.as_deref(), &["HTTP", "HTTPS"]));
    for (index, header) in get.http_headers.iter().flatten().enumerate() {
        let path = path.field("httpHeaders").index(index);
        problems.check(keep(path.field("name"), &header.name, names::http_header(&header.name)));
        problems.check(keep(path.field("value"), &header.value, names::http_header_value(&header.value)));
    }
}

/// A number from 1 to 65535, or the name of one of the container's ports.
fn port(path: FieldPath, port: &IntOrString, container: &Container) -> Result<(), Problem> {
    match port {
        IntOrString::Int(number) => super::port_number(path, *number),
        IntOrString::String(name) => {
            keep(path.clone(), name, names::port_name(name))?;
            if handlers::port(port, container).is_some() {
                return Ok(());
            }
            let known = container.ports.iter().flatten().filter_map(|port| port.name.as_deref());
            let hint = match closest(name, known) {
                Some(close) => format!("did you mean {close:?}?"),
                None => "give a port of this container that name, or write the port's number".to_owned(),
            };
            Err(Problem::not_found(path, name).hint(hint))
        }
    }
}

fn check_signal(path: FieldPath, signal: &str) -> Result<(), Problem> {
    let name = signal.strip_prefix("SIG").unwrap_or_default();
    let realtime = name == "RTMIN" || name == "RTMAX" || name.starts_with("RTMIN+") || name.starts_with("RTMAX-");
    if SIGNALS.contains(&name) || realtime {
        return Ok(());
    }
    Err(Problem::invalid(path, signal, "must be a Linux signal such as SIGTERM"))
}
