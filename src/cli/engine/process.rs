//! Runs Python and other programs, and finds the reason if one fails.

use std::path::Path;
use std::process::{Command as Process, Output, Stdio};

use crate::cli::failure::Failure;

/// Runs a program to its end with empty standard input.
pub fn output(process: &mut Process) -> Result<Output, Failure> {
    let program = process.get_program().to_string_lossy().into_owned();
    process.stdin(Stdio::null()).output().map_err(Failure::io(format!("run {program}")))
}

/// Python code as a program that no variable and no file of the user affects.
pub fn isolated(python: &Path, code: &str) -> Process {
    let mut process = Process::new(python);
    process.args(["-I", "-c", code]);
    process
}

/// Whether the code runs without an error.
pub fn works(python: &Path, code: &str) -> bool {
    output(&mut isolated(python, code)).is_ok_and(|output| output.status.success())
}

/// # Errors
/// `what`, and the program's last words, if it has failed.
pub fn succeeded(output: &Output, what: &str) -> Result<(), Failure> {
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::Failed(format!("{what}: {}", last_words(output))))
}

/// The last error line of a program's output, without URLs: the package index may be private.
pub fn last_words(output: &Output) -> String {
    let text = [output.stderr.as_slice(), output.stdout.as_slice()].map(String::from_utf8_lossy).join("\n");
    let line = text.lines().map(str::trim).rfind(|line| line.starts_with("ERROR") || line.contains("Error:"));
    let line = line.or_else(|| text.lines().map(str::trim).rfind(|line| !line.is_empty()));
    line.map_or_else(|| output.status.to_string(), without_hosts)
}

fn without_hosts(line: &str) -> String {
    let words = line.split(' ').map(|word| {
        if word.contains("://") || word.contains("host=") { "(the package index)" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_removed_from_errors() {
        let line =
            "HTTPSConnectionPool(host='packages.example', port=443): see https://packages.example/simple/";
        assert!(!without_hosts(line).contains("packages.example"));
    }
}
