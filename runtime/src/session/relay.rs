//! How workers pass from one operator to the next: each takes parts of the current one, its own first, then what others
//! have not begun. When as many parts are finished as the operators up to the current one have, it has ended.
//!
//! Nobody waits for a worker that has not come: while another program has its core, the others do its parts. Own parts
//! come first because their inputs are in this core's cache. A worker that finds nothing to do spins briefly, then
//! parks; one that had to park spins less the next time.
//!
//! From one operator to the next a single cache line goes from core to core, that of the count: what a worker has left
//! stays in its own core until others want of it, and is renewed by whoever takes the first part of it.

use core::cmp::Ordering::{Equal, Greater, Less};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::vec::Vec;

/// Looks at the count before a worker goes to sleep, some tens of microseconds or more, as long as a hint to spin takes; at least so many, when it had to sleep.
const SPINS: (u32, u32) = (4000, 250);
/// Looks at the count before a worker asks whether others have begun their only parts, about a microsecond.
const PATIENCE: u32 = 32;

/// A part of a step, taken by one worker: no other gets it, and the step does not end before it is given back.
#[derive(Debug)]
pub(crate) struct Part {
    /// Index of the step.
    pub step: usize,
    /// Number of the part, below the step's number of parts.
    pub part: usize,
}

/// On cache lines of its own, with the one that processors fetch beside it.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Apart<T>(T);

/// Steps, each in parts, shared out to workers.
#[derive(Debug)]
pub(crate) struct Relay<'p> {
    parts: &'p [u32],
    /// What each worker had left when a part of it was last taken: number of the step, first part, end. In a later
    /// step it has all its parts left.
    left: Vec<Apart<AtomicU64>>,
    /// Finished parts of all steps. With a leader every step has one more, which is finished when it has seen the end.
    finished: Apart<AtomicU64>,
    /// Whether steps end when the first worker has seen it.
    is_led: bool,
    sleepers: AtomicUsize,
    poisoned: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

/// Steps count from 1, so that 0 is before all of them.
fn number(step: usize) -> u64 {
    step as u64 + 1
}

fn pack(step: usize, parts: &Range<usize>) -> u64 {
    number(step) << 32 | (parts.start as u64) << 16 | parts.end as u64
}

/// The number of the step, and the parts.
fn unpack(left: u64) -> (u64, Range<usize>) {
    (left >> 32, (left >> 16 & 0xFFFF) as usize..(left & 0xFFFF) as usize)
}

impl<'p> Relay<'p> {
    /// Most parts of a step.
    pub(crate) const MOST: u32 = 0x7FFF;
    /// Looks of a worker that waits, before it goes to sleep.
    pub(crate) const LOOKS: u32 = SPINS.0;

    /// `parts` of each step, at most [`Relay::MOST`]. With `is_led`, steps end when the first worker sees it, and it
    /// sees every one.
    pub(crate) fn new(parts: &'p [u32], workers: usize, is_led: bool) -> Self {
        Self {
            parts,
            left: (0..workers).map(|_| Apart::default()).collect(),
            finished: Apart::default(),
            is_led,
            sleepers: AtomicUsize::new(0),
            poisoned: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        }
    }

    /// Worker `index`, before the first step.
    pub(crate) fn worker(&self, index: usize) -> Worker {
        let (step, end) = (0, self.count(0));
        Worker { index, step, end, spins: SPINS.0, parked: Duration::ZERO }
    }

    /// A part for `worker`; waits for one. `None` when all steps are done, or a worker panicked. `ended` is called with
    /// every step that ends, if `worker` leads.
    pub(crate) fn take(&self, worker: &mut Worker, ended: &mut dyn FnMut(usize)) -> Option<Part> {
        let leads = self.is_led && worker.index == 0;
        loop {
            let finished = self.finished.0.load(SeqCst);
            while worker.step < self.parts.len() && finished >= worker.end {
                worker.step += 1;
                worker.end += self.count(worker.step);
            }
            let (step, end) = (worker.step, worker.end);
            if step >= self.parts.len() || self.poisoned.load(SeqCst) {
                return None;
            }
            if let Some(part) = self.take_from(worker.index, step, true) {
                return Some(Part { step, part });
            }
            let seen = if leads { end - 1 } else { end };
            let passed = || self.finished.0.load(SeqCst) >= seen;
            // Where each had one part, others have most likely begun theirs. To look for it takes the line from them.
            let few = self.parts[step] as usize <= self.left.len();
            if !(few && worker.spin(self, PATIENCE, &passed)) {
                let mut others = (1..self.left.len()).map(|i| (worker.index + i) % self.left.len());
                if let Some(part) = others.find_map(|w| self.take_from(w, step, false)) {
                    return Some(Part { step, part });
                }
                worker.wait(self, &passed);
            }
            if leads && self.finished.0.load(SeqCst) == seen {
                ended(step);
                self.finished.0.fetch_add(1, SeqCst);
                self.wake_sleepers();
            }
        }
    }

    /// Gives a part back.
    pub(crate) fn finish(&self, worker: &Worker, part: Part) {
        debug_assert_eq!(worker.step, part.step, "taken by another worker");
        let finished = self.finished.0.fetch_add(1, SeqCst) + 1;
        if finished + u64::from(self.is_led) == worker.end {
            self.wake_sleepers();
        }
    }

    /// Releases all workers if it is dropped, that is, unless it is forgotten.
    pub(crate) const fn poison_on_panic(&self) -> Poison<'_, 'p> {
        Poison(self)
    }

    /// The parts that are a worker's own.
    pub(crate) fn own(parts: usize, worker: usize, workers: usize) -> Range<usize> {
        (parts * worker).div_ceil(workers)..(parts * (worker + 1)).div_ceil(workers)
    }

    /// By how much the count of finished parts grows in a step.
    fn count(&self, step: usize) -> u64 {
        self.parts.get(step).map_or(0, |&parts| u64::from(parts) + u64::from(self.is_led))
    }

    /// The first part of a worker's rest of `step`, or the last.
    ///
    /// If `step` has ended meanwhile, all its parts were taken, so that everyone who had any has none left or those of a
    /// later step, and there is nothing to take.
    fn take_from(&self, worker: usize, step: usize, front: bool) -> Option<usize> {
        let left = &self.left[worker].0;
        let mut seen = left.load(SeqCst);
        loop {
            let (of, rest) = unpack(seen);
            let rest = match of.cmp(&number(step)) {
                Less => Self::own(self.parts[step] as usize, worker, self.left.len()),
                Equal => rest,
                Greater => return None,
            };
            if rest.is_empty() {
                return None;
            }
            let (part, rest) = if front {
                (rest.start, rest.start + 1..rest.end)
            } else {
                (rest.end - 1, rest.start..rest.end - 1)
            };
            match left.compare_exchange(seen, pack(step, &rest), SeqCst, SeqCst) {
                Ok(_) => return Some(part),
                Err(now) => seen = now,
            }
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

/// How far a worker has come.
#[derive(Debug)]
pub(crate) struct Worker {
    index: usize,
    step: usize,
    /// Finished parts with which `step` has ended.
    end: u64,
    /// How long it spins.
    spins: u32,
    /// How long it was parked.
    pub parked: Duration,
}

impl Worker {
    /// Looks at most `looks` times; whether there is no more to wait for.
    fn spin(&self, relay: &Relay<'_>, looks: u32, passed: &dyn Fn() -> bool) -> bool {
        for _ in 0..looks {
            if passed() || relay.poisoned.load(SeqCst) {
                return true;
            }
            core::hint::spin_loop();
        }
        false
    }

    fn wait(&mut self, relay: &Relay<'_>, passed: &dyn Fn() -> bool) {
        if self.spin(relay, self.spins, passed) {
            self.spins = (self.spins * 2).min(SPINS.0);
            return;
        }
        self.spins = SPINS.1;
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
            let mut worker = relay.worker(worker);
            let mut end = |step| ended.lock().unwrap().push(step);
            while let Some(part) = relay.take(&mut worker, &mut end) {
                let first = before[part.step] as usize;
                let count = done.load(SeqCst);
                assert!(count >= first && count < first + parts[part.step] as usize);
                assert_eq!(seen[first + part.part].fetch_add(1, SeqCst), 0);
                done.fetch_add(1, SeqCst);
                relay.finish(&worker, part);
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
            let part = relay.take(&mut relay.worker(0), &mut |_| {});
            assert!(part.is_some());
            for worker in 1..3 {
                let relay = &relay;
                scope.spawn(move || {
                    let mut worker = relay.worker(worker);
                    while let Some(part) = relay.take(&mut worker, &mut |_| {}) {
                        relay.finish(&worker, part);
                    }
                });
            }
            drop(relay.poison_on_panic());
        });
    }
}
