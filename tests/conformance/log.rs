//! The log of a pod's life, and what can be asserted of it.

use super::simulator::Scenario;
use wasmpod::pod::state::{ContainerIndex, EventReason, Phase, PodState};

/// A pod's life, played.
pub struct Life {
    pub state: PodState,
    lines: Vec<(f64, String)>,
}

/// Plays a scenario to its end, or for so many seconds as it says.
pub fn live(scenario: &Scenario) -> Life {
    let (state, log) = scenario.play();
    let lines = log.lines().filter_map(|line| line.split_once("s ")).map(|(at, what)| (at.parse().unwrap(), what.to_owned()));
    Life { state, lines: lines.collect() }
}

impl Life {
    /// The whole log, for the message of a failure.
    fn text(&self) -> String {
        self.lines.iter().map(|(at, what)| format!("\n{at}s {what}")).collect()
    }

    /// The places in the log, and the seconds, at which `what` happened.
    fn all(&self, what: &str) -> Vec<(usize, f64)> {
        let lines = self.lines.iter().enumerate();
        lines.filter(|(_, (_, line))| line.starts_with(what)).map(|(place, (at, _))| (place, *at)).collect()
    }

    #[track_caller]
    fn first(&self, what: &str) -> usize {
        self.all(what).first().unwrap_or_else(|| panic!("{what:?} never happened:{}", self.text())).0
    }

    #[track_caller]
    fn last(&self, what: &str) -> usize {
        self.all(what).last().unwrap_or_else(|| panic!("{what:?} never happened:{}", self.text())).0
    }

    /// The seconds at which something happened, such as `start app` or `app is ready`.
    pub fn seconds(&self, what: &str) -> Vec<f64> {
        self.all(what).into_iter().map(|(_, at)| at).collect()
    }

    #[track_caller]
    pub fn happens_before(&self, one: &str, other: &str) {
        assert!(self.first(one) < self.first(other), "{one:?} is not before {other:?}:{}", self.text());
    }

    #[track_caller]
    pub fn starts_before(&self, one: &str, other: &str) {
        self.happens_before(&format!("start {one}"), &format!("start {other}"));
    }

    /// `one` ends for the last time before `other` does.
    #[track_caller]
    pub fn exits_before(&self, one: &str, other: &str) {
        let (first, second) = (self.last(&format!("{one} exits")), self.last(&format!("{other} exits")));
        assert!(first < second, "{one} does not end before {other}:{}", self.text());
    }

    /// `one` ends before `other` starts at all.
    #[track_caller]
    pub fn ends_before_start_of(&self, one: &str, other: &str) {
        self.happens_before(&format!("{one} exits"), &format!("start {other}"));
    }

    /// Each starts before the other ends.
    #[track_caller]
    pub fn run_together(&self, one: &str, other: &str) {
        for (a, b) in [(one, other), (other, one)] {
            let end = self.all(&format!("{b} exits")).first().map_or(usize::MAX, |(place, _)| *place);
            assert!(self.first(&format!("start {a}")) < end, "{one} and {other} do not run together:{}", self.text());
        }
    }

    #[track_caller]
    pub fn doesnt_start(&self, name: &str) {
        assert!(self.all(&format!("start {name}")).is_empty(), "{name} starts:{}", self.text());
    }

    #[track_caller]
    pub fn never(&self, what: &str) {
        assert!(self.all(what).is_empty(), "{what:?} happened:{}", self.text());
    }

    /// `name` does not start again once `other` has started to end the pod's life (`what` happened).
    #[track_caller]
    pub fn doesnt_start_after(&self, name: &str, what: &str) {
        let since = self.first(what);
        assert!(self.all(&format!("start {name}")).iter().all(|(place, _)| *place < since), "{name} starts:{}", self.text());
    }

    #[track_caller]
    pub fn restarted_times(&self, name: &str, times: u32) {
        let container = self.state.containers().iter().find(|container| container.name() == name).unwrap();
        assert_eq!(container.restart_count(), times, "restarts of {name}:{}", self.text());
    }

    #[track_caller]
    pub fn has_restarted(&self, name: &str) {
        assert!(self.all(&format!("start {name}")).len() > 1, "{name} does not restart:{}", self.text());
    }

    #[track_caller]
    pub fn ends_as(&self, phase: Phase) {
        assert!(self.state.is_finished() && self.state.phase() == phase, "{:?}:{}", self.state.phase(), self.text());
    }

    #[track_caller]
    pub fn lives_on_as(&self, phase: Phase) {
        assert!(!self.state.is_finished() && self.state.phase() == phase, "{:?}:{}", self.state.phase(), self.text());
    }

    /// How often something was noted about a container.
    pub fn noted(&self, container: usize, reason: EventReason) -> u32 {
        let of_it =
            |event: &&wasmpod::pod::state::PodEvent| event.container == Some(ContainerIndex(container)) && event.reason == reason;
        self.state.journal().events().filter(of_it).map(|event| event.count).sum()
    }

    /// Whether a message was noted.
    pub fn says(&self, message: &str) -> bool {
        self.state.journal().events().any(|event| event.message == message)
    }
}
