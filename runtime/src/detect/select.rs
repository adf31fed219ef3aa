//! The best candidates, as many as the buffer holds: a heap with the worst on top.

use core::cmp::Ordering;

use super::Detection;

/// Best first: by score, then in the order of candidates, then of classes.
fn order(a: &Detection, b: &Detection) -> Ordering {
    let place = |d: &Detection| (d.candidate, d.class);
    b.score.total_cmp(&a.score).then_with(|| place(a).cmp(&place(b)))
}

/// Collects candidates; which remain does not depend on the order they come in.
pub(super) struct Selection<'b> {
    buffer: &'b mut [Detection],
    len: usize,
}

impl<'b> Selection<'b> {
    pub(super) const fn new(buffer: &'b mut [Detection]) -> Self {
        Self { buffer, len: 0 }
    }

    pub(super) fn push(&mut self, candidate: Detection) {
        if self.len < self.buffer.len() {
            self.buffer[self.len] = candidate;
            self.len += 1;
            self.rise();
        } else if self.buffer.first().is_some_and(|worst| order(&candidate, worst).is_lt()) {
            self.buffer[0] = candidate;
            self.sink();
        }
    }

    /// Restores the heap after its last entry was added.
    fn rise(&mut self) {
        let mut at = self.len - 1;
        while at > 0 {
            let parent = (at - 1) / 2;
            if order(&self.buffer[at], &self.buffer[parent]).is_le() {
                break;
            }
            self.buffer.swap(at, parent);
            at = parent;
        }
    }

    /// Restores the heap after its top was replaced.
    fn sink(&mut self) {
        let mut at = 0;
        loop {
            let mut worst = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.len && order(&self.buffer[child], &self.buffer[worst]).is_gt() {
                    worst = child;
                }
            }
            if worst == at {
                break;
            }
            self.buffer.swap(at, worst);
            at = worst;
        }
    }

    /// The candidates, best first.
    pub(super) fn finish(self) -> &'b mut [Detection] {
        let chosen = &mut self.buffer[..self.len];
        chosen.sort_unstable_by(order);
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_remain_in_order_whatever_order_they_come_in() {
        let mut state = 1u32;
        let mut next = |limit: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % limit
        };
        for capacity in [0, 1, 2, 7, 50, 300] {
            let mut all = [Detection::default(); 200];
            for (index, one) in all.iter_mut().enumerate() {
                // Many scores are equal.
                one.score = next(9) as f32 / 9.0;
                (one.candidate, one.class) = (index as u32 / 3, index as u32 % 3);
            }
            let mut expected = all;
            expected.sort_by(order);
            for _ in 0..4 {
                for index in 0..all.len() {
                    all.swap(index, next(200) as usize);
                }
                let mut buffer = [Detection::default(); 300];
                let mut selection = Selection::new(&mut buffer[..capacity]);
                all.iter().for_each(|&one| selection.push(one));
                assert_eq!(selection.finish(), &expected[..capacity.min(200)]);
            }
        }
    }
}
