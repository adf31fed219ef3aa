//! Rounding weights against each other.
//!
//! Rounding each weight to the nearest value treats errors as if they added up at random. With the covariance `C` of a
//! layer's inputs the error of a row is `e C e^T`, and with `C = R^T R` (Cholesky) that is `|R e|^2`: columns are fixed
//! from the last to the first, each to the value nearest to what makes up for the errors behind it (Babai's nearest
//! plane; the method known as GPTQ, arXiv:2210.17323, is the same walk). Columns that vary most are fixed first; a few
//! sweeps over single weights then take what is left.

use ndarray::Array2;
use rayon::prelude::*;

use super::patches::Patches;

/// Sweeps over single weights.
const SWEEPS: usize = 3;

/// Rows that are rounded together, unless threads would be idle: each row of the covariance and of its factor is fetched
/// once for all of them. Alone, every row fetches both matrices whole, up to 21 MB.
const TOGETHER: usize = 8;

/// Rows up to this length try several scales.
const SEARCHED: usize = 640;
/// Scales tried, relative to the given one, best first.
const TRIED: [f32; 6] = [1.0, 0.95, 0.9, 0.85, 0.81, 1.04];

/// Rounds `weights`, rows of `patches.columns()` values, to multiples of their row's scale in -127..=127. Scales of short
/// rows are changed where others leave less error; none goes below `least`.
#[must_use]
pub fn round(weights: &[f32], scales: &mut [f32], least: &[f32], patches: &Patches) -> Vec<i8> {
    let columns = patches.columns();
    let rows = scales.len() / patches.groups();
    let mut quantized = vec![0i8; weights.len()];
    let together = TOGETHER.min(rows.div_ceil(rayon::current_num_threads())).max(1);
    let tried = if columns <= SEARCHED { &TRIED[..] } else { &TRIED[..1] };
    for block in patches.blocks() {
        let covariance = block.covariance(patches.count());
        let mut order: Vec<usize> = (0..block.len()).collect();
        order.sort_by(|&a, &b| covariance[[a, a]].total_cmp(&covariance[[b, b]]));
        let permuted =
            Array2::from_shape_fn(covariance.raw_dim(), |(i, j)| covariance[[order[i], order[j]]]);
        let factor = cholesky(&permuted);
        let first = block.group * rows;
        let of_group = &mut quantized[first * columns..(first + rows) * columns];
        let of_rows = of_group
            .par_chunks_mut(together * columns)
            .zip(scales[first..first + rows].par_chunks_mut(together));
        of_rows.enumerate().for_each(|(part, (out, scales))| {
            let first = first + part * together;
            let values: Vec<Vec<f64>> = (first..first + scales.len())
                .map(|row| row * columns + block.start)
                .map(|at| order.iter().map(|&c| f64::from(weights[at + c])).collect())
                .collect();
            let mut attempts = Vec::with_capacity(scales.len() * tried.len());
            for (i, (w, &scale)) in values.iter().zip(scales.iter()).enumerate() {
                let scales = tried.iter().map(|factor| (scale * factor).max(least[first + i]));
                attempts.extend(scales.map(|scale| Attempt::new(w, scale)));
            }
            round_together(&mut attempts, &permuted, &factor);
            let results = attempts.chunks(tried.len()).zip(out.chunks_mut(columns)).zip(scales);
            for ((attempts, out), scale) in results {
                let best = attempts.iter().min_by(|a, b| a.cost.total_cmp(&b.cost));
                let Some(best) = best else { continue };
                *scale = best.scale;
                for (&c, &q) in order.iter().zip(&best.q) {
                    out[block.start + c] = q as i8;
                }
            }
        });
    }
    quantized
}

/// The upper factor `R` of `C = R^T R`.
fn cholesky(c: &Array2<f64>) -> Array2<f64> {
    let n = c.nrows();
    let mut lower = Array2::<f64>::zeros((n, n));
    for i in 0..n {
        for j in 0..=i {
            let rest = c[[i, j]] - dot(&row(&lower, i)[..j], &row(&lower, j)[..j]);
            lower[[i, j]] = if i == j { rest.max(1e-30).sqrt() } else { rest / lower[[j, j]] };
        }
    }
    lower.reversed_axes().as_standard_layout().into_owned()
}

/// With eight partial sums, so that it can be vectorised.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    for (x, y) in a8.iter().zip(b8) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f64>() + rest
}

/// A row of weights, rounded with one scale.
struct Attempt<'w> {
    w: &'w [f64],
    scale: f32,
    q: Vec<f64>,
    /// `w - scale * q`
    error: Vec<f64>,
    /// The covariance times the error.
    gradient: Vec<f64>,
    /// Whether the last sweep changed a value.
    changed: bool,
    /// `error C error^T`
    cost: f64,
}

impl<'w> Attempt<'w> {
    fn new(w: &'w [f64], scale: f32) -> Self {
        let none = || vec![0.0; w.len()];
        let (q, error, gradient) = (none(), none(), none());
        Self { w, scale, q, error, gradient, changed: true, cost: 0.0 }
    }

    fn nearest(&self, x: f64) -> f64 {
        (x / f64::from(self.scale)).round_ties_even().clamp(-127.0, 127.0)
    }

    /// Every weight by itself.
    fn plain(w: &'w [f64], scale: f32) -> Self {
        let mut plain = Self::new(w, scale);
        for (j, &w) in w.iter().enumerate() {
            plain.set(j, plain.nearest(w));
        }
        plain
    }

    fn set(&mut self, j: usize, q: f64) {
        self.q[j] = q;
        self.error[j] = self.w[j] - f64::from(self.scale) * q;
    }
}

/// Rounds the weights of some rows, and finds what that costs.
fn round_together(attempts: &mut [Attempt<'_>], covariance: &Array2<f64>, factor: &Array2<f64>) {
    let n = covariance.nrows();
    for j in (0..n).rev() {
        let row = row(factor, j);
        for a in &mut *attempts {
            let behind = dot(&row[j + 1..], &a.error[j + 1..]) / row[j];
            a.set(j, a.nearest(a.w[j] + behind));
        }
    }
    // What nearest-value rounding leaves may be better still where the factor is badly conditioned or values clip.
    let mut plain: Vec<_> = attempts.iter().map(|a| Attempt::plain(a.w, a.scale)).collect();
    for j in 0..n {
        let row = row(covariance, j);
        for a in attempts.iter_mut().chain(&mut plain) {
            a.gradient[j] = dot(row, &a.error);
        }
    }
    for (a, plain) in attempts.iter_mut().zip(plain) {
        if dot(&plain.gradient, &plain.error) < dot(&a.gradient, &a.error) {
            *a = plain;
        }
    }
    for _ in 0..SWEEPS {
        let mut changing: Vec<_> = attempts.iter_mut().filter(|a| a.changed).collect();
        changing.iter_mut().for_each(|a| a.changed = false);
        for j in 0..n {
            let row = row(covariance, j);
            for a in &mut changing {
                // The value that is best with all others as they are.
                let best = a.nearest(a.w[j] + (a.gradient[j] / row[j] - a.error[j]));
                if best != a.q[j] {
                    let step = f64::from(a.scale) * (a.q[j] - best);
                    a.q[j] = best;
                    a.error[j] += step;
                    for (g, c) in a.gradient.iter_mut().zip(row) {
                        *g += step * c;
                    }
                    a.changed = true;
                }
            }
        }
    }
    for a in attempts {
        a.cost = dot(&a.gradient, &a.error);
    }
}

/// A row of a matrix in standard layout.
fn row(matrix: &Array2<f64>, i: usize) -> &[f64] {
    matrix.row(i).to_slice().unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// Rounds a row to tenths.
    fn round_row(w: &[f64], covariance: &Array2<f64>) -> (Vec<f64>, f64) {
        let mut attempts = [Attempt::new(w, 0.1)];
        round_together(&mut attempts, covariance, &cholesky(covariance));
        let [attempt] = attempts;
        (attempt.q, attempt.cost)
    }

    #[test]
    fn rows_are_rounded_together_as_alone() {
        let n = 19;
        let c = Array2::from_shape_fn((n, n), |(i, j)| {
            (if i == j { 1.5 } else { 0.0 }) + ((i * j) as f64).cos() * 0.02 + 0.5
        });
        let c = (&c + &c.t()) / 2.0;
        let rows: Vec<Vec<f64>> =
            (0..5).map(|r| (0..n).map(|i| ((r * n + i) as f64).sin() * 3.0).collect()).collect();
        let mut together: Vec<_> = rows.iter().map(|w| Attempt::new(w, 0.1)).collect();
        round_together(&mut together, &c, &cholesky(&c));
        for (w, a) in rows.iter().zip(&together) {
            assert_eq!((a.q.clone(), a.cost), round_row(w, &c));
        }
    }

    #[test]
    fn the_factor_gives_the_matrix_back() {
        let c = array![[4.0, 1.0, 0.5], [1.0, 3.0, -0.7], [0.5, -0.7, 2.0]];
        let r = cholesky(&c);
        let product = r.t().dot(&r);
        assert!((&product - &c).iter().all(|d| d.abs() < 1e-12), "{product}");
    }

    #[test]
    fn correlated_inputs_make_errors_cancel() {
        // Inputs that are nearly the same: the sum of the weights is what counts.
        let n = 16;
        let c = Array2::from_shape_fn((n, n), |(i, j)| if i == j { 1.01 } else { 1.0 });
        let w: Vec<f64> = (0..n).map(|i| 0.3 + 0.017 * (i % 3) as f64).collect();
        let (q, cost) = round_row(&w, &c);
        let error: f64 = w.iter().zip(&q).map(|(w, q)| w - 0.1 * q).sum();
        let plain: f64 = w.iter().map(|w| w - 0.1 * (w / 0.1).round()).sum();
        assert!(error.abs() <= 0.051 && plain.abs() > 0.2, "{error} {plain}");
        assert!(cost > 0.0 && cost < plain * plain);
    }

    #[test]
    fn independent_inputs_round_to_nearest() {
        let c = Array2::from_shape_fn((4, 4), |(i, j)| if i == j { 1.0 + i as f64 } else { 0.0 });
        assert_eq!(round_row(&[0.26, -0.31, 20.0, 0.04], &c).0, [3.0, -3.0, 127.0, 0.0]);
    }
}
