//! The command line: one file per subcommand. They handle only arguments and output; `crate::app` assembles the parts.

mod conversion_flags;
mod convert;
mod doctor;
mod engine;
mod failure;
mod formats;
mod healthcheck;
mod humanize;
mod jobs;
mod logging;
mod output;
mod progress;
mod report_text;
mod run_job;
mod schema;
mod serve;
mod service;
mod setting_flags;
mod table;
mod worker;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use indicatif::MultiProgress;

use crate::http;
use failure::{FAILED, Failure, USAGE_ERROR};
use output::{print_error, say};

const EXAMPLES: &str = "\
Examples:
  meshgate engine install                        get Blender, once
  meshgate convert duck.fbx -o duck.glb          one file
  meshgate convert models -o out --to glb,usdz   a folder and its subfolders
  meshgate serve                                 the same over HTTP
  meshgate worker                                run jobs of that server, also on other machines
  meshgate jobs submit duck.fbx --to glb         a job on a server
  meshgate formats                               what converts to what
  meshgate doctor                                is this machine ready?";

/// Converts 3D models and motions between formats, with Blender as its engine.
#[derive(Debug, Parser)]
#[command(name = "meshgate", version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Convert(convert::Args),
    Serve(serve::Args),
    Worker(worker::Args),
    RunJob(run_job::Args),
    Formats(formats::Args),
    Doctor(doctor::Args),
    Healthcheck(healthcheck::Args),
    #[command(subcommand)]
    Jobs(jobs::Command),
    #[command(subcommand)]
    Engine(engine::Command),
    /// Print the JSON Schema of a conversion's report.
    ///
    /// The report is the same on the command line (`convert --json`, key "report") and in the HTTP API.
    Schema,
    /// Print the OpenAPI document of the HTTP API.
    ///
    /// A running server serves the same document at /openapi.json.
    Openapi,
}

/// Parses and runs the command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(conversion_flags::join_values(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => {
            // An error on a closed stream is ignored.
            let _ = match usage_error(&error) {
                Some(line) => writeln!(io::stderr(), "meshgate: {line}"),
                None => error.print(),
            };
            return if error.use_stderr() { ExitCode::from(USAGE_ERROR) } else { ExitCode::SUCCESS };
        }
    };
    execute(cli.command).unwrap_or_else(|failure| {
        print_error(&failure);
        ExitCode::from(if matches!(failure, Failure::Usage(_)) { USAGE_ERROR } else { FAILED })
    })
}

/// The error in the arguments, on one line; `None` when clap prints help or the version instead.
fn usage_error(error: &clap::Error) -> Option<String> {
    let help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if help || !error.use_stderr() {
        return None;
    }
    let text = error.render().to_string();
    let parts = text.strip_prefix("error: ").unwrap_or(&text).split("\n\n").map(str::trim);
    let is_end = |part: &&str| part.starts_with("Usage:") || part.starts_with("For more information");
    let words = |part: &str| part.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = parts.take_while(|part| !is_end(part)).filter(|part| !part.is_empty()).map(words);
    Some(format!("{}; for more, try --help", said.collect::<Vec<_>>().join("; ")))
}

fn execute(command: Command) -> Result<ExitCode, Failure> {
    let bars = MultiProgress::new();
    match command {
        // They start their own log, as configured.
        Command::Serve(_) | Command::Worker(_) | Command::RunJob(_) => {}
        Command::Convert(_) => logging::start(logging::WARNINGS, &bars)?,
        _ => logging::start(logging::NOTHING, &bars)?,
    }
    match command {
        Command::Convert(args) => convert::run(args, bars),
        Command::Serve(args) => serve::run(&args),
        Command::Worker(args) => worker::run(&args),
        Command::RunJob(args) => run_job::run(&args),
        Command::Formats(args) => formats::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Healthcheck(args) => healthcheck::run(&args),
        Command::Jobs(command) => jobs::run(&command, bars),
        Command::Engine(command) => engine::run(&command),
        Command::Schema => say(schema::text()).map(|()| ExitCode::SUCCESS),
        Command::Openapi => say(http::openapi().trim_end()).map(|()| ExitCode::SUCCESS),
    }
}

/// Parses a test's command line.
#[cfg(test)]
fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
    let arguments =
        std::iter::once("meshgate").chain(arguments.iter().copied()).map(std::ffi::OsString::from);
    Cli::try_parse_from(conversion_flags::join_values(arguments))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_definition_is_valid() {
        Cli::command().debug_assert();
    }
}
