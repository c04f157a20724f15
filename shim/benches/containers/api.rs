//! containerd's own API: what `ctr run` asks for, without the start of `ctr`.

use crate::Runtime;
use crate::harness::Containerd;
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest};
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    Container, CreateContainerRequest, CreateTaskRequest, DeleteContainerRequest, DeleteTaskRequest, GetContainerRequest,
    StartRequest, WaitRequest,
};
use containerd_client::tonic::Request;
use containerd_client::tonic::transport::Channel;
use containerd_client::with_namespace;
use rustix::fs::{CWD, Mode};
use std::collections::HashMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const NAMESPACE: &str = "default";

/// A client of one containerd.
pub(crate) struct Api<'a> {
    containerd: &'a Containerd,
    runtime: &'a tokio::runtime::Runtime,
    channel: Channel,
    /// What the containers of each runtime are copies of, and the snapshot below theirs.
    templates: HashMap<&'static str, (Container, String)>,
}

impl<'a> Api<'a> {
    /// Connects, and has `ctr` make a container of each runtime to copy.
    pub(crate) fn connect(containerd: &'a Containerd, runtime: &'a tokio::runtime::Runtime) -> Self {
        let channel = runtime.block_on(containerd_client::connect(containerd.socket())).unwrap();
        let mut this = Self { containerd, runtime, channel, templates: HashMap::new() };
        for each in &crate::RUNTIMES {
            let template = this.template(each);
            this.templates.insert(each.name, template);
        }
        this
    }

    fn template(&self, runtime: &Runtime) -> (Container, String) {
        let id = format!("template-{}", runtime.name);
        self.containerd.ctr(&["container", "create", "--runtime", runtime.kind, runtime.image, &id, runtime.hello]).ok();
        self.runtime.block_on(async {
            let request = with_namespace!(GetContainerRequest { id }, NAMESPACE);
            let container = ContainersClient::new(self.channel.clone()).get(request).await.unwrap().into_inner().container.unwrap();
            let (snapshotter, key) = (container.snapshotter.clone(), container.snapshot_key.clone());
            let request = with_namespace!(StatSnapshotRequest { snapshotter, key }, NAMESPACE);
            let snapshot = SnapshotsClient::new(self.channel.clone()).stat(request).await.unwrap().into_inner().info.unwrap();
            (container, snapshot.parent)
        })
    }

    /// Runs a container: the time to its first byte, that until its task was made, and that from then on.
    pub(crate) fn run(&self, runtime: &Runtime, id: &str) -> [Duration; 3] {
        let id = format!("{}-{id}", runtime.name);
        let pipe = self.pipe(&id);
        // For both directions: so neither side waits for the other to open it.
        let mut output = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
        let started = Instant::now();
        let created = self.runtime.block_on(async {
            self.create(runtime, &id, &pipe).await;
            started.elapsed()
        });
        let total = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                output.read_exact(&mut [0]).unwrap();
                started.elapsed()
            });
            self.runtime.block_on(async {
                let request = StartRequest { container_id: id.clone(), ..Default::default() };
                TasksClient::new(self.channel.clone()).start(with_namespace!(request, NAMESPACE)).await.unwrap();
            });
            reader.join().unwrap()
        });
        self.runtime.block_on(self.remove(runtime, &id));
        std::fs::remove_file(pipe).unwrap();
        [total, created, total - created]
    }

    fn pipe(&self, id: &str) -> PathBuf {
        let pipe = self.containerd.dir.path().join(format!("{id}.stdout"));
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        pipe
    }

    async fn create(&self, runtime: &Runtime, id: &str, pipe: &std::path::Path) {
        let (template, parent) = &self.templates[runtime.name];
        let snapshot = PrepareSnapshotRequest {
            snapshotter: template.snapshotter.clone(),
            key: id.to_owned(),
            parent: parent.clone(),
            // Not to be collected before the container is there.
            labels: HashMap::from([("containerd.io/gc.root".to_owned(), "benchmark".to_owned())]),
        };
        let snapshot = SnapshotsClient::new(self.channel.clone()).prepare(with_namespace!(snapshot, NAMESPACE)).await.unwrap();
        let container = Container { id: id.to_owned(), snapshot_key: id.to_owned(), ..template.clone() };
        let container = CreateContainerRequest { container: Some(container) };
        ContainersClient::new(self.channel.clone()).create(with_namespace!(container, NAMESPACE)).await.unwrap();
        let task = CreateTaskRequest {
            container_id: id.to_owned(),
            rootfs: snapshot.into_inner().mounts,
            stdout: pipe.display().to_string(),
            // runc's shim wants both.
            stderr: pipe.display().to_string(),
            ..Default::default()
        };
        TasksClient::new(self.channel.clone()).create(with_namespace!(task, NAMESPACE)).await.unwrap();
    }

    async fn remove(&self, runtime: &Runtime, id: &str) {
        let mut tasks = TasksClient::new(self.channel.clone());
        let wait = WaitRequest { container_id: id.to_owned(), ..Default::default() };
        let ended = tasks.wait(with_namespace!(wait, NAMESPACE)).await.unwrap().into_inner();
        assert_eq!(ended.exit_status, 0, "{}", runtime.name);
        let delete = DeleteTaskRequest { container_id: id.to_owned() };
        tasks.delete(with_namespace!(delete, NAMESPACE)).await.unwrap();
        let delete = DeleteContainerRequest { id: id.to_owned() };
        ContainersClient::new(self.channel.clone()).delete(with_namespace!(delete, NAMESPACE)).await.unwrap();
        let snapshotter = self.templates[runtime.name].0.snapshotter.clone();
        let remove = RemoveSnapshotRequest { snapshotter, key: id.to_owned() };
        SnapshotsClient::new(self.channel.clone()).remove(with_namespace!(remove, NAMESPACE)).await.unwrap();
    }
}
