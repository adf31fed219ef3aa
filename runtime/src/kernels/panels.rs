//! All panels of a block for one tile of pixels, whose sums are finished in registers: what is the same for the panels,
//! the operands of the epilogue above all, is found once. A tile of few products takes no longer than that.

use super::conv::Body;
use super::form::Form;
use super::gemm::{AHEAD, MAX_ROWS, finishes, most_rows, rows, whole_steps};
use super::indirect::Panel;
use super::live::{LINE, Live};
use super::paired::{self, ASKS, Rows};
use super::quads::Pixels;
use super::scale::Scales;
use crate::isa::{Isa, Kernel, Runs};
use core::ops::Range;

/// Panels of as many vectors, all of them full, and what a tile of some pixels reads and writes.
pub(super) struct Panels<'p, 'a, I: Isa> {
    pub body: &'p Body,
    pub panels: &'p [Panel],
    /// Where the panels' weights are, what their sums start from, raised or not, and what is asked for from memory
    /// meanwhile.
    pub packed: &'p [i8],
    pub bias: &'p [i32],
    pub raised: bool,
    pub ahead: &'p [i8],
    /// Activations, `steps` steps of 16 bytes in every run.
    pub runs: &'p Runs<'p, MAX_ROWS>,
    pub steps: usize,
    /// Room for them as unsigned ones, if the products are those of pairs.
    pub rows: Option<Rows<'p>>,
    pub live: &'p mut Live<'a, I>,
    /// As many as the tile has rows.
    pub pixels: Range<usize>,
}

/// One tile of each panel, `MR` rows by `NV` vectors.
struct TileOfEach<
    'p,
    'a,
    I: Isa,
    const MR: usize,
    const NV: usize,
    const FORM: u8,
    const IN_PAIRS: bool,
> {
    isa: I,
    panels: Panels<'p, 'a, I>,
}

impl<I0: Isa, const MR: usize, const NV: usize, const FORM: u8, const IN_PAIRS: bool> Kernel
    for TileOfEach<'_, '_, I0, MR, NV, FORM, IN_PAIRS>
{
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, _: I) {
        let Self { isa, panels: all } = self;
        let Panels { body, panels, packed, bias, raised, mut ahead, runs, steps, live, .. } = all;
        let mut pairs = all.rows;
        let (Some(first), Some(last)) = (panels.first(), panels.last()) else { return };
        let (vector, channels) = (NV * I0::LANES, first.channels.0..last.channels.1);
        let pixels = (all.pixels.start, MR);
        let ends = Pixels::new(isa, &mut *live, pixels, channels.start, channels.len());
        let Some(mut ends) = ends.in_form::<FORM>() else { unreachable!("another epilogue") };
        let far = ends.far_residual();
        // Windows of one run are the same for all panels, unless those are of several groups.
        let is_one = !IN_PAIRS && runs.count() == 1 && first.depth_start == last.depth_start;
        let one: [&[[u8; 16]]; MR] =
            if is_one { runs.pieces(0, first.depth_start, steps) } else { [&[]; MR] };
        let mut have = None;
        // Cut beforehand: what is cut in every turn is checked in every turn.
        let biases = bias[channels.clone()].chunks_exact(vector);
        let multipliers = body.multiplier[channels.clone()].chunks_exact(vector);
        let mut offsets = body.raised.offset(channels.start)[..channels.len()].chunks_exact(vector);
        let of_run = 4 * steps * NV * 4 * I0::LANES;
        let mut rest = &packed[first.weights.0..last.weights.0 + last.weights.1];
        for (index, ((p, bias), multiplier)) in
            panels.iter().zip(biases).zip(multipliers).enumerate()
        {
            let channel = index * vector;
            if let Some((area, element)) = far.filter(|_| channel.is_multiple_of(LINE)) {
                // One tile ahead: a tile of few products ends before its residual has come.
                for row in MR..2 * MR {
                    for line in 0..element {
                        area.prefetch(isa, row, channel * element + line * LINE);
                    }
                }
            }
            let bytes = if IN_PAIRS { p.weights.1 } else { runs.count() * of_run };
            let (mut weights, others) = rest.split_at(bytes);
            rest = others;
            let asks = if ahead.is_empty() { weights } else { ahead };
            // Not `[bias; MR]`: of more than twelve rows that stays a loop, and the sums go to memory in every step.
            let mut acc: [[I0::I; NV]; MR] = core::array::from_fn(|_| {
                core::array::from_fn(|n| isa.load_i32(&bias[n * I0::LANES..]))
            });
            if let (true, Some(pairs), Some(paired)) = (IN_PAIRS, &mut pairs, &p.paired) {
                let depth_start = p.depth_start;
                if have != Some(depth_start) {
                    pairs.put_rows::<MR>(runs, (depth_start, steps));
                    have = Some(depth_start);
                }
                pairs.add(isa, &mut acc, &paired.panel(weights), asks);
            } else {
                let mut asked = 0;
                for run in 0..runs.count() {
                    let x = if is_one { one } else { runs.pieces(run, p.depth_start, steps) };
                    let (now, later) = weights.split_at(of_run);
                    weights = later;
                    asked = whole_steps(isa, &mut acc, &x, now, (asks, asked));
                }
            }
            let asked = asked(core::slice::from_ref(p), runs.count() * steps);
            ahead = ahead.get(asked..).unwrap_or(&[]);
            let scales = Scales::new(isa, multiplier, offsets.next().filter(|_| raised));
            ends.begin_with(channel);
            // Not a loop: compilers do not unroll one of this size, and index the accumulators in memory.
            rows::<I0, MR, NV, 0>(isa, &acc, &scales, &mut ends);
            rows::<I0, MR, NV, 1>(isa, &acc, &scales, &mut ends);
            rows::<I0, MR, NV, 2>(isa, &acc, &scales, &mut ends);
            rows::<I0, MR, NV, 3>(isa, &acc, &scales, &mut ends);
            rows::<I0, MR, NV, 4>(isa, &acc, &scales, &mut ends);
            rows::<I0, MR, NV, 5>(isa, &acc, &scales, &mut ends);
            rows::<I0, MR, NV, 6>(isa, &acc, &scales, &mut ends);
        }
        if FORM == Form::Any as u8 {
            live.after_quads(isa, all.pixels, channels.start, channels.len());
        }
    }
}

/// Bytes of `ahead` that a tile of these panels asks for, in `steps` steps.
#[inline(always)]
pub(super) fn asked(panels: &[Panel], steps: usize) -> usize {
    match (panels.first(), panels.last()) {
        (Some(first), Some(last)) if first.paired.is_some() => {
            (last.weights.0 + last.weights.1 - first.weights.0) / ASKS
        }
        _ => panels.len() * steps * AHEAD,
    }
}

/// Whether forms are compiled for tiles of a shape: those that layers of more than a few pixels are cut into.
const fn has_forms<I: Isa>(rows: usize, vectors: usize, in_pairs: bool) -> bool {
    if in_pairs {
        3 * rows >= 2 * paired::ROWS
    } else {
        vectors > 1 && 3 * rows >= 2 * most_rows::<I>(vectors)
    }
}

/// As [`finishes`], of tiles of pairs.
pub(super) const fn pairs_finish<I: Isa>(rows: usize, vectors: usize) -> bool {
    I::PAIRS && vectors == paired::VECTORS && 2 * rows >= paired::ROWS && rows <= paired::ROWS
}

/// Every shape is a function of its own, as in [`super::gemm`], and so is what comes most often of epilogues.
macro_rules! shapes {
    ($isa:ident, $panels:ident, $shape:ident, $form:ident; $($nv:literal: $($mr:literal)*;)*) => {
        match $shape {
            $($(($mr, $nv) => match $panels.rows {
                None if const { finishes::<I>($mr, $nv) } => {
                    forms!($isa, $panels, $mr, $nv, false, $form)
                }
                Some(_) if const { pairs_finish::<I>($mr, $nv) } => {
                    forms!($isa, $panels, $mr, $nv, true, $form)
                }
                _ => unreachable!("no such tile"),
            })*)*
            _ => unreachable!("no such tile"),
        }
    };
}

macro_rules! forms {
    ($isa:ident, $panels:ident, $mr:literal, $nv:literal, $in_pairs:literal, $form:ident) => {
        if const { has_forms::<I>($mr, $nv, $in_pairs) } {
            match $form {
                Form::Words => enter!($isa, $panels, $mr, $nv, $in_pairs, Words),
                Form::Store => enter!($isa, $panels, $mr, $nv, $in_pairs, Store),
                Form::Relu => enter!($isa, $panels, $mr, $nv, $in_pairs, Relu),
                Form::Sum => enter!($isa, $panels, $mr, $nv, $in_pairs, Sum),
                Form::ReluSum => enter!($isa, $panels, $mr, $nv, $in_pairs, ReluSum),
                Form::ReluSumSecond => enter!($isa, $panels, $mr, $nv, $in_pairs, ReluSumSecond),
                Form::PreActivation => enter!($isa, $panels, $mr, $nv, $in_pairs, PreActivation),
                Form::Any => enter!($isa, $panels, $mr, $nv, $in_pairs, Any),
            }
        } else {
            enter!($isa, $panels, $mr, $nv, $in_pairs, Any)
        }
    };
}

macro_rules! enter {
    ($isa:ident, $panels:ident, $mr:literal, $nv:literal, $in_pairs:literal, $form:ident) => {{
        const FORM: u8 = Form::$form as u8;
        $isa.enter(TileOfEach::<I, $mr, $nv, FORM, $in_pairs> { isa: $isa, panels: $panels })
    }};
}

/// Runs a tile of each panel, of `shape` rows by vectors as [`finishes`] or [`pairs_finish`] says. `form` is that of the epilogue.
#[inline(always)]
pub(super) fn finished<I: Isa>(
    isa: I,
    shape: (usize, usize),
    form: Form,
    panels: Panels<'_, '_, I>,
) {
    shapes!(isa, panels, shape, form;
        1: 4 5 6 7 8 9 10 11 12 13 14;
        2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14;
        4: 1 2 3 4 5 6;
    )
}
