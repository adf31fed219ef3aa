//! Which values are i8, which are i16, and which are both.
//!
//! A residual stream is a value that sums add up on. It is i16 where nothing but another sum, a batch norm or an average
//! reads it; a convolution that reads it too gets an i8 rendition beside it, from the same epilogue where that has a
//! store to spare.

use kenar::desc::DType;

use super::prepare::Network;
use super::step::{Finish, Second, Step, Target, Work};
use crate::graph::ValueId;

/// Elements of a sum that is i16 in any family: 128 KiB.
const SMALL: usize = 1 << 16;

/// When residual streams are i16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stream {
    /// Where sums stay as they are (pre-activation families), because there they grow with depth, and wherever a sum is
    /// so small that its second byte stays in a cache.
    #[default]
    Auto,
    /// Wherever a sum has a residual.
    On,
    /// Nowhere.
    Off,
}

/// In which types a value is wanted.
#[derive(Clone, Copy, Default, Debug)]
struct Need {
    i8: bool,
    i16: bool,
}

/// Settles the element type of every read and write, and adds the steps that convert. `further` is the network at other
/// input sizes: the types are those of all of them.
pub(crate) fn assign(
    network: &Network<'_>,
    further: &[Network<'_>],
    steps: Vec<Step>,
    stream: Stream,
) -> Vec<Step> {
    let elements = |v: ValueId| {
        let all = further.iter().chain([network]).map(|n| n.map(v).iter().product::<usize>());
        all.max().unwrap_or(0)
    };
    let mut steps = steps;
    let mut needs = vec![Need::default(); network.graph.values().len()];
    let wide = can_be_wide(network, &steps);
    let sums: Vec<bool> = raw_sums(network, &steps);

    for (_, v) in &network.outputs {
        let fine = network.fine.contains(v) && wide[v.0];
        want(&mut needs, *v, if fine { DType::I16 } else { DType::I8 });
    }
    for step in steps.iter_mut().rev() {
        let adds_wide = match stream {
            Stream::Auto => {
                let small = elements(step.raw) <= SMALL;
                step.sums_raw() || (small && step.residual.is_some())
            }
            Stream::On => step.residual.is_some(),
            Stream::Off => false,
        };
        let operand = |v: ValueId| if adds_wide && wide[v.0] { DType::I16 } else { DType::I8 };
        if let Some((v, dtype)) = &mut step.residual {
            *dtype = operand(*v);
        }
        match step.work {
            Work::Add => step.input_dtype = operand(step.input),
            Work::Copy(_) => {
                let out = step.first.as_ref().map_or(step.raw, |t| t.value);
                // Types of copies that only undecided readers wait for are settled below, with them.
                step.input_dtype = if needs[out.0].i16 { DType::I16 } else { DType::I8 };
            }
            Work::Affine { .. } | Work::AvgPool { .. } => continue,
            _ => {}
        }
        for (v, dtype) in step.reads() {
            want(&mut needs, v, dtype);
        }
    }
    // Readers that take both types: what is there anyway, else i16 for a raw sum.
    for step in steps.iter_mut().rev() {
        if matches!(step.work, Work::Affine { .. } | Work::AvgPool { .. }) {
            let v = step.input;
            let need = needs[v.0];
            let worth = match step.work {
                // A batch norm blows up the channels that vary least, and their rounding errors with them; but for a
                // sum that a convolution reads as i8 anyway, i16 would cost two more passes.
                Work::Affine { .. } => !(sums[v.0] && need.i8),
                _ => !need.i8,
            };
            let wider = need.i16 || (worth && wide[v.0] && stream != Stream::Off);
            step.input_dtype = if wider { DType::I16 } else { DType::I8 };
            want(&mut needs, v, step.input_dtype);
        }
    }
    steps.into_iter().flat_map(|step| store(network, step, &needs)).collect()
}

fn want(needs: &mut [Need], v: ValueId, dtype: DType) {
    match dtype {
        DType::I8 => needs[v.0].i8 = true,
        DType::I16 => needs[v.0].i16 = true,
    }
}

/// Values that some step can write as i16.
fn can_be_wide(network: &Network<'_>, steps: &[Step]) -> Vec<bool> {
    let mut wide = vec![false; network.graph.values().len()];
    for step in steps {
        let Some(first) = &step.first else { continue };
        wide[first.value.0] = match step.work {
            Work::Conv(_)
            | Work::Add
            | Work::Mul { .. }
            | Work::Affine { .. }
            | Work::AvgPool { .. } => !matches!(first.finish, Finish::Table(_)),
            Work::Copy(_) => wide[step.input.0],
            _ => false,
        };
    }
    wide
}

fn raw_sums(network: &Network<'_>, steps: &[Step]) -> Vec<bool> {
    let mut sums = vec![false; network.graph.values().len()];
    steps.iter().filter(|s| s.sums_raw()).for_each(|s| sums[s.raw.0] = true);
    sums
}

/// The step with its stores in the wanted types, and what must follow it.
fn store(network: &Network<'_>, mut step: Step, needs: &[Need]) -> Vec<Step> {
    let Some(first) = &mut step.first else { return vec![step] };
    let need = needs[first.value.0];
    if !need.i16 {
        return vec![step];
    }
    first.dtype = DType::I16;
    if !need.i8 {
        return vec![step];
    }
    let narrow = Target { dtype: DType::I8, ..first.clone() };
    let channels = network.map(step.raw)[0];
    let (scale, shift) = (vec![1.0; channels], vec![0.0; channels]);
    if step.work.has_epilogue() && step.second.is_none() {
        step.second = Some(Second { scale, shift, target: narrow });
        return vec![step];
    }
    if matches!(step.work, Work::Copy(_)) && needs[step.input.0].i8 {
        // What it is cut from is there in both types: both are cut, and slices cost nothing.
        let cut = Step { input_dtype: DType::I8, first: Some(narrow), ..step.clone() };
        return vec![step, cut];
    }
    let value = narrow.value;
    let convert = Step {
        name: format!("{}:i8", network.graph.value(value).name),
        work: Work::Affine { scale, shift },
        input: value,
        input_dtype: DType::I16,
        slope: None,
        silu: false,
        residual: None,
        raw: value,
        first: Some(Target { value, before: value, finish: Finish::Plain, dtype: DType::I8 }),
        second: None,
    };
    vec![step, convert]
}
