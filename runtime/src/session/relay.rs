//! How workers pass from one operator to the next: each takes parts of the current one, its own first, then what others
//! have not begun. The one that finishes the last part opens the next operator.
//!
//! Nobody waits for a worker that has not come: while another program has its core, the others do its parts. Own parts
//! come first because their inputs are in this core's cache. A worker that finds nothing to do spins briefly, then
//! parks; one that had to park spins less the next time.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::vec::Vec;

/// Looks at the step before a worker goes to sleep, some tens of microseconds; at least so many, when it had to sleep.
const SPINS: (u32, u32) = (4000, 250);

/// A part of a step, taken by one worker: no other gets it, and the step does not end before it is given back.
#[derive(Debug)]
pub(crate) struct Part {
    /// Index of the step.
    pub step: usize,
    /// Number of the part, below the step's number of parts.
    pub part: usize,
}

/// Steps, each in parts, shared out to workers.
#[derive(Debug)]
pub(crate) struct Relay<'p> {
    parts: &'p [u32],
    /// What each worker has left of the current step: step, first part, end.
    left: Vec<AtomicU64>,
    /// The current step; all parts of it are in `left`. Behind the last when all are done.
    step: AtomicUsize,
    /// Parts of the current step that are not finished, and 1 while it is opened.
    unfinished: AtomicUsize,
    /// Whether only the first worker opens steps.
    is_led: bool,
    sleepers: AtomicUsize,
    poisoned: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

fn pack(step: usize, first: usize, end: usize) -> u64 {
    (step as u64) << 32 | (first as u64) << 16 | end as u64
}

fn unpack(left: u64) -> (usize, usize, usize) {
    ((left >> 32) as usize, (left >> 16 & 0xFFFF) as usize, (left & 0xFFFF) as usize)
}

impl<'p> Relay<'p> {
    /// Most parts of a step.
    pub(crate) const MOST: u32 = 0x7FFF;

    /// `parts` of each step, at most [`Relay::MOST`]. With `is_led`, steps end when the first worker sees it, and it
    /// sees every one.
    pub(crate) fn new(parts: &'p [u32], workers: usize, is_led: bool) -> Self {
        let relay = Self {
            parts,
            left: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            step: AtomicUsize::new(usize::MAX),
            unfinished: AtomicUsize::new(0),
            is_led,
            sleepers: AtomicUsize::new(0),
            poisoned: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        };
        relay.open(0);
        relay
    }

    /// A part for `worker`; waits for one. `None` when all steps are done, or a worker panicked. `ended` is called with
    /// every step that ends, if `worker` leads.
    pub(crate) fn take(
        &self,
        worker: usize,
        spins: &mut Spins,
        ended: &mut dyn FnMut(usize),
    ) -> Option<Part> {
        let leads = self.is_led && worker == 0;
        loop {
            let step = self.step.load(SeqCst);
            if step >= self.parts.len() || self.poisoned.load(SeqCst) {
                return None;
            }
            let others = (1..self.left.len()).map(|i| (worker + i) % self.left.len());
            let own = self.take_from(worker, step, true);
            let part =
                own.or_else(|| others.into_iter().find_map(|w| self.take_from(w, step, false)));
            if let Some(part) = part {
                return Some(Part { step, part });
            }
            spins.wait(self, &|| {
                self.step.load(SeqCst) != step || leads && self.unfinished.load(SeqCst) == 0
            });
            if leads && self.step.load(SeqCst) == step && self.unfinished.load(SeqCst) == 0 {
                ended(step);
                self.open(step + 1);
            }
        }
    }

    /// Gives a part back.
    pub(crate) fn finish(&self, part: Part) {
        if self.unfinished.fetch_sub(1, SeqCst) == 1 {
            if self.is_led {
                self.wake_sleepers();
            } else {
                self.open(part.step + 1);
            }
        }
    }

    /// Releases all workers if it is dropped, that is, unless it is forgotten.
    pub(crate) const fn poison_on_panic(&self) -> Poison<'_, 'p> {
        Poison(self)
    }

    /// The first part of a worker's rest of `step`, or the last.
    fn take_from(&self, worker: usize, step: usize, front: bool) -> Option<usize> {
        let mut seen = self.left[worker].load(SeqCst);
        loop {
            let (of, first, end) = unpack(seen);
            if of != step || first >= end {
                return None;
            }
            let (part, rest) =
                if front { (first, (first + 1, end)) } else { (end - 1, (first, end - 1)) };
            match self.left[worker].compare_exchange(seen, pack(of, rest.0, rest.1), SeqCst, SeqCst)
            {
                Ok(_) => return Some(part),
                Err(now) => seen = now,
            }
        }
    }

    /// Makes `step` the current one. Only called when the one before has no parts left, by one worker.
    fn open(&self, mut step: usize) {
        loop {
            let parts = self.parts.get(step).map_or(0, |&parts| parts as usize);
            // One more: while a slow worker writes here, the step cannot end, and so no other one is opened.
            self.unfinished.store(parts + 1, SeqCst);
            let bound = |worker: usize| (parts * worker).div_ceil(self.left.len());
            for (worker, left) in self.left.iter().enumerate() {
                left.store(pack(step, bound(worker), bound(worker + 1)), SeqCst);
            }
            self.step.store(step, SeqCst);
            self.wake_sleepers();
            let has_ended = self.unfinished.fetch_sub(1, SeqCst) == 1;
            if !has_ended || self.is_led || step >= self.parts.len() {
                return;
            }
            step += 1;
        }
    }

    fn park(&self, passed: &dyn Fn() -> bool) {
        // A worker that sleeps has announced it before it looked a last time; one that wakes looks for sleepers after
        // it changed what they look at. So one of them sees the other.
        self.sleepers.fetch_add(1, SeqCst);
        let mut guard = self.locked();
        while !passed() && !self.poisoned.load(SeqCst) {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.sleepers.fetch_sub(1, SeqCst);
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

/// How long a worker spins, and how long it was parked.
#[derive(Debug)]
pub(crate) struct Spins {
    most: u32,
    pub parked: Duration,
}

impl Default for Spins {
    fn default() -> Self {
        Self { most: SPINS.0, parked: Duration::ZERO }
    }
}

impl Spins {
    fn wait(&mut self, relay: &Relay<'_>, passed: &dyn Fn() -> bool) {
        for _ in 0..self.most {
            if passed() || relay.poisoned.load(SeqCst) {
                self.most = (self.most * 2).min(SPINS.0);
                return;
            }
            core::hint::spin_loop();
        }
        self.most = SPINS.1;
        let start = Instant::now();
        relay.park(passed);
        self.parked += start.elapsed();
    }
}

/// See [`Relay::poison_on_panic`].
pub(crate) struct Poison<'r, 'p>(&'r Relay<'p>);

impl Drop for Poison<'_, '_> {
    fn drop(&mut self) {
        self.0.poisoned.store(true, SeqCst);
        self.0.wake_sleepers();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Runs steps of these parts; asserts that each part runs once, after all of the step before.
    fn run(parts: &[u32], workers: usize, is_led: bool, missing: usize) -> Vec<usize> {
        let total: u32 = parts.iter().sum();
        let before: Vec<u32> =
            parts.iter().scan(0, |sum, &n| Some(core::mem::replace(sum, *sum + n))).collect();
        let (relay, done) = (Relay::new(parts, workers, is_led), AtomicUsize::new(0));
        let mut seen: Vec<AtomicUsize> = Vec::new();
        seen.resize_with(total as usize, || AtomicUsize::new(0));
        let ended = Mutex::new(Vec::new());
        let work = |worker: usize| {
            let mut spins = Spins::default();
            let mut end = |step| ended.lock().unwrap().push(step);
            while let Some(part) = relay.take(worker, &mut spins, &mut end) {
                let first = before[part.step] as usize;
                let count = done.load(SeqCst);
                assert!(count >= first && count < first + parts[part.step] as usize);
                assert_eq!(seen[first + part.part].fetch_add(1, SeqCst), 0);
                done.fetch_add(1, SeqCst);
                relay.finish(part);
            }
        };
        thread::scope(|scope| {
            for worker in 1..workers - missing {
                let work = &work;
                scope.spawn(move || work(worker));
            }
            work(0);
        });
        assert_eq!(done.load(SeqCst), total as usize);
        assert!(seen.iter().all(|n| n.load(SeqCst) == 1));
        ended.into_inner().unwrap()
    }

    #[test]
    fn parts_run_once_and_nobody_runs_ahead() {
        let rounds = if cfg!(miri) { 20 } else { 1000 };
        let parts: Vec<u32> = (0..rounds).map(|i| [4, 1, 0, 8, 2, 0, 0, 3][i % 8]).collect();
        for workers in 1..5 {
            assert!(run(&parts, workers, false, 0).is_empty());
            let all: Vec<usize> = (0..parts.len()).collect();
            assert_eq!(run(&parts, workers, true, 0), all);
        }
    }

    #[test]
    fn absent_workers_are_not_waited_for() {
        run(&[4, 8, 1, 0, 2], 4, false, 2);
        run(&[4, 8, 1, 0, 2], 4, true, 3);
    }

    #[test]
    fn no_steps_and_empty_steps_end() {
        run(&[], 2, false, 0);
        run(&[0, 0], 2, false, 0);
        assert_eq!(run(&[0, 0], 2, true, 0), [0, 1]);
    }

    #[test]
    fn a_panic_releases_the_others() {
        let relay = Relay::new(&[3], 3, false);
        thread::scope(|scope| {
            // Never given back.
            let part = relay.take(0, &mut Spins::default(), &mut |_| {});
            assert!(part.is_some());
            for worker in 1..3 {
                let relay = &relay;
                scope.spawn(move || {
                    let mut spins = Spins::default();
                    while let Some(part) = relay.take(worker, &mut spins, &mut |_| {}) {
                        relay.finish(part);
                    }
                });
            }
            drop(relay.poison_on_panic());
        });
    }
}
