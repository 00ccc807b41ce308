//! Records that a client removes, and records that are too old.

use std::collections::HashSet;

use meshgate::jobs::queue::KEPT_FOR_WEBHOOK;
use meshgate::jobs::{End, GiveBack, Hold, Job, JobSpec, NextAttempt, Removed, State, Swept};
use uuid::Uuid;

use crate::jobs::check::record;
use crate::jobs::samples::{LATER, client, delivered, failed, file, result_of, spec_of};
use crate::jobs::side::{AnyQueue, HASTY, LIMITS, Side};
use crate::jobs::steps::{
    due, ended, finish, give_back, none_is_due, position, record_attempt, submit, succeed, sweep_until, take,
    take_this,
};
use crate::jobs::ways::{Handles, Way};

queues! {{
    a_removed_job_is_gone_whatever_its_state
    the_worker_of_a_removed_job_loses_its_lease
    a_removed_job_is_never_queued_again
    jobs_without_a_record_are_unknown
    a_job_that_is_not_begun_expires
    a_job_that_runs_does_not_expire
    ended_jobs_are_removed_after_a_while
    a_job_is_kept_while_its_webhook_is_not_delivered
    jobs_are_kept_for_their_time
}}

/// Checks that nothing finds a job any more.
async fn check_is_gone(queue: &AnyQueue, job: &Job) {
    let (id, owner) = (job.id, &job.spec.client);
    assert_eq!(queue.job(id).await.unwrap(), None);
    assert_eq!(position(queue, id).await, None);
    assert_eq!(queue.unknown(&[id]).await.unwrap(), [id]);
    for state in [None, Some(State::Queued), Some(State::Running), Some(job.state)] {
        let page = queue.list(owner, state, None, 100).await.unwrap();
        assert!(page.jobs.iter().all(|listed| listed.id != id), "{state:?}");
    }
    assert_eq!(queue.cancel(id).await.unwrap(), None);
    assert_eq!(queue.remove(id).await.unwrap(), None);
    assert!(!queue.redeliver(id).await.unwrap());
}

async fn a_removed_job_is_gone_whatever_its_state(side: impl Side) {
    let handles = Handles::open(&side, LIMITS).await;
    let queue = &handles.queue;
    for way in Way::ALL {
        let id = way.submit(&handles, spec_of("a")).await.id;
        way.end(&handles, id).await;
        let job = record(queue, id).await;
        let removed = queue.remove(id).await.unwrap().unwrap();
        let was_taken = !matches!(way, Way::CancelledWhileQueued | Way::Expiry);
        assert_eq!((removed.id, removed.files, !removed.tokens.is_empty()), (id, 1, was_taken), "{way:?}");
        check_is_gone(queue, &job).await;
    }
    let spec = JobSpec { input: vec![file("a", 1), file("b", 2), file("c", 3)], ..spec_of("a") };
    let queued = submit(queue, spec.clone()).await;
    let removed = queue.remove(queued.id).await.unwrap();
    assert_eq!(removed, Some(Removed { id: queued.id, files: 3, tokens: vec![] }));
    check_is_gone(queue, &queued).await;
    let id = submit(queue, spec).await.id;
    let first = take_this(queue, id).await;
    assert!(give_back(queue, &first, GiveBack::Stopping).await);
    let claim = take_this(queue, id).await;
    let removed = queue.remove(id).await.unwrap();
    assert_eq!(removed, Some(Removed { id, files: 3, tokens: vec![first.token, claim.token] }));
    check_is_gone(queue, &claim.job).await;
    assert_eq!(queue.take("a worker").await.unwrap(), None);
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.jobs, stats.bytes, stats.oldest_queued_at), ([0; 6], 0, None));
}

async fn the_worker_of_a_removed_job_loses_its_lease(side: impl Side) {
    let (queue, client) = (side.open().await, side.open().await);
    submit(&queue, spec_of("a")).await;
    let claim = take(&queue).await;
    client.remove(claim.job.id).await.unwrap().unwrap();
    assert_eq!(queue.renew(claim.job.id, claim.token, None).await.unwrap(), Hold::Lost);
    assert!(!give_back(&queue, &claim, GiveBack::Stopping).await);
    for end in [End::Succeeded(result_of(claim.token)), End::Cancelled] {
        assert!(!finish(&queue, &claim, end).await);
    }
    check_is_gone(&queue, &claim.job).await;
    // The lost job is not counted as running.
    let next = submit(&queue, spec_of("a")).await.id;
    succeed(&queue, &take_this(&queue, next).await).await;
}

async fn a_removed_job_is_never_queued_again(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
    let removed = submit(&queue, spec_of("a")).await;
    let lost = submit(&queue, spec_of("a")).await;
    take_this(&brief, removed.id).await;
    queue.remove(removed.id).await.unwrap().unwrap();
    take_this(&brief, lost.id).await;
    // The lease of the removed job would have ended before that of the other.
    let swept = sweep_until(&queue, "the other is lost", |swept| !swept.requeued.is_empty()).await;
    assert_eq!((swept.requeued, swept.removed), (vec![lost.id], vec![]));
    take_this(&queue, lost.id).await;
    assert_eq!(queue.take("a worker").await.unwrap(), None);
    check_is_gone(&queue, &removed).await;
}

async fn jobs_without_a_record_are_unknown(side: impl Side) {
    let queue = side.open().await;
    assert!(queue.unknown(&[]).await.unwrap().is_empty());
    let (mut known, mut unknown) = (Vec::new(), HashSet::new());
    for number in 0..300 {
        let id = submit(&queue, spec_of("a")).await.id;
        if number % 3 == 0 {
            queue.remove(id).await.unwrap().unwrap();
            unknown.insert(id);
        } else {
            known.push(id);
        }
    }
    unknown.extend([Uuid::nil(), Uuid::max(), Uuid::now_v7()]);
    succeed(&queue, &take(&queue).await).await;
    let ids: Vec<Uuid> = known.iter().chain(&unknown).copied().collect();
    let answer = queue.unknown(&ids).await.unwrap();
    assert_eq!(answer.len(), unknown.len());
    assert_eq!(answer.into_iter().collect::<HashSet<_>>(), unknown);
}

async fn a_job_that_is_not_begun_expires(side: impl Side) {
    let queue = side.open_hasty().await;
    let job = submit(&queue, spec_of("a")).await;
    assert_eq!(job.expires_at, job.created_at.plus(HASTY));
    let swept = sweep_until(&queue, "it expires", |swept| !swept.expired.is_empty()).await;
    assert_eq!((swept.expired, swept.removed), (vec![job.id], vec![]));
    let expired = record(&queue, job.id).await;
    assert_eq!((expired.state, expired.attempts), (State::Expired, 0));
    assert!(expired.ended_at >= Some(job.expires_at), "{expired:?}");
    assert_eq!(Some(expired.expires_at), expired.ended_at.map(|at| at.plus(HASTY)));
    assert_eq!(queue.take("a worker").await.unwrap(), None);
    assert_eq!(position(&queue, job.id).await, None);
    let swept = sweep_until(&queue, "it is removed", |swept| !swept.removed.is_empty()).await;
    assert_eq!(swept.removed, [Removed { id: job.id, files: 1, tokens: vec![] }]);
    check_is_gone(&queue, &expired).await;
}

async fn a_job_that_runs_does_not_expire(side: impl Side) {
    let queue = side.open_hasty().await;
    let running = submit(&queue, spec_of("a")).await.id;
    let claim = take(&queue).await;
    let queued = submit(&queue, spec_of("a")).await.id;
    let swept = sweep_until(&queue, "the other expires", |swept| !swept.expired.is_empty()).await;
    assert_eq!((swept.expired, swept.removed), (vec![queued], vec![]));
    assert_eq!(record(&queue, running).await.state, State::Running);
    assert_eq!(queue.renew(running, claim.token, None).await.unwrap(), Hold::Held);
    // Its lifetime begins anew at its end.
    succeed(&queue, &claim).await;
    let ended = record(&queue, running).await;
    assert_eq!(Some(ended.expires_at), ended.ended_at.map(|at| at.plus(HASTY)));
}

async fn ended_jobs_are_removed_after_a_while(side: impl Side) {
    let queue = side.open_hasty().await;
    let mut expected = HashSet::new();
    for number in 0..30_usize {
        let input = vec![file("a", 1); 1 + number % 3];
        let id = submit(&queue, JobSpec { input, ..spec_of("a") }).await.id;
        let tokens = if number.is_multiple_of(2) {
            let claim = take_this(&queue, id).await;
            succeed(&queue, &claim).await;
            vec![claim.token]
        } else {
            queue.cancel(id).await.unwrap().unwrap();
            vec![]
        };
        expected.insert(Removed { id, files: 1 + number % 3, tokens });
    }
    let mut removed = Vec::new();
    while removed.len() < expected.len() {
        removed.extend(sweep_until(&queue, "more", |swept| !swept.removed.is_empty()).await.removed);
    }
    assert_eq!(removed.len(), expected.len());
    assert_eq!(removed.iter().cloned().collect::<HashSet<_>>(), expected);
    let ids: Vec<Uuid> = removed.iter().map(|removed| removed.id).collect();
    assert_eq!(queue.unknown(&ids).await.unwrap().len(), ids.len());
    assert_eq!(queue.stats().await.unwrap().jobs, [0; 6]);
    assert!(queue.list(&client("a"), None, None, 100).await.unwrap().jobs.is_empty());
}

async fn a_job_is_kept_while_its_webhook_is_not_delivered(side: impl Side) {
    let queue = side.open_hasty().await;
    let [to_repeat, to_send, given_up] = [ended(&queue).await, ended(&queue).await, ended(&queue).await];
    let mut sending = Vec::new();
    for _ in 0..3 {
        let delivery = due(&queue).await;
        let id = delivery.job.id;
        if id == to_send.id {
            sending.push(delivery);
            continue;
        }
        let next = if id == given_up.id { NextAttempt::Never } else { LATER };
        assert!(record_attempt(&queue, &delivery, failed(1), next).await);
    }
    // The others are as old.
    let swept = sweep_until(&queue, "one is removed", |swept| !swept.removed.is_empty()).await;
    assert_eq!(swept.removed.iter().map(|removed| removed.id).collect::<Vec<_>>(), [given_up.id]);
    for job in [&to_repeat, &to_send] {
        let kept = record(&queue, job.id).await;
        assert_eq!((kept.state, &kept.events), (job.state, &job.events));
        assert!(kept.expires_at >= job.expires_at.plus(KEPT_FOR_WEBHOOK), "{kept:?}");
    }
    // Both can still be delivered.
    assert!(queue.redeliver(to_repeat.id).await.unwrap());
    sending.push(due(&queue).await);
    for delivery in &sending {
        assert!(record_attempt(&queue, delivery, delivered(), NextAttempt::Never).await);
    }
    assert!(none_is_due(&queue).await);
}

async fn jobs_are_kept_for_their_time(side: impl Side) {
    let handles = Handles::open(&side, LIMITS).await;
    let mut jobs = Vec::new();
    for way in Way::ALL.into_iter().filter(|way| *way != Way::Expiry) {
        let id = way.submit(&handles, spec_of("a")).await.id;
        way.end(&handles, id).await;
        jobs.push(record(&handles.queue, id).await);
    }
    jobs.push(submit(&handles.queue, spec_of("a")).await);
    let swept = handles.queue.sweep().await.unwrap();
    assert_eq!(swept, Swept::default());
    for job in jobs {
        assert_eq!(record(&handles.queue, job.id).await, job);
    }
}
