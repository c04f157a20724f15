//! What a container says about itself, in the right order and to the very end.

use super::ContainerEvent;
use crate::pod::state::ContainerExit;
use crate::{Error, Result};

/// Makes sure that every container says how it ended, even one whose host code panicked.
pub(super) struct Report {
    send: Box<dyn FnMut(ContainerEvent) + Send>,
    stage: Stage,
}

/// What was said already.
enum Stage {
    Starting,
    /// It runs, and nobody was told yet.
    FirstTurn,
    Running,
    Ended,
}

impl Report {
    /// A report to `send`.
    pub(super) fn new(send: impl FnMut(ContainerEvent) + Send + 'static) -> Self {
        Self { send: Box::new(send), stage: Stage::Starting }
    }

    /// Its first turn begins: however it ends from now on, it has run.
    pub(super) fn first_turn(&mut self) {
        self.stage = Stage::FirstTurn;
    }

    /// Says that it runs, once.
    pub(super) fn started(&mut self) {
        if matches!(self.stage, Stage::Starting | Stage::FirstTurn) {
            self.stage = Stage::Running;
            (self.send)(ContainerEvent::Started);
        }
    }

    /// Says how it ended, or why it never ran; the last word.
    pub(super) fn end(&mut self, exit: Result<ContainerExit>) {
        let event = match exit {
            Ok(exit) => ContainerEvent::Exited(exit),
            Err(error) => ContainerEvent::StartFailed(error),
        };
        self.stage = Stage::Ended;
        (self.send)(event);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let text = "the host failed while it served the container; this is a bug of wasmpod";
        match self.stage {
            Stage::Ended => {}
            Stage::Starting => (self.send)(ContainerEvent::StartFailed(Error::internal(text))),
            Stage::FirstTurn | Stage::Running => (self.send)(ContainerEvent::Exited(ContainerExit::trapped(text))),
        }
    }
}
