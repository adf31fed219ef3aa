//! Layer shapes of real backbones, and convolutions of those shapes ready to run.

use kenar::Model;
use kenar::arena::{Arena, Outputs};
use kenar::desc::{Conv2d, DType, Epilogue, Op, OpKind, Residual, Store, Window};
use kenar::format::ChannelOrder;
use kenar::format::write::{InputSpec, ModelWriter};
use kenar::isa::Platform;
use kenar::kernels::PackedOp;
use kenar::ops::{self, Context};

/// A convolution of a backbone.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Where it occurs.
    pub name: &'static str,
    /// Height, width, channels.
    pub input: [u32; 3],
    /// Output channels.
    pub channels_out: u32,
    /// Height and width of the window; it is padded to keep the map's size.
    pub size: u32,
    /// Step.
    pub stride: u32,
    /// Groups.
    pub groups: u32,
    /// Whether an i8 residual is added.
    pub residual: bool,
    /// How often the network has it.
    pub count: u32,
}

const fn layer(
    name: &'static str,
    input: [u32; 3],
    channels_out: u32,
    size: u32,
    count: u32,
) -> Layer {
    Layer { name, input, channels_out, size, stride: 1, groups: 1, residual: false, count }
}

impl Layer {
    const fn stride(self, stride: u32) -> Self {
        Self { stride, ..self }
    }

    const fn groups(self, groups: u32) -> Self {
        Self { groups, ..self }
    }

    const fn residual(self) -> Self {
        Self { residual: true, ..self }
    }

    /// Height, width, channels of the output.
    #[must_use]
    pub const fn output(&self) -> [u32; 3] {
        [
            (self.input[0] + 2 * (self.size / 2) - self.size) / self.stride + 1,
            (self.input[1] + 2 * (self.size / 2) - self.size) / self.stride + 1,
            self.channels_out,
        ]
    }

    /// Multiply-accumulates.
    #[must_use]
    pub const fn macs(&self) -> u64 {
        let [h, w, c] = self.output();
        (h * w * c) as u64 * (self.size * self.size * self.input[2] / self.groups) as u64
    }
}

/// ResNet-50 at 224x224.
pub const RESNET50: &[Layer] = &[
    layer("stem 7x7/2 3-64", [224, 224, 3], 64, 7, 1).stride(2),
    layer("1x1 64-64 @56", [56, 56, 64], 64, 1, 1),
    layer("3x3 64-64 @56", [56, 56, 64], 64, 3, 3),
    layer("1x1 64-256 @56", [56, 56, 64], 256, 1, 1),
    layer("1x1 64-256 add @56", [56, 56, 64], 256, 1, 3).residual(),
    layer("1x1 256-64 @56", [56, 56, 256], 64, 1, 2),
    layer("1x1 256-128 @56", [56, 56, 256], 128, 1, 1),
    layer("3x3/2 128-128 @56", [56, 56, 128], 128, 3, 1).stride(2),
    layer("1x1/2 256-512 @56", [56, 56, 256], 512, 1, 1).stride(2),
    layer("1x1 128-512 add @28", [28, 28, 128], 512, 1, 4).residual(),
    layer("1x1 512-128 @28", [28, 28, 512], 128, 1, 3),
    layer("3x3 128-128 @28", [28, 28, 128], 128, 3, 3),
    layer("1x1 512-256 @28", [28, 28, 512], 256, 1, 1),
    layer("3x3/2 256-256 @28", [28, 28, 256], 256, 3, 1).stride(2),
    layer("1x1/2 512-1024 @28", [28, 28, 512], 1024, 1, 1).stride(2),
    layer("1x1 256-1024 add @14", [14, 14, 256], 1024, 1, 6).residual(),
    layer("1x1 1024-256 @14", [14, 14, 1024], 256, 1, 5),
    layer("3x3 256-256 @14", [14, 14, 256], 256, 3, 5),
    layer("1x1 1024-512 @14", [14, 14, 1024], 512, 1, 1),
    layer("3x3/2 512-512 @14", [14, 14, 512], 512, 3, 1).stride(2),
    layer("1x1/2 1024-2048 @14", [14, 14, 1024], 2048, 1, 1).stride(2),
    layer("1x1 512-2048 add @7", [7, 7, 512], 2048, 1, 3).residual(),
    layer("1x1 2048-512 @7", [7, 7, 2048], 512, 1, 2),
    layer("3x3 512-512 @7", [7, 7, 512], 512, 3, 2),
    layer("linear 2048-1000", [1, 1, 2048], 1000, 1, 1),
];

/// The grouped convolutions of ResNeXt-50 32x4d at 224x224.
pub const RESNEXT50: &[Layer] = &[
    layer("g32 3x3 128 @56", [56, 56, 128], 128, 3, 3).groups(32),
    layer("g32 3x3/2 256 @56", [56, 56, 256], 256, 3, 1).groups(32).stride(2),
    layer("g32 3x3 256 @28", [28, 28, 256], 256, 3, 3).groups(32),
    layer("g32 3x3/2 512 @28", [28, 28, 512], 512, 3, 1).groups(32).stride(2),
    layer("g32 3x3 512 @14", [14, 14, 512], 512, 3, 5).groups(32),
    layer("g32 3x3/2 1024 @14", [14, 14, 1024], 1024, 3, 1).groups(32).stride(2),
    layer("g32 3x3 1024 @7", [7, 7, 1024], 1024, 3, 2).groups(32),
];

/// Layers of wide and narrow CIFAR networks at 32x32, and depthwise ones.
pub const SMALL: &[Layer] = &[
    layer("3x3 3-16 @32", [32, 32, 3], 16, 3, 1),
    layer("3x3 16-16 @32", [32, 32, 16], 16, 3, 1),
    layer("3x3 32-32 @32", [32, 32, 32], 32, 3, 1),
    layer("3x3 64-64 @16", [16, 16, 64], 64, 3, 1),
    layer("3x3 128-128 @8", [8, 8, 128], 128, 3, 1),
    layer("dw 3x3 128 @28", [28, 28, 128], 128, 3, 1).groups(128),
    layer("dw 5x5 256 @14", [14, 14, 256], 256, 5, 1).groups(256),
];

/// A layer as a model of one operator, with random contents.
pub struct Case {
    file: Vec<u8>,
}

impl Case {
    /// Makes the model.
    ///
    /// # Panics
    ///
    /// If the layer's sizes do not fit together.
    #[must_use]
    pub fn new(layer: &Layer) -> Self {
        let mut seed = 0x2545_f491_u32;
        let mut byte = move || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        };
        let [h, w, c] = layer.input;
        let out = layer.output();
        let depth = layer.size * layer.size * c / layer.groups;
        let mut writer = ModelWriter::new();
        let x = writer.add_activation("x", [h, w, c], DType::I8, 0.05, -7).expect("input");
        let weights: Vec<i8> =
            (0..layer.channels_out * depth).map(|_| (byte() as i8).max(-127)).collect();
        let multiplier = 60.0 / (5000.0 * (depth as f32).sqrt());
        let name = writer.add_string("conv").expect("a name");
        let channels = layer.channels_out as usize;
        let weights = writer.add_i8(&weights).expect("weights");
        let bias = writer.add_i32(&vec![100; channels]).expect("biases");
        let multiplier = writer.add_f32(&vec![multiplier; channels]).expect("multipliers");
        let pad = layer.size / 2;
        let residual = layer.residual.then(|| {
            // The skip: another operator's output would do, a copy of the input's first channels serves.
            let skip = writer.add_activation("skip", out, DType::I8, 0.05, 3).expect("skip");
            let copy = kenar::desc::Copy { input: x, output: skip, start: [0; 3], step: [1; 2] };
            let name = writer.add_string("skip").expect("a name");
            writer.add_op(Op { name, kind: OpKind::Copy(copy) });
            writer.tensor_mut(skip).scale = 0.05;
            writer.tensor_mut(skip).zero_point = -7;
            Residual { tensor: skip, multiplier: 0.9 }
        });
        let y = writer.add_activation("y", out, DType::I8, 0.1, -20).expect("output");
        let store =
            Store { output: y, zero_point: -20, clamp_min: -20, clamp_max: 127, table: None };
        let conv = Conv2d {
            input: x,
            window: Window {
                size: [layer.size; 2],
                stride: [layer.stride; 2],
                padding: [pad; 4],
                dilation: [1; 2],
            },
            groups: layer.groups,
            channels_out: layer.channels_out,
            weights,
            bias,
            multiplier,
            slope: None,
            silu: None,
            epilogue: Epilogue { residual, store: Some(store), second: None },
        };
        writer.add_op(Op { name, kind: OpKind::Conv2d(conv) });
        let order = ChannelOrder::Features;
        let spec = InputSpec { order, ..InputSpec::features() };
        writer.set_input("x", x, spec).expect("an input");
        writer.add_output("y", y).expect("an output");
        writer.plan_memory().expect("a plan");
        Self { file: writer.finish().expect("a model") }
    }

    /// The convolution on a platform, after its output was compared with the scalar definition's.
    ///
    /// # Panics
    ///
    /// If the outputs differ.
    pub fn with<R>(&self, platform: Platform, body: impl FnOnce(&mut dyn FnMut()) -> R) -> R {
        let model = Model::parse(&self.file).expect("a valid model");
        let op = model.op(model.op_count() - 1);
        let y = model.tensor(op.kind.writes()[0].expect("an output"));
        let contents: Vec<u8> = (0..model.plan_bytes() as u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 23) as u8)
            .collect();
        let mut memory = [vec![0; model.arena_bytes()], vec![0; model.arena_bytes()]];
        let [expected, actual] = &mut memory;
        let fill = |memory: &mut Vec<u8>, xor: u8| {
            let skip = memory.as_ptr().align_offset(kenar::arena::ALIGNMENT);
            for (to, from) in memory[skip..].iter_mut().zip(&contents) {
                *to = from ^ xor;
            }
        };
        fill(expected, 0);
        fill(actual, platform.act_xor());

        let mut arena = Arena::new(expected, model.plan_bytes()).expect("an arena");
        let units = ops::units(&model, &op);
        let outputs = ops::outputs(&model, &op, units);
        ops::run(Context { model: &model, xor: 0 }, &op, units, arena.lease(&outputs));
        let expected: Vec<u8> = arena.tensor(&y).iter().map(|b| b ^ platform.act_xor()).collect();

        let packed = PackedOp::pack(platform, &op, &model).expect("a kernel");
        let outputs: Outputs = ops::outputs(&model, &op, packed.units());
        let mut arena = Arena::new(actual, model.plan_bytes()).expect("an arena");
        packed.run(&op, &model, arena.lease(&outputs), &[]);
        assert!(arena.tensor(&y) == expected, "{} differs from scalar", packed.kernel());
        body(&mut || packed.run(&op, &model, arena.lease(&outputs), &[]))
    }
}

/// All layers.
pub fn layers() -> impl Iterator<Item = &'static Layer> {
    RESNET50.iter().chain(RESNEXT50).chain(SMALL)
}
