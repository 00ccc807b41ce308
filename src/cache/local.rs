//! The index of one process: in memory, and in the store for the next process. The crate `lru` keeps the order; the limit in
//! bytes is our own, since what is evicted has files to be removed.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use lru::LruCache;

use super::entry::Entry;
use super::index::Index;
use super::lease::Lease;
use crate::storage::{Document, Hash, Storage, age};

/// Most entries, however small their results; each takes some 300 bytes.
const MAX_ENTRIES: usize = 100_000;

/// Documents read at a time when the index is rebuilt.
const BATCH_SIZE: usize = 500;

/// How often expired entries are removed.
const EXPIRE_EVERY: Duration = Duration::from_mins(1);

/// The index in memory, with the store behind it.
pub struct LocalIndex {
    storage: Storage,
    duration: Duration,
    index: Arc<Mutex<MemoryIndex>>,
}

/// The entries in memory, the most recently used first.
struct MemoryIndex {
    entries: LruCache<Hash, CachedEntry>,
    /// Bytes of all their results, and how many there may be.
    bytes: u64,
    max_bytes: u64,
}

struct CachedEntry {
    entry: Entry,
    since: Instant,
    /// By the monotonic clock, which nobody can set.
    until: Instant,
}

type Evicted = (Hash, Entry);

impl LocalIndex {
    /// Keeps results for `duration`, and at most `max_bytes` of them.
    pub fn new(storage: Storage, duration: Duration, max_bytes: u64) -> Self {
        let index = Arc::new(Mutex::new(MemoryIndex::new(max_bytes)));
        let swept = Arc::clone(&index);
        storage.after_sweeps(Box::new(move |blobs, listed| lock(&swept).remove_missing(blobs, listed)));
        Self { storage, duration, index }
    }

    fn index(&self) -> MutexGuard<'_, MemoryIndex> {
        lock(&self.index)
    }

    /// The time left of an entry that was stored then; `None` if it has expired.
    fn time_left(&self, put: SystemTime) -> Option<Duration> {
        self.duration.checked_sub(age(put, SystemTime::now())).filter(|left| !left.is_zero())
    }

    /// Removes evicted entries and their results from the store.
    async fn remove_stored(&self, evicted: Vec<Evicted>) {
        for (identity, entry) in evicted {
            let _ = self.storage.remove(Document::Entry(identity)).await;
            if let Entry::Result(result) = entry {
                // Another entry may have the same result; it then becomes a miss.
                let _ = self.storage.remove_blob(&result.hash).await;
            }
        }
    }

    /// Reads the entries that earlier processes stored, the latest first. Lookups meanwhile find them in the store.
    pub async fn rebuild(&self) {
        let Ok(mut listed) = self.storage.list_entries().await else { return };
        listed.sort_unstable_by_key(|(_, stored)| std::cmp::Reverse(*stored));
        listed.retain(|(_, stored)| self.time_left(*stored).is_some());
        for some in listed.chunks(BATCH_SIZE) {
            let documents = some.iter().map(|(identity, _)| Document::Entry(*identity)).collect();
            let Ok(contents) = self.storage.get_all(documents).await else { return };
            let mut evicted = Vec::new();
            for ((identity, stored), content) in some.iter().zip(contents) {
                let entry = content.and_then(|content| Entry::from_json(&content));
                let (Some(entry), Some(left)) = (entry, self.time_left(*stored)) else { continue };
                evicted.extend(self.index().add_last(*identity, entry, left));
            }
            self.remove_stored(evicted).await;
        }
        tracing::debug!(entries = self.index().entries.len(), "rebuilt the cache's index");
    }
}

fn lock(index: &Mutex<MemoryIndex>) -> MutexGuard<'_, MemoryIndex> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryIndex {
    fn new(max_bytes: u64) -> Self {
        Self { entries: LruCache::unbounded(), bytes: 0, max_bytes }
    }

    fn get(&mut self, identity: &Hash) -> Option<Entry> {
        let cached = self.entries.get(identity)?;
        if cached.until > Instant::now() {
            return Some(cached.entry.clone());
        }
        self.remove(identity);
        None
    }

    fn remove(&mut self, identity: &Hash) -> Option<Entry> {
        let cached = self.entries.pop(identity)?;
        self.bytes -= cached.entry.bytes();
        Some(cached.entry)
    }

    /// Returns the evicted entries; only the new one if it alone exceeds the limit.
    fn insert(&mut self, identity: Hash, entry: Entry, life: Duration) -> Vec<Evicted> {
        self.remove(&identity);
        if entry.bytes() > self.max_bytes {
            return vec![(identity, entry)];
        }
        self.bytes += entry.bytes();
        self.entries.put(identity, CachedEntry::new(entry, life));
        let mut evicted = Vec::new();
        while self.bytes > self.max_bytes || self.entries.len() > MAX_ENTRIES {
            let Some((identity, CachedEntry { entry, .. })) = self.entries.pop_lru() else { break };
            self.bytes -= entry.bytes();
            evicted.push((identity, entry));
        }
        evicted
    }

    /// Adds an entry as the least recently used; returns it if there is no room.
    fn add_last(&mut self, identity: Hash, entry: Entry, life: Duration) -> Option<Evicted> {
        if self.entries.contains(&identity) {
            return None;
        }
        if self.bytes + entry.bytes() > self.max_bytes || self.entries.len() >= MAX_ENTRIES {
            return Some((identity, entry));
        }
        self.bytes += entry.bytes();
        self.entries.put(identity, CachedEntry::new(entry, life));
        self.entries.demote(&identity);
        None
    }

    fn remove_expired(&mut self) {
        let now = Instant::now();
        self.remove_where(|cached| cached.until <= now);
    }

    /// Removes results that are no longer in the store. `blobs` was listed from `listed` on, so later results need not
    /// be in it.
    fn remove_missing(&mut self, blobs: &HashSet<Hash>, listed: Instant) {
        self.remove_where(|CachedEntry { entry, since, .. }| match entry {
            Entry::Result(result) => *since < listed && !blobs.contains(&result.hash),
            Entry::Failure(_) => false,
        });
    }

    fn remove_where(&mut self, which: impl Fn(&CachedEntry) -> bool) {
        let found = self.entries.iter().filter(|(_, cached)| which(cached));
        let found: Vec<Hash> = found.map(|(identity, _)| *identity).collect();
        for identity in found {
            self.remove(&identity);
        }
    }
}

impl CachedEntry {
    fn new(entry: Entry, life: Duration) -> Self {
        let since = Instant::now();
        Self { entry, since, until: since + life }
    }
}

impl Index for LocalIndex {
    fn get(&self, identity: Hash) -> BoxFuture<'_, Option<Entry>> {
        async move {
            if let Some(found) = self.index().get(&identity) {
                return Some(found);
            }
            // Another process may have stored it.
            let kept = self.storage.get(Document::Entry(identity)).await.ok()??;
            let entry = Entry::from_json(&kept.content)?;
            let left = self.time_left(kept.modified)?;
            let evicted = self.index().insert(identity, entry.clone(), left);
            self.remove_stored(evicted).await;
            Some(entry)
        }
        .boxed()
    }

    fn put(&self, identity: Hash, entry: Entry) -> BoxFuture<'_, ()> {
        async move {
            if let Entry::Result(_) = entry {
                // If that fails, the entry is still in memory.
                let _ = self.storage.put(Document::Entry(identity), entry.to_json().into()).await;
            }
            let life = entry.life(self.duration);
            let evicted = self.index().insert(identity, entry, life);
            self.remove_stored(evicted).await;
        }
        .boxed()
    }

    fn remove(&self, identity: Hash) -> BoxFuture<'_, ()> {
        async move {
            self.index().remove(&identity);
            let _ = self.storage.remove(Document::Entry(identity)).await;
        }
        .boxed()
    }

    fn claim(&self, _: Hash) -> BoxFuture<'_, Option<Lease>> {
        ready(Some(Lease::alone())).boxed()
    }

    fn bytes(&self) -> Option<u64> {
        Some(self.index().bytes)
    }

    fn maintain(&self) -> BoxFuture<'_, ()> {
        async move {
            self.rebuild().await;
            loop {
                tokio::time::sleep(EXPIRE_EVERY).await;
                self.index().remove_expired();
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::ResultInfo;
    use crate::domain::Format;

    fn entry(bytes: u64) -> Entry {
        Entry::Result(ResultInfo {
            hash: blake3::hash(b""),
            bytes,
            format: Format::Glb,
            main: None,
            zip: false,
            stem: "a".into(),
            report: uuid::Uuid::nil(),
            losses: 0,
        })
    }

    fn index() -> MemoryIndex {
        MemoryIndex::new(100)
    }

    fn number(number: u8) -> Hash {
        [number; 32].into()
    }

    const HOUR: Duration = Duration::from_hours(1);

    proptest! {
        #[test]
        fn the_index_never_exceeds_its_limit(steps in prop::collection::vec((0u8..10, 0u64..60, 0u8..4), 0..60)) {
            let mut index = index();
            for (identity, bytes, what) in steps {
                match what {
                    0 => drop(index.get(&number(identity))),
                    1 => drop(index.remove(&number(identity))),
                    2 => drop(index.add_last(number(identity), entry(bytes), HOUR)),
                    _ => drop(index.insert(number(identity), entry(bytes), HOUR)),
                }
                prop_assert!(index.bytes <= 100);
                let sum: u64 = index.entries.iter().map(|(_, cached)| cached.entry.bytes()).sum();
                prop_assert_eq!(index.bytes, sum);
            }
        }
    }

    #[test]
    fn the_least_recently_used_entry_is_evicted_first() {
        let mut index = index();
        for identity in 1..=3 {
            assert!(index.insert(number(identity), entry(30), HOUR).is_empty());
        }
        assert!(index.get(&number(1)).is_some());
        assert!(index.add_last(number(4), entry(10), HOUR).is_none());
        let gone = index.insert(number(5), entry(50), HOUR);
        assert_eq!(gone.iter().map(|(identity, _)| *identity).collect::<Vec<_>>(), [4, 2, 3].map(number));
        assert!(index.get(&number(1)).is_some());
    }

    #[test]
    fn an_oversized_entry_evicts_no_others() {
        let mut index = index();
        for identity in 1..=3 {
            index.insert(number(identity), entry(30), HOUR);
        }
        let gone = index.insert(number(3), entry(101), HOUR);
        assert_eq!(gone, [(number(3), entry(101))]);
        assert_eq!((index.entries.len(), index.bytes), (2, 60));
        assert!(index.get(&number(3)).is_none());
    }

    #[test]
    fn expired_entries_are_removed() {
        let mut index = index();
        index.insert(number(1), entry(10), Duration::ZERO);
        index.insert(number(2), entry(10), HOUR);
        assert_eq!((index.get(&number(1)), index.bytes), (None, 10));
        index.insert(number(1), entry(10), Duration::ZERO);
        index.remove_expired();
        assert_eq!((index.entries.len(), index.bytes), (1, 10));
    }
}
