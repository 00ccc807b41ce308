//! `meshgate jobs watch`: follows jobs until they end.

use std::process::ExitCode;

use futures_util::{StreamExt, stream};
use uuid::Uuid;

use super::api::Api;
use super::destination::{Destination, Saved};
use super::document::Document;
use super::follow::follow;
use super::job_id::job_id;
use super::print::{self, Style, aside};
use super::server::ServerArgs;
use crate::cli::failure::{FAILED, Failure};
use crate::cli::progress::{Bar, Progress};
use crate::jobs::State;

/// Jobs that are followed at a time.
const AT_ONCE: usize = 32;

const EXAMPLES: &str = "\
Examples:
  meshgate jobs watch 01975d3c-5b0e-7cc3-a3a1-5a5f0c6c8d6e --server http://localhost:5000
  meshgate jobs list --state running --json | jq -r .id | xargs meshgate jobs watch

Follows the events of the jobs; asks for their states instead where a proxy lets no stream of events through.
Says on standard error why a job is queued again. Waits for up to two minutes for a server that is away or
cannot reach its jobs, but not if nothing listens at its address from the start.

Exit code: 0 all succeeded, 1 if any failed, was cancelled or expired, 64 usage error, 130 interrupted.";

/// Follow jobs until they end, and print their reports
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The IDs of the jobs
    #[arg(required = true, value_name = "ID", value_parser = job_id)]
    pub ids: Vec<Uuid>,

    /// Print each job as a line of JSON once it has ended
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// A job that has ended, and its result if it was downloaded.
pub struct Ended {
    pub document: Document,
    saved: Option<Saved>,
}

impl Ended {
    /// The file with the result, for people.
    pub fn output(&self) -> Option<String> {
        let saved = self.saved.as_ref()?;
        Some(saved.path.as_ref().map_or_else(|| "-".to_owned(), |path| path.display().to_string()))
    }

    pub fn exit_code(&self) -> ExitCode {
        exit_code(self.document.job.state == State::Succeeded)
    }
}

fn exit_code(succeeded: bool) -> ExitCode {
    if succeeded { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

/// Follows the jobs, and prints each when it ends.
///
/// # Errors
/// When the only job does not exist, or the server stays away.
pub async fn run(args: &Args, progress: &Progress) -> Result<ExitCode, Failure> {
    let api = &args.server.api()?;
    let several = args.ids.len() > 1;
    let style = Style { json: args.json, several, aside: false };
    let follow_one = move |id: Uuid| async move {
        let bar = progress.start(id.to_string());
        (id, follow(api, id, &bar, false).await)
    };
    let ends = stream::iter(args.ids.iter().copied()).map(follow_one).buffer_unordered(AT_ONCE);
    let mut ends = std::pin::pin!(ends);
    let mut succeeded = true;
    while let Some((id, end)) = ends.next().await {
        progress.advance();
        match end {
            Ok(document) => {
                succeeded &= document.job.state == State::Succeeded;
                progress.print(|| print::ended(&document, None, style))?;
            }
            Err(error) if several => {
                succeeded = false;
                progress.print(|| aside(format!("{id}: {error}")));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(exit_code(succeeded))
}

/// Follows a job that was just submitted until it ends. Downloads its result, if it has one, to `destination`.
///
/// # Errors
/// Those of [`follow`] and [`Destination::save`].
pub async fn finish(
    api: &Api,
    id: Uuid,
    destination: Option<&Destination>,
    bar: &Bar,
) -> Result<Ended, Failure> {
    let document = follow(api, id, bar, true).await?;
    let saved = match destination.filter(|_| document.job.state == State::Succeeded) {
        Some(destination) => Some(destination.save(api, id, bar).await?),
        None => None,
    };
    Ok(Ended { document, saved })
}
