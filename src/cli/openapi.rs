//! `meshgate openapi`: prints the OpenAPI document of the HTTP API, for generators of clients.

use std::io::Write;
use std::process::ExitCode;

use super::Failure;
use crate::http;

/// Print the OpenAPI document of the HTTP API.
///
/// A running server serves the same document at /openapi.json.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints the document.
///
/// # Errors
/// When standard output is closed.
pub fn run(_args: &Args) -> Result<ExitCode, Failure> {
    std::io::stdout()
        .write_all(http::openapi().as_bytes())
        .map_err(Failure::io("write to standard output"))?;
    Ok(ExitCode::SUCCESS)
}
