//! `meshgate openapi`: the document of the HTTP API, for programs that are made from it.

use std::io::Write;
use std::process::ExitCode;

use super::Failure;
use crate::http;

/// Print the OpenAPI document of the HTTP API.
///
/// It is what a running server answers at /openapi.json.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints it.
///
/// # Errors
/// When standard output is gone.
pub fn run(_args: &Args) -> Result<ExitCode, Failure> {
    std::io::stdout()
        .write_all(http::openapi().as_bytes())
        .map_err(Failure::io("write to standard output"))?;
    Ok(ExitCode::SUCCESS)
}
