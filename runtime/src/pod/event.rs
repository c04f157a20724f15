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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::spec::RestartPolicy::Always;
    use crate::pod::state::simulator::Run::{Exit, Forever};
    use crate::pod::state::simulator::pod;

    fn events(state: &PodState, spec: &PodSpec) -> Vec<v1::Event> {
        let started_at = "2026-11-01T12:00:00Z".parse().unwrap();
        pod_events(spec, state, &StatusFacts { started_at, pod_ips: vec![], host_ips: vec![], image_ids: vec![] })
    }

    #[test]
    fn an_event_says_what_happened_to_what_how_often_and_when() {
        let scenario = pod(Always).init("init", [Exit(1, 0)]).app("app", [Exit(0, 1), Exit(0, 1), Forever]).until(60);
        let events = events(&scenario.play().0, &scenario.spec);
        let line = |event: &v1::Event| {
            let seconds =
                |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| time.as_ref().unwrap().0.to_string();
            let path = event.involved_object.field_path.clone().unwrap();
            let (first, last) = (seconds(&event.first_timestamp), seconds(&event.last_timestamp));
            format!(
                "{} {} {path} x{} {} {}",
                event.type_.as_ref().unwrap(),
                event.reason.as_ref().unwrap(),
                event.count.unwrap(),
                &first[11..],
                &last[11..]
            )
        };
        assert_eq!(
            events.iter().map(line).collect::<Vec<_>>(),
            [
                "Normal Created spec.initContainers{init} x1 12:00:00Z 12:00:00Z",
                "Normal Started spec.initContainers{init} x1 12:00:00Z 12:00:00Z",
                "Warning BackOff spec.containers{app} x1 12:00:01Z 12:00:01Z",
                "Normal Created spec.containers{app} x3 12:00:01Z 12:00:11Z",
                "Normal Started spec.containers{app} x3 12:00:01Z 12:00:11Z",
            ]
        );
        assert_eq!(events[0].involved_object.uid.as_deref(), Some("uid"));
    }

    #[test]
    fn every_event_has_a_name_of_its_own_that_stays() {
        let names = |until| {
            let scenario = pod(Always).app("app", [Exit(0, 1)]).until(until);
            let events = events(&scenario.play().0, &scenario.spec);
            events.into_iter().map(|event| event.metadata.name.unwrap()).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(names(5).len(), 3);
        assert_eq!(names(5), names(500));
    }
}
