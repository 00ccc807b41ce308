//! Runs the planned conversions, several at a time, and ends quickly when interrupted.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::MultiProgress;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::outcome::{Done, Success, Tally};
use super::plan::{Job, Origin};
use super::progress::{Bar, Progress};
use super::settings::Settings;
use super::write::{self, Interrupt};
use super::{cache, inputs, print};
use crate::app;
use crate::cli::{Failure, INTERRUPTED, warn};
use crate::conversion::{Admission, Converter, Spec};
use crate::domain::{ConversionError, ErrorCode};

/// Longest clean-up of each part of an interrupted run; all parts together take less than a second.
const CLEAN_UP: Duration = Duration::from_millis(400);

/// State that all conversions share.
struct Shared {
    converter: Arc<Converter>,
    /// `None`: no cache; everything is converted.
    cache: Option<cache::Cache>,
    settings: Settings,
    interrupt: Interrupt,
    /// File work that continues after its conversion is dropped.
    files: TaskTracker,
    spool: tempfile::TempDir,
    /// Standard input as a file; read once, even for several formats.
    stdin: tokio::sync::OnceCell<PathBuf>,
}

/// Runs all `jobs` and prints the outcome of each.
///
/// # Errors
/// Why no conversion can start, or why output fails.
pub async fn run(jobs: Vec<Job>, settings: Settings, bars: MultiProgress) -> Result<Tally, Failure> {
    let mut signals = Signals::new()?;
    let progress = Progress::new(jobs.len(), bars);
    let mut printer = print::Printer::new(&jobs, &settings, progress.is_drawn());
    let mut tally = Tally { planned: jobs.len(), ..Tally::default() };
    let at_once = settings.at_once;
    let converter = Arc::new(app::converter(at_once, Admission::unbounded(at_once), &settings.engine)?);
    let shared = Arc::new(Shared {
        cache: cache::open(&settings, &converter).await?,
        converter,
        settings,
        interrupt: Interrupt::default(),
        files: TaskTracker::new(),
        spool: tempfile::Builder::new()
            .prefix("meshgate-")
            .tempdir()
            .map_err(Failure::io("make a temporary folder"))?,
        stdin: tokio::sync::OnceCell::new(),
    });

    let mut waiting = jobs.into_iter().enumerate();
    let mut running = JoinSet::new();
    let result = loop {
        while running.len() < at_once
            && let Some((index, job)) = waiting.next()
        {
            let bar = progress.start(&job);
            let (shared, bar) = (Arc::clone(&shared), Arc::new(bar));
            running.spawn(async move { shared.run_job(index, job, &bar).await });
        }
        let done = tokio::select! {
            done = running.join_next() => done,
            () = signals.next() => {
                tally.interrupted = true;
                break Ok(());
            }
        };
        let done = match done {
            None => break Ok(()),
            Some(Ok(done)) => done,
            // A panic ends one conversion; the others continue.
            Some(Err(error)) => {
                tally.failed += 1;
                let printed = progress.print(|| print::panicked(&error));
                if printed.is_err() {
                    break printed;
                }
                continue;
            }
        };
        progress.advance();
        printer.count(&done, &mut tally);
        let printed = progress.print(|| printer.done(done));
        if printed.is_err() {
            break printed;
        }
    };
    if tally.interrupted {
        progress.freeze();
    } else {
        progress.end();
    }
    end(shared, running, signals, tally.interrupted || result.is_err()).await;
    result.and_then(|()| printer.end(&tally))?;
    Ok(tally)
}

/// Stops the running conversions and the engine.
async fn end(shared: Arc<Shared>, mut running: JoinSet<Done>, mut signals: Signals, hurry: bool) {
    // A second Ctrl-C skips the clean-up.
    let impatient = tokio::spawn(async move {
        signals.next().await;
        std::process::exit(i32::from(INTERRUPTED));
    });
    if hurry {
        shared.interrupt.0.cancel();
    }
    running.shutdown().await;
    shared.files.close();
    let limit = if hurry { CLEAN_UP } else { Duration::from_secs(10) };
    let _ = timeout(limit, shared.files.wait()).await;
    if let Some(cache) = shared.cache.as_ref().filter(|_| !hurry)
        && let Err(trouble) = cache.finish().await
    {
        warn(&[format!("the store fails; results may not be cached: {trouble}")]);
    }
    let _ = timeout(limit, shared.converter.executor().shutdown()).await;
    impatient.abort();
}

impl Shared {
    async fn run_job(self: Arc<Self>, index: usize, job: Job, bar: &Arc<Bar>) -> Done {
        let started = Instant::now();
        let result = self.convert(&job, bar).await;
        Done { index, job, seconds: started.elapsed().as_secs_f64(), result }
    }

    async fn convert(&self, job: &Job, bar: &Arc<Bar>) -> Result<Success, ConversionError> {
        write::check_free(&job.output, self.settings.force)?;
        let spooled = match job.input.origin {
            Origin::Stdin => Some(self.stdin.get_or_try_init(|| self.spool_stdin()).await?.clone()),
            Origin::File(_) | Origin::Folder(_) => None,
        };
        let spec = Spec {
            sources: inputs::source(&job.input.origin, spooled),
            main: self.settings.main.clone(),
            target: job.target,
            options: self.settings.options_for(job.target),
            timeout: self.settings.timeout,
        };
        let result = self.result(spec, bar).await.map_err(|error| self.with_cause(error))?;
        let output = job.output.clone();
        let (force, interrupt) = (self.settings.force, self.interrupt.clone());
        let placed = self.files.spawn_blocking(move || {
            // `result` moves here: its folder must exist until the files are copied.
            let written = write::place(&result.paths, &output, force, &interrupt);
            written.map(|written| Success { report: result.report, written, cached: result.cached })
        });
        placed.await.unwrap_or_else(|error| {
            Err(ConversionError::new(ErrorCode::Internal, format!("could not write the result: {error}")))
        })
    }

    async fn result(&self, spec: Spec, bar: &Arc<Bar>) -> Result<cache::Files, ConversionError> {
        if let Some(cache) = &self.cache {
            return cache.result(spec, bar).await;
        }
        let outcome = self.converter.convert(spec, &|stage, fraction| bar.stage(stage, fraction)).await?;
        Ok(cache::Files::of(outcome))
    }

    /// Replaces `engine_unavailable` by its cause: the user of the command line is the operator and may read it.
    fn with_cause(&self, error: ConversionError) -> ConversionError {
        match self.converter.executor().trouble() {
            Some(trouble) if error.code == ErrorCode::EngineUnavailable => {
                ConversionError::new(error.code, trouble)
            }
            _ => error,
        }
    }

    async fn spool_stdin(&self) -> Result<PathBuf, ConversionError> {
        let path = self.spool.path().join(inputs::stdin_name(self.settings.from));
        let copy = async {
            let mut file = tokio::fs::File::create(&path).await?;
            tokio::io::copy(&mut tokio::io::stdin(), &mut file).await?;
            tokio::io::AsyncWriteExt::flush(&mut file).await
        };
        copy.await.map_err(|error| ConversionError::io("read standard input", &error))?;
        Ok(path)
    }
}

/// The signals that interrupt a run: SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(Failure::io("listen for signals"));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
