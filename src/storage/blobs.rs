//! Results: written once under the name of what they hold, and checked when they are read.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use blake3::Hash;
use object_store::ObjectStoreExt;
use object_store::signer::{Method, SignedUrlOptions};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;
use url::Url;

use super::blob::{Fetched, Found, MIDDLE, Opened, Put, Source};
use super::keys::Key;
use super::{Error, Operation, Outcome, Storage, age, bucket, local};
use crate::domain::Cancel;

/// Smaller ones are sent to a bucket without asking whether they are there: the question takes as long. Bytes.
const WORTH_ASKING: u64 = 1 << 20;

impl Storage {
    /// Keeps a result under `hash`, which the caller vouches for.
    ///
    /// # Errors
    /// What is wrong with the store, or with the source.
    pub async fn put_blob(&self, source: Source, hash: &Hash) -> Result<Put, Error> {
        let path = Key::Blob(*hash).path();
        let work = async {
            let (put, bytes) = match &self.0.place.folder {
                Some(root) => {
                    let target = root.join(&path);
                    self.blocking(move |store| local::keep(store, &source, &target)).await?
                }
                None => self.upload(source, &path).await?,
            };
            if put == Put::Present {
                return Ok((Outcome::Present, put));
            }
            self.added(bytes);
            Ok((Outcome::Done, put))
        };
        self.tracked(Operation::PutBlob, work).await
    }

    /// In a task of its own: when the request is given up, the upload still ends, one way or the other. Parts of one
    /// that does not would lie in the bucket unseen.
    async fn upload(&self, source: Source, path: &str) -> Result<(Put, u64), Error> {
        let (storage, location) = (self.clone(), self.location(path));
        let opened = self.blocking(move |_| Opened::new(source)).await?;
        let upload = async move {
            let bytes = opened.bytes();
            if bytes > WORTH_ASKING && storage.is_fresh(&location, bytes).await? {
                return Ok((Put::Present, bytes));
            }
            bucket::upload(&*storage.0.place.store, &location, opened, storage.name()).await?;
            Ok((Put::Stored, bytes))
        };
        let done = tokio::spawn(upload.in_current_span()).await;
        done.unwrap_or_else(|error| {
            Err(Error::other(self.name(), &format!("the upload ended early: {error}")))
        })
    }

    /// Whether a bucket has a blob that is as good as new. It cannot make an older one younger but by taking it anew.
    async fn is_fresh(&self, location: &object_store::path::Path, bytes: u64) -> Result<bool, Error> {
        let found = self.sought(self.0.place.store.head(location)).await?;
        Ok(found.is_some_and(|meta| {
            meta.size == bytes && age(meta.last_modified.into(), SystemTime::now()) < self.slack()
        }))
    }

    /// How much longer than the rest blobs in a bucket are kept, so that one that was fresh enough not to be sent again
    /// still has all of its time.
    pub(super) fn slack(&self) -> Duration {
        (self.0.ttl / 24).min(Duration::from_hours(1))
    }

    /// The result of this name and so many bytes, checked. A large one from a bucket goes into a file of the folder
    /// `spool` that has no name. `None`: it is not there, or was not what its name says, and then it is gone now.
    ///
    /// # Errors
    /// What is wrong with the store, or with the folder.
    pub async fn fetch(&self, hash: &Hash, bytes: u64, spool: &Path) -> Result<Option<Fetched>, Error> {
        let (hash, path) = (*hash, Key::Blob(*hash).path());
        let work = async {
            let found = match &self.0.place.folder {
                Some(root) => {
                    let file = root.join(&path);
                    let inner = Arc::clone(&self.0);
                    let turn = self.turn_to_check(bytes).await;
                    let cancel = Cancel::default();
                    let _waits = cancel.guard();
                    let open = move |store: &str| {
                        let _turn = turn;
                        local::open(&inner.recent, &file, &hash, bytes, &cancel)
                            .map_err(|error| Error::io(store, &error))
                    };
                    self.blocking(open).await?
                }
                None => self.download(&path, hash, bytes, spool).await?,
            };
            match found {
                Found::Sound(fetched) => Ok((Outcome::Done, Some(fetched))),
                Found::Absent => Ok((Outcome::Absent, None)),
                Found::Corrupt => {
                    tracing::warn!(%hash, "a result that was kept is damaged; it is removed");
                    self.discard(&path).await?;
                    Ok((Outcome::Corrupt, None))
                }
            }
        };
        self.tracked(Operation::FetchBlob, work).await
    }

    /// Waits until a large result may be checked: each takes a processor for as long as its bytes take.
    async fn turn_to_check(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        if bytes <= MIDDLE {
            return None;
        }
        Arc::clone(&self.0.checking).acquire_owned().await.ok()
    }

    async fn download(&self, path: &str, hash: Hash, bytes: u64, spool: &Path) -> Result<Found, Error> {
        let location = self.location(path);
        let Some(found) = self.sought(self.0.place.store.get(&location)).await? else {
            return Ok(Found::Absent);
        };
        if found.meta.size != bytes {
            return Ok(Found::Corrupt);
        }
        bucket::download(found, hash, spool, self.name()).await
    }

    /// Removes a result, if it is there.
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn remove_blob(&self, hash: &Hash) -> Result<(), Error> {
        let path = Key::Blob(*hash).path();
        let work = async { Ok((Outcome::Done, self.discard(&path).await?)) };
        self.tracked(Operation::Remove, work).await
    }

    async fn discard(&self, path: &str) -> Result<(), Error> {
        self.sought(self.0.place.store.delete(&self.location(path))).await.map(drop)
    }

    /// A URL under which a client gets the result from the bucket itself for so long, with these values of
    /// `Content-Disposition` and `Content-Type`. `None`: it is not there, will not be for so long, or the store has no
    /// such URLs (folders have none; those of Azure cannot say what a file is called), or they are not wanted.
    ///
    /// What the client gets is not checked by us.
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn presigned(
        &self,
        hash: &Hash,
        disposition: &str,
        media_type: &str,
        valid_for: Duration,
    ) -> Result<Option<Url>, Error> {
        let Some(signer) = self.0.place.signer.as_ref().filter(|_| self.0.presign) else { return Ok(None) };
        let location = self.location(&Key::Blob(*hash).path());
        let options = SignedUrlOptions::new().with_query([
            ("response-content-disposition", disposition),
            ("response-content-type", media_type),
        ]);
        let work = async {
            let absent = Ok((Outcome::Absent, None));
            let Some(meta) = self.sought(self.0.place.store.head(&location)).await? else { return absent };
            if age(meta.last_modified.into(), SystemTime::now()) + valid_for > self.0.ttl + self.slack() {
                return absent;
            }
            let signing = async {
                match signer.signed_url_opts(Method::GET, &location, valid_for, &options).await {
                    Err(object_store::Error::NotSupported { .. }) => Ok(None),
                    done => done.map(Some),
                }
            };
            let url = self.brief(signing).await?;
            Ok((if url.is_some() { Outcome::Done } else { Outcome::Absent }, url))
        };
        self.tracked(Operation::Presign, work).await
    }
}
