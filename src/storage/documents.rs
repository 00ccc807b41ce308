//! Reports, and the entries of a cache: small, and opaque to the store.

use std::sync::Arc;
use std::time::SystemTime;

use blake3::Hash;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use uuid::Uuid;

use super::keys::{ENTRIES, Key, Name, REPORTS};
use super::{Error, Operation, Outcome, Storage, age, local};

/// Documents of a bucket that are asked for at a time.
const AT_ONCE: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Document {
    /// By its number, a UUID of version 7.
    Report(Uuid),
    /// By the identity of its conversion.
    Entry(Hash),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Reports,
    Entries,
}

/// A document as it was put. Its reader has to bear that it is none of its own making: after a power failure it may
/// be empty, or cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub content: Bytes,
    pub modified: SystemTime,
}

/// A document without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    pub document: Document,
    pub bytes: u64,
    pub modified: SystemTime,
}

impl From<Document> for Key {
    fn from(document: Document) -> Self {
        match document {
            Document::Report(id) => Key::Report(id),
            Document::Entry(identity) => Key::Entry(identity),
        }
    }
}

impl Storage {
    /// Keeps a document in place of what was there.
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn put(&self, document: Document, content: Bytes) -> Result<(), Error> {
        let path = Key::from(document).path();
        let bytes = content.len() as u64;
        let work = async {
            if let Some(root) = &self.0.place.folder {
                // One after the other: at the same time they would only keep each other from the folder.
                let turn = Arc::clone(&self.0.turn).acquire_owned().await;
                let target = root.join(&path);
                let put = move |store: &str| {
                    let _turn = turn;
                    local::put(&target, &content).map_err(|error| Error::io(store, &error))
                };
                self.blocking(put).await?;
            } else {
                self.brief(self.0.place.store.put(&self.location(&path), content.into())).await?;
            }
            self.added(bytes);
            Ok((Outcome::Done, ()))
        };
        self.tracked(Operation::Put, work).await
    }

    /// A document, unless it is not there or older than anything is kept.
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn get(&self, document: Document) -> Result<Option<Kept>, Error> {
        let location = self.location(&Key::from(document).path());
        let work = async {
            let read = async {
                let found = self.0.place.store.get(&location).await?;
                let modified = found.meta.last_modified.into();
                Ok(Kept { modified, content: found.bytes().await? })
            };
            let kept = self.sought(read).await?;
            let kept = kept.filter(|kept| age(kept.modified, SystemTime::now()) <= self.0.ttl);
            Ok((if kept.is_some() { Outcome::Done } else { Outcome::Absent }, kept))
        };
        self.tracked(Operation::Get, work).await
    }

    /// What is in these documents, in their order; `None` where one is not there or cannot be read. For many at once.
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn get_all(&self, documents: Vec<Document>) -> Result<Vec<Option<Bytes>>, Error> {
        let paths = documents.into_iter().map(|document| Key::from(document).path());
        let work = async {
            let contents = if let Some(root) = &self.0.place.folder {
                let paths: Vec<_> = paths.map(|path| root.join(path)).collect();
                // One thread for all: a file takes less time than to ask for a thread.
                let read = move |_: &str| {
                    Ok(paths.iter().map(|path| std::fs::read(path).ok().map(Bytes::from)).collect())
                };
                self.blocking(read).await?
            } else {
                let read = |path: String| async move {
                    let location = self.location(&path);
                    self.sought(async { self.0.place.store.get(&location).await?.bytes().await }).await
                };
                stream::iter(paths).map(read).buffered(AT_ONCE).try_collect().await?
            };
            Ok((Outcome::Done, contents))
        };
        self.tracked(Operation::Get, work).await
    }

    /// Removes a document, if it is there.
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn remove(&self, document: Document) -> Result<(), Error> {
        let location = self.location(&Key::from(document).path());
        let work = async {
            let removed = self.sought(self.0.place.store.delete(&location)).await?;
            Ok((if removed.is_some() { Outcome::Done } else { Outcome::Absent }, ()))
        };
        self.tracked(Operation::Remove, work).await
    }

    /// All documents of a kind, in no order. Some may be older than anything is kept, and not be swept yet.
    ///
    /// # Errors
    /// What is wrong with the store.
    pub async fn list(&self, kind: Kind) -> Result<Vec<Listed>, Error> {
        let folder = match kind {
            Kind::Reports => &[REPORTS],
            Kind::Entries => &[ENTRIES],
        };
        let work = async {
            let items = self.items(folder).await?;
            let listed = items.into_iter().filter_map(|item| {
                let document = match item.name {
                    Name::Kept(Key::Report(id)) => Document::Report(id),
                    Name::Kept(Key::Entry(identity)) => Document::Entry(identity),
                    Name::Kept(Key::Blob(_)) | Name::Passing => return None,
                };
                Some(Listed { document, bytes: item.bytes, modified: item.modified })
            });
            Ok((Outcome::Done, listed.collect()))
        };
        self.tracked(Operation::List, work).await
    }
}
