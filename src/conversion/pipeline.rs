//! One conversion from the user's files to the result's.
//!
//! ```text
//! options ─▶ sources ─▶ intake ─▶ pair ─▶ native lane ───────────────▶ count ─▶ compare ─▶ package
//! (checked)             (in/) (checked)└▶ Blender's child ─▶ glb→gltf ┘  (output)   (losses)
//! ```
//!
//! `Converter::prepare` checks the options and reads the model; `Converter::run` checks the pair and chooses the lane.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use super::admission::QueuePlace;
use super::blocking::blocking;
use super::finished::FinishedConversion;
use super::reading::ReadPool;
use super::record::Observed;
use super::timeout::within;
use super::{artifact, losses, result_files};
use crate::context::Context;
use crate::domain::error::one_line;
use crate::domain::options::Packaging;
use crate::domain::report::{Contents, Counts, Report, Timings};
use crate::domain::{Client, ConversionError, Format, Options, Purpose, Stage};
use crate::executor::stats::AttemptFailure;
use crate::executor::task::{Importer, Task};
use crate::executor::workdir::ConversionFolder;
use crate::executor::{EngineRequest, Executor};
use crate::formats::gltf::asset::Asset;
use crate::fs::open::{Located, Memory, Root};
use crate::fs::zip::zip_below;
use crate::intake::{Model, Source};
use crate::{inspect, repack};

/// A model, its target format and the options.
#[derive(Debug, Clone)]
pub struct Spec {
    pub sources: Source,
    /// The model's main file, if several are possible.
    pub main: Option<String>,
    pub target: Format,
    pub options: Options,
    /// For the whole conversion, waiting included.
    pub timeout: Duration,
}

/// The result of either lane, before it is compared with the model.
#[derive(Default)]
pub(super) struct RawResult {
    input: Counts,
    /// `None` until the files are counted, unless Blender has read them back.
    output: Option<Counts>,
    /// Absolute; the first is the main file.
    files: Vec<PathBuf>,
    /// The only file, if it is in memory.
    memory: Option<Memory>,
    /// Of all files.
    bytes: u64,
    /// The lane, with its version: `native`, `blender 5.0.1`.
    engine: String,
    importer: Option<String>,
    merged_textures: u64,
    losses: Vec<String>,
    warnings: Vec<String>,
    timings: Timings,
}

impl RawResult {
    /// Counts the contents of the files, whose format is `target`.
    fn count(&mut self, target: Format, context: &Context) -> Result<(), ConversionError> {
        let counting = Instant::now();
        if self.output.is_none() {
            let main = self.files.first().map_or(Path::new(""), PathBuf::as_path);
            self.output = Some(match &self.memory {
                Some(memory) => {
                    inspect::inspect_source(&Asset::open_in(memory.clone().into(), None, context)?)?
                }
                None => inspect::inspect(main, target, context)?,
            });
        }
        let sizes = self.files.iter().map(|file| Ok(file.metadata()?.len()));
        let bytes = sizes.sum::<io::Result<u64>>();
        self.bytes = bytes.map_err(|error| ConversionError::io("measure the result", &error))?;
        *self.timings.check_ms.get_or_insert_default() += milliseconds(counting);
        Ok(())
    }
}

/// Called with each stage as it begins, and with the part of it that is done, from 0 to 1, if known.
pub type OnStage<'a> = &'a (dyn Fn(Stage, Option<f64>) + Send + Sync);

/// Models of this size or more, in bytes, are removed before their results are sent.
const LARGE: u64 = 1 << 20;

/// A conversion whose model is in its folder, or can be read where it is.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub folder: ConversionFolder,
    pub model: Model,
    pub target: Format,
    pub options: Options,
    pub began: Instant,
}

/// A running conversion.
pub(super) struct Pipeline<'a> {
    pub prepared: Prepared,
    /// Largest result, in bytes.
    pub max_result: u64,
    pub client: &'a Client,
    pub purpose: Purpose,
    pub observed: &'a Observed,
    pub reading: &'a ReadPool,
    pub on_stage: OnStage<'a>,
}

impl Pipeline<'_> {
    /// Converts within the glTF family: buffers are copied, JSON stays as it was written.
    pub async fn repack(&self) -> Result<RawResult, ConversionError> {
        (self.on_stage)(Stage::Packing, None);
        let Prepared { folder, model, target, options, .. } = self.prepared.clone();
        let packaging = options.packaging;
        let room = repack::SizeLimit { model: model.bytes, most: self.max_result };
        let work = move |context: &Context| {
            let began = Instant::now();
            let source = open(&model, context)?;
            let input = inspect::inspect_source(&source)?;
            let mut made = RawResult { input, engine: "native".to_owned(), ..RawResult::default() };
            // A model in memory becomes a result in memory: one file of about the same size.
            if model.is_in_memory() && packaging != Packaging::Zip {
                let memory =
                    Memory::new().map_err(|error| ConversionError::io("write the result", &error))?;
                repack::repack_alone(&source, room, &memory.path(), target)?;
                made.files = vec![memory.path()];
                made.memory = Some(memory);
            } else {
                let out = folder.output();
                fs::create_dir_all(&out).map_err(|error| ConversionError::io("make a folder", &error))?;
                let names = repack::repack(&source, room, &out, &model.name, target, packaging)?;
                made.files = names.into_iter().map(|name| out.join(name)).collect();
            }
            made.timings.process_ms = Some(milliseconds(began));
            // Releases its share of the memory budget, which counting the result needs.
            drop(source);
            made.count(target, context)?;
            model.check_unchanged()?;
            Ok(made)
        };
        self.reading.run(self.client, work).await
    }

    /// Converts with Blender. Marks `place` as working when the first stage begins.
    pub async fn run_blender(
        &self,
        executor: &dyn Executor,
        timeout: Duration,
        place: &QueuePlace,
    ) -> Result<RawResult, ConversionError> {
        let Prepared { folder, model, target, options, began } = &self.prepared;
        let (target, packaging, most) = (*target, options.packaging, self.max_result);
        folder.create_subfolders().map_err(|error| ConversionError::io("make a folder", &error))?;
        // A gltf is written as a glb, which the native lane unpacks.
        let written = if target == Format::Gltf { Format::Glb } else { target };
        let output = Path::new("out").join(format!("{}.{}", model.name, written.info().extensions[0]));
        let main = folder.path().join(&output);
        let task = Task {
            input: Path::new("in").join(&model.main),
            input_format: model.format,
            output,
            output_format: written,
            options: options.clone(),
            read_back: !inspect::can_inspect(target),
            importer: Importer::Default,
            most_triangles: target.most_triangles(most),
        };
        let left = timeout.saturating_sub(began.elapsed());
        let request = EngineRequest {
            client: self.client.clone(),
            purpose: self.purpose,
            folder,
            task,
            allowed: if self.purpose.is_job() { timeout } else { left },
            progress: Box::new(|stage, fraction| {
                place.work();
                (self.on_stage)(stage, fraction);
            }),
            usage: Arc::clone(&self.observed.usage),
        };
        let completed = executor.convert(request).await?;
        let mut warnings = Vec::new();
        if let Some(failure) = completed.retried_after {
            let what = match failure {
                AttemptFailure::Crash => "crashed on this model at first",
                AttemptFailure::Hang => "hung on this model at first",
                AttemptFailure::EngineLost => "went down at first",
            };
            warnings.push(format!("the engine {what}; a fresh one converted it"));
        }
        warnings.extend(completed.success.warnings);
        let mut made = RawResult {
            input: completed.success.input,
            output: completed.success.output,
            engine: format!("blender {}", executor.version().unwrap_or_default().blender),
            importer: Some(completed.success.importer),
            merged_textures: completed.success.packed_textures,
            losses: completed.success.losses,
            warnings,
            timings: Timings {
                queue_ms: Some(completed.queue.as_secs_f64() * 1000.0),
                import_ms: Some(completed.success.import_ms),
                process_ms: Some(completed.success.process_ms),
                export_ms: Some(completed.success.export_ms),
                check_ms: Some(completed.success.check_ms),
                total_ms: 0.0,
            },
            ..RawResult::default()
        };
        let (folder, name) = (folder.clone(), model.name.clone());
        let work = move |context: &Context| {
            let out = folder.output();
            if target == Format::Gltf {
                let names = repack::glb_to_gltf(&main, most, &out, &name, packaging, context)?;
                let removed = fs::remove_file(&main);
                removed.map_err(|error| ConversionError::io("remove an intermediate file", &error))?;
                made.files = names.into_iter().map(|name| out.join(name)).collect();
            } else {
                let (files, warning) = result_files::list(&out, main, target)?;
                made.files = files;
                made.warnings.extend(warning);
            }
            made.count(target, context)?;
            Ok(made)
        };
        within(timeout, self.reading.run(self.client, work)).await
    }

    /// Compares the result with the model, and packages it.
    pub async fn finish(self, made: RawResult) -> Result<FinishedConversion, ConversionError> {
        let Prepared { folder, model, target, options, began } = self.prepared;
        let _ = self.observed.result_bytes.set(made.bytes);
        let mut zip_permit = None;
        if options.packaging == Packaging::Zip {
            (self.on_stage)(Stage::Packing, None);
            zip_permit = artifact::zip_permit(made.bytes).await;
        }
        let is_large = model.bytes >= LARGE;
        // Every step takes long for a model with many clips and names, so all run on a blocking thread.
        let conversion = blocking(move |cancel| {
            let _zip_permit = zip_permit;
            let stem = model.name.clone();
            let (mut report, mut files, memory) = compare(model, made, target, &options)?;
            cancel.check()?;
            if options.packaging == Packaging::Zip {
                let out = folder.output();
                let zip = out.join(format!("{stem}.zip"));
                zip_below(&out, &files, &zip, cancel)?;
                files = vec![zip];
            }
            report.timings.total_ms = milliseconds(began);
            Ok(FinishedConversion { report, folder, files, memory, stem })
        })
        .await?;
        if is_large {
            // A client may take hours to download, and a large model should not stay as long. Nothing waits for the
            // removal.
            let folder = conversion.folder.clone();
            tokio::task::spawn_blocking(move || folder.remove_all_but_result());
        }
        Ok(conversion)
    }
}

/// Returns the report and the files of the result, and the only file's memory if it is in memory.
fn compare(
    model: Model,
    made: RawResult,
    target: Format,
    options: &Options,
) -> Result<(Report, Vec<PathBuf>, Option<Memory>), ConversionError> {
    let RawResult { input: mut counts, files, memory, engine, importer, timings, .. } = made;
    let mut warnings = model.warnings;
    let known: HashSet<String> = counts.missing_textures.iter().cloned().collect();
    for name in model.missing_textures.into_iter().filter(|name| !known.contains(name)) {
        warnings.push(format!("a texture was not found: {name}"));
        counts.missing_textures.push(name);
    }
    warnings.extend(made.warnings);
    let input = Contents { format: model.format, bytes: model.bytes, files: model.files, counts };
    let counts = made.output.unwrap_or_default();
    let output = Contents { format: target, bytes: made.bytes, files: files.len() as u32, counts };
    losses::check(&input, &output)?;
    let mut losses = losses::losses(&input, &output, options, made.merged_textures, &made.losses);
    losses.extend(made.losses);
    // The sentences contain names from the model.
    for sentence in losses.iter_mut().chain(&mut warnings) {
        *sentence = one_line(sentence);
    }
    let mut report = Report { input, output, losses, warnings, engine, importer, timings };
    report.shorten();
    Ok((report, files, memory))
}

/// Opens the model for the native lane. Its main file need not lie at the top of its folder.
fn open(model: &Model, context: &Context) -> Result<Asset, ConversionError> {
    if let Some((main, folder)) = model.in_place() {
        return Asset::open_in(main.clone(), folder.cloned(), context);
    }
    let folder = Root::open(&model.folder).map_err(|error| ConversionError::io("open the model", &error))?;
    let folder = Arc::new(folder);
    Asset::open_in(Located::new(&folder, model.main.clone()), Some(folder), context)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
