//! Arguments that several commands share.

use std::path::{Path, PathBuf};

use clap::{Args, builder::PossibleValuesParser};
use kenar::Model;

use super::isa;
use crate::data::{Fit, Letterbox, Preset};
use crate::error::{Error, Result};
use crate::pipeline::{Normalize, PreprocessRequest};

/// How a float source is read.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Source")]
pub struct SourceArgs {
    /// Architecture of a checkpoint: a family's name, or a file as `kenar inspect --arch` prints it
    #[arg(long, value_name = "NAME|FILE.toml")]
    pub arch: Option<String>,
    /// Input size, height first: 640x640 (3x640x640 with the channels in front); fixes sizes that the source leaves open
    #[arg(long, value_name = "HxW", value_parser = parse_shape)]
    pub input: Option<[usize; 3]>,
    /// Results to keep, by output or layer name, in this order [default: those of the source]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub outputs: Vec<String>,
}

impl SourceArgs {
    /// The first option that was given.
    pub fn first_given(&self) -> Option<&'static str> {
        let given = [
            ("--arch", self.arch.is_some()),
            ("--input", self.input.is_some()),
            ("--outputs", !self.outputs.is_empty()),
        ];
        given.into_iter().find_map(|(flag, given)| given.then_some(flag))
    }
}

/// The input size of a model file that is planned for several.
#[derive(Args, Clone, Debug, Default)]
pub struct SizeArgs {
    /// Input size to run at, height first, of those that the model is planned for [default: the first]
    #[arg(long, value_name = "HxW", value_parser = parse_size)]
    pub size: Option<[u32; 2]>,
}

impl SizeArgs {
    /// The model at the size that was asked for, else as it is.
    ///
    /// # Errors
    /// [`Error::Input`] with the sizes there are.
    pub fn choose<'m>(&self, model: Model<'m>, path: &Path) -> Result<Model<'m>> {
        let Some([h, w]) = self.size else { return Ok(model) };
        model.with_size([h, w]).map_err(|_| {
            let sizes: Vec<String> = model.sizes().map(|[h, w]| format!("{h}x{w}")).collect();
            Error::Input(format!(
                "--size {h}x{w}: {} is planned for {}; `kenar convert --input` plans several sizes, height first",
                path.display(),
                sizes.join(", ")
            ))
        })
    }

    /// Refuses the option for a float network.
    ///
    /// # Errors
    /// [`Error::Input`] when it was given.
    pub fn refuse(&self, path: &Path) -> Result<()> {
        match self.size {
            None => Ok(()),
            Some(_) => Err(Error::Input(format!(
                "--size: {} is a float network, whose size --input gives",
                path.display()
            ))),
        }
    }
}

/// What is done to an image before the network sees it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Images")]
pub struct PreprocessArgs {
    /// Normalisation [default: what is usual for the architecture, else for the images]
    #[arg(long, value_enum, conflicts_with_all = ["mean", "std"])]
    pub preset: Option<Preset>,
    /// Mean of red, green, blue, in units of pixel / 255
    #[arg(long, value_name = "R,G,B", value_parser = parse_triple, allow_hyphen_values = true, requires = "std")]
    pub mean: Option<[f32; 3]>,
    /// Standard deviation of red, green, blue, in units of pixel / 255
    #[arg(long, value_name = "R,G,B", value_parser = parse_triple, requires = "mean")]
    pub std: Option<[f32; 3]>,
    /// The network takes blue first
    #[arg(long)]
    pub bgr: bool,
    /// Scale images until they fit, and fill the rest with this level of grey; 114:top-left puts them there
    #[arg(long, value_name = "114", conflicts_with = "stretch")]
    pub letterbox: Option<Letterbox>,
    /// Scale both sides of an image on their own [default: scale and cut out the centre]
    #[arg(long)]
    pub stretch: bool,
}

impl PreprocessArgs {
    /// The first option that was given of those that a model file fixes.
    pub fn first_fixed(&self) -> Option<&'static str> {
        let given = [
            ("--preset", self.preset.is_some()),
            ("--mean", self.mean.is_some()),
            ("--bgr", self.bgr),
        ];
        given.into_iter().find_map(|(flag, given)| given.then_some(flag))
    }

    /// The arguments as the library takes them.
    ///
    /// # Errors
    /// [`Error::Input`] for a mean in units of 0 to 255.
    pub fn request(&self) -> Result<PreprocessRequest> {
        let normalize = match (self.preset, self.mean, self.std) {
            (Some(preset), ..) => Some(Normalize::Preset(preset)),
            (None, Some(mean), Some(std)) => {
                if let Some(m) = mean.iter().find(|m| m.abs() > 1.0) {
                    return Err(Error::Input(format!(
                        "--mean {m}: expected units of pixel / 255 (123.675 is written 0.485)"
                    )));
                }
                Some(Normalize::Values { mean, std })
            }
            _ => None,
        };
        let fit = match (self.letterbox, self.stretch) {
            (Some(letterbox), _) => Some(Fit::Letterbox(letterbox)),
            (None, true) => Some(Fit::Stretch),
            (None, false) => None,
        };
        Ok(PreprocessRequest { normalize, bgr: self.bgr, fit })
    }
}

/// A kernel family.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Execution")]
pub struct IsaArgs {
    /// Kernel family to use, if this machine has it [default: the fastest it has]
    #[arg(long, value_parser = PossibleValuesParser::new(isa::NAMES))]
    pub isa: Option<String>,
}

/// `--json`.
#[derive(Args, Clone, Debug, Default)]
pub struct JsonArgs {
    /// Print one JSON document on standard output, and nothing else there
    #[arg(long)]
    pub json: bool,
}

/// Where the class names come from.
#[derive(Args, Clone, Debug, Default)]
pub struct LabelArgs {
    /// Class names, one a line, or a COCO .json file
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
}

/// `320x320`, or `3x320x320`.
pub fn parse_shape(text: &str) -> Result<[usize; 3], String> {
    let expected = || format!("'{text}': expected HxW or CxHxW, such as 320x320 or 3x320x320");
    let mut sizes: Vec<usize> = text
        .split(['x', 'X', '×'])
        .map(|s| s.trim().parse::<usize>().map_err(|_| expected()))
        .collect::<Result<_, _>>()?;
    if sizes.len() == 2 {
        sizes.insert(0, 3);
    }
    let shape: [usize; 3] = sizes.try_into().map_err(|_| expected())?;
    if shape.iter().any(|&n| n == 0 || n > 1 << 16) {
        return Err(format!("'{text}': sizes must lie between 1 and 65536"));
    }
    Ok(shape)
}

/// `320x640`, height first.
pub fn parse_size(text: &str) -> Result<[u32; 2], String> {
    match parse_shape(text)? {
        [3, h, w] if text.split(['x', 'X', '×']).count() == 2 => Ok([h as u32, w as u32]),
        _ => Err(format!("'{text}': expected HxW, such as 320x640")),
    }
}

/// `0.485,0.456,0.406`.
fn parse_triple(text: &str) -> Result<[f32; 3], String> {
    let expected = || format!("'{text}': expected three numbers, such as 0.485,0.456,0.406");
    let values: Vec<f32> = text
        .split(',')
        .map(|s| s.trim().parse::<f32>().ok().filter(|v| v.is_finite()).ok_or_else(expected))
        .collect::<Result<_, _>>()?;
    values.try_into().map_err(|_| expected())
}

/// `0.25`, as `f32` or `f64`.
pub(super) fn parse_share<T: std::str::FromStr + PartialOrd + From<u8>>(
    text: &str,
) -> Result<T, String> {
    let share = text.trim().parse::<T>().ok();
    let share = share.filter(|share| (T::from(0)..=T::from(1)).contains(share));
    share.ok_or_else(|| format!("'{text}': expected a number from 0 to 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_and_triples_are_strict() {
        assert_eq!(parse_shape("3x320x640"), Ok([3, 320, 640]));
        assert_eq!(parse_shape("320x640"), Ok([3, 320, 640]));
        for bad in ["320", "3x0x3", "axbxc", "3x3x3x3", "3x-1x3", "3x99999999x1"] {
            assert!(parse_shape(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_triple("0.5, 1,-2"), Ok([0.5, 1.0, -2.0]));
        for bad in ["1,2", "1,2,3,4", "1,2,x", "1,2,nan", ""] {
            assert!(parse_triple(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_no_channels() {
        assert_eq!(parse_size("320x640"), Ok([320, 640]));
        assert!(parse_size("3x320x640").is_err() && parse_size("320").is_err());
    }

    #[test]
    fn byte_units_are_refused() {
        let bytes = PreprocessArgs {
            mean: Some([123.675, 116.28, 103.53]),
            std: Some([58.395, 57.12, 57.375]),
            ..PreprocessArgs::default()
        };
        assert!(bytes.request().unwrap_err().to_string().contains("pixel / 255"));
        let letterbox = "114".parse().ok();
        let args = PreprocessArgs { letterbox, bgr: true, ..PreprocessArgs::default() };
        let request = args.request().unwrap();
        assert_eq!(
            (request.bgr, request.fit),
            (true, Some(Fit::Letterbox(Letterbox::centred(114))))
        );
    }

    #[test]
    fn shares_are_numbers_from_0_to_1() {
        assert_eq!(parse_share("0.25"), Ok(0.25f32));
        assert_eq!(parse_share(" 0.3 "), Ok(0.3f64));
        for bad in ["1.5", "-0.1", "nan", "x", ""] {
            assert!(parse_share::<f32>(bad).is_err(), "{bad}");
        }
    }
}
