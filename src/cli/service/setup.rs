//! The options of `meshgate serve` and `meshgate worker`, and the settings, all checked.

use std::path::PathBuf;

use super::warnings::likely_mistakes;
use crate::app;
use crate::cli::failure::Failure;
use crate::cli::output::{say, warn};
use crate::config::{Config, Reader, Sources};
use crate::http::Role;
use crate::storage::Storage;

/// The options of both.
#[derive(Debug, clap::Args)]
pub struct SetupArgs {
    /// Read settings from this TOML file too; the environment overrides it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Only check the settings: exit code 64 if one is wrong
    #[arg(long)]
    check: bool,
}

/// What a process starts from.
pub struct Setup {
    pub role: Role,
    pub config: Config,
    /// The store, which nothing has connected to yet.
    pub storage: Storage,
    /// For the log, a sentence each.
    pub warnings: Vec<String>,
}

impl SetupArgs {
    /// Reads and checks all settings. `None` after `--check`, which prints the outcome.
    ///
    /// # Errors
    /// Wrong settings, a line for each mistake.
    pub fn read(&self, role: Role) -> Result<Option<Setup>, Failure> {
        let mut sources = Sources::environment();
        if let Some(file) = &self.config {
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
        if role == Role::Worker && config.server.workers == 0 {
            reader.mistake(
                "WORKERS is 0, with which a worker would run no job; set another number, or unset it",
            );
        }
        // A misspelled name may explain a missing setting.
        let config = reader.finish(config).inspect_err(|_| warn(&warnings))?;
        warnings.extend(likely_mistakes(&config, role));
        let storage = storage.map_err(Failure::Usage)?;
        if self.check {
            warn(&warnings);
            say("configuration is valid")?;
            return Ok(None);
        }
        Ok(Some(Setup { role, config, storage, warnings }))
    }
}
