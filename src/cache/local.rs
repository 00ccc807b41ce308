//! The index of one process: in its memory, and in the store for the next one.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use lru::LruCache;

use super::{Entry, Index, Lease};
use crate::storage::{Document, Hash, Kind, ListedDocument, Storage, age};

/// Entries at most, however small their results: some 300 bytes each.
const MOST: usize = 100_000;

/// Documents that are read at a time when the index is rebuilt.
const AT_ONCE: usize = 500;

/// How often what is too old is forgotten.
const TIDY_EVERY: Duration = Duration::from_mins(1);

/// Knows what this process did, and what lies in the store.
pub struct Embedded {
    storage: Storage,
    duration: Duration,
    known: Arc<Mutex<Known>>,
    max_bytes: u64,
}

/// What is in memory, the latest used first.
struct Known {
    entries: LruCache<Hash, Remembered>,
    /// Of all their results.
    bytes: u64,
}

struct Remembered {
    entry: Entry,
    since: Instant,
    /// By a clock that nobody can set.
    until: Instant,
}

/// Something that is remembered no longer.
type Forgotten = (Hash, Entry);

impl Embedded {
    /// Remembers results for `duration`, and `max_bytes` of them.
    pub fn new(storage: Storage, duration: Duration, max_bytes: u64) -> Self {
        let known = Arc::new(Mutex::new(Known { entries: LruCache::unbounded(), bytes: 0 }));
        let swept = Arc::clone(&known);
        storage.after_sweeps(Box::new(move |blobs, listed| lock(&swept).forget_missing(blobs, listed)));
        Self { storage, duration, known, max_bytes }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    async fn look(&self, identity: Hash) -> Option<Entry> {
        if let Some(found) = self.known().get(&identity) {
            return Some(found);
        }
        // Another process may have put it there.
        let kept = self.storage.get(Document::Entry(identity)).await.ok()??;
        let entry = Entry::from_json(&kept.content)?;
        let left = self.left(kept.modified)?;
        let forgotten = self.known().insert(identity, entry.clone(), left, self.max_bytes);
        self.drop_all(forgotten).await;
        Some(entry)
    }

    /// How long what was put at that time is still remembered.
    fn left(&self, put: SystemTime) -> Option<Duration> {
        self.duration.checked_sub(age(put, SystemTime::now())).filter(|left| !left.is_zero())
    }

    async fn keep(&self, identity: Hash, entry: Entry) {
        if let Entry::Result(_) = entry {
            // Where it fails, this process knows it all the same.
            let _ = self.storage.put(Document::Entry(identity), entry.to_json().into()).await;
        }
        let life = entry.life(self.duration);
        let forgotten = self.known().insert(identity, entry, life, self.max_bytes);
        self.drop_all(forgotten).await;
    }

    /// Removes what there is no room for from the store, too.
    async fn drop_all(&self, forgotten: Vec<Forgotten>) {
        for (identity, entry) in forgotten {
            let _ = self.storage.remove(Document::Entry(identity)).await;
            if let Entry::Result(result) = entry {
                // Another entry may have the same result; then that is a miss.
                let _ = self.storage.remove_blob(&result.hash).await;
            }
        }
    }

    /// Reads what processes before this one have left, the latest first. What is looked for meanwhile is found, too.
    pub async fn rebuild(&self) {
        let Ok(mut listed) = self.storage.list(Kind::Entries).await else { return };
        listed.sort_unstable_by_key(|listed| std::cmp::Reverse(listed.modified));
        listed.retain(|listed| self.left(listed.modified).is_some());
        for some in listed.chunks(AT_ONCE) {
            let documents = some.iter().map(|listed| listed.document).collect();
            let Ok(contents) = self.storage.get_all(documents).await else { return };
            let mut forgotten = Vec::new();
            for (ListedDocument { document, modified, .. }, content) in some.iter().zip(contents) {
                let (Document::Entry(identity), Some(content)) = (document, content) else { continue };
                let (Some(entry), Some(left)) = (Entry::from_json(&content), self.left(*modified)) else {
                    continue;
                };
                forgotten.extend(self.known().add_last(*identity, entry, left, self.max_bytes));
            }
            self.drop_all(forgotten).await;
        }
        tracing::debug!(entries = self.known().entries.len(), "rebuilt the cache's index");
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Known {
    fn get(&mut self, identity: &Hash) -> Option<Entry> {
        let remembered = self.entries.get(identity)?;
        if remembered.until > Instant::now() {
            return Some(remembered.entry.clone());
        }
        self.forget(identity);
        None
    }

    fn forget(&mut self, identity: &Hash) -> Option<Entry> {
        let remembered = self.entries.pop(identity)?;
        self.bytes -= remembered.entry.bytes();
        Some(remembered.entry)
    }

    /// Tells what had to go for it: it alone, where it is more than all there may be.
    fn insert(&mut self, identity: Hash, entry: Entry, life: Duration, most: u64) -> Vec<Forgotten> {
        self.forget(&identity);
        if entry.bytes() > most {
            return vec![(identity, entry)];
        }
        self.bytes += entry.bytes();
        self.entries.put(identity, Remembered::new(entry, life));
        let mut forgotten = Vec::new();
        while self.bytes > most || self.entries.len() > MOST {
            let Some((identity, Remembered { entry, .. })) = self.entries.pop_lru() else { break };
            self.bytes -= entry.bytes();
            forgotten.push((identity, entry));
        }
        forgotten
    }

    /// Adds what was used before all others, if there is room for it.
    fn add_last(&mut self, identity: Hash, entry: Entry, life: Duration, most: u64) -> Option<Forgotten> {
        if self.entries.contains(&identity) {
            return None;
        }
        if self.bytes + entry.bytes() > most || self.entries.len() >= MOST {
            return Some((identity, entry));
        }
        self.bytes += entry.bytes();
        self.entries.put(identity, Remembered::new(entry, life));
        self.entries.demote(&identity);
        None
    }

    fn tidy(&mut self) {
        let now = Instant::now();
        self.forget_all(|remembered| remembered.until <= now);
    }

    /// Forgets results that are not in the store any more, by a list of its blobs that was begun then. What came later
    /// need not be in it.
    fn forget_missing(&mut self, blobs: &HashSet<Hash>, listed: Instant) {
        self.forget_all(|Remembered { entry, since, .. }| match entry {
            Entry::Result(result) => *since < listed && !blobs.contains(&result.hash),
            Entry::Failure(_) => false,
        });
    }

    fn forget_all(&mut self, which: impl Fn(&Remembered) -> bool) {
        let found = self.entries.iter().filter(|(_, remembered)| which(remembered));
        let found: Vec<Hash> = found.map(|(identity, _)| *identity).collect();
        for identity in found {
            self.forget(&identity);
        }
    }
}

impl Remembered {
    fn new(entry: Entry, life: Duration) -> Self {
        let since = Instant::now();
        Self { entry, since, until: since + life }
    }
}

impl Index for Embedded {
    fn get(&self, identity: Hash) -> BoxFuture<'_, Option<Entry>> {
        self.look(identity).boxed()
    }

    fn put(&self, identity: Hash, entry: Entry) -> BoxFuture<'_, ()> {
        self.keep(identity, entry).boxed()
    }

    fn remove(&self, identity: Hash) -> BoxFuture<'_, ()> {
        async move {
            self.known().forget(&identity);
            let _ = self.storage.remove(Document::Entry(identity)).await;
        }
        .boxed()
    }

    fn claim(&self, _: Hash) -> BoxFuture<'_, Option<Lease>> {
        ready(Some(Lease::alone())).boxed()
    }

    fn bytes(&self) -> Option<u64> {
        Some(self.known().bytes)
    }

    fn tend(&self) -> BoxFuture<'_, ()> {
        async move {
            self.rebuild().await;
            loop {
                tokio::time::sleep(TIDY_EVERY).await;
                self.known().tidy();
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::Result;
    use crate::domain::Format;

    fn entry(bytes: u64) -> Entry {
        Entry::Result(Result {
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

    fn known() -> Known {
        Known { entries: LruCache::unbounded(), bytes: 0 }
    }

    fn number(number: u8) -> Hash {
        [number; 32].into()
    }

    const HOUR: Duration = Duration::from_hours(1);

    proptest! {
        #[test]
        fn it_never_knows_more_than_it_may(steps in prop::collection::vec((0u8..10, 0u64..60, 0u8..4), 0..60)) {
            let mut known = known();
            for (identity, bytes, what) in steps {
                match what {
                    0 => drop(known.get(&number(identity))),
                    1 => drop(known.forget(&number(identity))),
                    2 => drop(known.add_last(number(identity), entry(bytes), HOUR, 100)),
                    _ => drop(known.insert(number(identity), entry(bytes), HOUR, 100)),
                }
                prop_assert!(known.bytes <= 100);
                let sum: u64 = known.entries.iter().map(|(_, remembered)| remembered.entry.bytes()).sum();
                prop_assert_eq!(known.bytes, sum);
            }
        }
    }

    #[test]
    fn what_was_not_used_for_the_longest_time_goes_first() {
        let mut known = known();
        for identity in 1..=3 {
            assert!(known.insert(number(identity), entry(30), HOUR, 100).is_empty());
        }
        assert!(known.get(&number(1)).is_some());
        assert!(known.add_last(number(4), entry(10), HOUR, 100).is_none());
        let gone = known.insert(number(5), entry(50), HOUR, 100);
        assert_eq!(gone.iter().map(|(identity, _)| *identity).collect::<Vec<_>>(), [4, 2, 3].map(number));
        assert!(known.get(&number(1)).is_some());
    }

    #[test]
    fn what_is_larger_than_all_there_may_be_takes_no_other_s_room() {
        let mut known = known();
        for identity in 1..=3 {
            known.insert(number(identity), entry(30), HOUR, 100);
        }
        let gone = known.insert(number(3), entry(101), HOUR, 100);
        assert_eq!(gone, [(number(3), entry(101))]);
        assert_eq!((known.entries.len(), known.bytes), (2, 60));
        assert!(known.get(&number(3)).is_none());
    }

    #[test]
    fn what_is_too_old_is_forgotten() {
        let mut known = known();
        known.insert(number(1), entry(10), Duration::ZERO, 100);
        known.insert(number(2), entry(10), HOUR, 100);
        assert_eq!((known.get(&number(1)), known.bytes), (None, 10));
        known.insert(number(1), entry(10), Duration::ZERO, 100);
        known.tidy();
        assert_eq!((known.entries.len(), known.bytes), (1, 10));
    }
}
