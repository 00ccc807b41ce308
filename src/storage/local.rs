//! The backend that keeps objects in a folder on this machine. It is our own instead of the library's `LocalFileSystem`,
//! which can neither store a file by linking it nor renew one.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use blake3::{Hash, Hasher};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::aside::{link_aside, write_aside};
use super::backend::{Backend, Fetched, Pending, SMALL, Stored, StoredDocument, blocking, limit_time};
use super::error::Error;
use super::jobs_folder::JobsFolder;
use super::keys::{Name, Object, age};
use super::read_cache::{ReadCache, Stamp};
use crate::domain::Cancel;
use crate::fs::blob::Blob;
use crate::fs::open::{if_present, make_private, make_private_below};

/// Blobs of up to this many bytes are returned in memory while [`MEMORY_PERMITS`] has permits.
const MIDDLE: u64 = 2 << 20;

/// Bounds the blobs in memory that are larger than [`SMALL`].
static MEMORY_PERMITS: Semaphore = Semaphore::const_new(16);

/// A blob that was used less than this ago is not marked as used again.
const MARKED_RECENTLY: Duration = Duration::from_secs(1);

/// The smallest space of a file on disk, in bytes, and the number of files that any limit of bytes allows.
const BLOCK: u64 = 4096;
const MIN_FILES: u64 = 1000;

pub struct Local {
    name: String,
    root: PathBuf,
    jobs: Arc<JobsFolder>,
    cache: Arc<ReadCache>,
    /// Writes one document at a time: several would only wait for each other's lock of the folder.
    writing: Arc<Semaphore>,
    /// Hashes one large blob per processor at a time.
    hashing: Arc<Semaphore>,
}

impl Local {
    /// Opens the folder without touching it. The error is one sentence.
    pub fn open(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let wrong = |why: &dyn std::fmt::Display| format!("the store cannot be in {name}: {why}");
        let root = std::path::absolute(path).map_err(|error| wrong(&error))?;
        // Paths of objects are text.
        root.to_str().ok_or_else(|| wrong(&"its path is not valid UTF-8"))?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            name,
            jobs: Arc::new(JobsFolder::new(&root)),
            root,
            cache: Arc::default(),
            writing: Arc::new(Semaphore::new(1)),
            hashing: Arc::new(Semaphore::new(processors)),
        })
    }

    /// Runs `work`, which is given the root, on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let root = self.root.clone();
        blocking(&self.name, move || work(&root)).await
    }
}

impl Backend for Local {
    fn name(&self) -> &str {
        &self.name
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.root)
    }

    fn open_jobs(&self, make: bool) -> Pending<'_, ()> {
        async move {
            if self.jobs.is_open() {
                return Ok(());
            }
            if make {
                let jobs = Arc::clone(&self.jobs);
                limit_time(&self.name, self.blocking(move |_| jobs.make())).await?;
            }
            limit_time(&self.name, self.check_jobs()).await
        }
        .boxed()
    }

    fn check_jobs(&self) -> Pending<'_, ()> {
        async move {
            let jobs = Arc::clone(&self.jobs);
            let is_there = self.blocking(move |_| jobs.is_there()).await?;
            if is_there { Ok(()) } else { Err(Error::no_jobs(&self.name)) }
        }
        .boxed()
    }

    fn max_objects(&self, max_bytes: u64) -> u64 {
        (max_bytes / BLOCK).max(MIN_FILES)
    }

    fn put_blob(&self, path: String, content: Blob) -> Pending<'_, Stored> {
        self.blocking(move |root| put_blob(&root.join(path), &content)).boxed()
    }

    fn put_job(&self, path: String, content: Blob, is_durable: bool) -> Pending<'_, ()> {
        async move {
            let cancel = Cancel::default();
            let _cancels_when_dropped = cancel.guard();
            let jobs = Arc::clone(&self.jobs);
            let put = move |root: &Path| {
                if !jobs.is_there()? {
                    return Ok(false);
                }
                let target = root.join(path);
                put_job(&target, &content, is_durable)?;
                if cancel.is_cancelled() {
                    // Nobody will refer to it, and whoever removes the objects of its job may have done so already.
                    fs::remove_file(&target)?;
                }
                // A disk that was mounted or unmounted meanwhile may have got the object or not.
                jobs.is_there()
            };
            if self.blocking(put).await? { Ok(()) } else { Err(Error::no_jobs(&self.name)) }
        }
        .boxed()
    }

    fn fetch_blob<'a>(&'a self, path: String, hash: Hash, length: u64, _: &'a Path) -> Pending<'a, Fetched> {
        async move {
            let permit =
                if length > MIDDLE { Arc::clone(&self.hashing).acquire_owned().await.ok() } else { None };
            let cancel = Cancel::default();
            let _cancels_when_dropped = cancel.guard();
            let cache = Arc::clone(&self.cache);
            let fetch = move |root: &Path| {
                let _permit = permit;
                fetch_blob(&cache, &root.join(path), &hash, length, &cancel)
            };
            self.blocking(fetch).await
        }
        .boxed()
    }

    fn put(&self, path: String, content: Bytes) -> Pending<'_, ()> {
        async move {
            let permit = Arc::clone(&self.writing).acquire_owned().await;
            let put = move |root: &Path| {
                let _permit = permit;
                put(&root.join(path), &content)
            };
            self.blocking(put).await
        }
        .boxed()
    }

    fn get(&self, path: String) -> Pending<'_, Option<StoredDocument>> {
        limit_time(&self.name, self.blocking(move |root| if_present(get(&root.join(path))))).boxed()
    }

    fn get_all(&self, paths: Vec<String>) -> Pending<'_, Vec<Option<Bytes>>> {
        // One thread reads them all: a small file is read faster than work is handed to another thread.
        let read = |path| fs::read(path).ok().map(Bytes::from);
        self.blocking(move |root| Ok(paths.iter().map(|path| read(root.join(path))).collect())).boxed()
    }

    fn remove(&self, path: String) -> Pending<'_, bool> {
        let remove = move |root: &Path| Ok(if_present(fs::remove_file(root.join(path)))?.is_some());
        limit_time(&self.name, self.blocking(remove)).boxed()
    }

    fn list(&self, folders: &'static [&'static str]) -> Pending<'_, Vec<Object>> {
        self.blocking(|root| list(root, folders)).boxed()
    }

    fn remove_unused(&self, objects: Vec<Object>) -> Pending<'_, Vec<Object>> {
        self.blocking(move |root| remove_unused(root, objects)).boxed()
    }
}

fn put_blob(target: &Path, content: &Blob) -> io::Result<Stored> {
    if renew(target, content.length()).unwrap_or(false) {
        return Ok(Stored::Present);
    }
    make_private(target.parent().unwrap_or(target))?;
    let aside = put_aside(target, content)?;
    // A linked file has the age of the result, and the next sweep would remove an old one.
    let renewed = File::open(&aside).and_then(|file| file.set_modified(SystemTime::now()));
    rename(&aside, target, renewed)?;
    Ok(Stored::New)
}

fn put_aside(target: &Path, content: &Blob) -> io::Result<PathBuf> {
    match content {
        Blob::Memory(content) => write_aside(target, |file| file.write_all(content)),
        // A link makes the result itself the stored file. Where links are impossible, as between two disks, the kernel
        // copies it, and shares the bytes if the file system can.
        Blob::File(file, _) => link_aside(file, target)
            .or_else(|_| write_aside(target, |copy| io::copy(&mut &*file, copy).map(drop))),
    }
}

fn put_job(target: &Path, content: &Blob, is_durable: bool) -> io::Result<()> {
    make_private_below(target.parent().unwrap_or(target))?;
    let aside = put_aside(target, content)?;
    let synced = File::open(&aside).and_then(|file| {
        // A linked file has the age of the upload; leftovers are found by their age.
        file.set_modified(SystemTime::now())?;
        if is_durable { file.sync_all() } else { Ok(()) }
    });
    rename(&aside, target, synced)?;
    if !is_durable {
        return Ok(());
    }
    // The name is part of the folder. That the folder has a name, its own folder tells, and so on up to the root, which may
    // be new, too.
    target.ancestors().skip(1).take(3).try_for_each(|folder| File::open(folder)?.sync_all())
}

/// Makes the file young again, if it is there in its full length; returns whether it is.
fn renew(target: &Path, length: u64) -> io::Result<bool> {
    let file = File::open(target)?;
    let is_whole = file.metadata()?.len() == length;
    if is_whole {
        file.set_modified(SystemTime::now())?;
    }
    Ok(is_whole)
}

fn put(target: &Path, content: &[u8]) -> io::Result<()> {
    let write = || write_aside(target, |file| file.write_all(content));
    let aside = if let Some(aside) = if_present(write())? {
        aside
    } else {
        make_private(target.parent().unwrap_or(target))?;
        write()?
    };
    rename(&aside, target, Ok(()))
}

/// Gives a file that was written aside its name, unless `before` failed; removes it after a failure.
fn rename(aside: &Path, target: &Path, before: io::Result<()>) -> io::Result<()> {
    before.and_then(|()| fs::rename(aside, target)).inspect_err(|_| drop(fs::remove_file(aside)))
}

fn get(path: &Path) -> io::Result<StoredDocument> {
    let mut file = File::open(path)?;
    let modified = file.metadata()?.modified()?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    Ok(StoredDocument { content: content.into(), modified })
}

/// Opens a blob and checks it. The opened file stays, whatever happens to its name.
fn fetch_blob(
    cache: &ReadCache,
    path: &Path,
    hash: &Hash,
    length: u64,
    cancel: &Cancel,
) -> io::Result<Fetched> {
    let Some(file) = if_present(File::open(path))? else {
        cache.forget(hash);
        return Ok(Fetched::Absent);
    };
    let metadata = file.metadata()?;
    if metadata.len() != length {
        return Ok(Fetched::Damaged);
    }
    let permit = if length > SMALL && length <= MIDDLE { MEMORY_PERMITS.try_acquire().ok() } else { None };
    if length > SMALL && permit.is_none() {
        return fetch_large(cache, file, &metadata, hash, cancel);
    }
    let cached = cache.get(hash, &Stamp::of(&metadata));
    let was_cached = cached.is_some();
    let Some(content) = cached.map_or_else(|| read(&file, hash, length), |cached| Ok(Some(cached)))? else {
        return Ok(Fetched::Damaged);
    };
    if mark_used(&file, &metadata) || !was_cached {
        cache.put(*hash, Stamp::of(&file.metadata()?), content.clone());
    }
    Ok(Fetched::Intact(Blob::Memory(Bytes::from_owner(Permitted { content, _permit: permit }))))
}

/// A blob in memory, with the permit that it takes.
struct Permitted {
    content: Bytes,
    _permit: Option<SemaphorePermit<'static>>,
}

impl AsRef<[u8]> for Permitted {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

/// Reads a file; `None`: its content has another length or hash.
fn read(file: &File, hash: &Hash, length: u64) -> io::Result<Option<Bytes>> {
    let mut content = Vec::with_capacity(length as usize + 1);
    file.take(length + 1).read_to_end(&mut content)?;
    Ok((blake3::hash(&content) == *hash).then(|| content.into()))
}

fn fetch_large(
    cache: &ReadCache,
    mut file: File,
    metadata: &Metadata,
    hash: &Hash,
    cancel: &Cancel,
) -> io::Result<Fetched> {
    let checked = cache.checked(hash, &Stamp::of(metadata));
    let when = match checked {
        Some(when) => when,
        None if Hasher::new().update_reader(cancel.reader(&file))?.finalize() == *hash => Instant::now(),
        None => return Ok(Fetched::Damaged),
    };
    if mark_used(&file, metadata) || checked.is_none() {
        cache.put_checked(*hash, Stamp::of(&file.metadata()?), when);
    }
    file.rewind()?;
    Ok(Fetched::Intact(Blob::File(file, metadata.len())))
}

/// Sets the time of modification, by which sweeps find the least recently used; returns whether the file has changed.
/// Fails silently on a read-only disk, from which sweeps remove nothing.
fn mark_used(file: &File, metadata: &Metadata) -> bool {
    let now = SystemTime::now();
    // A time in the future is from a clock that was ahead, and is corrected.
    let is_recent = |modified| modified <= now && age(modified, now) < MARKED_RECENTLY;
    !metadata.modified().is_ok_and(is_recent) && file.set_modified(now).is_ok()
}

fn list(root: &Path, folders: &[&str]) -> io::Result<Vec<Object>> {
    let mut objects = Vec::new();
    for entry in folders.iter().flat_map(|folder| walkdir::WalkDir::new(root.join(folder))) {
        // A folder that was not made yet is empty, and files may be removed meanwhile.
        match if_present(entry.map_err(io::Error::from))? {
            Some(entry) if entry.file_type().is_file() => objects.extend(object(root, &entry)),
            _ => {}
        }
    }
    Ok(objects)
}

fn object(root: &Path, entry: &walkdir::DirEntry) -> Option<Object> {
    let path = entry.path().strip_prefix(root).ok()?.to_str()?;
    let name = Name::parse(path)?;
    let metadata = entry.metadata().ok()?;
    Some(Object { path: path.to_owned(), name, bytes: metadata.len(), modified: metadata.modified().ok()? })
}

fn remove_unused(root: &Path, objects: Vec<Object>) -> io::Result<Vec<Object>> {
    let mut removed = Vec::with_capacity(objects.len());
    for object in objects {
        let path = root.join(&object.path);
        // Between this look and the removal another task may find or renew the object. It must expect any object to
        // vanish, and keeps what it has opened.
        let modified = if_present(fs::symlink_metadata(&path).and_then(|metadata| metadata.modified()))?;
        if modified.is_some_and(|modified| modified <= object.modified)
            && if_present(fs::remove_file(&path))?.is_some()
        {
            removed.push(object);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    fn at(path: &Path, content: &[u8], hash: Hash, bytes: usize) -> Fetched {
        fs::write(path, content).unwrap();
        fetch_blob(&ReadCache::default(), path, &hash, bytes as u64, &Cancel::default()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Lengths around those at which something changes: blocks of the hash, and what is given out as a file.
        #[test]
        fn damaged_blobs_are_never_returned(
            length in prop_oneof![
                0usize..5000,
                (SMALL as usize - 70)..(SMALL as usize + 2000),
                (MIDDLE as usize - 70)..(MIDDLE as usize + 2000),
            ],
            seed: u8,
            place: prop::sample::Index,
            bit in 0u8..8,
            cut: prop::sample::Index,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("blob");
            let content: Vec<u8> = (0..length).map(|at| (at * 31) as u8 ^ seed).collect();
            let hash = blake3::hash(&content);
            let Fetched::Intact(fetched) = at(&path, &content, hash, length) else { panic!("it is intact") };
            let read = match fetched {
                Blob::Memory(read) => read.to_vec(),
                Blob::File(file, bytes) => {
                    prop_assert_eq!(bytes, length as u64);
                    let mut read = Vec::new();
                    (&file).read_to_end(&mut read).unwrap();
                    read
                }
            };
            prop_assert!(read == content);
            if length == 0 {
                return Ok(());
            }
            let mut flipped = content.clone();
            flipped[place.index(length)] ^= 1 << bit;
            prop_assert!(matches!(at(&path, &flipped, hash, length), Fetched::Damaged));
            let shorter = &content[..cut.index(length)];
            prop_assert!(matches!(at(&path, shorter, hash, length), Fetched::Damaged));
            prop_assert!(matches!(at(&path, shorter, hash, shorter.len()), Fetched::Damaged));
        }
    }

    #[test]
    fn only_a_few_blobs_are_held_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        let content = vec![7; MIDDLE as usize];
        let hash = blake3::hash(&content);
        fs::write(&path, &content).unwrap();
        let cache = ReadCache::default();
        let fetch = || match fetch_blob(&cache, &path, &hash, MIDDLE, &Cancel::default()).unwrap() {
            Fetched::Intact(Blob::Memory(content)) => Some(content),
            _ => None,
        };
        // Other tests may have some, too.
        let held: Vec<_> = std::iter::from_fn(fetch).take(17).collect();
        assert!(held.len() <= 16 && held.iter().all(|one| *one == content));
        drop(held);
        assert!((0..1000).any(|_| fetch().is_some()), "the room is given back");
    }

    #[test]
    fn a_folder_may_have_special_characters() {
        let local = Local::open(Path::new("/srv/a b#1/100%")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(local.folder(), Some(Path::new("/srv/a b#1/100%")));
        let strange = Path::new(std::ffi::OsStr::from_bytes(b"/srv/\xff"));
        assert!(Local::open(strange).is_err());
    }
}
