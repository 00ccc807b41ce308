//! The settings of one run of `meshgate convert`.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::setting_flags::Known;
use crate::config::Engine;
use crate::domain::{Format, Options};

/// The settings of every conversion in the run.
#[derive(Debug)]
pub struct Settings {
    pub options: Options,
    pub engine: Engine,
    /// OUT.
    pub output: PathBuf,
    pub main: Option<String>,
    /// The format of standard input, if given.
    pub from: Option<Format>,
    pub timeout: Duration,
    pub at_once: usize,
    pub known: Known,
    pub force: bool,
    pub json: bool,
}

impl Settings {
    /// The options for `target`, without those that it does not support.
    pub fn options_for(&self, target: Format) -> Options {
        let mut options = self.options.clone();
        if options.check(target).is_err() {
            options.draco = false;
        }
        options
    }
}
