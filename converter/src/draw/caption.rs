//! Captions in bitmap fonts.

use std::convert::Infallible;

use embedded_graphics::mono_font::iso_8859_1::{FONT_6X10, FONT_7X13_BOLD, FONT_9X15_BOLD};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::{DrawTarget, Drawable, OriginDimensions, Pixel, Point, Size};
use embedded_graphics::text::{Baseline, Text};

/// Longest caption, in characters; the rest is cut.
const LONGEST: usize = 60;

/// A font at a whole-numbered size.
#[derive(Clone, Copy, Debug)]
pub struct Font {
    font: &'static MonoFont<'static>,
    scale: usize,
}

/// A caption as dots.
pub struct Rendered {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    dots: Vec<bool>,
}

impl Font {
    /// The font for an image whose smaller side is `side`, smaller for boxes that are narrow.
    pub fn fitting(side: usize, width: usize) -> Self {
        let scale = (side / 640).max(1);
        let font = match (side, width / scale) {
            (0..240, _) | (_, 0..48) => &FONT_6X10,
            (240..400, _) | (_, 48..90) => &FONT_7X13_BOLD,
            _ => &FONT_9X15_BOLD,
        };
        Self { font, scale }
    }

    /// Pixels per dot of the font.
    pub const fn scale(self) -> usize {
        self.scale
    }

    /// One line of text; characters that the font does not have become question marks.
    pub fn render(self, text: &str) -> Rendered {
        let text: String =
            text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let Size { width, height } = self.font.character_size;
        let columns = width as usize * text.chars().count();
        let mut small = Rendered {
            width: columns,
            height: height as usize,
            dots: vec![false; columns * height as usize],
        };
        let style = MonoTextStyle::new(self.font, BinaryColor::On);
        let Ok(_) =
            Text::with_baseline(&text, Point::zero(), style, Baseline::Top).draw(&mut small);
        small.enlarged(self.scale)
    }
}

impl Rendered {
    fn enlarged(self, scale: usize) -> Self {
        let (width, height) = (scale * self.width, scale * self.height);
        let dot = |i: usize| self.dots[(i / width / scale) * self.width + i % width / scale];
        Self { width, height, dots: (0..width * height).map(dot).collect() }
    }

    /// Column and row of every dot.
    pub fn dots(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let set = self.dots.iter().enumerate().filter(|(_, dot)| **dot);
        set.map(|(i, _)| (i % self.width, i / self.width))
    }
}

impl OriginDimensions for Rendered {
    fn size(&self) -> Size {
        Size::new(self.width as u32, self.height as u32)
    }
}

impl DrawTarget for Rendered {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Infallible> {
        for Pixel(Point { x, y }, colour) in pixels {
            let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { continue };
            if x < self.width && y < self.height {
                self.dots[y * self.width + x] = colour == BinaryColor::On;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_the_size_it_says_and_dots() {
        let text = Font { font: &FONT_6X10, scale: 2 }.render("Hi!");
        assert_eq!((text.width, text.height), (36, 20));
        assert!(text.dots().count() > 40);
        assert!(text.dots().all(|(x, y)| x < 36 && y < 20));
        let empty = Font { font: &FONT_6X10, scale: 1 }.render("");
        assert_eq!(empty.dots().count(), 0);
    }

    #[test]
    fn fonts_grow_with_images_and_shrink_with_boxes() {
        let height = |side, width| {
            let font = Font::fitting(side, width);
            font.font.character_size.height as usize * font.scale
        };
        assert!(height(100, 90) < height(320, 90));
        assert!(height(320, 300) < height(720, 300));
        assert!(height(720, 300) < height(2000, 900));
        assert!(height(720, 30) < height(720, 300));
    }
}
