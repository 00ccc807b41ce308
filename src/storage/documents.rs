//! Documents: reports and the entries of the cache, which are small.

use std::time::SystemTime;

use blake3::Hash;
use bytes::Bytes;

use super::backend::StoredDocument;
use super::error::Error;
use super::keys::{Document, ENTRIES, Key, Name, age};
use super::operation::{Operation, Outcome};
use super::store::Storage;

impl Storage {
    /// Stores a document; replaces the one that is there.
    pub async fn put(&self, document: Document, content: Bytes) -> Result<(), Error> {
        let bytes = content.len() as u64;
        let work = async {
            self.0.backend.put(Key::Document(document).path(), content).await?;
            self.added(bytes);
            Ok((Outcome::Done, ()))
        };
        self.tracked(Operation::Put, work).await
    }

    /// Returns a document, unless it is absent or has expired.
    pub async fn get(&self, document: Document) -> Result<Option<StoredDocument>, Error> {
        let work = async {
            let found = self.0.backend.get(Key::Document(document).path()).await?;
            let found = found.filter(|found| age(found.modified, SystemTime::now()) <= self.0.ttl);
            Ok((Outcome::found(found.is_some()), found))
        };
        self.tracked(Operation::Get, work).await
    }

    /// Returns the contents of many documents in their order; `None` for those that are absent or unreadable.
    pub async fn get_all(&self, documents: Vec<Document>) -> Result<Vec<Option<Bytes>>, Error> {
        let paths = documents.into_iter().map(|document| Key::Document(document).path()).collect();
        let work = async { Ok((Outcome::Done, self.0.backend.get_all(paths).await?)) };
        self.tracked(Operation::Get, work).await
    }

    /// Removes a document, if it is there.
    pub async fn remove(&self, document: Document) -> Result<(), Error> {
        let work = async {
            let was_there = self.0.backend.remove(Key::Document(document).path()).await?;
            Ok((Outcome::found(was_there), ()))
        };
        self.tracked(Operation::Remove, work).await
    }

    /// Lists all entries of the cache in no order, by identity and the time when they were stored; some may have expired
    /// and not be swept yet.
    pub async fn list_entries(&self) -> Result<Vec<(Hash, SystemTime)>, Error> {
        let work = async {
            let objects = self.0.backend.list(&[ENTRIES]).await?;
            // `collect` would keep the allocation of the objects, which is twice as large.
            let mut entries = Vec::with_capacity(objects.len());
            entries.extend(objects.into_iter().filter_map(|object| match object.name {
                Name::Key(Key::Document(Document::Entry(identity))) => Some((identity, object.modified)),
                _ => None,
            }));
            Ok((Outcome::Done, entries))
        };
        self.tracked(Operation::List, work).await
    }
}
