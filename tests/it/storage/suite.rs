//! Tests of every store.

use std::io::Read;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use meshgate::fs::blob::Blob;
use meshgate::storage::{Document, Hash, Storage, Stored};
use uuid::Uuid;

use super::backend::{Backend, blob, noise};

suite! {
    { in_a_folder: super::Backend::folder(), in_a_bucket: super::Backend::bucket().await }
    {
        stored_results_are_fetched_unchanged
        a_large_file_is_stored_once
        damaged_results_are_removed
        a_deleted_result_is_reported_as_missing
        documents_are_stored_and_found
        only_expired_objects_are_swept
        the_oldest_results_beyond_the_limit_are_swept
        a_sweep_does_not_break_a_download
        concurrent_puts_store_one_result
        a_check_leaves_no_files
        foreign_files_are_kept
        a_broken_source_does_not_mark_the_store_failing
    }
}

/// Fetches a result and reads it.
pub async fn fetch(storage: &Storage, backend: &Backend, hash: &Hash, bytes: usize) -> Option<Vec<u8>> {
    let fetched = storage.fetch(hash, bytes as u64, backend.spool.path()).await.unwrap()?;
    Some(read(fetched))
}

pub fn read(fetched: Blob) -> Vec<u8> {
    match fetched {
        Blob::Memory(content) => content.to_vec(),
        Blob::File(mut file, bytes) => {
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            assert_eq!(content.len() as u64, bytes);
            content
        }
    }
}

pub async fn put(storage: &Storage, content: &[u8]) -> Hash {
    let hash = blake3::hash(content);
    storage.put_blob(Blob::Memory(Bytes::copy_from_slice(content)), &hash).await.unwrap();
    hash
}

async fn stored_results_are_fetched_unchanged(backend: Backend) {
    let storage = backend.open();
    // Sizes around the limits: results returned in memory, ranges requested first, uploads in parts.
    for bytes in [0, 1, 256 << 10, (256 << 10) + 1, (1 << 20) + 1, 8 << 20, (8 << 20) + 1] {
        let content = noise(bytes as u64, bytes);
        let hash = blake3::hash(&content);
        let source = Blob::open(&backend.source(&content)).unwrap();
        assert_eq!(storage.put_blob(source, &hash).await.unwrap(), Stored::New);
        assert!(backend.names().await.contains(&blob(&hash)));
        let fetched = storage.fetch(&hash, bytes as u64, backend.spool.path()).await.unwrap().unwrap();
        // Between these sizes, it depends on the room in memory.
        if !((256 << 10) + 1..=2 << 20).contains(&bytes) {
            assert_eq!(matches!(fetched, Blob::Memory(_)), bytes <= 256 << 10, "{bytes}");
        }
        assert!(read(fetched) == content, "{bytes} bytes are others");
    }
    let content = noise(1, 20 << 20);
    let hash = put(&storage, &content).await;
    assert!(fetch(&storage, &backend, &hash, content.len()).await == Some(content));
    assert_eq!(storage.trouble(), None);
    // Fetched files have no name, so that none of them stays.
    assert_eq!(std::fs::read_dir(backend.spool.path()).unwrap().count(), 7);
}

async fn a_large_file_is_stored_once(backend: Backend) {
    let storage = backend.open();
    let content = noise(2, 20 << 20);
    let hash = blake3::hash(&content);
    let source = || Blob::open(&backend.source(&content)).unwrap();
    assert_eq!(storage.put_blob(source(), &hash).await.unwrap(), Stored::New);
    assert_eq!(storage.put_blob(source(), &hash).await.unwrap(), Stored::Present);
    assert_eq!(backend.names().await, [blob(&hash)]);
    // A truncated object does not count as stored.
    backend.write(&blob(&hash), &content[..10 << 20]).await;
    assert_eq!(storage.put_blob(source(), &hash).await.unwrap(), Stored::New);
    assert!(fetch(&storage, &backend, &hash, content.len()).await == Some(content));
}

async fn damaged_results_are_removed(backend: Backend) {
    let storage = backend.open();
    for bytes in [1000, 1 << 20] {
        let content = noise(3, bytes);
        let flipped = [&content[..bytes / 2], &[!content[bytes / 2]], &content[bytes / 2 + 1..]].concat();
        let longer = [&content[..], b"x"].concat();
        for damaged in [&flipped, &content[..bytes / 2], &longer, b""] {
            let hash = put(&storage, &content).await;
            backend.write(&blob(&hash), damaged).await;
            assert!(fetch(&storage, &backend, &hash, bytes).await.is_none());
            assert_eq!(backend.names().await, [""; 0]);
        }
        // A fetch with another length finds nothing.
        let hash = put(&storage, &content).await;
        assert!(fetch(&storage, &backend, &hash, bytes + 1).await.is_none());
    }
    assert_eq!(storage.trouble(), None);
}

async fn a_deleted_result_is_reported_as_missing(backend: Backend) {
    let storage = backend.open();
    let content = noise(4, 3 << 20);
    assert!(fetch(&storage, &backend, &blake3::hash(&content), content.len()).await.is_none());
    let hash = put(&storage, &content).await;
    backend.remove(&blob(&hash)).await;
    assert!(fetch(&storage, &backend, &hash, content.len()).await.is_none());
    assert_eq!(put(&storage, &content).await, hash);
    assert!(fetch(&storage, &backend, &hash, content.len()).await == Some(content));
    assert_eq!(storage.trouble(), None);
}

async fn documents_are_stored_and_found(backend: Backend) {
    let storage = backend.open();
    let report = Document::Report(Uuid::now_v7());
    let identity = blake3::hash(b"identity");
    let entry = Document::Entry(identity);
    for document in [report, entry] {
        assert_eq!(storage.get(document).await.unwrap(), None);
        storage.remove(document).await.unwrap();
        assert!(storage.list_entries().await.unwrap().is_empty());
        for content in ["{\"a\":1}", "{}"] {
            storage.put(document, content.into()).await.unwrap();
            let kept = storage.get(document).await.unwrap().unwrap();
            assert_eq!(kept.content, content);
            for (listed, modified) in storage.list_entries().await.unwrap() {
                assert_eq!((document, listed), (entry, identity));
                // S3 reports whole seconds.
                let apart = kept.modified.max(modified).duration_since(kept.modified.min(modified));
                assert!(apart.unwrap() < Duration::from_secs(1));
            }
            assert_eq!(storage.list_entries().await.unwrap().len(), usize::from(document == entry));
            let age = SystemTime::now().duration_since(kept.modified).unwrap_or_default();
            assert!(age < Duration::from_mins(10), "{age:?}");
        }
        // Expired documents are not returned, even before they are swept.
        let strict = backend.open_with(|config| config.ttl = Duration::from_nanos(1));
        assert_eq!(strict.get(document).await.unwrap(), None);
    }
    assert_eq!(backend.names().await.len(), 2);
    storage.remove(report).await.unwrap();
    storage.remove(entry).await.unwrap();
    assert_eq!(backend.names().await, [""; 0]);
}

async fn only_expired_objects_are_swept(backend: Backend) {
    let storage = backend.open();
    put(&storage, b"a result").await;
    storage.put(Document::Report(Uuid::now_v7()), "{}".into()).await.unwrap();
    storage.put(Document::Entry(blake3::hash(b"")), "{}".into()).await.unwrap();
    let after = |hours| SystemTime::now() + Duration::from_hours(hours);

    let swept = storage.sweep(after(23)).await.unwrap();
    assert_eq!((swept.removed, swept.kept, swept.kept_bytes), (0, 3, 12));
    let swept = storage.sweep(after(26)).await.unwrap();
    assert_eq!((swept.removed, swept.freed, swept.kept), (3, 12, 0));
    assert_eq!(backend.names().await, [""; 0]);
    let swept = storage.sweep(after(26)).await.unwrap();
    assert_eq!((swept.removed, swept.kept), (0, 0));
}

async fn the_oldest_results_beyond_the_limit_are_swept(backend: Backend) {
    let storage = backend.open_with(|config| config.max_bytes = 10_000);
    for number in 0..12 {
        put(&storage, &noise(number, 1000)).await;
    }
    storage.put(Document::Report(Uuid::now_v7()), "{}".into()).await.unwrap();
    let swept = storage.sweep(SystemTime::now()).await.unwrap();
    assert_eq!((swept.removed, swept.kept), (4, 9));
    // File times are too coarse to tell whether the report or the fourth result is older.
    assert!([8002, 9000].contains(&swept.kept_bytes), "{swept:?}");
    assert_eq!(backend.names().await.len(), 9);
    assert_eq!(storage.sweep(SystemTime::now()).await.unwrap().removed, 0);
}

async fn a_sweep_does_not_break_a_download(backend: Backend) {
    let storage = backend.open();
    let content = noise(5, 2 << 20);
    let hash = put(&storage, &content).await;
    let fetched = storage.fetch(&hash, content.len() as u64, backend.spool.path()).await.unwrap().unwrap();
    let later = SystemTime::now() + Duration::from_hours(48);
    assert_eq!(storage.sweep(later).await.unwrap().removed, 1);
    assert!(read(fetched) == content);
    assert!(fetch(&storage, &backend, &hash, content.len()).await.is_none());
}

async fn concurrent_puts_store_one_result(backend: Backend) {
    let storage = backend.open();
    let content = noise(6, 2 << 20);
    let hash = blake3::hash(&content);
    let puts: Vec<_> = (0..8)
        .map(|_| {
            let (storage, source) = (storage.clone(), Blob::open(&backend.source(&content)).unwrap());
            tokio::spawn(async move { storage.put_blob(source, &hash).await })
        })
        .collect();
    let mut stored = 0;
    for put in puts {
        stored += usize::from(put.await.unwrap().unwrap() == Stored::New);
    }
    assert!(stored >= 1);
    assert_eq!(backend.names().await, [blob(&hash)]);
    assert!(fetch(&storage, &backend, &hash, content.len()).await == Some(content));
}

async fn a_check_leaves_no_files(backend: Backend) {
    let storage = backend.open();
    storage.check().await.unwrap();
    assert_eq!(backend.names().await, [""; 0]);
    assert_eq!(storage.trouble(), None);
}

async fn foreign_files_are_kept(backend: Backend) {
    let storage = backend.open_with(|config| config.max_bytes = 1);
    let hash = blake3::hash(b"x").to_hex();
    let others = ["blobs/readme", "notes.txt", "reports/2024.json", &format!("blobs/00/{hash}")];
    // The object that a killed check left is swept; foreign files are not.
    let (check, id) = (format!("check/{}", Uuid::now_v7()), Uuid::now_v7());
    for name in others.iter().copied().chain([check.as_str()]) {
        backend.write(name, b"mine").await;
    }
    storage.put(Document::Report(id), "{}".into()).await.unwrap();
    let swept = storage.sweep(SystemTime::now()).await.unwrap();
    assert_eq!((swept.removed, swept.kept), (1, 1));
    let swept = storage.sweep(SystemTime::now() + Duration::from_hours(48)).await.unwrap();
    assert_eq!((swept.removed, swept.kept), (1, 0));
    let mut expected = others.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(backend.names().await, expected);
}

async fn a_broken_source_does_not_mark_the_store_failing(backend: Backend) {
    let storage = backend.open();
    let path = backend.spool.path().join("nothing");
    assert!(Blob::open(&path).is_err());
    std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
    assert!(Blob::open(&path).is_err());
    // The file has become shorter: a bucket notices on upload, a folder links it and notices on reading.
    let content = noise(8, 1000);
    let path = backend.source(&content);
    let source = Blob::open(&path).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
    let hash = blake3::hash(&content);
    match storage.put_blob(source, &hash).await {
        Ok(_) => assert!(backend.is_folder()),
        Err(error) => assert!(error.detail.starts_with("could not read the result: "), "{error}"),
    }
    assert!(fetch(&storage, &backend, &hash, content.len()).await.is_none());
    let content = noise(7, 1 << 20);
    let hash = put(&storage, &content).await;
    let nowhere = backend.spool.path().join("nowhere");
    let fetched = storage.fetch(&hash, content.len() as u64, &nowhere).await;
    assert_eq!(fetched.is_ok(), backend.is_folder(), "a folder's files need no other place");
    assert_eq!(storage.trouble(), None);
}
