//! Jobs that are paused after their worker lacked something.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use uuid::Uuid;

use super::{LIMITS, new_file, new_job, open_at, submit, take};
use crate::jobs::job::{GiveBack, Priority, State};
use crate::jobs::queue::{Limits, Queue, RETRY_PAUSE, Submission};
use crate::jobs::sqlite::clock::Clock;
use crate::jobs::sqlite::statements::{all, number};
use crate::jobs::sqlite::step::Spans;
use crate::jobs::sqlite::{SqliteQueue, connection};

const PAUSE: u64 = RETRY_PAUSE.as_millis() as u64;

fn early() -> u64 {
    5
}

fn late() -> u64 {
    1_000_000
}

/// Takes the next job, which must be this one, and gives it back.
async fn give_back(queue: &SqliteQueue, id: Uuid, reason: GiveBack) {
    let claim = take(queue).await;
    assert_eq!(claim.job.id, id);
    assert!(queue.give_back(id, claim.token, reason).await.unwrap());
}

/// Submits a job of the client "a", and pauses it.
async fn pause_new(queue: &SqliteQueue) -> Uuid {
    let id = submit(queue, "a").await.id;
    give_back(queue, id, GiveBack::EngineUnavailable).await;
    id
}

/// Checks the numbers that are kept against the jobs.
fn check_numbers(path: &Path) {
    let sql = connection::open(path).unwrap();
    let count = |statement: &str| number(&sql, statement).unwrap();
    let miscounted = "SELECT count(*) FROM counts WHERE
             jobs <> (SELECT count(*) FROM jobs WHERE jobs.state = counts.state)
             OR bytes <> (SELECT coalesce(sum(bytes), 0) FROM jobs WHERE jobs.state = counts.state)";
    assert_eq!(count(miscounted), 0);
    let clients: Vec<[(i64, i64); 5]> = all(
        &sql,
        "SELECT clients.jobs, count(jobs.seq),
             queued, coalesce(sum(state = 'queued'), 0),
             waiting, coalesce(sum(place IS NOT NULL), 0),
             running, coalesce(sum(state = 'running'), 0),
             clients.bytes, coalesce(sum(jobs.bytes) FILTER (WHERE state IN ('queued', 'running')), 0)
         FROM clients LEFT JOIN jobs ON jobs.client = clients.id GROUP BY clients.id",
        [],
        |row| {
            let pair =
                |first: usize| -> rusqlite::Result<(i64, i64)> { Ok((row.get(first)?, row.get(first + 1)?)) };
            Ok([pair(0)?, pair(2)?, pair(4)?, pair(6)?, pair(8)?])
        },
    )
    .unwrap();
    assert!(!clients.is_empty());
    for (kept, counted) in clients.into_iter().flatten() {
        assert_eq!(kept, counted);
    }
    // A queued job has a place or is paused; no other job does.
    let misplaced = "SELECT count(*) FROM jobs
         WHERE (state = 'queued') <> (place IS NOT NULL) + (paused_until IS NOT NULL)";
    assert_eq!(count(misplaced), 0);
}

#[tokio::test]
async fn a_pause_ends_by_the_clock_of_leases_in_any_process() {
    static NOW: AtomicU64 = AtomicU64::new(0);
    let (_folder, path) = new_file();
    let open = || open_at(&path, "boot", || NOW.load(Ordering::Relaxed));
    let (one, other) = (open(), open());
    let id = pause_new(&one).await;
    NOW.store(PAUSE - 1, Ordering::Relaxed);
    for queue in [&one, &other] {
        queue.sweep().await.unwrap();
        assert_eq!(queue.take("a worker").await.unwrap(), None);
        assert_eq!(queue.position(id).await.unwrap(), None);
        assert_eq!(queue.job(id).await.unwrap().unwrap().state, State::Queued);
    }
    NOW.store(PAUSE, Ordering::Relaxed);
    assert_eq!(take(&other).await.job.id, id);
    check_numbers(&path);
}

#[tokio::test]
async fn a_pause_outlives_the_process_but_not_the_machine() {
    let (_folder, path) = new_file();
    let queue = open_at(&path, "first", late);
    let id = pause_new(&queue).await;
    drop(queue);
    let queue = open_at(&path, "first", late);
    assert_eq!(queue.take("a worker").await.unwrap(), None);
    drop(queue);
    // By this clock, the pause would end in a quarter of an hour.
    let queue = open_at(&path, "second", early);
    queue.sweep().await.unwrap();
    assert_eq!(queue.position(id).await.unwrap(), Some(1));
    assert_eq!(take(&queue).await.job.id, id);
}

#[tokio::test]
async fn a_paused_job_goes_behind_the_others_of_its_priority() {
    static NOW: AtomicU64 = AtomicU64::new(0);
    let (_folder, path) = new_file();
    let queue = open_at(&path, "boot", || NOW.load(Ordering::Relaxed));
    let paused = pause_new(&queue).await;
    let given_back = submit(&queue, "a").await.id;
    let newer = submit(&queue, "a").await.id;
    let mut low = new_job("a");
    low.spec.priority = Priority::Low;
    let Submission::New(low) = queue.submit(low).await.unwrap() else { panic!("it was refused") };
    give_back(&queue, given_back, GiveBack::Stopping).await;
    let version = queue.job(paused).await.unwrap().unwrap().version;
    NOW.store(PAUSE, Ordering::Relaxed);
    queue.sweep().await.unwrap();
    check_numbers(&path);
    assert_eq!(queue.job(paused).await.unwrap().unwrap().version, version);
    for (place, id) in [given_back, newer, paused, low.id].into_iter().enumerate() {
        assert_eq!(queue.position(id).await.unwrap(), Some(place as u64 + 1));
    }
    for id in [given_back, newer, paused, low.id] {
        assert_eq!(take(&queue).await.job.id, id);
    }
}

#[tokio::test]
async fn the_client_of_a_paused_job_does_not_keep_others_waiting() {
    let (_folder, path) = new_file();
    let limits = Limits { client_jobs: 2, ..LIMITS };
    let clock = Clock { boot: "boot".to_owned(), now: early };
    let queue = SqliteQueue::open_with(&path, limits, Spans::DEFAULT, clock).unwrap();
    pause_new(&queue).await;
    let other = submit(&queue, "b").await.id;
    assert_eq!(take(&queue).await.job.id, other);
    assert_eq!(queue.take("a worker").await.unwrap(), None);
    assert_eq!(queue.stats().await.unwrap().jobs, [1, 1, 0, 0, 0, 0]);
    // The paused job counts for the limits.
    submit(&queue, "a").await;
    assert!(matches!(queue.submit(new_job("a")).await.unwrap(), Submission::Refused(_)));
    check_numbers(&path);
}

#[tokio::test]
async fn a_paused_job_may_be_cancelled_and_removed() {
    let (_folder, path) = new_file();
    let queue = open_at(&path, "boot", early);
    let (cancelled, removed) = (pause_new(&queue).await, pause_new(&queue).await);
    assert_eq!(queue.cancel(cancelled).await.unwrap().unwrap().state, State::Cancelled);
    assert_eq!(queue.remove(removed).await.unwrap().map(|removed| removed.tokens.len()), Some(1));
    assert_eq!(queue.stats().await.unwrap().jobs, [0, 0, 0, 0, 1, 0]);
    check_numbers(&path);
    drop(queue);
    // Nothing is left to be queued again.
    let queue = open_at(&path, "another boot", early);
    assert_eq!(queue.take("a worker").await.unwrap(), None);
    check_numbers(&path);
}

#[tokio::test]
async fn a_paused_job_expires() {
    let (_folder, path) = new_file();
    let limits = Limits { ttl: Duration::ZERO, ..LIMITS };
    let clock = Clock { boot: "boot".to_owned(), now: early };
    let queue = SqliteQueue::open_with(&path, limits, Spans::DEFAULT, clock).unwrap();
    let id = pause_new(&queue).await;
    assert_eq!(queue.sweep().await.unwrap().expired, [id]);
    assert_eq!(queue.job(id).await.unwrap().unwrap().state, State::Expired);
    check_numbers(&path);
}
