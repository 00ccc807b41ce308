//! `meshgate run-job`: runs one job, in the pod of its Kubernetes Job.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::failure::Failure;
use super::output::print_error;
use super::service::parts;
use super::service::process::{self, Ended, Process};
use super::service::setup::{Setup, SetupArgs};
use crate::http::{Gateway, Role};
use crate::jobs::kubernetes::{PodEnd, run_in_pod};
use crate::jobs::{AttemptEnd, GiveBack, RunsIn, State, WorkerParts};

/// The exit code for a job that failed through its model. Kubernetes makes no other pod then.
const FAILED: u8 = 1;

/// The exit code for a job that was not ended. Kubernetes makes another pod.
const NOT_ENDED: u8 = 3;

/// The exit code for a job that ran out of memory: that of a process which the kernel has killed. Kubernetes makes no
/// other pod then, since it would have no more memory.
const OUT_OF_MEMORY: u8 = 137;

const ABOUT: &str = "\
Workers with KUBERNETES_JOBS make a Kubernetes Job for each heavy job; its pod runs this command. It fetches
the model from the store, converts it, stores the result, and records the end of the job in the queue. It waits
half a minute for the job to be meant for it: a worker takes the job and marks it as scheduled.

Settings are those of `meshgate worker`, and the pod template sets them: JOBS_REDIS_URL and STORAGE_URL as the
workers have them, and WORKER_MEMORY_LIMIT for the memory of this pod. SIGTERM gives the job back at once.

Exit codes:
  0    the job has ended, or is not for this pod any more
  1    the job has failed, because of its model
  3    the job was given back, or could not be begun: another pod may run it
  64   a setting is wrong
  137  the job ran out of memory, and goes on in a larger pod";

/// Run one job to its end, as the pod of a Kubernetes Job does.
#[derive(Debug, clap::Args)]
#[command(after_help = ABOUT)]
pub struct Args {
    /// The ID of the job
    #[arg(value_name = "JOB")]
    job: Uuid,

    #[command(flatten)]
    setup: SetupArgs,
}

/// Runs the job. Its end is in the exit code.
///
/// # Errors
/// Wrong settings, a line for each mistake.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let Some(setup) = args.setup.read(Role::Worker)? else { return Ok(ExitCode::SUCCESS) };
    process::run(work(for_one_job(setup), args.job)).or_else(|failure| {
        if matches!(failure, Failure::Usage(_)) {
            return Err(failure);
        }
        // Another pod, on another node, may have what this one lacks.
        print_error(&failure);
        Ok(ExitCode::from(NOT_ENDED))
    })
}

/// One slot, and no grace: another pod begins anew anyway, and Kubernetes waits for this one.
fn for_one_job(mut setup: Setup) -> Setup {
    setup.config.server.workers = 1;
    setup.config.server.shutdown_grace = Duration::ZERO;
    // They are for servers; workers with the same settings have logged them.
    setup.warnings.clear();
    setup
}

async fn work(setup: Setup, job: Uuid) -> Result<Ended, Failure> {
    let process = Process::start(&setup, Duration::ZERO)?;
    let gateway = Arc::new(parts::assemble(&setup, &process.shutdown).await?);
    // Blender starts while the model is fetched.
    let starting = tokio::spawn(start_engine(Arc::clone(&gateway)));
    let worker = WorkerParts {
        jobs: gateway.jobs.clone(),
        service: gateway.service.clone(),
        metrics: Arc::clone(&gateway.metrics),
        cache_scope: setup.config.access.cache_scope,
        timeout: setup.config.server.timeout,
        runs_in: RunsIn::Pod,
    };
    let end = run_in_pod(&worker, job).await;
    let code = exit_code(end);
    tracing::info!(%job, ?end, code, "the work of this pod has ended");
    if !process.shutdown.cancelling.is_cancelled() {
        gateway.service.cache().finish().await;
    }
    starting.abort();
    gateway.service.converter().executor().shutdown().await;
    let (_, log) = process.end().await?;
    Ok((ExitCode::from(code), log))
}

/// Starts the engine. A failure shows in the attempt.
async fn start_engine(gateway: Arc<Gateway>) {
    let _ = gateway.service.converter().executor().start().await;
}

fn exit_code(end: PodEnd) -> u8 {
    match end {
        PodEnd::Attempt(AttemptEnd::Ended(State::Failed)) => FAILED,
        PodEnd::Attempt(AttemptEnd::Ended(_) | AttemptEnd::Lost) | PodEnd::NothingToDo => 0,
        PodEnd::Attempt(AttemptEnd::GivenBack(GiveBack::OutOfMemory)) => OUT_OF_MEMORY,
        PodEnd::Attempt(AttemptEnd::GivenBack(_)) | PodEnd::GaveUp => NOT_ENDED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_kubernetes_whether_another_pod_makes_sense() {
        for (end, code) in [
            (PodEnd::Attempt(AttemptEnd::Ended(State::Succeeded)), 0),
            (PodEnd::Attempt(AttemptEnd::Ended(State::Cancelled)), 0),
            (PodEnd::Attempt(AttemptEnd::Lost), 0),
            (PodEnd::NothingToDo, 0),
            (PodEnd::Attempt(AttemptEnd::Ended(State::Failed)), 1),
            (PodEnd::Attempt(AttemptEnd::GivenBack(GiveBack::Stopping)), 3),
            (PodEnd::Attempt(AttemptEnd::GivenBack(GiveBack::StoreUnavailable)), 3),
            (PodEnd::GaveUp, 3),
            (PodEnd::Attempt(AttemptEnd::GivenBack(GiveBack::OutOfMemory)), 137),
        ] {
            assert_eq!(exit_code(end), code, "{end:?}");
        }
    }
}
