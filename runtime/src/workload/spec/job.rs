//! What a Job asks for: how many successes it needs, which failures count, and which end it early.

use std::collections::BTreeSet;
use std::time::Duration;

/// What a Job asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSpec {
    /// `completions`: how many pods have to succeed; `None` for a work queue, which is done when one has and all have ended.
    pub completions: Option<u32>,
    /// `parallelism`: how many pods run at once, at most.
    pub parallelism: u32,
    /// `backoffLimit`: how many pods may fail.
    pub backoff_limit: u32,
    /// `backoffLimitPerIndex` with `maxFailedIndexes`: each index has failures of its own.
    pub per_index: Option<IndexLimits>,
    /// `activeDeadlineSeconds`: when the Job fails, counted from its start.
    pub active_deadline: Option<Duration>,
    /// `completionMode: Indexed`: each pod has an index, and each index succeeds once.
    pub indexed: bool,
    /// `suspend`: no pod is made.
    pub suspended: bool,
    /// `podFailurePolicy.rules`: the first that fits a failed pod decides what its failure means.
    pub failure_rules: Vec<FailureRule>,
    /// `successPolicy.rules`: the first that is met completes the Job, whatever still runs.
    pub success_rules: Vec<SuccessRule>,
}

/// How many failures the indexes of an Indexed Job may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexLimits {
    /// `backoffLimitPerIndex`: how often a pod of one index may fail; once more, and the index has failed.
    pub backoff_limit: u32,
    /// `maxFailedIndexes`: how many indexes may fail before the Job does; `None` lets all indexes be tried.
    pub failed_indexes_max: Option<u32>,
}

/// One entry of `podFailurePolicy.rules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureRule {
    /// What a failure means that fits.
    pub action: FailureAction,
    /// Which failures fit.
    pub failures: Failures,
}

/// `podFailurePolicy.rules[].action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureAction {
    /// The Job fails at once.
    FailJob,
    /// The pod's index fails at once.
    FailIndex,
    /// The failure does not count; the pod is replaced.
    Ignore,
    /// The failure counts, as without a policy.
    Count,
}

/// Which failures of a pod a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failures {
    /// `onExitCodes`: a container ended with a fitting status, which is never 0.
    ExitCodes {
        /// `containerName`: which container; any when `None`.
        container: Option<String>,
        /// `operator: NotIn`: every status but these.
        inverted: bool,
        /// `values`.
        codes: Vec<i32>,
    },
    /// `onPodConditions`: the pod has one of these conditions.
    Conditions(Vec<PodConditionPattern>),
}

/// One entry of `onPodConditions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodConditionPattern {
    /// `type`.
    pub kind: String,
    /// `status`: `True`, `False` or `Unknown`.
    pub status: String,
}

/// One entry of `successPolicy.rules`; it has one of the two or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuccessRule {
    /// `succeededIndexes`: which indexes count; all when `None`.
    pub indexes: Option<BTreeSet<u32>>,
    /// `succeededCount`: how many of them have to succeed; all when `None`.
    pub count: Option<usize>,
}

/// How a pod looked when it was over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodEnd {
    /// Whether it succeeded.
    pub succeeded: bool,
    /// Its status for the command line.
    pub exit_code: i32,
    /// The containers that ended, each with its status: first those of `spec.containers`, then those of `spec.initContainers`.
    pub containers: Vec<(String, i32)>,
    /// Its conditions, each with its status, in the order of the pod's status.
    pub conditions: Vec<(String, String)>,
}

impl FailureRule {
    /// What of a failed pod fits the rule, in words that go before "matching … rule"; nothing when it does not fit. `pod` is the pod's
    /// `namespace/name`.
    pub fn fitting(&self, pod: &str, end: &PodEnd) -> Option<String> {
        match &self.failures {
            Failures::ExitCodes { container, inverted, codes } => {
                let named = |name: &str| container.as_ref().is_none_or(|wanted| wanted == name);
                let fits = |code: i32| code != 0 && codes.contains(&code) != *inverted;
                let (name, code) = end.containers.iter().find(|(name, code)| named(name) && fits(*code))?;
                Some(format!("Container {name} for pod {pod} failed with exit code {code}"))
            }
            Failures::Conditions(patterns) => {
                let fits = |kind: &str, status: &str| {
                    patterns.iter().any(|pattern| (pattern.kind.as_str(), pattern.status.as_str()) == (kind, status))
                };
                let (kind, _) = end.conditions.iter().find(|(kind, status)| fits(kind, status))?;
                Some(format!("Pod {pod} has condition {kind}"))
            }
        }
    }
}

impl SuccessRule {
    /// Whether the indexes that succeeded meet the rule.
    pub fn is_met_by(&self, succeeded: &BTreeSet<u32>) -> bool {
        match (&self.indexes, self.count) {
            (Some(indexes), count) => indexes.intersection(succeeded).count() >= count.unwrap_or(indexes.len()),
            (None, Some(count)) => succeeded.len() >= count,
            (None, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end() -> PodEnd {
        let named = |name: &str, code| (name.to_owned(), code);
        let condition = |kind: &str, status: &str| (kind.to_owned(), status.to_owned());
        PodEnd {
            succeeded: false,
            exit_code: 3,
            containers: vec![named("fine", 0), named("main", 42), named("init", 7)],
            conditions: vec![condition("Ready", "False"), condition("DisruptionTarget", "True")],
        }
    }

    fn on_exit(container: Option<&str>, inverted: bool, codes: &[i32]) -> Option<String> {
        let failures = Failures::ExitCodes { container: container.map(str::to_owned), inverted, codes: codes.to_vec() };
        FailureRule { action: FailureAction::FailJob, failures }.fitting("default/web", &end())
    }

    #[test]
    fn a_rule_for_exit_codes_looks_at_every_container_that_failed() {
        assert_eq!(on_exit(None, false, &[42]).unwrap(), "Container main for pod default/web failed with exit code 42");
        assert_eq!(on_exit(None, false, &[7]).unwrap(), "Container init for pod default/web failed with exit code 7");
        assert_eq!(on_exit(None, false, &[1, 2]), None);
        assert_eq!(on_exit(Some("init"), false, &[42]), None);
        assert_eq!(on_exit(Some("other"), true, &[1]), None);
    }

    #[test]
    fn all_but_some_exit_codes_never_means_success() {
        assert_eq!(on_exit(Some("fine"), true, &[1]), None);
        assert!(on_exit(None, true, &[1]).unwrap().starts_with("Container main"));
        assert!(on_exit(None, true, &[42]).unwrap().starts_with("Container init"));
        assert_eq!(on_exit(None, true, &[7, 42]), None);
    }

    #[test]
    fn a_rule_for_conditions_wants_type_and_status() {
        let rule = |kind: &str, status: &str| {
            let pattern = PodConditionPattern { kind: kind.to_owned(), status: status.to_owned() };
            let rule = FailureRule { action: FailureAction::Ignore, failures: Failures::Conditions(vec![pattern]) };
            rule.fitting("default/web", &end())
        };
        assert_eq!(rule("DisruptionTarget", "True").unwrap(), "Pod default/web has condition DisruptionTarget");
        assert_eq!(rule("DisruptionTarget", "False"), None);
        assert_eq!(rule("Initialized", "True"), None);
    }

    #[test]
    fn a_success_rule_counts_the_indexes_that_it_names() {
        let met = |indexes: Option<&[u32]>, count, succeeded: &[u32]| {
            let rule = SuccessRule { indexes: indexes.map(|indexes| indexes.iter().copied().collect()), count };
            rule.is_met_by(&succeeded.iter().copied().collect())
        };
        assert!(met(Some(&[0, 2]), None, &[0, 1, 2]) && !met(Some(&[0, 2]), None, &[0, 1]));
        assert!(met(Some(&[0, 2, 3]), Some(2), &[2, 3]) && !met(Some(&[0, 2, 3]), Some(2), &[1, 2]));
        assert!(met(None, Some(2), &[5, 9]) && !met(None, Some(2), &[5]));
        assert!(!met(None, None, &[1]));
    }
}
