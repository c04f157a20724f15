//! What was measured: plain data, from which everything that is shown is made.

use super::machine::Machine;
use super::statistics::{Estimate, Sample, Summary, median_ratio};
use super::unit::Unit;
use crate::args::Mode;
use serde::{Deserialize, Serialize};

/// Everything that one call of `wasmpod bench` measured.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// When it began, by the calendar.
    pub(super) started_at: String,
    pub(super) machine: Machine,
    pub(super) groups: Vec<Group>,
    /// Whether the user ended it before its time.
    pub(super) interrupted: bool,
}

/// One target in one mode.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// As the user named it.
    pub(super) target: String,
    pub(super) mode: Mode,
    /// Who was measured, wasmpod first.
    pub(super) contenders: Vec<ContenderNote>,
    pub(super) series: Vec<Series>,
    pub(super) breakdown: Option<Breakdown>,
    /// By the mode density alone.
    pub(super) density: Vec<DensityPoint>,
    /// What a reader has to know besides.
    pub(super) notes: Vec<String>,
}

/// Who was measured, and by what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContenderNote {
    pub(super) name: String,
    /// The command line, or what stands in its place.
    pub(super) does: String,
}

/// The values of one contender for one measure, in the order in which they were measured.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) contender: String,
    pub(super) measure: Measure,
    pub(super) values: Vec<f64>,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Measure {
    /// Every container of the pod runs its program.
    Running,
    /// The first byte of output.
    FirstOutput,
    /// The pod's condition `Ready`.
    Ready,
    /// The first byte of an answer from the port.
    FirstByte,
    /// The end: of the process, or of the pod.
    End,
    /// Pods that were started and ended in a second.
    Starts,
}

impl Measure {
    /// What tables and plots call it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Running => "until it runs",
            Self::FirstOutput => "until its first output",
            Self::Ready => "until it is ready",
            Self::FirstByte => "until its port's first byte",
            Self::End => "until its end",
            Self::Starts => "starts a second",
        }
    }

    /// What its values count.
    pub(super) fn unit(self) -> Unit {
        if self == Self::Starts { Unit::PerSecond } else { Unit::Seconds }
    }
}

/// Where the time of wasmpod's runs went.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Breakdown {
    /// Each part with its seconds, in the order of a run; together an average run of the middle half.
    pub(super) parts: Vec<BreakdownPart>,
    /// How many runs were watched.
    pub(super) runs: usize,
    /// By how much the median of watched runs is longer than that of those that nobody watched; none when all were watched.
    pub(super) watching_costs: Option<f64>,
}

/// One part of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BreakdownPart {
    pub(super) name: &'static str,
    pub(super) seconds: f64,
}

impl Breakdown {
    /// The length of the whole.
    pub(super) fn total(&self) -> f64 {
        self.parts.iter().map(|part| part.seconds).sum()
    }
}

/// The memory of a process with so many idle pods, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DensityPoint {
    pub(super) pods: u64,
    /// What is in memory of it, shared pages in full.
    pub(super) rss_bytes: u64,
    /// The same, with its part of shared pages.
    pub(super) pss_bytes: u64,
    /// What the kernel keeps to map it, which neither of them counts.
    pub(super) page_table_bytes: u64,
}

impl Series {
    /// What is said of its values; none when there are none.
    pub(super) fn summary(&self) -> Option<Summary> {
        Sample::of(&self.values).map(|sample| sample.summary())
    }
}

impl Group {
    /// An empty one.
    pub(super) fn new(target: &str, mode: Mode) -> Self {
        Self {
            target: target.to_owned(),
            mode,
            contenders: Vec::new(),
            series: Vec::new(),
            breakdown: None,
            density: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The measures, each once, in their order.
    pub(super) fn measures(&self) -> Vec<Measure> {
        let mut measures: Vec<Measure> = Vec::new();
        for series in self.series.iter().filter(|series| !series.values.is_empty()) {
            if !measures.contains(&series.measure) {
                measures.push(series.measure);
            }
        }
        measures
    }

    /// The series of a measure, wasmpod's first.
    pub(super) fn series_of(&self, measure: Measure) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(move |series| series.measure == measure && !series.values.is_empty())
    }

    /// How many times as much each other contender takes as wasmpod, by the medians.
    pub(super) fn ratios(&self, measure: Measure) -> Vec<(&str, Estimate)> {
        let mut series = self.series_of(measure);
        let Some(own) = series.next().filter(|series| self.contenders.first().is_some_and(|own| own.name == series.contender))
        else {
            return Vec::new();
        };
        series.filter_map(|other| Some((other.contender.as_str(), median_ratio(&other.values, &own.values)?))).collect()
    }

    /// Whether anything was measured.
    pub(super) fn is_empty(&self) -> bool {
        self.measures().is_empty() && self.density.is_empty()
    }
}
