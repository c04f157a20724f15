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

/// The CPU time that containers used while `span` went by, as thousandths of it.
async fn millicores(runs: &[Run], span: Duration) -> Vec<f64> {
    let now = || -> Vec<u64> { runs.iter().map(|run| run.container().usage().cpu_ns).collect() };
    let (before, start) = (now(), Instant::now());
    tokio::time::sleep(span).await;
    let (after, elapsed) = (now(), start.elapsed().as_nanos() as f64);
    before.iter().zip(&after).map(|(before, after)| (after - before) as f64 / elapsed * 1000.0).collect()
}

/// Waits for a second in which the first container used no more than `limit` millicores; says how much it was.
async fn holds(runs: &[Run], limit: f64) -> f64 {
    let mut seen = Vec::new();
    for _ in 0..10 {
        let used = millicores(runs, Duration::from_secs(1)).await[0];
        if used <= limit * 1.05 {
            return used;
        }
        seen.push(used);
    }
    panic!("{seen:?} against {limit}m");
}

/// The time that the machine's processors have had nothing to do since it started, all together.
fn idle() -> Duration {
    let text = std::fs::read_to_string("/proc/stat").unwrap();
    let ticks: Vec<u64> = text.lines().next().unwrap().split_whitespace().skip(1).map(|ticks| ticks.parse().unwrap()).collect();
    // Idle, and idle while something waits for a disk.
    Duration::from_secs(ticks[3] + ticks[4]) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap()
}

/// The limits of the promise, in millicores.
const LIMITS: [u64; 4] = [100, 250, 500, 900];

/// One second of the four containers.
struct Second {
    /// What each of them used, in millicores.
    used: Vec<f64>,
    /// What everybody else used of the machine.
    others: f64,
}

impl Second {
    async fn of(runs: &[Run]) -> Self {
        let (idle_before, start) = (idle(), Instant::now());
        let used = millicores(runs, Duration::from_secs(1)).await;
        let idle = (idle() - idle_before).as_secs_f64() / start.elapsed().as_secs_f64();
        let others = (processors() - idle) * 1000.0 - used.iter().sum::<f64>();
        eprintln!("{LIMITS:?}: {used:.0?}, others {others:.0}");
        Self { used, others }
    }

    /// Whether the others left what the four may have, and a little: then none of them can have been starved but by wasmpod.
    fn had_room(&self) -> bool {
        let wanted: u64 = LIMITS.iter().sum();
        self.others < processors() * 1000.0 - wanted as f64 - 50.0
    }

    /// How far each was from its limit, as a part of it.
    fn off(&self) -> impl Iterator<Item = f64> + '_ {
        self.used.iter().zip(LIMITS).map(|(used, limit)| (used / limit as f64 - 1.0).abs())
    }
}

fn processors() -> f64 {
    std::thread::available_parallelism().unwrap().get() as f64
}

/// What a busy neighbour on the machine cannot change is asserted in any case; that each container holds its limit, in the seconds in
/// which the machine had the room (`cpu` has the exact proof, in virtual time).
#[tokio::test(flavor = "multi_thread")]
async fn four_busy_containers_hold_their_cpu_limits() {
    let pod = TestSandbox::new(toolbox(), &pod(4, &["spin"]), |spec| {
        for (container, limit) in spec.containers.iter_mut().zip(LIMITS) {
            container.cpu_limit_millicores = Some(limit);
        }
    })
    .await;
    let start = Instant::now();
    let runs = started(&pod).await;
    let (mut closest, mut with_room) = ([f64::INFINITY; 4], 0);
    // The timers of a second with room may still be late: the best of several counts.
    for _ in 0..15 {
        let second = Second::of(&runs).await;
        if !second.had_room() {
            continue;
        }
        with_room += 1;
        closest.iter_mut().zip(second.off()).for_each(|(closest, off)| *closest = closest.min(off));
        if closest.iter().all(|off| *off <= 0.05) {
            break;
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    if with_room >= 3 {
        assert!(closest.iter().all(|off| *off <= 0.05), "{closest:?} off at best, of {with_room} seconds with room");
    }
    for (run, limit) in runs.iter().zip(LIMITS) {
        let (usage, rate) = (run.container().usage(), limit as f64 / 1000.0);
        let (used, throttled) = (usage.cpu_ns as f64 / 1e9, usage.throttled_ns as f64 / 1e9);
        // Since its start it had no more than its rate, what it may save up, and a turn.
        assert!(used <= elapsed * rate * 1.05 + 0.05, "{used} s of {} s at {limit}m", elapsed * rate);
        // And it was held back for what it used and no longer: what is missing then was never its limit's doing.
        let owed = used * (1.0 / rate - 1.0);
        assert!(throttled <= owed * 1.05 + 0.05, "held back {throttled} s for {owed} s at {limit}m");
        // One that the machine starved was never over its limit; whoever reached it was stopped there by nothing else.
        assert!(throttled > 0.0 || used < elapsed * rate * 0.95, "never held back with {used} s at {limit}m");
    }
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
    holds(&runs, 200.0).await;
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
    let used = holds(&runs, 300.0).await;
    assert!(used > 20.0, "{used}: as slow as before");
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
                exit = greedy.end() => break exit.unwrap(),
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
async fn the_containers_of_a_pod_share_the_memory_that_it_has() {
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: shares}
spec:
  restartPolicy: Never
  resources: {limits: {memory: 64Mi}}
  initContainers:
  - name: has
    image: file:./toolbox.wasm
    args: [grow, "32", then, serve, "7000", still here]
    restartPolicy: Always
    startupProbe: {exec: {command: [toolbox, get, "7000"]}, periodSeconds: 1}
  containers:
  - {name: wants, image: file:./toolbox.wasm, args: [grow, "40"]}
"#;
    let pod = TestPod::start(toolbox(), manifest).await;
    assert_eq!(pod.pod.finished().await.unwrap().exit_code, 137);
    let state = pod.pod.state();
    let exit = &state.containers()[1].latest_termination().unwrap().exit;
    assert_eq!((exit.reason(), exit.message.contains("limit of 67108864 bytes")), ("OOMKilled", true), "{exit:?}");
    assert_eq!(state.containers()[0].restart_count(), 0, "only the one that asked for too much is ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_containers_of_a_pod_share_the_processor_that_it_has() {
    let pod = TestSandbox::new(toolbox(), &pod(3, &["spin"]), |spec| spec.cpu_limit_millicores = Some(300)).await;
    let runs = started(&pod).await;
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used: u64 = runs.iter().map(|run| run.container().usage().cpu_ns).sum();
    let (used, earned) = (used as f64 / 1e9, start.elapsed().as_secs_f64() * 0.3);
    // Three turns at once can be too much; what was used before the clock started counts too.
    assert!(used <= earned * 1.05 + 0.1, "{used} s of {earned} s");
    for run in runs {
        run.kill().await;
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
async fn a_read_only_root_file_system_leaves_the_volumes_and_the_last_words() {
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: careful}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: file:./toolbox.wasm
    args: [write, /data/file, ok, then, write, /dev/termination-log, said, then, write, /file, no]
    securityContext: {readOnlyRootFilesystem: true}
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, emptyDir: {}}]
"#;
    let pod = TestPod::start(toolbox(), manifest).await;
    assert_eq!(pod.pod.finished().await.unwrap().exit_code, 1, "{}", pod.printed(0));
    let state = pod.pod.state();
    assert_eq!(state.containers()[0].latest_termination().unwrap().exit.message, "said");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_may_fill_the_machine_even_without_a_limit() {
    let manifest = pod(1, &["fill", "/big", "1100", "then", "sleep", "100000000"]);
    let pod = TestPod::start_adjusted(toolbox(), &manifest, |_| ()).await;
    let outcome = pod.pod.finished().await.unwrap();
    assert_eq!(outcome.message.as_deref(), Some("Container c0 exceeded its local ephemeral storage limit \"1Gi\"."));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_pipe_of_the_machine_blocks_only_the_one_who_opens_it() {
    let folder = toolbox().with("host/file", "text");
    let pipe = folder.path().join("host/pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let manifest = pod(1, &["sleep", "100000000"]).replace("]}}", "], volumes: [{name: host, hostPath: {path: HOST}}]}}");
    let manifest = manifest.replace("]}]", "], volumeMounts: [{name: host, mountPath: /host}]}]");
    let manifest = manifest.replace("HOST", folder.path().join("host").to_str().unwrap());
    let pod = TestSandbox::new(folder, &manifest, |_| ()).await;
    let mut main = pod.start(0);
    main.started().await;
    // More than there are threads for guests.
    let mut stuck: Vec<Run> = (0..16).map(|_| pod.exec(0, &["toolbox", "echo", "opening", "then", "cat", "/host/pipe"])).collect();
    for exec in &mut stuck {
        exec.prints("opening").await;
    }
    let mut exec = pod.exec(0, &["toolbox", "cat", "/host/file"]);
    assert_eq!((exec.exit().await.code, exec.printed().as_str()), (0, "text"));
    for exec in stuck {
        exec.kill().await;
    }
    main.kill().await;
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
    let made = std::fs::read_dir(pod.folder.path()).unwrap().flatten();
    let made = made.filter(|entry| entry.file_name().to_string_lossy().starts_with("wasmpod-pod-"));
    let left: Vec<_> =
        made.flat_map(|entry| std::fs::read_dir(entry.path()).unwrap().flatten()).map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "a run's own files stay behind: {left:?}");
}
