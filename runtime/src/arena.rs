//! The one buffer that a session works in, and how operators get their slices of it.
//!
//! The only file beside `isa/` with `unsafe`: it cuts one `&mut [u8]` into the tensors of a memory plan. Tensors of one
//! operator may share bytes only as inputs, tensors of different operators may share any. So slices are handed out for
//! one operator at a time, as a [`Lease`]: its outputs exclusively, everything that does not overlap them for reading.
//! With threads, each worker gets a lease of its own part of the outputs, and nobody goes on to the next operator
//! before all have given their leases back.
//!
//! The rules are checked here again, whatever the loader checked: a violation panics, it never aliases.

use core::marker::PhantomData;
use core::ops::Range;
use core::ptr::NonNull;

use crate::Error;
use crate::desc::TensorDesc;

/// Alignment of the arena's first byte, in bytes.
pub const ALIGNMENT: usize = 64;

/// Waiting for more than this part of a run is too long.
#[cfg(feature = "std")]
const WAITED: u32 = 4;

/// A caller's buffer, aligned.
#[derive(Debug)]
pub struct Arena<'a> {
    base: NonNull<u8>,
    len: usize,
    borrow: PhantomData<&'a mut [u8]>,
}

// SAFETY: an arena is a `&'a mut [u8]` in other clothes, and that is `Send`.
unsafe impl Send for Arena<'_> {}
// SAFETY: through a `&Arena` bytes can only be read.
unsafe impl Sync for Arena<'_> {}

/// One output of an operator: rows of equal units (one row of pixels, or of channels of the only pixel; or channels in a
/// row for each pixel), a constant step apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// First byte in the arena.
    pub start: usize,
    /// Bytes from one unit to the next.
    pub step_bytes: usize,
    /// Bytes of a unit, at most `step_bytes`.
    pub unit_bytes: usize,
    /// Rows, each with all units; at least 1.
    pub rows: usize,
    /// Bytes from one row to the next, at least those of its units.
    pub row_bytes: usize,
}

impl Target {
    /// The bytes of some units in the first row: from the first byte of the first one to the last byte of the last one.
    fn bytes(&self, units: &Range<usize>) -> Range<usize> {
        if units.is_empty() {
            return self.start..self.start;
        }
        let start = self.start + units.start * self.step_bytes;
        start..self.start + (units.end - 1) * self.step_bytes + self.unit_bytes
    }

    /// From the first byte of the first of `units` units to the last byte of the last one in the last row.
    fn extent(&self, units: usize) -> Range<usize> {
        let row = self.bytes(&(0..units));
        if row.is_empty() { row } else { row.start..row.end + (self.rows - 1) * self.row_bytes }
    }
}

/// The bytes of some units in every row of an output.
#[derive(Debug)]
pub struct Columns<'s> {
    /// Those of the first row.
    start: NonNull<u8>,
    width: usize,
    rows: usize,
    step: usize,
    borrow: PhantomData<&'s mut [u8]>,
}

impl Columns<'_> {
    /// Writes bytes to a row, from its byte `from` on.
    ///
    /// # Panics
    ///
    /// If there is no such row, or it ends before.
    pub fn put(&mut self, row: usize, from: usize, bytes: &[u8]) {
        assert!(
            row < self.rows && from <= self.width && bytes.len() <= self.width - from,
            "outside"
        );
        // SAFETY: row `row` is `row * step` behind the start and has `width` bytes, which nobody else accesses while this
        // lives, as `lease` says; by the assertion those that are written are among them.
        unsafe {
            let out = self.start.as_ptr().add(row * self.step + from);
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), out, bytes.len());
        }
    }
}

/// What an operator writes, and how it may be divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outputs {
    /// First and second store.
    pub targets: [Option<Target>; 2],
    /// Units of each target.
    pub units: usize,
    /// Parts begin at multiples of so many units.
    pub granule: usize,
}

impl Outputs {
    /// The units of one of `parts` parts: about equally many, possibly none.
    #[cfg(any(feature = "std", test))]
    fn part(&self, part: usize, parts: usize) -> Range<usize> {
        let granules = self.units.div_ceil(self.granule);
        let bound = |part: usize| (granules * part / parts * self.granule).min(self.units);
        bound(part)..bound(part + 1)
    }

    /// The unit that `worker` of `workers` begins with, of so many parts.
    #[cfg(feature = "std")]
    pub(crate) fn first(&self, parts: u32, worker: usize, workers: usize) -> usize {
        let own = crate::session::Relay::own(parts as usize, worker, workers);
        self.part(own.start, (parts as usize).max(1)).start
    }

    /// All bytes of the targets.
    fn extents(&self) -> [Range<usize>; 2] {
        self.targets.map(|target| target.map_or(0..0, |target| target.extent(self.units)))
    }
}

/// The slices of one operator, for one worker.
#[derive(Debug)]
pub struct Lease<'s> {
    /// For reading: everything but the outputs.
    pub inputs: Inputs<'s>,
    /// First and second store, from the first unit of `units` on. None if they have several rows.
    pub outputs: [Option<&'s mut [u8]>; 2],
    /// The same where they have several rows.
    pub columns: [Option<Columns<'s>>; 2],
    /// The units to compute.
    pub units: Range<usize>,
}

/// Read access to everything in the arena that the operator does not write.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'s> {
    base: NonNull<u8>,
    len: usize,
    written: [(usize, usize); 2],
    borrow: PhantomData<&'s [u8]>,
}

// SAFETY: like `&[u8]`: the bytes that it gives access to are only read while it lives.
unsafe impl Send for Inputs<'_> {}
// SAFETY: as above.
unsafe impl Sync for Inputs<'_> {}

impl<'s> Inputs<'s> {
    /// A tensor's bytes, with the slack behind them.
    ///
    /// # Panics
    ///
    /// If they leave the arena or overlap an output; the loader refuses such plans.
    #[must_use]
    pub fn get(&self, tensor: &TensorDesc) -> &'s [u8] {
        let Range { start, end } = bytes_with_slack(tensor);
        assert!(start <= end && end <= self.len, "a tensor leaves the arena");
        for (low, high) in self.written {
            assert!(end <= low || high <= start || low == high, "an input overlaps an output");
        }
        // SAFETY: in bounds and apart from all bytes that any worker may write while the lease lives, both by the
        // assertions above. `base` comes from a `&mut [u8]` of `len` bytes that is borrowed for `'s`.
        unsafe { core::slice::from_raw_parts(self.base.as_ptr().add(start), end - start) }
    }
}

fn bytes_with_slack(tensor: &TensorDesc) -> Range<usize> {
    let start = tensor.arena_offset as usize;
    start..start + tensor.extent_bytes() as usize + TensorDesc::SLACK_BYTES as usize
}

impl<'a> Arena<'a> {
    /// Takes the aligned part of a buffer.
    ///
    /// # Errors
    ///
    /// [`Error::ArenaTooSmall`] if it has fewer than `bytes` bytes.
    pub fn new(buffer: &'a mut [u8], bytes: usize) -> Result<Self, Error> {
        let skip = buffer.as_ptr().align_offset(ALIGNMENT);
        let aligned = buffer.get_mut(skip..).and_then(|rest| rest.get_mut(..bytes));
        let aligned = aligned.ok_or(Error::ArenaTooSmall { needed: (bytes + ALIGNMENT) as u32 })?;
        Ok(Self { base: NonNull::from(aligned).cast(), len: bytes, borrow: PhantomData })
    }

    /// The bytes of a tensor.
    ///
    /// # Panics
    ///
    /// If they leave the arena; the loader refuses such plans.
    #[must_use]
    pub fn tensor(&self, tensor: &TensorDesc) -> &[u8] {
        let inputs =
            Inputs { base: self.base, len: self.len, written: [(0, 0); 2], borrow: PhantomData };
        &inputs.get(tensor)[..tensor.extent_bytes() as usize]
    }

    /// The slices of an operator that one worker computes alone.
    ///
    /// # Panics
    ///
    /// If the outputs leave the arena or overlap each other; the loader refuses such plans.
    pub fn lease(&mut self, outputs: &Outputs) -> Lease<'_> {
        check(self.len, outputs);
        // SAFETY: `&mut self` for the lease's lifetime: there is no other access to the arena.
        unsafe { lease(self.base, self.len, outputs, 0..outputs.units) }
    }

    /// Runs operators one after the other, each in its number of parts, with all workers of `pool` and the calling
    /// thread: `body` gets the operator's index and the lease of a part, `after` the operator's index on the calling
    /// thread when all parts are done. `false` if the calling thread waited for others, who had not enough of a core, so
    /// long that it is faster alone.
    ///
    /// # Panics
    ///
    /// If a worker panics, and as [`Arena::lease`].
    #[cfg(feature = "std")]
    pub(crate) fn run_team(
        &mut self,
        pool: Option<&rayon::ThreadPool>,
        (steps, parts): (&[Outputs], &[u32]),
        body: &(dyn Fn(usize, Lease<'_>) + Sync),
        after: Option<&mut dyn FnMut(usize)>,
    ) -> bool {
        let is_led = after.is_some();
        let mut nothing = |_| {};
        let after = after.unwrap_or(&mut nothing);
        let Some(pool) = pool else {
            for (index, outputs) in steps.iter().enumerate() {
                body(index, self.lease(outputs));
                after(index);
            }
            return true;
        };
        for outputs in steps {
            check(self.len, outputs);
        }
        assert_eq!(steps.len(), parts.len(), "every operator has parts");
        let relay = crate::session::Relay::new(parts, 1 + pool.current_num_threads(), is_led);
        let team = Team { base: self.base, len: self.len, steps, parts, relay: &relay };
        let start = std::time::Instant::now();
        let (walked, parked) = pool.in_place_scope(|scope| {
            scope.spawn_broadcast(|_, context| {
                team.walk(1 + context.index(), body, &mut |_| {});
            });
            let parked = team.walk(0, body, after);
            (std::time::Instant::now(), parked)
        });
        (parked + walked.elapsed()) * WAITED < start.elapsed()
    }
}

/// Workers that step through a model together. Only [`Arena::run_team`] makes one, while it holds the arena exclusively,
/// with a relay of these parts.
#[cfg(feature = "std")]
struct Team<'t> {
    base: NonNull<u8>,
    len: usize,
    steps: &'t [Outputs],
    parts: &'t [u32],
    relay: &'t crate::session::Relay<'t>,
}

// SAFETY: workers use `base` only through leases, which are apart from each other (see `walk`).
#[cfg(feature = "std")]
unsafe impl Sync for Team<'_> {}

#[cfg(feature = "std")]
impl Team<'_> {
    fn walk(
        &self,
        worker: usize,
        body: &(dyn Fn(usize, Lease<'_>) + Sync),
        after: &mut dyn FnMut(usize),
    ) -> core::time::Duration {
        let guard = self.relay.poison_on_panic();
        let mut worker = self.relay.worker(worker);
        while let Some(part) = self.relay.take(&mut worker, after) {
            let (index, outputs) = (part.step, &self.steps[part.step]);
            let units = outputs.part(part.part, self.parts[index] as usize);
            if !units.is_empty() {
                // SAFETY: the relay gives out parts of one operator at a time, and of the next one when all were given
                // back, so what one worker reads (all but the operator's outputs) nobody writes. It gives each part to
                // one worker; parts have different units, and units of a target do not overlap (`check`). The lease
                // ends with `body`, before the part is given back.
                let lease = unsafe { lease(self.base, self.len, outputs, units) };
                body(index, lease);
            }
            self.relay.finish(&worker, part);
        }
        core::mem::forget(guard);
        worker.parked
    }
}

/// Asserts that the targets are inside the arena, apart from each other, and that their units do not overlap.
fn check(len: usize, outputs: &Outputs) {
    let [a, b] = outputs.extents();
    assert!(a.end <= len && b.end <= len, "an output leaves the arena");
    assert!(
        a.end <= b.start || b.end <= a.start || a.is_empty() || b.is_empty(),
        "outputs overlap"
    );
    for target in outputs.targets.iter().flatten() {
        assert!(target.unit_bytes <= target.step_bytes, "units overlap");
        assert!(target.rows > 0, "no rows");
        let row = target.bytes(&(0..outputs.units)).len();
        assert!(target.rows == 1 || row <= target.row_bytes, "rows overlap");
    }
    assert!(outputs.granule > 0, "parts are empty");
}

/// The slices of `units` of an operator.
///
/// # Safety
///
/// `outputs` passed [`check`]; `units` lies in `0..outputs.units`. For as long as `'s` nobody else accesses the bytes of
/// these units, and nobody writes any byte outside `outputs`. `base` points to `len` bytes that live as long as `'s`.
unsafe fn lease<'s>(
    base: NonNull<u8>,
    len: usize,
    outputs: &Outputs,
    units: Range<usize>,
) -> Lease<'s> {
    let written = outputs.extents().map(|range| (range.start, range.end));
    let slices = outputs.targets.map(|target| {
        let bytes = target.filter(|target| target.rows == 1)?.bytes(&units);
        // SAFETY: in bounds, as part of an extent that `check` found inside; apart from the other target's bytes, by
        // `check`, from other workers' bytes, by the caller, and from `inputs`, by the assertions in `Inputs::get`.
        Some(unsafe {
            core::slice::from_raw_parts_mut(base.as_ptr().add(bytes.start), bytes.len())
        })
    });
    let columns = outputs.targets.map(|target| {
        let Target { rows, row_bytes, .. } = target.filter(|target| target.rows > 1)?;
        let bytes = target?.bytes(&units);
        // SAFETY: in bounds, as part of an extent that `check` found inside. So are the same bytes of all other rows, which
        // are apart from each other and from all other bytes as those of slices are.
        let start = unsafe { base.add(bytes.start) };
        let width = bytes.len();
        Some(Columns { start, width, rows, step: row_bytes, borrow: PhantomData })
    });
    let inputs = Inputs { base, len, written, borrow: PhantomData };
    Lease { inputs, outputs: slices, columns, units }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(start: usize, units: usize) -> Outputs {
        let target = Target { start, step_bytes: 4, unit_bytes: 3, rows: 1, row_bytes: 0 };
        Outputs { targets: [Some(target), None], units, granule: 2 }
    }

    #[test]
    fn parts_cover_all_units_once() {
        for units in 0..40 {
            for granule in 1..5 {
                for parts in 1..6 {
                    let outputs = Outputs { granule, ..outputs(0, units) };
                    let mut next = 0;
                    for part in 0..parts {
                        let range = outputs.part(part, parts);
                        assert_eq!(range.start, next);
                        assert!(range.is_empty() || range.start.is_multiple_of(granule));
                        next = range.end;
                    }
                    assert_eq!(next, units);
                }
            }
        }
    }

    #[test]
    fn arenas_are_aligned_and_refuse_small_buffers() {
        let mut buffer = [0u8; 64 * 4];
        for skip in 0..64 {
            let mut arena = Arena::new(&mut buffer[skip..], 64).unwrap();
            let lease = arena.lease(&outputs(0, 3));
            let output = lease.outputs[0].as_ref().unwrap();
            assert_eq!(output.as_ptr() as usize % ALIGNMENT, 0);
            assert_eq!(output.len(), 11);
        }
        assert_eq!(
            Arena::new(&mut buffer[..70], 64).unwrap_err(),
            Error::ArenaTooSmall { needed: 128 }
        );
    }

    #[test]
    #[should_panic(expected = "an output leaves the arena")]
    fn outputs_outside_panic() {
        let mut buffer = [0u8; 192];
        Arena::new(&mut buffer, 128).unwrap().lease(&outputs(120, 3));
    }

    #[test]
    fn columns_are_apart_from_each_other() {
        let mut buffer = [0u8; 192];
        let mut arena = Arena::new(&mut buffer, 128).unwrap();
        let target = Target { start: 2, step_bytes: 2, unit_bytes: 2, rows: 3, row_bytes: 20 };
        let outputs = Outputs { targets: [Some(target), None], units: 8, granule: 1 };
        check(arena.len, &outputs);
        assert_eq!(outputs.extents()[0], 2..58);
        let [mut low, mut high] = [0..3, 3..8].map(|units| {
            // SAFETY: the arena is not used otherwise, and the parts have different units.
            let lease = unsafe { lease(arena.base, arena.len, &outputs, units) };
            let [columns, _] = lease.columns;
            columns.unwrap()
        });
        for row in 0..3 {
            low.put(row, 0, &[1; 6]);
            high.put(row, 2, &[2; 8]);
        }
        let bytes = arena.lease(&Outputs {
            targets: [
                Some(Target { rows: 1, step_bytes: 128, unit_bytes: 128, start: 0, row_bytes: 0 }),
                None,
            ],
            units: 1,
            granule: 1,
        });
        let bytes = bytes.outputs[0].as_ref().unwrap();
        let row: [u8; 20] = core::array::from_fn(|i| match i {
            0..6 => 1,
            8..16 => 2,
            _ => 0,
        });
        assert_eq!(bytes[2..22], row);
        assert_eq!(bytes[42..62], row);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn columns_end_where_the_next_begin() {
        let mut buffer = [0u8; 192];
        let mut arena = Arena::new(&mut buffer, 128).unwrap();
        let target = Target { start: 0, step_bytes: 1, unit_bytes: 1, rows: 3, row_bytes: 20 };
        let outputs = Outputs { targets: [Some(target), None], units: 16, granule: 1 };
        arena.lease(&outputs).columns[0].as_mut().unwrap().put(0, 9, &[0; 8]);
    }

    #[test]
    #[should_panic(expected = "rows overlap")]
    fn rows_are_apart() {
        let mut buffer = [0u8; 192];
        let target = Target { start: 0, step_bytes: 1, unit_bytes: 1, rows: 3, row_bytes: 15 };
        let outputs = Outputs { targets: [Some(target), None], units: 16, granule: 1 };
        Arena::new(&mut buffer, 128).unwrap().lease(&outputs);
    }
}
