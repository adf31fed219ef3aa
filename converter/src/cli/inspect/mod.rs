//! `kenar inspect`: what is in a file, what it costs, where memory goes.

mod arena;
mod copies;
mod model;
pub(super) mod sizes;
mod source;

pub use model::{dtype, op_name};

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::args::{JsonArgs, SourceArgs};
use super::console::Console;
use crate::error::{Error, Result};
use crate::mapped::ModelFile;
use crate::pipeline::{self, SourceOptions};

/// Show what is in a checkpoint, an ONNX file or a model file
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kenar inspect wrn40_2.pt                   family, parameters, layers, what int8 will need
  kenar inspect wrn40_2.pt --arch            the architecture as a file, ready to edit
  kenar inspect wrn40_2.kenar --json         operators, tensors, memory plan, for a script")]
pub struct Inspect {
    /// Checkpoint, ONNX file or model file
    source: PathBuf,
    /// Print the architecture recognised in a checkpoint; with `=NAME` or `=FILE.toml`: read the source as that
    #[arg(long, value_name = "NAME|FILE.toml", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    arch: Option<String>,
    #[command(flatten)]
    options: InspectSource,
    #[command(flatten)]
    json: JsonArgs,
}

/// [`SourceArgs`] without `--arch`, which means something else here.
#[derive(Args, Clone, Debug, Default)]
struct InspectSource {
    /// Input size, height first: 640x640; fixes sizes that the source leaves open
    #[arg(long, value_name = "HxW", value_parser = super::args::parse_shape)]
    input: Option<[usize; 3]>,
    /// Results to keep, by output or layer name
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    outputs: Vec<String>,
    /// Do not measure what the int8 model will need (which takes a moment for large networks)
    #[arg(long)]
    quick: bool,
}

impl Inspect {
    pub fn run(self, console: &mut Console) -> Result<()> {
        let print_arch = self.arch.as_deref() == Some("");
        if pipeline::is_model_file(&self.source)? {
            if self.arch.is_some() {
                return Err(Error::Input(format!(
                    "{}: is a model file; --arch is about checkpoints",
                    self.source.display()
                )));
            }
            return self.model(console);
        }
        let options = SourceOptions {
            arch: self.arch.clone().filter(|a| !a.is_empty()),
            input: self.options.input,
            further: Vec::new(),
            outputs: self.options.outputs.clone(),
            keep_decode: false,
        };
        let loaded = pipeline::load(&self.source, &options)?;
        if print_arch {
            let arch = loaded.arch.as_ref().ok_or_else(|| {
                Error::Input(format!(
                    "{}: states its own graph; only state_dicts have an architecture file",
                    self.source.display()
                ))
            })?;
            if self.json.json {
                return console.json(&json!({ "arch": arch, "toml": arch.to_toml() }));
            }
            return console.print(&arch.to_toml());
        }
        let needs = if self.options.quick { None } else { Some(pipeline::estimate(&loaded)) };
        if self.json.json {
            console.json(&source::document(&loaded, needs.as_ref()))
        } else {
            console.print(&source::text(&loaded, needs.as_ref()))
        }
    }

    fn model(&self, console: &mut Console) -> Result<()> {
        let file = ModelFile::open(&self.source)?;
        let model = kenar::Model::parse(&file).map_err(|e| Error::from(e).in_file(&self.source))?;
        if self.json.json {
            console.json(&model::document(&self.source, &model, file.len()))
        } else {
            console.print(&model::text(&self.source, &model, file.len()))
        }
    }
}

impl From<&SourceArgs> for SourceOptions {
    fn from(args: &SourceArgs) -> Self {
        let (arch, outputs) = (args.arch.clone(), args.outputs.clone());
        Self { arch, input: args.input, outputs, ..Self::default() }
    }
}
