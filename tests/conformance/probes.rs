//! container_probe, container_probes_stress, container_lifecycle (probes while a pod begins and ends).

use super::log::live;
use super::simulator::Run::{Exit, SlowStop, Stubborn};
use super::simulator::{Health, pod};
use super::{SERVES, probe};
use std::time::Duration;
use wasmpod::pod::spec::Probe;
use wasmpod::pod::spec::RestartPolicy::{Always, Never};
use wasmpod::pod::state::ProbeKind::{Liveness, Readiness, Startup};
use wasmpod::pod::state::{EventReason, Phase};

#[test]
fn a_container_is_not_ready_before_the_initial_delay_of_its_readiness_probe() {
    let life = live(&pod(Always).app("app", [SERVES]).probe(Readiness, probe(30, 10, 3), [Health::Well]).until(100));
    assert_eq!(life.seconds("app is ready"), [30.0]);
    life.restarted_times("app", 0);
}

#[test]
fn a_container_whose_readiness_probe_fails_is_never_ready_and_never_restarted() {
    let life = live(&pod(Always).app("app", [SERVES]).probe(Readiness, probe(0, 10, 3), [Health::Ill]).until(500));
    life.never("app is ready");
    life.restarted_times("app", 0);
    assert_eq!(life.noted(0, EventReason::Unhealthy), 51);
}

#[test]
fn a_failing_liveness_probe_restarts_its_container() {
    let life =
        live(&pod(Always).app("app", [SERVES]).probe(Liveness, probe(15, 10, 1), [Health::WellUntil(10), Health::Well]).until(200));
    life.restarted_times("app", 1);
    assert!(life.says("Container app failed liveness probe, will be restarted"));
    assert_eq!(life.seconds("terminate app"), [15.0]);
}

#[test]
fn a_liveness_probe_that_succeeds_restarts_nothing() {
    let life = live(&pod(Always).app("app", [SERVES]).probe(Liveness, probe(15, 5, 1), [Health::Well]).until(500));
    life.restarted_times("app", 0);
    assert_eq!(life.noted(0, EventReason::Unhealthy), 0);
}

#[test]
fn the_restart_count_rises_with_every_failure_of_the_liveness_probe() {
    let life = live(&pod(Always).app("app", [SERVES]).probe(Liveness, probe(5, 3, 1), [Health::WellUntil(5)]).until(600));
    assert!(life.seconds("terminate app").len() >= 5);
    life.has_restarted("app");
}

#[test]
fn a_liveness_probe_that_times_out_restarts_its_container() {
    let life = live(&pod(Always).app("app", [SERVES]).probe(Liveness, probe(0, 10, 1), [Health::Mute, Health::Well]).until(60));
    life.restarted_times("app", 1);
}

#[test]
fn a_probe_that_cannot_be_asked_restarts_nothing() {
    let life = live(&pod(Always).app("app", [SERVES]).probe(Liveness, probe(0, 10, 1), [Health::Unaskable]).until(60));
    life.restarted_times("app", 0);
}

#[test]
fn liveness_waits_for_a_startup_probe_that_has_not_succeeded() {
    let scenario = pod(Always).app("app", [SERVES]).probe(Startup, probe(0, 10, 60), [Health::Ill]);
    let life = live(&scenario.probe(Liveness, probe(0, 1, 1), [Health::Ill]).until(500));
    life.restarted_times("app", 0);
    assert!(!life.says("Liveness probe failed: not well"));
}

#[test]
fn liveness_restarts_the_container_once_the_startup_probe_has_succeeded() {
    let scenario = pod(Always).app("app", [SERVES]).probe(Startup, probe(0, 1, 60), [Health::WellFrom(20)]);
    let life = live(&scenario.probe(Liveness, probe(0, 1, 1), [Health::Ill]).until(25));
    life.restarted_times("app", 1);
    assert_eq!(life.seconds("terminate app"), [20.0]);
}

#[test]
fn a_failing_startup_probe_restarts_its_container() {
    let life = live(&pod(Always).app("app", [SERVES]).probe(Startup, probe(0, 10, 3), [Health::Ill, Health::Well]).until(100));
    life.restarted_times("app", 1);
    assert!(life.says("Container app failed startup probe, will be restarted"));
}

#[test]
fn a_container_is_ready_soon_after_its_startup_probe_has_succeeded() {
    let scenario = pod(Always).app("app", [SERVES]).probe(Startup, probe(0, 10, 60), [Health::WellFrom(30)]);
    let life = live(&scenario.probe(Readiness, probe(0, 600, 1), [Health::Well]).until(100));
    assert_eq!(life.seconds("app is ready"), [30.0]);
}

#[test]
fn a_probes_own_grace_period_stands_before_the_pods() {
    for kind in [Liveness, Startup] {
        let hasty = Probe { termination_grace_period: Some(Duration::from_secs(5)), ..probe(10, 10, 1) };
        let life =
            live(&pod(Always).app("app", [Stubborn, SERVES]).probe(kind, hasty, [Health::Ill, Health::Well]).grace(500).until(60));
        assert_eq!(life.seconds("kill app"), [15.0], "{kind}");
    }
}

#[test]
fn while_a_pod_is_deleted_liveness_is_not_asked_and_readiness_turns_false() {
    let scenario = pod(Always).app("app", [SlowStop(20, 0)]).probe(Readiness, probe(0, 1, 1), [Health::WellUntil(12)]);
    let life = live(&scenario.probe(Liveness, probe(0, 1, 1), [Health::WellUntil(12)]).stop_at(10));
    assert_eq!(life.seconds("app is not ready"), [12.0]);
    life.never("kill app");
    assert!(!life.says("Liveness probe failed: not well"));
    life.ends_as(Phase::Succeeded);
}

#[test]
fn a_sidecars_probes_count_as_an_apps() {
    let scenario = pod(Always).sidecar("side", [SERVES]).probe(Liveness, probe(5, 1, 1), [Health::Ill, Health::Well]);
    let life = live(&scenario.probe(Readiness, probe(0, 1, 1), [Health::WellFrom(3)]).app("app", [SERVES]).until(30));
    life.restarted_times("side", 1);
    assert_eq!(life.seconds("side is ready"), [3.0, 8.0]);
}

#[test]
fn a_container_that_a_probe_killed_stays_ended_under_never() {
    let life = live(&pod(Never).app("app", [SERVES]).probe(Liveness, probe(5, 1, 1), [Health::Ill]).app("other", [Exit(20, 0)]));
    life.restarted_times("app", 0);
    life.ends_as(Phase::Failed);
}

#[test]
fn many_probed_containers_restart_none_when_all_are_well() {
    let names: Vec<String> = (0..50).map(|number| format!("app-{number:02}")).collect();
    let scenario = names.iter().fold(pod(Always), |pod, name| {
        let pod = pod.app(name, [SERVES]).probe(Liveness, probe(0, 1, 1), [Health::Well]);
        pod.probe(Readiness, probe(0, 1, 1), [Health::Well])
    });
    let life = live(&scenario.until(60));
    assert!(names.iter().all(|name| life.seconds(&format!("start {name}")).len() == 1));
    assert!(life.state.containers().iter().all(|container| container.is_ready()));
}

#[test]
fn probes_do_not_begin_before_the_init_containers_are_done() {
    let scenario =
        pod(Always).init("init", [Exit(30, 0)]).app("app", [SERVES]).probe(Liveness, probe(0, 1, 1), [Health::Ill, Health::Well]);
    let life = live(&scenario.until(60));
    assert_eq!(life.seconds("terminate app"), [30.0]);
}
