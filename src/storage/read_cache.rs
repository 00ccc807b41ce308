//! Results that were read and checked not long ago: while a file is as it was, it need not be read again. Small ones are
//! kept in memory; of large ones only that they were checked, for a minute.

use std::fs::Metadata;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use blake3::Hash;
use bytes::Bytes;
use lru::LruCache;

/// Bytes of all of them together.
const MOST: usize = 32 << 20;

/// How many large ones are known to have been checked, and for how long: what a disk damages without a trace is found
/// by the next look.
const MOST_CHECKED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
const CHECKED_FOR: Duration = Duration::from_mins(1);

/// What a file is known by, and what changes with it: device, number, length, and when content and properties were
/// changed, in seconds and nanoseconds.
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

pub struct Recent(Mutex<Inner>);

struct Inner {
    results: LruCache<Hash, (Stamp, Bytes)>,
    bytes: usize,
    checked: LruCache<Hash, (Stamp, Instant)>,
}

impl Default for Recent {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            results: LruCache::unbounded(),
            bytes: 0,
            checked: LruCache::new(MOST_CHECKED),
        }))
    }
}

impl Recent {
    /// What was read of the file when it was as it is now.
    pub fn get(&self, hash: &Hash, stamp: &Stamp) -> Option<Bytes> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, content) = inner.results.get(hash)?;
        (known == stamp).then(|| content.clone())
    }

    /// `content` is checked; in place of what was read before, and of what was not asked for for the longest time.
    pub fn put(&self, hash: Hash, stamp: Stamp, content: Bytes) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.bytes += content.len();
        if let Some((_, (_, before))) = inner.results.push(hash, (stamp, content)) {
            inner.bytes -= before.len();
        }
        while inner.bytes > MOST
            && let Some((_, (_, oldest))) = inner.results.pop_lru()
        {
            inner.bytes -= oldest.len();
        }
    }

    /// When the file was checked, if it is as it was then and that was not long ago.
    pub fn checked(&self, hash: &Hash, stamp: &Stamp) -> Option<Instant> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, when) = inner.checked.get(hash)?;
        (known == stamp && when.elapsed() < CHECKED_FOR).then_some(*when)
    }

    /// A large file was found to be what its name says.
    pub fn put_checked(&self, hash: Hash, stamp: Stamp, when: Instant) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.checked.put(hash, (stamp, when));
    }

    pub fn forget(&self, hash: &Hash) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.checked.pop(hash);
        if let Some((_, content)) = inner.results.pop(hash) {
            inner.bytes -= content.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(recent: &Recent, number: u8, length: usize) {
        recent.put([number; 32].into(), Stamp([0; 7]), vec![number; length].into());
    }

    fn has(recent: &Recent, number: u8) -> bool {
        recent.get(&[number; 32].into(), &Stamp([0; 7])).is_some()
    }

    #[test]
    fn a_file_that_has_changed_is_to_be_read_again() {
        let recent = Recent::default();
        put(&recent, 1, 10);
        let hash = [1; 32].into();
        assert_eq!(recent.get(&hash, &Stamp([0; 7])).unwrap(), vec![1; 10]);
        assert!((0..7).all(|which| {
            let mut stamp = [0; 7];
            stamp[which] = 1;
            recent.get(&hash, &Stamp(stamp)).is_none()
        }));
        recent.forget(&hash);
        assert!(!has(&recent, 1));
        assert_eq!(recent.0.lock().unwrap().bytes, 0);
    }

    #[test]
    fn what_was_not_asked_for_makes_room() {
        let recent = Recent::default();
        for number in 0..4 {
            put(&recent, number, MOST / 4);
        }
        assert!(has(&recent, 0));
        put(&recent, 3, MOST / 4);
        put(&recent, 4, MOST / 2);
        assert_eq!([0, 1, 2, 3, 4].map(|number| has(&recent, number)), [true, false, false, true, true]);
        let inner = recent.0.lock().unwrap();
        assert_eq!(inner.bytes, inner.results.iter().map(|(_, (_, content))| content.len()).sum::<usize>());
    }
}
