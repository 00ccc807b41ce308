//! `meshgate worker`: runs jobs only, beside gateways with the same queue and the same store.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::failure::Failure;
use super::service::background::Background;
use super::service::listeners::{ProbeListeners, bind_main};
use super::service::parts;
use super::service::process::{self, Ended, Process};
use super::service::setup::{Setup, SetupArgs};
use crate::http::{self, Role};

const SETTINGS: &str = "\
Settings are those of `meshgate serve`, which `meshgate serve --help` lists. Give a worker those of its
gateways: JOBS_REDIS_URL and STORAGE_URL, or on one machine the same DATA_DIR. On BIND_ADDRESS, it only
answers probes and /metrics.";

/// Run the jobs that `meshgate serve` accepts, without its API
#[derive(Debug, clap::Args)]
#[command(after_help = SETTINGS)]
pub struct Args {
    #[command(flatten)]
    setup: SetupArgs,
}

/// Takes and runs jobs until a signal stops it.
///
/// # Errors
/// Wrong settings, a line for each mistake; or why the worker cannot run.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    match args.setup.read(Role::Worker)? {
        Some(setup) => process::run(work(setup)),
        None => Ok(ExitCode::SUCCESS),
    }
}

async fn work(setup: Setup) -> Result<Ended, Failure> {
    // No load balancer has to notice the stop.
    let process = Process::start(&setup, Duration::ZERO)?;
    let gateway = Arc::new(parts::assemble(&setup, &process.shutdown).await?);
    let listener = bind_main(&gateway).await?;
    let mut probes = ProbeListeners::start(&gateway).await?;
    probes.serve(listener, http::router(Arc::clone(&gateway)), &gateway);
    let mut background = Background::start(&gateway, &setup.config);
    tracing::info!("this worker takes jobs");
    // Returns after the signal, once the last job has ended or was given back.
    background.finish_jobs(&process.shutdown).await;
    probes.stop().await;
    background.stop(&process.shutdown).await;
    process.end().await
}
