//! Good manifests, and what they become.

use super::{context, lower, pod_of};
use crate::manifest::{LowerContext, Manifest};
use crate::net::EgressPolicy;
use crate::pod::spec::{ContainerRole, HostPathType, Protocol, RestartPolicy, StorageMedium, VolumeSource};
use k8s_openapi::api::core::v1::Pod;
use std::time::Duration;

/// The variables of the first container, one a line.
fn env(text: &str) -> String {
    let pod = pod_of(text);
    pod.spec.containers[0].env.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}

#[test]
fn the_least_pod_gets_every_default() {
    let pod = pod_of(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {containers: [{name: app, image: 'file:./app.wasm'}]}
"#,
    );
    let spec = &pod.spec;
    assert_eq!(spec.full_name(), "default/web");
    assert_eq!((spec.uid.as_str(), spec.hostname.as_str()), ("uid-1", "web"));
    assert_eq!((spec.restart_policy, spec.termination_grace_period), (RestartPolicy::Always, Duration::from_secs(30)));
    assert_eq!((spec.active_deadline, &spec.egress), (None, &EgressPolicy::Internet));
    assert_eq!(spec.containers[0].role, ContainerRole::App);
    assert_eq!(pod.warnings, []);
    insta::assert_snapshot!(serde_json::to_string_pretty(&pod.pod).unwrap(), @r#"
    {
      "apiVersion": "v1",
      "kind": "Pod",
      "metadata": {
        "name": "web",
        "namespace": "default",
        "uid": "uid-1"
      },
      "spec": {
        "containers": [
          {
            "image": "file:./app.wasm",
            "imagePullPolicy": "IfNotPresent",
            "name": "app",
            "resources": {},
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File"
          }
        ],
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": true,
        "nodeName": "node-1",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "serviceAccountName": "default",
        "terminationGracePeriodSeconds": 30
      }
    }
    "#);
}

#[test]
fn a_pod_with_everything() {
    let text = r#"
apiVersion: v1
kind: Pod
metadata:
  name: shop
  namespace: prod
  uid: 4f1c2a00
  labels: {app: shop}
  annotations: {wasmpod.dev/egress: none}
spec:
  restartPolicy: OnFailure
  terminationGracePeriodSeconds: 0
  activeDeadlineSeconds: 600
  hostname: till
  hostAliases: [{ip: 10.0.0.1, hostnames: [db, db.local]}]
  initContainers:
  - {name: prepare, image: prepare.wasm}
  - {name: ship, image: ship.wasm, restartPolicy: Always}
  containers:
  - name: app
    image: app.wasm
    workingDir: /srv
    ports:
    - {name: web, containerPort: 8080, hostPort: 80, hostIP: 127.0.0.1}
    - {containerPort: 53, protocol: UDP}
    resources: {limits: {memory: 1.5Mi}, requests: {cpu: 100m}}
    volumeMounts:
    - {name: scratch, mountPath: /tmp}
    - {name: host, mountPath: /host, readOnly: true, subPath: a/b}
  volumes:
  - {name: scratch, emptyDir: {medium: Memory, sizeLimit: 1M}}
  - {name: host, hostPath: {path: /srv/data, type: DirectoryOrCreate}}
  - {name: bare}
"#;
    let pod = pod_of(text);
    assert_eq!(pod.warnings, []);
    insta::assert_debug_snapshot!(pod.spec, @r#"
    PodSpec {
        name: "shop",
        namespace: "prod",
        uid: "4f1c2a00",
        labels: {
            "app": "shop",
        },
        annotations: {
            "wasmpod.dev/egress": "none",
        },
        hostname: "till",
        host_aliases: [
            HostAlias {
                ip: 10.0.0.1,
                hostnames: [
                    "db",
                    "db.local",
                ],
            },
        ],
        restart_policy: OnFailure,
        termination_grace_period: 0ns,
        active_deadline: Some(
            600s,
        ),
        containers: [
            ContainerSpec {
                name: "prepare",
                role: Init,
                image: "prepare.wasm",
                env: [],
                working_dir: None,
                ports: [],
                mounts: [],
                memory_limit_bytes: None,
                ..
            },
            ContainerSpec {
                name: "ship",
                role: Sidecar,
                image: "ship.wasm",
                env: [],
                working_dir: None,
                ports: [],
                mounts: [],
                memory_limit_bytes: None,
                ..
            },
            ContainerSpec {
                name: "app",
                role: App,
                image: "app.wasm",
                env: [],
                working_dir: Some(
                    "/srv",
                ),
                ports: [
                    ContainerPort {
                        name: Some(
                            "web",
                        ),
                        container_port: 8080,
                        protocol: Tcp,
                        host_port: Some(
                            80,
                        ),
                        host_ip: Some(
                            127.0.0.1,
                        ),
                    },
                    ContainerPort {
                        name: None,
                        container_port: 53,
                        protocol: Udp,
                        host_port: None,
                        host_ip: None,
                    },
                ],
                mounts: [
                    VolumeMount {
                        volume: "scratch",
                        mount_path: "/tmp",
                        read_only: false,
                        sub_path: None,
                    },
                    VolumeMount {
                        volume: "host",
                        mount_path: "/host",
                        read_only: true,
                        sub_path: Some(
                            "a/b",
                        ),
                    },
                ],
                memory_limit_bytes: Some(
                    1572864,
                ),
                ..
            },
        ],
        volumes: [
            VolumeSpec {
                name: "scratch",
                source: EmptyDir {
                    medium: Memory,
                    size_limit_bytes: Some(
                        1000000,
                    ),
                },
            },
            VolumeSpec {
                name: "host",
                source: HostPath {
                    path: "/srv/data",
                    kind: DirectoryOrCreate,
                },
            },
            VolumeSpec {
                name: "bare",
                source: EmptyDir {
                    medium: Disk,
                    size_limit_bytes: None,
                },
            },
        ],
        egress: Deny,
        pull_secrets: [],
        memory_limit_bytes: None,
        cpu_limit_millicores: None,
        qos_class: Burstable,
    }
    "#);
}

#[test]
fn variables_are_resolved_in_the_order_of_the_kubelet() {
    let text = r#"
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {tier: front}, annotations: {note: hi}}
spec:
  containers:
  - name: a
    image: a
    envFrom:
    - {configMapRef: {name: one}}
    - {prefix: P_, secretRef: {name: two}}
    - {configMapRef: {name: missing, optional: true}}
    - {configMapRef: {name: three}}
    env:
    - {name: FIRST, value: "$(SHARED)-$(LATER)-$$(SHARED)"}
    - {name: LATER, value: later}
    - {name: AFTER, value: "$(LATER)/$(FIRST)"}
    - {name: SHARED, value: own}
    - {name: EMPTY}
    - {name: KEY, valueFrom: {configMapKeyRef: {name: one, key: ref}}}
    - {name: PASS, valueFrom: {secretKeyRef: {name: two, key: pass}}}
    - {name: GONE, valueFrom: {secretKeyRef: {name: two, key: nope, optional: true}}}
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: SPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
    - {name: TIER, valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}}
    - {name: NONE, valueFrom: {fieldRef: {fieldPath: "metadata.labels['none']"}}}
    - {name: NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['note']"}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
    - {name: IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}
    - {name: HOST, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
    - {name: MEM, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    - {name: REQ, valueFrom: {resourceFieldRef: {resource: requests.memory}}}
    resources: {limits: {memory: 100Mi}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: one}
data: {SHARED: from-one, ONLY: "1", ref: $(ONLY)}
binaryData: {BIN: AAEC}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: three}
data: {SHARED: from-three}
---
apiVersion: v1
kind: Secret
metadata: {name: two}
data:
  user: |
    YWRt
    aW4=
  pass: b2xk
stringData: {pass: new}
"#;
    insta::assert_snapshot!(env(text), @r#"
    ONLY=1
    SHARED=own
    ref=$(ONLY)
    P_user=admin
    P_pass=new
    FIRST=from-three-$(LATER)-$(SHARED)
    LATER=later
    AFTER=later/from-three-$(LATER)-$(SHARED)
    EMPTY=
    KEY=$(ONLY)
    PASS=new
    NAME=a
    SPACE=default
    UID=uid-1
    TIER=front
    NONE=
    NOTE=hi
    NODE=node-1
    ACCOUNT=default
    IPS=10.88.0.2,fd00::2
    HOST=192.0.2.1
    MEM=100
    CPU=2
    REQ=104857600
    "#);
}

#[test]
fn the_downward_api_in_variables() {
    let text = r#"
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  containers:
  - name: a
    image: a
    env:
    - {name: with space, value: allowed}
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: HOST_IPS, valueFrom: {fieldRef: {fieldPath: status.hostIPs}}}
    - {name: MILLIS, valueFrom: {resourceFieldRef: {containerName: b, resource: limits.cpu, divisor: 1m}}}
    - {name: CORES, valueFrom: {resourceFieldRef: {containerName: b, resource: limits.cpu}}}
    - {name: REQUEST, valueFrom: {resourceFieldRef: {containerName: b, resource: requests.cpu, divisor: 1m}}}
    - {name: NO_REQUEST, valueFrom: {resourceFieldRef: {resource: requests.cpu}}}
    - {name: NODE_CORES, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    - {name: NODE_DISK, valueFrom: {resourceFieldRef: {resource: limits.ephemeral-storage, divisor: 1Mi}}}
    - {name: ECHO, value: $(POD_IP)}
  - {name: b, image: b, resources: {limits: {cpu: 1100m}, requests: {cpu: 100m}}}
"#;
    let env = pod_of(text).spec.containers[0].env.clone();
    let env: Vec<String> = env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    insta::assert_snapshot!(env.join("\n"));
}

#[test]
fn command_and_args_are_expanded_from_all_variables() {
    let pod = pod_of(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  containers:
  - name: a
    image: a
    command: [run, $(B), $$(B), $(C)]
    args: ['--a=$(A)', '$(A']
    env: [{name: A, value: $(B)}, {name: B, value: b}]
    volumeMounts: [{name: v, mountPath: /v, subPathExpr: x/$(B)}]
  volumes: [{name: v}]
"#,
    );
    let container = &pod.spec.containers[0];
    assert_eq!(container.command, ["run", "b", "$(B)", "$(C)"]);
    assert_eq!(container.args, ["--a=$(B)", "$(A"]);
    assert_eq!(container.mounts[0].sub_path.as_deref(), Some("x/b"));
}

#[test]
fn variables_of_the_command_line_win() {
    let text = r#"
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {containers: [{name: a, image: a, args: [$(A)], env: [{name: A, value: '1'}]}]}
"#;
    let manifest = Manifest::parse(text, "pod.yaml").unwrap();
    let extra_env = vec![("A".to_owned(), "2".to_owned()), ("B".to_owned(), "3".to_owned())];
    let pods = manifest.lower(|_| LowerContext { extra_env: extra_env.clone(), egress: EgressPolicy::Deny, ..context() }).unwrap();
    assert_eq!(pods[0].spec.containers[0].env, [("A".to_owned(), "2".to_owned()), ("B".to_owned(), "3".to_owned())]);
    assert_eq!(pods[0].spec.containers[0].args, ["2"]);
    assert_eq!(pods[0].spec.egress, EgressPolicy::Deny);
}

#[test]
fn files_of_config_maps_and_secrets() {
    let text = r#"
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Secret
  metadata: {name: s}
  stringData: {key: secret}
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: c}
  data: {a: text}
  binaryData: {b: AAH/}
- apiVersion: v1
  kind: Pod
  metadata: {name: p}
  spec:
    containers: [{name: a, image: a}]
    volumes:
    - {name: all, configMap: {name: c}}
    - {name: some, configMap: {name: c, defaultMode: 0400, items: [{key: b, path: x/y}, {key: a, path: z, mode: 0755}]}}
    - {name: none, configMap: {name: missing, optional: true}}
    - {name: few, configMap: {name: c, optional: true, items: [{key: missing, path: m}]}}
    - {name: secret, secret: {secretName: s}}
"#;
    let pod = pod_of(text);
    let shown: Vec<String> = pod
        .spec
        .volumes
        .iter()
        .map(|volume| match &volume.source {
            VolumeSource::Files { sensitive, files } => {
                let files: Vec<_> = files.iter().map(|file| format!("{} {:o} {:?}", file.path, file.mode, file.contents)).collect();
                format!("{} sensitive={sensitive} {}", volume.name, files.join(", "))
            }
            other => format!("{other:?}"),
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    all sensitive=false a 644 [116, 101, 120, 116], b 644 [0, 1, 255]
    some sensitive=false x/y 400 [0, 1, 255], z 755 [116, 101, 120, 116]
    none sensitive=false 
    few sensitive=false 
    secret sensitive=true key 644 [115, 101, 99, 114, 101, 116]
    "#);
}

#[test]
fn volume_sources() {
    let kinds = ["Directory", "File", "FileOrCreate", "Socket", "CharDevice", "BlockDevice"];
    let volumes: String =
        kinds.iter().map(|kind| format!("  - {{name: {}, hostPath: {{path: /x, type: {kind}}}}}\n", kind.to_lowercase())).collect();
    let text = format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: a}}
spec:
  containers: [{{name: a, image: a}}]
  volumes:
{volumes}  - {{name: e, emptyDir: {{}}}}
  - {{name: h, hostPath: {{path: /x}}}}
"#
    );
    let pod = pod_of(&text);
    assert!(matches!(&pod.spec.volumes[0].source, VolumeSource::HostPath { kind: HostPathType::Directory, .. }));
    assert_eq!(pod.spec.volumes[6].source, VolumeSource::EmptyDir { medium: StorageMedium::Disk, size_limit_bytes: None });
    assert!(matches!(&pod.spec.volumes[7].source, VolumeSource::HostPath { kind: HostPathType::Unchecked, .. }));
}

#[test]
fn json_is_read_too() {
    let text = "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Pod\",\n\t\"metadata\": {\"name\": \"a\", \"creationTimestamp\": null},\n\t\"spec\": {\"containers\": [{\"name\": \"a\", \"image\": \"a\\/b\", \"args\": [\"\\ud83d\\ude00\\u00e4\\n\"]}]}\n}\n";
    let pod = pod_of(text);
    assert_eq!(pod.spec.containers[0].image, "a/b");
    assert_eq!(pod.spec.containers[0].args, ["😀ä\n"]);
    let long = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"a"}},"spec":{{"containers":[{{"name":"a","image":"a","args":["{}"]}}]}}}}"#,
        "x".repeat(5000)
    );
    assert_eq!(pod_of(&long).spec.containers[0].args[0].len(), 5000);
}

#[test]
fn yaml_is_read_as_kubernetes_reads_it() {
    let text = r#"
%YAML 1.1
---
apiVersion: v1
kind: Pod
metadata: &meta {name: a}
spec:
  shareProcessNamespace: no
  containers:
  - name: a
    image: a
    args:
    - |
      two
      lines
    - >-
      one
      line
    ports: [{containerPort: 0x50}]
    resources: {limits: {memory: 1e6, cpu: 0.5}}
...
"#;
    let pod = pod_of(text);
    assert_eq!(pod.spec.containers[0].args, ["two\nlines\n", "one line"]);
    assert_eq!((pod.spec.containers[0].ports[0].container_port, pod.spec.containers[0].ports[0].protocol), (80, Protocol::Tcp));
    assert_eq!(pod.spec.containers[0].memory_limit_bytes, Some(1_000_000));
}

#[test]
fn a_pod_that_comes_out_of_a_cluster_needs_no_cleaning() {
    let text = r#"
apiVersion: v1
kind: Pod
metadata:
  name: web
  creationTimestamp: "2026-01-02T03:04:05Z"
  generation: 1
  resourceVersion: "12"
  uid: 6c7d1f8a-0001
  managedFields:
  - apiVersion: v1
    fieldsType: FieldsV1
    fieldsV1: {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}}
    manager: kubectl
    operation: Update
    time: "2026-01-02T03:04:05Z"
spec:
  containers:
  - image: app.wasm
    imagePullPolicy: IfNotPresent
    name: app
    resources: {}
    terminationMessagePath: /dev/termination-log
    terminationMessagePolicy: File
  dnsPolicy: ClusterFirst
  enableServiceLinks: true
  preemptionPolicy: PreemptLowerPriority
  priority: 0
  restartPolicy: Always
  schedulerName: default-scheduler
  securityContext: {}
  serviceAccount: default
  serviceAccountName: default
  terminationGracePeriodSeconds: 30
  tolerations:
  - {effect: NoExecute, key: node.kubernetes.io/not-ready, operator: Exists, tolerationSeconds: 300}
status: {}
"#;
    let pod = pod_of(text);
    assert_eq!(pod.warnings, []);
    assert_eq!(pod.spec.uid, "6c7d1f8a-0001");
}

#[test]
fn warnings_come_with_the_pod() {
    let text = r#"
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  containers:
  - name: a
    image: a
    stdin: true
    lifecycle: {stopSignal: SIGINT}
"#;
    let warnings: Vec<_> = pod_of(text).warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(warnings.join("\n"), @r#"
    spec.containers[0].stdin: ignored: standard input is empty
    spec.containers[0].lifecycle.stopSignal: ignored: a guest has no signal handlers, and learns of its stop in one way whatever the signal
    "#);
}

#[test]
fn a_pod_made_in_code_is_checked_like_any_other() {
    let mut pod = Pod::default();
    pod.metadata.name = Some("hello".to_owned());
    let error = Manifest::from_pod(&pod, "hello.wasm").unwrap_err();
    insta::assert_snapshot!(super::shown(&error), @r#"Invalid: hello.wasm: Pod "hello": spec: Required value"#);
    let spec = pod.spec.get_or_insert_default();
    spec.containers.push(Default::default());
    spec.containers[0].name = "hello".to_owned();
    spec.containers[0].image = Some("file:./hello.wasm".to_owned());
    let manifest = Manifest::from_pod(&pod, "hello.wasm").unwrap();
    assert_eq!(manifest.source(), "hello.wasm");
    assert_eq!(manifest.pods().len(), 1);
    assert_eq!(manifest.lower(|_| context()).unwrap()[0].spec.name, "hello");
}

#[test]
fn long_names_make_short_host_names() {
    let name = format!("{}-{}", "a".repeat(62), "b".repeat(20));
    let pod = pod_of(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec: {{containers: [{{name: a, image: a}}]}}
"#
    ));
    assert_eq!(pod.spec.hostname, "a".repeat(62));
}

#[test]
fn several_pods_keep_their_order() {
    let pod = |name: &str| {
        format!(
            r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec: {{containers: [{{name: a, image: a}}]}}
"#
        )
    };
    let pods = lower(&format!(
        r#"
---
{}---
# a comment
---
{}"#,
        pod("b"),
        pod("a")
    ))
    .unwrap();
    assert_eq!(pods.iter().map(|pod| pod.spec.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
}
