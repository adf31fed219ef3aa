//! Sums, products and per-channel affine maps of tensors.

use super::epilogue::{Ends, Operand, PackedEpilogue, channels_f32};
use super::form::Form;
use super::live::Live;
use super::quads::Pixels;
use super::{Io, Lookup};
use crate::desc::{DType, OpKind, Store, TensorDesc, TensorId};
use crate::isa::{Isa, Kernel, Platform};
use alloc::boxed::Box;
use core::ops::Range;

/// An elementwise operator.
pub struct PackedElementwise {
    platform: Platform,
    kernel: &'static str,
    input: Operand,
    channels: usize,
    scale: Scale,
    epilogue: PackedEpilogue,
    /// All tensors are dense and no constant is per channel: the map is one long pixel.
    flat: bool,
}

/// How a value is made from the first operand.
enum Scale {
    /// `t = f32(x') * m`
    One(f32),
    /// `t = f32(x' * g') * m`, with a gate per channel or per element.
    Gate { gate: Operand, per_channel: bool, multiplier: f32 },
    /// `t = f32(x') * a[c]; t = t + b[c]`
    Affine(Box<[f32]>, Box<[f32]>),
}

impl PackedElementwise {
    /// Prepares a sum, a product or an affine map; none for other operators.
    #[must_use]
    pub fn pack(platform: Platform, kind: &OpKind, lookup: &impl Lookup) -> Option<Self> {
        let bias = i32::from(platform.act_xor());
        let dense = |desc: &TensorDesc| desc.pixel_stride == desc.channels;
        let (kernel, input, scale, epilogue) = match kind {
            OpKind::Add { input, multiplier, epilogue } => {
                ("add", input, Scale::One(*multiplier), PackedEpilogue::new(epilogue, lookup, bias))
            }
            OpKind::Mul { input, gate, multiplier, epilogue } => {
                let (x, gate) = (lookup.tensor(*input), lookup.tensor(*gate));
                let per_channel = !gate.has_shape_of(&x);
                let gate = Operand::new(&gate, bias);
                let scale = Scale::Gate { gate, per_channel, multiplier: *multiplier };
                ("mul", input, scale, PackedEpilogue::new(epilogue, lookup, bias))
            }
            OpKind::Affine { input, affine, store } => {
                let constants = [affine.a, affine.b].map(|span| channels_f32(lookup.bytes(span)));
                let [a, b] = constants;
                (
                    "affine",
                    input,
                    Scale::Affine(a, b),
                    PackedEpilogue::of_store(store, lookup, bias),
                )
            }
            _ => return None,
        };
        let desc = lookup.tensor(*input);
        let channels = desc.channels as usize;
        let flat = dense(&desc)
            && epilogue.is_flat(channels)
            && match &scale {
                Scale::One(_) => true,
                Scale::Gate { gate, per_channel, .. } => {
                    !per_channel && gate.pixel_stride == channels
                }
                Scale::Affine(..) => false,
            };
        let input = Operand::new(&desc, bias);
        Some(Self { platform, kernel, input, channels, scale, epilogue, flat }.bounded())
    }

    /// Prepares `store(f32(x') * multiplier)`: an operand of a concatenation.
    pub(super) fn requantize(
        platform: Platform,
        input: TensorId,
        multiplier: f32,
        store: &Store,
        lookup: &impl Lookup,
    ) -> Self {
        let bias = i32::from(platform.act_xor());
        let desc = lookup.tensor(input);
        Self {
            platform,
            kernel: "concat",
            input: Operand::new(&desc, bias),
            channels: desc.channels as usize,
            scale: Scale::One(multiplier),
            epilogue: PackedEpilogue::of_store(store, lookup, bias),
            flat: false,
        }
        .bounded()
    }

    /// The kernel's name.
    #[must_use]
    pub fn kernel(&self) -> &'static str {
        self.kernel
    }

    /// Computes the pixels of `io.range`.
    pub fn run(&self, io: Io<'_>) {
        self.platform.run(Run { op: self, io });
    }
}

struct Run<'a> {
    op: &'a PackedElementwise,
    io: Io<'a>,
}

impl Kernel for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Self { op, io: Io { input, gate: gates, residual, store, second, range, .. } } = self;
        let ends = Ends { residual, store, second };
        let mut live = op.epilogue.live(isa, ends, (range.start, 0), None);
        let gates = gates.unwrap_or_default();
        let (pixels, channels) = if op.flat {
            (0..1, range.start * op.channels..range.end * op.channels)
        } else {
            (range, 0..op.channels)
        };
        // The largest piece that every pixel is made of.
        let vectors = if op.epilogue.is_bounded() { pieces(channels.len() / I::LANES) } else { 0 };
        let at = Place { pixels, channels };
        match vectors {
            4 if op.gates_channels() => {
                let gated = Gated { isa, op, operands: (input, gates), live: &mut live, at };
                // What comes most often is compiled alone.
                match op.epilogue.form(I::BIAS) {
                    Form::Store | Form::Relu => gated.run::<{ Form::Store as u8 }>(),
                    Form::Sum => gated.run::<{ Form::Sum as u8 }>(),
                    Form::ReluSum => gated.run::<{ Form::ReluSum as u8 }>(),
                    Form::ReluSumSecond => gated.run::<{ Form::ReluSumSecond as u8 }>(),
                    Form::Any | Form::Words | Form::PreActivation => {
                        gated.run::<{ Form::Any as u8 }>()
                    }
                }
            }
            4 => quads::<I, 4>(isa, op, (input, gates), &mut live, at),
            2 => quads::<I, 2>(isa, op, (input, gates), &mut live, at),
            1 => quads::<I, 1>(isa, op, (input, gates), &mut live, at),
            _ => singles(isa, op, (input, gates), &mut live, at),
        }
    }
}

/// The largest number of vectors, of 4, 2 and 1, that a quad can take of a pixel of `vectors`.
fn pieces(vectors: usize) -> usize {
    [4, 2, 1].into_iter().find(|n| vectors >= *n).unwrap_or(0)
}

/// Some channels of some pixels.
#[derive(Clone)]
struct Place {
    pixels: Range<usize>,
    channels: Range<usize>,
}

/// Computes quads of `NV` vectors of channels of `4 / NV` neighbouring pixels; what is left of a pixel, or of the
/// pixels, one by one.
#[inline(always)]
fn quads<I: Isa, const NV: usize>(
    isa: I,
    op: &PackedElementwise,
    operands: (&[u8], &[u8]),
    live: &mut Live<'_, I>,
    Place { pixels, channels }: Place,
) {
    let (deep, wide) = const { (4 / NV, NV) };
    let whole = channels.len() / (wide * I::LANES) * (wide * I::LANES);
    if pixels.len() < deep {
        return singles(isa, op, operands, live, Place { pixels, channels });
    }
    let mut pixel = pixels.start;
    while pixel < pixels.end {
        // The last ones move back and compute some pixels again.
        let first = pixel.min(pixels.end - deep);
        for channel in (channels.start..channels.start + whole).step_by(wide * I::LANES) {
            let value = [
                op.value(isa, operands, first, channel),
                op.value(isa, operands, first + 1 / NV, channel + 1 % NV * I::LANES),
                op.value(isa, operands, first + 2 / NV, channel + 2 % NV * I::LANES),
                op.value(isa, operands, first + 3 / NV, channel + 3 % NV * I::LANES),
            ];
            live.quad::<NV>(isa, value, first, channel);
        }
        live.after_quads(isa, first..first + deep, channels.start, whole);
        pixel += deep;
    }
    let channels = channels.start + whole..channels.end;
    singles(isa, op, operands, live, Place { pixels, channels });
}

/// Bytes of pixels that pass under the gates of some channels before those of the next ones come: maps are read as they
/// lie in memory, but for what stays in the first cache level.
const PASSING: usize = 16 << 10;

/// As [`quads`], of an i8 map times a gate per channel: the gates of four vectors stay in registers while pixels pass.
/// Squeeze and excitation does nothing else with a map.
struct Gated<'a, 'l, I: Isa> {
    isa: I,
    op: &'l PackedElementwise,
    operands: (&'l [u8], &'l [u8]),
    live: &'l mut Live<'a, I>,
    at: Place,
}

impl<I: Isa> Gated<'_, '_, I> {
    /// Computes the pixels, with an epilogue of the form.
    #[inline(always)]
    fn run<const FORM: u8>(self) {
        let Self { isa, op, operands, live, at: Place { pixels, channels } } = self;
        let (input, gates) = operands;
        let Scale::Gate { gate, multiplier, .. } = &op.scale else { return };
        let (step, whole) = (4 * I::LANES, channels.len() / (4 * I::LANES) * (4 * I::LANES));
        let (offset, multiplier) = (isa.splat(-op.input.zero_point), isa.splat_f32(*multiplier));
        let zero = isa.splat(0);
        let count = (PASSING / channels.len()).clamp(8, 256);
        for start in pixels.clone().step_by(count) {
            let passing = start..pixels.end.min(start + count);
            for channel in (channels.start..channels.start + whole).step_by(step) {
                // No closures, as in `Pixels::quad`.
                let factors = [
                    gate.load(isa, gates, channel),
                    gate.load(isa, gates, channel + I::LANES),
                    gate.load(isa, gates, channel + 2 * I::LANES),
                    gate.load(isa, gates, channel + 3 * I::LANES),
                ];
                // What the input's zero point takes off every product.
                let starts = [
                    isa.mul_add(zero, factors[0], offset),
                    isa.mul_add(zero, factors[1], offset),
                    isa.mul_add(zero, factors[2], offset),
                    isa.mul_add(zero, factors[3], offset),
                ];
                let all = Pixels::new(isa, &mut *live, (start, passing.len()), channel, step);
                let Some(mut all) = all.in_form::<FORM>() else { unreachable!("another epilogue") };
                for (row, pixel) in passing.clone().enumerate() {
                    let at = pixel * op.input.pixel_stride + channel;
                    let x = &input[at..at + step];
                    let value = [
                        gate_value(isa, x, starts[0], factors[0], multiplier),
                        gate_value(isa, &x[I::LANES..], starts[1], factors[1], multiplier),
                        gate_value(isa, &x[2 * I::LANES..], starts[2], factors[2], multiplier),
                        gate_value(isa, &x[3 * I::LANES..], starts[3], factors[3], multiplier),
                    ];
                    all.quad::<4>(isa, value, row, row);
                }
            }
            live.after_quads(isa, passing, channels.start, whole);
        }
        let channels = channels.start + whole..channels.end;
        singles(isa, op, operands, live, Place { pixels, channels });
    }
}

/// `f32(start + x * factor) * multiplier`, where stored bytes and factors fit i16.
#[inline(always)]
fn gate_value<I: Isa>(isa: I, x: &[u8], start: I::I, factor: I::I, multiplier: I::F) -> I::F {
    let product = isa.mul_add(start, isa.load_i8(x), factor);
    isa.mul_f32(isa.to_f32(product), multiplier)
}

/// Computes vectors one by one.
#[inline(always)]
fn singles<I: Isa>(
    isa: I,
    op: &PackedElementwise,
    operands: (&[u8], &[u8]),
    live: &mut Live<'_, I>,
    Place { pixels, channels }: Place,
) {
    for pixel in pixels {
        for channel in channels.clone().step_by(I::LANES) {
            let lanes = I::LANES.min(channels.end - channel);
            let t = op.value(isa, operands, pixel, channel);
            live.put(isa, t, pixel, channel, lanes);
        }
    }
}

impl PackedElementwise {
    /// A vector of scaled values of `(input, gates)`.
    #[inline(always)]
    fn value<I: Isa>(
        &self,
        isa: I,
        (input, gates): (&[u8], &[u8]),
        pixel: usize,
        channel: usize,
    ) -> I::F {
        let x = self.input.load(isa, input, pixel * self.input.pixel_stride + channel);
        match &self.scale {
            Scale::One(m) => isa.mul_f32(isa.to_f32(x), isa.splat_f32(*m)),
            Scale::Gate { gate, per_channel, multiplier } => {
                let pixel = if *per_channel { 0 } else { pixel };
                let g = gate.load(isa, gates, pixel * gate.pixel_stride + channel);
                let product = isa.mul_add(isa.splat(0), x, g);
                isa.mul_f32(isa.to_f32(product), isa.splat_f32(*multiplier))
            }
            Scale::Affine(a, b) => {
                let t = isa.mul_f32(isa.to_f32(x), isa.load_f32(&a[channel..]));
                isa.add_f32(t, isa.load_f32(&b[channel..]))
            }
        }
    }

    /// Whether it is an i8 map times a gate per channel.
    fn gates_channels(&self) -> bool {
        self.input.dtype == DType::I8 && matches!(self.scale, Scale::Gate { per_channel: true, .. })
    }

    /// The largest magnitude of a scaled value, over all inputs.
    fn most(&self) -> f64 {
        let x = self.input.most();
        match &self.scale {
            Scale::One(m) => x * f64::from(m.abs()),
            Scale::Gate { gate, multiplier, .. } => x * gate.most() * f64::from(multiplier.abs()),
            Scale::Affine(a, b) => {
                let largest = |v: &[f32]| v.iter().fold(0f64, |m, v| m.max(f64::from(v.abs())));
                x * largest(a) + largest(b)
            }
        }
    }

    /// With what follows from the range of its values.
    fn bounded(mut self) -> Self {
        let most = self.most();
        self.epilogue.bound(most);
        self
    }
}
