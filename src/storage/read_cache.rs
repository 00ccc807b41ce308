//! Cache of blobs that were read and checked, as long as their files do not change: the content of small ones, and for a
//! minute that large ones were intact. The crate `lru` counts entries; counting bytes is added here.

use std::fs::Metadata;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use blake3::Hash;
use bytes::Bytes;
use lru::LruCache;

/// Bytes of all cached blobs.
const MAX_BYTES: usize = 32 << 20;

/// Large blobs that are remembered as checked, and for how long: later, damage that leaves no trace in the file's times
/// is found by checking again.
const MAX_CHECKED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
const CHECKED_FOR: Duration = Duration::from_mins(1);

/// The state of a file: device, inode, length, and the times of the latest changes of content and properties in seconds
/// and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp([i64; 7]);

impl Stamp {
    pub fn of(file: &Metadata) -> Self {
        Self([
            file.dev().cast_signed(),
            file.ino().cast_signed(),
            file.size().cast_signed(),
            file.mtime(),
            file.mtime_nsec(),
            file.ctime(),
            file.ctime_nsec(),
        ])
    }
}

pub struct ReadCache(Mutex<Inner>);

struct Inner {
    blobs: LruCache<Hash, (Stamp, Bytes)>,
    bytes: usize,
    checked: LruCache<Hash, (Stamp, Instant)>,
}

impl Default for ReadCache {
    fn default() -> Self {
        let (blobs, checked) = (LruCache::unbounded(), LruCache::new(MAX_CHECKED));
        Self(Mutex::new(Inner { blobs, bytes: 0, checked }))
    }
}

impl ReadCache {
    /// Returns the content, unless the file has changed since it was read.
    pub fn get(&self, hash: &Hash, stamp: &Stamp) -> Option<Bytes> {
        let mut inner = self.lock();
        let (cached, content) = inner.blobs.get(hash)?;
        (cached == stamp).then(|| content.clone())
    }

    /// Caches content that was checked, and evicts the least recently used.
    pub fn put(&self, hash: Hash, stamp: Stamp, content: Bytes) {
        let mut inner = self.lock();
        inner.bytes += content.len();
        if let Some((_, (_, replaced))) = inner.blobs.push(hash, (stamp, content)) {
            inner.bytes -= replaced.len();
        }
        while inner.bytes > MAX_BYTES
            && let Some((_, (_, evicted))) = inner.blobs.pop_lru()
        {
            inner.bytes -= evicted.len();
        }
    }

    /// Returns when the file was checked, unless it has changed or that was too long ago.
    pub fn checked(&self, hash: &Hash, stamp: &Stamp) -> Option<Instant> {
        let mut inner = self.lock();
        let (cached, when) = inner.checked.get(hash)?;
        (cached == stamp && when.elapsed() < CHECKED_FOR).then_some(*when)
    }

    /// Remembers that a large file was intact.
    pub fn put_checked(&self, hash: Hash, stamp: Stamp, when: Instant) {
        self.lock().checked.put(hash, (stamp, when));
    }

    pub fn forget(&self, hash: &Hash) {
        let mut inner = self.lock();
        inner.checked.pop(hash);
        if let Some((_, content)) = inner.blobs.pop(hash) {
            inner.bytes -= content.len();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(cache: &ReadCache, number: u8, length: usize) {
        cache.put([number; 32].into(), Stamp([0; 7]), vec![number; length].into());
    }

    fn has(cache: &ReadCache, number: u8) -> bool {
        cache.get(&[number; 32].into(), &Stamp([0; 7])).is_some()
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let cache = ReadCache::default();
        put(&cache, 1, 10);
        let hash = [1; 32].into();
        assert_eq!(cache.get(&hash, &Stamp([0; 7])).unwrap(), vec![1; 10]);
        assert!((0..7).all(|which| {
            let mut stamp = [0; 7];
            stamp[which] = 1;
            cache.get(&hash, &Stamp(stamp)).is_none()
        }));
        cache.forget(&hash);
        assert!(!has(&cache, 1));
        assert_eq!(cache.0.lock().unwrap().bytes, 0);
    }

    #[test]
    fn unused_entries_are_evicted_first() {
        let cache = ReadCache::default();
        for number in 0..4 {
            put(&cache, number, MAX_BYTES / 4);
        }
        assert!(has(&cache, 0));
        put(&cache, 3, MAX_BYTES / 4);
        put(&cache, 4, MAX_BYTES / 2);
        assert_eq!([0, 1, 2, 3, 4].map(|number| has(&cache, number)), [true, false, false, true, true]);
        let inner = cache.0.lock().unwrap();
        assert_eq!(inner.bytes, inner.blobs.iter().map(|(_, (_, content))| content.len()).sum::<usize>());
    }
}
