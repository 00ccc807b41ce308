use super::Failure;
use std::process::ExitCode;
/// Get the engine.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Install,
}
pub fn run(_args: &Command) -> Result<ExitCode, Failure> {
    Err(Failure::failed("todo"))
}
