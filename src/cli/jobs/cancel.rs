//! `meshgate jobs cancel`: cancels a job.

use std::process::ExitCode;

use uuid::Uuid;

use super::job_id::job_id;
use super::print::aside;
use super::server::ServerArgs;
use crate::cli::failure::{FAILED, Failure};
use crate::cli::output::say;
use crate::jobs::State;

const EXAMPLES: &str = "\
Examples:
  meshgate jobs cancel 01975d3c-5b0e-7cc3-a3a1-5a5f0c6c8d6e --server http://localhost:5000
  meshgate jobs list --state queued --json | jq -r .id | xargs -n 1 meshgate jobs cancel

Exit code: 0 cancelled, also if it was before, or about to be; 1 if not, also if the job had ended otherwise;
64 usage error.";

/// Cancel a job that has not ended
///
/// A queued job ends at once, a running one within seconds.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The ID of the job
    #[arg(value_name = "ID", value_parser = job_id)]
    id: Uuid,

    /// Print the job as a line of JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// Cancels the job.
///
/// # Errors
/// When the job does not exist, or the server cannot be reached.
pub async fn run(args: &Args) -> Result<ExitCode, Failure> {
    let document = args.server.api()?.cancel(args.id).await?;
    let (id, state) = (args.id, document.job.state);
    let has_ended_before = state.has_ended() && state != State::Cancelled;
    if args.json {
        say(&document.json)?;
    } else if has_ended_before {
        aside(format!("{id}  had ended before: {}", state.word()));
    } else if state == State::Cancelled {
        say(format!("{id}  cancelled"))?;
    } else {
        say(format!("{id}  is being cancelled"))?;
    }
    Ok(if has_ended_before { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}
