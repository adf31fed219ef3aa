//! Where a command writes: results to standard output, progress and remarks to standard error.

use std::io::Write;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::error::{Error, Result};

/// The two streams of a command.
pub struct Console<'a> {
    stdout: &'a mut dyn Write,
    stderr: &'a mut dyn Write,
    /// Whether standard error is a terminal, so that progress bars and remarks have a reader.
    interactive: bool,
}

impl<'a> Console<'a> {
    /// Progress bars and remarks appear only when `interactive`.
    pub fn new(stdout: &'a mut dyn Write, stderr: &'a mut dyn Write, interactive: bool) -> Self {
        Self { stdout, stderr, interactive }
    }

    /// Text for people, as it is, on standard output.
    pub fn print(&mut self, text: &str) -> Result<()> {
        self.stdout.write_all(text.as_bytes()).map_err(stdout_error)
    }

    /// A line on standard output.
    pub fn line(&mut self, text: &str) -> Result<()> {
        self.print(text)?;
        self.print("\n")
    }

    /// The one JSON document of a `--json` command.
    pub fn json(&mut self, document: &Value) -> Result<()> {
        let text = serde_json::to_string_pretty(document)
            .map_err(|e| Error::Input(format!("the report is no JSON document: {e}")))?;
        self.line(&text)
    }

    /// A remark on standard error, for somebody who watches.
    pub fn remark(&mut self, text: &str) {
        if self.interactive {
            // Nothing depends on a remark; a closed stream is no reason to stop.
            let _ = writeln!(self.stderr, "{text}");
        }
    }

    /// An error or a usage text on standard error, always.
    pub fn complain(&mut self, text: &str) {
        let _ = write!(self.stderr, "{text}");
    }

    /// A progress bar over `len` steps; invisible unless interactive.
    pub fn progress(&self, what: &str, len: usize) -> ProgressBar {
        let target = if self.interactive {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(len as u64), target);
        let style = "{msg:<22} [{bar:30}] {pos}/{len}  {elapsed} + {eta}";
        bar.set_style(
            ProgressStyle::with_template(style)
                .expect("the template is valid")
                .progress_chars("=> "),
        );
        bar.set_message(what.to_owned());
        bar
    }

    /// Hands everything written to the system.
    pub fn flush(&mut self) -> Result<()> {
        self.stdout.flush().map_err(stdout_error)
    }
}

fn stdout_error(source: std::io::Error) -> Error {
    Error::io("standard output", source)
}
