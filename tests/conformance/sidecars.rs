//! container_lifecycle (restartable init containers): sidecars start in their turn, outlive the apps, and restart whatever the policy.

use super::log::live;
use super::simulator::Run::{Exit, SlowStart, SlowStop};
use super::simulator::{Health, Pull, pod};
use super::{DONE, FAILED, SERVES, probe};
use wasmpod::pod::spec::RestartPolicy::{Always, Never, OnFailure};
use wasmpod::pod::state::{Phase, ProbeKind};

#[test]
fn a_sidecar_starts_before_what_follows_it_and_runs_beside_it() {
    let life = live(&pod(Never).sidecar("side", [SlowStart(3)]).init("init", [DONE]).app("app", [Exit(10, 0)]));
    life.happens_before("side runs", "start init");
    life.ends_before_start_of("init", "app");
    life.run_together("side", "init");
    life.run_together("side", "app");
    life.ends_as(Phase::Succeeded);
}

#[test]
fn the_startup_probe_of_a_sidecar_gates_the_next_container() {
    let life = live(
        &pod(Never)
            .sidecar("side", [SERVES])
            .probe(ProbeKind::Startup, probe(0, 1, 30), [Health::WellFrom(7)])
            .init("init", [DONE])
            .app("app", [DONE]),
    );
    assert_eq!(life.seconds("start init"), [7.0]);
    life.happens_before("start init", "start app");
}

#[test]
fn a_sidecar_whose_startup_probe_fails_restarts_and_nothing_follows() {
    let life = live(
        &pod(Never).sidecar("side", [SERVES]).probe(ProbeKind::Startup, probe(0, 1, 3), [Health::Ill]).app("app", [DONE]).until(60),
    );
    life.has_restarted("side");
    life.doesnt_start("app");
    life.lives_on_as(Phase::Pending);
}

#[test]
fn a_sidecar_restarts_during_init_whatever_the_policy() {
    for policy in [Always, OnFailure, Never] {
        let life =
            live(&pod(policy).sidecar("side", [Exit(3, 0), SERVES]).init("init", [Exit(10, 0)]).app("app", [SERVES]).until(60));
        life.restarted_times("side", 1);
        life.starts_before("side", "init");
        life.ends_before_start_of("init", "app");
    }
}

#[test]
fn a_sidecar_restarts_while_the_apps_run() {
    for policy in [Always, OnFailure, Never] {
        let life =
            live(&pod(policy).sidecar("side", [Exit(3, 0), Exit(3, 1), SERVES]).app("app", [Exit(100, 0), SERVES]).until(99));
        life.restarted_times("side", 2);
        life.restarted_times("app", 0);
        life.lives_on_as(Phase::Running);
    }
}

#[test]
fn sidecars_end_after_the_apps_in_the_reverse_of_their_order() {
    let life = live(
        &pod(Never)
            .sidecar("one", [SlowStop(1, 0)])
            .sidecar("two", [SlowStop(1, 0)])
            .sidecar("three", [SlowStop(1, 0)])
            .app("app", [Exit(5, 0)]),
    );
    life.exits_before("app", "three");
    life.exits_before("three", "two");
    life.exits_before("two", "one");
    life.ends_as(Phase::Succeeded);
}

#[test]
fn a_deleted_pod_stops_its_sidecars_last_and_restarts_none() {
    let life = live(
        &pod(Always).sidecar("one", [SlowStop(2, 1)]).sidecar("two", [SlowStop(2, 1)]).app("app", [SlowStop(4, 0)]).stop_at(10),
    );
    life.exits_before("app", "two");
    life.exits_before("two", "one");
    life.doesnt_start_after("one", "stop");
    life.doesnt_start_after("two", "stop");
}

#[test]
fn a_sidecar_does_not_keep_its_pod_from_ending() {
    let life = live(&pod(OnFailure).sidecar("side", [FAILED]).app("app", [Exit(5, 0)]));
    life.ends_as(Phase::Succeeded);
}

#[test]
fn an_init_container_that_fails_ends_the_sidecars_before_it_and_starts_none_after() {
    let life = live(&pod(Never).sidecar("one", [SERVES]).init("init", [FAILED]).sidecar("two", [SERVES]).app("app", [SERVES]));
    life.exits_before("init", "one");
    life.doesnt_start("two");
    life.doesnt_start("app");
    life.ends_as(Phase::Failed);
}

#[test]
fn a_sidecar_with_a_bad_image_holds_back_the_rest() {
    let life = live(&pod(Always).sidecar("side", [SERVES]).pulls([Pull::Fails("ErrImagePull")]).app("app", [SERVES]).until(60));
    life.doesnt_start("app");
    life.lives_on_as(Phase::Pending);
}

#[test]
fn a_sidecar_that_is_slow_to_end_is_killed_with_its_pod() {
    let life = live(&pod(Never).sidecar("side", [super::simulator::Run::Stubborn]).app("app", [Exit(5, 0)]).grace(10));
    assert_eq!(life.seconds("kill side"), [15.0]);
    life.ends_as(Phase::Succeeded);
}
