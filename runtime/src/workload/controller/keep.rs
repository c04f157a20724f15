//! Workloads that keep a number of pods running: a bare Pod (once), replicas, and the ordered pods of a StatefulSet.

use super::{Action, Controller, ReplacePolicy, Stage};
use crate::limits::REPLACE_RESET_AFTER;
use crate::workload::spec::{ControllerSpec, WorkloadSpec};
use std::time::Duration;

/// The places for pods, in the order of their ordinals.
#[derive(Clone, Debug)]
pub(super) struct Keep {
    slots: Vec<Slot>,
}

#[derive(Clone, Debug)]
struct Slot {
    ordinal: Option<u32>,
    state: SlotState,
    /// Replacements in a row of pods that did not run for long.
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotState {
    /// A pod is to be made, not before this time.
    Empty(Duration),
    /// A pod has it.
    Taken,
    /// No further pod is made for it.
    GivenUp,
}

impl Keep {
    pub(super) fn new(spec: &WorkloadSpec) -> Self {
        let ordinals: Vec<Option<u32>> = match &spec.controller {
            ControllerSpec::Once => vec![None],
            // Replicas are all alike; their place tells them apart.
            ControllerSpec::Replicas { replicas } => (0..*replicas).map(Some).collect(),
            ControllerSpec::Ordered { replicas, first_ordinal, .. } => {
                (0..*replicas).map(|place| Some(first_ordinal.saturating_add(place))).collect()
            }
            ControllerSpec::Job(_) => Vec::new(),
        };
        let slot = |ordinal| Slot { ordinal, state: SlotState::Empty(Duration::ZERO), failures: 0 };
        Self { slots: ordinals.into_iter().map(slot).collect() }
    }

    fn slot(&mut self, ordinal: Option<u32>) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.ordinal == ordinal)
    }

    /// The pod of a place has ended: another one is to come, at once the first time, later if that goes on.
    pub(super) fn replace(&mut self, ordinal: Option<u32>, ran_for: Duration, now: Duration, policy: &ReplacePolicy) {
        let Some(slot) = self.slot(ordinal) else { return };
        if ran_for >= REPLACE_RESET_AFTER {
            slot.failures = 0;
        }
        let wait = if slot.failures == 0 { Duration::ZERO } else { policy.wait(slot.failures) };
        slot.failures = slot.failures.saturating_add(1);
        slot.state = SlotState::Empty(now + wait);
    }

    /// The pod of a place is not to be followed by another.
    pub(super) fn give_up(&mut self, ordinal: Option<u32>) {
        if let Some(slot) = self.slot(ordinal) {
            slot.state = SlotState::GivenUp;
        }
    }

    /// When the next place falls due. One that is due already waits for something else than time.
    pub(super) fn wake_at(&self, now: Duration) -> Option<Duration> {
        let due = |slot: &Slot| match slot.state {
            SlotState::Empty(at) => Some(at).filter(|at| *at > now),
            SlotState::Taken | SlotState::GivenUp => None,
        };
        self.slots.iter().filter_map(due).min()
    }
}

impl Controller {
    /// Fills the places that are due.
    pub(super) fn settle_kept(&mut self, actions: &mut Vec<Action>) {
        let one_by_one = matches!(self.spec.controller, ControllerSpec::Ordered { parallel: false, .. });
        let mut due = Vec::new();
        for slot in &mut self.keep.slots {
            match slot.state {
                SlotState::Empty(at) if at <= self.now => {
                    slot.state = SlotState::Taken;
                    due.push(slot.ordinal);
                }
                SlotState::Empty(_) | SlotState::Taken | SlotState::GivenUp => {}
            }
            // The next one waits until this one is ready (and for ever, if it never is).
            let is_ready = self.live.values().any(|live| live.ordinal == slot.ordinal && live.ready);
            if one_by_one && !is_ready {
                break;
            }
        }
        for ordinal in due {
            self.create(ordinal, actions);
        }
        if self.live.is_empty() && self.is_stuck(one_by_one) {
            self.stage = Stage::Stopping;
        }
    }

    /// Whether no place will ever be filled again.
    fn is_stuck(&self, one_by_one: bool) -> bool {
        match one_by_one {
            true => self.keep.slots.first().is_none_or(|_| self.keep.slots.iter().any(|slot| slot.state == SlotState::GivenUp)),
            false => self.keep.slots.iter().all(|slot| slot.state == SlotState::GivenUp),
        }
    }
}
