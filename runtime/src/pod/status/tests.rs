//! The status that a pod shows, at the turns of its life: what kubectl would print, shortened to the lines that matter.

use super::*;
use crate::pod::backoff::BackoffPolicy;
use crate::pod::spec::RestartPolicy::{Always, Never};
use crate::pod::spec::{ExitCodes, RestartRule, RestartRuleAction};
use crate::pod::state::simulator::Run::*;
use crate::pod::state::simulator::{Pull, Scenario, pod};
use crate::pod::state::{Event, Signal};

const SHA: &str = "sha256:aa";

fn facts() -> StatusFacts {
    StatusFacts {
        started_at: "2026-11-01T12:00:00.75Z".parse().unwrap(),
        pod_ips: vec!["10.88.0.7".parse().unwrap(), "fd00::7".parse().unwrap()],
        host_ips: vec!["192.0.2.1".parse().unwrap()],
        image_ids: vec![SHA.to_owned()],
    }
}

/// The status after `scenario` was played to its end or for so long.
fn status(scenario: Scenario) -> v1::PodStatus {
    pod_status(&scenario.spec, &scenario.play().0, &facts())
}

/// One line for each container: name, state with reason, and what of ready, started, restarts is not as at the very start.
fn containers(status: &v1::PodStatus) -> Vec<String> {
    let init = status.init_container_statuses.iter().flatten();
    init.chain(status.container_statuses.iter().flatten()).map(container_line).collect()
}

fn container_line(status: &v1::ContainerStatus) -> String {
    let state = state_word(status.state.as_ref().unwrap());
    let last = status.last_state.as_ref().map(|last| format!(", last {}", state_word(last))).unwrap_or_default();
    let ready = if status.ready { ", ready" } else { "" };
    let started = if status.started == Some(true) { ", started" } else { "" };
    let restarts = if status.restart_count == 0 { String::new() } else { format!(", restarts {}", status.restart_count) };
    format!("{}: {state}{last}{ready}{started}{restarts}", status.name)
}

fn state_word(state: &v1::ContainerState) -> String {
    match (&state.waiting, &state.running, &state.terminated) {
        (Some(waiting), None, None) => waiting.reason.clone().unwrap(),
        (None, Some(_), None) => "running".to_owned(),
        (None, None, Some(terminated)) => format!("{} {}", terminated.reason.as_deref().unwrap(), terminated.exit_code),
        _ => panic!("exactly one of the three: {state:?}"),
    }
}

/// One line for each condition: type, status, reason, message, and the second of its last change.
fn conditions(status: &v1::PodStatus) -> Vec<String> {
    status.conditions.iter().flatten().map(condition_line).collect()
}

fn condition_line(condition: &v1::PodCondition) -> String {
    let words = [Some(&condition.type_), Some(&condition.status), condition.reason.as_ref(), condition.message.as_ref()];
    let since = condition.last_transition_time.as_ref().unwrap().0.to_string();
    let words: Vec<&str> = words.into_iter().flatten().map(String::as_str).collect();
    format!("{} @{}", words.join(" "), since.trim_start_matches("2026-11-01T"))
}

#[test]
fn a_pod_that_runs() {
    let status = status(pod(Always).init("init", [Exit(2, 0)]).app("app", [Forever]).until(5));
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(containers(&status), ["init: Completed 0, ready", "app: running, ready, started"]);
    assert_eq!(
        conditions(&status),
        [
            "PodReadyToStartContainers True @12:00:00Z",
            "Initialized True @12:00:02Z",
            "Ready True @12:00:02Z",
            "ContainersReady True @12:00:02Z",
            "PodScheduled True @12:00:00Z",
        ]
    );
    assert_eq!(status.pod_ip.as_deref(), Some("10.88.0.7"));
    assert_eq!(status.pod_ips.map(|ips| ips.len()), Some(2));
    assert_eq!(status.host_ip.as_deref(), Some("192.0.2.1"));
    let init = &status.init_container_statuses.unwrap()[0];
    assert_eq!((init.image.as_str(), init.image_id.as_str()), ("init.wasm", SHA));
    assert_eq!(init.container_id.as_deref(), Some("wasmpod://uid/init/0"));
}

#[test]
fn a_pod_that_initializes() {
    let status = status(pod(Always).sidecar("side", [SlowStart(3)]).init("init", [Forever]).app("app", [Forever]).until(1));
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(containers(&status), ["side: PodInitializing", "init: PodInitializing", "app: PodInitializing"]);
    assert_eq!(
        conditions(&status)[1..3],
        [
            "Initialized False ContainersNotInitialized containers with incomplete status: [side init] @12:00:00Z",
            "Ready False ContainersNotReady containers with unready status: [side app] @12:00:00Z",
        ]
    );
}

#[test]
fn a_pod_that_has_not_begun() {
    let scenario = pod(Always).app("app", [Forever]);
    let status = pod_status(&scenario.spec, &PodState::new(&scenario.spec, BackoffPolicy::KUBELET), &facts());
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(containers(&status), ["app: ContainerCreating"]);
    assert_eq!(conditions(&status)[..2], ["PodReadyToStartContainers False @12:00:00Z", "Initialized True @12:00:00Z"]);
}

#[test]
fn a_container_in_crash_loop_back_off() {
    let status = status(pod(Always).app("app", [Exit(1, 1)]).until(25));
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(containers(&status), ["app: CrashLoopBackOff, last Error 1, restarts 2"]);
    let app = &status.container_statuses.as_ref().unwrap()[0];
    let message = app.state.as_ref().unwrap().waiting.as_ref().unwrap().message.as_deref();
    assert_eq!(message, Some("back-off 20s restarting failed container=app pod=pod_default(uid)"));
    assert_eq!(app.container_id.as_deref(), Some("wasmpod://uid/app/2"));
    assert_eq!(conditions(&status)[2], "Ready False ContainersNotReady containers with unready status: [app] @12:00:13Z");
}

#[test]
fn containers_that_cannot_start() {
    let scenario = pod(Always).app("a", [Forever]).pulls([Pull::Fails("ErrImagePull")]);
    let status = status(scenario.app("b", [NoStart("CreateContainerError")]).until(5));
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(containers(&status), ["a: ImagePullBackOff", "b: CreateContainerError"]);
    let a = status.container_statuses.unwrap()[0].state.clone().unwrap().waiting.unwrap();
    assert_eq!(a.message.as_deref(), Some("Back-off pulling image \"a.wasm\": ErrImagePull: it does not work"));
}

/// The reason for which the only container waits, and the message.
fn waits_for(scenario: Scenario) -> String {
    let status = status(scenario);
    let waiting = status.container_statuses.unwrap()[0].state.clone().unwrap().waiting.unwrap();
    format!("{}: {}", waiting.reason.unwrap(), waiting.message.unwrap_or_default())
}

#[test]
fn a_container_without_an_image() {
    let app = |pulls: [Pull; 2], until| waits_for(pod(Always).app("a", [Forever]).pulls(pulls).until(until));
    assert_eq!(app([Pull::Takes(20), Pull::Present], 10), "ContainerCreating: ");
    let away = [Pull::Fails("RegistryUnavailable"), Pull::Takes(20)];
    assert_eq!(app(away, 5), "ImagePullBackOff: Back-off pulling image \"a.wasm\": RegistryUnavailable: it does not work");
    assert_eq!(app(away, 15), "RegistryUnavailable: it does not work");
    let never = |reason| waits_for(pod(Always).app("a", [Forever]).pulls([Pull::NeverWorks(reason)]));
    assert_eq!(never("ErrImageNeverPull"), "ErrImageNeverPull: it does not work");
    assert_eq!(never("InvalidImageName"), "InvalidImageName: it does not work");
    assert_eq!(never("ErrImagePull"), "ErrImagePull: it does not work");
}

#[test]
fn a_pod_that_succeeded() {
    let status = status(pod(Never).sidecar("side", [Forever]).app("app", [Exit(3, 0)]));
    assert_eq!(status.phase.as_deref(), Some("Succeeded"));
    assert_eq!(containers(&status), ["side: Error 143", "app: Completed 0"]);
    assert_eq!(
        conditions(&status),
        [
            "PodReadyToStartContainers False @12:00:03Z",
            "Initialized True PodCompleted @12:00:00Z",
            "Ready False PodCompleted @12:00:03Z",
            "ContainersReady False PodCompleted @12:00:03Z",
            "PodScheduled True @12:00:00Z",
        ]
    );
}

#[test]
fn a_pod_that_failed() {
    let status = status(pod(Never).app("app", [Exit(3, 2)]));
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), None));
    assert_eq!(conditions(&status)[2], "Ready False PodFailed @12:00:03Z");
    let terminated = status.container_statuses.unwrap()[0].state.clone().unwrap().terminated.unwrap();
    assert_eq!(terminated.started_at.unwrap().0.to_string(), "2026-11-01T12:00:00Z");
    assert_eq!(terminated.finished_at.unwrap().0.to_string(), "2026-11-01T12:00:03Z");
}

#[test]
fn pods_that_failed_as_a_whole() {
    let late = status(pod(Always).app("app", [Forever]).deadline(9));
    assert_eq!((late.phase.as_deref(), late.reason.as_deref()), (Some("Failed"), Some("DeadlineExceeded")));
    assert_eq!(late.message.as_deref(), Some("Pod was active on the node longer than the specified deadline"));
    let evicted = status(pod(Always).app("app", [Forever]).at(1, Event::Evict { message: "too big".to_owned() }));
    assert_eq!((evicted.reason.as_deref(), evicted.message.as_deref()), (Some("Evicted"), Some("too big")));
}

#[test]
fn a_stopped_pod_says_of_containers_that_never_ran_that_they_wait() {
    let status = status(pod(Always).init("init", [Forever]).app("app", [Forever]).stop_at(1));
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(containers(&status), ["init: Error 143", "app: PodInitializing"]);
}

#[test]
fn a_pod_that_restarts_all_its_containers_says_so() {
    let rule = RestartRule { action: RestartRuleAction::RestartAllContainers, exit_codes: ExitCodes::In(vec![42]) };
    let scenario = |side| {
        let trigger = pod(Never).app("app", [Exit(3, 42), Exit(9, 0)]).with(|app| app.restart_rules = vec![rule.clone()]);
        trigger.app("side", [side, Forever])
    };
    let restarting = |scenario: Scenario| conditions(&status(scenario)).pop().unwrap();
    // A container that takes long to start is still being given up.
    let killing = scenario(SlowStart(4));
    let mut state = PodState::new(&killing.spec, BackoffPolicy::KUBELET);
    state.step(Event::Begin, Duration::ZERO);
    let exit = ContainerExit::exited(42);
    state.step(Event::Exited { container: ContainerIndex(0), attempt: Attempt(0), exit }, Duration::from_secs(3));
    assert_eq!(
        conditions(&pod_status(&killing.spec, &state, &facts())).pop().unwrap(),
        "AllContainersRestarting True RestartAllContainersStarted container exited with restart policy rule @12:00:03Z"
    );
    assert_eq!(restarting(scenario(Forever).until(2)), "AllContainersRestarting False @12:00:00Z");
    assert_eq!(restarting(scenario(Forever).until(5)), "AllContainersRestarting False @12:00:03Z");
    assert_eq!(restarting(scenario(Forever).stop_at(5)), "AllContainersRestarting False PodFailed @12:00:03Z");
    let without = status(pod(Never).app("app", [Exit(3, 42)]));
    assert_eq!(conditions(&without).len(), 5, "only pods with such a rule have it");
}

#[test]
fn a_container_that_ends_while_the_pod_stops_shows_that_it_ended() {
    let status = status(pod(Always).app("quick", [Forever]).app("slow", [SlowStop(9, 0)]).stop_at(1).until(5));
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(containers(&status), ["quick: Error 143", "slow: running, ready, started"]);
}

#[test]
fn exit_reasons_are_kubernetes_own() {
    let reasons = [
        ContainerExit::exited(0),
        ContainerExit::exited(3),
        ContainerExit::signalled(Signal::Term),
        ContainerExit::signalled(Signal::Kill),
        ContainerExit::trapped("wasm trap: unreachable"),
        ContainerExit::out_of_memory("memory limit of 16 MiB"),
    ]
    .map(|exit| (exit.code, exit.reason()));
    assert_eq!(reasons, [(0, "Completed"), (3, "Error"), (143, "Error"), (137, "Error"), (134, "Error"), (137, "OOMKilled")]);
}

#[test]
fn termination_messages_share_what_a_pod_may_say() {
    let lengths = |containers: usize| {
        let scenario = (0..containers).fold(pod(Never), |pod, number| pod.app(&format!("c{number}"), [Forever]));
        let mut state = PodState::new(&scenario.spec, BackoffPolicy::KUBELET);
        state.step(Event::Begin, Duration::ZERO);
        for index in 0..containers {
            let exit = ContainerExit::exited(1).with_message("é".repeat(5000));
            state.step(Event::Exited { container: ContainerIndex(index), attempt: Attempt(0), exit }, Duration::ZERO);
        }
        let status = pod_status(&scenario.spec, &state, &facts());
        let ended = status.container_statuses.unwrap().into_iter().map(|status| status.state.unwrap().terminated.unwrap());
        ended.map(|ended| ended.message.unwrap().len()).collect::<Vec<_>>()
    };
    assert_eq!(lengths(1), [4096], "as much as one container may say");
    assert_eq!(lengths(4), [3072; 4], "12 KiB in all");
    assert_eq!(lengths(5), [2456; 5], "never half a character");
}

#[test]
fn limits_and_the_quality_of_service_are_those_of_the_spec() {
    let mut scenario = pod(Always).app("app", [Forever]).with(|app| {
        app.cpu_limit_millicores = Some(250);
        app.memory_limit_bytes = Some(64 << 20);
    });
    scenario.spec.qos_class = QosClass::Guaranteed;
    let status = status(scenario.until(1));
    assert_eq!(status.qos_class.as_deref(), Some("Guaranteed"));
    let limits = status.container_statuses.unwrap().remove(0).resources.unwrap().limits.unwrap();
    let limits: Vec<_> = limits.into_iter().map(|(name, limit)| format!("{name} {}", limit.0)).collect();
    assert_eq!(limits, ["cpu 250m", "memory 67108864"]);
}
