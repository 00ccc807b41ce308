//! One conversion from the user's files to the result's.
//!
//! ```text
//! sources ─▶ intake ─▶ pair and options ─▶ native lane ───────────────▶ count ─▶ compare ─▶ package
//!            (in/)      (refused here)  └▶ Blender's child ─▶ glb→gltf ┘  (output)   (losses)
//! ```

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;
use tracing::Instrument;

use super::{Admission, Course, Lane, losses};
use crate::domain::error::one_line;
use crate::domain::options::Packaging;
use crate::domain::report::{Contents, Counts, Report, Timings};
use crate::domain::{ConversionError, ErrorCode, Format, Options};
use crate::engine::blender::protocol::{Importer, Stage, Task};
use crate::engine::blender::stats::{Setback, Stats};
use crate::engine::blender::{self, Blender, EngineError};
use crate::engine::native;
use crate::engine::workdir::{ConversionFolder, WorkDir};
use crate::intake::{self, Model, Source};
use crate::{inspect, packaging, telemetry};

/// The engine sees to the time-out by itself, and answers when its child is dead; a conversion that is not over by
/// then is given up from outside.
const KILLED_WITHIN: Duration = Duration::from_secs(2);

/// One conversion to do.
#[derive(Debug, Clone)]
pub struct Request {
    pub sources: Source,
    /// The model's main file, where several could be.
    pub main: Option<String>,
    pub target: Format,
    pub options: Options,
    /// For all of it, waiting included.
    pub timeout: Duration,
}

/// A finished conversion.
#[derive(Debug)]
pub struct Outcome {
    pub report: Report,
    /// Holds the result's files; removed with its last clone.
    pub folder: ConversionFolder,
    /// Absolute paths below `folder.output()`; the first is the main file, or the only one: the zip.
    pub files: Vec<PathBuf>,
    /// The model's name without an extension.
    pub stem: String,
}

/// What carries out conversions.
pub struct Converter {
    /// How to run Blender.
    engine: Option<blender::Settings>,
    /// Why there is no engine, for the operator: where none was found, or the last start failed.
    trouble: Mutex<Option<Arc<EngineError>>>,
    /// How often it did not start.
    failed_starts: AtomicU64,
    work: WorkDir,
    limits: intake::Limits,
    admission: Admission,
    /// Started by the first conversion that needs it: the native lane works without.
    blender: OnceCell<Blender>,
}

/// What an engine made, before it is compared.
struct Made {
    input: Counts,
    /// Absent until the files are counted, unless the engine did so.
    output: Option<Counts>,
    /// Absolute; the first is the main file.
    files: Vec<PathBuf>,
    /// Of all files.
    bytes: u64,
    engine: String,
    importer: Option<String>,
    packed_textures: u64,
    losses: Vec<String>,
    warnings: Vec<String>,
    timings: Timings,
}

impl Made {
    /// Counts what is in the files, which are of the format `target`.
    fn count(&mut self, target: Format) -> Result<(), ConversionError> {
        let counting = Instant::now();
        let main = self.files.first().cloned().unwrap_or_default();
        if self.output.is_none() {
            self.output = Some(inspect::inspect(&main, target)?);
        }
        self.bytes = total_size(&self.files)?;
        self.timings.check_ms = Some(self.timings.check_ms.unwrap_or_default() + milliseconds(counting));
        Ok(())
    }
}

type Progress<'a> = &'a (dyn Fn(Stage, Option<f64>) + Send + Sync);

impl Converter {
    pub fn new(
        engine: Result<blender::Settings, EngineError>,
        work: WorkDir,
        limits: intake::Limits,
        admission: Admission,
    ) -> Self {
        let (engine, trouble) = match engine {
            Ok(settings) => (Some(settings), None),
            Err(error) => (None, Some(Arc::new(error))),
        };
        Self {
            engine,
            trouble: Mutex::new(trouble),
            failed_starts: AtomicU64::new(0),
            work,
            limits,
            admission,
            blender: OnceCell::new(),
        }
    }

    /// How large a model may be.
    pub fn limits(&self) -> intake::Limits {
        self.limits
    }

    /// Who may wait for the engine.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The engine's version, once it was started: `5.0.1`
    pub fn engine_version(&self) -> Option<String> {
        self.blender.get().map(|blender| blender.version().blender)
    }

    /// The engine's counts, once it was started.
    pub fn stats(&self) -> Option<Stats> {
        self.blender.get().map(Blender::stats)
    }

    /// The parts of the sandbox that this machine lacks, once the engine was started.
    pub fn sandbox_missing(&self) -> Option<&[String]> {
        self.blender.get().map(Blender::sandbox_missing)
    }

    /// Why a conversion that needs the engine would fail at this moment, without trying: `engine_unavailable`.
    pub fn outage(&self) -> Option<ConversionError> {
        match self.blender.get() {
            Some(blender) => blender.available().err(),
            None => {
                self.trouble().map(|error| ConversionError::new(ErrorCode::EngineUnavailable, error.public()))
            }
        }
    }

    /// Blender, started by the first call. Who waited while somebody else's start failed does not try again.
    ///
    /// # Errors
    /// `engine_unavailable`, in words for clients; [`Converter::trouble`] has those for the operator.
    pub async fn blender(&self) -> Result<&Blender, ConversionError> {
        let failed_before = self.failed_starts.load(Ordering::Relaxed);
        let start = || async {
            let known = || {
                let known =
                    self.trouble().map_or_else(|| EngineError::NotFound.public(), |error| error.public());
                Err(ConversionError::new(ErrorCode::EngineUnavailable, known))
            };
            let Some(settings) = self.engine.clone() else { return known() };
            if self.failed_starts.load(Ordering::Relaxed) != failed_before {
                return known();
            }
            let error = match Blender::start(settings).await {
                Ok(blender) => {
                    self.set_trouble(None);
                    return Ok(blender);
                }
                Err(error) => error,
            };
            tracing::error!(%error, "the engine does not start");
            let public = error.public();
            self.set_trouble(Some(error));
            self.failed_starts.fetch_add(1, Ordering::Relaxed);
            Err(ConversionError::new(ErrorCode::EngineUnavailable, public))
        };
        self.blender.get_or_try_init(start).await
    }

    /// Why there is no engine, in words for the operator: with paths, and with the last lines that it printed.
    /// `None` when it started, or has not been asked for yet.
    pub fn trouble(&self) -> Option<Arc<EngineError>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_trouble(&self, error: Option<EngineError>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = error.map(Arc::new);
    }

    /// Ends the engine and waits for it.
    pub async fn shutdown(&self) {
        if let Some(blender) = self.blender.get() {
            blender.shutdown().await;
        }
    }

    /// Carries out one conversion; dropping the future cancels it.
    ///
    /// # Errors
    /// Why the model could not be converted.
    pub async fn convert(
        &self,
        request: Request,
        progress: Progress<'_>,
    ) -> Result<Outcome, ConversionError> {
        self.convert_watched(request, &Course::default(), progress).await
    }

    /// As [`Converter::convert`]; `course` tells how far it got, whatever its end.
    ///
    /// # Errors
    /// Why the model could not be converted.
    pub async fn convert_watched(
        &self,
        request: Request,
        course: &Course,
        progress: Progress<'_>,
    ) -> Result<Outcome, ConversionError> {
        let timeout = request.timeout;
        let late = || {
            let detail = format!("the conversion took longer than {} s", timeout.as_secs_f64());
            ConversionError::new(ErrorCode::Timeout, detail)
        };
        let limit = timeout.saturating_add(KILLED_WITHIN);
        match tokio::time::timeout(limit, self.convert_at_leisure(request, course, progress)).await {
            // The engine knows only of the time that it was left.
            Ok(Err(error)) if error.code == ErrorCode::Timeout => Err(late()),
            Ok(result) => result,
            Err(_) => Err(late()),
        }
    }

    async fn convert_at_leisure(
        &self,
        request: Request,
        course: &Course,
        progress: Progress<'_>,
    ) -> Result<Outcome, ConversionError> {
        let began = Instant::now();
        let Request { sources, main, target, options, timeout } = request;
        options.check(target)?;
        let (work, limits, wanted) = (self.work.clone(), self.limits, options.clone());
        let (folder, model) = blocking(move || {
            let folder =
                work.conversion_folder().map_err(|error| ConversionError::io("make a folder", &error))?;
            // No child that is confined to the conversion's folder reads it then.
            let in_place = |format| native::can(format, target, &wanted);
            let model = intake::prepare(&sources, main.as_deref(), &folder.input(), limits, &in_place)?;
            Ok((folder, model))
        })
        .await?;
        let _ = course.model.set((model.format, model.bytes));
        if let Some(reason) = model.format.refusal(target) {
            return Err(ConversionError::new(ErrorCode::UnsupportedPair, reason));
        }
        let conversion = Conversion { folder, model, target, options, began, progress, course };
        let made = if native::can(conversion.model.format, target, &conversion.options) {
            let _ = course.lane.set(Lane::Native);
            conversion.repack().instrument(telemetry::span!("convert")).await?
        } else {
            let _ = course.lane.set(Lane::Blender);
            let place = self.admission.enter()?;
            let blender = self.blender().await?;
            let started = OnceLock::new();
            let made = conversion.blend(blender, timeout, &started).await;
            // Failures take their time, too.
            if let Some(started) = started.get() {
                place.leave(started.elapsed());
            }
            made?
        };
        conversion.finish(made).await
    }
}

/// A conversion whose model is in its folder.
struct Conversion<'a> {
    folder: ConversionFolder,
    model: Model,
    target: Format,
    options: Options,
    began: Instant,
    progress: Progress<'a>,
    course: &'a Course,
}

impl Conversion<'_> {
    /// The native lane.
    async fn repack(&self) -> Result<Made, ConversionError> {
        (self.progress)(Stage::Packing, None);
        let (out, model) = (self.folder.output(), self.model.clone());
        let (target, packaging) = (self.target, self.options.packaging);
        blocking(move || {
            let began = Instant::now();
            let source = match model.in_place() {
                Some((main, folder)) => native::Source::open_in(main.clone(), Arc::clone(folder))?,
                None => native::Source::open(&model.folder.join(&model.main))?,
            };
            let input = inspect::inspect_source(&source)?;
            let names = native::repack(&source, model.bytes, &out, &model.name, target, packaging)?;
            let timings = Timings { process_ms: Some(milliseconds(began)), ..Timings::default() };
            let mut made = Made {
                input,
                output: None,
                bytes: 0,
                files: names.into_iter().map(|name| out.join(name)).collect(),
                engine: "native".to_owned(),
                importer: None,
                packed_textures: 0,
                losses: Vec::new(),
                warnings: Vec::new(),
                timings,
            };
            made.count(target)?;
            model.check_unchanged()?;
            Ok(made)
        })
        .await
    }

    /// Blender. `started` is when it began to work on it.
    async fn blend(
        &self,
        blender: &Blender,
        timeout: Duration,
        started: &OnceLock<Instant>,
    ) -> Result<Made, ConversionError> {
        let (model, target) = (&self.model, self.target);
        // A gltf is a glb that the native lane takes apart.
        let written = if target == Format::Gltf { Format::Glb } else { target };
        let output = Path::new("out").join(file_name(&model.name, written.info().extensions[0]));
        let task = Task {
            input: Path::new("in").join(&model.main),
            input_format: model.format,
            output: output.clone(),
            output_format: written,
            options: self.options.clone(),
            read_back: !inspect::can_inspect(target),
            importer: Importer::Usual,
        };
        let left = timeout.saturating_sub(self.began.elapsed());
        let progress = |stage, fraction| {
            started.get_or_init(Instant::now);
            (self.progress)(stage, fraction);
        };
        let done = blender.convert_measured(&self.folder, task, left, progress, &self.course.usage).await?;
        let (folder, main) = (self.folder.clone(), self.folder.path().join(&output));
        let (name, packaging) = (model.name.clone(), self.options.packaging);
        let mut warnings = Vec::new();
        if let Some(setback) = done.retried_after {
            let what = match setback {
                Setback::Crash => "crashed on this model at first",
                Setback::Hang => "hung on this model at first",
                Setback::EngineLost => "went down at first",
            };
            warnings.push(format!("the engine {what}; a fresh one converted it"));
        }
        warnings.extend(done.success.warnings);
        let mut made = Made {
            input: done.success.input,
            output: done.success.output,
            files: Vec::new(),
            bytes: 0,
            engine: format!("blender {}", blender.version().blender),
            importer: Some(done.success.importer),
            packed_textures: done.success.packed_textures,
            losses: done.success.losses,
            warnings,
            timings: Timings {
                queue_ms: Some(done.queue.as_secs_f64() * 1000.0),
                import_ms: Some(done.success.import_ms),
                process_ms: Some(done.success.process_ms),
                export_ms: Some(done.success.export_ms),
                check_ms: Some(done.success.check_ms),
                total_ms: 0.0,
            },
        };
        blocking(move || {
            made.files = match target {
                Format::Gltf => take_apart(&main, &folder.output(), &name, packaging)?,
                _ => result_files(&folder.output(), main)?,
            };
            made.count(target)?;
            Ok(made)
        })
        .await
    }

    /// Compares, packages.
    async fn finish(self, made: Made) -> Result<Outcome, ConversionError> {
        let Conversion { folder, model, target, options, began, progress, course } = self;
        let Made {
            mut input,
            output,
            files,
            bytes,
            engine,
            importer,
            packed_textures,
            losses,
            warnings,
            mut timings,
        } = made;
        let _ = course.result_bytes.set(bytes);
        for name in &model.missing_textures {
            if !input.missing_textures.contains(name) {
                input.missing_textures.push(name.clone());
            }
        }
        let input = Contents { format: model.format, bytes: model.bytes, files: model.files, counts: input };
        let output =
            Contents { format: target, bytes, files: files.len() as u32, counts: output.unwrap_or_default() };
        losses::check(&input, &output)?;
        let mut all_losses = losses::losses(&input, &output, &options, packed_textures, &losses);
        all_losses.extend(losses);
        let mut all_warnings = model.warnings;
        all_warnings.extend(warnings);
        // They hold names from the model.
        for sentence in all_losses.iter_mut().chain(&mut all_warnings) {
            *sentence = one_line(sentence);
        }

        let files = match options.packaging {
            Packaging::Zip => {
                progress(Stage::Packing, None);
                let (out, name) = (folder.output(), model.name.clone());
                vec![blocking(move || zip(&files, &out, &name)).await?]
            }
            Packaging::Auto | Packaging::Single => files,
        };
        timings.total_ms = milliseconds(began);
        let report =
            Report { input, output, losses: all_losses, warnings: all_warnings, engine, importer, timings };
        Ok(Outcome { report, folder, files, stem: model.name })
    }
}

/// Runs work on files where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ConversionError> + Send + 'static,
) -> Result<T, ConversionError> {
    tokio::task::spawn_blocking(telemetry::in_span(work)).await.unwrap_or_else(|error| {
        tracing::error!(%error, "work on files ended early");
        Err(ConversionError::new(ErrorCode::Internal, "the conversion ended unexpectedly"))
    })
}

/// A glb, as gltf; the glb goes.
fn take_apart(
    glb: &Path,
    out: &Path,
    name: &str,
    packaging: Packaging,
) -> Result<Vec<PathBuf>, ConversionError> {
    let names = native::glb_to_gltf(glb, out, name, packaging)?;
    std::fs::remove_file(glb).map_err(|error| ConversionError::io("remove an intermediate file", &error))?;
    Ok(names.into_iter().map(|name| out.join(name)).collect())
}

/// What the engine wrote: the main file, then the others by name.
fn result_files(out: &Path, main: PathBuf) -> Result<Vec<PathBuf>, ConversionError> {
    let mut files = vec![main];
    for entry in walkdir::WalkDir::new(out).sort_by_file_name() {
        let entry = entry.map_err(|error| ConversionError::io("list the result", &error.into()))?;
        if entry.file_type().is_file() && entry.path() != files[0] {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

fn zip(files: &[PathBuf], out: &Path, name: &str) -> Result<PathBuf, ConversionError> {
    let io = |error| ConversionError::io("write the zip", &error);
    let path = out.join(file_name(name, "zip"));
    let named = files
        .iter()
        .map(|file| (file.clone(), file.strip_prefix(out).unwrap_or(file).to_string_lossy().into_owned()))
        .collect::<Vec<_>>();
    packaging::zip_files(&named, std::fs::File::create(&path).map_err(io)?)?;
    Ok(path)
}

fn total_size(files: &[PathBuf]) -> Result<u64, ConversionError> {
    let mut bytes = 0;
    for file in files {
        bytes += file.metadata().map_err(|error| ConversionError::io("measure the result", &error))?.len();
    }
    Ok(bytes)
}

fn file_name(stem: &str, extension: &str) -> String {
    format!("{stem}.{extension}")
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
