//! container_restart_policy, container_restart_backoff, restart, container_restart: which containers run again, and when.

use super::log::live;
use super::simulator::Run::{Exit, Forever};
use super::simulator::{Pull, Scenario, pod};
use super::{DONE, FAILED, SERVES};
use wasmpod::pod::spec::RestartPolicy::{Always, Never, OnFailure};
use wasmpod::pod::spec::{ExitCodes, RestartPolicy, RestartRule, RestartRuleAction};
use wasmpod::pod::state::{EventReason, Phase};

/// The container of the conformance test: it fails once, ends well once, then runs.
fn terminate_cmd(policy: RestartPolicy) -> Scenario {
    pod(policy).app("app", [FAILED, DONE, Forever]).until(100)
}

fn rule(action: RestartRuleAction, exit_codes: ExitCodes) -> RestartRule {
    RestartRule { action, exit_codes }
}

#[test]
fn always_ends_running_after_two_restarts() {
    let life = live(&terminate_cmd(Always));
    life.restarted_times("app", 2);
    life.lives_on_as(Phase::Running);
}

#[test]
fn on_failure_ends_succeeded_after_one_restart() {
    let life = live(&terminate_cmd(OnFailure));
    life.restarted_times("app", 1);
    life.ends_as(Phase::Succeeded);
}

#[test]
fn never_ends_failed_without_a_restart() {
    let life = live(&terminate_cmd(Never));
    life.restarted_times("app", 0);
    life.ends_as(Phase::Failed);
}

#[test]
fn a_container_that_ends_well_restarts_under_always_too() {
    let life = live(&pod(Always).app("app", [DONE]).until(100));
    life.has_restarted("app");
    life.lives_on_as(Phase::Running);
}

#[test]
fn every_container_has_its_own_back_off() {
    let life = live(&pod(Always).app("one", [FAILED]).app("two", [SERVES]).until(60));
    assert_eq!(life.seconds("start one"), [0.0, 1.0, 12.0, 33.0]);
    life.restarted_times("two", 0);
}

#[test]
fn the_back_off_doubles_from_ten_seconds_to_five_minutes() {
    let life = live(&pod(Always).app("app", [Exit(0, 1)]).until(1300));
    assert_eq!(life.seconds("start app"), [0.0, 0.0, 10.0, 30.0, 70.0, 150.0, 310.0, 610.0, 910.0, 1210.0]);
    assert_eq!(life.noted(0, EventReason::BackOff), 9);
}

#[test]
fn the_back_off_is_forgotten_after_ten_minutes_of_running() {
    let life = live(&pod(Always).app("app", [FAILED, FAILED, Exit(600, 1), FAILED, Forever]).until(2000));
    assert_eq!(life.seconds("start app"), [0.0, 1.0, 12.0, 612.0, 623.0]);
}

#[test]
fn an_image_that_cannot_be_pulled_is_tried_again() {
    let away = Pull::Fails("ErrImagePull");
    let life =
        live(&pod(Always).app("app", [SERVES]).pulls([away, away, away, away, away, away, away, Pull::Takes(5)]).until(2000));
    assert_eq!(life.seconds("pull for app fails"), [0.0, 10.0, 30.0, 70.0, 150.0, 310.0, 610.0]);
    assert_eq!(life.seconds("start app"), [915.0]);
    life.restarted_times("app", 0);
    assert!(life.says("Back-off pulling image \"app.wasm\""));
    life.lives_on_as(Phase::Running);
}

#[test]
fn a_container_may_have_a_policy_of_its_own() {
    let scenario = pod(Never).app("worker", [FAILED, FAILED, DONE]).with(|app| app.restart_policy = Some(OnFailure));
    let life = live(&scenario.app("once", [FAILED]).with(|app| app.restart_policy = Some(Never)));
    life.restarted_times("worker", 2);
    life.restarted_times("once", 0);
    life.ends_as(Phase::Failed);
}

#[test]
fn a_rule_restarts_a_container_on_its_exit_codes() {
    let restart = rule(RestartRuleAction::Restart, ExitCodes::In(vec![42]));
    let scenario = pod(Never).app("app", [Exit(1, 42), Exit(1, 3)]).with(|app| app.restart_rules = vec![restart]);
    let life = live(&scenario);
    life.restarted_times("app", 1);
    life.ends_as(Phase::Failed);
}

#[test]
fn a_rule_for_all_but_some_exit_codes() {
    let restart = rule(RestartRuleAction::Restart, ExitCodes::NotIn(vec![0, 3]));
    let scenario = pod(Never).app("app", [Exit(1, 42), Exit(1, 43), Exit(1, 3)]).with(|app| app.restart_rules = vec![restart]);
    live(&scenario).restarted_times("app", 2);
}

#[test]
fn a_rule_of_an_init_container_retries_it_in_a_pod_that_never_restarts() {
    let restart = rule(RestartRuleAction::Restart, ExitCodes::In(vec![42]));
    let life =
        live(&pod(Never).init("init", [Exit(1, 42), DONE]).with(|init| init.restart_rules = vec![restart]).app("app", [DONE]));
    life.restarted_times("init", 1);
    life.ends_before_start_of("init", "app");
    life.ends_as(Phase::Succeeded);
}

#[test]
fn a_rule_restarts_the_whole_pod_in_place() {
    let all = rule(RestartRuleAction::RestartAllContainers, ExitCodes::In(vec![42]));
    let scenario = pod(Never)
        .init("init", [DONE])
        .sidecar("side", [SERVES])
        .app("source", [Exit(5, 42), Exit(5, 0)])
        .with(|app| app.restart_rules = vec![all])
        .app("other", [SERVES, Exit(5, 0)]);
    let life = live(&scenario);
    for name in ["init", "side", "source", "other"] {
        life.restarted_times(name, 1);
    }
    let (inits, apps) = (life.seconds("start init"), life.seconds("start other"));
    assert!(inits[1] < apps[1], "init containers come first again");
    assert_eq!(life.noted(2, EventReason::RestartAllContainers), 1);
    life.ends_as(Phase::Succeeded);
}
