//! Prints the outcomes of conversions: a block for one, lines and a table for many, or JSON.

use std::fmt::Display;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde::Serialize;

use super::args::Args;
use super::outcome::{ConversionOutcome, EndedConversion, Tally, output, reason};
use super::plan::{Output, PlannedConversion};
use super::summary;
use crate::cli::failure::Failure;
use crate::cli::humanize;
use crate::cli::output::say;
use crate::cli::report_text;
use crate::domain::{ErrorCode, Report};

/// Most conversions shown in a table.
const LONGEST_TABLE: usize = 200;

/// One conversion as a line of JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    input: String,
    output: String,
    outcome: ConversionOutcome,
    code: Option<ErrorCode>,
    detail: Option<&'a str>,
    seconds: f64,
    cached: bool,
    report: Option<&'a Report>,
}

pub struct Printer {
    mode: Mode,
    /// Whether the run has several target formats.
    several_formats: bool,
    /// Whether lines are omitted: progress bars are visible, and the table follows.
    quiet: bool,
    /// OUT, as shown to people.
    out: String,
    /// The rows of the table.
    kept: Vec<(EndedConversion, ConversionOutcome)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Json,
    /// The model goes to standard output, so text goes to standard error.
    Aside,
    One,
    Many,
}

impl Printer {
    /// Creates a printer; `watched`: progress bars are drawn on this terminal.
    pub fn new(conversions: &[PlannedConversion], args: &Args, watched: bool) -> Self {
        let mode = match conversions {
            _ if args.json => Mode::Json,
            [planned] if planned.output == Output::Stdout => Mode::Aside,
            [_] => Mode::One,
            _ => Mode::Many,
        };
        Self {
            mode,
            several_formats: conversions.iter().any(|planned| planned.target != conversions[0].target),
            quiet: watched && conversions.len() <= LONGEST_TABLE && io::stdout().is_terminal(),
            out: humanize::name(&args.output.display().to_string()),
            kept: Vec::new(),
        }
    }

    fn outcome(&self, finished: &EndedConversion) -> ConversionOutcome {
        match &finished.result {
            Ok(_) => ConversionOutcome::Succeeded,
            Err(error) if self.several_formats && error.code == ErrorCode::UnsupportedPair => {
                ConversionOutcome::Skipped
            }
            Err(_) => ConversionOutcome::Failed,
        }
    }

    /// Counts a finished conversion.
    pub fn count(&self, finished: &EndedConversion, tally: &mut Tally) {
        match self.outcome(finished) {
            ConversionOutcome::Succeeded => tally.succeeded += 1,
            ConversionOutcome::Skipped => tally.skipped += 1,
            ConversionOutcome::Failed => tally.failed += 1,
        }
    }

    /// Prints the outcome of a finished conversion.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn print(&mut self, finished: EndedConversion) -> Result<(), Failure> {
        let outcome = self.outcome(&finished);
        match self.mode {
            Mode::Json => return say(json(&finished, outcome)),
            Mode::One if finished.result.is_ok() => return say(block(&finished)),
            // A failure goes to standard error.
            Mode::One | Mode::Aside => aside(block(&finished)),
            Mode::Many => {
                if !self.quiet {
                    say(line(&finished, outcome))?;
                }
                self.kept.push((finished, outcome));
            }
        }
        Ok(())
    }

    /// Prints the table and the summary of the run.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn end(mut self, tally: &Tally) -> Result<(), Failure> {
        if self.mode == Mode::Many && !self.kept.is_empty() {
            self.kept.sort_by_key(|(finished, _)| finished.index);
            if self.kept.len() <= LONGEST_TABLE {
                let gap = if self.quiet { "" } else { "\n" };
                say(format!("{gap}{}\n", summary::table(&self.kept)))?;
            }
            say(summary(&self.kept, tally, &self.out))?;
        }
        if tally.interrupted {
            aside(format!("interrupted; {} of {} converted", tally.succeeded, tally.planned));
        }
        Ok(())
    }
}

fn aside(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints that a conversion panicked.
pub fn panicked(error: &tokio::task::JoinError) {
    aside(format!("meshgate: internal error in a conversion: {error}"));
}

fn json(finished: &EndedConversion, outcome: ConversionOutcome) -> String {
    let (success, error) = (finished.result.as_ref().ok(), finished.result.as_ref().err());
    let line = Line {
        input: finished.planned.input.name(),
        output: output(finished),
        outcome,
        code: error.map(|error| error.code),
        detail: error.map(|error| error.detail.as_str()),
        seconds: (finished.seconds * 1000.0).round() / 1000.0,
        cached: success.is_some_and(|success| success.cached),
        report: success.map(|success| &success.report),
    };
    serde_json::to_string(&line).unwrap_or_else(|error| format!("{{\"detail\":{:?}}}", error.to_string()))
}

/// The line for one of several conversions.
fn line(finished: &EndedConversion, outcome: ConversionOutcome) -> String {
    let pair =
        format!("{} → {}", humanize::name(&finished.planned.input.name()), humanize::name(&output(finished)));
    match &finished.result {
        Ok(success) => {
            let Report { losses, warnings, .. } = &success.report;
            let mut line = format!("✓ {pair}  {}", humanize::duration(finished.seconds));
            for (list, one, many) in [(losses, "loss", "losses"), (warnings, "warning", "warnings")] {
                if !list.is_empty() {
                    let _ = write!(line, "  {}", humanize::count(list.len() as u64, one, many));
                }
            }
            line
        }
        Err(error) => {
            let mark = if outcome == ConversionOutcome::Skipped { '–' } else { '✗' };
            format!("{mark} {pair}  {}", reason(error, outcome))
        }
    }
}

/// The block for the only conversion, with its losses and warnings.
fn block(finished: &EndedConversion) -> String {
    let pair = format!("{} → {}", name(&finished.planned.input.name()), name(&output(finished)));
    match &finished.result {
        Ok(success) => format!(
            "{pair}  {}  {}\n{}",
            humanize::duration(finished.seconds),
            if success.cached { "cached" } else { &success.report.engine },
            report_text::details(&success.report)
        ),
        Err(error) => format!("{pair}: {}", reason(error, ConversionOutcome::Failed)),
    }
}

fn name(path: &str) -> String {
    humanize::name(Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path))
}

/// The last line: the count of each outcome.
fn summary(kept: &[(EndedConversion, ConversionOutcome)], tally: &Tally, out: &str) -> String {
    let into = if tally.succeeded > 0 { format!(" into {out}") } else { String::new() };
    let mut text = format!("{} converted{into}", tally.succeeded);
    let reports = kept.iter().filter_map(|(finished, _)| Some(&finished.result.as_ref().ok()?.report));
    let with_losses = reports.clone().filter(|report| !report.losses.is_empty()).count();
    let with_warnings = reports.filter(|report| !report.warnings.is_empty()).count();
    for (count, what) in [
        (tally.skipped, "skipped"),
        (tally.failed, "failed"),
        (with_losses, "with losses"),
        (with_warnings, "with warnings"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
}

#[cfg(test)]
#[path = "print_tests.rs"]
mod tests;
