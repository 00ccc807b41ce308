//! Blobs in a folder of this machine, where they cost no copying. Everything here may block.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use blake3::{Hash, Hasher};
use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::age;
use super::blob::{Fetched, Found, MIDDLE, Put, SMALL, Source};
use super::error::Error;
use super::keys::{Item, Name};
use super::read_cache::{Recent, Stamp};
use crate::domain::Cancel;
use crate::fs::open::make_private;

/// Room for results in memory that are not small.
static ROOM: Semaphore = Semaphore::const_new(16);

/// What was used so short a time ago need not be marked as used again.
const FRESH: Duration = Duration::from_secs(1);

/// A result in memory, with its room.
struct Held {
    content: Bytes,
    _room: Option<SemaphorePermit<'static>>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

/// Keeps a source under its name, and tells how many bytes that are.
pub fn keep(store: &str, source: &Source, target: &Path) -> Result<(Put, u64), Error> {
    let bytes = match source {
        Source::Bytes(bytes) => bytes.len() as u64,
        Source::File(path) => regular_length(path).map_err(|error| Error::ours("read the result", &error))?,
    };
    let of_store = |error: io::Error| Error::io(store, &error);
    if refresh(target, bytes) {
        return Ok((Put::Present, bytes));
    }
    make_private(target.parent().unwrap_or(target)).map_err(of_store)?;
    let aside = match source {
        Source::Bytes(bytes) => write_aside(target, |file| file.write_all(bytes)).map_err(of_store)?,
        // Hidden from the end of its conversion, the file itself stays; between two disks, or where there are no such
        // links, its bytes are copied.
        Source::File(path) => match link_aside(path, target) {
            Ok(aside) => aside,
            Err(_) => copy_aside(store, path, target)?,
        },
    };
    // A link has the age of the file it is a link to, and what is old would be swept.
    let moved = touch(&aside).and_then(|()| fs::rename(&aside, target));
    if let Err(error) = moved {
        let _ = fs::remove_file(&aside);
        return Err(of_store(error));
    }
    Ok((Put::Stored, bytes))
}

/// Puts a document under its name, in place of what was there.
pub fn put(target: &Path, content: &[u8]) -> io::Result<()> {
    let write = || write_aside(target, |file| file.write_all(content));
    let aside = match write() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_private(target.parent().unwrap_or(target))?;
            write()?
        }
        written => written?,
    };
    fs::rename(&aside, target).inspect_err(|_| drop(fs::remove_file(&aside)))
}

/// Bytes of a file; links are none, as what they lead to is nothing of ours.
fn regular_length(path: &Path) -> io::Result<u64> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok(metadata.len())
}

/// Makes what is there new again; whether it was there, in its full length.
fn refresh(target: &Path, bytes: u64) -> bool {
    let touched = || -> io::Result<bool> {
        let file = File::open(target)?;
        if file.metadata()?.len() != bytes {
            return Ok(false);
        }
        file.set_modified(SystemTime::now())?;
        Ok(true)
    };
    touched().unwrap_or(false)
}

fn touch(path: &Path) -> io::Result<()> {
    File::open(path)?.set_modified(SystemTime::now())
}

/// Tries names beside the target until one is free: the first, unless somebody else keeps the same at this moment, or
/// was killed doing so. They are like those of the library, which does not list them.
fn aside<T>(target: &Path, create: impl Fn(&Path) -> io::Result<T>) -> io::Result<(PathBuf, T)> {
    for number in 1u32.. {
        let mut name = target.as_os_str().to_owned();
        name.push(format!("#{number}"));
        let path = PathBuf::from(name);
        match create(&path) {
            Ok(created) => return Ok((path, created)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn link_aside(source: &Path, target: &Path) -> io::Result<PathBuf> {
    aside(target, |path| fs::hard_link(source, path)).map(|(path, ())| path)
}

fn write_aside(target: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<PathBuf> {
    let (path, mut file) = aside(target, |path| OpenOptions::new().write(true).create_new(true).open(path))?;
    if let Err(error) = write(&mut file) {
        let _ = fs::remove_file(&path);
        return Err(error);
    }
    Ok(path)
}

fn copy_aside(store: &str, source: &Path, target: &Path) -> Result<PathBuf, Error> {
    let mut from =
        crate::fs::open::regular(source).map_err(|error| Error::ours("read the result", &error))?;
    // On Linux the kernel copies, and shares the bytes where the file system can.
    write_aside(target, |file| io::copy(&mut from, file).map(drop)).map_err(|error| Error::io(store, &error))
}

/// Opens a blob and checks it. Whatever happens to its name afterwards, what was opened stays.
pub fn open(recent: &Recent, path: &Path, hash: &Hash, bytes: u64, cancel: &Cancel) -> io::Result<Found> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            recent.forget(hash);
            return Ok(Found::Absent);
        }
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if metadata.len() != bytes {
        return Ok(Found::Corrupt);
    }
    let room = if bytes > SMALL && bytes <= MIDDLE { ROOM.try_acquire().ok() } else { None };
    if bytes > SMALL && room.is_none() {
        return open_large(recent, file, &metadata, hash, cancel);
    }
    let known = recent.get(hash, &Stamp::of(&metadata));
    let was_known = known.is_some();
    let Some(content) = known.map_or_else(|| read(&file, hash, bytes), |known| Ok(Some(known)))? else {
        return Ok(Found::Corrupt);
    };
    if freshen(&file, &metadata) || !was_known {
        recent.put(*hash, Stamp::of(&file.metadata()?), content.clone());
    }
    Ok(Found::Sound(Fetched::Small(Bytes::from_owner(Held { content, _room: room }))))
}

/// All of a file, if it is what its name says.
fn read(file: &File, hash: &Hash, bytes: u64) -> io::Result<Option<Bytes>> {
    let mut content = Vec::with_capacity(bytes as usize + 1);
    file.take(bytes + 1).read_to_end(&mut content)?;
    Ok((blake3::hash(&content) == *hash).then(|| content.into()))
}

fn open_large(
    recent: &Recent,
    mut file: File,
    metadata: &Metadata,
    hash: &Hash,
    cancel: &Cancel,
) -> io::Result<Found> {
    let known = recent.checked(hash, &Stamp::of(metadata));
    let when = match known {
        Some(when) => when,
        None if Hasher::new().update_reader(cancel.reader(&file))?.finalize() == *hash => Instant::now(),
        None => return Ok(Found::Corrupt),
    };
    if freshen(&file, metadata) || known.is_none() {
        recent.put_checked(*hash, Stamp::of(&file.metadata()?), when);
    }
    file.rewind()?;
    Ok(Found::Sound(Fetched::File(file, metadata.len())))
}

/// Tells the sweeper that it is used, unless it was told a moment ago; whether the file has changed by that. Of a disk that
/// cannot be written to, nothing is swept either.
fn freshen(file: &File, metadata: &Metadata) -> bool {
    let now = SystemTime::now();
    // One of a clock that was ahead is no more fresh than an old one.
    let is_fresh = |modified| modified <= now && age(modified, now) < FRESH;
    !metadata.modified().is_ok_and(is_fresh) && file.set_modified(now).is_ok()
}

/// Everything of ours in these folders of the root; what others have put there is left out.
pub fn list(root: &Path, folders: &[&str]) -> io::Result<Vec<Item>> {
    let mut items = Vec::new();
    for entry in folders.iter().flat_map(|folder| walkdir::WalkDir::new(root.join(folder))) {
        match entry {
            Ok(entry) if entry.file_type().is_file() => items.extend(item(root, &entry)),
            Ok(_) => {}
            Err(error) => {
                let error = io::Error::from(error);
                // Gone while we looked, or not made yet.
                if error.kind() != io::ErrorKind::NotFound {
                    return Err(error);
                }
            }
        }
    }
    Ok(items)
}

fn item(root: &Path, entry: &walkdir::DirEntry) -> Option<Item> {
    let path = entry.path().strip_prefix(root).ok()?.to_str()?;
    let name = Name::parse(path)?;
    let metadata = entry.metadata().ok()?;
    Some(Item { path: path.to_owned(), name, bytes: metadata.len(), modified: metadata.modified().ok()? })
}

/// Removes what nobody has used since it was listed; tells those that are gone now.
pub fn remove(root: &Path, items: Vec<Item>) -> io::Result<Vec<Item>> {
    let mut removed = Vec::with_capacity(items.len());
    for item in items {
        let path = root.join(&item.path);
        // Between this look and the removal somebody may still find that it is there: then it is gone a moment later,
        // like anything that is kept here. Whoever has opened it keeps what was opened.
        let gone = match fs::symlink_metadata(&path).and_then(|metadata| metadata.modified()) {
            Ok(modified) if modified > item.modified => continue,
            Ok(_) => fs::remove_file(&path),
            Err(error) => Err(error),
        };
        match gone {
            Ok(()) => removed.push(item),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(path: &Path, content: &[u8], hash: Hash, bytes: usize) -> Found {
        fs::write(path, content).unwrap();
        open(&Recent::default(), path, &hash, bytes as u64, &Cancel::default()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Lengths around those at which something changes: blocks of the hash, and what is given out as a file.
        #[test]
        fn only_what_was_kept_is_given_out(
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
            let Found::Sound(fetched) = at(&path, &content, hash, length) else { panic!("it is sound") };
            let read = match fetched {
                Fetched::Small(read) => read.to_vec(),
                Fetched::File(file, bytes) => {
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
            prop_assert!(matches!(at(&path, &flipped, hash, length), Found::Corrupt));
            let shorter = &content[..cut.index(length)];
            prop_assert!(matches!(at(&path, shorter, hash, length), Found::Corrupt));
            prop_assert!(matches!(at(&path, shorter, hash, shorter.len()), Found::Corrupt));
        }
    }

    #[test]
    fn there_is_room_for_some_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        let content = vec![7; MIDDLE as usize];
        let hash = blake3::hash(&content);
        fs::write(&path, &content).unwrap();
        let recent = Recent::default();
        let fetch = || match open(&recent, &path, &hash, MIDDLE, &Cancel::default()).unwrap() {
            Found::Sound(Fetched::Small(content)) => Some(content),
            _ => None,
        };
        // Other tests may have some, too.
        let held: Vec<_> = std::iter::from_fn(fetch).take(17).collect();
        assert!(held.len() <= 16 && held.iter().all(|one| *one == content));
        drop(held);
        assert!((0..1000).any(|_| fetch().is_some()), "the room is given back");
    }
}
