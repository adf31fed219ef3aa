//! From a histogram to the range that the 256 values cover.

use std::fmt;
use std::str::FromStr;

use super::histogram::Histogram;
use super::params::QParams;

/// How a range is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Everything that was seen.
    MinMax,
    /// All but one value in 100,000 on each side.
    Percentile,
    /// The range with the smallest squared error, clipping included.
    #[default]
    Mse,
    /// The range whose quantised distribution has the smallest Kullback-Leibler divergence from the original.
    Entropy,
}

impl Method {
    /// All methods, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::MinMax, Self::Percentile, Self::Mse, Self::Entropy];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MinMax => "minmax",
            Self::Percentile => "percentile",
            Self::Mse => "mse",
            Self::Entropy => "entropy",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|m| m.name() == s).ok_or_else(|| {
            format!("unknown range method '{s}', expected minmax, percentile, mse or entropy")
        })
    }
}

/// An interval that holds zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// At most 0.
    pub lo: f32,
    /// At least 0.
    pub hi: f32,
}

impl Range {
    fn scaled(self, lo: f64, hi: f64) -> Self {
        Self { lo: (f64::from(self.lo) * lo) as f32, hi: (f64::from(self.hi) * hi) as f32 }
    }

    /// Everything a histogram has seen.
    #[must_use]
    pub fn of(histogram: &Histogram) -> Self {
        Self { lo: histogram.min().min(0.0), hi: histogram.max().max(0.0) }
    }

    /// `hi - lo`.
    #[must_use]
    pub fn width(&self) -> f64 {
        f64::from(self.hi) - f64::from(self.lo)
    }
}

/// Chooses the i8 range of a tensor.
#[must_use]
pub fn choose(histogram: &Histogram, method: Method) -> Range {
    let full = Range::of(histogram);
    if full.width() <= 0.0 {
        return full;
    }
    match method {
        Method::MinMax => full,
        Method::Percentile => percentile(histogram, full, 1e-5),
        Method::Mse => {
            let points = histogram.points();
            shrink(full, |r| squared_error(&points, r))
        }
        Method::Entropy => entropy(histogram, full),
    }
}

/// Searches the pair of shrink factors with the smallest cost: both ends together first, then each end alone.
pub(crate) fn shrink(full: Range, cost: impl Fn(Range) -> f64) -> Range {
    let mut best = (1.0, 1.0);
    let mut least = cost(full);
    let mut consider = |candidate: (f64, f64), best: &mut (f64, f64)| {
        let c = cost(full.scaled(candidate.0, candidate.1));
        if c < least {
            least = c;
            *best = candidate;
        }
    };
    for i in 1..80 {
        let f = 1.0 - f64::from(i) / 80.0;
        consider((f, f), &mut best);
    }
    for reach in [0.5, 0.1, 0.02] {
        let centre = best;
        for i in -12..=12 {
            let f = 1.0 + reach * f64::from(i) / 12.0;
            if full.hi > 0.0 {
                consider((best.0, (centre.1 * f).min(1.0)), &mut best);
            }
        }
        for i in -12..=12 {
            let f = 1.0 + reach * f64::from(i) / 12.0;
            if full.lo < 0.0 {
                consider(((centre.0 * f).min(1.0), best.1), &mut best);
            }
        }
    }
    full.scaled(best.0, best.1)
}

fn squared_error(points: &[(f64, u64)], range: Range) -> f64 {
    let p = QParams::i8(range);
    let (scale, zero) = (f64::from(p.scale), f64::from(p.zero_point));
    let inverse = 1.0 / scale;
    let (lo, hi) = (-128.0 - zero, 127.0 - zero);
    let mut error = 0.0;
    for &(x, n) in points {
        let q = (x * inverse).round_ties_even().clamp(lo, hi);
        let d = x - q * scale;
        error += d * d * n as f64;
    }
    error
}

fn percentile(histogram: &Histogram, full: Range, tail: f64) -> Range {
    let points = histogram.points();
    let allowed = histogram.count() as f64 * tail;
    let half = histogram.bin_width() / 2.0;
    let cut = |mut points: Box<dyn Iterator<Item = &(f64, u64)> + '_>| {
        let mut seen = 0.0;
        points
            .find(|(_, n)| {
                seen += *n as f64;
                seen > allowed
            })
            .map_or(0.0, |p| p.0)
    };
    let hi = cut(Box::new(points.iter().rev())) + half;
    let lo = cut(Box::new(points.iter())) - half;
    Range { lo: (lo as f32).clamp(full.lo, 0.0), hi: (hi as f32).clamp(0.0, full.hi) }
}

/// Kullback-Leibler divergence of the clipped distribution from its 256-level version, over shrink factors.
fn entropy(histogram: &Histogram, full: Range) -> Range {
    // Exact zeros are representable in every range; left in, their weight would drown the rest.
    let points: Vec<(f64, u64)> = histogram.points().into_iter().filter(|p| p.0 != 0.0).collect();
    let total: f64 = points.iter().map(|p| p.1 as f64).sum();
    if total == 0.0 {
        return full;
    }
    shrink(full, |range| {
        let p = QParams::i8(range);
        let mut mass = [0.0f64; 256];
        let mut inside = [0u32; 256];
        let mut level_of = Vec::with_capacity(points.len());
        let (lo, hi) = (p.dequantize(-128), p.dequantize(127));
        for &(x, n) in &points {
            let level = (p.quantize(x) + 128) as usize;
            let clipped = x < lo - f64::from(p.scale) / 2.0 || x > hi + f64::from(p.scale) / 2.0;
            // The reference keeps what was clipped at its edge; the quantised version does not know of it.
            if !clipped {
                mass[level] += n as f64;
                inside[level] += 1;
            }
            level_of.push((level, clipped));
        }
        let kept: f64 = mass.iter().sum();
        let mut divergence = 0.0;
        let mut edge = [0.0f64; 2];
        for (&(x, n), &(level, clipped)) in points.iter().zip(&level_of) {
            if clipped {
                edge[usize::from(x > 0.0)] += n as f64;
                continue;
            }
            let reference = n as f64 / total;
            let quantised = mass[level] / f64::from(inside[level]) / kept;
            divergence += reference * (reference / quantised).ln();
        }
        for (lost, level) in [(edge[0], 0), (edge[1], 255)] {
            if lost > 0.0 {
                let reference = lost / total;
                let spread = f64::from(inside[level].max(1));
                let quantised = (mass[level] / spread / kept).max(1e-12);
                divergence += reference * (reference / quantised).ln();
            }
        }
        divergence
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Roughly normal values with one outlier.
    fn with_outlier() -> Histogram {
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        let mut values: Vec<f32> =
            (0..600_000).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect();
        values.push(12.0);
        let mut h = Histogram::default();
        h.add(&values);
        h
    }

    #[test]
    fn minmax_takes_everything() {
        assert_eq!(choose(&with_outlier(), Method::MinMax).hi, 12.0);
    }

    #[test]
    fn the_other_methods_leave_the_outlier_out() {
        let h = with_outlier();
        let points = h.points();
        let all = squared_error(&points, Range::of(&h));
        for method in [Method::Percentile, Method::Mse, Method::Entropy] {
            let r = choose(&h, method);
            assert!(r.hi > 2.5 && r.hi < 11.0, "{method}: {r:?}");
            assert!(r.lo < -2.5 && r.lo > -6.5, "{method}: {r:?}");
            assert!(squared_error(&points, r) < all, "{method}");
        }
        let mse = squared_error(&points, choose(&h, Method::Mse));
        for method in Method::ALL {
            assert!(mse <= squared_error(&points, choose(&h, method)) * 1.0001, "{method}");
        }
    }

    #[test]
    fn one_sided_data_keeps_its_zero() {
        let mut h = Histogram::default();
        h.add(&(0..1000).map(|i| i as f32 * 0.01).collect::<Vec<_>>());
        for method in Method::ALL {
            assert_eq!(choose(&h, method).lo, 0.0, "{method}");
        }
    }

    #[test]
    fn names_round_trip() {
        for m in Method::ALL {
            assert_eq!(m.name().parse::<Method>(), Ok(m));
        }
        assert!("best".parse::<Method>().is_err());
    }
}
