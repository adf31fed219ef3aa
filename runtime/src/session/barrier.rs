//! The meeting point of workers between operators: it spins briefly, then parks.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Looks at the generation before a worker goes to sleep; some tens of microseconds.
const SPINS: u32 = 4000;

/// A reusable barrier for a fixed number of workers.
#[derive(Debug)]
pub(crate) struct Barrier {
    workers: usize,
    arrived: AtomicUsize,
    generation: AtomicUsize,
    sleepers: AtomicUsize,
    poisoned: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Barrier {
    pub(crate) const fn new(workers: usize) -> Self {
        Self {
            workers,
            arrived: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
            poisoned: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        }
    }

    /// Waits until all workers are here. What any of them did before is then visible to all. `false` if a worker
    /// panicked: it will never come.
    pub(crate) fn wait(&self) -> bool {
        let generation = self.generation.load(SeqCst);
        if self.arrived.fetch_add(1, SeqCst) + 1 == self.workers {
            self.arrived.store(0, SeqCst);
            self.generation.store(generation.wrapping_add(1), SeqCst);
            self.wake_sleepers();
            return !self.poisoned.load(SeqCst);
        }
        let passed = || self.generation.load(SeqCst) != generation || self.poisoned.load(SeqCst);
        for _ in 0..SPINS {
            if passed() {
                return !self.poisoned.load(SeqCst);
            }
            core::hint::spin_loop();
        }
        // A worker that sleeps has announced it before it looked a last time; one that wakes looks for sleepers after
        // it changed what they look at. So one of them sees the other.
        self.sleepers.fetch_add(1, SeqCst);
        let mut guard = self.locked();
        while !passed() {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.sleepers.fetch_sub(1, SeqCst);
        !self.poisoned.load(SeqCst)
    }

    /// A guard that releases all others if it is dropped, that is, unless it is forgotten.
    pub(crate) const fn poison_on_panic(&self) -> Poison<'_> {
        Poison(self)
    }

    fn wake_sleepers(&self) {
        if self.sleepers.load(SeqCst) > 0 {
            let _guard = self.locked();
            self.wake.notify_all();
        }
    }

    fn locked(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Barrier::poison_on_panic`].
pub(crate) struct Poison<'b>(&'b Barrier);

impl Drop for Poison<'_> {
    fn drop(&mut self) {
        self.0.poisoned.store(true, SeqCst);
        self.0.wake_sleepers();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_runs_ahead() {
        let workers = 4;
        let (barrier, count) = (Barrier::new(workers), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    for round in 0..500 {
                        count.fetch_add(1, SeqCst);
                        assert!(barrier.wait());
                        assert_eq!(count.load(SeqCst), workers * (round + 1));
                        assert!(barrier.wait());
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_releases_the_others() {
        let barrier = Barrier::new(3);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| assert!(!barrier.wait()));
            }
            drop(barrier.poison_on_panic());
        });
    }
}
