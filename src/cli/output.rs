//! Writes to the standard streams.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};

use super::failure::Failure;

/// Prints warnings to standard error, for subcommands without a log.
pub fn warn(warnings: &[String]) {
    for warning in warnings {
        // An error on a closed stream is ignored.
        let _ = writeln!(io::stderr(), "meshgate: warning: {warning}");
    }
}

/// Writes a line to standard output.
///
/// # Errors
/// When the stream fails. A closed pipe (`| head`) is an error too, so that the caller stops.
pub fn say(line: impl fmt::Display) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").map_err(Failure::io("write to standard output"))
}

/// Prints the error with its causes on one line. A list of mistakes has a line for each.
pub fn print_error(error: &dyn Error) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    for line in text.lines() {
        let _ = writeln!(io::stderr(), "meshgate: {line}");
    }
}
