//! All panels of a block for one tile of pixels, whose sums are finished in registers: what is the same for the panels,
//! the operands of the epilogue above all, is found once. A tile of few products takes no longer than that.

use super::conv::Body;
use super::gemm::{AHEAD, Args, MAX_ROWS, finishes, products, rows};
use super::indirect::Panel;
use super::live::{LINE, Live};
use super::paired::{ASKS, Rows};
use super::quads::{Form, Pixels};
use crate::isa::{Isa, Kernel, Runs};
use core::ops::Range;

/// Panels of as many vectors, all of them full, and what a tile of some pixels reads and writes.
pub(super) struct Panels<'p, 'a, I: Isa> {
    pub body: &'p Body,
    pub panels: &'p [Panel],
    /// Where the panels' weights are, what their sums start from, and what is asked for from memory meanwhile.
    pub packed: &'p [i8],
    pub bias: &'p [i32],
    pub ahead: &'p [i8],
    /// Activations, `steps` steps of 16 bytes in every run.
    pub runs: &'p Runs<'p, MAX_ROWS>,
    pub steps: usize,
    /// Room for them as unsigned ones, if the products are those of pairs.
    pub rows: Option<&'p mut Rows>,
    pub live: &'p mut Live<'a, I>,
    /// The pixels, and those of the next tile.
    pub pixels: Range<usize>,
    pub after: Range<usize>,
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
        let Panels { body, panels, packed, bias, mut ahead, runs, steps, live, .. } = all;
        let (mut pairs, after) = (all.rows, all.after);
        let (Some(first), Some(last)) = (panels.first(), panels.last()) else { return };
        let channels = first.channels.0..last.channels.1;
        let far = if FORM == Form::Store as u8 { None } else { live.far_residual() };
        let pixel = all.pixels.start;
        let ends = Pixels::<I0, MR>::new(isa, &mut *live, pixel, channels.start, channels.len());
        let Some(mut ends) = ends.in_form::<FORM>() else { unreachable!("another epilogue") };
        let mut have = None;
        for p in panels {
            let weights = &packed[p.weights.0..][..p.weights.1];
            let (channel, depth_start) = (p.channels.0, p.depth_start);
            if let Some(far) = far.filter(|_| (channel - channels.start).is_multiple_of(LINE)) {
                // One tile ahead: a tile of few products ends before its residual has come.
                far.prefetch(isa, after.clone(), channel, LINE);
            }
            let asks = if ahead.is_empty() { weights } else { ahead };
            let bias = &bias[channel..][..NV * I0::LANES];
            // Not `[bias; MR]`: of more than twelve rows that stays a loop, and the sums go to memory in every step.
            let mut acc: [[I0::I; NV]; MR] = core::array::from_fn(|_| {
                core::array::from_fn(|n| isa.load_i32(&bias[n * I0::LANES..]))
            });
            if let (true, Some(pairs), Some(paired)) = (IN_PAIRS, &mut pairs, &p.paired) {
                if have != Some(depth_start) {
                    pairs.put_rows::<MR>(runs, (depth_start, steps));
                    have = Some(depth_start);
                }
                pairs.add::<I0, MR, NV>(isa, &mut acc, paired.panel(weights), asks);
            } else {
                let channel = depth_start;
                let args = Args { runs, channel, steps, lanes: 0, weights, ahead: asks };
                products::<I0, MR, NV, false>(isa, &mut acc, args);
            }
            let asked = asked(core::slice::from_ref(p), runs.count() * steps);
            ahead = ahead.get(asked..).unwrap_or(&[]);
            let scale = &body.multiplier[channel..][..NV * I0::LANES];
            let scale: [I0::F; NV] =
                core::array::from_fn(|n| isa.load_f32(&scale[n * I0::LANES..]));
            ends.begin_with(channel - channels.start);
            // Not a loop: compilers do not unroll one of this size, and index the accumulators in memory.
            rows::<I0, MR, NV, 0>(isa, &acc, &scale, &mut ends);
            rows::<I0, MR, NV, 1>(isa, &acc, &scale, &mut ends);
            rows::<I0, MR, NV, 2>(isa, &acc, &scale, &mut ends);
            rows::<I0, MR, NV, 3>(isa, &acc, &scale, &mut ends);
            rows::<I0, MR, NV, 4>(isa, &acc, &scale, &mut ends);
            rows::<I0, MR, NV, 5>(isa, &acc, &scale, &mut ends);
            rows::<I0, MR, NV, 6>(isa, &acc, &scale, &mut ends);
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

/// Every shape is a function of its own, as in [`super::gemm`], and so is what comes most often of epilogues.
macro_rules! shapes {
    ($isa:ident, $panels:ident, $shape:ident, $form:ident; $($nv:literal: $($mr:literal)*;)*) => {
        match $shape {
            $($(($mr, $nv) => if const { finishes::<I>($mr, $nv) } {
                match ($form, $panels.rows.is_some()) {
                    (Form::Store, false) => enter!($isa, $panels, $mr, $nv, Store, false),
                    (Form::Sum, false) => enter!($isa, $panels, $mr, $nv, Sum, false),
                    (Form::Any, false) => enter!($isa, $panels, $mr, $nv, Any, false),
                    (form, true) => if const { I::PAIRS && $nv <= I::NV } {
                        match form {
                            Form::Store => enter!($isa, $panels, $mr, $nv, Store, true),
                            Form::Sum => enter!($isa, $panels, $mr, $nv, Sum, true),
                            Form::Any => enter!($isa, $panels, $mr, $nv, Any, true),
                        }
                    } else {
                        unreachable!("no such tile")
                    },
                }
            } else {
                unreachable!("no such tile")
            })*)*
            _ => unreachable!("no such tile"),
        }
    };
}

macro_rules! enter {
    ($isa:ident, $panels:ident, $mr:literal, $nv:literal, $form:ident, $in_pairs:literal) => {{
        const FORM: u8 = Form::$form as u8;
        $isa.enter(TileOfEach::<I, $mr, $nv, FORM, $in_pairs> { isa: $isa, panels: $panels })
    }};
}

/// Runs a tile of each panel, of `shape` rows by vectors as [`finishes`] says. `form` is that of the epilogue.
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
