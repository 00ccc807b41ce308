//! `meshgate doctor`: checks this machine; prints a line for each thing that conversions need.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::failure::{FAILED, Failure};
use super::humanize;
use super::output::say;
use super::setting_flags::EngineArgs;
use crate::app;
use crate::config::{Engine, Jobs, Kubernetes, Redis, Storage, settings};
use crate::executor::kubernetes::Access;
use crate::executor::local::Blender;
use crate::executor::workdir::WorkDir;
use crate::redis;

/// Least free space that passes, in bytes.
const ENOUGH_DISK: u64 = 1 << 30;

const SETTINGS: &str = "\
Give it the environment of the server: it checks what JOBS_REDIS_URL, REDIS_URL and STORAGE_URL name, and with
KUBERNETES_JOBS what the service account may do.";

/// Check this machine: engine, sandbox, disk, store, jobs, and Redis and Kubernetes if set. Exit code 1 if a check fails.
#[derive(Debug, clap::Args)]
#[command(after_help = SETTINGS)]
pub struct Args {
    #[command(flatten)]
    engine: EngineArgs,
}

/// The outcome of a check: what was found, or what is wrong.
type Finding = Result<String, String>;

/// Runs the checks and prints their outcomes.
///
/// # Errors
/// When standard output is closed. A failed check is in the exit code.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let (settings, place, redis, jobs, kubernetes, conversion) = args.engine.check(|reader| {
        (
            Engine::read(reader),
            Storage::read(reader),
            Redis::read(reader),
            Jobs::read(reader),
            Kubernetes::read(reader),
            reader.read(&settings::CONVERSION_TIMEOUT),
        )
    })?;
    let storage = app::storage(&place, &settings).map_err(Failure::Usage)?;
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::io("start the runtime"))?;
    let mut trouble = false;
    let mut report = |name: &str, finding: Finding| {
        trouble |= finding.is_err();
        let mark = if finding.is_ok() { '✓' } else { '✗' };
        let (Ok(text) | Err(text)) = finding;
        say(format!("{mark} {name}: {text}"))
    };
    match app::work(&settings) {
        Ok(work) => runtime.block_on(engine(&work, &settings, &mut report))?,
        Err(error) => report("work folder", Err(error.detail))?,
    }
    report("disk space", disk(&app::work_base(&settings)))?;
    let checked = runtime.block_on(storage.check());
    report("storage", checked.map(|()| storage.name().to_owned()).map_err(|error| error.to_string()))?;
    if let Some(redis) = redis {
        report("redis", runtime.block_on(redis::examine(&redis)))?;
    }
    report("jobs", runtime.block_on(app::examine_jobs(&jobs, &settings)))?;
    if kubernetes.is_on() {
        let conflicts = kubernetes.conflicts(&place, &jobs, conversion);
        let reached = if conflicts.is_empty() {
            Ok("pods reach store and queue".to_owned())
        } else {
            Err(conflicts.join("; "))
        };
        report("kubernetes settings", reached)?;
        runtime.block_on(cluster(&kubernetes, conversion, &mut report))?;
    }
    Ok(if trouble { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// Checks the work folder, and starts the engine as a conversion would.
async fn engine(
    work: &WorkDir,
    settings: &Engine,
    report: &mut impl FnMut(&str, Finding) -> Result<(), Failure>,
) -> Result<(), Failure> {
    report("work folder", Ok(work.base().display().to_string()))?;
    let settings = match app::engine(work, settings) {
        Ok(settings) => settings,
        Err(error) => return report("engine", Err(error.to_string())),
    };
    report("engine", Ok(settings.engine.program().display().to_string()))?;
    let began = Instant::now();
    let blender = match Blender::start(settings).await {
        Ok(blender) => blender,
        Err(error) => return report("engine starts", Err(error.to_string())),
    };
    let took = humanize::duration(began.elapsed().as_secs_f64());
    report("engine starts", Ok(format!("Blender {} in {took}", blender.version().blender)))?;
    let addon = blender.version().vrm_addon;
    report("VRM add-on", if addon.is_empty() { Err("missing".to_owned()) } else { Ok(addon) })?;
    let sandbox = match &blender.sandbox_missing().join(", ")[..] {
        "" => Ok("complete".to_owned()),
        missing => Err(format!("this machine lacks {missing}; the sandbox runs without it")),
    };
    report("sandbox", sandbox)?;
    blender.shutdown().await;
    Ok(())
}

/// Checks the pod template, and asks the API server about each verb that Kubernetes Jobs need.
async fn cluster(
    config: &Kubernetes,
    conversion: Duration,
    report: &mut impl FnMut(&str, Finding) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let kubernetes = match app::kubernetes::connect(config, conversion).await {
        Ok(kubernetes) => kubernetes,
        Err(error) => return report("kubernetes", Err(error)),
    };
    report(
        "kubernetes",
        Ok(format!("Kubernetes Jobs in the namespace {}", kubernetes.settings().namespace)),
    )?;
    let found = match kubernetes.access().await {
        Ok(found) => found,
        Err(error) => return report("kubernetes access", Err(error.to_string())),
    };
    for access in found {
        report(&format!("kubernetes {} {}", access.verb, access.resource), permission(&access))?;
    }
    Ok(())
}

fn permission(access: &Access) -> Finding {
    if access.allowed {
        return Ok("allowed".to_owned());
    }
    let reason = Some(access.reason.trim()).filter(|reason| !reason.is_empty());
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    Err(format!(
        "not allowed{reason}; bind the service account to a Role with this verb, as the Helm chart does"
    ))
}

fn disk(folder: &Path) -> Finding {
    let status = rustix::fs::statvfs(folder).map_err(|error| format!("unknown: {error}"))?;
    let free = status.f_bavail.saturating_mul(status.f_frsize);
    let text = format!("{} free in {}", humanize::bytes(free), folder.display());
    if free >= ENOUGH_DISK { Ok(text) } else { Err(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_that_is_not_allowed_is_an_error() {
        let access = |allowed, reason: &str| Access {
            verb: "create",
            resource: "jobs",
            allowed,
            reason: reason.to_owned(),
        };
        assert!(permission(&access(true, "")).is_ok());
        for (reason, said) in [("", "not allowed; bind"), ("no rule", "not allowed (no rule); bind")] {
            assert!(permission(&access(false, reason)).unwrap_err().starts_with(said), "{reason}");
        }
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        assert!(disk(Path::new("/nowhere")).is_err());
    }
}
