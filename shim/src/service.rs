//! The task service: what containerd asks of a pod, over ttrpc.
//!
//! containerd 1.6 and 1.7 ask for `containerd.task.v2.Task`, 2.x for `containerd.task.v3.Task`. The messages are the same, so one
//! service answers to both names. Requests are served concurrently: a `Wait` is open for as long as its process lives.

use crate::bundle::{ProcessPlan, Resources};
use crate::metrics;
use crate::pod::{NewTask, Pod};
use crate::process::{Ended, Process, Status};
use crate::stdio::StreamPaths;
use async_trait::async_trait;
use containerd_shim_protos::api;
use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse, DeleteRequest,
    DeleteResponse, Empty, ExecProcessRequest, KillRequest, PauseRequest, PidsRequest, PidsResponse, ProcessInfo, ResizePtyRequest,
    ResumeRequest, ShutdownRequest, StartRequest, StartResponse, StateRequest, StateResponse, StatsRequest, StatsResponse,
    UpdateTaskRequest, WaitRequest, WaitResponse,
};
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim_async::{Task, create_task};
use containerd_shim_protos::ttrpc::r#async::{Service, TtrpcContext};
use containerd_shim_protos::ttrpc::{self, Code, get_status};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use wasmpod::{Error, ErrorKind};

/// The name under which containerd 1.6 and 1.7 know the service.
const VERSION_2: &str = "containerd.task.v2.Task";
/// What `Connect` calls the protocol.
const VERSION: &str = "v2";

/// The services of a pod, by name.
pub(crate) fn services(pod: &Arc<Pod>) -> HashMap<String, Service> {
    let service: Arc<dyn Task + Send + Sync> = Arc::new(TaskService(Arc::clone(pod)));
    let mut services = create_task(Arc::clone(&service));
    services.extend(create_task(service).into_values().map(|service| (VERSION_2.to_owned(), service)));
    services
}

struct TaskService(Arc<Pod>);

type Answer<T> = ttrpc::Result<T>;

/// An error as gRPC has it; containerd shows the message to people and the kubelet makes an event of it.
fn status(error: Error) -> ttrpc::Error {
    let code = match error.kind() {
        ErrorKind::Invalid => Code::INVALID_ARGUMENT,
        ErrorKind::NotFound => Code::NOT_FOUND,
        ErrorKind::Conflict => Code::FAILED_PRECONDITION,
        ErrorKind::Denied => Code::PERMISSION_DENIED,
        ErrorKind::Limit => Code::RESOURCE_EXHAUSTED,
        // Not UNAVAILABLE: that is what a server that is gone looks like.
        ErrorKind::Unavailable | ErrorKind::Internal => Code::UNKNOWN,
    };
    let mut message = error.chain();
    if let Some(advice) = error.advice() {
        message = format!("{message} ({advice})");
    }
    tracing::debug!(%message, "a request failed");
    ttrpc::Error::RpcStatus(get_status(code, message))
}

/// `Create` and `Exec` for what is there already.
fn status_of_new(error: Error) -> ttrpc::Error {
    match error.kind() {
        ErrorKind::Conflict => ttrpc::Error::RpcStatus(get_status(Code::ALREADY_EXISTS, error.chain())),
        _ => status(error),
    }
}

#[async_trait]
impl Task for TaskService {
    async fn create(&self, _: &TtrpcContext, request: CreateTaskRequest) -> Answer<CreateTaskResponse> {
        if !request.checkpoint.is_empty() {
            return Err(status(Error::invalid("checkpoints are not supported")));
        }
        let streams =
            StreamPaths { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr, terminal: request.terminal };
        let new = NewTask { id: &request.id, bundle: Path::new(&request.bundle), rootfs: &request.rootfs, streams };
        self.0.create(new).await.map_err(status_of_new)?;
        Ok(CreateTaskResponse { pid: Pod::pid(), ..CreateTaskResponse::default() })
    }

    async fn start(&self, _: &TtrpcContext, request: StartRequest) -> Answer<StartResponse> {
        self.0.start(&request.id, &request.exec_id).await.map_err(status)?;
        Ok(StartResponse { pid: Pod::pid(), ..StartResponse::default() })
    }

    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> Answer<StateResponse> {
        let task = self.0.task(&request.id).map_err(status)?;
        let process = task.process(&request.exec_id).map_err(status)?;
        let mut answer = StateResponse {
            bundle: task.bundle.display().to_string(),
            pid: Pod::pid(),
            stdin: process.paths.stdin.clone(),
            stdout: process.paths.stdout.clone(),
            stderr: process.paths.stderr.clone(),
            terminal: process.paths.terminal,
            id: request.id,
            exec_id: request.exec_id,
            ..StateResponse::default()
        };
        answer.status = match process.status() {
            Status::Created => api::Status::CREATED.into(),
            Status::Running => api::Status::RUNNING.into(),
            Status::Paused => api::Status::PAUSED.into(),
            Status::Stopped(ended) => {
                answer.exit_status = ended.code;
                answer.exited_at = MessageField::some(ended.at.into());
                api::Status::STOPPED.into()
            }
        };
        Ok(answer)
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> Answer<WaitResponse> {
        let process = self.process(&request.id, &request.exec_id)?;
        let ended = process.ended().await;
        Ok(WaitResponse { exit_status: ended.code, exited_at: MessageField::some(ended.at.into()), ..WaitResponse::default() })
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> Answer<Empty> {
        self.0.kill(&request.id, &request.exec_id, request.signal, request.all).map_err(status)?;
        Ok(Empty::default())
    }

    async fn delete(&self, _: &TtrpcContext, request: DeleteRequest) -> Answer<DeleteResponse> {
        let process = self.0.delete(&request.id, &request.exec_id).map_err(status)?;
        let mut answer = DeleteResponse { pid: Pod::pid(), ..DeleteResponse::default() };
        if let Status::Stopped(Ended { code, at, .. }) = process.status() {
            answer.exit_status = code;
            answer.exited_at = MessageField::some(at.into());
        }
        Ok(answer)
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> Answer<Empty> {
        let process: oci_spec::runtime::Process = decode(request.spec.as_ref(), "process").map_err(status)?;
        let streams =
            StreamPaths { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr, terminal: request.terminal };
        let plan = ProcessPlan::of(&process);
        self.0.exec(&request.id, &request.exec_id, plan, streams).await.map_err(status_of_new)?;
        Ok(Empty::default())
    }

    async fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> Answer<PidsResponse> {
        self.0.task(&request.id).map_err(status)?;
        let processes = vec![ProcessInfo { pid: Pod::pid(), ..ProcessInfo::default() }];
        Ok(PidsResponse { processes, ..PidsResponse::default() })
    }

    async fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> Answer<StatsResponse> {
        let task = self.0.task(&request.id).map_err(status)?;
        Ok(StatsResponse { stats: MessageField::some(metrics::of(task.init.usage())), ..StatsResponse::default() })
    }

    async fn pause(&self, _: &TtrpcContext, request: PauseRequest) -> Answer<Empty> {
        self.0.pause(&request.id).map_err(status)?;
        Ok(Empty::default())
    }

    async fn resume(&self, _: &TtrpcContext, request: ResumeRequest) -> Answer<Empty> {
        self.0.resume(&request.id).map_err(status)?;
        Ok(Empty::default())
    }

    async fn update(&self, _: &TtrpcContext, request: UpdateTaskRequest) -> Answer<Empty> {
        let resources: oci_spec::runtime::LinuxResources = decode(request.resources.as_ref(), "resources").map_err(status)?;
        self.0.update(&request.id, Resources::of(&resources)).map_err(status)?;
        Ok(Empty::default())
    }

    async fn resize_pty(&self, _: &TtrpcContext, request: ResizePtyRequest) -> Answer<Empty> {
        let process = self.process(&request.id, &request.exec_id)?;
        process.resize(request.width, request.height).map_err(status)?;
        Ok(Empty::default())
    }

    async fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> Answer<Empty> {
        let process = self.process(&request.id, &request.exec_id)?;
        if request.stdin {
            process.close_stdin();
        }
        Ok(Empty::default())
    }

    async fn checkpoint(&self, _: &TtrpcContext, _: CheckpointTaskRequest) -> Answer<Empty> {
        Err(ttrpc::Error::RpcStatus(get_status(Code::UNIMPLEMENTED, "checkpoints are not supported")))
    }

    async fn connect(&self, _: &TtrpcContext, _: ConnectRequest) -> Answer<ConnectResponse> {
        let (shim_pid, task_pid) = (Pod::pid(), Pod::pid());
        Ok(ConnectResponse { shim_pid, task_pid, version: VERSION.to_owned(), ..ConnectResponse::default() })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: ShutdownRequest) -> Answer<Empty> {
        self.0.shut_down();
        Ok(Empty::default())
    }
}

impl TaskService {
    fn process(&self, id: &str, exec: &str) -> Answer<Arc<Process>> {
        self.0.task(id).and_then(|task| task.process(exec)).map_err(status)
    }
}

/// Something of the OCI runtime specification, which containerd sends as JSON.
fn decode<T: serde::de::DeserializeOwned>(any: Option<&Any>, what: &str) -> wasmpod::Result<T> {
    let value = any.map(|any| any.value.as_slice()).unwrap_or_default();
    serde_json::from_slice(value).map_err(|error| Error::invalid(format!("not the {what} of a container")).because(error))
}
