//! Blender as a number of slots, each of which runs one conversion at a time.
//!
//! Guarantees:
//! - a slot is free the moment its child is gone;
//! - a timeout and a dropped future kill the child's whole session within a second;
//! - a conversion whose child crashes or hangs is retried once, in a freshly started Blender;
//! - the zygote is replaced after a number of conversions and when it fails; while the engine is broken, conversions
//!   fail at once;
//! - no process outlives this one, and nothing polls. (Without seccomp, after a `kill -9`, a process that a child
//!   started in a session of its own runs until the next start; see `executor::orphans`.)

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::attempts::{ChildRun, deadline};
use super::error::EngineError;
use super::launch::{Launcher, Program};
use super::locate::Engine;
use super::pool::{Pool, stopping};
use super::protocol::{self, ChildLimits, Hello, Ready};
use super::python_package;
use super::seccomp::seccomp_program;
use super::zygote::ZygoteSettings;
use crate::domain::{ConversionError, ErrorCode, SandboxMode};
use crate::executor::interface::EngineRequest;
use crate::executor::stats::Stats;
use crate::executor::task::{CompletedTask, Version};
use crate::executor::workdir::WorkDir;
use crate::slots::Slots;
use crate::telemetry;

/// How long a shutdown waits for all processes to end.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(4);

/// How to run Blender.
#[derive(Debug, Clone)]
pub struct Settings {
    pub engine: Engine,
    pub work: WorkDir,
    /// Concurrent conversions.
    pub workers: usize,
    /// Those among them that may be for jobs while requests wait.
    pub job_share: usize,
    /// Conversions after which a zygote is replaced.
    pub max_requests: u64,
    pub sandbox: SandboxMode,
    /// Address space of a child.
    pub memory_bytes: u64,
    /// Largest result, and largest file that a child writes, in bytes. All files of a child together may take twice as
    /// much.
    pub file_bytes: u64,
    /// CPU seconds of a child; by default those of all processors until the timeout.
    pub cpu_seconds: Option<u64>,
    /// A child that uses no CPU time for this long counts as hung.
    pub hang_after: Duration,
    /// How long a zygote may take to get ready.
    pub ready_within: Duration,
    /// How long a zygote may take to fork.
    pub start_within: Duration,
    /// A script to run instead of the zygote.
    pub entry: Option<PathBuf>,
}

impl Settings {
    pub fn new(engine: Engine, work: WorkDir) -> Settings {
        Settings {
            engine,
            work,
            workers: 2,
            job_share: 1,
            max_requests: 1000,
            sandbox: SandboxMode::Auto,
            memory_bytes: 4 << 30,
            file_bytes: 1 << 30,
            cpu_seconds: None,
            hang_after: Duration::from_secs(5),
            ready_within: Duration::from_mins(1),
            start_within: Duration::from_secs(5),
            entry: None,
        }
    }
}

/// A running Blender. Dropping it stops everything in the background; [`Blender::shutdown`] waits for that.
pub struct Blender {
    pool: Arc<Pool>,
    slots: Slots,
    /// The permit of a conversion that may use more memory than others: the machine may lack the memory for two.
    more_memory: Arc<Semaphore>,
    settings: Settings,
    processors: u64,
    ready: Ready,
    next_id: AtomicU64,
    tracker: TaskTracker,
    _stop_on_drop: DropGuard,
}

impl Blender {
    /// Starts the engine and waits until it is warm. Call it in a tokio runtime.
    pub async fn start(settings: Settings) -> Result<Blender, EngineError> {
        let package = python_package::unpack(settings.work.base()).map_err(EngineError::Package)?;
        let seccomp = match settings.sandbox {
            SandboxMode::Off => String::new(),
            _ => seccomp_program().map_err(|error| EngineError::Sandbox(error.to_string()))?,
        };
        let hello = Hello {
            protocol: protocol::VERSION,
            sandbox: settings.sandbox,
            seccomp,
            readable: settings.engine.home().into_iter().chain([package.folder().to_owned()]).collect(),
            cold: false,
            hang_after_s: settings.hang_after.as_secs_f64(),
        };
        let launcher = Arc::new(Launcher::new(Program {
            engine: settings.engine.clone(),
            package,
            entry: settings.entry.clone(),
            work: settings.work.path().to_owned(),
        })?);
        let tracker = TaskTracker::new();
        let recipe =
            ZygoteSettings { launcher, hello, ready_within: settings.ready_within, tracker: tracker.clone() };
        let stop = CancellationToken::new();
        let stop_on_drop = stop.clone().drop_guard();
        let pool = Pool::start(recipe, settings.max_requests.max(1), stop).await?;
        let ready = pool.zygote().await.map_err(|_| EngineError::Stopped)?.ready.clone();
        if !ready.sandbox_missing.is_empty() {
            if settings.sandbox == SandboxMode::Require {
                return Err(EngineError::SandboxMissing(ready.sandbox_missing));
            }
            if settings.sandbox == SandboxMode::Auto {
                let missing = ready.sandbox_missing.join(", ");
                tracing::warn!("conversions run without a part of the sandbox: this machine lacks {missing}");
            }
        }
        Ok(Blender {
            pool,
            slots: Slots::new(settings.workers.max(1), settings.job_share),
            more_memory: Arc::new(Semaphore::new(1)),
            processors: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
            settings,
            ready,
            next_id: AtomicU64::new(1),
            tracker,
            _stop_on_drop: stop_on_drop,
        })
    }

    /// Converts the model in the request's folder; see [`crate::executor::Executor::convert`].
    pub async fn convert(&self, request: EngineRequest<'_>) -> Result<CompletedTask, ConversionError> {
        let EngineRequest { client, purpose, folder, task, allowed, mut progress, usage } = request;
        let (began, memory_factor) = (Instant::now(), purpose.memory_factor());
        self.pool.available()?;
        let (more_memory, slot) = {
            let _waiting = usage.waiting();
            let slot = async {
                let more_memory = if memory_factor > 1 {
                    // The semaphore is never closed.
                    Arc::clone(&self.more_memory).acquire_owned().await.ok()
                } else {
                    None
                };
                (more_memory, self.slots.acquire(&client, purpose).await)
            };
            let patience = if purpose.is_job() { Duration::MAX } else { allowed };
            tokio::select! {
                slot = timeout(patience, slot).instrument(telemetry::span!("queue")) => slot.map_err(|_| {
                    let detail = format!("no slot of the engine was free within {} s", allowed.as_secs_f64());
                    ConversionError::new(ErrorCode::Timeout, detail)
                })?,
                () = self.pool.stop.cancelled() => return Err(stopping()),
            }
        };
        let deadline = deadline(if purpose.is_job() { Instant::now() } else { began }, allowed);

        let cancel = self.pool.stop.child_token();
        let _cancel_on_drop = cancel.clone().drop_guard();
        let (steps, mut received) = mpsc::channel(16);
        let (answer, mut answered) = oneshot::channel();
        let child_run = ChildRun {
            slot,
            _more_memory: more_memory,
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            folder: folder.clone(),
            task,
            limits: self.limits(allowed, memory_factor),
            is_job: purpose.is_job(),
            allowed,
            deadline,
            start_within: self.settings.start_within,
            queue: began.elapsed(),
            cancel,
            progress: steps,
            pool: Arc::clone(&self.pool),
            usage,
        };
        // A separate task, because the child must be reaped even if this future is dropped.
        self.tracker.spawn(child_run.run(answer).instrument(telemetry::span!("convert")));
        loop {
            tokio::select! {
                biased;
                Some((stage, fraction)) = received.recv() => progress(stage, fraction),
                result = &mut answered => {
                    return result.unwrap_or_else(|_| {
                        tracing::error!("a conversion's task failed");
                        Err(ConversionError::new(ErrorCode::Internal, "internal error during the conversion"))
                    });
                }
            }
        }
    }

    pub fn version(&self) -> Version {
        self.ready.version.clone()
    }

    /// The parts of the sandbox that this machine lacks.
    pub fn sandbox_missing(&self) -> &[String] {
        &self.ready.sandbox_missing
    }

    /// Returns `engine_unavailable` unless the engine accepts conversions now.
    pub fn available(&self) -> Result<(), ConversionError> {
        self.pool.available()
    }

    pub fn stats(&self) -> Stats {
        Stats {
            slots: self.settings.workers.max(1),
            busy: self.slots.busy(),
            waiting: self.slots.waiting(),
            available: self.pool.available().is_ok(),
            zygote: self.pool.pid(),
            ..self.pool.counters.snapshot()
        }
    }

    /// Cancels running conversions, ends the engine, and waits a few seconds at most for its processes.
    pub async fn shutdown(&self) {
        self.pool.stop.cancel();
        self.tracker.close();
        if timeout(SHUTDOWN_WITHIN, self.tracker.wait()).await.is_err() {
            tracing::warn!("the engine did not end in time");
        }
    }

    fn limits(&self, allowed: Duration, memory_factor: u32) -> ChildLimits {
        let all_processors = allowed.as_secs().saturating_add(1).saturating_mul(self.processors);
        ChildLimits {
            memory_bytes: self.settings.memory_bytes.saturating_mul(memory_factor.into()),
            cpu_seconds: self.settings.cpu_seconds.unwrap_or(all_processors).min(u64::from(u32::MAX)),
            file_bytes: self.settings.file_bytes,
            // The result and intermediate files.
            disk_bytes: self.settings.file_bytes.saturating_mul(2),
            open_files: 256,
        }
    }
}
