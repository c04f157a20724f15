//! What happens to pods while they run: every event with `--events`; otherwise only what a user has to know, such as a container that
//! crashes again and again.

use crate::harmless::harmless;
use crate::report;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use wasmpod::pod::state::{Container, ContainerState, EventReason, EventType, PodEvent, PodState, Termination, Waiting};
use wasmpod::pod::{Pod, PodWatch};

/// Shows what happens to pods until each of them has ended.
pub(super) struct Events {
    /// Every event, not only what a user has to know.
    all: bool,
    /// One task a pod.
    shown: Mutex<JoinSet<()>>,
}

impl Events {
    /// Shows nothing yet. With `all`, every event will be shown.
    pub(super) fn new(all: bool) -> Self {
        Self { all, shown: Mutex::default() }
    }

    /// Shows what happens to `pod`.
    pub(super) fn follow(&self, pod: &Pod) {
        let (name, watch) = (pod.spec().name.clone(), pod.watch());
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that are done need not be kept.
        while shown.try_join_next().is_some() {}
        shown.spawn(follow(name, watch, self.all));
    }

    /// Waits until all is shown; the pods have ended.
    pub(super) async fn all_shown(&self) {
        let shown = std::mem::take(&mut *self.shown.lock().unwrap_or_else(PoisonError::into_inner));
        shown.join_all().await;
    }
}

async fn follow(pod: String, mut watch: PodWatch, all: bool) {
    let mut shown = Shown { pod, sequence: 0, restarts: Vec::new() };
    while let Some(state) = watch.next().await {
        if all {
            shown.events(&state);
        } else {
            shown.warnings(&state);
            shown.restarts(&state);
        }
    }
}

/// What was shown of one pod.
struct Shown {
    pod: String,
    /// The number of the latest event.
    sequence: u64,
    /// By container, how many restarts.
    restarts: Vec<u32>,
}

impl Shown {
    fn events(&mut self, state: &PodState) {
        for event in state.journal().since(self.sequence) {
            line(&self.pod, state, event);
        }
        self.heard(state);
    }

    fn heard(&mut self, state: &PodState) {
        self.sequence = state.journal().events().next_back().map_or(self.sequence, |event| event.sequence);
    }

    /// Warnings, each once; those that the restarts, and the starts and pulls that failed, tell anyway are left out.
    fn warnings(&mut self, state: &PodState) {
        for event in state.journal().since(self.sequence) {
            let told = matches!(
                event.reason,
                EventReason::BackOff | EventReason::Failed | EventReason::ErrImageNeverPull | EventReason::InspectFailed
            );
            if event.count == 1 && !told && event.reason.event_type() == EventType::Warning {
                report::warn(&format!("{}: {}: {}", self.object(state, event), event.reason, event.message.trim_end()));
            }
        }
        self.heard(state);
    }

    /// `container app of pod shop`, or `pod shop`.
    fn object(&self, state: &PodState, event: &PodEvent) -> String {
        match event.container.and_then(|container| state.container(container)) {
            Some(container) => format!("container {} of pod {}", container.name(), self.pod),
            None => format!("pod {}", self.pod),
        }
    }

    /// Containers that ended and are started again.
    fn restarts(&mut self, state: &PodState) {
        self.restarts.resize(state.containers().len(), 0);
        for (container, shown) in state.containers().iter().zip(&mut self.restarts) {
            let restarts = endings(container);
            let ended = container.last_termination().filter(|_| restarts > *shown && !container.is_terminated());
            if let Some(ended) = ended {
                *shown = restarts;
                tell_restart(&self.pod, container, ended);
            }
        }
    }
}

/// How many instances ended and got, or will get, a successor.
fn endings(container: &Container) -> u32 {
    let runs = container.restart_count() + u32::from(container.has_run());
    if container.is_running() { runs.saturating_sub(1) } else { runs }
}

fn tell_restart(pod: &str, container: &Container, ended: &Termination) {
    let name = container.name();
    let when = match container.state() {
        ContainerState::Waiting(Waiting::Restart { wait, .. }) => format!("starting it again in {}", seconds(*wait)),
        _ => "starting it again".to_owned(),
    };
    let reason = ended.exit.reason();
    // The first line says what; the rest is in the status.
    let message = ended.exit.message.lines().next().map(|line| format!(": {line}")).unwrap_or_default();
    let text = format!("container {name} of pod {pod}: {reason}, exit code {}{message}; {when}", ended.exit.code);
    if ended.exit.is_success() { report::note(&text) } else { report::warn(&text) }
}

/// `AGE TYPE REASON OBJECT MESSAGE`, with the age of the pod at that moment.
fn line(pod: &str, state: &PodState, event: &PodEvent) {
    let container =
        event.container.and_then(|container| state.container(container)).map(|container| format!("/{}", container.name()));
    let object = format!("pod/{pod}{}", container.unwrap_or_default());
    let (age, kind, reason, message) = (seconds(event.last_at), event.reason.event_type(), event.reason, event.message.trim_end());
    let times = if event.count > 1 {
        format!(" (x{} over {})", event.count, seconds(event.last_at - event.first_at))
    } else {
        String::new()
    };
    let message = harmless(message).replace('\n', "\n  ");
    // With stderr closed there is nobody left to tell.
    drop(writeln!(std::io::stderr().lock(), "{age:>8}  {kind:<7}  {reason:<19}  {object}  {message}{times}"));
}

/// A time in seconds, with milliseconds where there are few.
pub(super) fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 10.0 { format!("{}s", (seconds * 1000.0).round() / 1000.0) } else { format!("{seconds:.0}s") }
}
