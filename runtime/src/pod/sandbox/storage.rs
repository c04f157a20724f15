//! Local storage: what the containers of a pod have written, and whether that is more than they may.
//!
//! Nothing tells us when a guest writes, so volumes are measured again and again: but only while guests work, as one that sleeps cannot
//! write. An idle pod costs nothing.

use super::Sandbox;
use crate::container::TerminationLog;
use crate::limits::{CONTAINER_ROOT_BYTES_DEFAULT, VOLUME_CHECK_INTERVAL, VOLUME_CHECK_REST_FACTOR};
use crate::pod::spec::{PodSpec, StorageMedium, VolumeSource};
use crate::pod::state::ContainerIndex;
use crate::volume::{ContainerFiles, PodVolumes, RemovedFile, Usage, quantity};
use crate::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Whether guests have worked since the last look.
#[derive(Debug, Default)]
pub(super) struct StorageWatch {
    worked: AtomicBool,
    work: Notify,
    /// When the next look may begin.
    next_look: Mutex<Option<Instant>>,
}

impl StorageWatch {
    /// What is to be done when the guests of a container have worked: nothing as long as there is nothing that they could have written to.
    pub(super) fn on_work(
        self: &Arc<Self>,
        volumes: &Arc<PodVolumes>,
        termination: &Arc<TerminationLog>,
    ) -> Box<dyn Fn() + Send + Sync> {
        let (watch, volumes, termination) = (Arc::clone(self), Arc::downgrade(volumes), Arc::clone(termination));
        Box::new(move || {
            if volumes.upgrade().is_none_or(|volumes| volumes.are_empty()) {
                return;
            }
            termination.trim();
            if !watch.worked.swap(true, Ordering::AcqRel) {
                watch.work.notify_one();
            }
        })
    }

    /// Waits until there is something to look at; may be dropped and called again.
    async fn due(&self) {
        while !self.worked.load(Ordering::Acquire) {
            self.work.notified().await;
        }
        let next_look = *self.next_look();
        if let Some(next_look) = next_look {
            tokio::time::sleep_until(next_look).await;
        }
    }

    fn looks(&self) {
        self.worked.store(false, Ordering::Release);
        *self.next_look() = Some(Instant::now() + VOLUME_CHECK_INTERVAL);
    }

    /// A look is over that took so long. Guests decide how much there is to look at, and the time for it is not theirs: so it may be no
    /// more than a part of all time.
    fn looked(&self, took: Duration) {
        let mut next_look = self.next_look();
        let rested = Instant::now() + took * VOLUME_CHECK_REST_FACTOR;
        *next_look = (*next_look).max(Some(rested));
    }

    fn next_look(&self) -> MutexGuard<'_, Option<Instant>> {
        self.next_look.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sandbox {
    /// Waits until guests have worked since the last [`measure`](Self::measure), and a while has passed since. May be dropped and
    /// called again.
    pub async fn storage_due(&self) {
        self.storage.due().await;
    }

    /// Measures what was written, which may take a while, away from this thread; answers in the kubelet's words when it is too much: a
    /// reason to evict the pod.
    pub fn measure(&self) -> JoinHandle<Option<String>> {
        self.storage.looks();
        let (volumes, spec, watch) = (Arc::clone(&self.volumes), Arc::clone(&self.spec), Arc::clone(&self.storage));
        let runs = self.runs().iter().filter_map(|(index, run)| Some((*index, run.files.upgrade()?))).collect();
        tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            let over = over_limit(&spec, &volumes, runs).unwrap_or_else(|error| {
                tracing::warn!(target: "wasmpod::pod", error = error.chain(), "a volume could not be measured");
                None
            });
            watch.looked(begun.elapsed());
            over
        })
    }
}

/// As the kubelet looks: at each `emptyDir`, then at the pod, then at each container.
fn over_limit(spec: &PodSpec, volumes: &PodVolumes, runs: Vec<(ContainerIndex, Arc<ContainerFiles>)>) -> Result<Option<String>> {
    let removed: Vec<Vec<RemovedFile>> = runs.iter().map(|(_, files)| files.removed()).collect();
    let roots = runs.iter().zip(&removed).map(|((index, files), removed)| Ok((*index, files.root_usage(removed)?)));
    let roots = roots.collect::<Result<Vec<(ContainerIndex, Usage)>>>()?;
    let removed = removed.concat();
    if let Some(over) = volumes.over_limit(&removed)? {
        return Ok(Some(over.to_string()));
    }
    if let Some(message) = pod_over_limit(spec, volumes, &roots, &removed)? {
        return Ok(Some(message));
    }
    for (index, used) in roots {
        let container = spec.containers.get(index.0).ok_or_else(|| Error::internal("the pod has no such container"))?;
        let limit_bytes = container.ephemeral_storage_limit_bytes.unwrap_or(CONTAINER_ROOT_BYTES_DEFAULT);
        if used.exceeds(limit_bytes) {
            let (name, limit) = (&container.name, quantity(limit_bytes));
            return Ok(Some(format!("Container {name} exceeded its local ephemeral storage limit {limit:?}.")));
        }
    }
    Ok(None)
}

/// All containers' own files and the `emptyDir`s on disk, against the sum of the containers' limits, if any has one.
fn pod_over_limit(
    spec: &PodSpec,
    volumes: &PodVolumes,
    roots: &[(ContainerIndex, Usage)],
    removed: &[RemovedFile],
) -> Result<Option<String>> {
    let limits = spec.containers.iter().filter_map(|container| container.ephemeral_storage_limit_bytes);
    let Some(limit_bytes) = limits.reduce(u64::saturating_add) else { return Ok(None) };
    let mut used = Usage { bytes: 0, complete: true };
    let mut add = |usage: Usage| {
        used.bytes = used.bytes.saturating_add(usage.bytes);
        used.complete &= usage.complete;
    };
    roots.iter().for_each(|(_, usage)| add(*usage));
    let on_disk =
        spec.volumes.iter().filter(|volume| matches!(volume.source, VolumeSource::EmptyDir { medium: StorageMedium::Disk, .. }));
    for volume in on_disk {
        volumes.usage(&volume.name, removed)?.into_iter().for_each(&mut add);
    }
    let message = format!("Pod ephemeral local storage usage exceeds the total limit of containers {}.", quantity(limit_bytes));
    Ok(used.exceeds(limit_bytes).then_some(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test(start_paused = true)]
    async fn looks_come_only_after_work_and_not_too_often() {
        let watch = StorageWatch::default();
        let works = || {
            watch.worked.store(true, Ordering::Release);
            watch.work.notify_one();
        };
        assert!(watch.due().now_or_never().is_none());
        works();
        assert!(watch.due().now_or_never().is_some());
        assert!(watch.due().now_or_never().is_some(), "a dropped look is not lost");
        watch.looks();
        assert!(watch.due().now_or_never().is_none());
        works();
        let asked = Instant::now();
        watch.due().await;
        assert_eq!(asked.elapsed(), VOLUME_CHECK_INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_volume_that_takes_long_to_look_at_is_looked_at_seldom() {
        let watch = StorageWatch::default();
        watch.worked.store(true, Ordering::Release);
        watch.looked(Duration::from_secs(2));
        let asked = Instant::now();
        watch.due().await;
        assert_eq!(asked.elapsed(), Duration::from_secs(2) * VOLUME_CHECK_REST_FACTOR);
    }
}
