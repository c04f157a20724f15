//! What a kubelet does over the CRI, with a bridge network of the CNI.

use crate::harness::{Containerd, SHIM, cache, eventually};
use crate::image::Image;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, ContainerState, ContainerStatus, ContainerStatusRequest, CreateContainerRequest, ImageSpec,
    KeyValue, LinuxContainerConfig, LinuxContainerResources, LinuxPodSandboxConfig, Mount, PodSandboxConfig, PodSandboxMetadata,
    PodSandboxStatusRequest, RemoveContainerRequest, RemovePodSandboxRequest, RunPodSandboxRequest, StartContainerRequest,
    StatusRequest, StopContainerRequest, StopPodSandboxRequest,
};
use std::path::{Path, PathBuf};
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
# Where the tests may not make a process less likely to be killed for memory (CAP_SYS_RESOURCE), runc starts no sandbox without this.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "wasmpod"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wasmpod]
runtime_type = "io.containerd.wasmpod.v1"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.idle]
runtime_type = "io.containerd.idle.v1"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$DIR/cni"
"#;

/// A containerd with the CRI, and a client that does what the kubelet does.
pub(crate) struct Kubelet {
    pub(crate) containerd: Containerd,
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) client: RuntimeServiceClient<Channel>,
    sandbox_config: PodSandboxConfig,
    /// The handler of the RuntimeClass.
    pub(crate) handler: &'static str,
    /// The sandbox that containers are made in: the last that was started.
    pub(crate) sandbox: String,
    _turn: MutexGuard<'static, ()>,
}

impl Kubelet {
    /// A containerd with a pod network, and no pod.
    pub(crate) fn start() -> Self {
        Self::start_with(Path::new(SHIM).parent().unwrap().to_owned(), b"native".to_vec())
    }

    /// As `start`; `programs` has the shims, and `pause` is what a sandbox of a Linux runtime runs.
    pub(crate) fn start_with(programs: PathBuf, pause: Vec<u8>) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let containerd = Containerd::start_with(programs, cache(), CRI);
        let dir = containerd.dir.path();
        std::fs::create_dir_all(dir.join("cni")).unwrap();
        let network = format!(
            r#"{{"cniVersion":"0.4.0","name":"test","plugins":[{{"type":"bridge","bridge":"{BRIDGE}","isGateway":true,
            "ipam":{{"type":"host-local","dataDir":"{}/ipam","ranges":[[{{"subnet":"10.213.0.0/24"}}]],
            "routes":[{{"dst":"0.0.0.0/0"}}]}}}}]}}"#,
            dir.display()
        );
        std::fs::write(dir.join("cni/10-test.conflist"), network).unwrap();
        containerd.import("k8s.io", Image::of_files("localhost/pause:1", "/pause", &[("pause", pause)]));
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
        let (handler, sandbox) = ("wasmpod", String::new());
        let mut this = Self { containerd, runtime, client, sandbox_config, handler, sandbox, _turn: turn };
        eventually("the network is ready", || {
            let status = this.runtime.block_on(this.client.status(StatusRequest { verbose: false })).unwrap().into_inner();
            status.status.unwrap().conditions.iter().all(|condition| condition.status)
        });
        this
    }

    /// Starts a pod; its address.
    pub(crate) fn run_sandbox(&mut self) -> String {
        let request = RunPodSandboxRequest { config: Some(self.sandbox_config.clone()), runtime_handler: self.handler.into() };
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

    /// Makes a container in it.
    pub(crate) fn create(&mut self, name: &str, image: &str, env: &[(&str, &str)], mounts: Vec<Mount>) -> String {
        self.create_with_command(name, image, &[], env, mounts)
    }

    /// Makes a container in it, with a command of its own.
    pub(crate) fn create_with_command(
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

    /// Starts a container.
    pub(crate) fn start_container(&mut self, id: &str) {
        let request = StartContainerRequest { container_id: id.into() };
        self.runtime.block_on(self.client.start_container(request)).unwrap();
    }

    /// What the CRI knows of a container.
    pub(crate) fn status(&mut self, id: &str) -> ContainerStatus {
        let request = ContainerStatusRequest { container_id: id.into(), verbose: false };
        self.runtime.block_on(self.client.container_status(request)).unwrap().into_inner().status.unwrap()
    }

    /// The exit status of a container, once it has one.
    pub(crate) fn wait_for_exit(&mut self, id: &str) -> i32 {
        let exited = ContainerState::ContainerExited as i32;
        eventually("the container exits", || self.status(id).state == exited);
        self.status(id).exit_code
    }

    /// The log of a container.
    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.containerd.dir.path().join("logs").join(format!("{name}.log"))).unwrap_or_default()
    }
}

/// What is done twice, because a kubelet does so.
impl Kubelet {
    pub(crate) fn stop_container(&mut self, id: &str) {
        for _ in 0..2 {
            let request = StopContainerRequest { container_id: id.into(), timeout: 5 };
            self.runtime.block_on(self.client.stop_container(request)).unwrap();
        }
    }

    pub(crate) fn remove_container(&mut self, id: &str) {
        for _ in 0..2 {
            let request = RemoveContainerRequest { container_id: id.into() };
            self.runtime.block_on(self.client.remove_container(request)).unwrap();
        }
    }

    /// Stops and removes the pod, with what is left in it.
    pub(crate) fn remove_sandbox(&mut self) {
        let sandbox = self.sandbox.clone();
        for _ in 0..2 {
            let request = StopPodSandboxRequest { pod_sandbox_id: sandbox.clone() };
            self.runtime.block_on(self.client.stop_pod_sandbox(request)).unwrap();
        }
        for _ in 0..2 {
            let request = RemovePodSandboxRequest { pod_sandbox_id: sandbox.clone() };
            self.runtime.block_on(self.client.remove_pod_sandbox(request)).unwrap();
        }
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        let request = StopPodSandboxRequest { pod_sandbox_id: self.sandbox.clone() };
        drop(self.runtime.block_on(self.client.stop_pod_sandbox(request)));
        let _ = std::process::Command::new("ip").args(["link", "del", BRIDGE]).output();
    }
}
