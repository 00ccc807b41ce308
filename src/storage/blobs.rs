//! Results: stored once under their hash, and checked when they are read.

use std::path::Path;
use std::time::Duration;

use blake3::Hash;
use url::Url;

use super::backend::{Fetched, Stored};
use super::error::Error;
use super::keys::Key;
use super::operation::{Operation, Outcome};
use super::store::Storage;
use crate::fs::blob::Blob;

/// The usual lifetime of a presigned URL: a client follows it at once.
pub const URL_LIFETIME: Duration = Duration::from_mins(15);

impl Storage {
    /// Stores a result under its hash, which the caller vouches for. Nobody may write to its file any more: the file
    /// itself may become the stored one.
    pub async fn put_blob(&self, content: Blob, hash: &Hash) -> Result<Stored, Error> {
        let length = content.length();
        let work = async {
            let stored = self.0.backend.put_blob(Key::Blob(*hash).path(), content).await?;
            if stored == Stored::Present {
                return Ok((Outcome::Present, stored));
            }
            self.added(length);
            Ok((Outcome::Done, stored))
        };
        self.tracked(Operation::PutBlob, work).await
    }

    /// Returns the result of this hash and length, checked. A large one from a bucket is downloaded to a file without a
    /// name in the folder `spool`, whose errors are returned, too. `None`: it is absent, or was damaged and is removed now.
    pub async fn fetch(&self, hash: &Hash, length: u64, spool: &Path) -> Result<Option<Blob>, Error> {
        let (backend, path) = (&self.0.backend, Key::Blob(*hash).path());
        let work = async {
            match backend.fetch_blob(path.clone(), *hash, length, spool).await? {
                Fetched::Intact(content) => Ok((Outcome::Done, Some(content))),
                Fetched::Absent => Ok((Outcome::Absent, None)),
                Fetched::Damaged => {
                    tracing::warn!(%hash, "a stored result was damaged and is removed");
                    backend.remove(path).await?;
                    Ok((Outcome::Corrupt, None))
                }
            }
        };
        self.tracked(Operation::FetchBlob, work).await
    }

    /// Removes a result, if it is there.
    pub async fn remove_blob(&self, hash: &Hash) -> Result<(), Error> {
        let work = async {
            self.0.backend.remove(Key::Blob(*hash).path()).await?;
            Ok((Outcome::Done, ()))
        };
        self.tracked(Operation::Remove, work).await
    }

    /// Returns a URL from which a client can download the result for `valid_for`, with these values of
    /// `Content-Disposition` and `Content-Type`; nobody checks that download. `None`: the result is absent or expires
    /// earlier, presigned URLs are turned off, or the store has none with a file name (folders, Azure).
    pub async fn presigned(
        &self,
        hash: &Hash,
        disposition: &str,
        media_type: &str,
        valid_for: Duration,
    ) -> Result<Option<Url>, Error> {
        let max_age = self.0.ttl + self.0.backend.grace();
        self.presign(Key::Blob(*hash), disposition, media_type, valid_for, Some(max_age)).await
    }

    /// `max_age`: the age at which the object may be removed, if it has one.
    pub(super) async fn presign(
        &self,
        key: Key,
        disposition: &str,
        media_type: &str,
        valid_for: Duration,
        max_age: Option<Duration>,
    ) -> Result<Option<Url>, Error> {
        if !self.0.presign {
            return Ok(None);
        }
        let work = async {
            let url = self.0.backend.presign(key.path(), disposition, media_type, valid_for, max_age).await?;
            Ok((Outcome::found(url.is_some()), url))
        };
        self.tracked(Operation::Presign, work).await
    }
}
