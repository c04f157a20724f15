//! init_container, container_lifecycle (init containers).

use super::log::live;
use super::simulator::Run::{Exit, NoStart};
use super::simulator::{Pull, pod};
use super::{DONE, FAILED, SERVES};
use wasmpod::pod::spec::RestartPolicy::{Always, Never, OnFailure};
use wasmpod::pod::state::Phase;

#[test]
fn init_containers_run_one_after_the_other_before_the_apps() {
    for policy in [Always, OnFailure, Never] {
        let life = live(&pod(policy).init("one", [DONE]).init("two", [DONE]).init("three", [DONE]).app("app", [SERVES]).until(60));
        life.ends_before_start_of("one", "two");
        life.ends_before_start_of("two", "three");
        life.ends_before_start_of("three", "app");
        life.lives_on_as(Phase::Running);
    }
}

#[test]
fn a_pod_that_never_restarts_succeeds_after_its_init_containers_and_apps() {
    let life = live(&pod(Never).init("one", [DONE]).init("two", [DONE]).app("app", [DONE]));
    life.exits_before("two", "app");
    life.ends_as(Phase::Succeeded);
}

#[test]
fn a_failing_init_container_fails_a_pod_that_never_restarts_and_its_app_does_not_start() {
    let life = live(&pod(Never).init("one", [DONE]).init("two", [FAILED]).app("app", [SERVES]));
    life.doesnt_start("app");
    life.restarted_times("two", 0);
    life.ends_as(Phase::Failed);
}

#[test]
fn a_failing_init_container_is_retried_otherwise_and_the_app_does_not_start() {
    for policy in [Always, OnFailure] {
        let life = live(&pod(policy).init("one", [FAILED]).init("two", [DONE]).app("app", [SERVES]).until(100));
        life.has_restarted("one");
        life.doesnt_start("two");
        life.doesnt_start("app");
        life.lives_on_as(Phase::Pending);
    }
}

#[test]
fn an_init_container_that_recovers_lets_the_pod_go_on() {
    let life = live(&pod(Always).init("one", [FAILED, FAILED, DONE]).app("app", [SERVES]).until(100));
    life.restarted_times("one", 2);
    life.lives_on_as(Phase::Running);
}

#[test]
fn init_containers_are_not_run_again_when_an_app_restarts() {
    let life = live(&pod(Always).init("one", [DONE]).app("app", [FAILED, SERVES]).until(60));
    life.restarted_times("one", 0);
    life.restarted_times("app", 1);
}

#[test]
fn an_init_container_that_cannot_be_made_holds_back_the_app() {
    let life = live(&pod(Always).init("one", [NoStart("CreateContainerConfigError")]).app("app", [SERVES]).until(100));
    life.doesnt_start("app");
    life.lives_on_as(Phase::Pending);
    let life = live(&pod(Always).init("one", [DONE]).pulls([Pull::NeverWorks("InvalidImageName")]).app("app", [SERVES]));
    life.doesnt_start("app");
    life.ends_as(Phase::Failed);
}

#[test]
fn a_pod_that_is_deleted_during_init_starts_nothing_more() {
    let life = live(&pod(Always).init("one", [Exit(50, 0)]).init("two", [DONE]).app("app", [SERVES]).stop_at(10));
    life.doesnt_start("two");
    life.doesnt_start("app");
    life.ends_as(Phase::Failed);
}

#[test]
fn apps_start_together_after_the_last_init_container() {
    let life = live(&pod(Always).init("one", [DONE]).app("a", [SERVES]).app("b", [SERVES]).until(20));
    assert_eq!(life.seconds("start a"), life.seconds("start b"));
    life.run_together("a", "b");
}

#[test]
fn the_active_deadline_counts_the_time_of_init_containers() {
    let life = live(&pod(Always).init("one", [Exit(50, 0)]).app("app", [SERVES]).deadline(20));
    life.doesnt_start("app");
    life.ends_as(Phase::Failed);
    assert_eq!(life.state.outcome().unwrap().reason, Some("DeadlineExceeded"));
}
