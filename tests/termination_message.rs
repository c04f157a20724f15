//! Termination messages: what a container leaves in its file, or at the end of its output.

use crate::guests;
use crate::harness::Folder;
use crate::harness::sandbox::TestSandbox;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use wasmpod::pod::spec::TerminationMessagePolicy;
use wasmpod::pod::state::{ContainerExit, ExitCause};

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: last-words}
spec:
  containers:
  - name: main
    image: file:./toolbox.wasm
    volumeMounts:
    - {name: writable, mountPath: /data}
    - {name: fixed, mountPath: /fixed}
  volumes:
  - {name: writable, emptyDir: {}}
  - {name: fixed, hostPath: {path: HOST}}
"#;

async fn pod(guest: &[u8], path: &str, policy: TerminationMessagePolicy, steps: &str) -> TestSandbox {
    let folder = Folder::new().with("toolbox.wasm", guest).with("host/dev/null", "");
    let manifest = POD.replace("HOST", folder.path().join("host").to_str().unwrap());
    let args = steps.split(' ').map(str::to_owned).collect();
    TestSandbox::new(folder, &manifest, |spec| {
        spec.containers[0].args = args;
        spec.containers[0].termination_message_path = path.to_owned();
        spec.containers[0].termination_message_policy = policy;
        spec.containers[0].mounts[1].read_only = true;
    })
    .await
}

async fn exit(guest: &[u8], path: &str, policy: TerminationMessagePolicy, steps: &str) -> ContainerExit {
    pod(guest, path, policy, steps).await.start(0).exit().await
}

const BOTH: [&[u8]; 2] = [guests::TOOLBOX, guests::TOOLBOX_PREVIEW1];
const FILE: TerminationMessagePolicy = TerminationMessagePolicy::File;
const FALLBACK: TerminationMessagePolicy = TerminationMessagePolicy::FallbackToLogsOnError;

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_there_wherever_it_is_and_whatever_is_mounted() {
    for guest in BOTH {
        for path in ["/dev/termination-log", "/log", "/data/last/words", "/data/words", "/fixed/dev/termination-log"] {
            let ended = exit(guest, path, FILE, &format!("append {path} good then append {path} bye then exit 3")).await;
            assert_eq!((ended.code, ended.message.as_str()), (3, "goodbye"), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_run_begins_with_an_empty_file() {
    let pod = pod(guests::TOOLBOX, "/data/words", FILE, "append /data/words once then exit 0").await;
    for _ in 0..2 {
        assert_eq!(pod.start(0).exit().await.message, "once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_output_stands_in_for_an_empty_file_when_the_container_failed() {
    let failed = exit(guests::TOOLBOX, "/dev/termination-log", FALLBACK, "echo one then complain two then exit 1").await;
    assert_eq!(failed.message, "one\ntwo\n");
    let fine = exit(guests::TOOLBOX, "/dev/termination-log", FALLBACK, "echo one then exit 0").await;
    assert_eq!(fine.message, "");
    let said =
        exit(guests::TOOLBOX, "/dev/termination-log", FALLBACK, "echo one then write /dev/termination-log said then exit 1").await;
    assert_eq!(said.message, "said");
    let file = exit(guests::TOOLBOX, "/dev/termination-log", FILE, "echo one then exit 1").await;
    assert_eq!(file.message, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_told_after_the_containers_own_words() {
    let ended = exit(guests::TOOLBOX, "/dev/termination-log", FILE, "write /dev/termination-log dying then panic").await;
    assert_eq!((ended.code, ended.cause), (134, ExitCause::Trapped));
    assert!(ended.message.starts_with("dying\n") && ended.message.contains("wasm backtrace"), "{}", ended.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_of_last_words_is_not_kept() {
    let pod = pod(
        guests::TOOLBOX_PREVIEW1,
        "/dev/termination-log",
        FILE,
        "fill /dev/termination-log 1024 then append /dev/termination-log end then sleep 100000000",
    )
    .await;
    let mut run = pod.start(0);
    run.started().await;
    let (mut highest, mut length) = (0, 0);
    let file = crate::harness::wait_for("the file", || find(pod.folder.path(), "termination-log"));
    while length < (1 << 30) + 3 {
        let metadata = std::fs::metadata(&file).unwrap();
        length = metadata.len();
        highest = highest.max(metadata.blocks() * 512);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(highest <= 256 << 20, "{highest} bytes");
    run.container().signal(wasmpod::pod::state::Signal::Kill);
    let message = run.exit().await.message;
    assert_eq!((message.len(), message.ends_with("xend")), (4096, true));
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    entries
        .map(|entry| entry.path())
        .find_map(|path| if path.is_dir() { find(&path, name) } else { path.ends_with(name).then_some(path) })
}
