//! What is remembered of every value while calibration images stream through the float network.

use ndarray::ArrayD;

use super::histogram::Histogram;

/// Sums per channel; [`ChannelSums::mean`] and [`ChannelSums::mean_square`] are what is read.
#[derive(Clone, Debug, Default)]
pub struct ChannelSums {
    sum: Vec<f64>,
    square: Vec<f64>,
    /// Values per channel.
    count: u64,
}

impl ChannelSums {
    fn add(&mut self, shape: &[usize], values: &[f32]) {
        let channels = shape.get(1).copied().unwrap_or(1).max(1);
        self.sum.resize(channels, 0.0);
        self.square.resize(channels, 0.0);
        let plane = values.len() / channels;
        if plane == 0 {
            return;
        }
        for (c, plane) in values.chunks_exact(plane).enumerate() {
            self.sum[c] += plane.iter().map(|&x| f64::from(x)).sum::<f64>();
            self.square[c] += plane.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
        }
        self.count += plane as u64;
    }

    fn merge(&mut self, other: &Self) {
        self.sum.resize(other.sum.len(), 0.0);
        self.square.resize(other.square.len(), 0.0);
        self.sum.iter_mut().zip(&other.sum).for_each(|(a, b)| *a += b);
        self.square.iter_mut().zip(&other.square).for_each(|(a, b)| *a += b);
        self.count += other.count;
    }

    /// Mean of each channel.
    #[must_use]
    pub fn mean(&self) -> Vec<f64> {
        self.sum.iter().map(|s| s / self.count.max(1) as f64).collect()
    }

    /// Mean of the squares of each channel.
    #[must_use]
    pub fn mean_square(&self) -> Vec<f64> {
        self.square.iter().map(|s| s / self.count.max(1) as f64).collect()
    }
}

/// Everything known about one value.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// Distribution over all elements.
    pub histogram: Histogram,
    /// Channel by channel (axis 1).
    pub channels: ChannelSums,
}

impl Statistics {
    /// Counts one array `[1, C, ...]`.
    pub fn add(&mut self, array: &ArrayD<f32>) {
        let standard;
        let values = match array.as_slice() {
            Some(values) => values,
            None => {
                standard = array.as_standard_layout().into_owned();
                standard.as_slice().unwrap_or(&[])
            }
        };
        self.histogram.add(values);
        self.channels.add(array.shape(), values);
    }

    /// Adds what was counted elsewhere. Sums of floats depend on the order of merging: merge image by image.
    pub fn merge(&mut self, other: &Self) {
        self.histogram.merge(&other.histogram);
        self.channels.merge(&other.channels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array, IxDyn};

    #[test]
    fn channels_are_kept_apart() {
        let image =
            Array::from_shape_vec(IxDyn(&[1, 2, 1, 2]), vec![1.0, 3.0, -2.0, -4.0]).unwrap();
        let mut s = Statistics::default();
        s.add(&image);
        let mut other = Statistics::default();
        other.add(&image.mapv(|x| x + 2.0));
        s.merge(&other);
        assert_eq!(s.channels.mean(), vec![3.0, -2.0]);
        assert_eq!(
            s.channels.mean_square(),
            vec![(1.0 + 9.0 + 9.0 + 25.0) / 4.0, (4.0 + 16.0 + 0.0 + 4.0) / 4.0]
        );
        assert_eq!((s.histogram.min(), s.histogram.max(), s.histogram.count()), (-4.0, 5.0, 8));
    }
}
