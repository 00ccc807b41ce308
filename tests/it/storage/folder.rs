//! Features that only folders have, and leftovers of crashes in them.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use meshgate::fs::blob::Blob;
use meshgate::storage::{Document, JobObject, Stored};
use uuid::Uuid;

use super::backend::{Backend, blob, noise};
use super::suite::{fetch, put};
use crate::mounts::Mounted;

fn set_age(path: &Path, age: Duration) {
    File::open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

fn age(path: &Path) -> Duration {
    fs::metadata(path).unwrap().modified().unwrap().elapsed().unwrap_or_default()
}

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn a_result_on_the_same_disk_is_not_copied() {
    let backend = Backend::folder();
    let storage = backend.open();
    let content = noise(1, 3 << 20);
    let hash = blake3::hash(&content);
    let source = backend.source(&content);
    set_age(&source, HOUR * 48);
    assert_eq!(storage.put_blob(Blob::open(&source).unwrap(), &hash).await.unwrap(), Stored::New);
    let kept = backend.path(&blob(&hash));
    let (one, other) = (fs::metadata(&source).unwrap(), fs::metadata(&kept).unwrap());
    // The result is a hard link to the source, since both are on one disk.
    assert_eq!((one.dev(), one.ino()), (other.dev(), other.ino()));
    assert!(age(&kept) < HOUR, "a new result has the current time");
    fs::remove_file(source).unwrap();
    assert_eq!(storage.sweep(SystemTime::now()).await.unwrap().removed, 0);
    assert!(fetch(&storage, &backend, &hash, content.len()).await == Some(content));
}

#[tokio::test]
async fn objects_of_jobs_are_not_absent_while_their_folder_is_away() {
    let backend = Backend::folder();
    let storage = backend.open();
    let content = noise(3, 1000);
    let (hash, spool) = (blake3::hash(&content), backend.spool.path());
    let (model, other) = (JobObject::Model(Uuid::now_v7(), 0), JobObject::Result(Uuid::now_v7(), 1));
    let put = async |object| storage.put_job_object(object, Blob::Memory(content.clone().into())).await;
    // While there are jobs, an absent folder is away; only a new queue begins a new store.
    assert!(put(model).await.is_err() && storage.open_job_objects(false).await.is_err());
    assert!(!backend.path("jobs").exists());
    storage.open_job_objects(true).await.unwrap();
    put(model).await.unwrap();
    assert!(storage.fetch_job_object(model, &hash, 1000, spool).await.unwrap().is_some());
    let brief = JobObject::Model(Uuid::now_v7(), 1);
    storage.put_brief_job_object(brief, Blob::Memory(content.clone().into())).await.unwrap();
    assert!(storage.fetch_job_object(brief, &hash, 1000, spool).await.unwrap().is_some());
    assert!(storage.fetch_job_object(other, &hash, 1000, spool).await.unwrap().is_none());
    assert_eq!(storage.read_job_object(other).await.unwrap(), None);

    let (folder, away) = (backend.path("jobs"), backend.path("away"));
    fs::rename(&folder, &away).unwrap();
    let error = storage.fetch_job_object(model, &hash, 1000, spool).await.err().unwrap();
    assert!(
        error.detail.contains("/store holds no jobs of this queue: give workers the STORAGE_URL"),
        "{error}"
    );
    assert!(storage.read_job_object(other).await.is_err() && storage.trouble().is_some());
    assert!(put(other).await.is_err());
    assert!(!folder.exists(), "an object that cannot be stored makes no folder");
    // Another process has begun a new store.
    let another = backend.open();
    another.open_job_objects(true).await.unwrap();
    assert!(put(other).await.is_err() && storage.fetch_job_object(model, &hash, 1000, spool).await.is_err());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is stored in it");
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    assert!(storage.fetch_job_object(model, &hash, 1000, spool).await.unwrap().is_some());
    put(other).await.unwrap();
    assert_eq!(storage.trouble(), None);
}

#[tokio::test]
#[ignore = "needs the right to mount a disk; make test runs it where it has that"]
async fn a_result_on_another_disk_is_copied() {
    let backend = Backend::folder();
    let other = tempfile::tempdir().unwrap();
    let disk = Mounted::new(other.path(), 8 << 20);
    let storage = backend.open();
    let content = noise(2, 3 << 20);
    let hash = blake3::hash(&content);
    let source = disk.0.join("result");
    fs::write(&source, &content).unwrap();
    assert_eq!(storage.put_blob(Blob::open(&source).unwrap(), &hash).await.unwrap(), Stored::New);
    assert_eq!(backend.names().await, [blob(&hash)]);
    assert!(fetch(&storage, &backend, &hash, content.len()).await == Some(content));
}

#[tokio::test]
async fn other_users_cannot_read_the_store() {
    let backend = Backend::folder();
    let storage = backend.open();
    storage.check().await.unwrap();
    put(&storage, b"a result").await;
    storage.put(Document::Report(Uuid::now_v7()), "{}".into()).await.unwrap();
    storage.put(Document::Entry(blake3::hash(b"")), "{}".into()).await.unwrap();
    for folder in ["", "blobs", "reports", "entries", "check"] {
        let mode = fs::metadata(backend.path(folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{folder}");
    }
}

#[tokio::test]
async fn a_sweep_removes_old_but_not_recent_partial_files() {
    let backend = Backend::folder();
    let storage = backend.open();
    let hash = put(&storage, b"a result").await;
    // Incomplete files of two results, a report and a check, and a foreign file whose name looks similar.
    let others = [blake3::hash(b"1"), blake3::hash(b"2")].map(|hash| format!("{}#1", blob(&hash)));
    let report = format!("reports/{}.json#3", Uuid::now_v7());
    let check = format!("check/{}#1", Uuid::now_v7());
    let theirs = format!("{}#draft", blob(&hash));
    for name in others.iter().chain([&report, &check, &theirs]) {
        backend.write(name, b"half").await;
        set_age(&backend.path(name), HOUR * 2);
    }
    set_age(&backend.path(&others[1]), HOUR / 2);
    let swept = storage.sweep(SystemTime::now()).await.unwrap();
    assert_eq!((swept.removed, swept.freed), (3, 12));
    let mut expected = [blob(&hash), theirs, others[1].clone()];
    expected.sort();
    assert_eq!(backend.names().await, expected);
    // The first temporary name exists, left by another process; the next one is used.
    let content = b"1";
    backend.write(&others[0], b"half").await;
    put(&storage, content).await;
    assert!(fetch(&storage, &backend, &blake3::hash(content), 1).await == Some(content.to_vec()));
}

#[tokio::test]
async fn recently_used_results_stay_longest() {
    let backend = Backend::folder();
    let storage = backend.open_with(|config| config.max_bytes = 4500);
    let mut hashes = Vec::new();
    for number in 0..5 {
        let hash = put(&storage, &noise(number, 1000)).await;
        set_age(&backend.path(&blob(&hash)), HOUR * (10 - number as u32));
        hashes.push(hash);
    }
    // Use renews the age: the oldest is fetched, and the second one stored again.
    assert!(fetch(&storage, &backend, &hashes[0], 1000).await.is_some());
    let again = Blob::Memory(noise(1, 1000).into());
    assert_eq!(storage.put_blob(again, &hashes[1]).await.unwrap(), Stored::Present);
    assert_eq!(storage.sweep(SystemTime::now()).await.unwrap().removed, 1);
    assert!(!backend.names().await.contains(&blob(&hashes[2])));
    // Results expire a day after their last use, not after their creation.
    let swept = storage.sweep(SystemTime::now() + HOUR * 23).await.unwrap();
    assert_eq!((swept.removed, swept.kept), (2, 2));
}

#[tokio::test]
async fn a_clock_jump_at_most_empties_the_store() {
    let backend = Backend::folder();
    let storage = backend.open();
    let hash = put(&storage, b"a result").await;
    let path = backend.path(&blob(&hash));
    // Written when the clock was a year ahead.
    File::open(&path).unwrap().set_modified(SystemTime::now() + HOUR * 9000).unwrap();
    assert_eq!(storage.sweep(SystemTime::now()).await.unwrap().removed, 0);
    assert!(fetch(&storage, &backend, &hash, 8).await.is_some());
    // Use sets its time to the current one.
    assert!(age(&path) < HOUR);
    assert_eq!(storage.sweep(SystemTime::now() + HOUR * 9000).await.unwrap().removed, 1);
    assert_eq!(put(&storage, b"a result").await, hash);
}

#[tokio::test]
async fn a_folder_emptied_by_hand_works_like_new() {
    let backend = Backend::folder();
    let storage = backend.open();
    let hash = put(&storage, b"a result").await;
    fs::remove_dir_all(backend.path("")).unwrap();
    assert!(fetch(&storage, &backend, &hash, 8).await.is_none());
    assert_eq!(storage.sweep(SystemTime::now()).await.unwrap().kept, 0);
    put(&storage, b"a result").await;
    storage.put(Document::Report(Uuid::now_v7()), "{}".into()).await.unwrap();
    assert_eq!(backend.names().await.len(), 2);
    assert_eq!(storage.trouble(), None);
}
