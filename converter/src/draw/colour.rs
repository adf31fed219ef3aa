//! One colour per class.

/// Colours that are told apart from their neighbours in the list, on photographs.
const PALETTE: [[u8; 3]; 20] = [
    [255, 56, 56],
    [56, 182, 255],
    [255, 206, 40],
    [72, 216, 96],
    [214, 92, 255],
    [255, 140, 30],
    [64, 224, 208],
    [255, 120, 190],
    [170, 220, 40],
    [96, 120, 255],
    [240, 90, 120],
    [40, 190, 140],
    [250, 235, 120],
    [150, 90, 230],
    [255, 170, 120],
    [110, 210, 255],
    [200, 160, 60],
    [170, 255, 170],
    [230, 170, 255],
    [200, 80, 40],
];

/// The colour of a class; after twenty classes they repeat.
#[must_use]
pub const fn of_class(class: u32) -> [u8; 3] {
    PALETTE[class as usize % PALETTE.len()]
}

/// A dark shade of a colour.
pub fn dark(colour: [u8; 3]) -> [u8; 3] {
    colour.map(|c| c / 5)
}

/// Black or white, whichever is read better on a colour (relative luminance as in WCAG 2.2, without its gamma).
pub fn ink([r, g, b]: [u8; 3]) -> [u8; 3] {
    let luminance = 0.2126 * f64::from(r) + 0.7152 * f64::from(g) + 0.0722 * f64::from(b);
    if luminance > 110.0 { [0; 3] } else { [255; 3] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_are_legible() {
        for class in 0..40 {
            let colour = of_class(class);
            let difference: i32 = colour
                .iter()
                .zip(ink(colour))
                .map(|(&a, b)| (i32::from(a) - i32::from(b)).abs())
                .sum();
            assert!(difference > 250, "{colour:?}");
        }
    }
}
