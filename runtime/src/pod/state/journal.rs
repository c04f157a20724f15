//! What happened to a pod, for people: the events that `kubectl describe` shows under a Pod, in the kubelet's words.
//!
//! An event that happened before is counted, not kept twice. The journal is bounded; the one that was silent for longest goes first.

use super::event::ContainerIndex;
use crate::limits::{POD_EVENT_MESSAGE_BYTES_MAX, POD_EVENTS_MAX};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// One event, as often as it happened. Times are since the pod's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEvent {
    /// Tells it from all others of its pod; it stays when the event happens again.
    pub number: u64,
    /// Rises with everything that is noted: an event whose number is above one seen before is new, or happened again.
    pub sequence: u64,
    /// Which container it is about; the pod itself when `None`.
    pub container: Option<ContainerIndex>,
    /// `reason`.
    pub reason: EventReason,
    /// `message`, at most 1024 bytes.
    pub message: String,
    /// How often it happened.
    pub count: u32,
    /// When it happened first.
    pub first_at: Duration,
    /// When it happened last.
    pub last_at: Duration,
}

/// `type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// As it should be.
    Normal,
    /// Worth a look.
    Warning,
}

/// `reason` of an event: Kubernetes' own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventReason {
    /// An image is being pulled.
    Pulling,
    /// An image is there.
    Pulled,
    /// The next pull of an image is put off.
    BackOffPullImage,
    /// An image is not there and must not be pulled.
    ErrImageNeverPull,
    /// The name of an image cannot be understood.
    InspectFailed,
    /// An instance was made.
    Created,
    /// An instance runs.
    Started,
    /// An instance is being stopped.
    Killing,
    /// A restart is put off.
    BackOff,
    /// A probe failed.
    Unhealthy,
    /// A probe succeeded, and there is something to tell.
    ProbeWarning,
    /// A container could not be started, or its image not be pulled.
    Failed,
    /// A volume could not be mounted.
    FailedMount,
    /// `lifecycle.postStart` failed; the container is killed.
    FailedPostStartHook,
    /// `lifecycle.preStop` failed; the container is stopped all the same.
    FailedPreStopHook,
    /// A container did not stop within its grace period.
    ExceededGracePeriod,
    /// `activeDeadlineSeconds` have passed.
    DeadlineExceeded,
    /// The pod broke a limit of the machine.
    Evicted,
    /// Every container is restarted, as a rule of one of them asks.
    RestartAllContainers,
}

impl EventReason {
    /// Normal or a warning, where the reason alone says it.
    pub fn event_type(self) -> EventType {
        match self {
            Self::Pulling
            | Self::Pulled
            | Self::BackOffPullImage
            | Self::Created
            | Self::Started
            | Self::Killing
            | Self::RestartAllContainers => EventType::Normal,
            Self::ErrImageNeverPull
            | Self::InspectFailed
            | Self::BackOff
            | Self::Unhealthy
            | Self::ProbeWarning
            | Self::Failed
            | Self::FailedMount
            | Self::FailedPostStartHook
            | Self::FailedPreStopHook
            | Self::ExceededGracePeriod
            | Self::DeadlineExceeded
            | Self::Evicted => EventType::Warning,
        }
    }
}

/// The events of one pod, the latest last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Journal {
    events: VecDeque<PodEvent>,
    noted: u64,
}

impl Journal {
    /// The events, in the order in which they last happened.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &PodEvent> + ExactSizeIterator {
        self.events.iter()
    }

    /// The events that are new, or happened again, since the one with this number; 0 for all.
    pub fn since(&self, sequence: u64) -> impl Iterator<Item = &PodEvent> {
        self.events.iter().filter(move |event| event.sequence > sequence)
    }

    /// Notes that something happened.
    pub(super) fn note(&mut self, container: Option<ContainerIndex>, reason: EventReason, message: String, now: Duration) {
        self.noted += 1;
        let message = truncated(message);
        let is_same = |event: &PodEvent| event.container == container && event.reason == reason && event.message == message;
        let known = self.events.iter().position(is_same).and_then(|index| self.events.remove(index));
        let event = match known {
            Some(event) => PodEvent { sequence: self.noted, count: event.count.saturating_add(1), last_at: now, ..event },
            None => PodEvent {
                number: self.noted,
                sequence: self.noted,
                container,
                reason,
                message,
                count: 1,
                first_at: now,
                last_at: now,
            },
        };
        if self.events.len() >= POD_EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

fn truncated(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(POD_EVENT_MESSAGE_BYTES_MAX));
    message
}

impl fmt::Display for EventReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pulling => "Pulling",
            Self::Pulled => "Pulled",
            Self::ErrImageNeverPull => "ErrImageNeverPull",
            Self::InspectFailed => "InspectFailed",
            Self::Created => "Created",
            Self::Started => "Started",
            Self::Killing => "Killing",
            Self::BackOff | Self::BackOffPullImage => "BackOff",
            Self::Unhealthy => "Unhealthy",
            Self::ProbeWarning => "ProbeWarning",
            Self::Failed => "Failed",
            Self::FailedMount => "FailedMount",
            Self::FailedPostStartHook => "FailedPostStartHook",
            Self::FailedPreStopHook => "FailedPreStopHook",
            Self::ExceededGracePeriod => "ExceededGracePeriod",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::Evicted => "Evicted",
            Self::RestartAllContainers => "RestartAllContainers",
        })
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(journal: &mut Journal, message: &str, seconds: u64) {
        journal.note(Some(ContainerIndex(0)), EventReason::BackOff, message.to_owned(), Duration::from_secs(seconds));
    }

    #[test]
    fn what_happens_again_is_counted_and_comes_last() {
        let mut journal = Journal::default();
        note(&mut journal, "one", 1);
        note(&mut journal, "two", 2);
        note(&mut journal, "one", 3);
        let seen: Vec<_> = journal.events().map(|event| (event.message.as_str(), event.count, event.first_at.as_secs())).collect();
        assert_eq!(seen, [("two", 1, 2), ("one", 2, 1)]);
        assert_eq!(journal.since(2).map(|event| event.last_at.as_secs()).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn the_one_that_was_silent_for_longest_makes_room() {
        let mut journal = Journal::default();
        for number in 0..POD_EVENTS_MAX {
            note(&mut journal, &number.to_string(), 0);
        }
        note(&mut journal, "0", 1);
        note(&mut journal, "new", 2);
        assert_eq!(journal.events().len(), POD_EVENTS_MAX);
        assert_eq!(journal.events().next().map(|event| event.message.as_str()), Some("2"));
        assert!(journal.events().any(|event| event.message == "0"));
    }

    #[test]
    fn messages_are_cut_between_characters() {
        let mut journal = Journal::default();
        note(&mut journal, &"é".repeat(POD_EVENT_MESSAGE_BYTES_MAX), 0);
        note(&mut journal, &format!("a{}", "é".repeat(POD_EVENT_MESSAGE_BYTES_MAX)), 0);
        assert_eq!(journal.events().map(|event| event.message.len()).collect::<Vec<_>>(), [1024, 1023]);
    }
}
