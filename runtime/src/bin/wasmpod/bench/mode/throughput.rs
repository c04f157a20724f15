//! The mode `throughput`: pods started and ended in one process, as many at once as asked for.

use super::super::plan::{Plan, series};
use super::super::pods::Pods;
use super::super::result::{Group, Measure};
use super::super::subject::{Subject, Traits};
use crate::args::Mode;
use crate::environment;
use futures::future::try_join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use wasmpod::engine::EngineMode;
use wasmpod::{Error, Result};

/// Into so many stretches the time is divided; each gives a value.
const STRETCHES: u32 = 40;
/// The stretches at the beginning that do not count: until everything is warm.
const STRETCHES_WARM_UP: u32 = 4;

/// So many at once fit into the pool of `wasmpod run`, also when each has several containers.
const FEW: u32 = 64;
/// How long pods may take to end once the user has seen enough.
const GRACE: Duration = Duration::from_secs(1);

/// Starts pods until the time is over, on as many threads as the machine has processors.
pub(crate) fn measure(plan: &Plan<'_>, subject: &Subject, traits: &Traits) -> Result<Group> {
    Plan::must_end(subject, traits, "throughput")?;
    let (mut group, _) = plan.enter(subject, traits, Mode::Throughput)?;
    let threads = usize::try_from(environment::processors()).unwrap_or(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = runtime.map_err(|error| Error::io("cannot start the event loop", error))?;
    let mode = if plan.concurrency() > FEW { EngineMode::Node } else { EngineMode::Run };
    let pods = Arc::new(runtime.block_on(subject.pods(mode))?);
    let stretch = plan.duration() / STRETCHES;
    let count = Arc::new(Count::new(stretch));
    let concurrency = plan.concurrency();
    let lanes = (0..concurrency).map(|_| runtime.spawn(lane(Arc::clone(&pods), Arc::clone(&count))));
    let lanes: Vec<_> = lanes.collect();
    runtime.block_on(async {
        let all = try_join_all(lanes);
        tokio::pin!(all);
        let ended = tokio::select! {
            ended = &mut all => ended,
            () = plan.interrupt.asked() => {
                count.stop.store(true, Ordering::Relaxed);
                // What hangs is left behind.
                match tokio::time::timeout(GRACE, &mut all).await {
                    Ok(ended) => ended,
                    Err(_) => Ok(Vec::new()),
                }
            }
        };
        ended.map_err(|error| Error::internal("a lane ended early").because(error))?.into_iter().collect::<Result<Vec<()>>>()
    })?;
    runtime.shutdown_background();
    let mut starts = series(&group, Measure::Starts);
    let whole = count.whole_stretches();
    let values = count.ended.iter().take(whole).skip(STRETCHES_WARM_UP as usize);
    let values: Vec<f64> = values.map(|ended| ended.load(Ordering::Relaxed) as f64 / stretch.as_secs_f64()).collect();
    starts.iter_mut().for_each(|series| series.values.clone_from(&values));
    group.series = starts;
    let of_each = if traits.pods == 1 { "pods" } else { "times all its pods" };
    group.notes.push(format!("{concurrency} {of_each} at once, on {threads} threads besides those of the guests"));
    Ok(group)
}

/// Starts one after another until the time is over.
async fn lane(pods: Arc<Pods>, count: Arc<Count>) -> Result<()> {
    while count.goes_on() {
        pods.run_to_end().await?;
        count.one_more();
    }
    Ok(())
}

/// Counts what ends in each stretch of time.
struct Count {
    from: Instant,
    stretch: Duration,
    ended: Vec<AtomicU64>,
    stop: AtomicBool,
}

impl Count {
    fn new(stretch: Duration) -> Self {
        let ended = (0..STRETCHES).map(|_| AtomicU64::new(0)).collect();
        Self { from: Instant::now(), stretch, ended, stop: AtomicBool::new(false) }
    }

    fn goes_on(&self) -> bool {
        self.from.elapsed() < self.stretch * STRETCHES && !self.stop.load(Ordering::Relaxed)
    }

    fn one_more(&self) {
        if let Some(ended) = self.ended.get(self.whole_stretches()) {
            ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many stretches are over.
    fn whole_stretches(&self) -> usize {
        let nanos = self.stretch.as_nanos().max(1);
        usize::try_from(self.from.elapsed().as_nanos() / nanos).unwrap_or(usize::MAX)
    }
}
