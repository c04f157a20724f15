//! The tasks that wait for one readiness: a socket to become readable, a connection to be made.

use crate::limits::WAKERS_PER_WAIT_MAX;
use std::task::Waker;

/// Wakers, each task once. Nearly always there is none or one, and that needs no allocation.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl Waiters {
    /// Adds a task. When there are too many, the answer is one to be woken, after every lock is released: it polls again and so waits
    /// anew, and nothing is lost.
    #[must_use]
    pub(super) fn add(&mut self, waker: &Waker) -> Option<Waker> {
        match &self.first {
            None => {
                self.first = Some(waker.clone());
                return None;
            }
            Some(first) if first.will_wake(waker) => return None,
            Some(_) => {}
        }
        if self.more.iter().any(|other| other.will_wake(waker)) {
            return None;
        }
        self.more.push(waker.clone());
        if self.more.len() < WAKERS_PER_WAIT_MAX { None } else { self.first.replace(self.more.remove(0)) }
    }

    /// Takes all of them, to be woken after every lock is released.
    #[must_use]
    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Wakes them.
    pub(super) fn wake(self) {
        if let Some(first) = self.first {
            first.wake();
        }
        self.more.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    /// Counts how often it was woken.
    #[derive(Default)]
    pub(in crate::net) struct Count(AtomicUsize);

    impl Count {
        pub(in crate::net) fn get(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_task_waits_once_however_often_it_polls() {
        let (mut waiters, count) = (Waiters::default(), Arc::new(Count::default()));
        let waker = Waker::from(count.clone());
        assert!((0..100).all(|_| waiters.add(&waker).is_none()));
        waiters.take().wake();
        assert_eq!(count.get(), 1);
        assert!(waiters.is_empty());
    }

    #[test]
    fn beyond_the_limit_the_oldest_is_given_back_and_none_is_lost() {
        let mut waiters = Waiters::default();
        let counts: Vec<_> = (0..WAKERS_PER_WAIT_MAX + 5).map(|_| Arc::new(Count::default())).collect();
        for count in &counts {
            if let Some(evicted) = waiters.add(&Waker::from(count.clone())) {
                evicted.wake();
            }
        }
        assert!(counts[..5].iter().all(|count| count.get() == 1) && counts[5..].iter().all(|count| count.get() == 0));
        waiters.wake();
        assert!(counts.iter().all(|count| count.get() == 1));
    }
}
