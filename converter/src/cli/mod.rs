//! The command line: one file per command.
//!
//! [`run`] is the whole program as a function of its arguments and two streams, so that tests call it without a
//! process. Results go to standard output, everything else to standard error; the exit code is 0 when done, 1
//! when the input is bad, 2 when the arguments are.

mod args;
mod bench;
mod chart;
mod completions;
mod console;
mod convert;
mod demo;
mod detect;
mod eval;
mod file;
mod inspect;
mod isa;
mod run;
mod table;

use std::error::Error as _;
use std::ffi::OsString;
use std::io::{ErrorKind, Write};

use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind as UsageError};

use crate::error::{Error, Result};
use console::Console;

/// Turns float networks into int8 models that give the same bytes on every CPU.
#[derive(Parser, Debug)]
#[command(
    name = "kenar",
    version,
    max_term_width = 100,
    after_help = "Start with `kenar demo`, then `kenar inspect` a checkpoint of your own."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Convert(convert::Convert),
    Inspect(inspect::Inspect),
    Run(run::Run),
    Eval(eval::Eval),
    Bench(bench::Bench),
    Detect(detect::Detect),
    Demo(demo::Demo),
    Completions(completions::Completions),
}

/// Runs the program: `args` with the program's name first. Returns the exit code.
///
/// Standard error gets errors only; progress bars and remarks are for [`run_interactive`].
pub fn run<I, T>(args: I, stdout: &mut dyn Write, stderr: &mut dyn Write) -> i32
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    execute(args, Console::new(stdout, stderr, false))
}

/// As [`run`], with progress bars and remarks on the process's standard error.
pub fn run_interactive<I, T>(args: I, stdout: &mut dyn Write, stderr: &mut dyn Write) -> i32
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    execute(args, Console::new(stdout, stderr, true))
}

fn execute<I, T>(args: I, mut console: Console) -> i32
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(usage) => {
            let text = usage.render();
            if usage.use_stderr() {
                console.complain(&text.to_string());
            } else if console.print(&text.to_string()).is_err() {
                return 1;
            }
            let asked =
                matches!(usage.kind(), UsageError::DisplayHelp | UsageError::DisplayVersion);
            return if asked { 0 } else { 2 };
        }
    };
    match dispatch(cli.command, &mut console).and_then(|()| console.flush()) {
        Ok(()) => 0,
        // The reader of a pipe has seen enough (`kenar inspect ... | head`).
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => 0,
        Err(error) => {
            console.complain(&format!("error: {}\n", chain(&error)));
            1
        }
    }
}

fn dispatch(command: Command, console: &mut Console) -> Result<()> {
    match command {
        Command::Convert(c) => c.run(console),
        Command::Inspect(c) => c.run(console),
        Command::Run(c) => c.run(console),
        Command::Eval(c) => c.run(console),
        Command::Bench(c) => c.run(console),
        Command::Detect(c) => c.run(console),
        Command::Demo(c) => c.run(console),
        Command::Completions(c) => c.run(&mut Cli::command(), console),
    }
}

/// The message and every cause that it does not contain already.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(c) = cause {
        let message = c.to_string();
        if !text.contains(&message) {
            text.push_str("\n  caused by: ");
            text.push_str(&message);
        }
        cause = c.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kenar(args: &[&str]) -> (i32, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(std::iter::once(&"kenar").chain(args), &mut out, &mut err);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let (code, out, err) = kenar(&[name, "--help"]);
            assert_eq!((code, err.as_str()), (0, ""));
            assert!(
                out.contains("Example") && out.contains(&format!("kenar {name}")),
                "{name}: {out}"
            );
        }
    }

    #[test]
    fn usage_errors_give_2_and_say_so_on_stderr() {
        for args in [
            &["frobnicate"][..],
            &["convert"],
            &["convert", "a.pt"],
            &["bench", "m.kenar", "--threads", "0"],
            &["convert", "a.pt", "-o", "b.kenar", "--method", "magic"],
            &["convert", "a.pt", "-o", "b.kenar", "--mean", "1,2"],
            &["convert", "a.pt", "-o", "b.kenar", "--mean", "0.5,0.5,0.5"],
            &["run", "m.kenar", "x.png", "-o", "o.safetensors", "--isa", "mmx"],
            &[],
        ] {
            let (code, out, err) = kenar(args);
            assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
            assert!(!err.is_empty(), "{args:?}");
        }
        assert_eq!(kenar(&["--version"]).0, 0);
    }

    #[test]
    fn chains_do_not_repeat_themselves() {
        let inner = Error::source("conv1.weight", "is missing");
        let text = chain(&inner.in_file("a.pt"));
        assert_eq!(text, "a.pt: 'conv1.weight': is missing");
    }
}
