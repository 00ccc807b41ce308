//! The log of the service: on standard output, and in daily files if `LOG_FILE` is set.
//!
//! `LOG_FILE=/var/log/meshgate/gateway.log` writes `gateway.2026-01-31.log` in that folder (days are in UTC), and
//! removes the oldest of these files when there are more than `LOG_FILES`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::InitError;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use super::log_rotation::DailyFiles;
use super::otlp;
use super::span::{PROBE, REQUEST, only_spans};
use crate::config::{Log, LogFormat, Traces};

/// Most lines queued for one output; further ones are lost.
const MAX_WAITING: usize = 1 << 14;

/// Longest wait at exit for queued lines to be written.
const WRITTEN_WITHIN: Duration = Duration::from_millis(1500);

/// Counters of lost lines, one for each output. A process has one log.
static LOST: OnceLock<Vec<ErrorCounter>> = OnceLock::new();

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("LOG_LEVEL takes error, warn, info, debug, trace, off or a filter of tracing, not {0:?}")]
    Filter(String),
    #[error("LOG_FILE needs the name of a file, not {0:?}")]
    NoName(PathBuf),
    #[error("could not write a log to {file:?}")]
    File { file: PathBuf, source: InitError },
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT takes the URL of an OTLP receiver: {0}")]
    Endpoint(String),
}

/// Keeps log and traces running. Dropping it writes queued lines, unless an output is blocked for too long.
#[derive(Debug)]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
    lines: Vec<WorkerGuard>,
}

impl Guard {
    /// Sends the remaining traces. Needs the runtime.
    pub fn end_traces(&mut self) {
        if let Some(provider) = self.provider.take() {
            // An unreachable collector is already in the log.
            let _ = provider.shutdown_with_timeout(otlp::SEND_WITHIN);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.end_traces();
        let (writing, written) = mpsc::channel::<()>();
        for guard in self.lines.drain(..) {
            let writing = writing.clone();
            // On a full queue the library prints to standard output, where it may block forever.
            thread::spawn(move || {
                drop(guard);
                drop(writing);
            });
        }
        drop(writing);
        let _ = written.recv_timeout(WRITTEN_WITHIN);
    }
}

/// The number of log lines lost because an output was too slow.
pub fn lost_lines() -> u64 {
    LOST.get().into_iter().flatten().map(|counter| counter.dropped_lines() as u64).sum()
}

type Output = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts logging and, if an endpoint is set, tracing. Must be called on a runtime.
///
/// # Errors
/// The setting that cannot be applied.
pub fn start(log: &Log, traces: &Traces) -> Result<Guard, Error> {
    let (mut lost, mut guards, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
    let mut add_output = |writer: Box<dyn Write + Send>| -> Result<(), Error> {
        // A thread of its own, so that a slow disk or an unread pipe does not block requests.
        let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(MAX_WAITING).finish(writer);
        lost.push(writer.error_counter());
        guards.push(guard);
        outputs.push(output(log, writer)?);
        Ok(())
    };
    add_output(Box::new(io::stdout()))?;
    let days = |path: &PathBuf| DailyFiles::new(path, log.files).ok_or_else(|| Error::NoName(path.clone()));
    let days = log.file.as_ref().map(days).transpose()?;
    if let Some(days) = &days {
        let writer = days.writer().map_err(|source| Error::File { file: days.current(), source })?;
        add_output(Box::new(writer))?;
    }
    let provider = traces.endpoint.as_ref().map(|endpoint| {
        otlp::provider(endpoint).map_err(|error| {
            // The library quotes the URL, whose path may be a key.
            Error::Endpoint(error.to_string().replace(endpoint.as_str(), "this one"))
        })
    });
    let provider = provider.transpose()?;
    outputs.extend(provider.as_ref().map(|provider| otlp::layer(provider).boxed()));
    // Only a second call could fail, and by then logging has started.
    let _ = tracing_subscriber::registry().with(outputs).try_init();
    if let Some(days) = days {
        days.remove_old();
    }
    let _ = LOST.set(lost);
    Ok(Guard { provider, lines: guards })
}

/// Today's log file, if `LOG_FILE` is set.
pub fn current_file(log: &Log) -> Option<PathBuf> {
    Some(DailyFiles::new(log.file.as_ref()?, log.files)?.current())
}

/// The layer that writes lines to one output.
fn output(log: &Log, writer: NonBlocking) -> Result<Output, Error> {
    let wanted = EnvFilter::try_new(&log.filter).map_err(|_| Error::Filter(log.filter.clone()))?;
    // The storage library logs each retry. Without debug lines, Meshgate's own line about the failure is enough.
    let retries = wanted.max_level_hint().is_none_or(|level| level > LevelFilter::INFO);
    let wanted = wanted.and(filter_fn(move |about| {
        retries || *about.level() < Level::INFO || !about.target().starts_with("object_store")
    }));
    // Spans of requests always pass: without them, lines would lack their request ID.
    let filter = wanted.or(only_spans(&[REQUEST, PROBE]));
    let lines = fmt::layer().with_writer(writer).with_ansi(false);
    Ok(match log.format {
        LogFormat::Plain => lines.with_target(false).with_filter(filter).boxed(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_filter(filter).boxed()
        }
    })
}
