//! Every example runs as its page says.

use crate::harness::{Finished, Folder, example, interrupt};

/// Runs an example with further arguments; it has to succeed.
fn run(name: &str, args: &[&str]) -> Finished {
    let manifest = example(name).join("pod.yaml");
    let finished = Folder::new().run(&[&[manifest.to_str().unwrap()], args].concat());
    assert_eq!(finished.status, 0, "{finished:?}");
    finished
}

/// The lines of an output in any order.
fn sorted(output: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = output.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn hello() {
    insta::assert_snapshot!(run("hello", &[]).stdout);
}

#[test]
fn two_containers() {
    insta::assert_debug_snapshot!(sorted(&run("two-containers", &[]).stdout));
}

#[test]
fn init_volume() {
    insta::assert_snapshot!(run("init-volume", &[]).stdout);
}

#[test]
fn sidecar_logs() {
    insta::assert_debug_snapshot!(sorted(&run("sidecar-logs", &[]).stdout));
}

#[test]
fn udp() {
    insta::assert_debug_snapshot!(sorted(&run("udp", &[]).stdout));
}

#[test]
fn retry() {
    insta::assert_snapshot!(run("retry", &["--restart-backoff-initial", "20ms"]).stdout);
}

#[test]
fn preview1_server() {
    insta::assert_debug_snapshot!(sorted(&run("preview1-server", &[]).stdout));
}

/// The Deployment runs until it is stopped; the Job's pod has been answered twice by each of its pods.
#[test]
fn services() {
    let folder = Folder::new();
    let manifest = example("services").join("pod.yaml");
    let mut child = folder.start(&[manifest.to_str().unwrap(), "--prefix", "always"]);
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut answers = std::collections::BTreeMap::<String, usize>::new();
    loop {
        let mut line = String::new();
        assert!(std::io::BufRead::read_line(&mut stdout, &mut line).unwrap() > 0, "ended early: {answers:?}");
        match line.split_once("/visitor").and_then(|(_, rest)| rest.split_once("| ")) {
            Some((_, "done\n")) => break,
            Some((_, pod)) => *answers.entry(pod.to_owned()).or_default() += 1,
            None => {}
        }
    }
    assert_eq!(answers.values().collect::<Vec<_>>(), [&2, &2, &2], "{answers:?}");
    interrupt(&child);
    drop(stdout);
}

/// A program of somebody else: fetched from a package registry, so only where its script has been run.
#[test]
fn javascript() {
    if !example("javascript").join(".cache").exists() {
        let fetched = std::process::Command::new(example("javascript").join("fetch.sh")).status().unwrap();
        assert!(fetched.success(), "examples/javascript/fetch.sh failed");
    }
    insta::assert_debug_snapshot!(sorted(&run("javascript", &[]).stdout));
}
