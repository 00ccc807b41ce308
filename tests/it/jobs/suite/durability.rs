//! Restarts, calls that are given up half-way, and hints.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meshgate::domain::Stage;
use meshgate::jobs::job::Timestamp;
use meshgate::jobs::{
    Claim, DeliveryAttempt, End, GiveBack, Hint, Hold, Idempotency, Key, NewJob, NextAttempt, Progress,
    State, Submission,
};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;
use uuid::Uuid;

use crate::gateway::{LONG, PAUSE};
use crate::jobs::ways::{Handles, Way};
use crate::jobs::{
    AnyQueue, BRIEF, LIMITS, Side, calling, client, failure, finish, give_back, new_job, record, result_of,
    spec_of, submit, succeed, take, take_this,
};

queues! {{
    everything_outlives_the_process
    all_that_was_answered_is_there_after_a_restart
    submissions_given_up_half_way_are_whole_or_absent
    takes_and_ends_given_up_half_way_are_repeated
    queued_jobs_are_hinted
    changes_are_hinted
    due_webhooks_are_hinted
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
    let delivery = queue.take_delivery().await.unwrap().unwrap();
    let later = NextAttempt::After(Duration::from_hours(1));
    let attempt = DeliveryAttempt { at: Timestamp(1), status: Some(500), error: Some("refused".to_owned()) };
    assert!(queue.record_delivery_attempt(&delivery, attempt.clone(), later).await.unwrap());
    let sending = queue.take_delivery().await.unwrap().unwrap();
    ids.push(submit(&queue, spec_of("a")).await.id);
    let running = take(&queue).await;
    let progress = Progress { stage: Stage::Processing, fraction: Some(0.1) };
    queue.renew(running.job.id, running.token, Some(progress)).await.unwrap();
    for name in ["b", "a", "a"] {
        ids.push(submit(&queue, spec_of(name)).await.id);
    }
    let first = ids[ids.len() - 3];
    let given_back = take_this(&queue, first).await;
    assert!(give_back(&queue, &given_back, GiveBack::OutOfMemory).await);

    let mut before = Vec::new();
    for id in &ids {
        before.push((record(&queue, *id).await, queue.position(*id).await.unwrap()));
    }
    let (stats, list) =
        (queue.stats().await.unwrap(), queue.list(&client("a"), None, None, 100).await.unwrap());
    drop((handles, queue));

    let queue = side.open().await;
    for (job, position) in before {
        assert_eq!(record(&queue, job.id).await, job);
        assert_eq!(queue.position(job.id).await.unwrap(), position);
    }
    assert_eq!(queue.stats().await.unwrap(), stats);
    assert_eq!(queue.list(&client("a"), None, None, 100).await.unwrap(), list);
    let again = NewJob { idempotency: Some(idempotency), ..new_job(spec_of("a")) };
    let answer = queue.submit(again).await.unwrap();
    assert_eq!(answer, Submission::Replayed(record(&queue, ids[0]).await));
    assert_eq!(queue.renew(running.job.id, running.token, None).await.unwrap(), Hold::Held);
    assert!(!finish(&queue, &given_back, End::Cancelled).await);
    // Client b is next: it has no running job, and client a has one.
    let next = take_this(&queue, first).await;
    assert!(next.token > given_back.token);
    succeed(&queue, &running).await;
    assert!(queue.record_delivery_attempt(&sending, attempt, NextAttempt::Never).await.unwrap());
    let mut due = 0;
    while queue.take_delivery().await.unwrap().is_some() {
        due += 1;
    }
    // One of them is to be repeated later, and one is given up.
    assert_eq!(due, Way::ALL.len() - 2);
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
            assert_eq!(stats.bytes, 10 * (stats.jobs[0] + stats.jobs[1]));
            return there;
        }
        assert!(began.elapsed() < LONG, "{there} jobs, but {counts:?}: {stats:?}");
        tokio::time::sleep(PAUSE).await;
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
    let (queue, brief) = (side.open().await, side.open_with(LIMITS, BRIEF).await);
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
        finish(&queue, &claim, end).await;
        let job = record(&queue, claim.job.id).await;
        assert_eq!(job.result, Some(result_of(claim.token)));
        ids.retain(|id| *id != job.id);
    }
    assert!(ids.is_empty());
    assert_eq!(queue.stats().await.unwrap().jobs, [0, 0, 40, 0, 0, 0]);
}

/// Acts until the hint that `act` returns arrives. It may take several times, because hints may be lost.
async fn until_hinted<T>(
    queue: &AnyQueue,
    prepare: impl AsyncFn(&AnyQueue) -> T,
    act: impl AsyncFn(&AnyQueue, T) -> Hint,
) {
    let began = Instant::now();
    loop {
        let prepared = prepare(queue).await;
        let mut hints = queue.hints();
        let expected = act(queue, prepared).await;
        let arrives = async {
            loop {
                match hints.recv().await {
                    Ok(hint) if hint == expected => break,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => panic!("nobody hints any more"),
                }
            }
        };
        if timeout(Duration::from_secs(2), arrives).await.is_ok() {
            return;
        }
        assert!(began.elapsed() < LONG, "never: {expected:?}");
    }
}

/// Makes a running job.
async fn running(queue: &AnyQueue) -> Claim {
    submit(queue, calling("a")).await;
    take(queue).await
}

async fn queued_jobs_are_hinted(side: impl Side) {
    let queue = side.open().await;
    let nothing = async |_: &AnyQueue| ();
    let submits = async |queue: &AnyQueue, ()| {
        submit(queue, spec_of("a")).await;
        Hint::Queued
    };
    until_hinted(&queue, nothing, submits).await;
    let gives_back = async |queue: &AnyQueue, claim: Claim| {
        assert!(give_back(queue, &claim, GiveBack::Stopping).await);
        Hint::Queued
    };
    until_hinted(&queue, running, gives_back).await;
}

async fn changes_are_hinted(side: impl Side) {
    let queue = side.open().await;
    let queued = async |queue: &AnyQueue| submit(queue, spec_of("a")).await.id;
    let takes = async |queue: &AnyQueue, _: Uuid| Hint::Changed(take(queue).await.job.id);
    until_hinted(&queue, &queued, takes).await;
    let cancels = async |queue: &AnyQueue, id: Uuid| {
        queue.cancel(id).await.unwrap().unwrap();
        Hint::Changed(id)
    };
    until_hinted(&queue, &queued, &cancels).await;
    let asks_to_cancel = async |queue: &AnyQueue, claim: Claim| cancels(queue, claim.job.id).await;
    until_hinted(&queue, running, asks_to_cancel).await;
    let renews = async |queue: &AnyQueue, claim: Claim| {
        let progress = Progress { stage: Stage::Packing, fraction: None };
        assert_eq!(queue.renew(claim.job.id, claim.token, Some(progress)).await.unwrap(), Hold::Held);
        Hint::Changed(claim.job.id)
    };
    until_hinted(&queue, running, renews).await;
    let gives_back = async |queue: &AnyQueue, claim: Claim| {
        assert!(give_back(queue, &claim, GiveBack::Stopping).await);
        Hint::Changed(claim.job.id)
    };
    until_hinted(&queue, running, gives_back).await;
    let ends = async |queue: &AnyQueue, claim: Claim| {
        assert!(finish(queue, &claim, End::Failed(failure())).await);
        Hint::Changed(claim.job.id)
    };
    until_hinted(&queue, running, ends).await;
}

async fn due_webhooks_are_hinted(side: impl Side) {
    let queue = side.open().await;
    let ends = async |queue: &AnyQueue, claim: Claim| {
        succeed(queue, &claim).await;
        Hint::Delivery
    };
    until_hinted(&queue, running, ends).await;
    let ended = async |queue: &AnyQueue| {
        let claim = running(queue).await;
        succeed(queue, &claim).await;
        claim.job.id
    };
    let repeats = async |queue: &AnyQueue, id: Uuid| {
        assert!(queue.redeliver(id).await.unwrap());
        Hint::Delivery
    };
    until_hinted(&queue, ended, repeats).await;
}
