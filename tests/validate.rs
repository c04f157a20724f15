//! `wasmpod validate` and `wasmpod explain`, through the built program.

use crate::harness::{Finished, Folder, Program, finish};
use std::io::Write as _;
use std::process::Stdio;

const POD: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeSelector: {disk: ssd}
  containers:
  - name: app
    image: file:./app.wasm
    tty: true
    securityContext: {runAsUser: 1000}
    livenessProbe: {httpGet: {port: 80}}
    envFrom: [{configMapRef: {name: settings}}]
  volumes: [{name: host, hostPath: {path: /srv}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: b}
"#;

fn run(folder: &Folder, args: &[&str]) -> Finished {
    finish(Program::spawn(&mut folder.wasmpod(args)))
}

fn shown(finished: &Finished) -> String {
    format!("{}--- stderr\n{}--- exit status {}", finished.stdout, finished.stderr, finished.status)
}

#[test]
fn the_verdict_on_every_field_of_a_manifest() {
    let folder = Folder::new().with("pod.yaml", POD);
    insta::assert_snapshot!(shown(&run(&folder, &["validate", "-f", "pod.yaml"])));
}

#[test]
fn manifests_that_are_not_valid() {
    let unknown = POD.replace("tty: true", "ttty: true").replace("name: settings, ", "");
    let folder =
        Folder::new().with("bad.yaml", unknown.replace("name: settings}\ndata", "name: other}\ndata")).with("good.yaml", POD);
    let finished =
        run(&folder, &["validate", "-f", "bad.yaml", "-f", "good.yaml", "-f", "missing.yaml", "--pod-security", "baseline"]);
    insta::assert_snapshot!(shown(&finished));
}

#[test]
fn json_for_programs() {
    let folder = Folder::new().with("pod.yaml", POD);
    let mut child = Program::spawn(folder.wasmpod(&["validate", "-f", "-", "-f", "pod.yaml", "-o", "json"]).stdin(Stdio::piped()));
    child.stdin.take().unwrap().write_all(b"kind: Pod\nspec: 1\n").unwrap();
    let finished = finish(child);
    assert_eq!((finished.status, finished.stderr.as_str()), (2, ""));
    let json: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    let [bad, good] = [&json["manifests"][0], &json["manifests"][1]];
    assert_eq!((&bad["source"], &bad["valid"]), (&"standard input".into(), &false.into()));
    assert!(bad["errors"][0]["problems"][0].as_str().unwrap().starts_with("standard input:1:1: Pod: apiVersion"), "{bad:#}");
    let fields = good["objects"][0]["fields"].as_array().unwrap();
    let verdict = |path: &str| fields.iter().find(|field| field["path"] == path).map(|field| field["verdict"].as_str().unwrap());
    assert_eq!(verdict("spec.containers[0].livenessProbe.httpGet"), Some("honoured"));
    assert_eq!(verdict("spec.containers[0].securityContext.runAsUser"), Some("satisfiedBySandbox"));
    assert_eq!(verdict("spec.nodeSelector"), Some("ignored"));
}

#[test]
fn a_field_is_explained() {
    let folder = Folder::new();
    let explain = |field: &str| shown(&run(&folder, &["explain", field]));
    insta::assert_snapshot!(
        [explain("pod.spec.containers.lifecycle"), explain("pod.spec.affinity"), explain("pod.spec.foo")].join("\n")
    );
    let json = run(&folder, &["explain", "pod.spec.hostNetwork", "-o", "json"]).stdout;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["support"]["verdict"], "rejected");
}

#[test]
fn the_whole_table_is_printed() {
    let folder = Folder::new();
    let text = run(&folder, &["explain", "--support"]).stdout;
    assert!(text.starts_with("Pod\n") && text.contains("\nContainer\n") && text.contains("\nServicePort\n"), "{text}");
    let json = run(&folder, &["explain", "--support", "-o", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["fields"].as_array().unwrap().len() > 300);
    assert_eq!(run(&folder, &["explain"]).status, 2);
}

#[test]
fn pods_that_reach_out_are_refused_by_their_level() {
    let folder = Folder::new().with("pod.yaml", POD);
    let finished = run(&folder, &["run", "pod.yaml", "--pod-security", "baseline"]);
    assert_eq!(finished.status, 1);
    assert!(
        finished.stderr.contains("violates PodSecurity \"baseline:latest\": hostPath volumes (volume \"host\")"),
        "{}",
        finished.stderr
    );
}

#[test]
fn what_is_in_a_claim_outlives_its_pod() {
    let claim = "---\n{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, \
                 spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}\n";
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: db}\nspec:\n  restartPolicy: Never\n  containers:\n  \
               - {name: db, image: 'file:./hello.wat', volumeMounts: [{name: data, mountPath: /data, subPath: made}]}\n  \
               volumes:\n  - {name: data, persistentVolumeClaim: {claimName: data}}\n";
    let hello = crate::guests::writes(1, "hello\n", 0);
    let folder = Folder::new().with("with.yaml", format!("{pod}{claim}")).with("pod.yaml", pod).with("hello.wat", hello);
    let root = folder.path().join("root").display().to_string();
    let missing = run(&folder, &["run", "pod.yaml", "--root", &root]);
    assert_eq!(missing.status, 2);
    let place = "pod.yaml:9:18: Pod \"db\": spec.volumes[0].persistentVolumeClaim: there is no claim \"data\"";
    assert!(missing.stderr.contains(place) && missing.stderr.contains("hint: add it to the manifest"), "{}", missing.stderr);
    for manifest in ["with.yaml", "pod.yaml"] {
        let finished = run(&folder, &["run", manifest, "--root", &root]);
        assert_eq!((finished.status, finished.stdout.as_str()), (0, "hello\n"), "{}", finished.stderr);
        assert!(folder.path().join("root/volumes/default/data/made").is_dir());
    }
}

#[test]
fn a_directory_that_is_not_there_is_told_by_its_flag() {
    let folder = Folder::new().with("hello.wat", crate::guests::writes(1, "", 0));
    let finished = run(&folder, &["run", "hello.wat", "--volume", "./nowhere:/data"]);
    assert_eq!(finished.status, 2);
    assert!(finished.stderr.starts_with("error: --volume ./nowhere:/data: cannot be mounted: No such file"), "{}", finished.stderr);
}
