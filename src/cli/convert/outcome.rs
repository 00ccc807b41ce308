//! How conversions ended.

use std::path::PathBuf;

use super::plan::Job;
use crate::cli::humanize;
use crate::domain::{ConversionError, Report};

/// A conversion that is over.
#[derive(Debug)]
pub struct Done {
    /// Its place in the plan.
    pub index: usize,
    pub job: Job,
    pub seconds: f64,
    pub result: Result<Success, ConversionError>,
}

#[derive(Debug)]
pub struct Success {
    pub report: Report,
    /// What was written, the main file first; nothing when it went to standard output.
    pub written: Vec<PathBuf>,
    /// Whether it was converted before, and only copied now.
    pub cached: bool,
}

/// How many went which way.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    pub planned: usize,
    pub succeeded: usize,
    /// Pairs that make no sense, where several targets were asked for.
    pub skipped: usize,
    pub failed: usize,
    pub interrupted: bool,
}

/// How a conversion ended, as people and exit codes see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Succeeded,
    /// The pair makes no sense, and other formats were asked for as well.
    Skipped,
    Failed,
}

/// The main file that was written, or would have been.
pub fn output(done: &Done) -> String {
    let written = done.result.as_ref().ok().and_then(|success| success.written.first());
    written.map_or_else(|| done.job.output.name(), |path| path.display().to_string())
}

/// `an obj file has no skeleton`, or the sentence with its code.
pub fn reason(error: &ConversionError, ending: Ending) -> String {
    match ending {
        Ending::Skipped => humanize::name(&error.detail),
        _ => format!("{} ({})", humanize::name(&error.detail), error.code),
    }
}
