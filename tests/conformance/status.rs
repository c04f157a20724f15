//! pods, runtime, conformance (container runtime): what a pod's status shows of its life.

use super::log::live;
use super::simulator::Run::{Exit, NoStart, SlowStart};
use super::simulator::{Health, every_second, pod};
use super::{DONE, FAILED, SERVES};
use wasmpod::pod::spec::RestartPolicy::{Always, Never};
use wasmpod::pod::state::{ConditionKind, ContainerExit, Phase, ProbeKind};

#[test]
fn a_pod_is_pending_until_every_app_has_run() {
    let life = live(&pod(Always).app("quick", [SERVES]).app("slow", [SlowStart(10)]).until(30));
    assert_eq!(life.seconds("phase Running"), [10.0]);
}

#[test]
fn a_pod_runs_while_a_container_waits_for_its_restart() {
    live(&pod(Always).app("app", [FAILED]).until(5)).lives_on_as(Phase::Running);
}

#[test]
fn the_conditions_follow_init_and_readiness() {
    let met = |until, kind| {
        let scenario = pod(Always).init("init", [Exit(5, 0)]).app("app", [SERVES]);
        let life = live(&scenario.probe(ProbeKind::Readiness, every_second(), [Health::WellFrom(5)]).until(until));
        life.state.conditions().into_iter().find(|condition| condition.kind == kind).unwrap().met
    };
    for (until, initialized, ready) in [(4, false, false), (6, true, false), (11, true, true)] {
        assert_eq!(met(until, ConditionKind::Initialized), initialized, "at {until} s");
        for kind in [ConditionKind::ContainersReady, ConditionKind::Ready] {
            assert_eq!(met(until, kind), ready, "{kind} at {until} s");
        }
    }
}

#[test]
fn the_last_termination_is_kept_beside_the_present_state() {
    let life = live(&pod(Always).app("app", [Exit(1, 7), SERVES]).until(10));
    let app = &life.state.containers()[0];
    assert!(app.is_running());
    assert_eq!(app.last_termination().map(|last| last.exit.code), Some(7));
}

#[test]
fn reasons_tell_how_a_container_ended() {
    assert_eq!(ContainerExit::exited(0).reason(), "Completed");
    assert_eq!(ContainerExit::exited(3).reason(), "Error");
    let oom = ContainerExit::out_of_memory("wanted 32 MiB");
    assert_eq!((oom.reason(), oom.code), ("OOMKilled", 137));
}

#[test]
fn a_container_that_cannot_be_made_does_not_count_as_restarted() {
    let life = live(&pod(Always).app("app", [NoStart("CreateContainerError"), SERVES]).until(30));
    life.restarted_times("app", 0);
    life.lives_on_as(Phase::Running);
}

#[test]
fn a_pod_with_failed_and_succeeded_containers_has_failed() {
    live(&pod(Never).app("good", [DONE]).app("bad", [FAILED])).ends_as(Phase::Failed);
    live(&pod(Never).app("good", [DONE]).app("too", [DONE])).ends_as(Phase::Succeeded);
}
