//! Small random detectors as model files: two levels, every box code.

use kenar::Error;
use kenar::desc::{
    Conv2d, Copy, DType, Epilogue, Op, OpKind, Pool, PoolKind, Store, TensorId, Window,
};
use kenar::detect::{BoxCode, Head, Level, MAX_ANCHORS, MAX_LEVELS};
use kenar::format::write::{InputSpec, ModelWriter};
use kenar::format::{ChannelOrder, Placement};

use crate::random::Random;

/// All box codes.
pub const CODES: [BoxCode; 5] = [
    BoxCode::Dfl { bins: 8 },
    BoxCode::Distance,
    BoxCode::ExpDistance,
    BoxCode::ExpSize,
    BoxCode::Anchor,
];

/// A detector of RGB images of this height and width (multiples of 16) with random weights.
///
/// `width` is the number of channels of its maps; objectness, anchors, classes and landmarks vary with the code.
///
/// # Panics
///
/// If it does not load: that is a mistake in the writer, the planner or here.
pub fn random_detector(seed: u64, code: BoxCode, size: [u32; 2], width: u32) -> Vec<u8> {
    let build = || {
        let mut writer = detector(seed, code, size, width, Shape::Plain)?;
        writer.plan_memory()?;
        writer.finish()
    };
    build().unwrap_or_else(|error: Error| panic!("{code:?}: {error}"))
}

/// [`random_detector`] planned for several sizes, with a pooling and a crop whose geometry depends on the size.
///
/// # Panics
///
/// As [`random_detector`].
pub fn random_detector_sizes(seed: u64, code: BoxCode, sizes: &[[u32; 2]], width: u32) -> Vec<u8> {
    planned(seed, code, sizes, width, Shape::Pooled)
}

/// [`random_detector_sizes`] whose 3x3 convolutions end in SiLU.
///
/// # Panics
///
/// As [`random_detector`].
pub fn random_silu_detector(seed: u64, code: BoxCode, sizes: &[[u32; 2]], width: u32) -> Vec<u8> {
    planned(seed, code, sizes, width, Shape::PooledSilu)
}

fn planned(seed: u64, code: BoxCode, sizes: &[[u32; 2]], width: u32, shape: Shape) -> Vec<u8> {
    let build = || {
        let mut writer = detector(seed, code, sizes[0], width, shape)?;
        for &size in &sizes[1..] {
            let mut other = detector(seed, code, size, width, shape)?;
            let count = other.plan_memory()?.offsets.len() as u32;
            let shapes: Vec<[u32; 2]> = (0..count)
                .map(|id| other.tensor(TensorId(id)))
                .map(|tensor| [tensor.height, tensor.width])
                .collect();
            let ops = other.ops().iter().enumerate();
            let geometries: Vec<_> =
                ops.filter_map(|(at, op)| Some((at, op.kind.geometry()?))).collect();
            writer.add_size(&shapes, &geometries)?;
        }
        writer.plan_memory()?;
        writer.finish()
    };
    build().unwrap_or_else(|error: Error| panic!("{code:?}: {error}"))
}

/// What a detector has beside its head.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Plain,
    Pooled,
    PooledSilu,
}

fn detector(
    seed: u64,
    code: BoxCode,
    size: [u32; 2],
    width: u32,
    shape: Shape,
) -> Result<ModelWriter, Error> {
    let mut builder = Builder {
        random: Random::new(seed),
        writer: ModelWriter::new(),
        silu: shape == Shape::PooledSilu,
    };
    let map = builder.build(code, size, width)?;
    if shape != Shape::Plain {
        builder.pool(map)?;
        builder.crop(map)?;
    }
    Ok(builder.writer)
}

struct Builder {
    random: Random,
    writer: ModelWriter,
    silu: bool,
}

impl Builder {
    fn build(
        &mut self,
        code: BoxCode,
        [height, width]: [u32; 2],
        channels: u32,
    ) -> Result<TensorId, Error> {
        let (anchors, classes, objectness, points) = match code {
            BoxCode::Dfl { .. } => (1, 5, false, 0),
            BoxCode::Distance => (2, 1, false, 3),
            BoxCode::ExpDistance => (1, 3, true, 0),
            BoxCode::ExpSize => (1, 20, true, 0),
            BoxCode::Anchor => (3, 4, true, 0),
        };
        let input = [height, width, 3];
        let input = self.writer.add_activation("x", input, DType::I8, 1.0 / 255.0, -128)?;
        let spec = InputSpec {
            order: ChannelOrder::Rgb,
            letterbox: Some(114),
            placement: Placement::Centred,
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        self.writer.set_input("image", input, spec)?;
        let stem = self.conv("stem", input, channels, 3, 4, (0.02, 0))?;
        let mut map = stem;
        let mut levels = [Level::EMPTY; MAX_LEVELS];
        let mut outputs = 0;
        for (index, level) in levels.iter_mut().take(2).enumerate() {
            map = self.conv(&format!("stage{index}"), map, channels, 3, 2, (0.02, 0))?;
            let mut output = |components: u32, name: &str, quantization| {
                let name = format!("p{index}_{name}");
                let tensor = self.conv(&name, map, anchors * components, 1, 1, quantization)?;
                self.writer.add_output(&name, tensor)?;
                outputs += 1;
                Ok::<u32, Error>(outputs - 1)
            };
            level.stride = 8 << index;
            level.boxes = output(code.channels(), "boxes", (0.02, -20))?;
            level.scores = output(classes, "scores", (0.06, 40))?;
            if objectness {
                level.objectness = Some(output(1, "objectness", (0.05, 20))?);
            }
            if points > 0 {
                level.points = Some(output(2 * points, "points", (0.01, 0))?);
            }
            if code == BoxCode::Anchor {
                for (a, anchor) in level.anchors[..anchors as usize].iter_mut().enumerate() {
                    *anchor = [9.5 + 7.0 * a as f32, 12.0 + (index * 11) as f32];
                }
            }
        }
        debug_assert!(anchors as usize <= MAX_ANCHORS);
        self.writer.set_head(Head {
            code,
            centre: if code == BoxCode::Distance { 0.0 } else { 0.5 },
            anchors_per_cell: anchors,
            classes,
            points,
            levels,
            level_count: 2,
        });
        Ok(stem)
    }

    /// The average of a whole map.
    fn pool(&mut self, input: TensorId) -> Result<(), Error> {
        let from = *self.writer.tensor(input);
        let output =
            self.writer.add_activation("pooled", [1, 1, from.channels], DType::I8, 0.01, 3)?;
        let pool = Pool {
            kind: PoolKind::Average,
            input,
            window: Window {
                size: [from.height, from.width],
                stride: [1, 1],
                padding: [0; 4],
                dilation: [1, 1],
            },
            multiplier: from.scale / 0.01,
            count_padding: false,
            store: Store { output, zero_point: 3, clamp_min: -128, clamp_max: 127, table: None },
        };
        self.output("pooled", OpKind::Pool(pool), output)
    }

    /// A map moved up by an eighth of its height and to the right by an eighth of its width.
    fn crop(&mut self, input: TensorId) -> Result<(), Error> {
        let from = *self.writer.tensor(input);
        let output = self.writer.add_tensor(from);
        let start = [(from.height / 8) as i32, -((from.width / 8) as i32), 0];
        let copy = Copy { input, output, start, step: [1, 1] };
        self.output("crop", OpKind::Copy(copy), output)
    }

    fn output(&mut self, name: &str, kind: OpKind, output: TensorId) -> Result<(), Error> {
        let text = self.writer.add_string(name)?;
        self.writer.add_op(Op { name: text, kind });
        self.writer.add_output(name, output)
    }

    /// A convolution whose results spread over the whole range, or with SiLU over its upper part.
    fn conv(
        &mut self,
        name: &str,
        input: TensorId,
        channels: u32,
        side: u32,
        stride: u32,
        (scale, zero_point): (f32, i32),
    ) -> Result<TensorId, Error> {
        let from = *self.writer.tensor(input);
        let out = |n: u32| (n - 1) / stride + 1;
        let shape = [out(from.height), out(from.width), channels];
        let output = self.writer.add_activation(name, shape, DType::I8, scale, zero_point)?;
        let depth = (side * side * from.channels) as usize;
        let mut random = |limit: i32| {
            let span = 2 * limit as usize + 1;
            self.random.below(span) as i32 - limit
        };
        let weights: Vec<i8> = (0..depth * channels as usize).map(|_| random(127) as i8).collect();
        let bias: Vec<i32> = (0..channels).map(|_| random(20_000)).collect();
        // Products of two uniform numbers, one of -127..=127 and one of about -128..=127.
        let spread = 73.0 * 74.0 * (depth as f32).sqrt();
        let silu = self.silu && side == 3;
        let unit = if silu { 20.0 } else { 1.0 };
        let multiplier: Vec<f32> =
            (0..channels).map(|_| (40 + random(15)) as f32 / (spread * unit)).collect();
        let factors: Vec<f32> =
            (0..if silu { channels } else { 0 }).map(|_| (20 + random(5)) as f32).collect();
        let pad = side / 2;
        let conv = Conv2d {
            input,
            window: Window {
                size: [side, side],
                stride: [stride, stride],
                padding: [pad; 4],
                dilation: [1, 1],
            },
            groups: 1,
            channels_out: channels,
            weights: self.writer.add_i8(&weights)?,
            bias: self.writer.add_i32(&bias)?,
            multiplier: self.writer.add_f32(&multiplier)?,
            slope: None,
            silu: if silu { Some(self.writer.add_f32(&factors)?) } else { None },
            epilogue: Epilogue {
                residual: None,
                store: Some(Store {
                    output,
                    zero_point,
                    clamp_min: -128,
                    clamp_max: 127,
                    table: None,
                }),
                second: None,
            },
        };
        let name = self.writer.add_string(name)?;
        self.writer.add_op(Op { name, kind: OpKind::Conv2d(conv) });
        Ok(output)
    }
}
