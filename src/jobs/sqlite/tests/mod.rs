//! Tests of what is special to SQLite. `tests/it/jobs` tests what all queues have in common.

mod file;
mod leases;
mod pauses;
mod processes;
mod transactions;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use uuid::Uuid;

use super::SqliteQueue;
use super::clock::Clock;
use super::step::Spans;
use crate::domain::Client;
use crate::jobs::job::{InputFile, Job, JobSpec};
use crate::jobs::queue::{Claim, Limits, NewJob, Queue, Submission};

const LIMITS: Limits = Limits {
    jobs: 1000,
    client_jobs: 1000,
    bytes: 1 << 30,
    client_bytes: 1 << 30,
    ttl: Duration::from_hours(24),
};

/// The file in a folder of its own.
fn new_file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.sqlite");
    (folder, path)
}

fn open(path: &Path) -> SqliteQueue {
    SqliteQueue::open(path, LIMITS).unwrap()
}

/// Opens the file as after this start of the machine.
fn open_at(path: &Path, boot: &str, now: fn() -> u64) -> SqliteQueue {
    let clock = Clock { boot: boot.to_owned(), now };
    SqliteQueue::open_with(path, LIMITS, Spans::DEFAULT, clock).unwrap()
}

fn new_job(client: &str) -> NewJob {
    let spec = JobSpec {
        input: vec![InputFile { name: "a.obj".to_owned(), hash: blake3::hash(b"a"), bytes: 10 }],
        webhook_url: Some("https://example.com/hook".parse().unwrap()),
        ..JobSpec::sample(Client::Key(client.into()))
    };
    NewJob { id: Uuid::now_v7(), spec, idempotency: None }
}

async fn submit(queue: &SqliteQueue, client: &str) -> Job {
    match queue.submit(new_job(client)).await.unwrap() {
        Submission::New(job) => job,
        other => panic!("{other:?}"),
    }
}

async fn take(queue: &SqliteQueue) -> Claim {
    queue.take("a worker").await.unwrap().expect("a job is queued")
}
