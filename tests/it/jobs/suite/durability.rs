//! Restarts, and calls that are given up half-way.

use std::sync::Arc;
use std::time::Instant;

use meshgate::jobs::{End, GiveBack, Hold, Idempotency, Key, NewJob, NextAttempt, State, Submission};
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;
use uuid::Uuid;

use crate::gateway::{LONG, PAUSE};
use crate::jobs::check::{check_is_lost, record};
use crate::jobs::samples::{
    JOB_BYTES, LATER, PROGRESS, calling, client, delivered, failed, new_job, result_of, spec_of,
};
use crate::jobs::side::{AnyQueue, LIMITS, Side};
use crate::jobs::steps::{
    due, finish, give_back, given_back, position, record_attempt, submit, succeed, take, take_this,
};
use crate::jobs::ways::{Handles, Way};

queues! {{
    everything_outlives_the_process
    all_that_was_answered_is_there_after_a_restart
    submissions_given_up_half_way_are_whole_or_absent
    takes_and_ends_given_up_half_way_are_repeated
}}

async fn everything_outlives_the_process(side: impl Side) {
    let handles = Handles::open(&side, LIMITS).await;
    let queue = Arc::clone(&handles.queue);
    let key = Key { client: client("a"), path: "/v1/jobs", key: "x".to_owned() };
    let idempotency = Idempotency { key, token: Uuid::now_v7(), fingerprint: blake3::hash(b"content") };
    let keyed = NewJob { idempotency: Some(idempotency.clone()), ..new_job(spec_of("a")) };
    let mut ids = vec![keyed.id];
    queue.submit(keyed).await.unwrap();
    Way::Success.end(&handles, ids[0]).await;
    for way in Way::ALL {
        let id = way.submit(&handles, calling("a")).await.id;
        way.end(&handles, id).await;
        ids.push(id);
    }
    let delivery = due(&queue).await;
    assert!(record_attempt(&queue, &delivery, failed(1), LATER).await);
    let sending = due(&queue).await;
    let paused = given_back(&queue, spec_of("c"), GiveBack::EngineUnavailable).await.job.id;
    ids.extend([paused, submit(&queue, spec_of("a")).await.id]);
    let running = take(&queue).await;
    queue.renew(running.job.id, running.token, Some(PROGRESS)).await.unwrap();
    for name in ["b", "a", "a"] {
        ids.push(submit(&queue, spec_of(name)).await.id);
    }
    let first = ids[ids.len() - 3];
    let requeued = take_this(&queue, first).await;
    assert!(give_back(&queue, &requeued, GiveBack::OutOfMemory).await);

    let mut before = Vec::new();
    for id in &ids {
        before.push((record(&queue, *id).await, position(&queue, *id).await));
    }
    let (stats, list) =
        (queue.stats().await.unwrap(), queue.list(&client("a"), None, None, 100).await.unwrap());
    drop((handles, queue));

    let queue = side.open().await;
    for (job, place) in before {
        assert_eq!(record(&queue, job.id).await, job);
        assert_eq!(position(&queue, job.id).await, place);
    }
    assert_eq!(queue.stats().await.unwrap(), stats);
    assert_eq!(queue.list(&client("a"), None, None, 100).await.unwrap(), list);
    let again = NewJob { idempotency: Some(idempotency), ..new_job(spec_of("a")) };
    let answer = queue.submit(again).await.unwrap();
    assert_eq!(answer, Submission::Replayed(record(&queue, ids[0]).await));
    assert_eq!(queue.renew(running.job.id, running.token, None).await.unwrap(), Hold::Held);
    check_is_lost(&queue, &requeued).await;
    // Client b is next: it has no running job, and client a has one.
    let next = take_this(&queue, first).await;
    assert!(next.token > requeued.token);
    for claim in [running, next, take(&queue).await, take(&queue).await] {
        succeed(&queue, &claim).await;
    }
    // The pause goes on.
    assert_eq!(queue.take("a worker").await.unwrap(), None);
    assert_eq!(record(&queue, paused).await.state, State::Queued);
    assert!(record_attempt(&queue, &sending, delivered(), NextAttempt::Never).await);
    let mut number = 0;
    while queue.take_delivery().await.unwrap().is_some() {
        number += 1;
    }
    // One of them is to be repeated later, and one is delivered.
    assert_eq!(number, Way::ALL.len() - 2);
}

async fn all_that_was_answered_is_there_after_a_restart(side: impl Side) {
    let queue = side.open().await;
    let mut submissions = JoinSet::new();
    for number in 0..50 {
        let queue = Arc::clone(&queue);
        submissions.spawn(async move { submit(&queue, spec_of(&format!("client {}", number % 3))).await });
    }
    let mut jobs = submissions.join_all().await;
    drop(queue);
    let queue = side.open().await;
    for _ in 0..25 {
        succeed(&queue, &take(&queue).await).await;
    }
    drop(queue);
    let queue = side.open().await;
    assert_eq!(queue.stats().await.unwrap().jobs, [25, 0, 25, 0, 0, 0]);
    while let Some(claim) = queue.take("a worker").await.unwrap() {
        jobs.retain(|job| job.id != claim.job.id);
    }
    assert_eq!(jobs.len(), 25);
    for job in jobs {
        assert_eq!(record(&queue, job.id).await.state, State::Succeeded);
    }
}

/// Polls a call a few times; returns its answer if it was there by then.
async fn given_up<T>(call: impl Future<Output = T>, polls: usize) -> Option<T> {
    let enough = async {
        for _ in 0..polls {
            yield_now().await;
        }
    };
    tokio::select! {
        biased;
        answer = call => Some(answer),
        () = enough => None,
    }
}

/// Waits until calls that were given up have ended in the queue; returns how many of the jobs have a record.
async fn settled(queue: &AnyQueue, ids: &[Uuid], is_settled: impl Fn([u64; 6]) -> bool) -> usize {
    let began = Instant::now();
    loop {
        queue.sweep().await.unwrap();
        let there = ids.len() - queue.unknown(ids).await.unwrap().len();
        let listed = queue.list(&client("a"), None, None, ids.len() + 1).await.unwrap().jobs;
        let stats = queue.stats().await.unwrap();
        let counts = [listed.len() as u64, stats.jobs.iter().sum()];
        if counts == [there as u64; 2] && is_settled(stats.jobs) {
            assert_eq!(stats.bytes, JOB_BYTES * (stats.jobs[0] + stats.jobs[1]));
            return there;
        }
        assert!(began.elapsed() < LONG, "{there} jobs, but {counts:?}: {stats:?}");
        sleep(PAUSE).await;
    }
}

async fn submissions_given_up_half_way_are_whole_or_absent(side: impl Side) {
    let queue = side.open().await;
    let mut ids = Vec::new();
    for number in 0..80 {
        let job = new_job(spec_of("a"));
        let id = job.id;
        ids.push(id);
        // The first calls are polled once; the last ones until they answer.
        if given_up(queue.submit(job), number * number / 4).await.is_some() {
            assert!(queue.unknown(&[id]).await.unwrap().is_empty());
        }
    }
    let there = settled(&queue, &ids, |jobs| jobs[1..] == [0; 5]).await;
    for _ in 0..there {
        let claim = take(&queue).await;
        assert!(ids.contains(&claim.job.id));
        succeed(&queue, &claim).await;
    }
    assert_eq!(queue.take("a worker").await.unwrap(), None);
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.jobs, stats.bytes), ([0, 0, there as u64, 0, 0, 0], 0));
}

async fn takes_and_ends_given_up_half_way_are_repeated(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(submit(&queue, spec_of("a")).await.id);
    }
    for number in 0..40 {
        given_up(brief.take("a worker"), number * number / 2).await.transpose().unwrap();
    }
    // Leases that no worker knows of end by themselves.
    settled(&brief, &ids, |jobs| jobs == [40, 0, 0, 0, 0, 0]).await;
    for number in 0..40 {
        let claim = take(&queue).await;
        let end = End::Succeeded(result_of(claim.token));
        let call = queue.finish(claim.job.id, claim.token, end.clone());
        given_up(call, number * number / 2).await.transpose().unwrap();
        assert!(finish(&queue, &claim, end).await);
        let job = record(&queue, claim.job.id).await;
        assert_eq!(job.result, Some(result_of(claim.token)));
        ids.retain(|id| *id != job.id);
    }
    assert!(ids.is_empty());
    assert_eq!(queue.stats().await.unwrap().jobs, [0, 0, 40, 0, 0, 0]);
}
