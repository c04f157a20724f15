//! A pod: what it is ([`spec`]), what happens to it ([`state`], pure), what the world sees of it ([`status`]), what its containers
//! share ([`sandbox`]) and the task that owns it ([`driver`]), which asks probes and runs hooks; its [`event`]s are for people.
//! [`member`] is for who owns a pod by other means.

pub mod spec;
pub mod state;
pub mod backoff;
mod go_duration;
pub mod status;
pub mod sandbox;
pub mod member;
pub mod driver;
pub mod event;
pub mod probe;
mod hook;

pub use driver::{ContainerOutput, FailedPull, ImagePuller, Pod, PodConfig, PodImages, PodWatch, PullNotice, PulledContainer};
pub use member::{Member, MemberConfig, RunningMember};
pub use sandbox::{ContainerImage, PublishedPort, Sandbox, SandboxConfig};
