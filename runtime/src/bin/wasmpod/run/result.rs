//! What became of the run: the failures in words, the objects for `--output`.

use super::make::is_job;
use crate::args::OutputFormat;
use crate::harmless::harmless_on_terminal;
use crate::report;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use std::io::Write as _;
use wasmpod::workload::{ControllerSpec, WorkloadReport};
use wasmpod::{Error, Result};

/// The status of a container that was asked to stop, or was stopped: 128 + SIGTERM, 128 + SIGKILL.
const STOPPED: [i32; 2] = [143, 137];

/// Says why pods and Jobs failed, where the containers' own output cannot have said it; of a run that was `stopped`, what had failed
/// before that.
pub(super) fn explain(reports: &[WorkloadReport], stopped: bool) {
    for workload in reports {
        for pod in &workload.pods {
            if stopped || !pod.succeeded {
                explain_pod(&pod.object, stopped);
            }
        }
        let outcome = &workload.outcome;
        if let (true, false, Some(reason)) = (is_job(&workload.spec), outcome.succeeded, outcome.reason) {
            let message = outcome.message.as_deref().unwrap_or_default();
            report::warn(&format!("Job {} failed: {reason}: {message}", workload.spec.name));
        }
    }
}

fn explain_pod(object: &v1::Pod, stopped: bool) {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let Some(status) = &object.status else { return };
    if let Some(reason) = status.reason.as_ref().filter(|_| !was_told(status)) {
        report::warn(&format!("pod {name} failed: {reason}: {}", status.message.as_deref().unwrap_or_default()));
    }
    for container in status.init_container_statuses.iter().chain(&status.container_statuses).flatten() {
        let Some(ended) = last_failure(container, stopped) else { continue };
        let reason = ended.reason.as_deref().unwrap_or("Error");
        let message = ended.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
        let restarts = match container.restart_count {
            0 => String::new(),
            1 => ", restarted once".to_owned(),
            count => format!(", restarted {count} times"),
        };
        let code = ended.exit_code;
        report::warn(&format!("container {} of pod {name}: {reason}, exit code {code}{restarts}{message}", container.name));
    }
}

/// Whether the pod failed because a container can never start: that was said when it was found out.
fn was_told(status: &v1::PodStatus) -> bool {
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let mut waiting = containers.filter_map(|container| container.state.as_ref()?.waiting.as_ref());
    waiting.any(|waiting| waiting.reason == status.reason)
}

/// How the container failed last, unless that was our own doing.
fn last_failure(container: &v1::ContainerStatus, stopped: bool) -> Option<&v1::ContainerStateTerminated> {
    let ended = |state: &'_ Option<v1::ContainerState>| state.as_ref().and_then(|state| state.terminated.clone());
    let failed = |ended: &v1::ContainerStateTerminated| ended.exit_code != 0 && !(stopped && STOPPED.contains(&ended.exit_code));
    let state = container.state.as_ref().and_then(|state| state.terminated.as_ref()).filter(|ended| failed(ended));
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref()).filter(|ended| failed(ended));
    // A container that succeeded in the end has nothing to explain, whatever it did before.
    match ended(&container.state) {
        Some(end) if end.exit_code == 0 => None,
        _ => state.or(last),
    }
}

/// Prints the objects on stdout: one by itself, several as a List. Says whether anybody read it.
pub(super) fn print(reports: &[WorkloadReport], format: OutputFormat) -> Result<bool> {
    let objects = objects(reports)?;
    let failed = |error: String| Error::internal("cannot write the result").because(error);
    let text = match format {
        OutputFormat::Json => match &objects[..] {
            [object] => serde_json::to_string_pretty(object),
            objects => serde_json::to_string_pretty(&serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects })),
        }
        .map_err(|error| failed(error.to_string()))?,
        OutputFormat::Yaml => {
            let documents: Result<Vec<String>, _> = objects.iter().map(serde_saphyr::to_string).collect();
            documents.map_err(|error| failed(error.to_string()))?.join("---\n")
        }
    };
    let mut stdout = std::io::stdout().lock();
    let text = harmless_on_terminal(text.trim_end(), &stdout);
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::io("cannot write the result", error)),
    }
}

/// The pods of each workload, a Job before its own.
fn objects(reports: &[WorkloadReport]) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    let value = |object: serde_json::Result<Value>| {
        object.map_err(|error| Error::internal("an object cannot be written as JSON").because(error))
    };
    for workload in reports {
        if is_job(&workload.spec) {
            objects.push(value(serde_json::to_value(job(workload)))?);
        }
        for pod in &workload.pods {
            objects.push(value(serde_json::to_value(&pod.object))?);
        }
    }
    Ok(objects)
}

/// The Job with its status.
fn job(workload: &WorkloadReport) -> Job {
    let (spec, progress, outcome) = (&workload.spec, &workload.progress, &workload.outcome);
    let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let ControllerSpec::Job(wanted) = &spec.controller else { return Job::default() };
    let condition = |type_: &&str| JobCondition {
        type_: (*type_).to_owned(),
        status: "True".to_owned(),
        reason: outcome.reason.map(str::to_owned),
        message: outcome.message.clone(),
        ..JobCondition::default()
    };
    // None, if it was stopped before it came to an end.
    let conditions: Vec<JobCondition> = progress.conditions.iter().map(condition).collect();
    let status = JobStatus {
        active: Some(number(progress.active)).filter(|count| *count > 0),
        succeeded: Some(number(progress.succeeded)).filter(|count| *count > 0),
        failed: Some(number(progress.failed)).filter(|count| *count > 0),
        completed_indexes: wanted.indexed.then(|| ranges(&progress.completed_indexes)),
        failed_indexes: progress.failed_indexes.as_deref().map(ranges),
        conditions: (!conditions.is_empty()).then_some(conditions),
        ..JobStatus::default()
    };
    let job_spec = JobSpec {
        completions: wanted.completions.map(number),
        parallelism: Some(number(wanted.parallelism)),
        backoff_limit: Some(number(wanted.backoff_limit)),
        backoff_limit_per_index: wanted.per_index.map(|limits| number(limits.backoff_limit)),
        max_failed_indexes: wanted.per_index.and_then(|limits| limits.failed_indexes_max).map(number),
        completion_mode: Some(if wanted.indexed { "Indexed" } else { "NonIndexed" }.to_owned()),
        ..JobSpec::default()
    };
    let metadata = ObjectMeta {
        name: Some(spec.name.clone()),
        namespace: Some(spec.namespace.clone()),
        uid: Some(spec.uid.clone()),
        ..ObjectMeta::default()
    };
    Job { metadata, spec: Some(job_spec), status: Some(status) }
}

/// Indexes as a Job's status has them: `0-2,5`.
fn ranges(indexes: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for index in indexes {
        match parts.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*index) => *last = *index,
            _ => parts.push((*index, *index)),
        }
    }
    let part = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    parts.iter().map(part).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completed_indexes_are_written_as_kubernetes_writes_them() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(ranges(&[]), "");
    }
}
