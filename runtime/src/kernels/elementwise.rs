//! Sums, products and per-channel affine maps of tensors.

use super::epilogue::{Ends, Operand, PackedEpilogue, channels_f32};
use super::{Io, Lookup};
use crate::desc::{OpKind, Store, TensorDesc, TensorId};
use crate::isa::{Isa, Kernel, Platform};
use alloc::vec::Vec;

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
    Affine(Vec<f32>, Vec<f32>),
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
        Some(Self { platform, kernel, input, channels, scale, epilogue, flat })
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
        let mut live = op.epilogue.live(isa, ends, (range.start, 0));
        let gates = gates.unwrap_or_default();
        let (pixels, channels) = if op.flat {
            (0..1, range.start * op.channels..range.end * op.channels)
        } else {
            (range, 0..op.channels)
        };
        for pixel in pixels {
            for channel in channels.clone().step_by(I::LANES) {
                let lanes = I::LANES.min(channels.end - channel);
                let x = op.input.load(isa, input, pixel * op.input.pixel_stride + channel);
                let t = match &op.scale {
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
                };
                live.put(isa, t, pixel, channel, lanes);
            }
        }
    }
}
