//! What carries out conversions: the engine, started when it is needed, and the conversion path around it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;
use tracing::Instrument;

use super::pipeline::{Conversion, Outcome, Progress, Request};
use super::reading::Reading;
use super::{Admission, Course, Lane, blocking, late};
use crate::domain::{Client, ConversionError, ErrorCode, Format, Options};
use crate::executor::local::stats::Stats;
use crate::executor::local::{self, Blender, EngineError, Version};
use crate::executor::workdir::{ConversionFolder, WorkDir};
use crate::fs::names;
use crate::intake::{self, Model};
use crate::storage::Hash;
use crate::{cache, repack, telemetry};

/// The engine sees to the time-out by itself, and answers when its child is dead; a conversion that is not over by
/// then is given up from outside.
pub(super) const KILLED_WITHIN: Duration = Duration::from_secs(2);

/// What carries out conversions.
pub struct Converter {
    /// How to run Blender.
    engine: Option<local::Settings>,
    /// Why there is no engine, for the operator: where none was found, or the last start failed.
    trouble: Mutex<Option<Arc<EngineError>>>,
    /// How often it did not start, for want of one or for another reason.
    failed_starts: AtomicU64,
    work: WorkDir,
    limits: intake::Limits,
    admission: Admission,
    reading: Reading,
    /// Started by the first conversion that needs it: the native lane works without.
    blender: OnceCell<Blender>,
    /// What is there to be started.
    installed: OnceLock<Version>,
}

impl Converter {
    pub fn new(
        engine: Result<local::Settings, EngineError>,
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
            reading: Reading::default(),
            blender: OnceCell::new(),
            installed: OnceLock::new(),
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

    /// All of the engine that results depend on, as far as it is known: what was started, else what is installed.
    pub fn engine_identity(&self) -> Option<String> {
        let version = match self.blender.get() {
            Some(blender) => blender.version(),
            None => self.installed()?,
        };
        Some(format!("{}/{}", version.blender, version.vrm_addon))
    }

    /// Found once: it takes a look at every package that is installed.
    fn installed(&self) -> Option<Version> {
        if let Some(installed) = self.installed.get() {
            return Some(installed.clone());
        }
        let installed = self.engine.as_ref()?.engine.installed()?;
        Some(self.installed.get_or_init(|| installed).clone())
    }

    /// The engine's counts, once it was started.
    pub fn stats(&self) -> Option<Stats> {
        self.blender.get().map(Blender::stats)
    }

    /// How many wait for a slot; until the engine has started, whoever was let in waits for that.
    pub fn waiting(&self) -> usize {
        self.stats().map_or_else(|| self.admission.inside(), |stats| stats.waiting)
    }

    /// How often the engine was to be started in vain, since there was none or it did not come up. What the engine
    /// itself counts is not in it: that is about the successors of one that had started.
    pub fn failed_starts(&self) -> u64 {
        self.failed_starts.load(Ordering::Relaxed)
    }

    /// The parts of the sandbox that this machine lacks, once the engine was started.
    pub fn sandbox_missing(&self) -> Option<&[String]> {
        self.blender.get().map(Blender::sandbox_missing)
    }

    /// Why a conversion that needs the engine would fail at this moment, without trying: `engine_unavailable`.
    pub fn outage(&self) -> Option<ConversionError> {
        match self.blender.get() {
            Some(blender) => blender.available().err(),
            None => self.trouble().map(|error| unavailable(&error)),
        }
    }

    /// Blender, started by the first call. Who waited while somebody else's start failed does not try again.
    ///
    /// # Errors
    /// `engine_unavailable`, in words for clients; [`Converter::trouble`] has those for the operator.
    pub async fn blender(&self) -> Result<&Blender, ConversionError> {
        let failed_before = self.failed_starts();
        self.blender.get_or_try_init(|| self.start(failed_before)).await
    }

    async fn start(&self, failed_before: u64) -> Result<Blender, ConversionError> {
        let known = || unavailable(self.trouble().as_deref().unwrap_or(&EngineError::NotFound));
        if self.failed_starts() != failed_before {
            return Err(known());
        }
        let Some(settings) = self.engine.clone() else {
            self.failed_starts.fetch_add(1, Ordering::Relaxed);
            return Err(known());
        };
        match Blender::start(settings).await {
            Ok(blender) => {
                self.set_trouble(None);
                Ok(blender)
            }
            Err(error) => {
                tracing::error!(%error, "the engine does not start");
                let public = unavailable(&error);
                self.set_trouble(Some(error));
                self.failed_starts.fetch_add(1, Ordering::Relaxed);
                Err(public)
            }
        }
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
        self.convert_in(self.work.new_folder(), request, &Course::default(), progress).await
    }

    /// As [`Converter::convert`], in a folder that may hold the sources already; `course` tells how far it got,
    /// whatever its end.
    ///
    /// # Errors
    /// Why the model could not be converted.
    pub async fn convert_in(
        &self,
        folder: ConversionFolder,
        request: Request,
        course: &Course,
        progress: Progress<'_>,
    ) -> Result<Outcome, ConversionError> {
        let timeout = request.timeout;
        let work = async {
            let prepared = self.prepare(folder, request, &course.client).await?;
            self.carry_out_at_leisure(prepared, timeout, course, progress).await
        };
        within(timeout, work).await
    }

    /// Brings the model of a conversion in, and no more.
    ///
    /// # Errors
    /// Why the model cannot be converted, as far as that is seen without an engine.
    pub async fn prepare(
        &self,
        folder: ConversionFolder,
        request: Request,
        client: &Client,
    ) -> Result<Prepared, ConversionError> {
        let began = Instant::now();
        let Request { sources, main, target, options, .. } = request;
        options.check(target)?;
        let (limits, wanted) = (self.limits, options.clone());
        let prepared = self.reading.run(client, move |context| {
            // No child that is confined to the conversion's folder reads it then.
            let in_place = |format| repack::can(format, target, &wanted);
            let input = folder.input();
            let model = intake::prepare(&sources, main.as_deref(), &input, limits, context, &in_place)?;
            Ok((folder, model))
        });
        let (folder, model) = prepared.await?;
        Ok(Prepared { folder, model, target, options, began })
    }

    /// Converts what is prepared within `timeout`; dropping the future cancels it.
    ///
    /// # Errors
    /// Why the model could not be converted.
    pub async fn carry_out(
        &self,
        prepared: Prepared,
        timeout: Duration,
        progress: Progress<'_>,
    ) -> Result<Outcome, ConversionError> {
        within(timeout, self.carry_out_at_leisure(prepared, timeout, &Course::default(), progress)).await
    }

    async fn carry_out_at_leisure(
        &self,
        prepared: Prepared,
        timeout: Duration,
        course: &Course,
        progress: Progress<'_>,
    ) -> Result<Outcome, ConversionError> {
        let Prepared { folder, model, target, options, began } = prepared;
        let _ = course.model.set((model.format, model.bytes));
        if let Some(reason) = model.format.refusal(target) {
            return Err(ConversionError::new(ErrorCode::UnsupportedPair, reason));
        }
        let (max_result, reading) = (self.limits.max_result(), &self.reading);
        let conversion =
            Conversion { folder, model, target, options, began, max_result, progress, course, reading };
        let made = if repack::can(conversion.model.format, target, &conversion.options) {
            let _ = course.lane.set(Lane::Native);
            conversion.repack().instrument(telemetry::span!("convert")).await?
        } else {
            let _ = course.lane.set(Lane::Blender);
            let place = self.admission.enter(&course.client)?;
            let work = async { conversion.blend(self.blender().await?, timeout, &place).await };
            let made = tokio::select! {
                made = work => made,
                error = place.taken_over() => Err(error),
            };
            // Failures take their time, too.
            place.leave();
            made?
        };
        conversion.finish(made).await
    }

    /// Where conversions happen on disk.
    pub fn work(&self) -> &WorkDir {
        &self.work
    }
}

/// Gives up when the time is over.
async fn within(
    timeout: Duration,
    work: impl Future<Output = Result<Outcome, ConversionError>>,
) -> Result<Outcome, ConversionError> {
    match tokio::time::timeout(timeout.saturating_add(KILLED_WITHIN), work).await {
        // The engine knows only of the time that it was left.
        Ok(Err(error)) if error.code == ErrorCode::Timeout => Err(late(timeout)),
        Ok(result) => result,
        Err(_) => Err(late(timeout)),
    }
}

/// A conversion whose model is in its folder, or can be read where it is.
#[derive(Debug, Clone)]
pub struct Prepared {
    folder: ConversionFolder,
    model: Model,
    target: Format,
    options: Options,
    began: Instant,
}

impl Prepared {
    pub fn folder(&self) -> &ConversionFolder {
        &self.folder
    }

    /// What the conversion is known by, found by reading the model.
    ///
    /// # Errors
    /// `io`, also where a file was changed meanwhile.
    pub async fn identity(&self, engine: String) -> Result<Hash, ConversionError> {
        let Self { model, target, options, .. } = self.clone();
        blocking(move |cancel| {
            let mut files = Vec::new();
            for (name, file) in model.open_parts()? {
                cancel.check()?;
                let mut hasher = blake3::Hasher::new();
                hasher.update_reader(file).map_err(|error| ConversionError::io("read the model", &error))?;
                files.push(cache::Part {
                    name: name.to_owned(),
                    hash: *hasher.finalize().as_bytes(),
                    bytes: hasher.count(),
                });
            }
            model.check_unchanged()?;
            // Of one file that was sent as it is, its name says all.
            let main = files.first().map(|file| file.name.clone()).unwrap_or_default();
            let alone =
                files.len() == 1 && names::result_name(&main) == model.name && model.warnings.is_empty();
            let called =
                (!alone).then(|| format!("{:?}", (&model.name, &model.warnings, &model.missing_textures)));
            Ok(cache::identity(&cache::Parts {
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

fn unavailable(error: &EngineError) -> ConversionError {
    ConversionError::new(ErrorCode::EngineUnavailable, error.public())
}
