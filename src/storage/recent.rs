//! Results that were read and checked not long ago, in memory: while a file is as it was, it need not be read again.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

use blake3::Hash;
use bytes::Bytes;
use lru::LruCache;

/// Bytes of all of them together.
const MOST: usize = 32 << 20;

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
}

impl Default for Recent {
    fn default() -> Self {
        Self(Mutex::new(Inner { results: LruCache::unbounded(), bytes: 0 }))
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

    pub fn forget(&self, hash: &Hash) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
