//! What goes into the state machine and what comes out: [`Event`], [`Action`] and the values that they carry.

use super::probe::{ProbeAnswer, ProbeKind};
use crate::{Error, ErrorKind};
use std::fmt;
use std::time::Duration;

/// A container, by its place in [`PodSpec::containers`](crate::pod::spec::PodSpec::containers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerIndex(pub usize);

/// Which start of a container it is: 0 for the first, and one more for every [`Action::Start`], whether it succeeded or not.
///
/// With its container it names one instance for good, so that a late word about an instance that is gone is told apart from
/// one about its successor. It is not `restartCount`, which counts only instances that ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u32);

/// What happened. Events that the state does not expect (a stale attempt, an unknown container) change nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Network and volumes are ready: start. Once.
    Begin,
    /// A registry is being asked for the image. Follows [`Action::Pull`] where it comes to that.
    Pulling {
        /// The container.
        container: ContainerIndex,
        /// The image's name, as the spec writes it.
        image: String,
    },
    /// The image is here, and its program ready to run. Answers [`Action::Pull`].
    Pulled {
        /// The container.
        container: ContainerIndex,
        /// Its image, and those of the image volumes that it mounts.
        images: Vec<PulledImage>,
    },
    /// An image could not be brought. Answers [`Action::Pull`].
    PullFailed {
        /// The container.
        container: ContainerIndex,
        /// Which image, and why.
        error: PullError,
    },
    /// The instance now runs. Answers [`Action::Start`].
    Started {
        /// The container.
        container: ContainerIndex,
        /// As in the action.
        attempt: Attempt,
    },
    /// No instance came to run. Answers [`Action::Start`].
    StartFailed {
        /// The container.
        container: ContainerIndex,
        /// As in the action.
        attempt: Attempt,
        /// Why.
        error: StartError,
    },
    /// The instance is gone and holds nothing any more. Follows [`Event::Started`], or answers [`Action::Start`] by itself when
    /// the instance was gone before anybody looked.
    Exited {
        /// The container.
        container: ContainerIndex,
        /// As in the action.
        attempt: Attempt,
        /// How it ended.
        exit: ContainerExit,
    },
    /// A probe was answered. Answers [`Action::Probe`].
    Probed {
        /// The container.
        container: ContainerIndex,
        /// As in the action.
        attempt: Attempt,
        /// As in the action.
        kind: ProbeKind,
        /// What came of it.
        answer: ProbeAnswer,
    },
    /// A hook has ended. Answers [`Action::RunHook`].
    HookEnded {
        /// The container.
        container: ContainerIndex,
        /// As in the action.
        attempt: Attempt,
        /// As in the action.
        hook: HookKind,
        /// Whether it succeeded.
        succeeded: bool,
    },
    /// The pod is deleted (Ctrl-C): stop it gracefully. A second one may shorten the grace period, never lengthen it.
    Stop {
        /// The grace period; the pod's own when `None`.
        grace: Option<Duration>,
    },
    /// Stop at once, without asking any container.
    Kill,
    /// The pod broke a limit of the machine, such as `emptyDir.sizeLimit`: it fails with reason `Evicted`.
    Evict {
        /// Which limit, for `status.message`.
        message: String,
    },
    /// Time has passed; sent at [`Step::wake_at`], harmless at any time.
    Tick,
}

/// An image that is here now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PulledImage {
    /// Its name, as the spec writes it.
    pub image: String,
    /// How it came from a registry; none when it was on this machine.
    pub transfer: Option<Transfer>,
}

/// How an image came from a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// How long it took.
    pub took: Duration,
    /// The image's size in bytes, compressed as registries keep it.
    pub bytes: u64,
}

/// Why an image could not be brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullError {
    /// Its name, as the spec writes it.
    pub image: String,
    /// Why.
    pub error: StartError,
}

/// Which of a container's hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookKind {
    /// `lifecycle.postStart`.
    PostStart,
    /// `lifecycle.preStop`.
    PreStop,
}

/// What the owner of the pod has to do now, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Bring the images of a container, its own and those of its image volumes, and make its program ready. Answer with [`Event::Pulled`] or [`Event::PullFailed`]; no answer is
    /// needed once the pod has finished.
    Pull {
        /// The container.
        container: ContainerIndex,
    },
    /// Make an instance and run it. Answer with [`Event::Started`] and later [`Event::Exited`], or with [`Event::StartFailed`].
    Start {
        /// The container.
        container: ContainerIndex,
        /// To be repeated in every answer.
        attempt: Attempt,
    },
    /// Ask a probe of the instance, within its timeout. Answer with [`Event::Probed`]; no answer is needed once the instance is gone.
    Probe {
        /// The container.
        container: ContainerIndex,
        /// Which instance.
        attempt: Attempt,
        /// Which probe.
        kind: ProbeKind,
    },
    /// Run a hook of the instance. Answer with [`Event::HookEnded`]; give it up when another hook of the instance begins, or it is
    /// asked to stop, killed or gone.
    RunHook {
        /// The container.
        container: ContainerIndex,
        /// Which instance.
        attempt: Attempt,
        /// Which hook.
        hook: HookKind,
    },
    /// Ask the running instance to stop (SIGTERM). No timer: when its time is up, [`Action::Kill`] follows.
    Terminate {
        /// The container.
        container: ContainerIndex,
        /// Which instance.
        attempt: Attempt,
    },
    /// End the instance now, or give up its start if that is still under way. It must still be answered, with
    /// [`Event::Exited`] or [`Event::StartFailed`].
    Kill {
        /// The container.
        container: ContainerIndex,
        /// Which instance.
        attempt: Attempt,
    },
    /// Nothing lives any more: release network and volumes. The last action.
    Finish(Outcome),
}

/// The answer to an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// What to do, in order.
    pub actions: Vec<Action>,
    /// When to send [`Event::Tick`], in time since the pod's start; always later than the step's own `now`.
    pub wake_at: Option<Duration>,
}

/// How a pod ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it is `Succeeded` (else `Failed`).
    pub succeeded: bool,
    /// `status.reason`, where the pod itself failed: `DeadlineExceeded`, `Evicted`, or that of a start that can never work.
    pub reason: Option<&'static str>,
    /// `status.message` to go with it.
    pub message: Option<String>,
    /// Whether it failed because a container of it can never start: another pod made from the same spec would fail the same way.
    pub hopeless: bool,
    /// For the command line: 0 when it succeeded; else the status of the first failed container in the manifest's order
    /// (sidecars do not count); that of the error when a container can never start; 1 when the pod failed for another reason of its own,
    /// or before any container failed.
    pub exit_code: i32,
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerExit {
    /// Its status: n for `exit(n)`, 128 + n for a signal, 137 for the memory limit, 134 for a trap.
    pub code: i32,
    /// What ended it.
    pub cause: ExitCause,
    /// The termination message; empty when there is none.
    pub message: String,
}

/// What ended an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCause {
    /// It ended itself.
    Exited,
    /// It was ended by SIGTERM or SIGKILL.
    Signalled(Signal),
    /// It trapped.
    Trapped,
    /// It wanted more memory than its limit.
    OutOfMemory,
}

/// The signals that end an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, 15.
    Term,
    /// SIGKILL, 9.
    Kill,
}

impl ContainerExit {
    /// It ended itself with this status.
    pub fn exited(code: i32) -> Self {
        Self { code, cause: ExitCause::Exited, message: String::new() }
    }

    /// A signal ended it: 143 or 137.
    pub fn signalled(signal: Signal) -> Self {
        let code = match signal {
            Signal::Term => 143,
            Signal::Kill => 137,
        };
        Self { code, cause: ExitCause::Signalled(signal), message: String::new() }
    }

    /// It trapped: 134, the status of an abort; the message is the trap with its back-trace.
    pub fn trapped(message: impl Into<String>) -> Self {
        Self { code: 134, cause: ExitCause::Trapped, message: message.into() }
    }

    /// It hit its memory limit: 137, as the kernel's killer would leave it.
    pub fn out_of_memory(message: impl Into<String>) -> Self {
        Self { code: 137, cause: ExitCause::OutOfMemory, message: message.into() }
    }

    /// The same, with a termination message.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Whether Kubernetes counts it as a success.
    pub fn is_success(&self) -> bool {
        self.code == 0
    }

    /// `state.terminated.reason`.
    pub fn reason(&self) -> &'static str {
        match self.cause {
            ExitCause::OutOfMemory => "OOMKilled",
            _ if self.is_success() => "Completed",
            _ => "Error",
        }
    }
}

/// Why an instance did not come to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    /// `state.waiting.reason`: `CreateContainerError`, `ErrImagePull`, …
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Whether trying again is pointless. A passing error is retried with back-off for ever, as a kubelet does; a permanent one
    /// fails the pod, so that somebody who waits for it gets an answer.
    pub permanent: bool,
    /// The pod's status for the command line when it fails for this.
    pub exit_code: i32,
}

impl StartError {
    /// One that may pass.
    pub fn passing(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), permanent: false, exit_code: 1 }
    }

    /// One that will not.
    pub fn permanent(reason: &'static str, message: impl Into<String>) -> Self {
        Self { permanent: true, ..Self::passing(reason, message) }
    }

    /// Of an image that could not be brought: only what the error says may pass is tried again. What a registry has refused, or does not
    /// know, it would refuse a minute later too, and whoever waits for the pod is to know.
    pub fn of_pull(error: &Error) -> Self {
        Self { permanent: error.kind() != ErrorKind::Unavailable, ..Self::from(error) }
    }
}

impl From<&Error> for StartError {
    /// What is invalid stays so; everything else may pass.
    fn from(error: &Error) -> Self {
        Self {
            reason: error.reason().unwrap_or("CreateContainerError"),
            message: error.chain(),
            permanent: error.kind() == ErrorKind::Invalid,
            exit_code: error.kind().exit_code().into(),
        }
    }
}

impl fmt::Display for HookKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PostStart => "PostStart",
            Self::PreStop => "PreStop",
        })
    }
}

impl fmt::Display for ContainerIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
