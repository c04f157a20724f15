//! Probes and lifecycle hooks: from what the manifest asks to what is done over the pod's network.
//!
//! Everything here has been checked: there is one handler, its port is a number or a name that the container declares.

use crate::pod::spec::{Hook, HttpGet, Probe, ProbeAction};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::time::Duration;

/// A probe of `container`; nothing when it asks nothing.
pub(super) fn probe(probe: &core::Probe, container: &core::Container) -> Option<Probe> {
    let seconds = |seconds: Option<i32>| Duration::from_secs(u64::try_from(seconds.unwrap_or_default()).unwrap_or_default());
    let count = |count: Option<i32>| u32::try_from(count.unwrap_or_default()).unwrap_or_default().max(1);
    let grace = probe.termination_grace_period_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Some(Probe {
        action: probe_action(probe, container)?,
        initial_delay: seconds(probe.initial_delay_seconds),
        timeout: seconds(probe.timeout_seconds),
        period: seconds(probe.period_seconds),
        success_threshold: count(probe.success_threshold),
        failure_threshold: count(probe.failure_threshold),
        termination_grace_period: grace.map(Duration::from_secs),
    })
}

fn probe_action(probe: &core::Probe, container: &core::Container) -> Option<ProbeAction> {
    if let Some(exec) = &probe.exec {
        return Some(ProbeAction::Exec { command: exec.command.clone().unwrap_or_default() });
    }
    if let Some(get) = &probe.http_get {
        return http_get(get, container).map(ProbeAction::HttpGet);
    }
    if let Some(socket) = &probe.tcp_socket {
        return Some(ProbeAction::TcpSocket { host: written(socket.host.as_ref()), port: port(&socket.port, container)? });
    }
    let grpc = probe.grpc.as_ref()?;
    Some(ProbeAction::Grpc { port: u16::try_from(grpc.port).ok()?, service: grpc.service.clone().unwrap_or_default() })
}

/// What `lifecycle.postStart` or `lifecycle.preStop` of `container` does.
pub(super) fn hook(handler: &core::LifecycleHandler, container: &core::Container) -> Option<Hook> {
    if let Some(exec) = &handler.exec {
        return Some(Hook::Exec { command: exec.command.clone().unwrap_or_default() });
    }
    if let Some(get) = &handler.http_get {
        return http_get(get, container).map(Hook::HttpGet);
    }
    let sleep = handler.sleep.as_ref()?;
    Some(Hook::Sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or_default())))
}

fn http_get(get: &core::HTTPGetAction, container: &core::Container) -> Option<HttpGet> {
    let path = get.path.as_deref().unwrap_or_default();
    let headers = get.http_headers.iter().flatten().map(|header| (header.name.clone(), header.value.clone()));
    Some(HttpGet {
        tls: get.scheme.as_deref() == Some("HTTPS"),
        host: written(get.host.as_ref()),
        port: port(&get.port, container)?,
        // The kubelet makes a URL of it, which has the slash.
        path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
        headers: headers.collect(),
    })
}

fn written(host: Option<&String>) -> Option<String> {
    host.filter(|host| !host.is_empty()).cloned()
}

/// The number of a port, which may be given by the name that it has in the container's own `ports`.
pub(super) fn port(port: &IntOrString, container: &core::Container) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name))?.container_port
        }
    };
    u16::try_from(number).ok().filter(|number| *number > 0)
}
