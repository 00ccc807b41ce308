//! `meshgate formats`: what each format can hold, and which formats convert to which.

use std::process::ExitCode;

use comfy_table::CellAlignment;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::say;
use super::table;
use crate::domain::format::TABLE;
use crate::domain::{Feature, Format, options};

/// Show the formats: what each can hold, and which convert to which.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the tables.
///
/// # Errors
/// When standard output is closed.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    say(if args.json { format!("{:#}", as_json()) } else { as_text() })?;
    Ok(ExitCode::SUCCESS)
}

fn as_text() -> String {
    format!(
        "The formats:\n\n{}\n\nWhat each can hold:\n\n{}\n\nWhich formats convert to which (row to column):\n\n{}\n\n{}",
        titles(),
        grid(&Feature::ALL, |feature| feature.word().to_owned(), |feature, format| format.holds(*feature)),
        grid(&Format::all().collect::<Vec<_>>(), ToString::to_string, |source, target| source
            .unsupported_reason(target)
            .is_none()),
        reasons()
    )
}

fn titles() -> String {
    let mut table = table::plain(&["format", "", "file names"]);
    for row in TABLE {
        let names: Vec<_> = row.extensions.iter().map(|extension| format!("*.{extension}")).collect();
        table.add_row([row.name.to_owned(), row.title.to_owned(), names.join(" ")]);
    }
    table::lines(&table).join("\n")
}

/// A table of `rows` by formats, with a dot in each cell where `meet` is true.
fn grid<T>(rows: &[T], name: impl Fn(&T) -> String, meet: impl Fn(&T, Format) -> bool) -> String {
    let mut headings = vec![""];
    headings.extend(Format::all().map(Format::name));
    let mut table = table::plain(&headings);
    for row in rows {
        let mut cells = vec![name(row)];
        cells.extend(Format::all().map(|format| mark(meet(row, format))));
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_padding((0, 1)).set_cell_alignment(CellAlignment::Center);
    }
    table::lines(&table).join("\n")
}

/// Lists what each target needs, which explains the gaps in the table.
fn reasons() -> String {
    let mut needing: Vec<(String, Vec<&str>)> = Vec::new();
    for row in TABLE.iter().filter(|row| !row.needs.is_empty()) {
        let needs: Vec<_> = row.needs.iter().map(|feature| feature.word()).collect();
        let needs = needs.join(" and ");
        match needing.iter_mut().find(|(others, _)| *others == needs) {
            Some((_, names)) => names.push(row.name),
            None => needing.push((needs, vec![row.name])),
        }
    }
    let lines = needing.iter().map(|(needs, names)| format!("  {needs}: {}", names.join(", ")));
    format!(
        "A gap means that the source cannot hold what the target needs:\n{}",
        lines.collect::<Vec<_>>().join("\n")
    )
}

fn mark(yes: bool) -> String {
    if yes { "•".to_owned() } else { String::new() }
}

fn as_json() -> Value {
    let formats: Vec<_> = TABLE
        .iter()
        .map(|row| {
            let refused: serde_json::Map<String, Value> = Format::all()
                .filter_map(|target| {
                    Some((target.to_string(), row.format.unsupported_reason(target)?.into()))
                })
                .collect();
            let targets: Vec<_> =
                Format::all().filter(|target| row.format.unsupported_reason(*target).is_none()).collect();
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
            json!({ "name": info.name, "values": info.values(), "default": info.default_text(), "help": info.help })
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
    fn unsupported_pairs_are_explained() {
        assert!(reasons().contains("skeleton and animation: vrma, bvh"), "{}", reasons());
    }

    #[test]
    fn the_tables_fit_a_terminal() {
        for line in as_text().lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}
