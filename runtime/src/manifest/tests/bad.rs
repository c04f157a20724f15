//! Bad manifests, and the whole text of what is said about each.

use super::error_of;
use insta::assert_snapshot;

/// A pod `web` whose container `app` has these further lines, from line 8 on.
fn container(lines: &str) -> String {
    let lines: String = lines.trim_start_matches('\n').lines().map(|line| format!("      {line}\n")).collect();
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
    - name: app
      image: file:./app.wasm
{lines}"#
    )
}

#[test]
fn text_that_is_not_yaml() {
    assert_snapshot!(error_of("apiVersion: v1\nkind: Pod\nmetadata: {name: web\n"), @"Invalid: pod.yaml:3:11: unclosed bracket '{'");
    assert_snapshot!(error_of("apiVersion: v1\nkind: Pod\nmetadata:\n\tname: web\n"), @r#"
    Invalid: pod.yaml:4:2: tabs disallowed within this context (block indentation)
    hint: indent with spaces; this line begins with a tab
    "#);
    assert_snapshot!(error_of("apiVersion: v1\nkind: Pod\n  metadata: x\n"), @"Invalid: pod.yaml:3:11: mapping values are not allowed in this context");
    assert_snapshot!(error_of("kind: \"Pod\n"), @"Invalid: pod.yaml:1:7: unclosed quote");
    assert_snapshot!(error_of("kind: *nowhere\n"), @"Invalid: pod.yaml:1:7: alias references unknown anchor");
    assert_snapshot!(error_of("# nothing\n---\n---\n"), @r#"
    Invalid: pod.yaml: the manifest has no objects
    hint: write a Pod: apiVersion: v1, kind: Pod, ...
    "#);
}

#[test]
fn duplicate_keys() {
    assert_snapshot!(error_of(&container("image: file:./other.wasm")), @r#"
    Invalid: pod.yaml:9:7: the key "image" appears twice in the same object
    hint: keep one of the two
    "#);
    assert_snapshot!(error_of(r#"{"apiVersion": "v1", "kind": "Pod", "kind": "Secret"}"#), @r#"
    Invalid: pod.yaml:1:37: the key "kind" appears twice in the same object
    hint: keep one of the two
    "#);
}

#[test]
fn objects_of_other_kinds() {
    assert_snapshot!(error_of("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"), @r#"Invalid: pod.yaml:1:1: Deployment "web": spec: Required value"#);
    assert_snapshot!(error_of("apiVersion: v1\nkind: pod\n"), @r#"
    Invalid: pod.yaml:2:1: pod: kind: pod (v1) is not a kind that wasmpod runs
    hint: did you mean "Pod"?
    "#);
    assert_snapshot!(error_of("apiVersion: v1\nkind: Gadget\n"), @"
    Invalid: pod.yaml:2:1: Gadget: kind: Gadget (v1) is not a kind that wasmpod runs
    hint: take it out of the manifest, or skip such objects with --ignore-unknown
    ");
    assert_snapshot!(error_of("apiVersion: v2\nkind: Pod\n"), @r#"
    Invalid: pod.yaml:1:1: Pod: apiVersion: Unsupported value: "v2": supported values: "v1"
    hint: did you mean "v1"?
    "#);
    assert_snapshot!(error_of("kind: Pod\n"), @r#"
    Invalid: pod.yaml:1:1: Pod: apiVersion: Required value
    hint: write apiVersion: v1
    "#);
    assert_snapshot!(error_of("image: app.wasm\n"), @r#"
    Invalid: pod.yaml:1:1: kind: Required value
    hint: write kind: Pod, ConfigMap or Secret
    "#);
    assert_snapshot!(error_of("- a\n- b\n"), @r#"
    Invalid: pod.yaml:1:1: is not an object
    hint: a manifest has the fields apiVersion, kind, metadata and spec
    "#);
    assert_snapshot!(error_of(r#"
apiVersion: v1
kind: List
items:
- apiVersion: batch/v1
  kind: Job
  metadata: {name: once}
"#), @r#"Invalid: pod.yaml:4:3: Job "once": items[0].spec: Required value"#);
}

#[test]
fn unknown_fields() {
    assert_snapshot!(error_of(&container("imagee: x")), @r#"
    Invalid: pod.yaml:9:7: Pod "web": spec.containers[0].imagee: unknown field
    hint: did you mean "image"?
    "#);
    assert_snapshot!(error_of(&container("port:\n- containerPort: 80")), @r#"
    Invalid: pod.yaml:9:7: Pod "web": spec.containers[0].port: unknown field
    hint: did you mean "ports"?
    "#);
    assert_snapshot!(error_of(&container("volumeMounts:\n- name: data\n  mountpath: /data")), @r#"
    Invalid: pod.yaml: 3 problems
      pod.yaml:10:9: Pod "web": spec.containers[0].volumeMounts[0].name: Not found: "data" (add a volume of this name to spec.volumes)
      pod.yaml:10:9: Pod "web": spec.containers[0].volumeMounts[0].mountPath: Required value
      pod.yaml:11:9: Pod "web": spec.containers[0].volumeMounts[0].mountpath: unknown field (did you mean "mountPath"?)
    "#);
    assert_snapshot!(error_of(&container("replicas: 3")), @r#"Invalid: pod.yaml:9:7: Pod "web": spec.containers[0].replicas: unknown field"#);
    assert_snapshot!(error_of(&container("env:\n- name: A\n  from: x")), @r#"
    Invalid: pod.yaml:11:9: Pod "web": spec.containers[0].env[0].from: unknown field
    hint: the fields here are name, value, valueFrom
    "#);
}

#[test]
fn values_of_a_wrong_type_are_all_told() {
    assert_snapshot!(error_of(&container(r#"
env:
- name: PORT
  value: 8080
- name: DEBUG
  value: yes
args: --help
stdin: "true"
ports:
- containerPort: http
  hostPort: 70000000000"#)), @r#"
    Invalid: pod.yaml: 5 problems
      pod.yaml:11:16: Pod "web": spec.containers[0].env[0].value: must be a string, not the number 8080 (put it in quotes)
      pod.yaml:14:13: Pod "web": spec.containers[0].args: must be a list, not the string "--help"
      pod.yaml:15:14: Pod "web": spec.containers[0].stdin: must be true or false, not the string "true"
      pod.yaml:17:24: Pod "web": spec.containers[0].ports[0].containerPort: must be a whole number, not the string "http"
      pod.yaml:18:19: Pod "web": spec.containers[0].ports[0].hostPort: must be a number from -2147483648 to 2147483647, not the number 70000000000
    "#);
    assert_snapshot!(error_of(r#"
apiVersion: v1
kind: Pod
metadata: web
spec: [a]
"#), @r#"
    Invalid: pod.yaml: 2 problems
      pod.yaml:3:11: Pod: metadata: must be an object, not the string "web"
      pod.yaml:4:7: Pod: spec: must be an object, not a list
    "#);
    assert_snapshot!(error_of(&container("resources:\n  limits:\n    memory: true")), @r#"Invalid: pod.yaml:11:19: Pod "web": spec.containers[0].resources.limits[memory]: must be a number or a string, not the boolean true"#);
}

#[test]
fn the_values_of_secrets_are_never_told() {
    assert_snapshot!(error_of(r#"
apiVersion: v1
kind: Secret
metadata: {name: s}
data: {a: hunter2!, b: 12345}
stringData: {c: 67890}
"#), @r#"
    Invalid: pod.yaml: 3 problems
      pod.yaml:4:11: Secret "s": data[a]: is not base64
      pod.yaml:4:24: Secret "s": data[b]: must be a string, not a number (put it in quotes)
      pod.yaml:5:17: Secret "s": stringData[c]: must be a string, not a number (put it in quotes)
    "#);
}

#[test]
fn names() {
    assert_snapshot!(error_of(r#"
apiVersion: v1
kind: Pod
metadata:
  name: Web_1
  namespace: a.b
  labels: {-a: b, c: 'd e'}
  annotations: {'/x': y}
spec:
  containers:
  - name: App
    image: ' x'
  - {}
"#), @r#"
    Invalid: pod.yaml: 9 problems
      pod.yaml:4:3: Pod "Web_1": metadata.name: Invalid value: "Web_1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com')
      pod.yaml:5:3: Pod "Web_1": metadata.namespace: Invalid value: "a.b": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name', or '123-abc')
      pod.yaml:6:3: Pod "Web_1": metadata.labels: Invalid value: "-a": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName', or 'my.name', or '123-abc')
      pod.yaml:6:19: Pod "Web_1": metadata.labels[c]: Invalid value: "d e": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue', or 'my_value', or '12345')
      pod.yaml:7:3: Pod "Web_1": metadata.annotations: Invalid value: "/x": prefix part must be non-empty
      pod.yaml:10:5: Pod "Web_1": spec.containers[0].name: Invalid value: "App": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name', or '123-abc')
      pod.yaml:11:5: Pod "Web_1": spec.containers[0].image: Invalid value: " x": must not have leading or trailing whitespace
      pod.yaml:12:5: Pod "Web_1": spec.containers[1].name: Required value
      pod.yaml:12:5: Pod "Web_1": spec.containers[1].image: Required value (name a WebAssembly file, such as file:./app.wasm)
    "#);
    assert_snapshot!(error_of("apiVersion: v1\nkind: Pod\nmetadata: {}\n"), @r#"
    Invalid: pod.yaml: 2 problems
      pod.yaml:1:1: Pod: spec: Required value
      pod.yaml:3:1: Pod: metadata.name: Required value
    "#);
    assert_snapshot!(error_of(r#"
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {containers: []}
"#), @r#"
    Invalid: pod.yaml:4:8: Pod "a": spec.containers: Required value
    hint: a pod has at least one container
    "#);
}

#[test]
fn numbers_and_choices() {
    assert_snapshot!(error_of(r#"
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  restartPolicy: onfailure
  terminationGracePeriodSeconds: -1
  activeDeadlineSeconds: 0
  hostname: a.b
  hostAliases: [{ip: 1.2.3, hostnames: ['A']}]
  containers: [{name: a, image: a, imagePullPolicy: Sometimes, restartPolicy: Never, workingDir: data}]
"#), @r#"
    Invalid: pod.yaml: 8 problems
      pod.yaml:5:3: Pod "a": spec.restartPolicy: Unsupported value: "onfailure": supported values: "Always", "OnFailure", "Never" (did you mean "OnFailure"?)
      pod.yaml:6:3: Pod "a": spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0
      pod.yaml:7:3: Pod "a": spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive
      pod.yaml:8:3: Pod "a": spec.hostname: Invalid value: "a.b": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name', or '123-abc')
      pod.yaml:9:18: Pod "a": spec.hostAliases[0].ip: Invalid value: "1.2.3": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
      pod.yaml:9:41: Pod "a": spec.hostAliases[0].hostnames[0]: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com')
      pod.yaml:10:36: Pod "a": spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"
      pod.yaml:10:86: Pod "a": spec.containers[0].workingDir: Invalid value: "data": must be an absolute path
    "#);
}

#[test]
fn ports() {
    assert_snapshot!(error_of(&container(r#"
ports:
- {name: http, containerPort: 80}
- {name: http, containerPort: 81}
- {containerPort: 0}
- {containerPort: 70000, hostPort: -1}
- {containerPort: 82, protocol: SCTP, hostIP: localhost}
- {name: waytoolongportname, containerPort: 83}
- {containerPort: 80}
- {containerPort: 80, hostPort: 80}"#)), @r#"
    Invalid: pod.yaml: 8 problems
      pod.yaml:11:10: Pod "web": spec.containers[0].ports[1].name: Duplicate value: "http"
      pod.yaml:12:10: Pod "web": spec.containers[0].ports[2].containerPort: Required value
      pod.yaml:13:10: Pod "web": spec.containers[0].ports[3].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive
      pod.yaml:13:32: Pod "web": spec.containers[0].ports[3].hostPort: Invalid value: -1: must be between 1 and 65535, inclusive
      pod.yaml:14:29: Pod "web": spec.containers[0].ports[4].protocol: Unsupported value: "SCTP": supported values: "TCP", "UDP"
      pod.yaml:14:45: Pod "web": spec.containers[0].ports[4].hostIP: Invalid value: "localhost": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
      pod.yaml:15:10: Pod "web": spec.containers[0].ports[5].name: Invalid value: "waytoolongportname": must be no more than 15 characters
      pod.yaml:16:10: Pod "web": spec.containers[0].ports[6].containerPort: Duplicate value: 80
    "#);
}

#[test]
fn port_clashes() {
    let two = r#"
apiVersion: v1
kind: Pod
metadata:
  name: two
spec:
  containers:
  - name: a
    image: a
    ports:
    - {containerPort: 8080}
  - name: b
    image: b
    ports:
    - {containerPort: 9090}
    - {containerPort: 8080}
"#;
    assert_snapshot!(error_of(two), @r#"
    Invalid: pod.yaml:15:8: Pod "two": spec.containers[1].ports[1].containerPort: Duplicate value: 8080: container "a" has TCP port 8080 too
    hint: the containers of a pod share one network; give each its own port
    "#);
    let host = r#"
apiVersion: v1
kind: Pod
metadata: {name: one}
spec: {containers: [{name: a, image: a, ports: [{containerPort: 1, hostPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: two}
spec:
  containers: [{name: a, image: a, ports: [{containerPort: 1, hostPort: 8080, hostIP: 127.0.0.1}]}]
"#;
    assert_snapshot!(error_of(host), @r#"
    Invalid: pod.yaml:10:63: document 2, Pod "two": spec.containers[0].ports[0].hostPort: Duplicate value: 8080: container "a" of pod "one" has TCP port 8080 too
    hint: each port of the machine leads to one container
    "#);
}

#[test]
fn volumes_and_mounts() {
    assert_snapshot!(error_of(&format!("{}{}", container(r#"
volumeMounts:
- {name: data, mountPath: /data}
- {name: dta, mountPath: /data/}
- {name: log, mountPath: 'rel:x'}
- {name: tmp, mountPath: /x, subPath: ../up}
- {name: tmp, mountPath: /y, subPath: a, subPathExpr: b}"#),
        r#"
  volumes:
  - name: dat
  - name: tmp
    emptyDir: {sizeLimit: lots, medium: memory}
    hostPath: {path: rel, type: Dir}
  - name: tmp
  - name: cfg
    configMap: {defaultMode: 01000, items: [{key: a, path: ../a}, {key: b, path: c/d}, {key: b, path: c}]}
  - name: s
    secret: {}
"#)), @r#"
    Invalid: pod.yaml: 19 problems
      pod.yaml:10:10: Pod "web": spec.containers[0].volumeMounts[0].name: Not found: "data" (did you mean "dat"?)
      pod.yaml:11:10: Pod "web": spec.containers[0].volumeMounts[1].name: Not found: "dta" (did you mean "dat"?)
      pod.yaml:11:21: Pod "web": spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/data/": must be unique
      pod.yaml:12:10: Pod "web": spec.containers[0].volumeMounts[2].name: Not found: "log" (add a volume of this name to spec.volumes)
      pod.yaml:12:21: Pod "web": spec.containers[0].volumeMounts[2].mountPath: Invalid value: "rel:x": must be an absolute path
      pod.yaml:12:21: Pod "web": spec.containers[0].volumeMounts[2].mountPath: Invalid value: "rel:x": must not contain ':'
      pod.yaml:13:36: Pod "web": spec.containers[0].volumeMounts[3].subPath: Invalid value: "../up": must not contain '..'
      pod.yaml:14:48: Pod "web": spec.containers[0].volumeMounts[4].subPathExpr: Invalid value: "b": subPathExpr and subPath are mutually exclusive
      pod.yaml:19:16: Pod "web": spec.volumes[1].emptyDir.sizeLimit: Invalid value: "lots": quantities are a number with an optional suffix: Ki, Mi, Gi, Ti, Pi, Ei, n, u, m, k, M, G, T, P, E, or an exponent (write it like 128Mi, 1.5Gi, 250m or 1e3)
      pod.yaml:19:33: Pod "web": spec.volumes[1].emptyDir.medium: Unsupported value: "memory": supported values: "", "Memory" (did you mean "Memory"?)
      pod.yaml:20:5: Pod "web": spec.volumes[1].hostPath: Forbidden: may not specify more than 1 volume type (the volume has emptyDir too)
      pod.yaml:20:16: Pod "web": spec.volumes[1].hostPath.path: Invalid value: "rel": must be an absolute path
      pod.yaml:20:27: Pod "web": spec.volumes[1].hostPath.type: Unsupported value: "Dir": supported values: "", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"
      pod.yaml:21:5: Pod "web": spec.volumes[2].name: Duplicate value: "tmp"
      pod.yaml:23:5: Pod "web": spec.volumes[3].configMap.name: Required value
      pod.yaml:23:17: Pod "web": spec.volumes[3].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive
      pod.yaml:23:54: Pod "web": spec.volumes[3].configMap.items[0].path: Invalid value: "../a": must not contain '..'
      pod.yaml:23:76: Pod "web": spec.volumes[3].configMap.items[1].path: Invalid value: "c/d": "c" is the file of another key and cannot be a directory
      pod.yaml:25:5: Pod "web": spec.volumes[4].secret.secretName: Required value
    "#);
}

#[test]
fn env_references() {
    assert_snapshot!(error_of(&container(r#"
env:
- {name: 'A=B', value: x}
- {value: x}
- {name: C, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: D, valueFrom: {}}
- {name: E, valueFrom: {fieldRef: {fieldPath: metadata.nam}}}
- {name: F, valueFrom: {resourceFieldRef: {resource: limits.gpu, containerName: ap}}}
- {name: G, valueFrom: {secretKeyRef: {key: a}}}
envFrom:
- {}
- {prefix: x, configMapRef: {name: A}}"#)), @r#"
    Invalid: pod.yaml: 10 problems
      pod.yaml:10:10: Pod "web": spec.containers[0].env[0].name: Invalid value: "A=B": a valid environment variable name must consist only of printable ASCII characters other than '='
      pod.yaml:11:9: Pod "web": spec.containers[0].env[1].name: Required value
      pod.yaml:12:29: Pod "web": spec.containers[0].env[2].valueFrom: Invalid value: "": may not be specified when `value` is not empty
      pod.yaml:13:19: Pod "web": spec.containers[0].env[3].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`
      pod.yaml:14:42: Pod "web": spec.containers[0].env[4].valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.nam": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels['<KEY>']", "metadata.annotations['<KEY>']", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs" (did you mean "metadata.name"?)
      pod.yaml:15:50: Pod "web": spec.containers[0].env[5].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.gpu": supported values: "limits.cpu", "limits.memory", "limits.ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage" (did you mean "limits.cpu"?)
      pod.yaml:15:72: Pod "web": spec.containers[0].env[5].valueFrom.resourceFieldRef.containerName: Not found: "ap"
      pod.yaml:16:31: Pod "web": spec.containers[0].env[6].valueFrom.secretKeyRef.name: Required value
      pod.yaml:18:9: Pod "web": spec.containers[0].envFrom[0]: Invalid value: "": must specify one of: `configMapRef` or `secretRef`
      pod.yaml:19:36: Pod "web": spec.containers[0].envFrom[1].configMapRef.name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com')
    "#);
}

#[test]
fn missing_objects_and_keys() {
    let settings = r#"
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {port: '80', color: red}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: elsewhere, namespace: other}
---
apiVersion: v1
kind: Secret
metadata: {name: login}
data: {user: //79}
"#;
    let pod = container(
        r#"
env:
- {name: A, valueFrom: {configMapKeyRef: {name: settings, key: prot}}}
- {name: B, valueFrom: {configMapKeyRef: {name: setings, key: port}}}
- {name: C, valueFrom: {secretKeyRef: {name: login, key: password}}}
- {name: D, valueFrom: {secretKeyRef: {name: login, key: user}}}
envFrom:
- configMapRef: {name: elsewhere}
volumeMounts:
- {name: v, mountPath: /v, subPathExpr: $(NOPE)}"#,
    );
    let volumes = r#"
  volumes:
  - name: v
    configMap: {name: settings, items: [{key: colour, path: c}]}
  - name: w
    secret: {secretName: logins}
"#;
    assert_snapshot!(error_of(&format!("{pod}{volumes}{settings}")), @r#"
    Invalid: pod.yaml: 8 problems
      pod.yaml:10:65: document 1, Pod "web": spec.containers[0].env[0].valueFrom.configMapKeyRef.key: Not found: "prot" (ConfigMap "settings" has "port")
      pod.yaml:11:49: document 1, Pod "web": spec.containers[0].env[1].valueFrom.configMapKeyRef.name: Not found: "setings" (did you mean "settings"?)
      pod.yaml:12:59: document 1, Pod "web": spec.containers[0].env[2].valueFrom.secretKeyRef.key: Not found: "password" (Secret "login" has "user")
      pod.yaml:13:59: document 1, Pod "web": spec.containers[0].env[3].valueFrom.secretKeyRef.key: the value of "user" is not UTF-8 text and cannot be a variable (mount it as a file)
      pod.yaml:15:24: document 1, Pod "web": spec.containers[0].envFrom[0].configMapRef.name: Not found: "elsewhere" (the manifest has no ConfigMap of this name in namespace "default"; add it, or set optional: true)
      pod.yaml:17:34: document 1, Pod "web": spec.containers[0].volumeMounts[0].subPathExpr: Invalid value: "$(NOPE)": the container has no variable "NOPE"
      pod.yaml:21:42: document 1, Pod "web": spec.volumes[0].configMap.items[0].key: Not found: "colour" (ConfigMap "settings" has "color")
      pod.yaml:23:14: document 1, Pod "web": spec.volumes[1].secret.secretName: Not found: "logins" (did you mean "login"?)
    reason: CreateContainerConfigError
    "#);
    let one = container("envFrom:\n- secretRef:\n    name: nope");
    assert_snapshot!(error_of(&one), @r#"
    Invalid: pod.yaml:11:11: Pod "web": spec.containers[0].envFrom[0].secretRef.name: Not found: "nope"
    hint: the manifest has no Secret of this name in namespace "default"; add it, or set optional: true
    reason: CreateContainerConfigError
    "#);
}

#[test]
fn resources() {
    assert_snapshot!(error_of(&container("resources:\n  limits: {memory: 64Mb, cpu: -1, nvidia.com/gpu: 1, gpu: 1}\n  requests: {memory: 1}")), @r#"
    Invalid: pod.yaml: 4 problems
      pod.yaml:10:18: Pod "web": spec.containers[0].resources.limits[memory]: Invalid value: "64Mb": quantities are a number with an optional suffix: Ki, Mi, Gi, Ti, Pi, Ei, n, u, m, k, M, G, T, P, E, or an exponent (write it like 128Mi, 1.5Gi, 250m or 1e3)
      pod.yaml:10:32: Pod "web": spec.containers[0].resources.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0
      pod.yaml:10:41: Pod "web": spec.containers[0].resources.limits[nvidia.com/gpu]: not supported: wasmpod hands no devices or huge pages to guests
      pod.yaml:10:60: Pod "web": spec.containers[0].resources.limits[gpu]: Unsupported value: "gpu": supported values: "cpu", "memory", "ephemeral-storage" (did you mean "cpu"?)
    "#);
    assert_snapshot!(error_of(&container("resources:\n  limits: {memory: 1Gi}\n  requests: {memory: 2Gi}")), @r#"Invalid: pod.yaml:11:20: Pod "web": spec.containers[0].resources.requests[memory]: Invalid value: "2Gi": must be less than or equal to memory limit of 1Gi"#);
}

#[test]
fn what_cannot_be_ignored_safely_is_refused() {
    assert_snapshot!(error_of(&format!("{}{}", container("securityContext: {privileged: true}\nlifecycle: {preStop: {tcpSocket: {port: 80}}}\nenv: [{name: A, value: b}]\nvolumeDevices: [{name: d, devicePath: /dev/d}]"),
        r#"
  hostNetwork: true
  hostPID: true
  volumes:
  - name: n
    nfs: {server: a, path: /}
  - name: p
    projected: {sources: [{podCertificate: {keyType: ED25519, signerName: a/b}}]}
"#)), @r#"
    Invalid: pod.yaml: 7 problems
      pod.yaml:9:25: Pod "web": spec.containers[0].securityContext.privileged: not supported: no guest ever gets the rights of its host
      pod.yaml:10:29: Pod "web": spec.containers[0].lifecycle.preStop.tcpSocket: not supported: Kubernetes has given it up and fails such hooks; use httpGet or exec
      pod.yaml:12:7: Pod "web": spec.containers[0].volumeDevices: not supported: wasmpod hands no devices to guests
      pod.yaml:14:3: Pod "web": spec.hostNetwork: not supported: a pod has a network of its own; publish ports with hostPort instead
      pod.yaml:15:3: Pod "web": spec.hostPID: not supported: a WebAssembly guest shares no namespace with its host
      pod.yaml:18:5: Pod "web": spec.volumes[0].nfs: not supported: wasmpod has no storage driver of this kind
      pod.yaml:20:28: Pod "web": spec.volumes[1].projected.sources[0].podCertificate: not supported: there is no cluster whose certificates these would be
    "#);
    assert_snapshot!(error_of(r#"
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  initContainers:
  - {name: i, image: i, livenessProbe: {exec: {command: [a]}}, restartPolicy: OnFailure}
  containers: [{name: a, image: a}]
"#), @r#"Invalid: pod.yaml:6:25: Pod "a": spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"#);
}

#[test]
fn the_egress_annotation() {
    assert_snapshot!(error_of(r#"
apiVersion: v1
kind: Pod
metadata: {name: a, annotations: {wasmpod.dev/egress: 'api.example.com:443, 10.0.0.0/33'}}
spec: {containers: [{name: a, image: a}]}
"#), @r#"
    Invalid: pod.yaml:3:35: Pod "a": metadata.annotations[wasmpod.dev/egress]: Invalid value: "10.0.0.0/33" has no number of bits from 0 to 32
    hint: write [tcp://|udp://]HOST[:PORT], where HOST is a name, *.NAME, an address or ADDRESS/BITS
    "#);
}

#[test]
fn two_objects_of_one_name() {
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    assert_snapshot!(error_of(&format!("{map}---\n{map}")), @r#"Invalid: pod.yaml:5:1: document 2, ConfigMap "a": metadata.name: Duplicate value: "a": the manifest has another ConfigMap of this name"#);
    assert_snapshot!(error_of(r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
data: {'a/b': c, d: e}
binaryData: {d: aGk=}
"#), @r#"
    Invalid: pod.yaml: 2 problems
      pod.yaml:4:8: ConfigMap "a": data[a/b]: Invalid value: "a/b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name', or 'KEY_NAME', or 'key-name')
      pod.yaml:5:14: ConfigMap "a": binaryData[d]: Duplicate value: "d": data has this key too
    "#);
}
