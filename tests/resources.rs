//! Limits: CPU, memory, local storage; accounting, pausing, and what becomes of the neighbours of a container that misbehaves.

use crate::guests;
use crate::harness::pods::TestPod;
use crate::harness::sandbox::{Run, TestSandbox, live_instances};
use crate::harness::{Folder, example};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use wasmpod::container::ContainerLimits;
use wasmpod::log::OutputSink;
use wasmpod::pod::state::{ExitCause, Signal};

/// A pod of `count` containers that do `steps`.
fn pod(count: usize, steps: &[&str]) -> String {
    let containers: Vec<String> =
        (0..count).map(|index| format!("{{name: c{index}, image: \"file:./toolbox.wasm\", args: {steps:?}}}")).collect();
    let containers = containers.join(", ");
    format!("{{apiVersion: v1, kind: Pod, metadata: {{name: resources}}, spec: {{containers: [{containers}]}}}}")
}

fn toolbox() -> Folder {
    Folder::new().with("toolbox.wasm", guests::TOOLBOX)
}

async fn started(pod: &TestSandbox) -> Vec<Run> {
    let mut runs: Vec<Run> = (0..pod.images.len()).map(|index| pod.start(index)).collect();
    for run in &mut runs {
        run.started().await;
    }
    runs
}

/// The CPU time that a container used while `span` went by, as thousandths of it.
async fn millicores(runs: &[Run], span: Duration) -> Vec<f64> {
    let used = |run: &Run| run.container().usage().cpu_ns;
    let (before, start): (Vec<u64>, _) = (runs.iter().map(used).collect(), Instant::now());
    tokio::time::sleep(span).await;
    let elapsed = start.elapsed().as_nanos() as f64;
    runs.iter().zip(before).map(|(run, before)| (used(run) - before) as f64 / elapsed * 1000.0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn four_busy_containers_hold_their_cpu_limits() {
    const LIMITS: [u64; 4] = [100, 250, 500, 900];
    let pod = TestSandbox::new(toolbox(), &pod(4, &["spin"]), |spec| {
        for (container, limit) in spec.containers.iter_mut().zip(LIMITS) {
            container.cpu_limit_millicores = Some(limit);
        }
    })
    .await;
    let runs = started(&pod).await;
    // Whoever else uses the machine takes time that is missing here; nobody ever has more than the limit.
    let mut closest = [f64::INFINITY; 4];
    for _ in 0..20 {
        let used = millicores(&runs, Duration::from_secs(1)).await;
        for ((closest, used), limit) in closest.iter_mut().zip(&used).zip(LIMITS) {
            let off = (used - limit as f64) / limit as f64;
            assert!(off <= 0.05, "{used:?} against {LIMITS:?}");
            *closest = closest.min(off.abs());
        }
        if closest.iter().all(|off| *off <= 0.05) {
            break;
        }
    }
    assert!(closest.iter().all(|off| *off <= 0.05), "{closest:?} off at best");
    assert!(runs[0].container().usage().throttled_ns > 0);
    for run in runs {
        run.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_instances_of_a_container_share_its_cpu_limit() {
    let pod = TestSandbox::new(toolbox(), &pod(1, &["spin"]), |spec| spec.containers[0].cpu_limit_millicores = Some(200)).await;
    let runs = started(&pod).await;
    let mut execs: Vec<Run> = (0..4).map(|_| pod.exec(0, &["toolbox", "spin"])).collect();
    for exec in &mut execs {
        exec.started().await;
    }
    // The instantiations were on the account too.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let used = millicores(&runs, Duration::from_secs(1)).await;
    assert!(used[0] <= 210.0, "{used:?}");
    assert_eq!(runs[0].container().usage(), execs[0].container().usage());
    for run in runs {
        run.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cpu_time_is_that_of_the_threads_and_a_sleeping_container_uses_none() {
    let pod =
        TestSandbox::new(toolbox(), &pod(1, &["spin", "300", "then", "echo", "done", "then", "sleep", "100000000"]), |_| ()).await;
    let runs = started(&pod).await;
    runs[0].prints("done").await;
    let usage = runs[0].container().usage();
    // It watched the wall clock: however busy the machine is, it cannot have used more, and it used what it got.
    assert!(usage.cpu_ns > 10_000_000 && usage.cpu_ns < 1_000_000_000, "{usage:?}");
    let idle = millicores(&runs, Duration::from_millis(300)).await;
    assert!(idle[0] < 5.0, "{idle:?}");
    for run in runs {
        run.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_limits_hold_at_once() {
    let pod = TestSandbox::new(toolbox(), &pod(1, &["spin"]), |spec| spec.containers[0].cpu_limit_millicores = Some(1)).await;
    let runs = started(&pod).await;
    let container = runs[0].container();
    container.set_limits(ContainerLimits { memory_bytes: Some(64 << 20), cpu_millicores: Some(300) });
    assert_eq!(container.usage().memory_limit_bytes, 64 << 20);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let used = millicores(&runs, Duration::from_secs(1)).await;
    assert!(used[0] > 50.0 && used[0] <= 315.0, "{used:?}");
    let mut exec = pod.exec(0, &["toolbox", "grow", "100"]);
    assert_eq!(exec.exit().await.cause, ExitCause::OutOfMemory);
    for run in runs {
        run.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_container_stands_still_until_it_is_resumed() {
    let pod = TestSandbox::new(toolbox(), &pod(2, &["tick", "1"]), |spec| spec.containers[1].args = vec!["spin".into()]).await;
    let runs = started(&pod).await;
    runs[0].prints("...").await;
    for run in &runs {
        run.container().pause();
        assert!(run.container().is_paused());
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let still = |run: &Run| (run.printed().len(), run.container().usage().cpu_ns);
    let before: Vec<_> = runs.iter().map(still).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(runs.iter().map(still).collect::<Vec<_>>(), before);
    runs[0].container().resume();
    runs[0].prints(&".".repeat(before[0].0 + 3)).await;
    // One that is still paused can be killed, and so can one in a loop.
    for run in runs {
        run.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_past_its_memory_limit_is_killed_and_its_sibling_serves_on() {
    let example = |name: &str| std::fs::read(example("http").join(name)).unwrap();
    let folder = toolbox().with("grow.wat", guests::GROW_MEMORY).with("front.wasm", example("front.wasm"));
    let folder = folder.with("store.wasm", example("store.wasm"));
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: siblings}
spec:
  containers:
  - {name: front, image: file:./front.wasm, ports: [{containerPort: 8080}]}
  - {name: store, image: file:./store.wasm}
  - {name: asks, image: file:./toolbox.wasm, args: [sleep, "100000000"]}
  - {name: greedy, image: file:./grow.wat, resources: {limits: {memory: 32Mi}}}
"#;
    let pod = TestSandbox::new(folder, manifest, |_| ()).await;
    let mut siblings = [pod.start(0), pod.start(1), pod.start(2)];
    for sibling in &mut siblings {
        sibling.started().await;
    }
    for _ in 0..5 {
        let mut greedy = pod.start(3);
        let mut answers = 0;
        let exit = loop {
            // A request over the pod's network, while the greedy one grows and dies.
            let mut get = pod.exec(2, &["toolbox", "http", "8080", "/"]);
            tokio::select! {
                exit = greedy.exit() => break exit,
                got = get.exit() => assert_eq!((got.code, get.printed().as_str()), (0, "HTTP/1.1 200 OK\n")),
            }
            answers += 1;
            assert!(answers < 10_000);
        };
        assert_eq!((exit.code, exit.cause, exit.reason()), (137, ExitCause::OutOfMemory, "OOMKilled"), "{}", exit.message);
        let usage = greedy.container().usage();
        assert_eq!((usage.memory_bytes, usage.memory_limit_bytes), (0, 32 << 20));
        assert!(usage.memory_peak_bytes > 30 << 20 && usage.memory_peak_bytes <= 32 << 20);
    }
    let mut get = pod.exec(2, &["toolbox", "http", "8080", "/"]);
    assert_eq!((get.exit().await.code, get.printed().as_str()), (0, "HTTP/1.1 200 OK\n"));
    for sibling in siblings {
        sibling.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_fills_its_own_files_is_evicted() {
    let manifest = pod(1, &["fill", "/tmp-file", "64", "then", "sleep", "100000000"]);
    let folder = toolbox();
    let pod = TestPod::start_adjusted(folder, &manifest, |spec| {
        spec.containers[0].ephemeral_storage_limit_bytes = Some(16 << 20);
    })
    .await;
    let outcome = pod.pod.finished().await.unwrap();
    assert_eq!(outcome.reason, Some("Evicted"));
    assert_eq!(outcome.message.as_deref(), Some("Pod ephemeral local storage usage exceeds the total limit of containers 16Mi."));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_may_fill_the_machine_even_without_a_limit() {
    let manifest = pod(1, &["fill", "/big", "1100", "then", "sleep", "100000000"]);
    let pod = TestPod::start_adjusted(toolbox(), &manifest, |_| ()).await;
    let outcome = pod.pod.finished().await.unwrap();
    assert_eq!(outcome.message.as_deref(), Some("Container c0 exceeded its local ephemeral storage limit \"1Gi\"."));
}

/// A sink whose host code fails.
struct Panics;

impl OutputSink for Panics {
    fn try_write(&self, _bytes: &[u8]) -> usize {
        panic!("injected");
    }

    fn room(&self) -> usize {
        1 << 10
    }

    fn poll_ready(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_panics_costs_one_instance_and_nobody_else_anything() {
    let pod = TestSandbox::new(toolbox(), &pod(1, &["serve", "7000", "alive"]), |_| ()).await;
    let main = pod.start(0);
    main.prints("serving").await;
    for _ in 0..20 {
        let mut exec = pod.exec_with(0, &["toolbox", "echo", "x"], |exec| exec.stdout = Arc::new(Panics)).unwrap();
        let exit = exec.exit().await;
        assert_eq!((exit.code, exit.message.contains("bug of wasmpod")), (134, true), "{exit:?}");
    }
    let mut get = pod.exec(0, &["toolbox", "get", "7000"]);
    assert_eq!((get.exit().await.code, get.printed().as_str()), (0, "alive\n"));
    let usage = main.container().usage();
    main.kill().await;
    assert!(usage.memory_bytes < 16 << 20, "{usage:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn random_kills_leak_nothing() {
    let times = if std::env::var_os("WASMPOD_SLOW").is_some() { 10_000 } else { 500 };
    let folder = toolbox().with("busy.wat", guests::BUSY_LOOP);
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: victims}
spec:
  containers:
  - {name: ticks, image: file:./toolbox.wasm, args: [tick, "0"]}
  - {name: serves, image: file:./toolbox.wasm, args: [serve, "7000", x, ]}
  - {name: busy, image: file:./busy.wat}
  - {name: grows, image: file:./toolbox.wasm, args: [grow, "1000"]}
"#;
    let pod = TestSandbox::new(folder, manifest, |_| ()).await;
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut random = 88_172_645_463_325_252_u64;
    let mut groups = Vec::new();
    let before = descriptors();
    for round in 0..times {
        // xorshift: the same sequence in every run.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut run = pod.start(round % 4);
        let exec = (random.is_multiple_of(3)).then(|| pod.exec_with(round % 4, &["toolbox", "tick", "1"], |_| ()).ok()).flatten();
        tokio::time::sleep(Duration::from_micros(random % 3000)).await;
        match random % 3 {
            0 => run.release(),
            1 => run.container().signal(Signal::Kill),
            _ => run.container().signal(Signal::Term),
        }
        let exit = run.exit().await;
        assert!(matches!(exit.cause, ExitCause::Signalled(_) | ExitCause::OutOfMemory | ExitCause::Exited), "{exit:?}");
        if let Some(mut exec) = exec {
            exec.exit().await;
        }
        if round % 50 == 0 {
            groups.push(live_instances());
        }
    }
    // Other tests run in this process too; what leaks here would be hundreds.
    let leaked = live_instances();
    assert!(leaked < 100, "{leaked} instances live: {groups:?}");
    assert!(descriptors() < before + 500, "{} descriptors, {before} before", descriptors());
    let volumes = std::fs::read_dir(pod.folder.path())
        .unwrap()
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("wasmpod-pod-"));
    let left: Vec<_> = std::fs::read_dir(volumes.unwrap().path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["volumes"], "a run's own files stay behind");
}
