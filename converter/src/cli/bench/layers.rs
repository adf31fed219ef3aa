//! What each layer took, and what it could not take less than.

use kenar::{Model, Session};

use super::machine::Machine;
use super::traffic::{self, Traffic};
use crate::cli::inspect::op_name;

/// A layer of a measured run.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Name in the network.
    pub name: String,
    /// Operator.
    pub op: &'static str,
    /// Kernel that ran.
    pub kernel: &'static str,
    /// Median microseconds.
    pub us: f64,
    /// Multiply-accumulates, 0 for operators that only move or compare.
    pub macs: u64,
    /// Time of its products relative to those of the definition: less than 1 for kernels that need fewer.
    pub effort: f64,
    /// Bytes it moves.
    pub traffic: Traffic,
    /// What holds it back.
    pub bound: &'static str,
    /// Microseconds that the bound alone needs.
    pub floor_us: f64,
}

/// `compute` in place of a level.
pub const COMPUTE: &str = "compute";

impl Layer {
    /// The layers of a model.
    pub fn all(model: &Model, session: &Session, machine: &Machine, us: &[f64]) -> Vec<Self> {
        let traffic = traffic::of(model, machine);
        let layers = model.ops().zip(traffic).zip(us).enumerate();
        let layers = layers.map(|(index, ((op, traffic), &us))| {
            let macs = model.op_macs(&op);
            let effort = f64::from(session.effort(index));
            let (bound, floor_us) = bound(machine, macs as f64 * effort, &traffic);
            let name = model.text(op.name).to_owned();
            let (op, kernel) = (op_name(&op.kind), session.kernel(index));
            Self { name, op, kernel, us, macs, effort, traffic, bound, floor_us }
        });
        layers.collect()
    }

    /// 10^9 multiply-accumulates per second.
    pub fn gmacs(&self) -> f64 {
        self.macs as f64 / self.us.max(1e-3) / 1e3
    }

    /// Arithmetic intensity: multiply-accumulates per byte moved.
    pub fn intensity(&self) -> f64 {
        self.macs as f64 / self.traffic.bytes().max(1) as f64
    }

    /// What it reaches of its bound.
    pub fn floor_fraction(&self) -> f64 {
        self.floor_us / self.us.max(1e-3)
    }
}

/// The roofline: arithmetic and transfers run at the same time, transfers from different levels one after the other.
/// The bound is the larger part, and of the transfers the level that needs most of their time.
fn bound(machine: &Machine, products: f64, traffic: &Traffic) -> (&'static str, f64) {
    let compute = products / machine.peak_gmacs / 1e3;
    let reading = machine.reading_us(&traffic.levels);
    let transfers: f64 = reading.iter().sum();
    if compute >= transfers && products > 0.0 {
        return (COMPUTE, compute);
    }
    let most = (0..reading.len()).max_by(|&a, &b| reading[a].total_cmp(&reading[b])).unwrap_or(0);
    if transfers > 0.0 { (machine.levels[most].name, transfers) } else { ("nothing", 0.0) }
}

/// A part of a run's time: that of the layers with one bound, or of one operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Bound or operator.
    pub name: &'static str,
    /// Number of layers.
    pub layers: usize,
    /// Microseconds that they took.
    pub us: f64,
    /// Microseconds that their bounds need.
    pub floor_us: f64,
}

/// Parts by a property of the layers, largest first.
pub fn parts(layers: &[Layer], of: impl Fn(&Layer) -> &'static str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for layer in layers {
        let name = of(layer);
        let found = parts.iter().position(|part| part.name == name).unwrap_or_else(|| {
            parts.push(Part { name, layers: 0, us: 0.0, floor_us: 0.0 });
            parts.len() - 1
        });
        let part = &mut parts[found];
        part.layers += 1;
        part.us += layer.us;
        part.floor_us += layer.floor_us;
    }
    parts.sort_by(|a, b| b.us.total_cmp(&a.us));
    parts
}

#[cfg(test)]
pub mod tests {
    use super::super::machine::Level;
    use super::*;

    /// A machine of 100 GMAC/s with two levels.
    pub fn machine() -> Machine {
        let level = |name, bytes, gbytes_per_s| Level { name, bytes, gbytes_per_s };
        let levels = vec![level("L2", 1 << 20, 50.0), level("memory", u64::MAX, 5.0)];
        Machine { peak_gmacs: 100.0, levels }
    }

    /// A layer of `macs` that moves `levels` bytes in `us`.
    pub fn layer(op: &'static str, macs: u64, levels: [u64; 2], us: f64) -> Layer {
        let traffic = Traffic {
            read: levels[0],
            constants: levels[1],
            levels: levels.to_vec(),
            ..Traffic::default()
        };
        let (bound, floor_us) = bound(&machine(), macs as f64, &traffic);
        let name = format!("{op} {macs}");
        Layer { name, op, kernel: "pointwise", us, macs, effort: 1.0, traffic, bound, floor_us }
    }

    #[test]
    fn the_slower_of_arithmetic_and_transfers_bounds_a_layer() {
        // 1,000,000 / 100 GMAC/s = 10 us; 100,000 / 50 GB/s = 2 us; 100,000 / 5 GB/s = 20 us.
        let l = layer("conv", 1_000_000, [100_000, 0], 20.0);
        assert_eq!((l.bound, l.floor_us, l.gmacs()), (COMPUTE, 10.0, 50.0));
        assert_eq!((l.intensity(), l.floor_fraction()), (10.0, 0.5));
        let l = layer("conv", 1_000_000, [100_000, 100_000], 44.0);
        assert_eq!((l.bound, l.floor_us, l.floor_fraction()), ("memory", 22.0, 0.5));
        let l = layer("add", 0, [100_000, 1000], 4.4);
        assert_eq!((l.bound, l.floor_us), ("L2", 2.2));
        assert_eq!(layer("copy", 0, [0, 0], 0.1).bound, "nothing");
    }

    #[test]
    fn parts_add_up() {
        let layers = [
            layer("conv", 1_000_000, [100_000, 0], 20.0),
            layer("add", 0, [100_000, 0], 3.0),
            layer("conv", 1_000_000, [100_000, 100_000], 44.0),
        ];
        let by_op = parts(&layers, |l| l.op);
        let conv = Part { name: "conv", layers: 2, us: 64.0, floor_us: 32.0 };
        assert_eq!(by_op, [conv, Part { name: "add", layers: 1, us: 3.0, floor_us: 2.0 }]);
        let by_bound = parts(&layers, |l| l.bound);
        assert_eq!(
            by_bound.iter().map(|p| p.name).collect::<Vec<_>>(),
            ["memory", "compute", "L2"]
        );
    }
}
