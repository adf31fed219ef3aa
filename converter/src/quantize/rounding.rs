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
        let of_rows = of_group.par_chunks_mut(columns).zip(&mut scales[first..first + rows]);
        of_rows.enumerate().for_each(|(row, (out, scale))| {
            let row = first + row;
            let at = row * columns + block.start;
            let w: Vec<f64> = order.iter().map(|&c| f64::from(weights[at + c])).collect();
            let rounded = |factor_of_scale: &f32| {
                let scale = (*scale * factor_of_scale).max(least[row]);
                let (q, cost) = round_row(&w, f64::from(scale), &permuted, &factor);
                (q, cost, scale)
            };
            let best = tried.iter().map(rounded).min_by(|a, b| a.1.total_cmp(&b.1));
            let Some((q, _, best)) = best else { return };
            *scale = best;
            for (&c, q) in order.iter().zip(q) {
                out[block.start + c] = q as i8;
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
            let dot = {
                let (a, b) = (lower.row(i), lower.row(j));
                let (a, b) = (a.to_slice().unwrap_or(&[]), b.to_slice().unwrap_or(&[]));
                dot(&a[..j], &b[..j])
            };
            let rest = c[[i, j]] - dot;
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

/// The rounded weights of one row, and what they cost.
fn round_row(
    w: &[f64],
    scale: f64,
    covariance: &Array2<f64>,
    factor: &Array2<f64>,
) -> (Vec<f64>, f64) {
    let n = w.len();
    let nearest = |x: f64| (x / scale).round_ties_even().clamp(-127.0, 127.0);
    let mut q = vec![0.0; n];
    let mut error = vec![0.0; n];
    for j in (0..n).rev() {
        let row = factor.row(j);
        let row = row.to_slice().unwrap_or(&[]);
        let behind = dot(&row[j + 1..], &error[j + 1..]) / row[j];
        q[j] = nearest(w[j] + behind);
        error[j] = w[j] - scale * q[j];
    }
    // What nearest-value rounding leaves may be better still where the factor is badly conditioned or values clip.
    let plain: Vec<f64> = w.iter().map(|&x| nearest(x)).collect();
    let plain_error: Vec<f64> = w.iter().zip(&plain).map(|(x, q)| x - scale * q).collect();
    let mut gradient = times(covariance, &error);
    let plain_gradient = times(covariance, &plain_error);
    if dot(&plain_gradient, &plain_error) < dot(&gradient, &error) {
        (q, error, gradient) = (plain, plain_error, plain_gradient);
    }
    for _ in 0..SWEEPS {
        let mut changed = false;
        for j in 0..n {
            // The value that is best with all others as they are.
            let best = nearest(w[j] + (gradient[j] / covariance[[j, j]] - error[j]));
            if best != q[j] {
                let step = scale * (q[j] - best);
                q[j] = best;
                error[j] += step;
                for (g, c) in gradient.iter_mut().zip(covariance.row(j)) {
                    *g += step * c;
                }
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    let cost = dot(&gradient, &error);
    (q, cost)
}

fn times(matrix: &Array2<f64>, v: &[f64]) -> Vec<f64> {
    matrix.rows().into_iter().map(|r| dot(r.to_slice().unwrap_or(&[]), v)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

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
        let (q, cost) = round_row(&w, 0.1, &c, &cholesky(&c));
        let error: f64 = w.iter().zip(&q).map(|(w, q)| w - 0.1 * q).sum();
        let plain: f64 = w.iter().map(|w| w - 0.1 * (w / 0.1).round()).sum();
        assert!(error.abs() <= 0.051 && plain.abs() > 0.2, "{error} {plain}");
        assert!(cost > 0.0 && cost < plain * plain);
    }

    #[test]
    fn independent_inputs_round_to_nearest() {
        let c = Array2::from_shape_fn((4, 4), |(i, j)| if i == j { 1.0 + i as f64 } else { 0.0 });
        assert_eq!(
            round_row(&[0.26, -0.31, 20.0, 0.04], 0.1, &c, &cholesky(&c)).0,
            [3.0, -3.0, 127.0, 0.0]
        );
    }
}
