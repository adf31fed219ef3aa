//! Bytes that operators move and compute nothing with.

use kenar::Model;
use kenar::desc::{OpKind, TensorDesc};
use serde_json::{Value, json};

use crate::cli::table::bytes;

/// Tensors, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Moved {
    tensors: usize,
    bytes: u64,
}

impl Moved {
    fn add(&mut self, tensor: &TensorDesc) {
        self.tensors += 1;
        self.bytes += u64::from(tensor.elements()) * u64::from(tensor.dtype.bytes());
    }

    fn json(self) -> Value {
        json!({ "tensors": self.tensors, "bytes": self.bytes })
    }
}

/// What one run of a model moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// Operands of concatenations that are not written where they belong.
    joined: Moved,
    /// Those that are.
    placed: Moved,
    /// Slices, crops, paddings; views are none.
    cut: Moved,
    /// Enlarged maps: each pixel is written several times, but to where it is read.
    resized: Moved,
}

impl Copies {
    /// Of a model at its size.
    pub fn of(model: &Model) -> Self {
        let mut copies = Self::default();
        for op in model.ops() {
            match op.kind {
                OpKind::Concat { inputs, output, .. } => {
                    let (target, mut channel) = (model.tensor(output), 0);
                    for operand in model.list(inputs).map(|id| model.tensor(id)) {
                        let in_place = operand.is_view_of(&target, channel);
                        let moved = if in_place { &mut copies.placed } else { &mut copies.joined };
                        moved.add(&operand);
                        channel += operand.channels;
                    }
                }
                OpKind::Copy(copy) => {
                    let (from, to) = (model.tensor(copy.input), model.tensor(copy.output));
                    if !copy.is_view(&from, &to) {
                        copies.cut.add(&to);
                    }
                }
                OpKind::Resize(resize) => copies.resized.add(&model.tensor(resize.output)),
                _ => {}
            }
        }
        copies
    }

    /// The JSON document.
    pub fn document(&self) -> Value {
        json!({
            "concat": self.joined.json(),
            "concat_in_place": self.placed.json(),
            "copy": self.cut.json(),
            "resize": self.resized.json(),
        })
    }

    /// The line for people.
    pub fn text(&self) -> String {
        let part = |moved: Moved, what: &str| {
            (moved.tensors > 0)
                .then(|| format!("{} {what} ({})", moved.tensors, bytes(moved.bytes)))
        };
        let parts: Vec<String> = [
            part(self.joined, "operands of concatenations"),
            part(self.cut, "crops or paddings"),
            part(self.resized, "enlarged maps"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let copied = if parts.is_empty() { "none".to_owned() } else { parts.join(", ") };
        match part(self.placed, "operands are written in place") {
            Some(placed) => format!("{copied}; {placed}"),
            None => copied,
        }
    }
}
