//! Kubernetes' side: pods as a kubelet makes them.

use crate::harness::{can_run, eventually, repository};
use crate::image::Image;
use crate::kubelet::Kubelet;
use k8s_cri::v1::{ExecSyncRequest, Mount};
use rustix::thread::LinkNameSpaceType;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;

/// Does something in the network namespace of the pod, where `port-forward` comes from.
fn inside<T: Send>(kubelet: &Kubelet, act: impl FnOnce() -> T + Send) -> T {
    let [shim] = kubelet.containerd.shims()[..] else { panic!("one pod, one server") };
    let namespace = std::fs::File::open(format!("/proc/{shim}/ns/net")).unwrap();
    let enter = || {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        act()
    };
    std::thread::scope(|scope| scope.spawn(enter).join().unwrap())
}

/// One HTTP request, answered in one piece.
fn http(address: &str, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn get(address: &str, path: &str) -> std::io::Result<String> {
    http(address, &format!("GET {path} HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\r\n"))
}

fn image(name: &str, file: &str) -> Image {
    Image::of_files(&format!("localhost/{name}:1"), "/app.wasm", &[("app.wasm", repository(file))])
}

#[test]
fn a_pod_of_an_init_step_and_three_containers_lives_as_kubernetes_has_it() {
    if !can_run() {
        return;
    }
    let mut kubelet = Kubelet::start();
    for (name, file) in [
        ("prepare", "examples/init-volume/prepare.wasm"),
        ("store", "examples/http/store.wasm"),
        ("front", "examples/http/front.wasm"),
        ("hello", "examples/hello/hello.wasm"),
    ] {
        kubelet.containerd.import("k8s.io", image(name, file));
    }
    let pod_ip = kubelet.run_sandbox();
    assert!(pod_ip.starts_with("10.213.0."), "{pod_ip}");

    // The init step, with a volume.
    let volume = tempfile::tempdir().unwrap();
    let mount = Mount { container_path: "/work".into(), host_path: volume.path().display().to_string(), ..Default::default() };
    let init = kubelet.create("init", "localhost/prepare:1", &[], vec![mount]);
    kubelet.start_container(&init);
    assert_eq!(kubelet.wait_for_exit(&init), 0);
    assert!(volume.path().join("guests/ada.txt").exists());
    assert!(kubelet.log("init").ends_with("stdout F the volume is ready\n"), "{}", kubelet.log("init"));

    // A store on the pod's loopback, and two fronts that call it there and are called from the machine.
    let store = kubelet.create("store", "localhost/store:1", &[], vec![]);
    kubelet.start_container(&store);
    let fronts = ["8080", "8081"].map(|port| {
        let front = kubelet.create(&format!("front-{port}"), "localhost/front:1", &[("PORT", port)], vec![]);
        kubelet.start_container(&front);
        front
    });
    let (one, two) = (format!("{pod_ip}:8080"), format!("{pod_ip}:8081"));
    eventually("the front answers", || get(&one, "/").is_ok_and(|answer| answer.contains("A key-value service.")));
    let put = "PUT /greeting HTTP/1.1\r\nhost: pod\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
    eventually("the store answers", || http(&one, put).is_ok_and(|answer| answer.contains("stored")));
    let answer = get(&two, "/greeting").unwrap();
    assert!(answer.ends_with("hello") || answer.contains("hello"), "{answer}");
    assert!(TcpStream::connect(format!("{pod_ip}:9000")).is_err(), "the pod's loopback is the pod's");
    let forwarded = inside(&kubelet, || get("localhost:9000", "/greeting").unwrap());
    assert!(forwarded.contains("hello"), "what port-forward reaches: {forwarded}");
    assert_eq!(kubelet.containerd.shims().len(), 1, "one server for the whole pod");

    exec_stats_and_stop(&mut kubelet, &store, &fronts);
}

fn exec_stats_and_stop(kubelet: &mut Kubelet, store: &str, fronts: &[String; 2]) {
    let request = ExecSyncRequest { container_id: store.into(), cmd: vec!["/missing.wasm".into()], timeout: 5 };
    let said = kubelet.runtime.block_on(kubelet.client.exec_sync(request)).unwrap().into_inner();
    // A second store in the same network: its port is taken, and it says so.
    assert_ne!(said.exit_code, 0);

    let request = k8s_cri::v1::ContainerStatsRequest { container_id: store.into() };
    let stats = kubelet.runtime.block_on(kubelet.client.container_stats(request)).unwrap().into_inner().stats.unwrap();
    assert!(stats.cpu.unwrap().usage_core_nano_seconds.unwrap().value > 0);
    assert!(stats.memory.unwrap().working_set_bytes.unwrap().value >= 65536);

    for id in [store, &fronts[0], &fronts[1]] {
        kubelet.stop_container(id);
    }
    assert_eq!(kubelet.wait_for_exit(store), 143);
    assert_eq!(kubelet.wait_for_exit(&fronts[0]), 0, "a wasi:http container ends in peace");
    for id in [store, &fronts[0], &fronts[1]] {
        kubelet.remove_container(id);
    }
    kubelet.remove_sandbox();
    eventually("the server ends with its pod", || kubelet.containerd.shims().is_empty());
}

#[test]
fn a_memory_limit_is_told_as_oom_killed() {
    if !can_run() {
        return;
    }
    let mut kubelet = Kubelet::start();
    let files = [("app.wat", crate::harness::guest("grow-memory"))];
    kubelet.containerd.import("k8s.io", Image::of_files("localhost/grow:1", "/app.wat", &files));
    kubelet.run_sandbox();
    let grow = kubelet.create("grow", "localhost/grow:1", &[], vec![]);
    kubelet.start_container(&grow);
    assert_eq!(kubelet.wait_for_exit(&grow), 137);
    eventually("the CRI heard of it", || kubelet.status(&grow).reason == "OOMKilled");
}

#[test]
fn a_wasm_artifact_is_fetched_from_the_content_store() {
    if !can_run() {
        return;
    }
    let mut kubelet = Kubelet::start();
    let hello = repository("examples/hello/hello.wasm");
    kubelet.containerd.try_import("k8s.io", Image::artifact("localhost/artifact:1", hello));
    kubelet.run_sandbox();
    let hello = kubelet.create_with_command("hello", "localhost/artifact:1", &["hello"], &[("PATH", "/bin")], vec![]);
    kubelet.start_container(&hello);
    assert_eq!(kubelet.wait_for_exit(&hello), 0);
    assert!(kubelet.log("hello").contains("stdout F argument 0: hello\n"), "{}", kubelet.log("hello"));
}
