//! The one way to a result: [`Service::convert`] finds it or converts, for HTTP and the command line. Without a cache, the
//! command line skips the lookup and the packing into one file ([`Service::convert_uncached`]).
//!
//! ```text
//!  request ─▶ identity ─▶ cached ──▶ stored, or running ───────────────────────────────┐
//!                           │ neither                                                  ├─▶ open ─▶ answer
//!                           └─▶ prepare ─▶ run (native lane, or admission ─▶ executor) ─┘
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::artifact::Artifact;
use super::cached::{CacheStatus, Lookup, ResultCache, ResultHandle, Reuse};
use super::converter::Converter;
use super::finished::FinishedConversion;
use super::lane;
use super::pipeline::{Prepared, Spec};
use super::record::Record;
use super::timeout::within;
use super::upload::Upload;
use crate::cache::{self, IdentityInputs, identity};
use crate::domain::report::Timings;
use crate::domain::{Client, ConversionError, ErrorCode, Format, Options, Purpose, Report, Stage};
use crate::executor::workdir::ConversionFolder;
use crate::fs::blob::Blob;
use crate::intake::Source;
use crate::metrics::Metrics;
use crate::storage::{Hash, Url};
use crate::telemetry;

/// Retry delay after the engine did not start.
const RETRY_ENGINE: Duration = Duration::from_secs(5);
/// Retry delay after this process stops: another one takes over.
const RETRY_STOPPED: Duration = Duration::from_secs(1);

/// Results of this size or more, in bytes, are large: stored ones are fetched from the bucket by the client itself, if the
/// operator allows that, and those that are not stored count while they are sent.
pub const LARGE_RESULT: u64 = 1 << 20;

/// Converts models and caches results. Clones share everything.
#[derive(Clone)]
pub struct Service {
    converter: Arc<Converter>,
    cache: ResultCache,
    metrics: Arc<Metrics>,
    /// Cancelled when the process cancels running conversions.
    cancelling: CancellationToken,
}

pub struct Request {
    pub input: Input,
    /// The model's main file, if several are possible.
    pub main: Option<String>,
    pub target: Format,
    pub options: Options,
    /// For the whole conversion, waiting included. A job may wait for longer: it has this time once it gets a slot.
    pub timeout: Duration,
    /// The conversion's folder, which may hold uploads already.
    pub folder: ConversionFolder,
    pub client: Client,
    pub purpose: Purpose,
    /// The API key that result and report belong to; `None` if they are shared.
    pub owner: Option<Arc<str>>,
    /// When the request began, before the upload.
    pub requested_at: Instant,
    /// Converts, whatever is stored.
    pub bypass_cache: bool,
    pub accepts: Accepts,
}

/// The source of the model.
pub enum Input {
    /// Uploaded files, in this order. Their hashes are known, so a stored result is found without reading them.
    Uploads(Vec<Upload>),
    /// Files of this machine, which are read before the lookup.
    Local(Source),
}

/// How the result may be delivered.
#[derive(Debug, Default)]
pub struct Accepts {
    /// Results that the client has already.
    pub already_has: Vec<Hash>,
    /// The client may be sent to the bucket.
    pub elsewhere: bool,
    /// The client needs the report of a stored result, too.
    pub report: bool,
}

/// A result or an error, and its cache status.
pub struct Response {
    pub cache_status: CacheStatus,
    pub result: Result<Converted, ConversionError>,
}

/// A result and its content.
pub struct Converted {
    pub info: cache::ResultInfo,
    pub content: Content,
    /// The report of a stored result, if the request needs it.
    pub report: Option<Arc<Report>>,
}

pub enum Content {
    /// Converted just now.
    Made(Arc<Artifact>),
    /// Opened in the store and checked.
    Stored(Blob),
    /// Available at this URL for a while.
    Elsewhere(Url),
    /// The client has it already.
    Unchanged,
}

impl Request {
    /// The uploaded files; none if the model is on this machine.
    pub fn uploads(&self) -> &[Upload] {
        match &self.input {
            Input::Uploads(uploads) => uploads,
            Input::Local(_) => &[],
        }
    }
}

impl Converted {
    /// Returns the timings of the conversion; those of a stored result are empty.
    pub fn timings(&self) -> Timings {
        match &self.content {
            Content::Made(artifact) => artifact.conversion.report.timings.clone(),
            _ => Timings::default(),
        }
    }
}

impl Response {
    /// Whether a conversion was run, or at least begun, for this response.
    pub fn is_from_work(&self) -> bool {
        let refusals = [ErrorCode::QueueFull, ErrorCode::EngineUnavailable, ErrorCode::ShuttingDown];
        let was_refused = self.result.as_ref().is_err_and(|error| refusals.contains(&error.code));
        self.cache_status != CacheStatus::Hit && !was_refused
    }
}

impl Service {
    /// `cancelling` cancels running conversions.
    pub fn new(
        converter: Arc<Converter>,
        cache: ResultCache,
        metrics: Arc<Metrics>,
        cancelling: CancellationToken,
    ) -> Self {
        Self { converter, cache, metrics, cancelling }
    }

    pub fn cache(&self) -> &ResultCache {
        &self.cache
    }

    pub fn converter(&self) -> &Converter {
        &self.converter
    }

    /// Cancelled when the process cancels running conversions.
    pub fn cancelling(&self) -> &CancellationToken {
        &self.cancelling
    }

    /// Returns a stored result, joins a running equal conversion, or converts. Dropping the future cancels the
    /// conversion, unless other requests wait for it. `on_stage` is called with each stage as it begins, and with the
    /// part of it that is done.
    pub async fn convert(
        &self,
        request: Request,
        on_stage: impl Fn(Stage, Option<f64>) + Clone + Send + Sync + 'static,
    ) -> Response {
        let request = Arc::new(request);
        let (prepared, identity) = match self.identify(&request).await {
            Ok(identified) => identified,
            Err(error) => return Response { cache_status: CacheStatus::Bypass, result: Err(error) },
        };
        let convert = |left| {
            let (service, request) = (self.clone(), Arc::clone(&request));
            service.run(request, prepared.clone(), left, on_stage.clone()).boxed()
        };
        let Request { owner, bypass_cache, purpose, timeout, .. } = &*request;
        let (owner, purpose, timeout, began) = (owner.clone(), *purpose, *timeout, Instant::now());
        let reuse = if *bypass_cache { Reuse::Nothing } else { Reuse::All };
        let mut lookup = Lookup { identity, owner, reuse, purpose, timeout, began };
        loop {
            let (cache_status, found) = self.cache.find_or_convert(&lookup, &convert).await;
            let opened = match found {
                Ok(found) => {
                    let open = self.open(&request, identity, found);
                    open.instrument(telemetry::span!("store")).await.map(Ok)
                }
                Err(error) => Some(Err(error)),
            };
            if let Some(result) = opened {
                self.metrics.cached(cache_status.word());
                return Response { cache_status, result };
            }
            // The stored result is gone, or cannot be read: first joins a running equal conversion, then converts.
            lookup.reuse = if lookup.reuse == Reuse::All { Reuse::Running } else { Reuse::Nothing };
        }
    }

    /// Converts without looking for a result or storing one, and leaves the files as they are.
    pub async fn convert_uncached(
        &self,
        request: Request,
        on_stage: impl Fn(Stage, Option<f64>) + Send + Sync,
    ) -> Result<FinishedConversion, ConversionError> {
        let timeout = request.timeout;
        self.clone().run(Arc::new(request), None, timeout, on_stage).await
    }

    /// Whether conversions that need Blender run in other processes, as jobs.
    pub fn runs_elsewhere(&self) -> bool {
        self.converter.executor().runs_elsewhere()
    }

    /// Whether a conversion of uploads is for other processes: this one never runs the engine, and may need it.
    pub async fn is_for_others(&self, request: &Request) -> bool {
        let Request { target, options, client, .. } = request;
        self.runs_elsewhere()
            && !self.converter.needs_no_engine(request.uploads(), *target, options, client).await
    }

    /// Returns a stored result, or a stored failure, without converting; `None` if there is none.
    pub async fn find(&self, request: &Request) -> Option<Response> {
        let identity = self.identity(request).filter(|_| !request.bypass_cache)?;
        let result = match self.cache.stored(identity).await? {
            Ok(found) => Ok(self.open(request, Some(identity), found).await?),
            Err(error) => Err(error),
        };
        self.metrics.cached(CacheStatus::Hit.word());
        Some(Response { cache_status: CacheStatus::Hit, result })
    }

    /// Returns a URL at which the client can fetch this result of another process from the bucket, if it is cached and the
    /// operator allows that. `identity`: that of the conversion.
    pub async fn url_if_cached(&self, identity: Hash, info: &cache::ResultInfo) -> Option<Url> {
        self.cache.url_if_cached(identity, info).await
    }

    /// Whether a request can be answered without a conversion.
    pub async fn has_result(&self, request: &Request) -> bool {
        match self.identity(request).filter(|_| !request.bypass_cache) {
            Some(identity) => self.cache.has_result(identity).await,
            None => false,
        }
    }

    /// Whether a conversion may turn out to need no engine. `named` is the model's format as far as its name tells.
    pub fn may_need_no_engine(&self, named: Option<Format>, target: Format, options: &Options) -> bool {
        lane::may_be_native(named, target, options)
    }

    /// Refuses a conversion that needs the engine and cannot run now, because the queue is full or the engine does not run.
    /// If conversions run in other processes, only their queue of jobs tells the latter.
    ///
    /// # Errors
    /// `queue_full`, `engine_unavailable`.
    pub fn check_capacity(&self, client: &Client) -> Result<(), ConversionError> {
        let admission = self.converter.admission();
        if !admission.has_room_for(client) {
            return Err(admission.refusal());
        }
        if self.runs_elsewhere() {
            return Ok(());
        }
        self.converter.executor().outage().map_or(Ok(()), Err)
    }

    /// Returns the delay after which a failed conversion may be retried; `None` if it would fail again.
    pub fn retry_after(&self, error: &ConversionError) -> Option<Duration> {
        match error.code {
            ErrorCode::QueueFull => Some(self.converter.admission().retry_after()),
            ErrorCode::EngineUnavailable => Some(RETRY_ENGINE),
            ErrorCode::ShuttingDown => Some(RETRY_STOPPED),
            _ => None,
        }
    }

    /// Returns a record that counts a conversion which was requested at `began`: the caller's until it is passed to
    /// [`Service::convert`], then the service's own.
    pub fn record(&self, target: Format, began: Instant) -> Record {
        Record::new(Arc::clone(&self.metrics), self.cancelling.clone(), target, began)
    }

    async fn prepare(&self, request: &Request) -> Result<Prepared, ConversionError> {
        let Request { main, target, options, timeout, .. } = request;
        let sources = match &request.input {
            Input::Local(source) => source.clone(),
            Input::Uploads(uploads) => {
                Source::Files(uploads.iter().map(Upload::to_intake_file).collect::<Result<_, _>>()?)
            }
        };
        let (main, options) = (main.clone(), options.clone());
        let spec = Spec { sources, main, target: *target, options, timeout: *timeout };
        self.converter.prepare(request.folder.clone(), spec, &request.client).await
    }

    /// Returns the identity of a conversion, if known. Local files are read for it.
    async fn identify(&self, request: &Request) -> Result<(Option<Prepared>, Option<Hash>), ConversionError> {
        if let Input::Uploads(_) = request.input {
            return Ok((None, self.identity(request)));
        }
        let prepared = self.prepare(request).await?;
        let identity = match self.converter.engine_identity() {
            Some(engine) => Some(prepared.identity(engine).await?),
            None => None,
        };
        Ok((Some(prepared), identity))
    }

    /// The identity of a conversion of uploads, if known.
    pub fn identity(&self, request: &Request) -> Option<Hash> {
        let Input::Uploads(uploads) = &request.input else { return None };
        if !self.cache.is_on() {
            return None;
        }
        let engine = self.converter.engine_identity()?;
        Some(identity(&IdentityInputs {
            engine: &engine,
            owner: request.owner.as_deref(),
            target: request.target,
            options: &request.options,
            main: request.main.as_deref(),
            called: None,
            files: uploads.iter().map(Upload::hashed_file).collect(),
        }))
    }

    /// Converts and counts, for all requests that wait for it, in the time that is `left`. Nothing limits how long a
    /// job waits; its steps are limited one by one.
    async fn run(
        self,
        request: Arc<Request>,
        prepared: Option<Prepared>,
        left: Duration,
        on_stage: impl Fn(Stage, Option<f64>) + Send + Sync,
    ) -> Result<FinishedConversion, ConversionError> {
        let record = self.record(request.target, request.requested_at);
        let Request { client, purpose, timeout, .. } = &*request;
        let step = left.min(*timeout);
        let steps = async {
            let prepared = match prepared {
                Some(prepared) => prepared,
                None => within(step, self.prepare(&request)).await?,
            };
            self.converter.run(prepared, step, client, *purpose, &record.observed, &on_stage).await
        };
        let work = async { if purpose.is_job() { steps.await } else { within(left, steps).await } };
        let result = tokio::select! {
            result = work => result,
            () = self.cancelling.cancelled() => Err(stopping()),
        };
        let error = result.as_ref().err();
        if let Some(error) = error {
            let waited = record.observed.usage.waited().map(|waited| waited.as_secs_f64() * 1000.0);
            tracing::info!(code = %error.code, queue_ms = waited, "a conversion failed");
        }
        record.end(error.map(|error| error.code));
        result
    }

    /// Opens a result for delivery; `None` if the store cannot return it.
    async fn open(
        &self,
        request: &Request,
        identity: Option<Hash>,
        found: ResultHandle,
    ) -> Option<Converted> {
        let (info, artifact) = match found {
            ResultHandle::Made(artifact) => (artifact.info.clone(), Some(artifact)),
            ResultHandle::Stored(info) => (info, None),
        };
        let Request { accepts, owner, .. } = request;
        if accepts.already_has.contains(&info.hash) {
            return Some(Converted { info, content: Content::Unchanged, report: None });
        }
        if let Some(artifact) = artifact {
            return Some(Converted { info, content: Content::Made(artifact), report: None });
        }
        let report =
            if accepts.report { Some(self.cache.report(info.report, owner.as_deref()).await?) } else { None };
        let may_be_elsewhere = accepts.elsewhere && info.bytes >= LARGE_RESULT;
        let url = if may_be_elsewhere { self.cache.url(&info).await } else { None };
        let content = match url {
            Some(url) => Content::Elsewhere(url),
            None => Content::Stored(self.cache.open(identity?, &info).await?),
        };
        Some(Converted { info, content, report })
    }
}

/// The error of a conversion that is cancelled because the process stops.
pub fn stopping() -> ConversionError {
    ConversionError::new(ErrorCode::ShuttingDown, "the service is stopping; send the request again")
}
