//! The one task that owns a pod.
//!
//! ```text
//!   Pod::stop, Pod::kill ──commands──┐                            ┌─▶ Container::start, terminate, kill
//!   containers ───────────events─────┼─▶ PodState::step ──actions─┼─▶ probes, hooks ──▶ their answers, as events
//!   the clock, volume sizes ─────────┘          │                 └─▶ release network and volumes
//!                                               └─▶ PodView by `watch`, with a generation
//! ```
//! Nothing else changes the pod's state; what others see is what the task published last. It performs actions and never
//! decides: what happens next is for [`PodState`] to say.

mod images;
mod questions;

pub use images::{FailedPull, ImagePuller, PodImages, PullNotice, PulledContainer};

use super::event::pod_events;
use super::sandbox::Sandbox;
use super::spec::PodSpec;
use super::state::{Action, Attempt, ContainerIndex, Event, Outcome, PodState, Signal, StartError};
use super::status::{StatusFacts, pod_status};
use crate::container::{Container, ContainerEvent};
use crate::limits::{POD_COMMANDS_MAX, POD_EVENTS_PER_CONTAINER_MAX};
use crate::log::LogWriter;
use crate::observe::{self, Phase};
use crate::pod::backoff::BackoffPolicy;
use crate::{Error, ErrorKind, Result};
use images::Images;
use jiff::Timestamp;
use k8s_openapi::api::core::v1;
use questions::Questions;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Who takes what the containers print.
pub trait ContainerOutput: Send + Sync {
    /// The log of one instance, asked for once before each of them starts.
    fn open(&self, container: ContainerIndex, attempt: Attempt) -> LogWriter;

    /// A container could not be started. It may be tried again, as its pod's policy has it; must not block.
    fn start_failed(&self, container: ContainerIndex, error: &Error) {
        let _ = (container, error);
    }

    /// A container's image could not be brought. It is tried again after `wait`; without one, never, and the pod fails. Must not block.
    fn pull_failed(&self, container: ContainerIndex, error: &Error, wait: Option<Duration>) {
        let _ = (container, error, wait);
    }
}

/// Everything that a pod needs besides its spec.
pub struct PodConfig {
    /// Its network and volumes, ready.
    pub sandbox: Sandbox,
    /// What each container runs.
    pub images: PodImages,
    /// How long to wait between restarts.
    pub backoff: BackoffPolicy,
    /// Where the containers' output goes.
    pub output: Arc<dyn ContainerOutput>,
    /// The machine's addresses, for the status.
    pub host_ips: Vec<IpAddr>,
}

impl fmt::Debug for PodConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PodConfig").field("sandbox", &self.sandbox).finish_non_exhaustive()
    }
}

/// A running pod, or one that ended. Dropping it kills what still runs.
#[derive(Debug)]
pub struct Pod {
    spec: Arc<PodSpec>,
    facts: StatusFacts,
    commands: mpsc::Sender<Event>,
    view: watch::Receiver<PodView>,
}

/// Follows one pod from outside. It keeps nothing alive.
#[derive(Debug)]
pub struct PodWatch {
    view: watch::Receiver<PodView>,
    /// Whether the present state was not given yet.
    is_new: bool,
}

impl PodWatch {
    /// The pod's state: at once the first time, then whenever it has changed; states in between may be skipped, but not the last.
    /// `None` once the pod has ended and everything was given.
    pub async fn next(&mut self) -> Option<PodState> {
        if !std::mem::take(&mut self.is_new) {
            self.view.changed().await.ok()?;
        }
        Some(self.view.borrow_and_update().state.clone())
    }
}

/// What the pod's task published last.
#[derive(Clone, Debug)]
struct PodView {
    /// Rises with every change.
    generation: u64,
    state: PodState,
    /// `imageID` of each container, empty while it is not known.
    image_ids: Arc<[String]>,
    /// Whether network and volumes are released too.
    released: bool,
}

impl Pod {
    /// Starts the pod: its task on the current tokio runtime, its containers on the engine's threads.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when `config.images` does not match the spec.
    pub fn start(config: PodConfig) -> Result<Self> {
        let spec = config.sandbox.spec().clone();
        if matches!(&config.images, PodImages::Present(images) if images.len() != spec.containers.len()) {
            return Err(Error::internal("a pod needs one image for each of its containers").at(spec.full_name()));
        }
        let facts = StatusFacts {
            started_at: Timestamp::now(),
            pod_ips: config.sandbox.pod_ips(),
            host_ips: config.host_ips.clone(),
            image_ids: Vec::new(),
        };
        let (commands, command_inbox) = mpsc::channel(POD_COMMANDS_MAX);
        let (driver, view) = Driver::new(config, command_inbox);
        tokio::spawn(driver.run());
        Ok(Self { spec, facts, commands, view })
    }

    /// Asks the pod to stop: gracefully, within `grace` or the time that its spec gives. A second call can only shorten it.
    pub async fn stop(&self, grace: Option<Duration>) {
        // An error means that the task has ended, and the pod with it.
        drop(self.commands.send(Event::Stop { grace }).await);
    }

    /// Stops the pod at once.
    pub async fn kill(&self) {
        drop(self.commands.send(Event::Kill).await);
    }

    /// Waits until the pod has ended and its network and volumes are released.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) when the pod's task died: a bug.
    pub async fn finished(&self) -> Result<Outcome> {
        let lost = || Error::new(ErrorKind::Internal, "the task that owned the pod is gone").at(self.spec.full_name());
        let mut view = self.view.clone();
        let view = view.wait_for(|view| view.released).await.map_err(|_| lost())?;
        view.state.outcome().cloned().ok_or_else(lost)
    }

    /// What the pod is.
    pub fn spec(&self) -> &Arc<PodSpec> {
        &self.spec
    }

    /// How the pod stands, and the generation of that knowledge: it rises with every change.
    pub fn status(&self) -> (u64, v1::PodStatus) {
        let view = self.view.borrow();
        let facts = StatusFacts { image_ids: view.image_ids.to_vec(), ..self.facts.clone() };
        (view.generation, pod_status(&self.spec, &view.state, &facts))
    }

    /// What happened to the pod, as Kubernetes' Event objects, the latest last: the same events are counted, not repeated.
    pub fn events(&self) -> Vec<v1::Event> {
        pod_events(&self.spec, &self.view.borrow().state, &self.facts)
    }

    /// A look at the pod that outlives this handle's borrow: for a task that shows what happens.
    pub fn watch(&self) -> PodWatch {
        PodWatch { view: self.view.clone(), is_new: true }
    }

    /// The wall-clock time of the pod's start, to which the times of its state are relative.
    pub fn started_at(&self) -> Timestamp {
        self.facts.started_at
    }

    /// The pod's state, as its task published it last.
    pub fn state(&self) -> PodState {
        self.view.borrow().state.clone()
    }

    /// Waits until the pod's state satisfies `condition`, or the pod has ended; says which.
    pub async fn wait_until(&self, mut condition: impl FnMut(&PodState) -> bool) -> bool {
        let mut view = self.view.clone();
        match view.wait_for(|view| condition(&view.state) || view.released).await {
            Ok(view) => condition(&view.state),
            Err(_) => false,
        }
    }
}

/// The task's own side.
struct Driver {
    config: PodConfig,
    state: PodState,
    images: Images,
    /// A pull that failed and was not told yet.
    failed_pull: Option<(ContainerIndex, Error)>,
    /// The live instance of each container.
    instances: Vec<Option<(Attempt, Container)>>,
    /// What the handles ask for; none once the last of them is gone.
    commands: Option<mpsc::Receiver<Event>>,
    /// What the containers say.
    events: mpsc::Sender<Event>,
    inbox: mpsc::Receiver<Event>,
    /// The probes and hooks that are under way.
    questions: Questions,
    view: watch::Sender<PodView>,
    /// The look at the volumes that is under way.
    measuring: Option<JoinHandle<Option<String>>>,
    started_at: Instant,
}

impl Driver {
    fn new(mut config: PodConfig, commands: mpsc::Receiver<Event>) -> (Self, watch::Receiver<PodView>) {
        let spec = config.sandbox.spec();
        let containers = spec.containers.len();
        let images = std::mem::replace(&mut config.images, PodImages::Present(Vec::new()));
        let images = Images::new(images, containers);
        let state = PodState::new(spec, config.backoff);
        let state = if images.are_to_be_pulled() { state.with_images_to_pull() } else { state };
        // Each instance says two things, and the next one starts only after the second was heard: the queue never fills. What pulls say
        // before may be lost when a container has very many images.
        let (events, inbox) = mpsc::channel((containers * POD_EVENTS_PER_CONTAINER_MAX).max(1));
        let (view, seen) =
            watch::channel(PodView { generation: 0, state: state.clone(), image_ids: images.ids().into(), released: false });
        let instances = std::iter::repeat_with(|| None).take(containers).collect();
        let commands = Some(commands);
        let questions = Questions::new(containers);
        let started_at = Instant::now();
        let (failed_pull, measuring) = (None, None);
        let driver =
            Self { config, state, images, failed_pull, instances, commands, events, inbox, questions, view, measuring, started_at };
        (driver, seen)
    }

    /// Runs until the pod has finished.
    async fn run(mut self) {
        let (mut event, mut was_ready) = (Event::Begin, false);
        loop {
            if let Event::Exited { container, .. } = event {
                self.questions.give_up(container);
            }
            let step = self.state.step(event, self.started_at.elapsed());
            self.observe_ready(&mut was_ready);
            let finished = self.perform(step.actions);
            self.tell_failed_pull();
            if self.state.is_ending() {
                self.images.give_up();
            }
            self.publish();
            if finished {
                break;
            }
            event = self.next_event(step.wake_at).await;
        }
        self.release().await;
    }

    /// Tells observers when the pod becomes ready.
    fn observe_ready(&self, was_ready: &mut bool) {
        let is_ready = self.state.is_ready();
        if is_ready && !*was_ready {
            observe::moment(Phase::Ready);
        }
        *was_ready = is_ready;
    }

    /// The next thing that happens. Commands come first: a pod whose containers never stop talking can still be stopped.
    async fn next_event(&mut self, wake_at: Option<Duration>) -> Event {
        let started_at = self.started_at;
        let tick = async {
            match wake_at {
                Some(at) => tokio::time::sleep_until(started_at + at).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(tick);
        loop {
            tokio::select! {
                biased;
                command = next_command(&mut self.commands) => return command,
                Some(event) = self.inbox.recv() => return event,
                answer = self.questions.next_answer() => return answer,
                answer = self.images.next_answer() => return self.pulled(answer),
                over = measured(&mut self.measuring) => {
                    if let Some(message) = over {
                        return Event::Evict { message };
                    }
                }
                () = self.config.sandbox.storage_due(), if self.may_measure() => self.measuring = Some(self.config.sandbox.measure()),
                () = &mut tick => return Event::Tick,
            }
        }
    }

    fn may_measure(&self) -> bool {
        self.measuring.is_none() && !self.state.is_ending()
    }

    /// Performs the actions in order; true when the last of them was to finish.
    fn perform(&mut self, actions: Vec<Action>) -> bool {
        let mut finished = false;
        for action in actions {
            tracing::debug!(target: "wasmpod::pod", pod = self.config.sandbox.spec().name, ?action);
            match action {
                Action::Pull { container } => self.pull(container),
                Action::Start { container, attempt } => self.start(container, attempt),
                Action::Terminate { container, attempt } => {
                    self.questions.give_up_hooks(container);
                    self.signal(container, attempt, Signal::Term);
                }
                Action::Kill { container, attempt } => {
                    self.questions.give_up(container);
                    self.signal(container, attempt, Signal::Kill);
                }
                Action::Probe { container, attempt, kind } => self.ask(container, attempt, kind),
                Action::RunHook { container, attempt, hook } => self.run_hook(container, attempt, hook),
                Action::Finish(outcome) => {
                    tracing::info!(target: "wasmpod::pod", pod = self.config.sandbox.spec().name, ?outcome, "finished");
                    finished = true;
                }
            }
        }
        finished
    }

    fn start(&mut self, index: ContainerIndex, attempt: Attempt) {
        let Some(slot) = self.instances.get_mut(index.0) else { return };
        let (events, failures) = (self.events.clone(), Arc::clone(&self.config.output));
        let mut starting = Some(observe::span(Phase::Start));
        let mut report = move |event| {
            drop(starting.take());
            let event = match event {
                ContainerEvent::Started => Event::Started { container: index, attempt },
                ContainerEvent::StartFailed(error) => {
                    failures.start_failed(index, &error);
                    Event::StartFailed { container: index, attempt, error: StartError::from(&error) }
                }
                ContainerEvent::Exited(exit) => Event::Exited { container: index, attempt, exit },
            };
            if events.try_send(event).is_err() {
                tracing::debug!(target: "wasmpod::pod", "a container ended after its pod");
            }
        };
        let output = self.config.output.open(index, attempt);
        let sandbox = &self.config.sandbox;
        match self.images.of(index).and_then(|image| sandbox.start(index, image, &output, report.clone())) {
            Ok(container) => *slot = Some((attempt, container)),
            Err(error) => report(ContainerEvent::StartFailed(error)),
        }
    }

    fn signal(&self, index: ContainerIndex, attempt: Attempt, signal: Signal) {
        if let Some(Some((running, container))) = self.instances.get(index.0)
            && *running == attempt
        {
            container.signal(signal);
        }
    }

    fn publish(&self) {
        self.view.send_modify(|view| {
            view.generation += 1;
            view.state.clone_from(&self.state);
        });
    }

    /// Gives network and volumes back, and only then says that the pod is gone.
    async fn release(self) {
        let Self { config: PodConfig { sandbox, output, .. }, images, instances, questions, view, mut measuring, .. } = self;
        drop((questions, instances, images, output));
        if measuring.is_some() {
            // It holds the volumes.
            measured(&mut measuring).await;
        }
        if let Err(error) = sandbox.release().await {
            tracing::warn!(target: "wasmpod::pod", error = error.chain(), "the pod's volumes could not be removed");
        }
        view.send_modify(|view| {
            view.generation += 1;
            view.released = true;
        });
    }
}

/// The answer of the look that is under way, which is over then; waits for ever when there is none.
async fn measured(measuring: &mut Option<JoinHandle<Option<String>>>) -> Option<String> {
    let Some(look) = measuring else { return std::future::pending().await };
    let over = look.await;
    *measuring = None;
    over.unwrap_or_default()
}

/// The next command. When the last handle is gone nobody can ask for anything any more, nor see the answer: the pod is killed,
/// once.
async fn next_command(commands: &mut Option<mpsc::Receiver<Event>>) -> Event {
    let Some(open) = commands else { return std::future::pending().await };
    match open.recv().await {
        Some(command) => command,
        None => {
            *commands = None;
            Event::Kill
        }
    }
}
