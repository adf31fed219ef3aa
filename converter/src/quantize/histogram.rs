//! A histogram whose range grows with the data.
//!
//! Bins are `2^exponent` wide and cover `[-HALF, HALF)` widths around zero. A value outside doubles the width, which
//! merges bins in pairs and moves no count across an edge: `floor(floor(x / w) / 2) = floor(x / 2w)`. The final counts
//! therefore depend on the set of values alone, not on their order or on how they were split over threads.

/// Bins on each side of zero.
const HALF: usize = 4096;

/// Counts of finite values, with exact zeros apart.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// `2 * HALF` counts; empty until the first value that is not zero.
    bins: Vec<u64>,
    /// Bins are `2^exponent` wide.
    exponent: i32,
    zeros: u64,
    non_finite: u64,
    min: f32,
    max: f32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { bins: Vec::new(), exponent: 0, zeros: 0, non_finite: 0, min: 0.0, max: 0.0 }
    }
}

/// `2^exponent`, exact over the range that f32 inputs need.
fn power(exponent: i32) -> f64 {
    f64::powi(2.0, exponent)
}

/// The smallest exponent for which `magnitude` lies inside `HALF` bins.
fn exponent_for(magnitude: f32) -> i32 {
    let mut e = (f64::from(magnitude) / HALF as f64).log2().floor() as i32;
    while f64::from(magnitude) >= HALF as f64 * power(e) {
        e += 1;
    }
    e
}

impl Histogram {
    /// Counts values.
    pub fn add(&mut self, values: &[f32]) {
        let mut magnitude = 0.0f32;
        for &x in values {
            if x.is_finite() {
                magnitude = magnitude.max(x.abs());
                self.min = self.min.min(x);
                self.max = self.max.max(x);
            }
        }
        if magnitude > 0.0 {
            self.widen(exponent_for(magnitude));
        }
        let inverse = power(-self.exponent);
        for &x in values {
            if x == 0.0 {
                self.zeros += 1;
            } else if x.is_finite() {
                let i = (f64::from(x) * inverse).floor() as i64 + HALF as i64;
                self.bins[i as usize] += 1;
            } else {
                self.non_finite += 1;
            }
        }
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Self) {
        self.zeros += other.zeros;
        self.non_finite += other.non_finite;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        if other.bins.is_empty() {
            return;
        }
        self.widen(other.exponent);
        let shift = (self.exponent - other.exponent) as u32;
        for (i, &n) in other.bins.iter().enumerate() {
            if n > 0 {
                let at = ((i as i64 - HALF as i64) >> shift.min(62)) + HALF as i64;
                self.bins[at as usize] += n;
            }
        }
    }

    /// Makes the bins at least `2^exponent` wide.
    fn widen(&mut self, exponent: i32) {
        if self.bins.is_empty() {
            self.bins = vec![0; 2 * HALF];
            self.exponent = exponent;
        }
        if exponent <= self.exponent {
            return;
        }
        let shift = ((exponent - self.exponent) as u32).min(62);
        let mut wide = vec![0; 2 * HALF];
        for (i, &n) in self.bins.iter().enumerate() {
            wide[(((i as i64 - HALF as i64) >> shift) + HALF as i64) as usize] += n;
        }
        self.bins = wide;
        self.exponent = exponent;
    }

    /// Smallest value seen, at most 0.
    #[must_use]
    pub fn min(&self) -> f32 {
        self.min
    }

    /// Largest value seen, at least 0.
    #[must_use]
    pub fn max(&self) -> f32 {
        self.max
    }

    /// NaN and infinite values seen.
    #[must_use]
    pub fn non_finite(&self) -> u64 {
        self.non_finite
    }

    /// Finite values seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.zeros + self.bins.iter().sum::<u64>()
    }

    /// Width of a bin.
    #[must_use]
    pub fn bin_width(&self) -> f64 {
        if self.bins.is_empty() { 0.0 } else { power(self.exponent) }
    }

    /// Bins that hold something, from the lowest to the highest: centre and count; exact zeros as centre 0.
    #[must_use]
    pub fn points(&self) -> Vec<(f64, u64)> {
        let width = power(self.exponent);
        let mut points = Vec::new();
        for (i, &n) in self.bins.iter().enumerate() {
            if i == HALF && self.zeros > 0 {
                points.push((0.0, self.zeros));
            }
            if n > 0 {
                points.push(((i as f64 - HALF as f64 + 0.5) * width, n));
            }
        }
        if self.bins.is_empty() && self.zeros > 0 {
            points.push((0.0, self.zeros));
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_do_not_depend_on_the_order_or_the_split() {
        let values: Vec<f32> =
            (0..4000).map(|i| ((i * 7919 % 4001) as f32 - 2000.0).powi(3) * 1e-5).collect();
        let mut forward = Histogram::default();
        forward.add(&values);
        let mut reversed = Histogram::default();
        let backwards: Vec<f32> = values.iter().rev().copied().collect();
        backwards.chunks(17).for_each(|c| reversed.add(c));
        let mut merged = Histogram::default();
        for chunk in values.chunks(1000) {
            let mut part = Histogram::default();
            part.add(chunk);
            merged.merge(&part);
        }
        assert_eq!(forward.points(), reversed.points());
        assert_eq!(forward.points(), merged.points());
        assert_eq!((forward.min(), forward.max()), (merged.min(), merged.max()));
        assert_eq!(forward.count(), 4000);
    }

    #[test]
    fn keeps_resolution_while_it_grows() {
        let mut h = Histogram::default();
        h.add(&[1e-6, 0.0]);
        h.add(&[1.0, -1.0]);
        assert!(h.bin_width() <= 2.0 / HALF as f64);
        let points = h.points();
        assert_eq!(points.iter().map(|p| p.1).sum::<u64>(), 4);
        assert!(points.contains(&(0.0, 1)));
        assert!((points.last().unwrap().0 - 1.0).abs() < h.bin_width());
    }

    #[test]
    fn values_that_are_not_numbers_are_counted_apart() {
        let mut h = Histogram::default();
        h.add(&[f32::NAN, f32::INFINITY, 2.0]);
        assert_eq!((h.non_finite(), h.count(), h.max()), (2, 1, 2.0));
    }

    #[test]
    fn only_zeros() {
        let mut h = Histogram::default();
        h.add(&[0.0; 5]);
        assert_eq!(h.points(), vec![(0.0, 5)]);
    }
}
