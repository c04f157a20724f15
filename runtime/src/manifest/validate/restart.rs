//! The rules for `restartPolicy` and `restartPolicyRules` of one container.

use super::{Placed, one_of};
use crate::limits::{RESTART_RULE_EXIT_CODES_MAX, RESTART_RULES_MAX};
use crate::manifest::problem::{Problem, Problems};
use k8s_openapi::api::core::v1::ContainerRestartRule;

pub(super) fn check(placed: &Placed<'_>, problems: &mut Problems) {
    let path = placed.path.field("restartPolicy");
    let policy = placed.container.restart_policy.as_deref();
    problems.check(one_of(path.clone(), policy, &["Always", "OnFailure", "Never"]));
    let rules = placed.container.restart_policy_rules.as_deref().unwrap_or_default();
    if policy.is_none() && !rules.is_empty() {
        let problem = Problem::new(path, "Required value: must specify restartPolicy when restart rules are used");
        problems.push(problem);
    }
    let path = placed.path.field("restartPolicyRules");
    if rules.len() > RESTART_RULES_MAX {
        problems.push(Problem::new(path, format!("Too many: {}: must have at most {RESTART_RULES_MAX} items", rules.len())));
        return;
    }
    for (index, rule) in rules.iter().enumerate() {
        check_rule(&path.index(index), rule, problems);
    }
}

fn check_rule(path: &crate::manifest::problem::FieldPath, rule: &ContainerRestartRule, problems: &mut Problems) {
    problems.check(match rule.action.as_str() {
        "" => Err(Problem::required(path.field("action"))),
        action => one_of(path.field("action"), Some(action), &["Restart", "RestartAllContainers"]),
    });
    let Some(codes) = &rule.exit_codes else {
        problems.push(Problem::required(path.field("exitCodes")));
        return;
    };
    let path = path.field("exitCodes");
    problems.check(match codes.operator.as_str() {
        "" => Err(Problem::required(path.field("operator"))),
        operator => one_of(path.field("operator"), Some(operator), &["In", "NotIn"]),
    });
    let count = codes.values.as_ref().map_or(0, Vec::len);
    if count > RESTART_RULE_EXIT_CODES_MAX {
        let message = format!("Too many: {count}: must have at most {RESTART_RULE_EXIT_CODES_MAX} items");
        problems.push(Problem::new(path.field("values"), message));
    }
}
