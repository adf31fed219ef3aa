//! Epilogues four vectors at a time.
//!
//! Vectors leave as whole registers of bytes, which takes half the time of one by one (`rates`, 1x1 64-256 @56). What is
//! read and written is checked once for a tile.

use super::live::{Constants, Live, LiveStore};
use crate::desc::DType;
use crate::isa::{Area, AreaMut, Isa};

/// Some channels of `R` neighbouring pixels, with the epilogue.
pub(super) struct Pixels<'t, I: Isa, const R: usize> {
    residual: Option<Residual<'t, I, R>>,
    store: Option<Stored<'t, I, R>>,
    second: Option<(&'t [f32], &'t [f32], Stored<'t, I, R>)>,
    /// Of these channels the one that quads begin with.
    from: usize,
}

/// What an epilogue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing but to store i8, without a table.
    Store,
    /// That, after a residual of i8 is added.
    Sum,
    /// More than that.
    Any,
}

impl<I: Isa> Live<'_, I> {
    /// What it does to quads.
    #[inline(always)]
    pub fn form(&self) -> Form {
        let plain =
            |s: &LiveStore<'_, I>| s.constants.dtype == DType::I8 && s.constants.table.is_none();
        if self.second.is_some() || !self.store.as_ref().is_some_and(plain) {
            return Form::Any;
        }
        match &self.residual {
            None => Form::Store,
            Some((operand, ..)) if operand.dtype == DType::I8 => Form::Sum,
            Some(_) => Form::Any,
        }
    }
}

struct Residual<'t, I: Isa, const R: usize> {
    area: Area<'t, R>,
    dtype: DType,
    offset: I::I,
    factor: I::F,
}

impl<I: Isa, const R: usize> Residual<'_, I, R> {
    /// `t + f32(r + offset) * factor`
    #[inline(always)]
    fn add(&self, isa: I, t: I::F, r: I::I) -> I::F {
        isa.add_f32(t, isa.mul_f32(isa.to_f32(isa.add(r, self.offset)), self.factor))
    }
}

struct Stored<'t, I: Isa, const R: usize> {
    area: AreaMut<'t, R>,
    dtype: DType,
    /// The table, if it is looked up beside the sums.
    table: Option<&'t [u8; 256]>,
    constants: &'t Constants<'t, I>,
}

impl<'t, I: Isa, const R: usize> Stored<'t, I, R> {
    #[inline(always)]
    fn new(s: &'t mut LiveStore<'_, I>, pixel: usize, channel: usize, channels: usize) -> Self {
        let element = s.constants.dtype.bytes() as usize;
        let first = (pixel * s.pixel_stride + channel - s.first) * element;
        let area = AreaMut::new(s.out, first, s.pixel_stride * element, channels * element);
        let table = s.constants.table.filter(|_| I::TRANSLATES);
        Self { area, dtype: s.constants.dtype, table, constants: &s.constants }
    }

    /// Stores four vectors, but for the table if that needs the registers of the sums.
    #[inline(always)]
    fn put<const NV: usize>(
        &mut self,
        isa: I,
        t: [I::F; 4],
        (row, last): (usize, usize),
        from: usize,
    ) {
        let Self { area, dtype, table, constants: c } = self;
        let q = [isa.round(t[0]), isa.round(t[1]), isa.round(t[2]), isa.round(t[3])];
        let step = area.step();
        match dtype {
            DType::I8 => {
                let bytes = isa.pack_i8(q, c.zero, c.bytes[0], c.bytes[1]);
                let bytes = translated(isa, *table, bytes);
                let out = area.span(row, last, from, NV * I::LANES);
                match NV {
                    4 => isa.put_i8::<1>(bytes, out, 0),
                    2 => isa.put_i8::<2>(bytes, out, (last - row) * step),
                    _ => isa.put_i8::<4>(bytes, out, step),
                }
            }
            DType::I16 => {
                let [low, high] = c.words;
                let a = isa.pack_i16([q[0], q[1]], low, high);
                let b = isa.pack_i16([q[2], q[3]], low, high);
                let from = 2 * from;
                match NV {
                    4 => {
                        isa.put_i16::<1>(a, area.get(row, from, 4 * I::LANES), 0);
                        isa.put_i16::<1>(b, area.get(row, from + 4 * I::LANES, 4 * I::LANES), 0);
                    }
                    2 => {
                        isa.put_i16::<1>(a, area.get(row, from, 4 * I::LANES), 0);
                        isa.put_i16::<1>(b, area.get(last, from, 4 * I::LANES), 0);
                    }
                    _ => {
                        isa.put_i16::<2>(a, area.span(row, row + 1, from, 2 * I::LANES), step);
                        isa.put_i16::<2>(b, area.span(row + 2, last, from, 2 * I::LANES), step);
                    }
                }
            }
        }
    }
}

impl<'t, I: Isa, const R: usize> Pixels<'t, I, R> {
    /// Those from `pixel` on, `channels` channels from `channel` on.
    #[inline(always)]
    pub fn new(
        isa: I,
        live: &'t mut Live<'_, I>,
        pixel: usize,
        channel: usize,
        channels: usize,
    ) -> Self {
        let residual = live.residual.as_ref().map(|(operand, factor, bytes)| {
            let element = operand.dtype.bytes() as usize;
            let first = (pixel * operand.pixel_stride + channel) * element;
            Residual {
                area: Area::new(bytes, first, operand.pixel_stride * element, channels * element),
                dtype: operand.dtype,
                offset: isa.splat(-operand.zero_point),
                factor: *factor,
            }
        });
        let store = live.store.as_mut().map(|s| Stored::new(s, pixel, channel, channels));
        let second = live.second.as_mut().map(|(a, b, s)| {
            let channels_of = channel..channel + channels;
            (&a[channels_of.clone()], &b[channels_of], Stored::new(s, pixel, channel, channels))
        });
        Self { residual, store, second, from: 0 }
    }

    /// Quads begin with channel `from` of these channels.
    #[inline(always)]
    pub fn begin_with(&mut self, from: usize) {
        self.from = from;
    }

    /// As it is, if it is of this [`Form`]. Compilers see what does not happen, and leave it out.
    #[inline(always)]
    pub fn in_form<const FORM: u8>(self) -> Option<Self> {
        if FORM == Form::Any as u8 {
            return Some(self);
        }
        let Self { residual, store: Some(store), from, .. } = self else { return None };
        let residual = match residual {
            Some(r) if FORM == Form::Sum as u8 => Some(Residual { dtype: DType::I8, ..r }),
            None if FORM == Form::Store as u8 => None,
            _ => return None,
        };
        let store = Some(Stored { dtype: DType::I8, table: None, ..store });
        Some(Self { residual, store, second: None, from })
    }

    /// Finishes the scaled values of pixel `row`, of which vector `v` holds every fourth channel from `v` on. Only where
    /// the epilogue is bounded, and [one store of i8](super::epilogue::PackedEpilogue::is_one_store_of_i8).
    #[inline(always)]
    pub fn woven(&mut self, isa: I, t: [I::F; 4], row: usize) {
        let Some(Stored { area, table, constants: c, .. }) = &mut self.store else { return };
        let q = [isa.round(t[0]), isa.round(t[1]), isa.round(t[2]), isa.round(t[3])];
        let bytes = isa.weave_i8(q, c.zero, c.bytes[0], c.bytes[1]);
        let bytes = translated(isa, *table, bytes);
        isa.put_i8::<1>(bytes, area.get(row, 0, 4 * I::LANES), 0);
    }

    /// Finishes the scaled values of all `NV` vectors of `4 / NV` pixels: of `row` alone, of `row` and `last` (which may be
    /// the same: it is finished twice), or of `row` to `last`. Only where the epilogue is
    /// [bounded](super::epilogue::PackedEpilogue::bound).
    #[inline(always)]
    pub fn quad<const NV: usize>(&mut self, isa: I, value: [I::F; 4], row: usize, last: usize) {
        const { assert!(NV == 1 || NV == 2 || NV == 4) };
        // No closures: compilers leave them as functions, and accumulators in registers are lost around a call.
        let from = self.from;
        let t = match &self.residual {
            Some(residual) => {
                let area = &residual.area;
                let rows = match NV {
                    4 => [row; 4],
                    2 => [row, row, last, last],
                    _ => [row, row + 1, row + 2, row + 3],
                };
                let l = I::LANES;
                let r = match residual.dtype {
                    DType::I8 => [
                        isa.load_i8(area.get(rows[0], from, l)),
                        isa.load_i8(area.get(rows[1], from + 1 % NV * l, l)),
                        isa.load_i8(area.get(rows[2], from + 2 % NV * l, l)),
                        isa.load_i8(area.get(rows[3], from + 3 % NV * l, l)),
                    ],
                    DType::I16 => [
                        isa.load_i16(area.get(rows[0], 2 * from, 2 * l)),
                        isa.load_i16(area.get(rows[1], 2 * (from + 1 % NV * l), 2 * l)),
                        isa.load_i16(area.get(rows[2], 2 * (from + 2 % NV * l), 2 * l)),
                        isa.load_i16(area.get(rows[3], 2 * (from + 3 % NV * l), 2 * l)),
                    ],
                };
                [
                    residual.add(isa, value[0], r[0]),
                    residual.add(isa, value[1], r[1]),
                    residual.add(isa, value[2], r[2]),
                    residual.add(isa, value[3], r[3]),
                ]
            }
            None => value,
        };
        if let Some(store) = &mut self.store {
            store.put::<NV>(isa, t, (row, last), from);
        }
        if let Some((a, b, store)) = &mut self.second {
            let (a, b) = (&a[from..], &b[from..]);
            let u = [
                affine(isa, t[0], a, b),
                affine(isa, t[1], &a[1 % NV * I::LANES..], &b[1 % NV * I::LANES..]),
                affine(isa, t[2], &a[2 % NV * I::LANES..], &b[2 % NV * I::LANES..]),
                affine(isa, t[3], &a[3 % NV * I::LANES..], &b[3 % NV * I::LANES..]),
            ];
            store.put::<NV>(isa, u, (row, last), from);
        }
    }
}

/// The table's bytes, where there is one.
#[inline(always)]
fn translated<I: Isa>(isa: I, table: Option<&[u8; 256]>, bytes: I::B) -> I::B {
    match table {
        Some(table) if I::TRANSLATES => isa.translate(table, bytes),
        _ => bytes,
    }
}

/// `t * a + b`, rounded twice.
#[inline(always)]
fn affine<I: Isa>(isa: I, t: I::F, a: &[f32], b: &[f32]) -> I::F {
    isa.add_f32(isa.mul_f32(t, isa.load_f32(a)), isa.load_f32(b))
}
