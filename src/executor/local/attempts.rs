//! One conversion in a slot: an attempt, at most one retry after a crash or a hang, and the result of both.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::child_result::{self, Reported};
use super::pool::{Pool, stopping};
use super::protocol::{ChildLimits, Convert, End, Event, Exited};
use super::retry_policy::RetryPolicy;
use super::zygote::{Events, Zygote};
use crate::domain::{ConversionError, ErrorCode, Format, Stage};
use crate::executor::stats::{AttemptFailure, Usage};
use crate::executor::task::{ChildSuccess, CompletedTask, Importer, Task};
use crate::executor::workdir::ConversionFolder;
use crate::slots::Slot;
use crate::telemetry;

/// How long a zygote may take to report that it killed a child, before it is killed itself. The supervisor guarantees
/// that everything is gone within a second.
const CANCEL_WITHIN: Duration = Duration::from_millis(700);

/// How long the kernel may take to release the memory of a finished or killed child: a second or two for many GB.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// How often to check whether an exiting child is gone.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// The exit status of a child that had no room for its report.
const NO_SPACE: i32 = 28;

/// A conversion that runs in a task of its own.
pub(super) struct ChildRun {
    /// The first field, so that the slot is free before the folder is removed.
    pub slot: Slot,
    /// The permit to use more memory than others.
    pub _more_memory: Option<OwnedSemaphorePermit>,
    pub id: u64,
    pub folder: ConversionFolder,
    pub task: Task,
    pub limits: ChildLimits,
    /// Waiting for a slot takes none of the time of a job.
    pub is_job: bool,
    /// The caller's timeout, for the whole conversion.
    pub allowed: Duration,
    pub deadline: Instant,
    /// How long a zygote may take to fork.
    pub start_within: Duration,
    pub queue: Duration,
    /// Cancelled when the caller is gone or the program ends.
    pub cancel: CancellationToken,
    pub progress: mpsc::Sender<(Stage, Option<f64>)>,
    pub pool: Arc<Pool>,
    pub usage: Arc<Usage>,
}

/// How an attempt ended.
enum Attempt {
    Exited(Exited),
    /// It succeeded; the child has not exited yet.
    Finished(Box<ChildSuccess>, Events),
    /// The zygote went down; `started` says whether there was a child.
    Lost {
        started: bool,
    },
    TimedOut,
    Cancelled,
    /// Another client has taken the slot over.
    TakenOver,
}

/// A finished child that has not exited yet: its zygote and its events.
type ExitingChild = (Arc<Zygote>, Events);

/// How the conversion goes on after an exit.
enum NextStep {
    Final(Result<Box<ChildSuccess>, ConversionError>),
    Again(AttemptFailure),
}

impl ChildRun {
    /// Sends the result as soon as it is known, and returns when the child is gone; the slot is held until then.
    pub async fn run(mut self, answer: oneshot::Sender<Result<CompletedTask, ConversionError>>) {
        let mut exiting = None;
        let result = self.outcome(&mut exiting).await;
        // The send fails if the caller is gone.
        let _ = answer.send(result);
        if let Some((zygote, events)) = exiting {
            self.wait_for_exit(&zygote, events).await;
        }
    }

    /// Makes the attempts. Sets `exiting` if the last attempt's child has not exited yet.
    async fn outcome(
        &mut self,
        exiting: &mut Option<ExitingChild>,
    ) -> Result<CompletedTask, ConversionError> {
        let mut policy = RetryPolicy::default();
        loop {
            let zygote = self.zygote(policy.cold).await?;
            match self.attempt(&zygote).await {
                Attempt::Exited(exited) => match self.classify(&exited).await {
                    NextStep::Final(result) => {
                        self.log(&zygote, &exited, result.as_ref().err());
                        return result.map(|success| self.completed(*success, policy.retried_after));
                    }
                    // Some writers crash when the disk is full.
                    NextStep::Again(AttemptFailure::Crash)
                        if child_result::disk_is_full(self.folder.path()) =>
                    {
                        return Err(disk_full());
                    }
                    NextStep::Again(failure) => {
                        self.record_failure(&exited, failure, policy.cold);
                        if !policy.allows_after_failure(failure) {
                            return Err(crashed(failure, &exited));
                        }
                        if self.crashed_in_fbx_import(&exited, failure) {
                            self.task.importer = Importer::Fallback;
                        }
                    }
                },
                Attempt::Finished(success, events) => {
                    *exiting = Some((zygote, events));
                    return Ok(self.completed(*success, policy.retried_after));
                }
                Attempt::Lost { started: false } if policy.allows_another_start() => continue,
                Attempt::Lost { .. } => {
                    self.pool.counters.attempt_failure(self.pair(), AttemptFailure::EngineLost);
                    let again = policy.allows_after_loss();
                    tracing::warn!(conversion = self.id, pair = %self.pair_name(), again, "a zygote went down");
                    if !again {
                        return Err(ConversionError::engine_lost());
                    }
                }
                Attempt::TimedOut => {
                    tracing::info!(conversion = self.id, pair = %self.pair_name(), "a conversion timed out");
                    return Err(self.timed_out());
                }
                Attempt::Cancelled => {
                    tracing::debug!(conversion = self.id, pair = %self.pair_name(), "a conversion was cancelled");
                    return Err(self.cancelled());
                }
                Attempt::TakenOver => {
                    let what = "another client took over the slot; this conversion starts again later";
                    tracing::info!(conversion = self.id, pair = %self.pair_name(), "{what}");
                    self.wait_for_slot().await?;
                }
            }
            self.blocking(child_result::clean).await??;
        }
    }

    fn completed(&self, success: ChildSuccess, retried_after: Option<AttemptFailure>) -> CompletedTask {
        CompletedTask { success, queue: self.queue, retried_after }
    }

    /// Gives the slot to the client that takes it over, and waits for another slot.
    async fn wait_for_slot(&mut self) -> Result<(), ConversionError> {
        let began = Instant::now();
        let left = self.deadline.saturating_duration_since(began);
        let patience = if self.is_job { Duration::MAX } else { left };
        tokio::select! {
            slot = timeout(patience, self.slot.requeue()) => slot.map_err(|_| self.timed_out())?,
            () = self.cancel.cancelled() => return Err(self.cancelled()),
        }
        self.queue += began.elapsed();
        if self.is_job {
            self.deadline = deadline(Instant::now(), self.allowed);
        }
        Ok(())
    }

    async fn zygote(&self, cold: bool) -> Result<Arc<Zygote>, ConversionError> {
        let zygote = async { if cold { self.pool.cold_zygote().await } else { self.pool.zygote().await } };
        tokio::select! {
            zygote = timeout_at(self.deadline, zygote) => zygote.unwrap_or_else(|_| Err(self.timed_out())),
            () = self.cancel.cancelled() => Err(self.cancelled()),
        }
    }

    async fn attempt(&self, zygote: &Zygote) -> Attempt {
        let convert = Convert {
            id: self.id,
            folder: self.folder.path().to_owned(),
            task: self.task.clone(),
            limits: self.limits,
        };
        let mut events = self.pool.start_child(zygote, convert);
        let start_by = Instant::now() + self.start_within;
        let mut child = None;
        let stopped = loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Exited(exited)) => {
                        self.usage.child_used(exited.peak_memory_bytes);
                        return Attempt::Exited(exited);
                    }
                    Some(Event::Started { pid, .. }) => child = Some(pid),
                    Some(Event::Progress { stage, fraction, .. }) => {
                        // A slow reader misses some events.
                        let fraction = fraction.filter(|fraction| (0.0..=1.0).contains(fraction));
                        let _ = self.progress.try_send((stage, fraction));
                    }
                    Some(Event::Finished { .. }) => {
                        // With any other outcome, the child's exit is awaited.
                        if let Some(Reported::Success(Ok(success))) = self.reported().await {
                            return Attempt::Finished(success, events);
                        }
                    }
                    Some(Event::Ready(_) | Event::Broken { .. }) => {}
                    None => return Attempt::Lost { started: child.is_some() },
                },
                () = sleep_until(start_by), if child.is_none() => {
                    zygote.kill("start a conversion");
                    self.exit(&mut events).await;
                    // Whether the child started is unknown; it counts as started, because the model is the likely
                    // cause.
                    return Attempt::Lost { started: true };
                }
                () = sleep_until(self.deadline) => break Attempt::TimedOut,
                () = self.cancel.cancelled() => break Attempt::Cancelled,
                () = self.slot.taken_over() => break Attempt::TakenOver,
            }
        };
        zygote.cancel(self.id);
        if !self.exits_in_time(child, &mut events).await {
            zygote.kill("cancel a conversion");
            self.exit(&mut events).await;
        }
        stopped
    }

    /// Waits until a killed child is gone. Returns `false` if the zygote did not kill it in time. The kernel takes a
    /// second for each few gigabytes of a killed child.
    async fn exits_in_time(&self, child: Option<u32>, events: &mut Events) -> bool {
        let last = Instant::now() + GONE_WITHIN;
        let mut patience = CANCEL_WITHIN;
        while timeout(patience, self.exit(events)).await.is_err() {
            if Instant::now() > last || !child.is_some_and(is_dying) {
                return false;
            }
            patience = CHECK_EVERY;
        }
        true
    }

    /// Reads the child's report and checks its result.
    async fn reported(&self) -> Option<Reported> {
        let (output, most_bytes) = (self.task.output.clone(), self.limits.file_bytes);
        self.blocking(move |folder| child_result::read(folder, &output, most_bytes)).await.ok().flatten()
    }

    /// Works on the folder, which may be large, on a blocking thread.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> T + Send + 'static,
    ) -> Result<T, ConversionError> {
        let folder = self.folder.path().to_owned();
        let work = telemetry::in_span(move || work(&folder));
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(%error, "work on a conversion's folder ended early");
            ConversionError::new(ErrorCode::Internal, "the conversion ended unexpectedly")
        })
    }

    /// Waits until a finished child has exited.
    async fn wait_for_exit(&self, zygote: &Zygote, mut events: Events) {
        let patience = async {
            tokio::select! {
                () = sleep(GONE_WITHIN) => {}
                () = self.pool.stop.cancelled() => sleep(CANCEL_WITHIN).await,
            }
        };
        let exited = tokio::select! {
            exited = self.exit(&mut events) => exited,
            () = patience => {
                zygote.kill("reap a child");
                self.exit(&mut events).await
            }
        };
        if let Some(exited) = exited {
            self.log(zygote, &exited, None);
        }
    }

    /// Decides from the exit of the child how the conversion goes on.
    async fn classify(&self, exited: &Exited) -> NextStep {
        let error = match exited.end {
            End::Exit { status } => match self.reported().await {
                Some(Reported::Success(result)) if status == 0 => return NextStep::Final(result),
                Some(Reported::Failure(error)) => match error.code {
                    // The child knows that a write was refused; this error also says what to do.
                    ErrorCode::OutputTooLarge => self.too_large(),
                    ErrorCode::MemoryLimit => self.memory_limit(),
                    // The child may not know: libraries print that memory ran out, and go on.
                    ErrorCode::ImportFailed | ErrorCode::ExportFailed if no_memory(&exited.log) => {
                        self.memory_limit()
                    }
                    _ => error,
                },
                None if status == NO_SPACE => disk_full(),
                Some(Reported::Success(_)) | None => return NextStep::Again(AttemptFailure::Crash),
            },
            // It wrote a file above the size limit.
            End::Signal { signal: libc::SIGXFSZ } => self.too_large(),
            End::Signal { .. } => return NextStep::Again(AttemptFailure::Crash),
            End::Hang => return NextStep::Again(AttemptFailure::Hang),
            End::MemoryLimit => self.memory_limit(),
            End::CpuLimit => {
                let most = self.limits.cpu_seconds;
                let detail = format!("the conversion used more than {most} s of processor time");
                ConversionError::new(ErrorCode::Timeout, detail)
            }
            End::DiskLimit => {
                let most = self.limits.disk_bytes >> 20;
                let detail = format!("the conversion wrote more files than allowed, or more than {most} MiB");
                ConversionError::new(ErrorCode::OutputTooLarge, detail)
            }
            End::ThreadLimit => {
                let detail = "the conversion asked for more threads than it may have";
                ConversionError::new(ErrorCode::EngineCrashed, detail)
            }
            End::Cancelled => self.cancelled(),
            End::NotStarted => {
                let detail = "the engine could not start a process for the conversion";
                ConversionError::new(ErrorCode::EngineUnavailable, detail)
            }
        };
        NextStep::Final(Err(error))
    }

    fn crashed_in_fbx_import(&self, exited: &Exited, failure: AttemptFailure) -> bool {
        failure == AttemptFailure::Crash
            && !was_killed(exited)
            && self.task.input_format == Format::Fbx
            && matches!(exited.stage, None | Some(Stage::Importing))
    }

    fn too_large(&self) -> ConversionError {
        ConversionError::output_too_large(self.limits.file_bytes)
    }

    fn memory_limit(&self) -> ConversionError {
        let most = self.limits.memory_bytes >> 20;
        let detail = format!("the conversion needs more than the {most} MiB of memory it may use");
        ConversionError::new(ErrorCode::MemoryLimit, detail)
    }

    fn timed_out(&self) -> ConversionError {
        let detail = format!("the conversion took longer than {} s", self.allowed.as_secs_f64());
        ConversionError::new(ErrorCode::Timeout, detail)
    }

    fn cancelled(&self) -> ConversionError {
        if self.pool.stop.is_cancelled() {
            return stopping();
        }
        ConversionError::new(ErrorCode::Cancelled, "the conversion was cancelled")
    }

    fn record_failure(&self, exited: &Exited, failure: AttemptFailure, cold: bool) {
        self.pool.counters.attempt_failure(self.pair(), failure);
        tracing::warn!(
            conversion = self.id,
            pair = %self.pair_name(),
            end = ?exited.end,
            stage = ?exited.stage,
            peak_memory_bytes = exited.peak_memory_bytes,
            cpu_seconds = exited.cpu_seconds,
            log = exited.log,
            again = !cold,
            "a child {}",
            if failure == AttemptFailure::Hang { "hung" } else { "crashed" },
        );
    }

    fn log(&self, zygote: &Zygote, exited: &Exited, error: Option<&ConversionError>) {
        tracing::info!(
            conversion = self.id,
            pair = %self.pair_name(),
            zygote = zygote.pid,
            peak_memory_bytes = exited.peak_memory_bytes,
            cpu_seconds = exited.cpu_seconds,
            code = error.map(|error| error.code.to_string()),
            "a conversion ended",
        );
        // Clients get a code and a sentence; the operator needs Blender's output.
        if error.is_some() {
            tracing::warn!(conversion = self.id, log = exited.log, "Blender output");
        } else {
            tracing::debug!(conversion = self.id, log = exited.log, "Blender output");
        }
    }

    fn pair(&self) -> (Format, Format) {
        (self.task.input_format, self.task.output_format)
    }

    /// Waits for the exit of the child; `None` if its zygote ended first.
    async fn exit(&self, events: &mut Events) -> Option<Exited> {
        loop {
            if let Event::Exited(exited) = events.recv().await? {
                self.usage.child_used(exited.peak_memory_bytes);
                return Some(exited);
            }
        }
    }

    fn pair_name(&self) -> String {
        format!("{}-{}", self.task.input_format, self.task.output_format)
    }
}

/// When the `allowed` time is over. A deadline beyond what the clock can hold becomes a year.
pub(super) fn deadline(began: Instant, allowed: Duration) -> Instant {
    began.checked_add(allowed).unwrap_or_else(|| began + Duration::from_hours(24 * 365))
}

/// Whether a process is exiting or gone.
fn is_dying(pid: u32) -> bool {
    const EXITING: u32 = 0x4;
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    // After the name, which may contain anything, comes the state, and six fields later come the flags.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let flags = fields.split_ascii_whitespace().nth(6).and_then(|flags| flags.parse::<u32>().ok());
    flags.is_none_or(|flags| flags & EXITING != 0)
}

/// Whether C++ or Blender printed that an allocation failed.
fn no_memory(log: &str) -> bool {
    ["bad_alloc", "alloc returns null"].iter().any(|words| log.contains(words))
}

fn disk_full() -> ConversionError {
    ConversionError::new(ErrorCode::DiskFull, "the disk is full")
}

/// Whether somebody else killed the child, such as the OOM killer; the engine says why it kills one itself.
fn was_killed(exited: &Exited) -> bool {
    matches!(exited.end, End::Signal { signal: libc::SIGKILL })
}

fn crashed(failure: AttemptFailure, exited: &Exited) -> ConversionError {
    let doing = match exited.stage {
        None | Some(Stage::Scheduling) => "starting on",
        Some(Stage::Importing) => "importing",
        Some(Stage::Processing) => "processing",
        Some(Stage::Exporting) => "exporting",
        Some(Stage::Packing) => "packing",
    };
    let is_killed = was_killed(exited);
    let detail = match failure {
        AttemptFailure::Hang => format!("blender hung while {doing} this model, in a fresh process too"),
        _ if is_killed => {
            format!(
                "blender was killed while {doing} this model, twice; most likely the machine ran out of memory"
            )
        }
        _ => format!("blender crashed while {doing} this model, in a fresh process too"),
    };
    ConversionError { is_engine_lost: is_killed, ..ConversionError::new(ErrorCode::EngineCrashed, detail) }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn only_a_killed_process_counts_as_dying() {
        let mut waiting = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(!is_dying(waiting.id()));
        waiting.kill().unwrap();
        // Its PID is not reused before it is reaped.
        while !is_dying(waiting.id()) {
            std::thread::yield_now();
        }
        waiting.wait().unwrap();
        assert!(is_dying(waiting.id()));
    }
}
