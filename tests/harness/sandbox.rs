//! Containers without a pod's task: for what their handles can do.

use super::Folder;
use super::pods::{self, engine, prepare};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use wasmpod::container::{Container, ContainerEvent, ExecConfig};
use wasmpod::engine::Engine;
use wasmpod::log::{LogSink, LogWriter, Stream, deliver, pipe};
use wasmpod::manifest::{LowerContext, Manifest};
use wasmpod::pod::spec::PodSpec;
use wasmpod::pod::state::{ContainerExit, ContainerIndex, Signal};
use wasmpod::pod::{ContainerImage, Sandbox};

/// How long a test waits for what should take milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A sandbox and what its containers run.
pub struct TestSandbox {
    pub sandbox: Sandbox,
    pub images: Vec<ContainerImage>,
    pub folder: Folder,
}

impl TestSandbox {
    /// The sandbox of the one pod of `manifest`, as `adjust` has changed it; images are files of `folder`.
    pub async fn new(folder: Folder, manifest: &str, adjust: impl FnOnce(&mut PodSpec)) -> Self {
        let (sandbox, images) = prepare(&folder, manifest, adjust).await;
        Self { sandbox, images, folder }
    }

    /// The same on another engine than that of all tests, with no images: programs are given to [`start_program`](Self::start_program).
    pub async fn on(engine: &Engine, folder: Folder, manifest: &str) -> Self {
        let manifest = Manifest::parse(manifest, "test").unwrap();
        let spec = manifest.lower(|_| LowerContext::new("uid")).unwrap().remove(0).spec;
        let sandbox = pods::sandbox(engine, &folder, spec).await;
        Self { sandbox, images: Vec::new(), folder }
    }

    /// Starts a container.
    pub fn start(&self, index: usize) -> Run {
        self.start_program(index, &self.images[index])
    }

    /// Starts a container with another program than its own.
    pub fn start_program(&self, index: usize, image: &ContainerImage) -> Run {
        let (log, output, delivered) = captured();
        let (send, events) = unbounded_channel();
        let report = move |event| drop(send.send(event));
        let container = self.sandbox.start(ContainerIndex(index), image, &log, report).unwrap();
        Run { container: Some(container), events, output, delivered: Some(delivered) }
    }

    /// Runs `command` in a container that runs.
    pub fn exec(&self, index: usize, command: &[&str]) -> Run {
        self.exec_with(index, command, |_| ()).unwrap()
    }

    /// The same with more than a command.
    pub fn exec_with(&self, index: usize, command: &[&str], adjust: impl FnOnce(&mut ExecConfig)) -> wasmpod::Result<Run> {
        let (log, output, delivered) = captured();
        let mut exec = ExecConfig::new(command.iter().map(|&word| word.to_owned()).collect(), &log);
        adjust(&mut exec);
        let (send, events) = unbounded_channel();
        let report = move |event| drop(send.send(event));
        let container = self.sandbox.exec(ContainerIndex(index), &self.images[index], exec, report)?;
        Ok(Run { container: Some(container), events, output, delivered: Some(delivered) })
    }
}

/// A container, or something exec'd into one.
pub struct Run {
    container: Option<Container>,
    events: UnboundedReceiver<ContainerEvent>,
    output: Arc<Mutex<Vec<u8>>>,
    /// Ends when all output is there.
    delivered: Option<JoinHandle<std::io::Result<()>>>,
}

impl Run {
    /// The handle.
    pub fn container(&self) -> &Container {
        self.container.as_ref().unwrap()
    }

    /// Lets go of the handle.
    pub fn release(&mut self) {
        self.container = None;
    }

    /// What it has printed so far.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }

    /// Waits until it has printed `text`.
    pub async fn prints(&self, text: &str) {
        let printed = async {
            while !self.printed().contains(text) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, printed).await;
        assert!(in_time.is_ok(), "did not print {text:?}: {:?}", self.printed());
    }

    /// Waits until it runs.
    pub async fn started(&mut self) {
        assert!(matches!(self.event().await, ContainerEvent::Started));
    }

    /// Waits until it has ended and everything that it printed is there. Not for `select!`: who is cancelled in between loses the end.
    pub async fn exit(&mut self) -> ContainerExit {
        let exit = self.end().await.unwrap_or_else(|error| panic!("{}", error.chain()));
        self.delivered.take().unwrap().await.unwrap().unwrap();
        exit
    }

    /// Waits until it has ended, or could not be started. Nothing is lost when this is cancelled.
    pub async fn end(&mut self) -> wasmpod::Result<ContainerExit> {
        loop {
            match self.event().await {
                ContainerEvent::Started => {}
                ContainerEvent::Exited(exit) => return Ok(exit),
                ContainerEvent::StartFailed(error) => return Err(error),
            }
        }
    }

    /// Waits until it could not be started, and says why.
    pub async fn failure(&mut self) -> wasmpod::Error {
        match self.event().await {
            ContainerEvent::StartFailed(error) => error,
            event => panic!("{event:?}"),
        }
    }

    /// Ends it.
    pub async fn kill(mut self) {
        self.container().signal(Signal::Kill);
        self.exit().await;
    }

    async fn event(&mut self) -> ContainerEvent {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("said nothing").unwrap()
    }
}

/// How many instances live in this process, of all tests.
pub fn live_instances() -> u64 {
    engine().live_instances()
}

fn captured() -> (LogWriter, Arc<Mutex<Vec<u8>>>, Delivery) {
    let (log, reader) = pipe();
    let output = Arc::default();
    let mut sink = Text(Arc::clone(&output));
    let delivered = tokio::spawn(async move { deliver(reader, &mut sink).await });
    (log, output, delivered)
}

/// The task that carries what is printed to where it is kept.
type Delivery = JoinHandle<std::io::Result<()>>;

struct Text(Arc<Mutex<Vec<u8>>>);

impl LogSink for Text {
    fn chunk(&mut self, _stream: Stream, bytes: &[u8]) -> std::io::Result<()> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(())
    }
}
