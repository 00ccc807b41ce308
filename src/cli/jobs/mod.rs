//! `meshgate jobs`: a client of the API of jobs (docs/API.md) on the command line.
//!
//! ```text
//!  submit ──▶ upload ──▶ api ──▶ server
//!    │ --watch             ▲
//!    ▼                     │
//!  watch ──▶ follow ───────┤     sse: the events of a job
//!    │ -o                  │
//!    ▼                     │
//!  get ──▶ destination ──▶ download
//!  list, cancel ───────────┘
//! ```

mod api;
mod cancel;
mod destination;
mod document;
mod download;
mod error;
mod follow;
mod get;
mod job_id;
mod list;
mod print;
mod retry;
mod server;
mod sse;
mod submit;
mod upload;
mod watch;

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::MultiProgress;

use super::failure::{Failure, INTERRUPTED};
use super::progress::Progress;
use crate::shutdown::Signals;

/// Longest wait for a read of a slow disk at the end.
const LAST_WORK: Duration = Duration::from_millis(50);

/// Convert on a server, as jobs that survive the end of any process.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Submit(submit::Args),
    List(list::Args),
    Watch(watch::Args),
    Get(get::Args),
    Cancel(cancel::Args),
}

/// Runs the subcommand.
///
/// # Errors
/// A usage error, or why the server did not do what was asked. A failed job is in the exit code.
pub fn run(command: &Command, bars: MultiProgress) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::io("start the runtime"))?;
    let total = if let Command::Watch(args) = command { args.ids.len() } else { 1 };
    let progress = Progress::new(total, bars);
    let ended = runtime.block_on(until_interrupted(command, &progress));
    runtime.shutdown_timeout(LAST_WORK);
    ended
}

async fn until_interrupted(command: &Command, progress: &Progress) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new().map_err(Failure::io("listen for signals"))?;
    // It exists until the bars are frozen, since its end would clear them.
    let mut work = pin!(execute(command, progress));
    tokio::select! {
        ended = &mut work => {
            progress.end();
            ended
        }
        _ = signals.next() => {
            progress.freeze();
            print::aside("interrupted; jobs that were submitted go on");
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

async fn execute(command: &Command, progress: &Progress) -> Result<ExitCode, Failure> {
    match command {
        Command::Submit(args) => submit::run(args, progress).await,
        Command::List(args) => list::run(args).await,
        Command::Watch(args) => watch::run(args, progress).await,
        Command::Get(args) => get::run(args, progress).await,
        Command::Cancel(args) => cancel::run(args).await,
    }
}
