//! Requests that are repeated with the same key. Unit tests of each queue check that reservations end by themselves,
//! because that takes 30 s here.

use std::collections::HashSet;
use std::sync::Arc;

use meshgate::domain::Client;
use meshgate::jobs::{Idempotency, JobSpec, Key, Limits, NewJob, Refusal, Reservation, Submission};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::jobs::check::record;
use crate::jobs::samples::{JOB_BYTES, client, spec_of};
use crate::jobs::side::{AnyQueue, HELD, LIMITS, Side};
use crate::jobs::steps::submit;
use crate::jobs::ways::{Handles, Way};

queues! {{
    a_repeated_submission_returns_the_same_job
    another_content_with_the_same_key_is_refused
    keys_are_separate_by_client_and_path
    a_replay_returns_the_job_as_it_is_now
    a_replay_needs_no_room
    a_reserved_key_is_in_flight_for_others
    a_released_key_is_free
    a_used_key_can_be_reserved
    a_lost_reservation_is_refused
    a_refused_job_does_not_use_its_key
    the_key_of_a_removed_job_keeps_its_content
    concurrent_submissions_with_one_key_make_one_job
    concurrent_requests_with_one_key_make_one_job
}}

const JOBS: &str = "/v1/jobs";

fn key_of(client: Client, path: &'static str, key: &str) -> Key {
    Key { client, path, key: key.to_owned() }
}

fn key(text: &str) -> Key {
    key_of(client("a"), JOBS, text)
}

/// The key with a content. `token`: of its reservation.
fn with(key: &Key, token: Uuid, content: &str) -> Idempotency {
    Idempotency { key: key.clone(), token, fingerprint: blake3::hash(content.as_bytes()) }
}

async fn send(queue: &AnyQueue, idempotency: Idempotency) -> Submission {
    let spec = JobSpec { client: idempotency.key.client.clone(), ..spec_of("a") };
    let job = NewJob { id: Uuid::now_v7(), spec, idempotency: Some(idempotency) };
    queue.submit(job).await.unwrap()
}

/// Submits a job with a key that is free.
async fn send_new(queue: &AnyQueue, idempotency: Idempotency) -> Uuid {
    match send(queue, idempotency).await {
        Submission::New(job) => job.id,
        other => panic!("{other:?}"),
    }
}

async fn a_repeated_submission_returns_the_same_job(side: impl Side) {
    let queue = side.open().await;
    let longest = "é".repeat(255);
    for text in ["x", "", "a key\u{1}: {}'\"\\", &longest] {
        let key = key(text);
        let id = send_new(&queue, with(&key, Uuid::now_v7(), "content")).await;
        for handle in [&queue, &queue, &side.open().await] {
            let answer = send(handle, with(&key, Uuid::now_v7(), "content")).await;
            assert_eq!(answer, Submission::Replayed(record(&queue, id).await));
        }
    }
    assert_eq!(queue.stats().await.unwrap().jobs[0], 4);
}

async fn another_content_with_the_same_key_is_refused(side: impl Side) {
    let queue = side.open().await;
    let id = send_new(&queue, with(&key("x"), Uuid::now_v7(), "content")).await;
    for _ in 0..2 {
        let answer = send(&queue, with(&key("x"), Uuid::now_v7(), "other content")).await;
        assert_eq!(answer, Submission::Refused(Refusal::KeyReused));
    }
    let answer = send(&queue, with(&key("x"), Uuid::now_v7(), "content")).await;
    assert_eq!(answer, Submission::Replayed(record(&queue, id).await));
    assert_eq!(queue.stats().await.unwrap().jobs[0], 1);
}

async fn keys_are_separate_by_client_and_path(side: impl Side) {
    let queue = side.open().await;
    let address = Client::address("192.0.2.1".parse().unwrap());
    let keys = [
        key("x"),
        key("X"),
        key("x "),
        key_of(client("b"), JOBS, "x"),
        key_of(client("a"), "/v1/convert", "x"),
        // These differ only in where one part ends and the next begins.
        key_of(client("a"), JOBS, ":x"),
        key_of(client("a"), "/v1/jobs:", "x"),
        key_of(client("a:/v1/jobs"), JOBS, "x"),
        key_of(client("a"), JOBS, "/v1/jobs:x"),
        key_of(client("192.0.2.1"), JOBS, "x"),
        key_of(address, JOBS, "x"),
        key_of(Client::Local, JOBS, "x"),
    ];
    let mut ids = HashSet::new();
    for (number, key) in keys.iter().enumerate() {
        let token = Uuid::now_v7();
        assert_eq!(queue.reserve(key, token).await.unwrap(), Reservation::Reserved, "{key:?}");
        ids.insert(send_new(&queue, with(key, token, &format!("content {number}"))).await);
    }
    assert_eq!(ids.len(), keys.len());
}

async fn a_replay_returns_the_job_as_it_is_now(side: impl Side) {
    let handles = Handles::open(&side, LIMITS).await;
    for (number, way) in Way::ALL.into_iter().enumerate() {
        let key = key(&number.to_string());
        let queue = way.entrance(&handles);
        let id = send_new(queue, with(&key, Uuid::now_v7(), "content")).await;
        way.end(&handles, id).await;
        let answer = send(queue, with(&key, Uuid::now_v7(), "content")).await;
        assert_eq!(answer, Submission::Replayed(record(queue, id).await), "{way:?}");
    }
}

async fn a_replay_needs_no_room(side: impl Side) {
    for limits in [
        Limits { jobs: 1, ..LIMITS },
        Limits { client_jobs: 1, ..LIMITS },
        Limits { bytes: JOB_BYTES, ..LIMITS },
        Limits { client_bytes: JOB_BYTES, ..LIMITS },
    ] {
        let queue = side.open_with(limits, HELD).await;
        let key = key(&Uuid::now_v7().to_string());
        let id = send_new(&queue, with(&key, Uuid::now_v7(), "content")).await;
        let answer = send(&queue, with(&key, Uuid::now_v7(), "content")).await;
        assert_eq!(answer, Submission::Replayed(record(&queue, id).await), "{limits:?}");
        let answer = send(&queue, with(&key, Uuid::now_v7(), "other content")).await;
        assert_eq!(answer, Submission::Refused(Refusal::KeyReused), "{limits:?}");
        queue.cancel(id).await.unwrap().unwrap();
    }
}

async fn a_reserved_key_is_in_flight_for_others(side: impl Side) {
    let (queue, other) = (side.open().await, side.open().await);
    let (mine, another) = (Uuid::now_v7(), Uuid::now_v7());
    // The second and third time renew it.
    for _ in 0..3 {
        assert_eq!(queue.reserve(&key("x"), mine).await.unwrap(), Reservation::Reserved);
        assert_eq!(other.reserve(&key("x"), another).await.unwrap(), Reservation::InFlight);
        let answer = send(&other, with(&key("x"), another, "content")).await;
        assert_eq!(answer, Submission::Refused(Refusal::KeyInFlight));
    }
    assert_eq!(other.reserve(&key("y"), another).await.unwrap(), Reservation::Reserved);
    // A request without a key is not affected.
    submit(&other, spec_of("a")).await;
    send_new(&queue, with(&key("x"), mine, "content")).await;
}

async fn a_released_key_is_free(side: impl Side) {
    let (queue, other) = (side.open().await, side.open().await);
    let (mine, another) = (Uuid::now_v7(), Uuid::now_v7());
    queue.release(&key("x"), mine).await.unwrap();
    assert_eq!(queue.reserve(&key("x"), mine).await.unwrap(), Reservation::Reserved);
    // Only its own token gives it up.
    other.release(&key("x"), another).await.unwrap();
    assert_eq!(other.reserve(&key("x"), another).await.unwrap(), Reservation::InFlight);
    queue.release(&key("x"), mine).await.unwrap();
    assert_eq!(other.reserve(&key("x"), another).await.unwrap(), Reservation::Reserved);
    queue.release(&key("x"), mine).await.unwrap();
    assert_eq!(queue.reserve(&key("x"), mine).await.unwrap(), Reservation::InFlight);
}

async fn a_used_key_can_be_reserved(side: impl Side) {
    let queue = side.open().await;
    let first = Uuid::now_v7();
    assert_eq!(queue.reserve(&key("x"), first).await.unwrap(), Reservation::Reserved);
    let id = send_new(&queue, with(&key("x"), first, "content")).await;
    let second = Uuid::now_v7();
    assert_eq!(queue.reserve(&key("x"), second).await.unwrap(), Reservation::Reserved);
    let answer = send(&queue, with(&key("x"), second, "content")).await;
    assert_eq!(answer, Submission::Replayed(record(&queue, id).await));
    // Giving up a reservation does not forget the job.
    queue.release(&key("x"), second).await.unwrap();
    let third = Uuid::now_v7();
    assert_eq!(queue.reserve(&key("x"), third).await.unwrap(), Reservation::Reserved);
    let answer = send(&queue, with(&key("x"), third, "other content")).await;
    assert_eq!(answer, Submission::Refused(Refusal::KeyReused));
}

async fn a_lost_reservation_is_refused(side: impl Side) {
    let queue = side.open().await;
    let (lost, holder) = (Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(queue.reserve(&key("x"), lost).await.unwrap(), Reservation::Reserved);
    // This stands for a reservation that ended by itself.
    queue.release(&key("x"), lost).await.unwrap();
    assert_eq!(queue.reserve(&key("x"), holder).await.unwrap(), Reservation::Reserved);
    let answer = send(&queue, with(&key("x"), lost, "content")).await;
    assert_eq!(answer, Submission::Refused(Refusal::KeyInFlight));
    let id = send_new(&queue, with(&key("x"), holder, "content")).await;
    // Once the other request has its job, the content decides.
    let answer = send(&queue, with(&key("x"), lost, "content")).await;
    assert_eq!(answer, Submission::Replayed(record(&queue, id).await));
    assert_eq!(queue.stats().await.unwrap().jobs[0], 1);
}

async fn a_refused_job_does_not_use_its_key(side: impl Side) {
    let queue = side.open_with(Limits { jobs: 1, ..LIMITS }, HELD).await;
    let token = Uuid::now_v7();
    let in_the_way = submit(&queue, spec_of("b")).await;
    assert_eq!(queue.reserve(&key("x"), token).await.unwrap(), Reservation::Reserved);
    let answer = send(&queue, with(&key("x"), token, "content")).await;
    assert_eq!(answer, Submission::Refused(Refusal::Jobs));
    queue.release(&key("x"), token).await.unwrap();
    queue.cancel(in_the_way.id).await.unwrap().unwrap();
    let token = Uuid::now_v7();
    assert_eq!(queue.reserve(&key("x"), token).await.unwrap(), Reservation::Reserved);
    send_new(&queue, with(&key("x"), token, "other content")).await;
}

async fn the_key_of_a_removed_job_keeps_its_content(side: impl Side) {
    let queue = side.open().await;
    let id = send_new(&queue, with(&key("x"), Uuid::now_v7(), "content")).await;
    queue.remove(id).await.unwrap().unwrap();
    // A request that reserves the key and gives it up does not change what it stands for.
    for _ in 0..2 {
        let token = Uuid::now_v7();
        assert_eq!(queue.reserve(&key("x"), token).await.unwrap(), Reservation::Reserved);
        let answer = send(&queue, with(&key("x"), token, "other content")).await;
        assert_eq!(answer, Submission::Refused(Refusal::KeyReused));
        queue.release(&key("x"), token).await.unwrap();
    }
    let token = Uuid::now_v7();
    assert_eq!(queue.reserve(&key("x"), token).await.unwrap(), Reservation::Reserved);
    let again = send_new(&queue, with(&key("x"), token, "content")).await;
    assert_ne!(again, id);
    let answer = send(&queue, with(&key("x"), Uuid::now_v7(), "content")).await;
    assert_eq!(answer, Submission::Replayed(record(&queue, again).await));
}

async fn concurrent_submissions_with_one_key_make_one_job(side: impl Side) {
    let handles = [side.open().await, side.open().await];
    for round in 0..5 {
        let mut requests = JoinSet::new();
        for number in 0..20 {
            let queue = Arc::clone(&handles[number % 2]);
            let key = key(&format!("round {round}"));
            requests.spawn(async move { send(&queue, with(&key, Uuid::now_v7(), "content")).await });
        }
        let (mut new, mut replayed) = (Vec::new(), Vec::new());
        for answer in requests.join_all().await {
            match answer {
                Submission::New(job) => new.push(job.id),
                Submission::Replayed(job) => replayed.push(job.id),
                Submission::Refused(refusal) => panic!("{refusal:?}"),
            }
        }
        assert_eq!((new.len(), replayed.len()), (1, 19));
        assert!(replayed.iter().all(|id| *id == new[0]));
        assert_eq!(handles[0].stats().await.unwrap().jobs[0], round + 1);
    }
}

async fn concurrent_requests_with_one_key_make_one_job(side: impl Side) {
    let handles = [side.open().await, side.open().await];
    for round in 0..5 {
        let mut requests = JoinSet::new();
        for number in 0..20 {
            let queue = Arc::clone(&handles[number % 2]);
            let key = key(&format!("round {round}"));
            requests.spawn(async move {
                let token = Uuid::now_v7();
                if queue.reserve(&key, token).await.unwrap() == Reservation::InFlight {
                    return 0;
                }
                tokio::task::yield_now().await;
                let answer = send(&queue, with(&key, token, "content")).await;
                usize::from(matches!(answer, Submission::New(_)))
            });
        }
        let made: usize = requests.join_all().await.into_iter().sum();
        assert_eq!(made, 1);
        assert_eq!(handles[0].stats().await.unwrap().jobs[0], round + 1);
    }
}
