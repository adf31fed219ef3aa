//! Epilogues four vectors at a time.
//!
//! Vectors leave as whole registers of bytes, which takes half the time of one by one (`rates`, 1x1 64-256 @56). What is
//! read and written is checked once for a tile.

use super::form::{Form, Kind};
use super::live::{Constants, FAR, Live, LiveResidual, LiveSecond, LiveStore};
use crate::desc::DType;
use crate::isa::{Area, AreaMut, Isa};

/// Some channels of neighbouring pixels, with the epilogue.
pub(super) struct Pixels<'t, I: Isa> {
    residual: Option<Residual<'t, I>>,
    store: Option<Stored<'t, I>>,
    second: Option<Second<'t, I>>,
    /// Of these channels the one that quads begin with.
    from: usize,
}

struct Residual<'t, I: Isa> {
    area: Area<'t>,
    /// Whether the map is too large to be near.
    is_far: bool,
    dtype: DType,
    /// Minus what is loaded for 0.0.
    offset: I::I,
    /// Whether that is 0.
    is_centred: bool,
    factor: I::F,
    /// Whether all products with it are f32.
    is_exact: bool,
}

impl<I: Isa> Residual<'_, I> {
    /// `t + f32(r + offset) * factor` of four vectors.
    #[inline(always)]
    fn add(&self, isa: I, t: [I::F; 4], r: [I::I; 4]) -> [I::F; 4] {
        let r = if self.is_centred {
            r
        } else {
            [
                isa.add(r[0], self.offset),
                isa.add(r[1], self.offset),
                isa.add(r[2], self.offset),
                isa.add(r[3], self.offset),
            ]
        };
        let r = [isa.to_f32(r[0]), isa.to_f32(r[1]), isa.to_f32(r[2]), isa.to_f32(r[3])];
        // Asked once: asked for each vector it took a third as many instructions again.
        if self.is_exact {
            [
                isa.mul_add_f32(r[0], self.factor, t[0]),
                isa.mul_add_f32(r[1], self.factor, t[1]),
                isa.mul_add_f32(r[2], self.factor, t[2]),
                isa.mul_add_f32(r[3], self.factor, t[3]),
            ]
        } else {
            [
                isa.add_f32(t[0], isa.mul_f32(r[0], self.factor)),
                isa.add_f32(t[1], isa.mul_f32(r[1], self.factor)),
                isa.add_f32(t[2], isa.mul_f32(r[2], self.factor)),
                isa.add_f32(t[3], isa.mul_f32(r[3], self.factor)),
            ]
        }
    }
}

/// As [`LiveSecond`].
struct Second<'t, I: Isa> {
    a: &'t [f32],
    b: Option<&'t [f32]>,
    store: Stored<'t, I>,
}

struct Stored<'t, I: Isa> {
    area: AreaMut<'t>,
    dtype: DType,
    /// The table, if it is looked up beside the sums.
    table: Option<&'t [u8; 256]>,
    /// Whether 0.0 is the smallest i8 and there are no other limits.
    whole: bool,
    constants: &'t Constants<'t, I>,
}

impl<'t, I: Isa> Stored<'t, I> {
    #[inline(always)]
    fn new(
        s: &'t mut LiveStore<'_, I>,
        (pixel, rows): (usize, usize),
        channel: usize,
        channels: usize,
    ) -> Self {
        let element = s.constants.dtype.bytes() as usize;
        let first = (pixel * s.pixel_stride + channel - s.first) * element;
        let area = AreaMut::new(s.out, rows, first, s.pixel_stride * element, channels * element);
        let (table, constants) = (s.constants.table.filter(|_| I::TRANSLATES), &s.constants);
        Self { area, dtype: constants.dtype, table, whole: constants.whole, constants }
    }

    /// What a form says of it is known to compilers.
    #[inline(always)]
    fn of(self, kind: Kind) -> Self {
        Self { dtype: kind.dtype(), table: None, whole: kind == Kind::Relu, ..self }
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
        let Self { area, dtype, table, whole, constants: c } = self;
        let q = [isa.round(t[0]), isa.round(t[1]), isa.round(t[2]), isa.round(t[3])];
        let step = area.step();
        match dtype {
            DType::I8 => {
                let bytes = if *whole {
                    isa.pack_whole_i8(q)
                } else {
                    isa.pack_i8(q, c.zero, c.bytes[0], c.bytes[1])
                };
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

impl<'t, I: Isa> Pixels<'t, I> {
    /// `rows` of them from `pixel` on, `channels` channels from `channel` on.
    #[inline(always)]
    pub fn new(
        isa: I,
        live: &'t mut Live<'_, I>,
        (pixel, rows): (usize, usize),
        channel: usize,
        channels: usize,
    ) -> Self {
        // No closures: compilers leave them as functions, and what is in registers is lost around a call.
        let residual = match &live.residual {
            Some(LiveResidual { operand, multiplier, is_exact, bytes }) => {
                let element = operand.dtype.bytes() as usize;
                let first = (pixel * operand.pixel_stride + channel) * element;
                let step = operand.pixel_stride * element;
                Some(Residual {
                    area: Area::new(bytes, rows, first, step, channels * element),
                    is_far: bytes.len() > FAR,
                    dtype: operand.dtype,
                    offset: isa.splat(-operand.zero_point),
                    is_centred: operand.zero_point == 0,
                    factor: *multiplier,
                    is_exact: *is_exact,
                })
            }
            None => None,
        };
        let pixels = (pixel, rows);
        let store = match &mut live.store {
            Some(s) => Some(Stored::new(s, pixels, channel, channels)),
            None => None,
        };
        let second = match &mut live.second {
            Some(LiveSecond { a, b, store }) => Some(Second {
                a: &a[channel..][..channels],
                b: b.as_ref().map(|b| &b[channel..][..channels]),
                store: Stored::new(store, pixels, channel, channels),
            }),
            None => None,
        };
        Self { residual, store, second, from: 0 }
    }

    /// Quads begin with channel `from` of these channels.
    #[inline(always)]
    pub fn begin_with(&mut self, from: usize) {
        self.from = from;
    }

    /// The residual, if its map is too large to be near, and the bytes of a channel.
    #[inline(always)]
    pub fn far_residual(&self) -> Option<(Area<'t>, usize)> {
        match &self.residual {
            Some(r) if r.is_far => Some((r.area, r.dtype.bytes() as usize)),
            _ => None,
        }
    }

    /// As it is, if it is of this [`Form`]. Compilers see what does not happen, and leave it out.
    #[inline(always)]
    pub fn in_form<const FORM: u8>(self) -> Option<Self> {
        let Some(parts) = (const { Form::ALL[FORM as usize].parts() }) else { return Some(self) };
        let Self { residual, store, second, from } = self;
        let residual = match (residual, parts.residual) {
            (Some(r), Some(kind)) => {
                // What is loaded for 0.0 is 0 if it is the smallest of bytes without a sign.
                let is_centred = match kind {
                    Kind::I8 => false,
                    Kind::Relu => I::BIAS == 128,
                    Kind::I16 => true,
                };
                let is_exact = kind != Kind::I16;
                Some(Residual { dtype: kind.dtype(), is_centred, is_exact, ..r })
            }
            (None, None) => None,
            _ => return None,
        };
        let store = match (store, parts.store) {
            (Some(s), Some(kind)) => Some(s.of(kind)),
            (None, None) => None,
            _ => return None,
        };
        let second = match (second, parts.second) {
            (Some(Second { a, b, store }), Some(kind)) => {
                Some(Second { a, b, store: store.of(kind) })
            }
            (None, None) => None,
            _ => return None,
        };
        Some(Self { residual, store, second, from })
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
                residual.add(isa, value, r)
            }
            None => value,
        };
        if let Some(store) = &mut self.store {
            store.put::<NV>(isa, t, (row, last), from);
        }
        if let Some(Second { a, b, store }) = &mut self.second {
            let a = factors::<I, NV>(isa, &a[from..]);
            let u = [
                isa.mul_f32(t[0], a[0]),
                isa.mul_f32(t[1], a[1]),
                isa.mul_f32(t[2], a[2]),
                isa.mul_f32(t[3], a[3]),
            ];
            let u = match b {
                Some(b) => {
                    let b = factors::<I, NV>(isa, &b[from..]);
                    [
                        isa.add_f32(u[0], b[0]),
                        isa.add_f32(u[1], b[1]),
                        isa.add_f32(u[2], b[2]),
                        isa.add_f32(u[3], b[3]),
                    ]
                }
                None => u,
            };
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

/// Of `NV` vectors of channels, for each vector of a quad.
#[inline(always)]
fn factors<I: Isa, const NV: usize>(isa: I, values: &[f32]) -> [I::F; 4] {
    [
        isa.load_f32(values),
        isa.load_f32(&values[1 % NV * I::LANES..]),
        isa.load_f32(&values[2 % NV * I::LANES..]),
        isa.load_f32(&values[3 % NV * I::LANES..]),
    ]
}
