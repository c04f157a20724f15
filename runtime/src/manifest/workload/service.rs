//! Services: checked by the rules of the API server, and made into what the network between pods needs.

use super::namespace;
use crate::limits::SERVICE_PORTS_MAX;
use crate::manifest::names;
use crate::manifest::problem::{FieldPath, Problem, Problems};
use crate::net::{Protocol, ServiceConfig, ServiceKind, ServicePort, TargetPort};
use k8s_openapi::api::core::v1::{self as core, Service, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::HashSet;

const TYPES: [&str; 4] = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];

/// The Service, and what is wrong with it.
pub(in crate::manifest) fn lower(service: &Service) -> (Option<ServiceConfig>, Problems) {
    let mut problems = Problems::default();
    let Some(spec) = &service.spec else {
        problems.push(Problem::required(FieldPath::of("spec")));
        return (None, problems);
    };
    let name = service.metadata.name.as_deref().unwrap_or_default();
    if !name.is_empty() {
        let rule = names::label(name);
        problems.check(rule.map_err(|rule| Problem::invalid(FieldPath::of("metadata.name"), name, rule)));
    }
    let affinity = spec.session_affinity.as_deref().unwrap_or("None");
    if !["None", "ClientIP"].contains(&affinity) {
        problems.push(Problem::unsupported(FieldPath::of("spec.sessionAffinity"), affinity, &["None", "ClientIP"]));
    }
    let kind = kind(spec, &mut problems);
    let ports = ports(spec, kind.as_ref(), &mut problems);
    let config = kind.map(|kind| ServiceConfig {
        name: name.to_owned(),
        namespace: namespace(&service.metadata),
        kind,
        selector: spec.selector.clone().unwrap_or_default(),
        ports,
        publish_not_ready: spec.publish_not_ready_addresses == Some(true),
        client_ip_affinity: affinity == "ClientIP",
    });
    (config, problems)
}

/// The Service of an object that has been checked.
pub(in crate::manifest) fn lowered(service: &Service) -> Option<ServiceConfig> {
    lower(service).0
}

fn kind(spec: &ServiceSpec, problems: &mut Problems) -> Option<ServiceKind> {
    let headless = spec.cluster_ip.as_deref() == Some("None");
    let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
    let path = FieldPath::of("spec.clusterIP");
    match kind {
        "ClusterIP" if headless => Some(ServiceKind::Headless),
        "NodePort" | "LoadBalancer" | "ExternalName" if headless => {
            problems.push(Problem::invalid(path, "None", format_args!("may not be set to 'None' for {kind} services")));
            None
        }
        "ClusterIP" => Some(ServiceKind::ClusterIp),
        "NodePort" => Some(ServiceKind::NodePort),
        "LoadBalancer" => Some(ServiceKind::LoadBalancer),
        "ExternalName" => {
            let path = FieldPath::of("spec.externalName");
            let name = spec.external_name.as_deref().unwrap_or_default().trim_end_matches('.');
            if name.is_empty() {
                problems.push(Problem::required(path));
                return None;
            }
            problems.check(names::subdomain(name).map_err(|rule| Problem::invalid(path, name, rule)));
            Some(ServiceKind::ExternalName(name.to_owned()))
        }
        other => {
            problems.push(Problem::unsupported(FieldPath::of("spec.type"), other, &TYPES));
            None
        }
    }
}

fn ports(spec: &ServiceSpec, kind: Option<&ServiceKind>, problems: &mut Problems) -> Vec<ServicePort> {
    let path = FieldPath::of("spec.ports");
    let ports = spec.ports.as_deref().unwrap_or_default();
    let portless = matches!(kind, Some(ServiceKind::Headless | ServiceKind::ExternalName(_)) | None);
    if ports.is_empty() && !portless {
        problems.push(Problem::required(path.clone()));
    }
    if ports.len() > SERVICE_PORTS_MAX {
        let message = format!("Too many: {}: must have at most {SERVICE_PORTS_MAX} items", ports.len());
        problems.push(Problem::new(path, message));
        return Vec::new();
    }
    let (mut seen_names, mut seen_ports) = (HashSet::new(), HashSet::new());
    let mut lowered = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = port.name.as_deref().unwrap_or_default();
        if name.is_empty() && ports.len() > 1 {
            problems.push(Problem::required(path.field("name")).hint("a Service with several ports has a name for each"));
        } else if !name.is_empty() {
            problems.check(names::label(name).map_err(|rule| Problem::invalid(path.field("name"), name, rule)));
            if !seen_names.insert(name) {
                problems.push(Problem::duplicate(path.field("name"), name, ""));
            }
        }
        if let Some(port) = port_of(&path, port, problems) {
            if !seen_ports.insert((port.port, port.protocol)) {
                problems.push(Problem::duplicate(path, port.port, "another entry has this port and protocol"));
            }
            lowered.push(port);
        }
    }
    lowered
}

fn port_of(path: &FieldPath, port: &core::ServicePort, problems: &mut Problems) -> Option<ServicePort> {
    let protocol = match port.protocol.as_deref().unwrap_or("TCP") {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        other => {
            problems.push(Problem::unsupported(path.field("protocol"), other, &["TCP", "UDP"]));
            return None;
        }
    };
    let mut number = |field: &'static str, value: i32| {
        let number = u16::try_from(value).ok().filter(|number| *number > 0);
        if number.is_none() {
            problems.push(Problem::invalid(path.field(field), value, "must be between 1 and 65535, inclusive"));
        }
        number
    };
    let own = number("port", port.port)?;
    let node_port = match port.node_port.filter(|port| *port != 0) {
        Some(port) => Some(number("nodePort", port)?),
        None => None,
    };
    let target = match &port.target_port {
        None => TargetPort::Number(own),
        Some(IntOrString::Int(0)) => TargetPort::Number(own),
        Some(IntOrString::Int(target)) => TargetPort::Number(number("targetPort", *target)?),
        Some(IntOrString::String(name)) => {
            let rule = names::port_name(name);
            problems.check(rule.map_err(|rule| Problem::invalid(path.field("targetPort"), name, rule)));
            TargetPort::Name(name.clone())
        }
    };
    Some(ServicePort { name: port.name.clone().unwrap_or_default(), port: own, target, protocol, node_port })
}
