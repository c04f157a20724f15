//! What holds whatever happens: random pods under random events, watched by a model that knows only events and actions.

mod questions;

use super::simulator::{every_second, pod};
use super::*;
use crate::limits::{EVICTION_GRACE, TERMINATION_GRACE_MIN};
use crate::pod::spec::{ContainerSpec, ExitCodes, Hook, Probe, RestartPolicy, RestartRule, RestartRuleAction};
use crate::pod::status::{StatusFacts, pod_status};
use proptest::collection::vec;
use proptest::prelude::*;
use questions::{Asked, Question};

/// Sequences in the normal test run.
const CASES: u32 = 100_000;
/// Sequences with `WASMPOD_SLOW=1`.
const CASES_SLOW: u32 = 1_000_000;
/// The status for which a container of some pods has a rule.
const RULE_STATUS: i32 = 42;
/// Events in one sequence.
const EVENTS_MAX: usize = 40;
/// Containers in one pod: at most so many of each kind, five in all.
const INIT_STAGE_MAX: usize = 3;
const APPS_MAX: usize = 2;

/// One random stimulus; what it means depends on what lives at that moment.
#[derive(Clone, Copy, Debug)]
struct Stimulus {
    kind: u8,
    pick: u8,
    amount: u16,
}

/// Each is made from one number: making three took longer than playing them.
fn stimuli() -> impl Strategy<Value = Vec<Stimulus>> {
    let stimulus = |number: u32| {
        let [kind, pick, low, high] = number.to_le_bytes();
        Stimulus { kind, pick, amount: u16::from_le_bytes([low, high]) }
    };
    vec(any::<u32>().prop_map(stimulus), 0..EVENTS_MAX)
}

fn specs() -> impl Strategy<Value = PodSpec> {
    let policy = prop_oneof![Just(RestartPolicy::Always), Just(RestartPolicy::OnFailure), Just(RestartPolicy::Never)];
    let init_stage = vec(prop_oneof![Just(ContainerRole::Init), Just(ContainerRole::Sidecar)], 0..=INIT_STAGE_MAX);
    let deadline = prop_oneof![3 => Just(None), 1 => (1..2000u64).prop_map(Some)];
    let traits = vec(any::<u32>(), INIT_STAGE_MAX + APPS_MAX);
    (policy, init_stage, 1..=APPS_MAX, 0..60u64, deadline, traits).prop_map(
        |(policy, init_stage, apps, grace, deadline, traits)| {
            let roles = init_stage.into_iter().chain(std::iter::repeat_n(ContainerRole::App, apps));
            let named = roles.enumerate().map(|(index, role)| (format!("c{index}"), role));
            let mut spec = named.fold(pod(policy), |pod, (name, role)| pod.container(&name, role, &[])).grace(grace).spec;
            spec.active_deadline = deadline.map(Duration::from_secs);
            for (container, traits) in spec.containers.iter_mut().zip(traits) {
                equip(container, traits);
            }
            spec
        },
    )
}

/// Gives a container probes, hooks, a rule and a policy of its own, or none of them, as the bits of a number say.
fn equip(container: &mut ContainerSpec, bits: u32) {
    let one_in = |many: u32, shift: u32| (bits >> shift).is_multiple_of(many);
    if one_in(4, 0) && container.role != ContainerRole::Sidecar {
        container.restart_policy = Some(if one_in(2, 2) { RestartPolicy::Never } else { RestartPolicy::OnFailure });
    }
    if one_in(4, 3) {
        let action = if one_in(2, 5) { RestartRuleAction::Restart } else { RestartRuleAction::RestartAllContainers };
        container.restart_rules = vec![RestartRule { action, exit_codes: ExitCodes::In(vec![RULE_STATUS]) }];
    }
    if container.role == ContainerRole::Init {
        return;
    }
    let probe = |present: bool| {
        present.then(|| Probe {
            initial_delay: Duration::from_secs(u64::from(bits >> 6) % 4),
            period: Duration::from_secs(u64::from(bits >> 8) % 20),
            success_threshold: 1 + (bits >> 13) % 2,
            failure_threshold: 1 + (bits >> 14) % 3,
            termination_grace_period: one_in(2, 16).then(|| Duration::from_secs(u64::from(bits >> 17) % 9)),
            ..every_second()
        })
    };
    container.startup_probe = probe(one_in(2, 21));
    container.liveness_probe = probe(one_in(2, 22));
    container.readiness_probe = probe(one_in(2, 23));
    let hook = |present: bool| present.then_some(Hook::Sleep(Duration::ZERO));
    container.post_start = hook(one_in(2, 24));
    container.pre_stop = hook(one_in(2, 25));
}

fn start_error(amount: u16) -> StartError {
    match amount % 16 {
        1 => StartError::permanent("CreateContainerError", ""),
        _ => StartError::passing("ErrImagePull", ""),
    }
}

/// Where a container's images are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Image {
    #[default]
    Missing,
    Asked,
    Here,
}

/// What the model knows of one container.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    image: Image,
    alive: Option<Attempt>,
    running: bool,
    asked_at: Option<Duration>,
    killed: bool,
    starts: u32,
    runs: u32,
    last_code: Option<i32>,
    /// Since the pod last started over: whether it succeeded (an init container) or had started (a sidecar).
    done: bool,
    asked: Asked,
}

/// The model: the same pod as seen from outside.
struct Model {
    spec: PodSpec,
    state: PodState,
    now: Duration,
    wake_at: Option<Duration>,
    begun: bool,
    /// The end of the grace period, once the pod ends.
    deadline: Option<Duration>,
    kill_all: bool,
    /// Whether all containers are being killed because one of them asked for a new beginning.
    starting_over: bool,
    seen: Vec<Seen>,
    finished: Option<Outcome>,
    end_phase: Option<Phase>,
}

impl Seen {
    /// What is asked of the instance that runs, and is not killed.
    fn of_instance(&mut self, attempt: Attempt) -> &mut Asked {
        assert!(self.alive == Some(attempt) && self.running && !self.killed, "a question to nobody");
        &mut self.asked
    }

    /// Its instance is gone.
    fn gone(&mut self) {
        *self = Self { alive: None, running: false, asked_at: None, killed: false, asked: Asked::default(), ..*self };
    }
}

impl Model {
    fn new(spec: PodSpec, pulls: bool) -> Self {
        let state = PodState::new(&spec, BackoffPolicy::KUBELET);
        let (state, image) = if pulls { (state.with_images_to_pull(), Image::Missing) } else { (state, Image::Here) };
        let seen = vec![Seen { image, ..Seen::default() }; spec.containers.len()];
        Self {
            spec,
            state,
            now: Duration::ZERO,
            wake_at: None,
            begun: false,
            deadline: None,
            kill_all: false,
            starting_over: false,
            seen,
            finished: None,
            end_phase: None,
        }
    }

    /// Turns a stimulus into an event (or the passing of time) and takes the step.
    fn stimulate(&mut self, Stimulus { kind, pick, amount }: Stimulus) {
        let alive: Vec<usize> = (0..self.seen.len()).filter(|&index| self.seen[index].alive.is_some()).collect();
        let picked = alive.get(usize::from(pick) % alive.len().max(1)).copied();
        match (kind % 32, picked) {
            (0..=8, Some(index)) => self.answer(index, kind, amount),
            (9..=17, Some(index)) => self.answer_question(index, pick, amount),
            (18..=22, _) | (0..=17, None) => self.pass_time(amount),
            (23, _) => {
                let grace = amount.is_multiple_of(2).then(|| Duration::from_secs(u64::from(amount % 50)));
                self.step(Event::Stop { grace });
            }
            (24, _) if amount.is_multiple_of(4) => self.step(Event::Kill),
            (25, _) if amount.is_multiple_of(4) => self.step(Event::Evict { message: "too big".to_owned() }),
            (26..=28, _) => self.stale(usize::from(pick) % 6, amount),
            (29 | 30, _) => self.answer_pull(pick, amount),
            _ => self.step(Event::Begin),
        }
    }

    /// The owner's answer about images that were asked for; the same as another when none were.
    fn answer_pull(&mut self, pick: u8, amount: u16) {
        let asked: Vec<usize> = (0..self.seen.len()).filter(|&index| self.seen[index].image == Image::Asked).collect();
        let Some(&index) = asked.get(usize::from(pick) % asked.len().max(1)) else { return self.pass_time(amount) };
        let (container, image) = (ContainerIndex(index), String::new());
        self.step(match amount % 4 {
            0 => Event::Pulling { container, image },
            1 => Event::PullFailed { container, error: PullError { image, error: start_error(amount) } },
            _ => Event::Pulled { container, images: vec![PulledImage { image, transfer: None }] },
        });
    }

    /// The owner's answer about an instance that lives.
    fn answer(&mut self, index: usize, kind: u8, amount: u16) {
        let (container, seen) = (ContainerIndex(index), self.seen[index]);
        let Some(attempt) = seen.alive else { return };
        if !seen.running && !kind.is_multiple_of(3) {
            return self.step(Event::Started { container, attempt });
        }
        if !seen.running && !amount.is_multiple_of(4) {
            return self.step(Event::StartFailed { container, attempt, error: start_error(amount) });
        }
        let code = match amount % 4 {
            0 => 0,
            1 => RULE_STATUS,
            _ => i32::from(amount % 300),
        };
        self.step(Event::Exited { container, attempt, exit: ContainerExit::exited(code) });
    }

    /// The answer to a probe or the end of a hook, if any is awaited.
    fn answer_question(&mut self, index: usize, pick: u8, amount: u16) {
        let (container, seen) = (ContainerIndex(index), self.seen[index]);
        let (Some(attempt), Some(question)) = (seen.alive, seen.asked.open(u16::from(pick))) else {
            return self.answer(index, pick, amount);
        };
        let answer = match amount % 8 {
            0 => ProbeAnswer::Error("strange".to_owned()),
            1 => ProbeAnswer::Warning("strange".to_owned()),
            2..=4 => ProbeAnswer::Failure("ill".to_owned()),
            _ => ProbeAnswer::Success,
        };
        self.step(match question {
            Question::Probe(kind) => Event::Probed { container, attempt, kind, answer },
            Question::Hook(hook) => Event::HookEnded { container, attempt, hook, succeeded: answer == ProbeAnswer::Success },
        });
    }

    /// Time jumps to the next wake-up, or by some seconds (then a tick may come late), or not at all.
    fn pass_time(&mut self, amount: u16) {
        match (amount % 4, self.wake_at) {
            (0 | 1, Some(wake_at)) => self.now = self.now.max(wake_at),
            (2, _) => self.now += Duration::from_millis(u64::from(amount)),
            _ => self.now += Duration::from_secs(u64::from(amount % 700)),
        }
        self.step(Event::Tick);
    }

    /// A late word about an instance that does not live changes nothing.
    fn stale(&mut self, index: usize, amount: u16) {
        let attempt = Attempt(u32::from(amount % 4));
        if self.seen.get(index).is_some_and(|seen| seen.alive == Some(attempt)) {
            return;
        }
        self.step(Event::Tick);
        let (container, before) = (ContainerIndex(index), self.state.clone());
        let error = StartError::permanent("CreateContainerError", "");
        for event in [
            Event::Started { container, attempt },
            Event::StartFailed { container, attempt, error },
            Event::Exited { container, attempt, exit: ContainerExit::exited(1) },
            Event::Probed { container, attempt, kind: ProbeKind::Liveness, answer: ProbeAnswer::Failure(String::new()) },
            Event::HookEnded { container, attempt, hook: HookKind::PostStart, succeeded: false },
            Event::HookEnded { container, attempt, hook: HookKind::PreStop, succeeded: true },
        ] {
            let answer = self.state.step(event, self.now);
            assert_eq!((answer.actions.len(), answer.wake_at), (0, self.wake_at));
        }
        assert_eq!(self.state, before);
    }

    /// Takes one step and checks all that must hold.
    fn step(&mut self, event: Event) {
        let restarts: Vec<u32> = self.state.containers().iter().map(Container::restart_count).collect();
        self.learn(&event);
        let Step { actions, wake_at } = self.state.step(event, self.now);
        self.wake_at = wake_at;
        if self.finished.is_some() {
            assert!(actions.is_empty() && wake_at.is_none(), "life after the end: {actions:?} {wake_at:?}");
        }
        if self.state.is_ending() && self.deadline.is_none() {
            self.deadline = Some(self.now + self.spec.termination_grace_period);
        }
        for action in &actions {
            self.perform(action);
        }
        for (container, before) in self.state.containers().iter().zip(restarts) {
            assert!(container.restart_count() >= before, "a restart count went back");
        }
        self.check_time();
        self.check_state();
        let again = self.state.step(Event::Tick, self.now);
        assert_eq!(again, Step { actions: Vec::new(), wake_at }, "the same moment called for something twice");
    }

    /// What an event tells the model, before the state machine has its say.
    fn learn(&mut self, event: &Event) {
        let shorten = |deadline: Option<Duration>, to: Duration| Some(deadline.map_or(to, |deadline| deadline.min(to)));
        let ending = self.state.is_ending();
        match event {
            Event::Begin => self.begun = true,
            Event::Started { container, .. } => {
                let seen = &mut self.seen[container.0];
                (seen.running, seen.runs) = (true, seen.runs + 1);
                self.note_done(container.0);
            }
            Event::StartFailed { container, .. } => self.seen[container.0].gone(),
            Event::Exited { container, exit, .. } => self.learn_exit(container.0, exit, ending),
            Event::Probed { container, kind, answer, .. } => {
                self.seen[container.0].asked.answered(&self.spec.containers[container.0], *kind, answer, ending);
                self.note_done(container.0);
            }
            Event::HookEnded { container, hook, succeeded, .. } => {
                self.seen[container.0].asked.ended(*hook, *succeeded, ending);
                self.note_done(container.0);
            }
            Event::Stop { grace } => {
                let grace = grace.unwrap_or(self.spec.termination_grace_period);
                self.deadline = shorten(self.deadline, self.now + grace);
            }
            Event::Evict { .. } => self.deadline = shorten(self.deadline, self.now + EVICTION_GRACE),
            Event::Kill => (self.kill_all, self.deadline) = (true, shorten(self.deadline, self.now)),
            Event::Pulled { container, .. } => self.seen[container.0].image = Image::Here,
            Event::PullFailed { container, .. } => self.seen[container.0].image = Image::Missing,
            Event::Tick | Event::Pulling { .. } => {}
        }
    }

    fn learn_exit(&mut self, index: usize, exit: &ContainerExit, ending: bool) {
        let (spec, seen) = (&self.spec.containers[index], &mut self.seen[index]);
        seen.runs += u32::from(!seen.running);
        seen.last_code = Some(exit.code);
        seen.done |= spec.role == ContainerRole::Init && exit.code == 0;
        seen.gone();
        let rule = spec.restart_rules.first().filter(|_| exit.code == RULE_STATUS);
        let starts_over = rule.is_some_and(|rule| rule.action == RestartRuleAction::RestartAllContainers);
        self.starting_over |= starts_over && !ending;
    }

    /// A sidecar that has started lets the next container start.
    fn note_done(&mut self, index: usize) {
        let (spec, seen) = (&self.spec.containers[index], &mut self.seen[index]);
        seen.done |= spec.role == ContainerRole::Sidecar && seen.running && seen.asked.is_started(spec);
    }

    fn perform(&mut self, action: &Action) {
        assert!(self.finished.is_none(), "{action:?} after Finish");
        let ending = self.state.is_ending();
        match action {
            Action::Pull { container } => {
                assert!(self.begun && !ending, "a pull before the beginning or after the end");
                let image = &mut self.seen[container.0].image;
                assert_eq!(*image, Image::Missing, "an image is asked for that is here, or twice");
                *image = Image::Asked;
            }
            Action::Start { container, attempt } => self.start(container.0, *attempt),
            Action::Terminate { container, attempt } => self.terminate(container.0, *attempt),
            Action::Kill { container, attempt } => self.kill(container.0, *attempt),
            Action::Probe { container, attempt, kind } => {
                self.seen[container.0].of_instance(*attempt).ask(&self.spec.containers[container.0], *kind, ending);
            }
            Action::RunHook { container, attempt, hook } => {
                self.seen[container.0].of_instance(*attempt).begin(&self.spec.containers[container.0], *hook, ending);
            }
            Action::Finish(outcome) => {
                assert!(self.seen.iter().all(|seen| seen.alive.is_none()), "something outlives the pod");
                self.finished = Some(outcome.clone());
            }
        }
    }

    fn start(&mut self, index: usize, attempt: Attempt) {
        assert!(self.begun && !self.state.is_ending(), "a start before the beginning or after the end");
        if self.starting_over {
            assert!(self.seen.iter().all(|seen| seen.alive.is_none()), "a new beginning beside something old");
            self.seen.iter_mut().for_each(|seen| seen.done = false);
            self.starting_over = false;
        }
        let before = self.spec.containers.iter().zip(&self.seen).take(index);
        for (spec, seen) in before.filter(|(spec, _)| spec.role != ContainerRole::App) {
            assert!(seen.done, "c{index} before {}", spec.name);
            assert!(spec.role != ContainerRole::Init || seen.alive.is_none(), "c{index} beside {}", spec.name);
        }
        let (role, seen) = (self.spec.containers[index].role, &mut self.seen[index]);
        assert_eq!(seen.image, Image::Here, "a start without an image");
        assert_eq!(seen.alive, None, "a second instance");
        assert_eq!(attempt.0, seen.starts, "attempts count up");
        assert!(role != ContainerRole::Init || !seen.done, "an init container runs again");
        (seen.alive, seen.starts) = (Some(attempt), seen.starts + 1);
    }

    fn terminate(&mut self, index: usize, attempt: Attempt) {
        let is_sidecar = |index: usize| self.spec.containers[index].role == ContainerRole::Sidecar;
        let waits_for = |other: usize| !is_sidecar(other) || other > index;
        let in_the_way = (0..self.seen.len()).any(|other| waits_for(other) && self.seen[other].alive.is_some());
        let late = self.deadline.is_some_and(|deadline| self.now >= deadline);
        let (ending, unwell) = (self.state.is_ending(), self.seen[index].asked.unwell);
        assert!(!is_sidecar(index) || !in_the_way || late || unwell, "a sidecar was stopped before its time");
        assert!(ending || unwell, "a healthy container was stopped");
        let seen = &mut self.seen[index];
        assert!(seen.alive == Some(attempt) && seen.running && seen.asked_at.is_none() && !seen.killed);
        seen.asked.terminate(&self.spec.containers[index], late || unwell);
        seen.asked_at = Some(self.now);
    }

    fn kill(&mut self, index: usize, attempt: Attempt) {
        let (now, kill_all, seen) = (self.now, self.kill_all || self.starting_over, &mut self.seen[index]);
        assert!(seen.alive == Some(attempt) && !seen.killed, "a kill of what does not live, or a second one");
        let had_grace = seen.asked_at.is_some_and(|asked_at| now >= asked_at + TERMINATION_GRACE_MIN);
        assert!(kill_all || !seen.running || had_grace, "killed without grace");
        seen.killed = true;
    }

    /// Time alone never makes the owner spin, and never stands still while something is to come.
    fn check_time(&self) {
        assert!(self.wake_at.is_none_or(|wake_at| wake_at > self.now), "woken in the past");
        let alive = || self.seen.iter().filter(|seen| seen.alive.is_some());
        let awaits_image = self.seen.iter().any(|seen| seen.image == Image::Asked);
        if self.finished.is_none() && self.begun && !awaits_image && !alive().any(|seen| seen.asked_at.is_none() || seen.killed) {
            assert!(self.wake_at.is_some(), "nothing lives that could answer, and nobody will wake the pod");
        }
        let Some(deadline) = self.deadline.filter(|_| self.state.is_ending()) else { return };
        for seen in alive().filter(|seen| !seen.killed) {
            let next = seen.asked_at.map_or(deadline, |asked_at| deadline.max(asked_at) + TERMINATION_GRACE_MIN);
            assert!(next > self.now, "alive after the grace period");
            assert!(self.wake_at.is_some_and(|wake_at| wake_at <= next), "nobody wakes the pod at the end of the grace period");
        }
    }

    fn check_state(&mut self) {
        let phase = self.state.phase();
        assert_eq!(matches!(phase, Phase::Succeeded | Phase::Failed), self.finished.is_some());
        assert_eq!(self.state.outcome(), self.finished.as_ref());
        for (container, seen) in self.state.containers().iter().zip(&self.seen) {
            assert_eq!(container.is_alive(), seen.alive.is_some());
            assert_eq!(container.restart_count(), seen.runs.saturating_sub(1));
        }
        let Some(outcome) = &self.finished else { return };
        assert_eq!(*self.end_phase.get_or_insert(phase), phase, "a terminal phase was left");
        assert_eq!(outcome.succeeded, outcome.exit_code == 0);
        let apps = self.spec.containers.iter().zip(&self.seen).filter(|(spec, _)| spec.role == ContainerRole::App);
        assert!(!outcome.succeeded || apps.into_iter().all(|(_, seen)| seen.last_code == Some(0)), "success without successes");
    }

    /// Whatever the state, a kill and the answers to it end the pod.
    fn end(&mut self) {
        self.step(Event::Kill);
        for index in 0..self.seen.len() {
            if let Some(attempt) = self.seen[index].alive {
                let exit = ContainerExit::signalled(Signal::Kill);
                self.step(Event::Exited { container: ContainerIndex(index), attempt, exit });
            }
        }
        assert!(self.finished.is_some(), "a killed pod lives on");
    }
}

fn cases() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "how much is tested, not what")]
    let is_slow = std::env::var_os("WASMPOD_SLOW").is_some();
    if is_slow { CASES_SLOW } else { CASES }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_of_events_keeps_the_invariants(
        spec in specs(), pulls in any::<bool>(), begins in prop::bool::weighted(0.95), stimuli in stimuli()
    ) {
        let mut model = Model::new(spec, pulls);
        if begins {
            model.step(Event::Begin);
        }
        for stimulus in stimuli {
            model.stimulate(stimulus);
        }
        let facts = StatusFacts { started_at: jiff::Timestamp::UNIX_EPOCH, pod_ips: vec![], host_ips: vec![], image_ids: vec![] };
        let status = pod_status(&model.spec, &model.state, &facts);
        prop_assert_eq!(status.phase, Some(model.state.phase().to_string()));
        model.end();
        model.step(Event::Begin);
    }
}
