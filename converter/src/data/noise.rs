//! Synthetic images with the spectrum of photographs.

use super::{Content, Pixels, Record, Records};
use crate::error::Result;

/// Side of the images that are made; they are scaled to the network's size like any other.
const MIN_SIDE: usize = 8;

/// Images whose amplitude falls with one over frequency, as photographs' does: octaves of smoothly enlarged
/// random values, the coarsest strongest, mostly grey with some colour.
///
/// They drive a network with random weights through its ranges and stand for no real data.
pub(super) struct Noise {
    pub(super) size: [usize; 2],
    /// Number of the first image: every number is another image.
    pub(super) first: usize,
    pub(super) count: usize,
}

/// SplitMix64: a full-period generator whose every seed is good.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }
}

impl Records for Noise {
    fn len(&self) -> usize {
        self.count
    }

    fn read(&self, index: usize) -> Result<Record> {
        let number = (self.first + index) as u64;
        let mut random = Random(0x6b65_6e61_7200 + number * 0x1_0000_0001);
        let [h, w] = self.size.map(|n| n.max(MIN_SIDE));
        let grey = field(&mut random, h, w);
        let mut data = vec![0u8; h * w * 3];
        // Brightness and contrast vary from image to image.
        let brightness = 90.0 + 70.0 * random.uniform();
        let contrast = 40.0 + 60.0 * random.uniform();
        for c in 0..3 {
            let colour = field(&mut random, h, w);
            let cast = 30.0 * (random.uniform() - 0.5);
            for i in 0..h * w {
                let value = brightness + cast + contrast * (0.85 * grey[i] + 0.35 * colour[i]);
                data[i * 3 + c] = value.round().clamp(0.0, 255.0) as u8;
            }
        }
        let content = Content::Pixels(Pixels { height: h, width: w, data });
        Ok(Record { name: format!("noise {number}"), label: None, content })
    }
}

/// A `h x w` field of zero mean and unit variance.
fn field(random: &mut Random, h: usize, w: usize) -> Vec<f32> {
    let mut sum = vec![0.0f32; h * w];
    let mut cell = h.max(w);
    while cell >= 1 {
        let (gh, gw) = (h.div_ceil(cell) + 1, w.div_ceil(cell) + 1);
        let grid: Vec<f32> = (0..gh * gw).map(|_| random.uniform() - 0.5).collect();
        // Amplitude 1/frequency per octave of area: proportional to the square root of the cell.
        let amplitude = (cell as f32).sqrt();
        for y in 0..h {
            let (gy, fy) = (y / cell, (y % cell) as f32 / cell as f32);
            for x in 0..w {
                let (gx, fx) = (x / cell, (x % cell) as f32 / cell as f32);
                let row = |r: usize| grid[r * gw + gx] * (1.0 - fx) + grid[r * gw + gx + 1] * fx;
                sum[y * w + x] += amplitude * (row(gy) * (1.0 - fy) + row(gy + 1) * fy);
            }
        }
        cell /= 2;
    }
    let n = sum.len() as f32;
    let mean = sum.iter().sum::<f32>() / n;
    let deviation = (sum.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt().max(1e-6);
    sum.iter().map(|v| (v - mean) / deviation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(index: usize) -> Pixels {
        let Content::Pixels(p) =
            Noise { size: [32, 48], first: 0, count: 9 }.read(index).unwrap().content
        else {
            panic!("pixels expected")
        };
        p
    }

    #[test]
    fn images_are_reproducible_and_differ() {
        assert_eq!(pixels(3), pixels(3));
        assert_ne!(pixels(3), pixels(4));
    }

    #[test]
    fn images_are_smooth_and_use_the_range() {
        for index in 0..8 {
            let p = pixels(index);
            let values: Vec<f32> = p.data.iter().step_by(3).map(|v| f32::from(*v)).collect();
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>()
                / values.len() as f32)
                .sqrt();
            let neighbour =
                values.windows(2).map(|v| (v[1] - v[0]).abs()).sum::<f32>() / values.len() as f32;
            assert!((50.0..205.0).contains(&mean) && deviation > 15.0, "mean {mean}, {deviation}");
            assert!(neighbour < deviation, "neighbours differ by {neighbour}, all by {deviation}");
        }
    }
}
