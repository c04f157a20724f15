//! Makes the pods that the controllers ask for, and lets Services lead to them.

use super::events::Events;
use super::output::TerminalOutput;
use super::prepare::{Kit, Prepared, host_ips};
use crate::report;
use crate::terminal::{Prefixes, Printer};
use async_trait::async_trait;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use wasmpod::net::publish::{Published, publish_service};
use wasmpod::net::{Protocol, ServiceConfig, ServiceKind};
use wasmpod::pod::backoff::BackoffPolicy;
use wasmpod::pod::{Pod, PodConfig, PodImages};
use wasmpod::workload::{MadePod, PodMaker, Replica, WorkloadKind, WorkloadSpec};
use wasmpod::{Error, Result};

/// Makes pods that print to the terminal.
pub(super) struct TerminalPods {
    kit: Kit,
    printer: Arc<Printer>,
    events: Arc<Events>,
    prefixes: Prefixes,
    backoff: BackoffPolicy,
    /// Whether there will be more than one pod: then each container is called by its pod's name too.
    several: bool,
}

impl TerminalPods {
    pub(super) fn new(
        kit: Kit,
        printer: Arc<Printer>,
        events: Arc<Events>,
        prefixes: impl FnOnce(&[String], bool) -> Prefixes,
        backoff: BackoffPolicy,
    ) -> Self {
        let several = kit.manifest().workloads().map(WorkloadSpec::pods_in_all).fold(0_u32, u32::saturating_add) > 1;
        let labels = first_labels(&kit, several);
        let prefixes = prefixes(&labels, several || labels.len() > 1);
        Self { kit, printer, events, prefixes, backoff, several }
    }

    /// What everybody shares.
    pub(super) fn kit(&self) -> &Kit {
        &self.kit
    }
}

/// The labels of the containers of every workload's first pod.
fn first_labels(kit: &Kit, several: bool) -> Vec<String> {
    let pods = kit.manifest().pods().flat_map(|pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let spec = pod.spec.iter();
        spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
            .map(move |container| label(name, &container.name, several))
            .collect::<Vec<_>>()
    });
    pods.collect()
}

fn label(pod: &str, container: &str, several: bool) -> String {
    if several { format!("{pod}/{container}") } else { container.to_owned() }
}

#[async_trait]
impl PodMaker for TerminalPods {
    async fn make(&self, workload: usize, replica: &Replica) -> Result<MadePod> {
        let Prepared { object, sandbox, puller, users, member } = self.kit.prepare(workload, replica).await?;
        sandbox.warnings().for_each(|warning| report::warn(&warning));
        let spec = sandbox.spec();
        let names: Vec<String> = spec.containers.iter().map(|container| label(&spec.name, &container.name, self.several)).collect();
        let prefixes = names.iter().map(|name| self.prefixes.of(name)).collect();
        let output = Arc::new(TerminalOutput::new(Arc::clone(&self.printer), names, users, prefixes));
        let images = PodImages::Pulled(puller);
        let config = PodConfig { sandbox, images, backoff: self.backoff, output, host_ips: host_ips() };
        let pod = Pod::start(config)?;
        self.events.follow(&pod);
        Ok(MadePod { pod, object, member: Some(member) })
    }

    fn not_made(&self, _workload: usize, _replica: &Replica, error: &Error) -> i32 {
        report::tell(error).into()
    }
}

/// Adds the Services of the manifest to the network, and publishes those that are to be reached from the machine.
pub(crate) async fn services(kit: &Kit) -> Result<Vec<Published>> {
    let mut published = Vec::new();
    let services: Vec<ServiceConfig> = kit.manifest().services().collect();
    for service in services {
        warn_of_nobody(kit, &service);
        let addresses = kit.cluster().add_service(service.clone())?;
        let Some(address) = addresses.first() else { continue };
        for port in &service.ports {
            let host_port = match service.kind {
                ServiceKind::LoadBalancer => port.port,
                ServiceKind::NodePort => port.node_port.unwrap_or(0),
                _ => continue,
            };
            let name = service.full_name();
            let host = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), host_port);
            let target = SocketAddr::new(*address, port.port);
            let listener = publish_service(kit.cluster(), port.protocol, host, target).await;
            let listener = listener.map_err(|error| error.within(&format!("Service {name}")))?;
            let protocol = match port.protocol {
                Protocol::Tcp => "",
                Protocol::Udp => "UDP ",
            };
            report::note(&format!("Service {name}: {protocol}port {} is published on {}", port.port, listener.address()));
            published.push(listener);
        }
    }
    Ok(published)
}

/// A Service that no pod of the run will ever be behind refuses every connection: say so.
fn warn_of_nobody(kit: &Kit, service: &ServiceConfig) {
    let is_alias = matches!(service.kind, ServiceKind::ExternalName(_));
    let mut labels = kit.manifest().pods().map(|pod| &pod.metadata);
    let namespace = |name: Option<&String>| name.is_none_or(|name| *name == service.namespace);
    let selected = labels.any(|metadata| {
        namespace(metadata.namespace.as_ref()) && metadata.labels.as_ref().is_some_and(|labels| service.selects(labels))
    });
    if !selected && !is_alias {
        report::warn(&format!(
            "Service {}: its selector picks no pod of the manifest; connections to it are refused",
            service.full_name()
        ));
    }
}

/// Whether a workload is shown as an object of its own in the result.
pub(super) fn is_job(spec: &WorkloadSpec) -> bool {
    spec.kind == WorkloadKind::Job
}
