//! Convolutions of every kernel on every platform.

use super::columns::run_columns;
use super::{Bench, Kind, Rng, naive};
use crate::desc::{Affine, Conv2d, DType, Epilogue, Residual, Store, TensorId, Window};
use crate::isa::{Isa, Kernel, Platform};
use crate::kernels::{Io, KERNELS, Lookup, PackedConv, Scratch, Shelf};
use crate::ops::Units;
use crate::quant::{MULTIPLIER_BITS, RESIDUAL_BITS, significant};
use alloc::vec::Vec;
use core::ops::Range;

/// The kernels of convolutions; the others are exercised in `shapes`.
pub(super) const CONV: [&str; 8] = [
    "pointwise",
    "indirect",
    "window_rows",
    "gathered",
    "grouped",
    "depthwise",
    "stem",
    "winograd",
];

/// A convolution to test.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub input: [usize; 3],
    pub channels_out: usize,
    pub groups: usize,
    pub size: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    /// Bottom, right, where it is not top, left.
    pub behind: Option<[usize; 2]>,
    pub dilation: [usize; 2],
}

impl Case {
    pub(super) const fn new(input: [usize; 3], channels_out: usize, size: usize) -> Self {
        Self {
            input,
            channels_out,
            groups: 1,
            size: [size; 2],
            stride: [1; 2],
            padding: [size / 2; 2],
            behind: None,
            dilation: [1; 2],
        }
    }

    pub(super) const fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    pub(super) const fn stride(self, stride: usize) -> Self {
        Self { stride: [stride; 2], ..self }
    }

    pub(super) const fn padding(self, padding: usize) -> Self {
        Self { padding: [padding; 2], ..self }
    }

    const fn dilation(self, dilation: usize) -> Self {
        Self { dilation: [dilation; 2], ..self }
    }

    pub fn output(&self) -> Option<[usize; 2]> {
        let mut out = [0; 2];
        for (axis, out) in out.iter_mut().enumerate() {
            let window = (self.size[axis] - 1) * self.dilation[axis] + 1;
            let behind = self.behind.unwrap_or(self.padding)[axis];
            *out = (self.input[axis] + self.padding[axis] + behind).checked_sub(window)?
                / self.stride[axis]
                + 1;
        }
        Some(out)
    }
}

/// What follows a case's sums.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    pub residual: Option<DType>,
    pub store: Option<DType>,
    pub second: bool,
    /// Of its tensors; only [`Kind::Any`] may have another activation than limits.
    pub kind: Kind,
}

impl Tail {
    pub(super) const PLAIN: Self =
        Self { residual: None, store: Some(DType::I8), second: false, kind: Kind::Any };

    pub(super) fn random(rng: &mut Rng) -> Self {
        let kinds = [None, Some(DType::I8), Some(DType::I16)];
        let store = rng.pick(&kinds);
        let second = store.is_none() || rng.chance(40);
        let kind = rng.pick(&[Kind::Any, Kind::Any, Kind::Any, Kind::Relu]);
        Self { residual: rng.pick(&kinds), store, second, kind }
    }
}

/// Builds the case with random contents, extreme ones among them.
pub(super) fn build(
    rng: &mut Rng,
    case: Case,
    tail: Tail,
) -> (Bench, Conv2d, [Option<Vec<i32>>; 2]) {
    let mut bench = Bench::default();
    let output = case.output().expect("the window fits");
    let shape = [output[0], output[1], case.channels_out];
    let input = bench.tensor_of(rng, DType::I8, case.input);
    let depth = case.size[0] * case.size[1] * case.input[2] / case.groups;
    // Extreme ones often, or in a bell, as trained weights are.
    let bell = rng.chance(50);
    let weight = |_| if bell { rng.bell(36.0) } else { rng.int(-127, 127) } as u8;
    let weights: Vec<u8> = (0..case.channels_out * depth).map(weight).collect();
    let bias: Vec<u8> =
        (0..case.channels_out).flat_map(|_| rng.int(-100_000, 100_000).to_le_bytes()).collect();
    let spread = 60.0 / (6000.0 * (depth as f32).sqrt());
    let multiplier: Vec<f32> =
        (0..case.channels_out).map(|_| spread * rng.float(0.2, 2.0)).collect();
    // Products that are fused with a sum and others, in a layer or side by side.
    let bits =
        rng.pick(&[[MULTIPLIER_BITS; 2], [MULTIPLIER_BITS; 2], [MULTIPLIER_BITS, 24], [24; 2]]);
    let multiplier: Vec<f32> =
        multiplier.into_iter().map(|m| significant(m, bits[usize::from(rng.chance(5))])).collect();
    let pair = |p: [usize; 2]| p.map(|x| x as u32);
    let [top, left] = pair(case.padding);
    let [bottom, right] = pair(case.behind.unwrap_or(case.padding));
    bench.kind = tail.kind;
    let residual = tail.residual.map(|dtype| Residual {
        tensor: bench.tensor_of(rng, dtype, shape),
        multiplier: match dtype {
            DType::I8 => significant(rng.float(0.1, 2.0), rng.pick(&[RESIDUAL_BITS, 24])),
            DType::I16 => rng.float(0.001, 0.02),
        },
    });
    let store = tail.store.map(|dtype| bench.store(rng, dtype, shape));
    let second = tail.second.then(|| {
        let a: Vec<f32> = (0..case.channels_out).map(|_| rng.float(-2.0, 2.0)).collect();
        let most = rng.pick(&[0.0, 30.0]);
        let b: Vec<f32> = (0..case.channels_out).map(|_| rng.float(-most, most)).collect();
        (Affine { a: bench.f32s(a), b: bench.f32s(b) }, bench.store(rng, DType::I8, shape))
    });
    let mut conv = Conv2d {
        input,
        window: Window {
            size: pair(case.size),
            stride: pair(case.stride),
            padding: [top, left, bottom, right],
            dilation: pair(case.dilation),
        },
        groups: case.groups as u32,
        channels_out: case.channels_out as u32,
        weights: bench.constant(weights),
        bias: bench.constant(bias),
        multiplier: bench.f32s(multiplier.iter().copied()),
        slope: (tail.kind == Kind::Any && rng.chance(20)).then(|| {
            let slope: Vec<f32> =
                (0..case.channels_out).map(|_| rng.pick(&[0.0, 0.25, -0.5, 1.3])).collect();
            bench.f32s(slope)
        }),
        epilogue: Epilogue { residual, store, second },
        silu: None,
    };
    if tail.kind == Kind::Any && conv.slope.is_none() && rng.chance(25) {
        // Real values of a few units, so that the curved part is met.
        let scale = rng.pick(&[0.02, 0.1, 1.0]);
        conv.multiplier = bench.f32s(multiplier.iter().map(|m| m * scale));
        let factors: Vec<f32> =
            (0..case.channels_out).map(|_| rng.float(0.5, 1.5) / scale).collect();
        conv.silu = Some(bench.f32s(factors));
    }
    let sums = naive::conv_sums(&bench, &conv, output);
    let t = naive::scaled(&bench, &conv, &sums);
    let expected = naive::epilogue(&bench, &conv.epilogue, case.channels_out, &t);
    (bench, conv, expected)
}

/// An output tensor's bytes: noise everywhere, then what the kernel writes.
struct Written {
    id: TensorId,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Written {
    fn new(rng: &mut Rng, bench: &Bench, platform: Platform, store: &Store) -> Self {
        let before = bench.stored(rng, platform, store.output);
        // The stored values are random, so a pixel that is never written shows.
        Self { id: store.output, after: before.clone(), before }
    }

    /// The bytes of a range of units, as a session hands them over.
    fn part(&mut self, bench: &Bench, units: Range<usize>, by_pixel: bool) -> &mut [u8] {
        let desc = bench.tensor(self.id);
        let unit =
            if by_pixel { desc.pixel_stride as usize } else { 1 } * desc.dtype.bytes() as usize;
        let end = (units.end * unit).min(self.after.len());
        &mut self.after[units.start * unit..end]
    }

    fn check(&self, bench: &Bench, platform: Platform, expected: &[i32], what: &str) {
        let desc = bench.tensor(self.id);
        let (stride, channels, size) =
            (desc.pixel_stride as usize, desc.channels as usize, desc.dtype.bytes() as usize);
        let mut want = self.before.clone();
        for (p, pixel) in expected.chunks_exact(channels).enumerate() {
            for (c, v) in pixel.iter().enumerate() {
                let at = (p * stride + c) * size;
                match desc.dtype {
                    DType::I8 => want[at] = *v as u8 ^ platform.act_xor(),
                    DType::I16 => want[at..at + 2].copy_from_slice(&(*v as i16).to_ne_bytes()),
                }
            }
        }
        if let Some(i) = (0..want.len()).find(|i| want[*i] != self.after[*i]) {
            let element = i / size;
            panic!(
                "{what}: pixel {} element {} of {desc:?}: {} instead of {}",
                element / stride,
                element % stride,
                self.after[i],
                want[i]
            );
        }
    }
}

/// Runs a case on a platform in the given number of parts; the name of the kernel.
fn check(rng: &mut Rng, platform: Platform, case: Case, tail: Tail, parts: usize) -> &'static str {
    check_on(Shelf::new(0), rng, platform, case, tail, parts)
}

/// As [`check`], packed onto a shelf.
pub(super) fn check_on(
    mut shelf: Shelf,
    rng: &mut Rng,
    platform: Platform,
    case: Case,
    tail: Tail,
    parts: usize,
) -> &'static str {
    let (bench, conv, expected) = build(rng, case, tail);
    let mut packed = PackedConv::pack_on(platform, &conv, &bench, &mut shelf);
    packed.attach(&shelf.finish());
    let mut scratch = Scratch::new(packed.scratch());
    let input = bench.stored(rng, platform, conv.input);
    let residual = conv.epilogue.residual.map(|r| bench.stored(rng, platform, r.tensor));
    let mut first = conv.epilogue.store.map(|s| Written::new(rng, &bench, platform, &s));
    let mut second = conv.epilogue.second.map(|(_, s)| Written::new(rng, &bench, platform, &s));
    let [h, w] = case.output().expect("the window fits");
    let (count, granule, by_pixel) = match packed.units() {
        Units::Pixels => (h * w, 1, true),
        Units::Bands(granule) => (h * w, granule, true),
        Units::Channels(granule) | Units::Columns(granule) => (case.channels_out, granule, false),
    };
    let step = count.div_ceil(parts).next_multiple_of(granule);
    for start in (0..count).step_by(step) {
        let end = count.min(start + step);
        if let Units::Columns(_) = packed.units() {
            let mut written = [&mut first, &mut second]
                .map(|written| written.as_mut().map(|w| (bench.tensor(w.id), &mut w.after[..])));
            let io = Io {
                input: &input,
                gate: None,
                residual: residual.as_deref(),
                store: None,
                second: None,
                next: &[],
                scratch: &mut scratch,
                range: start..end,
            };
            run_columns(&packed, io, &mut written);
            continue;
        }
        packed.run(Io {
            input: &input,
            gate: None,
            residual: residual.as_deref(),
            store: first.as_mut().map(|w| w.part(&bench, start..end, by_pixel)),
            second: second.as_mut().map(|w| w.part(&bench, start..end, by_pixel)),
            next: &[],
            scratch: &mut scratch,
            range: start..end,
        });
    }
    for (written, expected) in [first, second].iter().zip(&expected) {
        if let (Some(written), Some(expected)) = (written, expected) {
            let what = alloc::format!("{} {} {case:?} {tail:?}", platform.name(), packed.kernel());
            written.check(&bench, platform, expected, &what);
        }
    }
    packed.kernel()
}

/// Rows and output channels of a platform's GEMM tile.
pub(super) fn tile(platform: Platform) -> (usize, usize, usize) {
    struct Tile;
    impl Kernel for Tile {
        type Output = (usize, usize, usize);
        #[inline(always)]
        fn eval<I: Isa>(self, _: I) -> Self::Output {
            (I::MR, I::NV * I::LANES, I::LANES)
        }
    }
    platform.run(Tile)
}

#[test]
fn edges_of_the_gemm_tile() {
    let mut rng = Rng::new(1);
    for platform in Platform::available() {
        let (mr, nr, lanes) = tile(platform);
        let around = |n: usize| [1, n - 1, n, n + 1, 2 * n + 1];
        for m in around(mr) {
            for n in [1, lanes, lanes + 1].into_iter().chain(around(nr)) {
                for k in [1, 3, 4, 5, 15, 16, 17, 32, 33, 60] {
                    check(&mut rng, platform, Case::new([1, m, k], n, 1), Tail::PLAIN, 1);
                }
            }
        }
    }
}

#[test]
fn windows_strides_and_channels() {
    let mut rng = Rng::new(2);
    for platform in Platform::available() {
        for channels in [3, 12, 16, 19, 32] {
            for size in [1, 2, 3, 5] {
                for stride in [1, 2, 3] {
                    for dilation in [1, 2] {
                        let case =
                            Case::new([7, 9, channels], 20, size).stride(stride).dilation(dilation);
                        let tail = Tail::random(&mut rng);
                        check(&mut rng, platform, case, tail, 1);
                        let case = case.padding(rng.int(0, 4) as usize);
                        if case.output().is_some() {
                            check(&mut rng, platform, case, tail, 3);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn padding_on_one_side() {
    let mut rng = Rng::new(10);
    for platform in Platform::available() {
        for (channels, groups) in [(3, 1), (16, 1), (70, 1), (32, 8), (20, 20)] {
            for size in [2, 3, 4] {
                for (padding, behind) in [([0, 0], [1, 1]), ([0, 0], [0, 2]), ([2, 1], [0, 0])] {
                    for stride in [1, 2] {
                        let case = Case::new([6, 9, channels], channels, size).groups(groups);
                        let case = Case { padding, behind: Some(behind), ..case.stride(stride) };
                        let tail = Tail::random(&mut rng);
                        check(&mut rng, platform, case, tail, 2);
                    }
                }
            }
        }
    }
}

#[test]
fn groups_of_every_size() {
    let mut rng = Rng::new(3);
    for platform in Platform::available() {
        for per_group in [1, 2, 3, 4, 5, 8, 16, 24, 32] {
            for groups in [2, 3, 4, 5, 8] {
                for stride in [1, 2] {
                    for width in [3, 6, 7, 8, 9, 14, 17, 28] {
                        let channels = groups * per_group;
                        let case = Case::new([4, width, channels], channels, 3);
                        let case = case.groups(groups).stride(stride);
                        let tail = Tail::random(&mut rng);
                        check(&mut rng, platform, case, tail, 1 + width % 3);
                    }
                }
            }
        }
    }
}

#[test]
fn small_groups_that_fill_vectors() {
    let mut rng = Rng::new(11);
    for platform in Platform::available() {
        for per_group in [4, 8, 16] {
            for channels in [32, 64, 128] {
                for stride in [1, 2] {
                    for width in [1, 2, 3, 4, 5, 6, 7, 10, 11, 20] {
                        let case = Case::new([5, width, channels], channels, 3).stride(stride);
                        let case = case.groups(channels / per_group);
                        let padding = [rng.int(0, 2) as usize, rng.int(0, 2) as usize];
                        let case = Case { padding, behind: Some([1, 2]), ..case };
                        // Mostly results that leave in registers.
                        let tail =
                            if rng.chance(80) { Tail::PLAIN } else { Tail::random(&mut rng) };
                        check(&mut rng, platform, case, tail, 1 + width % 3);
                    }
                }
            }
        }
    }
}

#[test]
fn small_groups_in_far_maps() {
    let mut rng = Rng::new(14);
    for platform in Platform::available() {
        for stride in [1, 2] {
            for behind in [[1, 1], [0, 2]] {
                let case = Case::new([21, 100, 256], 256, 3).groups(32).stride(stride);
                let case = Case { behind: Some(behind), ..case };
                check(&mut rng, platform, case, Tail::PLAIN, 1 + 2 * behind[0]);
            }
        }
    }
}

#[test]
fn uneven_groups() {
    let mut rng = Rng::new(4);
    for platform in Platform::available() {
        for (channels_in, channels_out, groups) in
            [(4, 8, 4), (8, 4, 4), (6, 9, 3), (64, 32, 2), (32, 160, 4)]
        {
            for size in [1, 3, 5] {
                let case = Case::new([5, 6, channels_in], channels_out, size).groups(groups);
                check(&mut rng, platform, case, Tail::PLAIN, 2);
            }
        }
    }
}

#[test]
fn depthwise_windows() {
    let mut rng = Rng::new(5);
    for platform in Platform::available() {
        for channels in [2, 15, 16, 17, 40] {
            for (size, dilation) in [(2, 1), (3, 1), (3, 2), (5, 1), (5, 2)] {
                for stride in [1, 2] {
                    let case = Case::new([11, 13, channels], channels, size).groups(channels);
                    let case = case.stride(stride).dilation(dilation);
                    let tail = Tail::random(&mut rng);
                    check(&mut rng, platform, case, tail, 2);
                }
            }
        }
    }
}

#[test]
fn linear_layers_divide_by_channels() {
    let mut rng = Rng::new(6);
    for platform in Platform::available() {
        for channels_out in [1, 10, 63, 64, 65, 128, 200] {
            for parts in [1, 2, 3] {
                let tail = Tail::random(&mut rng);
                let case = Case::new([1, 1, 70], channels_out, 1);
                check(&mut rng, platform, case, tail, parts);
                let case = Case::new([1, 1, 66], 2 * channels_out, 1).groups(2);
                check(&mut rng, platform, case, tail, parts);
            }
        }
    }
}

#[test]
fn windows_larger_than_the_kept_offsets() {
    let mut rng = Rng::new(7);
    for platform in Platform::available() {
        for channels_out in [5, 40] {
            let case = Case::new([12, 12, 17], channels_out, 11);
            check(&mut rng, platform, case, Tail::PLAIN, 1);
        }
    }
}

#[test]
fn deep_sums_of_extreme_values() {
    let mut rng = Rng::new(8);
    for platform in Platform::available() {
        check(&mut rng, platform, Case::new([3, 3, 520], 33, 3), Tail::PLAIN, 1);
        check(&mut rng, platform, Case::new([1, 2, 4096], 3, 1), Tail::PLAIN, 1);
    }
}

#[test]
fn random_convolutions_reach_every_kernel() {
    let mut rng = Rng::new(9);
    for platform in Platform::available() {
        let mut seen: Vec<&str> = Vec::new();
        for _ in 0..120 {
            let groups = rng.pick(&[1, 1, 1, 2, 4]);
            let case = Case {
                input: [
                    rng.int(1, 9) as usize,
                    rng.int(1, 20) as usize,
                    groups * rng.int(1, 36) as usize,
                ],
                channels_out: groups * rng.int(1, 36) as usize,
                groups,
                size: [rng.int(1, 4) as usize, rng.int(1, 4) as usize],
                stride: [rng.int(1, 3) as usize, rng.int(1, 3) as usize],
                padding: [rng.int(0, 2) as usize, rng.int(0, 2) as usize],
                behind: None,
                dilation: [rng.int(1, 2) as usize, rng.int(1, 2) as usize],
            };
            if case.output().is_some() {
                let tail = Tail::random(&mut rng);
                let parts = rng.int(1, 4) as usize;
                let shelf = Shelf::new(0).with_winograd(rng.pick(&[None, Some(true)]));
                seen.push(check_on(shelf, &mut rng, platform, case, tail, parts));
            }
        }
        let pointwise = Case::new([4, 4, 32], 32, 1);
        seen.push(check(&mut rng, platform, pointwise, Tail::PLAIN, 1));
        let grouped = Case::new([4, 9, 32], 32, 3);
        seen.push(check(&mut rng, platform, grouped.groups(8), Tail::PLAIN, 1));
        seen.push(check(&mut rng, platform, grouped.groups(32), Tail::PLAIN, 1));
        let shelf = Shelf::new(0).with_winograd(Some(true));
        let case = Case::new([4, 9, 32], 32, 3);
        seen.push(check_on(shelf, &mut rng, platform, case, Tail::PLAIN, 1));
        for _ in 0..8 {
            // Pixels are apart in some of these maps.
            let case = Case::new([4, 40, 3], 8, 3).stride(2);
            seen.push(check(&mut rng, platform, case, Tail::PLAIN, 1));
        }
        let (_, _, lanes) = tile(platform);
        let is_compiled = |k: &str| match k {
            "winograd" => platform != Platform::scalar(),
            "stem" => lanes >= 8,
            _ => true,
        };
        for kernel in KERNELS.iter().filter(|k| CONV.contains(k) && is_compiled(k)) {
            assert!(seen.contains(kernel), "{kernel} was not exercised on {}", platform.name());
        }
    }
}
