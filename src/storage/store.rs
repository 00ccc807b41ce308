//! The store itself: its configuration, health, metrics and the check that it works.

use std::collections::HashSet;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use blake3::Hash;
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::Notify;
use uuid::Uuid;

use super::backend::{Backend, limit_time};
use super::error::Error;
use super::health::{AccessMode, Health};
use super::operation::{Operation, Outcome};
use super::{keys, open};
use crate::config;

/// How long another process may take to store a new result.
const STORED_WITHIN: Duration = Duration::from_secs(5);

/// Bytes that a check writes: too many for file systems to put beside the name.
const CHECK_BYTES: usize = 4 << 10;

/// Stores objects in a [`Backend`], and counts, limits and sweeps them. Clones are the same store. The errors of all
/// operations say what is wrong with the store, unless they say otherwise.
#[derive(Clone)]
pub struct Storage(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub backend: Box<dyn Backend>,
    pub ttl: Duration,
    pub max_bytes: u64,
    pub presign: bool,
    pub health: Health,
    observer: OnceLock<Observer>,
    pub sweep_listener: OnceLock<SweepListener>,
    /// Bytes and number of the objects, as far as this process knows: those of the latest sweep and those added since.
    pub stored_bytes: AtomicU64,
    pub stored_objects: AtomicU64,
    /// More is stored than allowed.
    pub overfull: Notify,
}

/// Called after each operation, for metrics.
pub type Observer = Box<dyn Fn(Operation, Outcome, Duration) + Send + Sync>;

/// Called after each sweep with the blobs that are left, and the time when the sweep began to list them.
pub type SweepListener = Box<dyn Fn(&HashSet<Hash>, Instant) + Send + Sync>;

impl Storage {
    /// Opens the store of the settings, or of the folder `default` where they name none. Sends no request yet. The
    /// error says in one sentence what is wrong with the settings.
    pub fn open(config: &config::Storage, default: &Path) -> Result<Self, String> {
        Ok(Self::new(open::open(config, default)?, config))
    }

    fn new(backend: Box<dyn Backend>, config: &config::Storage) -> Self {
        Self(Arc::new(Inner {
            backend,
            ttl: config.ttl,
            max_bytes: config.max_bytes,
            presign: config.presign,
            health: Health::default(),
            observer: OnceLock::new(),
            sweep_listener: OnceLock::new(),
            stored_bytes: AtomicU64::new(0),
            stored_objects: AtomicU64::new(0),
            overfull: Notify::new(),
        }))
    }

    /// The folder or URL.
    pub fn name(&self) -> &str {
        self.0.backend.name()
    }

    /// Sets the observer of operations, unless there is one.
    pub fn observe(&self, observer: Observer) {
        let _ = self.0.observer.set(observer);
    }

    /// Sets the listener to sweeps, unless there is one.
    pub fn after_sweeps(&self, listener: SweepListener) {
        let _ = self.0.sweep_listener.set(listener);
    }

    /// How long results and reports are kept.
    pub fn ttl(&self) -> Duration {
        self.0.ttl
    }

    /// Bytes of all objects, as far as this process knows.
    pub fn kept_bytes(&self) -> u64 {
        self.0.stored_bytes.load(Ordering::Relaxed)
    }

    /// The error of the latest operations; `None` while the store works.
    pub fn trouble(&self) -> Option<Error> {
        self.0.health.trouble()
    }

    /// Whether the report of this ID, a UUID of version 7, is too old to be kept.
    pub fn has_expired(&self, id: Uuid, now: SystemTime) -> bool {
        Self::is_older(id, self.0.ttl, now)
    }

    /// Whether this ID is a UUID of version 7 that was made longer ago than `age`.
    pub fn is_older(id: Uuid, age: Duration, now: SystemTime) -> bool {
        created_at(id).is_some_and(|created| keys::age(created, now) > age)
    }

    /// Whether this ID is so new that another process may still be storing its report.
    pub fn is_new(&self, id: Uuid, now: SystemTime) -> bool {
        // Clocks of two machines differ a little.
        let apart = |created| now.duration_since(created).unwrap_or_else(|error| error.duration());
        created_at(id).is_some_and(|created| apart(created) < STORED_WITHIN)
    }

    /// Writes a small object, reads it back and removes it. Asks even an unreachable store, and so finds out that it is
    /// back.
    pub async fn check(&self) -> Result<(), Error> {
        let path = format!("{}/{}", keys::CHECKS, Uuid::now_v7());
        let content = Bytes::from(vec![b'.'; CHECK_BYTES]);
        let backend = &self.0.backend;
        let work = async {
            limit_time(self.name(), backend.put(path.clone(), content.clone())).await?;
            let read = backend.get(path.clone()).await?;
            backend.remove(path).await?;
            if read.is_none_or(|read| read.content != content) {
                return Err(Error::other(self.name(), "what is read is not what was written"));
            }
            Ok((Outcome::Done, ()))
        };
        self.timed(Operation::Check, work).await?;
        self.0.health.succeeded(AccessMode::Read);
        Ok(())
    }

    /// Runs an operation, unless the store is unreachable, and records how it went.
    pub(super) async fn tracked<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<(Outcome, T), Error>>,
    ) -> Result<T, Error> {
        if let Err(unreachable) = self.0.health.admit(Instant::now()) {
            self.record(operation, Outcome::Skipped, Duration::ZERO);
            return Err(unreachable);
        }
        self.timed(operation, work).await
    }

    async fn timed<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<(Outcome, T), Error>>,
    ) -> Result<T, Error> {
        let began = Instant::now();
        // The library panics at states that it holds to be impossible. The panic hook counts and logs that; here it is
        // a failure like any other, and ends neither the request nor the task that maintains the store.
        let done = AssertUnwindSafe(work).catch_unwind().await;
        let done = done.unwrap_or_else(|_| Err(Error::other(self.name(), "internal error (panic)")));
        let now = Instant::now();
        let outcome = match &done {
            Ok((outcome, _)) => {
                self.0.health.succeeded(operation.access());
                *outcome
            }
            Err(error) => {
                self.0.health.failed(operation.access(), error, now);
                Outcome::Failed
            }
        };
        self.record(operation, outcome, now.duration_since(began));
        done.map(|(_, value)| value)
    }

    fn record(&self, operation: Operation, outcome: Outcome, took: Duration) {
        if let Some(observer) = self.0.observer.get() {
            observer(operation, outcome, took);
        }
    }

    /// Counts a new object.
    pub(super) fn added(&self, bytes: u64) {
        self.0.stored_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.0.stored_objects.fetch_add(1, Ordering::Relaxed);
        if self.is_overfull() {
            self.0.overfull.notify_one();
        }
    }

    /// Whether more is stored than allowed, as far as this process knows.
    pub(super) fn is_overfull(&self) -> bool {
        self.kept_bytes() > self.0.max_bytes
            || self.0.stored_objects.load(Ordering::Relaxed) > self.0.backend.max_objects(self.0.max_bytes)
    }
}

/// The time in a UUID of version 7.
fn created_at(id: Uuid) -> Option<SystemTime> {
    let (seconds, nanos) = id.get_timestamp().filter(|_| id.get_version_num() == 7)?.to_unix();
    Some(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use object_store::aws::AmazonS3Builder;
    use tokio::sync::mpsc;

    use super::super::bucket::Bucket;
    use super::*;

    #[tokio::test]
    async fn a_library_panic_is_a_failure_and_maintenance_continues() {
        // Which no settings bring about.
        let bucket = AmazonS3Builder::new()
            .with_bucket_name("bucket")
            .with_endpoint("minio:9000")
            .with_access_key_id("id")
            .with_secret_access_key("secret");
        let store = Arc::new(bucket.build().unwrap());
        let bucket = Bucket {
            name: "s3://bucket".to_owned(),
            store: store.clone(),
            signer: store,
            base: object_store::path::Path::default(),
            ttl: Duration::ZERO,
        };
        let config = config::Config::load(&config::Sources::default()).unwrap().storage;
        let storage = Storage::new(Box::new(bucket), &config);
        let (tell, mut told) = mpsc::unbounded_channel();
        storage.observe(Box::new(move |operation, outcome, _| {
            let _ = tell.send((operation, outcome));
        }));
        let seen = async { [told.recv().await.unwrap(), told.recv().await.unwrap()] };
        tokio::select! {
            () = storage.maintain() => unreachable!("it has no end"),
            seen = seen => {
                let expected = [Operation::Check, Operation::Sweep];
                assert_eq!(seen, expected.map(|operation| (operation, Outcome::Failed)));
            }
        }
        assert_eq!(storage.trouble().unwrap().detail, "s3://bucket: internal error (panic)");
    }

    #[test]
    fn only_time_based_ids_expire() {
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
