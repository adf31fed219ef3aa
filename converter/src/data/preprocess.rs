//! What happens to an image before the network sees it.

use ndarray::ArrayD;

use kenar::format::Placement;

use super::{Pixels, Placed};
use crate::error::{Error, Result};

/// Order in which the network takes the three colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ChannelOrder {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first, as OpenCV reads files.
    Bgr,
}

/// How an image of another size is brought to the network's. One that has it already is never touched.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Fit {
    /// The image is scaled until the network's size is the given share of what is just covered, then the
    /// centre is cut out. torchvision's "resize 256, crop 224" is 0.875.
    CenterCrop(f32),
    /// Both sides are scaled on their own.
    #[default]
    Stretch,
    /// The image is scaled until it just fits, and the rest filled with grey.
    Letterbox(Letterbox),
}

/// What fills the rest of a square around an image that keeps its aspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letterbox {
    /// Grey level of the rest.
    pub level: u8,
    /// Where the image is put.
    pub placement: Placement,
}

impl Letterbox {
    /// The image in the middle of this level of grey.
    #[must_use]
    pub const fn centred(level: u8) -> Self {
        Self { level, placement: Placement::Centred }
    }

    /// The image at the top left, the rest in this level of grey.
    #[must_use]
    pub const fn top_left(level: u8) -> Self {
        Self { level, placement: Placement::TopLeft }
    }
}

impl std::fmt::Display for Letterbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.placement {
            Placement::Centred => write!(f, "{}", self.level),
            Placement::TopLeft => write!(f, "{}:top-left", self.level),
        }
    }
}

impl std::str::FromStr for Letterbox {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (level, place) = text.split_once(':').unwrap_or((text, "centred"));
        let placement = match place {
            "centred" | "centered" => Some(Placement::Centred),
            "top-left" => Some(Placement::TopLeft),
            _ => None,
        };
        match (level.parse(), placement) {
            (Ok(level), Some(placement)) => Ok(Self { level, placement }),
            _ => Err(format!("'{text}': expected a grey level, such as 114, or 114:top-left")),
        }
    }
}

/// Normalisations that many checkpoints share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// torchvision: mean .485,.456,.406, std .229,.224,.225, centre crop.
    Imagenet,
    /// CIFAR-10: mean .4914,.4822,.4465, std .2023,.1994,.2010.
    Cifar10,
    /// 0 to 1: mean 0, std 1.
    Unit,
    /// 0 to 255: mean 0, std 1/255.
    Raw,
}

impl Preset {
    /// All presets.
    pub const ALL: [Self; 4] = [Self::Imagenet, Self::Cifar10, Self::Unit, Self::Raw];

    /// The preset of a name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }

    /// The preset's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Imagenet => "imagenet",
            Self::Cifar10 => "cifar10",
            Self::Unit => "unit",
            Self::Raw => "raw",
        }
    }
}

/// The input contract of a model: size, normalisation, channel order.
///
/// ```text
/// x[c] = (pixel[c] / 255 - mean[c]) / std[c]          c in R, G, B, then reordered
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// Height, width of the network's input.
    pub size: [usize; 2],
    /// Red, green, blue, in units of pixel / 255.
    pub mean: [f32; 3],
    /// Red, green, blue, in units of pixel / 255.
    pub std: [f32; 3],
    /// Order of the tensor's channels.
    pub order: ChannelOrder,
    /// What happens to images of another size.
    pub fit: Fit,
}

impl Preprocess {
    /// A preset at a size (height, width).
    #[must_use]
    pub fn preset(preset: Preset, size: [usize; 2]) -> Self {
        let (mean, std, fit) = match preset {
            Preset::Imagenet => {
                ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], Fit::CenterCrop(0.875))
            }
            Preset::Cifar10 => {
                ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010], Fit::CenterCrop(1.0))
            }
            Preset::Unit => ([0.0; 3], [1.0; 3], Fit::Stretch),
            Preset::Raw => ([0.0; 3], [1.0 / 255.0; 3], Fit::Stretch),
        };
        Self { size, mean, std, order: ChannelOrder::Rgb, fit }
    }

    /// Checks that the values can serve.
    ///
    /// # Errors
    /// [`Error::Input`] when a mean is not finite, a standard deviation is not a positive normal number, or the
    /// size is 0.
    pub fn check(&self) -> Result<()> {
        if let Some(m) = self.mean.iter().find(|m| !m.is_finite()) {
            return Err(Error::Input(format!("mean {m} is not a finite number")));
        }
        if let Some(s) = self.std.iter().find(|s| !(s.is_normal() && **s > 0.0)) {
            return Err(Error::Input(format!(
                "std {s} is not usable: expected a positive number (in units of pixel / 255)"
            )));
        }
        if self.size.contains(&0) {
            return Err(Error::Input(format!("input size {:?} has no pixels", self.size)));
        }
        Ok(())
    }

    /// An image at the network's size, still RGB bytes.
    #[must_use]
    pub fn fit(&self, image: &Pixels) -> Pixels {
        Placed::new(self, [image.height, image.width]).picture(image)
    }

    /// Normalises an image that has the network's size into `[1, 3, H, W]`.
    #[must_use]
    pub fn normalize(&self, image: &Pixels) -> ArrayD<f32> {
        debug_assert_eq!([image.height, image.width], self.size);
        let area = image.height * image.width;
        let mut data = vec![0.0f32; 3 * area];
        for c in 0..3 {
            let plane = match self.order {
                ChannelOrder::Rgb => c,
                ChannelOrder::Bgr => 2 - c,
            };
            // 256 values, each rounded as one image pixel would be.
            let values: Vec<f32> =
                (0..=255u8).map(|p| (f32::from(p) / 255.0 - self.mean[c]) / self.std[c]).collect();
            for (x, p) in
                data[plane * area..][..area].iter_mut().zip(image.data[c..].iter().step_by(3))
            {
                *x = values[*p as usize];
            }
        }
        ArrayD::from_shape_vec(vec![1, 3, image.height, image.width], data)
            .expect("3 * area values")
    }

    /// One line for people: `3x32x32 rgb, mean 0.485,0.456,0.406, std ..., centre crop 0.875`.
    #[must_use]
    pub fn describe(&self) -> String {
        let join = |v: &[f32; 3]| v.map(|x| x.to_string()).join(",");
        let order = match self.order {
            ChannelOrder::Rgb => "rgb",
            ChannelOrder::Bgr => "bgr",
        };
        let fit = match self.fit {
            Fit::Stretch => "stretch".to_owned(),
            Fit::CenterCrop(share) => format!("centre crop {share}"),
            Fit::Letterbox(letterbox) => format!("letterbox {letterbox}"),
        };
        format!(
            "3x{}x{} {order}, mean {}, std {}, {fit}",
            self.size[0],
            self.size[1],
            join(&self.mean),
            join(&self.std)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(height: usize, width: usize) -> Pixels {
        let data = (0..height * width * 3).map(|i| (i * 7 % 251) as u8).collect();
        Pixels { height, width, data }
    }

    #[test]
    fn normalisation_follows_the_formula_in_both_orders() {
        let image = Pixels { height: 1, width: 2, data: vec![0, 51, 255, 102, 153, 204] };
        let mut p = Preprocess::preset(Preset::Imagenet, [1, 2]);
        let rgb = p.normalize(&image);
        assert_eq!(rgb.shape(), [1, 3, 1, 2]);
        assert_eq!(rgb[[0, 0, 0, 0]], (0.0 - 0.485) / 0.229);
        assert_eq!(rgb[[0, 1, 0, 1]], (153.0 / 255.0 - 0.456) / 0.224);
        p.order = ChannelOrder::Bgr;
        let bgr = p.normalize(&image);
        assert_eq!(bgr[[0, 2, 0, 0]], rgb[[0, 0, 0, 0]]);
        assert_eq!(bgr[[0, 0, 0, 1]], rgb[[0, 2, 0, 1]]);
    }

    #[test]
    fn an_image_of_the_right_size_is_untouched_by_every_fit() {
        let image = gradient(5, 9);
        for fit in [Fit::Stretch, Fit::CenterCrop(0.875), Fit::Letterbox(Letterbox::centred(114))] {
            let p = Preprocess { fit, ..Preprocess::preset(Preset::Unit, [5, 9]) };
            assert_eq!(p.fit(&image), image);
        }
    }

    #[test]
    fn letterbox_keeps_the_aspect_and_pads_bottom_or_right() {
        let fit = Fit::Letterbox(Letterbox::top_left(114));
        let p = Preprocess { fit, ..Preprocess::preset(Preset::Unit, [8, 8]) };
        let wide = p.fit(&Pixels::filled(2, 4, 9));
        assert_eq!(&wide.data[..8 * 3 * 4], &[9; 96]);
        assert_eq!(&wide.data[96..], &[114; 96]);
        let tall = p.fit(&Pixels::filled(16, 8, 9));
        assert!(tall.data.chunks(24).all(|row| row[..12] == [9; 12] && row[12..] == [114; 12]));
    }

    #[test]
    fn center_crop_takes_the_middle() {
        let mut image = Pixels::filled(4, 12, 0);
        image.paste(&Pixels::filled(4, 4, 200), 0, 4);
        let p =
            Preprocess { fit: Fit::CenterCrop(1.0), ..Preprocess::preset(Preset::Unit, [4, 4]) };
        assert_eq!(p.fit(&image), Pixels::filled(4, 4, 200));
    }

    #[test]
    fn extreme_aspects_still_give_the_network_size() {
        for fit in [Fit::Stretch, Fit::CenterCrop(0.875), Fit::Letterbox(Letterbox::centred(0))] {
            let p = Preprocess { fit, ..Preprocess::preset(Preset::Unit, [6, 10]) };
            for (h, w) in [(1, 1), (1, 500), (500, 1), (7, 11)] {
                let out = p.fit(&gradient(h, w));
                assert_eq!((out.height, out.width, out.data.len()), (6, 10, 180));
            }
        }
    }

    #[test]
    fn unusable_values_are_refused() {
        let good = Preprocess::preset(Preset::Cifar10, [32, 32]);
        assert!(good.check().is_ok());
        for std in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
            assert!(Preprocess { std: [1.0, std, 1.0], ..good.clone() }.check().is_err());
        }
        assert!(Preprocess { mean: [f32::NAN, 0.0, 0.0], ..good.clone() }.check().is_err());
        assert!(Preprocess { size: [0, 3], ..good }.check().is_err());
    }
}
