//! What the windows of a convolution see: means and second moments of sampled input patches.
//!
//! Rounding a weight matters as far as its input varies, and errors of weights whose inputs vary together can cancel.
//! Both are in the covariance of the patches. It is kept in blocks of columns, so that its size grows with the number
//! of columns and not with its square; positions are sampled, so that collecting it costs a fraction of the network.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayD, ArrayView2, Axis};

use crate::graph::{Node, Op, conv_output_size};

/// Columns per block at most: 128 channels of a 3x3 window.
const BLOCK: usize = 1152;
/// Positions per image at most.
const SAMPLES: usize = 32;

/// Where patches are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    channels: usize,
    size: [usize; 2],
    window: [usize; 2],
    stride: [usize; 2],
    /// Top, left.
    padding: [usize; 2],
    dilation: [usize; 2],
    output: [usize; 2],
    groups: usize,
}

impl Geometry {
    /// That of a convolution or a linear layer over `[1, C]`; `None` for other nodes.
    pub fn of(node: &Node, input: &[usize]) -> Option<Self> {
        match (&node.op, input) {
            (Op::Conv2d(c), &[1, channels, h, w]) => {
                let window = [c.weight.shape()[2], c.weight.shape()[3]];
                let output = |i: usize, size: usize| {
                    let pad = [c.padding[i], c.padding[i + 2]];
                    conv_output_size(size, pad, window[i], c.stride[i], c.dilation[i], false)
                };
                Some(Self {
                    channels,
                    size: [h, w],
                    window,
                    stride: c.stride,
                    padding: [c.padding[0], c.padding[1]],
                    dilation: c.dilation,
                    output: [output(0, h)?, output(1, w)?],
                    groups: c.groups,
                })
            }
            (Op::Linear { .. }, &[1, channels]) => Some(Self::linear(channels)),
            _ => None,
        }
    }

    /// A window that is the whole operand.
    pub fn linear(channels: usize) -> Self {
        let (one, none) = ([1, 1], [0, 0]);
        Self {
            channels,
            size: one,
            window: one,
            stride: one,
            padding: none,
            dilation: one,
            output: one,
            groups: 1,
        }
    }

    /// Length of a patch: all channels, all taps.
    fn columns(&self) -> usize {
        self.channels * self.window[0] * self.window[1]
    }

    /// Patches of one image, one per row, columns in the order of a weight row: channel, row, column. Which positions
    /// depends on the image's index, so that all are seen in time.
    pub fn sample(&self, image: usize, values: &[f32]) -> Array2<f32> {
        let [out_h, out_w] = self.output;
        let positions = out_h * out_w;
        let count = positions.min(SAMPLES);
        let offset = (image as f64 * 0.618_033_988_749_895).fract();
        let mut patches = Array2::zeros((count, self.columns()));
        for (t, mut row) in patches.outer_iter_mut().enumerate() {
            let shift = if count < positions { offset } else { 0.0 };
            let at = ((t as f64 + shift) * positions as f64 / count as f64) as usize % positions;
            let (y, x) = (at / out_w, at % out_w);
            let mut column = 0;
            for c in 0..self.channels {
                let plane =
                    &values[c * self.size[0] * self.size[1]..][..self.size[0] * self.size[1]];
                for i in 0..self.window[0] {
                    for j in 0..self.window[1] {
                        let sy = (y * self.stride[0] + i * self.dilation[0])
                            .wrapping_sub(self.padding[0]);
                        let sx = (x * self.stride[1] + j * self.dilation[1])
                            .wrapping_sub(self.padding[1]);
                        if sy < self.size[0] && sx < self.size[1] {
                            row[column] = plane[sy * self.size[1] + sx];
                        }
                        column += 1;
                    }
                }
            }
        }
        patches
    }
}

/// Sums over a run of columns.
#[derive(Clone, Debug)]
pub struct Block {
    /// Group of the convolution.
    pub group: usize,
    /// First column inside the group's weight rows.
    pub start: usize,
    sum: Array1<f32>,
    square: Array2<f32>,
}

/// Sums over all sampled patches of one layer.
#[derive(Clone, Debug)]
pub struct Patches {
    /// Columns of one group.
    columns: usize,
    count: usize,
    blocks: Vec<Block>,
}

impl Patches {
    pub(crate) fn new(geometry: &Geometry) -> Self {
        let columns = geometry.columns() / geometry.groups;
        let taps = geometry.window[0] * geometry.window[1];
        // Whole channels, evenly spread.
        let pieces = columns.div_ceil(BLOCK.max(taps));
        let channels = (columns / taps).div_ceil(pieces);
        let starts = || (0..columns).step_by(channels * taps);
        let blocks = (0..geometry.groups)
            .flat_map(|group| starts().map(move |start| (group, start)))
            .map(|(group, start)| {
                let len = (channels * taps).min(columns - start);
                Block { group, start, sum: Array1::zeros(len), square: Array2::zeros((len, len)) }
            })
            .collect();
        Self { columns, count: 0, blocks }
    }

    pub(crate) fn add(&mut self, patches: &ArrayView2<'_, f32>) {
        for block in &mut self.blocks {
            let first = block.group * self.columns + block.start;
            let columns = first..first + block.sum.len();
            let part = patches.slice_axis(Axis(1), columns.into());
            block.sum += &part.sum_axis(Axis(0));
            general_mat_mul(1.0, &part.t(), &part, 1.0, &mut block.square);
        }
        self.count += patches.nrows();
    }

    /// The same patches with each channel divided by its factor.
    #[must_use]
    pub fn divided(&self, factors: &[f32]) -> Self {
        let mut patches = self.clone();
        let (columns, groups) = (self.columns, self.groups());
        let taps = columns * groups / factors.len().max(1);
        for block in &mut patches.blocks {
            let first = block.group * columns + block.start;
            let inverse: Array1<f32> =
                (0..block.len()).map(|i| 1.0 / factors[(first + i) / taps]).collect();
            block.sum *= &inverse;
            for (mut row, i) in block.square.outer_iter_mut().zip(&inverse) {
                row *= &inverse;
                row *= *i;
            }
        }
        patches
    }

    /// The same patches with an offset added to each channel.
    ///
    /// What lies outside the map counts as inside.
    #[must_use]
    pub fn shifted(&self, offsets: &[f32]) -> Self {
        let mut patches = self.clone();
        let n = self.count as f32;
        let taps = self.columns * self.groups() / offsets.len().max(1);
        for block in &mut patches.blocks {
            let first = block.group * self.columns + block.start;
            let by: Array1<f32> = (0..block.len()).map(|i| offsets[(first + i) / taps]).collect();
            for (i, mut row) in block.square.outer_iter_mut().enumerate() {
                for (j, x) in row.iter_mut().enumerate() {
                    *x += by[i] * block.sum[j] + by[j] * block.sum[i] + n * by[i] * by[j];
                }
            }
            block.sum.scaled_add(n, &by);
        }
        patches
    }

    /// Patches of normalised pixels, three channels, as patches of pixels and their mask, which is 1.
    ///
    /// What lies outside the image counts as inside; the few patches there change little.
    pub(crate) fn masked(&self, mean: [f32; 3], std: [f32; 3]) -> Self {
        let taps = self.columns / 3;
        let n = self.count as f32;
        let blocks = self.blocks.iter().map(|block| {
            let (old, len) = (block.sum.len(), 4 * taps);
            let channel = |i: usize| i / taps;
            let sum = Array1::from_shape_fn(len, |i| match channel(i) {
                3 => n,
                c => std[c] * block.sum[i] + n * mean[c],
            });
            let square = Array2::from_shape_fn((len, len), |(i, j)| {
                if i >= old || j >= old {
                    return if i >= old { sum[j] } else { sum[i] };
                }
                let (a, b) = (channel(i), channel(j));
                std[a] * std[b] * block.square[[i, j]]
                    + std[a] * mean[b] * block.sum[i]
                    + mean[a] * std[b] * block.sum[j]
                    + n * mean[a] * mean[b]
            });
            Block { group: block.group, start: block.start, sum, square }
        });
        Self { columns: 4 * taps, count: self.count, blocks: blocks.collect() }
    }

    /// Columns of one group: the length of a weight row.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Groups of the convolution.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.blocks.last().map_or(1, |b| b.group + 1)
    }

    /// Patches seen.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The blocks, group by group.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Mean of each column of a group.
    #[must_use]
    pub fn mean(&self, group: usize) -> Vec<f64> {
        let n = self.count.max(1) as f64;
        let blocks = self.blocks.iter().filter(|b| b.group == group);
        blocks.flat_map(|b| b.sum.iter().map(move |&s| f64::from(s) / n)).collect()
    }

    /// Variance of each column of a group.
    #[must_use]
    pub fn variance(&self, group: usize) -> Vec<f64> {
        let n = self.count.max(1) as f64;
        let blocks = self.blocks.iter().filter(|b| b.group == group);
        blocks
            .flat_map(|b| {
                let mean = |i: usize| f64::from(b.sum[i]) / n;
                (0..b.sum.len())
                    .map(move |i| (f64::from(b.square[[i, i]]) / n - mean(i).powi(2)).max(0.0))
            })
            .collect()
    }
}

impl Block {
    /// Number of columns.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sum.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sum.is_empty()
    }

    /// The covariance over `count` patches, drawn towards its diagonal where there are few of them, and a little away
    /// from being singular.
    #[must_use]
    pub fn covariance(&self, count: usize) -> Array2<f64> {
        let (n, len) = (count.max(1) as f64, self.len());
        let keep = n / (n + len as f64);
        let mut c = Array2::zeros((len, len));
        for i in 0..len {
            for j in 0..=i {
                let (a, b) = (f64::from(self.sum[i]) / n, f64::from(self.sum[j]) / n);
                let value = f64::from(self.square[[i, j]]) / n - a * b;
                let value = if i == j { value.max(0.0) } else { value * keep };
                c[[i, j]] = value;
                c[[j, i]] = value;
            }
        }
        let average = c.diag().sum() / len.max(1) as f64;
        c.diag_mut().mapv_inplace(|v| v + 0.003 * average + 1e-20);
        c
    }
}

/// The values of an array in row-major order.
pub(crate) fn row_major(array: &ArrayD<f32>) -> std::borrow::Cow<'_, [f32]> {
    match array.as_slice() {
        Some(values) => values.into(),
        None => array.iter().copied().collect::<Vec<_>>().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn geometry(channels: usize, groups: usize) -> Geometry {
        Geometry {
            channels,
            size: [3, 3],
            window: [3, 3],
            stride: [2, 2],
            padding: [1, 1],
            dilation: [1, 1],
            output: [2, 2],
            groups,
        }
    }

    #[test]
    fn patches_see_zeros_outside_the_map() {
        let values: Vec<f32> = (1..=9).map(|x| x as f32).collect();
        let p = geometry(1, 1).sample(5, &values);
        assert_eq!(p.row(0).to_vec(), [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 4.0, 5.0]);
        assert_eq!(p.row(3).to_vec(), [5.0, 6.0, 0.0, 8.0, 9.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn masked_patches_are_those_of_pixels() {
        let pixels = [[0.1f32, 0.9, 0.5], [0.4, 0.2, 0.8], [0.7, 0.3, 0.1]];
        let (mean, std) = ([0.5, 0.4, 0.3], [0.25, 0.2, 0.5]);
        let normalised = Array2::from_shape_fn((3, 3), |(i, c)| (pixels[i][c] - mean[c]) / std[c]);
        let with_mask =
            Array2::from_shape_fn((3, 4), |(i, c)| if c == 3 { 1.0 } else { pixels[i][c] });
        let mut p = Patches::new(&Geometry::linear(3));
        p.add(&normalised.view());
        let mut expected = Patches::new(&Geometry::linear(4));
        expected.add(&with_mask.view());
        let masked = p.masked(mean, std);
        assert_eq!(masked.columns(), 4);
        let (a, b) = (&masked.blocks()[0], &expected.blocks()[0]);
        assert!((&a.sum - &b.sum).iter().all(|d| d.abs() < 1e-5));
        assert!(
            (&a.square - &b.square).iter().all(|d| d.abs() < 1e-5),
            "{} {}",
            a.square,
            b.square
        );
    }

    #[test]
    fn moments_are_those_of_the_samples() {
        let mut p = Patches::new(&Geometry::linear(2));
        p.add(&array![[1.0f32, 2.0], [3.0, -2.0]].view());
        p.add(&array![[5.0f32, 0.0]].view());
        assert_eq!(p.mean(0), [3.0, 0.0]);
        let variance = p.variance(0);
        assert!((variance[0] - 8.0 / 3.0).abs() < 1e-6 && (variance[1] - 8.0 / 3.0).abs() < 1e-6);
        let c = p.blocks()[0].covariance(p.count());
        assert!((c[[0, 1]] - (-4.0 / 3.0) * 0.6).abs() < 1e-6, "{c}");
    }

    #[test]
    fn shifted_moments_are_those_of_shifted_samples() {
        let samples = array![[1.0f32, 2.0, 0.5, 4.0], [3.0, -2.0, 1.5, 0.0]];
        let offsets = array![0.25f32, 0.25, -1.0, -1.0];
        let geometry = Geometry { channels: 2, window: [1, 2], ..Geometry::linear(2) };
        let mut p = Patches::new(&geometry);
        p.add(&samples.view());
        let mut expected = Patches::new(&geometry);
        expected.add(&(&samples + &offsets).view());
        let shifted = p.shifted(&[0.25, -1.0]);
        let (a, b) = (&shifted.blocks()[0], &expected.blocks()[0]);
        assert_eq!((&a.sum, &a.square), (&b.sum, &b.square));
    }

    #[test]
    fn blocks_hold_whole_channels_of_one_group() {
        let p = Patches::new(&geometry(600, 2));
        let shape: Vec<_> = p.blocks().iter().map(|b| (b.group, b.start, b.len())).collect();
        assert_eq!(
            shape,
            [
                (0, 0, 900),
                (0, 900, 900),
                (0, 1800, 900),
                (1, 0, 900),
                (1, 900, 900),
                (1, 1800, 900)
            ]
        );
    }
}
