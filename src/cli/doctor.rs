use super::Failure;
use std::process::ExitCode;
/// Check this machine: engine, sandbox, disk.
#[derive(Debug, clap::Args)]
pub struct Args {}
pub fn run(_args: &Args) -> Result<ExitCode, Failure> {
    Err(Failure::failed("todo"))
}
