//! How often something is measured, and in which order.

use super::interrupt::Interrupt;
use std::time::{Duration, Instant};

/// Every so many rounds wasmpod runs once more, watched.
pub(super) const WATCH_EVERY: u32 = 4;

/// The rounds of one mode: until there were enough, the time is over or the user interrupts; one at least.
pub(super) struct Rounds {
    most: u32,
    until: Instant,
    done: u32,
    interrupt: Interrupt,
}

impl Rounds {
    /// `most` rounds, none beginning later than `duration` from now.
    pub(super) fn new(most: u32, duration: Duration, interrupt: &Interrupt) -> Self {
        Self { most, until: Instant::now() + duration, done: 0, interrupt: interrupt.clone() }
    }
}

/// The numbers of the rounds.
impl Iterator for Rounds {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let is_over = self.done >= self.most || (self.done > 0 && Instant::now() >= self.until);
        if is_over || self.interrupt.is_asked() {
            return None;
        }
        self.done += 1;
        Some(self.done - 1)
    }
}

/// The order in which `contenders` take their turns in a round: a different one begins each time, so that none always follows the
/// same.
pub(super) fn turns(contenders: usize, round: u32) -> impl Iterator<Item = usize> {
    let first = usize::try_from(round).unwrap_or_default() % contenders.max(1);
    (first..contenders).chain(0..first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_has_a_turn_in_every_round_and_begins_in_its_time() {
        let orders: Vec<Vec<usize>> = (0..4).map(|round| turns(3, round).collect()).collect();
        assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }
}
