//! pods_lifecycle_termination, pods_fast_delete, forced_deletion, create_delete, deleted_pods: how pods end that somebody ends.

use super::SERVES;
use super::log::live;
use super::simulator::Run::{Exit, SlowStart, SlowStop, Stubborn};
use super::simulator::{HookRun, Pull, pod};
use std::time::Duration;
use wasmpod::pod::spec::RestartPolicy::{Always, Never};
use wasmpod::pod::state::HookKind::PreStop;
use wasmpod::pod::state::{Event, EventReason, Phase};

fn stop_within(seconds: u64) -> Event {
    Event::Stop { grace: Some(Duration::from_secs(seconds)) }
}

#[test]
fn a_deleted_pod_stops_gracefully_and_is_failed_or_succeeded_by_its_containers() {
    let life = live(&pod(Always).app("app", [SlowStop(3, 0)]).stop_at(10));
    life.ends_as(Phase::Succeeded);
    let life = live(&pod(Always).app("app", [SERVES]).stop_at(10));
    life.ends_as(Phase::Failed);
    assert!(life.says("Stopping container app"));
}

#[test]
fn a_container_that_ignores_the_signal_is_killed_after_the_grace_period() {
    let life = live(&pod(Always).app("app", [Stubborn]).grace(7).stop_at(10));
    assert_eq!(life.seconds("kill app"), [17.0]);
    assert_eq!(life.noted(0, EventReason::ExceededGracePeriod), 1);
}

#[test]
fn a_forced_deletion_still_gives_two_seconds() {
    let life = live(&pod(Always).app("app", [Stubborn]).at(10, stop_within(0)));
    assert_eq!((life.seconds("terminate app"), life.seconds("kill app")), (vec![10.0], vec![12.0]));
}

#[test]
fn a_second_deletion_shortens_the_grace_period_also_of_hooks() {
    let scenario = pod(Always).app("app", [Stubborn]).hook(PreStop, [HookRun::Hangs]).grace(300).stop_at(10);
    let life = live(&scenario.at(20, stop_within(5)));
    assert_eq!((life.seconds("terminate app"), life.seconds("kill app")), (vec![25.0], vec![27.0]));
}

#[test]
fn pre_stop_hooks_of_all_containers_run_together_and_sidecars_end_in_reverse() {
    let life = live(
        &pod(Always)
            .sidecar("one", [SlowStop(1, 0)])
            .hook(PreStop, [HookRun::Succeeds(1)])
            .sidecar("two", [SlowStop(1, 0)])
            .hook(PreStop, [HookRun::Succeeds(8)])
            .app("app", [SlowStop(2, 0)])
            .hook(PreStop, [HookRun::Succeeds(3)])
            .stop_at(10),
    );
    for name in ["one", "two", "app"] {
        assert_eq!(life.seconds(&format!("preStop of {name} begins")), [10.0]);
    }
    assert_eq!(life.seconds("app exits"), [15.0]);
    assert_eq!(life.seconds("two exits"), [19.0]);
    assert_eq!(life.seconds("one exits"), [20.0]);
}

#[test]
fn a_pod_deleted_before_it_started_starts_nothing() {
    let life = live(&pod(Always).app("app", [SlowStart(60)]).stop_at(0));
    life.never("app exits");
    life.ends_as(Phase::Failed);
}

#[test]
fn a_pod_deleted_between_restarts_ends_at_once() {
    let life = live(&pod(Always).app("app", [Exit(1, 1)]).stop_at(5));
    assert_eq!(life.seconds("failed"), [5.0]);
    life.doesnt_start_after("app", "stop");
}

#[test]
fn a_pod_whose_image_never_came_can_be_deleted() {
    for pull in [Pull::Fails("ErrImagePull"), Pull::Takes(100)] {
        let life = live(&pod(Always).app("app", [SERVES]).pulls([pull]).stop_at(5));
        life.doesnt_start("app");
        assert_eq!(life.seconds("failed"), [5.0]);
    }
}

#[test]
fn a_pod_that_ended_stays_as_it_is() {
    let life = live(&pod(Never).app("app", [Exit(1, 3)]).stop_at(50).at(60, Event::Kill));
    life.ends_as(Phase::Failed);
    assert_eq!(life.state.exit_code(), Some(3));
}

#[test]
fn the_active_deadline_ends_a_pod_with_its_grace_period() {
    let life = live(&pod(Always).app("app", [Stubborn]).deadline(20).grace(5));
    assert_eq!((life.seconds("terminate app"), life.seconds("kill app")), (vec![20.0], vec![25.0]));
    assert_eq!(life.state.outcome().unwrap().reason, Some("DeadlineExceeded"));
}

#[test]
fn an_evicted_pod_says_so() {
    let message = "Usage of EmptyDir volume \"data\" exceeds the limit \"1Mi\". ";
    let life = live(&pod(Always).app("app", [SERVES]).at(5, Event::Evict { message: message.to_owned() }));
    life.ends_as(Phase::Failed);
    assert!(life.says(message));
}

#[test]
fn a_hundred_pods_made_and_deleted_leave_nothing_alive() {
    for second in 0..100 {
        let life =
            live(&pod(Always).init("init", [Exit(30, 0)]).sidecar("side", [SERVES]).app("app", [Exit(20, 1)]).stop_at(second));
        assert!(life.state.is_finished() && life.state.containers().iter().all(|container| !container.is_alive()));
    }
}
