//! One probe of one instance: when it is asked, and what its answers come to. The kubelet's `prober/worker.go`, without its clock.
//!
//! | probe | verdict before the first answer | asked |
//! |---|---|---|
//! | startup | unknown | until it succeeded or failed for good |
//! | liveness | success | once the container has started, until it failed for good or the pod is stopped |
//! | readiness | failure | once the container has started, as long as the instance lives |

use crate::limits::PROBE_PERIOD_MIN;
use crate::pod::spec::Probe;
use std::fmt;
use std::time::Duration;

/// Which of a container's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// `startupProbe`.
    Startup,
    /// `livenessProbe`.
    Liveness,
    /// `readinessProbe`.
    Readiness,
}

impl ProbeKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        })
    }
}

/// What came of asking once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeAnswer {
    /// Success.
    Success,
    /// Success, with something to tell.
    Warning(String),
    /// Failure, and why.
    Failure(String),
    /// The question could not be asked, and why: changes nothing.
    Error(String),
}

/// What the answers so far come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Unknown,
    Success,
    Failure,
}

/// The progress of one probe of one instance.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ProbeProgress {
    kind: ProbeKind,
    period: Duration,
    success_threshold: u32,
    failure_threshold: u32,
    verdict: Verdict,
    /// The latest answer, and how many of its like came in a row.
    streak: Option<(Verdict, u32)>,
    /// Not to be asked before.
    next_at: Duration,
    /// Whether an answer is awaited.
    asked: bool,
    /// Whether it has had its last word about this instance.
    on_hold: bool,
}

impl ProbeProgress {
    /// The probe of an instance that started at `now`.
    pub(super) fn new(kind: ProbeKind, probe: &Probe, now: Duration) -> Self {
        Self {
            kind,
            period: probe.period.max(PROBE_PERIOD_MIN),
            success_threshold: probe.success_threshold,
            failure_threshold: probe.failure_threshold,
            verdict: match kind {
                ProbeKind::Startup => Verdict::Unknown,
                ProbeKind::Liveness => Verdict::Success,
                ProbeKind::Readiness => Verdict::Failure,
            },
            streak: None,
            next_at: now.saturating_add(probe.initial_delay),
            asked: false,
            on_hold: false,
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// When it is to be asked next; `None` while an answer is awaited, and after its last word.
    pub(super) fn due_at(&self) -> Option<Duration> {
        (!self.asked && !self.on_hold).then_some(self.next_at)
    }

    /// It is asked at `now`.
    pub(super) fn ask(&mut self, now: Duration) {
        self.asked = true;
        self.next_at = now.saturating_add(self.period);
    }

    /// Takes in an answer; false when none was awaited.
    pub(super) fn answered(&mut self, answer: &ProbeAnswer) -> bool {
        if !std::mem::take(&mut self.asked) {
            return false;
        }
        let (result, threshold) = match answer {
            ProbeAnswer::Success | ProbeAnswer::Warning(_) => (Verdict::Success, self.success_threshold),
            ProbeAnswer::Failure(_) => (Verdict::Failure, self.failure_threshold),
            ProbeAnswer::Error(_) => return true,
        };
        let run = match self.streak {
            Some((last, run)) if last == result => run.saturating_add(1),
            _ => 1,
        };
        self.streak = Some((result, run));
        if run >= threshold {
            self.verdict = result;
            self.on_hold = match self.kind {
                ProbeKind::Startup => true,
                ProbeKind::Liveness => result == Verdict::Failure,
                ProbeKind::Readiness => false,
            };
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::spec::ProbeAction;

    fn probe(success_threshold: u32, failure_threshold: u32) -> Probe {
        Probe {
            action: ProbeAction::TcpSocket { host: None, port: 80 },
            initial_delay: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            period: Duration::from_secs(10),
            success_threshold,
            failure_threshold,
            termination_grace_period: None,
        }
    }

    /// The verdicts after each of these answers: `s`uccess, `f`ailure, `w`arning, `e`rror.
    fn verdicts(kind: ProbeKind, probe: &Probe, answers: &str) -> String {
        let mut progress = ProbeProgress::new(kind, probe, Duration::ZERO);
        let answer = |letter| match letter {
            's' => ProbeAnswer::Success,
            'w' => ProbeAnswer::Warning(String::new()),
            'f' => ProbeAnswer::Failure(String::new()),
            _ => ProbeAnswer::Error(String::new()),
        };
        let answers = answers.chars().map(|letter| {
            progress.ask(Duration::ZERO);
            assert!(progress.answered(&answer(letter)));
            match progress.verdict() {
                Verdict::Unknown => '?',
                Verdict::Success => 's',
                Verdict::Failure => 'f',
            }
        });
        answers.collect()
    }

    #[test]
    fn so_many_answers_in_a_row_decide() {
        assert_eq!(verdicts(ProbeKind::Readiness, &probe(1, 3), "sffsfffs"), "ssssssfs");
        assert_eq!(verdicts(ProbeKind::Readiness, &probe(3, 1), "ssfsssf"), "fffffsf");
        assert_eq!(verdicts(ProbeKind::Liveness, &probe(1, 2), "fsff"), "sssf");
    }

    #[test]
    fn warnings_are_successes_and_errors_are_not_heard() {
        assert_eq!(verdicts(ProbeKind::Readiness, &probe(1, 2), "wfef"), "sssf");
        assert_eq!(verdicts(ProbeKind::Startup, &probe(1, 1), "ee"), "??");
    }

    #[test]
    fn it_is_asked_after_its_delay_and_then_once_a_period() {
        let mut progress = ProbeProgress::new(ProbeKind::Readiness, &probe(1, 1), Duration::from_secs(100));
        assert_eq!(progress.due_at(), Some(Duration::from_secs(105)));
        progress.ask(Duration::from_secs(106));
        assert_eq!(progress.due_at(), None);
        assert!(progress.answered(&ProbeAnswer::Success));
        assert_eq!(progress.due_at(), Some(Duration::from_secs(116)));
        assert!(!progress.answered(&ProbeAnswer::Success), "nothing was asked");
    }

    #[test]
    fn a_startup_probe_has_one_verdict_and_a_failed_liveness_probe_has_had_its_last_word() {
        for (kind, answer) in [
            (ProbeKind::Startup, ProbeAnswer::Success),
            (ProbeKind::Startup, ProbeAnswer::Failure(String::new())),
            (ProbeKind::Liveness, ProbeAnswer::Failure(String::new())),
        ] {
            let mut progress = ProbeProgress::new(kind, &probe(1, 1), Duration::ZERO);
            progress.ask(Duration::from_secs(5));
            progress.answered(&answer);
            assert_eq!(progress.due_at(), None, "{kind} {answer:?}");
        }
    }
}
