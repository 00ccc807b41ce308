//! Removal of objects that have expired, and of the least recently used ones where the store is too large.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use blake3::Hash;
use tokio::time::Instant;

use super::backend::blocking;
use super::error::Error;
use super::keys::{self, Key, Name, Object, age};
use super::operation::{Operation, Outcome};
use super::store::Storage;

/// A temporary object that nobody has written to for so long was left by a killed process.
pub const ABANDONED_AFTER: Duration = Duration::from_hours(1);

/// A store that is too large is emptied to a tenth below its limit, so that not every new result causes a sweep.
const SPARE_PART: u64 = 10;

/// The time between two sweeps is this part of the time that objects are kept, between these bounds.
const PARTS_OF_TTL: u32 = 24;
const MIN_INTERVAL: Duration = Duration::from_mins(1);
const MAX_INTERVAL: Duration = Duration::from_hours(1);

/// The time between two sweeps, however fast the store fills.
const PAUSE: Duration = Duration::from_secs(10);

/// How often a failing store is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(15);

/// A file in the folder: its time is that of the latest sweep by the command line; it holds the bytes that are stored, as
/// far as is known.
const MARK: &str = "swept";

/// The result of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    pub removed: usize,
    pub freed: u64,
    pub kept: usize,
    pub kept_bytes: u64,
}

/// How long and how much is kept.
#[derive(Debug, Clone, Copy)]
struct Retention {
    ttl: Duration,
    blob_ttl: Duration,
    max_bytes: u64,
    max_objects: u64,
}

impl Storage {
    /// Removes what has expired and what killed processes left; then, while more is stored than allowed, the least
    /// recently used objects of any kind.
    ///
    /// Downloads lose nothing: an open file of a folder stays readable, and a blob of a bucket is downloaded whole before
    /// it is given out. Uploads lose nothing either: they appear when they are complete, as new objects.
    /// After an error, part of the objects may have been removed.
    pub async fn sweep(&self, now: SystemTime) -> Result<Swept, Error> {
        let (backend, ttl, max_bytes) = (&self.0.backend, self.0.ttl, self.0.max_bytes);
        let (blob_ttl, max_objects) = (ttl + backend.grace(), backend.max_objects(max_bytes));
        let work = async {
            let began = Instant::now();
            let objects = backend.list(&keys::ALL).await?;
            let (count, bytes) = (objects.len(), total(&objects));
            let mut blobs: HashSet<Hash> = objects.iter().filter_map(blob).collect();
            let to_remove = plan(objects, now, Retention { ttl, blob_ttl, max_bytes, max_objects });
            let removed = backend.remove_unused(to_remove).await?;
            let freed = total(&removed);
            for hash in removed.iter().filter_map(blob) {
                blobs.remove(&hash);
            }
            if let Some(listener) = self.0.sweep_listener.get() {
                listener(&blobs, began.into_std());
            }
            let (kept, kept_bytes) = (count - removed.len(), bytes - freed);
            self.0.stored_bytes.store(kept_bytes, Ordering::Relaxed);
            self.0.stored_objects.store(kept as u64, Ordering::Relaxed);
            Ok((Outcome::Done, Swept { removed: removed.len(), freed, kept, kept_bytes }))
        };
        self.tracked(Operation::Sweep, work).await
    }

    /// Maintains the store for ever: sweeps it at intervals and when it is too large, and checks it while it fails.
    pub async fn maintain(&self) {
        let _ = self.check().await;
        let interval = self.interval();
        let mut due = Instant::now();
        loop {
            let now = Instant::now();
            if now >= due {
                // A failure was logged, and the next sweep removes what is left.
                if let Ok(Swept { removed, freed, kept, kept_bytes }) = self.sweep(SystemTime::now()).await {
                    tracing::debug!(removed, freed, kept, kept_bytes, "swept the store");
                }
                due = Instant::now() + interval;
            }
            let failing = self.trouble().is_some();
            let wait =
                due.saturating_duration_since(now).min(if failing { CHECK_INTERVAL } else { MAX_INTERVAL });
            tokio::select! {
                () = tokio::time::sleep(wait) => if failing {
                    let _ = self.check().await;
                },
                () = self.0.health.began_failing.notified(), if !failing => {}
                () = self.0.overfull.notified() => {
                    tokio::time::sleep(PAUSE).await;
                    // The notice may be older than the latest sweep.
                    if self.is_overfull() {
                        due = Instant::now();
                    }
                }
            }
        }
    }

    /// Sweeps a folder if a service would have done so by now, or if too much was stored since the latest sweep: for
    /// the end of a process that only converts. Leaves buckets to services, since listing them takes long and costs money.
    /// After an error, the next try is due as late as after a sweep.
    pub async fn sweep_if_due(&self, now: SystemTime) -> Result<Option<Swept>, Error> {
        let Some(root) = self.0.backend.folder().map(PathBuf::from) else { return Ok(None) };
        let (added, max_bytes, interval) = (self.kept_bytes(), self.0.max_bytes, self.interval());
        let mark = root.join(MARK);
        let is_due = move || {
            if !root.is_dir() {
                return Ok(false);
            }
            let mark = root.join(MARK);
            let (swept, bytes) = read_mark(&mark).unwrap_or((SystemTime::UNIX_EPOCH, 0));
            let bytes = bytes.saturating_add(added);
            // A mark in the future is from before the clock was set back.
            let is_due = swept > now || age(swept, now) >= interval || bytes > max_bytes;
            if is_due {
                // Before the sweep, so that one that fails or is cut off is not repeated at once.
                write_mark(&mark, 0, now)?;
            } else if added > 0 {
                write_mark(&mark, bytes, swept)?;
            }
            Ok(is_due)
        };
        if !blocking(self.name(), is_due).await? {
            return Ok(None);
        }
        let swept = self.sweep(now).await?;
        blocking(self.name(), move || write_mark(&mark, swept.kept_bytes, now)).await?;
        Ok(Some(swept))
    }

    /// The time between two sweeps of a store that is not too large.
    fn interval(&self) -> Duration {
        (self.0.ttl / PARTS_OF_TTL).clamp(MIN_INTERVAL, MAX_INTERVAL)
    }
}

/// Reads when the latest sweep was, and the bytes stored. `None`: the mark is absent or unreadable.
fn read_mark(mark: &Path) -> Option<(SystemTime, u64)> {
    let bytes = fs::read_to_string(mark).ok()?.trim().parse().ok()?;
    Some((fs::metadata(mark).ok()?.modified().ok()?, bytes))
}

fn write_mark(mark: &Path, bytes: u64, swept: SystemTime) -> io::Result<()> {
    let mut file = File::create(mark)?;
    writeln!(file, "{bytes}")?;
    file.set_modified(swept)
}

fn total(objects: &[Object]) -> u64 {
    objects.iter().map(|object| object.bytes).sum()
}

fn blob(object: &Object) -> Option<Hash> {
    match object.name {
        Name::Key(Key::Blob(hash)) => Some(hash),
        _ => None,
    }
}

/// Returns the objects to remove.
fn plan(objects: Vec<Object>, now: SystemTime, retention: Retention) -> Vec<Object> {
    let has_expired = |object: &Object| {
        let ttl = match object.name {
            Name::Temporary => ABANDONED_AFTER,
            Name::Key(Key::Blob(_)) => retention.blob_ttl,
            Name::Key(_) => retention.ttl,
        };
        age(object.modified, now) > ttl
    };
    let (mut to_remove, kept): (Vec<_>, Vec<_>) = objects.into_iter().partition(has_expired);
    let (mut bytes, mut count) = (total(&kept), kept.len() as u64);
    if bytes <= retention.max_bytes && count <= retention.max_objects {
        return to_remove;
    }
    let mut oldest_first: Vec<_> = kept.into_iter().filter(|object| object.name != Name::Temporary).collect();
    oldest_first.sort_by_key(|object| object.modified);
    let [max_bytes, max_objects] =
        [retention.max_bytes, retention.max_objects].map(|limit| limit - limit / SPARE_PART);
    for object in oldest_first {
        if bytes <= max_bytes && count <= max_objects {
            break;
        }
        bytes -= object.bytes;
        count -= 1;
        to_remove.push(object);
    }
    to_remove
}

#[cfg(test)]
mod tests {
    use blake3::Hash;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::super::keys::Document;
    use super::*;

    const RETENTION: Retention = Retention {
        ttl: Duration::from_secs(1000),
        blob_ttl: Duration::from_secs(1100),
        max_bytes: 5000,
        max_objects: 1000,
    };

    fn object(kind: u8, bytes: u64, age: u64, number: u8) -> Object {
        let hash = Hash::from([number; 32]);
        let name = match kind {
            0 => Name::Key(Key::Blob(hash)),
            1 => Name::Key(Key::Document(Document::Report(Uuid::from_u128(number.into())))),
            2 => Name::Key(Key::Document(Document::Entry(hash))),
            _ => Name::Temporary,
        };
        Object { path: format!("{kind}/{number}"), name, bytes, modified: now() - Duration::from_secs(age) }
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)
    }

    proptest! {
        #[test]
        fn kept_objects_meet_the_age_and_size_limits(
            found in prop::collection::vec((0u8..4, 0u64..2000, 0u64..5000), 0..40)
        ) {
            let items: Vec<_> = found.iter().zip(0..).map(|(&(kind, bytes, age), number)| object(kind, bytes, age, number)).collect();
            let gone = plan(items.clone(), now(), RETENTION);
            let kept: Vec<_> = items.iter().filter(|item| !gone.contains(item)).collect();
            let is_blob = |item: &Object| matches!(item.name, Name::Key(Key::Blob(_)));
            for item in &kept {
                let may = if is_blob(item) { RETENTION.blob_ttl } else if item.name == Name::Temporary { ABANDONED_AFTER } else { RETENTION.ttl };
                prop_assert!(age(item.modified, now()) <= may);
            }
            let bytes: u64 = kept.iter().map(|item| item.bytes).sum();
            let is_passing = |item: &Object| item.name == Name::Temporary;
            prop_assert!(bytes <= RETENTION.max_bytes || kept.iter().all(|item| is_passing(item)));
            // Nothing goes without a reason: what is older never stays for what is younger.
            let young = |item: &&Object| !is_passing(item) && age(item.modified, now()) <= RETENTION.ttl;
            let youngest_gone = gone.iter().filter(young).map(|item| item.modified).max();
            if let Some(limit) = youngest_gone {
                prop_assert!(kept.iter().all(|item| is_passing(item) || item.modified >= limit));
            }
        }
    }

    #[test]
    fn a_sweep_removes_no_more_than_needed() {
        let items: Vec<_> = (0..6).map(|number| object(0, 1000, u64::from(number), number)).collect();
        let gone = plan(items.clone(), now(), RETENTION);
        // Of 6,000 bytes down to nine tenths of 5,000.
        assert_eq!(gone, [items[5].clone(), items[4].clone()]);
        assert!(plan(items[..5].to_vec(), now(), RETENTION).is_empty());
    }

    #[test]
    fn reports_and_entries_are_removed_by_age_too() {
        let items: Vec<_> =
            (0..60u8).map(|number| object(number % 3, 100, u64::from(number), number)).collect();
        let gone = plan(items.clone(), now(), RETENTION);
        let oldest: Vec<_> = items[45..].iter().rev().cloned().collect();
        assert_eq!(gone, oldest);
    }

    #[test]
    fn a_clock_that_was_set_back_removes_nothing() {
        let items: Vec<_> = (0..4).map(|kind| object(kind, 10, 0, kind)).collect();
        assert!(plan(items, now() - Duration::from_hours(10_000), RETENTION).is_empty());
    }

    #[test]
    fn the_number_of_files_is_limited() {
        let items: Vec<Object> =
            (0..20).map(|number| object(0, 1, 100 - u64::from(number), number)).collect();
        let gone = plan(items, now(), Retention { max_objects: 10, ..RETENTION });
        assert_eq!(gone.len(), 11);
        assert!(gone.iter().all(|gone| age(gone.modified, now()) > Duration::from_secs(88)));
    }
}
