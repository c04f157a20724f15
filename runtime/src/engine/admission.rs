//! Admission: is there room for one more instance?
//!
//! Two things run out long before memory does: the slots of the pool, and the kernel mappings of the process
//! (`vm.max_map_count`, 65,530 on most machines). The pool answers with an error when it is full; the kernel answers with `ENOMEM`
//! from wherever the next mapping is made, and a process that cannot map memory dies. So both are counted here, before anything is
//! instantiated, and the container too many gets an [`Error`] that says which limit it was.
//!
//! ```text
//!   max_map_count ┬ what the process has mapped besides its guests (the pool's stacks among it), counted when there are some guests
//!                 ├ MAPPING_RESERVE_DIVISOR'th part: threads, artifacts, allocator
//!                 ├ warm slots: kept mapped for the next instance of their module
//!                 └ the rest: the budget of live instances
//! ```

use super::config::Pool;
use crate::limits::{MAPPING_RESERVE_DIVISOR, MAPPINGS_PER_MEMORY, MAPPINGS_PER_STACK, MAPPINGS_PER_TABLE, MAPPINGS_UNCOUNTED_MAX};
use crate::{Error, Result};
use std::sync::{Arc, Mutex, PoisonError};

/// What one instance takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Linear memories.
    pub(super) memories: u32,
    /// Tables.
    pub(super) tables: u32,
    /// Whether it lives in the pool; otherwise its memories, tables and stack are mapped for it alone.
    pub(super) pooled: bool,
}

impl Cost {
    fn mappings(self) -> u64 {
        let memories = u64::from(self.memories) * MAPPINGS_PER_MEMORY;
        // The pool's stacks and tables were mapped with the pool.
        if self.pooled { memories } else { memories + u64::from(self.tables) * MAPPINGS_PER_TABLE + MAPPINGS_PER_STACK }
    }
}

/// The room of one instance: freed when dropped. Hold it at least as long as the `Store`.
#[derive(Debug)]
pub struct Admission {
    ledger: Arc<Book>,
    cost: Cost,
}

/// Who has taken what.
pub(super) struct Ledger(Arc<Book>);

#[derive(Debug)]
struct Book {
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    pool: Pool,
    /// Mappings that live instances may take; worked out when they have some, as counting those of the process takes its time.
    mappings_max: Option<u64>,
    instances: u64,
    stacks: u64,
    memories: u64,
    tables: u64,
    mappings: u64,
}

impl Ledger {
    /// A ledger for an engine without a pool.
    pub(super) fn new() -> Self {
        Self(Arc::new(Book { taken: Mutex::default() }))
    }

    /// The engine has a pool from now on.
    pub(super) fn set_pool(&self, pool: Pool) {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = Taken { pool, mappings_max: None, ..std::mem::take(&mut *taken) };
    }

    /// With a pool and a budget of mappings that does not depend on the machine.
    #[cfg(test)]
    fn with_budget(pool: Pool, mappings_max: u64) -> Self {
        let taken = Taken { pool, mappings_max: Some(mappings_max), ..Taken::default() };
        Self(Arc::new(Book { taken: Mutex::new(taken) }))
    }

    /// Takes `cost`, or says what there is not enough of.
    pub(super) fn admit(&self, cost: Cost) -> Result<Admission> {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if cost.pooled {
            let slots = [
                ("instances", taken.stacks + 1, taken.pool.stacks),
                ("memories", taken.memories + u64::from(cost.memories), taken.pool.memories),
                ("tables", taken.tables + u64::from(cost.tables), taken.pool.tables),
            ];
            if let Some((what, _, max)) = slots.into_iter().find(|(_, wanted, max)| *wanted > u64::from(*max)) {
                return Err(refused(format!("all {max} {what} of the pool are in use"))
                    .hint("stop containers, or run them in another process"));
            }
        }
        if let Some(mappings_max) = taken.mappings_max_beyond(cost) {
            return Err(refused(format!(
                "the process may map no more memory: its instances use {} kernel mappings of {mappings_max}",
                taken.mappings
            ))
            .hint("stop containers, or raise the limit: sysctl -w vm.max_map_count=262144"));
        }
        taken.add(cost);
        drop(taken);
        Ok(Admission { ledger: self.0.clone(), cost })
    }

    /// How many instances live.
    pub(super) fn instances(&self) -> u64 {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner).instances
    }
}

impl Taken {
    /// How many mappings instances may take, if `cost` would be more than that.
    fn mappings_max_beyond(&mut self, cost: Cost) -> Option<u64> {
        let wanted = self.mappings + cost.mappings();
        if wanted <= MAPPINGS_UNCOUNTED_MAX && self.mappings_max.is_none() {
            return None;
        }
        let (pool, taken) = (self.pool, self.mappings);
        let max = *self.mappings_max.get_or_insert_with(|| mappings_budget(pool, taken));
        (wanted > max).then_some(max)
    }

    fn add(&mut self, cost: Cost) {
        self.instances += 1;
        self.mappings += cost.mappings();
        if cost.pooled {
            self.stacks += 1;
            self.memories += u64::from(cost.memories);
            self.tables += u64::from(cost.tables);
        }
    }

    fn remove(&mut self, cost: Cost) {
        self.instances = self.instances.saturating_sub(1);
        self.mappings = self.mappings.saturating_sub(cost.mappings());
        if cost.pooled {
            self.stacks = self.stacks.saturating_sub(1);
            self.memories = self.memories.saturating_sub(u64::from(cost.memories));
            self.tables = self.tables.saturating_sub(u64::from(cost.tables));
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.ledger.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(self.cost);
    }
}

fn refused(message: String) -> Error {
    Error::limit(message).with_reason("CreateContainerError")
}

/// What is left of `vm.max_map_count` for live instances, which have `taken` of them now.
fn mappings_budget(pool: Pool, taken: u64) -> u64 {
    /// The kernel's default, for machines that do not show theirs.
    const MAX_MAP_COUNT: u64 = 65_530;
    let max = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok().and_then(|text| text.trim().parse().ok());
    let max: u64 = max.unwrap_or(MAX_MAP_COUNT);
    let mapped = std::fs::read("/proc/self/maps").map_or(0, |maps| maps.iter().filter(|byte| **byte == b'\n').count());
    let mapped = u64::try_from(mapped).unwrap_or(u64::MAX).saturating_sub(taken);
    let warm = u64::from(pool.warm) * MAPPINGS_PER_MEMORY;
    max.saturating_sub(max / MAPPING_RESERVE_DIVISOR).saturating_sub(mapped).saturating_sub(warm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const POOL: Pool = Pool { stacks: 2, memories: 2, tables: 3, warm: 0 };
    const SMALL: Cost = Cost { memories: 1, tables: 1, pooled: true };

    /// The message with which the next instance is refused.
    fn refusal(ledger: &Ledger, cost: Cost) -> String {
        let error = ledger.admit(cost).unwrap_err();
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Limit, Some("CreateContainerError")));
        format!("{error}; hint: {}", error.advice().unwrap())
    }

    #[test]
    fn the_instance_too_many_is_refused_until_another_ends() {
        let ledger = Ledger::with_budget(POOL, 1000);
        let (first, _second) = (ledger.admit(SMALL).unwrap(), ledger.admit(SMALL).unwrap());
        insta::assert_snapshot!(refusal(&ledger, SMALL), @"all 2 instances of the pool are in use; hint: stop containers, or run them in another process");
        assert_eq!(ledger.instances(), 2);
        drop(first);
        assert_eq!(ledger.instances(), 1);
        let _third = ledger.admit(SMALL).unwrap();
    }

    #[test]
    fn every_kind_of_slot_counts() {
        let ledger = Ledger::with_budget(POOL, 1000);
        let _first = ledger.admit(Cost { memories: 1, tables: 3, pooled: true }).unwrap();
        assert!(refusal(&ledger, SMALL).contains("all 3 tables"));
        assert!(refusal(&ledger, Cost { memories: 2, tables: 0, pooled: true }).contains("all 2 memories"));
        let _second = ledger.admit(Cost { memories: 1, tables: 0, pooled: true }).unwrap();
    }

    #[test]
    fn mappings_count_inside_and_outside_of_the_pool() {
        let pool = Pool { stacks: 1000, memories: 1000, tables: 1000, warm: 0 };
        let ledger = Ledger::with_budget(pool, MAPPINGS_PER_MEMORY * 3);
        let first = ledger.admit(SMALL).unwrap();
        let outside = Cost { pooled: false, ..SMALL };
        let second = ledger.admit(outside).unwrap();
        insta::assert_snapshot!(refusal(&ledger, outside), @"the process may map no more memory: its instances use 9 kernel mappings of 9; hint: stop containers, or raise the limit: sysctl -w vm.max_map_count=262144");
        drop((first, second));
        assert_eq!(ledger.0.taken.lock().unwrap().mappings, 0);
        let _all: Vec<_> = (0..3).map(|_| ledger.admit(SMALL).unwrap()).collect();
        refusal(&ledger, SMALL);
    }

    #[test]
    fn this_machine_has_room_for_a_node() {
        let pool = Pool { stacks: 64, memories: 64, tables: 64, warm: 64 };
        assert!(mappings_budget(pool, 0) > MAPPINGS_UNCOUNTED_MAX);
    }

    #[test]
    fn the_first_instances_are_admitted_without_counting_and_a_pool_is_counted_anew() {
        let ledger = Ledger::new();
        let outside = Cost { pooled: false, ..SMALL };
        let budget = || ledger.0.taken.lock().unwrap().mappings_max;
        let few = MAPPINGS_UNCOUNTED_MAX / outside.mappings();
        let mut held: Vec<_> = (0..few).map(|_| ledger.admit(outside).unwrap()).collect();
        assert_eq!(budget(), None);
        held.push(ledger.admit(outside).unwrap());
        assert!(budget().is_some_and(|budget| budget > MAPPINGS_UNCOUNTED_MAX));
        assert!(ledger.admit(SMALL).unwrap_err().to_string().contains("all 0 instances of the pool"));
        ledger.set_pool(POOL);
        assert_eq!((budget(), ledger.instances()), (None, few + 1));
        held.push(ledger.admit(SMALL).unwrap());
    }
}
