//! Whether the images of a container are here (its own, and those of its image volumes), and when they are asked for.
//!
//! ```text
//!            Action::Pull              Pulled
//!   ┌────────┐ ───────▶ ┌─────────┐ ───────────▶ ┌─────────┐
//!   │ Wanted │          │ Pulling │              │ Present │
//!   └────────┘          └─┬─────▲─┘              └─────────┘
//!        PullFailed, may pass   │ the wait is over
//!                         ▼     │
//!                       ┌─────────┐    PullFailed for good: the container is `Refused`, and with it the pod
//!                       │ BackOff │
//!                       └─────────┘
//! ```
//!
//! A kubelet asks for the image of one container after the other, when it is about to start it. Here all are asked for as soon as the
//! pod begins, so that they are pulled and compiled side by side; a container starts when its own is there. A container that is
//! restarted keeps the image that it has.

use super::event::{Action, ContainerIndex, PullError, PulledImage, StartError};
use super::{Container, PodState};
use std::time::Duration;

/// The reason that a container waits whose image is to be pulled again later.
pub(crate) const IMAGE_PULL_BACK_OFF: &str = "ImagePullBackOff";

/// Where the images of a container are.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageState {
    /// They are here.
    Present,
    /// To be asked for.
    Wanted,
    /// Asked for and not answered yet.
    Pulling {
        /// Why that failed the last time.
        failed: Option<PullError>,
    },
    /// One could not be brought, and will be asked for again.
    BackOff {
        /// Why.
        error: PullError,
        /// The length of the wait.
        wait: Duration,
        /// Its end.
        until: Duration,
    },
    /// One could not be brought, and never will be: the container is [`Refused`](super::Waiting::Refused).
    Refused,
}

impl StartError {
    /// Whether it is the pulling that failed, and no later step: then the wait for the next try is called `ImagePullBackOff`.
    pub(crate) fn is_of_pull(&self) -> bool {
        matches!(self.reason, "ErrImagePull" | "RegistryUnavailable")
    }
}

impl ImageState {
    /// When it is to be asked for, if it is.
    fn due_at(&self) -> Option<Duration> {
        match self {
            Self::Wanted => Some(Duration::ZERO),
            Self::BackOff { until, .. } => Some(*until),
            Self::Present | Self::Pulling { .. } | Self::Refused => None,
        }
    }

    /// It is asked for now.
    fn begin(&mut self) {
        let failed = match std::mem::replace(self, Self::Wanted) {
            Self::BackOff { error, .. } => Some(error),
            _ => None,
        };
        *self = Self::Pulling { failed };
    }
}

impl PodState {
    /// The same pod, whose images are yet to be brought: it asks for each of them.
    #[must_use]
    pub fn with_images_to_pull(mut self) -> Self {
        self.containers.iter_mut().for_each(|container| container.image = ImageState::Wanted);
        self
    }

    /// Asks for every image that is due.
    pub(super) fn pull_due(&mut self, actions: &mut Vec<Action>) {
        let now = self.now;
        for (index, container) in self.containers.iter_mut().enumerate() {
            if container.image.due_at().is_some_and(|due| due <= now) {
                container.image.begin();
                actions.push(Action::Pull { container: ContainerIndex(index) });
            }
        }
    }

    /// When the next image is to be asked for.
    pub(super) fn next_pull(&self) -> Option<Duration> {
        self.containers.iter().filter_map(|container| container.image.due_at()).min()
    }

    pub(super) fn record_pulling(&mut self, index: ContainerIndex, image: &str) {
        if self.is_pulling(index) {
            self.note_pulling(index, image);
        }
    }

    pub(super) fn record_pulled(&mut self, index: ContainerIndex, images: &[PulledImage]) {
        if !self.is_pulling(index) {
            return;
        }
        if let Some(container) = self.containers.get_mut(index.0) {
            container.image = ImageState::Present;
        }
        images.iter().for_each(|image| self.note_pulled(index, image));
    }

    pub(super) fn record_pull_failed(&mut self, index: ContainerIndex, error: PullError) {
        let now = self.now;
        let Some(container) = self.containers.get_mut(index.0).filter(|container| container.is_pulling()) else { return };
        container.pull_failed(error.clone(), now);
        self.note_pull_failed(index, &error);
    }

    fn is_pulling(&self, index: ContainerIndex) -> bool {
        self.container(index).is_some_and(Container::is_pulling)
    }
}

#[cfg(test)]
mod tests {
    use super::super::PodState;
    use crate::pod::spec::RestartPolicy::{Always, Never};
    use crate::pod::state::simulator::Run::{Exit, Forever};
    use crate::pod::state::simulator::{Pull, pod};

    /// The events of a pod: `TYPE REASON MESSAGE`, with how often.
    fn events(state: &PodState) -> Vec<String> {
        let line = |event: &super::super::PodEvent| {
            let times = if event.count > 1 { format!(" x{}", event.count) } else { String::new() };
            format!("{} {} {}{times}", event.reason.event_type(), event.reason, event.message)
        };
        state.journal().events().map(line).collect()
    }

    #[test]
    fn images_come_side_by_side_and_a_container_starts_with_its_own() {
        let scenario = pod(Never).init("init", [Exit(1, 0)]).pulls([Pull::Takes(3)]);
        scenario.app("a", [Exit(1, 0)]).pulls([Pull::Takes(9)]).app("b", [Exit(1, 0)]).check(
            "0s pull for init
             0s pull for a
             3s image of init is here
             3s start init
             4s init exits 0
             4s start b
             5s b exits 0
             9s image of a is here
             9s start a
             9s phase Running
             10s a exits 0
             10s succeeded, exit code 0
             10s phase Succeeded",
        );
    }

    #[test]
    fn a_registry_that_is_away_is_asked_again_with_back_off_and_the_others_run() {
        let away = Pull::Fails("RegistryUnavailable");
        let state = pod(Always).app("a", [Forever]).app("b", [Forever]).pulls([away, away, Pull::Takes(2)]).until(40).check(
            "0s pull for b
             0s start a
             0s pull for b fails: RegistryUnavailable
             10s pull for b
             10s pull for b fails: RegistryUnavailable
             30s pull for b
             32s image of b is here
             32s start b
             32s phase Running",
        );
        assert_eq!(
            events(&state)[3..],
            [
                "Warning Failed Failed to pull image \"b.wasm\": it does not work x2",
                "Warning Failed Error: RegistryUnavailable x2",
                "Normal BackOff Back-off pulling image \"b.wasm\" x2",
                "Warning Failed Error: ImagePullBackOff x2",
                "Normal Pulling Pulling image \"b.wasm\" x3",
                "Normal Pulled Successfully pulled image \"b.wasm\" in 2s. Image size: 1234 bytes.",
                "Normal Created Container created",
                "Normal Started Container started",
            ]
        );
    }

    #[test]
    fn what_no_wait_can_mend_fails_the_pod() {
        let state = pod(Always).app("a", [Forever]).app("b", [Forever]).pulls([Pull::NeverWorks("ErrImageNeverPull")]).check(
            "0s start a
             0s pull for b fails: ErrImageNeverPull
             0s kill a
             0s a fails to start: Cancelled
             0s failed (ErrImageNeverPull), exit code 1
             0s phase Failed",
        );
        assert!(state.outcome().unwrap().hopeless);
        let told = events(&state);
        assert!(
            told.contains(&"Warning ErrImageNeverPull Container image \"b.wasm\" is not present with pull policy of Never".into())
        );
        assert!(told.contains(&"Warning Failed Error: ErrImageNeverPull".into()));
        let (state, _) = pod(Always).app("a", [Forever]).pulls([Pull::NeverWorks("InvalidImageName")]).play();
        assert_eq!(
            events(&state),
            [
                "Warning InspectFailed Failed to apply default image tag \"a.wasm\": it does not work",
                "Warning Failed Error: InvalidImageName"
            ]
        );
    }

    #[test]
    fn a_restart_keeps_the_image() {
        pod(Always).app("a", [Exit(1, 1)]).pulls([Pull::Takes(5)]).until(20).check(
            "0s pull for a
             5s image of a is here
             5s start a
             5s phase Running
             6s a exits 1
             6s start a
             7s a exits 1
             17s start a
             18s a exits 1",
        );
    }
}
