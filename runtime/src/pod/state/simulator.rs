//! A world for the state machine to live in: containers that behave as told, a clock that jumps, and a log of what happened.
//!
//! The conformance suite (`tests/conformance`) plays its cases in it too, so it names the library as anybody outside does.

use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;
use wasmpod::pod::backoff::BackoffPolicy;
use wasmpod::pod::spec::{ContainerRole, ContainerSpec, EgressPolicy, Hook, PodSpec, Probe, ProbeAction, QosClass, RestartPolicy};
use wasmpod::pod::state::{
    Action, Attempt, Container, ContainerExit, ContainerIndex, ContainerState, Event, HookKind, Outcome, Phase, PodState,
    ProbeAnswer, ProbeKind, PullError, PulledImage, Signal, StartError, Step, Transfer,
};

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

/// How one try to bring a container's image goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pull {
    /// It is on this machine.
    Present,
    /// It comes from a registry within so many seconds.
    Takes(u64),
    /// It fails with this reason, and may be tried again.
    Fails(&'static str),
    /// It fails with this reason, and always will.
    NeverWorks(&'static str),
}

/// How an instance answers one of its probes; times are seconds since it started.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Health {
    /// Well, always.
    Well,
    /// Never well.
    Ill,
    /// Well until then.
    WellUntil(u64),
    /// Well from then on.
    WellFrom(u64),
    /// It cannot be asked.
    Unaskable,
    /// It gives no answer within the timeout.
    Mute,
}

/// How a hook of an instance goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HookRun {
    /// It succeeds after so many seconds.
    Succeeds(u64),
    /// It fails after so many seconds.
    Fails(u64),
    /// It does not end.
    Hangs,
}

/// What one container does. Of each list, the first entry is for the first instance, and the last one repeats.
#[derive(Clone, Debug, Default)]
struct Plan {
    pulls: Vec<Pull>,
    runs: Vec<Run>,
    health: BTreeMap<ProbeKind, Vec<Health>>,
    hooks: BTreeMap<HookKind, Vec<HookRun>>,
}

/// A pod to be run, and what its containers do.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) spec: PodSpec,
    plans: Vec<Plan>,
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
        memory_limit_bytes: None,
        cpu_limit_millicores: None,
        qos_class: QosClass::BestEffort,
    };
    Scenario { spec, plans: Vec::new(), script: vec![(0, Event::Begin)], until: 1000 }
}

/// A probe that is asked every second, from the start, and whose first answer of a kind counts.
pub(crate) fn every_second() -> Probe {
    Probe {
        action: ProbeAction::TcpSocket { host: None, port: 80 },
        initial_delay: Duration::ZERO,
        timeout: Duration::from_secs(1),
        period: Duration::from_secs(1),
        success_threshold: 1,
        failure_threshold: 1,
        termination_grace_period: None,
    }
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
        self.plans.push(Plan { runs: runs.to_vec(), ..Plan::default() });
        self
    }

    /// Changes the spec of the container named last.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut ContainerSpec)) -> Self {
        change(self.spec.containers.last_mut().unwrap());
        self
    }

    /// Says how the image of the container named last is brought; with this, the images of all containers are to be pulled.
    pub(crate) fn pulls<const N: usize>(mut self, pulls: [Pull; N]) -> Self {
        self.plans.last_mut().unwrap().pulls = pulls.to_vec();
        self
    }

    /// Gives the container named last a probe.
    pub(crate) fn probe<const N: usize>(mut self, kind: ProbeKind, probe: Probe, health: [Health; N]) -> Self {
        self.plans.last_mut().unwrap().health.insert(kind, health.to_vec());
        self.with(|container| match kind {
            ProbeKind::Startup => container.startup_probe = Some(probe),
            ProbeKind::Liveness => container.liveness_probe = Some(probe),
            ProbeKind::Readiness => container.readiness_probe = Some(probe),
        })
    }

    /// Gives the container named last a hook.
    pub(crate) fn hook<const N: usize>(mut self, kind: HookKind, runs: [HookRun; N]) -> Self {
        self.plans.last_mut().unwrap().hooks.insert(kind, runs.to_vec());
        let hook = Some(Hook::Sleep(Duration::ZERO));
        self.with(|container| match kind {
            HookKind::PostStart => container.post_start = hook,
            HookKind::PreStop => container.pre_stop = hook,
        })
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

    /// As [`check`](Self::check), for a pod that does not end by itself.
    #[track_caller]
    pub(crate) fn check_until(self, seconds: u64, expected: &str) -> PodState {
        self.until(seconds).check(expected)
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
    /// Of each container, how often its image was asked for.
    pulls: Vec<usize>,
    /// Of each container that has a probe, whether it has started and whether it is ready.
    shown: Vec<Option<(bool, bool)>>,
    log: String,
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let state = PodState::new(&scenario.spec, BackoffPolicy::KUBELET);
        let pulled = scenario.plans.iter().any(|plan| !plan.pulls.is_empty());
        let state = if pulled { state.with_images_to_pull() } else { state };
        let pulls = vec![0; scenario.plans.len()];
        let shown = scenario.plans.iter().map(|plan| (!plan.health.is_empty()).then_some((false, false))).collect();
        let phase = state.phase();
        let (queue, log) = (BinaryHeap::new(), String::new());
        let mut world = Self { scenario, phase, pulls, state, queue, order: 0, wake_at: None, shown, log };
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
        self.note_health(now);
        if self.state.phase() != self.phase {
            self.phase = self.state.phase();
            self.note(now, &format!("phase {}", self.phase));
        }
    }

    fn note_health(&mut self, now: Duration) {
        for index in 0..self.shown.len() {
            let (Some(shown), Some(container)) = (self.shown[index], self.state.container(ContainerIndex(index))) else { continue };
            let (started, ready) = (container.is_started(), container.is_ready());
            let name = container.name().to_owned();
            if started && !shown.0 {
                self.note(now, &format!("{name} has started"));
            }
            if ready != shown.1 {
                self.note(now, &format!("{name} is {}", if ready { "ready" } else { "not ready" }));
            }
            self.shown[index] = Some((started, ready));
        }
    }

    fn note_event(&mut self, event: &Event, now: Duration) {
        let line = match event {
            Event::Exited { container, exit, .. } => format!("{} exits {}", self.name(*container), exit.code),
            Event::StartFailed { container, error, .. } => format!("{} fails to start: {}", self.name(*container), error.reason),
            Event::Pulled { container, images } if images.iter().any(|image| image.transfer.is_some()) => {
                format!("image of {} is here", self.name(*container))
            }
            Event::PullFailed { container, error } => format!("pull for {} fails: {}", self.name(*container), error.error.reason),
            Event::Started { container, .. } => match self.run(*container) {
                Run::SlowStart(_) => format!("{} runs", self.name(*container)),
                _ => return,
            },
            Event::Stop { grace: None } => "stop".to_owned(),
            Event::Stop { grace: Some(grace) } => format!("stop within {}s", grace.as_secs_f64()),
            Event::Evict { .. } => "evict".to_owned(),
            Event::Kill => "kill all".to_owned(),
            Event::HookEnded { container, hook, succeeded, .. } => {
                format!("{} of {} {}", hook_name(*hook), self.name(*container), if *succeeded { "ends" } else { "fails" })
            }
            Event::Begin | Event::Tick | Event::Probed { .. } | Event::Pulling { .. } | Event::Pulled { .. } => {
                return;
            }
        };
        self.note(now, &line);
    }

    fn perform(&mut self, action: Action, now: Duration) {
        match action {
            Action::Pull { container } => self.pull(container, now),
            Action::Start { container, attempt } => {
                self.note(now, &format!("start {}", self.name(container)));
                self.begin_run(container, attempt, now);
            }
            Action::Terminate { container, attempt } => {
                self.note(now, &format!("terminate {}", self.name(container)));
                self.give_up_hooks(container);
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
                let starting = self.state.container(container).is_some_and(|container| !container.is_running());
                let error = StartError::passing("Cancelled", "");
                let exit = ContainerExit::signalled(Signal::Kill);
                let answer = if starting {
                    Event::StartFailed { container, attempt, error }
                } else {
                    Event::Exited { container, attempt, exit }
                };
                self.plan(now, answer);
            }
            Action::Probe { container, attempt, kind } => self.ask(container, attempt, kind, now),
            Action::RunHook { container, attempt, hook } => {
                self.note(now, &format!("{} of {} begins", hook_name(hook), self.name(container)));
                self.give_up_hooks(container);
                let (after, succeeded) = match self.planned(container, &self.scenario.plans[container.0].hooks[&hook]) {
                    HookRun::Succeeds(after) => (after, true),
                    HookRun::Fails(after) => (after, false),
                    HookRun::Hangs => return,
                };
                self.plan(now + Duration::from_secs(after), Event::HookEnded { container, attempt, hook, succeeded });
            }
            Action::Finish(Outcome { succeeded, reason, exit_code, .. }) => {
                self.queue.clear();
                let result = if succeeded { "succeeded" } else { "failed" };
                let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                self.note(now, &format!("{result}{reason}, exit code {exit_code}"));
            }
        }
    }

    /// Answers for the images of a container as its plan has it.
    fn pull(&mut self, container: ContainerIndex, now: Duration) {
        let (plan, tries) = (&self.scenario.plans[container.0].pulls, self.pulls[container.0]);
        self.pulls[container.0] += 1;
        let image = self.scenario.spec.containers[container.0].image.clone();
        let pull = plan.get(tries).or_else(|| plan.last()).copied().unwrap_or(Pull::Present);
        if !matches!(pull, Pull::Present | Pull::NeverWorks("InvalidImageName" | "ErrImageNeverPull")) {
            self.note(now, &format!("pull for {}", self.name(container)));
            self.plan(now, Event::Pulling { container, image: image.clone() });
        }
        let pulled = |transfer| Event::Pulled { container, images: vec![PulledImage { image: image.clone(), transfer }] };
        let failed = |error| Event::PullFailed { container, error: PullError { image: image.clone(), error } };
        let (after, answer) = match pull {
            Pull::Present => (0, pulled(None)),
            Pull::Takes(seconds) => (seconds, pulled(Some(Transfer { took: Duration::from_secs(seconds), bytes: 1234 }))),
            Pull::Fails(reason) => (0, failed(StartError::passing(reason, "it does not work"))),
            Pull::NeverWorks(reason) => (0, failed(StartError::permanent(reason, "it does not work"))),
        };
        self.plan(now + Duration::from_secs(after), answer);
    }

    fn begin_run(&mut self, container: ContainerIndex, attempt: Attempt, now: Duration) {
        let delay = match self.run(container) {
            Run::SlowStart(delay) => Duration::from_secs(delay),
            Run::NoStart(reason) | Run::NeverStarts(reason) => {
                let permanent = matches!(self.run(container), Run::NeverStarts(_));
                let error = StartError { permanent, ..StartError::passing(reason, "it does not work") };
                return self.plan(now, Event::StartFailed { container, attempt, error });
            }
            _ => Duration::ZERO,
        };
        self.plan(now + delay, Event::Started { container, attempt });
        if let Run::Exit(after, code) = self.run(container) {
            self.plan(now + Duration::from_secs(after), Event::Exited { container, attempt, exit: ContainerExit::exited(code) });
        }
    }

    /// Answers a probe as its container's health has it.
    fn ask(&mut self, container: ContainerIndex, attempt: Attempt, kind: ProbeKind, now: Duration) {
        let since = match self.state.container(container).map(Container::state) {
            Some(ContainerState::Running { since, .. }) => now - *since,
            _ => Duration::ZERO,
        };
        let well = |well| if well { ProbeAnswer::Success } else { ProbeAnswer::Failure("not well".to_owned()) };
        let (after, answer) = match self.planned(container, &self.scenario.plans[container.0].health[&kind]) {
            Health::Well => (0, well(true)),
            Health::Ill => (0, well(false)),
            Health::WellUntil(end) => (0, well(since.as_secs() < end)),
            Health::WellFrom(start) => (0, well(since.as_secs() >= start)),
            Health::Unaskable => (0, ProbeAnswer::Error("no such command".to_owned())),
            Health::Mute => (1, ProbeAnswer::Failure("timed out".to_owned())),
        };
        self.plan(now + Duration::from_secs(after), Event::Probed { container, attempt, kind, answer });
    }

    fn give_up_hooks(&mut self, container: ContainerIndex) {
        self.queue.retain(|due| !matches!(due.event, Event::HookEnded { container: about, .. } if about == container));
    }

    /// The run that a container is in.
    fn run(&self, container: ContainerIndex) -> Run {
        self.planned(container, &self.scenario.plans[container.0].runs)
    }

    /// What is planned for the present instance of a container.
    fn planned<T: Copy>(&self, container: ContainerIndex, plan: &[T]) -> T {
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
        Event::Started { container, .. }
        | Event::StartFailed { container, .. }
        | Event::Exited { container, .. }
        | Event::Probed { container, .. }
        | Event::HookEnded { container, .. } => *container == about,
        _ => false,
    }
}

fn hook_name(hook: HookKind) -> &'static str {
    match hook {
        HookKind::PostStart => "postStart",
        HookKind::PreStop => "preStop",
    }
}
