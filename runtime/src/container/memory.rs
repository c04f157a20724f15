//! The memory of a container: a budget that all its instances share, and the limiter that charges one store to it.
//!
//! A `wasi:http` container has one instance a request; together they may use what the manifest gives the container.

use crate::limits::{STORE_INSTANCES_MAX, STORE_MEMORIES_MAX, STORE_TABLES_MAX, TABLE_ELEMENTS_MAX};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wasmtime::ResourceLimiter;

/// The linear memory that the instances of one container may have between them.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    limit_bytes: u64,
    used_bytes: AtomicU64,
}

impl MemoryBudget {
    /// A budget of `limit_bytes`.
    pub(super) fn new(limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self { limit_bytes, used_bytes: AtomicU64::new(0) })
    }

    /// Takes `bytes`, or nothing when that much is not left.
    fn take(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit_bytes);
        self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
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
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The module's own bound: `memory.grow` answers -1, as its author expects.
            self.pending_bytes = 0;
            return Ok(false);
        }
        let more = desired.saturating_sub(current) as u64;
        if !self.budget.take(more) {
            return Err(OutOfMemory { limit_bytes: self.budget.limit_bytes, wanted_bytes: more }.into());
        }
        self.taken_bytes += more;
        self.pending_bytes = more;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(target: "wasmpod::container", %error, "a memory could not grow");
        let bytes = std::mem::take(&mut self.pending_bytes);
        self.taken_bytes = self.taken_bytes.saturating_sub(bytes);
        self.budget.give_back(bytes);
        Ok(())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX && maximum.is_none_or(|maximum| desired <= maximum))
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
        assert_eq!(budget.used_bytes.load(Ordering::Relaxed), 0);
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
        assert_eq!(budget.used_bytes.load(Ordering::Relaxed), 0);
    }
}
