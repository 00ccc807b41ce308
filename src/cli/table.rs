//! The tables that are shown to people.

use comfy_table::{ContentArrangement, LineStyle, Table, presets};

use super::print::{Ending, output, reason};
use super::run::Done;
use super::words;

/// The width where there is no terminal to ask.
const WIDTH: u16 = 150;

/// A table in the house style, with these headings.
pub fn plain(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING.header_separator(LineStyle::none().fill('─').junction('─')))
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width())
        .set_header(headings.iter().map(ToString::to_string).collect::<Vec<_>>());
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

fn width() -> u16 {
    rustix::termios::tcgetwinsize(std::io::stdout()).map_or(WIDTH, |size| size.ws_col.max(60))
}

/// What went in, what came out, what was lost, how long it took.
pub fn summary(rows: &[(Done, Ending)]) -> Table {
    let mut table = plain(&["from", "to", "went in", "came out", "lost", "time"]);
    let mut last = String::new();
    for (done, ending) in rows {
        let name = done.job.input.name();
        // A model with several targets is named once.
        let from = if name == last { String::new() } else { name.clone() };
        last = name;
        let row = match &done.result {
            Ok(success) => {
                let report = &success.report;
                let losses =
                    if report.losses.is_empty() { "nothing".to_owned() } else { report.losses.join("\n") };
                let time = words::duration(done.seconds);
                [
                    from,
                    output(done),
                    words::contents(&report.input),
                    words::contents(&report.output),
                    losses,
                    time,
                ]
            }
            Err(error) => {
                let to = done.job.target.to_string();
                [from, to, String::new(), reason(error, *ending), String::new(), String::new()]
            }
        };
        table.add_row(row);
    }
    table
}
