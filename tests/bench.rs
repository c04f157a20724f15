//! `wasmpod bench`: what it prints and writes, with as few runs as show it.

use crate::harness::{Finished, Folder, Program, example, finish, free_port, interrupt, wait_for};
use serde_json::Value;
use std::collections::BTreeSet;

/// Prints six bytes.
const HELLO: &str = include_str!("../runtime/src/bin/wasmpod/bench/hello.wat");
/// Stays.
const IDLE: &str = include_str!("../runtime/src/bin/wasmpod/bench/idle.wat");
const TRAP: &str = include_str!("guests/trap.wat");

/// Runs `wasmpod bench` with these words, each without a space in it.
fn bench(folder: &Folder, args: &str) -> Finished {
    let args: Vec<&str> = std::iter::once("bench").chain(args.split(' ')).collect();
    finish(Program::spawn(&mut folder.wasmpod(&args)))
}

/// The same, for the JSON that it prints.
fn measured(folder: &Folder, args: &str) -> Value {
    let finished = bench(folder, &format!("{args} --output json"));
    assert_eq!(finished.status, 0, "{}", finished.stderr);
    serde_json::from_str(&finished.stdout).unwrap()
}

/// The values of the first contender for a measure.
fn values(group: &Value, measure: &str) -> Vec<f64> {
    let series = group["series"].as_array().unwrap();
    let found = series.iter().find(|series| series["measure"] == measure).unwrap_or_else(|| panic!("no {measure} in {group}"));
    found["values"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn parts(group: &Value) -> Vec<&str> {
    let parts = group["breakdown"]["parts"].as_array().unwrap_or_else(|| panic!("no breakdown in {group}"));
    parts.iter().map(|part| part["name"].as_str().unwrap()).collect()
}

#[test]
fn processes_and_warm_pods_are_measured_and_broken_down() {
    let folder = Folder::new().with("hello.wat", HELLO);
    let report = measured(&folder, "--runs 4 --warm-up 0 hello.wat");
    let groups = report["groups"].as_array().unwrap();
    assert_eq!(groups.iter().map(|group| group["mode"].as_str().unwrap()).collect::<Vec<_>>(), ["process", "warm"]);

    let process = &groups[0];
    let (outputs, ends) = (values(process, "firstOutput"), values(process, "end"));
    assert_eq!((outputs.len(), ends.len()), (4, 4));
    assert!(outputs.iter().zip(&ends).all(|(output, end)| 0.0 < *output && output < end), "{outputs:?} {ends:?}");
    for part in ["process start", "parse", "engine", "load", "start", "instantiate", "first output", "process end"] {
        assert!(parts(process).contains(&part), "no {part} in {:?}", parts(process));
    }
    assert!(!parts(process).contains(&"compile"), "the artifact is in the cache");

    let warm = &groups[1];
    assert_eq!((values(warm, "end").len(), values(warm, "running").len()), (4, 1), "every fourth run is followed by a watched one");
    assert!(values(warm, "end").iter().sum::<f64>() < ends.iter().sum::<f64>(), "a process costs more than a pod");
    assert!(parts(warm).contains(&"instantiate") && !parts(warm).contains(&"process start"), "{:?}", parts(warm));

    let machine = &report["machine"];
    assert!(machine["processors"].as_u64().unwrap() > 0 && machine["kernel"].as_str().unwrap().starts_with("Linux "), "{machine}");
    assert_eq!(machine["wasmtime"], wasmpod::engine::config::WASMTIME_VERSION);
}

#[test]
fn the_first_run_of_all_compiles() {
    let folder = Folder::new().with("hello.wat", HELLO);
    let report = measured(&folder, "--mode first --runs 1 hello.wat");
    let first = &report["groups"][0];
    assert!(parts(first).contains(&"compile"), "{:?}", parts(first));
    assert_eq!(values(first, "end").len(), 1);
}

#[test]
fn a_server_is_measured_until_its_first_byte() {
    let front = std::fs::read(example("http").join("front.wasm")).unwrap();
    let port = format!("{{containerPort: 8080, hostPort: {}}}", free_port());
    let containers = format!("[{{name: front, image: 'file:./front.wasm', ports: [{port}]}}]");
    let pod = format!("{{apiVersion: v1, kind: Pod, metadata: {{name: front}}, spec: {{containers: {containers}}}}}");
    let folder = Folder::new().with("front.wasm", front).with("pod.yaml", pod);
    // The port of the machine is free for each of the runs, though the pod was looked at before.
    let report = measured(&folder, "--runs 2 --warm-up 0 front.wasm pod.yaml");
    for ready in report["groups"].as_array().unwrap() {
        assert_eq!(ready["mode"], "ready", "it never ends");
        assert!(values(ready, "firstByte")[0] > 0.0 && values(ready, "ready")[0] > 0.0);
    }
}

#[test]
fn the_program_that_is_built_in_stands_in_for_a_target() {
    let folder = Folder::new();
    let report =
        measured(&folder, "--mode ready,throughput,density --runs 1 --warm-up 0 --duration 400ms --pods 20 --concurrency 2");
    let groups = report["groups"].as_array().unwrap();
    let names: Vec<_> = groups.iter().map(|group| (group["target"].as_str().unwrap(), group["mode"].as_str().unwrap())).collect();
    assert_eq!(names, [("hello (built in)", "throughput"), ("idle (built in)", "ready"), ("idle (built in)", "density")]);
    assert!(values(&groups[0], "starts").iter().sum::<f64>() > 0.0);
    assert!(values(&groups[1], "ready")[0] > 0.0);
    let pods: Vec<u64> = groups[2]["density"].as_array().unwrap().iter().map(|point| point["pods"].as_u64().unwrap()).collect();
    assert_eq!(pods, [0, 1, 10, 20]);
}

#[test]
fn others_take_their_turns_and_are_compared() {
    let folder = Folder::new().with("hello.wat", HELLO);
    let line = ["bench", "--mode", "process", "--runs", "3", "--warm-up", "0", "--output", "json", "hello.wat"];
    let against = ["--against", "/bin/false", "--against", "/bin/echo hello", "--against", "/bin/echo {}", "--against", "runc"];
    let finished = finish(Program::spawn(&mut folder.wasmpod(&[&line[..], &against[..]].concat())));
    assert_eq!(finished.status, 0, "{}", finished.stderr);
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    let group = &report["groups"][0];
    let names: Vec<&str> = group["contenders"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["wasmpod", "echo", "echo 3"]);
    let ratios = group["ratios"].as_array().unwrap();
    assert!(ratios.iter().any(|ratio| ratio["contender"] == "echo" && ratio["measure"] == "end"), "{ratios:?}");
    let notes = group["notes"].to_string();
    assert!(notes.contains("false was left out: a run failed with exit status 1"), "{notes}");
    assert!(notes.contains("runc was skipped: it is not installed"), "PATH is empty: {notes}");
    assert!(notes.contains("echo 3 prints 10 bytes and wasmpod 6: they do not do the same work"), "{notes}");
    assert!(!notes.contains("echo prints"), "{notes}");
}

#[test]
fn a_linux_container_says_the_same() {
    if std::env::var_os("WASMPOD_TEST_CONTAINERD").is_none() {
        return;
    }
    let folder = Folder::new();
    let mut command = folder.wasmpod(&["bench", "--mode", "process", "--runs", "2", "--warm-up", "0", "--against", "runc"]);
    let finished = finish(Program::spawn(command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")));
    assert_eq!(finished.status, 0, "{}", finished.stderr);
    assert!(finished.stdout.contains("runc takes "), "{}", finished.stdout);
    assert!(!finished.stdout.contains("the same work"), "both print six bytes: {}", finished.stdout);
}

#[test]
fn a_table_is_printed_and_files_are_written() {
    let folder = Folder::new().with("hello.wat", HELLO);
    let finished = bench(&folder, "--mode process --runs 2 --warm-up 0 --json a.json --csv a.csv --svg a.svg hello.wat");
    assert_eq!(finished.status, 0, "{}", finished.stderr);
    assert!(
        finished.stdout.contains("hello.wat: process\n") && finished.stdout.contains("until its end, 2 runs"),
        "{}",
        finished.stdout
    );
    let written = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written("a.json")).unwrap()["formatVersion"], 1);
    assert_eq!(written("a.csv").lines().count(), 1 + 2 * 2, "{}", written("a.csv"));
    assert!(written("a.svg").contains("hello.wat: process"));
}

#[test]
fn ctrl_c_shows_what_was_measured_until_then() {
    let folder = Folder::new().with("hello.wat", HELLO);
    let line = ["bench", "--mode", "process", "--warm-up", "0", "--runs", "100000", "--duration", "10m", "hello.wat"];
    let child = Program::spawn(&mut folder.wasmpod(&line));
    let mut runs = BTreeSet::new();
    wait_for("some runs", || {
        // Each run has a directory while it lasts.
        let own = std::fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path());
        let inside = own.filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten().map(|entry| entry.file_name());
        runs.extend(inside.filter(|name| name.to_string_lossy().starts_with("run-")));
        (runs.len() > 3).then_some(())
    });
    interrupt(&child);
    let finished = finish(child);
    assert_eq!(finished.status, 130, "{}", finished.stderr);
    assert!(finished.stdout.contains("until its end, ") && finished.stdout.contains("Interrupted"), "{}", finished.stdout);
}

#[test]
fn what_cannot_be_measured_is_said() {
    let folder = Folder::new().with("hello.wat", HELLO).with("idle.wat", IDLE).with("trap.wat", TRAP);
    let folder = folder.with(
        "server.yaml",
        "{apiVersion: v1, kind: Pod, metadata: {name: s}, spec: {containers: [{name: s, image: 'file:./idle.wat'}]}}",
    );
    let mut said = String::new();
    for line in [
        "missing.wasm",
        "-",
        "--mode process server.yaml",
        "--mode density hello.wat",
        "--mode process --runs 1 trap.wat",
        "--mode warm --runs 1 trap.wat",
        "--against runk hello.wat",
        "--runs 0 hello.wat",
    ] {
        let finished = bench(&folder, line);
        assert!(finished.status > 0 && finished.stdout.is_empty(), "{line}: {finished:?}");
        said.push_str(&format!("$ wasmpod bench {line}\n{}\n", finished.stderr));
    }
    insta::with_settings!({ filters => vec![(r"0x[0-9a-f]+", "0x…"), (r"(?m)^compiled .* s\n", "")] }, {
        insta::assert_snapshot!(said);
    });
}
