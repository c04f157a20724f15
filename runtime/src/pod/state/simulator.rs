//! A world for the state machine to live in: containers that behave as told, a clock that jumps, and a log of what happened.

use super::*;
use crate::net::EgressPolicy;
use crate::pod::spec::{ContainerSpec, QosClass};
use std::collections::{BTreeMap, BinaryHeap};

/// How one run of a container goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Run {
    /// It ends by itself after so many seconds, with this status; SIGTERM kills it.
    Exit(u64, i32),
    /// It runs until SIGTERM, which kills it at once.
    Forever,
    /// It runs until SIGTERM and ends so many seconds later, with this status.
    SlowStop(u64, i32),
    /// It runs until SIGKILL.
    Stubborn,
    /// It takes so many seconds to start, then runs until SIGTERM.
    SlowStart(u64),
    /// Its start fails with this reason.
    NoStart(&'static str),
    /// Its start fails with this reason, and always will.
    NeverStarts(&'static str),
}

/// A pod to be run, and what its containers do.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) spec: PodSpec,
    /// Per container: its runs in order; the last one repeats.
    plans: Vec<Vec<Run>>,
    /// What comes from outside, and when.
    script: Vec<(u64, Event)>,
    /// When the log ends, if the pod has not finished before.
    until: u64,
}

/// A scenario with this restart policy, a grace period of 30 s and nothing else.
pub(crate) fn pod(restart_policy: RestartPolicy) -> Scenario {
    let spec = PodSpec {
        name: "pod".to_owned(),
        namespace: "default".to_owned(),
        uid: "uid".to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        hostname: "pod".to_owned(),
        host_aliases: Vec::new(),
        restart_policy,
        termination_grace_period: Duration::from_secs(30),
        active_deadline: None,
        containers: Vec::new(),
        volumes: Vec::new(),
        egress: EgressPolicy::Deny,
        pull_secrets: Vec::new(),
        qos_class: QosClass::BestEffort,
    };
    Scenario { spec, plans: Vec::new(), script: vec![(0, Event::Begin)], until: 1000 }
}

impl Scenario {
    pub(crate) fn init<const N: usize>(self, name: &str, runs: [Run; N]) -> Self {
        self.container(name, ContainerRole::Init, &runs)
    }

    pub(crate) fn sidecar<const N: usize>(self, name: &str, runs: [Run; N]) -> Self {
        self.container(name, ContainerRole::Sidecar, &runs)
    }

    pub(crate) fn app<const N: usize>(self, name: &str, runs: [Run; N]) -> Self {
        self.container(name, ContainerRole::App, &runs)
    }

    pub(crate) fn container(mut self, name: &str, role: ContainerRole, runs: &[Run]) -> Self {
        self.spec.containers.push(ContainerSpec::new(name, role, &format!("{name}.wasm")));
        self.plans.push(runs.to_vec());
        self
    }

    pub(crate) fn grace(mut self, seconds: u64) -> Self {
        self.spec.termination_grace_period = Duration::from_secs(seconds);
        self
    }

    pub(crate) fn deadline(mut self, seconds: u64) -> Self {
        self.spec.active_deadline = Some(Duration::from_secs(seconds));
        self
    }

    pub(crate) fn at(mut self, seconds: u64, event: Event) -> Self {
        self.script.push((seconds, event));
        self
    }

    pub(crate) fn stop_at(self, seconds: u64) -> Self {
        self.at(seconds, Event::Stop { grace: None })
    }

    pub(crate) fn until(mut self, seconds: u64) -> Self {
        self.until = seconds;
        self
    }

    /// Plays the scenario; what it leaves is the state at its end and the log.
    pub(crate) fn play(&self) -> (PodState, String) {
        let mut world = World::new(self);
        while let Some(Due { at, event, .. }) = world.next() {
            world.step(event, at);
        }
        (world.state, world.log)
    }

    /// Plays the scenario and compares the log, line by line.
    #[track_caller]
    pub(crate) fn check(&self, expected: &str) -> PodState {
        let (state, log) = self.play();
        let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(log.lines().collect::<Vec<_>>(), expected, "\nthe log:\n{log}");
        state
    }
}

/// An event to come.
#[derive(Debug)]
struct Due {
    at: Duration,
    order: usize,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    /// The heap gives the greatest first: that is the earliest.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

struct World<'a> {
    scenario: &'a Scenario,
    state: PodState,
    queue: BinaryHeap<Due>,
    order: usize,
    wake_at: Option<Duration>,
    phase: Phase,
    log: String,
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let state = PodState::new(&scenario.spec, BackoffPolicy::KUBELET);
        let mut world =
            Self { scenario, phase: state.phase(), state, queue: BinaryHeap::new(), order: 0, wake_at: None, log: String::new() };
        for (at, event) in &scenario.script {
            world.plan(Duration::from_secs(*at), event.clone());
        }
        world
    }

    /// The next event: of the queue, or a tick when the state machine wants one first.
    fn next(&mut self) -> Option<Due> {
        let queued = self.queue.peek().map(|due| due.at);
        let due = match self.wake_at {
            Some(at) if queued.is_none_or(|queued| at < queued) => Due { at, order: 0, event: Event::Tick },
            _ => self.queue.pop()?,
        };
        (due.at <= Duration::from_secs(self.scenario.until)).then_some(due)
    }

    fn step(&mut self, event: Event, now: Duration) {
        self.note_event(&event, now);
        let Step { actions, wake_at } = self.state.step(event, now);
        assert!(wake_at.is_none_or(|at| at > now), "woken at {wake_at:?}, which is not after {now:?}");
        self.wake_at = wake_at;
        for action in actions {
            self.perform(action, now);
        }
        if self.state.phase() != self.phase {
            self.phase = self.state.phase();
            self.note(now, &format!("phase {}", self.phase));
        }
    }

    fn note_event(&mut self, event: &Event, now: Duration) {
        let line = match event {
            Event::Exited { container, exit, .. } => format!("{} exits {}", self.name(*container), exit.code),
            Event::StartFailed { container, error, .. } => format!("{} fails to start: {}", self.name(*container), error.reason),
            Event::Started { container, .. } => match self.run(*container) {
                Run::SlowStart(_) => format!("{} runs", self.name(*container)),
                _ => return,
            },
            Event::Stop { grace: None } => "stop".to_owned(),
            Event::Stop { grace: Some(grace) } => format!("stop within {}s", grace.as_secs_f64()),
            Event::Evict { .. } => "evict".to_owned(),
            Event::Kill => "kill all".to_owned(),
            Event::Begin | Event::Tick => return,
        };
        self.note(now, &line);
    }

    fn perform(&mut self, action: Action, now: Duration) {
        match action {
            Action::Start { container, attempt } => {
                self.note(now, &format!("start {}", self.name(container)));
                self.begin_run(container, attempt, now);
            }
            Action::Terminate { container, attempt } => {
                self.note(now, &format!("terminate {}", self.name(container)));
                let (delay, exit) = match self.run(container) {
                    Run::SlowStop(delay, code) => (delay, ContainerExit::exited(code)),
                    Run::Stubborn => return,
                    _ => (0, ContainerExit::signalled(Signal::Term)),
                };
                self.plan(now + Duration::from_secs(delay), Event::Exited { container, attempt, exit });
            }
            Action::Kill { container, attempt } => {
                self.note(now, &format!("kill {}", self.name(container)));
                self.queue.retain(|due| !is_about(&due.event, container));
                let starting = self.state.container(container).is_some_and(|container| !container.is_started());
                let error = StartError { reason: "Cancelled", message: String::new(), permanent: false };
                let exit = ContainerExit::signalled(Signal::Kill);
                let answer = if starting {
                    Event::StartFailed { container, attempt, error }
                } else {
                    Event::Exited { container, attempt, exit }
                };
                self.plan(now, answer);
            }
            Action::Finish(Outcome { succeeded, reason, exit_code, .. }) => {
                self.queue.clear();
                let result = if succeeded { "succeeded" } else { "failed" };
                let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                self.note(now, &format!("{result}{reason}, exit code {exit_code}"));
            }
        }
    }

    fn begin_run(&mut self, container: ContainerIndex, attempt: Attempt, now: Duration) {
        let delay = match self.run(container) {
            Run::SlowStart(delay) => Duration::from_secs(delay),
            Run::NoStart(reason) | Run::NeverStarts(reason) => {
                let permanent = matches!(self.run(container), Run::NeverStarts(_));
                let error = StartError { reason, message: "it does not work".to_owned(), permanent };
                return self.plan(now, Event::StartFailed { container, attempt, error });
            }
            _ => Duration::ZERO,
        };
        self.plan(now + delay, Event::Started { container, attempt });
        if let Run::Exit(after, code) = self.run(container) {
            self.plan(now + Duration::from_secs(after), Event::Exited { container, attempt, exit: ContainerExit::exited(code) });
        }
    }

    /// The run that a container is in.
    fn run(&self, container: ContainerIndex) -> Run {
        let plan = &self.scenario.plans[container.0];
        let attempt = match self.state.container(container).map(Container::state) {
            Some(ContainerState::Starting { attempt, .. } | ContainerState::Running { attempt, .. }) => attempt.0 as usize,
            _ => 0,
        };
        plan[attempt.min(plan.len() - 1)]
    }

    fn name(&self, container: ContainerIndex) -> &'a str {
        &self.scenario.spec.containers[container.0].name
    }

    fn plan(&mut self, at: Duration, event: Event) {
        self.order += 1;
        self.queue.push(Due { at, order: self.order, event });
    }

    fn note(&mut self, now: Duration, line: &str) {
        self.log.push_str(&format!("{}s {line}\n", now.as_secs_f64()));
    }
}

fn is_about(event: &Event, about: ContainerIndex) -> bool {
    match event {
        Event::Started { container, .. } | Event::StartFailed { container, .. } | Event::Exited { container, .. } => {
            *container == about
        }
        _ => false,
    }
}
