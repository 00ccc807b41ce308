//! The measurements, as a Markdown table.

use std::fmt::{self, Write};
use std::time::Duration;
use std::{fs, io};

use super::show;

/// A row of the table.
pub struct Row {
    what: &'static str,
    measured: String,
    /// A ratio, or a number in the unit that `what` names.
    value: f64,
    /// The goal as text, such as `≤ 1.3`, and whether the value meets it.
    goal: String,
    kept: bool,
}

impl Row {
    pub fn at_most(what: &'static str, measured: String, value: f64, goal: f64) -> Row {
        Row { what, measured, value, goal: format!("≤ {goal}"), kept: value <= goal }
    }

    /// The difference of two medians, in ms.
    pub fn adds(what: &'static str, with: Duration, without: Duration, goal: f64) -> Row {
        let added = (with.as_secs_f64() - without.as_secs_f64()) * 1000.0;
        Row::at_most(what, format!("{} / {}", show(with), show(without)), added, goal)
    }

    pub fn at_least(what: &'static str, measured: String, value: f64, goal: f64) -> Row {
        Row { what, measured, value, goal: format!("≥ {goal}"), kept: value >= goal }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { what, measured, value, goal, kept } = self;
        let kept = if *kept { "kept" } else { "missed" };
        write!(f, "| {what} | {measured} | {value:.2} | {goal} | {kept} |")
    }
}

pub fn document(rows: &[Row]) -> io::Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism()?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let kernel = release.split('.').take(2).collect::<Vec<_>>().join(".");
    let mut document = format!(
        "# Benchmarks\n\nWritten by `make bench`. Compared setups are measured alternately within one run; the medians are \
         shown. The\nvalue is their ratio, or a number in the unit that the row names. Times depend on the machine, \
         ratios much less.\nConversion folders are in memory, unless the row says otherwise or memory is short: some file \
         systems need half a\nmillisecond for a file when many were removed in the last minutes, and a conversion creates \
         ten.\n\nMachine: {model}, {cores} cores, Linux {kernel}.\n\n\
         | what | measured | value | goal | |\n| --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let _ = writeln!(document, "{row}");
    }
    Ok(document)
}
