//! What outlives a request: results, reports, and what the cache remembers, in a folder or in a bucket.
//!
//! ```text
//! <folder, or bucket and prefix>/
//!   blobs/<first 2 hex>/<blake3>             a result: one file, or the zip of several
//!   reports/<uuid v7>.json                   a report, with what it takes to send its result again
//!   entries/<first 2 hex>/<identity>.json    what the cache of this process keeps
//!   check/<uuid>                             for the moment of a check
//!   swept                                    when the command line swept the folder, and what was left
//! ```
//!
//! A blob is called what it holds, so that equal results are kept once, and is checked by its name whenever it is read.
//! Nobody counts who refers to it: an entry or a report whose blob is gone is as if it were gone, too. So everything
//! here may be removed at any time, by a hand, by a rule of the bucket or by another process, and costs a conversion.
//!
//! What is away is an error ([`Error`]), and [`Storage::trouble`] tells it until it works again; what is not there is
//! `None`. Neither may fail a conversion.

mod blob;
mod blobs;
mod bucket;
mod cloud_options;
mod documents;
mod error;
mod health;
mod keys;
mod local;
mod open;
mod read_cache;
mod sweep;
mod visit;

use std::collections::HashSet;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use object_store::ObjectStoreExt;
use object_store::path::Path as Location;
use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

pub use blake3::Hash;
pub use blob::{Fetched, Put, SMALL, Source};
pub use documents::{Document, Kept, Kind, Listed};
pub use error::{Error, Trouble};
pub use sweep::Swept;
pub use url::Url;

use crate::config;
use crate::fs::open::make_private;
use health::{Health, Side};
use open::Place;
use read_cache::Recent;

/// How long what is small may take, with all that is tried again.
const BRIEF: Duration = Duration::from_secs(10);

/// How long storing what was made just now may take.
const STORED_WITHIN: Duration = Duration::from_secs(5);

/// Bytes that a check writes: more than what file systems find room for beside a name.
const CHECKED: usize = 4 << 10;

/// The store. Clones are the same one.
#[derive(Clone)]
pub struct Storage(Arc<Inner>);

struct Inner {
    place: Place,
    ttl: Duration,
    max_bytes: u64,
    presign: bool,
    health: Health,
    observer: OnceLock<Observer>,
    listener: OnceLock<Listener>,
    /// Bytes that are kept, as far as this process knows: what the latest sweep found, and what was added since.
    kept: AtomicU64,
    /// Files of them.
    kept_files: AtomicU64,
    /// More is kept than may be.
    crowded: Notify,
    /// What was read of a folder.
    recent: Recent,
    /// To write a document into a folder.
    turn: Arc<Semaphore>,
    /// To check large results, one for each processor.
    checking: Arc<Semaphore>,
}

/// What is told of each operation, for metrics.
pub type Observer = Box<dyn Fn(Operation, Outcome, Duration) + Send + Sync>;

/// What is told after each sweep: the blobs that are there, and when it was begun to list them.
pub type Listener = Box<dyn Fn(&HashSet<Hash>, Instant) + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Check,
    PutBlob,
    FetchBlob,
    Presign,
    Put,
    Get,
    Remove,
    List,
    Sweep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It was there already.
    Present,
    /// It is not there.
    Absent,
    /// It was there, and not what it was called.
    Corrupt,
    Failed,
    /// Not tried, since the store is away.
    Skipped,
}

impl Operation {
    pub fn word(self) -> &'static str {
        match self {
            Operation::Check => "check",
            Operation::PutBlob => "put_blob",
            Operation::FetchBlob => "fetch_blob",
            Operation::Presign => "presign",
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::Remove => "remove",
            Operation::List => "list",
            Operation::Sweep => "sweep",
        }
    }

    fn side(self) -> Side {
        match self {
            Operation::FetchBlob | Operation::Presign | Operation::Get | Operation::List => Side::Reading,
            Operation::Check | Operation::PutBlob | Operation::Put | Operation::Remove | Operation::Sweep => {
                Side::Writing
            }
        }
    }
}

impl Outcome {
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Present => "present",
            Outcome::Absent => "absent",
            Outcome::Corrupt => "corrupt",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
        }
    }
}

impl Storage {
    /// The store of these settings, or in the folder `usual` where they name none. Nothing of it is asked yet.
    ///
    /// # Errors
    /// What is wrong with the settings, in one sentence.
    pub fn open(config: &config::Storage, usual: &Path) -> Result<Self, String> {
        Ok(Self::of(Place::open(config.place.as_ref(), usual)?, config))
    }

    fn of(place: Place, config: &config::Storage) -> Self {
        Self(Arc::new(Inner {
            place,
            ttl: config.ttl,
            max_bytes: config.max_bytes,
            presign: config.presign,
            health: Health::default(),
            observer: OnceLock::new(),
            listener: OnceLock::new(),
            kept: AtomicU64::new(0),
            kept_files: AtomicU64::new(0),
            crowded: Notify::new(),
            recent: Recent::default(),
            turn: Arc::new(Semaphore::new(1)),
            checking: Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))),
        }))
    }

    /// The folder, or the URL.
    pub fn name(&self) -> &str {
        &self.0.place.name
    }

    /// Whom to tell of each operation; only the first one is.
    pub fn observe(&self, observer: Observer) {
        let _ = self.0.observer.set(observer);
    }

    /// Whom to tell of each sweep; only the first one is.
    pub fn after_sweeps(&self, listener: Listener) {
        let _ = self.0.listener.set(listener);
    }

    /// How long results and reports are kept.
    pub fn ttl(&self) -> Duration {
        self.0.ttl
    }

    /// Bytes of all that is kept, as far as this process knows.
    pub fn kept_bytes(&self) -> u64 {
        self.0.kept.load(Ordering::Relaxed)
    }

    /// What is wrong with it, as its latest operations showed; `None`: nothing.
    pub fn trouble(&self) -> Option<Error> {
        self.0.health.trouble()
    }

    /// Whether what had this number, a UUID of version 7, is older than anything is kept.
    pub fn has_expired(&self, id: Uuid, now: SystemTime) -> bool {
        made_at(id).and_then(|made| now.duration_since(made).ok()).is_some_and(|age| age > self.0.ttl)
    }

    /// Whether what has this number was made just now, so that another process may still be storing it.
    pub fn is_new(&self, id: Uuid, now: SystemTime) -> bool {
        let age = made_at(id).map(|made| now.duration_since(made).unwrap_or_else(|error| error.duration()));
        age.is_some_and(|age| age < STORED_WITHIN)
    }

    /// Writes a small object, reads it back and removes it.
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn check(&self) -> Result<(), Error> {
        let location = self.location(&format!("{}/{}", keys::CHECKS, Uuid::now_v7()));
        let content = Bytes::from(vec![b'.'; CHECKED]);
        let store = &self.0.place.store;
        let work = async {
            self.make_folder(keys::CHECKS).await?;
            self.brief(store.put(&location, content.clone().into())).await?;
            let read = self.brief(async { store.get(&location).await?.bytes().await }).await?;
            self.brief(store.delete(&location)).await?;
            if read != content {
                return Err(Error::other(self.name(), "what is read is not what was written"));
            }
            Ok((Outcome::Done, ()))
        };
        // Asked whatever was before, since this is how it is found out that the store is back.
        let checked = self.timed(Operation::Check, work).await;
        if checked.is_ok() {
            self.0.health.succeeded(Side::Reading);
        }
        checked
    }

    /// Does `work`, unless the store is away; notes and tells how it went.
    async fn tracked<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<(Outcome, T), Error>>,
    ) -> Result<T, Error> {
        if let Err(away) = self.0.health.admit(Instant::now()) {
            self.tell(operation, Outcome::Skipped, Duration::ZERO);
            return Err(away);
        }
        self.timed(operation, work).await
    }

    async fn timed<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<(Outcome, T), Error>>,
    ) -> Result<T, Error> {
        let began = Instant::now();
        // The library panics at what it takes to be impossible. That is counted and logged where it happens; here it is
        // a failure like another, which ends neither the request nor the task that tends the store.
        let done = AssertUnwindSafe(work).catch_unwind().await;
        let done = done.unwrap_or_else(|_| Err(Error::other(self.name(), "the program itself panicked")));
        let now = Instant::now();
        let (outcome, done) = match done {
            Ok((outcome, value)) => {
                self.0.health.succeeded(operation.side());
                (outcome, Ok(value))
            }
            Err(error) => {
                self.0.health.failed(operation.side(), &error, now);
                (Outcome::Failed, Err(error))
            }
        };
        self.tell(operation, outcome, now.duration_since(began));
        done
    }

    fn tell(&self, operation: Operation, outcome: Outcome, took: Duration) {
        if let Some(observer) = self.0.observer.get() {
            observer(operation, outcome, took);
        }
    }

    /// What is small, within its time.
    async fn brief<T>(&self, work: impl Future<Output = object_store::Result<T>>) -> Result<T, Error> {
        match tokio::time::timeout(BRIEF, work).await {
            Ok(done) => done.map_err(|error| Error::of(self.name(), &error)),
            Err(_) => Err(Error::late(self.name(), BRIEF.as_secs())),
        }
    }

    /// The same of what need not be there.
    async fn sought<T>(
        &self,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<Option<T>, Error> {
        self.brief(async {
            match work.await {
                Ok(found) => Ok(Some(found)),
                Err(error) if error::is_absent(&error) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Where something is, by its path below our root.
    fn location(&self, path: &str) -> Location {
        path.split('/').fold(self.0.place.base.clone(), Location::join)
    }

    /// Makes the folder of a path below our root, where the store is one on this machine: the library would let others
    /// look into it.
    async fn make_folder(&self, path: &str) -> Result<(), Error> {
        let Some(root) = &self.0.place.folder else { return Ok(()) };
        let folder = root.join(path);
        self.blocking(move |store| make_private(&folder).map_err(|error| Error::io(store, &error))).await
    }

    /// Work on files, which is given the store's name for its errors.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&str) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&inner.place.name)).await;
        done.unwrap_or_else(|error| Err(Error::other(self.name(), &format!("the work ended early: {error}"))))
    }

    /// So much more is kept.
    fn added(&self, bytes: u64) {
        self.0.kept.fetch_add(bytes, Ordering::Relaxed);
        self.0.kept_files.fetch_add(1, Ordering::Relaxed);
        if self.is_crowded() {
            self.0.crowded.notify_one();
        }
    }
}

/// How long ago something was, and no time where the clock was set back since.
pub fn age(modified: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(modified).unwrap_or_default()
}

/// When a number was made, if it is a UUID of version 7.
fn made_at(id: Uuid) -> Option<SystemTime> {
    let (seconds, nanos) = id.get_timestamp().filter(|_| id.get_version_num() == 7)?.to_unix();
    Some(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use object_store::aws::AmazonS3Builder;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_panic_of_the_library_is_a_failure_and_the_store_is_tended_on() {
        // Which no settings bring about.
        let bucket = AmazonS3Builder::new()
            .with_bucket_name("bucket")
            .with_endpoint("minio:9000")
            .with_access_key_id("id")
            .with_secret_access_key("secret");
        let place = Place {
            name: "s3://bucket".to_owned(),
            store: Arc::new(bucket.build().unwrap()),
            folder: None,
            base: Location::default(),
            signer: None,
        };
        let config = config::Config::load(&config::Sources::default()).unwrap().storage;
        let storage = Storage::of(place, &config);
        let (tell, mut told) = mpsc::unbounded_channel();
        storage.observe(Box::new(move |operation, outcome, _| {
            let _ = tell.send((operation, outcome));
        }));
        let seen = async { [told.recv().await.unwrap(), told.recv().await.unwrap()] };
        tokio::select! {
            () = storage.tend() => unreachable!("it has no end"),
            seen = seen => {
                let expected = [Operation::Check, Operation::Sweep];
                assert_eq!(seen, expected.map(|operation| (operation, Outcome::Failed)));
            }
        }
        assert_eq!(storage.trouble().unwrap().detail, "s3://bucket: the program itself panicked");
    }

    #[test]
    fn only_numbers_of_their_time_expire() {
        let config = config::Config::load(&config::Sources::default()).unwrap().storage;
        let storage = Storage::open(&config, Path::new("/unused")).unwrap_or_else(|error| panic!("{error}"));
        let id = Uuid::now_v7();
        let now = SystemTime::now();
        let after = |hours| now + Duration::from_hours(hours);
        assert!(!storage.has_expired(id, now));
        assert!(!storage.has_expired(id, after(23)));
        assert!(storage.has_expired(id, after(25)));
        assert!(!storage.has_expired(id, SystemTime::UNIX_EPOCH));
        assert!(!storage.has_expired(Uuid::nil(), after(25)));
        assert!(!storage.has_expired(Uuid::max(), after(25)));
        // Clocks of two machines differ a little.
        for near in [now, now + Duration::from_secs(2), now - Duration::from_secs(2)] {
            assert!(storage.is_new(id, near));
        }
        assert!(!storage.is_new(id, after(1)) && !storage.is_new(id, SystemTime::UNIX_EPOCH));
        assert!(!storage.is_new(Uuid::nil(), now));
    }
}
