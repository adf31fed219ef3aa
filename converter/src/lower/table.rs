//! Activations as 256-entry tables, and the range of what goes into them.

use crate::graph::Activation;
use crate::quantize::{Histogram, QParams, Range, range};

/// An activation in f64.
pub(crate) fn evaluate(activation: &Activation, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match *activation {
        Activation::Relu => x.max(0.0),
        Activation::Clip { min, max } => x.max(f64::from(min)).min(f64::from(max)),
        Activation::Silu => x * sigmoid(x),
        Activation::Sigmoid => sigmoid(x),
        Activation::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Activation::HardSigmoid { alpha, beta } => {
            (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0)
        }
        Activation::LeakyRelu { slope } => {
            if x < 0.0 {
                x * f64::from(slope)
            } else {
                x
            }
        }
        Activation::Tanh => x.tanh(),
        Activation::Exp => x.exp(),
    }
}

/// Entry `q + 128` is the output for input `q`.
pub(crate) fn build(activation: &Activation, input: QParams, output: QParams) -> [i8; 256] {
    std::array::from_fn(|i| {
        let y = evaluate(activation, input.dequantize(i as i32 - 128));
        output.quantize(y) as i8
    })
}

/// The input range with the smallest squared error at the output: a tail in which the activation saturates is cut.
pub(crate) fn input_params(
    activation: &Activation,
    histogram: &Histogram,
    output: QParams,
) -> QParams {
    let points: Vec<(f64, f64, f64)> = histogram
        .points()
        .into_iter()
        .map(|(x, n)| (x, evaluate(activation, x), n as f64))
        .collect();
    let full = Range::of(histogram);
    if full.width() <= 0.0 {
        return QParams::i8(full);
    }
    let cost = |r: Range| -> f64 {
        let input = QParams::i8(r);
        let table = build(activation, input, output).map(|q| output.dequantize(i32::from(q)));
        points
            .iter()
            .map(|&(x, y, n)| (table[(input.quantize(x) + 128) as usize] - y).powi(2) * n)
            .sum()
    };
    QParams::i8(range::shrink(full, cost))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread() -> Histogram {
        let mut h = Histogram::default();
        h.add(&(0..4000).map(|i| (i as f32 - 3000.0) * 0.01).collect::<Vec<_>>());
        h
    }

    #[test]
    fn the_dead_tail_of_silu_is_cut() {
        let h = spread();
        let output = QParams::i8(Range { lo: -0.28, hi: 10.0 });
        let input = input_params(&Activation::Silu, &h, output);
        assert!(input.dequantize(-128) > -16.0, "{input:?}");
        assert!(input.dequantize(127) > 9.8, "{input:?}");
    }

    #[test]
    fn sigmoid_table_is_within_half_a_step() {
        let output = QParams::i8(Range { lo: 0.0, hi: 1.0 });
        let input = input_params(&Activation::Sigmoid, &spread(), output);
        let table = build(&Activation::Sigmoid, input, output);
        for q in -128..=127 {
            let exact = evaluate(&Activation::Sigmoid, input.dequantize(q));
            let got = output.dequantize(i32::from(table[(q + 128) as usize]));
            assert!((exact - got).abs() <= f64::from(output.scale) * 0.5001);
        }
        assert!(table.is_sorted());
    }

    #[test]
    fn every_activation_has_its_values() {
        let at = |a: &Activation, x: f64| evaluate(a, x);
        assert_eq!(at(&Activation::HardSwish, 3.0), 3.0);
        assert_eq!(at(&Activation::HardSigmoid { alpha: 0.5, beta: 0.5 }, -3.0), 0.0);
        assert_eq!(at(&Activation::LeakyRelu { slope: 0.5 }, -3.0), -1.5);
        assert_eq!(at(&Activation::Clip { min: 0.5, max: 6.0 }, 0.0), 0.5);
        assert!((at(&Activation::Silu, 1.0) - 0.731_058_578).abs() < 1e-8);
        assert_eq!(
            (at(&Activation::Tanh, 0.0), at(&Activation::Exp, 0.0), at(&Activation::Relu, -1.0)),
            (0.0, 1.0, 0.0)
        );
    }
}
