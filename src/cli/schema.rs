//! `meshgate schema`: prints the JSON Schema of a report, for programs that read reports.

use std::process::ExitCode;

use super::{Failure, say};
use crate::domain::Report;

/// Print the JSON Schema of a conversion's report.
///
/// The report is the same on the command line (`convert --json`, key "report") and in the HTTP API.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints the schema.
///
/// # Errors
/// When standard output is closed.
pub fn run(_args: &Args) -> Result<ExitCode, Failure> {
    say(text())?;
    Ok(ExitCode::SUCCESS)
}

fn text() -> String {
    format!("{:#}", schemars::schema_for!(Report).as_value())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_schema_is_current() {
        let committed = include_str!("../../docs/report.schema.json");
        assert_eq!(committed.trim_end(), text(), "run: meshgate schema > docs/report.schema.json");
    }
}
