//! Concatenation along the channels.

use super::elementwise::PackedElementwise;
use super::moves::Map;
use super::{Io, Scratch};
use crate::Model;
use crate::arena::{Inputs, Lease};
use crate::desc::{DType, List, Span, Store, TensorDesc, TensorId};
use crate::isa::Platform;
use alloc::vec::Vec;

/// A concatenation.
pub struct PackedConcat {
    parts: Vec<Part>,
    /// Bytes from one output pixel to the next.
    step: usize,
}

/// An operand that is not at its place already.
struct Part {
    input: TensorDesc,
    /// First byte of its place in an output pixel.
    first: usize,
    /// Requantises; none: the bytes are copied.
    scale: Option<PackedElementwise>,
}

impl PackedConcat {
    /// Prepares a concatenation.
    #[must_use]
    pub fn pack(
        platform: Platform,
        inputs: List,
        multipliers: Span,
        output: TensorId,
        model: &Model<'_>,
    ) -> Self {
        let target = model.tensor(output);
        let (clamp_min, clamp_max) = match target.dtype {
            DType::I8 => (-128, 127),
            DType::I16 => (-32767, 32767),
        };
        let store =
            Store { output, zero_point: target.zero_point, clamp_min, clamp_max, table: None };
        let mut parts = Vec::new();
        let mut channel = 0;
        for (id, multiplier) in model.list(inputs).zip(model.f32s(multipliers).iter()) {
            let input = model.tensor(id);
            if !input.is_view_of(&target, channel) {
                let scale = (!input.has_values_of(&target)).then(|| {
                    PackedElementwise::requantize(platform, id, multiplier, &store, model)
                });
                let first = (channel * target.dtype.bytes()) as usize;
                parts.push(Part { input, first, scale });
            }
            channel += input.channels;
        }
        Self { parts, step: Map::new(&target).step }
    }

    /// Computes the leased pixels.
    pub fn run(&self, lease: Lease<'_>) {
        let Lease { inputs, outputs: [Some(out), _], units, .. } = lease else { return };
        for part in &self.parts {
            let (x, out) = (Inputs::get(&inputs, &part.input), &mut out[part.first..]);
            if let Some(scale) = &part.scale {
                scale.run(Io {
                    input: x,
                    gate: None,
                    residual: None,
                    store: Some(out),
                    second: None,
                    next: &[],
                    scratch: &mut Scratch::none(),
                    range: units.clone(),
                });
            } else {
                let from = Map::new(&part.input);
                for (pixel, out) in units.clone().zip(out.chunks_mut(self.step)) {
                    out[..from.pixel].copy_from_slice(&x[from.at(pixel)]);
                }
            }
        }
    }
}
