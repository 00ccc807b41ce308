//! The table at the end of a run: the input, the results and the losses of each model.

use std::path::Path;

use comfy_table::CellAlignment;

use super::outcome::{ConversionOutcome, EndedConversion, Success, output, reason};
use super::plan;
use crate::cli::humanize;
use crate::cli::table::{lines, plain};
use crate::domain::Report;
use crate::domain::report::Counts;

/// The width without a terminal.
const WIDTH: u16 = 100;

const NONE: &str = "–";

/// Least width of the column of names.
const NARROWEST_NAME: usize = 18;

fn width() -> usize {
    usize::from(rustix::termios::tcgetwinsize(std::io::stdout()).map_or(WIDTH, |size| size.ws_col.max(60)))
}

type Count = fn(&Counts) -> u64;

/// The counts that have columns of their own.
const COUNTS: [(&str, Count); 8] = [
    ("meshes", |counts| counts.meshes),
    ("triangles", |counts| counts.triangles),
    ("points", humanize::points),
    ("materials", |counts| counts.materials),
    ("textures", |counts| counts.textures),
    ("bones", |counts| counts.bones),
    ("shapes", |counts| counts.blend_shapes),
    ("clips", Counts::clip_count),
];

/// A line of the table.
enum Row<'a> {
    Gap,
    /// The name, the counts, and the last two columns.
    Cells {
        name: String,
        counts: Option<&'a Counts>,
        end: [String; 2],
    },
    /// A sentence across all columns.
    Text(String),
}

/// Draws for each model a row of its input, and below it for each format its result, losses and duration.
pub fn table(rows: &[(EndedConversion, ConversionOutcome)]) -> String {
    draw(&rows_of(rows), width())
}

fn rows_of(finished: &[(EndedConversion, ConversionOutcome)]) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    let same = |one: &(EndedConversion, ConversionOutcome), other: &(EndedConversion, ConversionOutcome)| {
        one.0.planned.input == other.0.planned.input
    };
    let names: Vec<_> =
        finished.chunk_by(same).filter_map(|group| Some(&group.first()?.0.planned.input.relative)).collect();
    for group in finished.chunk_by(same) {
        let Some((first, _)) = group.first() else { continue };
        if !rows.is_empty() {
            rows.push(Row::Gap);
        }
        let input = &first.planned.input;
        let unique = names.iter().filter(|name| **name == &input.relative).count() == 1;
        let name = if unique { input.relative.to_string_lossy().into_owned() } else { input.name() };
        let reports: Vec<_> =
            group.iter().filter_map(|(finished, _)| Some(&finished.result.as_ref().ok()?.report)).collect();
        let counts = reports.first().map(|report| &report.input.counts);
        rows.push(Row::Cells { name: humanize::name(&name), counts, end: Default::default() });
        let shared = shared_notes(&reports);
        rows.extend(shared.iter().map(|text| note(text)));
        for (finished, outcome) in group {
            rows.extend(result(finished, *outcome, &shared));
        }
    }
    rows
}

/// The warnings that all of several reports share; they are about the model, and printed once.
fn shared_notes<'a>(reports: &[&'a Report]) -> Vec<&'a str> {
    let [first, others @ ..] = reports else { return Vec::new() };
    let everywhere = |text: &&String| others.iter().all(|report| report.warnings.contains(text));
    let warnings = if others.is_empty() { &[][..] } else { &first.warnings };
    warnings.iter().filter(everywhere).map(String::as_str).collect()
}

fn note(text: &str) -> Row<'static> {
    Row::Text(format!("  note  {}", humanize::name(text)))
}

/// The rows of one conversion; `said` are warnings already printed for its model.
fn result<'a>(finished: &'a EndedConversion, outcome: ConversionOutcome, said: &[&str]) -> Vec<Row<'a>> {
    let name = format!("→ {}", target(finished));
    let Success { report, cached, .. } = match &finished.result {
        Ok(success) => success,
        Err(error) => {
            let word = if outcome == ConversionOutcome::Skipped { "skipped" } else { "failed" };
            return vec![Row::Text(format!("{name}  {word}: {}", reason(error, outcome)))];
        }
    };
    let lost = if report.losses.is_empty() { NONE.to_owned() } else { report.losses.len().to_string() };
    let end = [lost, if *cached { "cached".to_owned() } else { humanize::duration(finished.seconds) }];
    let mut rows = vec![Row::Cells { name, counts: Some(&report.output.counts), end }];
    rows.extend(report.losses.iter().map(|loss| Row::Text(format!("  lost  {}", humanize::name(loss)))));
    rows.extend(report.warnings.iter().filter(|text| !said.contains(&text.as_str())).map(|text| note(text)));
    rows
}

/// The format if the file has the default name, else the file's name.
fn target(finished: &EndedConversion) -> String {
    let format = finished.planned.target;
    let written = output(finished);
    let file = Path::new(&written).file_name().unwrap_or_default();
    let default = finished.planned.input.relative.with_extension(plan::extension(format));
    if finished.result.is_err() || default.file_name() == Some(file) {
        return format.to_string();
    }
    humanize::name(&file.to_string_lossy())
}

fn draw(rows: &[Row<'_>], width: usize) -> String {
    let is_shown = |(_, count): &(&str, fn(&Counts) -> u64)| {
        let holds = |row: &Row<'_>| matches!(row, Row::Cells { counts: Some(all), .. } if count(all) > 0);
        rows.iter().any(holds)
    };
    let (names, columns): (Vec<_>, Vec<_>) = COUNTS.into_iter().filter(is_shown).unzip();
    let headings = [vec!["went in → came out"], names, vec!["lost", "time"]].concat();
    let grid = |room: usize| {
        let mut table = plain(&headings);
        for row in rows {
            let Row::Cells { name, counts, end } = row else { continue };
            let numbers = columns.iter().map(|count| match counts.map(count) {
                None => String::new(),
                Some(0) => NONE.to_owned(),
                Some(value) => humanize::number(value),
            });
            table.add_row([humanize::cut(name, room)].into_iter().chain(numbers).chain(end.clone()));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        lines(&table)
    };
    let longest = |lines: &[String]| lines.iter().map(|line| line.chars().count()).max().unwrap_or_default();
    // The width of the other columns is measured with the shortest names.
    let others = longest(&grid(1)).saturating_sub(NARROWEST_NAME);
    let mut grid = grid(width.saturating_sub(others).max(NARROWEST_NAME)).into_iter();

    let mut text: Vec<String> = grid.by_ref().take(2).collect();
    for row in rows {
        match row {
            Row::Gap => text.push(String::new()),
            Row::Cells { .. } => text.extend(grid.next()),
            Row::Text(sentence) => text.extend(humanize::wrap(sentence, width)),
        }
    }
    text.join("\n")
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
