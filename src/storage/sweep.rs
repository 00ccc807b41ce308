//! Removing what is too old, and what is too much.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use blake3::Hash;
use futures_util::StreamExt;
use tokio::time::Instant;

use super::keys::{self, Item, Key, Name};
use super::{Error, Operation, Outcome, Storage, age, error, local};

/// What was written aside or by a check, and not touched for so long, was left by a process that was killed. One that
/// still writes touches it all the time.
const LEFT_BEHIND: Duration = Duration::from_hours(1);

/// Where too much is kept, room is made for a tenth more, so that not every result asks for a sweep.
const ROOM: u64 = 10;

/// What disks give to files, in bytes; and files that may be there however little may be kept.
const BLOCK: u64 = 4096;
const LEAST_FILES: u64 = 1000;

/// How often it is looked, at least and at most; in between, as often as makes no difference to what is kept how long.
const OFTEN: Duration = Duration::from_mins(1);
const SELDOM: Duration = Duration::from_hours(1);
const PARTS_OF_TTL: u32 = 24;

/// Between two sweeps, however fast the store fills.
const PAUSE: Duration = Duration::from_secs(10);

/// How often a store that fails is looked at, while nobody uses it.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    pub removed: usize,
    pub freed: u64,
    pub kept: usize,
    pub kept_bytes: u64,
}

/// What may stay.
#[derive(Debug, Clone, Copy)]
struct Limits {
    ttl: Duration,
    blob_ttl: Duration,
    max_bytes: u64,
    max_files: u64,
}

impl Storage {
    /// Removes what is older than anything is kept, what was left behind by others, and, where more is kept than may
    /// be, what was not used for the longest time, whatever it is.
    ///
    /// A download that is under way loses nothing: in a folder whoever has opened a file keeps it, and from a bucket
    /// everything is fetched before it is given out. An upload is seen only when it is complete, and new then.
    ///
    /// # Errors
    /// What is wrong with the store. What was removed before stays so.
    pub async fn sweep(&self, now: SystemTime) -> Result<Swept, Error> {
        let slack = if self.0.place.folder.is_some() { Duration::ZERO } else { self.slack() };
        let limits = Limits {
            ttl: self.0.ttl,
            blob_ttl: self.0.ttl + slack,
            max_bytes: self.0.max_bytes,
            max_files: self.max_files(),
        };
        let work = async {
            let listed = Instant::now();
            let items = self.items(&keys::ALL).await?;
            let (count, bytes) = (items.len(), total(&items));
            let mut blobs: HashSet<Hash> = items.iter().filter_map(blob).collect();
            let removed = self.discard_all(plan(items, now, limits)).await?;
            let freed = total(&removed);
            for gone in removed.iter().filter_map(blob) {
                blobs.remove(&gone);
            }
            if let Some(listener) = self.0.listener.get() {
                listener(&blobs, listed.into_std());
            }
            let swept = Swept {
                removed: removed.len(),
                freed,
                kept: count - removed.len(),
                kept_bytes: bytes - freed,
            };
            self.0.kept.store(swept.kept_bytes, Ordering::Relaxed);
            self.0.kept_files.store(swept.kept as u64, Ordering::Relaxed);
            Ok((Outcome::Done, swept))
        };
        self.tracked(Operation::Sweep, work).await
    }

    /// Looks after the store, for ever: sweeps it from time to time and when it is too full, and looks whether it works
    /// again after it did not.
    pub async fn tend(&self) {
        let _ = self.check().await;
        let interval = self.interval();
        let mut due = Instant::now();
        loop {
            let now = Instant::now();
            if now >= due {
                // A failure was told, and what is left is for the next time.
                if let Ok(swept) = self.sweep(SystemTime::now()).await {
                    let Swept { removed, freed, kept, kept_bytes } = swept;
                    tracing::debug!(removed, freed, kept, kept_bytes, "swept the store");
                }
                due = Instant::now() + interval;
            }
            let failing = self.trouble().is_some();
            let wait = due.saturating_duration_since(now).min(if failing { LOOK_AGAIN } else { SELDOM });
            tokio::select! {
                () = tokio::time::sleep(wait) => if failing {
                    let _ = self.check().await;
                },
                () = self.0.health.fell.notified(), if !failing => {}
                () = self.0.crowded.notified() => {
                    tokio::time::sleep(PAUSE).await;
                    // It may have been told before the latest sweep.
                    if self.is_crowded() {
                        due = Instant::now();
                    }
                }
            }
        }
    }

    /// Between two sweeps, where there is not too much.
    pub(super) fn interval(&self) -> Duration {
        (self.0.ttl / PARTS_OF_TTL).clamp(OFTEN, SELDOM)
    }

    /// Whether more is kept than may be, as far as this process knows.
    pub(super) fn is_crowded(&self) -> bool {
        self.0.kept.load(Ordering::Relaxed) > self.0.max_bytes
            || self.0.kept_files.load(Ordering::Relaxed) > self.max_files()
    }

    /// How many files a folder may have: each takes a block of the disk at least, and a disk has only so many.
    fn max_files(&self) -> u64 {
        if self.0.place.folder.is_some() { (self.0.max_bytes / BLOCK).max(LEAST_FILES) } else { u64::MAX }
    }

    /// What is kept in these folders of the root.
    pub(super) async fn items(&self, folders: &'static [&'static str]) -> Result<Vec<Item>, Error> {
        if let Some(root) = self.0.place.folder.clone() {
            let list =
                move |store: &str| local::list(&root, folders).map_err(|error| Error::io(store, &error));
            return self.blocking(list).await;
        }
        let base = self.0.place.base.as_ref();
        let mut items = Vec::new();
        for folder in folders {
            let mut found = self.0.place.store.list(Some(&self.location(folder)));
            while let Some(meta) = found.next().await {
                let meta = meta.map_err(|error| Error::of(self.name(), &error))?;
                let path = meta.location.as_ref().strip_prefix(base).unwrap_or_default();
                let path = path.trim_start_matches('/').to_owned();
                if let Some(name) = Name::parse(&path) {
                    let modified = meta.last_modified.into();
                    items.push(Item { path, name, bytes: meta.size, modified });
                }
            }
        }
        Ok(items)
    }

    /// Removes these; tells those that are gone.
    async fn discard_all(&self, items: Vec<Item>) -> Result<Vec<Item>, Error> {
        if let Some(root) = self.0.place.folder.clone() {
            let remove =
                move |store: &str| local::remove(&root, items).map_err(|error| Error::io(store, &error));
            return self.blocking(remove).await;
        }
        let locations: Vec<_> = items.iter().map(|item| Ok(self.location(&item.path))).collect();
        let mut done = self.0.place.store.delete_stream(futures_util::stream::iter(locations).boxed());
        while let Some(removed) = done.next().await {
            match removed {
                Err(error) if !error::is_absent(&error) => return Err(Error::of(self.name(), &error)),
                _ => {}
            }
        }
        Ok(items)
    }
}

fn total(items: &[Item]) -> u64 {
    items.iter().map(|item| item.bytes).sum()
}

fn blob(item: &Item) -> Option<Hash> {
    match item.name {
        Name::Kept(Key::Blob(hash)) => Some(hash),
        _ => None,
    }
}

/// What has to go.
fn plan(items: Vec<Item>, now: SystemTime, limits: Limits) -> Vec<Item> {
    let is_old = |item: &Item| {
        let may = match item.name {
            Name::Passing => LEFT_BEHIND,
            Name::Kept(Key::Blob(_)) => limits.blob_ttl,
            Name::Kept(_) => limits.ttl,
        };
        age(item.modified, now) > may
    };
    let (mut gone, rest): (Vec<_>, Vec<_>) = items.into_iter().partition(is_old);
    let (mut kept, mut files) = (total(&rest), rest.len() as u64);
    if kept <= limits.max_bytes && files <= limits.max_files {
        return gone;
    }
    let mut oldest_first: Vec<_> = rest.into_iter().filter(|item| item.name != Name::Passing).collect();
    oldest_first.sort_by_key(|item| item.modified);
    let [wanted, wanted_files] = [limits.max_bytes, limits.max_files].map(|most| most - most / ROOM);
    for item in oldest_first {
        if kept <= wanted && files <= wanted_files {
            break;
        }
        kept -= item.bytes;
        files -= 1;
        gone.push(item);
    }
    gone
}

#[cfg(test)]
mod tests {
    use blake3::Hash;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const LIMITS: Limits = Limits {
        ttl: Duration::from_secs(1000),
        blob_ttl: Duration::from_secs(1100),
        max_bytes: 5000,
        max_files: 1000,
    };

    fn item(kind: u8, bytes: u64, age: u64, number: u8) -> Item {
        let hash = Hash::from([number; 32]);
        let name = match kind {
            0 => Name::Kept(Key::Blob(hash)),
            1 => Name::Kept(Key::Report(Uuid::from_u128(number.into()))),
            2 => Name::Kept(Key::Entry(hash)),
            _ => Name::Passing,
        };
        Item { path: format!("{kind}/{number}"), name, bytes, modified: now() - Duration::from_secs(age) }
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)
    }

    proptest! {
        #[test]
        fn what_stays_is_young_and_no_more_than_may_be(
            found in prop::collection::vec((0u8..4, 0u64..2000, 0u64..5000), 0..40)
        ) {
            let items: Vec<_> = found.iter().zip(0..).map(|(&(kind, bytes, age), number)| item(kind, bytes, age, number)).collect();
            let gone = plan(items.clone(), now(), LIMITS);
            let kept: Vec<_> = items.iter().filter(|item| !gone.contains(item)).collect();
            let is_blob = |item: &Item| matches!(item.name, Name::Kept(Key::Blob(_)));
            for item in &kept {
                let may = if is_blob(item) { LIMITS.blob_ttl } else if item.name == Name::Passing { LEFT_BEHIND } else { LIMITS.ttl };
                prop_assert!(age(item.modified, now()) <= may);
            }
            let bytes: u64 = kept.iter().map(|item| item.bytes).sum();
            let is_passing = |item: &Item| item.name == Name::Passing;
            prop_assert!(bytes <= LIMITS.max_bytes || kept.iter().all(|item| is_passing(item)));
            // Nothing goes without a reason: what is older never stays for what is younger.
            let young = |item: &&Item| !is_passing(item) && age(item.modified, now()) <= LIMITS.ttl;
            let youngest_gone = gone.iter().filter(young).map(|item| item.modified).max();
            if let Some(limit) = youngest_gone {
                prop_assert!(kept.iter().all(|item| is_passing(item) || item.modified >= limit));
            }
        }
    }

    #[test]
    fn only_as_much_goes_as_has_to() {
        let items: Vec<_> = (0..6).map(|number| item(0, 1000, u64::from(number), number)).collect();
        let gone = plan(items.clone(), now(), LIMITS);
        // Of 6,000 bytes down to nine tenths of 5,000.
        assert_eq!(gone, [items[5].clone(), items[4].clone()]);
        assert!(plan(items[..5].to_vec(), now(), LIMITS).is_empty());
    }

    #[test]
    fn reports_and_entries_make_room_too() {
        let items: Vec<_> =
            (0..60u8).map(|number| item(number % 3, 100, u64::from(number), number)).collect();
        let gone = plan(items.clone(), now(), LIMITS);
        let oldest: Vec<_> = items[45..].iter().rev().cloned().collect();
        assert_eq!(gone, oldest);
    }

    #[test]
    fn a_clock_that_was_set_back_removes_nothing() {
        let items: Vec<_> = (0..4).map(|kind| item(kind, 10, 0, kind)).collect();
        assert!(plan(items, now() - Duration::from_hours(10_000), LIMITS).is_empty());
    }

    #[test]
    fn there_are_no_more_files_than_may_be() {
        let items: Vec<Item> = (0..20).map(|number| item(0, 1, 100 - u64::from(number), number)).collect();
        let gone = plan(items, now(), Limits { max_files: 10, ..LIMITS });
        assert_eq!(gone.len(), 11);
        assert!(gone.iter().all(|gone| age(gone.modified, now()) > Duration::from_secs(88)));
    }
}
