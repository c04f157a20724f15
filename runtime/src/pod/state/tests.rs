//! The life of a pod, told as scenarios: what the containers do, and the log that must come of it.

use super::simulator::Run::*;
use super::simulator::pod;
use super::*;
use crate::pod::spec::RestartPolicy;
use RestartPolicy::{Always, Never, OnFailure};

fn index(container: usize) -> ContainerIndex {
    ContainerIndex(container)
}

fn stop_within(seconds: u64) -> Event {
    Event::Stop { grace: Some(Duration::from_secs(seconds)) }
}

fn restarts(state: &PodState, container: usize) -> u32 {
    state.container(index(container)).unwrap().restart_count()
}

// ---- restart policies: a container that fails once, exits 0 once, then runs

#[test]
fn always_restarts_after_failure_and_after_success() {
    let state = pod(Always).app("app", [Exit(1, 1), Exit(1, 0), Forever]).until(100).check(
        "0s start app
         0s phase Running
         1s app exits 1
         1s start app
         2s app exits 0
         12s start app",
    );
    assert_eq!((restarts(&state, 0), state.phase()), (2, Phase::Running));
}

#[test]
fn on_failure_restarts_after_failure_only() {
    let state = pod(OnFailure).app("app", [Exit(1, 1), Exit(1, 0), Forever]).check(
        "0s start app
         0s phase Running
         1s app exits 1
         1s start app
         2s app exits 0
         2s succeeded, exit code 0
         2s phase Succeeded",
    );
    assert_eq!((restarts(&state, 0), state.exit_code()), (1, Some(0)));
}

#[test]
fn never_restarts_nothing() {
    let state = pod(Never).app("app", [Exit(1, 3), Exit(1, 0), Forever]).check(
        "0s start app
         0s phase Running
         1s app exits 3
         1s failed, exit code 3
         1s phase Failed",
    );
    assert_eq!((restarts(&state, 0), state.exit_code()), (0, Some(3)));
}

#[test]
fn the_exit_code_is_that_of_the_first_failed_container_in_the_manifest() {
    pod(Never).app("good", [Exit(9, 0)]).app("bad", [Exit(5, 4)]).app("worse", [Exit(1, 5)]).check(
        "0s start good
         0s start bad
         0s start worse
         0s phase Running
         1s worse exits 5
         5s bad exits 4
         9s good exits 0
         9s failed, exit code 4
         9s phase Failed",
    );
}

#[test]
fn a_pod_runs_only_once_all_its_apps_have_run() {
    pod(Never).app("quick", [Exit(1, 0)]).app("slow", [SlowStart(5)]).until(20).check(
        "0s start quick
         0s start slow
         1s quick exits 0
         5s slow runs
         5s phase Running",
    );
}

// ---- back-off

#[test]
fn crash_back_off_is_exactly_the_kubelets() {
    let (_, log) = pod(Always).app("app", [Exit(0, 1)]).until(1300).play();
    let starts: Vec<&str> = log.lines().filter_map(|line| line.strip_suffix("s start app")).collect();
    // At once, then after 10, 20, 40, 80, 160, 300, 300, 300 s.
    assert_eq!(starts, ["0", "0", "10", "30", "70", "150", "310", "610", "910", "1210"]);
}

#[test]
fn ten_minutes_of_running_reset_the_back_off() {
    pod(Always).app("app", [Exit(1, 1), Exit(1, 1), Exit(1, 1), Exit(600, 1), Exit(1, 1), Forever]).until(2000).check(
        "0s start app
         0s phase Running
         1s app exits 1
         1s start app
         2s app exits 1
         12s start app
         13s app exits 1
         33s start app
         633s app exits 1
         633s start app
         634s app exits 1
         644s start app",
    );
}

#[test]
fn failed_starts_are_retried_with_back_off_and_do_not_count_as_restarts() {
    let runs =
        [NoStart("RunContainerError"), NoStart("CreateContainerError"), Exit(1, 1), NoStart("CreateContainerError"), Forever];
    let state = pod(Always).app("app", runs).until(100).check(
        "0s start app
         0s app fails to start: RunContainerError
         10s start app
         10s app fails to start: CreateContainerError
         30s start app
         30s phase Running
         31s app exits 1
         31s start app
         31s app fails to start: CreateContainerError
         41s start app",
    );
    assert_eq!(restarts(&state, 0), 1);
}

#[test]
fn a_start_that_can_never_work_fails_the_pod() {
    let state = pod(Always).app("bad", [NeverStarts("CreateContainerError")]).app("good", [Forever]).check(
        "0s start bad
         0s start good
         0s bad fails to start: CreateContainerError
         0s kill good
         0s good fails to start: Cancelled
         0s failed (CreateContainerError), exit code 1
         0s phase Failed",
    );
    assert_eq!(state.outcome().unwrap().message.as_deref(), Some("container bad: it does not work"));
}

// ---- init containers

#[test]
fn init_containers_run_in_order_before_the_apps_start_together() {
    for policy in [Always, OnFailure, Never] {
        pod(policy).init("one", [Exit(2, 0)]).init("two", [Exit(3, 0)]).app("a", [Forever]).app("b", [Forever]).until(10).check(
            "0s start one
             2s one exits 0
             2s start two
             5s two exits 0
             5s start a
             5s start b
             5s phase Running",
        );
    }
}

#[test]
fn a_failing_init_container_under_never_fails_the_pod_and_no_app_starts() {
    pod(Never).init("good", [Exit(1, 0)]).init("bad", [Exit(1, 7)]).init("unseen", [Forever]).app("app", [Forever]).check(
        "0s start good
         1s good exits 0
         1s start bad
         2s bad exits 7
         2s failed, exit code 7
         2s phase Failed",
    );
}

#[test]
fn a_failing_init_container_is_retried_otherwise() {
    for policy in [Always, OnFailure] {
        pod(policy).init("init", [Exit(1, 1), Exit(1, 1), Exit(1, 0)]).app("app", [Forever]).until(50).check(
            "0s start init
             1s init exits 1
             1s start init
             2s init exits 1
             12s start init
             13s init exits 0
             13s start app
             13s phase Running",
        );
    }
}

#[test]
fn apps_restart_without_running_the_init_containers_again() {
    pod(Always).init("init", [Exit(1, 0)]).app("app", [Exit(1, 1), Forever]).until(50).check(
        "0s start init
         1s init exits 0
         1s start app
         1s phase Running
         2s app exits 1
         2s start app",
    );
}

// ---- sidecars

#[test]
fn sidecars_start_in_turn_and_stop_last_in_reverse() {
    pod(Never)
        .sidecar("first", [Forever])
        .init("init", [Exit(2, 0)])
        .sidecar("second", [SlowStart(3)])
        .app("app", [Exit(4, 0)])
        .check(
            "0s start first
         0s start init
         2s init exits 0
         2s start second
         5s second runs
         5s start app
         5s phase Running
         9s app exits 0
         9s terminate second
         9s second exits 143
         9s terminate first
         9s first exits 143
         9s succeeded, exit code 0
         9s phase Succeeded",
        );
}

#[test]
fn a_sidecar_restarts_whatever_the_policy_during_init_and_after() {
    pod(Never).sidecar("side", [Exit(2, 0), Exit(3, 1), Forever]).init("init", [Exit(4, 0)]).app("app", [Exit(20, 0)]).check(
        "0s start side
         0s start init
         2s side exits 0
         2s start side
         4s init exits 0
         4s start app
         4s phase Running
         5s side exits 1
         15s start side
         24s app exits 0
         24s terminate side
         24s side exits 143
         24s succeeded, exit code 0
         24s phase Succeeded",
    );
}

#[test]
fn a_sidecar_that_does_not_start_holds_back_the_rest() {
    let runs = [NoStart("CreateContainerError"), NoStart("CreateContainerError"), Forever];
    pod(Never).sidecar("side", runs).app("app", [Forever]).until(50).check(
        "0s start side
         0s side fails to start: CreateContainerError
         10s start side
         10s side fails to start: CreateContainerError
         30s start side
         30s start app
         30s phase Running",
    );
}

#[test]
fn a_sidecar_that_waits_to_restart_does_not_keep_a_finished_pod_alive() {
    pod(OnFailure).sidecar("side", [Exit(1, 1)]).app("app", [Exit(5, 0)]).check(
        "0s start side
         0s start app
         0s phase Running
         1s side exits 1
         1s start side
         2s side exits 1
         5s app exits 0
         5s succeeded, exit code 0
         5s phase Succeeded",
    );
}

#[test]
fn a_failed_init_container_stops_the_sidecars_before_it() {
    pod(Never).sidecar("side", [SlowStop(3, 0)]).init("init", [Exit(1, 2)]).app("app", [Forever]).check(
        "0s start side
         0s start init
         1s init exits 2
         1s terminate side
         4s side exits 0
         4s failed, exit code 2
         4s phase Failed",
    );
}

// ---- stopping

#[test]
fn stop_asks_the_apps_first_and_the_sidecars_after_them() {
    pod(Always)
        .sidecar("one", [Forever])
        .sidecar("two", [SlowStop(4, 0)])
        .app("a", [SlowStop(5, 0)])
        .app("b", [Forever])
        .stop_at(10)
        .check(
            "0s start one
         0s start two
         0s start a
         0s start b
         0s phase Running
         10s stop
         10s terminate a
         10s terminate b
         10s b exits 143
         15s a exits 0
         15s terminate two
         19s two exits 0
         19s terminate one
         19s one exits 143
         19s failed, exit code 143
         19s phase Failed",
        );
}

#[test]
fn a_pod_whose_apps_stop_well_has_succeeded() {
    pod(Always).app("a", [SlowStop(0, 0)]).app("b", [SlowStop(1, 0)]).stop_at(5).check(
        "0s start a
         0s start b
         0s phase Running
         5s stop
         5s terminate a
         5s terminate b
         5s a exits 0
         6s b exits 0
         6s succeeded, exit code 0
         6s phase Succeeded",
    );
}

#[test]
fn whoever_outlives_the_grace_period_is_killed_and_late_sidecars_get_two_seconds() {
    let scenario =
        pod(Always).sidecar("one", [Stubborn]).sidecar("two", [SlowStop(1, 0)]).app("app", [Stubborn]).grace(10).stop_at(5);
    scenario.check(
        "0s start one
         0s start two
         0s start app
         0s phase Running
         5s stop
         5s terminate app
         15s kill app
         15s terminate two
         15s terminate one
         15s app exits 137
         16s two exits 0
         17s kill one
         17s one exits 137
         17s failed, exit code 137
         17s phase Failed",
    );
}

#[test]
fn sidecars_share_what_remains_of_the_grace_period() {
    pod(Always).sidecar("side", [Stubborn]).app("app", [SlowStop(6, 0)]).grace(10).stop_at(1).check(
        "0s start side
         0s start app
         0s phase Running
         1s stop
         1s terminate app
         7s app exits 0
         7s terminate side
         11s kill side
         11s side exits 137
         11s succeeded, exit code 0
         11s phase Succeeded",
    );
}

#[test]
fn no_grace_still_is_two_seconds_for_all_at_once() {
    pod(Always).sidecar("side", [Stubborn]).app("app", [Stubborn]).at(5, stop_within(0)).check(
        "0s start side
         0s start app
         0s phase Running
         5s stop within 0s
         5s terminate app
         5s terminate side
         7s kill app
         7s kill side
         7s app exits 137
         7s side exits 137
         7s failed, exit code 137
         7s phase Failed",
    );
}

#[test]
fn a_second_stop_shortens_the_grace_period_and_never_lengthens_it() {
    pod(Always).app("app", [Stubborn]).grace(60).stop_at(10).at(20, stop_within(5)).at(22, stop_within(50)).stop_at(23).check(
        "0s start app
         0s phase Running
         10s stop
         10s terminate app
         20s stop within 5s
         22s stop within 50s
         23s stop
         25s kill app
         25s app exits 137
         25s failed, exit code 137
         25s phase Failed",
    );
}

#[test]
fn kill_asks_nobody_and_also_cuts_a_graceful_stop_short() {
    pod(Always).sidecar("side", [Forever]).app("app", [Forever]).at(3, Event::Kill).check(
        "0s start side
         0s start app
         0s phase Running
         3s kill all
         3s kill app
         3s kill side
         3s app exits 137
         3s side exits 137
         3s failed, exit code 137
         3s phase Failed",
    );
    pod(Always).sidecar("side", [Forever]).app("app", [Stubborn]).stop_at(3).at(4, Event::Kill).check(
        "0s start side
         0s start app
         0s phase Running
         3s stop
         3s terminate app
         4s kill all
         4s kill app
         4s kill side
         4s app exits 137
         4s side exits 137
         4s failed, exit code 137
         4s phase Failed",
    );
}

#[test]
fn stop_during_init_ends_the_init_container_before_its_sidecars_and_starts_no_app() {
    pod(Always).sidecar("side", [Forever]).init("init", [SlowStop(2, 0)]).app("app", [Forever]).stop_at(5).check(
        "0s start side
         0s start init
         5s stop
         5s terminate init
         7s init exits 0
         7s terminate side
         7s side exits 143
         7s failed, exit code 1
         7s phase Failed",
    );
}

#[test]
fn stop_during_back_off_ends_at_once_with_the_last_status() {
    let state = pod(Always).app("app", [Exit(1, 9)]).stop_at(5).check(
        "0s start app
         0s phase Running
         1s app exits 9
         1s start app
         2s app exits 9
         5s stop
         5s failed, exit code 9
         5s phase Failed",
    );
    assert!(state.container(index(0)).unwrap().is_terminated());
}

#[test]
fn stop_during_a_start_gives_it_up() {
    pod(Always).sidecar("side", [Forever]).app("app", [SlowStart(60)]).stop_at(5).check(
        "0s start side
         0s start app
         5s stop
         5s kill app
         5s app fails to start: Cancelled
         5s terminate side
         5s side exits 143
         5s failed, exit code 1
         5s phase Failed",
    );
}

#[test]
fn a_start_that_wins_against_its_kill_is_awaited() {
    let scenario = pod(Always).app("app", [Forever]);
    let mut state = PodState::new(&scenario.spec, BackoffPolicy::KUBELET);
    let (container, attempt, now) = (index(0), Attempt(0), Duration::ZERO);
    assert_eq!(state.step(Event::Begin, now).actions, [Action::Start { container, attempt }]);
    assert_eq!(state.step(Event::Stop { grace: None }, now).actions, [Action::Kill { container, attempt }]);
    assert_eq!(state.step(Event::Started { container, attempt }, now), Step::default());
    let end = state.step(Event::Exited { container, attempt, exit: ContainerExit::signalled(Signal::Kill) }, now);
    assert!(matches!(end.actions[..], [Action::Finish(_)]), "{end:?}");
}

#[test]
fn a_pod_stopped_before_it_began_has_failed_without_starting_anything() {
    let scenario = pod(Always).app("app", [Forever]);
    let mut state = PodState::new(&scenario.spec, BackoffPolicy::KUBELET);
    let end = state.step(Event::Stop { grace: None }, Duration::ZERO);
    let outcome = Outcome { succeeded: false, reason: None, message: None, hopeless: false, exit_code: 1 };
    assert_eq!(end, Step { actions: vec![Action::Finish(outcome)], wake_at: None });
    assert_eq!(state.step(Event::Begin, Duration::ZERO), Step::default());
}

// ---- the pod fails as a whole

#[test]
fn the_deadline_ends_a_running_pod() {
    let state = pod(Always).sidecar("side", [Forever]).app("app", [SlowStop(3, 0)]).deadline(20).check(
        "0s start side
         0s start app
         0s phase Running
         20s terminate app
         23s app exits 0
         23s terminate side
         23s side exits 143
         23s failed (DeadlineExceeded), exit code 1
         23s phase Failed",
    );
    assert_eq!(state.outcome().unwrap().message.as_deref(), Some("Pod was active on the node longer than the specified deadline"));
}

#[test]
fn the_deadline_includes_init_and_back_off() {
    pod(Always).init("init", [Forever]).app("app", [Forever]).deadline(20).check(
        "0s start init
         20s terminate init
         20s init exits 143
         20s failed (DeadlineExceeded), exit code 1
         20s phase Failed",
    );
    pod(Always).app("app", [Exit(1, 1)]).deadline(5).check(
        "0s start app
         0s phase Running
         1s app exits 1
         1s start app
         2s app exits 1
         5s failed (DeadlineExceeded), exit code 1
         5s phase Failed",
    );
}

#[test]
fn a_pod_that_is_done_has_no_deadline_any_more() {
    pod(Never).sidecar("side", [SlowStop(5, 0)]).app("app", [Exit(9, 0)]).deadline(10).check(
        "0s start side
         0s start app
         0s phase Running
         9s app exits 0
         9s terminate side
         14s side exits 0
         14s succeeded, exit code 0
         14s phase Succeeded",
    );
}

#[test]
fn an_evicted_pod_fails_after_a_second_of_grace() {
    let evict = Event::Evict { message: "Usage of EmptyDir volume \"data\" exceeds the limit \"1Mi\".".to_owned() };
    let state = pod(Always).sidecar("side", [Forever]).app("app", [Stubborn]).at(5, evict).check(
        "0s start side
         0s start app
         0s phase Running
         5s evict
         5s terminate app
         6s terminate side
         6s side exits 143
         7s kill app
         7s app exits 137
         7s failed (Evicted), exit code 1
         7s phase Failed",
    );
    assert!(state.outcome().unwrap().message.as_deref().unwrap().starts_with("Usage of EmptyDir"));
}

// ---- strange events

#[test]
fn words_about_instances_that_are_gone_change_nothing() {
    let scenario = pod(Always).app("app", [Forever]);
    let mut state = PodState::new(&scenario.spec, BackoffPolicy::KUBELET);
    let (container, now) = (index(0), Duration::from_secs(1));
    let exited = |container, attempt| Event::Exited { container, attempt: Attempt(attempt), exit: ContainerExit::exited(1) };
    state.step(Event::Begin, now);
    state.step(Event::Started { container, attempt: Attempt(0) }, now);
    let restart = state.step(exited(container, 0), now);
    assert_eq!(restart.actions, [Action::Start { container, attempt: Attempt(1) }]);
    let before = state.clone();
    let error = StartError::permanent("CreateContainerError", "");
    for event in [
        exited(container, 0),
        exited(container, 2),
        exited(index(7), 1),
        Event::Started { container, attempt: Attempt(0) },
        Event::StartFailed { container, attempt: Attempt(0), error },
        Event::Begin,
    ] {
        assert_eq!(state.step(event.clone(), now).actions, [], "{event:?}");
        assert_eq!(state, before, "{event:?}");
    }
}

#[test]
fn an_instance_may_be_gone_before_it_was_seen_running() {
    let scenario = pod(Never).app("app", [Forever]);
    let mut state = PodState::new(&scenario.spec, BackoffPolicy::KUBELET);
    state.step(Event::Begin, Duration::ZERO);
    let exited = Event::Exited { container: index(0), attempt: Attempt(0), exit: ContainerExit::trapped("unreachable") };
    assert!(matches!(state.step(exited, Duration::ZERO).actions[..], [Action::Finish(_)]));
    assert_eq!((state.exit_code(), restarts(&state, 0)), (Some(134), 0));
}

#[test]
fn time_never_goes_back() {
    let scenario = pod(Never).app("app", [Forever]).deadline(10);
    let mut state = PodState::new(&scenario.spec, BackoffPolicy::KUBELET);
    let (container, attempt) = (index(0), Attempt(0));
    state.step(Event::Begin, Duration::from_secs(7));
    state.step(Event::Started { container, attempt }, Duration::from_secs(5));
    let running = state.container(container).unwrap().state();
    assert!(matches!(running, ContainerState::Running { since, .. } if since.as_secs() == 7), "{running:?}");
}
