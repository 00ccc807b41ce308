//! Why a subcommand fails, and the exit codes.

use std::io;

use crate::config::Mistakes;
use crate::domain::ConversionError;

/// Exit code of a run that failed.
pub const FAILED: u8 = 1;
/// Exit code of a usage error, `EX_USAGE` in sysexits.h.
pub const USAGE_ERROR: u8 = 64;
/// Exit code of an interrupted run, by the convention of shells (128 + SIGINT).
pub const INTERRUPTED: u8 = 130;

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A mistake in the arguments or the settings.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Conversion(#[from] ConversionError),
    #[error("could not {what}")]
    Io { what: String, source: io::Error },
    #[error("could not register the metrics")]
    Metrics(#[from] prometheus::Error),
}

impl From<Mistakes> for Failure {
    fn from(mistakes: Mistakes) -> Self {
        Failure::Usage(mistakes.to_string())
    }
}

impl Failure {
    pub fn usage(text: &str) -> Self {
        Failure::Usage(text.to_owned())
    }

    /// For `map_err`: an I/O error during `what` ("read the folder").
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Failure::Io { what, source }
    }
}
