//! In how many parts an operator is computed.

use super::Relay;
use crate::Model;
use crate::arena::Outputs;
use crate::desc::{Op, OpKind};
use crate::ops::Units;

/// Nanoseconds below which one thread computes an operator alone: the others would take longer to begin.
const ALONE: u64 = 1_000;
/// Nanoseconds that a part takes at least, where there are more parts than threads.
const PART: u64 = 20_000;
/// Parts of a thread at most. More than one, so that others can take over from a thread that is late.
const PARTS: u64 = 8;
/// Pixels of a part of a convolution at least: its weights are read once for each part.
const PIXELS: u64 = 512;
/// The same where bands are the parts: weights are transformed once for each, which takes a multiple of reading them.
const BANDED: u64 = 3 * PIXELS;
/// What a fast core does in a nanosecond; on a slow one there are fewer parts than there could be.
const MACS: u64 = 400;
/// Bytes of a nanosecond.
const BYTES: u64 = 20;

/// Parts for `threads`: one, one for each, or some for each. Parts of large maps are made to begin with rows.
pub(super) fn parts(
    model: &Model<'_>,
    op: &Op,
    of: Units,
    threads: usize,
    output: &mut Outputs,
) -> u32 {
    if output.units == 0 || threads == 1 {
        return u32::from(output.units > 0);
    }
    let tensors = model.reads(op).chain(op.kind.writes().into_iter().flatten());
    let bytes: u64 = tensors.map(|id| u64::from(model.tensor(id).extent_bytes())).sum();
    let cost = model.op_macs(op) / MACS + bytes / BYTES;
    if cost < ALONE {
        return 1;
    }
    let (units, threads) = (output.units as u64, threads as u64);
    let mut each = 1;
    if !matches!(of, Units::Channels(_) | Units::Columns(_)) {
        let pixels = match (&op.kind, of) {
            (_, Units::Bands(_)) => BANDED,
            (OpKind::Conv2d(_), _) => PIXELS,
            _ => 1,
        };
        each = (cost / threads / PART).min(PARTS).min(units / threads / pixels).max(1);
        let written = op.kind.writes().into_iter().flatten().next();
        let width = written.map_or(1, |id| model.tensor(id).width as usize);
        if of == Units::Pixels && each > 1 && units / width as u64 >= 4 * threads * each {
            output.granule = width;
        }
    }
    let most = output.units.div_ceil(output.granule) as u64;
    (threads * each).min(most).min(u64::from(Relay::MOST)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Target;
    use crate::desc::{Affine, DType, Store};
    use crate::format::write::{InputSpec, ModelWriter};

    /// Parts and granule of an affine map over `size * size` pixels of 64 channels.
    fn shared(size: u32, threads: usize) -> (u32, usize) {
        let mut writer = ModelWriter::new();
        let x = writer.add_activation("x", [size, size, 64], DType::I8, 1.0, 0).unwrap();
        let y = writer.add_activation("y", [size, size, 64], DType::I8, 1.0, 0).unwrap();
        let (a, b) = (writer.add_f32(&[1.0; 64]).unwrap(), writer.add_f32(&[0.0; 64]).unwrap());
        let store =
            Store { output: y, zero_point: 0, clamp_min: -128, clamp_max: 127, table: None };
        let name = writer.add_string("affine").unwrap();
        let kind = OpKind::Affine { input: x, affine: Affine { a, b }, store };
        writer.add_op(Op { name, kind });
        writer.set_input("x", x, InputSpec::features()).unwrap();
        writer.add_output("y", y).unwrap();
        writer.plan_memory().unwrap();
        let file = writer.finish().unwrap();
        let model = Model::parse(&file).unwrap();
        let units = (size * size) as usize;
        let target = Target { start: 0, step_bytes: 64, unit_bytes: 64, rows: 1, row_bytes: 0 };
        let mut outputs = Outputs { targets: [Some(target), None], units, granule: 1 };
        let parts = parts(&model, &model.op(0), Units::Pixels, threads, &mut outputs);
        (parts, outputs.granule)
    }

    #[test]
    fn small_operators_are_not_divided_and_large_ones_by_rows() {
        assert_eq!(shared(8, 4), (1, 1));
        assert_eq!(shared(28, 1), (1, 1));
        assert_eq!(shared(28, 2), (2, 1));
        assert_eq!(shared(200, 2), (12, 200));
        assert_eq!(shared(400, 2), (16, 400));
    }
}
