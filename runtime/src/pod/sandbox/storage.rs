//! Local storage: what the containers of a pod have written, and whether that is more than they may.
//!
//! Nothing tells us when a guest writes, so volumes are measured again and again: but only while guests work, as one that sleeps cannot
//! write. An idle pod costs nothing.

use super::Sandbox;
use crate::container::TerminationLog;
use crate::limits::{CONTAINER_ROOT_BYTES_DEFAULT, VOLUME_CHECK_INTERVAL};
use crate::pod::spec::{PodSpec, StorageMedium, VolumeSource};
use crate::pod::state::ContainerIndex;
use crate::volume::{ContainerFiles, PodVolumes, Usage, quantity};
use crate::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Whether guests have worked since the last look.
#[derive(Debug, Default)]
pub(super) struct StorageWatch {
    worked: AtomicBool,
    work: Notify,
    last_look: Mutex<Option<Instant>>,
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
        let last_look = *self.last_look.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last_look) = last_look {
            tokio::time::sleep_until(last_look + VOLUME_CHECK_INTERVAL).await;
        }
    }

    fn looks(&self) {
        self.worked.store(false, Ordering::Release);
        *self.last_look.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
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
        let (volumes, spec) = (Arc::clone(&self.volumes), Arc::clone(&self.spec));
        let runs = self.runs().iter().filter_map(|(index, run)| Some((*index, run.files.upgrade()?))).collect();
        tokio::task::spawn_blocking(move || {
            over_limit(&spec, &volumes, runs).unwrap_or_else(|error| {
                tracing::warn!(target: "wasmpod::pod", error = error.chain(), "a volume could not be measured");
                None
            })
        })
    }
}

/// As the kubelet looks: at each `emptyDir`, then at the pod, then at each container.
fn over_limit(spec: &PodSpec, volumes: &PodVolumes, runs: Vec<(ContainerIndex, Arc<ContainerFiles>)>) -> Result<Option<String>> {
    if let Some(over) = volumes.over_limit()? {
        return Ok(Some(over.to_string()));
    }
    let roots = runs.into_iter().map(|(index, files)| Ok((index, files.root_usage()?)));
    let roots = roots.collect::<Result<Vec<(ContainerIndex, Usage)>>>()?;
    if let Some(message) = pod_over_limit(spec, volumes, &roots)? {
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
fn pod_over_limit(spec: &PodSpec, volumes: &PodVolumes, roots: &[(ContainerIndex, Usage)]) -> Result<Option<String>> {
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
        volumes.usage(&volume.name)?.into_iter().for_each(&mut add);
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
}
