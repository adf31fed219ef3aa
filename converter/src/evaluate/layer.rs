//! How a tensor of the model differs from its value, over images.

use super::total::{Sums, sqnr_db};

/// Sums of one tensor.
#[derive(Clone, Debug)]
pub enum LayerSums {
    /// The tensor stands for the value.
    Plain(Sums),
    /// It does so up to a factor and an offset per channel.
    Balanced(Vec<Products>),
}

/// Sums of products over the elements of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Products {
    count: f64,
    /// Of the values themselves: float, int8.
    sums: [f64; 2],
    float: f64,
    int8: f64,
    mixed: f64,
}

impl LayerSums {
    /// Nothing seen yet of a tensor with this many channels.
    pub fn new(balanced: bool, channels: usize) -> Self {
        match balanced {
            true => Self::Balanced(vec![Products::default(); channels]),
            false => Self::Plain(Sums::default()),
        }
    }

    /// Adds one image, channel after channel.
    pub fn add(&mut self, float: &[f32], int8: &[f32]) {
        match self {
            Self::Plain(sums) => sums.add(&Sums::of(float, int8)),
            Self::Balanced(channels) => {
                let pixels = (float.len() / channels.len().max(1)).max(1);
                let planes = float.chunks(pixels).zip(int8.chunks(pixels));
                for (products, (f, q)) in channels.iter_mut().zip(planes) {
                    for (&f, &q) in f.iter().zip(q) {
                        let (f, q) = (f64::from(f), f64::from(q));
                        products.count += 1.0;
                        products.sums[0] += f;
                        products.sums[1] += q;
                        products.float += f * f;
                        products.int8 += q * q;
                        products.mixed += f * q;
                    }
                }
            }
        }
    }

    /// Adds the sums of other images.
    pub fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Plain(sums), Self::Plain(other)) => sums.add(other),
            (Self::Balanced(sums), Self::Balanced(other)) => {
                for (sum, other) in sums.iter_mut().zip(other) {
                    sum.count += other.count;
                    sum.sums[0] += other.sums[0];
                    sum.sums[1] += other.sums[1];
                    sum.float += other.float;
                    sum.int8 += other.int8;
                    sum.mixed += other.mixed;
                }
            }
            _ => unreachable!("sums of one tensor are of one kind"),
        }
    }

    /// Signal to noise, `None` when nothing was seen.
    ///
    /// Factors and offsets of a balanced tensor are those that fit best; what each takes from the noise is given back.
    pub fn sqnr_db(&self) -> Option<f64> {
        match self {
            Self::Plain(sums) => (sums.count > 0.0).then(|| sqnr_db(sums.signal, sums.noise)),
            Self::Balanced(channels) => {
                let signal = channels.iter().map(|c| c.float).sum();
                let noise = channels.iter().map(Products::noise).sum();
                channels.iter().any(|c| c.count > 0.0).then(|| sqnr_db(signal, noise))
            }
        }
    }
}

impl Products {
    fn noise(&self) -> f64 {
        let [float, int8] = self.sums;
        let centred = |product: f64, a: f64, b: f64| product - a * b / self.count.max(1.0);
        let mixed = centred(self.mixed, float, int8);
        let varied = centred(self.int8, int8, int8);
        let explained = if varied > 0.0 { mixed * mixed / varied } else { 0.0 };
        let left = (centred(self.float, float, float) - explained).max(0.0);
        left * self.count / (self.count - 2.0).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_and_offsets_of_channels_are_no_noise() {
        let float: Vec<f32> = (0..200).map(|i| (i * 37 % 101) as f32 / 100.0).collect();
        let error = |i: usize| if i.is_multiple_of(2) { 0.01 } else { -0.01 };
        let noisy: Vec<f32> = float.iter().enumerate().map(|(i, x)| x + error(i)).collect();
        let mut plain = LayerSums::new(false, 2);
        plain.add(&float, &noisy);
        let factors =
            noisy.iter().enumerate().map(|(i, x)| if i < 100 { x * 3.0 } else { x * 0.25 + 7.0 });
        let factors: Vec<f32> = factors.collect();
        let mut balanced = LayerSums::new(true, 2);
        balanced.add(&float[..], &factors);
        let (a, b) = (plain.sqnr_db().unwrap(), balanced.sqnr_db().unwrap());
        assert!((a - b).abs() < 0.1, "{a} {b}");
        let mut twice = LayerSums::new(true, 2);
        assert_eq!(twice.sqnr_db(), None);
        twice.merge(&balanced);
        assert_eq!(twice.sqnr_db(), Some(b));
    }
}
