//! `kenar completions`: scripts for the shell.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use super::console::Console;
use crate::error::Result;

/// Print the completion script of a shell
#[derive(Args, Debug)]
#[command(after_help = "Example:
  kenar completions bash > ~/.local/share/bash-completion/completions/kenar
  kenar completions fish > ~/.config/fish/completions/kenar.fish")]
pub struct Completions {
    /// Shell to complete in
    shell: Shell,
}

impl Completions {
    pub fn run(self, command: &mut Command, console: &mut Console) -> Result<()> {
        let mut script = Vec::new();
        generate(self.shell, command, "kenar", &mut script);
        console.print(&String::from_utf8_lossy(&script))
    }
}
