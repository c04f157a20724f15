//! The floor of the benchmark `containers`: a shim that does nothing.
//!
//! It answers the task API as a runtime would, and writes one line to a container's standard output when it is started. No mount, no
//! namespace, no control group, no event. What it takes is what containerd takes, and two starts of a small program.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measuring instrument, for one benchmark"
)]

use async_trait::async_trait;
use containerd_shim_protos::api::{
    ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, KillRequest,
    ShutdownRequest, StartRequest, StartResponse, StateRequest, StateResponse, Status, WaitRequest, WaitResponse,
};
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{Message as _, MessageField};
use containerd_shim_protos::shim_async::{Task, create_task};
use containerd_shim_protos::ttrpc::r#async::transport::Listener;
use containerd_shim_protos::ttrpc::r#async::{Server, TtrpcContext};
use containerd_shim_protos::ttrpc::{self, Code, get_status};
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, watch};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let id = arguments.iter().position(|word| word == "-id").map(|at| arguments[at + 1].clone()).unwrap();
    match arguments.last().map(String::as_str) {
        Some("start") => start(&id),
        Some("serve") => serve(&socket(&id)),
        _ => {
            let answer = DeleteResponse { exited_at: MessageField::some(Timestamp::now()), ..DeleteResponse::default() };
            std::io::stdout().write_all(&answer.write_to_bytes().unwrap()).unwrap();
        }
    }
}

fn socket(id: &str) -> PathBuf {
    std::env::temp_dir().join(format!("idle-{}", id.get(..32).unwrap_or(id)))
}

fn start(id: &str) {
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read("config.json").unwrap()).unwrap();
    let annotations = &config["annotations"];
    let of_pod = annotations["io.kubernetes.cri.container-type"] == "container";
    let group = annotations["io.kubernetes.cri.sandbox-id"].as_str().filter(|_| of_pod).unwrap_or(id);
    let path = socket(group);
    if group == id {
        let listener = UnixListener::bind(&path).unwrap();
        let mut server = Command::new(std::env::current_exe().unwrap());
        // With containerd's socket among its arguments it is found by whoever looks for the servers of that containerd.
        server.args(std::env::args().skip(1).filter(|word| word != "start")).arg("serve");
        server
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map(drop)
            .unwrap();
    }
    let address = format!("unix://{}", path.display());
    std::fs::write("address", &address).unwrap();
    print!("{address}");
}

fn serve(path: &Path) {
    let listener = UnixListener::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    listener.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pod = Arc::new(Pod::default());
        let service: Arc<dyn Task + Send + Sync> = pod.clone();
        let mut services = create_task(Arc::clone(&service));
        services.extend(create_task(service).into_values().map(|service| ("containerd.task.v2.Task".to_owned(), service)));
        let listener = Listener::from(tokio::net::UnixListener::from_std(listener).unwrap());
        let mut server = Server::new().add_listener(listener).register_service(services);
        server.start().await.unwrap();
        pod.over.notified().await;
        let _ = server.shutdown().await;
    });
    let _ = std::fs::remove_file(path);
}

#[derive(Default)]
struct Pod {
    tasks: Mutex<HashMap<String, Container>>,
    over: Notify,
}

#[derive(Clone)]
struct Container {
    stdout: String,
    /// Whether it ends as soon as it has written.
    ends: bool,
    /// The exit status, once there is one.
    ended: watch::Sender<Option<u32>>,
    started: Arc<Mutex<bool>>,
}

impl Pod {
    fn container(&self, id: &str) -> ttrpc::Result<Container> {
        let found = self.tasks.lock().unwrap().get(id).cloned();
        found.ok_or_else(|| ttrpc::Error::RpcStatus(get_status(Code::NOT_FOUND, "no such task")))
    }
}

fn exited_at() -> MessageField<Timestamp> {
    MessageField::some(Timestamp::now())
}

#[async_trait]
impl Task for Pod {
    async fn create(&self, _: &TtrpcContext, request: CreateTaskRequest) -> ttrpc::Result<CreateTaskResponse> {
        let config = std::fs::read(Path::new(&request.bundle).join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        let is_sandbox = config["annotations"]["io.kubernetes.cri.container-type"] == "sandbox";
        let sleeps = config["process"]["args"].to_string().contains("sleep");
        let container = Container {
            stdout: request.stdout,
            ends: !is_sandbox && !sleeps,
            ended: watch::Sender::new(None),
            started: Arc::default(),
        };
        self.tasks.lock().unwrap().insert(request.id, container);
        Ok(CreateTaskResponse { pid: std::process::id(), ..CreateTaskResponse::default() })
    }

    async fn start(&self, _: &TtrpcContext, request: StartRequest) -> ttrpc::Result<StartResponse> {
        let container = self.container(&request.id)?;
        *container.started.lock().unwrap() = true;
        if !container.stdout.is_empty() {
            let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let pipe = rustix::fs::open(&container.stdout, flags, Mode::empty()).unwrap();
            rustix::io::write(&pipe, b"hello\n").unwrap();
        }
        if container.ends {
            container.ended.send_replace(Some(0));
        }
        Ok(StartResponse { pid: std::process::id(), ..StartResponse::default() })
    }

    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> ttrpc::Result<StateResponse> {
        let container = self.container(&request.id)?;
        let (ended, started) = (*container.ended.borrow(), *container.started.lock().unwrap());
        let status = match (ended, started) {
            (Some(_), _) => Status::STOPPED,
            (None, true) => Status::RUNNING,
            (None, false) => Status::CREATED,
        };
        let mut answer = StateResponse { id: request.id, pid: std::process::id(), ..StateResponse::default() };
        answer.status = status.into();
        if let Some(code) = ended {
            (answer.exit_status, answer.exited_at) = (code, exited_at());
        }
        Ok(answer)
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> ttrpc::Result<WaitResponse> {
        let mut ended = self.container(&request.id)?.ended.subscribe();
        let exit_status = ended.wait_for(Option::is_some).await.unwrap().unwrap();
        Ok(WaitResponse { exit_status, exited_at: exited_at(), ..WaitResponse::default() })
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> ttrpc::Result<Empty> {
        let container = self.container(&request.id)?;
        container.ended.send_if_modified(|ended| ended.is_none().then(|| *ended = Some(128 + request.signal)).is_some());
        Ok(Empty::default())
    }

    async fn delete(&self, _: &TtrpcContext, request: DeleteRequest) -> ttrpc::Result<DeleteResponse> {
        let container = self.container(&request.id)?;
        self.tasks.lock().unwrap().remove(&request.id);
        let exit_status = container.ended.borrow().unwrap_or_default();
        Ok(DeleteResponse { exit_status, exited_at: exited_at(), ..DeleteResponse::default() })
    }

    async fn connect(&self, _: &TtrpcContext, _: ConnectRequest) -> ttrpc::Result<ConnectResponse> {
        let pid = std::process::id();
        Ok(ConnectResponse { shim_pid: pid, task_pid: pid, version: "v2".to_owned(), ..ConnectResponse::default() })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: ShutdownRequest) -> ttrpc::Result<Empty> {
        if self.tasks.lock().unwrap().is_empty() {
            self.over.notify_one();
        }
        Ok(Empty::default())
    }
}
