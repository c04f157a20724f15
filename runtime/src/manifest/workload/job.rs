//! What a Job says, and the rules that the API server checks for it (`pkg/apis/batch/validation`).

use super::kinds::count;
use crate::limits::{
    JOB_COMPLETIONS_MAX, JOB_INDEXES_BYTES_MAX, JOB_RULE_CONDITIONS_MAX, JOB_RULE_EXIT_CODES_MAX, JOB_RULES_MAX,
    WORKLOAD_REPLICAS_MAX,
};
use crate::manifest::names;
use crate::manifest::problem::{FieldPath, Problem, Problems};
use crate::workload::spec::{FailureAction, FailureRule, Failures, IndexLimits, JobSpec, PodConditionPattern, SuccessRule};
use k8s_openapi::api::batch::v1 as batch;
use std::collections::BTreeSet;
use std::time::Duration;

/// `backoffLimit` of a Job whose indexes have limits of their own: none.
const NO_LIMIT: u32 = i32::MAX.cast_unsigned();

/// What the Job asks for; what is wrong with it goes to `problems`.
pub(super) fn job(spec: &batch::JobSpec, problems: &mut Problems) -> JobSpec {
    let known = ["NonIndexed", "Indexed"];
    let mode = spec.completion_mode.as_deref().unwrap_or("NonIndexed");
    if !known.contains(&mode) {
        problems.push(Problem::unsupported(FieldPath::of("spec.completionMode"), mode, &known));
    }
    let indexed = mode == "Indexed";
    let completions = completions(spec, indexed, problems);
    let deadline = spec.active_deadline_seconds.map(u64::try_from);
    if deadline.is_some_and(|seconds| !seconds.is_ok_and(|seconds| seconds > 0)) {
        let path = FieldPath::of("spec.activeDeadlineSeconds");
        problems.push(Problem::invalid(path, spec.active_deadline_seconds.unwrap_or(0), "must be greater than or equal to 1"));
    }
    let per_index = per_index(spec, indexed, completions, problems);
    let backoff_limit_default = if per_index.is_some() { NO_LIMIT } else { 6 };
    JobSpec {
        completions,
        parallelism: count("spec.parallelism", spec.parallelism, 1, WORKLOAD_REPLICAS_MAX, problems),
        backoff_limit: count("spec.backoffLimit", spec.backoff_limit, backoff_limit_default, u32::MAX, problems),
        per_index,
        active_deadline: deadline.and_then(Result::ok).map(Duration::from_secs),
        indexed,
        suspended: spec.suspend == Some(true),
        failure_rules: failure_rules(spec, problems),
        success_rules: success_rules(spec, indexed, completions, problems),
    }
}

/// Both left out means one pod; a parallelism alone means a queue of work that the pods share.
fn completions(spec: &batch::JobSpec, indexed: bool, problems: &mut Problems) -> Option<u32> {
    match (spec.completions, spec.parallelism) {
        (None, None) if !indexed => Some(1),
        (None, _) if indexed => {
            problems.push(Problem::required(FieldPath::of("spec.completions")).hint("an Indexed Job has one pod for each index"));
            Some(1)
        }
        (None, _) => None,
        (completions, _) => Some(count("spec.completions", completions, 1, JOB_COMPLETIONS_MAX, problems)),
    }
}

fn per_index(spec: &batch::JobSpec, indexed: bool, completions: Option<u32>, problems: &mut Problems) -> Option<IndexLimits> {
    let fields = [("spec.backoffLimitPerIndex", spec.backoff_limit_per_index), ("spec.maxFailedIndexes", spec.max_failed_indexes)];
    for (field, value) in fields.into_iter().filter(|_| !indexed).filter_map(|(field, value)| Some((field, value?))) {
        problems.push(Problem::invalid(FieldPath::of(field), value, "requires indexed completion mode"));
    }
    let failed_indexes_max = spec.max_failed_indexes.map(|max| {
        if spec.backoff_limit_per_index.is_none() {
            let path = FieldPath::of("spec.backoffLimitPerIndex");
            problems.push(Problem::new(path, "Required value: when maxFailedIndexes is specified"));
        }
        count("spec.maxFailedIndexes", Some(max), 0, completions.unwrap_or(JOB_COMPLETIONS_MAX), problems)
    });
    let backoff_limit = count("spec.backoffLimitPerIndex", Some(spec.backoff_limit_per_index?), 0, u32::MAX, problems);
    Some(IndexLimits { backoff_limit, failed_indexes_max })
}

fn failure_rules(spec: &batch::JobSpec, problems: &mut Problems) -> Vec<FailureRule> {
    let Some(policy) = &spec.pod_failure_policy else { return Vec::new() };
    let pod = spec.template.spec.as_ref();
    if let Some(other) = pod.and_then(|pod| pod.restart_policy.as_deref()).filter(|policy| *policy == "OnFailure") {
        let rule = "only \"Never\" is supported when podFailurePolicy is specified";
        problems.push(Problem::invalid(FieldPath::of("spec.template.spec.restartPolicy"), other, rule));
    }
    if let Some(other) = spec.pod_replacement_policy.as_deref().filter(|policy| *policy != "Failed") {
        problems.push(Problem::unsupported(FieldPath::of("spec.podReplacementPolicy"), other, &["Failed"]));
    }
    let names: Vec<&str> = pod
        .into_iter()
        .flat_map(|pod| pod.containers.iter().chain(pod.init_containers.iter().flatten()))
        .map(|container| container.name.as_str())
        .collect();
    let path = FieldPath::of("spec.podFailurePolicy.rules");
    if is_too_long(&path, policy.rules.len(), JOB_RULES_MAX, problems) {
        return Vec::new();
    }
    let rules = policy.rules.iter().enumerate();
    let per_index = spec.backoff_limit_per_index.is_some();
    rules.filter_map(|(index, rule)| failure_rule(&path.index(index), rule, per_index, &names, problems)).collect()
}

fn failure_rule(
    path: &FieldPath,
    rule: &batch::PodFailurePolicyRule,
    per_index: bool,
    containers: &[&str],
    problems: &mut Problems,
) -> Option<FailureRule> {
    let action_path = path.field("action");
    let action = match rule.action.as_str() {
        "Count" => Some(FailureAction::Count),
        "FailIndex" if per_index => Some(FailureAction::FailIndex),
        "FailJob" => Some(FailureAction::FailJob),
        "Ignore" => Some(FailureAction::Ignore),
        "FailIndex" => {
            problems.push(Problem::invalid(action_path, "FailIndex", "requires the backoffLimitPerIndex to be set"));
            None
        }
        other => {
            problems.push(one_of(action_path, other, &["Count", "FailIndex", "FailJob", "Ignore"]));
            None
        }
    };
    let conditions = rule.on_pod_conditions.as_deref().unwrap_or_default();
    let failures = match (&rule.on_exit_codes, conditions) {
        (Some(codes), []) => exit_codes(&path.field("onExitCodes"), codes, containers, problems),
        (None, [_, ..]) => Failures::Conditions(pod_conditions(&path.field("onPodConditions"), conditions, problems)),
        (codes, _) => {
            let why = match codes {
                Some(_) => "specifying both onExitCodes and onPodConditions is not supported",
                None => "specifying one of onExitCodes and onPodConditions is required",
            };
            problems.push(Problem::new(path.clone(), format!("Invalid value: {why}")));
            return None;
        }
    };
    Some(FailureRule { action: action?, failures })
}

fn exit_codes(
    path: &FieldPath,
    codes: &batch::PodFailurePolicyOnExitCodesRequirement,
    containers: &[&str],
    problems: &mut Problems,
) -> Failures {
    if !["In", "NotIn"].contains(&codes.operator.as_str()) {
        problems.push(one_of(path.field("operator"), &codes.operator, &["In", "NotIn"]));
    }
    if let Some(name) = codes.container_name.as_deref().filter(|name| !containers.contains(name)) {
        let rule = "must be one of the container or initContainer names in the pod template";
        problems.push(Problem::invalid(path.field("containerName"), name, rule));
    }
    let values = path.field("values");
    if codes.values.is_empty() {
        problems.push(Problem::invalid(values.clone(), &codes.values, "at least one value is required"));
    }
    if !is_too_long(&values, codes.values.len(), JOB_RULE_EXIT_CODES_MAX, problems) {
        let mut seen = BTreeSet::new();
        for (index, code) in codes.values.iter().enumerate() {
            if codes.operator == "In" && *code == 0 {
                problems.push(Problem::invalid(values.index(index), code, "must not be 0 for the In operator"));
            }
            if !seen.insert(*code) {
                problems.push(Problem::duplicate(values.index(index), code, ""));
            }
        }
        if !codes.values.is_sorted() {
            problems.push(Problem::invalid(values, &codes.values, "must be ordered"));
        }
    }
    Failures::ExitCodes {
        container: codes.container_name.clone(),
        inverted: codes.operator == "NotIn",
        codes: codes.values.clone(),
    }
}

fn pod_conditions(
    path: &FieldPath,
    patterns: &[batch::PodFailurePolicyOnPodConditionsPattern],
    problems: &mut Problems,
) -> Vec<PodConditionPattern> {
    if is_too_long(path, patterns.len(), JOB_RULE_CONDITIONS_MAX, problems) {
        return Vec::new();
    }
    let pattern = |(index, pattern): (usize, &batch::PodFailurePolicyOnPodConditionsPattern)| {
        let path = path.index(index);
        let kind = pattern.type_.clone();
        problems.check(names::qualified_name(&kind).map_err(|rule| Problem::invalid(path.field("type"), &kind, rule)));
        let status = pattern.status.clone().unwrap_or_else(|| "True".to_owned());
        if !["False", "True", "Unknown"].contains(&status.as_str()) {
            problems.push(one_of(path.field("status"), &status, &["False", "True", "Unknown"]));
        }
        PodConditionPattern { kind, status }
    };
    patterns.iter().enumerate().map(pattern).collect()
}

fn success_rules(spec: &batch::JobSpec, indexed: bool, completions: Option<u32>, problems: &mut Problems) -> Vec<SuccessRule> {
    let Some(policy) = &spec.success_policy else { return Vec::new() };
    let path = FieldPath::of("spec.successPolicy");
    if !indexed {
        problems.push(Problem::new(path, "Invalid value: requires indexed completion mode"));
        return Vec::new();
    }
    let path = path.field("rules");
    if policy.rules.is_empty() {
        let message = "Required value: at least one rules must be specified when the successPolicy is specified";
        problems.push(Problem::new(path.clone(), message));
    }
    if is_too_long(&path, policy.rules.len(), JOB_RULES_MAX, problems) {
        return Vec::new();
    }
    let rules = policy.rules.iter().enumerate();
    rules.map(|(index, rule)| success_rule(&path.index(index), rule, completions.unwrap_or(1), problems)).collect()
}

fn success_rule(path: &FieldPath, rule: &batch::SuccessPolicyRule, completions: u32, problems: &mut Problems) -> SuccessRule {
    if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
        let message = "Required value: at least one of succeededCount or succeededIndexes must be specified";
        problems.push(Problem::new(path.clone(), message));
    }
    let indexes = rule.succeeded_indexes.as_deref().and_then(|text| {
        let path = path.field("succeededIndexes");
        let parsed = if text.len() > JOB_INDEXES_BYTES_MAX { Err(too_long()) } else { indexes(text, completions) };
        parsed.map_err(|why| problems.push(Problem::invalid(path, text, format!("error parsing succeededIndexes: {why}")))).ok()
    });
    let count = rule.succeeded_count.map(|count| {
        let named = indexes.as_ref().map_or(completions, |indexes| u32::try_from(indexes.len()).unwrap_or(u32::MAX));
        let of = if indexes.is_some() { "indexes in the specified succeededIndexes field" } else { "specified completions" };
        let rule = match u32::try_from(count) {
            Ok(count) if count <= named => return usize::try_from(count).unwrap_or(usize::MAX),
            Ok(_) => format!("must be less than or equal to {named} (the number of {of})"),
            Err(_) => "must be greater than or equal to 0".to_owned(),
        };
        problems.push(Problem::invalid(path.field("succeededCount"), count, rule));
        0
    });
    SuccessRule { indexes, count }
}

/// Reads `0,2-4,7`: numbers and ranges that rise, below `completions`.
fn indexes(text: &str, completions: u32) -> Result<BTreeSet<u32>, String> {
    let number = |text: &str| text.parse::<u32>().map_err(|_| format!("cannot convert string to integer for index: {text:?}"));
    let mut indexes = BTreeSet::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || indexes.last().is_some_and(|before| *before >= first) {
            return Err(format!("non-increasing order at {part:?}"));
        }
        if last >= completions {
            return Err(format!("too large index {last}: there are {completions} completions"));
        }
        indexes.extend(first..=last);
    }
    Ok(indexes)
}

fn too_long() -> String {
    format!("may not be more than {JOB_INDEXES_BYTES_MAX} bytes")
}

fn is_too_long(path: &FieldPath, length: usize, max: usize, problems: &mut Problems) -> bool {
    let is_too_long = length > max;
    if is_too_long {
        problems.push(Problem::new(path.clone(), format!("Too many: {length}: must have at most {max} items")));
    }
    is_too_long
}

/// The problem of a word that is none of those known, or is not there at all.
fn one_of(path: FieldPath, word: &str, known: &[&str]) -> Problem {
    if word.is_empty() { Problem::required(path) } else { Problem::unsupported(path, word, known) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_read_as_kubernetes_writes_them() {
        let read = |text| indexes(text, 10).map(|indexes| indexes.into_iter().collect::<Vec<_>>());
        assert_eq!(read("0,2-4,9"), Ok(vec![0, 2, 3, 4, 9]));
        for (text, why) in [
            ("1,x", "cannot convert string to integer for index: \"x\""),
            ("4-2", "non-increasing order at \"4-2\""),
            ("3,3", "non-increasing order at \"3\""),
            ("0-10", "too large index 10: there are 10 completions"),
            ("-3", "cannot convert string to integer for index: \"\""),
            ("1,,2", "cannot convert string to integer for index: \"\""),
        ] {
            assert_eq!(read(text), Err(why.to_owned()), "{text}");
        }
    }
}
