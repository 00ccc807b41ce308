//! Runs the planned conversions, several at a time, and ends quickly when interrupted.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::MultiProgress;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::args::Args;
use super::outcome::{EndedConversion, Success, Tally};
use super::plan::{self, Origin, PlannedConversion};
use super::{cache, print, write};
use crate::app;
use crate::cli::failure::{Failure, INTERRUPTED};
use crate::cli::humanize;
use crate::cli::output::warn;
use crate::cli::progress::{Bar, Progress};
use crate::cli::setting_flags::RunSettings;
use crate::conversion::{Admission, Converter, Spec};
use crate::domain::{Cancel, ConversionError, ErrorCode};
use crate::intake::{FileSource, NamedFile, Source};
use crate::shutdown::Signals;

/// Longest clean-up of each part of an interrupted run; all parts together take less than a second.
const CLEAN_UP: Duration = Duration::from_millis(400);

/// State that all conversions share.
struct Shared {
    converter: Arc<Converter>,
    conversions: cache::Conversions,
    args: Args,
    timeout: Duration,
    /// Set when the user interrupts the run.
    interrupt: Cancel,
    /// File work that continues after its conversion is dropped.
    files: TaskTracker,
    spool: tempfile::TempDir,
    /// Standard input as a file; read once, even for several formats.
    stdin: tokio::sync::OnceCell<PathBuf>,
}

/// Runs all `conversions` and prints the outcome of each.
///
/// # Errors
/// Why no conversion can start, or why output fails.
pub async fn run(
    conversions: Vec<PlannedConversion>,
    args: Args,
    settings: &RunSettings,
    bars: MultiProgress,
) -> Result<Tally, Failure> {
    let mut signals = Signals::new().map_err(Failure::io("listen for signals"))?;
    let progress = Progress::new(conversions.len(), bars);
    let mut printer = print::Printer::new(&conversions, &args, progress.is_drawn());
    let mut tally = Tally { planned: conversions.len(), ..Tally::default() };
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    let at_once = settings.at_once.unwrap_or_else(processors).min(conversions.len()).max(1);
    let converter = Arc::new(app::converter(at_once, 1, Admission::unbounded(at_once), &settings.engine)?);
    let shared = Arc::new(Shared {
        conversions: cache::open(settings, &converter).await?,
        converter,
        args,
        timeout: settings.timeout,
        interrupt: Cancel::default(),
        files: TaskTracker::new(),
        spool: tempfile::Builder::new()
            .prefix("meshgate-")
            .tempdir()
            .map_err(Failure::io("make a temporary folder"))?,
        stdin: tokio::sync::OnceCell::new(),
    });

    let mut waiting = conversions.into_iter().enumerate();
    let mut running = JoinSet::new();
    let result = loop {
        while running.len() < at_once
            && let Some((index, planned)) = waiting.next()
        {
            let (shared, bar) = (Arc::clone(&shared), Arc::new(progress.start(label(&planned))));
            running.spawn(async move {
                let started = Instant::now();
                let result = shared.run_one(&planned, &bar).await;
                EndedConversion { index, planned, seconds: started.elapsed().as_secs_f64(), result }
            });
        }
        let next = tokio::select! {
            next = running.join_next() => next,
            _ = signals.next() => {
                tally.interrupted = true;
                break Ok(());
            }
        };
        let line = match next {
            None => break Ok(()),
            Some(Ok(finished)) => {
                progress.advance();
                printer.count(&finished, &mut tally);
                progress.print(|| printer.print(finished))
            }
            // A panic ends one conversion; the others continue.
            Some(Err(error)) => {
                tally.failed += 1;
                progress.print(|| print::panicked(&error));
                Ok(())
            }
        };
        if line.is_err() {
            break line;
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

/// The conversion on the line of its bar.
fn label(planned: &PlannedConversion) -> String {
    format!("{} → {}", humanize::name(&planned.input.name()), planned.target)
}

/// Stops the running conversions and the engine.
async fn end(shared: Arc<Shared>, mut running: JoinSet<EndedConversion>, mut signals: Signals, hurry: bool) {
    // A second Ctrl-C skips the clean-up.
    let impatient = tokio::spawn(async move {
        signals.next().await;
        std::process::exit(i32::from(INTERRUPTED));
    });
    if hurry {
        shared.interrupt.cancel();
    }
    running.shutdown().await;
    shared.files.close();
    let limit = if hurry { CLEAN_UP } else { Duration::from_secs(10) };
    let _ = timeout(limit, shared.files.wait()).await;
    if !hurry && let Err(trouble) = shared.conversions.finish().await {
        warn(&[format!("the store fails; results may not be cached: {trouble}")]);
    }
    let _ = timeout(limit, shared.converter.executor().shutdown()).await;
    impatient.abort();
}

impl Shared {
    async fn run_one(&self, planned: &PlannedConversion, bar: &Arc<Bar>) -> Result<Success, ConversionError> {
        write::check_free(&planned.output, self.args.force)?;
        let sources = match &planned.input.origin {
            Origin::File(path) => Source::FileWithSiblings(path.clone()),
            Origin::Folder(path) => Source::Folder(path.clone()),
            Origin::Stdin => {
                let path = self.stdin.get_or_try_init(|| self.spool_stdin()).await?.clone();
                Source::Files(vec![NamedFile { name: self.stdin_name(), file: FileSource::UserFile(path) }])
            }
        };
        let spec = Spec {
            sources,
            main: self.args.main.clone(),
            target: planned.target,
            options: self.args.options_for(planned.target),
            timeout: self.timeout,
        };
        let result = self.conversions.result(spec, bar).await.map_err(|error| self.with_cause(error))?;
        let output = planned.output.clone();
        let (force, interrupt) = (self.args.force, self.interrupt.clone());
        let placed = self.files.spawn_blocking(move || {
            // `result` moves here: its folder must exist until the files are copied.
            let written = write::write_files(&result.paths, &output, force, &interrupt);
            written.map(|written| Success { report: result.report, written, cached: result.cached })
        });
        placed.await.unwrap_or_else(|error| {
            Err(ConversionError::new(ErrorCode::Internal, format!("could not write the result: {error}")))
        })
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
        let path = self.spool.path().join(self.stdin_name());
        let copy = async {
            let mut file = tokio::fs::File::create(&path).await?;
            tokio::io::copy(&mut tokio::io::stdin(), &mut file).await?;
            tokio::io::AsyncWriteExt::flush(&mut file).await
        };
        copy.await.map_err(|error| ConversionError::io("read standard input", &error))?;
        Ok(path)
    }

    /// The file name for the content of standard input.
    fn stdin_name(&self) -> String {
        self.args
            .from
            .map_or_else(|| "model".to_owned(), |format| format!("model.{}", plan::extension(format)))
    }
}
