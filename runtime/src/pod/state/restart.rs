//! Whether a container that ended is started again: `podutil.ContainerShouldRestart`.

use super::event::ContainerExit;
use crate::pod::spec::{ContainerRole, ContainerSpec, ExitCodes, RestartPolicy, RestartRule, RestartRuleAction};

/// What follows from the end of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterExit {
    /// It stays ended.
    StayEnded,
    /// It is started again.
    Restart,
    /// The whole pod starts over.
    RestartAllContainers,
}

/// The rules of one container.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RestartRules {
    role: ContainerRole,
    policy: RestartPolicy,
    rules: Vec<RestartRule>,
}

impl RestartRules {
    /// The container's own policy stands before its pod's.
    pub(super) fn new(spec: &ContainerSpec, pod: RestartPolicy) -> Self {
        let policy = match spec.role {
            ContainerRole::Sidecar => RestartPolicy::Always,
            ContainerRole::Init | ContainerRole::App => spec.restart_policy.unwrap_or(pod),
        };
        Self { role: spec.role, policy, rules: spec.restart_rules.clone() }
    }

    /// The first rule that fits decides, then the policy. An init container that succeeded is done, whatever they say.
    pub(super) fn after(&self, exit: &ContainerExit) -> AfterExit {
        if self.role == ContainerRole::Init && exit.is_success() {
            return AfterExit::StayEnded;
        }
        if let Some(rule) = self.rules.iter().find(|rule| fits(&rule.exit_codes, exit.code)) {
            return match rule.action {
                RestartRuleAction::Restart => AfterExit::Restart,
                RestartRuleAction::RestartAllContainers => AfterExit::RestartAllContainers,
            };
        }
        let restart = match self.policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => !exit.is_success(),
            RestartPolicy::Never => false,
        };
        if restart { AfterExit::Restart } else { AfterExit::StayEnded }
    }

    /// Whether a rule may restart the whole pod.
    pub(super) fn may_restart_all(&self) -> bool {
        self.rules.iter().any(|rule| rule.action == RestartRuleAction::RestartAllContainers)
    }

    /// Whether an instance that its probe or its postStart hook has killed is started again: unless the policy is `Never`. Rules are
    /// about statuses that a container chose, and are not asked (but they are when it has ended).
    pub(super) fn restarts_when_killed(&self) -> bool {
        self.policy != RestartPolicy::Never
    }
}

fn fits(codes: &ExitCodes, code: i32) -> bool {
    match codes {
        ExitCodes::In(codes) => codes.contains(&code),
        ExitCodes::NotIn(codes) => !codes.contains(&code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RestartPolicy::{Always, Never, OnFailure};

    fn after(role: ContainerRole, own: Option<RestartPolicy>, pod: RestartPolicy, rules: &[RestartRule], code: i32) -> AfterExit {
        let spec = ContainerSpec { restart_policy: own, restart_rules: rules.to_vec(), ..ContainerSpec::new("c", role, "c.wasm") };
        RestartRules::new(&spec, pod).after(&ContainerExit::exited(code))
    }

    #[test]
    fn the_policies_are_those_of_kubernetes() {
        let table = [
            (ContainerRole::App, Always, [true, true]),
            (ContainerRole::App, OnFailure, [false, true]),
            (ContainerRole::App, Never, [false, false]),
            (ContainerRole::Init, Always, [false, true]),
            (ContainerRole::Init, OnFailure, [false, true]),
            (ContainerRole::Init, Never, [false, false]),
            (ContainerRole::Sidecar, Never, [true, true]),
        ];
        for (role, policy, restarts) in table {
            let asked = [0, 1].map(|code| after(role, None, policy, &[], code) == AfterExit::Restart);
            assert_eq!(asked, restarts, "{role:?} {policy:?}");
        }
    }

    #[test]
    fn a_containers_own_policy_stands_before_its_pods() {
        assert_eq!(after(ContainerRole::App, Some(Never), Always, &[], 1), AfterExit::StayEnded);
        assert_eq!(after(ContainerRole::App, Some(OnFailure), Never, &[], 1), AfterExit::Restart);
        assert_eq!(after(ContainerRole::Init, Some(Never), Always, &[], 1), AfterExit::StayEnded);
    }

    #[test]
    fn the_first_rule_that_fits_decides_before_any_policy() {
        let rule = |action, exit_codes| RestartRule { action, exit_codes };
        let rules = [
            rule(RestartRuleAction::Restart, ExitCodes::In(vec![42, 43])),
            rule(RestartRuleAction::RestartAllContainers, ExitCodes::NotIn(vec![0, 1])),
        ];
        let asked = [42, 1, 0, 7].map(|code| after(ContainerRole::App, Some(Never), Never, &rules, code));
        assert_eq!(asked, [AfterExit::Restart, AfterExit::StayEnded, AfterExit::StayEnded, AfterExit::RestartAllContainers]);
        let all = [rule(RestartRuleAction::RestartAllContainers, ExitCodes::NotIn(vec![]))];
        assert_eq!(after(ContainerRole::Init, None, Always, &all, 0), AfterExit::StayEnded, "a success of an init container");
    }
}
