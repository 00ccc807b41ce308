//! Serves a conversion from the store, joins an equal one that is running, or runs it.
//!
//! ```text
//!  identity? ─▶ index ─▶ in the store: hit
//!                 │
//!                 └─▶ in flight here: wait with the others ──────────────┐
//!                       │ no                                              ├─▶ coalesced
//!                       └─▶ lease, or wait for its holder ─▶ index again ─┘
//!                                   │ nothing
//!                                 convert ─▶ answer: miss
//!                                   └─▶ afterwards: report, result and entry are stored; the lease is released
//! ```

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

use super::artifact::Artifact;
use super::finished::FinishedConversion;
use super::recent_reports::Reports;
use super::timeout::{KILLED_WITHIN, late};
use crate::cache::{self, Entry, Flight, Flights, Index, Lease};
use crate::domain::{ConversionError, ErrorCode, Purpose, Report};
use crate::fs::blob::Blob;
use crate::storage::{Document, Hash, Storage, URL_LIFETIME, Url};

/// Results stored at a time; each keeps its conversion's folder until then. Further results are not stored.
const MAX_STORING: usize = 32;

/// First and longest pause between two attempts to get the lease that another process holds.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(150);

/// While a result is being stored, the lease is held as long as the conversion took, at least this; after that,
/// converting again is faster than waiting.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);

/// How long the service waits at its end for results that are being stored.
const FINISH_WITHIN: Duration = Duration::from_secs(3);

/// Finds stored results, joins running conversions, and stores new results. Clones share everything.
#[derive(Clone)]
pub struct ResultCache(Arc<Inner>);

struct Inner {
    /// `None`: the cache is off.
    index: Option<Arc<dyn Index>>,
    storage: Storage,
    reports: Reports,
    flights: Flights<LookupResult>,
    storing: TaskTracker,
    permits: Arc<Semaphore>,
    /// Folder for large results that are fetched from a bucket.
    spool: PathBuf,
}

/// A conversion that runs when it is awaited.
pub(super) type Work = BoxFuture<'static, Result<FinishedConversion, ConversionError>>;

/// A result to look for.
#[derive(Debug, Clone)]
pub(super) struct Lookup {
    /// `None` if it is unknown: then the conversion runs.
    pub identity: Option<Hash>,
    /// The API key that the report belongs to. The identity depends on it, too.
    pub owner: Option<Arc<str>>,
    pub reuse: Reuse,
    pub purpose: Purpose,
    /// For the whole conversion, waiting included, since `began`. A job waits without a limit.
    pub timeout: Duration,
    pub began: Instant,
}

/// What a lookup may use instead of a new conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reuse {
    /// A stored result, or a running equal conversion.
    All,
    /// A running equal conversion: the stored result cannot be read.
    Running,
    Nothing,
}

/// The source of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    Hit,
    Miss,
    /// Another request ran the conversion.
    Coalesced,
    /// The cache was not used.
    Bypass,
}

/// A result that was made just now, or that is in the store.
#[derive(Debug, Clone)]
pub(super) enum ResultHandle {
    Made(Arc<Artifact>),
    /// The store should have it: [`ResultCache::open`].
    Stored(cache::ResultInfo),
}

/// The result of a lookup and its source. A flight has the source for the request that started it.
pub(super) type LookupResult = (CacheStatus, Result<ResultHandle, ConversionError>);

/// A stored report.
#[derive(serde::Serialize, serde::Deserialize)]
struct StoredReport {
    report: Report,
    /// The API key that it belongs to; `None` if keys share the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<Arc<str>>,
    /// The description of the result, to send it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<cache::ResultInfo>,
}

impl Lookup {
    /// The time that is left for everything.
    fn left(&self) -> Duration {
        if self.purpose.is_job() {
            return Duration::MAX;
        }
        self.timeout.saturating_sub(self.began.elapsed())
    }

    /// Whether another conversion may succeed after this error of an equal one, which had less time or less memory, or
    /// lost its place in the queue.
    fn may_do_better(&self, error: &ConversionError) -> bool {
        match error.code {
            ErrorCode::Timeout | ErrorCode::QueueFull => !self.left().is_zero(),
            ErrorCode::MemoryLimit => self.purpose.memory_factor() > 1,
            _ => false,
        }
    }
}

impl CacheStatus {
    /// The value of a metric's label, and of a header.
    pub const fn word(self) -> &'static str {
        match self {
            CacheStatus::Hit => "hit",
            CacheStatus::Miss => "miss",
            CacheStatus::Coalesced => "coalesced",
            CacheStatus::Bypass => "bypass",
        }
    }
}

impl ResultCache {
    /// `index`: `None` if the cache is off. `spool`: a folder on this machine for large results from a bucket.
    pub fn new(index: Option<Arc<dyn Index>>, storage: Storage, spool: PathBuf) -> Self {
        Self(Arc::new(Inner {
            index,
            storage,
            reports: Reports::default(),
            flights: Flights::default(),
            storing: TaskTracker::new(),
            permits: Arc::new(Semaphore::new(MAX_STORING)),
            spool,
        }))
    }

    /// Whether results are cached.
    pub fn is_on(&self) -> bool {
        self.0.index.is_some()
    }

    /// Whether a result is available without a conversion.
    pub(super) async fn has_result(&self, identity: Hash) -> bool {
        // A finished conversion may not be in the index yet.
        let made = self.0.flights.find(identity).is_some_and(|flight| flight.peek().is_some());
        made || self.entry(identity).await.is_some()
    }

    /// Returns what is stored for a conversion: a result, or a failure.
    pub(super) async fn stored(&self, identity: Hash) -> Option<Result<ResultHandle, ConversionError>> {
        self.entry(identity).await.map(found)
    }

    /// Bytes of the indexed results; if other processes share the index, of everything in the store.
    pub fn bytes(&self) -> u64 {
        let bytes = |index: &Arc<dyn Index>| index.bytes().unwrap_or_else(|| self.0.storage.kept_bytes());
        self.0.index.as_ref().map_or(0, bytes)
    }

    /// Returns the index's entry, unless its report has expired: the response refers to the report.
    async fn entry(&self, identity: Hash) -> Option<Entry> {
        self.0.index.as_ref()?.get(identity).await.filter(|entry| match entry {
            Entry::Result(info) => !self.0.storage.has_expired(info.report, SystemTime::now()),
            Entry::Failure(_) => true,
        })
    }

    /// Maintains the index; never returns.
    pub async fn maintain_index(&self) {
        match &self.0.index {
            Some(index) => index.maintain().await,
            None => std::future::pending().await,
        }
    }

    /// Waits until all results are stored, for a few seconds at most.
    pub async fn finish(&self) {
        self.0.storing.close();
        if timeout(FINISH_WITHIN, self.0.storing.wait()).await.is_err() {
            tracing::warn!("some results were not stored in time");
        }
    }

    /// Finds a result or converts: `begin` returns the conversion for the time that is left. Dropping the future
    /// cancels the conversion, unless other requests wait for it.
    pub(super) async fn find_or_convert(
        &self,
        lookup: &Lookup,
        begin: impl Fn(Duration) -> Work,
    ) -> LookupResult {
        let cache = self.0.index.as_ref().zip(lookup.identity);
        let Some((index, identity)) = cache.filter(|_| lookup.reuse != Reuse::Nothing) else {
            let made = self.make_artifact(lookup, begin(lookup.left())).await;
            if made.is_ok() {
                self.store(lookup.identity, made.clone(), None);
            }
            return (CacheStatus::Bypass, made.map(ResultHandle::Made));
        };
        // Held during the lookup, so that a result that is being stored is found here or in the index.
        let mut running_flight = self.0.flights.find(identity);
        if lookup.reuse == Reuse::All
            && let Some(entry) = self.entry(identity).await
        {
            return (CacheStatus::Hit, found(entry));
        }
        loop {
            let left = lookup.left();
            let work =
                || self.clone().run_as_leader(Arc::clone(index), identity, lookup.clone(), left, begin(left));
            let (flight, is_leader) = self.0.flights.join(identity, work);
            // The next round joins another flight.
            running_flight.take();
            let (status, result) = wait_for(flight, is_leader, left, lookup.timeout).await;
            match result {
                Err(error) if !is_leader && lookup.may_do_better(&error) => {
                    // Lets the other waiting requests release this flight, too.
                    tokio::task::yield_now().await;
                }
                Err(error) if error.code == ErrorCode::Timeout => {
                    return (status, Err(late(lookup.timeout)));
                }
                result => return (status, result),
            }
        }
    }

    /// Converts for all requests that wait, unless another process has done so.
    async fn run_as_leader(
        self,
        index: Arc<dyn Index>,
        identity: Hash,
        lookup: Lookup,
        left: Duration,
        work: Work,
    ) -> LookupResult {
        let Ok(lease) = timeout(left, claim(&*index, identity)).await else {
            return (CacheStatus::Miss, Err(late(left)));
        };
        // Another process may have finished it in the meantime.
        if lookup.reuse == Reuse::All
            && let Some(entry) = self.entry(identity).await
        {
            return (CacheStatus::Coalesced, found(entry));
        }
        let made = self.make_artifact(&lookup, work).await;
        if made.as_ref().err().is_none_or(|error| error.code.is_permanent()) {
            self.store(Some(identity), made.clone(), Some(lease));
        }
        (CacheStatus::Miss, made.map(ResultHandle::Made))
    }

    /// Converts, and zips a result of several files. The work enforces its time limit itself.
    async fn make_artifact(&self, lookup: &Lookup, work: Work) -> Result<Arc<Artifact>, ConversionError> {
        let conversion = work.await?;
        let left = lookup.left().min(lookup.timeout).saturating_add(KILLED_WITHIN);
        let report = self.0.reports.keep(Arc::new(conversion.report.clone()), lookup.owner.clone());
        let artifact = timeout(left, Artifact::new(conversion, report, lookup.owner.clone()));
        Ok(Arc::new(artifact.await.unwrap_or_else(|_| Err(late(lookup.timeout)))?))
    }

    /// Stores the outcome in the background. Until then, equal requests find the flight, and the lease is held.
    fn store(
        &self,
        identity: Option<Hash>,
        ended: Result<Arc<Artifact>, ConversionError>,
        lease: Option<Lease>,
    ) {
        let Ok(permit) = Arc::clone(&self.0.permits).try_acquire_owned() else {
            tracing::debug!("the store is too slow; a result is not stored");
            return;
        };
        let flight = identity.and_then(|identity| self.0.flights.find(identity));
        let this = self.clone();
        let storing = async move {
            let made_in = ended.as_ref().map_or(0.0, |made| made.conversion.report.timings.total_ms);
            let patience = Duration::from_secs_f64(made_in / 1000.0).max(SHORTEST_LEASE);
            let mut keeping = pin!(this.write(identity, &ended));
            if timeout(patience, keeping.as_mut()).await.is_err() {
                drop(lease);
                keeping.await;
            }
            drop((permit, flight));
        };
        self.0.storing.spawn(storing.in_current_span());
    }

    /// Writes the result, its report and its entry, or the entry of a failure. The store logs its own errors.
    async fn write(&self, identity: Option<Hash>, ended: &Result<Arc<Artifact>, ConversionError>) {
        let storage = &self.0.storage;
        let cached = self.0.index.as_ref().zip(identity);
        let made = match ended {
            Ok(made) => made,
            Err(error) => {
                if let Some((index, identity)) = cached {
                    index.put(identity, Entry::Failure(error.clone())).await;
                }
                return;
            }
        };
        // Report and entry refer to the result, so it is written first.
        if cached.is_some() {
            let Ok(content) = made.content().await else { return };
            if storage.put_blob(content, &made.info.hash).await.is_err() {
                return;
            }
        }
        let result = cached.is_some().then(|| made.info.clone());
        let stored =
            StoredReport { report: made.conversion.report.clone(), owner: made.owner.clone(), result };
        let Ok(json) = serde_json::to_vec(&stored) else { return };
        if storage.put(Document::Report(made.info.report), json.into()).await.is_err() {
            return;
        }
        if let Some((index, identity)) = cached {
            index.put(identity, Entry::Result(made.info.clone())).await;
        }
    }

    /// Opens a stored result and checks it. `None` if the store cannot return it; a missing result is removed from the
    /// index.
    pub(super) async fn open(&self, identity: Hash, info: &cache::ResultInfo) -> Option<Blob> {
        let found = self.0.storage.fetch(&info.hash, info.bytes, &self.0.spool).await;
        if let (Ok(None), Some(index)) = (&found, &self.0.index) {
            index.remove(identity).await;
        }
        found.ok().flatten()
    }

    /// Returns a URL at which the client can fetch a stored result from the bucket, if the operator allows that.
    pub(super) async fn url(&self, info: &cache::ResultInfo) -> Option<Url> {
        let (disposition, media_type) = (info.content_disposition(), info.media_type());
        let url = self.0.storage.presigned(&info.hash, &disposition, media_type, URL_LIFETIME);
        url.await.ok().flatten()
    }

    /// Returns a URL as [`ResultCache::url`] does, if this very result is cached.
    pub(super) async fn url_if_cached(&self, identity: Hash, info: &cache::ResultInfo) -> Option<Url> {
        match self.entry(identity).await? {
            Entry::Result(cached) if cached.hash == info.hash => self.url(&cached).await,
            _ => None,
        }
    }

    /// Keeps the report of a conversion of another process in memory: that process may still be storing it.
    pub fn keep_report(&self, id: Uuid, report: Arc<Report>, owner: Option<Arc<str>>) {
        self.0.reports.keep_as(id, report, owner);
    }

    /// Returns the report of a conversion of any process, if it exists, has not expired and belongs to this owner.
    pub async fn report(&self, id: Uuid, owner: Option<&str>) -> Option<Arc<Report>> {
        if self.0.storage.has_expired(id, SystemTime::now()) {
            return None;
        }
        if let Some(report) = self.0.reports.get(id, owner) {
            return Some(report);
        }
        let kept = self.0.storage.get(Document::Report(id)).await.ok()??;
        let stored: StoredReport = serde_json::from_slice(&kept.content).ok()?;
        (stored.owner.as_deref() == owner).then(|| Arc::new(stored.report))
    }
}

/// Waits until a flight ends, for the time that is `left` of the request's `allowed` time.
async fn wait_for(
    flight: Flight<LookupResult>,
    is_leader: bool,
    left: Duration,
    allowed: Duration,
) -> LookupResult {
    let already_finished = flight.peek().is_some();
    if !is_leader && !already_finished {
        tracing::debug!("waiting for an equal conversion that is under way");
    }
    let (source, result) = match timeout(left.saturating_add(GRACE), flight).await {
        Ok(Some(ended)) => ended,
        Ok(None) => {
            let detail = "internal error during the conversion";
            (CacheStatus::Miss, Err(ConversionError::new(ErrorCode::Internal, detail)))
        }
        Err(_) => (CacheStatus::Miss, Err(late(allowed))),
    };
    let status = match (already_finished, is_leader) {
        (true, _) => CacheStatus::Hit,
        (false, true) => source,
        (false, false) => CacheStatus::Coalesced,
    };
    (status, result)
}

/// Extra time to wait: the conversion enforces its timeout itself, and ends a little later.
const GRACE: Duration = Duration::from_secs(3);

async fn claim(index: &dyn Index, identity: Hash) -> Lease {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(lease) = index.claim(identity).await {
            return lease;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn found(entry: Entry) -> Result<ResultHandle, ConversionError> {
    match entry {
        Entry::Result(info) => Ok(ResultHandle::Stored(info)),
        Entry::Failure(error) => Err(error),
    }
}
