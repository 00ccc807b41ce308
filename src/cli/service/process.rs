//! The process around the parts: runtime, log, signals and descriptors.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinHandle;

use super::setup::Setup;
use crate::cli::failure::Failure;
use crate::shutdown::{self, Shutdown};
use crate::telemetry::logging::{self, Guard};

/// Descriptors that a connection usually needs at most: its socket, a copy that detects a hang-up, its model and its
/// result. Below: those of everything else.
const DESCRIPTORS: usize = 4;
const OWN_DESCRIPTORS: usize = 128;

/// How long blocking file work may continue after everything else has ended.
const LAST_WORK: Duration = Duration::from_secs(1);

/// The exit code of a service that has ended, and its log.
pub type Ended = (ExitCode, Guard);

/// A process that logs and can be stopped.
pub struct Process {
    pub shutdown: Shutdown,
    log: Guard,
    signals: JoinHandle<()>,
}

/// Runs a service to its end.
///
/// # Errors
/// Those of `service`, and of starting the runtime.
pub fn run(service: impl Future<Output = Result<Ended, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Turns of busy tasks before the runtime looks for new events, such as probes: its default of 61 can take a
        // fifth of a second.
        .event_interval(8)
        .build()
        .map_err(Failure::io("start the runtime"))?;
    let ended = runtime.block_on(service);
    // Threads may still be blocked by file work of cancelled conversions; the wait is bounded.
    runtime.shutdown_timeout(LAST_WORK);
    // The log is dropped last, so that it has every line.
    ended.map(|(code, _log)| code)
}

impl Process {
    /// Starts the log and waits for signals. `delay`: how long requests are accepted after the first one. Must be called
    /// on the runtime.
    ///
    /// # Errors
    /// When the log cannot be written, or a setting of log and traces is wrong.
    pub fn start(setup: &Setup, delay: Duration) -> Result<Self, Failure> {
        let config = &setup.config;
        let log = logging::start(&config.log, &config.traces).map_err(|error| match error {
            logging::Error::File { .. } => Failure::Failed(with_cause(&error)),
            _ => Failure::Usage(with_cause(&error)),
        })?;
        for warning in &setup.warnings {
            tracing::warn!("{warning}");
        }
        raise_descriptors(config.server.max_connections);
        let shutdown = Shutdown::default();
        // Signals first: one that arrives while the engine starts stops the start as well.
        let signals = shutdown::on_signals(shutdown.clone(), delay, config.server.shutdown_grace)
            .map_err(Failure::io("listen for signals"))?;
        Ok(Self { shutdown, log, signals })
    }

    /// Ends the process, whose parts have ended: sends the last traces.
    ///
    /// # Errors
    /// When the task for that fails.
    pub async fn end(self) -> Result<Ended, Failure> {
        let Self { shutdown, mut log, signals } = self;
        signals.abort();
        tracing::info!("stopped");
        let code = shutdown.forced().map_or(ExitCode::SUCCESS, ExitCode::from);
        let ended = tokio::task::spawn_blocking(move || {
            log.end_traces();
            (code, log)
        });
        ended.await.map_err(|error| Failure::io("flush the traces")(error.into()))
    }
}

/// Raises the limit of open files to the hard limit. The soft limit is low for programs that use `select`, and may be
/// too low for `MAX_CONNECTIONS`.
fn raise_descriptors(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let allowed = if raised.is_ok() { limit.maximum } else { limit.current };
    let needed = connections.saturating_mul(DESCRIPTORS).saturating_add(OWN_DESCRIPTORS) as u64;
    if let Some(allowed) = allowed.filter(|allowed| *allowed < needed) {
        tracing::warn!(allowed, needed, "the limit of open files is too low for MAX_CONNECTIONS");
    }
}

fn with_cause(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
