//! Prints the outcomes of conversions: a block for one, lines and a table for many, or JSON.

use std::fmt::Display;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde::Serialize;

use super::args::Args;
use super::outcome::{Done, Ending, Success, Tally, output, reason};
use super::plan::{Job, Output};
use super::summary;
use crate::cli::{Failure, humanize, say};
use crate::domain::{ErrorCode, Report};

/// Most conversions shown in a table.
const LONGEST_TABLE: usize = 200;

/// One conversion as a line of JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    input: String,
    output: String,
    outcome: Ending,
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
    kept: Vec<(Done, Ending)>,
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
    pub fn new(jobs: &[Job], args: &Args, watched: bool) -> Self {
        let mode = match jobs {
            _ if args.json => Mode::Json,
            [job] if job.output == Output::Stdout => Mode::Aside,
            [_] => Mode::One,
            _ => Mode::Many,
        };
        Self {
            mode,
            several_formats: jobs.iter().any(|job| job.target != jobs[0].target),
            quiet: watched && jobs.len() <= LONGEST_TABLE && io::stdout().is_terminal(),
            out: humanize::name(&args.output.display().to_string()),
            kept: Vec::new(),
        }
    }

    fn ending(&self, done: &Done) -> Ending {
        match &done.result {
            Ok(_) => Ending::Succeeded,
            Err(error) if self.several_formats && error.code == ErrorCode::UnsupportedPair => Ending::Skipped,
            Err(_) => Ending::Failed,
        }
    }

    /// Counts a finished conversion.
    pub fn count(&self, done: &Done, tally: &mut Tally) {
        match self.ending(done) {
            Ending::Succeeded => tally.succeeded += 1,
            Ending::Skipped => tally.skipped += 1,
            Ending::Failed => tally.failed += 1,
        }
    }

    /// Prints the outcome of a finished conversion.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn done(&mut self, done: Done) -> Result<(), Failure> {
        let ending = self.ending(&done);
        match self.mode {
            Mode::Json => return say(json(&done, ending)),
            Mode::One if done.result.is_ok() => return say(block(&done)),
            // A failure goes to standard error.
            Mode::One | Mode::Aside => aside(block(&done)),
            Mode::Many => {
                if !self.quiet {
                    say(line(&done, ending))?;
                }
                self.kept.push((done, ending));
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
            self.kept.sort_by_key(|(done, _)| done.index);
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

fn json(done: &Done, ending: Ending) -> String {
    let (success, error) = (done.result.as_ref().ok(), done.result.as_ref().err());
    let line = Line {
        input: done.job.input.name(),
        output: output(done),
        outcome: ending,
        code: error.map(|error| error.code),
        detail: error.map(|error| error.detail.as_str()),
        seconds: (done.seconds * 1000.0).round() / 1000.0,
        cached: success.is_some_and(|success| success.cached),
        report: success.map(|success| &success.report),
    };
    serde_json::to_string(&line).unwrap_or_else(|error| format!("{{\"detail\":{:?}}}", error.to_string()))
}

/// The line for one of several conversions.
fn line(done: &Done, ending: Ending) -> String {
    let pair = format!("{} → {}", humanize::name(&done.job.input.name()), humanize::name(&output(done)));
    match &done.result {
        Ok(success) => {
            let Report { losses, warnings, .. } = &success.report;
            let mut line = format!("✓ {pair}  {}", humanize::duration(done.seconds));
            for (list, one, many) in [(losses, "loss", "losses"), (warnings, "warning", "warnings")] {
                if !list.is_empty() {
                    let _ = write!(line, "  {}", humanize::count(list.len() as u64, one, many));
                }
            }
            line
        }
        Err(error) => {
            let mark = if ending == Ending::Skipped { '–' } else { '✗' };
            format!("{mark} {pair}  {}", reason(error, ending))
        }
    }
}

/// The block for the only conversion, with its losses and warnings.
fn block(done: &Done) -> String {
    let pair = format!("{} → {}", name(&done.job.input.name()), name(&output(done)));
    match &done.result {
        Ok(success) => format!(
            "{pair}  {}  {}\n{}",
            humanize::duration(done.seconds),
            if success.cached { "cached" } else { &success.report.engine },
            details(success)
        ),
        Err(error) => format!("{pair}: {}", reason(error, Ending::Failed)),
    }
}

fn name(path: &str) -> String {
    humanize::name(Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path))
}

fn details(success: &Success) -> String {
    let report = &success.report;
    let mut lines = Vec::new();
    for (word, contents) in [("in", &report.input), ("out", &report.output)] {
        let mut size = humanize::bytes(contents.bytes);
        if contents.files > 1 {
            let _ = write!(size, " in {} files", contents.files);
        }
        lines.push(format!("  {word:<4} {} ({size})", humanize::contents(contents)));
    }
    if report.losses.is_empty() {
        lines.push("  lost nothing".to_owned());
    }
    lines.extend(report.losses.iter().map(|loss| format!("  lost {}", humanize::name(loss))));
    lines.extend(report.warnings.iter().map(|warning| format!("  note {}", humanize::name(warning))));
    lines.join("\n")
}

/// The last line: the count of each outcome.
fn summary(kept: &[(Done, Ending)], tally: &Tally, out: &str) -> String {
    let into = if tally.succeeded > 0 { format!(" into {out}") } else { String::new() };
    let mut text = format!("{} converted{into}", tally.succeeded);
    let reports = kept.iter().filter_map(|(done, _)| Some(&done.result.as_ref().ok()?.report));
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
