//! What lowering did, for people and for the comparison with the float network.

use std::fmt;

use kenar::desc::{DType, TensorId};

use crate::graph::ValueId;

/// An output channel whose weight scale was raised so that its bias fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guard {
    /// Output channel.
    pub channel: usize,
    /// Whether all its weights are zero.
    pub dead: bool,
    /// Its largest weight.
    pub largest_weight: f32,
    /// The scale it got at least.
    pub scale: f32,
}

/// One tensor that an operator writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// In the model.
    pub tensor: TensorId,
    /// In the float graph.
    pub value: ValueId,
    /// Name of the float value.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Real step.
    pub scale: f32,
    /// The quantised value of 0.0.
    pub zero_point: i32,
}

/// One operator of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct OpReport {
    /// Name of the float node that it begins with.
    pub name: String,
    /// What it does: `Conv2d + residual, clamp`.
    pub kind: String,
    /// What it writes: the first store, then the second.
    pub written: Vec<Written>,
    /// Channels with a raised weight scale.
    pub guards: Vec<Guard>,
}

/// The whole model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LowerReport {
    /// Operators in execution order.
    pub ops: Vec<OpReport>,
    /// What the user should know: what was cut off behind an output, for example.
    pub notes: Vec<String>,
    /// Size of the arena.
    pub arena_bytes: u32,
    /// The largest sum of live bytes: no plan can be smaller.
    pub floor_bytes: u32,
    /// Size of the model file.
    pub file_bytes: usize,
}

impl LowerReport {
    /// Operators that write an i16 tensor.
    pub fn wide_ops(&self) -> usize {
        self.ops.iter().filter(|o| o.written.iter().any(|w| w.dtype == DType::I16)).count()
    }
}

impl fmt::Display for LowerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, op) in self.ops.iter().enumerate() {
            write!(f, "{i:>4}  {:<36} {:<34}", op.name, op.kind)?;
            for w in &op.written {
                let dtype = if w.dtype == DType::I8 { "i8" } else { "i16" };
                write!(f, "  {}: {dtype} x{:.3e} zero {}", w.name, w.scale, w.zero_point)?;
            }
            writeln!(f)?;
            for g in &op.guards {
                let what = if g.dead { "has no weights" } else { "has weights of next to nothing" };
                writeln!(
                    f,
                    "      channel {} {what} (largest {:.1e}); its scale is {:.1e} so that the bias fits",
                    g.channel, g.largest_weight, g.scale
                )?;
            }
        }
        self.notes.iter().try_for_each(|n| writeln!(f, "note: {n}"))?;
        writeln!(
            f,
            "{} operators ({} with i16 results), arena {} bytes (floor {}), file {} bytes",
            self.ops.len(),
            self.wide_ops(),
            self.arena_bytes,
            self.floor_bytes,
            self.file_bytes
        )
    }
}
