//! What Kubernetes' tools see of a pod: [`PodState`] and [`PodSpec`] as a `v1.PodStatus`, in the kubelet's words.
//!
//! Pure: wall-clock times are the given start plus the state's own, in whole seconds as Kubernetes writes them.

use crate::limits::{POD_TERMINATION_MESSAGES_BYTES_MAX, TERMINATION_MESSAGE_BYTES_MAX};
use crate::pod::go_duration::go_duration;
use crate::pod::spec::{ContainerRole, ContainerSpec, PodSpec, QosClass};
use crate::pod::state::{
    Attempt, Condition, Container, ContainerExit, ContainerIndex, ContainerState, IMAGE_PULL_BACK_OFF, ImageState, PodState,
    PullError, Termination, Waiting,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// What the state machine does not know and the status tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusFacts {
    /// The wall-clock time of the pod's start, to which the state's times are added.
    pub started_at: Timestamp,
    /// The pod's addresses, the first one first.
    pub pod_ips: Vec<IpAddr>,
    /// The machine's addresses.
    pub host_ips: Vec<IpAddr>,
    /// What each container's image resolved to, such as `sha256:…`, in the order of the spec; empty or missing while unknown.
    pub image_ids: Vec<String>,
}

/// The status of the pod. `state` must have been made from `spec`.
pub fn pod_status(spec: &PodSpec, state: &PodState, facts: &StatusFacts) -> v1::PodStatus {
    let statuses = |init: bool| {
        let containers = spec.containers.iter().zip(state.containers()).enumerate();
        let chosen = containers.filter(|(_, (spec, _))| (spec.role != ContainerRole::App) == init);
        let statuses: Vec<_> = chosen
            .map(|(index, (container_spec, container))| {
                Subject { pod: spec, state, facts, index: ContainerIndex(index), spec: container_spec, container }.status()
            })
            .collect();
        (!statuses.is_empty()).then_some(statuses)
    };
    let addresses = |ips: &[IpAddr]| ips.iter().map(IpAddr::to_string).collect::<Vec<_>>();
    let (pod_ips, host_ips) = (addresses(&facts.pod_ips), addresses(&facts.host_ips));
    v1::PodStatus {
        phase: Some(state.phase().to_string()),
        reason: state.outcome().and_then(|outcome| outcome.reason).map(str::to_owned),
        message: state.outcome().and_then(|outcome| outcome.message.clone()),
        start_time: Some(facts.time(Duration::ZERO)),
        conditions: Some(state.conditions().into_iter().map(|condition| facts.condition(condition)).collect()),
        init_container_statuses: statuses(true),
        container_statuses: statuses(false),
        pod_ip: pod_ips.first().cloned(),
        pod_ips: (!pod_ips.is_empty()).then(|| pod_ips.into_iter().map(|ip| v1::PodIP { ip }).collect()),
        host_ip: host_ips.first().cloned(),
        host_ips: (!host_ips.is_empty()).then(|| host_ips.into_iter().map(|ip| v1::HostIP { ip }).collect()),
        qos_class: Some(qos_class(spec.qos_class).to_owned()),
        ..v1::PodStatus::default()
    }
}

fn qos_class(class: QosClass) -> &'static str {
    match class {
        QosClass::Guaranteed => "Guaranteed",
        QosClass::Burstable => "Burstable",
        QosClass::BestEffort => "BestEffort",
    }
}

/// `containerID` of one instance.
pub fn container_id(pod: &PodSpec, container: &ContainerSpec, attempt: Attempt) -> String {
    format!("wasmpod://{}/{}/{attempt}", pod.uid, container.name)
}

impl StatusFacts {
    /// The wall-clock time `since_start` after the pod's start, cut to whole seconds.
    pub(super) fn time(&self, since_start: Duration) -> Time {
        let since_start = SignedDuration::try_from(since_start).unwrap_or(SignedDuration::MAX);
        let exact = self.started_at.checked_add(since_start).unwrap_or(Timestamp::MAX);
        Time(Timestamp::from_second(exact.as_second()).unwrap_or(exact))
    }

    fn condition(&self, condition: Condition) -> v1::PodCondition {
        v1::PodCondition {
            type_: condition.kind.to_string(),
            status: if condition.met { "True" } else { "False" }.to_owned(),
            reason: condition.reason.map(str::to_owned),
            message: condition.message,
            last_transition_time: Some(self.time(condition.since)),
            ..v1::PodCondition::default()
        }
    }
}

/// One container of one pod, with all that its status is made of.
#[derive(Clone, Copy)]
struct Subject<'a> {
    pod: &'a PodSpec,
    state: &'a PodState,
    facts: &'a StatusFacts,
    index: ContainerIndex,
    spec: &'a ContainerSpec,
    container: &'a Container,
}

impl Subject<'_> {
    fn status(&self) -> v1::ContainerStatus {
        v1::ContainerStatus {
            name: self.spec.name.clone(),
            image: self.spec.image.clone(),
            image_id: self.facts.image_ids.get(self.index.0).cloned().unwrap_or_default(),
            container_id: self.latest_attempt().map(|attempt| container_id(self.pod, self.spec, attempt)),
            ready: self.container.is_ready(),
            started: Some(self.container.is_started()),
            restart_count: i32::try_from(self.container.restart_count()).unwrap_or(i32::MAX),
            state: Some(self.current()),
            resources: self.resources(),
            last_state: self.container.last_termination().map(|termination| self.terminated(termination)),
            ..v1::ContainerStatus::default()
        }
    }

    /// The instance that lives, or the last one that did.
    fn latest_attempt(&self) -> Option<Attempt> {
        match self.container.state() {
            ContainerState::Running { attempt, .. } => Some(*attempt),
            _ => self.container.latest_termination().map(|termination| termination.attempt),
        }
    }

    fn current(&self) -> v1::ContainerState {
        match self.container.state() {
            ContainerState::Waiting(waiting) => self.waiting(waiting),
            ContainerState::Starting { .. } => self.waiting(&Waiting::Turn),
            ContainerState::Running { since, .. } => v1::ContainerState {
                running: Some(v1::ContainerStateRunning { started_at: Some(self.facts.time(*since)) }),
                ..v1::ContainerState::default()
            },
            ContainerState::Terminated(termination) => self.terminated(termination),
        }
    }

    fn waiting(&self, waiting: &Waiting) -> v1::ContainerState {
        let (reason, message) = match waiting {
            Waiting::Turn => match self.image_missing() {
                Some((reason, message)) => (reason, Some(message)),
                None if self.state.is_initializing() => ("PodInitializing", None),
                None => ("ContainerCreating", None),
            },
            Waiting::Restart { wait, .. } => ("CrashLoopBackOff", Some(self.crash_loop(*wait))),
            Waiting::Retry { error, .. } | Waiting::Refused(error) => (error.reason, Some(error.message.clone())),
        };
        v1::ContainerState {
            waiting: Some(v1::ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
            ..v1::ContainerState::default()
        }
    }

    /// Why an image is not here, once it could not be brought: `ErrImagePull` while it is asked for again, `ImagePullBackOff` until then.
    fn image_missing(&self) -> Option<(&'static str, String)> {
        match self.container.image() {
            ImageState::BackOff { error: PullError { image, error }, .. } if error.is_of_pull() => {
                let message = format!("Back-off pulling image \"{image}\": {}: {}", error.reason, error.message);
                Some((IMAGE_PULL_BACK_OFF, message))
            }
            ImageState::BackOff { error, .. } | ImageState::Pulling { failed: Some(error) } => {
                Some((error.error.reason, error.error.message.clone()))
            }
            ImageState::Present | ImageState::Wanted | ImageState::Pulling { failed: None } | ImageState::Refused => None,
        }
    }

    fn crash_loop(&self, wait: Duration) -> String {
        let PodSpec { name, namespace, uid, .. } = self.pod;
        format!("back-off {} restarting failed container={} pod={name}_{namespace}({uid})", go_duration(wait), self.spec.name)
    }

    fn terminated(&self, termination: &Termination) -> v1::ContainerState {
        let Termination { attempt, exit, started_at, finished_at } = termination;
        let ContainerExit { code, message, .. } = exit;
        v1::ContainerState {
            terminated: Some(v1::ContainerStateTerminated {
                container_id: Some(container_id(self.pod, self.spec, *attempt)),
                exit_code: *code,
                reason: Some(exit.reason().to_owned()),
                message: (!message.is_empty()).then(|| self.shortened(message).to_owned()),
                started_at: Some(self.facts.time(*started_at)),
                finished_at: Some(self.facts.time(*finished_at)),
                signal: None,
            }),
            ..v1::ContainerState::default()
        }
    }
}

impl Subject<'_> {
    /// A termination message, cut to its container's share of what the pod's status may hold (`normalizeStatus`).
    fn shortened<'a>(&self, message: &'a str) -> &'a str {
        let share = POD_TERMINATION_MESSAGES_BYTES_MAX / self.pod.containers.len().max(1);
        let end = message.floor_char_boundary(share.min(TERMINATION_MESSAGE_BYTES_MAX));
        message.get(..end).unwrap_or(message)
    }

    /// `resources`: the limits that the container runs with.
    fn resources(&self) -> Option<v1::ResourceRequirements> {
        let ContainerSpec { cpu_limit_millicores, memory_limit_bytes, ephemeral_storage_limit_bytes, .. } = self.spec;
        let limits: BTreeMap<String, Quantity> = [
            ("cpu", cpu_limit_millicores.map(|millicores| format!("{millicores}m"))),
            ("memory", memory_limit_bytes.map(|bytes| bytes.to_string())),
            ("ephemeral-storage", ephemeral_storage_limit_bytes.map(|bytes| bytes.to_string())),
        ]
        .into_iter()
        .filter_map(|(name, limit)| Some((name.to_owned(), Quantity(limit?))))
        .collect();
        (!limits.is_empty()).then(|| v1::ResourceRequirements { limits: Some(limits), ..v1::ResourceRequirements::default() })
    }
}

#[cfg(test)]
mod tests;
