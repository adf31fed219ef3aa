//! The program `kenar`; see [`kenar_convert::cli`].

use std::io::{IsTerminal, stderr, stdout};
use std::process::ExitCode;

use kenar_convert::cli;

fn main() -> ExitCode {
    let (mut out, mut err) = (stdout().lock(), stderr());
    let run = if err.is_terminal() { cli::run_interactive } else { cli::run };
    ExitCode::from(run(std::env::args_os(), &mut out, &mut err) as u8)
}
