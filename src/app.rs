//! Builds the parts of the program from the settings, for every subcommand.

pub mod kubernetes;

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cache::{Index, LocalIndex, RedisIndex};
use crate::config::{self, Engine};
use crate::conversion::{Admission, Converter};
use crate::domain::ConversionError;
use crate::executor::local::locate::{self, EngineCandidates};
use crate::executor::local::{self, EngineError, LocalExecutor};
use crate::executor::workdir::WorkDir;
use crate::executor::{Executor, NoExecutor};
use crate::fs::open::{make_private, try_file};
use crate::intake::ModelLimits;
use crate::jobs::{self, Jobs, Queue, RedisQueue, SqliteQueue};
use crate::metrics::Metrics;
use crate::redis::{self, Redis};
use crate::storage::Storage;
use crate::telemetry::logging;

/// The error of a conversion that needs Blender, in a process that never starts it. Its requests become jobs instead.
const NO_ENGINE: &str = "this gateway runs no engine; submit a job with POST /v1/jobs";

/// Builds the converter of this process, with `workers` slots of Blender, of which jobs may hold `job_share` while
/// requests wait. Blender starts with the first conversion that needs it; without slots, never.
///
/// # Errors
/// The error of opening the work folder.
pub fn converter(
    workers: usize,
    job_share: usize,
    admission: Admission,
    settings: &Engine,
) -> Result<Converter, ConversionError> {
    let work = work(settings)?;
    let engine = engine(&work, settings);
    let executor: Arc<dyn Executor> = if workers == 0 {
        let installed = engine.ok().and_then(|settings| settings.engine.installed());
        Arc::new(NoExecutor::new(NO_ENGINE, installed))
    } else {
        Arc::new(LocalExecutor::new(engine.map(|settings| local::Settings {
            workers,
            job_share,
            ..settings
        })))
    };
    Ok(Converter::new(executor, work, limits(settings), admission))
}

/// The limits on the size of models and results.
pub fn limits(settings: &Engine) -> ModelLimits {
    ModelLimits { max_unpacked: settings.max_unpacked, ..ModelLimits::default() }
}

/// Returns how to run the engine of this machine.
///
/// # Errors
/// The error if there is no engine.
pub fn engine(work: &WorkDir, settings: &Engine) -> Result<local::Settings, EngineError> {
    Ok(local::Settings {
        sandbox: settings.sandbox,
        memory_bytes: settings.memory,
        file_bytes: limits(settings).max_result(),
        max_requests: settings.max_requests,
        ..local::Settings::new(engine_candidates(settings).locate()?, work.clone())
    })
}

/// Returns the mistakes in the settings that show only on this machine, a sentence each. Makes nothing, and connects to
/// nothing.
pub fn mistakes(engine: &Engine, log: &config::Log) -> Vec<String> {
    let engines = engine_candidates(engine).mistakes();
    let base = work_base(engine);
    let work = WorkDir::check(&base).map_err(no_work(&base));
    let log = logging::current_file(log).map_or(Ok(()), |file| {
        let what = format!("write a log to {} (set LOG_FILE to write elsewhere)", file.display());
        try_file(&file).map_err(|error| ConversionError::io(&what, &error))
    });
    let places = [work, log].into_iter().filter_map(Result::err);
    engines.iter().map(ToString::to_string).chain(places.map(|error| error.detail)).collect()
}

/// Opens the work folder.
///
/// # Errors
/// The error if it cannot be made, or belongs to another user.
pub fn work(settings: &Engine) -> Result<WorkDir, ConversionError> {
    let base = work_base(settings);
    WorkDir::open(&base).map_err(no_work(&base))
}

fn no_work(base: &Path) -> impl FnOnce(io::Error) -> ConversionError {
    move |error| {
        ConversionError::io(&format!("work in {} (set DATA_DIR to work elsewhere)", base.display()), &error)
    }
}

/// Opens the store of results, without connecting to it.
///
/// # Errors
/// The mistake in the settings.
pub fn storage(settings: &config::Storage, engine: &Engine) -> Result<Storage, String> {
    Storage::open(settings, &store_base(engine))
}

/// Connects to Redis, if the settings name one.
///
/// # Errors
/// The mistake in the settings: an address that cannot be used.
pub async fn redis(config: Option<&config::Redis>, metrics: &Arc<Metrics>) -> Result<Option<Redis>, String> {
    let Some(config) = config else { return Ok(None) };
    let metrics = Arc::clone(metrics);
    let redis = Redis::start(config, Box::new(move |outcome, took| metrics.redis(outcome, took))).await;
    redis.map(Some).map_err(|error| format!("the address of redis cannot be used: {error}"))
}

/// Builds the index of the cache; `None` if the cache is off.
pub fn index(
    cache: Option<config::Cache>,
    storage: &Storage,
    redis: Option<&Redis>,
) -> Option<Arc<dyn Index>> {
    let config::Cache { duration, max_bytes } = cache?;
    // An entry must not outlive its report, to which it refers.
    let duration = duration.min(storage.ttl());
    let local_index = LocalIndex::new(storage.clone(), duration, max_bytes);
    Some(match redis {
        None => Arc::new(local_index),
        Some(redis) => Arc::new(RedisIndex::new(redis.clone(), duration, local_index)),
    })
}

/// Opens the jobs: in the Redis of `JOBS_REDIS_URL`, which is returned, too; without it, in `DATA_DIR`.
///
/// # Errors
/// A sentence, when that Redis is not fit to keep jobs, or the file cannot be used.
pub async fn jobs(
    config: &config::Jobs,
    engine: &Engine,
    storage: &Storage,
    spool: &Path,
) -> Result<(Jobs, Option<Redis>), String> {
    let limits = job_limits(config);
    let (queue, redis): (Arc<dyn Queue>, _) = if let Some(redis) = &config.redis {
        let queue = RedisQueue::open(redis, limits, config.allow_volatile).await?;
        let redis = queue.redis().clone();
        (Arc::new(queue), Some(redis))
    } else {
        let base = data_folder(engine);
        make_private(&base).map_err(|error| format!("jobs cannot be kept in {}: {error}", base.display()))?;
        (Arc::new(SqliteQueue::open(&jobs_file(engine), limits)?), None)
    };
    let jobs = Jobs::new(queue, storage.clone(), spool.to_owned(), limits);
    // The maintenance of jobs repeats it soon, also after a failure.
    let _ = jobs.count().await;
    Ok((jobs, redis))
}

/// Checks what keeps the jobs, as a server does at its start, and describes it. Makes nothing.
///
/// # Errors
/// Why jobs cannot be kept.
pub async fn examine_jobs(config: &config::Jobs, engine: &Engine) -> Result<String, String> {
    let Some(redis) = &config.redis else { return jobs::examine_file(&jobs_file(engine)) };
    // Says why this Redis is not fit, before the second check says how it answers.
    drop(RedisQueue::open(redis, job_limits(config), config.allow_volatile).await?);
    redis::examine(redis).await
}

fn job_limits(config: &config::Jobs) -> jobs::Limits {
    jobs::Limits {
        jobs: config.max_jobs,
        client_jobs: config.max_jobs / 2,
        bytes: config.max_bytes,
        client_bytes: config.max_bytes / 2,
        ttl: config.ttl,
    }
}

fn jobs_file(engine: &Engine) -> PathBuf {
    data_folder(engine).join("jobs.sqlite")
}

/// The base of work folders: below `DATA_DIR`, else in the user's cache folder, else in the temporary folder.
pub fn work_base(settings: &Engine) -> PathBuf {
    data_dir(settings).map_or_else(own_temporary, |data| data.join("work"))
}

/// The folder of results unless `STORAGE_URL` is set: beside the work folders.
fn store_base(settings: &Engine) -> PathBuf {
    data_folder(settings).join("store")
}

/// The folder of everything that is kept: `DATA_DIR`, else in the user's cache folder, else in the temporary folder.
pub fn data_folder(settings: &Engine) -> PathBuf {
    data_dir(settings).unwrap_or_else(own_temporary)
}

/// Returns the same folder if it does not survive a restart of the machine: in the temporary folder, or in memory.
pub fn volatile_data_folder(settings: &Engine) -> Option<PathBuf> {
    let folder = data_folder(settings);
    (data_dir(settings).is_none() || is_in_memory(&folder)).then_some(folder)
}

/// Whether a folder lies in a file system in memory. If it is not there, the closest one above it counts.
fn is_in_memory(folder: &Path) -> bool {
    // From `linux/magic.h`.
    const TMPFS: u64 = 0x0102_1994;
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    rustix::fs::statfs(there).is_ok_and(|system| system.f_type as u64 == TMPFS)
}

fn data_dir(settings: &Engine) -> Option<PathBuf> {
    let (cache, home) = (path_variable("XDG_CACHE_HOME"), path_variable("HOME"));
    let user_cache = || Some(cache_dir(cache.as_deref(), home.as_deref())?.join("meshgate"));
    settings.data_dir.clone().or_else(user_cache)
}

fn own_temporary() -> PathBuf {
    env::temp_dir().join(format!("meshgate-{}", rustix::process::getuid().as_raw()))
}

/// The user's cache folder: `$XDG_CACHE_HOME`, or below `$HOME`.
fn cache_dir(cache_home: Option<&Path>, home: Option<&Path>) -> Option<PathBuf> {
    let absolute = |folder: Option<&Path>| folder.filter(|folder| folder.is_absolute()).map(Path::to_owned);
    // The XDG specification says to ignore a relative path.
    absolute(cache_home).or_else(|| Some(absolute(home)?.join(".cache")))
}

/// The path in an environment variable that is set and not empty.
pub fn path_variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The places to search for the engine.
fn engine_candidates(settings: &Engine) -> EngineCandidates {
    let (python, blender) = (settings.python.clone(), settings.blender.clone());
    let candidates = EngineCandidates { python, blender, ..EngineCandidates::default() };
    let program = env::current_exe().ok();
    candidates.with_usual(env::current_dir().ok().as_deref(), program.as_deref(), install_dir().as_deref())
}

/// The default folder of `meshgate engine install`.
pub fn install_dir() -> Option<PathBuf> {
    locate::install_dir(path_variable("XDG_DATA_HOME").as_deref(), path_variable("HOME").as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};
    use crate::domain::SandboxMode;

    #[test]
    fn the_cache_folder_follows_xdg() {
        let home = Some(Path::new("/home/ada"));
        let usual = Some(PathBuf::from("/home/ada/.cache"));
        assert_eq!(cache_dir(None, home), usual);
        assert_eq!(cache_dir(Some(Path::new("relative")), home), usual);
        assert_eq!(cache_dir(Some(Path::new("/cache")), home), Some("/cache".into()));
        assert_eq!(cache_dir(Some(Path::new("/cache")), None), Some("/cache".into()));
        assert_eq!(cache_dir(Some(Path::new("relative")), None), None);
        assert_eq!(cache_dir(None, Some(Path::new("relative"))), None);
    }

    #[test]
    fn settings_reach_the_engine() {
        let folder = tempfile::tempdir().unwrap();
        let usual = Config::load(&Sources::default()).unwrap().engine;
        let settings = Engine {
            // Any executable file.
            python: env::current_exe().ok(),
            data_dir: Some(folder.path().to_owned()),
            sandbox: SandboxMode::Require,
            memory: 3 << 30,
            max_unpacked: 5 << 30,
            max_requests: 7,
            ..usual
        };
        let work = work(&settings).unwrap();
        assert_eq!(work.base(), folder.path().join("work").canonicalize().unwrap());
        let engine = engine(&work, &settings).unwrap();
        assert_eq!((engine.memory_bytes, engine.file_bytes, engine.max_requests), (3 << 30, 5 << 30, 7));
        let tiny = Engine { max_unpacked: 1, ..settings.clone() };
        assert_eq!(limits(&tiny).max_result(), 64 << 20);
        assert_eq!(engine.sandbox, SandboxMode::Require);
    }
}
