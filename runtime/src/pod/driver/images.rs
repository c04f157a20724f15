//! The images of a pod: given with it, or brought while it runs, each by a task of its own.

use super::Driver;
use crate::pod::sandbox::ContainerImage;
use crate::pod::state::{Container, ContainerIndex, Event, ImageState, PullError, PulledImage, StartError};
use crate::{Error, Result};
use async_trait::async_trait;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use tokio::task::{Id, JoinSet};

/// Who brings the images of a pod's containers, and makes programs of them.
#[async_trait]
pub trait ImagePuller: Send + Sync {
    /// Brings what one container runs, and the files of the image volumes that it mounts. Given up by dropping it.
    ///
    /// # Errors
    /// Whatever kept an image from being brought, with the word that Kubernetes has for it. What is
    /// [`Unavailable`](crate::ErrorKind::Unavailable) is tried again.
    async fn pull(&self, container: ContainerIndex, notice: PullNotice) -> Result<PulledContainer, FailedPull>;
}

/// Called with the name of an image, as the spec writes it, when a registry is asked for it.
pub type PullNotice = Arc<dyn Fn(&str) + Send + Sync>;

/// What was brought for one container.
#[derive(Debug)]
pub struct PulledContainer {
    /// What it runs.
    pub image: ContainerImage,
    /// Which images that were.
    pub images: Vec<PulledImage>,
}

/// An image that could not be brought.
#[derive(Debug)]
pub struct FailedPull {
    /// Its name, as the spec writes it.
    pub image: String,
    /// Why.
    pub error: Error,
}

/// Where a pod has its images from.
pub enum PodImages {
    /// They are here: one for each container, in the order of the spec.
    Present(Vec<ContainerImage>),
    /// They are brought once the pod has begun.
    Pulled(Arc<dyn ImagePuller>),
}

impl fmt::Debug for PodImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present(images) => f.debug_tuple("Present").field(images).finish(),
            Self::Pulled(_) => f.debug_tuple("Pulled").finish_non_exhaustive(),
        }
    }
}

/// What came of one pull.
type Answer = (ContainerIndex, Result<PulledContainer, FailedPull>);

/// The images of one pod. Dropped, what is under way is given up.
pub(super) struct Images {
    present: Vec<Option<ContainerImage>>,
    puller: Option<Arc<dyn ImagePuller>>,
    pulls: JoinSet<Answer>,
    /// For whom each of them is.
    containers: HashMap<Id, ContainerIndex>,
}

impl Images {
    /// Those of a pod of so many containers.
    pub(super) fn new(images: PodImages, containers: usize) -> Self {
        let (present, puller) = match images {
            PodImages::Present(images) => (images.into_iter().map(Some).collect(), None),
            PodImages::Pulled(puller) => (vec![None; containers], Some(puller)),
        };
        Self { present, puller, pulls: JoinSet::new(), containers: HashMap::new() }
    }

    /// Whether they are yet to be brought.
    pub(super) fn are_to_be_pulled(&self) -> bool {
        self.puller.is_some()
    }

    /// What a container runs.
    ///
    /// # Errors
    /// It is not here: a bug, as nothing is started before.
    pub(super) fn of(&self, container: ContainerIndex) -> Result<&ContainerImage> {
        let image = self.present.get(container.0).and_then(Option::as_ref);
        image.ok_or_else(|| Error::internal("the container's image is not here"))
    }

    /// `imageID` of each container, empty while it is not here.
    pub(super) fn ids(&self) -> Vec<String> {
        self.present.iter().map(|image| image.as_ref().map(|image| image.id.clone()).unwrap_or_default()).collect()
    }

    /// Nobody waits for what is under way.
    pub(super) fn give_up(&mut self) {
        if !self.pulls.is_empty() {
            self.pulls = JoinSet::new();
            self.containers.clear();
        }
    }

    /// What came of the next pull that ends; waits for ever when none is under way.
    pub(super) async fn next_answer(&mut self) -> Answer {
        loop {
            match self.pulls.join_next_with_id().await {
                Some(Ok((id, answer))) => {
                    self.containers.remove(&id);
                    return answer;
                }
                Some(Err(error)) => {
                    if let Some(container) = self.containers.remove(&error.id()) {
                        let error = Error::internal("the pull ended early").because(error);
                        return (container, Err(FailedPull { image: String::new(), error }));
                    }
                }
                None => return std::future::pending().await,
            }
        }
    }
}

impl Driver {
    /// Begins to bring an image; what comes of it is an event.
    pub(super) fn pull(&mut self, container: ContainerIndex) {
        let Some(puller) = self.images.puller.clone() else { return };
        let events = self.events.clone();
        let notice: PullNotice = Arc::new(move |image| {
            if events.try_send(Event::Pulling { container, image: image.to_owned() }).is_err() {
                tracing::debug!(target: "wasmpod::pod", image, "nobody hears of a pull");
            }
        });
        let task = self.images.pulls.spawn(async move { (container, puller.pull(container, notice).await) });
        self.images.containers.insert(task.id(), container);
    }

    /// Keeps what was brought, and makes an event of it. An error is told once the state machine has said what follows from it.
    pub(super) fn pulled(&mut self, (container, answer): Answer) -> Event {
        match answer {
            Ok(PulledContainer { image, images }) => {
                if let Some(slot) = self.images.present.get_mut(container.0) {
                    *slot = Some(image);
                }
                // It is shown with the step that follows.
                self.view.send_if_modified(|view| {
                    view.image_ids = self.images.ids().into();
                    false
                });
                Event::Pulled { container, images }
            }
            Err(FailedPull { image, error }) => {
                let told = PullError { image, error: StartError::of_pull(&error) };
                self.failed_pull = Some((container, error));
                Event::PullFailed { container, error: told }
            }
        }
    }

    /// Tells of the pull that failed, if one did, and when it is tried again.
    pub(super) fn tell_failed_pull(&mut self) {
        let Some((container, error)) = self.failed_pull.take() else { return };
        let wait = match self.state.container(container).map(Container::image) {
            Some(ImageState::BackOff { wait, .. }) => Some(*wait),
            _ => None,
        };
        self.config.output.pull_failed(container, &error, wait);
    }
}
