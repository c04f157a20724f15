//! The kinds that wrap pods: what their pods look like, and what is said about bad ones.

use super::{context, error_of};
use crate::manifest::{Manifest, ParseOptions};
use crate::net::{ServiceKind, TargetPort};
use crate::workload::spec::{FailureAction, FailureRule, Failures, IndexLimits, PodConditionPattern, SuccessRule};
use crate::workload::{ControllerSpec, WorkloadKind};
use insta::assert_snapshot;

/// A workload `web` of this kind, with these further lines in its spec and in its template's pod.
fn workload(kind: &str, spec: &str, pod: &str) -> String {
    let version = if kind == "Job" { "batch/v1" } else { "apps/v1" };
    let selector = if kind == "Job" { "" } else { "  selector: {matchLabels: {app: web}}\n" };
    let lines = |text: &str, indentation: &str| text.lines().map(|line| format!("{indentation}{line}\n")).collect::<String>();
    format!(
        "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: web}}\nspec:\n{selector}{}  template:\n    metadata:\n      labels: \
         {{app: web}}\n    spec:\n{}      containers:\n        - name: app\n          image: file:./app.wasm\n",
        lines(spec, "  "),
        lines(pod, "      "),
    )
}

fn parse(text: &str) -> Manifest {
    Manifest::parse(text, "pod.yaml").unwrap_or_else(|error| panic!("{}", super::shown(&error)))
}

/// The metadata and the interesting fields of the pod with this ordinal.
fn replica(manifest: &Manifest, ordinal: Option<u32>, serial: u32) -> String {
    let replica = manifest.workloads().next().unwrap().replica(ordinal, serial);
    let lowered = manifest.lower_replica(0, &replica, &context()).unwrap_or_else(|error| panic!("{}", super::shown(&error)));
    let spec = lowered.pod.spec.unwrap();
    let mut env = lowered.spec.containers[0].env.clone();
    env.retain(|(name, _)| name != "HOSTNAME");
    format!(
        "{}\nhostname: {}\nsubdomain: {:?}\nenv: {env:?}\n",
        serde_saphyr::to_string(&lowered.pod.metadata).unwrap().trim_end(),
        lowered.spec.hostname,
        spec.subdomain
    )
}

#[test]
fn a_deployments_pods_belong_to_its_replica_set() {
    let manifest = parse(&workload("Deployment", "replicas: 3", ""));
    let spec = manifest.workloads().next().unwrap();
    assert_eq!((spec.kind, &spec.controller), (WorkloadKind::Deployment, &ControllerSpec::Replicas { replicas: 3 }));
    insta::assert_snapshot!("deployment_pod", replica(&manifest, None, 2));
}

#[test]
fn a_stateful_sets_pods_have_ordinals_and_hosts_of_their_own() {
    let manifest = parse(&workload("StatefulSet", "replicas: 2\nserviceName: nginx\nordinals: {start: 5}", ""));
    insta::assert_snapshot!("stateful_set_pod", replica(&manifest, Some(6), 0));
}

#[test]
fn an_indexed_jobs_pods_know_their_index() {
    let manifest = parse(&workload("Job", "completions: 3\ncompletionMode: Indexed", "restartPolicy: Never"));
    insta::assert_snapshot!("indexed_job_pod", replica(&manifest, Some(2), 0));
}

#[test]
fn a_daemon_set_has_one_pod_for_the_one_machine() {
    let manifest = parse(&workload("DaemonSet", "", ""));
    assert_eq!(manifest.workloads().next().unwrap().pods_at_once(), 1);
}

#[test]
fn jobs_have_the_defaults_of_kubernetes() {
    let job = |spec: &str| {
        let manifest = parse(&workload("Job", spec, "restartPolicy: OnFailure"));
        let ControllerSpec::Job(job) = manifest.workloads().next().unwrap().controller.clone() else { panic!("no Job") };
        (job.completions, job.parallelism, job.backoff_limit)
    };
    assert_eq!(job(""), (Some(1), 1, 6));
    assert_eq!(job("parallelism: 3"), (None, 3, 6), "a work queue");
    assert_eq!(job("completions: 5\nparallelism: 2\nbackoffLimit: 0"), (Some(5), 2, 0));
}

#[test]
fn lists_of_one_kind_need_not_repeat_it() {
    let text = "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\n  spec: {containers: [{name: c, image: a.wasm}]}\n";
    assert_eq!(parse(text).pods().next().unwrap().metadata.name.as_deref(), Some("a"));
    assert_snapshot!(error_of("apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\n  spec: {}\n"), @r#"
    Invalid: pod.yaml:5:3: Pod "a": items[0].spec.containers: Required value
    hint: a pod has at least one container
    "#);
}

#[test]
fn templates_are_checked_as_pods_are_and_their_paths_are_whole() {
    assert_snapshot!(error_of(&workload("Deployment", "replica: 3", "restartPolicy: Never\nterminationGrace: 3\nhostNetwork: true")), @r#"
    Invalid: pod.yaml: 4 problems
      pod.yaml:6:3: Deployment "web": spec.replica: unknown field (did you mean "replicas"?)
      pod.yaml:11:7: Deployment "web": spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"
      pod.yaml:12:7: Deployment "web": spec.template.spec.terminationGrace: unknown field
      pod.yaml:13:7: Deployment "web": spec.template.spec.hostNetwork: not supported: a pod has a network of its own; publish ports with hostPort instead
    "#);
    assert_snapshot!(error_of(&workload("Deployment", "", "volumes: [{name: A_b}]\nnodeName: 5")), @r#"
    Invalid: pod.yaml:11:17: Deployment "web": spec.template.spec.nodeName: must be a string, not the number 5
    hint: put it in quotes
    "#);
    assert_snapshot!(error_of(&workload("Deployment", "", "volumes: [{name: A_b}]")), @r#"Invalid: pod.yaml:10:18: Deployment "web": spec.template.spec.volumes[0].name: Invalid value: "A_b": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name', or '123-abc')"#);
    assert_snapshot!(error_of(&workload("Job", "managedBy: example.com/other\ncompletionMode: Indexed", "")), @r#"
    Invalid: pod.yaml: 3 problems
      pod.yaml:4:1: Job "web": spec.completions: Required value (an Indexed Job has one pod for each index)
      pod.yaml:5:3: Job "web": spec.managedBy: not supported: no other controller runs here
      pod.yaml:10:5: Job "web": spec.template.spec.restartPolicy: Required value (a Job's pods end: write Never or OnFailure)
    "#);
}

#[test]
fn the_policies_of_jobs_are_understood() {
    let job = |spec: &str| {
        let manifest = parse(&workload("Job", spec, "restartPolicy: Never"));
        let ControllerSpec::Job(job) = manifest.workloads().next().unwrap().controller.clone() else { panic!("no Job") };
        job
    };
    let plain = job("podFailurePolicy:\n  rules:\n  - action: Ignore\n    onPodConditions: [{type: DisruptionTarget}]");
    let pattern = PodConditionPattern { kind: "DisruptionTarget".to_owned(), status: "True".to_owned() };
    let expected = FailureRule { action: FailureAction::Ignore, failures: Failures::Conditions(vec![pattern]) };
    assert_eq!((plain.failure_rules, plain.backoff_limit), (vec![expected], 6));
    let indexed = job(
        "completionMode: Indexed\ncompletions: 10\nbackoffLimitPerIndex: 1\nmaxFailedIndexes: 5\npodFailurePolicy:\n  \
                       rules:\n  - action: FailIndex\n    onExitCodes: {containerName: app, operator: NotIn, values: [1, 2]}\nsuccessPolicy:\n  \
                       rules: [{succeededIndexes: '0,2-3', succeededCount: 2}]",
    );
    assert_eq!(indexed.per_index, Some(IndexLimits { backoff_limit: 1, failed_indexes_max: Some(5) }));
    assert_eq!(indexed.backoff_limit, 2_147_483_647);
    let failures = Failures::ExitCodes { container: Some("app".to_owned()), inverted: true, codes: vec![1, 2] };
    assert_eq!(indexed.failure_rules, [FailureRule { action: FailureAction::FailIndex, failures }]);
    assert_eq!(indexed.success_rules, [SuccessRule { indexes: Some([0, 2, 3].into()), count: Some(2) }]);
}

#[test]
fn bad_policies_of_jobs_are_told() {
    let told = |spec: &str, policy: &str, problems: &[&str]| {
        let error = error_of(&workload("Job", spec, &format!("restartPolicy: {policy}")));
        for problem in problems {
            assert!(error.contains(&format!("spec.{problem}")), "{problem:?} is not in: {error}");
        }
        assert!(error.contains(&format!(": {} problems", problems.len())), "{error}");
    };
    let rules = "podFailurePolicy:\n  rules:\n  - {action: Retry, onExitCodes: {containerName: other, operator: In, values: [3, 0, 3]}}\n  \
                 - {action: FailIndex, onPodConditions: [{type: a b, status: Maybe}]}\n  - action: Count\n  \
                 - {action: Count, onExitCodes: {operator: In, values: [1]}, onPodConditions: [{type: Ready}]}\n  \
                 - {action: Count, onExitCodes: {operator: Is, values: []}}\npodReplacementPolicy: TerminatingOrFailed";
    told(
        rules,
        "OnFailure",
        &[
            r#"podFailurePolicy.rules[0].action: Unsupported value: "Retry": supported values: "Count", "FailIndex", "FailJob", "Ignore""#,
            r#"podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "other": must be one of the container or"#,
            "podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
            "podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 3",
            "podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [3, 0, 3]: must be ordered",
            r#"podFailurePolicy.rules[1].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set"#,
            r#"podFailurePolicy.rules[1].onPodConditions[0].type: Invalid value: "a b""#,
            r#"podFailurePolicy.rules[1].onPodConditions[0].status: Unsupported value: "Maybe""#,
            "podFailurePolicy.rules[2]: Invalid value: specifying one of onExitCodes and onPodConditions is required",
            "podFailurePolicy.rules[3]: Invalid value: specifying both onExitCodes and onPodConditions is not supported",
            r#"podFailurePolicy.rules[4].onExitCodes.operator: Unsupported value: "Is": supported values: "In", "NotIn""#,
            "podFailurePolicy.rules[4].onExitCodes.values: Invalid value: []: at least one value is required",
            r#"podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed""#,
            r#"template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified"#,
        ],
    );
    told(
        "backoffLimitPerIndex: 1\nmaxFailedIndexes: 1\nsuccessPolicy: {rules: [{succeededCount: 1}]}",
        "Never",
        &[
            "backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
            "maxFailedIndexes: Invalid value: 1: requires indexed completion mode",
            "successPolicy: Invalid value: requires indexed completion mode",
        ],
    );
    told(
        "completionMode: Indexed\ncompletions: 3\nmaxFailedIndexes: 9\nsuccessPolicy:\n  rules: [{}, {succeededCount: 4}, \
         {succeededIndexes: '0-3'}, {succeededIndexes: '0,1', succeededCount: 3}]",
        "Never",
        &[
            "backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
            "maxFailedIndexes: Invalid value: 9: must be less than or equal to 3",
            "successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified",
            "successPolicy.rules[1].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of specified completions)",
            r#"successPolicy.rules[2].succeededIndexes: Invalid value: "0-3": error parsing succeededIndexes: too large index 3"#,
            "successPolicy.rules[3].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes",
        ],
    );
}

#[test]
fn the_selector_has_to_select_the_template() {
    let other = workload("Deployment", "", "").replace("labels: {app: web}", "labels: {app: other}");
    assert_snapshot!(error_of(&other), @r#"Invalid: pod.yaml:8:7: Deployment "web": spec.template.metadata.labels: Invalid value: {"app": "other"}: `selector` does not match template `labels`"#);
    let expression = workload("Deployment", "", "").replace(
        "selector: {matchLabels: {app: web}}",
        "selector: {matchExpressions: [{key: app, operator: In, values: [a, web]}]}",
    );
    parse(&expression);
    assert_snapshot!(error_of(&workload("ReplicaSet", "", "").replace("{matchLabels: {app: web}}", "{}")), @r#"
    Invalid: pod.yaml:5:3: ReplicaSet "web": spec.selector: Required value
    hint: write matchLabels with labels that spec.template.metadata.labels has
    "#);
}

#[test]
fn several_pods_cannot_share_a_port_of_the_machine() {
    let text = workload("Deployment", "replicas: 2", "") + "          ports: [{containerPort: 80, hostPort: 8080}]\n";
    assert_snapshot!(error_of(&text), @r#"
    Invalid: pod.yaml:14:39: Deployment "web": spec.template.spec.containers[0].ports[0].hostPort: Forbidden: 2 pods cannot share TCP port 8080 of the machine
    hint: put a Service of type LoadBalancer before them
    "#);
    parse(&text.replace("replicas: 2", "replicas: 1"));
}

#[test]
fn other_kinds_are_errors_or_skipped_when_asked() {
    assert_snapshot!(error_of("apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly}\n"), @r#"
    Invalid: pod.yaml:2:1: CronJob "nightly": kind: CronJob (batch/v1) is not run: wasmpod runs what a manifest has now, and keeps no calendar
    hint: write its spec.jobTemplate as a Job (apiVersion: batch/v1, kind: Job), and let cron or a systemd timer run it
    "#);
    assert_snapshot!(error_of("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\n"), @r#"
    Invalid: pod.yaml:2:1: Ingress "web": kind: Ingress (networking.k8s.io/v1) is not a kind that wasmpod runs
    hint: take it out of the manifest, or skip such objects with --ignore-unknown
    "#);
    assert_snapshot!(error_of("apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: web}\n"), @r#"Invalid: pod.yaml:1:1: Deployment "web": apiVersion: Unsupported value: "apps/v1beta1": supported values: "apps/v1""#);
    let text = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\n---\n".to_owned()
        + &workload("Deployment", "", "");
    let options = ParseOptions { ignore_unknown_kinds: true };
    let manifest = Manifest::from_bytes_with(text.as_bytes(), "pod.yaml", options).unwrap();
    assert_eq!(manifest.pods().len(), 1);
    assert_snapshot!(manifest.skipped().join("\n"), @r#"pod.yaml: Ingress "web": skipped: wasmpod does not run this kind"#);
}

#[test]
fn services_are_understood() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  selector: {app: web}\n  ports: [{name: http, port: 80, \
                targetPort: http}, {name: dns, port: 53, protocol: UDP}]\n";
    let service = parse(text).services().next().unwrap();
    assert_eq!((service.kind.clone(), service.ports[0].target.clone()), (ServiceKind::ClusterIp, TargetPort::Name("http".into())));
    assert_eq!(service.ports[1].target, TargetPort::Number(53));
    assert!(service.selects(&[("app".to_owned(), "web".to_owned()), ("x".to_owned(), "y".to_owned())].into()));
    assert!(!service.selects(&[("app".to_owned(), "api".to_owned())].into()));
    let headless = parse("apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: None, selector: {app: web}}\n");
    assert_eq!(headless.services().next().unwrap().kind, ServiceKind::Headless);
    assert_eq!(headless.object_warnings().count(), 0);
}

#[test]
fn bad_services_are_told() {
    assert_snapshot!(error_of("apiVersion: v1\nkind: Service\nmetadata: {name: a.b}\nspec:\n  type: Nodeport\n  sessionAffinity: Cookie\n  \
                               ports: [{port: 0}, {port: 80, protocol: SCTP, name: X}]\n"), @r#"
                               Invalid: pod.yaml: 7 problems
                                 pod.yaml:3:12: Service "a.b": metadata.name: Invalid value: "a.b": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name', or '123-abc')
                                 pod.yaml:5:3: Service "a.b": spec.type: Unsupported value: "Nodeport": supported values: "ClusterIP", "NodePort", "LoadBalancer", "ExternalName" (did you mean "NodePort"?)
                                 pod.yaml:6:3: Service "a.b": spec.sessionAffinity: Unsupported value: "Cookie": supported values: "None", "ClientIP"
                                 pod.yaml:7:11: Service "a.b": spec.ports[0].name: Required value (a Service with several ports has a name for each)
                                 pod.yaml:7:12: Service "a.b": spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
                                 pod.yaml:7:33: Service "a.b": spec.ports[1].protocol: Unsupported value: "SCTP": supported values: "TCP", "UDP"
                                 pod.yaml:7:49: Service "a.b": spec.ports[1].name: Invalid value: "X": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name', or '123-abc')
                               "#);
    assert_snapshot!(error_of("apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}}\n"), @r#"Invalid: pod.yaml:4:1: Service "web": spec.ports: Required value"#);
}
