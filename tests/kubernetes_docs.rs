//! Manifests in the shape of the Kubernetes documentation's tasks and tutorials, run to a checked result through the built program.
//!
//! Each stands in `kubernetes_docs/`, with a page of the documentation named in its first line. In the place of the Linux images they
//! have the small tools of `examples/services`, whose arguments say what the image's own program would have done.

use crate::harness::{Finished, Folder, Program, example, finish, interrupt};
use std::io::{BufRead, BufReader};
use std::path::Path;

/// A folder with the manifest and the program of all its containers.
fn folder(name: &str) -> Folder {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kubernetes_docs");
    let manifest = std::fs::read(manifests.join(format!("{name}.yaml"))).unwrap();
    let toolbox = std::fs::read(example("services").join("toolbox.wasm")).unwrap();
    Folder::new().with("manifest.yaml", manifest).with("toolbox.wasm", toolbox)
}

/// Runs a manifest that ends by itself; the lines of its output, sorted: containers print side by side.
fn run(name: &str) -> Vec<String> {
    let finished = folder(name).run(&["manifest.yaml", "--restart-backoff-initial", "20ms"]);
    assert_eq!(finished.status, 0, "{finished:?}");
    let mut lines: Vec<String> = finished.stdout.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Runs a manifest that does not end by itself until it has printed `line`, and stops it; all that it printed.
fn run_until(name: &str, line: &str) -> Finished {
    let folder = folder(name);
    let mut child: Program = folder.start(&["manifest.yaml"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut seen = String::new();
    while !seen.lines().any(|seen| seen == line) {
        assert!(stdout.read_line(&mut seen).unwrap() > 0, "ended without {line:?}: {seen}");
    }
    interrupt(&child);
    // What was read ahead, and what it prints while it stops.
    let ahead = String::from_utf8_lossy(stdout.buffer()).into_owned();
    child.stdout = Some(stdout.into_inner());
    let finished = finish(child);
    assert_eq!(finished.status, 130, "{finished:?}");
    Finished { stdout: seen + &ahead + &finished.stdout, ..finished }
}

#[test]
fn init_containers_prepare_a_volume() {
    assert_eq!(run("init-containers"), ["the page of init-demo"]);
}

#[test]
fn a_sidecar_does_not_keep_its_job_from_completing() {
    assert_eq!(run("sidecar"), ["logged", "logging"]);
}

#[test]
fn containers_share_a_volume() {
    assert_eq!(run("shared-volume"), ["Hello from the debian container"]);
}

#[test]
fn the_downward_api_sets_variables() {
    let expected = [
        "MY_NODE_NAME=localhost",
        "MY_POD_NAME=dapi-envars-fieldref",
        "MY_POD_NAMESPACE=default",
        "MY_POD_SERVICE_ACCOUNT=default",
    ];
    assert_eq!(run("downward-env"), expected);
}

#[test]
fn the_downward_api_makes_files() {
    let lines = run("downward-volume");
    for line in
        [r#"cluster="test-cluster1""#, r#"rack="rack-22""#, r#"zone="us-est-coast""#, r#"build="two""#, r#"builder="john-doe""#]
    {
        assert!(lines.iter().any(|shown| shown == line), "{line}: {lines:?}");
    }
}

#[test]
fn a_projected_volume_holds_several_sources() {
    assert_eq!(run("projected-volume"), ["password", "username"]);
}

#[test]
fn an_init_container_sets_variables() {
    assert_eq!(run("env-file"), ["CONFIG_VAR=HELLO", "GREETING=HELLO world", "HELLO again", "OTHER="]);
}

#[test]
fn config_maps_set_variables() {
    assert_eq!(run("configmap-env"), ["SPECIAL_LEVEL=very", "SPECIAL_TYPE=charm", "very charm"]);
}

#[test]
fn config_maps_make_files() {
    assert_eq!(run("configmap-volume"), ["MASTER=true", "maxmemory 2mb", "maxmemory-policy allkeys-lru"]);
}

#[test]
fn secrets_are_variables_and_files() {
    assert_eq!(run("secret-env"), ["39528$vdg7Jb", "SECRET_USERNAME=my-app"]);
}

#[test]
fn one_job_for_each_item() {
    assert_eq!(run("parallel-jobs"), ["Processing item apple", "Processing item banana"]);
}

#[test]
fn an_indexed_job_takes_each_item_once() {
    assert_eq!(run("indexed-job"), ["item 0", "item 1", "item 2", "item 3", "item 4"]);
}

#[test]
fn a_job_tries_again() {
    assert_eq!(run("job-with-retries"), ["3.14159"]);
}

#[test]
fn a_job_fails_at_once_for_a_failure_that_trying_again_cannot_mend() {
    let finished = folder("job-pod-failure-policy").run(&["manifest.yaml"]);
    assert_eq!((finished.status, finished.stdout.as_str()), (1, "Simulating a bug\n"), "{finished:?}");
    assert!(
        finished.stderr.contains("Job job-pod-failure-policy-failjob failed: PodFailurePolicy: Container main"),
        "{finished:?}"
    );
}

#[test]
fn the_indexes_of_a_job_fail_each_for_itself() {
    let finished = folder("job-backoff-limit-per-index").run(&["manifest.yaml", "--restart-backoff-initial", "10ms"]);
    let mut lines: Vec<&str> = finished.stdout.lines().collect();
    lines.sort_unstable();
    // Two tries of each index.
    assert_eq!((finished.status, lines), (1, ["index 0", "index 0", "index 1", "index 1", "index 2", "index 2"].into()));
    assert!(finished.stderr.contains("Job job-backoff-limit-per-index-example failed: FailedIndexes"), "{}", finished.stderr);
}

#[test]
fn a_job_succeeds_with_its_leader() {
    assert_eq!(run("job-success-policy"), ["the leader is done"]);
}

#[test]
fn cron_jobs_are_refused_with_a_way_out() {
    let finished = folder("cron").run(&["manifest.yaml"]);
    assert_eq!(finished.status, 2);
    assert!(finished.stderr.contains("CronJob (batch/v1) is not run"), "{}", finished.stderr);
    assert!(finished.stderr.contains("write its spec.jobTemplate as a Job"), "{}", finished.stderr);
}

#[test]
fn the_guestbook_answers() {
    let finished = run_until("guestbook", "the guestbook answers");
    let pods = |prefix: &str| finished.stdout.lines().filter(|line| line.starts_with(prefix)).count();
    assert!(pods("frontend-") >= 3 && pods("redis-leader-") == 2 && pods("redis-follower-") == 3, "{}", finished.stdout);
}

#[test]
fn stateful_pods_are_found_by_name() {
    let finished = run_until("stateful-set", "both are there");
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert!(["web-0", "web-1"].iter().all(|pod| lines.contains(pod)), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("web-1.nginx is 10.88.")), "{lines:?}");
}

#[test]
fn a_daemon_set_runs_one_pod() {
    let finished = run_until("daemon-set", "collecting logs");
    assert_eq!(finished.stdout, "collecting logs\n");
}

#[test]
fn a_service_is_reached_from_another_namespace() {
    let finished = run_until("deployment", "curl is content");
    assert!(finished.stdout.lines().any(|line| line.starts_with("my-nginx-")), "{}", finished.stdout);
}

#[test]
fn a_service_leads_to_a_pod_once_its_probes_succeed() {
    let finished = run_until("readiness", "slow is ready");
    assert!(finished.stdout.lines().any(|line| line == "slow"), "{}", finished.stdout);
}

#[test]
fn lifecycle_handlers_run_after_the_start_and_before_the_stop() {
    let finished = run_until("lifecycle", "Hello-from-the-postStart-handler");
    assert!(finished.stdout.lines().any(|line| line == "Goodbye-from-the-preStop-handler"), "{}", finished.stdout);
}

#[test]
fn a_claim_outlives_its_pod() {
    let folder = folder("volume-claim");
    let run = || {
        let data = folder.path().join("data");
        finish(Program::spawn(folder.wasmpod(&["run", "manifest.yaml"]).env("XDG_DATA_HOME", data))).stdout
    };
    assert_eq!((run(), run()), ("a visit\n".to_owned(), "a visit\na visit\n".to_owned()));
}
