//! A: a guest that wants everything for itself gets its share, and an error.

use super::guest::attack;
use super::{is_slow, peak_memory, quiet_guest, times};
use crate::guests;
use crate::harness::pods::TestPod;
use crate::harness::sandbox::TestSandbox;
use crate::harness::{Finished, Folder, Program, wait_for};
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

/// A pod of one container that runs `guest.wat` once.
const ONE: &str = "{apiVersion: v1, kind: Pod, metadata: {name: one}, spec: {restartPolicy: Never, containers: \
                   [{name: guest, image: 'file:./guest.wat'}]}}";

/// Runs `guest` and expects an error or an end, never a panic of the host; says what was printed and how much memory it took, in KiB.
fn runs_or_is_refused(name: &str, guest: impl AsRef<[u8]>) -> (u64, Finished) {
    let (peak_kib, finished) = peak_memory(&Folder::new().with(name, guest), &["--timeout", "30s", name]);
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    assert!(finished.status >= 0, "killed by a signal: {}", finished.stderr);
    (peak_kib, finished)
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_busy_loops_leave_their_neighbour_its_turn() {
    let processors = std::thread::available_parallelism().unwrap().get();
    let mut busy = Vec::new();
    for _ in 0..4 * processors {
        let pod = TestPod::start(Folder::new().with("guest.wat", guests::says_ready_and_spins()), ONE).await;
        pod.prints(0, "ready").await;
        busy.push(pod);
    }
    // A neighbour that starts among them, works and ends: it gets its turns.
    for _ in 0..20 {
        let pod = TestPod::start(Folder::new().with("guest.wat", guests::floods(10, 1000)), ONE).await;
        assert_eq!(pod.pod.finished().await.unwrap().exit_code, 0);
    }
    for pod in busy {
        pod.pod.kill().await;
        assert_eq!(pod.pod.finished().await.unwrap().exit_code, 137);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_busy_loops_leave_a_server_answering() {
    let processors = std::thread::available_parallelism().unwrap().get();
    let server = "{apiVersion: v1, kind: Pod, metadata: {name: pod}, spec: {containers: [\
                  {name: serves, image: 'file:./toolbox.wasm', args: [serve, '7000', alive]}]}}";
    let server = TestSandbox::new(Folder::new().with("toolbox.wasm", guests::TOOLBOX), server, |_| ()).await;
    let serves = server.start(0);
    serves.prints("serving").await;
    let mut busy = Vec::new();
    for _ in 0..4 * processors {
        let pod = TestPod::start(Folder::new().with("guest.wat", guests::says_ready_and_spins()), ONE).await;
        pod.prints(0, "ready").await;
        busy.push(pod);
    }
    // Each question is an instance of its own, a connection and an answer: more than an echo.
    let mut took = Vec::new();
    for _ in 0..times(20, 500) {
        let asked = Instant::now();
        let mut get = server.exec(0, &["toolbox", "get", "7000"]);
        assert_eq!((get.exit().await.code, get.printed().as_str()), (0, "alive\n"));
        took.push(asked.elapsed());
    }
    took.sort();
    let p99 = took[took.len() * 99 / 100];
    let mut ended = Vec::new();
    for pod in busy {
        let asked = Instant::now();
        pod.pod.kill().await;
        pod.pod.finished().await.unwrap();
        ended.push(asked.elapsed());
    }
    eprintln!("p50 {:?}, p99 {p99:?}; killed within {:?}", took[took.len() / 2], ended.iter().max().unwrap());
    if is_slow() {
        assert!(p99 <= Duration::from_millis(50), "{p99:?}");
        assert!(ended.iter().all(|ended| *ended <= Duration::from_millis(100)), "{ended:?}");
    }
    serves.kill().await;
}

#[test]
fn a2_memory_up_to_the_limit_and_beyond_in_fifty_containers() {
    let mut manifest =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: greedy}\nspec:\n  restartPolicy: Never\n  containers:\n".to_owned();
    for at in 0..50 {
        let _ = writeln!(manifest, "  - {{name: c{at}, image: 'file:./grow.wat', resources: {{limits: {{memory: 4Mi}}}}}}");
    }
    let folder = Folder::new().with("pod.yaml", manifest).with("grow.wat", guests::GROW_MEMORY);
    folder.run(&["pod.yaml"]);
    let (peak_kib, finished) = peak_memory(&folder, &["pod.yaml", "-o", "json"]);
    assert_eq!(finished.status, 137, "{}", finished.stderr);
    assert_eq!(finished.stdout.matches("\"OOMKilled\"").count(), 50);
    assert!(peak_kib <= (50 * 4 + 64) << 10, "{peak_kib} KiB");
}

#[test]
fn a3_tables_and_memories_without_number() {
    let huge_table = "(module (table 2147483647 funcref) (memory (export \"memory\") 1) (func (export \"_start\")))";
    let growing_table = r#"(module (table $t 1 funcref) (memory (export "memory") 1)
        (func (export "_start") (local $i i32)
          (loop $again
            (if (i32.eq (table.grow $t (ref.null func) (i32.const 1000000)) (i32.const -1)) (then (return)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 10000))))
          (unreachable)))"#;
    let many = |what: &str| wat::parse_str(format!("(module {} (func (export \"_start\")))", what.repeat(10_000))).unwrap();
    let instances = format!(
        "(component (core module $m) {} (core module $r (func (export \"run\") (result i32) i32.const 0)) (core instance $r (instantiate $r)) \
         (func $run (result (result)) (canon lift (core func $r \"run\"))) (instance $i (export \"run\" (func $run))) \
         (export \"wasi:cli/run@0.2.0\" (instance $i)))",
        "(core instance (instantiate $m))".repeat(10_000)
    );
    let (quiet, _) = runs_or_is_refused("quiet.wat", quiet_guest());
    let check = |name: &str, guest: &[u8], works: bool| {
        let (peak, finished) = runs_or_is_refused(name, guest);
        assert_eq!(finished.status == 0, works, "{name}: {}", finished.stderr);
        assert!(peak <= quiet + (16 << 10), "{name}: {peak} KiB against {quiet} KiB");
    };
    check("table.wat", huge_table.as_bytes(), false);
    check("grow.wat", growing_table.as_bytes(), true);
    check("tables.wasm", &many("(table 1 funcref)"), false);
    check("memories.wasm", &many("(memory 1)"), false);
    check("instances.wasm", &wat::parse_str(instances).unwrap(), false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a4_recursion_without_end() {
    for _ in 0..times(50, 1000) {
        let pod = TestPod::start(Folder::new().with("guest.wat", guests::RECURSION), ONE).await;
        assert_eq!(pod.pod.finished().await.unwrap().exit_code, 134);
        let state = pod.pod.state();
        let ended = state.containers()[0].latest_termination().unwrap().clone();
        assert!(ended.exit.message.contains("stack"), "the message names the stack");
    }
}

#[test]
fn a4_recursion_through_the_host_in_fifty_containers() {
    // At each level a call of the host, which needs a stack too.
    let recursion = attack(
        1,
        "(func $deeper (call $say (i32.const 0) (i32.const 0)) (call $deeper)) (func (export \"_start\") (call $deeper))",
    );
    let count = times(50, 250);
    let mut manifest =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: deep}\nspec:\n  restartPolicy: Never\n  containers:\n".to_owned();
    for at in 0..count {
        let _ = writeln!(manifest, "  - {{name: c{at}, image: 'file:./guest.wat'}}");
    }
    let deep = Folder::new().with("pod.yaml", &manifest).with("guest.wat", recursion);
    let flat = Folder::new().with("pod.yaml", &manifest).with("guest.wat", guests::TRAP);
    for folder in [&deep, &flat] {
        folder.run(&["pod.yaml"]);
    }
    let (quiet, _) = peak_memory(&flat, &["pod.yaml"]);
    let (peak, finished) = peak_memory(&deep, &["pod.yaml", "-o", "json"]);
    assert_eq!((finished.status, finished.stdout.matches("call stack exhausted").count()), (134, count), "{}", finished.stderr);
    // Each of them may use its stack, of a mebibyte.
    assert!(peak <= quiet + ((count as u64 + 8) << 10), "{peak} KiB against {quiet} KiB");
}

#[test]
fn a5_modules_that_are_hard_to_compile() {
    let locals = format!("(module (memory (export \"memory\") 1) (func (export \"_start\") (local {})))", "i64 ".repeat(49_000));
    let segments = format!(
        "(module (memory (export \"memory\") 1) {} (func (export \"_start\")))",
        "(data (i32.const 0) \"x\")".repeat(32_000)
    );
    let table = format!(
        "(module (memory (export \"memory\") 1) (func (export \"_start\") (block $out (br_table {} (i32.const 7)))))",
        "$out ".repeat(times(100_000, 1_000_000))
    );
    let functions =
        format!("(module (memory (export \"memory\") 1) (func (export \"_start\")) {})", "(func)".repeat(times(50_000, 1_000_000)));
    let nested = format!(
        "(module (memory (export \"memory\") 1) (func (export \"_start\") {} {}))",
        "block ".repeat(times(20_000, 200_000)),
        "end ".repeat(times(20_000, 200_000))
    );
    for (name, guest) in
        [("locals.wat", locals), ("data.wat", segments), ("table.wat", table), ("functions.wat", functions), ("nested.wat", nested)]
    {
        // Compiled, or refused with a word: both are answers.
        let (_, finished) = runs_or_is_refused(name, guest);
        assert!(finished.status == 0 || finished.stderr.contains("error: "), "{name}: {} {}", finished.status, finished.stderr);
    }
}

#[test]
fn a7_a_hundred_thousand_connects_to_a_listener_that_never_accepts() {
    let body = format!(
        r#"(func (export "_start") (local $left i32)
             (call $must (call $sock_open (i32.const 1) (i32.const 2) (i32.const 128)))
             (call $must (call $sock_bind (i32.load (i32.const 128)) (i32.const 24) (i32.const 7777)))
             (call $must (call $sock_listen (i32.load (i32.const 128)) (i32.const 4096)))
             (local.set $left (i32.const {}))
             (loop $more
               (call $must (call $sock_open (i32.const 1) (i32.const 2) (i32.const 132)))
               (call $must (call $fd_set_flags (i32.load (i32.const 132)) (i32.const 4)))
               ;; Half open, refused or under way: whatever it is, it is left alone.
               (drop (call $sock_connect (i32.load (i32.const 132)) (i32.const 24) (i32.const 7777)))
               (call $must (call $fd_close (i32.load (i32.const 132))))
               (local.set $left (i32.sub (local.get $left) (i32.const 1)))
               (br_if $more (local.get $left))))"#,
        times(20_000, 100_000)
    );
    let folder = Folder::new().with("connects.wat", attack(1, &body)).with("quiet.wat", quiet_guest());
    folder.run(&["quiet.wat"]);
    folder.run(&["connects.wat", "--timeout", "1ms"]);
    let (quiet, _) = peak_memory(&folder, &["quiet.wat"]);
    let (peak, finished) = peak_memory(&folder, &["connects.wat"]);
    assert_eq!(finished.status, 0, "{}", finished.stderr);
    assert!(peak <= quiet + (8 << 10), "{peak} KiB against {quiet} KiB");
}

/// Opens sockets until it is refused, TCP and UDP by turns, says so, and waits for ever.
const OPENS_SOCKETS: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sock_open" (func $sock_open (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\40\00\00\00\06\00\00\00")
    (data (i32.const 64) "ready\n")
    (func (export "_start") (local $count i32)
      (loop $again
        (if (i32.eqz (call $sock_open (i32.const 1) (i32.add (i32.const 1) (i32.and (local.get $count) (i32.const 1))) (i32.const 16)))
          (then
            (local.set $count (i32.add (local.get $count) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $count) (i32.const 20000)))
            (unreachable))))
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (loop $spin (br $spin))))"#;

#[test]
fn a7_ten_thousand_sockets_cost_the_host_no_descriptor() {
    let folder = Folder::new().with("sockets.wat", OPENS_SOCKETS).with("quiet.wat", guests::says_ready_and_spins());
    let descriptors = |guest: &str| {
        let mut child = Program::spawn(&mut folder.wasmpod(&["run", guest]));
        let mut said = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
        assert_eq!(&said, b"ready\n");
        fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().count()
    };
    assert_eq!(descriptors("sockets.wat"), descriptors("quiet.wat"));
}

/// Opens `/file` again and again until it is refused, says so, and spins.
const OPENS_FILES: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
      (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\40\00\00\00\06\00\00\00")
    (data (i32.const 64) "ready\n")
    (data (i32.const 80) "file")
    (func (export "_start") (local $count i32)
      (loop $again
        (if (i32.eqz (call $path_open (i32.const 3) (i32.const 0) (i32.const 80) (i32.const 4) (i32.const 1)
                       (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 16)))
          (then
            (local.set $count (i32.add (local.get $count) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $count) (i32.const 100000)))
            (unreachable))))
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (loop $spin (br $spin))))"#;

#[test]
fn a9_files_are_opened_up_to_a_number_and_closed_at_the_end() {
    let folder = Folder::new().with("files.wat", OPENS_FILES);
    let mut child = Program::spawn(&mut folder.wasmpod(&["run", "files.wat"]));
    let mut said = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
    let open = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().count();
    assert!(open <= wasmpod::limits::DESCRIPTORS_PER_CONTAINER_MAX + 64, "{open} descriptors");
}

#[test]
fn a10_a_gibibyte_of_random_bytes_in_one_call() {
    let guest = r#"(module
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 12000)
        (func (export "_start") (drop (call $random (i32.const 0) (i32.const 0x2ee00000)))))"#;
    let folder = Folder::new().with("random.wat", guest).with("quiet.wat", quiet_guest());
    folder.run(&["random.wat"]);
    folder.run(&["quiet.wat"]);
    let (quiet, _) = peak_memory(&folder, &["quiet.wat"]);
    let (greedy, finished) = peak_memory(&folder, &["random.wat"]);
    assert_ne!(finished.status, 0, "a call for so much is refused");
    assert!(greedy <= quiet + (16 << 10), "{greedy} KiB against {quiet} KiB");
}

#[test]
fn a10_buffers_that_are_larger_than_the_memory() {
    let status = |body: &str| Folder::new().with("guest.wat", attack(2, body)).run(&["guest.wat"]).status;
    let writes = |fd: &str, length: &str| {
        status(&format!(
            "(data (i32.const 1024) \"file\") (func (export \"_start\") (call $must (call $write {fd} (i32.const 65536) {length})))"
        ))
    };
    assert_eq!(writes("(i32.const 1)", "(i32.const 0xffffffff)"), 21, "EFAULT");
    let file = writes("(call $open (i32.const 4) (i32.const 1))", "(i32.const 0xffffffff)");
    assert!(file == 21 || file == 134, "{file}: an error or a trap");
    // 1025 buffers, and as many as a number can say.
    for count in ["1025", "0xffffffff"] {
        let body = format!(
            "(func (export \"_start\") (call $must (call $fd_write (i32.const 1) (i32.const 0) (i32.const {count}) (i32.const 8))))"
        );
        assert_eq!(status(&body), 28, "EINVAL");
    }
}

#[test]
fn a10_a_call_for_more_than_is_copied_at_once_does_less() {
    // 16 MiB to and from a file in one call each: not ENOMEM, as any file reads or writes less than was asked.
    let body = r#"(data (i32.const 1024) "file")
        (func (export "_start") (local $fd i32)
          (local.set $fd (call $open (i32.const 4) (i32.const 1)))
          (call $must (call $write (local.get $fd) (i32.const 65536) (i32.const 0x1000000)))
          (if (i32.ne (i32.load (i32.const 8)) (i32.const 0x400000)) (then (call $proc_exit (i32.const 98))))
          ;; The buffer is the guest's again, as it was.
          (if (i32.ne (i32.load (i32.const 4)) (i32.const 0x1000000)) (then (call $proc_exit (i32.const 99))))
          (local.set $fd (call $open (i32.const 4) (i32.const 0)))
          (call $must (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
          (call $proc_exit (i32.shr_u (i32.load (i32.const 8)) (i32.const 20))))"#;
    assert_eq!(Folder::new().with("guest.wat", attack(300, body)).run(&["guest.wat"]).status, 4);
}

#[test]
fn a15_a_storm_of_crash_loops_leaves_the_processor_idle() {
    let count = times(50, 500);
    let pod = |at| {
        format!(
            "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: p{at}}}, spec: {{containers: [{{name: guest, image: 'file:./guest.wat'}}]}}}}\n"
        )
    };
    let folder = Folder::new().with("pods.yaml", (0..count).map(pod).collect::<String>()).with("guest.wat", guests::exits(1));
    let child = folder.start(&["pods.yaml", "--timeout", "30s", "-o", "json"]);
    // User and system time in ticks of 10 ms.
    let used = || -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    // All have crashed twice, and wait ten seconds, when a second has brought next to nothing.
    let idle = wait_for("an idle second", || {
        let before = used();
        std::thread::sleep(Duration::from_secs(1));
        Some(used() - before).filter(|ticks| *ticks <= 5)
    });
    eprintln!("{count} pods in a crash loop: {idle} % of a processor");
    crate::harness::interrupt(&child);
    let finished = crate::harness::finish(child);
    assert_eq!(finished.stdout.matches("\"restartCount\": 1").count(), count, "{}", finished.stderr);
}

#[test]
fn a15_a_crash_loop_waits_between_its_runs() {
    let manifest =
        "{apiVersion: v1, kind: Pod, metadata: {name: loop}, spec: {containers: [{name: guest, image: 'file:./guest.wat'}]}}";
    let folder = Folder::new().with("pod.yaml", manifest).with("guest.wat", guests::exits(1));
    let finished = folder.run(&["pod.yaml", "--timeout", "2s", "-o", "json"]);
    let object: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    // The first restart is immediate, the second waits ten seconds.
    assert_eq!(object["status"]["containerStatuses"][0]["restartCount"], 1, "{object:#}");
}

#[test]
fn a_program_leaves_nothing_behind_after_it_was_killed() {
    // Without a volume there would be nothing to leave behind.
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: pod}, spec: {volumes: [{name: data, emptyDir: {}}], containers: [\
               {name: guest, image: 'file:./guest.wat', volumeMounts: [{name: data, mountPath: /data}]}]}}";
    let folder = Folder::new().with("pod.yaml", pod).with("guest.wat", guests::says_ready_and_spins());
    let mut child = Program::spawn(&mut folder.wasmpod(&["run", "pod.yaml"]));
    let mut said = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let leftovers = || {
        let entries = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.filter(|name| name.starts_with("wasmpod-")).count()
    };
    assert_eq!(leftovers(), 1);
    // The next one sweeps it away.
    Folder::run(&folder, &["pod.yaml", "--timeout", "1ms"]);
    wait_for("an empty folder", || (leftovers() == 0).then_some(()));
}
