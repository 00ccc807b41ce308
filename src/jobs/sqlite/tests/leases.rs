//! The clock of leases.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use uuid::Uuid;

use super::{new_file, new_job, open, open_at, submit, take};
use crate::jobs::job::{DeliveryAttempt, State, Timestamp};
use crate::jobs::queue::{
    End, Hold, Idempotency, Key, LEASE, NewJob, NextAttempt, Queue, RESERVATION_LIFE, Refusal, Reservation,
    Submission,
};
use crate::jobs::sqlite::clock::Clock;

fn early() -> u64 {
    5
}

fn late() -> u64 {
    1_000_000
}

#[test]
fn the_clock_of_the_machine_goes_on() {
    let clock = Clock::of_machine().unwrap();
    assert_eq!(clock.boot.len(), 36, "{}", clock.boot);
    let before = (clock.now)();
    std::thread::sleep(Duration::from_millis(20));
    assert!((clock.now)() >= before + 20);
}

#[tokio::test]
async fn a_lease_outlives_the_process_but_not_the_machine() {
    let (_folder, path) = new_file();
    let queue = open_at(&path, "first", late);
    submit(&queue, "a").await;
    let claim = take(&queue).await;
    let id = claim.job.id;
    drop(queue);
    let queue = open_at(&path, "first", late);
    assert_eq!(queue.renew(id, claim.token, None).await.unwrap(), Hold::Held);
    assert!(queue.sweep().await.unwrap().requeued.is_empty());
    drop(queue);
    // By this clock, the lease would end in a quarter of an hour.
    let queue = open_at(&path, "second", early);
    assert_eq!(queue.sweep().await.unwrap().requeued, [id]);
    assert_eq!(queue.renew(id, claim.token, None).await.unwrap(), Hold::Lost);
    assert!(!queue.finish(id, claim.token, End::Cancelled).await.unwrap());
    assert!(take(&queue).await.token > claim.token);
}

#[tokio::test]
async fn a_backup_gives_no_token_twice() {
    let (_folder, path) = new_file();
    let queue = open(&path);
    let id = submit(&queue, "a").await.id;
    let backup = path.with_file_name("backup.sqlite");
    Connection::open(&path).unwrap().execute("VACUUM INTO ?1", [backup.to_str()]).unwrap();
    let forgotten = take(&queue).await;
    // Tokens count milliseconds.
    std::thread::sleep(Duration::from_millis(5));
    let queue = open(&backup);
    let claim = take(&queue).await;
    assert_eq!((forgotten.job.id, claim.job.id), (id, id));
    assert_eq!(queue.renew(id, forgotten.token, None).await.unwrap(), Hold::Lost);
    assert!(!queue.finish(id, forgotten.token, End::Cancelled).await.unwrap());
    assert!(queue.finish(id, claim.token, End::Cancelled).await.unwrap());
}

#[tokio::test]
async fn a_webhook_is_due_when_the_machine_was_started_anew() {
    let (_folder, path) = new_file();
    let queue = open_at(&path, "first", late);
    let id = submit(&queue, "a").await.id;
    queue.cancel(id).await.unwrap();
    let delivery = queue.take_delivery().await.unwrap().unwrap();
    let attempt = DeliveryAttempt { at: Timestamp::now(), status: Some(500), error: None };
    let next = NextAttempt::After(Duration::from_hours(1));
    assert!(queue.record_delivery_attempt(&delivery, attempt.clone(), next).await.unwrap());
    assert_eq!(queue.take_delivery().await.unwrap(), None);
    drop(queue);
    let queue = open_at(&path, "second", early);
    let again = queue.take_delivery().await.unwrap().unwrap();
    assert_eq!((again.id, again.attempts, again.job.state), (delivery.id, 1, State::Cancelled));
    assert_eq!(again.job.deliveries, [attempt]);
}

#[tokio::test]
async fn a_lease_ends_by_its_clock() {
    static NOW: AtomicU64 = AtomicU64::new(0);
    let (_folder, path) = new_file();
    let queue = open_at(&path, "boot", || NOW.load(Ordering::Relaxed));
    submit(&queue, "a").await;
    let claim = take(&queue).await;
    let lease = LEASE.as_millis() as u64;
    NOW.store(lease - 1, Ordering::Relaxed);
    assert_eq!(queue.renew(claim.job.id, claim.token, None).await.unwrap(), Hold::Held);
    NOW.store(2 * lease - 2, Ordering::Relaxed);
    assert!(queue.sweep().await.unwrap().requeued.is_empty());
    assert_eq!(queue.extend_leases().await.unwrap(), 0);
    NOW.store(2 * lease - 1, Ordering::Relaxed);
    assert_eq!(queue.extend_leases().await.unwrap(), 1);
    NOW.store(3 * lease - 2, Ordering::Relaxed);
    assert!(queue.sweep().await.unwrap().requeued.is_empty());
    NOW.store(3 * lease - 1, Ordering::Relaxed);
    assert_eq!(queue.sweep().await.unwrap().requeued, [claim.job.id]);
    assert_eq!(queue.renew(claim.job.id, claim.token, None).await.unwrap(), Hold::Lost);
}

#[tokio::test]
async fn a_reservation_ends_by_itself() {
    static NOW: AtomicU64 = AtomicU64::new(0);
    let (_folder, path) = new_file();
    let queue = open_at(&path, "boot", || NOW.load(Ordering::Relaxed));
    let new = new_job("a");
    let key = Key { client: new.spec.client.clone(), path: "/v1/jobs", key: "x".to_owned() };
    let (lost, holder) = (Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(queue.reserve(&key, lost).await.unwrap(), Reservation::Reserved);
    assert_eq!(queue.reserve(&key, holder).await.unwrap(), Reservation::InFlight);
    NOW.store(RESERVATION_LIFE.as_millis() as u64, Ordering::Relaxed);
    assert_eq!(queue.reserve(&key, holder).await.unwrap(), Reservation::Reserved);
    let idempotency = Idempotency { key, token: lost, fingerprint: blake3::hash(b"content") };
    let answer = queue.submit(NewJob { idempotency: Some(idempotency), ..new }).await.unwrap();
    assert_eq!(answer, Submission::Refused(Refusal::KeyInFlight));
}
