//! The settings of the engine as arguments that the environment may give; `--help` teaches both.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

use super::Failure;
use crate::engine::blender::protocol::SandboxMode;

/// Blender takes 1.3 GB of addresses before it has read anything; with less than this, every conversion would fail.
const LEAST_MEMORY: u64 = 1536 << 20;
const MEMORY: &str = "a number of bytes, or one like 4G, from 1536M on";

/// The most conversions at a time that can be asked for.
const MOST_AT_ONCE: u16 = 256;

// All are read as text: an empty variable counts as unset, and every mistake is told, not only the first.

/// What `convert` and `doctor` take alike.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Engine settings (usually given by the environment)")]
pub struct EngineArgs {
    /// The Python 3.11 with bpy to use [default: what `meshgate engine install` made]
    #[arg(long, env = "BLENDER_PYTHON", value_name = "FILE")]
    blender_python: Option<OsString>,

    /// The Blender 5 to use instead of a Python with bpy
    #[arg(long, env = "BLENDER_BIN", value_name = "FILE")]
    blender_bin: Option<OsString>,

    /// Where conversions work on disk [default: the user's cache folder]
    #[arg(long, env = "DATA_DIR", value_name = "DIR")]
    data_dir: Option<OsString>,

    /// Confine conversions as far as the machine can (auto), or refuse to start without (require)
    /// [default: auto, and require where `APP_ENV` is production]
    #[arg(verbatim_doc_comment, long, env = "SANDBOX", value_name = "auto|require|off")]
    sandbox: Option<String>,

    /// Memory that one conversion may use, in bytes or like 4G, 1536M at least [default: 4G]
    #[arg(long, env = "WORKER_MEMORY_LIMIT", value_name = "SIZE")]
    worker_memory_limit: Option<String>,

    /// Conversions after which Blender is started afresh [default: 1000]
    #[arg(long, env = "WORKER_MAX_REQUESTS", value_name = "N")]
    worker_max_requests: Option<String>,

    /// How large a model may be once unpacked, in bytes or like 512M or 4G [default: 1G]
    #[arg(long, env = "MAX_UNPACKED_SIZE", value_name = "SIZE")]
    max_unpacked_size: Option<String>,

    #[arg(long, env = "APP_ENV", hide = true)]
    app_env: Option<String>,
}

/// What only `convert` takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RunArgs {
    /// Conversions at a time; 0 is one for each processor [default: 0]
    #[arg(short, long, env = "WORKERS", value_name = "N")]
    jobs: Option<String>,

    /// Seconds that one conversion may take [default: 600]
    #[arg(long, env = "CONVERSION_TIMEOUT", value_name = "S")]
    timeout: Option<String>,
}

/// The settings, checked.
pub type EngineSettings = crate::config::Engine;

/// How many conversions run at once, and how long each may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSettings {
    /// `None`: one for each processor.
    pub at_once: Option<usize>,
    pub timeout: Duration,
}

impl EngineArgs {
    /// Reads the values.
    ///
    /// # Errors
    /// Wrong use, a line for each mistake.
    pub fn check(&self) -> Result<EngineSettings, Failure> {
        let mut mistakes = Mistakes::default();
        let settings = self.read(&mut mistakes);
        mistakes.none().map(|()| settings)
    }

    fn read(&self, mistakes: &mut Mistakes) -> EngineSettings {
        let path =
            |value: &Option<OsString>| value.clone().filter(|path| !path.is_empty()).map(PathBuf::from);
        let production =
            mistakes.read("APP_ENV", self.app_env.as_ref(), "development or production", |text| match text {
                "production" => Some(true),
                "development" => Some(false),
                _ => None,
            });
        let usual = if production == Some(true) { SandboxMode::Require } else { SandboxMode::Auto };
        let sandbox =
            mistakes.read("SANDBOX (--sandbox)", self.sandbox.as_ref(), "auto, require or off", |text| {
                SandboxMode::from_str(text, false).ok()
            });
        let memory = mistakes.read(
            "WORKER_MEMORY_LIMIT (--worker-memory-limit)",
            self.worker_memory_limit.as_ref(),
            MEMORY,
            |text| size(text).filter(|bytes| *bytes >= LEAST_MEMORY),
        );
        let max_requests = mistakes.read(
            "WORKER_MAX_REQUESTS (--worker-max-requests)",
            self.worker_max_requests.as_ref(),
            "a number above 0",
            |text| number(text).filter(|number| *number > 0),
        );
        let max_unpacked = mistakes.read(
            "MAX_UNPACKED_SIZE (--max-unpacked-size)",
            self.max_unpacked_size.as_ref(),
            SIZE,
            size,
        );
        EngineSettings {
            python: path(&self.blender_python),
            blender: path(&self.blender_bin),
            data_dir: path(&self.data_dir),
            sandbox: sandbox.unwrap_or(usual),
            memory: memory.unwrap_or(4 << 30),
            max_requests: max_requests.unwrap_or(1000),
            max_unpacked: max_unpacked.unwrap_or(1 << 30),
        }
    }
}

impl RunArgs {
    /// Reads the values, and those of the engine.
    ///
    /// # Errors
    /// Wrong use, a line for each mistake.
    pub fn check(&self, engine: &EngineArgs) -> Result<(RunSettings, EngineSettings), Failure> {
        let mut mistakes = Mistakes::default();
        let engine = engine.read(&mut mistakes);
        let at_once =
            mistakes.read("WORKERS (--jobs)", self.jobs.as_ref(), "a number from 0 to 256", |text| {
                number(text).filter(|number: &u16| *number <= MOST_AT_ONCE)
            });
        let timeout = mistakes.read(
            "CONVERSION_TIMEOUT (--timeout)",
            self.timeout.as_ref(),
            "a number of seconds above 0",
            seconds,
        );
        let run = RunSettings {
            at_once: at_once.filter(|number| *number > 0).map(usize::from),
            timeout: timeout.unwrap_or(Duration::from_mins(10)),
        };
        mistakes.none().map(|()| (run, engine))
    }
}

/// Wrong values, a line each.
#[derive(Debug, Default)]
struct Mistakes(Vec<String>);

impl Mistakes {
    fn read<T>(
        &mut self,
        name: &str,
        text: Option<&String>,
        takes: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = text.map(|text| text.trim()).filter(|text| !text.is_empty())?;
        let value = parse(text);
        if value.is_none() {
            self.0.push(format!("{name} takes {takes}, not {text:?}"));
        }
        value
    }

    fn none(self) -> Result<(), Failure> {
        if self.0.is_empty() { Ok(()) } else { Err(Failure::Usage(self.0.join("\n"))) }
    }
}

const SIZE: &str = "a number of bytes above 0, or one like 512M or 4G";

/// `1073741824`, `1024M`, `1G`, `1GB` and `1GiB` are the same, as for containers.
fn size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (value, unit) = text.split_at_checked(digits)?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let shift = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" if matches!(unit.as_str(), "" | "b") => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    number::<u64>(value)?.checked_mul(1 << shift).filter(|bytes| *bytes > 0)
}

/// Digits only: no sign.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

fn seconds(text: &str) -> Option<Duration> {
    text.parse()
        .ok()
        .filter(|seconds: &f64| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| !time.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::unnecessary_wraps)]
    fn given(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn sizes_are_read_as_containers_do() {
        for (text, bytes) in [
            ("1", 1),
            ("4G", 4 << 30),
            ("4g", 4 << 30),
            ("512M", 512 << 20),
            ("2GiB", 2 << 30),
            ("2 GB", 2 << 30),
            ("3k", 3072),
            ("1T", 1 << 40),
            ("7b", 7),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "0", "0G", "-1", "+1", "1.5G", "G", "4X", "4i", "4Gi G", "99999999T", "2⁹"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_set_or_empty_is_usual() {
        let empty = EngineArgs {
            sandbox: given(""),
            worker_memory_limit: given(" "),
            blender_python: Some(OsString::new()),
            app_env: given(""),
            ..EngineArgs::default()
        };
        let (run, engine) = RunArgs { jobs: given(""), timeout: None }.check(&empty).unwrap();
        assert_eq!(engine, EngineArgs::default().check().unwrap());
        assert_eq!(engine.sandbox, SandboxMode::Auto);
        assert_eq!((engine.memory, engine.max_unpacked, engine.max_requests), (4 << 30, 1 << 30, 1000));
        assert_eq!(engine.python, None);
        assert_eq!(run, RunSettings { at_once: None, timeout: Duration::from_mins(10) });
    }

    #[test]
    fn production_requires_the_sandbox() {
        let production = |sandbox: Option<&str>| {
            let sandbox = sandbox.map(str::to_owned);
            EngineArgs { sandbox, app_env: given("production"), ..EngineArgs::default() }
                .check()
                .unwrap()
                .sandbox
        };
        assert_eq!(production(None), SandboxMode::Require);
        assert_eq!(production(Some("auto")), SandboxMode::Auto);
        assert_eq!(production(Some("off")), SandboxMode::Off);
    }

    #[test]
    fn every_mistake_has_its_line() {
        let engine = EngineArgs {
            sandbox: given("maybe"),
            worker_memory_limit: given("much"),
            worker_max_requests: given("0"),
            max_unpacked_size: given("-1"),
            app_env: given("prod"),
            ..EngineArgs::default()
        };
        let run = RunArgs { jobs: given("257"), timeout: given("soon") };
        let Err(Failure::Usage(text)) = run.check(&engine) else { panic!("it was accepted") };
        let lines: Vec<_> = text.lines().collect();
        let names = [
            "APP_ENV",
            "SANDBOX",
            "WORKER_MEMORY_LIMIT",
            "WORKER_MAX_REQUESTS",
            "MAX_UNPACKED_SIZE",
            "WORKERS",
            "CONVERSION_TIMEOUT",
        ];
        assert_eq!(lines.len(), names.len(), "{text}");
        for (line, name) in lines.iter().zip(names) {
            assert!(line.starts_with(name), "{line}");
        }
        assert_eq!(lines[1], "SANDBOX (--sandbox) takes auto, require or off, not \"maybe\"");
    }

    #[test]
    fn times_are_above_nothing() {
        assert_eq!(seconds("0.5"), Some(Duration::from_millis(500)));
        for text in ["0", "-1", "nan", "1e300", "soon", "1e-30"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
