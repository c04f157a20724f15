//! What `ctr` users see: exit statuses, streams, mounts, signals, exec, pause, metrics, events.

use crate::events::Events;
use crate::harness::{Containerd, can_run, eventually, repository};
use crate::image::Image;

/// Copies standard input to standard output.
pub(crate) const CAT: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (local $at i32)
    (local $left i32)
    (loop $again
      (i32.store (i32.const 0) (i32.const 64))
      (i32.store (i32.const 4) (i32.const 1024))
      (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then (return)))
      (local.set $at (i32.const 64))
      (local.set $left (i32.load (i32.const 8)))
      (if (i32.eqz (local.get $left)) (then (return)))
      (loop $rest
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $left))
        (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then (return)))
        (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
        (local.set $left (i32.sub (local.get $left) (i32.load (i32.const 8))))
        (br_if $rest (local.get $left)))
      (br $again))))"#;

const GUESTS: &str = "localhost/guests:1";

#[test]
fn a_program_runs_with_its_arguments_variables_and_status() {
    if !can_run() {
        return;
    }
    let containerd = Containerd::start();
    containerd.import_guests(&["args-env", "trap", "grow-memory"]);
    let said = containerd.run(&["--env", "GREETING=hello", GUESTS, "a", "/args-env.wat", "one", "two"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.starts_with("/args-env.wat\none\ntwo\n") && said.stdout.contains("\nGREETING=hello\n"), "{said:?}");
    let said = containerd.run(&[GUESTS, "b", "/trap.wat"]);
    assert!(said.code == 134 && said.stderr.contains("wasm backtrace"), "{said:?}");
    assert_eq!(containerd.run(&["--memory-limit", "2000000", GUESTS, "c", "/grow-memory.wat"]).code, 137);
}

#[test]
fn a_real_program_of_an_ordinary_image() {
    if !can_run() {
        return;
    }
    let containerd = Containerd::start();
    let hello = repository("examples/hello/hello.wasm");
    containerd.import("default", Image::of_files("localhost/hello:1", "/hello.wasm", &[("hello.wasm", hello)]));
    assert!(containerd.run(&["localhost/hello:1", "a"]).ok().starts_with("Hello from WebAssembly!\n"));
}

#[test]
fn what_cannot_run_is_refused_with_its_reason() {
    if !can_run() {
        return;
    }
    let containerd = Containerd::start();
    let files = [("bin", std::fs::read("/bin/true").unwrap()), ("script", b"#!/bin/sh\n".to_vec())];
    containerd.import("default", Image::of_files("localhost/linux:1", "/bin", &files));
    let said = containerd.run(&["localhost/linux:1", "a"]);
    assert!(said.code == 1 && said.stderr.contains("/bin: ") && said.stderr.contains("it is a native program"), "{said:?}");
    let said = containerd.run(&["localhost/linux:1", "b", "/missing"]);
    assert!(said.code == 1 && said.stderr.contains("there is no file \"/missing\" in the image"), "{said:?}");
    assert_eq!(containerd.shims().len(), 0, "a container that was not made leaves no server");
}

#[test]
fn standard_input_comes_and_ends() {
    if !can_run() {
        return;
    }
    let containerd = Containerd::start();
    let files = [("cat.wat", CAT.as_bytes().to_vec())];
    containerd.import("default", Image::of_files("localhost/cat:1", "/cat.wat", &files));
    let text = "a line\n".repeat(10_000);
    let args = ["run", "--rm", "--runtime", crate::harness::RUNTIME, "localhost/cat:1", "a"];
    assert!(containerd.ctr_with_input(&args, &text).ok() == text);
}

#[test]
fn mounts_are_seen_and_read_only_ones_cannot_be_changed() {
    if !can_run() {
        return;
    }
    let containerd = Containerd::start();
    let files = ["prepare", "app"].map(|name| (name, repository(&format!("examples/init-volume/{name}.wasm"))));
    containerd.import("default", Image::of_files("localhost/volume:1", "/prepare", &files));
    let data = tempfile::tempdir().unwrap();
    let mount = |to: &str, access: &str| format!("type=bind,src={},dst={to},options=rbind:{access}", data.path().display());
    let said = containerd.run(&["--mount", &mount("/work", "rw"), "localhost/volume:1", "a"]);
    assert_eq!(said.ok(), "the volume is ready\n");
    assert_eq!(std::fs::read_to_string(data.path().join("guests/ada.txt")).unwrap(), "ada likes tea\n");
    let said = containerd.run(&["--mount", &mount("/data", "ro"), "localhost/volume:1", "b", "/app"]);
    assert!(said.stdout.contains("grace likes tea") && said.stdout.ends_with("the volume is read-only\n"), "{said:?}");
    let said = containerd.run(&["--mount", &mount("/data", "rw"), "localhost/volume:1", "c", "/app"]);
    assert!(said.stdout.ends_with("the volume can be written to\n"), "{said:?}");
}

#[test]
fn signals_end_a_task_with_their_status() {
    if !can_run() {
        return;
    }
    let containerd = Containerd::start();
    containerd.import_guests(&["busy-loop", "block-in-sleep"]);
    for (id, guest, signal, code) in [
        ("a", "/busy-loop.wat", "SIGKILL", 137),
        ("b", "/busy-loop.wat", "SIGTERM", 143),
        ("c", "/block-in-sleep.wat", "SIGINT", 130),
        ("d", "/block-in-sleep.wat", "SIGKILL", 137),
    ] {
        containerd.run_detached(&[GUESTS, id, guest]);
        containerd.ctr(&["task", "kill", "-s", "SIGWINCH", id]).ok();
        assert_eq!(containerd.status(id).as_deref(), Some("RUNNING"));
        containerd.ctr(&["task", "kill", "-s", signal, id]).ok();
        eventually("the task stops", || containerd.status(id).as_deref() == Some("STOPPED"));
        let again = containerd.ctr(&["task", "kill", "-s", signal, id]);
        assert!(again.code != 0 && again.stderr.contains("the process has ended"), "{again:?}");
        let deleted = containerd.ctr(&["task", "delete", id]);
        assert!(deleted.code == code || deleted.stderr.contains(&format!("non-zero exit code {code}")), "{id}: {deleted:?}");
        containerd.ctr(&["container", "rm", id]).ok();
    }
}

#[test]
fn a_container_is_entered_paused_and_measured() {
    if !can_run() {
        return;
    }
    let containerd = Containerd::start();
    containerd.import_guests(&["busy-loop", "args-env", "trap"]);
    containerd.run_detached(&["--env", "WHO=me", GUESTS, "a"]);
    let said = containerd.ctr(&["task", "exec", "--exec-id", "x", "a", "/args-env.wat", "inside"]);
    assert!(said.code == 0 && said.stdout.contains("inside") && said.stdout.contains("WHO=me"), "{said:?}");
    assert_eq!(containerd.ctr(&["task", "exec", "--exec-id", "y", "a", "/trap.wat"]).code, 134);
    let cpu = || {
        let metrics = containerd.ctr(&["task", "metrics", "a"]).ok();
        let line = metrics.lines().find(|line| line.starts_with("cpuacct.usage ") || line.starts_with("cpu.usage_usec"));
        line.unwrap_or_else(|| panic!("{metrics}")).split_whitespace().last().unwrap().parse::<u64>().unwrap()
    };
    let before = cpu();
    eventually("the busy loop uses the processor", || cpu() > before);
    containerd.ctr(&["task", "pause", "a"]).ok();
    assert_eq!(containerd.status("a").as_deref(), Some("PAUSED"));
    eventually("the paused container uses no processor", || {
        let used = cpu();
        std::thread::sleep(std::time::Duration::from_millis(100));
        cpu() == used
    });
    containerd.ctr(&["task", "resume", "a"]).ok();
    let resumed = cpu();
    eventually("the busy loop goes on", || cpu() > resumed);
    containerd.ctr(&["task", "pause", "a"]).ok();
    assert_eq!(containerd.finish("a"), 137, "killed while it was paused");
}

#[test]
fn events_tell_of_all_that_happens() {
    if !can_run() {
        return;
    }
    let containerd = Containerd::start();
    containerd.import_guests(&["busy-loop", "args-env", "grow-memory"]);
    let events = Events::listen(&containerd);
    containerd.run_detached(&[GUESTS, "a"]);
    containerd.ctr(&["task", "exec", "--exec-id", "x", "a", "/args-env.wat"]).ok();
    containerd.ctr(&["task", "pause", "a"]).ok();
    containerd.ctr(&["task", "resume", "a"]).ok();
    containerd.finish("a");
    containerd.run(&["--memory-limit", "2000000", GUESTS, "b", "/grow-memory.wat"]);
    // Events come in order: the deletion of the last container is the last of its task.
    events.until("/tasks/delete", 2);
    let text = events.heard();
    let topics: Vec<&str> =
        text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with("/tasks/"))).collect();
    let expected = "/tasks/create /tasks/start /tasks/exec-added /tasks/exec-started /tasks/exit /tasks/paused \
                    /tasks/resumed /tasks/exit /tasks/delete /tasks/create /tasks/start /tasks/oom /tasks/exit /tasks/delete";
    assert_eq!(topics.join(" "), expected, "{text}");
}
