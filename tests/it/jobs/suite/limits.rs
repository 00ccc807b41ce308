//! Limits of the jobs that are queued or running, and of their bytes.

use std::sync::Arc;

use meshgate::jobs::{GiveBack, JobSpec, Limits, Refusal, Submission};
use tokio::task::JoinSet;

use crate::jobs::samples::{JOB_BYTES, file, new_job, spec_of};
use crate::jobs::side::{AnyQueue, HELD, LIMITS, Side};
use crate::jobs::steps::{give_back, submit, succeed, take};
use crate::jobs::ways::{Handles, Way};

queues! {{
    each_limit_is_exact
    running_and_paused_jobs_count
    small_files_count_as_larger_ones
    every_end_makes_room
    a_removed_job_makes_room
    a_model_beyond_a_limit_is_refused
    concurrent_submissions_get_exactly_the_limit
}}

/// Three jobs of [`spec_of`] of one client reach any of these limits.
const EACH: [(Limits, Refusal); 4] = [
    (Limits { jobs: 3, ..LIMITS }, Refusal::Jobs),
    (Limits { client_jobs: 3, ..LIMITS }, Refusal::ClientJobs),
    (Limits { bytes: 3 * JOB_BYTES, ..LIMITS }, Refusal::Bytes),
    (Limits { client_bytes: 3 * JOB_BYTES, ..LIMITS }, Refusal::ClientBytes),
];

/// A job with a file of so many bytes, as limits count them.
fn of_bytes(bytes: u64) -> JobSpec {
    JobSpec { input: vec![file("a", bytes - 1)], ..spec_of("a") }
}

/// Whether the limit is counted for each client.
fn is_of_client(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::ClientJobs | Refusal::ClientBytes)
}

async fn refusal(queue: &AnyQueue, spec: JobSpec) -> Option<Refusal> {
    match queue.submit(new_job(spec)).await.unwrap() {
        Submission::New(_) => None,
        Submission::Refused(refusal) => Some(refusal),
        Submission::Replayed(job) => panic!("{job:?}"),
    }
}

/// Ends all queued jobs.
async fn clear(queue: &AnyQueue) {
    while let Some(claim) = queue.take("a worker").await.unwrap() {
        succeed(queue, &claim).await;
    }
}

async fn each_limit_is_exact(side: impl Side) {
    for (limits, expected) in EACH {
        let queue = side.open_with(limits, HELD).await;
        for _ in 0..3 {
            assert_eq!(refusal(&queue, spec_of("a")).await, None);
        }
        assert_eq!(refusal(&queue, spec_of("a")).await, Some(expected));
        let of_other = (!is_of_client(expected)).then_some(expected);
        assert_eq!(refusal(&queue, spec_of("b")).await, of_other);
        clear(&queue).await;
        assert_eq!(queue.stats().await.unwrap().bytes, 0);
    }
}

async fn running_and_paused_jobs_count(side: impl Side) {
    for (limits, expected) in EACH {
        let queue = side.open_with(limits, HELD).await;
        for _ in 0..3 {
            submit(&queue, spec_of("a")).await;
        }
        let claim = take(&queue).await;
        assert_eq!(refusal(&queue, spec_of("a")).await, Some(expected));
        assert!(give_back(&queue, &claim, GiveBack::Stopping).await);
        assert_eq!(refusal(&queue, spec_of("a")).await, Some(expected));
        let claim = take(&queue).await;
        assert!(give_back(&queue, &claim, GiveBack::StoreUnavailable).await);
        assert_eq!(refusal(&queue, spec_of("a")).await, Some(expected));
        let other = take(&queue).await;
        assert_ne!(other.job.id, claim.job.id);
        succeed(&queue, &other).await;
        submit(&queue, spec_of("a")).await;
        assert_eq!(refusal(&queue, spec_of("a")).await, Some(expected));
        queue.cancel(claim.job.id).await.unwrap().unwrap();
        clear(&queue).await;
    }
}

async fn small_files_count_as_larger_ones(side: impl Side) {
    // A file counts at least 4096 bytes, and its name.
    let empty = |files: usize| JobSpec { input: vec![file("a", 0); files], ..spec_of("a") };
    let queue = side.open_with(Limits { client_bytes: 3 * 4097, ..LIMITS }, HELD).await;
    assert_eq!(refusal(&queue, empty(4)).await, Some(Refusal::ClientBytes));
    assert_eq!(refusal(&queue, empty(2)).await, None);
    assert_eq!(queue.stats().await.unwrap().bytes, 2 * 4097);
    assert_eq!(refusal(&queue, empty(2)).await, Some(Refusal::ClientBytes));
    assert_eq!(refusal(&queue, empty(1)).await, None);
}

async fn every_end_makes_room(side: impl Side) {
    for limits in [Limits { client_jobs: 1, ..LIMITS }, Limits { bytes: JOB_BYTES, ..LIMITS }] {
        let handles = Handles::open(&side, limits).await;
        for way in Way::ALL {
            let id = way.submit(&handles, spec_of("a")).await.id;
            assert!(refusal(&handles.queue, spec_of("a")).await.is_some(), "{way:?}");
            way.end(&handles, id).await;
            for _ in 0..2 {
                let room = refusal(&handles.queue, spec_of("a")).await;
                assert_eq!(room, None, "{way:?}");
                clear(&handles.queue).await;
            }
        }
    }
}

async fn a_removed_job_makes_room(side: impl Side) {
    for (limits, expected) in EACH {
        let queue = side.open_with(limits, HELD).await;
        let running = submit(&queue, spec_of("a")).await;
        take(&queue).await;
        let queued = submit(&queue, spec_of("a")).await;
        submit(&queue, spec_of("a")).await;
        for job in [running, queued] {
            assert_eq!(refusal(&queue, spec_of("a")).await, Some(expected));
            queue.remove(job.id).await.unwrap().unwrap();
            submit(&queue, spec_of("a")).await;
        }
        assert_eq!(refusal(&queue, spec_of("a")).await, Some(expected));
        clear(&queue).await;
    }
}

async fn a_model_beyond_a_limit_is_refused(side: impl Side) {
    for (limits, expected) in EACH {
        if matches!(expected, Refusal::Jobs | Refusal::ClientJobs) {
            continue;
        }
        let queue = side.open_with(limits, HELD).await;
        assert_eq!(refusal(&queue, of_bytes(3 * JOB_BYTES + 1)).await, Some(expected));
        // Above both limits; either may be named.
        for bytes in [1 << 33, i64::MAX as u64] {
            let refused = refusal(&queue, of_bytes(bytes)).await;
            assert!(matches!(refused, Some(Refusal::Bytes | Refusal::ClientBytes)), "{refused:?}");
        }
        submit(&queue, of_bytes(3 * JOB_BYTES)).await;
        clear(&queue).await;
    }
}

async fn concurrent_submissions_get_exactly_the_limit(side: impl Side) {
    for (limits, expected) in EACH {
        let handles = [side.open_with(limits, HELD).await, side.open_with(limits, HELD).await];
        let mut submissions = JoinSet::new();
        for number in 0..40 {
            let queue = Arc::clone(&handles[number % 2]);
            submissions.spawn(async move { refusal(&queue, spec_of("a")).await });
        }
        let mut answers = submissions.join_all().await;
        answers.retain(Option::is_some);
        assert_eq!(answers, [Some(expected); 37]);
        clear(&handles[0]).await;
    }
}
