//! `meshgate serve`: the HTTP gateway. It also runs jobs beside requests; if `WORKERS` is 0, other processes run both.

use std::process::ExitCode;
use std::sync::Arc;

use super::failure::Failure;
use super::service::background::Background;
use super::service::listeners::{ProbeListeners, bind_main};
use super::service::parts;
use super::service::process::{self, Ended, Process};
use super::service::setup::{Setup, SetupArgs};
use crate::config::reference;
use crate::http::{self, Role};

/// Serve conversions over HTTP.
#[derive(Debug, clap::Args)]
#[command(after_help = reference::help())]
pub struct Args {
    #[command(flatten)]
    setup: SetupArgs,
}

/// Serves until a signal stops it.
///
/// # Errors
/// Wrong settings, a line for each mistake; or why the server cannot run.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    match args.setup.read(Role::Gateway)? {
        Some(setup) => process::run(serve(setup)),
        None => Ok(ExitCode::SUCCESS),
    }
}

async fn serve(setup: Setup) -> Result<Ended, Failure> {
    let process = Process::start(&setup, setup.config.server.shutdown_delay)?;
    let gateway = Arc::new(parts::assemble(&setup, &process.shutdown).await?);
    let listener = bind_main(&gateway).await?;
    // They are served until the last request is answered.
    let probes = ProbeListeners::start(&gateway).await?;
    let mut background = Background::start(&gateway, &setup.config);
    if setup.config.server.workers == 0 {
        tracing::info!("no engine runs here; conversions wait for workers");
    }
    let (router, counts) = (http::router(Arc::clone(&gateway)), Arc::clone(&gateway.metrics));
    listener.run(router, counts, process.shutdown.clone()).await;
    background.finish_jobs(&process.shutdown).await;
    probes.stop().await;
    background.stop(&process.shutdown).await;
    process.end().await
}
