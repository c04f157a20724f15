//! Kubernetes' side: what a kubelet does over the CRI, with a bridge network of the CNI.

use crate::harness::{Containerd, SHIM, can_run, eventually, repository};
use crate::image::Image;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, ContainerState, ContainerStatus, ContainerStatusRequest, CreateContainerRequest,
    ExecSyncRequest, ImageSpec, KeyValue, LinuxContainerConfig, LinuxContainerResources, LinuxPodSandboxConfig, Mount,
    PodSandboxConfig, PodSandboxMetadata, PodSandboxStatusRequest, RemoveContainerRequest, RemovePodSandboxRequest,
    RunPodSandboxRequest, StartContainerRequest, StatusRequest, StopContainerRequest, StopPodSandboxRequest,
};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Channel = containerd_client::tonic::transport::Channel;

/// The bridge's name.
const BRIDGE: &str = "wasmpod-test0";
/// There is one bridge, so one test at a time.
static TURN: Mutex<()> = Mutex::new(());

const CRI: &str = r#"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:1"
stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "wasmpod"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wasmpod]
runtime_type = "io.containerd.wasmpod.v1"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$DIR/cni"
"#;

/// A containerd with the CRI, and a client that does what the kubelet does.
struct Kubelet {
    containerd: Containerd,
    runtime: tokio::runtime::Runtime,
    client: RuntimeServiceClient<Channel>,
    sandbox_config: PodSandboxConfig,
    sandbox: String,
    _turn: MutexGuard<'static, ()>,
}

impl Kubelet {
    fn start() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let programs = Path::new(SHIM).parent().unwrap().to_owned();
        let containerd = Containerd::start_with(programs, Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"), CRI);
        let dir = containerd.dir.path();
        std::fs::create_dir_all(dir.join("cni")).unwrap();
        let network = format!(
            r#"{{"cniVersion":"0.4.0","name":"test","plugins":[{{"type":"bridge","bridge":"{BRIDGE}","isGateway":true,
            "ipam":{{"type":"host-local","dataDir":"{}/ipam","ranges":[[{{"subnet":"10.213.0.0/24"}}]],
            "routes":[{{"dst":"0.0.0.0/0"}}]}}}}]}}"#,
            dir.display()
        );
        std::fs::write(dir.join("cni/10-test.conflist"), network).unwrap();
        containerd.import("k8s.io", Image::of_files("localhost/pause:1", "/pause", &[("pause", b"native".to_vec())]));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = RuntimeServiceClient::new(runtime.block_on(containerd_client::connect(containerd.socket())).unwrap());
        let metadata = PodSandboxMetadata { name: "shop".into(), uid: "uid-1".into(), namespace: "default".into(), attempt: 0 };
        let sandbox_config = PodSandboxConfig {
            metadata: Some(metadata),
            hostname: "shop".into(),
            log_directory: dir.join("logs").display().to_string(),
            linux: Some(LinuxPodSandboxConfig { cgroup_parent: "/wasmpod-test".into(), ..Default::default() }),
            ..Default::default()
        };
        let mut this = Self { containerd, runtime, client, sandbox_config, sandbox: String::new(), _turn: turn };
        eventually("the network is ready", || {
            let status = this.runtime.block_on(this.client.status(StatusRequest { verbose: false })).unwrap().into_inner();
            status.status.unwrap().conditions.iter().all(|condition| condition.status)
        });
        this
    }

    fn run_sandbox(&mut self) -> String {
        let request = RunPodSandboxRequest { config: Some(self.sandbox_config.clone()), runtime_handler: "wasmpod".into() };
        let mut made = None;
        // The CRI learns of an imported image a moment later.
        eventually("the sandbox runs", || match self.runtime.block_on(self.client.run_pod_sandbox(request.clone())) {
            Ok(answer) => {
                made = Some(answer.into_inner().pod_sandbox_id);
                true
            }
            Err(status) => {
                assert!(status.message().contains("pause:1"), "{status}");
                false
            }
        });
        self.sandbox = made.unwrap();
        let request = PodSandboxStatusRequest { pod_sandbox_id: self.sandbox.clone(), verbose: false };
        let status = self.runtime.block_on(self.client.pod_sandbox_status(request)).unwrap().into_inner().status.unwrap();
        status.network.unwrap().ip
    }

    fn create(&mut self, name: &str, image: &str, env: &[(&str, &str)], mounts: Vec<Mount>) -> String {
        self.create_with_command(name, image, &[], env, mounts)
    }

    fn create_with_command(
        &mut self,
        name: &str,
        image: &str,
        command: &[&str],
        env: &[(&str, &str)],
        mounts: Vec<Mount>,
    ) -> String {
        let env = env.iter().map(|(key, value)| KeyValue { key: (*key).into(), value: (*value).into() }).collect();
        let resources = LinuxContainerResources { memory_limit_in_bytes: 64 << 20, ..Default::default() };
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.into(), attempt: 0 }),
            image: Some(ImageSpec { image: image.into(), ..Default::default() }),
            command: command.iter().map(|word| (*word).into()).collect(),
            envs: env,
            mounts,
            log_path: format!("{name}.log"),
            linux: Some(LinuxContainerConfig { resources: Some(resources), ..Default::default() }),
            ..Default::default()
        };
        let request = CreateContainerRequest {
            pod_sandbox_id: self.sandbox.clone(),
            config: Some(config),
            sandbox_config: Some(self.sandbox_config.clone()),
        };
        let mut made = None;
        eventually("the container is made", || match self.runtime.block_on(self.client.create_container(request.clone())) {
            Ok(answer) => {
                made = Some(answer.into_inner().container_id);
                true
            }
            Err(status) => {
                assert!(status.message().contains("image"), "{status}");
                false
            }
        });
        made.unwrap()
    }

    fn start_container(&mut self, id: &str) {
        let request = StartContainerRequest { container_id: id.into() };
        self.runtime.block_on(self.client.start_container(request)).unwrap();
    }

    fn status(&mut self, id: &str) -> ContainerStatus {
        let request = ContainerStatusRequest { container_id: id.into(), verbose: false };
        self.runtime.block_on(self.client.container_status(request)).unwrap().into_inner().status.unwrap()
    }

    fn wait_for_exit(&mut self, id: &str) -> i32 {
        let exited = ContainerState::ContainerExited as i32;
        eventually("the container exits", || self.status(id).state == exited);
        self.status(id).exit_code
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.containerd.dir.path().join("logs").join(format!("{name}.log"))).unwrap_or_default()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        let request = StopPodSandboxRequest { pod_sandbox_id: self.sandbox.clone() };
        let _ = self.runtime.block_on(self.client.stop_pod_sandbox(request));
        let _ = std::process::Command::new("ip").args(["link", "del", BRIDGE]).output();
    }
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
        for _ in 0..2 {
            let request = StopContainerRequest { container_id: id.into(), timeout: 5 };
            kubelet.runtime.block_on(kubelet.client.stop_container(request)).unwrap();
        }
    }
    assert_eq!(kubelet.wait_for_exit(store), 143);
    assert_eq!(kubelet.wait_for_exit(&fronts[0]), 0, "a wasi:http container ends in peace");
    for id in [store, &fronts[0], &fronts[1]] {
        for _ in 0..2 {
            let request = RemoveContainerRequest { container_id: id.into() };
            kubelet.runtime.block_on(kubelet.client.remove_container(request)).unwrap();
        }
    }
    let sandbox = kubelet.sandbox.clone();
    for _ in 0..2 {
        let request = StopPodSandboxRequest { pod_sandbox_id: sandbox.clone() };
        kubelet.runtime.block_on(kubelet.client.stop_pod_sandbox(request)).unwrap();
    }
    for _ in 0..2 {
        let request = RemovePodSandboxRequest { pod_sandbox_id: sandbox.clone() };
        kubelet.runtime.block_on(kubelet.client.remove_pod_sandbox(request)).unwrap();
    }
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
