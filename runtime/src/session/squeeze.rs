//! Averages over a whole map that the threads which compute the map sum up ([`PackedPool::squeezed`]).

use std::boxed::Box;
use std::sync::{Mutex, PoisonError};
use std::vec::Vec;

use super::engine::Step;
use crate::desc::OpKind;
use crate::kernels::{PackedOp, PackedPool};
use crate::ops::Units;

/// What one operator has to do with an average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing.
    None,
    /// What it stores first or second is summed up for the operator behind it.
    Sums(usize),
    /// Its average is that of the sums.
    Average,
}

/// The sums of each thread. They are 0 but between an operator that is summed up and its average.
#[derive(Debug)]
pub(super) struct Squeeze {
    roles: Vec<Role>,
    sums: Vec<Mutex<Box<[i32]>>>,
}

impl Squeeze {
    /// Finds the averages of operators that are divided by pixels in several parts; of these, the average itself becomes
    /// one part.
    pub fn new(steps: &[Step], parts: &mut [u32], threads: usize) -> Self {
        let mut roles = std::vec![Role::None; steps.len()];
        let mut most = 0;
        for index in 1..steps.len() {
            let Some((sums, which)) = summed(&steps[index - 1], &steps[index]) else { continue };
            if parts[index - 1] > 1 {
                roles[index - 1] = Role::Sums(which);
                roles[index] = Role::Average;
                parts[index] = 1;
                most = most.max(sums);
            }
        }
        let sums = (0..threads).map(|_| Mutex::new(std::vec![0; most].into())).collect();
        Self { roles, sums }
    }

    pub fn role(&self, index: usize) -> Role {
        self.roles[index]
    }

    /// Adds bytes of a part that `thread` has computed.
    pub fn add(&self, thread: usize, pool: &PackedPool, bytes: &[u8]) {
        let mut sums = self.sums[thread].lock().unwrap_or_else(PoisonError::into_inner);
        pool.add_pixels(bytes, &mut sums);
    }

    /// Writes the average of what all threads have added.
    pub fn finish(&self, pool: &PackedPool, out: &mut [u8]) {
        let [first, others @ ..] = &self.sums[..] else { return };
        let mut all = first.lock().unwrap_or_else(PoisonError::into_inner);
        for sums in others {
            let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
            for (all, sum) in all.iter_mut().zip(&mut *sums) {
                *all = all.wrapping_add(core::mem::take(sum));
            }
        }
        pool.finish(&all, out);
        all.fill(0);
    }

    /// What a thread has added.
    #[cfg(test)]
    pub fn sums_of(&self, thread: usize) -> Vec<i32> {
        self.sums[thread].lock().unwrap().to_vec()
    }

    /// Forgets what a run that ended early has left.
    pub fn reset(&self) {
        for sums in &self.sums {
            sums.lock().unwrap_or_else(PoisonError::into_inner).fill(0);
        }
    }
}

/// How many sums the average `pool` is made of, and which store of `step` it is of, if they can be summed up there.
fn summed(step: &Step, pool: &Step) -> Option<(usize, usize)> {
    let sums = pool.packed.as_ref()?.as_pool()?.squeezed()?;
    let OpKind::Pool(average) = &pool.op.kind else { return None };
    let is_conv = matches!(step.packed, Some(PackedOp::Conv(_)));
    if !is_conv || !matches!(step.units, Units::Pixels | Units::Bands(_)) {
        return None;
    }
    let which = step.op.kind.writes().iter().position(|id| *id == Some(average.input))?;
    Some((sums, which))
}
