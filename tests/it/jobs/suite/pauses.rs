//! Jobs that nobody may take for a while, because their worker lacked something that other workers may lack as well.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use meshgate::jobs::{GiveBack, Removed, State, Stats, Swept};

use crate::jobs::check::{check_has_passed, record};
use crate::jobs::samples::{JOB_BYTES, client, low, spec_of};
use crate::jobs::side::{BRIEF, LIMITS, Side};
use crate::jobs::steps::{
    give_back, given_back, outlive, position, submit, succeed, sweep_until, take, take_this, take_this_later,
};

queues! {{
    a_paused_job_is_taken_after_its_pause
    a_paused_job_goes_behind_the_others_of_its_client_and_priority
    other_jobs_are_taken_during_a_pause
    a_paused_job_counts_as_queued
    a_paused_job_expires
    a_paused_job_that_was_cancelled_or_removed_is_never_queued
}}

const REASONS: [GiveBack; 5] = [
    GiveBack::EngineUnavailable,
    GiveBack::EngineLost,
    GiveBack::StoreUnavailable,
    GiveBack::DiskFull,
    GiveBack::ClusterBusy,
];

async fn a_paused_job_is_taken_after_its_pause(side: impl Side) {
    let pause = Duration::from_millis(300);
    let (queue, brief) = (side.open().await, side.open_with(LIMITS, pause).await);
    for reason in REASONS {
        let began = Instant::now();
        let paused = given_back(&brief, spec_of("a"), reason).await;
        let claim = take_this_later(&queue, paused.job.id).await;
        check_has_passed(pause, began);
        assert!(claim.token > paused.token);
        succeed(&queue, &claim).await;
    }
}

async fn a_paused_job_goes_behind_the_others_of_its_client_and_priority(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
    for reason in REASONS {
        let first = submit(&queue, spec_of("a")).await.id;
        let second = submit(&queue, spec_of("a")).await.id;
        let of_low_priority = submit(&queue, low("a")).await.id;
        let claim = take_this(&queue, first).await;
        assert!(give_back(&brief, &claim, reason).await);
        outlive(BRIEF).await;
        queue.sweep().await.unwrap();
        let line = [second, first, of_low_priority];
        for (place, id) in (1..).zip(line) {
            assert_eq!(position(&queue, id).await, Some(place), "{reason:?}");
        }
        for id in line {
            let claim = take_this(&queue, id).await;
            succeed(&queue, &claim).await;
        }
    }
}

async fn other_jobs_are_taken_during_a_pause(side: impl Side) {
    let queue = side.open().await;
    for reason in REASONS {
        let paused = given_back(&queue, spec_of("a"), reason).await.job.id;
        let same = submit(&queue, low("a")).await.id;
        let other = submit(&queue, spec_of("b")).await.id;
        assert_eq!(record(&queue, paused).await.state, State::Queued);
        assert_eq!(position(&queue, paused).await, None);
        assert_eq!(position(&queue, same).await, Some(1));
        let claims = [take(&queue).await, take(&queue).await];
        let taken = HashSet::from(claims.each_ref().map(|claim| claim.job.id));
        assert_eq!(taken, HashSet::from([same, other]));
        assert_eq!(queue.sweep().await.unwrap(), Swept::default());
        assert_eq!(queue.take("a worker").await.unwrap(), None);
        assert_eq!(position(&queue, paused).await, None);
        for claim in &claims {
            succeed(&queue, claim).await;
        }
    }
}

async fn a_paused_job_counts_as_queued(side: impl Side) {
    let queue = side.open().await;
    for reason in REASONS {
        let id = given_back(&queue, spec_of("a"), reason).await.job.id;
        let job = record(&queue, id).await;
        let (jobs, oldest_queued_at) = ([1, 0, 0, 0, 0, 0], Some(job.created_at));
        let expected = Stats { jobs, bytes: JOB_BYTES, oldest_queued_at, deliveries: 0 };
        assert_eq!(queue.stats().await.unwrap(), expected, "{reason:?}");
        for state in [None, Some(State::Queued)] {
            let listed = queue.list(&client("a"), state, None, 10).await.unwrap().jobs;
            assert_eq!(listed, std::slice::from_ref(&job), "{reason:?}");
        }
        assert!(queue.list(&client("a"), Some(State::Running), None, 10).await.unwrap().jobs.is_empty());
        queue.remove(id).await.unwrap().unwrap();
    }
}

async fn a_paused_job_expires(side: impl Side) {
    let queue = side.open_hasty().await;
    for reason in REASONS {
        let id = given_back(&queue, spec_of("a"), reason).await.job.id;
        let swept = sweep_until(&queue, "it expires", |swept| !swept.expired.is_empty()).await;
        assert_eq!(swept.expired, [id], "{reason:?}");
        assert_eq!(record(&queue, id).await.state, State::Expired);
        let stats = queue.stats().await.unwrap();
        assert_eq!((stats.jobs[0], stats.bytes), (0, 0));
        queue.remove(id).await.unwrap().unwrap();
    }
}

async fn a_paused_job_that_was_cancelled_or_removed_is_never_queued(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
    for reason in REASONS {
        let paused = given_back(&brief, spec_of("a"), reason).await.job.id;
        let cancelled = queue.cancel(paused).await.unwrap().unwrap();
        assert_eq!(cancelled.state, State::Cancelled);
        let paused = given_back(&brief, spec_of("a"), reason).await;
        let removed = Removed { id: paused.job.id, files: 1, tokens: vec![paused.token] };
        assert_eq!(queue.remove(removed.id).await.unwrap(), Some(removed.clone()));
        outlive(BRIEF).await;
        assert_eq!(queue.sweep().await.unwrap(), Swept::default());
        assert_eq!(queue.take("a worker").await.unwrap(), None);
        assert_eq!(record(&queue, cancelled.id).await, cancelled);
        assert_eq!(queue.unknown(&[removed.id]).await.unwrap(), [removed.id]);
        let stats = queue.stats().await.unwrap();
        assert_eq!((stats.jobs[0], stats.bytes), (0, 0));
    }
}
