//! The one way to a result: [`Service::convert`] finds it or has it made, whoever asks.
//!
//! ```text
//!  request ─▶ identity ─▶ cached ──▶ stored, or under way ─────────────────────────────┐
//!                           │ neither                                                  ├─▶ open ─▶ answer
//!                           └─▶ prepare ─▶ run (native lane, or admission ─▶ executor) ─┘
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use super::cached::{CacheStatus, Found, Lookup, ResultCache};
use super::converter::{Converter, Prepared, within};
use super::pipeline::{Outcome, Spec};
use super::record::Record;
use super::{Artifact, Upload};
use crate::cache::{self, Parts, identity};
use crate::domain::format::TABLE;
use crate::domain::report::Timings;
use crate::domain::{Client, ConversionError, ErrorCode, Format, Options, Report, Stage};
use crate::executor::workdir::ConversionFolder;
use crate::intake::Source;
use crate::metrics::Metrics;
use crate::storage::{Fetched, Hash, Url};
use crate::{repack, telemetry};

/// When a conversion may be tried again after the engine did not start.
const ENGINE_BACK: Duration = Duration::from_secs(5);
/// … and after this process has stopped: another one takes over.
const STOPPED: Duration = Duration::from_secs(1);

/// From this size on, a stored result is fetched from the bucket by the client itself, where that is wanted. Bytes.
const LARGE: u64 = 1 << 20;

/// Converts models, and remembers results. Clones share everything.
#[derive(Clone)]
pub struct Service {
    converter: Arc<Converter>,
    results: ResultCache,
    metrics: Arc<Metrics>,
    /// Set when the process gives up what still runs.
    killed: CancellationToken,
}

/// A conversion that somebody asks for.
pub struct Request {
    pub input: Input,
    /// The model's main file, where several could be.
    pub main: Option<String>,
    pub target: Format,
    pub options: Options,
    /// For all of it, waiting included.
    pub timeout: Duration,
    /// Where the conversion takes place; it may hold uploads already.
    pub folder: ConversionFolder,
    pub client: Client,
    /// The API key that result and report belong to; `None` where they are shared.
    pub owner: Option<Arc<str>>,
    /// When it was asked for, before anything was uploaded.
    pub asked: Instant,
    /// Converts, whatever is stored.
    pub fresh: bool,
    pub accepts: Accepts,
}

/// Where the model comes from.
pub enum Input {
    /// In this order. They are known by their hashes, so that what is stored is found without reading them.
    Uploads(Vec<Upload>),
    /// Files of this machine, read before anything is looked for.
    Local(Source),
}

/// How the result of a request may be handed over.
#[derive(Debug, Default)]
pub struct Accepts {
    /// Results that the client has already.
    pub has: Vec<Hash>,
    /// The client may be sent to the bucket.
    pub redirect: bool,
    /// The report has to be there, too.
    pub report: bool,
}

/// A result, or why there is none, and where it comes from.
pub struct Answer {
    pub cache_status: CacheStatus,
    pub result: Result<Converted, ConversionError>,
}

/// A result.
pub struct Converted {
    pub about: cache::Result,
    pub content: Content,
    /// Of what was stored, where the request accepts nothing without it.
    pub report: Option<Arc<Report>>,
}

pub enum Content {
    /// Converted just now.
    Made(Arc<Artifact>),
    /// Opened in the store, and checked.
    Stored(Fetched),
    /// At this address, for a while.
    Elsewhere(Url),
    /// The client has it already.
    Unchanged,
}

impl Converted {
    /// What the conversion took, where it took place for this answer.
    pub fn timings(&self) -> Timings {
        match &self.content {
            Content::Made(artifact) => artifact.outcome.report.timings.clone(),
            _ => Timings::default(),
        }
    }
}

impl Answer {
    /// Whether a conversion was carried out, or at least begun, for this answer.
    pub fn is_from_work(&self) -> bool {
        let tried = |error: &ConversionError| {
            !matches!(
                error.code,
                ErrorCode::QueueFull | ErrorCode::EngineUnavailable | ErrorCode::ShuttingDown
            )
        };
        self.cache_status != CacheStatus::Hit && self.result.as_ref().err().is_none_or(tried)
    }
}

impl Service {
    /// `killed` gives up what still runs.
    pub fn new(
        converter: Arc<Converter>,
        results: ResultCache,
        metrics: Arc<Metrics>,
        killed: CancellationToken,
    ) -> Self {
        Self { converter, results, metrics, killed }
    }

    pub fn converter(&self) -> &Converter {
        &self.converter
    }

    /// Returns what is stored of a conversion, or joins an equal one that is under way, or converts. Dropping the future
    /// gives the conversion up, unless others wait for it. `on_stage` is called with each stage of a conversion as it
    /// begins, and with how much of it is done.
    pub async fn convert(
        &self,
        request: Request,
        on_stage: impl Fn(Stage, Option<f64>) + Clone + Send + Sync + 'static,
    ) -> Answer {
        let asked = Instant::now();
        let request = Arc::new(request);
        let prepared = match &request.input {
            Input::Uploads(_) => None,
            Input::Local(source) => match self.prepare(&request, source.clone()).await {
                Ok(prepared) => Some(prepared),
                Err(error) => return Answer { cache_status: CacheStatus::Bypass, result: Err(error) },
            },
        };
        let identity = match &prepared {
            None => self.identity(&request),
            Some(prepared) => match self.identity_of(prepared).await {
                Ok(identity) => identity,
                Err(error) => return Answer { cache_status: CacheStatus::Bypass, result: Err(error) },
            },
        };
        let begin = |left| {
            let (service, request) = (self.clone(), Arc::clone(&request));
            service.run(request, prepared.clone(), left, on_stage.clone()).boxed()
        };
        let Request { owner, fresh, timeout, .. } = &*request;
        let mut lookup =
            Lookup { identity, owner: owner.clone(), fresh: *fresh, lost: false, timeout: *timeout };
        loop {
            let (cache_status, found) = self.results.find_or_convert(&lookup, &begin).await;
            let opened = match found {
                Ok(found) => {
                    let open = self.open(&request.accepts, identity, found);
                    open.instrument(telemetry::span!("store")).await.map(Ok)
                }
                Err(error) => Some(Err(error)),
            };
            // What was stored is gone, or cannot be read.
            let Some(result) = opened else {
                lookup.timeout = timeout.saturating_sub(asked.elapsed());
                lookup.again();
                continue;
            };
            self.metrics.cached(cache_status.word());
            return Answer { cache_status, result };
        }
    }

    /// Whether a request can be answered without a conversion.
    pub async fn knows(&self, request: &Request) -> bool {
        match self.identity(request).filter(|_| !request.fresh) {
            Some(identity) => self.results.knows(identity).await,
            None => false,
        }
    }

    /// Refuses what cannot be converted at this moment: the queue is full, or the engine does not run. `named` is the
    /// model's format as far as its name tells. Models that may be repacked are not refused.
    ///
    /// # Errors
    /// `queue_full`, `engine_unavailable`.
    pub fn check_capacity(
        &self,
        client: &Client,
        named: Option<Format>,
        target: Format,
        options: &Options,
    ) -> Result<(), ConversionError> {
        let may_be = |format: Format| named.is_none_or(|named| named == format);
        if TABLE.iter().any(|info| may_be(info.format) && repack::can(info.format, target, options)) {
            return Ok(());
        }
        let admission = self.converter.admission();
        if !admission.has_room_for(client) {
            return Err(admission.refusal());
        }
        self.converter.executor().outage().map_or(Ok(()), Err)
    }

    /// When a conversion that failed so may be tried again; `None`: it would fail again.
    pub fn retry_after(&self, error: &ConversionError) -> Option<Duration> {
        match error.code {
            ErrorCode::QueueFull => Some(self.converter.admission().retry_after()),
            ErrorCode::EngineUnavailable => Some(ENGINE_BACK),
            ErrorCode::ShuttingDown => Some(STOPPED),
            _ => None,
        }
    }

    /// Counts a conversion that is being asked for, until it is handed to [`Service::convert`].
    pub fn record(&self, target: Format) -> Record {
        Record::new(Arc::clone(&self.metrics), self.killed.clone(), target, Instant::now())
    }

    /// Whether results are remembered.
    pub fn has_cache(&self) -> bool {
        self.results.is_on()
    }

    /// Bytes of the results that are remembered.
    pub fn cached_bytes(&self) -> u64 {
        self.results.bytes()
    }

    /// The report of a conversion by any process, if it belongs to this owner; `None` where there is none, or none any more.
    pub async fn report(&self, id: Uuid, owner: Option<&str>) -> Option<Arc<Report>> {
        self.results.report(id, owner).await
    }

    /// Looks after the cache's index, for ever.
    pub async fn tend(&self) {
        self.results.tend().await;
    }

    /// Waits until everything is stored, for a few seconds at most.
    pub async fn finish(&self) {
        self.results.finish().await;
    }

    async fn prepare(&self, request: &Request, sources: Source) -> Result<Prepared, ConversionError> {
        let spec = request.spec(sources, request.timeout);
        self.converter.prepare(request.folder.clone(), spec, &request.client).await
    }

    /// The identity of a conversion of uploads, where it can be told.
    fn identity(&self, request: &Request) -> Option<Hash> {
        let Input::Uploads(uploads) = &request.input else { return None };
        if !self.results.is_on() {
            return None;
        }
        let engine = self.converter.engine_identity()?;
        Some(identity(&Parts {
            engine: &engine,
            owner: request.owner.as_deref(),
            target: request.target,
            options: &request.options,
            main: request.main.as_deref(),
            called: None,
            files: uploads.iter().map(Upload::part).collect(),
        }))
    }

    /// The identity of the conversion of a model that has been read in.
    async fn identity_of(&self, prepared: &Prepared) -> Result<Option<Hash>, ConversionError> {
        match self.converter.engine_identity() {
            Some(engine) => prepared.identity(engine).await.map(Some),
            None => Ok(None),
        }
    }

    /// Converts and counts, for all who wait for it by then.
    async fn run(
        self,
        request: Arc<Request>,
        prepared: Option<Prepared>,
        left: Duration,
        on_stage: impl Fn(Stage, Option<f64>) + Send + Sync,
    ) -> Result<Outcome, ConversionError> {
        let record =
            Record::new(Arc::clone(&self.metrics), self.killed.clone(), request.target, request.asked);
        let work = async {
            let prepared = match (prepared, &request.input) {
                (Some(prepared), _) => prepared,
                (None, Input::Local(source)) => self.prepare(&request, source.clone()).await?,
                (None, Input::Uploads(uploads)) => {
                    let files = uploads.iter().map(Upload::named).collect::<Result<_, _>>()?;
                    self.prepare(&request, Source::Files(files)).await?
                }
            };
            self.converter.run(prepared, left, &request.client, record.facts(), &on_stage).await
        };
        let result = tokio::select! {
            result = within(left, work) => result,
            () = self.killed.cancelled() => Err(stopping()),
        };
        let error = result.as_ref().err();
        if let Some(error) = error {
            let waited = record.facts().usage.waited().map(|waited| waited.as_secs_f64() * 1000.0);
            tracing::info!(code = %error.code, queue_ms = waited, "a conversion failed");
        }
        record.end(error.map(|error| error.code));
        result
    }

    /// Makes what was found ready to be handed over; `None`: the store does not have it any more.
    async fn open(&self, accepts: &Accepts, identity: Option<Hash>, found: Found) -> Option<Converted> {
        let about = match &found {
            Found::Made(artifact) => artifact.about.clone(),
            Found::Stored(about) => about.clone(),
        };
        if accepts.has.contains(&about.hash) {
            return Some(Converted { about, content: Content::Unchanged, report: None });
        }
        let mut report = None;
        if accepts.report && matches!(found, Found::Stored(_)) {
            report = Some(self.results.report(about.report, None).await?);
        }
        let content = match found {
            Found::Made(artifact) => Content::Made(artifact),
            Found::Stored(_) => match self.address(accepts, &about).await {
                Some(address) => Content::Elsewhere(address),
                None => Content::Stored(self.results.open(identity?, &about).await?),
            },
        };
        Some(Converted { about, content, report })
    }

    async fn address(&self, accepts: &Accepts, about: &cache::Result) -> Option<Url> {
        if !accepts.redirect || about.bytes < LARGE {
            return None;
        }
        self.results.address(about).await
    }
}

impl Request {
    fn spec(&self, sources: Source, timeout: Duration) -> Spec {
        let Self { main, target, options, .. } = self;
        Spec { sources, main: main.clone(), target: *target, options: options.clone(), timeout }
    }
}

/// The error of a conversion that is given up because the process stops.
pub fn stopping() -> ConversionError {
    ConversionError::new(ErrorCode::ShuttingDown, "the service is stopping; send the request again")
}
