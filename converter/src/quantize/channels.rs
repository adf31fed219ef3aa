//! How the elements of each channel are distributed: what balancing needs to know.
//!
//! Bins are a quarter of an octave wide, apart for the two signs, whatever the size of the values; their counts are
//! integers, so that the sum over images does not depend on their order.

use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

/// Bins per octave.
const PER_OCTAVE: i32 = 4;
/// The smallest magnitude with a bin of its own is `2^LOWEST`.
const LOWEST: i32 = -44;
/// Bins of one sign: up to `2^20`.
const BINS: usize = 256;
/// Elements of a channel that one image adds at most, about.
const SAMPLES: usize = 4096;
/// Steps of a scale that are tried per octave.
const TRIED_PER_OCTAVE: i32 = 16;
/// Octaves below the scale that clips nothing.
const TRIED_OCTAVES: i32 = 5;

/// Offsets that are tried, of a step.
const OFFSETS: [f64; 7] = [0.125, -0.125, 0.25, -0.25, 0.375, -0.375, 0.5];
/// An offset has to leave less than this of the error: the value that repeats is to be a property of the channel.
const WORTH: f64 = 0.7;
/// Points that stand for the values of a bin.
const POINTS: i32 = 8;

/// Counts for every channel of a value.
#[derive(Debug)]
pub struct Channels {
    /// Per channel `BINS` of negative, then `BINS` of positive values.
    counts: Vec<AtomicU32>,
}

impl Clone for Channels {
    fn clone(&self) -> Self {
        let load = |n: &AtomicU32| AtomicU32::new(n.load(Ordering::Relaxed));
        Self { counts: self.counts.iter().map(load).collect() }
    }
}

/// Where a magnitude is counted; the first mantissa bits are the part of an octave.
fn bin(x: f32) -> usize {
    let quarter = (x.abs().to_bits() >> 21) as i32 - (127 + LOWEST) * PER_OCTAVE;
    quarter.clamp(0, BINS as i32 - 1) as usize
}

/// The smallest magnitude of a bin, and its width.
fn bounds(bin: usize) -> (f64, f64) {
    let (octave, quarter) = (bin as i32 / PER_OCTAVE + LOWEST, bin as i32 % PER_OCTAVE);
    let width = f64::powi(2.0, octave) / f64::from(PER_OCTAVE);
    (f64::from(PER_OCTAVE + quarter) * width, width)
}

/// The middle of a bin.
fn centre(bin: usize) -> f64 {
    let (low, width) = bounds(bin);
    low + 0.5 * width
}

impl Channels {
    pub(crate) fn new(channels: usize) -> Self {
        Self { counts: (0..channels * 2 * BINS).map(|_| AtomicU32::new(0)).collect() }
    }

    /// Counts the elements of one image, channel after channel.
    pub(crate) fn add(&self, values: &[f32]) {
        let channels = self.counts.len() / (2 * BINS);
        let pixels = values.len() / channels.max(1);
        if pixels == 0 {
            return;
        }
        // An odd step meets all columns of maps whose width is even.
        let step = (pixels / SAMPLES).max(1) | 1;
        for (plane, counts) in values.chunks_exact(pixels).zip(self.counts.chunks_exact(2 * BINS)) {
            let mut own = [0u32; 2 * BINS];
            for &x in plane.iter().step_by(step).filter(|x| **x != 0.0) {
                own[usize::from(x > 0.0) * BINS + bin(x)] += 1;
            }
            for (total, &n) in counts.iter().zip(&own).filter(|(_, n)| **n > 0) {
                total.fetch_add(n, Ordering::Relaxed);
            }
        }
    }

    /// For every channel the step with the smallest squared error over `zero_point`, that of the whole tensor; `None`
    /// for a channel that was never anything but zero.
    #[must_use]
    pub fn steps(&self, zero_point: i32) -> Vec<Option<f64>> {
        self.fits(zero_point).into_iter().map(|fit| fit.map(|fit| fit.step)).collect()
    }

    /// As [`Channels::steps`], with what remains.
    #[must_use]
    pub fn fits(&self, zero_point: i32) -> Vec<Option<Fit>> {
        self.counts.par_chunks_exact(2 * BINS).map(|counts| fit(counts, zero_point)).collect()
    }

    /// For every channel what to add to its values before they are rounded to `steps`, half a step at most: where one
    /// value repeats, rounding is to meet it.
    #[must_use]
    pub fn offsets(&self, zero_point: i32, steps: &[f64]) -> Vec<f64> {
        let channels = self.counts.par_chunks_exact(2 * BINS).zip(steps);
        channels.map(|(counts, &step)| offset(counts, step, zero_point)).collect()
    }
}

/// The offset that brings the most frequent values next to whole steps; 0 where none is worth it.
fn offset(counts: &[AtomicU32], step: f64, zero_point: i32) -> f64 {
    let (lowest, highest) = (f64::from(-128 - zero_point), f64::from(127 - zero_point));
    let bins: Vec<(usize, f64)> = counts
        .iter()
        .enumerate()
        .map(|(i, n)| (i, f64::from(n.load(Ordering::Relaxed))))
        .filter(|(_, n)| *n > 0.0)
        .collect();
    let cost = |offset: f64| -> f64 {
        let error = |x: f64| {
            let steps = (x + offset) / step;
            let d = (steps - steps.round_ties_even().clamp(lowest, highest)) * step;
            d * d / f64::from(POINTS)
        };
        let of_bin = |i: usize| -> f64 {
            let (low, width) = bounds(i % BINS);
            // Values that are spread over whole steps are the same to every offset.
            if width > step {
                return step * step / 12.0;
            }
            let sign = if i < BINS { -1.0 } else { 1.0 };
            let point = |k: i32| sign * (low + width * (f64::from(k) + 0.5) / f64::from(POINTS));
            (0..POINTS).map(|k| error(point(k))).sum()
        };
        bins.iter().map(|&(i, n)| n * of_bin(i)).sum()
    };
    let tried = OFFSETS.map(|share| (cost(share * step), share * step));
    let best = tried.into_iter().min_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(least, _)| *least < WORTH * cost(0.0)).map_or(0.0, |(_, offset)| offset)
}

/// The best step of a channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// Real size.
    pub step: f64,
    /// Squared error over the sum of squares.
    pub error: f64,
}

fn fit(counts: &[AtomicU32], zero_point: i32) -> Option<Fit> {
    let points: Vec<(f64, f64)> = counts
        .iter()
        .enumerate()
        .map(|(i, n)| (i, n.load(Ordering::Relaxed)))
        .filter(|(_, n)| *n > 0)
        .map(|(i, n)| {
            let sign = if i < BINS { -1.0 } else { 1.0 };
            (sign * centre(i % BINS), f64::from(n))
        })
        .collect();
    let (below, above) = (f64::from(128 + zero_point), f64::from(127 - zero_point));
    // Levels that values of this sign have; none for what only lies outside by being noise.
    let levels = |x: f64| if x < 0.0 { below } else { above };
    let full = points
        .iter()
        .filter(|(x, _)| levels(*x) >= 1.0)
        .map(|(x, _)| x.abs() / levels(*x))
        .reduce(f64::max)?;
    let cost = |step: f64| -> f64 {
        let rounding = step * step / 12.0;
        let error = |x: f64| {
            let reach = (levels(x) + 0.5) * step;
            let beyond = (x.abs() - reach + 0.5 * step).max(0.0);
            if x.abs() > reach { beyond * beyond } else { rounding.min(x * x) }
        };
        points.iter().map(|&(x, n)| n * error(x)).sum()
    };
    let candidates = (-2..TRIED_OCTAVES * TRIED_PER_OCTAVE)
        .map(|i| full * f64::powf(2.0, -f64::from(i) / f64::from(TRIED_PER_OCTAVE)));
    let (cost, step) = candidates.map(|s| (cost(s), s)).min_by(|a, b| a.0.total_cmp(&b.0))?;
    let energy: f64 = points.iter().map(|(x, n)| n * x * x).sum();
    Some(Fit { step, error: cost / energy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_quarters_of_octaves() {
        for x in [1.0f32, 1.3, 1.9, 0.001, 777.0, 3e-9] {
            let c = centre(bin(x));
            assert!((c / f64::from(x)).log2().abs() < 0.25, "{x} {c}");
        }
        assert_eq!((bin(0.0), bin(f32::MAX)), (0, BINS - 1));
    }

    #[test]
    fn channels_get_steps_of_their_own_size() {
        let c = Channels::new(3);
        let wave: Vec<f32> = (0..900).map(|i| (i % 300) as f32 / 100.0).collect();
        let mut values = wave.clone();
        values.extend(wave.iter().map(|x| x * 0.125));
        values.extend([0.0; 900]);
        c.add(&values);
        let steps = c.steps(-128);
        let (a, b) = (steps[0].unwrap(), steps[1].unwrap());
        assert!((a / b - 8.0).abs() < 1e-9, "{a} {b}");
        assert!((a * 255.0 / 3.0 - 1.0).abs() < 0.15, "{a}");
        assert_eq!(steps[2], None);
    }

    #[test]
    fn values_that_repeat_are_met() {
        // One channel rests at -0.2 and is active in a tenth of its pixels, one is active everywhere.
        let wave = |i: usize| (i * 37 % 1000) as f32 * 0.06;
        let mut values: Vec<f32> =
            (0..4000).map(|i| if i % 10 == 0 { wave(i) } else { -0.2 }).collect();
        values.extend((0..4000).map(wave));
        let c = Channels::new(2);
        c.add(&values);
        let step = 0.6;
        let offsets = c.offsets(-100, &[step; 2]);
        let rest = (-0.2 + offsets[0]) / step;
        assert!((rest - rest.round()).abs() < 0.1, "{offsets:?}");
        assert_eq!(offsets[1], 0.0);
    }

    #[test]
    fn a_lonely_outlier_is_cut() {
        let c = Channels::new(1);
        let mut values: Vec<f32> = (0..4000).map(|i| (i % 100) as f32 * 0.01).collect();
        (0..100).for_each(|_| c.add(&values));
        values[17] = 2.0;
        c.add(&values);
        assert!(c.steps(-128)[0].unwrap() < 1.8 / 255.0);
    }
}
