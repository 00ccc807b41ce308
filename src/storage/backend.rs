//! The trait that a folder and a bucket implement to hold the objects.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

use blake3::Hash;
use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use url::Url;

use super::error::Error;
use super::keys::Object;
use crate::fs::blob::Blob;

/// The time limit of an operation on a small object, with all its retries.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Up to this many bytes, a blob is returned in memory: reading a file takes several switches to another thread.
pub const SMALL: u64 = 256 << 10;

/// The future of an operation.
pub type Pending<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// Holds objects under paths below a root, with slashes. [`Storage`](super::Storage) adds what all backends share:
/// health, metrics and the rules of what is kept.
pub trait Backend: Send + Sync {
    /// The folder or URL, for people.
    fn name(&self) -> &str;

    /// The folder, if it is one on this machine.
    fn folder(&self) -> Option<&Path> {
        None
    }

    /// Finds the folder of objects of jobs, unless this process has found it before; `make`: makes it if it is absent. Fails
    /// if it is absent. A bucket has no folders, and fails by itself if it is absent.
    fn open_jobs(&self, _make: bool) -> Pending<'_, ()> {
        Box::pin(ready(Ok(())))
    }

    /// Fails if the folder of objects of jobs is absent, or another than this process found at first: its disk may not be
    /// mounted.
    fn check_jobs(&self) -> Pending<'_, ()> {
        Box::pin(ready(Ok(())))
    }

    /// The largest number of objects that may be stored, beside the limit of bytes.
    fn max_objects(&self, _max_bytes: u64) -> u64 {
        u64::MAX
    }

    /// How much longer than other objects blobs are kept.
    fn grace(&self) -> Duration {
        Duration::ZERO
    }

    /// Stores a blob, or renews it if it is there in its full length.
    fn put_blob(&self, path: String, content: Blob) -> Pending<'_, Stored>;

    /// Stores an object of a job under a name of its own. If `is_durable`, it outlives a power failure once it is stored.
    /// Fails as [`Backend::check_jobs`] does. The caller vouches that nobody writes to its file any more.
    fn put_job(&self, path: String, content: Blob, is_durable: bool) -> Pending<'_, ()>;

    /// Returns the blob at `path` after checking its length and hash. A backend that has to download a large one writes
    /// it to a file without a name in the folder `spool`.
    fn fetch_blob<'a>(
        &'a self,
        path: String,
        hash: Hash,
        length: u64,
        spool: &'a Path,
    ) -> Pending<'a, Fetched>;

    /// Returns the URL of [`Storage::presigned`](super::Storage::presigned), unless the object is absent, or would be older
    /// than `max_age` at its end, or the backend has no such URLs.
    fn presign<'a>(
        &'a self,
        _path: String,
        _disposition: &'a str,
        _media_type: &'a str,
        _valid_for: Duration,
        _max_age: Option<Duration>,
    ) -> Pending<'a, Option<Url>> {
        Box::pin(ready(Ok(None)))
    }

    /// Returns a part of an object of this length, unchecked. `None`: the object is absent or has another length, or the
    /// backend reads only whole objects.
    fn get_part(&self, _path: String, _part: Range<u64>, _length: u64) -> Pending<'_, Option<Bytes>> {
        Box::pin(ready(Ok(None)))
    }

    /// Stores a small object; replaces the one at `path`.
    fn put(&self, path: String, content: Bytes) -> Pending<'_, ()>;

    fn get(&self, path: String) -> Pending<'_, Option<StoredDocument>>;

    /// Reads many small objects, in the order of `paths`. `None`: the object is absent, or a folder's is unreadable.
    fn get_all(&self, paths: Vec<String>) -> Pending<'_, Vec<Option<Bytes>>>;

    /// Removes an object; returns whether it was there.
    fn remove(&self, path: String) -> Pending<'_, bool>;

    /// Lists our objects below these folders of the root, and leaves out those of others.
    fn list(&self, folders: &'static [&'static str]) -> Pending<'_, Vec<Object>>;

    /// Removes the objects that were not used since they were listed; returns the removed ones. A bucket does not know
    /// when objects are used, and removes all.
    fn remove_unused(&self, objects: Vec<Object>) -> Pending<'_, Vec<Object>>;
}

/// The result of storing a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    New,
    /// It was there already, and is kept as long as a new one.
    Present,
}

/// The result of fetching a blob.
pub enum Fetched {
    Intact(Blob),
    Absent,
    /// The content has another length or hash.
    Damaged,
}

/// A document as it was stored. Readers must expect it to be empty or cut off, as after a power failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDocument {
    pub content: Bytes,
    pub modified: SystemTime,
}

/// Fails if `work`, an operation on a small object, takes longer than its time limit.
pub async fn limit_time<T>(store: &str, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let done = tokio::time::timeout(TIME_LIMIT, work).await;
    done.unwrap_or_else(|_| Err(Error::late(store, TIME_LIMIT.as_secs())))
}

/// Runs `work` on a thread that may block; `store` is named in its errors.
pub async fn blocking<T: Send + 'static>(
    store: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| Error::io(store, &error)),
        Err(error) => Err(Error::other(store, &format!("the work ended early: {error}"))),
    }
}
