//! The memory of a container: a budget that all its instances share, and the limiter that charges one store to it.
//!
//! A `wasi:http` container has one instance a request; together they may use what the manifest gives the container. Tables count with
//! linear memory: their elements lie in the host, but it is the guest that grows them.

use crate::limits::{STORE_INSTANCES_MAX, STORE_MEMORIES_MAX, STORE_TABLES_MAX, TABLE_ELEMENT_BYTES, TABLE_ELEMENTS_MAX};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wasmtime::ResourceLimiter;

/// The linear memory and tables that the instances of one container may have between them.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    limit_bytes: AtomicU64,
    used_bytes: AtomicU64,
    peak_bytes: AtomicU64,
    /// The budget that this one is a part of.
    whole: Option<Arc<Self>>,
}

impl MemoryBudget {
    /// A budget of `limit_bytes`.
    pub(super) fn new(limit_bytes: u64) -> Arc<Self> {
        Self::part_of(None, limit_bytes)
    }

    /// A budget of `limit_bytes` whose takings count against `whole` too, if there is one.
    pub(super) fn part_of(whole: Option<Arc<Self>>, limit_bytes: u64) -> Arc<Self> {
        let (used_bytes, peak_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { limit_bytes: AtomicU64::new(limit_bytes), used_bytes, peak_bytes, whole })
    }

    /// Another limit, for what grows from now on: nothing is taken away from those who have more.
    pub(super) fn set_limit(&self, limit_bytes: u64) {
        self.limit_bytes.store(limit_bytes, Ordering::Relaxed);
    }

    /// The most that may be taken, in bytes.
    pub(super) fn limit_bytes(&self) -> u64 {
        self.limit_bytes.load(Ordering::Relaxed)
    }

    /// What is taken, in bytes.
    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// The most that was taken at any time, in bytes.
    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Ordering::Relaxed)
    }

    /// Takes `bytes`, or nothing when that much is not left here or in the whole.
    fn take(&self, bytes: u64) -> Result<(), OutOfMemory> {
        let limit_bytes = self.limit_bytes();
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit_bytes);
        let taken = self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        let before = taken.map_err(|_| OutOfMemory { limit_bytes, wanted_bytes: bytes })?;
        if let Some(whole) = &self.whole
            && let Err(error) = whole.take(bytes)
        {
            self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(error);
        }
        self.peak_bytes.fetch_max(before + bytes, Ordering::Relaxed);
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.give_back(bytes);
        }
    }
}

/// What a guest's growth ends with when the budget does not allow it.
///
/// It ends the container, as the kernel's killer would: a guest that only gets -1 from `memory.grow` aborts somewhere in its
/// allocator, and nobody could tell why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfMemory {
    limit_bytes: u64,
    wanted_bytes: u64,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit_bytes, wanted_bytes } = self;
        write!(f, "memory limit of {limit_bytes} bytes exceeded: {wanted_bytes} bytes more were asked for")
    }
}

impl std::error::Error for OutOfMemory {}

/// Charges the memories of one store to its container's budget, and bounds its tables and instances.
#[derive(Debug)]
pub(super) struct Limiter {
    budget: Arc<MemoryBudget>,
    taken_bytes: u64,
    /// The last growth that was allowed: given back if it fails after all.
    pending_bytes: u64,
}

impl Limiter {
    /// A limiter that charges `budget`.
    pub(super) fn new(budget: Arc<MemoryBudget>) -> Self {
        Self { budget, taken_bytes: 0, pending_bytes: 0 }
    }

    /// Takes `bytes` from the budget, or ends the container.
    fn grow(&mut self, bytes: u64) -> wasmtime::Result<bool> {
        self.budget.take(bytes)?;
        self.taken_bytes += bytes;
        self.pending_bytes = bytes;
        Ok(true)
    }

    /// The module's own bound, or one of the host: the guest is told -1, as its author expects.
    fn refuse(&mut self) -> wasmtime::Result<bool> {
        self.pending_bytes = 0;
        Ok(false)
    }

    /// Gives back what was taken for a growth that failed after all.
    fn undo(&mut self) {
        let bytes = std::mem::take(&mut self.pending_bytes);
        self.taken_bytes = self.taken_bytes.saturating_sub(bytes);
        self.budget.give_back(bytes);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return self.refuse();
        }
        self.grow(desired.saturating_sub(current) as u64)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(target: "wasmpod::container", %error, "a memory could not grow");
        self.undo();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS_MAX || maximum.is_some_and(|maximum| desired > maximum) {
            return self.refuse();
        }
        self.grow(desired.saturating_sub(current) as u64 * TABLE_ELEMENT_BYTES)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(target: "wasmpod::container", %error, "a table could not grow");
        self.undo();
        Ok(())
    }

    fn instances(&self) -> usize {
        STORE_INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        STORE_TABLES_MAX
    }

    fn memories(&self) -> usize {
        STORE_MEMORIES_MAX
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.budget.give_back(self.taken_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 65_536;

    #[test]
    fn a_budget_that_is_part_of_another_takes_from_both_or_from_none() {
        let whole = MemoryBudget::new(100);
        let (one, two) =
            (MemoryBudget::part_of(Some(Arc::clone(&whole)), 80), MemoryBudget::part_of(Some(Arc::clone(&whole)), 100));
        assert_eq!((one.take(70), two.take(20)), (Ok(()), Ok(())));
        assert_eq!(one.take(20), Err(OutOfMemory { limit_bytes: 80, wanted_bytes: 20 }));
        assert_eq!(two.take(20), Err(OutOfMemory { limit_bytes: 100, wanted_bytes: 20 }));
        assert_eq!((one.used_bytes(), two.used_bytes(), two.peak_bytes(), whole.used_bytes()), (70, 20, 20, 90));
        one.give_back(70);
        assert_eq!((two.take(80), whole.used_bytes()), (Ok(()), 100));
    }

    #[test]
    fn growth_past_the_budget_ends_the_container() {
        let mut limiter = Limiter::new(MemoryBudget::new(3 * PAGE as u64));
        assert!(limiter.memory_growing(0, 2 * PAGE, None).unwrap());
        let error = limiter.memory_growing(2 * PAGE, 4 * PAGE, None).unwrap_err();
        let expected = OutOfMemory { limit_bytes: 3 * PAGE as u64, wanted_bytes: 2 * PAGE as u64 };
        assert_eq!(error.downcast_ref::<OutOfMemory>(), Some(&expected));
    }

    #[test]
    fn growth_past_the_modules_own_maximum_is_refused_and_costs_nothing() {
        let budget = MemoryBudget::new(10 * PAGE as u64);
        let mut limiter = Limiter::new(budget.clone());
        assert!(!limiter.memory_growing(PAGE, 3 * PAGE, Some(2 * PAGE)).unwrap());
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn instances_of_a_container_share_and_return_its_budget() {
        let budget = MemoryBudget::new(2 * PAGE as u64);
        let mut first = Limiter::new(budget.clone());
        let mut second = Limiter::new(budget);
        assert!(first.memory_growing(0, 2 * PAGE, None).unwrap());
        assert!(second.memory_growing(0, PAGE, None).is_err());
        drop(first);
        assert!(second.memory_growing(0, PAGE, None).unwrap());
    }

    #[test]
    fn a_growth_that_fails_after_all_is_given_back() {
        let budget = MemoryBudget::new(PAGE as u64);
        let mut limiter = Limiter::new(budget.clone());
        assert!(limiter.memory_growing(0, PAGE, None).unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("no address space")).unwrap();
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn tables_count_too_and_have_a_bound_of_their_own() {
        let budget = MemoryBudget::new(100 * TABLE_ELEMENT_BYTES);
        let mut limiter = Limiter::new(budget.clone());
        assert!(limiter.table_growing(0, 60, None).unwrap());
        assert_eq!(budget.used_bytes(), 60 * TABLE_ELEMENT_BYTES);
        assert!(!limiter.table_growing(60, TABLE_ELEMENTS_MAX + 1, None).unwrap());
        assert!(limiter.table_growing(60, 101, None).unwrap_err().is::<OutOfMemory>());
        drop(limiter);
        assert_eq!((budget.used_bytes(), budget.peak_bytes()), (0, 60 * TABLE_ELEMENT_BYTES));
    }

    #[test]
    fn a_lower_limit_takes_nothing_away_and_a_higher_one_holds_at_once() {
        let budget = MemoryBudget::new(2 * PAGE as u64);
        let mut limiter = Limiter::new(budget.clone());
        assert!(limiter.memory_growing(0, 2 * PAGE, None).unwrap());
        budget.set_limit(PAGE as u64);
        assert!(limiter.memory_growing(2 * PAGE, 3 * PAGE, None).is_err());
        budget.set_limit(3 * PAGE as u64);
        assert!(limiter.memory_growing(2 * PAGE, 3 * PAGE, None).unwrap());
        assert_eq!(budget.peak_bytes(), 3 * PAGE as u64);
    }
}
