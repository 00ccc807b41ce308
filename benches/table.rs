//! What was measured, as a table for people.

use std::{fs, io};

/// One line of the table.
pub struct Row {
    what: &'static str,
    measured: String,
    ratio: f64,
    /// `≤ 1.3`, and whether the ratio keeps it.
    goal: String,
    kept: bool,
}

impl Row {
    pub fn at_most(what: &'static str, measured: String, ratio: f64, goal: f64) -> Row {
        Row { what, measured, ratio, goal: format!("≤ {goal}"), kept: ratio <= goal }
    }

    pub fn at_least(what: &'static str, measured: String, ratio: f64, goal: f64) -> Row {
        Row { what, measured, ratio, goal: format!("≥ {goal}"), kept: ratio >= goal }
    }
}

pub fn table(rows: &[Row]) -> String {
    let mut lines =
        vec!["| what | measured | ratio | goal | |".to_owned(), "| --- | --- | --- | --- | --- |".to_owned()];
    lines.extend(rows.iter().map(|row| {
        let kept = if row.kept { "kept" } else { "missed" };
        format!("| {} | {} | {:.2} | {} | {kept} |", row.what, row.measured, row.ratio, row.goal)
    }));
    lines.join("\n") + "\n"
}

pub fn document(table: &str) -> io::Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!(
        "# Benchmarks\n\nWritten by `make bench`. What is compared is measured in turns within one run; the medians \
         are shown. Times\ndepend on the machine, ratios much less.\n\nMachine: {model}, {cores} cores, Linux {}.\n\n\
         {table}",
        kernel.trim()
    ))
}
