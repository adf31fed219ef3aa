//! Bytes that an operator moves, and from how far they come.

use kenar::Model;
use kenar::desc::{Op, OpKind, TensorDesc};

use super::machine::Machine;

/// What one operator moves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Activations that are read.
    pub read: u64,
    /// Weights, biases, multipliers and other constants.
    pub constants: u64,
    /// Activations that are written.
    pub written: u64,
    /// All of them by the level of memory where they are, when one run follows the other.
    pub levels: Vec<u64>,
}

impl Traffic {
    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.read + self.constants + self.written
    }
}

/// Bytes of the arena that are looked at together.
const BLOCK: u64 = 1024;

/// Traffic of every operator of a model.
///
/// Data is in the smallest level that holds what was touched since it was last touched itself. Operators go through
/// their operands from front to end; weights are touched once a run.
pub fn of(model: &Model, machine: &Machine) -> Vec<Traffic> {
    let mut all: Vec<(Traffic, Accesses)> = model.ops().map(|op| moved(model, &op)).collect();
    let whole: u64 = all.iter().map(|(traffic, _)| traffic.bytes()).sum();
    let mut last = vec![0; (model.plan_bytes() as u64).div_ceil(BLOCK) as usize];
    let mut now = 0;
    // The first run only finds out what is touched when.
    for _ in 0..2 {
        for (traffic, accesses) in &mut all {
            let length = traffic.bytes();
            traffic.levels = vec![0; machine.levels.len()];
            traffic.levels[machine.level(whole)] += traffic.constants;
            for operand in accesses.iter() {
                access(operand, [now, length], &mut last, |distance, bytes| {
                    traffic.levels[machine.level(distance)] += bytes;
                });
            }
            now += length;
        }
    }
    all.into_iter().map(|(traffic, _)| traffic).collect()
}

/// Tells how many bytes of an operand were last touched how many bytes ago, and touches them.
fn access(
    (tensor, bytes): &(TensorDesc, u64),
    [start, length]: [u64; 2],
    last: &mut [u64],
    mut found: impl FnMut(u64, u64),
) {
    let from = u64::from(tensor.arena_offset);
    let extent = u64::from(tensor.extent_bytes()).max(1);
    let blocks = from / BLOCK..(from + extent).div_ceil(BLOCK);
    let mut counted = 0;
    for block in blocks {
        let Some(last) = last.get_mut(block as usize) else { break };
        // Bytes of a view lie evenly among those of others.
        let end = ((block + 1) * BLOCK - from).min(extent);
        let until = (u128::from(*bytes) * u128::from(end) / u128::from(extent)) as u64;
        let time = start + (u128::from(length) * u128::from(end) / u128::from(extent)) as u64;
        found(time.saturating_sub(*last), until - counted);
        (*last, counted) = (time, until);
    }
}

fn tensor_bytes(tensor: &TensorDesc) -> u64 {
    u64::from(tensor.elements()) * u64::from(tensor.dtype.bytes())
}

/// Tensors that an operator reads or writes, and how many of their bytes.
type Accesses = Vec<(TensorDesc, u64)>;

/// What moves, without what is there already: views, and operands that lie in a concatenation's result.
fn moved(model: &Model, op: &Op) -> (Traffic, Accesses) {
    let mut traffic = Traffic { constants: constants(op), ..Traffic::default() };
    let mut accesses = Vec::new();
    let mut read = |tensor: TensorDesc, most: u64| {
        let bytes = tensor_bytes(&tensor).min(most);
        traffic.read += bytes;
        accesses.push((tensor, bytes));
    };
    let mut written: Vec<TensorDesc> = Vec::new();
    match op.kind {
        OpKind::Concat { inputs, output, .. } => {
            let (target, mut channel) = (model.tensor(output), 0);
            for operand in model.list(inputs).map(|id| model.tensor(id)) {
                if !operand.is_view_of(&target, channel) {
                    read(operand, u64::MAX);
                    // Its place in the result.
                    let offset = target.arena_offset + channel * target.dtype.bytes();
                    let channels = operand.channels;
                    written.push(TensorDesc { arena_offset: offset, channels, ..target });
                }
                channel += operand.channels;
            }
        }
        OpKind::Copy(copy) => {
            let (from, to) = (model.tensor(copy.input), model.tensor(copy.output));
            if !copy.is_view(&from, &to) {
                // A crop does not read what it leaves out.
                read(from, tensor_bytes(&to));
                written.push(to);
            }
        }
        _ => {
            for id in op.kind.reads().into_iter().flatten() {
                read(model.tensor(id), u64::MAX);
            }
            written.extend(op.kind.writes().into_iter().flatten().map(|id| model.tensor(id)));
        }
    }
    traffic.written = written.iter().map(tensor_bytes).sum();
    accesses.extend(written.into_iter().map(|tensor| (tensor, tensor_bytes(&tensor))));
    (traffic, accesses)
}

/// Bytes of an operator's constants.
fn constants(op: &Op) -> u64 {
    let epilogue = |e: &kenar::desc::Epilogue| {
        let table = e.store.and_then(|s| s.table).map_or(0, |t| t.len);
        let second = e.second.map_or(0, |(a, s)| a.a.len + a.b.len + s.table.map_or(0, |t| t.len));
        u64::from(table + second)
    };
    match &op.kind {
        OpKind::Conv2d(c) => {
            let spans = [Some(c.weights), Some(c.bias), Some(c.multiplier), c.slope, c.silu];
            let own: u64 = spans.into_iter().flatten().map(|s| u64::from(s.len)).sum();
            own + epilogue(&c.epilogue)
        }
        OpKind::Add { epilogue: e, .. } | OpKind::Mul { epilogue: e, .. } => epilogue(e),
        OpKind::Affine { affine, .. } => u64::from(affine.a.len + affine.b.len),
        OpKind::Table(t) => u64::from(t.table.len),
        OpKind::Pool(_) | OpKind::Resize(_) | OpKind::Copy(_) | OpKind::Concat { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::machine::Level;
    use kenar::desc::{DType, Epilogue, Residual, Store, TensorId};
    use kenar::format::write::{InputSpec, ModelWriter};

    /// `sum = x + y` with `y = x` (a copy), `joined = [sum, sum]`.
    fn file() -> Vec<u8> {
        let mut w = ModelWriter::new();
        let mut tensor = |name, c| w.add_activation(name, [8, 16, c], DType::I8, 0.1, 0).unwrap();
        let [x, y, sum] = ["x", "y", "sum"].map(|name| tensor(name, 32));
        let joined = tensor("joined", 64);
        let store =
            Store { output: sum, zero_point: 0, clamp_min: -128, clamp_max: 127, table: None };
        let residual = Some(Residual { tensor: y, multiplier: 1.0 });
        let epilogue = Epilogue { residual, store: Some(store), second: None };
        let copy = kenar::desc::Copy { input: x, output: y, start: [1, 0, 0], step: [1; 2] };
        let inputs = w.add_list(&[sum, sum]);
        let multipliers = w.add_f32(&[1.0; 2]).unwrap();
        for kind in [
            OpKind::Copy(copy),
            OpKind::Add { input: x, multiplier: 1.0, epilogue },
            OpKind::Concat { inputs, multipliers, output: joined },
        ] {
            let name = w.add_string("op").unwrap();
            w.add_op(Op { name, kind });
        }
        w.set_input("x", x, InputSpec::features()).unwrap();
        w.add_output("joined", joined).unwrap();
        w.plan_memory().unwrap();
        w.finish().unwrap()
    }

    fn machine(capacities: &[u64]) -> Machine {
        let level = |&bytes| Level { name: "", bytes, gbytes_per_s: 1.0 };
        Machine { peak_gmacs: 1.0, levels: capacities.iter().map(level).collect() }
    }

    #[test]
    fn what_was_just_written_is_near_and_everything_is_counted_once() {
        let file = file();
        let model = Model::parse(&file).unwrap();
        assert_eq!(model.tensor(TensorId(0)).elements(), 4096);
        let all = of(&model, &machine(&[u64::MAX]));
        let counts: Vec<_> = all.iter().map(|t| [t.read, t.constants, t.written]).collect();
        let joins = all[2].written;
        assert_eq!(counts[..2], [[4096, 0, 4096], [8192, 0, 4096]]);
        // One of the two operands lies in its place if the plan found one; the other is copied.
        assert!([4096, 8192].contains(&joins) && all[2].read == joins, "{counts:?}");
        assert!(all.iter().all(|t| t.levels == [t.bytes()]));

        // A first level that holds what one operator moves, one that holds all, and one that nothing is in.
        let all = of(&model, &machine(&[12288, 1 << 20, u64::MAX]));
        for t in &all {
            assert_eq!(t.levels.iter().sum::<u64>(), t.bytes());
            assert_eq!(t.levels[2], 0);
        }
        // The sum reads the copy and x right after the copy's operator did.
        assert!(all[1].levels[0] >= 8192, "{:?}", all[1]);
        // A level of nothing: all comes from far, but for what a concatenation reads or writes twice.
        let all = of(&model, &machine(&[0, u64::MAX]));
        assert!(all[..2].iter().all(|t| t.levels[1] > t.bytes() / 2), "{all:?}");
    }
}
