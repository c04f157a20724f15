//! lifecycle_hook, container_lifecycle (postStart): what hooks hold back and what their failures lead to.

use super::SERVES;
use super::log::live;
use super::simulator::Run::{Exit, Stubborn};
use super::simulator::{Health, HookRun, every_second, pod};
use wasmpod::pod::spec::RestartPolicy::{Always, Never};
use wasmpod::pod::state::HookKind::{PostStart, PreStop};
use wasmpod::pod::state::{EventReason, Phase, ProbeKind};

#[test]
fn post_start_runs_right_after_the_start() {
    let life = live(&pod(Always).app("app", [SERVES]).hook(PostStart, [HookRun::Succeeds(1)]).until(20));
    life.happens_before("start app", "postStart of app begins");
    life.lives_on_as(Phase::Running);
}

#[test]
fn the_second_container_does_not_start_before_the_post_start_hook_of_the_first_is_over() {
    let life = live(&pod(Always).app("one", [SERVES]).hook(PostStart, [HookRun::Succeeds(10)]).app("two", [SERVES]).until(60));
    life.happens_before("postStart of one ends", "start two");
    assert_eq!(life.seconds("start two"), [10.0]);
}

#[test]
fn the_post_start_hook_of_a_sidecar_holds_back_the_next_container() {
    let life = live(&pod(Always).sidecar("side", [SERVES]).hook(PostStart, [HookRun::Succeeds(5)]).app("app", [SERVES]).until(60));
    assert_eq!(life.seconds("start app"), [5.0]);
}

#[test]
fn a_post_start_hook_that_fails_kills_its_container_and_the_next_one_starts() {
    let scenario = pod(Always).app("one", [SERVES]).hook(PostStart, [HookRun::Fails(2), HookRun::Succeeds(0)]);
    let life = live(&scenario.app("two", [SERVES]).until(60));
    life.restarted_times("one", 1);
    life.happens_before("terminate one", "start two");
    assert_eq!((life.noted(0, EventReason::FailedPostStartHook), life.noted(0, EventReason::Killing)), (1, 1));
}

#[test]
fn a_container_is_not_ready_before_its_post_start_hook_is_over() {
    let scenario = pod(Always).app("app", [SERVES]).hook(PostStart, [HookRun::Succeeds(7)]);
    let life = live(&scenario.probe(ProbeKind::Readiness, every_second(), [Health::Well]).until(60));
    assert_eq!(life.seconds("app is ready"), [7.0]);
}

#[test]
fn pre_stop_runs_before_the_container_is_asked_to_stop() {
    let life = live(&pod(Always).app("app", [SERVES]).hook(PreStop, [HookRun::Succeeds(5)]).stop_at(10));
    life.happens_before("preStop of app begins", "terminate app");
    assert_eq!(life.seconds("terminate app"), [15.0]);
}

#[test]
fn a_pre_stop_hook_that_ends_early_shortens_the_wait() {
    let life = live(&pod(Always).app("app", [SERVES]).hook(PreStop, [HookRun::Succeeds(5)]).grace(60).stop_at(1));
    assert_eq!(life.seconds("app exits"), [6.0]);
}

#[test]
fn a_pre_stop_hook_longer_than_the_grace_period_is_given_up() {
    let life = live(&pod(Always).app("app", [SERVES]).hook(PreStop, [HookRun::Succeeds(50)]).grace(10).stop_at(1));
    assert_eq!(life.seconds("terminate app"), [11.0]);
}

#[test]
fn a_container_that_ends_during_its_pre_stop_hook_is_not_waited_for() {
    let life = live(&pod(Always).app("app", [Exit(12, 0)]).hook(PreStop, [HookRun::Succeeds(20)]).stop_at(10));
    assert_eq!(life.seconds("succeeded"), [12.0]);
}

#[test]
fn the_pre_stop_hook_runs_when_a_startup_or_liveness_probe_has_failed() {
    for kind in [ProbeKind::Startup, ProbeKind::Liveness] {
        let scenario = pod(Never).app("app", [SERVES]).hook(PreStop, [HookRun::Succeeds(3)]);
        let life = live(&scenario.probe(kind, every_second(), [Health::Ill]));
        life.happens_before("preStop of app begins", "terminate app");
    }
}

#[test]
fn a_container_that_ended_by_itself_has_no_pre_stop_hook() {
    let life = live(&pod(Never).app("app", [Exit(5, 0)]).hook(PreStop, [HookRun::Succeeds(3)]));
    life.never("preStop");
    life.ends_as(Phase::Succeeded);
}

#[test]
fn the_time_of_the_pre_stop_hook_is_part_of_the_grace_period() {
    let life = live(&pod(Always).app("app", [Stubborn]).hook(PreStop, [HookRun::Succeeds(6)]).grace(10).stop_at(1));
    assert_eq!(life.seconds("kill app"), [11.0]);
}

#[test]
fn a_pre_stop_hook_that_fails_is_told_and_the_container_stops() {
    let life = live(&pod(Always).app("app", [SERVES]).hook(PreStop, [HookRun::Fails(1)]).stop_at(5));
    assert_eq!(life.noted(0, EventReason::FailedPreStopHook), 1);
    assert_eq!(life.seconds("terminate app"), [6.0]);
}
