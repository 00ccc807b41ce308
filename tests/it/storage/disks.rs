//! Full and read-only disks.

use std::path::Path;
use std::time::Duration;

use meshgate::config::{self, Location};
use meshgate::fs::blob::Blob;
use meshgate::storage::{Document, Storage, Trouble};
use uuid::Uuid;

use super::backend::{blob, noise};
use super::suite::read;
use crate::mounts::Mounted;

const DISK: usize = 2 << 20;

fn store(disk: &Mounted) -> Storage {
    let location = Some(Location::Folder(disk.0.join("store")));
    let config =
        config::Storage { location, ttl: Duration::from_hours(24), max_bytes: 1 << 30, presign: false };
    Storage::open(&config, Path::new("/unused")).unwrap()
}

#[tokio::test]
#[ignore = "needs the right to mount a disk; make test runs it where it has that"]
async fn a_full_disk_leaves_no_partial_files() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Mounted::new(folder.path(), DISK as u64);
    let storage = store(&disk);
    let small = noise(1, 100_000);
    let hash = blake3::hash(&small);
    storage.put_blob(Blob::Memory(small.clone().into()), &hash).await.unwrap();

    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    let large = noise(2, 2 * DISK);
    std::fs::write(elsewhere.path(), &large).unwrap();
    let large_hash = blake3::hash(&large);
    for source in [Blob::open(elsewhere.path()).unwrap(), Blob::Memory(large.into())] {
        let error = storage.put_blob(source, &large_hash).await.unwrap_err();
        assert_eq!(error.trouble, Trouble::Full);
        let expected = format!("{} is on a disk that is full", disk.0.join("store").display());
        assert_eq!(error.detail, expected);
        assert_eq!(storage.trouble().unwrap(), error);
    }
    let names: Vec<_> =
        walkdir::WalkDir::new(&disk.0).into_iter().map(|entry| entry.unwrap().path().to_owned()).collect();
    assert!(!names.iter().any(|path| path.to_str().unwrap().contains('#')), "{names:?}");

    // Stored results can still be read, which does not make the store healthy again.
    let fetched = storage.fetch(&hash, small.len() as u64, folder.path()).await.unwrap().unwrap();
    assert!(read(fetched) == small);
    assert_eq!(storage.trouble().unwrap().trouble, Trouble::Full);

    // When nothing fits, a check fails, too.
    let rest = disk.0.join("rest");
    let mut filling = std::fs::File::create(&rest).unwrap();
    while std::io::Write::write(&mut filling, &[0; 4096]).is_ok_and(|written| written > 0) {}
    assert_eq!(storage.check().await.unwrap_err().trouble, Trouble::Full);
    drop(filling);
    std::fs::remove_file(rest).unwrap();
    storage.check().await.unwrap();
    assert_eq!(storage.trouble(), None);
}

#[tokio::test]
#[ignore = "needs the right to mount a disk; make test runs it where it has that"]
async fn a_read_only_disk_is_still_read() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Mounted::new(folder.path(), DISK as u64);
    let storage = store(&disk);
    let content = noise(3, 500_000);
    let hash = blake3::hash(&content);
    let source = || Blob::Memory(content.clone().into());
    storage.put_blob(source(), &hash).await.unwrap();
    disk.set_writable(false);

    let fetched = storage.fetch(&hash, content.len() as u64, folder.path()).await.unwrap().unwrap();
    assert!(read(fetched) == content);
    let other = blake3::hash(b"other");
    let error = storage.put_blob(Blob::Memory("other".into()), &other).await.unwrap_err();
    assert_eq!(error.trouble, Trouble::ReadOnly);
    for result in [
        storage.check().await,
        storage.put(Document::Report(Uuid::now_v7()), "{}".into()).await,
        storage.put_blob(source(), &hash).await.map(drop),
    ] {
        assert_eq!(result.unwrap_err().trouble, Trouble::ReadOnly);
    }
    let later = std::time::SystemTime::now() + Duration::from_hours(48);
    assert_eq!(storage.sweep(later).await.unwrap_err().trouble, Trouble::ReadOnly);

    disk.set_writable(true);
    storage.check().await.unwrap();
    assert_eq!(storage.trouble(), None);
    assert!(disk.0.join("store").join(blob(&hash)).exists());
}
