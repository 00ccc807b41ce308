//! The backend that keeps objects in a bucket of S3, GCS or Azure.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Seek, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use blake3::{Hash, Hasher};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::path::Path as Location;
use object_store::signer::{Method, SignedUrlOptions, Signer};
use object_store::{GetOptions, GetResult, ObjectStore, ObjectStoreExt, WriteMultipart};
use tracing::Instrument;
use url::Url;

use super::backend::{Backend, Fetched, Pending, SMALL, Stored, StoredDocument, limit_time};
use super::error::{self, Error};
use super::keys::{Name, Object, age};
use crate::fs::blob::Blob;

/// Smaller blobs are uploaded without asking whether they are there: asking takes as long. Bytes.
const WORTH_ASKING: u64 = 1 << 20;

/// Larger blobs are uploaded in parts of this size: S3 takes 10,000 of them, of 5 MiB at least. Bytes.
const PART: usize = 8 << 20;

/// Parts that are uploaded at a time.
const PARTS_AT_ONCE: usize = 2;

/// Documents that are downloaded at a time.
const DOCUMENTS_AT_ONCE: usize = 16;

/// Chunks that were downloaded and not written yet: a few hundred kilobytes.
const PENDING_CHUNKS: usize = 16;

#[derive(Clone)]
pub struct Bucket {
    /// The URL, for people.
    pub name: String,
    pub store: Arc<dyn ObjectStore>,
    pub signer: Arc<dyn Signer>,
    /// The path in the bucket that all our objects are below.
    pub base: Location,
    /// How long objects are kept.
    pub ttl: Duration,
}

impl Bucket {
    fn location(&self, path: &str) -> Location {
        path.split('/').fold(self.base.clone(), Location::join)
    }

    fn failed(&self, error: &object_store::Error) -> Error {
        Error::of_library(&self.name, error)
    }

    /// Sends a request for something small.
    async fn request<T>(&self, work: impl Future<Output = object_store::Result<T>>) -> Result<T, Error> {
        limit_time(&self.name, work.map(|done| done.map_err(|error| self.failed(&error)))).await
    }

    /// Sends a request for something that may be absent.
    async fn find<T>(&self, work: impl Future<Output = object_store::Result<T>>) -> Result<Option<T>, Error> {
        let found = work.map(|found| match found {
            Err(error) if error::is_absent(&error) => Ok(None),
            found => found.map(Some),
        });
        self.request(found).await
    }

    /// Whether the bucket has a blob that is nearly as young as a new one: only another upload would make it younger.
    async fn has_young(&self, location: &Location, length: u64) -> Result<bool, Error> {
        let found = self.find(self.store.head(location)).await?;
        Ok(found.is_some_and(|meta| {
            meta.size == length && age(meta.last_modified.into(), SystemTime::now()) < self.grace()
        }))
    }

    /// Uploads a blob. Nobody sees it before it is complete, so that no sweep can remove it on its way.
    async fn upload(&self, location: &Location, mut content: Blob) -> Result<Stored, Error> {
        let length = content.length();
        if length > WORTH_ASKING && self.has_young(location, length).await? {
            return Ok(Stored::Present);
        }
        if length <= PART as u64 {
            let content = next_part(&mut content).await?;
            let put = self.store.put(location, content.into()).await;
            return put.map(|_| Stored::New).map_err(|error| self.failed(&error));
        }
        let upload = self.store.put_multipart(location).await.map_err(|error| self.failed(&error))?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PART);
        let sent = async {
            while content.length() > 0 {
                writer.put(next_part(&mut content).await?);
                writer.wait_for_capacity(PARTS_AT_ONCE).await.map_err(|error| self.failed(&error))?;
            }
            Ok(())
        };
        if let Err(error) = sent.await {
            // Removes the parts that were sent; if that fails too, a rule of the bucket has to.
            let _ = writer.abort().await;
            return Err(error);
        }
        writer.finish().await.map(|_| Stored::New).map_err(|error| self.failed(&error))
    }

    /// Downloads a blob and checks it.
    async fn download(&self, found: GetResult, hash: Hash, spool: &Path) -> Result<Fetched, Error> {
        let length = found.meta.size;
        if length <= SMALL {
            let content = found.bytes().await.map_err(|error| self.failed(&error))?;
            let is_intact = blake3::hash(&content) == hash;
            return Ok(if is_intact { Fetched::Intact(Blob::Memory(content)) } else { Fetched::Damaged });
        }
        let (sender, mut chunks) = tokio::sync::mpsc::channel::<Bytes>(PENDING_CHUNKS);
        let spool = spool.to_owned();
        let writing = tokio::task::spawn_blocking(move || -> io::Result<(File, Hash, u64)> {
            // The file has no name, so that nothing of it is left, whatever happens.
            let mut file = tempfile::tempfile_in(spool)?;
            let mut hasher = Hasher::new();
            while let Some(chunk) = chunks.blocking_recv() {
                hasher.update(&chunk);
                file.write_all(&chunk)?;
            }
            file.rewind()?;
            Ok((file, hasher.finalize(), hasher.count()))
        });
        let mut stream = found.into_stream();
        while let Some(chunk) = stream.next().await {
            // The writer is gone after an error, which is returned below.
            if sender.send(chunk.map_err(|error| self.failed(&error))?).await.is_err() {
                break;
            }
        }
        drop(sender);
        let written = writing.await.map_err(io::Error::from).flatten();
        let (file, written_hash, written) =
            written.map_err(|error| Error::not_of_store("write the result to the disk", &error))?;
        let is_intact = written == length && written_hash == hash;
        Ok(if is_intact { Fetched::Intact(Blob::File(file, length)) } else { Fetched::Damaged })
    }
}

impl Backend for Bucket {
    fn name(&self) -> &str {
        &self.name
    }

    /// A blob younger than this is not uploaded again, and still has all of its time then.
    fn grace(&self) -> Duration {
        (self.ttl / 24).min(Duration::from_hours(1))
    }

    /// Uploads in a task of its own, which ends in order even if the caller gives up: a bucket keeps the parts of an
    /// upload that was neither finished nor aborted, unseen.
    fn put_blob(&self, path: String, content: Blob) -> Pending<'_, Stored> {
        let (bucket, location) = (self.clone(), self.location(&path));
        let upload = async move { bucket.upload(&location, content).await };
        let ended_early = |error| Err(Error::other(&self.name, &format!("the upload ended early: {error}")));
        async move { tokio::spawn(upload.in_current_span()).await.unwrap_or_else(ended_early) }.boxed()
    }

    /// A bucket acknowledges what it keeps.
    fn put_job(&self, path: String, content: Blob, _: bool) -> Pending<'_, ()> {
        async move { self.put_blob(path, content).await.map(drop) }.boxed()
    }

    fn fetch_blob<'a>(
        &'a self,
        path: String,
        hash: Hash,
        length: u64,
        spool: &'a Path,
    ) -> Pending<'a, Fetched> {
        async move {
            match self.find(self.store.get(&self.location(&path))).await? {
                None => Ok(Fetched::Absent),
                Some(found) if found.meta.size != length => Ok(Fetched::Damaged),
                Some(found) => self.download(found, hash, spool).await,
            }
        }
        .boxed()
    }

    fn presign<'a>(
        &'a self,
        path: String,
        disposition: &'a str,
        media_type: &'a str,
        valid_for: Duration,
        max_age: Option<Duration>,
    ) -> Pending<'a, Option<Url>> {
        let location = self.location(&path);
        let options = SignedUrlOptions::new().with_query([
            ("response-content-disposition", disposition),
            ("response-content-type", media_type),
        ]);
        async move {
            let Some(meta) = self.find(self.store.head(&location)).await? else { return Ok(None) };
            let age_at_end = age(meta.last_modified.into(), SystemTime::now()) + valid_for;
            if max_age.is_some_and(|max_age| age_at_end > max_age) {
                return Ok(None);
            }
            let signing = self.signer.signed_url_opts(Method::GET, &location, valid_for, &options);
            // URLs of Azure cannot set these headers.
            let signing = signing.map(|signed| match signed {
                Err(object_store::Error::NotSupported { .. }) => Ok(None),
                signed => signed.map(Some),
            });
            self.request(signing).await
        }
        .boxed()
    }

    fn get_part(&self, path: String, part: Range<u64>, length: u64) -> Pending<'_, Option<Bytes>> {
        let get = async move {
            let options = GetOptions::default().with_range(Some(part.clone()));
            let found = self.store.get_opts(&self.location(&path), options).await?;
            let is_expected = found.meta.size == length && found.range == part;
            Ok(if is_expected { Some(found.bytes().await?) } else { None })
        };
        async move { Ok(self.find(get).await?.flatten()) }.boxed()
    }

    fn put(&self, path: String, content: Bytes) -> Pending<'_, ()> {
        async move { self.request(self.store.put(&self.location(&path), content.into())).await.map(drop) }
            .boxed()
    }

    fn get(&self, path: String) -> Pending<'_, Option<StoredDocument>> {
        let get = async move {
            let found = self.store.get(&self.location(&path)).await?;
            let modified = found.meta.last_modified.into();
            Ok(StoredDocument { modified, content: found.bytes().await? })
        };
        self.find(get).boxed()
    }

    fn get_all(&self, paths: Vec<String>) -> Pending<'_, Vec<Option<Bytes>>> {
        let get = |path| async { Ok(self.get(path).await?.map(|document| document.content)) };
        stream::iter(paths).map(get).buffered(DOCUMENTS_AT_ONCE).try_collect().boxed()
    }

    fn remove(&self, path: String) -> Pending<'_, bool> {
        async move { Ok(self.find(self.store.delete(&self.location(&path))).await?.is_some()) }.boxed()
    }

    fn list(&self, folders: &'static [&'static str]) -> Pending<'_, Vec<Object>> {
        async move {
            let mut objects = Vec::new();
            for folder in folders {
                let mut listed = self.store.list(Some(&self.location(folder)));
                while let Some(meta) = listed.next().await {
                    let meta = meta.map_err(|error| self.failed(&error))?;
                    let path = meta.location.as_ref().strip_prefix(self.base.as_ref()).unwrap_or_default();
                    let path = path.trim_start_matches('/').to_owned();
                    if let Some(name) = Name::parse(&path) {
                        let modified = meta.last_modified.into();
                        objects.push(Object { path, name, bytes: meta.size, modified });
                    }
                }
            }
            Ok(objects)
        }
        .boxed()
    }

    fn remove_unused(&self, objects: Vec<Object>) -> Pending<'_, Vec<Object>> {
        async move {
            let locations: Vec<_> = objects.iter().map(|object| Ok(self.location(&object.path))).collect();
            let mut removals = self.store.delete_stream(stream::iter(locations).boxed());
            while let Some(removed) = removals.next().await {
                match removed {
                    Err(error) if !error::is_absent(&error) => return Err(self.failed(&error)),
                    _ => {}
                }
            }
            Ok(objects)
        }
        .boxed()
    }
}

/// Takes the next part from a blob; fails if its file has become shorter.
async fn next_part(content: &mut Blob) -> Result<Bytes, Error> {
    let (file, left) = match content {
        Blob::Memory(rest) => return Ok(rest.split_to(rest.len().min(PART))),
        Blob::File(file, left) => (file, left),
    };
    let length = (*left).min(PART as u64);
    *left -= length;
    // The clone has the same position.
    let file = file.try_clone();
    let read = move || -> io::Result<Bytes> {
        let mut part = vec![0; length as usize];
        file?.read_exact(&mut part)?;
        Ok(part.into())
    };
    let read = tokio::task::spawn_blocking(read).await.map_err(io::Error::from);
    read.flatten().map_err(|error| Error::not_of_store("read the result", &error))
}
