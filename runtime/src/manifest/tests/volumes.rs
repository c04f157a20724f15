//! Volumes whose files are made: downward API, projections; claims and images.

use super::{error_of, lower, pod_of};
use crate::pod::spec::{PullPolicy, VolumeSource};
use insta::assert_snapshot;
use std::fmt::Write as _;

/// A pod `web` with these volumes.
fn manifest(volumes: &str) -> String {
    let volumes: String = volumes.trim_start_matches('\n').lines().map(|line| format!("  {line}\n")).collect();
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {{tier: front, app: web}}
  annotations: {{note: "two\nlines"}}
spec:
  containers:
  - {{name: app, image: app, resources: {{limits: {{cpu: 1500m, memory: 64Mi}}}}}}
  volumes:
{volumes}"#
    )
}

/// What the files of the first volume are, one a line.
fn files(text: &str) -> String {
    let pod = pod_of(text);
    let VolumeSource::Files { sensitive, files } = &pod.spec.volumes[0].source else { panic!("{:?}", pod.spec.volumes) };
    let mut shown = format!("sensitive: {sensitive}\n");
    for file in files {
        let _ = writeln!(shown, "{:04o} {}: {:?}", file.mode, file.path, String::from_utf8_lossy(&file.contents));
    }
    shown
}

const OBJECTS: &str = r#"---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: red, size: big}
---
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: hunter2, color: black}
"#;

#[test]
fn the_downward_api_in_files() {
    assert_snapshot!(files(&manifest(
        r#"
- name: info
  downwardAPI:
    defaultMode: 0400
    items:
    - {path: labels, fieldRef: {fieldPath: metadata.labels}}
    - {path: all/annotations, fieldRef: {fieldPath: metadata.annotations}, mode: 0644}
    - {path: name, fieldRef: {fieldPath: metadata.name}}
    - {path: tier, fieldRef: {fieldPath: "metadata.labels['tier']"}}
    - {path: cpu, resourceFieldRef: {containerName: app, resource: limits.cpu, divisor: 1m}}
    - {path: cores, resourceFieldRef: {containerName: app, resource: limits.cpu}}
    - {path: request, resourceFieldRef: {containerName: app, resource: requests.memory, divisor: 1Mi}}
    - {path: disk, resourceFieldRef: {containerName: app, resource: limits.ephemeral-storage, divisor: 1Gi}}"#
    )));
}

#[test]
fn a_projection_is_all_its_sources_the_later_over_the_earlier() {
    let text = manifest(
        r#"
- name: all
  projected:
    defaultMode: 0440
    sources:
    - configMap: {name: settings}
    - secret: {name: login, items: [{key: password, path: secret/password, mode: 0400}, {key: color, path: color}]}
    - downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}
    - configMap: {name: gone, optional: true}"#,
    );
    assert_snapshot!(files(&format!("{text}{OBJECTS}")));
}

#[test]
fn the_token_volume_of_a_pod_out_of_a_cluster_is_what_can_be_had_of_it() {
    let text = manifest(
        r#"
- name: kube-api-access-x2x4z
  projected:
    defaultMode: 420
    sources:
    - serviceAccountToken: {expirationSeconds: 3607, path: token}
    - configMap: {items: [{key: ca.crt, path: ca.crt}], name: kube-root-ca.crt}
    - downwardAPI: {items: [{fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}, path: namespace}]}"#,
    );
    assert_eq!(files(&text), "sensitive: false\n0644 namespace: \"default\"\n");
    let warnings: Vec<_> = pod_of(&text).warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["spec.volumes[0].projected.sources[0].serviceAccountToken: ignored: there is no API server, and so no token for it"]
    );
}

#[test]
fn bad_files() {
    assert_snapshot!(error_of(&manifest(
        r#"
- name: info
  downwardAPI:
    defaultMode: 01777
    items:
    - {path: /labels, fieldRef: {fieldPath: metadata.labels}}
    - {path: ip, fieldRef: {fieldPath: status.podIP}}
    - {path: both, fieldRef: {fieldPath: metadata.name}, resourceFieldRef: {resource: limits.cpu}}
    - {path: none}
    - {path: cpu, resourceFieldRef: {resource: limits.cpu}}
    - {path: mem, resourceFieldRef: {containerName: ap, resource: limits.memory, divisor: 3}}
- name: all
  projected:
    sources:
    - {}
    - configMap: {name: a}
      secret: {name: b}
    - clusterTrustBundle: {path: ca, name: x}"#
    )));
    let clash = manifest(
        r#"
- name: all
  projected:
    sources:
    - configMap: {name: settings}
    - secret: {name: login, items: [{key: password, path: color/deep}]}
    - secret: {name: nologin}"#,
    );
    assert_snapshot!(error_of(&format!("{clash}{OBJECTS}")));
}

#[test]
fn images_as_volumes() {
    let pod =
        pod_of(&manifest("- {name: a, image: {reference: data}}\n- {name: b, image: {reference: 'data:1', pullPolicy: Never}}"));
    let image = |reference: &str, pull_policy| VolumeSource::Image { reference: reference.to_owned(), pull_policy };
    assert_eq!(pod.spec.volumes[0].source, image("data", PullPolicy::Always));
    assert_eq!(pod.spec.volumes[1].source, image("data:1", PullPolicy::Never));
    assert_snapshot!(error_of(&manifest(
        "- {name: a, image: {pullPolicy: Often}}\n- {name: b, image: {reference: b}, emptyDir: {}}"
    )));
}

#[test]
fn claims() {
    let claim = |mode: &str| {
        format!(
            r#"---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data}}
spec: {{accessModes: [{mode}], resources: {{requests: {{storage: 1Gi}}}}, storageClassName: fast}}
"#
        )
    };
    let pod = manifest(
        "- {name: a, persistentVolumeClaim: {claimName: data}}\n- {name: b, persistentVolumeClaim: {claimName: data, readOnly: true}}",
    );
    let sources = |text: &str| pod_of(text).spec.volumes.into_iter().map(|volume| volume.source).collect::<Vec<_>>();
    let source = |read_only, declared| VolumeSource::PersistentVolumeClaim { claim: "data".to_owned(), read_only, declared };
    assert_eq!(sources(&format!("{pod}{}", claim("ReadWriteOnce"))), [source(false, true), source(true, true)]);
    assert_eq!(sources(&format!("{pod}{}", claim("ReadOnlyMany"))), [source(true, true), source(true, true)]);
    assert_eq!(sources(&pod), [source(false, false), source(true, false)]);
    assert_eq!(lower(&claim("ReadWriteOnce")).unwrap(), []);
    assert_snapshot!(error_of(&manifest("- {name: a, persistentVolumeClaim: {claimName: ../x}}")));
    assert_snapshot!(error_of(
        r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWrite], volumeMode: Block, dataSource: {kind: VolumeSnapshot, name: old}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: more}
spec: {resources: {requests: {storage: much}}}
"#
    ));
}
