//! The log of a service: on standard output, and in a file for each day besides.
//!
//! `LOG_FILE=/var/log/meshgate/gateway.log` writes `gateway.2026-01-31.log` in that folder (the day is UTC's), and
//! removes the oldest of its kind when there are more than `LOG_FILES`.

use std::io;
use std::path::PathBuf;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_appender::rolling::InitError;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use super::days::Days;
use super::traces;
use crate::config::{Log, LogFormat, Traces};

/// Why nothing can be written down.
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

/// Keeps the log's file and the traces going; what is on its way gets there before it is gone.
#[derive(Debug)]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
    /// Flushes when it is dropped.
    _file: Option<WorkerGuard>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take() {
            // A collector that is away was told of in the log already.
            let _ = provider.shutdown_with_timeout(traces::SEND_WITHIN);
        }
    }
}

type Output = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts logging and, where an endpoint is set, tracing. Has to be called on a runtime.
///
/// # Errors
/// What of the settings cannot be done.
pub fn start(log: &Log, traces: &Traces) -> Result<Guard, Error> {
    let mut outputs = vec![output(log, io::stdout)?];
    let days = match &log.file {
        None => None,
        Some(path) => Some(Days::new(path, log.files).ok_or_else(|| Error::NoName(path.clone()))?),
    };
    let file = match &days {
        None => None,
        Some(days) => {
            let writer = days.writer().map_err(|source| Error::File { file: days.current(), source })?;
            // A disk that is slow keeps nobody waiting: rather, lines are lost.
            let (writer, guard) = tracing_appender::non_blocking(writer);
            outputs.push(output(log, writer)?);
            Some(guard)
        }
    };
    let provider = match &traces.endpoint {
        None => None,
        Some(endpoint) => {
            let provider = traces::provider(endpoint).map_err(|error| {
                // The library quotes the URL, whose path may be a key.
                Error::Endpoint(error.to_string().replace(endpoint.as_str(), "this one"))
            })?;
            outputs.push(traces::layer(&provider).boxed());
            Some(provider)
        }
    };
    // Only a second call could fail, and then logging has started.
    let _ = tracing_subscriber::registry().with(outputs).try_init();
    if let Some(days) = days {
        days.tidy();
    }
    Ok(Guard { provider, _file: file })
}

/// The file that is written today, where there is one.
pub fn current_file(log: &Log) -> Option<PathBuf> {
    Some(Days::new(log.file.as_ref()?, log.files)?.current())
}

/// Lines to one place.
fn output<W>(log: &Log, writer: W) -> Result<Output, Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let wanted = EnvFilter::try_new(&log.filter).map_err(|_| Error::Filter(log.filter.clone()))?;
    // The library of the store tells each request that it sends again: the store itself says in one line that it fails.
    let retries = wanted.max_level_hint().is_none_or(|level| level > LevelFilter::INFO);
    let wanted = wanted.and(filter_fn(move |about| {
        retries || *about.level() < Level::INFO || !about.target().starts_with("object_store")
    }));
    // A filter that leaves the spans of requests out would take their numbers off the lines that it lets through.
    let filter = wanted.or(super::numbered_spans());
    let lines = fmt::layer().with_writer(writer).with_ansi(false);
    Ok(match log.format {
        LogFormat::Plain => lines.with_target(false).with_filter(filter).boxed(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_filter(filter).boxed()
        }
    })
}
