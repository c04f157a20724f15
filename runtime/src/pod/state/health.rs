//! Probes, hooks and what they lead to, told as scenarios.

use super::simulator::Run::*;
use super::simulator::{Health, HookRun, every_second, pod};
use super::*;
use crate::pod::spec::RestartPolicy::{Always, Never, OnFailure};
use crate::pod::spec::{ExitCodes, Probe, RestartRule, RestartRuleAction};
use HookKind::{PostStart, PreStop};
use ProbeKind::{Liveness, Readiness, Startup};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn within(grace: u64, probe: Probe) -> Probe {
    Probe { termination_grace_period: Some(seconds(grace)), ..probe }
}

fn rule(action: RestartRuleAction, code: i32) -> RestartRule {
    RestartRule { action, exit_codes: ExitCodes::In(vec![code]) }
}

/// The events of a pod, one line each: count, reason, message.
fn events(state: &PodState) -> Vec<String> {
    state.journal().events().map(|event| format!("{} {} {}", event.count, event.reason, event.message)).collect()
}

// ---- probes

#[test]
fn readiness_begins_false_and_follows_the_probe() {
    let slow = Probe { initial_delay: seconds(3), ..every_second() };
    pod(Always).app("app", [Forever]).probe(Readiness, slow, [Health::WellUntil(6)]).until(20).check(
        "0s start app
         0s app has started
         0s phase Running
         3s app is ready
         6s app is not ready",
    );
}

#[test]
fn startup_holds_back_the_other_probes_and_gates_started() {
    let scenario = pod(Always)
        .sidecar("side", [Forever])
        .probe(Startup, Probe { failure_threshold: 9, ..every_second() }, [Health::WellFrom(4)])
        .probe(Liveness, every_second(), [Health::WellFrom(3)])
        .app("app", [Forever])
        .until(20);
    let state = scenario.check(
        "0s start side
         4s start app
         4s side has started
         4s side is ready
         4s phase Running",
    );
    assert_eq!(
        events(&state),
        [
            "1 Created Container created",
            "1 Started Container started",
            "4 Unhealthy Startup probe failed: not well",
            "1 Created Container created",
            "1 Started Container started",
        ],
        "the liveness probe was never asked while it would have failed"
    );
}

#[test]
fn a_failed_liveness_probe_kills_with_its_own_grace_and_restarts() {
    let state = pod(Always)
        .app("app", [Stubborn, Forever])
        .probe(Liveness, within(5, every_second()), [Health::WellUntil(3), Health::Well])
        .check_until(
            30,
            "0s start app
             0s app has started
             0s app is ready
             0s phase Running
             3s terminate app
             8s kill app
             8s app exits 137
             8s start app
             8s app is not ready
             8s app has started
             8s app is ready",
        );
    let notes = events(&state);
    assert!(notes.contains(&"1 Killing Container app failed liveness probe, will be restarted".to_owned()), "{notes:#?}");
    assert!(notes.contains(&"1 ExceededGracePeriod Container app did not stop within its grace period and was killed".to_owned()));
}

#[test]
fn a_kill_for_its_health_restarts_even_a_container_that_then_ends_well_unless_never() {
    for (policy, restarts) in [(OnFailure, 1), (Never, 0)] {
        let scenario =
            pod(policy).app("app", [SlowStop(1, 0), Forever]).probe(Liveness, every_second(), [Health::Ill, Health::Well]);
        let (state, log) = scenario.until(20).play();
        assert_eq!(state.container(ContainerIndex(0)).unwrap().restart_count(), restarts, "{log}");
    }
}

#[test]
fn an_answer_that_never_comes_is_a_failure_and_a_question_that_cannot_be_asked_is_none() {
    let (state, log) = pod(Always).app("app", [Forever]).probe(Liveness, every_second(), [Health::Mute]).until(2).play();
    assert!(log.contains("1s terminate app") && state.container(ContainerIndex(0)).unwrap().restart_count() == 1, "{log}");
    let (state, log) = pod(Always).app("app", [Forever]).probe(Liveness, every_second(), [Health::Unaskable]).until(9).play();
    assert!(!log.contains("terminate"), "{log}");
    assert!(
        events(&state).contains(&"10 Unhealthy Liveness probe errored and resulted in unknown state: no such command".to_owned())
    );
}

#[test]
fn a_startup_probe_that_fails_kills_and_counts_as_never_started() {
    pod(Never).app("app", [Forever]).probe(Startup, Probe { failure_threshold: 3, ..every_second() }, [Health::Ill]).check(
        "0s start app
                0s phase Running
                2s terminate app
                2s app exits 143
                2s failed, exit code 143
                2s phase Failed",
    );
}

#[test]
fn while_the_pod_ends_only_readiness_is_asked() {
    pod(Always)
        .app("app", [SlowStop(5, 0)])
        .probe(Liveness, every_second(), [Health::WellUntil(3)])
        .probe(Readiness, every_second(), [Health::WellUntil(4)])
        .stop_at(2)
        .check(
            "0s start app
                0s app has started
                0s phase Running
                0s app is ready
                2s stop
                2s terminate app
                4s app is not ready
                7s app exits 0
                7s succeeded, exit code 0
                7s phase Succeeded",
        );
}

// ---- hooks

#[test]
fn a_post_start_hook_holds_back_what_comes_after() {
    pod(Always)
        .sidecar("side", [Forever])
        .hook(PostStart, [HookRun::Succeeds(2)])
        .app("first", [Forever])
        .hook(PostStart, [HookRun::Succeeds(3)])
        .probe(Readiness, every_second(), [Health::Well])
        .app("second", [Forever])
        .until(20)
        .check(
            "0s start side
             0s postStart of side begins
             2s postStart of side ends
             2s start first
             2s postStart of first begins
             5s postStart of first ends
             5s start second
             5s first has started
             5s phase Running
             5s first is ready",
        );
}

#[test]
fn a_post_start_hook_that_fails_kills_its_container() {
    let state = pod(Always)
        .app("app", [Forever])
        .hook(PostStart, [HookRun::Fails(1), HookRun::Succeeds(1)])
        .hook(PreStop, [HookRun::Succeeds(2)])
        .check_until(
            20,
            "0s start app
             0s postStart of app begins
             0s phase Running
             1s postStart of app fails
             1s preStop of app begins
             3s preStop of app ends
             3s terminate app
             3s app exits 143
             3s start app
             3s postStart of app begins
             4s postStart of app ends",
        );
    let notes = events(&state);
    assert!(notes.contains(&"1 FailedPostStartHook PostStartHook failed".to_owned()), "{notes:#?}");
    assert!(notes.contains(&"1 Killing FailedPostStartHook".to_owned()), "{notes:#?}");
}

#[test]
fn pre_stop_hooks_run_together_and_take_from_the_grace_period() {
    pod(Always)
        .sidecar("side", [Stubborn])
        .hook(PreStop, [HookRun::Succeeds(1)])
        .app("app", [Stubborn])
        .hook(PreStop, [HookRun::Succeeds(6)])
        .grace(10)
        .stop_at(1)
        .check(
            "0s start side
             0s start app
             0s phase Running
             1s stop
             1s preStop of app begins
             1s preStop of side begins
             2s preStop of side ends
             7s preStop of app ends
             7s terminate app
             11s kill app
             11s terminate side
             11s app exits 137
             13s kill side
             13s side exits 137
             13s failed, exit code 137
             13s phase Failed",
        );
}

#[test]
fn a_pre_stop_hook_that_takes_all_the_time_leaves_two_seconds() {
    pod(Always).app("app", [Stubborn]).hook(PreStop, [HookRun::Hangs]).grace(5).stop_at(1).check(
        "0s start app
         0s phase Running
         1s stop
         1s preStop of app begins
         6s terminate app
         8s kill app
         8s app exits 137
         8s failed, exit code 137
         8s phase Failed",
    );
}

#[test]
fn without_grace_there_is_no_pre_stop_hook_and_a_failed_one_stops_nobody_from_stopping() {
    let scenario = pod(Always).app("app", [Forever]).hook(PreStop, [HookRun::Fails(1)]);
    let hasty = Event::Stop { grace: Some(Duration::ZERO) };
    let (_, log) = scenario.clone().at(1, hasty).play();
    assert!(!log.contains("preStop"), "{log}");
    let state = scenario.stop_at(1).check(
        "0s start app
         0s phase Running
         1s stop
         1s preStop of app begins
         2s preStop of app fails
         2s terminate app
         2s app exits 143
         2s failed, exit code 143
         2s phase Failed",
    );
    let notes = events(&state);
    assert_eq!(notes[2..], ["1 Killing Stopping container app", "1 FailedPreStopHook PreStopHook failed"]);
}

#[test]
fn a_stop_gives_up_a_post_start_hook() {
    pod(Always).app("app", [Forever]).hook(PostStart, [HookRun::Hangs]).app("late", [Forever]).stop_at(3).check(
        "0s start app
         0s postStart of app begins
         3s stop
         3s terminate app
         3s app exits 143
         3s failed, exit code 143
         3s phase Failed",
    );
}

// ---- rules

#[test]
fn a_rule_restarts_one_container_of_a_pod_that_never_restarts() {
    let state = pod(Never)
        .app("app", [Exit(1, 42), Exit(1, 42), Exit(1, 7)])
        .with(|app| app.restart_rules = vec![rule(RestartRuleAction::Restart, 42)])
        .check(
            "0s start app
             0s phase Running
             1s app exits 42
             1s start app
             2s app exits 42
             12s start app
             13s app exits 7
             13s failed, exit code 7
             13s phase Failed",
        );
    assert_eq!(state.container(ContainerIndex(0)).unwrap().restart_count(), 2);
}

#[test]
fn a_rule_restarts_all_containers_from_the_first_init_container_on() {
    let state = pod(Never)
        .init("init", [Exit(1, 0)])
        .sidecar("side", [Forever])
        .hook(PreStop, [HookRun::Hangs])
        .app("app", [Exit(5, 42), Exit(2, 42), Exit(1, 0)])
        .with(|app| app.restart_rules = vec![rule(RestartRuleAction::RestartAllContainers, 42)])
        .app("other", [Stubborn, Stubborn, Exit(1, 0)])
        .grace(1)
        .check(
            "0s start init
             1s init exits 0
             1s start side
             1s start app
             1s start other
             1s phase Running
             6s app exits 42
             6s kill side
             6s kill other
             6s side exits 137
             6s other exits 137
             6s start init
             6s phase Pending
             7s init exits 0
             7s start side
             7s phase Running
             7s start app
             7s start other
             9s app exits 42
             9s kill side
             9s kill other
             9s side exits 137
             9s other exits 137
             19s start init
             19s phase Pending
             20s init exits 0
             20s start side
             20s phase Running
             20s start app
             20s start other
             21s app exits 0
             21s other exits 0
             21s preStop of side begins
             22s terminate side
             22s side exits 143
             22s succeeded, exit code 0
             22s phase Succeeded",
        );
    assert_eq!(state.containers().iter().map(Container::restart_count).collect::<Vec<_>>(), [2, 2, 2, 2]);
}

#[test]
fn what_happens_is_noted_in_the_kubelets_words() {
    let state = pod(Always).app("app", [Exit(0, 1)]).until(200).play().0;
    assert_eq!(
        events(&state),
        [
            "6 Created Container created",
            "6 Started Container started",
            "5 BackOff Back-off restarting failed container app in pod pod_default(uid)",
        ]
    );
    assert_eq!(EventReason::BackOff.event_type(), EventType::Warning);
}
