//! The options of a conversion as command-line flags, generated from the table of options.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command};

use crate::domain::Options;
use crate::domain::options::{Kind, OptionInfo, TABLE};

/// The checked values of the flags.
#[derive(Debug, Clone, Default)]
pub struct Flags(pub Options);

const HEADING: &str = "Conversion options";

fn is_switch(info: &OptionInfo) -> bool {
    matches!(info.kind, Kind::Boolean)
}

/// The text with a capital first letter, like the help of the other arguments.
pub fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        TABLE.iter().fold(command, |command, info| {
            let arg = Arg::new(info.name)
                .long(info.name)
                .value_name(info.values())
                .help(format!("{} [default: {}]", capitalised(info.help), info.default_text()))
                .help_heading(HEADING);
            command.arg(if is_switch(info) {
                // `--draco` alone means true; an optional value must not swallow the next file's name.
                arg.num_args(0..=1).require_equals(true).default_missing_value("true")
            } else {
                // `--scale -1` is then a wrong value, not an unknown flag.
                arg.allow_negative_numbers(true)
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Flags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for info in TABLE {
            let Some(value) = matches.get_one::<String>(info.name) else { continue };
            self.0
                .set(info.name, value)
                .map_err(|error| clap::Error::raw(ErrorKind::InvalidValue, format!("{error}\n")))?;
        }
        Ok(())
    }
}

/// Joins `--animation false` into `--animation=false`: only for switches followed by `true` or `false`.
pub fn join_values(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    let mut only_files = false;
    for argument in arguments {
        let value = argument.to_str().filter(|text| matches!(*text, "true" | "false"));
        if let (Some(value), Some(last), false) = (value, joined.last_mut(), only_files)
            && TABLE.iter().any(|info| is_switch(info) && last.to_str() == Some(&format!("--{}", info.name)))
        {
            last.push("=");
            last.push(value);
            continue;
        }
        only_files |= argument == "--";
        joined.push(argument);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(arguments: &str) -> String {
        let joined = join_values(arguments.split(' ').map(OsString::from));
        joined.into_iter().map(|argument| argument.into_string().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_switch_takes_a_boolean_but_no_file() {
        assert_eq!(join("x --animation false a.fbx"), "x --animation=false a.fbx");
        assert_eq!(join("x --draco a.fbx"), "x --draco a.fbx");
        assert_eq!(join("x --draco true true"), "x --draco=true true");
        assert_eq!(join("x --scale true"), "x --scale true");
        assert_eq!(join("x -- --draco true"), "x -- --draco true");
    }
}
