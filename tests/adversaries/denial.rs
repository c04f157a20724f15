//! A: a guest that wants everything for itself gets its share, and an error.

use super::times;
use crate::guests;
use crate::harness::pods::TestPod;
use crate::harness::{Finished, Folder, Program, finish, wait_for};
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

/// A pod of one container that runs `guest.wat` once.
const ONE: &str = "{apiVersion: v1, kind: Pod, metadata: {name: one}, spec: {restartPolicy: Never, containers: \
                   [{name: guest, image: 'file:./guest.wat'}]}}";

/// What a program's memory came to at most, in KiB, and how it ended. Its output is thrown away.
fn peak_memory(folder: &Folder, args: &[&str]) -> (u64, Finished) {
    let child = folder.start(args);
    let status_file = format!("/proc/{}/status", child.id());
    let watched = std::thread::spawn(move || {
        let mut peak = 0;
        while let Ok(status) = fs::read_to_string(&status_file) {
            let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) else { break };
            peak = peak.max(line.trim().trim_end_matches(" kB").parse().unwrap());
            std::thread::sleep(Duration::from_millis(2));
        }
        peak
    });
    let finished = finish(child);
    (watched.join().unwrap(), finished)
}

/// Runs `guest` and expects an error or an end, never a panic of the host; says what was printed.
fn runs_or_is_refused(name: &str, guest: impl AsRef<[u8]>) -> Finished {
    let finished = Folder::new().with(name, guest).run(&["--timeout", "30s", name]);
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    assert!(finished.status >= 0, "killed by a signal: {}", finished.stderr);
    finished
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_busy_loops_leave_their_neighbour_its_turn() {
    let mut busy = Vec::new();
    for _ in 0..8 {
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
    let many = |what: &str| format!("(module {} (func (export \"_start\")))", what.repeat(10_000));
    let refused = runs_or_is_refused("table.wat", huge_table);
    assert_ne!(refused.status, 0, "{}", refused.stdout);
    assert_eq!(runs_or_is_refused("grow.wat", growing_table).status, 0);
    for (name, guest) in [("tables.wat", many("(table 1 funcref)")), ("memories.wat", many("(memory 1)"))] {
        assert_ne!(runs_or_is_refused(name, guest).status, 0, "{name}");
    }
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
        let finished = runs_or_is_refused(name, guest);
        assert!(finished.status == 0 || finished.stderr.contains("error: "), "{name}: {} {}", finished.status, finished.stderr);
    }
}

/// Opens sockets until it is refused, says so, and waits for ever.
const OPENS_SOCKETS: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sock_open" (func $sock_open (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\40\00\00\00\06\00\00\00")
    (data (i32.const 64) "ready\n")
    (func (export "_start") (local $count i32)
      (loop $again
        (if (i32.eqz (call $sock_open (i32.const 1) (i32.const 2) (i32.const 16)))
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
    let folder = Folder::new().with("random.wat", guest).with("quiet.wat", guests::exits(0));
    folder.run(&["random.wat"]);
    folder.run(&["quiet.wat"]);
    let (quiet, _) = peak_memory(&folder, &["quiet.wat"]);
    let (greedy, finished) = peak_memory(&folder, &["random.wat"]);
    assert_ne!(finished.status, 0, "a call for so much is refused");
    assert!(greedy <= quiet + (16 << 10), "{greedy} KiB against {quiet} KiB");
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
