//! The task that owns all workloads of a run, and one small task for each of their pods.
//!
//! ```text
//!   Workloads::stop, kill ──────────┐                          ┌─▶ PodMaker::make ─▶ a task that looks after the pod
//!   pods: made, ready, restarted, ──┼─▶ Controller::step ──────┤
//!   ended; the clock ───────────────┘     (one a workload)     └─▶ its command: stop
//! ```
//! It performs what the controllers ask for and decides nothing itself.

use super::controller::{Action, Controller, Event, JobProgress, ReplacePolicy, Serial, Step, WorkloadOutcome};
use super::spec::{PodEnd, Replica, WorkloadSpec};
use crate::limits::{ENDED_PODS_KEPT_MAX, WORKLOAD_EVENTS_MAX};
use crate::net::ClusterMember;
use crate::pod::Pod;
use crate::pod::spec::ContainerRole;
use crate::pod::state::{ConditionKind, ContainerState, Outcome, PodState};
use crate::{Error, Result};
use async_trait::async_trait;
use k8s_openapi::api::core::v1;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// The exit status that a pod which was stopped before it began stands for: 128 + SIGTERM.
const EXIT_TERMINATED: i32 = 143;

/// Who makes pods: resolves their images, prepares their sandboxes and starts them.
#[async_trait]
pub trait PodMaker: Send + Sync {
    /// Makes the pod that `replica` stands for, of the `workload`-th workload, and starts it.
    ///
    /// # Errors
    /// Whatever kept it from being made. It is not tried again.
    async fn make(&self, workload: usize, replica: &Replica) -> Result<MadePod>;

    /// A pod could not be made; says the exit status that this means for the command line. Must not block.
    fn not_made(&self, workload: usize, replica: &Replica, error: &Error) -> i32;
}

/// A pod that was made.
#[derive(Debug)]
pub struct MadePod {
    /// The pod, started.
    pub pod: Pod,
    /// What it was made from, for its final object.
    pub object: v1::Pod,
    /// Its place in the network between pods.
    pub member: Option<ClusterMember>,
}

/// What became of one workload.
#[derive(Clone, Debug)]
pub struct WorkloadReport {
    /// The workload.
    pub spec: WorkloadSpec,
    /// How it ended.
    pub outcome: WorkloadOutcome,
    /// How far it came, for a Job.
    pub progress: JobProgress,
    /// When it began and ended, in time since the start of the run.
    pub ended_after: Duration,
    /// Its pods, in the order of their making; of very many only the last.
    pub pods: Vec<PodReport>,
}

/// What became of one pod.
#[derive(Clone, Debug)]
pub struct PodReport {
    /// The object with its last status.
    pub object: v1::Pod,
    /// Whether it succeeded.
    pub succeeded: bool,
}

/// The workloads of a run. Dropping it kills their pods.
#[derive(Debug)]
pub struct Workloads {
    stop: watch::Sender<Urgency>,
    task: JoinHandle<Vec<WorkloadReport>>,
}

/// How much of a hurry there is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Run,
    Stop,
    Kill,
}

impl Workloads {
    /// Starts the workloads, all at once.
    pub fn start(specs: Vec<WorkloadSpec>, policy: ReplacePolicy, maker: Arc<dyn PodMaker>) -> Self {
        let (stop, urgency) = watch::channel(Urgency::Run);
        let driver = Driver::new(specs, policy, maker, urgency);
        Self { stop, task: tokio::spawn(driver.run()) }
    }

    /// Asks all workloads to stop their pods gracefully, each in its own order.
    pub fn stop(&self) {
        self.stop.send_if_modified(|urgency| std::mem::replace(urgency, (*urgency).max(Urgency::Stop)) < Urgency::Stop);
    }

    /// Stops all pods at once.
    pub fn kill(&self) {
        self.stop.send_replace(Urgency::Kill);
    }

    /// Waits until every workload has ended and all its pods are released; says what became of them, in their order. Cancelled, it
    /// can be called again; once it has answered it is not.
    ///
    /// # Errors
    /// [`Internal`](crate::ErrorKind::Internal) when the task died: a bug.
    pub async fn finished(&mut self) -> Result<Vec<WorkloadReport>> {
        (&mut self.task).await.map_err(|error| Error::internal("the task that owned the workloads is gone").because(error))
    }
}

impl Drop for Workloads {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A pod of some workload.
type PodId = (usize, Serial);

/// What the task of a pod says.
enum Word {
    Made(PodId, Arc<Pod>, Box<v1::Pod>),
    Event(PodId, Event),
}

struct Driver {
    controllers: Vec<Controller>,
    maker: Arc<dyn PodMaker>,
    urgency: watch::Receiver<Urgency>,
    words: mpsc::Sender<Word>,
    inbox: mpsc::Receiver<Word>,
    /// One for each pod that is not over. Dropped with the driver, and their pods with them.
    tasks: JoinSet<()>,
    /// What each pod is asked to do.
    commands: BTreeMap<PodId, watch::Sender<Urgency>>,
    pods: BTreeMap<PodId, (Arc<Pod>, Box<v1::Pod>)>,
    ended: VecDeque<(PodId, PodReport)>,
    ended_after: Vec<Duration>,
    wake_at: Vec<Option<Duration>>,
    started_at: Instant,
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("controllers", &self.controllers).finish_non_exhaustive()
    }
}

impl Driver {
    fn new(specs: Vec<WorkloadSpec>, policy: ReplacePolicy, maker: Arc<dyn PodMaker>, urgency: watch::Receiver<Urgency>) -> Self {
        let (words, inbox) = mpsc::channel(WORKLOAD_EVENTS_MAX);
        let controllers: Vec<Controller> = specs.into_iter().map(|spec| Controller::new(spec, policy)).collect();
        Self {
            maker,
            urgency,
            words,
            inbox,
            tasks: JoinSet::new(),
            commands: BTreeMap::new(),
            pods: BTreeMap::new(),
            ended: VecDeque::new(),
            ended_after: vec![Duration::ZERO; controllers.len()],
            wake_at: vec![None; controllers.len()],
            started_at: Instant::now(),
            controllers,
        }
    }

    /// Runs until every workload has ended.
    async fn run(mut self) -> Vec<WorkloadReport> {
        for index in 0..self.controllers.len() {
            self.tell(index, Event::Begin);
        }
        while self.controllers.iter().any(|controller| controller.outcome().is_none()) {
            self.next().await;
        }
        self.reports()
    }

    /// Waits for the next thing that happens, and sees to it.
    async fn next(&mut self) {
        let due = self.wake_at.iter().flatten().min().copied();
        let started_at = self.started_at;
        let tick = async move {
            match due {
                Some(at) => tokio::time::sleep_until(started_at + at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Ok(()) = self.urgency.changed() => self.hurry(),
            Some(word) = self.inbox.recv() => self.hear(word),
            Some(_) = self.tasks.join_next() => {}
            () = tick => (0..self.controllers.len()).for_each(|index| self.tell(index, Event::Tick)),
        }
    }

    fn hurry(&mut self) {
        let urgency = *self.urgency.borrow_and_update();
        (0..self.controllers.len()).for_each(|index| self.tell(index, Event::Stop));
        if urgency == Urgency::Kill {
            for command in self.commands.values() {
                command.send_replace(Urgency::Kill);
            }
        }
    }

    fn hear(&mut self, word: Word) {
        match word {
            Word::Made(id, pod, object) => drop(self.pods.insert(id, (pod, object))),
            Word::Event(id, event) => {
                if let Event::Ended { .. } | Event::NotMade { .. } = &event {
                    self.bury(id, matches!(&event, Event::Ended { end, .. } if end.succeeded));
                    self.commands.remove(&id);
                }
                self.tell(id.0, event);
            }
        }
    }

    /// Keeps the last status of a pod, and nothing else of it.
    fn bury(&mut self, id: PodId, succeeded: bool) {
        let Some((pod, object)) = self.pods.remove(&id) else { return };
        let (_, status) = pod.status();
        if self.ended.len() >= ENDED_PODS_KEPT_MAX {
            self.ended.pop_front();
        }
        let object = v1::Pod { status: Some(status), ..*object };
        self.ended.push_back((id, PodReport { object, succeeded }));
    }

    fn tell(&mut self, index: usize, event: Event) {
        let now = self.started_at.elapsed();
        let Some(controller) = self.controllers.get_mut(index) else { return };
        let Step { actions, wake_at } = controller.step(event, now);
        if let Some(slot) = self.wake_at.get_mut(index) {
            *slot = wake_at;
        }
        for action in actions {
            tracing::debug!(target: "wasmpod::workload", workload = self.name(index), ?action);
            match action {
                Action::Create { serial, replica } => self.create((index, serial), replica),
                Action::Delete { serial } => {
                    if let Some(command) = self.commands.get(&(index, serial)) {
                        command
                            .send_if_modified(|urgency| std::mem::replace(urgency, (*urgency).max(Urgency::Stop)) < Urgency::Stop);
                    }
                }
                Action::Finish(_) => {
                    if let Some(ended_after) = self.ended_after.get_mut(index) {
                        *ended_after = now;
                    }
                }
            }
        }
    }

    fn name(&self, index: usize) -> String {
        self.controllers.get(index).map(|controller| controller.spec().full_name()).unwrap_or_default()
    }

    fn create(&mut self, id: PodId, replica: Replica) {
        let (command, commands) = watch::channel(Urgency::Run);
        self.commands.insert(id, command);
        let keeper = Keeper { id, replica, maker: Arc::clone(&self.maker), words: self.words.clone(), commands };
        self.tasks.spawn(keeper.run());
    }

    fn reports(mut self) -> Vec<WorkloadReport> {
        let mut reports = Vec::new();
        self.ended.make_contiguous().sort_by_key(|(id, _)| *id);
        for (index, controller) in self.controllers.iter().enumerate() {
            let Some(outcome) = controller.outcome().cloned() else { continue };
            let pods = self.ended.iter().filter(|((workload, _), _)| *workload == index).map(|(_, pod)| pod.clone()).collect();
            let ended_after = self.ended_after.get(index).copied().unwrap_or_default();
            reports.push(WorkloadReport {
                spec: controller.spec().clone(),
                outcome,
                progress: controller.job_progress(),
                ended_after,
                pods,
            });
        }
        reports
    }
}

/// Looks after one pod, from its making to its end.
struct Keeper {
    id: PodId,
    replica: Replica,
    maker: Arc<dyn PodMaker>,
    words: mpsc::Sender<Word>,
    commands: watch::Receiver<Urgency>,
}

impl Keeper {
    async fn run(mut self) {
        let serial = self.id.1;
        let made = tokio::select! {
            biased;
            _ = self.commands.wait_for(|urgency| *urgency > Urgency::Run) => None,
            made = self.maker.make(self.id.0, &self.replica) => Some(made),
        };
        let end = match made {
            None => Event::Ended { serial, end: failed(EXIT_TERMINATED) },
            Some(Err(error)) => {
                let exit_code = self.maker.not_made(self.id.0, &self.replica, &error);
                Event::NotMade { serial, exit_code }
            }
            Some(Ok(made)) => self.look_after(made).await,
        };
        self.say(Word::Event(self.id, end)).await;
    }

    /// Tells of every change until the pod is over.
    async fn look_after(&mut self, MadePod { pod, object, member }: MadePod) -> Event {
        let serial = self.id.1;
        let pod = Arc::new(pod);
        self.say(Word::Made(self.id, Arc::clone(&pod), Box::new(object))).await;
        let mut known = Summary::default();
        let mut urgency = Urgency::Run;
        loop {
            let changed = tokio::select! {
                biased;
                asked = asked(&mut self.commands, urgency) => {
                    urgency = asked;
                    match asked {
                        Urgency::Kill => pod.kill().await,
                        Urgency::Run | Urgency::Stop => pod.stop(None).await,
                    }
                    continue;
                }
                changed = pod.wait_until(|state| Summary::of(state) != known) => changed,
            };
            let summary = Summary::of(&pod.state());
            if summary.ready != known.ready {
                if let Some(member) = &member {
                    member.set_ready(summary.ready);
                }
                self.say(Word::Event(self.id, Event::Ready { serial, ready: summary.ready })).await;
            }
            if summary.restarts != known.restarts {
                self.say(Word::Event(self.id, Event::Restarted { serial, restarts: summary.restarts })).await;
            }
            known = summary;
            if !changed {
                break;
            }
        }
        drop(member);
        match pod.finished().await {
            Ok(outcome) if outcome.hopeless => Event::NotMade { serial, exit_code: outcome.exit_code },
            Ok(outcome) => Event::Ended { serial, end: end(&pod.state(), &outcome) },
            Err(error) => {
                tracing::error!(target: "wasmpod::workload", error = error.chain(), "a pod was lost");
                Event::Ended { serial, end: failed(1) }
            }
        }
    }

    async fn say(&self, word: Word) {
        // An error means that the run is over.
        drop(self.words.send(word).await);
    }
}

/// The end of a pod of which nothing more is known.
fn failed(exit_code: i32) -> PodEnd {
    PodEnd { exit_code, ..PodEnd::default() }
}

/// What a controller wants to know of a pod that is over.
fn end(state: &PodState, outcome: &Outcome) -> PodEnd {
    let ended = |app: bool| {
        let containers = state.containers().iter().filter(move |container| (container.role() == ContainerRole::App) == app);
        containers.filter_map(|container| match container.state() {
            ContainerState::Terminated(termination) => Some((container.name().to_owned(), termination.exit.code)),
            _ => None,
        })
    };
    let status = |met| if met { "True" } else { "False" }.to_owned();
    let conditions = state.conditions().into_iter().map(|condition| (condition.kind.to_string(), status(condition.met)));
    PodEnd {
        succeeded: outcome.succeeded,
        exit_code: outcome.exit_code,
        containers: ended(true).chain(ended(false)).collect(),
        conditions: conditions.collect(),
    }
}

/// Waits until more is asked than was.
async fn asked(commands: &mut watch::Receiver<Urgency>, known: Urgency) -> Urgency {
    let asked = commands.wait_for(|urgency| *urgency > known).await.map(|urgency| *urgency);
    match asked {
        Ok(urgency) => urgency,
        // The driver is gone; this task will be too.
        Err(_) => std::future::pending().await,
    }
}

/// What of a pod's state its controller and the Services want to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Summary {
    ready: bool,
    restarts: u32,
}

impl Summary {
    fn of(state: &PodState) -> Self {
        // A pod that is being stopped gets no more traffic, whatever its containers say.
        let ready = !state.is_ending()
            && state.conditions().iter().any(|condition| condition.kind == ConditionKind::Ready && condition.met);
        let restarts = state.containers().iter().fold(0_u32, |sum, container| sum.saturating_add(container.restart_count()));
        Self { ready, restarts }
    }
}
