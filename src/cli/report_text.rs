//! A report for people.

use std::fmt::Write as _;

use super::humanize;
use crate::domain::Report;

/// The contents of the model and of the result, the losses and the warnings: an indented line for each.
pub fn details(report: &Report) -> String {
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
