//! What the state machine writes into the pod's journal, in the kubelet's words.

use super::checks::KillCause;
use super::event::{ContainerIndex, HookKind, PullError, PulledImage, StartError, Transfer};
use super::image::{IMAGE_PULL_BACK_OFF, ImageState};
use super::journal::{EventReason, Journal};
use super::probe::{ProbeAnswer, ProbeKind};
use super::{Container, ContainerState, PodState, Waiting};
use crate::pod::go_duration::go_duration;

impl PodState {
    /// What happened to the pod, for people.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Notes something about a container, or about the pod.
    pub(super) fn note(&mut self, container: Option<ContainerIndex>, reason: EventReason, message: impl Into<String>) {
        self.journal.note(container, reason, message.into(), self.now);
    }

    pub(super) fn note_started(&mut self, container: ContainerIndex) {
        self.note(Some(container), EventReason::Created, "Container created");
        self.note(Some(container), EventReason::Started, "Container started");
    }

    /// A start failed; if it is tried again, that is put off.
    pub(super) fn note_start_failed(&mut self, container: ContainerIndex, error: &StartError) {
        let message = if error.message.is_empty() { error.reason } else { &error.message };
        self.note(Some(container), EventReason::Failed, format!("Error: {message}"));
        if matches!(self.waiting(container), Some(Waiting::Retry { .. })) {
            let message = format!("Back-off starting container {}", self.describe(container));
            self.note(Some(container), EventReason::BackOff, message);
        }
    }

    pub(super) fn note_pulling(&mut self, container: ContainerIndex, image: &str) {
        self.note(Some(container), EventReason::Pulling, format!("Pulling image \"{image}\""));
    }

    pub(super) fn note_pulled(&mut self, container: ContainerIndex, PulledImage { image, transfer }: &PulledImage) {
        let message = match transfer {
            None => format!("Container image \"{image}\" already present on machine"),
            Some(Transfer { took, bytes }) => {
                format!("Successfully pulled image \"{image}\" in {}. Image size: {bytes} bytes.", go_duration(*took))
            }
        };
        self.note(Some(container), EventReason::Pulled, message);
    }

    /// An image could not be brought; if it is asked for again, that is put off. As from a kubelet, first what was found out, then what
    /// that means for the container.
    pub(super) fn note_pull_failed(&mut self, container: ContainerIndex, PullError { image, error }: &PullError) {
        let StartError { reason, message, .. } = error;
        let (event, found) = match *reason {
            "ErrImageNeverPull" => {
                let found = format!("Container image \"{image}\" is not present with pull policy of Never");
                (EventReason::ErrImageNeverPull, found)
            }
            "InvalidImageName" => (EventReason::InspectFailed, format!("Failed to apply default image tag \"{image}\": {message}")),
            _ if error.is_of_pull() => (EventReason::Failed, format!("Failed to pull image \"{image}\": {message}")),
            _ => (EventReason::Failed, message.clone()),
        };
        self.note(Some(container), event, found);
        self.note(Some(container), EventReason::Failed, format!("Error: {reason}"));
        if matches!(self.container(container).map(Container::image), Some(ImageState::BackOff { .. })) {
            let (event, put_off, reason) = match error.is_of_pull() {
                true => (EventReason::BackOffPullImage, format!("Back-off pulling image \"{image}\""), IMAGE_PULL_BACK_OFF),
                false => (EventReason::BackOff, format!("Back-off starting container {}", self.describe(container)), *reason),
            };
            self.note(Some(container), event, put_off);
            self.note(Some(container), EventReason::Failed, format!("Error: {reason}"));
        }
    }

    /// An instance is gone; if it gets a successor later, that is put off.
    pub(super) fn note_exited(&mut self, container: ContainerIndex) {
        if matches!(self.waiting(container), Some(Waiting::Restart { .. })) {
            let message = format!("Back-off restarting failed container {}", self.describe(container));
            self.note(Some(container), EventReason::BackOff, message);
        }
    }

    pub(super) fn note_probed(&mut self, container: ContainerIndex, kind: ProbeKind, answer: &ProbeAnswer) {
        let (reason, message) = match answer {
            ProbeAnswer::Success => return,
            ProbeAnswer::Warning(text) => (EventReason::ProbeWarning, format!("{kind} probe warning: {text}")),
            ProbeAnswer::Failure(text) => (EventReason::Unhealthy, format!("{kind} probe failed: {text}")),
            ProbeAnswer::Error(text) => {
                (EventReason::Unhealthy, format!("{kind} probe errored and resulted in unknown state: {text}"))
            }
        };
        self.note(Some(container), reason, message);
    }

    /// What a hook said is not repeated: it may hold a secret.
    pub(super) fn note_hook_failed(&mut self, container: ContainerIndex, hook: HookKind) {
        let reason = match hook {
            HookKind::PostStart => EventReason::FailedPostStartHook,
            HookKind::PreStop => EventReason::FailedPreStopHook,
        };
        self.note(Some(container), reason, format!("{hook}Hook failed"));
    }

    /// An instance begins to be stopped: for its health, or with its pod.
    pub(super) fn note_killing(&mut self, container: ContainerIndex) {
        let Some(subject) = self.containers.get(container.0) else { return };
        let name = subject.name();
        let restart = if subject.restarts_when_killed() && !self.is_ending() { ", will be restarted" } else { "" };
        let message = match subject.condemned().map(|kill| kill.cause) {
            None => format!("Stopping container {name}"),
            Some(KillCause::LivenessProbe) => format!("Container {name} failed liveness probe{restart}"),
            Some(KillCause::StartupProbe) => format!("Container {name} failed startup probe{restart}"),
            Some(KillCause::PostStartHook) => "FailedPostStartHook".to_owned(),
        };
        self.note(Some(container), EventReason::Killing, message);
    }

    pub(super) fn note_grace_exceeded(&mut self, container: ContainerIndex) {
        let name = self.container(container).map(Container::name).unwrap_or_default();
        let message = format!("Container {name} did not stop within its grace period and was killed");
        self.note(Some(container), EventReason::ExceededGracePeriod, message);
    }

    fn waiting(&self, container: ContainerIndex) -> Option<&Waiting> {
        match self.container(container)?.state() {
            ContainerState::Waiting(waiting) => Some(waiting),
            _ => None,
        }
    }

    /// `app in pod shop_default(uid)`.
    fn describe(&self, container: ContainerIndex) -> String {
        let name = self.container(container).map(Container::name).unwrap_or_default();
        format!("{name} in pod {}", self.identity)
    }
}
