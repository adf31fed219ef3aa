//! The program, called in-process.

use kenar_convert::cli;

/// Exit code, standard output, standard error.
///
/// # Panics
///
/// If an output is no UTF-8.
#[must_use]
pub fn kenar(args: &[&str]) -> (i32, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = cli::run(std::iter::once(&"kenar").chain(args), &mut out, &mut err);
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// Standard output of a command that has to succeed in silence on standard error.
///
/// # Panics
///
/// If it does not.
pub fn ok(args: &[&str]) -> String {
    let (code, out, err) = kenar(args);
    assert_eq!((code, err.as_str()), (0, ""), "{args:?}: {out}");
    out
}
