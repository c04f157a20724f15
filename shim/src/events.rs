//! What happens to tasks, told to containerd: `ctr events` shows it, and the kubelet hears of memory limits that way.

use crate::limits::{EVENT_ATTEMPTS_MAX, EVENT_RETRY, EVENT_TIME_MAX, EVENTS_WAITING_MAX};
use crate::process::Ended;
use containerd_shim_protos::events::task::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskIO, TaskOOM, TaskPaused, TaskResumed, TaskStart,
};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use containerd_shim_protos::{topics, ttrpc};
use tokio::sync::mpsc;

/// The way to containerd's event service. Without one (no address) everything is thrown away.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    namespace: String,
    queue: Option<mpsc::Sender<ForwardRequest>>,
}

impl Events {
    /// Starts the task that hands events over at `address`, one after the other.
    pub(crate) fn start(address: Option<String>, namespace: &str) -> Self {
        let queue = address.map(|address| {
            let (queue, waiting) = mpsc::channel(EVENTS_WAITING_MAX);
            tokio::spawn(hand_over(address, waiting));
            queue
        });
        Self { namespace: namespace.to_owned(), queue }
    }

    pub(crate) fn created(&self, container: &str, bundle: &str, pid: u32, io: TaskIO) {
        let (container_id, bundle, io) = (container.to_owned(), bundle.to_owned(), MessageField::some(io));
        self.send(topics::TASK_CREATE_EVENT_TOPIC, &TaskCreate { container_id, bundle, pid, io, ..TaskCreate::default() });
    }

    pub(crate) fn started(&self, container: &str, exec: &str, pid: u32) {
        let container_id = container.to_owned();
        if exec.is_empty() {
            self.send(topics::TASK_START_EVENT_TOPIC, &TaskStart { container_id, pid, ..TaskStart::default() });
        } else {
            let event = TaskExecStarted { container_id, exec_id: exec.to_owned(), pid, ..TaskExecStarted::default() };
            self.send(topics::TASK_EXEC_STARTED_EVENT_TOPIC, &event);
        }
    }

    pub(crate) fn exec_added(&self, container: &str, exec: &str) {
        let (container_id, exec_id) = (container.to_owned(), exec.to_owned());
        self.send(topics::TASK_EXEC_ADDED_EVENT_TOPIC, &TaskExecAdded { container_id, exec_id, ..TaskExecAdded::default() });
    }

    /// `exec` is empty for the container's own process.
    pub(crate) fn exited(&self, container: &str, exec: &str, pid: u32, ended: Ended) {
        if ended.out_of_memory {
            let container_id = container.to_owned();
            self.send(topics::TASK_OOM_EVENT_TOPIC, &TaskOOM { container_id, ..TaskOOM::default() });
        }
        let event = TaskExit {
            container_id: container.to_owned(),
            id: process_id(container, exec),
            pid,
            exit_status: ended.code,
            exited_at: MessageField::some(ended.at.into()),
            ..TaskExit::default()
        };
        self.send(topics::TASK_EXIT_EVENT_TOPIC, &event);
    }

    pub(crate) fn paused(&self, container: &str) {
        let container_id = container.to_owned();
        self.send(topics::TASK_PAUSED_EVENT_TOPIC, &TaskPaused { container_id, ..TaskPaused::default() });
    }

    pub(crate) fn resumed(&self, container: &str) {
        let container_id = container.to_owned();
        self.send(topics::TASK_RESUMED_EVENT_TOPIC, &TaskResumed { container_id, ..TaskResumed::default() });
    }

    pub(crate) fn deleted(&self, container: &str, exec: &str, pid: u32, ended: Ended) {
        let event = TaskDelete {
            container_id: container.to_owned(),
            id: process_id(container, exec),
            pid,
            exit_status: ended.code,
            exited_at: MessageField::some(ended.at.into()),
            ..TaskDelete::default()
        };
        self.send(topics::TASK_DELETE_EVENT_TOPIC, &event);
    }

    /// Waits until every event was handed over.
    pub(crate) async fn drain(&self) {
        if let Some(queue) = &self.queue {
            // All places are free once nothing waits.
            drop(queue.reserve_many(EVENTS_WAITING_MAX).await);
        }
    }

    fn send<M: Message>(&self, topic: &str, event: &M) {
        let Some(queue) = &self.queue else { return };
        let any = Any {
            type_url: format!("containerd.events.{}", M::NAME),
            value: event.write_to_bytes().unwrap_or_default(),
            ..Any::default()
        };
        let envelope = Envelope {
            timestamp: MessageField::some(Timestamp::now()),
            namespace: self.namespace.clone(),
            topic: topic.to_owned(),
            event: MessageField::some(any),
            ..Envelope::default()
        };
        let request = ForwardRequest { envelope: MessageField::some(envelope), ..ForwardRequest::default() };
        if queue.try_send(request).is_err() {
            tracing::warn!(topic, "containerd is away, and too many events wait for it: one is lost");
        }
    }
}

/// Events speak of the container's own process by the container's id.
fn process_id(container: &str, exec: &str) -> String {
    if exec.is_empty() { container } else { exec }.to_owned()
}

async fn hand_over(address: String, mut waiting: mpsc::Receiver<ForwardRequest>) {
    let address = if address.contains("://") { address } else { format!("unix://{address}") };
    let mut client = None;
    while let Some(request) = waiting.recv().await {
        for attempt in 1..=EVENT_ATTEMPTS_MAX {
            match forward(&mut client, &address, &request).await {
                Ok(()) => break,
                Err(error) => {
                    // The connection is that of a containerd that is gone.
                    client = None;
                    tracing::debug!(%error, attempt, "containerd does not take an event");
                    if attempt > 1 {
                        tokio::time::sleep(EVENT_RETRY).await;
                    }
                }
            }
        }
    }
}

async fn forward(client: &mut Option<EventsClient>, address: &str, request: &ForwardRequest) -> ttrpc::Result<()> {
    let connected = match client {
        Some(client) => client,
        None => client.insert(EventsClient::new(Client::connect(address).await?)),
    };
    let timeout = i64::try_from(EVENT_TIME_MAX.as_nanos()).unwrap_or(i64::MAX);
    connected.forward(ttrpc::context::with_timeout(timeout), request).await.map(drop)
}
