//! Concatenation along the channels, see [`crate::desc::OpKind::Concat`].

use super::Context;
use super::map::{MapMut, Part};
use crate::arena::Inputs;
use crate::desc::{DType, List, TensorId};
use crate::format::F32s;
use crate::quant::requantize;

/// Computes the pixels of `part`.
pub(super) fn run(
    context: Context<'_, '_>,
    list: List,
    multipliers: F32s<'_>,
    output: TensorId,
    inputs: Inputs<'_>,
    out: Option<MapMut<'_>>,
    part: &Part,
) {
    let Some(mut out) = out else { return };
    let target = context.model.tensor(output);
    let (low, high) = match target.dtype {
        DType::I8 => (-128, 127),
        DType::I16 => (-32767, 32767),
    };
    let mut first = 0;
    for (id, multiplier) in context.model.list(list).zip(multipliers.iter()) {
        let desc = context.model.tensor(id);
        if !desc.is_view_of(&target, first) {
            let x = context.map(inputs, id);
            let same = desc.has_values_of(&target);
            for pixel in part.pixels.clone() {
                for c in 0..x.channels {
                    let q = if same {
                        x.get(pixel, c)
                    } else {
                        requantize(
                            x.centered(pixel, c) as f32 * multiplier,
                            target.zero_point,
                            low,
                            high,
                        )
                    };
                    out.put(pixel, first as usize + c, q);
                }
            }
        }
        first += desc.channels;
    }
}
