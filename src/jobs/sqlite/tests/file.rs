//! The file: its modes, its versions, and files that are not ours.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;

use super::{LIMITS, new_file, open, submit};
use crate::jobs::queue::Queue;
use crate::jobs::sqlite::statements::number;
use crate::jobs::sqlite::{SqliteQueue, connection, schema};

/// Makes a file with all tables, which nobody has open.
fn make(path: &Path) {
    schema::migrate(&mut connection::open(path).unwrap()).unwrap();
}

fn refusal(path: &Path) -> String {
    let Err(refusal) = SqliteQueue::open(path, LIMITS) else { panic!("it was opened") };
    assert!(refusal.starts_with(path.to_str().unwrap()) && !refusal.contains('\n'), "{refusal}");
    refusal
}

#[tokio::test]
async fn a_new_file_gets_all_tables_once() {
    let (_folder, path) = new_file();
    let job = submit(&open(&path), "a").await;
    let queue = open(&path);
    assert_eq!(queue.job(job.id).await.unwrap(), Some(job));
    assert_eq!(number(&connection::open(&path).unwrap(), "PRAGMA user_version").unwrap(), 1);
}

#[test]
fn an_empty_file_is_a_new_one() {
    let (_folder, path) = new_file();
    fs::write(&path, b"").unwrap();
    open(&path);
}

#[test]
fn tables_of_a_newer_version_are_refused() {
    let (_folder, path) = new_file();
    make(&path);
    connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refusal = refusal(&path);
    assert!(refusal.contains("newer Meshgate (version 99 "), "{refusal}");
    assert_eq!(number(&Connection::open(&path).unwrap(), "PRAGMA user_version").unwrap(), 99);
}

#[test]
fn a_file_that_is_no_database_is_refused_and_kept() {
    let (_folder, path) = new_file();
    let content = b"no database\n".repeat(1000);
    fs::write(&path, &content).unwrap();
    let refusal = refusal(&path);
    assert!(refusal.contains("is not a SQLite database"), "{refusal}");
    assert_eq!(fs::read(&path).unwrap(), content);
}

#[test]
fn a_file_that_is_cut_off_is_refused_and_kept() {
    let (_folder, path) = new_file();
    make(&path);
    OpenOptions::new().write(true).open(&path).unwrap().set_len(10_000).unwrap();
    let content = fs::read(&path).unwrap();
    let refusal = refusal(&path);
    assert!(refusal.contains("is damaged"), "{refusal}");
    assert_eq!(fs::read(&path).unwrap(), content);
}

#[test]
fn a_database_of_another_program_is_refused_and_kept() {
    let (_folder, path) = new_file();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE jobs (id)").unwrap();
    let content = fs::read(&path).unwrap();
    let refusal = refusal(&path);
    assert!(refusal.contains("another program"), "{refusal}");
    assert_eq!(fs::read(&path).unwrap(), content);
}

#[test]
fn a_missing_folder_is_an_error() {
    let (folder, _) = new_file();
    let error = SqliteQueue::open(&folder.path().join("missing/jobs.sqlite"), LIMITS).err().unwrap();
    assert!(error.contains("No such file or directory"), "{error}");
}

#[test]
fn transactions_wait_for_the_disk() {
    let (_folder, path) = new_file();
    let connection = connection::open(&path).unwrap();
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    // FULL.
    assert_eq!(number(&connection, "PRAGMA synchronous").unwrap(), 2);
    assert_eq!(number(&connection, "PRAGMA foreign_keys").unwrap(), 1);
}

#[tokio::test]
async fn only_its_owner_may_read_the_file() {
    let (_folder, path) = new_file();
    fs::write(&path, b"").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let queue = open(&path);
    submit(&queue, "a").await;
    for suffix in ["", "-wal", "-shm"] {
        let file = format!("{}{suffix}", path.display());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
}
