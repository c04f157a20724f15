//! One file for each way of measuring.

pub(super) mod cold;
pub(super) mod density;
pub(super) mod ready;
pub(super) mod throughput;
pub(super) mod warm;

use super::breakdown::{WatchedRun, typical};
use super::result::{Breakdown, BreakdownPart};
use super::statistics::Sample;

/// The time between two moments of the monotonic clock.
fn seconds_between(from: u64, until: u64) -> f64 {
    until.saturating_sub(from) as f64 / 1e9
}

/// The breakdown of the watched runs; `plain` are the lengths of those that nobody watched.
fn break_down(watched: &[WatchedRun], plain: Option<&[f64]>) -> Option<Breakdown> {
    let lengths: Vec<f64> = watched.iter().map(WatchedRun::seconds).collect();
    let median = |values: &[f64]| Sample::of(values).map(|sample| sample.quantile(50));
    let watching_costs = plain.and_then(median).zip(median(&lengths)).map(|(plain, watched)| watched / plain - 1.0);
    let parts: Vec<BreakdownPart> =
        typical(watched).into_iter().map(|(part, seconds)| BreakdownPart { name: part.name(), seconds }).collect();
    (!parts.is_empty()).then_some(Breakdown { parts, runs: watched.len(), watching_costs })
}
