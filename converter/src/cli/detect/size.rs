//! Which of a model's input sizes an image is given.

use crate::data::Preprocess;

/// Shares that differ by less than this are the same: they come from sizes of one aspect ratio.
const SAME: f64 = 1e-6;

/// The size that an image of `[height, width]` fills best, so that the least is padded, cut off or stretched; of several
/// the largest. 0 of no sizes.
pub fn fitting(sizes: &[Preprocess], image: [usize; 2]) -> usize {
    let share = |[h, w]: [usize; 2]| {
        let (a, b) = ((image[0] * w) as f64, (image[1] * h) as f64);
        a.min(b) / a.max(b).max(1.0)
    };
    let area = |[h, w]: [usize; 2]| h * w;
    let better = |best: usize, at: usize| {
        let (old, new) = (sizes[best].size, sizes[at].size);
        let gain = share(new) - share(old);
        if gain > SAME || (gain > -SAME && area(new) > area(old)) { at } else { best }
    };
    (0..sizes.len()).reduce(better).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Preset;

    #[test]
    fn images_get_the_size_they_fill() {
        let sizes = [[320, 320], [640, 640], [384, 640], [640, 384]]
            .map(|size| Preprocess::preset(Preset::Unit, size));
        let chosen = |image| sizes[fitting(&sizes, image)].size;
        assert_eq!(chosen([500, 500]), [640, 640]);
        assert_eq!(chosen([32, 31]), [640, 640]);
        assert_eq!(chosen([1080, 1920]), [384, 640]);
        assert_eq!(chosen([1920, 1080]), [640, 384]);
        assert_eq!(chosen([1, 9000]), [384, 640]);
        assert_eq!(fitting(&sizes[..1], [7, 3]), 0);
        assert_eq!(fitting(&[], [7, 3]), 0);
    }
}
