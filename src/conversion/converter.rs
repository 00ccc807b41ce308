//! Converts one model at a time: reads it, chooses the lane, and compares the result with the model.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Instrument;

use super::admission::Admission;
use super::blocking::blocking;
use super::finished::FinishedConversion;
use super::lane;
use super::pipeline::{OnStage, Pipeline, Prepared, Spec};
use super::reading::ReadPool;
use super::record::Observed;
use super::timeout::within;
use super::upload::Upload;
use crate::context::Context;
use crate::domain::{Client, ConversionError, ErrorCode, Format, Options, Purpose};
use crate::executor::workdir::{ConversionFolder, WorkDir};
use crate::executor::{Executor, Status};
use crate::fs::names;
use crate::storage::Hash;
use crate::{cache, intake, repack, telemetry};

/// Converts models and stores nothing.
pub struct Converter {
    executor: Arc<dyn Executor>,
    work: WorkDir,
    limits: intake::ModelLimits,
    admission: Admission,
    reading: ReadPool,
}

impl Converter {
    pub fn new(
        executor: Arc<dyn Executor>,
        work: WorkDir,
        limits: intake::ModelLimits,
        admission: Admission,
    ) -> Self {
        Self { executor, work, limits, admission, reading: ReadPool::default() }
    }

    pub fn limits(&self) -> intake::ModelLimits {
        self.limits
    }

    /// The limit of conversions that work or wait for the engine.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    pub fn executor(&self) -> &dyn Executor {
        &*self.executor
    }

    /// The folder in which conversions run.
    pub fn work(&self) -> &WorkDir {
        &self.work
    }

    /// How many conversions wait for a slot of the engine. Before it runs, all that were admitted wait; if other processes
    /// run conversions, none do: those are jobs, and counted as such.
    pub fn waiting(&self, engine: &Status) -> usize {
        match &engine.running {
            Some(running) => running.stats.waiting,
            None if self.executor.runs_elsewhere() => 0,
            None => self.admission.inside(),
        }
    }

    /// Whether a conversion of these uploads certainly needs no Blender. Reads what is needed to tell.
    pub(super) async fn needs_no_engine(
        &self,
        uploads: &[Upload],
        target: Format,
        options: &Options,
        client: &Client,
    ) -> bool {
        let may_be_native = |upload: &Upload| lane::may_be_native_by_name(&upload.name, target, options);
        if !uploads.iter().all(may_be_native) {
            return false;
        }
        let Ok(files) = uploads.iter().map(Upload::to_intake_file).collect::<Result<Vec<_>, _>>() else {
            return false;
        };
        let options = options.clone();
        let look = move |context: &Context| Ok(lane::is_native(&files, target, &options, &context.cancel));
        self.reading.run(client, look).await.unwrap_or(false)
    }

    /// The versions of the engine that results depend on, if known.
    pub(super) fn engine_identity(&self) -> Option<String> {
        let version = self.executor.version()?;
        Some(format!("{}/{}", version.blender, version.vrm_addon))
    }

    /// Converts a model in a new folder, for tests and benchmarks. Dropping the future cancels the conversion.
    pub async fn convert(
        &self,
        spec: Spec,
        on_stage: OnStage<'_>,
    ) -> Result<FinishedConversion, ConversionError> {
        let (folder, timeout) = (self.work.new_folder(), spec.timeout);
        let work = async {
            let prepared = self.prepare(folder, spec, &Client::Local).await?;
            self.run(prepared, timeout, &Client::Local, Purpose::Request, &Observed::default(), on_stage)
                .await
        };
        within(timeout, work).await
    }

    /// Reads a model without converting it. The folder may hold its files already.
    ///
    /// # Errors
    /// The errors that can be found without an engine.
    pub(super) async fn prepare(
        &self,
        folder: ConversionFolder,
        spec: Spec,
        client: &Client,
    ) -> Result<Prepared, ConversionError> {
        let began = Instant::now();
        let Spec { sources, main, target, options, .. } = spec;
        options.check(target)?;
        let (limits, wanted) = (self.limits, options.clone());
        let prepared = self.reading.run(client, move |context| {
            // A model that is repacked may stay where it is: no sandboxed child has to read it.
            let in_place = |format| repack::can(format, target, &wanted);
            let input = folder.input();
            let model = intake::prepare(&sources, main.as_deref(), &input, limits, context, &in_place)?;
            Ok((folder, model))
        });
        let (folder, model) = prepared.await?;
        Ok(Prepared { folder, model, target, options, began })
    }

    /// Converts a prepared model, by the native lane if that loses nothing, else by Blender. Fills in `observed` as far
    /// as the conversion gets. `timeout` limits each step; for a job, that of the engine begins with its slot. The
    /// caller of a request limits all steps together.
    pub(super) async fn run(
        &self,
        prepared: Prepared,
        timeout: Duration,
        client: &Client,
        purpose: Purpose,
        observed: &Observed,
        on_stage: OnStage<'_>,
    ) -> Result<FinishedConversion, ConversionError> {
        let Prepared { model, target, options, .. } = &prepared;
        let _ = observed.model.set((model.format, model.bytes));
        if let Some(reason) = model.format.unsupported_reason(*target) {
            return Err(ConversionError::new(ErrorCode::UnsupportedPair, reason));
        }
        let can_repack = repack::can(model.format, *target, options);
        let _ = observed.engine.set(if can_repack { "native" } else { "blender" });
        let (max_result, reading) = (self.limits.max_result(), &self.reading);
        let pipeline = Pipeline { prepared, max_result, client, purpose, observed, reading, on_stage };
        let made = if can_repack {
            within(timeout, pipeline.repack().instrument(telemetry::span!("convert"))).await?
        } else {
            let admission = &self.admission;
            let place = if purpose.is_job() { admission.enter_job() } else { admission.enter(client)? };
            let made = tokio::select! {
                made = pipeline.run_blender(&*self.executor, timeout, &place) => made,
                error = place.taken_over() => Err(error),
            };
            // The duration of a failure counts for the expected wait, too.
            place.leave();
            made?
        };
        within(timeout, pipeline.finish(made)).await
    }
}

impl Prepared {
    /// Computes the identity of the conversion by hashing the model.
    ///
    /// # Errors
    /// `io`, also if a file was changed meanwhile.
    pub(super) async fn identity(&self, engine: String) -> Result<Hash, ConversionError> {
        let Self { model, target, options, .. } = self.clone();
        blocking(move |cancel| {
            let mut files = Vec::new();
            for (name, file) in model.open_files()? {
                let mut hasher = blake3::Hasher::new();
                let read = hasher.update_reader(cancel.reader(file));
                read.map_err(|error| ConversionError::io("read the model", &error))?;
                files.push(cache::HashedFile {
                    name: name.to_owned(),
                    hash: *hasher.finalize().as_bytes(),
                    bytes: hasher.count(),
                });
            }
            model.check_unchanged()?;
            // A single file that was not in an archive is fully described by its name.
            let main = files.first().map(|file| file.name.clone()).unwrap_or_default();
            let alone =
                files.len() == 1 && names::result_name(&main) == model.name && model.warnings.is_empty();
            let called =
                (!alone).then(|| format!("{:?}", (&model.name, &model.warnings, &model.missing_textures)));
            Ok(cache::identity(&cache::IdentityInputs {
                engine: &engine,
                owner: None,
                target,
                options: &options,
                main: (!alone).then_some(main.as_str()),
                called: called.as_deref(),
                files,
            }))
        })
        .await
    }
}
