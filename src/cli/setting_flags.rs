//! Settings of the server that `convert` and `doctor` take as options. Options override the environment.

use std::ffi::OsString;
use std::time::Duration;

use clap::builder::ValueParser;
use clap::{Arg, ArgMatches, Command};

use super::conversion_flags::capitalised;
use super::{Failure, warn};
use crate::config::settings::{self, Group, Info, TABLE};
use crate::config::{Cache, Engine, Mistakes, Reader, Redis, Sources, Storage};

const HEADING: &str = "Engine settings (usually given by the environment)";

/// The options that `convert` and `doctor` share: one for each setting of the engine.
#[derive(Debug, Clone, Default)]
pub struct EngineArgs(Vec<(&'static Info, OsString)>);

/// The options that only `convert` has.
#[derive(Debug, Clone, Default)]
pub struct RunArgs(Vec<(&'static Info, OsString)>);

/// The settings of a run of `convert`: conversions at a time, time limit, cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSettings {
    /// `None`: one for each processor.
    pub at_once: Option<usize>,
    pub timeout: Duration,
    pub known: Known,
}

/// The settings of the result cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub storage: Storage,
    /// `None`: no cache.
    pub cache: Option<Cache>,
    pub redis: Option<Redis>,
}

impl EngineArgs {
    /// Reads the settings of the engine, and with `others` settings that have no option.
    ///
    /// # Errors
    /// A usage error with a line for each mistake.
    pub fn check<T>(&self, others: impl FnOnce(&mut Reader) -> T) -> Result<(Engine, T), Failure> {
        Ok(self.read(environment(), others)?)
    }

    fn read<T>(
        &self,
        mut sources: Sources,
        others: impl FnOnce(&mut Reader) -> T,
    ) -> Result<(Engine, T), Mistakes> {
        add_options(&mut sources, &self.0);
        let mut reader = Reader::new(&sources);
        let engine = Engine::read(&mut reader);
        let others = others(&mut reader);
        reader.finish((engine, others))
    }
}

impl RunArgs {
    /// Reads these settings and those of the engine.
    ///
    /// # Errors
    /// A usage error with a line for each mistake.
    pub fn check(&self, engine: &EngineArgs) -> Result<(RunSettings, Engine), Failure> {
        Ok(self.read(engine, environment())?)
    }

    fn read(&self, engine: &EngineArgs, mut sources: Sources) -> Result<(RunSettings, Engine), Mistakes> {
        add_options(&mut sources, &engine.0);
        add_options(&mut sources, &self.0);
        let mut reader = Reader::new(&sources);
        let engine = Engine::read(&mut reader);
        // Unlike a server, `convert` uses every processor by default.
        let at_once = reader.given(&settings::WORKERS).filter(|number| *number > 0);
        let timeout = reader.read(&settings::CONVERSION_TIMEOUT);
        let storage = Storage::read(&mut reader);
        let known = Known { storage, cache: Cache::read(&mut reader), redis: Redis::read(&mut reader) };
        let run = RunSettings { at_once, timeout, known };
        reader.finish((run, engine))
    }
}

/// The environment; prints warnings of likely mistakes in it.
fn environment() -> Sources {
    let sources = Sources::environment();
    warn(&sources.warnings());
    sources
}

fn add_options(sources: &mut Sources, options: &[(&'static Info, OsString)]) {
    for (info, value) in options {
        if let Some((option, _)) = info.option {
            sources.add_option(info, option, value.clone());
        }
    }
}

/// The command-line option of a setting, if it has one.
fn arg(info: &'static Info) -> Option<Arg> {
    let (option, value) = info.option?;
    let help = format!("{} [default: {}] [env: {}]", capitalised(info.help), info.shown_default(), info.name);
    let parser = ValueParser::os_string();
    Some(
        Arg::new(info.name)
            .long(option.trim_start_matches('-'))
            .value_name(value)
            .value_parser(parser)
            .help(help),
    )
}

fn engine_settings() -> impl Iterator<Item = &'static Info> {
    TABLE.iter().copied().filter(|info| info.group == Group::Engine)
}

const RUN_SETTINGS: [&Info; 2] = [&settings::WORKERS.info, &settings::CONVERSION_TIMEOUT.info];

fn values(
    matches: &ArgMatches,
    settings: impl Iterator<Item = &'static Info>,
) -> Vec<(&'static Info, OsString)> {
    settings.filter_map(|info| Some((info, matches.get_one::<OsString>(info.name)?.clone()))).collect()
}

impl clap::Args for EngineArgs {
    fn augment_args(command: Command) -> Command {
        let args = engine_settings().filter_map(arg);
        command.args(args.map(|arg| arg.help_heading(HEADING)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for EngineArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(values(matches, engine_settings())))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(values(matches, engine_settings()));
        Ok(())
    }
}

impl clap::Args for RunArgs {
    fn augment_args(command: Command) -> Command {
        let args = RUN_SETTINGS.into_iter().filter_map(arg);
        let jobs = "Conversions at a time; 0 is one for each processor [default: 0] [env: WORKERS]";
        command.args(args).mut_arg("WORKERS", |arg| arg.short('j').help(jobs))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for RunArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(values(matches, RUN_SETTINGS.into_iter())))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(values(matches, RUN_SETTINGS.into_iter()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command, parse};
    use crate::domain::SandboxMode;

    fn environment(variables: &[(&str, &str)]) -> Sources {
        Sources::new(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn read(line: &str, variables: &[(&str, &str)]) -> Result<(RunSettings, Engine), Mistakes> {
        let line = format!("convert a.fbx -o a.glb{line}");
        match parse(&line.split(' ').collect::<Vec<_>>()) {
            Ok(Cli { command: Command::Convert(args) }) => {
                args.run.read(&args.engine, environment(variables))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_set_or_empty_is_usual() {
        let (run, engine) = read(" --sandbox=", &[("WORKERS", ""), ("WORKER_MEMORY_LIMIT", " ")]).unwrap();
        assert_eq!(engine, EngineArgs::default().read(environment(&[]), |_| ()).unwrap().0);
        assert_eq!(engine.sandbox, SandboxMode::Auto);
        assert_eq!((engine.memory, engine.max_unpacked, engine.max_requests), (4 << 30, 1 << 30, 1000));
        assert_eq!(engine.python, None);
        assert_eq!((run.at_once, run.timeout), (None, Duration::from_mins(10)));
        assert!(run.known.cache.is_some() && run.known.redis.is_none());
        assert_eq!(read("", &[("WORKERS", "0")]).unwrap().0.at_once, None);
    }

    #[test]
    fn an_option_comes_before_its_variable() {
        let variables = [("SANDBOX", "off"), ("MESHGATE_WORKERS", "3"), ("CONVERSION_TIMEOUT", "5")];
        let (run, engine) = read(" --sandbox require -j 7 --timeout 0.5", &variables).unwrap();
        assert_eq!(engine.sandbox, SandboxMode::Require);
        assert_eq!((run.at_once, run.timeout), (Some(7), Duration::from_millis(500)));
        assert_eq!(read("", &variables).unwrap().0.at_once, Some(3));
    }

    #[test]
    fn a_mistake_is_told_by_what_was_typed() {
        let Mistakes(lines) =
            read(" --sandbox maybe --jobs 257", &[("MAX_UNPACKED_SIZE", "-1")]).unwrap_err();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[0], "--sandbox takes auto, require or off, not \"maybe\"");
        assert!(lines[1].starts_with("MAX_UNPACKED_SIZE takes "), "{lines:?}");
        assert!(lines[2].starts_with("--jobs takes "), "{lines:?}");
    }

    #[test]
    fn every_setting_of_the_engine_is_an_option() {
        for info in engine_settings() {
            assert!(info.option.is_some(), "{}", info.name);
        }
    }
}
