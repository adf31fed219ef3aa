//! Weights that would saturate, as the sum of two that do not.

/// The largest sum of two weights of one sign: 255 * 128 fits an i16, 255 * 129 does not.
pub const MOST: i16 = 128;

/// Takes from a pair of weights what saturates, and gives it.
#[inline(always)]
pub fn halve(pair: &mut [i8; 2]) -> [i8; 2] {
    let [a, b] = pair.map(i16::from);
    let excess = ((a + b).abs() - MOST).max(0) * (a + b).signum();
    // Not more than the larger of the two is.
    let excess = if a.abs() >= b.abs() { [excess, 0] } else { [0, excess] };
    *pair = [a - excess[0], b - excess[1]].map(|w| w as i8);
    excess.map(|w| w as i8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_weights_is_the_sum_of_two_that_do_not_saturate() {
        for a in -127..=127i8 {
            for b in -127..=127i8 {
                let mut kept = [a, b];
                let excess = halve(&mut kept);
                let [kept, excess] = [kept, excess].map(|pair| pair.map(i32::from));
                assert_eq!([kept[0] + excess[0], kept[1] + excess[1]], [a, b].map(i32::from));
                for [a, b] in [kept, excess] {
                    for [x, y] in [[0, 255], [255, 0], [255, 255]] {
                        assert!(i16::try_from(x * a + y * b).is_ok(), "{a} {b}");
                    }
                }
            }
        }
    }
}
