//! A pod's events as Kubernetes' Event objects: what `kubectl describe` and `kubectl events` show. Pure, like the status.

use super::spec::{ContainerRole, PodSpec};
use super::state::{ContainerIndex, PodEvent, PodState};
use super::status::StatusFacts;
use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Who reports them.
const COMPONENT: &str = "wasmpod";

/// All events of the pod, the latest last. `state` must have been made from `spec`.
pub fn pod_events(spec: &PodSpec, state: &PodState, facts: &StatusFacts) -> Vec<v1::Event> {
    state.journal().events().map(|event| object(spec, event, facts)).collect()
}

/// What an event is about: `spec.containers{name}`, or nothing for the pod itself.
pub fn field_path(spec: &PodSpec, container: Option<ContainerIndex>) -> Option<String> {
    let container = spec.containers.get(container?.0)?;
    let list = if container.role == ContainerRole::App { "containers" } else { "initContainers" };
    Some(format!("spec.{list}{{{}}}", container.name))
}

fn object(spec: &PodSpec, event: &PodEvent, facts: &StatusFacts) -> v1::Event {
    let time = |at| Some(facts.time(at));
    v1::Event {
        metadata: ObjectMeta {
            // As client-go names them: unique by the time of the first.
            name: Some(format!("{}.{:016x}", spec.name, facts.started_at.as_nanosecond() + i128::from(event.number))),
            namespace: Some(spec.namespace.clone()),
            creation_timestamp: time(event.first_at),
            ..ObjectMeta::default()
        },
        involved_object: v1::ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(spec.name.clone()),
            namespace: Some(spec.namespace.clone()),
            uid: Some(spec.uid.clone()),
            field_path: field_path(spec, event.container),
            ..v1::ObjectReference::default()
        },
        type_: Some(event.reason.event_type().to_string()),
        reason: Some(event.reason.to_string()),
        message: Some(event.message.clone()),
        count: Some(i32::try_from(event.count).unwrap_or(i32::MAX)),
        first_timestamp: time(event.first_at),
        last_timestamp: time(event.last_at),
        source: Some(v1::EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        reporting_component: Some(COMPONENT.to_owned()),
        ..v1::Event::default()
    }
}
