//! The life of a pod as a pure state machine: [`PodState::step`] takes an event and the time, and answers with what to do.
//!
//! No tasks, no clocks, no input or output: time is a [`Duration`] since the pod's start that the caller reads from a monotonic
//! clock, so a test replays hours in microseconds. The owner of a pod (`pod::driver`) is one task that feeds events in, performs
//! the actions, and sleeps until [`Step::wake_at`].
//!
//! ```text
//!                 Begin               every app ended · an init container failed for good · deadline
//!   ┌─────────┐          ┌────────┐   Stop · Kill · Evict · a start that can never work             ┌────────┐
//!   │ Created ├─────────▶│ Active ├────────────────────────────────────────────────────────────────▶│ Ending │
//!   └────┬────┘          └────────┘                                                                 └───┬────┘
//!        │ Stop, Kill, Evict, deadline                                        nothing lives any more    ▼
//!        └─────────────────────────────────────────────────────────────────────────────────────▶ ┌──────────┐
//!                                                                                                │ Finished │
//!   One container:                                                                               └──────────┘
//!               its turn, its wait over              Started
//!   ┌─────────┐ ───────────────────────▶ ┌──────────┐ ─────▶ ┌─────────┐  Exited, and not to be restarted  ┌────────────┐
//!   │ Waiting │        StartFailed       │ Starting │        │ Running ├──────────────────────────────────▶│ Terminated │
//!   └─────────┘ ◀─────────────────────── └──────────┘        └────┬────┘                                   └────────────┘
//!        ▲               Exited, and to be restarted              │
//!        └────────────────────────────────────────────────────────┘
//!        a container waits for its image too: see `image`
//!   One running instance:
//!   ┌────────────────────┐ preStop hook? ┌─────────┐ over, or no time left, and its turn ┌───────┐ grace over ┌────────┐
//!   │ postStart, probes  ├──────────────▶│ PreStop ├────────────────────────────────────▶│ Asked ├───────────▶│ Killed │
//!   └────────────────────┘  none         └─────────┘                                     └───────┘            └────────┘
//!        a failed postStart, startup or liveness probe begins this for the one instance; the end of the pod for all
//! ```
//!
//! What holds after every step, whatever the events (the property tests check it):
//! * probes and hooks are asked of the instance that lives, each of them once at a time;
//! * at most one instance of a container lives, and every start is answered before the pod finishes;
//! * no app starts before every init container succeeded and every sidecar ran;
//! * while the grace period lasts, a sidecar is asked to stop only when everything but earlier sidecars is gone;
//! * the first reason to end decides; nothing starts afterwards, and after [`Action::Finish`] nothing happens at all;
//! * `wake_at` lies in the future: time alone never makes the owner spin.

mod checks;
mod conditions;
mod container;
mod ending;
mod event;
mod image;
mod journal;
mod notes;
mod phase;
mod probe;
mod restart;

#[cfg(test)]
mod health;
#[cfg(test)]
mod properties;
#[cfg(test)]
pub(in crate::pod) mod simulator;
#[cfg(test)]
mod tests;

pub use checks::Checks;
pub use conditions::{Condition, ConditionKind};
pub use container::{Container, ContainerState, Stopping, Termination, Waiting};
pub use event::{
    Action, Attempt, ContainerExit, ContainerIndex, Event, ExitCause, HookKind, Outcome, PullError, PulledImage, Signal,
    StartError, Step, Transfer,
};
pub(crate) use image::IMAGE_PULL_BACK_OFF;
pub use image::ImageState;
pub use journal::{EventReason, EventType, Journal, PodEvent};
pub use phase::Phase;
pub use probe::{ProbeAnswer, ProbeKind};

use crate::pod::backoff::BackoffPolicy;
use crate::pod::spec::{ContainerRole, PodSpec};
use conditions::Transitions;
use ending::{Ending, Reason};
use restart::AfterExit;
use std::time::Duration;

/// A pod's state. Made once from its spec, changed by [`step`](Self::step) alone.
#[derive(Clone, Debug, PartialEq)]
pub struct PodState {
    /// `name_namespace(uid)`: the pod in messages.
    identity: String,
    termination_grace_period: Duration,
    active_deadline: Option<Duration>,
    /// Init containers and sidecars in their order, then apps.
    containers: Vec<Container>,
    /// How many of them have let the next one start: all before this index succeeded (init) or ran once (sidecar).
    initialized: usize,
    stage: Stage,
    /// Whether every container is being killed so that the pod can start over.
    starting_over: bool,
    /// Nothing starts before: the back-off of the container for which the pod started over.
    not_before: Duration,
    /// Whether network and volumes were ever there.
    has_begun: bool,
    transitions: Transitions,
    journal: Journal,
    /// The time of the last step; it never goes back.
    now: Duration,
}

/// Where the pod as a whole stands.
#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// Network and volumes are being made.
    Created,
    /// Containers start, run and restart.
    Active,
    /// Whatever lives is being stopped.
    Ending(Ending),
    /// Nothing lives, nothing will.
    Finished(Outcome),
}

impl PodState {
    /// A pod that has not begun.
    pub fn new(spec: &PodSpec, backoff: BackoffPolicy) -> Self {
        let mut state = Self {
            identity: format!("{}_{}({})", spec.name, spec.namespace, spec.uid),
            termination_grace_period: spec.termination_grace_period,
            active_deadline: spec.active_deadline,
            containers: spec.containers.iter().map(|container| Container::new(container, spec, backoff)).collect(),
            initialized: 0,
            stage: Stage::Created,
            starting_over: false,
            not_before: Duration::ZERO,
            has_begun: false,
            transitions: Transitions::default(),
            journal: Journal::default(),
            now: Duration::ZERO,
        };
        state.note_transitions();
        state
    }

    /// Takes in what happened at `now` (time since the pod's start) and says what to do about it.
    ///
    /// A `now` before that of an earlier step counts as that step's.
    pub fn step(&mut self, event: Event, now: Duration) -> Step {
        if self.is_finished() {
            return Step::default();
        }
        self.now = self.now.max(now);
        self.record(event);
        let actions = self.settle();
        self.note_transitions();
        Step { actions, wake_at: self.wake_at() }
    }

    /// Whether [`Action::Finish`] has been given.
    pub fn is_finished(&self) -> bool {
        matches!(self.stage, Stage::Finished(_))
    }

    /// Whether the pod is being stopped (or is finished), for whatever reason: nothing starts any more.
    pub fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Ending(_) | Stage::Finished(_))
    }

    /// How it ended, once it did.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.stage {
            Stage::Finished(outcome) => Some(outcome),
            Stage::Created | Stage::Active | Stage::Ending(_) => None,
        }
    }

    /// The status for the command line, once the pod ended; see [`Outcome::exit_code`].
    pub fn exit_code(&self) -> Option<i32> {
        self.outcome().map(|outcome| outcome.exit_code)
    }

    /// The time of the last step, since the pod's start.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// One container's state; `None` when the pod has no such container.
    pub fn container(&self, container: ContainerIndex) -> Option<&Container> {
        self.containers.get(container.0)
    }

    /// All containers, in the order of the spec.
    pub fn containers(&self) -> &[Container] {
        &self.containers
    }

    /// Changes the state by what happened; what follows from it is for [`settle`](Self::settle).
    fn record(&mut self, event: Event) {
        match event {
            Event::Begin => {
                if matches!(self.stage, Stage::Created) {
                    self.stage = Stage::Active;
                    self.has_begun = true;
                }
            }
            Event::Pulling { container, image } => self.record_pulling(container, &image),
            Event::Pulled { container, images } => self.record_pulled(container, &images),
            Event::PullFailed { container, error } => self.record_pull_failed(container, error),
            Event::Started { container, attempt } => self.record_started(container, attempt),
            Event::StartFailed { container, attempt, error } => self.record_start_failed(container, attempt, error),
            Event::Exited { container, attempt, exit } => self.record_exited(container, attempt, exit),
            Event::Probed { container, attempt, kind, answer } => self.record_probed(container, attempt, kind, &answer),
            Event::HookEnded { container, attempt, hook, succeeded } => self.record_hook(container, attempt, hook, succeeded),
            Event::Stop { grace } => self.end(Reason::Stopped, grace.unwrap_or(self.termination_grace_period)),
            Event::Kill => self.end_at_once(),
            Event::Evict { message } => self.end(Reason::Evicted(message), crate::limits::EVICTION_GRACE),
            Event::Tick => {}
        }
    }

    fn record_started(&mut self, index: ContainerIndex, attempt: Attempt) {
        let now = self.now;
        if self.containers.get_mut(index.0).is_some_and(|container| container.started(attempt, now)) {
            self.note_started(index);
        }
    }

    fn record_start_failed(&mut self, index: ContainerIndex, attempt: Attempt, error: StartError) {
        let now = self.now;
        let Some(container) = self.containers.get_mut(index.0) else { return };
        if container.start_failed(attempt, error.clone(), now) {
            self.note_start_failed(index, &error);
        }
    }

    fn record_exited(&mut self, index: ContainerIndex, attempt: Attempt, exit: ContainerExit) {
        self.record_started(index, attempt);
        let (ending, starting_over, now) = (self.is_ending(), self.starting_over, self.now);
        let Some(container) = self.containers.get_mut(index.0) else { return };
        if starting_over && !ending {
            return container.exited_to_start_over(attempt, exit, now);
        }
        let after = if ending { AfterExit::StayEnded } else { container.after_exit(&exit) };
        let code = exit.code;
        if !container.exited(attempt, exit, now, after != AfterExit::StayEnded) {
            return;
        }
        if after == AfterExit::RestartAllContainers {
            self.not_before = container.due_at().unwrap_or(now).max(now);
            self.starting_over = true;
            // Told even if nothing else lives, and it is over within this step.
            self.transitions.restarting.note(true, now);
            let message = format!("Container {} exited with status {}, all containers are restarted", container.name(), code);
            self.note(Some(index), EventReason::RestartAllContainers, message);
        }
        self.note_exited(index);
    }

    fn record_probed(&mut self, index: ContainerIndex, attempt: Attempt, kind: ProbeKind, answer: &ProbeAnswer) {
        if kind != ProbeKind::Readiness && self.is_ending() {
            return;
        }
        if self.containers.get_mut(index.0).is_some_and(|container| container.probed(attempt, kind, answer)) {
            self.note_probed(index, kind, answer);
        }
    }

    fn record_hook(&mut self, index: ContainerIndex, attempt: Attempt, hook: HookKind, succeeded: bool) {
        let ending = self.is_ending();
        let Some(container) = self.containers.get_mut(index.0) else { return };
        let awaited = match hook {
            HookKind::PostStart => !ending && container.post_start_ended(attempt, succeeded),
            HookKind::PreStop => container.pre_stop_ended(attempt),
        };
        if awaited && !succeeded {
            self.note_hook_failed(index, hook);
        }
    }

    /// Does everything that state and time call for; doing it twice changes nothing.
    fn settle(&mut self) -> Vec<Action> {
        if let Some(reason) = self.reason_to_end() {
            self.end(reason, self.termination_grace_period);
        }
        let mut actions = Vec::new();
        match self.stage {
            Stage::Created | Stage::Finished(_) => return actions,
            Stage::Active => self.go_on(&mut actions),
            Stage::Ending(_) => self.wind_down(&mut actions),
        }
        self.ask_probes(&mut actions);
        actions
    }

    /// Asks for what is missing, stops what is not well, starts what is due.
    fn go_on(&mut self, actions: &mut Vec<Action>) {
        self.pull_due(actions);
        if self.starting_over && !self.kill_all(actions) {
            return;
        }
        self.stop_unwell(actions);
        self.start_due(actions);
    }

    /// Kills every container for the pod to start over, abruptly and without preStop hooks, as a kubelet does; true once it can.
    fn kill_all(&mut self, actions: &mut Vec<Action>) -> bool {
        for index in 0..self.containers.len() {
            self.kill_container(ContainerIndex(index), actions);
        }
        if self.containers.iter().any(Container::is_alive) {
            return false;
        }
        self.containers.iter_mut().for_each(Container::start_over);
        self.initialized = 0;
        self.starting_over = false;
        true
    }

    /// Stops the instances whose postStart hook, startup or liveness probe has failed.
    fn stop_unwell(&mut self, actions: &mut Vec<Action>) {
        let now = self.now;
        for index in 0..self.containers.len() {
            let Some(container) = self.containers.get_mut(index) else { continue };
            container.condemn(now);
            if let Some(kill) = container.condemned() {
                self.stop_container(index, kill.deadline, true, actions);
            }
        }
    }

    /// Starts every container whose turn has come and whose wait is over. A postStart hook holds back all containers after its own,
    /// since a kubelet starts them one by one.
    fn start_due(&mut self, actions: &mut Vec<Action>) {
        while self.containers.get(self.initialized).is_some_and(Container::lets_next_start) {
            self.initialized += 1;
        }
        let (eligible, now) = (self.eligible(), self.now);
        for (index, container) in self.containers.iter_mut().enumerate().take(eligible) {
            let index = ContainerIndex(index);
            if self.not_before <= now && container.due_at().is_some_and(|due| due <= now) {
                let attempt = container.start();
                actions.push(Action::Start { container: index, attempt });
            }
            if let Some(attempt) = container.take_post_start() {
                actions.push(Action::RunHook { container: index, attempt, hook: HookKind::PostStart });
            }
            if container.holds_back() {
                break;
            }
        }
    }

    /// How many containers, counted from the first, may start: up to the one on which the others wait, or all.
    fn eligible(&self) -> usize {
        let in_turn = match self.containers.get(self.initialized).map(Container::role) {
            Some(ContainerRole::Init | ContainerRole::Sidecar) => self.initialized + 1,
            Some(ContainerRole::App) | None => self.containers.len(),
        };
        let held_back = self.containers.iter().position(Container::holds_back).map(|index| index + 1);
        held_back.map_or(in_turn, |held_back| held_back.min(in_turn))
    }

    /// Asks every probe that is due.
    fn ask_probes(&mut self, actions: &mut Vec<Action>) {
        let (now, ending) = (self.now, self.is_ending());
        for (index, container) in self.containers.iter_mut().enumerate() {
            while let Some((attempt, kind)) = container.take_probe(now, ending) {
                actions.push(Action::Probe { container: ContainerIndex(index), attempt, kind });
            }
        }
    }

    /// When time alone will call for something.
    fn wake_at(&self) -> Option<Duration> {
        let ending = self.is_ending();
        let probes = self.containers.iter().filter_map(|container| container.next_probe(ending)).map(|(due, _)| due).min();
        let other = match &self.stage {
            Stage::Created => self.active_deadline,
            Stage::Active => {
                let of_pod = self.active_deadline.into_iter().chain(self.next_pull());
                of_pod.chain(self.next_start()).chain(self.next_kill_of_unwell()).min()
            }
            Stage::Ending(ending) => self.next_kill(ending),
            Stage::Finished(_) => return None,
        };
        probes.into_iter().chain(other).min()
    }

    /// When the next container is to be started.
    fn next_start(&self) -> Option<Duration> {
        if self.starting_over {
            return None;
        }
        let due = self.containers.iter().take(self.eligible()).filter_map(Container::due_at).min();
        due.map(|due| due.max(self.not_before))
    }
}
