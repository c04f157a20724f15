//! `wasmpod run` as its users meet it.

use crate::guests;
use crate::harness::{Folder, Program, example, finish, interrupt, wait_for};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

/// A pod with these containers, each given as `name: image` with further fields.
fn pod(restart_policy: &str, containers: &[(&str, &str, &str)]) -> String {
    let containers = containers.iter().map(|(name, image, more)| format!("  - {{name: {name}, image: 'file:./{image}'{more}}}\n"));
    let containers: String = containers.collect();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: test}}\nspec:\n  restartPolicy: {restart_policy}\n  containers:\n{containers}"
    )
}

#[test]
fn the_help_says_what_can_be_typed() {
    let help = finish(Program::spawn(
        Folder::new().wasmpod(&["run", "--help"]).env_remove("WASMPOD_CACHE_DIR").env_remove("WASMPOD_ROOT").env("COLUMNS", "100"),
    ));
    insta::assert_snapshot!(help.stdout);
}

#[test]
fn a_single_file_runs_with_its_arguments_streams_and_exit_status() {
    let folder =
        Folder::new().with("out.wat", guests::writes(1, "to stdout\n", 0)).with("err.wat", guests::writes(2, "to stderr\n", 7));
    let out = folder.run(&["out.wat"]);
    assert_eq!((out.status, out.stdout.as_str()), (0, "to stdout\n"), "{}", out.stderr);
    let err = folder.run(&["err.wat"]);
    assert_eq!((err.status, err.stdout.as_str()), (7, ""));
    assert!(err.stderr.contains("to stderr\n"), "{}", err.stderr);
}

#[test]
fn a_single_file_reads_standard_input() {
    let folder = Folder::new().with("echo.wat", guests::echoes());
    let mut child = Program::spawn(folder.wasmpod(&["run", "echo.wat"]).stdin(Stdio::piped()));
    child.stdin.take().unwrap().write_all(b"over and\nover").unwrap();
    assert_eq!(finish(child).stdout, "over and\nover");
}

#[test]
fn a_file_is_told_by_its_bytes_not_its_name() {
    let binary = wat::parse_str(guests::writes(1, "hi", 0)).unwrap();
    let folder = Folder::new().with("pod.yaml", binary);
    assert_eq!(folder.run(&["pod.yaml"]).stdout, "hi");
}

#[test]
fn arguments_and_variables_come_from_the_command_line() {
    let folder = Folder::new().with("show.wat", guests::ARGS_ENV);
    let finished = folder.run(&["show.wat", "--env", "COLOUR=blue", "--", "one", "two words"]);
    insta::assert_snapshot!(finished.stdout);
}

#[test]
fn a_directory_of_the_machine_is_mounted() {
    let folder = Folder::new().with("shared/file.txt", "").with("show.wat", guests::exits(0));
    assert_eq!(folder.run(&["show.wat", "--volume", "./shared:/data:ro"]).status, 0);
    let missing = folder.run(&["show.wat", "--volume", "./nowhere:/data"]);
    assert_eq!(missing.status, 2);
    assert!(missing.stderr.contains("nowhere"), "{}", missing.stderr);
}

#[test]
fn exit_statuses_reach_the_shell() {
    for (guest, status) in [(guests::exits(0), 0), (guests::exits(3), 3), (guests::exits(200), 200), (guests::TRAP.to_owned(), 134)]
    {
        let folder = Folder::new().with("guest.wat", guest);
        assert_eq!(folder.run(&["guest.wat"]).status, status);
    }
}

#[test]
fn a_trap_is_explained_with_its_back_trace() {
    let finished = Folder::new().with("guest.wat", guests::TRAP).run(&["guest.wat"]);
    assert!(finished.stderr.contains("unreachable") && finished.stderr.contains("inner"), "{}", finished.stderr);
    let finished = Folder::new().with("guest.wat", guests::RECURSION).run(&["guest.wat"]);
    assert!(finished.status == 134 && finished.stderr.contains("stack exhausted"), "{}", finished.stderr);
}

#[test]
fn the_memory_limit_kills_as_on_kubernetes() {
    let manifest = pod("Never", &[("greedy", "grow.wat", ", resources: {limits: {memory: 16Mi}}")]);
    let folder = Folder::new().with("pod.yaml", manifest).with("grow.wat", guests::GROW_MEMORY);
    let finished = folder.run(&["pod.yaml", "--output", "json"]);
    assert_eq!(finished.status, 137);
    let object: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    let ended = &object["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((ended["reason"].as_str(), ended["exitCode"].as_i64()), (Some("OOMKilled"), Some(137)), "{object:#}");
    assert_eq!(object["status"]["phase"], "Failed");
}

#[test]
fn the_pod_fails_with_the_status_of_its_failing_container() {
    let manifest = pod("Never", &[("fine", "zero.wat", ""), ("broken", "three.wat", "")]);
    let folder = Folder::new().with("pod.yaml", manifest).with("zero.wat", guests::exits(0)).with("three.wat", guests::exits(3));
    assert_eq!(folder.run(&["pod.yaml"]).status, 3);
}

#[test]
fn a_manifest_may_come_from_standard_input() {
    let folder = Folder::new().with("out.wat", guests::writes(1, "from stdin\n", 0));
    let mut child = Program::spawn(folder.wasmpod(&["run", "-"]).stdin(Stdio::piped()));
    child.stdin.take().unwrap().write_all(pod("Never", &[("one", "out.wat", "")]).as_bytes()).unwrap();
    let finished = finish(child);
    assert_eq!((finished.status, finished.stdout.as_str()), (0, "from stdin\n"), "{}", finished.stderr);
}

#[test]
fn without_a_terminal_lines_pass_unchanged() {
    let manifest = pod("Never", &[("one", "one.wat", ""), ("two", "two.wat", "")]);
    let folder = Folder::new().with("pod.yaml", manifest);
    let folder = folder.with("one.wat", guests::writes(1, "first\n", 0)).with("two.wat", guests::writes(1, "second\n", 0));
    let mut lines: Vec<String> = folder.run(&["pod.yaml"]).stdout.lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["first", "second"]);
}

#[test]
fn ctrl_c_stops_gracefully_and_is_seen_in_the_exit_status() {
    let folder =
        Folder::new().with("pod.yaml", pod("Always", &[("one", "spin.wat", "")])).with("spin.wat", guests::says_ready_and_spins());
    let mut child = folder.start(&["pod.yaml"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    interrupt(&child);
    let status = wait_for("the end after Ctrl-C", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(130));
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn output_that_nobody_reads_ends_the_pod() {
    let folder = Folder::new().with("endless.wat", guests::DOTS);
    let mut child = folder.start(&["endless.wat"]);
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 16]).unwrap();
    drop(stdout);
    let status = wait_for("the end after the pipe broke", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(141));
}

#[test]
fn a_container_that_cannot_be_started_says_so() {
    // Both want the port that a container without any serves HTTP on.
    let manifest = "{apiVersion: v1, kind: Pod, metadata: {name: twins}, spec: {containers: \
                    [{name: one, image: 'file:./front.wasm'}, {name: two, image: 'file:./front.wasm'}]}}";
    let front = std::fs::read(example("http").join("front.wasm")).unwrap();
    let finished = Folder::new().with("pod.yaml", manifest).with("front.wasm", front).run(&["pod.yaml", "--timeout", "1s"]);
    assert_eq!(finished.status, 124);
    assert!(finished.stderr.contains("could not be started"), "{}", finished.stderr);
}

#[test]
fn a_start_function_of_another_type_is_no_program() {
    let odd = r#"(module (memory (export "memory") 1) (func (export "_start") (param i32)))"#;
    let finished = Folder::new().with("odd.wat", odd).run(&["odd.wat"]);
    assert_eq!(finished.status, 2);
    assert!(finished.stderr.contains("its export _start is not a function without parameters"), "{}", finished.stderr);
}

#[test]
fn a_free_port_is_named() {
    let finished =
        Folder::new().with("spin.wat", guests::BUSY_LOOP).run(&["spin.wat", "-p", "127.0.0.1:0:80", "--timeout", "50ms"]);
    assert!(finished.stderr.contains("note: published on 127.0.0.1:"), "{}", finished.stderr);
}

#[test]
fn the_timeout_stops_the_pod() {
    let folder = Folder::new().with("spin.wat", guests::BUSY_LOOP);
    assert_eq!(folder.run(&["spin.wat", "--timeout", "100ms"]).status, 124);
}

#[test]
fn restarts_back_off_and_are_counted() {
    let folder = Folder::new().with("pod.yaml", pod("OnFailure", &[("flaky", "one.wat", "")])).with("one.wat", guests::exits(1));
    let finished = folder.run(&["pod.yaml", "--restart-backoff-initial", "20ms", "--timeout", "500ms", "--output", "json"]);
    let object: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    let restarts = object["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap();
    // At 0, 20, 60, 140 and 300 ms, on a machine that is quick enough.
    assert!((1..=6).contains(&restarts), "{object:#}");
}

#[test]
fn restarts_are_told_with_their_reason_and_their_pause() {
    let folder = Folder::new().with("pod.yaml", pod("Always", &[("flaky", "one.wat", "")])).with("one.wat", guests::exits(1));
    let finished = folder.run(&["pod.yaml", "--restart-backoff-initial", "10s", "--timeout", "500ms"]);
    let first = "warning: container flaky of pod test: Error, exit code 1; starting it again";
    assert!(finished.stderr.contains(first), "{}", finished.stderr);
    assert!(finished.stderr.contains(&format!("{first} in 10s")), "{}", finished.stderr);
}

#[test]
fn events_are_shown_one_a_line() {
    let folder = Folder::new().with("pod.yaml", pod("Always", &[("flaky", "one.wat", "")])).with("one.wat", guests::exits(1));
    let finished = folder.run(&["pod.yaml", "--events", "--restart-backoff-initial", "10s", "--timeout", "500ms"]);
    for event in [
        "Normal   Created              pod/test/flaky  Container created",
        "Normal   Started              pod/test/flaky  Container started",
        "Warning  BackOff              pod/test/flaky  Back-off restarting failed container flaky in pod test_default(",
    ] {
        assert!(finished.stderr.contains(event), "{event}:\n{}", finished.stderr);
    }
}

#[test]
fn the_final_object_is_the_pod_with_its_status() {
    let folder =
        Folder::new().with("pod.yaml", pod("Never", &[("one", "out.wat", "")])).with("out.wat", guests::writes(1, "log\n", 0));
    for format in ["json", "yaml"] {
        let finished = folder.run(&["pod.yaml", "--output", format]);
        assert!(finished.stdout.contains("Succeeded") && finished.stdout.contains("sha256:"), "{}", finished.stdout);
        assert!(finished.stderr.contains("log\n"), "the log goes to stderr: {}", finished.stderr);
    }
}

#[test]
fn the_second_start_finds_the_artifact() {
    let unique = format!("{:?}\n", std::time::SystemTime::now());
    let folder = Folder::new().with("new.wat", guests::writes(1, &unique, 0));
    assert!(folder.run(&["new.wat"]).stderr.contains("compiled file:new.wat in "));
    let second = folder.run(&["new.wat"]);
    assert_eq!((second.stdout, second.stderr), (unique, String::new()));
}
