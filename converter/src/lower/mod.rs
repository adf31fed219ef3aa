//! From the float graph and its ranges to the operators of a model file.
//!
//! ```text
//! graph -> prepare (constants inside, reshapes as aliases) -> pattern (fusion: steps) -> residual (i8 or i16)
//!       -> balance, shared (factors per channel) -> offset (fractions of a step) -> pixels (normalisation into the first convolution)
//!       -> ranges (scale and zero point of every tensor) -> twin (second stores for concatenations) -> emit (constants, operators) -> memory plan -> bytes
//! ```
//!
//! Everything here decides; nothing here computes with images. What a step may contain is what one operator of
//! [`kenar::desc`] can do.

mod balance;
mod contract;
mod conv;
mod emit;
mod offset;
mod pattern;
mod pixels;
mod pools;
mod prepare;
mod ranges;
mod report;
mod residual;
mod shape;
mod shared;
mod sizes;
mod step;
mod table;
#[cfg(test)]
mod tests;
mod twin;

pub use balance::SUFFIX as BALANCED;
pub use contract::Provenance;
pub(crate) use contract::resolve as resolve_outputs;
pub use report::{Guard, LowerReport, OpReport, Written};
pub use residual::Stream;

use kenar::desc::DType;
use kenar::format::write::InputSpec;
use kenar::format::{ChannelOrder as Order, Placement};

use crate::data::{ChannelOrder, Fit, Letterbox, Preprocess};
use crate::detect::HeadSpec;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::quantize::{Calibration, Rounding, WeightMethod};

/// What can be chosen when a graph is lowered.
#[derive(Clone, Debug)]
pub struct LowerOptions {
    /// Names of outputs or of any values; empty for the graph's own outputs.
    pub outputs: Vec<String>,
    /// When residual streams are i16.
    pub stream: Stream,
    /// How the scales of weights are chosen.
    pub weights: WeightMethod,
    /// How weights become multiples of their scale.
    pub rounding: Rounding,
    /// Whether biases take up the mean error that rounding the weights leaves.
    pub bias_correction: bool,
    /// Class names, in the order of the outputs' channels.
    pub labels: Vec<String>,
    /// What the outputs of a detector mean.
    pub head: Option<HeadSpec>,
    /// Where the model comes from.
    pub provenance: Provenance,
}

impl Default for LowerOptions {
    fn default() -> Self {
        Self {
            outputs: Vec::new(),
            stream: Stream::default(),
            weights: WeightMethod::default(),
            rounding: Rounding::default(),
            bias_correction: true,
            labels: Vec::new(),
            head: None,
            provenance: Provenance::default(),
        }
    }
}

/// Lowers a folded graph to the bytes of a model file.
///
/// `calibration` comes from [`crate::quantize::calibrate`] on the same graph. With a `preprocess` the model takes images;
/// without, its input is a feature map.
///
/// # Errors
/// [`Error::Graph`] with the name of a node that has no integer form; [`Error::Input`] for outputs that do not exist or a
/// calibration of another graph; [`Error::Model`] when the runtime refuses the result.
pub fn lower(
    graph: &Graph,
    calibration: &Calibration,
    preprocess: Option<&Preprocess>,
    options: &LowerOptions,
) -> Result<(Vec<u8>, LowerReport)> {
    lower_sizes(graph, &[], calibration, preprocess, options)
}

/// [`lower`] for a network at several input sizes, planned in one file: `further` are the same network at other sizes,
/// `preprocess` is that of the first. Everything is quantised once, by a calibration over all sizes (or any of them).
///
/// # Errors
/// As [`lower`], and [`Error::Graph`] with the name of a node that is another one at another size.
pub fn lower_sizes(
    graph: &Graph,
    further: &[Graph],
    calibration: &Calibration,
    preprocess: Option<&Preprocess>,
    options: &LowerOptions,
) -> Result<(Vec<u8>, LowerReport)> {
    further.iter().try_for_each(|other| graph.check_resized(other))?;
    if !calibration.fits(graph) {
        return Err(Error::Input("the calibration was made on another graph".into()));
    }
    let outputs = contract::resolve(graph, &options.outputs)?;
    let decoded: Vec<&str> = options.head.iter().flat_map(HeadSpec::outputs).collect();
    let network = prepare::prepare(graph, &outputs, &decoded)?;
    let steps = pattern::match_steps(&network);
    let further = further
        .iter()
        .map(|other| {
            prepare::prepare(other, &contract::resolve(other, &options.outputs)?, &decoded)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut steps = residual::assign(&network, &further, steps, options.stream);
    let balanced = balance::assign(&network, &mut steps, calibration);
    let offsets = offset::assign(&network, &mut steps, calibration, &balanced);
    let spec = input_spec(graph, preprocess)?;
    let pixels = pixels::keep(&network, &mut steps, calibration, &spec);
    let ranges =
        ranges::assign(&network, &steps, calibration, (balanced, offsets), pixels.as_ref());
    let twins = twin::assign(&network, &mut steps, &ranges);
    let how = conv::How {
        weights: options.weights,
        rounding: options.rounding,
        bias_correction: options.bias_correction,
    };
    let mut emitter = emit::Emitter::new(&network, calibration, &ranges, pixels.as_ref(), how);
    emitter.twins = twins;
    let input = emitter.tensor(graph.input, DType::I8)?;
    let mut report = LowerReport { notes: outputs.notes.clone(), ..LowerReport::default() };
    for step in &steps {
        report.ops.push(emitter.step(step)?);
    }
    for (name, value) in &network.outputs {
        let tensor = emitter.output_tensor(*value)?;
        emitter.writer.add_output(name, tensor)?;
    }
    for other in &further {
        sizes::add(&mut emitter, &steps, other)?;
    }
    let mut writer = emitter.writer;
    writer.set_input(&graph.value(graph.input).name, input, spec)?;
    writer.set_labels(&options.labels)?;
    if let Some(head) = &options.head {
        let names: Vec<&str> = network.outputs.iter().map(|(name, _)| name.as_str()).collect();
        writer.set_head(head.record(&names)?);
    }
    let p = &options.provenance;
    let converter = concat!("kenar ", env!("CARGO_PKG_VERSION"));
    writer.set_provenance(&p.source, &p.source_hash, converter, &p.calibration)?;
    let plan = writer.plan_memory()?;
    let file = writer.finish()?;
    report.arena_bytes = plan.arena_bytes;
    report.floor_bytes = plan.floor_bytes;
    report.file_bytes = file.len();
    Ok((file, report))
}

/// The input contract in the order of the tensor's channels.
fn input_spec(graph: &Graph, preprocess: Option<&Preprocess>) -> Result<InputSpec> {
    let Some(p) = preprocess else { return Ok(InputSpec::features()) };
    p.check()?;
    let shape = graph.shape(graph.input);
    if shape != [1, 3, p.size[0], p.size[1]] {
        return Err(Error::Input(format!(
            "the network takes {shape:?}, the preprocessing makes [1, 3, {}, {}]",
            p.size[0], p.size[1]
        )));
    }
    let (letterbox, placement) = match p.fit {
        Fit::Letterbox(Letterbox { level, placement }) => (Some(level), placement),
        Fit::CenterCrop(_) | Fit::Stretch => (None, Placement::TopLeft),
    };
    let reversed = |v: [f32; 3]| [v[2], v[1], v[0]];
    let (order, mean, std) = match p.order {
        ChannelOrder::Rgb => (Order::Rgb, p.mean, p.std),
        ChannelOrder::Bgr => (Order::Bgr, reversed(p.mean), reversed(p.std)),
    };
    Ok(InputSpec { order, letterbox, placement, mean, std })
}
