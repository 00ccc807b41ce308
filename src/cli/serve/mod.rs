//! `meshgate serve`: checks the whole configuration, then runs the gateway.

mod container_memory;
mod gateway;

use std::path::PathBuf;
use std::process::ExitCode;

use super::failure::Failure;
use super::output::{say, warn};
use crate::app;
use crate::config::{Config, Reader, Sources, reference};

/// Serve conversions over HTTP.
#[derive(Debug, clap::Args)]
#[command(after_help = reference::help())]
pub struct Args {
    /// Read settings from this TOML file too; the environment overrides it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Only check the settings: exit code 64 if one is wrong
    #[arg(long)]
    check: bool,
}

/// Serves until a signal stops it.
///
/// # Errors
/// Wrong settings, a line for each mistake; or why the server cannot run.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut sources = Sources::environment();
    if let Some(file) = &args.config {
        sources.add_file(file);
    }
    let mut warnings = sources.warnings();
    let mut reader = Reader::new(&sources);
    let config = Config::read(&mut reader);
    let storage = app::storage(&config.storage, &config.engine);
    let of_storage = storage.as_ref().err().cloned();
    for mistake in app::mistakes(&config.engine, &config.log).into_iter().chain(of_storage) {
        reader.mistake(mistake);
    }
    // A misspelled name may explain a missing setting.
    let config = reader.finish(config).inspect_err(|_| warn(&warnings))?;
    warnings.extend(container_memory::warning(&config));
    warnings.extend(unshared_jobs(&config));
    let storage = storage.map_err(Failure::Usage)?;
    if args.check {
        warn(&warnings);
        say("configuration is valid")?;
        return Ok(ExitCode::SUCCESS);
    }
    gateway::run(&config, storage, &warnings)
}

/// A warning if processes share a Redis, but not their jobs.
fn unshared_jobs(config: &Config) -> Option<String> {
    (config.redis.is_some() && config.jobs.redis.is_none()).then(|| {
        "REDIS_URL or REDIS_HOST is set, but JOBS_REDIS_URL is not: jobs are kept in DATA_DIR, where only processes \
         with the same DATA_DIR find them; set JOBS_REDIS_URL to a Redis that persists and never evicts"
            .to_owned()
    })
}
