//! Several pods in one run, through the built program: Deployments behind Services, Jobs, StatefulSets, Lists.

use crate::guests;
use crate::harness::{Finished, Folder, Program, example, free_port, http_get, interrupt, wait_for};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::time::Duration;

/// A workload `name` of this kind whose one container runs `image`, with further lines of its spec and of its container.
fn workload(kind: &str, name: &str, image: &str, spec: &str, container: &str) -> String {
    let (version, selector, policy) = match kind {
        "Job" => ("batch/v1", String::new(), "Never"),
        _ => ("apps/v1", format!("  selector: {{matchLabels: {{app: {name}}}}}\n"), "Always"),
    };
    let lines = |text: &str, indentation: &str| text.lines().map(|line| format!("{indentation}{line}\n")).collect::<String>();
    format!(
        "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n{selector}{}  template:\n    metadata: {{labels: {{app: \
         {name}}}}}\n    spec:\n      restartPolicy: {policy}\n      containers:\n        - name: main\n          image: file:./{image}\n{}",
        lines(spec, "  "),
        lines(container, "          "),
    )
}

/// A Service `name` of this type for the pods of the workload of the same name.
fn service(name: &str, kind: &str, port: u16, target: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  type: {kind}\n  selector: {{app: {name}}}\n  ports: [{{port: \
         {port}, targetPort: {target}}}]\n"
    )
}

/// The small tools of `examples/services`.
fn toolbox() -> Vec<u8> {
    std::fs::read(example("services").join("toolbox.wasm")).unwrap()
}

fn objects(finished: &Finished) -> Vec<Value> {
    let result: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
    match result["kind"].as_str() {
        Some("List") => result["items"].as_array().unwrap().clone(),
        _ => vec![result],
    }
}

fn names(objects: &[Value], kind: &str) -> Vec<String> {
    let of_kind = objects.iter().filter(|object| object["kind"] == kind);
    of_kind.map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// Stops a program as Ctrl-C does, and waits for its end.
fn stop(child: Program) -> Finished {
    interrupt(&child);
    crate::harness::finish(child)
}

#[test]
fn a_job_runs_as_many_pods_as_it_needs() {
    let job = workload("Job", "five", "zero.wat", "completions: 5\nparallelism: 2", "");
    let folder = Folder::new().with("job.yaml", job).with("zero.wat", guests::exits(0));
    let finished = folder.run(&["job.yaml", "-o", "json"]);
    assert_eq!(finished.status, 0, "{finished:?}");
    let objects = objects(&finished);
    assert_eq!(names(&objects, "Pod").len(), 5);
    let status = &objects[0]["status"];
    assert_eq!((&status["succeeded"], &status["conditions"][1]["type"]), (&5.into(), &"Complete".into()), "{status:#}");
}

#[test]
fn a_job_that_fails_too_often_fails_with_the_status_of_its_pod() {
    let job = workload("Job", "hopeless", "three.wat", "backoffLimit: 2", "");
    let folder = Folder::new().with("job.yaml", job).with("three.wat", guests::exits(3));
    let finished = folder.run(&["job.yaml", "-o", "json", "--restart-backoff-initial", "10ms"]);
    assert_eq!(finished.status, 3, "{finished:?}");
    assert!(finished.stderr.contains("Job hopeless failed: BackoffLimitExceeded"), "{}", finished.stderr);
    let objects = objects(&finished);
    assert_eq!((names(&objects, "Pod").len(), &objects[0]["status"]["failed"]), (3, &3.into()));
    assert_eq!(objects[0]["status"]["conditions"][0]["reason"], "BackoffLimitExceeded");
}

#[test]
fn a_rule_fails_the_whole_job_at_the_first_failure_of_its_kind() {
    let spec = "completions: 4\nbackoffLimit: 6\npodFailurePolicy:\n  rules:\n  - {action: FailJob, onExitCodes: {containerName: main, \
                operator: In, values: [42]}}";
    let folder = Folder::new().with("job.yaml", workload("Job", "picky", "bug.wat", spec, "")).with("bug.wat", guests::exits(42));
    let finished = folder.run(&["job.yaml", "-o", "json"]);
    assert_eq!(finished.status, 42, "{finished:?}");
    let objects = objects(&finished);
    assert_eq!(names(&objects, "Pod").len(), 1);
    let condition = &objects[0]["status"]["conditions"][1];
    assert_eq!((&condition["type"], &condition["reason"]), (&"Failed".into(), &"PodFailurePolicy".into()), "{condition:#}");
    let message = condition["message"].as_str().unwrap();
    assert!(message.ends_with("failed with exit code 42 matching FailJob rule at index 0"), "{message}");
}

#[test]
fn each_pod_of_an_indexed_job_finds_its_index() {
    let job = workload("Job", "indexed", "show.wat", "completions: 3\nparallelism: 3\ncompletionMode: Indexed", "");
    let folder = Folder::new().with("job.yaml", job).with("show.wat", guests::ARGS_ENV);
    let finished = folder.run(&["job.yaml", "--prefix", "always"]);
    for index in 0..3 {
        let label = format!("indexed-{index}-");
        let line = format!("JOB_COMPLETION_INDEX={index}");
        assert!(finished.stdout.lines().any(|shown| shown.starts_with(&label) && shown.ends_with(&line)), "{finished:?}");
    }
}

#[test]
fn a_list_runs_all_its_items_and_names_pods_in_the_log() {
    let pod = |name: &str, text: &str| {
        format!(
            "- apiVersion: v1\n  kind: Pod\n  metadata: {{name: {name}}}\n  spec: {{restartPolicy: Never, containers: [{{name: c, image: 'file:./{text}.wat'}}]}}\n"
        )
    };
    let list = format!("apiVersion: v1\nkind: List\nitems:\n{}{}", pod("first", "one"), pod("second", "two"));
    let folder = Folder::new().with("list.yaml", list);
    let folder = folder.with("one.wat", guests::writes(1, "hello\n", 0)).with("two.wat", guests::writes(2, "world\n", 0));
    let finished = folder.run(&["list.yaml", "--prefix", "always"]);
    assert_eq!((finished.status, finished.stdout.as_str()), (0, "first/c  | hello\n"));
    assert!(finished.stderr.contains("second/c | world\n"), "{}", finished.stderr);
    let finished = folder.run(&["list.yaml", "-o", "json"]);
    assert_eq!(names(&objects(&finished), "Pod"), ["first", "second"]);
}

#[test]
fn labels_pick_the_pods_that_run() {
    let job = |name: &str| workload("Job", name, &format!("{name}.wat"), "", "") + "---\n";
    let folder = Folder::new().with("jobs.yaml", job("one") + &job("two"));
    let folder = folder.with("one.wat", guests::writes(1, "one\n", 0)).with("two.wat", guests::writes(1, "two\n", 0));
    assert_eq!(folder.run(&["jobs.yaml", "-l", "app in (two, three)"]).stdout, "two\n");
    let none = folder.run(&["jobs.yaml", "-l", "app=three"]);
    assert!(none.status == 2 && none.stderr.contains("no pod of the manifest has labels"), "{none:?}");
    assert_eq!(folder.run(&["jobs.yaml", "-l", "app in two"]).status, 2);
}

#[test]
fn a_pod_that_cannot_start_does_not_take_the_others_with_it() {
    let port = std::net::TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let taken = port.local_addr().unwrap().port();
    let pod = |name: &str, more: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{restartPolicy: Never, containers: [{{name: c, image: 'file:./one.wat'{more}}}]}}\n"
        )
    };
    let manifest = pod("blocked", &format!(", ports: [{{containerPort: 80, hostPort: {taken}}}]")) + "---\n" + &pod("free", "");
    let folder = Folder::new().with("pods.yaml", manifest).with("one.wat", guests::writes(1, "ran\n", 0));
    let finished = folder.run(&["pods.yaml"]);
    assert_eq!((finished.status, finished.stdout.as_str()), (1, "ran\n"), "{finished:?}");
    assert!(finished.stderr.contains("error: pod blocked: cannot publish TCP port"), "{}", finished.stderr);
}

#[test]
fn a_deployment_behind_a_service_takes_turns_and_pods_that_are_not_ready_get_nothing() {
    let port = free_port();
    let manifest =
        workload("Deployment", "web", "toolbox.wasm", "replicas: 3", "args: [serve, '8080']\nports: [{containerPort: 8080}]")
            + "---\n"
            + &service("web", "LoadBalancer", port, 8080);
    let folder = Folder::new().with("web.yaml", manifest).with("toolbox.wasm", toolbox());
    let child = folder.start(&["web.yaml"]);
    wait_for("all three pods", || {
        let answers: std::collections::BTreeSet<String> = (0..3).map(|_| http_get(port, "/").1).collect();
        (answers.len() == 3).then_some(())
    });
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..9 {
        let (status, pod) = http_get(port, "/");
        assert_eq!(status, 200);
        *counts.entry(pod).or_default() += 1;
    }
    assert_eq!(counts.values().collect::<Vec<_>>(), [&3, &3, &3], "{counts:?}");
    assert!(counts.keys().all(|pod| pod.starts_with("web-")), "{counts:?}");
    assert_eq!(stop(child).status, 130);
}

#[test]
fn a_service_without_pods_is_warned_of_and_refuses() {
    let port = free_port();
    let manifest = workload("Deployment", "api", "spin.wat", "", "") + "---\n" + &service("web", "LoadBalancer", port, 80);
    let folder = Folder::new().with("web.yaml", manifest).with("spin.wat", guests::says_ready_and_spins());
    let mut child = folder.start(&["web.yaml"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let error = std::io::Read::read(&mut client, &mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    child.stdout = Some(stdout.into_inner());
    let finished = stop(child);
    assert!(finished.stderr.contains("Service default/web: its selector picks no pod"), "{}", finished.stderr);
}

#[test]
fn a_stateful_set_starts_its_pods_one_after_the_other() {
    let set = workload("StatefulSet", "db", "spin.wat", "replicas: 3\nserviceName: db", "");
    let folder = Folder::new().with("set.yaml", set).with("spin.wat", guests::says_ready_and_spins());
    let mut child = folder.start(&["set.yaml", "--prefix", "always", "-o", "json"]);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut started = Vec::new();
    while started.len() < 3 {
        let mut line = String::new();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "{started:?}");
        started.extend(line.strip_suffix(" | ready\n").map(str::to_owned));
    }
    child.stderr = Some(stderr.into_inner());
    // Which of two running programs comes to print first is theirs to decide.
    started.sort();
    assert_eq!(started, ["db-0/main", "db-1/main", "db-2/main"]);
    let finished = stop(child);
    let objects = objects(&finished);
    let started_at = |object: &Value| object["status"]["startTime"].as_str().unwrap().to_owned();
    assert!(objects.windows(2).all(|pair| started_at(&pair[0]) <= started_at(&pair[1])));
    assert_eq!(names(&objects, "Pod"), ["db-0", "db-1", "db-2"]);
}

#[test]
fn kinds_that_are_not_run_are_refused_by_name() {
    let manifest = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\n---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly}\n";
    let folder = Folder::new().with("all.yaml", manifest);
    // The whole texts are with the tests of the manifest.
    let refused = folder.run(&["all.yaml"]);
    for text in ["Ingress (networking.k8s.io/v1) is not a kind that wasmpod runs", "CronJob (batch/v1) is not run"] {
        assert!(refused.status == 2 && refused.stderr.contains(text), "{refused:?}");
    }
    let manifest = format!("{manifest}---\n{}", workload("Job", "once", "zero.wat", "", ""));
    let folder = folder.with("all.yaml", manifest).with("zero.wat", guests::exits(0));
    let finished = folder.run(&["all.yaml", "--ignore-unknown"]);
    assert_eq!(finished.status, 0, "{finished:?}");
    for text in ["warning: all.yaml: Ingress \"web\": skipped", "warning: all.yaml: CronJob \"nightly\": skipped"] {
        assert!(finished.stderr.contains(text), "{finished:?}");
    }
}

#[test]
fn after_a_timeout_the_last_failures_are_named() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: crash}\nspec: {containers: [{name: c, image: 'file:./four.wat'}]}\n";
    let folder = Folder::new().with("pod.yaml", pod).with("four.wat", guests::exits(4));
    let finished = folder.run(&["pod.yaml", "--timeout", "300ms", "--restart-backoff-initial", "1h"]);
    assert_eq!(finished.status, 124);
    assert!(
        finished.stderr.contains("warning: container c of pod crash: Error, exit code 4, restarted once"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_result_that_nobody_reads_is_a_broken_pipe() {
    let folder = Folder::new().with("zero.wat", guests::exits(0));
    let mut child = folder.start(&["zero.wat", "-o", "json"]);
    drop(child.stdout.take());
    let status = wait_for("the end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(141));
}

#[test]
fn escape_sequences_out_of_a_manifest_do_not_reach_the_terminal() {
    let finished = Folder::new().with("pod.yaml", "apiVersion: v1\nkind: \"Pod\\e[31m\"\n").run(&["pod.yaml"]);
    assert!(finished.status == 2 && !finished.stderr.contains('\u{1b}'), "{:?}", finished.stderr);
    assert!(finished.stderr.contains("\\u{1b}[31m"), "{:?}", finished.stderr);
}
