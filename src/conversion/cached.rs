//! Conversions that are answered with what was made before, or with what is being made, or else carried out.
//!
//! ```text
//!  identity? ─▶ index ─▶ in the store: hit
//!                 │
//!                 └─▶ in flight here: wait with the others ──────────────┐
//!                       │ not                                             ├─▶ coalesced
//!                       └─▶ lease, or wait for who has it ─▶ index again ─┘
//!                                   │ nothing
//!                                carry out ─▶ answer: miss
//!                                   └─▶ behind it: report, result and entry are stored; then the lease goes
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
use super::converter::KILLED_WITHIN;
use super::recent_reports::Reports;
use super::{Outcome, late};
use crate::cache::{self, Entry, Flights, Index, Lease};
use crate::domain::{ConversionError, ErrorCode, Report};
use crate::storage::{Document, Fetched, Hash, Storage, Url};

/// Results that are on their way to the store at a time: each keeps its conversion's folder. Further ones are not stored.
const STORING: usize = 32;

/// How often it is looked whether another process has done what it holds the lease of: at first, and at most.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_LOOK: Duration = Duration::from_millis(150);

/// How long others wait at least for a result that is being stored; and no longer than it took to make it, since by then
/// they could have it by themselves.
const WORTH_WAITING: Duration = Duration::from_secs(1);

/// How long an address in the bucket is good for: a client follows it at once.
const ADDRESS_LIFE: Duration = Duration::from_mins(15);

/// How long what is still being stored may take when the service stops.
const LAST_STORED: Duration = Duration::from_secs(3);

/// Finds results that were stored, joins conversions that are under way, and stores what is converted. Clones share all of it.
#[derive(Clone)]
pub struct ResultCache(Arc<Inner>);

struct Inner {
    /// None: the cache is off.
    index: Option<Arc<dyn Index>>,
    storage: Storage,
    reports: Reports,
    flights: Flights<Landed>,
    storing: TaskTracker,
    room: Arc<Semaphore>,
    /// Where large results from a bucket are fetched to.
    spool: PathBuf,
}

/// A conversion that runs when it is awaited.
pub(super) type Work = BoxFuture<'static, Result<Outcome, ConversionError>>;

/// A result to look for.
#[derive(Debug, Clone)]
pub(super) struct Lookup {
    /// `None` where it cannot be told: then the conversion runs.
    pub identity: Option<Hash>,
    /// The API key that the report belongs to. The identity depends on it, too.
    pub owner: Option<Arc<str>>,
    /// The conversion runs, whatever is stored or under way.
    pub fresh: bool,
    /// What is stored cannot be read; an equal conversion that is under way is joined.
    pub lost: bool,
    /// For all of it, waiting included.
    pub timeout: Duration,
}

/// Where a result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    Hit,
    Miss,
    /// Another request had it converted.
    Coalesced,
    /// Nobody looked for it.
    Bypass,
}

impl Lookup {
    /// Prepares another look, where what was stored could not be read: it joins equal conversions at first, and runs by
    /// itself the next time.
    pub fn again(&mut self) {
        self.fresh = self.lost;
        self.lost = true;
    }
}

/// A result that was found or made.
#[derive(Debug, Clone)]
pub(super) enum Found {
    Made(Arc<Artifact>),
    /// The store should have it: [`ResultCache::open`].
    Stored(cache::Result),
}

/// How a conversion ended for all who wait for it.
#[derive(Debug, Clone)]
enum Landed {
    Made(Arc<Artifact>),
    /// Another process was faster.
    Known(Entry),
    Failed(ConversionError),
}

/// A report as the store has it.
#[derive(serde::Serialize, serde::Deserialize)]
struct Record {
    report: Report,
    /// The API key that it belongs to. Without one it belongs to those who share what is cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<Arc<str>>,
    /// What it takes to send the result again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<cache::Result>,
}

impl CacheStatus {
    /// The value of a metric's label.
    pub(super) const fn word(self) -> &'static str {
        match self {
            CacheStatus::Hit => "hit",
            CacheStatus::Miss => "miss",
            CacheStatus::Coalesced => "coalesced",
            CacheStatus::Bypass => "bypass",
        }
    }
}

impl ResultCache {
    /// `index`: `None` where the cache is off. `spool`: a folder on this machine for large results from a bucket.
    pub fn new(index: Option<Arc<dyn Index>>, storage: Storage, spool: PathBuf) -> Self {
        Self(Arc::new(Inner {
            index,
            storage,
            reports: Reports::default(),
            flights: Flights::default(),
            storing: TaskTracker::new(),
            room: Arc::new(Semaphore::new(STORING)),
            spool,
        }))
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.index.is_some()
    }

    /// Whether a result can be had without a conversion.
    pub(super) async fn knows(&self, identity: Hash) -> bool {
        // What has just been made may still be on its way to the index.
        let made = self.0.flights.find(identity).is_some_and(|flight| flight.peek().is_some());
        made || match &self.0.index {
            Some(index) => self.entry(&**index, identity).await.is_some(),
            None => false,
        }
    }

    /// Bytes of the results that the index holds; where other processes share them, of all that the store keeps.
    pub(super) fn bytes(&self) -> u64 {
        match &self.0.index {
            None => 0,
            Some(index) => index.bytes().unwrap_or_else(|| self.0.storage.kept_bytes()),
        }
    }

    /// The index's entry, unless its report is too old: the response refers to it.
    async fn entry(&self, index: &dyn Index, identity: Hash) -> Option<Entry> {
        index.get(identity).await.filter(|entry| match entry {
            Entry::Result(about) => !self.0.storage.has_expired(about.report, SystemTime::now()),
            Entry::Failure(_) => true,
        })
    }

    /// Looks after the index, for ever.
    pub(super) async fn tend(&self) {
        match &self.0.index {
            Some(index) => index.tend().await,
            None => std::future::pending().await,
        }
    }

    /// Waits until everything is stored, for a few seconds at most.
    pub(super) async fn finish(&self) {
        self.0.storing.close();
        if timeout(LAST_STORED, self.0.storing.wait()).await.is_err() {
            tracing::warn!("some results were not stored in time");
        }
    }

    /// Finds a result, or has it made: `begin` returns the conversion for the time that is left. Dropping this future
    /// gives the conversion up, unless others wait for it.
    pub(super) async fn find_or_convert(
        &self,
        lookup: &Lookup,
        begin: impl Fn(Duration) -> Work,
    ) -> (CacheStatus, Result<Found, ConversionError>) {
        let asked = Instant::now();
        let (Some(index), Some(identity)) = (&self.0.index, lookup.identity) else {
            return self.bypass(None, lookup, begin(lookup.timeout)).await;
        };
        if lookup.fresh {
            return self.bypass(Some(identity), lookup, begin(lookup.timeout)).await;
        }
        // A result on its way to the index is found here, though it may get there and be dropped in between.
        let mut under_way = self.0.flights.find(identity);
        if !lookup.lost
            && let Some(entry) = self.entry(&**index, identity).await
        {
            return (CacheStatus::Hit, found(entry));
        }
        loop {
            let left = lookup.timeout.saturating_sub(asked.elapsed());
            let work = || self.clone().lead(Arc::clone(index), identity, lookup.clone(), left, begin(left));
            let (flight, led) = self.0.flights.join(identity, work);
            // A second turn is for another flight.
            under_way.take();
            let over = flight.peek().is_some();
            if !led && !over {
                tracing::debug!("waiting for an equal conversion that is under way");
            }
            let landed = match timeout(left + SPARE, flight).await {
                Ok(Some(landed)) => landed,
                Ok(None) => Landed::Failed(ConversionError::new(
                    ErrorCode::Internal,
                    "the conversion failed inside the gateway",
                )),
                Err(_) => Landed::Failed(late(lookup.timeout)),
            };
            let status = match landed {
                _ if over => CacheStatus::Hit,
                Landed::Made(_) | Landed::Failed(_) if led => CacheStatus::Miss,
                _ => CacheStatus::Coalesced,
            };
            let result = match landed {
                Landed::Made(artifact) => Ok(Found::Made(artifact)),
                Landed::Known(entry) => found(entry),
                // The request that began it has run out of time or lost its place in the queue; this one may not have.
                Landed::Failed(error)
                    if matches!(error.code, ErrorCode::Timeout | ErrorCode::QueueFull)
                        && !led
                        && asked.elapsed() < lookup.timeout =>
                {
                    // Others who wait for it let go of it, too.
                    tokio::task::yield_now().await;
                    continue;
                }
                Landed::Failed(error) if error.code == ErrorCode::Timeout => Err(late(lookup.timeout)),
                Landed::Failed(error) => Err(error),
            };
            return (status, result);
        }
    }

    /// Converts without a look at what others do.
    async fn bypass(
        &self,
        identity: Option<Hash>,
        lookup: &Lookup,
        work: Work,
    ) -> (CacheStatus, Result<Found, ConversionError>) {
        let result = match self.convert(lookup, work, lookup.timeout).await {
            Ok(artifact) => {
                self.store(identity, Ok(Arc::clone(&artifact)), None);
                Ok(Found::Made(artifact))
            }
            Err(error) => Err(error),
        };
        (CacheStatus::Bypass, result)
    }

    /// Converts for all who wait, unless another process does.
    async fn lead(
        self,
        index: Arc<dyn Index>,
        identity: Hash,
        lookup: Lookup,
        left: Duration,
        work: Work,
    ) -> Landed {
        let Ok(lease) = timeout(left, claim(&*index, identity)).await else {
            return Landed::Failed(late(left));
        };
        // Another process may have finished it in the meantime.
        if !lookup.lost
            && let Some(entry) = self.entry(&*index, identity).await
        {
            return Landed::Known(entry);
        }
        match self.convert(&lookup, work, left).await {
            Ok(artifact) => {
                self.store(Some(identity), Ok(Arc::clone(&artifact)), Some(lease));
                Landed::Made(artifact)
            }
            Err(error) => {
                if error.code.is_models_fault() {
                    self.store(Some(identity), Err(error.clone()), Some(lease));
                }
                Landed::Failed(error)
            }
        }
    }

    /// Converts and packs the result within the `allowed` time, to which the work keeps by itself.
    async fn convert(
        &self,
        lookup: &Lookup,
        work: Work,
        allowed: Duration,
    ) -> Result<Arc<Artifact>, ConversionError> {
        let began = Instant::now();
        let outcome = work.await?;
        let left = allowed.saturating_add(KILLED_WITHIN).saturating_sub(began.elapsed());
        let report = self.0.reports.keep(Arc::new(outcome.report.clone()), lookup.owner.clone());
        let packing = timeout(left, Artifact::new(outcome, report, lookup.owner.clone()));
        Ok(Arc::new(packing.await.unwrap_or_else(|_| Err(late(allowed)))?))
    }

    /// Stores how it ended, behind the answer. Until then, the flight is found by equal ones, and the lease is held.
    fn store(
        &self,
        identity: Option<Hash>,
        ended: Result<Arc<Artifact>, ConversionError>,
        lease: Option<Lease>,
    ) {
        let Ok(room) = Arc::clone(&self.0.room).try_acquire_owned() else {
            tracing::debug!("the store is too slow: a result is not kept");
            return;
        };
        let flight = identity.and_then(|identity| self.0.flights.find(identity));
        let this = self.clone();
        let storing = async move {
            let made_in = ended.as_ref().ok().map(|made| made.outcome.report.timings.total_ms);
            let patience = Duration::from_secs_f64(made_in.unwrap_or_default() / 1000.0).max(WORTH_WAITING);
            let mut keeping = pin!(async {
                match &ended {
                    Ok(made) => this.keep(identity, made).await,
                    Err(error) => {
                        if let (Some(index), Some(identity)) = (&this.0.index, identity) {
                            index.put(identity, Entry::Failure(error.clone())).await;
                        }
                    }
                }
            });
            if timeout(patience, keeping.as_mut()).await.is_err() {
                drop(lease);
                keeping.await;
            }
            drop((room, flight));
        };
        self.0.storing.spawn(storing.in_current_span());
    }

    /// That the store fails is told by the store.
    async fn keep(&self, identity: Option<Hash>, made: &Artifact) {
        let storage = &self.0.storage;
        let cached = self.0.index.as_ref().zip(identity);
        // What is referred to comes first.
        if cached.is_some() && storage.put_blob(made.source(), &made.about.hash).await.is_err() {
            return;
        }
        let result = cached.is_some().then(|| made.about.clone());
        let record = Record { report: made.outcome.report.clone(), owner: made.owner.clone(), result };
        let Ok(json) = serde_json::to_vec(&record) else { return };
        if storage.put(Document::Report(made.about.report), json.into()).await.is_err() {
            return;
        }
        if let Some((index, identity)) = cached {
            index.put(identity, Entry::Result(made.about.clone())).await;
        }
    }

    /// Opens a stored result and checks it. `None`: the store does not have it any more; the index forgets it.
    pub(super) async fn open(&self, identity: Hash, about: &cache::Result) -> Option<Fetched> {
        let found = self.0.storage.fetch(&about.hash, about.bytes, &self.0.spool).await;
        if let (Ok(None), Some(index)) = (&found, &self.0.index) {
            index.remove(identity).await;
        }
        found.ok().flatten()
    }

    /// An address at which the client can fetch a stored result from the bucket, where that is wanted.
    pub(super) async fn address(&self, about: &cache::Result) -> Option<Url> {
        let (disposition, media_type) = (about.content_disposition(), about.media_type());
        let address = self.0.storage.presigned(&about.hash, &disposition, media_type, ADDRESS_LIFE);
        address.await.ok().flatten()
    }

    /// The report of a conversion by any process, if it belongs to this owner; `None` where there is none, or none any more.
    pub(super) async fn report(&self, id: Uuid, owner: Option<&str>) -> Option<Arc<Report>> {
        if self.0.storage.has_expired(id, SystemTime::now()) {
            return None;
        }
        if let Some(report) = self.0.reports.get(id, owner) {
            return Some(report);
        }
        let kept = self.0.storage.get(Document::Report(id)).await.ok()??;
        let record: Record = serde_json::from_slice(&kept.content).ok()?;
        (record.owner.as_deref() == owner).then(|| Arc::new(record.report))
    }
}

/// The conversion keeps to the time-out by itself, and ends a little later.
const SPARE: Duration = Duration::from_secs(3);

async fn claim(index: &dyn Index, identity: Hash) -> Lease {
    let mut pause = SHORTEST_LOOK;
    loop {
        if let Some(lease) = index.claim(identity).await {
            return lease;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_LOOK);
    }
}

fn found(entry: Entry) -> Result<Found, ConversionError> {
    match entry {
        Entry::Result(about) => Ok(Found::Stored(about)),
        Entry::Failure(error) => Err(error),
    }
}
