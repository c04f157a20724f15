//! The modes `process` and `first`: a new process each time, until its first output and its end.

use super::super::breakdown::WatchedRun;
use super::super::contender::Contender;
use super::super::plan::{Plan, series};
use super::super::process::{self, ProcessRun};
use super::super::result::{Group, Measure};
use super::super::rounds::{Rounds, WATCH_EVERY, turns};
use super::super::subject::{Places, Subject, Traits};
use super::{break_down, seconds_between};
use crate::args::Mode;
use crate::spans::Timeline;
use std::ffi::OsString;
use std::path::Path;
use wasmpod::{Error, Result};

/// Measures wasmpod and the contenders in turns.
pub(crate) fn measure(plan: &Plan<'_>, subject: &Subject, traits: &Traits, mode: Mode) -> Result<Group> {
    Plan::must_end(subject, traits, if mode == Mode::First { "first" } else { "process" })?;
    let (mut group, others) = plan.enter(subject, traits, mode)?;
    let others = those_that_work(plan, &mut group, others);
    let runner = Runner { plan, subject, others: &others, mode };
    for number in 0..plan.warm_up(mode) {
        for at in 0..=others.len() {
            let run = if at == 0 { runner.own(false)?.map(|(run, _)| run) } else { runner.other(at, number)? };
            if run.is_none() {
                return Ok(group);
            }
        }
    }
    let (mut outputs, mut ends) = (series(&group, Measure::FirstOutput), series(&group, Measure::End));
    let (mut watched, mut printed) = (Vec::new(), vec![None; others.len() + 1]);
    // Where a run takes so long, watching costs nothing.
    let always_watched = mode == Mode::First;
    'rounds: for round in Rounds::new(plan.runs(mode), plan.duration(), &plan.interrupt) {
        let mut runs = vec![None; others.len() + 1];
        for at in turns(others.len() + 1, round) {
            let run = if at == 0 {
                runner.own(always_watched)?
            } else {
                runner.other(at, plan.warm_up(mode) + round)?.map(|run| (run, None))
            };
            let Some((run, timeline)) = run else { break 'rounds };
            watched.extend(timeline.map(|timeline| watched_run(&run, timeline)));
            if let Some(slot) = runs.get_mut(at) {
                *slot = Some(run);
            }
        }
        // A round counts as a whole, so that every contender has the same number of values.
        for (at, run) in runs.into_iter().enumerate() {
            let (Some(run), Some(output), Some(end)) = (run, outputs.get_mut(at), ends.get_mut(at)) else { continue };
            output.values.extend(run.first_output.map(|first| seconds_between(run.from, first)));
            end.values.push(seconds_between(run.from, run.until));
            if let Some(printed) = printed.get_mut(at) {
                *printed = Some(run.output_bytes);
            }
        }
        if !always_watched && round % WATCH_EVERY == WATCH_EVERY - 1 {
            let Some((run, Some(timeline))) = runner.own(true)? else { break };
            watched.push(watched_run(&run, timeline));
        }
    }
    let plain = ends.first().map(|series| series.values.clone()).filter(|_| !always_watched);
    group.breakdown = break_down(&watched, plain.as_deref());
    note_other_work(&mut group, &printed);
    group.series = outputs.into_iter().chain(ends).collect();
    Ok(group)
}

/// Runs each contender once: one that cannot run here is left out with what it says, and does not keep the others from being measured.
fn those_that_work(plan: &Plan<'_>, group: &mut Group, others: Vec<Contender>) -> Vec<Contender> {
    let works = |contender: &Contender| match process::run(contender.command(u32::MAX, None), &plan.interrupt) {
        Ok(_) => true,
        Err(error) => {
            group.contenders.retain(|other| other.name != contender.name);
            group.notes.push(format!("{} was left out: {}", contender.name, error.chain()));
            false
        }
    };
    others.into_iter().filter(works).collect()
}

struct Runner<'a> {
    plan: &'a Plan<'a>,
    subject: &'a Subject,
    others: &'a [Contender],
    mode: Mode,
}

impl Runner<'_> {
    /// One run of wasmpod, with what it says about itself when it is watched; none when the user interrupted it.
    fn own(&self, watch: bool) -> Result<Option<(ProcessRun, Option<Timeline>)>> {
        let failed = |error| Error::io("cannot make a directory for a run", error);
        let dir = tempfile::Builder::new().prefix("run-").tempdir_in(self.plan.dir).map_err(failed)?;
        let places = match self.mode {
            Mode::First => Places { root: Some(dir.path().join("root")), cache_dir: Some(dir.path().join("cache")) },
            _ => self.subject.places().clone(),
        };
        let file = dir.path().join("phases.json");
        let extra = if watch { watching(&file) } else { Vec::new() };
        let run = process::run(self.subject.run_command(&places, &extra)?, &self.plan.interrupt);
        let run = run.map_err(|error| error.within(&self.subject.name))?;
        let Some(run) = run else { return Ok(None) };
        Ok(Some((run, Timeline::read(&file)?)))
    }

    /// One run of another contender; they are counted from 1.
    fn other(&self, at: usize, number: u32) -> Result<Option<ProcessRun>> {
        let Some(contender) = at.checked_sub(1).and_then(|at| self.others.get(at)) else { return Ok(None) };
        process::run(contender.command(number, None), &self.plan.interrupt).map_err(|error| error.within(&contender.name))
    }
}

/// The flags that make `wasmpod run` tell of its phases.
pub(super) fn watching(file: &Path) -> Vec<OsString> {
    vec!["--phases".into(), file.into()]
}

fn watched_run(run: &ProcessRun, timeline: Timeline) -> WatchedRun {
    WatchedRun { from: run.from, until: run.until, timeline, is_process: true }
}

/// Who prints something else does something else.
fn note_other_work(group: &mut Group, printed: &[Option<u64>]) {
    let own = printed.first().copied().flatten();
    for (contender, other) in group.contenders.iter().zip(printed).skip(1) {
        if let (Some(own), Some(other)) = (own, other)
            && own != *other
        {
            let name = &contender.name;
            group.notes.push(format!("{name} prints {other} bytes and wasmpod {own}: they do not do the same work"));
        }
    }
}
