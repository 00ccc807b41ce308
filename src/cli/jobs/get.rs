//! `meshgate jobs get`: downloads the result of a job.

use std::path::PathBuf;
use std::process::ExitCode;

use uuid::Uuid;

use super::destination::{Destination, Saved};
use super::job_id::job_id;
use super::retry::patiently;
use super::server::ServerArgs;
use crate::cli::failure::Failure;
use crate::cli::humanize;
use crate::cli::output::say;
use crate::cli::progress::Progress;

const EXAMPLES: &str = "\
Examples:
  meshgate jobs get 01975d3c-5b0e-7cc3-a3a1-5a5f0c6c8d6e --server http://localhost:5000
  meshgate jobs get 01975d3c-5b0e-7cc3-a3a1-5a5f0c6c8d6e -o out/duck.glb

A download that breaks off is continued, and its SHA-256 is checked. The file appears complete or not at all.

Exit code: 0 written, 1 if not, also if the file exists or the job has no result, 64 usage error,
130 interrupted.";

/// Download the result of a job
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The ID of the job
    #[arg(value_name = "ID", value_parser = job_id)]
    id: Uuid,

    /// The file to write, a folder, or - for standard output [default: the name that the server gives it, in
    /// the current folder]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,

    /// Replace a file that exists
    #[arg(short, long)]
    force: bool,

    /// Print the job as a line of JSON instead
    #[arg(long, conflicts_with_all = ["output", "force"])]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// Downloads the result, or prints the job.
///
/// # Errors
/// When the job has no result, or the file exists or cannot be written.
pub async fn run(args: &Args, progress: &Progress) -> Result<ExitCode, Failure> {
    let api = args.server.api()?;
    if args.json {
        say(patiently(|| api.job(args.id)).await?.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let destination = Destination::new(args.output.as_deref(), args.force);
    destination.check_free()?;
    let bar = progress.start(args.id.to_string());
    let saved = destination.save(&api, args.id, &bar).await;
    drop(bar);
    if let Saved { path: Some(path), bytes } = saved? {
        say(format!("{}  {}", humanize::name(&path.display().to_string()), humanize::bytes(bytes)))?;
    }
    Ok(ExitCode::SUCCESS)
}
