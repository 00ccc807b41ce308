//! The log of the command line: on standard error, and brief unless `LOG_LEVEL` asks for more.

use std::io::{self, Write};

use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;

use super::failure::Failure;
use crate::config::{Reader, Sources, settings};

/// The only warnings shown: a weaker sandbox, an engine that did not end, and work folders that stay on the disk. All
/// others are silenced: results and reports show failed conversions, and no conversion depends on the rest (retries, old
/// files, Redis, the store).
pub const WARNINGS: &str = "off,meshgate::executor::local::supervisor=warn,meshgate::executor::workdir=warn";
pub const NOTHING: &str = "off";

/// Starts logging with the filter in `LOG_LEVEL`, else `default`. Lines are printed above the progress bars.
///
/// # Errors
/// A usage error when `LOG_LEVEL` is not a filter.
pub fn start(default: &str, bars: &MultiProgress) -> Result<(), Failure> {
    let level = Reader::only(&Sources::environment(), &settings::LOG_LEVEL)?;
    let filter = EnvFilter::new(level.as_deref().unwrap_or(default));
    let bars = bars.clone();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || AboveBars(bars.clone()))
        .with_ansi(false)
        .with_target(false);
    // Only a second call could fail, and by then logging has started.
    let _ = if level.is_none() { lines.without_time().try_init() } else { lines.try_init() };
    Ok(())
}

/// Standard error; the bars are hidden while a line is written.
struct AboveBars(MultiProgress);

impl Write for AboveBars {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(line)).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
