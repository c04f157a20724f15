//! Exec: one more instance of a container, in its network, its mounts and its environment.

use crate::guests;
use crate::harness::sandbox::{TestSandbox, live_instances};
use crate::harness::{Folder, example};
use wasmpod::ErrorKind;
use wasmpod::container::Program;
use wasmpod::pod::state::{ExitCause, Signal};
use wasmpod::wasi::Stdin;

/// A container that serves a word on port 7000, one of preview 1 that sleeps, and one of `wasi:http`, with a volume for all.
const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: tools
spec:
  containers:
  - name: server
    image: file:./toolbox.wasm
    args: [serve, "7000", pong]
    workingDir: /work
    env: [{name: COLOUR, value: blue}, {name: SIZE, value: big}]
    volumeMounts: [{name: data, mountPath: /data}]
  - name: sleeper
    image: file:./toolbox-preview1.wasm
    args: [sleep, "100000000"]
    env: [{name: COLOUR, value: red}]
    volumeMounts: [{name: data, mountPath: /data}]
  - name: web
    image: file:./front.wasm
    ports: [{containerPort: 8080}]
    volumeMounts: [{name: tools, mountPath: /tools}]
  volumes:
  - {name: data, emptyDir: {}}
  - {name: tools, hostPath: {path: HOST}}
"#;

const SERVER: usize = 0;
const SLEEPER: usize = 1;
const WEB: usize = 2;

async fn tools() -> TestSandbox {
    let folder = Folder::new()
        .with("toolbox.wasm", guests::TOOLBOX)
        .with("toolbox-preview1.wasm", guests::TOOLBOX_PREVIEW1)
        .with("front.wasm", std::fs::read(example("http").join("front.wasm")).unwrap())
        .with("tools/toolbox.wasm", guests::TOOLBOX)
        .with("tools/broken.wasm", "this is no module");
    let manifest = POD.replace("HOST", folder.path().join("tools").to_str().unwrap());
    TestSandbox::new(folder, &manifest, |_| ()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_shares_environment_files_and_network_with_its_container() {
    let pod = tools().await;
    let (server, mut sleeper) = (pod.start(SERVER), pod.start(SLEEPER));
    server.prints("serving").await;
    sleeper.started().await;
    for container in [SERVER, SLEEPER] {
        let colour = ["blue", "red"][container];
        let mut exec = pod.exec(container, &["toolbox", "env", "COLOUR", "then", "write", "/data/note", colour]);
        assert_eq!((exec.exit().await.code, exec.printed()), (0, format!("{colour}\n")));
        let other = [SLEEPER, SERVER][container];
        let mut exec = pod.exec(other, &["toolbox", "cat", "/data/note"]);
        assert_eq!((exec.exit().await.code, exec.printed().as_str()), (0, colour));
    }
    let mut exec = pod.exec(SERVER, &["toolbox", "get", "7000", "then", "pwd"]);
    assert_eq!((exec.exit().await.code, exec.printed().as_str()), (0, "pong\n/work\n"));
    server.kill().await;
    sleeper.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_has_its_own_status_input_variables_and_folder() {
    let pod = tools().await;
    let server = pod.start(SERVER);
    server.prints("serving").await;
    let mut sleeper = pod.start(SLEEPER);
    sleeper.started().await;
    let mut exec = pod.exec(SLEEPER, &["toolbox", "exit", "42"]);
    assert_eq!(exec.exit().await.code, 42);
    // WASI 0.2 knows only success and failure.
    let mut exec = pod.exec(SERVER, &["toolbox", "exit", "42"]);
    assert_eq!(exec.exit().await.code, 1);
    sleeper.kill().await;
    let mut exec = pod.exec(SERVER, &["toolbox", "panic"]);
    let exit = exec.exit().await;
    assert_eq!((exit.code, exit.cause), (134, ExitCause::Trapped));
    let adjusted =
        pod.exec_with(SERVER, &["toolbox", "cat", "then", "env", "COLOUR", "then", "env", "SIZE", "then", "pwd"], |exec| {
            exec.stdin = Stdin::reader(&b"typed\n"[..]);
            exec.env = vec![("COLOUR".into(), "green".into())];
            exec.working_dir = Some("/data".into());
        });
    let mut exec = adjusted.unwrap();
    assert_eq!((exec.exit().await.code, exec.printed().as_str()), (0, "typed\ngreen\nbig\n/data\n"));
    server.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_ends_with_its_container_and_leaves_nothing_behind() {
    let pod = tools().await;
    let mut server = pod.start(SERVER);
    server.prints("serving").await;
    let mut execs = [pod.exec(SERVER, &["toolbox", "spin"]), pod.exec(SERVER, &["toolbox", "serve", "7001", "x"])];
    execs[1].prints("serving").await;
    let mut single = pod.exec(SERVER, &["toolbox", "spin"]);
    single.started().await;
    single.kill().await;
    server.container().signal(Signal::Term);
    assert_eq!(server.exit().await.code, 143);
    for exec in &mut execs {
        assert_eq!(exec.exit().await.code, 137);
    }
    let error = pod.exec_with(SERVER, &["toolbox", "exit", "0"], |_| ()).err().unwrap();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Conflict, "container \"server\": it does not run, so nothing can be exec'd into it")
    );
    // What the execs held is free for the next run: the ports, the folder of the pod's own files.
    let server = pod.start(SERVER);
    server.prints("serving").await;
    let exec = pod.exec(SERVER, &["toolbox", "serve", "7001", "x"]);
    exec.prints("serving").await;
    server.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_without_a_command_runs_modules_that_it_can_see() {
    let pod = tools().await;
    let mut web = pod.start(WEB);
    web.started().await;
    let mut exec = pod.exec(WEB, &["/tools/toolbox.wasm", "env", "HOSTNAME"]);
    assert_eq!((exec.exit().await.code, exec.printed().as_str()), (0, "tools\n"));
    let mut exec = pod.exec_with(WEB, &["toolbox.wasm", "exit", "0"], |exec| exec.working_dir = Some("/tools".into())).unwrap();
    assert_eq!(exec.exit().await.code, 0);
    let error = pod.exec(WEB, &["/tools/broken.wasm"]).failure().await;
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = pod.exec_with(WEB, &["/tools/missing.wasm"], |_| ()).err().unwrap();
    insta::assert_snapshot!(format!("{error}; hint: {}", error.advice().unwrap()));
    let error = pod.exec_with(WEB, &[], |_| ()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    web.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_can_be_given() {
    let pod = tools().await;
    let mut web = pod.start(WEB);
    web.started().await;
    let program: Program = pod.images[SERVER].program.clone();
    let mut exec = pod.exec_with(WEB, &["anything", "echo", "hello"], |exec| exec.program = Some(program)).unwrap();
    assert_eq!((exec.exit().await.code, exec.printed().as_str()), (0, "hello\n"));
    let mut exec = pod.exec_with(WEB, &["anything"], |exec| exec.program = Some(pod.images[WEB].program.clone())).unwrap();
    assert_eq!(exec.failure().await.kind(), ErrorKind::Invalid);
    web.kill().await;
}

/// A container of an image without tools, with a volume, and a hook that wants one.
const WITH_EXEC_IMAGE: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: tools, annotations: {wasmpod.dev/exec-image: "file:./tools.wasm"}}
spec:
  restartPolicy: Never
  containers:
  - name: app
    image: file:./app.wasm
    args: [await, /data/note, ;, cat, /data/note]
    volumeMounts: [{name: data, mountPath: /data}]
    lifecycle: {postStart: {exec: {command: [tools, write, /data/other, "1", then, write, /data/note, "by the tools\n"]}}}
  volumes: [{name: data, emptyDir: {}}]
"#;

#[test]
fn an_image_named_by_annotation_is_exec_d_by_hooks() {
    let app = std::fs::read(example("services").join("toolbox.wasm")).unwrap();
    let folder = Folder::new().with("pod.yaml", WITH_EXEC_IMAGE).with("app.wasm", app).with("tools.wasm", guests::TOOLBOX);
    let finished = folder.run(&["pod.yaml"]);
    assert_eq!((finished.status, finished.stdout.as_str()), (0, "by the tools\n"), "{finished:?}");
    let folder = folder.with("pod.yaml", WITH_EXEC_IMAGE.replace("tools.wasm", "missing.wasm"));
    let finished = folder.run(&["pod.yaml"]);
    assert_eq!((finished.status, finished.stdout.as_str()), (2, ""));
    assert!(finished.stderr.contains("annotation wasmpod.dev/exec-image of pod tools"), "{}", finished.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_named_by_annotation_comes_after_a_module_that_the_container_sees() {
    let folder = Folder::new()
        .with("toolbox.wasm", guests::TOOLBOX)
        .with("front.wasm", std::fs::read(example("http").join("front.wasm")).unwrap())
        .with("seen/other.wasm", std::fs::read(example("services").join("toolbox.wasm")).unwrap());
    let manifest = format!(
        r#"{{apiVersion: v1, kind: Pod, metadata: {{name: web, annotations: {{wasmpod.dev/exec-image: "file:./toolbox.wasm"}}}}, spec: {{
        containers: [{{name: web, image: "file:./front.wasm", ports: [{{containerPort: 8080}}],
        volumeMounts: [{{name: seen, mountPath: /seen}}]}}], volumes: [{{name: seen, hostPath: {{path: {:?}}}}}]}}}}"#,
        folder.path().join("seen")
    );
    let pod = TestSandbox::new(folder, &manifest, |_| ()).await;
    let mut web = pod.start(0);
    web.started().await;
    let mut exec = pod.exec(0, &["anything", "echo", "hello"]);
    assert_eq!((exec.exit().await.code, exec.printed().as_str()), (0, "hello\n"));
    let mut exec = pod.exec(0, &["/seen/other.wasm", "say", "seen"]);
    assert_eq!((exec.exit().await.code, exec.printed().as_str()), (0, "seen\n"));
    web.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_counts_against_the_limits_of_its_container() {
    let folder = Folder::new().with("toolbox.wasm", guests::TOOLBOX);
    let manifest = r#"{apiVersion: v1, kind: Pod, metadata: {name: small}, spec: {containers: [
        {name: main, image: "file:./toolbox.wasm", args: [sleep, "100000000"]}]}}"#;
    let pod = TestSandbox::new(folder, manifest, |spec| spec.containers[0].memory_limit_bytes = Some(32 << 20)).await;
    let mut main = pod.start(0);
    main.started().await;
    let before = main.container().usage();
    let mut fits = pod.exec(0, &["toolbox", "grow", "8"]);
    assert_eq!((fits.exit().await.code, fits.printed().as_str()), (0, "8388608\n"));
    let mut grows = pod.exec(0, &["toolbox", "grow", "64"]);
    let exit = grows.exit().await;
    assert_eq!((exit.code, exit.cause), (137, ExitCause::OutOfMemory), "{}", exit.message);
    let after = main.container().usage();
    assert!(after.cpu_ns > before.cpu_ns && after.memory_peak_bytes > before.memory_peak_bytes + (8 << 20));
    assert_eq!((after.memory_bytes, after.memory_limit_bytes), (before.memory_bytes, 32 << 20));
    assert!(live_instances() >= 1);
    main.kill().await;
}
