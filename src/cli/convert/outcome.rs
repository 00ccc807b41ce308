//! The outcomes of conversions.

use std::path::PathBuf;

use serde::Serialize;

use super::plan::PlannedConversion;
use crate::cli::humanize;
use crate::domain::{ConversionError, Report};

/// A planned conversion that has ended, successful or not.
#[derive(Debug)]
pub struct EndedConversion {
    /// Its index in the plan.
    pub index: usize,
    pub planned: PlannedConversion,
    pub seconds: f64,
    pub result: Result<Success, ConversionError>,
}

#[derive(Debug)]
pub struct Success {
    pub report: Report,
    /// The files written, the main one first; empty when the result went to standard output.
    pub written: Vec<PathBuf>,
    /// Whether the result came from the cache.
    pub cached: bool,
}

/// Counts of conversions by outcome.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    pub planned: usize,
    pub succeeded: usize,
    /// Impossible pairs in a run with several targets.
    pub skipped: usize,
    pub failed: usize,
    pub interrupted: bool,
}

/// The outcome of a conversion, for people and exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConversionOutcome {
    Succeeded,
    /// The pair is impossible, and the run has other targets.
    Skipped,
    Failed,
}

/// The main file that was written, or that a failed conversion would have written.
pub fn output(finished: &EndedConversion) -> String {
    let written = finished.result.as_ref().ok().and_then(|success| success.written.first());
    written.map_or_else(|| finished.planned.output.name(), |path| path.display().to_string())
}

/// The error for people: `an obj file has no skeleton` if skipped, else the sentence with its code.
pub fn reason(error: &ConversionError, outcome: ConversionOutcome) -> String {
    match outcome {
        ConversionOutcome::Skipped => humanize::name(&error.detail),
        _ => format!("{} ({})", humanize::name(&error.detail), error.code),
    }
}
