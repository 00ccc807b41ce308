//! The style of tables, shared by all subcommands.

use comfy_table::{ContentArrangement, LineStyle, Table, presets};

/// An empty table in this style with these headings.
pub fn plain(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING.header_separator(LineStyle::none().fill('─').junction('─')))
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(headings.iter().map(ToString::to_string).collect::<Vec<_>>());
    for column in table.column_iter_mut() {
        // The library adds one more space between columns.
        column.set_padding((0, 1));
    }
    table
}

/// The table's lines without trailing spaces; the rule is as long as the longest line.
pub fn lines(table: &Table) -> Vec<String> {
    let is_rule = |line: &String| line.starts_with('─');
    let mut lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    let longest = lines.iter().filter(|line| !is_rule(line)).map(|line| line.chars().count()).max();
    for rule in lines.iter_mut().filter(|line| is_rule(line)) {
        *rule = "─".repeat(longest.unwrap_or_default());
    }
    lines
}
