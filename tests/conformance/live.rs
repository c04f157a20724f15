//! The most important cases with WebAssembly in a whole pod: its network, its second instances, its signals.

use crate::guests;
use crate::harness::pods::TestPod;
use crate::harness::{Folder, example};
use std::time::Duration;
use wasmpod::pod::spec::{ContainerSpec, Hook, HttpGet, Probe, ProbeAction};
use wasmpod::pod::state::{ContainerIndex, Phase, PodState};

const APP: ContainerIndex = ContainerIndex(0);

/// A pod of one container, which is `app.wat` or `app.wasm` of the folder.
async fn pod(folder: Folder, image: &str, change: impl FnOnce(&mut ContainerSpec)) -> TestPod {
    let manifest = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: live}}, spec: {{terminationGracePeriodSeconds: 5, containers: [\
         {{name: app, image: 'file:./{image}', ports: [{{containerPort: 7001}}]}}]}}}}"
    );
    TestPod::start_adjusted(folder, &manifest, |spec| change(&mut spec.containers[0])).await
}

/// Asked every 20 ms; one answer decides.
fn quick(action: ProbeAction) -> Probe {
    Probe {
        action,
        initial_delay: Duration::ZERO,
        timeout: Duration::from_secs(5),
        period: Duration::from_millis(20),
        success_threshold: 1,
        failure_threshold: 1,
        termination_grace_period: None,
    }
}

fn get(port: u16, path: &str) -> HttpGet {
    HttpGet { tls: false, host: None, port, path: path.to_owned(), headers: Vec::new() }
}

fn exec(command: &[&str]) -> ProbeAction {
    ProbeAction::Exec { command: command.iter().map(|argument| (*argument).to_owned()).collect() }
}

/// Main instance: waits for ever. With one argument it ends well, with two it says "ill" and ends with 3.
fn waits() -> Folder {
    Folder::new().with("app.wat", guests::waits_or_answers())
}

/// A `wasi:http` server.
fn server() -> Folder {
    Folder::new().with("app.wasm", std::fs::read(example("http").join("front.wasm")).unwrap())
}

fn is_ready(state: &PodState) -> bool {
    state.container(APP).unwrap().is_ready()
}

fn restarts(state: &PodState) -> u32 {
    state.container(APP).unwrap().restart_count()
}

/// The messages of a pod's events.
fn messages(pod: &TestPod) -> Vec<String> {
    pod.pod.events().into_iter().filter_map(|event| event.message).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_readiness_probe_finds_the_server_in_the_pod() {
    let pod = pod(server(), "app.wasm", |app| app.readiness_probe = Some(quick(ProbeAction::HttpGet(get(7001, "/"))))).await;
    assert!(pod.pod.wait_until(is_ready).await, "{:?}", messages(&pod));
    pod.pod.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_liveness_probe_restarts_a_container_that_does_not_listen() {
    let pod = pod(waits(), "app.wat", |app| app.liveness_probe = Some(quick(ProbeAction::HttpGet(get(80, "/health"))))).await;
    assert!(pod.pod.wait_until(|state| restarts(state) > 0).await);
    let messages = messages(&pod);
    let refused = |message: &String| {
        message.starts_with("Liveness probe failed: Get \"http://10.88.") && message.ends_with(":80: connect: connection refused")
    };
    assert!(messages.iter().any(refused), "{messages:#?}");
    assert!(messages.contains(&"Container app failed liveness probe, will be restarted".to_owned()), "{messages:#?}");
    pod.pod.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_probe_needs_a_listener_on_the_pods_address() {
    let tcp = |port| Some(quick(ProbeAction::TcpSocket { host: None, port }));
    let open = pod(server(), "app.wasm", |app| app.readiness_probe = tcp(7001)).await;
    assert!(open.pod.wait_until(is_ready).await, "{:?}", messages(&open));
    open.pod.kill().await;
    // This one listens on 127.0.0.1, which a kubelet cannot reach.
    let folder = Folder::new().with("app.wat", guests::says_ready_then_waits());
    let shut = pod(folder, "app.wat", |app| app.liveness_probe = tcp(7100)).await;
    assert!(shut.pod.wait_until(|state| restarts(state) > 0).await);
    shut.pod.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_probe_is_a_second_instance_of_the_container() {
    let well = pod(waits(), "app.wat", |app| app.readiness_probe = Some(quick(exec(&["app", "check"])))).await;
    assert!(well.pod.wait_until(is_ready).await, "{:?}", messages(&well));
    well.pod.kill().await;
    let ill = pod(waits(), "app.wat", |app| app.liveness_probe = Some(quick(exec(&["app", "check", "more"])))).await;
    assert!(ill.pod.wait_until(|state| restarts(state) > 0).await);
    assert!(messages(&ill).contains(&"Liveness probe failed: ill\n".to_owned()), "{:?}", messages(&ill));
    ill.pod.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_probe_that_hangs_is_killed_at_its_timeout() {
    let hanging = Probe { timeout: Duration::from_millis(50), ..quick(exec(&["app"])) };
    let pod = pod(waits(), "app.wat", |app| app.liveness_probe = Some(hanging)).await;
    assert!(pod.pod.wait_until(|state| restarts(state) > 0).await);
    let expected = "Liveness probe failed: command timed out: \"app\" timed out after 50ms".to_owned();
    assert!(messages(&pod).contains(&expected), "{:?}", messages(&pod));
    pod.pod.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_start_hook_that_fails_restarts_the_container() {
    let command = ["app", "check", "more"].map(str::to_owned).to_vec();
    let pod = pod(waits(), "app.wat", |app| app.post_start = Some(Hook::Exec { command })).await;
    assert!(pod.pod.wait_until(|state| restarts(state) > 0).await);
    assert!(messages(&pod).contains(&"PostStartHook failed".to_owned()), "{:?}", messages(&pod));
    pod.pod.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pre_stop_hook_asks_the_server_before_it_stops() {
    let pod = pod(server(), "app.wasm", |app| {
        app.readiness_probe = Some(quick(ProbeAction::HttpGet(get(7001, "/"))));
        app.pre_stop = Some(Hook::HttpGet(get(7001, "/")));
    });
    let pod = pod.await;
    assert!(pod.pod.wait_until(is_ready).await);
    pod.pod.stop(None).await;
    assert!(pod.pod.finished().await.unwrap().succeeded, "a server stops well");
    assert!(!messages(&pod).contains(&"PreStopHook failed".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pre_stop_hook_that_reaches_nobody_is_told_and_the_pod_ends() {
    let pod = pod(waits(), "app.wat", |app| app.pre_stop = Some(Hook::HttpGet(get(80, "/")))).await;
    assert!(pod.pod.wait_until(|state| state.container(APP).unwrap().is_running()).await);
    pod.pod.stop(None).await;
    pod.pod.finished().await.unwrap();
    assert!(messages(&pod).contains(&"PreStopHook failed".to_owned()), "{:?}", messages(&pod));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_container_ends_before_the_app_starts_and_the_pod_has_the_apps_status() {
    let manifest = "{apiVersion: v1, kind: Pod, metadata: {name: live}, spec: {restartPolicy: Never, initContainers: [\
                    {name: first, image: 'file:./zero.wat'}], containers: [{name: app, image: 'file:./three.wat'}]}}";
    let folder = Folder::new().with("zero.wat", guests::exits(0)).with("three.wat", guests::exits(3));
    let pod = TestPod::start(folder, manifest).await;
    assert_eq!(pod.pod.finished().await.unwrap().exit_code, 3);
    assert_eq!(pod.pod.state().phase(), Phase::Failed);
    let events = pod.pod.events();
    let paths: Vec<_> = events.iter().filter_map(|event| event.involved_object.field_path.as_deref()).collect();
    assert_eq!(paths, ["spec.initContainers{first}", "spec.initContainers{first}", "spec.containers{app}", "spec.containers{app}"]);
}
