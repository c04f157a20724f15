//! The Pod Security Standards, as far as a WebAssembly pod can break them.
//!
//! What a guest never has (users, capabilities, system calls to filter) cannot be asked for in a way that harms, so those checks are
//! met by every pod here: `capabilities`, `procMount`, `seccompProfile`, `appArmorProfile`, `seLinuxOptions`, `sysctls`,
//! `allowPrivilegeEscalation`, `runAsNonRoot`, `runAsUser`. What is left is what reaches out of the sandbox: the machine's files, ports
//! and addresses. The words are those of `k8s.io/pod-security-admission/policy`.

use super::Manifest;
use super::problem::{FieldPath, Problem, Problems, Report};
use crate::{Error, ErrorKind, Result};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use std::fmt;
use std::str::FromStr;

/// A level of the Pod Security Standards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodSecurity {
    /// Everything that wasmpod can do at all.
    Privileged,
    /// Nothing of the machine: no `hostPath`, no `hostPort`, no probe of another host.
    Baseline,
    /// As `Baseline`, and volumes of the harmless kinds alone.
    Restricted,
}

impl PodSecurity {
    /// Every level, from the widest to the narrowest.
    pub const ALL: [Self; 3] = [Self::Privileged, Self::Baseline, Self::Restricted];

    /// `privileged`, `baseline` or `restricted`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

impl fmt::Display for PodSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PodSecurity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|level| level.name() == text);
        known.ok_or_else(|| Error::invalid(format!("{text:?} is no level")).hint("use privileged, baseline or restricted"))
    }
}

/// Refuses the pods of `manifest` that break `level`.
pub(super) fn check(manifest: &Manifest, level: PodSecurity) -> Result<()> {
    let mut report = Report::new(&manifest.source, manifest.documents);
    for object in &manifest.pods {
        let violations = violations(&object.value, level);
        if violations.is_empty() {
            continue;
        }
        let message = format!("violates PodSecurity \"{level}:latest\": {}", violations.join(", "));
        let mut problems = Problems::default();
        problems.push(Problem { kind: ErrorKind::Denied, ..Problem::new(FieldPath::of("spec"), message) }.reason("Forbidden"));
        report.take(&object.origin, problems);
    }
    report.finish()
}

/// What of `pod` breaks `level`, each as `reason (detail)`.
fn violations(pod: &Pod, level: PodSecurity) -> Vec<String> {
    let Some(spec) = pod.spec.as_ref().filter(|_| level >= PodSecurity::Baseline) else { return Vec::new() };
    let containers: Vec<&Container> = spec.init_containers.iter().flatten().chain(&spec.containers).collect();
    let mut found = Vec::new();
    let mut add = |reason: &str, detail: Option<String>| {
        if let Some(detail) = detail {
            found.push(format!("{reason} ({detail})"));
        }
    };
    add("host namespaces", host_namespaces(spec));
    let host_paths = spec.volumes.iter().flatten().filter(|volume| volume.host_path.is_some());
    let host_paths: Vec<&str> = host_paths.map(|volume| volume.name.as_str()).collect();
    add("hostPath volumes", names("volume", "volumes", &host_paths));
    add("hostPort", host_ports(&containers));
    add("probe or lifecycle host", probe_hosts(&containers));
    let privileged = containers.iter().filter(|container| is_privileged(container)).map(|container| container.name.as_str());
    let privileged = names("container", "containers", &privileged.collect::<Vec<_>>());
    add("privileged", privileged.map(|names| format!("{names} must not set securityContext.privileged=true")));
    if level == PodSecurity::Restricted {
        let kind = if host_paths.len() == 1 { "uses restricted volume type" } else { "use restricted volume type" };
        add("restricted volume types", names("volume", "volumes", &host_paths).map(|names| format!("{names} {kind} \"hostPath\"")));
    }
    found
}

/// `container "a"` or `containers "a", "b"`; nothing for none.
fn names(one: &str, several: &str, names: &[&str]) -> Option<String> {
    let quoted = names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => None,
        1 => Some(format!("{one} {quoted}")),
        _ => Some(format!("{several} {quoted}")),
    }
}

fn host_namespaces(spec: &PodSpec) -> Option<String> {
    let set = [("hostNetwork", spec.host_network), ("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc)];
    let set: Vec<String> = set.iter().filter(|(_, set)| *set == Some(true)).map(|(field, _)| format!("{field}=true")).collect();
    (!set.is_empty()).then(|| set.join(", "))
}

fn is_privileged(container: &Container) -> bool {
    container.security_context.as_ref().and_then(|context| context.privileged) == Some(true)
}

fn host_ports(containers: &[&Container]) -> Option<String> {
    let mut users = Vec::new();
    let mut ports = Vec::new();
    for container in containers {
        let of_container = container.ports.iter().flatten().filter_map(|port| port.host_port).filter(|port| *port != 0);
        let before = ports.len();
        ports.extend(of_container.map(|port| port.to_string()));
        if ports.len() > before {
            users.push(container.name.as_str());
        }
    }
    let uses = if users.len() == 1 { "uses" } else { "use" };
    let field = if ports.len() == 1 { "hostPort" } else { "hostPorts" };
    Some(format!("{} {uses} {field} {}", names("container", "containers", &users)?, ports.join(", ")))
}

/// A probe or a hook that asks another host would be a way to it from this machine.
fn probe_hosts(containers: &[&Container]) -> Option<String> {
    let mut users = Vec::new();
    let mut hosts = Vec::new();
    for container in containers {
        let before = hosts.len();
        hosts.extend(hosts_of(container).map(|host| format!("{host:?}")));
        if hosts.len() > before {
            users.push(container.name.as_str());
        }
    }
    let uses = if users.len() == 1 { "uses" } else { "use" };
    let field = if hosts.len() == 1 { "probe or lifecycle host" } else { "probe or lifecycle hosts" };
    Some(format!("{} {uses} {field} {}", names("container", "containers", &users)?, hosts.join(", ")))
}

fn hosts_of(container: &Container) -> impl Iterator<Item = &str> {
    let probes = [&container.startup_probe, &container.liveness_probe, &container.readiness_probe].into_iter().flatten();
    let lifecycle = container.lifecycle.as_ref();
    let hooks = [
        lifecycle.and_then(|lifecycle| lifecycle.post_start.as_ref()),
        lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref()),
    ];
    let of_probes = probes.map(|probe| (probe.http_get.as_ref(), probe.tcp_socket.as_ref()));
    let of_hooks = hooks.into_iter().flatten().map(|hook| (hook.http_get.as_ref(), hook.tcp_socket.as_ref()));
    of_probes
        .chain(of_hooks)
        .filter_map(|(get, socket)| {
            get.and_then(|get| get.host.as_deref()).or_else(|| socket.and_then(|socket| socket.host.as_deref()))
        })
        .filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(spec: &str) -> Manifest {
        let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec: {spec}\n");
        Manifest::parse(&text, "pod.yaml").unwrap()
    }

    #[track_caller]
    fn said(spec: &str, level: PodSecurity) -> String {
        let error = pods(spec).check_pod_security(level).unwrap_err();
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Denied, Some("Forbidden")));
        error.to_string()
    }

    const REACHES_OUT: &str = "{volumes: [{name: x, hostPath: {path: /}}, {name: y, hostPath: {path: /}}], \
        initContainers: [{name: i, image: i, ports: [{containerPort: 1, hostPort: 80}]}], \
        containers: [{name: a, image: a, ports: [{containerPort: 2, hostPort: 81}, {containerPort: 3}], \
        livenessProbe: {httpGet: {port: 1, host: 10.0.0.1}}, lifecycle: {preStop: {httpGet: {port: 1, host: h}}}}]}";

    #[test]
    fn baseline_keeps_a_pod_off_the_machine() {
        insta::assert_snapshot!(said(REACHES_OUT, PodSecurity::Baseline));
        let one = "{volumes: [{name: x, hostPath: {path: /}}], containers: [{name: a, image: a}]}";
        insta::assert_snapshot!(said(one, PodSecurity::Baseline));
    }

    #[test]
    fn restricted_names_the_volumes_too() {
        insta::assert_snapshot!(said(REACHES_OUT, PodSecurity::Restricted));
    }

    #[test]
    fn privileged_allows_what_can_be_done() {
        pods(REACHES_OUT).check_pod_security(PodSecurity::Privileged).unwrap();
    }

    #[test]
    fn what_the_sandbox_satisfies_breaks_no_level() {
        let harmless = pods(
            "{securityContext: {runAsUser: 0, sysctls: [{name: a, value: b}]}, volumes: [{name: e}, {name: c, configMap: {name: c}}, \
             {name: p, persistentVolumeClaim: {claimName: p}}, {name: i, image: {reference: i}}, \
             {name: d, downwardAPI: {}}, {name: q, projected: {}}], \
             containers: [{name: a, image: a, securityContext: {allowPrivilegeEscalation: true, runAsUser: 0, \
             capabilities: {add: [NET_ADMIN]}, procMount: Unmasked}, livenessProbe: {tcpSocket: {port: 1}}, \
             ports: [{containerPort: 1, hostPort: 0}]}]}",
        );
        for level in PodSecurity::ALL {
            harmless.check_pod_security(level).unwrap();
        }
    }
}
