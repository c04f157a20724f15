//! Several pods in one run: the controllers of Kubernetes, as far as one machine needs them.
//!
//! ```text
//!   WorkloadSpec ──▶ Controller::step ──actions──▶ driver ──PodMaker──▶ Pods ──membership──▶ net::Cluster
//!                       ▲                                                │
//!                       └──────────── events (ready, ended) ─────────────┘
//! ```
//!
//! Policy is pure: a [`Controller`](controller::Controller) is given what happened and the time, and answers which pods to make and to stop. One task, of
//! [`Workloads`], performs that for all workloads of a run.

pub mod controller;
mod driver;
pub mod spec;

pub use driver::{MadePod, PodMaker, PodReport, WorkloadReport, Workloads};
pub use spec::{ControllerSpec, JobSpec, PodEnd, Replica, WorkloadKind, WorkloadSpec};
