//! What containerd reads from the program's output: nothing but the answer, in every case.

use crate::harness::{self, SHIM, can_run};
use containerd_shim_protos::api::{DeleteResponse, ShutdownRequest};
use containerd_shim_protos::bootstrap_api::BootstrapParams;
use containerd_shim_protos::protobuf::Message as _;
use containerd_shim_protos::types::introspection::RuntimeInfo;
use containerd_shim_protos::{Client, TaskClient, ttrpc};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const ALONE: &str = r#"{"ociVersion":"1.0.2","root":{"path":"rootfs"},"linux":{"namespaces":[{"type":"network"}]}}"#;
const MEMBER: &str = r#"{"ociVersion":"1.0.2","annotations":{"io.kubernetes.cri.container-type":"container",
    "io.kubernetes.cri.sandbox-id":"nobody"}}"#;

/// Calls the shim as containerd does.
pub(crate) fn run(bundle: &Path, id: &str, verb: &str, input: &[u8]) -> Output {
    let mut shim = Command::new(SHIM);
    shim.args(["-namespace", "test", "-address"]).arg(bundle.join("containerd.sock")).args(["-id", id, verb]);
    shim.env_remove("TTRPC_ADDRESS").env("WASMPOD_CACHE_DIR", harness::cache()).current_dir(bundle);
    let mut child = shim.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// A bundle that has nothing but its configuration.
pub(crate) fn bundle(config: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    dir
}

fn shut_down(address: &str) {
    for service in ["containerd.task.v2.Task", "containerd.task.v3.Task"] {
        let mut request = ttrpc::Request::new();
        (request.service, request.method) = (service.to_owned(), "Connect".to_owned());
        let answer = Client::connect(address).unwrap().request(request).unwrap();
        assert!(!answer.payload.is_empty(), "{service} answers");
    }
    let client = TaskClient::new(Client::connect(address).unwrap());
    client.shutdown(ttrpc::context::with_timeout(5_000_000_000), &ShutdownRequest::new()).unwrap();
}

#[test]
fn start_answers_older_versions_with_the_address_alone() {
    if !can_run() {
        return;
    }
    let bundle = bundle(ALONE);
    let said = run(bundle.path(), "abc", "start", b"");
    let address = String::from_utf8(said.stdout).unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{:?}", String::from_utf8(said.stderr));
    let socket = address.strip_prefix("unix://").unwrap();
    assert!(!address.contains('\n') && std::fs::metadata(socket).unwrap().permissions().mode() & 0o077 == 0);
    assert_eq!(std::fs::read_to_string(bundle.path().join("address")).unwrap(), address);
    let again = run(bundle.path(), "abc", "start", b"");
    assert!(!again.status.success() && again.stdout.is_empty());
    shut_down(&address);
}

#[test]
fn start_answers_version_2_3_with_version_3() {
    if !can_run() {
        return;
    }
    let bundle = bundle(ALONE);
    let sockets = tempfile::tempdir().unwrap();
    let parameters = BootstrapParams {
        instance_id: "abc".to_owned(),
        namespace: "test".to_owned(),
        containerd_version: "2.3.4".to_owned(),
        socket_dir: Some(sockets.path().display().to_string()),
        ..BootstrapParams::default()
    };
    let said = run(bundle.path(), "abc", "start", &parameters.write_to_bytes().unwrap());
    let answer: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert!(said.stderr.is_empty() && said.status.success());
    assert_eq!((answer["version"].as_u64(), answer["protocol"].as_str()), (Some(3), Some("ttrpc")));
    let address = answer["address"].as_str().unwrap();
    assert!(address.starts_with(&format!("unix://{}", sockets.path().display())));
    shut_down(address);
}

#[test]
fn start_fails_in_one_line() {
    let cases = [("{", "no configuration"), (MEMBER, "sandbox nobody"), ("", "no configuration")];
    for (config, reason) in cases {
        let bundle = bundle(config);
        let said = run(bundle.path(), "abc", "start", b"\xff\xff not protobuf");
        let line = String::from_utf8(said.stderr).unwrap();
        assert!(!said.status.success() && said.stdout.is_empty());
        assert!(line.lines().count() == 1 && line.contains(reason), "{line}");
    }
}

#[test]
fn delete_without_a_server_answers_137() {
    let bundle = bundle(ALONE);
    for _ in 0..2 {
        let said = run(bundle.path(), "abc", "delete", b"");
        assert!(said.status.success() && said.stderr.is_empty());
        assert_eq!(DeleteResponse::parse_from_bytes(&said.stdout).unwrap().exit_status, 137);
    }
}

#[test]
fn info_says_which_runtime_this_is() {
    let said = Command::new(SHIM).arg("-info").stdin(Stdio::null()).output().unwrap();
    assert_eq!(RuntimeInfo::parse_from_bytes(&said.stdout).unwrap().name, "io.containerd.wasmpod.v1");
}
