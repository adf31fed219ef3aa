//! `kenar demo`: the whole way on two small networks that the program carries.

mod classifier;
mod detector;
mod files;
mod picture;

use std::path::PathBuf;

use clap::Args;

use super::args::{IsaArgs, JsonArgs};
use super::console::Console;
use crate::error::{Error, Result};
use crate::integer::Engine;

/// Convert, check and time a small classifier and a small detector that come with the program
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kenar demo                        draws what the detector finds into kenar-demo.png
  kenar demo --keep demo/           leaves the files there, to try the other commands on")]
pub struct Demo {
    /// Keep the checkpoints, the images and the model files in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Where the picture with the boxes goes: .png, .jpg or .webp
    #[arg(short, long, value_name = "FILE", default_value = "kenar-demo.png")]
    output: PathBuf,
    #[command(flatten)]
    isa: IsaArgs,
    #[command(flatten)]
    json: JsonArgs,
}

impl Demo {
    pub fn run(self, console: &mut Console) -> Result<()> {
        let temporary;
        let folder = match &self.keep {
            Some(folder) => {
                std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
                folder.as_path()
            }
            None => {
                temporary = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), e))?;
                temporary.path()
            }
        };
        let engine = Engine::new(self.isa.isa.as_deref(), 1)?;
        let mut teller = Teller { console, silent: self.json.json, step: 0 };
        let mut document = classifier::show(folder, &engine, &mut teller)?;
        document["detector"] = detector::show(folder, &self.output, &engine, &mut teller)?;
        if self.json.json {
            return console.json(&document);
        }
        console.print(&self.what_next())
    }

    fn what_next(&self) -> String {
        let mut next: Vec<(String, &str)> = Vec::new();
        let folder = match &self.keep {
            Some(folder) => folder.display().to_string(),
            None => {
                next.push(("demo --keep demo".into(), "keep the files of this demo"));
                "demo".to_owned()
            }
        };
        let (model, signs) = (format!("{folder}/model.kenar"), format!("{folder}/detector"));
        next.extend([
            (format!("inspect {model}"), "operators, tensors, where memory goes"),
            (
                format!("eval {model} --float {folder}/model.safetensors --data {folder}/test.bin"),
                "int8 against float, layer by layer",
            ),
            (format!("bench {model} --threads 1,2 --per-layer"), "where the time goes"),
            (
                format!("detect {signs}/model.kenar {signs}/night.jpg -o night.png"),
                "find signs in one picture",
            ),
            ("inspect YOURS.pt".into(), "what is recognised in a network of your own"),
            ("convert YOURS.pt --calib IMAGES -o yours.kenar".into(), "make it a model file"),
        ]);
        let lines: String = next
            .iter()
            .map(|(command, what)| format!("  {what}:\n    kenar {command}\n"))
            .collect();
        format!("\nWhat to try next\n{lines}")
    }
}

/// Says what is being done, step by step, unless the result is wanted as JSON.
struct Teller<'a, 'c> {
    console: &'a mut Console<'c>,
    silent: bool,
    step: usize,
}

impl Teller<'_, '_> {
    fn heading(&mut self, text: &str) -> Result<()> {
        let gap = if self.step == 0 { "" } else { "\n" };
        self.line(&format!("{gap}{text}"))
    }

    fn step(&mut self, what: &str, text: &str) -> Result<()> {
        self.step += 1;
        self.line(&format!("{}  {what:<9} {text}", self.step))
    }

    fn line(&mut self, text: &str) -> Result<()> {
        if self.silent {
            return Ok(());
        }
        self.console.line(text)?;
        self.console.flush()
    }
}
