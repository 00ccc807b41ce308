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

use super::artifact::Made;
use super::service::KILLED_WITHIN;
use super::{Outcome, Reports, late};
use crate::cache::{self, Entry, Flights, Index, Lease};
use crate::domain::{ConversionError, ErrorCode, Report};
use crate::fs::blob::Blob;
use crate::storage::{Document, Hash, Storage};

/// Results that are on their way to the store at a time: each keeps its conversion's folder. Further ones are not stored.
const STORING: usize = 32;

/// How often it is looked whether another process has done what it holds the lease of: at first, and at most.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_LOOK: Duration = Duration::from_millis(150);

/// How long others wait at least for a result that is being stored; and no longer than it took to make it, since by then
/// they could have it by themselves.
const WORTH_WAITING: Duration = Duration::from_secs(1);

/// How long what is still being stored may take when the service stops.
const LAST_STORED: Duration = Duration::from_secs(3);

/// What answers. Clones are the same one.
#[derive(Clone)]
pub struct Answers(Arc<Inner>);

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

/// What carries a conversion out.
pub type Work = BoxFuture<'static, Result<Outcome, ConversionError>>;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Question {
    /// None where it cannot be told, so that it has to be carried out.
    pub identity: Option<Hash>,
    /// The API key that the report is to belong to; where there is one, the identity is its own, too.
    pub owner: Option<Arc<str>>,
    /// Whatever is known of it, it is to be carried out.
    pub fresh: bool,
    /// What is known of it is of no use; but others may be asking for it, too.
    pub lost: bool,
    /// For all of it, waiting included.
    pub timeout: Duration,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Hit,
    Miss,
    /// It was carried out for somebody else.
    Coalesced,
    /// It was not looked for.
    Bypass,
}

impl Question {
    /// To ask once more where what was known could not be had: at first for what others do, and then for itself.
    pub fn again(&mut self) {
        self.fresh = self.lost;
        self.lost = true;
    }
}

#[derive(Debug)]
pub struct Answer {
    pub how: How,
    pub result: Result<Ready, ConversionError>,
}

#[derive(Debug, Clone)]
pub enum Ready {
    Made(Arc<Made>),
    /// The store should have it: [`Answers::open`].
    Kept(cache::Result),
}

/// How a conversion ended for all who wait for it.
#[derive(Debug, Clone)]
enum Landed {
    Made(Arc<Made>),
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

impl How {
    /// For metrics.
    pub const fn word(self) -> &'static str {
        match self {
            How::Hit => "hit",
            How::Miss => "miss",
            How::Coalesced => "coalesced",
            How::Bypass => "bypass",
        }
    }
}

impl Ready {
    pub fn about(&self) -> &cache::Result {
        match self {
            Ready::Made(made) => &made.about,
            Ready::Kept(about) => about,
        }
    }
}

impl Answers {
    /// `spool` is a folder on this machine.
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

    pub fn is_on(&self) -> bool {
        self.0.index.is_some()
    }

    /// Whether it can be answered without carrying anything out.
    pub async fn knows(&self, identity: Hash) -> bool {
        // What has just been made may still be on its way to the index.
        let made = self.0.flights.find(identity).is_some_and(|flight| flight.peek().is_some());
        made || match &self.0.index {
            Some(index) => self.known(&**index, identity).await.is_some(),
            None => false,
        }
    }

    /// Bytes of the results that are remembered; where other processes share them, of all that the store keeps.
    pub fn bytes(&self) -> u64 {
        match &self.0.index {
            None => 0,
            Some(index) => index.bytes().unwrap_or_else(|| self.0.storage.kept_bytes()),
        }
    }

    /// What is known of it, unless its report is too old: an answer would lead there.
    async fn known(&self, index: &dyn Index, identity: Hash) -> Option<Entry> {
        index.get(identity).await.filter(|entry| match entry {
            Entry::Result(about) => !self.0.storage.has_expired(about.report, SystemTime::now()),
            Entry::Failure(_) => true,
        })
    }

    /// Looks after what is known, for ever.
    pub async fn tend(&self) {
        match &self.0.index {
            Some(index) => index.tend().await,
            None => std::future::pending().await,
        }
    }

    /// Waits until everything is stored, but not without end.
    pub async fn finish(&self) {
        self.0.storing.close();
        if timeout(LAST_STORED, self.0.storing.wait()).await.is_err() {
            tracing::warn!("some results were not stored in time");
        }
    }

    /// Answers a question. Only where it has to be carried out, `begin` is asked for what does so within the time that is
    /// left; dropping this gives it up, unless others wait for it.
    pub async fn ask(&self, question: &Question, begin: impl Fn(Duration) -> Work) -> Answer {
        let asked = Instant::now();
        let (Some(index), Some(identity)) = (&self.0.index, question.identity) else {
            return self.bypass(None, question, begin(question.timeout)).await;
        };
        if question.fresh {
            return self.bypass(Some(identity), question, begin(question.timeout)).await;
        }
        // What is on its way to the index is found here, though it may get there and be dropped in between.
        let mut under_way = self.0.flights.find(identity);
        if !question.lost
            && let Some(entry) = self.known(&**index, identity).await
        {
            return Answer { how: How::Hit, result: ready(entry) };
        }
        loop {
            let left = question.timeout.saturating_sub(asked.elapsed());
            let work = || self.clone().lead(Arc::clone(index), identity, question.clone(), left, begin(left));
            let (flight, led) = self.0.flights.join(identity, work);
            // A second turn is for another one.
            under_way.take();
            let over = flight.peek().is_some();
            if !led && !over {
                tracing::debug!("an equal conversion is under way; it is waited for");
            }
            let landed = match timeout(left + SPARE, flight).await {
                Ok(Some(landed)) => landed,
                Ok(None) => Landed::Failed(ConversionError::new(
                    ErrorCode::Internal,
                    "the conversion failed inside the gateway",
                )),
                Err(_) => Landed::Failed(late(question.timeout)),
            };
            let how = match landed {
                _ if over => How::Hit,
                Landed::Made(_) | Landed::Failed(_) if led => How::Miss,
                _ => How::Coalesced,
            };
            let result = match landed {
                Landed::Made(made) => Ok(Ready::Made(made)),
                Landed::Known(entry) => ready(entry),
                // The time of whoever began it is over, or its place is taken over, and ours may not be.
                Landed::Failed(error)
                    if matches!(error.code, ErrorCode::Timeout | ErrorCode::QueueFull)
                        && !led
                        && asked.elapsed() < question.timeout =>
                {
                    // Others who wait for it let go of it, too.
                    tokio::task::yield_now().await;
                    continue;
                }
                Landed::Failed(error) if error.code == ErrorCode::Timeout => Err(late(question.timeout)),
                Landed::Failed(error) => Err(error),
            };
            return Answer { how, result };
        }
    }

    /// Carries it out for one who does not want to know of others.
    async fn bypass(&self, identity: Option<Hash>, question: &Question, work: Work) -> Answer {
        let result = match self.carry_out(question, work, question.timeout).await {
            Ok(made) => {
                self.store(identity, Ok(Arc::clone(&made)), None);
                Ok(Ready::Made(made))
            }
            Err(error) => Err(error),
        };
        Answer { how: How::Bypass, result }
    }

    /// Carries it out for all who wait, unless another process does.
    async fn lead(
        self,
        index: Arc<dyn Index>,
        identity: Hash,
        question: Question,
        left: Duration,
        work: Work,
    ) -> Landed {
        let Ok(lease) = timeout(left, claim(&*index, identity)).await else {
            return Landed::Failed(late(left));
        };
        // Since it was looked for, somebody else may have finished it.
        if !question.lost
            && let Some(entry) = self.known(&*index, identity).await
        {
            return Landed::Known(entry);
        }
        match self.carry_out(&question, work, left).await {
            Ok(made) => {
                self.store(Some(identity), Ok(Arc::clone(&made)), Some(lease));
                Landed::Made(made)
            }
            Err(error) => {
                if error.code.is_models_fault() {
                    self.store(Some(identity), Err(error.clone()), Some(lease));
                }
                Landed::Failed(error)
            }
        }
    }

    /// The work keeps to the `allowed` time by itself; packing its result counts, too.
    async fn carry_out(
        &self,
        question: &Question,
        work: Work,
        allowed: Duration,
    ) -> Result<Arc<Made>, ConversionError> {
        let began = Instant::now();
        let outcome = work.await?;
        let left = allowed.saturating_add(KILLED_WITHIN).saturating_sub(began.elapsed());
        let report = self.0.reports.keep(Arc::new(outcome.report.clone()), question.owner.clone());
        let packing = timeout(left, Made::new(outcome, report, question.owner.clone()));
        Ok(Arc::new(packing.await.unwrap_or_else(|_| Err(late(allowed)))?))
    }

    /// Stores how it ended, behind the answer. Until then, the flight is found by equal ones, and the lease is held.
    fn store(&self, identity: Option<Hash>, ended: Result<Arc<Made>, ConversionError>, lease: Option<Lease>) {
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
    async fn keep(&self, identity: Option<Hash>, made: &Made) {
        let storage = &self.0.storage;
        let cached = self.0.index.as_ref().zip(identity);
        // What is referred to comes first.
        if cached.is_some() {
            let Ok(content) = made.content().await else { return };
            if storage.put_blob(content, &made.about.hash).await.is_err() {
                return;
            }
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

    /// A result that the store should have, checked. `None`: it has not, and it is not known any more.
    pub async fn open(&self, identity: Hash, about: &cache::Result) -> Option<Blob> {
        let found = self.0.storage.fetch(&about.hash, about.bytes, &self.0.spool).await;
        if let (Ok(None), Some(index)) = (&found, &self.0.index) {
            index.remove(identity).await;
        }
        found.ok().flatten()
    }

    /// A report of this owner, of whichever process; `None` where there is none, or none any more.
    pub async fn report(&self, id: Uuid, owner: Option<&str>) -> Option<Arc<Report>> {
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

/// Whoever carries it out sees to the time-out by itself, and answers a little later.
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

fn ready(entry: Entry) -> Result<Ready, ConversionError> {
    match entry {
        Entry::Result(about) => Ok(Ready::Kept(about)),
        Entry::Failure(error) => Err(error),
    }
}
