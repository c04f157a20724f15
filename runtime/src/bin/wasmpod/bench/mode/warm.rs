//! The mode `warm`: pods in one process, with their artifacts loaded.

use super::super::breakdown::WatchedRun;
use super::super::plan::{Plan, series};
use super::super::pods::Pods;
use super::super::result::{Group, Measure, Series};
use super::super::rounds::{Rounds, WATCH_EVERY};
use super::super::subject::{Subject, Traits};
use super::{break_down, seconds_between};
use crate::args::Mode;
use crate::spans::{Timeline, now};
use wasmpod::Result;
use wasmpod::engine::EngineMode;
use wasmpod::observe::Phase;

/// Starts pods one after another, each from the manifest's object to its end.
pub(crate) async fn measure(plan: &Plan<'_>, subject: &Subject, traits: &Traits) -> Result<Group> {
    Plan::must_end(subject, traits, "warm")?;
    let (mut group, _) = plan.enter(subject, traits, Mode::Warm)?;
    let pods = &subject.pods(EngineMode::Run).await?;
    for _ in 0..plan.warm_up(Mode::Warm) {
        if run(plan, pods).await?.is_none() {
            return Ok(group);
        }
    }
    let mut ends = series(&group, Measure::End);
    let mut watched = Vec::new();
    for round in Rounds::new(plan.runs(Mode::Warm), plan.duration(), &plan.interrupt) {
        let Some((from, until)) = run(plan, pods).await? else { break };
        ends.iter_mut().for_each(|series| series.values.push(seconds_between(from, until)));
        if round % WATCH_EVERY == WATCH_EVERY - 1
            && let Some(recorder) = &plan.recorder
        {
            recorder.listen(now());
            let run = run(plan, pods).await?;
            let timeline = recorder.take();
            let Some((from, until)) = run else { break };
            watched.push(WatchedRun { from, until, timeline, is_process: false });
        }
    }
    // These two happen on the guests' threads; only who watches sees them without being told late.
    let mut series = watched_series(&group, Measure::Running, &watched, running);
    series.extend(watched_series(&group, Measure::FirstOutput, &watched, first_output));
    let plain = ends.first().map(|series| series.values.clone());
    group.breakdown = break_down(&watched, plain.as_deref());
    series.extend(ends);
    group.series = series;
    Ok(group)
}

/// From the object to the end of all its pods; none when the user interrupted it.
async fn run(plan: &Plan<'_>, pods: &Pods) -> Result<Option<(u64, u64)>> {
    let from = now();
    let all = pods.run_to_end();
    tokio::select! {
        biased;
        ended = all => ended?,
        () = plan.interrupt.asked() => return Ok(None),
    }
    Ok(Some((from, now())))
}

fn watched_series(group: &Group, measure: Measure, watched: &[WatchedRun], moment: fn(&Timeline) -> Option<u64>) -> Vec<Series> {
    let values: Vec<f64> = watched.iter().filter_map(|run| Some(seconds_between(run.from, moment(&run.timeline)?))).collect();
    let mut series = series(group, measure);
    series.iter_mut().for_each(|series| series.values.clone_from(&values));
    series
}

/// When the last container came to its `_start`.
fn running(timeline: &Timeline) -> Option<u64> {
    timeline.phases.iter().filter(|timed| timed.phase == Phase::Start).map(|timed| timed.until).max()
}

fn first_output(timeline: &Timeline) -> Option<u64> {
    timeline.phases.iter().filter(|timed| timed.phase == Phase::FirstOutput).map(|timed| timed.from).min()
}
