//! Settings of the server that `convert` and `doctor` take as options. Options override the environment.

use std::ffi::OsString;
use std::time::Duration;

use clap::builder::ValueParser;
use clap::{Arg, ArgMatches, Command};

use super::conversion_flags::capitalised;
use super::failure::Failure;
use super::output::warn;
use crate::config::setting::Info;
use crate::config::settings::{self, TABLE};
use crate::config::{Cache, Engine, Mistakes, Reader, Redis, Sources, Storage};

const HEADING: &str = "Engine settings (usually given by the environment)";

/// The options that `convert` and `doctor` share: one for each setting of the engine.
#[derive(Debug, Default)]
pub struct EngineArgs(Vec<(&'static Info, &'static str, OsString)>);

/// The options that only `convert` has.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Conversions at a time; 0 is one for each processor [default: 0] [env: WORKERS]
    #[arg(short, long, value_name = "N")]
    jobs: Option<OsString>,

    #[arg(long, value_name = "S", help = help(&settings::CONVERSION_TIMEOUT.info))]
    timeout: Option<OsString>,
}

/// The settings of a run of `convert`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSettings {
    pub engine: Engine,
    /// Conversions at a time; `None`: one for each processor.
    pub at_once: Option<usize>,
    pub timeout: Duration,
    pub storage: Storage,
    /// `None`: no cache.
    pub cache: Option<Cache>,
    pub redis: Option<Redis>,
}

impl EngineArgs {
    /// Reads settings from these options and the environment.
    ///
    /// # Errors
    /// A usage error with a line for each mistake.
    pub fn check<T>(&self, read: impl FnOnce(&mut Reader) -> T) -> Result<T, Failure> {
        Ok(self.read(environment(), read)?)
    }

    fn read<T>(&self, mut sources: Sources, read: impl FnOnce(&mut Reader) -> T) -> Result<T, Mistakes> {
        for (info, option, value) in &self.0 {
            sources.add_option(info, option, value.clone());
        }
        let mut reader = Reader::new(&sources);
        let settings = read(&mut reader);
        reader.finish(settings)
    }
}

impl RunArgs {
    /// Reads these settings and those of the engine.
    ///
    /// # Errors
    /// A usage error with a line for each mistake.
    pub fn check(&self, engine: &EngineArgs) -> Result<RunSettings, Failure> {
        Ok(self.read(engine, environment())?)
    }

    fn read(&self, engine: &EngineArgs, mut sources: Sources) -> Result<RunSettings, Mistakes> {
        let (jobs, timeout) = (self.jobs.clone(), self.timeout.clone());
        sources.add_option(&settings::WORKERS.info, "--jobs", jobs.unwrap_or_default());
        sources.add_option(&settings::CONVERSION_TIMEOUT.info, "--timeout", timeout.unwrap_or_default());
        engine.read(sources, |reader| RunSettings {
            engine: Engine::read(reader),
            // Unlike a server, `convert` uses every processor by default.
            at_once: reader.given(&settings::WORKERS).filter(|number| *number > 0),
            timeout: reader.read(&settings::CONVERSION_TIMEOUT),
            storage: Storage::read(reader),
            cache: Cache::read(reader),
            redis: Redis::read(reader),
        })
    }
}

/// The environment; prints warnings of likely mistakes in it.
fn environment() -> Sources {
    let sources = Sources::environment();
    warn(&sources.warnings_for_users());
    sources
}

fn help(info: &Info) -> String {
    format!("{} [default: {}] [env: {}]", capitalised(info.help), info.shown_default(), info.name)
}

/// The settings of the engine, each with its option and the placeholder of its value.
fn options() -> impl Iterator<Item = (&'static Info, &'static str, &'static str)> {
    TABLE.iter().filter_map(|info| info.option.map(|(option, value)| (*info, option, value)))
}

impl clap::Args for EngineArgs {
    fn augment_args(command: Command) -> Command {
        command.args(options().map(|(info, option, value)| {
            let arg = Arg::new(info.name).long(option.trim_start_matches('-')).value_name(value);
            arg.value_parser(ValueParser::os_string()).help(help(info)).help_heading(HEADING)
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for EngineArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for (info, option, _) in options() {
            self.0.extend(matches.get_one(info.name).map(|value: &OsString| (info, option, value.clone())));
        }
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

    fn read(line: &str, variables: &[(&str, &str)]) -> Result<RunSettings, Mistakes> {
        let line = format!("convert a.fbx -o a.glb{line}");
        match parse(&line.split(' ').collect::<Vec<_>>()) {
            Ok(Cli { command: Command::Convert(args) }) => {
                args.run.read(&args.engine, environment(variables))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn unset_and_empty_settings_use_the_default() {
        let run = read(" --sandbox=", &[("WORKERS", ""), ("WORKER_MEMORY_LIMIT", " ")]).unwrap();
        let engine = &run.engine;
        assert_eq!(*engine, EngineArgs::default().read(environment(&[]), Engine::read).unwrap());
        assert_eq!(engine.sandbox, SandboxMode::Auto);
        assert_eq!((engine.memory, engine.max_unpacked, engine.max_requests), (4 << 30, 1 << 30, 1000));
        assert_eq!(engine.python, None);
        assert_eq!((run.at_once, run.timeout), (None, Duration::from_mins(10)));
        assert!(run.cache.is_some() && run.redis.is_none());
        assert_eq!(read("", &[("WORKERS", "0")]).unwrap().at_once, None);
    }

    #[test]
    fn an_option_overrides_its_variable() {
        let variables = [("SANDBOX", "off"), ("MESHGATE_WORKERS", "3"), ("CONVERSION_TIMEOUT", "5")];
        let run = read(" --sandbox require -j 7 --timeout 0.5", &variables).unwrap();
        assert_eq!(run.engine.sandbox, SandboxMode::Require);
        assert_eq!((run.at_once, run.timeout), (Some(7), Duration::from_millis(500)));
        assert_eq!(read("", &variables).unwrap().at_once, Some(3));
    }

    #[test]
    fn errors_name_the_option_or_variable_that_was_used() {
        let Mistakes(lines) =
            read(" --sandbox maybe --jobs 257", &[("MAX_UNPACKED_SIZE", "-1")]).unwrap_err();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[0], "--sandbox takes auto, require or off, not \"maybe\"");
        assert!(lines[1].starts_with("MAX_UNPACKED_SIZE takes "), "{lines:?}");
        assert!(lines[2].starts_with("--jobs takes "), "{lines:?}");
    }

    #[test]
    fn every_setting_of_the_engine_is_an_option() {
        for info in TABLE {
            assert_eq!(info.option.is_some(), info.group == "Engine", "{}", info.name);
        }
    }
}
