//! Pods in this very process: one of each workload of a manifest, as `wasmpod run` makes them, their output thrown away.

use crate::args::RunArgs;
use crate::run::make::services;
use crate::run::prepare::{Kit, Prepared, host_ips};
use crate::run::target;
use futures::future::try_join_all;
use std::path::Path;
use std::sync::Arc;
use wasmpod::engine::EngineMode;
use wasmpod::limits::BENCH_RUN_TIME_MAX;
use wasmpod::log::{LogWriter, pipe};
use wasmpod::net::ClusterMember;
use wasmpod::net::publish::Published;
use wasmpod::pod::backoff::BackoffPolicy;
use wasmpod::pod::spec::ContainerRole;
use wasmpod::pod::state::{Attempt, ContainerIndex, PodState};
use wasmpod::pod::{ContainerImage, ContainerOutput, Pod, PodConfig, PodImages};
use wasmpod::{Error, Result};

/// What the pods of a target are made with: everything loaded that they run.
pub(super) struct Pods {
    kit: Kit,
    /// What the containers run, of the first pod of each workload.
    images: Vec<Vec<ContainerImage>>,
    /// The Services' ports on the machine.
    _published: Vec<Published>,
}

/// Pods that run.
pub(super) struct RunningPods(Vec<(Pod, ClusterMember)>);

impl Pods {
    /// Reads the target of `run` and loads, compiles and links what it names, pulled first where it has to be; `tell` says what is not worth failing for.
    pub(super) async fn assemble(run: &RunArgs, root: Option<&Path>, mode: EngineMode, tell: fn(&str)) -> Result<Self> {
        let mut target = target::read(run)?;
        // Standard input is not for what is measured.
        target.is_file = false;
        let kit = Kit::assemble(run, target, root, mode, tell).await?;
        let first_pods = kit.manifest().workloads().enumerate();
        let pulls = first_pods.map(|(index, workload)| {
            let (kit, replica) = (&kit, workload.first_replica());
            async move { kit.pull(index, &replica).await }
        });
        let images = try_join_all(pulls).await?;
        let published = services(&kit).await?;
        Ok(Self { kit, images, _published: published })
    }

    /// What the manifest says, and what every pod is made with.
    pub(super) fn kit(&self) -> &Kit {
        &self.kit
    }

    /// The first pod of each workload, ready to start, and what its containers run.
    pub(super) async fn prepare(&self) -> Result<Vec<(Prepared, Vec<ContainerImage>)>> {
        let mut prepared = Vec::new();
        for ((index, workload), images) in self.kit.manifest().workloads().enumerate().zip(&self.images) {
            prepared.push((self.kit.prepare(index, &workload.first_replica()).await?, images.clone()));
        }
        Ok(prepared)
    }

    /// Makes and starts one pod of each workload.
    pub(super) async fn start(&self) -> Result<RunningPods> {
        let mut pods = Vec::new();
        for (Prepared { sandbox, member, .. }, images) in self.prepare().await? {
            let (images, output) = (PodImages::Present(images), Arc::new(Nowhere));
            let config = PodConfig { sandbox, images, backoff: BackoffPolicy::KUBELET, output, host_ips: host_ips() };
            pods.push((Pod::start(config)?, member));
        }
        Ok(RunningPods(pods))
    }
}

impl Pods {
    /// Makes, starts and ends one pod of each workload, in good time.
    pub(super) async fn run_to_end(&self) -> Result<()> {
        let all = async { self.start().await?.finished().await };
        let ended = tokio::time::timeout(BENCH_RUN_TIME_MAX, all).await;
        ended.unwrap_or_else(|_| Err(Error::limit(format!("a run took longer than {} s", BENCH_RUN_TIME_MAX.as_secs()))))
    }
}

impl RunningPods {
    /// Waits until every container that stays runs.
    pub(super) async fn running(&self) -> Result<()> {
        let runs = |state: &PodState| {
            let mut stay = state.containers().iter().filter(|container| container.role() != ContainerRole::Init);
            stay.all(|container| container.is_running())
        };
        for (pod, _) in &self.0 {
            if !pod.wait_until(runs).await {
                return Err(failed(pod, "ended, and what ends cannot be idle"));
            }
        }
        Ok(())
    }

    /// Waits until all of them have ended, as they should.
    pub(super) async fn finished(self) -> Result<()> {
        for (pod, _) in &self.0 {
            let outcome = pod.finished().await?;
            if !outcome.succeeded {
                return Err(failed(pod, &format!("failed with exit status {}", outcome.exit_code))
                    .hint("only runs that succeed are measured"));
            }
        }
        Ok(())
    }
}

fn failed(pod: &Pod, what: &str) -> Error {
    Error::invalid(format!("pod {} {what}", pod.spec().name))
}

/// Output that nobody reads.
struct Nowhere;

impl ContainerOutput for Nowhere {
    fn open(&self, _container: ContainerIndex, _attempt: Attempt) -> LogWriter {
        pipe().0
    }
}
