//! `meshgate formats`: what each format can hold, and what goes to what.

use std::process::ExitCode;

use comfy_table::{CellAlignment, ColumnConstraint, Width};
use serde_json::{Value, json};

use super::{Failure, say, table};
use crate::domain::format::TABLE;
use crate::domain::{Feature, Format, options};

/// Show the formats: what each can hold, and what goes to what.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the tables.
///
/// # Errors
/// When standard output is gone.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    say(if args.json { format!("{:#}", as_json()) } else { as_text() })?;
    Ok(ExitCode::SUCCESS)
}

fn as_text() -> String {
    format!(
        "What a format can hold:\n\n{}\n\nWhat goes to what (from the left to the top):\n\n{}\n\n{}",
        holdings(),
        pairs(),
        reasons()
    )
}

fn holdings() -> String {
    let mut headings = vec!["format", ""];
    headings.extend(Feature::ALL.iter().map(|feature| feature.word()));
    let mut table = table::plain(&headings);
    for row in &TABLE {
        let mut cells = vec![row.name.to_owned(), row.title.to_owned()];
        cells.extend(Feature::ALL.iter().map(|feature| mark(row.format.holds(*feature))));
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(2) {
        // Long headings are broken, names are not.
        column
            .set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(10)))
            .set_padding((0, 1))
            .set_cell_alignment(CellAlignment::Center);
    }
    table.to_string()
}

fn pairs() -> String {
    let mut headings = vec![""];
    headings.extend(Format::all().map(Format::name));
    let mut table = table::plain(&headings);
    for source in Format::all() {
        let mut cells = vec![source.name().to_owned()];
        cells.extend(Format::all().map(|target| mark(source.refusal(target).is_none())));
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_padding((0, 1)).set_cell_alignment(CellAlignment::Center);
    }
    table.to_string()
}

/// What a target needs, so that the gaps in the table explain themselves.
fn reasons() -> String {
    let needing: Vec<_> = TABLE
        .iter()
        .filter(|row| !row.needs.is_empty())
        .map(|row| {
            let needs: Vec<_> = row.needs.iter().map(|feature| feature.word()).collect();
            format!("{} needs {}", row.name, needs.join(" and "))
        })
        .collect();
    format!("Gaps: {}.", needing.join(", "))
}

fn mark(yes: bool) -> String {
    if yes { "•".to_owned() } else { String::new() }
}

fn as_json() -> Value {
    let formats: Vec<_> = TABLE
        .iter()
        .map(|row| {
            let refused: serde_json::Map<String, Value> = Format::all()
                .filter_map(|target| Some((target.to_string(), row.format.refusal(target)?.into())))
                .collect();
            let targets: Vec<_> =
                Format::all().filter(|target| row.format.refusal(*target).is_none()).collect();
            json!({
                "name": row.name,
                "title": row.title,
                "media_type": row.media_type,
                "extensions": row.extensions,
                "holds": row.holds,
                "needs": row.needs,
                "several_files": row.several_files,
                "targets": targets,
                "refused": refused,
            })
        })
        .collect();
    let options: Vec<_> = options::TABLE
        .iter()
        .map(|info| {
            json!({ "name": info.name, "values": info.values, "default": info.default, "help": info.help })
        })
        .collect();
    json!({ "formats": formats, "options": options })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_listed_with_its_targets() {
        let json = as_json();
        let formats = json["formats"].as_array().unwrap();
        assert_eq!(formats.len(), TABLE.len());
        let bvh = formats.iter().find(|format| format["name"] == "bvh").unwrap();
        assert_eq!(bvh["refused"]["stl"], "a bvh file has no mesh");
        assert!(bvh["targets"].as_array().unwrap().contains(&json!("glb")));
    }

    #[test]
    fn gaps_explain_themselves() {
        assert!(reasons().contains("stl needs mesh"));
        assert!(reasons().contains("bvh needs skeleton and animation"));
    }
}
