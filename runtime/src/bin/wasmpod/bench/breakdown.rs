//! Where the time of a run went, from its phases.
//!
//! Phases lie inside and beside each other. Each moment of a run is given to exactly one part, the innermost of what was under way
//! (see [`Part::rank`]), so the parts of a run add up to its length.

use super::statistics::float;
use crate::spans::{TimedPhase, Timeline};
use std::collections::BTreeMap;
use wasmpod::observe::Phase;

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// From the moment at which the system was asked for a process until its program runs.
    ProcessStart,
    /// A phase that the library tells of.
    Phase(Phase),
    /// What no phase tells of.
    Other,
    /// From the program's last words until the process is gone.
    ProcessEnd,
}

impl Part {
    /// What reports and plots call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ProcessStart => "process start",
            Self::Phase(phase) => phase.name(),
            Self::Other => "other",
            Self::ProcessEnd => "process end",
        }
    }

    /// The lower it is, the further inside it lies.
    fn rank(self) -> usize {
        let phases = [
            Phase::Compile,
            Phase::Pull,
            Phase::Instantiate,
            Phase::Load,
            Phase::Engine,
            Phase::Parse,
            Phase::Start,
            Phase::FirstOutput,
            Phase::Ready,
            Phase::Run,
        ];
        match self {
            Self::ProcessStart | Self::ProcessEnd => 0,
            Self::Phase(phase) => 1 + phases.iter().position(|other| *other == phase).unwrap_or(phases.len()),
            Self::Other => usize::MAX,
        }
    }
}

/// One run that was watched, in nanoseconds of the machine's monotonic clock.
#[derive(Clone, Debug)]
pub(super) struct WatchedRun {
    /// When it began, seen from outside.
    pub(super) from: u64,
    /// When it was over.
    pub(super) until: u64,
    /// What the program said about itself.
    pub(super) timeline: Timeline,
    /// Whether it was a process of its own.
    pub(super) is_process: bool,
}

impl WatchedRun {
    /// How long it took, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        seconds(self.until.saturating_sub(self.from))
    }

    /// The length of each part in seconds; together the length of the run.
    pub(super) fn parts(&self) -> BTreeMap<Part, f64> {
        let stretches = self.stretches();
        let mut cuts: Vec<u64> = stretches.iter().flat_map(|stretch| [stretch.from, stretch.until]).collect();
        cuts.extend([self.from, self.until]);
        cuts.retain(|cut| (self.from..=self.until).contains(cut));
        cuts.sort_unstable();
        cuts.dedup();
        let mut parts = BTreeMap::new();
        for (from, until) in cuts.iter().zip(cuts.iter().skip(1)) {
            let under_way = stretches.iter().filter(|stretch| stretch.from <= *from && *until <= stretch.until);
            let part = under_way.map(|stretch| stretch.part).min_by_key(|part| part.rank()).unwrap_or(Part::Other);
            *parts.entry(part).or_default() += seconds(until - from);
        }
        parts
    }

    fn stretches(&self) -> Vec<Stretch> {
        let Timeline { began, ended, phases } = &self.timeline;
        let mut stretches: Vec<Stretch> = phases.iter().map(|phase| self.stretch(phase)).collect();
        if self.is_process {
            stretches.push(Stretch { part: Part::ProcessStart, from: self.from, until: *began });
            stretches.push(Stretch { part: Part::ProcessEnd, from: *ended, until: self.until });
        }
        stretches
    }

    /// A phase from its beginning to its end. What happens in a moment has taken since the last container started before it.
    fn stretch(&self, timed: &TimedPhase) -> Stretch {
        let from = match timed.phase {
            Phase::FirstOutput | Phase::Ready => {
                let starts = self.timeline.phases.iter().filter(|other| other.phase == Phase::Start && other.until <= timed.from);
                starts.map(|start| start.until).max().unwrap_or(self.from)
            }
            _ => timed.from,
        };
        Stretch { part: Part::Phase(timed.phase), from, until: timed.until }
    }
}

struct Stretch {
    part: Part,
    from: u64,
    until: u64,
}

/// The average length of each part, over the middle half of the runs by their lengths: what is rare does not count, and the parts
/// still add up. In the order in which a run goes through them.
pub(super) fn typical(runs: &[WatchedRun]) -> Vec<(Part, f64)> {
    let mut runs: Vec<&WatchedRun> = runs.iter().collect();
    runs.sort_by(|one, other| one.seconds().total_cmp(&other.seconds()));
    let quarter = runs.len() / 4;
    let middle = runs.get(quarter..runs.len() - quarter).unwrap_or(&runs);
    let mut sums: BTreeMap<Part, f64> = BTreeMap::new();
    for run in middle {
        for (part, length) in run.parts() {
            *sums.entry(part).or_default() += length;
        }
    }
    let mut parts: Vec<(Part, f64)> = sums.into_iter().map(|(part, sum)| (part, sum / float(middle.len()))).collect();
    let place = |part: Part| match part {
        Part::ProcessStart => 0,
        Part::Phase(phase) => 1 + Phase::ALL.iter().position(|other| *other == phase).unwrap_or(Phase::ALL.len()),
        Part::Other => 100,
        Part::ProcessEnd => 101,
    };
    parts.sort_by_key(|(part, _)| place(*part));
    parts
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(until: u64, phases: &[(Phase, u64, u64)]) -> WatchedRun {
        let phases = phases.iter().map(|(phase, from, until)| TimedPhase { phase: *phase, from: *from, until: *until }).collect();
        WatchedRun { from: 0, until, timeline: Timeline { began: 100, ended: until - 50, phases }, is_process: true }
    }

    /// In nanoseconds.
    fn parts(run: &WatchedRun) -> Vec<(&'static str, f64)> {
        run.parts().into_iter().map(|(part, length)| (part.name(), (length * 1e9).round())).collect()
    }

    #[test]
    fn what_lies_inside_is_taken_from_what_lies_around() {
        let run = run(1000, &[(Phase::Load, 200, 600), (Phase::Compile, 300, 500)]);
        let expected = [("process start", 100.0), ("compile", 200.0), ("load", 200.0), ("other", 450.0), ("process end", 50.0)];
        assert_eq!(parts(&run), expected);
    }

    #[test]
    fn what_two_containers_do_at_once_counts_once() {
        let run = run(1000, &[(Phase::Instantiate, 200, 400), (Phase::Instantiate, 300, 500), (Phase::Run, 500, 900)]);
        let found = parts(&run);
        assert!(found.contains(&("instantiate", 300.0)) && found.contains(&("run", 400.0)), "{found:?}");
        assert_eq!(found.iter().map(|part| part.1).sum::<f64>(), 1000.0, "all of them are the whole run");
    }

    #[test]
    fn a_moment_takes_the_time_since_the_last_start() {
        let run = run(1000, &[(Phase::Start, 200, 300), (Phase::FirstOutput, 450, 450), (Phase::Run, 300, 800)]);
        let found = parts(&run);
        assert!(found.contains(&("first output", 150.0)) && found.contains(&("run", 350.0)), "{found:?}");
    }

    #[test]
    fn phases_beyond_the_end_are_cut_off() {
        let mut run = run(1000, &[(Phase::Start, 200, 5000)]);
        run.is_process = false;
        assert_eq!(parts(&run), [("start", 800.0), ("other", 200.0)]);
    }

    #[test]
    fn the_typical_run_leaves_out_what_is_rare() {
        let mut runs: Vec<WatchedRun> = (0..7).map(|_| run(1000, &[(Phase::Parse, 100, 300)])).collect();
        runs.push(run(90_000, &[(Phase::Parse, 100, 89_000)]));
        let typical: Vec<_> = typical(&runs).into_iter().map(|(part, length)| (part.name(), (length * 1e9).round())).collect();
        assert_eq!(typical, [("process start", 100.0), ("parse", 200.0), ("other", 650.0), ("process end", 50.0)]);
    }
}
