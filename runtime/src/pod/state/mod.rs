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
//! ```
//!
//! What holds after every step, whatever the events (the property tests check it):
//! * at most one instance of a container lives, and every start is answered before the pod finishes;
//! * no app starts before every init container succeeded and every sidecar ran;
//! * while the grace period lasts, a sidecar is asked to stop only when everything but earlier sidecars is gone;
//! * the first reason to end decides; nothing starts afterwards, and after [`Action::Finish`] nothing happens at all;
//! * `wake_at` lies in the future: time alone never makes the owner spin.

mod conditions;
mod container;
mod ending;
mod event;
mod phase;

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(in crate::pod) mod simulator;
#[cfg(test)]
mod tests;

pub use conditions::{Condition, ConditionKind};
pub use container::{Container, ContainerState, Stopping, Termination, Waiting};
pub use event::{Action, Attempt, ContainerExit, ContainerIndex, Event, ExitCause, Outcome, Signal, StartError, Step};
pub use phase::Phase;

use crate::pod::backoff::BackoffPolicy;
use crate::pod::spec::{ContainerRole, PodSpec, RestartPolicy};
use conditions::Transitions;
use ending::{Ending, Reason};
use std::time::Duration;

/// A pod's state. Made once from its spec, changed by [`step`](Self::step) alone.
#[derive(Clone, Debug, PartialEq)]
pub struct PodState {
    restart_policy: RestartPolicy,
    termination_grace_period: Duration,
    active_deadline: Option<Duration>,
    /// Init containers and sidecars in their order, then apps.
    containers: Vec<Container>,
    /// How many of them have let the next one start: all before this index succeeded (init) or ran once (sidecar).
    initialized: usize,
    stage: Stage,
    /// Whether network and volumes were ever there.
    has_begun: bool,
    transitions: Transitions,
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
            restart_policy: spec.restart_policy,
            termination_grace_period: spec.termination_grace_period,
            active_deadline: spec.active_deadline,
            containers: spec.containers.iter().map(|container| Container::new(&container.name, container.role, backoff)).collect(),
            initialized: 0,
            stage: Stage::Created,
            has_begun: false,
            transitions: Transitions::default(),
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
        let now = self.now;
        match event {
            Event::Begin => {
                if matches!(self.stage, Stage::Created) {
                    self.stage = Stage::Active;
                    self.has_begun = true;
                }
            }
            Event::Started { container, attempt } => {
                if let Some(container) = self.containers.get_mut(container.0) {
                    container.started(attempt, now);
                }
            }
            Event::StartFailed { container, attempt, error } => {
                if let Some(container) = self.containers.get_mut(container.0) {
                    container.start_failed(attempt, error, now);
                }
            }
            Event::Exited { container, attempt, exit } => {
                let (ending, policy) = (self.is_ending(), self.restart_policy);
                if let Some(container) = self.containers.get_mut(container.0) {
                    let restart = !ending && should_restart(policy, container.role(), &exit);
                    container.exited(attempt, exit, now, restart);
                }
            }
            Event::Stop { grace } => self.end(Reason::Stopped, grace.unwrap_or(self.termination_grace_period)),
            Event::Kill => self.end_at_once(),
            Event::Evict { message } => self.end(Reason::Evicted(message), crate::limits::EVICTION_GRACE),
            Event::Tick => {}
        }
    }

    /// Does everything that state and time call for; doing it twice changes nothing.
    fn settle(&mut self) -> Vec<Action> {
        if let Some(reason) = self.reason_to_end() {
            self.end(reason, self.termination_grace_period);
        }
        let mut actions = Vec::new();
        match self.stage {
            Stage::Created | Stage::Finished(_) => {}
            Stage::Active => self.start_due(&mut actions),
            Stage::Ending(_) => self.wind_down(&mut actions),
        }
        actions
    }

    /// Starts every container whose turn has come and whose wait is over.
    fn start_due(&mut self, actions: &mut Vec<Action>) {
        while self.containers.get(self.initialized).is_some_and(Container::lets_next_start) {
            self.initialized += 1;
        }
        let (eligible, now) = (self.eligible(), self.now);
        for (index, container) in self.containers.iter_mut().enumerate().take(eligible) {
            if container.due_at().is_some_and(|due| due <= now) {
                let attempt = container.start();
                actions.push(Action::Start { container: ContainerIndex(index), attempt });
            }
        }
    }

    /// How many containers, counted from the first, may start: up to the one on which the others wait, or all.
    fn eligible(&self) -> usize {
        match self.containers.get(self.initialized).map(Container::role) {
            Some(ContainerRole::Init | ContainerRole::Sidecar) => self.initialized + 1,
            Some(ContainerRole::App) | None => self.containers.len(),
        }
    }

    /// When time alone will call for something.
    fn wake_at(&self) -> Option<Duration> {
        match &self.stage {
            Stage::Created => self.active_deadline,
            Stage::Active => {
                let due = self.containers.iter().take(self.eligible()).filter_map(Container::due_at);
                due.chain(self.active_deadline).min()
            }
            Stage::Ending(ending) => self.next_kill(ending),
            Stage::Finished(_) => None,
        }
    }
}

/// Whether a container that ended is to be started again (`podutil.ContainerShouldRestart`): a sidecar always, an init container
/// when it failed and the pod restarts anything at all, an app as the pod's policy has it.
fn should_restart(policy: RestartPolicy, role: ContainerRole, exit: &ContainerExit) -> bool {
    match (role, policy) {
        (ContainerRole::Sidecar, _) | (ContainerRole::App, RestartPolicy::Always) => true,
        (ContainerRole::Init | ContainerRole::App, RestartPolicy::Never) => false,
        (ContainerRole::Init, RestartPolicy::Always | RestartPolicy::OnFailure)
        | (ContainerRole::App, RestartPolicy::OnFailure) => !exit.is_success(),
    }
}
