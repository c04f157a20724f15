//! Probes, hooks, restart rules, resources, pull secrets: what they are lowered to, and what is said about bad ones.

use super::{error_of, pod_of};
use crate::pod::spec::{
    ContainerSpec, ExitCodes, FileVariable, Hook, HttpGet, Probe, ProbeAction, PullPolicy, QosClass, RestartPolicy, RestartRule,
    RestartRuleAction, TerminationMessagePolicy,
};
use insta::assert_snapshot;
use std::time::Duration;

/// A pod `web` whose container `app`, with the port `http` 8080, has these further lines, from line 7 on.
fn manifest(lines: &str) -> String {
    let lines: String = lines.trim_start_matches('\n').lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  containers:\n  - {{name: other, image: other:1}}\n  \
         - name: app\n    image: app:1\n    ports: [{{name: http, containerPort: 8080}}]\n{lines}"
    )
}

fn container(lines: &str) -> ContainerSpec {
    let pod = pod_of(&manifest(lines));
    assert_eq!(pod.warnings, []);
    pod.spec.containers[1].clone()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A probe with Kubernetes' defaults.
fn probe(action: ProbeAction) -> Probe {
    Probe {
        action,
        initial_delay: seconds(0),
        timeout: seconds(1),
        period: seconds(10),
        success_threshold: 1,
        failure_threshold: 3,
        termination_grace_period: None,
    }
}

#[test]
fn probes_have_the_defaults_of_kubernetes() {
    let get = HttpGet { tls: false, host: None, port: 8080, path: "/".to_owned(), headers: vec![] };
    let app = container("livenessProbe: {httpGet: {port: http}}\nreadinessProbe: {tcpSocket: {port: 8080}}");
    assert_eq!(app.liveness_probe, Some(probe(ProbeAction::HttpGet(get.clone()))));
    assert_eq!(app.readiness_probe, Some(probe(ProbeAction::TcpSocket { host: None, port: 8080 })));
    assert_eq!(app.startup_probe, None);
    let zeros = "livenessProbe: {httpGet: {port: 8080, path: '', scheme: ''}, timeoutSeconds: 0, periodSeconds: 0, \
                 successThreshold: 0, failureThreshold: 0}";
    assert_eq!(container(zeros).liveness_probe, Some(probe(ProbeAction::HttpGet(get))));
}

#[test]
fn a_probe_is_what_the_manifest_says() {
    let app = container(
        r#"
startupProbe:
  exec: {command: [check, $(NOT_EXPANDED)]}
  initialDelaySeconds: 1
  timeoutSeconds: 2
  periodSeconds: 3
  failureThreshold: 5
  terminationGracePeriodSeconds: 6
readinessProbe:
  httpGet:
    host: example.com
    port: 443
    scheme: HTTPS
    path: ready?full=1
    httpHeaders: [{name: X-A, value: b}, {name: X-A, value: c}]
  successThreshold: 4
livenessProbe: {grpc: {port: 9000, service: shop}}"#,
    );
    let command = vec!["check".to_owned(), "$(NOT_EXPANDED)".to_owned()];
    let startup = Probe {
        initial_delay: seconds(1),
        timeout: seconds(2),
        period: seconds(3),
        failure_threshold: 5,
        termination_grace_period: Some(seconds(6)),
        ..probe(ProbeAction::Exec { command })
    };
    assert_eq!(app.startup_probe, Some(startup));
    let headers = vec![("X-A".to_owned(), "b".to_owned()), ("X-A".to_owned(), "c".to_owned())];
    let get = HttpGet { tls: true, host: Some("example.com".to_owned()), port: 443, path: "/ready?full=1".to_owned(), headers };
    assert_eq!(app.readiness_probe, Some(Probe { success_threshold: 4, ..probe(ProbeAction::HttpGet(get)) }));
    assert_eq!(app.liveness_probe, Some(probe(ProbeAction::Grpc { port: 9000, service: "shop".to_owned() })));
    let without_service = container("livenessProbe: {grpc: {port: 9000}}").liveness_probe;
    assert_eq!(without_service, Some(probe(ProbeAction::Grpc { port: 9000, service: String::new() })));
}

#[test]
fn bad_probes() {
    assert_snapshot!(error_of(&manifest(
        r#"
startupProbe: {}
livenessProbe:
  httpGet: {port: htp, scheme: ftp, httpHeaders: [{name: 'X Y', value: "a\nb"}]}
  tcpSocket: {port: 70000}
  successThreshold: 2
  periodSeconds: -1
  terminationGracePeriodSeconds: 0
readinessProbe:
  exec: {}
  terminationGracePeriodSeconds: 1"#
    )));
    assert_snapshot!(error_of(&manifest("livenessProbe: {httpGet: {port: admin}}")));
    assert_snapshot!(error_of(&manifest("livenessProbe: {grpc: {port: 0}}")));
}

#[test]
fn hooks() {
    let app = container("lifecycle: {postStart: {exec: {command: [prepare]}}, preStop: {sleep: {seconds: 5}}}");
    assert_eq!(app.post_start, Some(Hook::Exec { command: vec!["prepare".to_owned()] }));
    assert_eq!(app.pre_stop, Some(Hook::Sleep(seconds(5))));
    let app = container("lifecycle: {preStop: {httpGet: {port: http, path: /bye}}}");
    let get = HttpGet { tls: false, host: None, port: 8080, path: "/bye".to_owned(), headers: vec![] };
    assert_eq!((app.post_start, app.pre_stop), (None, Some(Hook::HttpGet(get))));
}

#[test]
fn bad_hooks() {
    assert_snapshot!(error_of(&manifest(
        r#"
lifecycle:
  stopSignal: TERM
  postStart: {exec: {command: []}, sleep: {seconds: 1}}
  preStop: {sleep: {seconds: 31}}"#
    )));
    assert_snapshot!(error_of(&manifest("lifecycle: {preStop: {tcpSocket: {port: 80}}}")));
    assert_snapshot!(error_of(&manifest("lifecycle: {preStop: {}}")));
}

#[test]
fn what_an_init_container_may_not_have_a_sidecar_may() {
    let pod = |policy: &str| {
        format!(
            r#"
apiVersion: v1
kind: Pod
metadata: {{name: a}}
spec:
  initContainers:
  - name: i
    image: i
    livenessProbe: {{tcpSocket: {{port: 1}}}}
    lifecycle: {{preStop: {{sleep: {{seconds: 1}}}}}}
    {policy}
  containers: [{{name: a, image: a}}]
"#
        )
    };
    assert_snapshot!(error_of(&pod("restartPolicy: OnFailure")));
    let sidecar = &pod_of(&pod("restartPolicy: Always")).spec.containers[0];
    assert_eq!((sidecar.restart_policy, sidecar.pre_stop.clone()), (None, Some(Hook::Sleep(seconds(1)))));
    assert!(sidecar.liveness_probe.is_some());
}

#[test]
fn restart_policies_and_rules_of_one_container() {
    let app = container(
        r#"
restartPolicy: Never
restartPolicyRules:
- {action: Restart, exitCodes: {operator: In, values: [42, 43]}}
- {action: RestartAllContainers, exitCodes: {operator: NotIn, values: [0]}}"#,
    );
    assert_eq!(app.restart_policy, Some(RestartPolicy::Never));
    let restart = RestartRule { action: RestartRuleAction::Restart, exit_codes: ExitCodes::In(vec![42, 43]) };
    let all = RestartRule { action: RestartRuleAction::RestartAllContainers, exit_codes: ExitCodes::NotIn(vec![0]) };
    assert_eq!(app.restart_rules, [restart, all]);
    assert_eq!(container("").restart_policy, None);
    assert_snapshot!(error_of(&manifest(
        r#"
restartPolicyRules:
- {action: Stop, exitCodes: {operator: Is, values: [1]}}
- {exitCodes: {}}
- {action: Restart}"#
    )));
    let rules = "- {action: Restart, exitCodes: {operator: In, values: [1]}}\n".repeat(21);
    assert_snapshot!(error_of(&manifest(&format!("restartPolicy: Sometimes\nrestartPolicyRules:\n{rules}"))));
    let codes = "1,".repeat(256);
    assert_snapshot!(error_of(&manifest(&format!(
        "restartPolicy: Never\nrestartPolicyRules: [{{action: Restart, exitCodes: {{operator: In, values: [{codes}]}}}}]"
    ))));
}

#[test]
fn limits_are_numbers() {
    let app = container("resources: {limits: {cpu: 250m, memory: 64Mi, ephemeral-storage: 1G}, requests: {cpu: 0.1}}");
    let limits = (app.cpu_limit_millicores, app.memory_limit_bytes, app.ephemeral_storage_limit_bytes);
    assert_eq!(limits, (Some(250), Some(64 << 20), Some(1_000_000_000)));
    let app = container("resources: {limits: {cpu: 0, memory: '0'}, requests: {memory: 0}}");
    assert_eq!((app.cpu_limit_millicores, app.memory_limit_bytes), (None, None), "a limit of zero is none");
}

#[test]
fn the_quality_of_service_follows_from_all_containers() {
    let class = |first: &str, second: &str, init: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  initContainers: [{{name: i, image: i, resources: {init}}}]\n  \
             containers: [{{name: a, image: a, resources: {first}}}, {{name: b, image: b, resources: {second}}}]\n"
        );
        pod_of(&text).spec.qos_class
    };
    let full = "{limits: {cpu: 1, memory: 1Gi}}";
    assert_eq!(class("{}", "{}", "{}"), QosClass::BestEffort);
    assert_eq!(class("{limits: {ephemeral-storage: 1Gi}}", "{limits: {cpu: 0}}", "{}"), QosClass::BestEffort);
    assert_eq!(class(full, full, full), QosClass::Guaranteed);
    assert_eq!(class(full, "{limits: {cpu: 1000m, memory: 1024Mi}, requests: {cpu: 1}}", full), QosClass::Guaranteed);
    assert_eq!(class(full, full, "{}"), QosClass::Burstable);
    assert_eq!(class(full, "{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 500m}}", full), QosClass::Burstable);
    assert_eq!(class("{requests: {memory: 1}}", "{}", "{}"), QosClass::Burstable);
}

/// A pod with these resources of its own, an init container and a container with these of theirs.
fn with_pod_resources(own: &str, init: &str, container: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  resources: {own}\n  initContainers: [{{name: i, image: i, resources: \
         {init}}}]\n  containers: [{{name: a, image: a, resources: {container}, env: [{{name: CPU, valueFrom: {{resourceFieldRef: \
         {{resource: limits.cpu, divisor: 1m}}}}}}]}}]\n"
    )
}

#[test]
fn a_pod_has_resources_of_its_own() {
    let pod = pod_of(&with_pod_resources("{limits: {cpu: 1, memory: 64Mi}}", "{requests: {cpu: 300m}}", "{}"));
    assert_eq!((pod.spec.cpu_limit_millicores, pod.spec.memory_limit_bytes), (Some(1000), Some(64 << 20)));
    assert_eq!(
        pod.spec.containers[1].env,
        [("CPU".to_owned(), "1000".to_owned())],
        "a container without a limit has that of its pod"
    );
    let requests = pod.pod.spec.unwrap().resources.unwrap().requests.unwrap();
    let requests: Vec<_> = requests.iter().map(|(name, amount)| format!("{name} {}", amount.0)).collect();
    assert_eq!(requests, ["cpu 300m", "memory 64Mi"], "what containers request, or else the limit");
    assert_eq!(pod.spec.qos_class, QosClass::Burstable);
    let guaranteed = pod_of(&with_pod_resources("{limits: {cpu: 1, memory: 64Mi}}", "{}", "{}"));
    assert_eq!(guaranteed.spec.qos_class, QosClass::Guaranteed, "the pod's own resources decide");
}

#[test]
fn resources_of_a_pod_and_its_containers_have_to_fit() {
    let own = "{limits: {cpu: 500m, ephemeral-storage: 1Gi}, requests: {cpu: 100m}}";
    let error = error_of(&with_pod_resources(own, "{requests: {cpu: 200m}}", "{limits: {cpu: 1, memory: 1Gi}}"));
    for problem in [
        r#"spec.resources.limits[ephemeral-storage]: Unsupported value: "ephemeral-storage": supported values: "cpu", "memory""#,
        r#"spec.resources.requests[cpu]: Invalid value: "100m": must be greater than or equal to aggregate container requests of 1000m"#,
        r#"spec.containers[0].resources.limits[cpu]: Invalid value: "1": must be less than or equal to pod limits of 500m"#,
    ] {
        assert!(error.contains(problem), "{problem:?} is not in: {error}");
    }
}

#[test]
fn variables_from_files_are_known_when_the_container_starts() {
    let with = |reference: &str, more: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  volumes: [{{name: data, emptyDir: {{}}}}]\n  containers:\n  - \
             name: a\n    image: a\n    args: [\"$(A)\"]\n    env: [{{name: A, valueFrom: {{fileKeyRef: {reference}}}}}, {{name: B, value: \
             <$(A)>}}]\n{more}"
        )
    };
    let pod = pod_of(&with("{volumeName: data, path: a/env, key: KEY}", ""));
    let [container] = &pod.spec.containers[..] else { panic!("one container") };
    let expected = FileVariable {
        name: "A".to_owned(),
        volume: "data".to_owned(),
        path: "a/env".to_owned(),
        key: "KEY".to_owned(),
        optional: false,
    };
    assert_eq!(container.file_variables, [expected]);
    let known = container.with_file_variables(|_| Ok::<_, ()>(Some("value".to_owned()))).unwrap();
    assert_eq!((known.args.as_slice(), known.env[1].1.as_str()), (&["value".to_owned()][..], "<value>"));
    let error = error_of(&with("{volumeName: none, path: ../env, key: ''}", ""));
    for field in ["volumeName: Not found", "path: Invalid value", "key: Required value"] {
        assert!(error.contains(&format!("valueFrom.fileKeyRef.{field}")), "{field}: {error}");
    }
    let mount = "    volumeMounts: [{name: data, mountPath: /data, subPathExpr: $(A)}]\n";
    let error = error_of(&with("{volumeName: data, path: env, key: KEY}", mount));
    assert!(error.contains("the variable \"A\" is read from a file, once the volumes are mounted"), "{error}");
}

#[test]
fn images_are_pulled_by_their_policy_or_its_default() {
    let policy = |image: &str, field: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {{containers: [{{name: a, image: '{image}'{field}}}]}}\n"
        );
        pod_of(&text).spec.containers[0].image_pull_policy
    };
    assert_eq!(policy("shop", ""), PullPolicy::Always);
    assert_eq!(policy("shop:latest", ""), PullPolicy::Always);
    assert_eq!(policy("shop:1", ""), PullPolicy::IfNotPresent);
    assert_eq!(policy("shop", ", imagePullPolicy: Never"), PullPolicy::Never);
    assert_eq!(policy("file:./shop.wasm", ""), PullPolicy::IfNotPresent);
}

#[test]
fn termination_messages() {
    let app = container("");
    assert_eq!(app.termination_message_path, "/dev/termination-log");
    assert_eq!(app.termination_message_policy, TerminationMessagePolicy::File);
    let app = container("terminationMessagePath: /tmp/last\nterminationMessagePolicy: FallbackToLogsOnError");
    assert_eq!(app.termination_message_path, "/tmp/last");
    assert_eq!(app.termination_message_policy, TerminationMessagePolicy::FallbackToLogsOnError);
    assert_snapshot!(error_of(&manifest("terminationMessagePath: last\nterminationMessagePolicy: Logs")));
}

#[test]
fn pull_secrets_are_those_of_the_manifest() {
    let pod = |names: &str| {
        format!(
            r#"
apiVersion: v1
kind: Pod
metadata: {{name: a}}
spec:
  imagePullSecrets: {names}
  containers: [{{name: a, image: a}}]
---
apiVersion: v1
kind: Secret
metadata: {{name: new}}
type: kubernetes.io/dockerconfigjson
stringData: {{.dockerconfigjson: '{{"auths":{{"r.example":{{"auth":"YTpi"}}}}}}'}}
---
apiVersion: v1
kind: Secret
metadata: {{name: old}}
type: kubernetes.io/dockercfg
data: {{.dockercfg: eyJyLmV4YW1wbGUiOnsiYXV0aCI6IllUcGkifX0=}}
---
apiVersion: v1
kind: Secret
metadata: {{name: other}}
stringData: {{user: me}}
"#
        )
    };
    let lowered = pod_of(&pod("[{name: new}, {name: old}]"));
    let configs: Vec<_> = lowered.spec.pull_secrets.iter().map(|secret| (&*secret.name, &*secret.docker_config)).collect();
    let config: &[u8] = br#"{"auths":{"r.example":{"auth":"YTpi"}}}"#;
    assert_eq!(configs, [("new", config), ("old", config)]);
    let lowered = pod_of(&pod("[{name: other}, {name: gone}]"));
    assert_eq!(lowered.spec.pull_secrets, []);
    assert_snapshot!(lowered.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    assert_snapshot!(error_of(
        r#"
apiVersion: v1
kind: Secret
metadata: {name: none}
type: kubernetes.io/dockerconfigjson
---
apiVersion: v1
kind: Secret
metadata: {name: bad}
type: kubernetes.io/dockercfg
stringData: {.dockercfg: 'user:password'}
"#
    ));
}
