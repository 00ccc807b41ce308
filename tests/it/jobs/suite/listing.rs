//! Lists of a client's jobs, and counts of all.

use meshgate::domain::Client;
use meshgate::jobs::{Job, State, Stats};
use uuid::Uuid;

use crate::jobs::check::record;
use crate::jobs::samples::{JOB_BYTES, calling, client, spec_of};
use crate::jobs::side::{AnyQueue, LIMITS, Side};
use crate::jobs::steps::{submit, succeed, take, take_this};
use crate::jobs::ways::{Handles, Way};

queues! {{
    a_client_lists_its_own_jobs_newest_first
    lists_are_filtered_by_state
    lists_come_in_pages
    the_next_page_is_found_after_its_start_was_removed
    stats_count_jobs_by_state
}}

/// All pages of a list.
async fn pages(queue: &AnyQueue, client: &Client, state: Option<State>, size: usize) -> Vec<Vec<Uuid>> {
    let (mut pages, mut before) = (Vec::new(), None);
    loop {
        let page = queue.list(client, state, before, size).await.unwrap();
        let ids: Vec<Uuid> = page.jobs.iter().map(|job| job.id).collect();
        assert!(page.next.is_none() || page.next == ids.last().copied(), "{page:?}");
        before = page.next;
        pages.push(ids);
        if before.is_none() {
            return pages;
        }
    }
}

/// Submits jobs; returns their IDs, newest first.
async fn submit_many(queue: &AnyQueue, name: &str, number: usize) -> Vec<Uuid> {
    let mut ids = Vec::new();
    for _ in 0..number {
        ids.insert(0, submit(queue, spec_of(name)).await.id);
    }
    ids
}

async fn a_client_lists_its_own_jobs_newest_first(side: impl Side) {
    let queue = side.open().await;
    let older = submit_many(&queue, "a", 3).await;
    let of_b = submit_many(&queue, "b", 2).await;
    let of_a = [submit_many(&queue, "a", 3).await, older].concat();
    assert_eq!(pages(&queue, &client("a"), None, 100).await, std::slice::from_ref(&of_a));
    assert_eq!(pages(&queue, &client("b"), None, 100).await, [of_b]);
    for nobody in [client("c"), client(""), client("a:"), Client::Local] {
        assert_eq!(pages(&queue, &nobody, None, 100).await, [Vec::<Uuid>::new()]);
    }
    let claim = take(&queue).await;
    let listed: Vec<Job> = queue.list(&client("a"), None, None, 100).await.unwrap().jobs;
    assert_eq!(listed.len(), of_a.len());
    for job in listed {
        assert_eq!(job, record(&queue, job.id).await);
    }
    queue.remove(claim.job.id).await.unwrap().unwrap();
    let left = pages(&queue, &claim.job.spec.client, None, 100).await.concat();
    assert!(!left.is_empty() && !left.contains(&claim.job.id));
}

async fn lists_are_filtered_by_state(side: impl Side) {
    let handles = Handles::open(&side, LIMITS).await;
    let queue = &handles.queue;
    let mut ended = Vec::new();
    for way in Way::ALL {
        let id = way.submit(&handles, spec_of("a")).await.id;
        way.end(&handles, id).await;
        ended.insert(0, (id, way.state()));
    }
    let running = submit(queue, spec_of("a")).await.id;
    take_this(queue, running).await;
    let queued = submit(queue, spec_of("a")).await.id;
    let all = [(queued, State::Queued), (running, State::Running)].into_iter().chain(ended);
    let all: Vec<(Uuid, State)> = all.collect();
    for state in State::ALL {
        let expected: Vec<Uuid> = all.iter().filter(|(_, is)| *is == state).map(|(id, _)| *id).collect();
        assert!(!expected.is_empty());
        for size in [1, 2, 100] {
            assert_eq!(pages(queue, &client("a"), Some(state), size).await.concat(), expected, "{state:?}");
        }
        assert!(pages(queue, &client("b"), Some(state), 100).await.concat().is_empty());
    }
    assert_eq!(pages(queue, &client("a"), None, 5).await.concat().len(), all.len());
}

async fn lists_come_in_pages(side: impl Side) {
    let queue = side.open().await;
    let ids = submit_many(&queue, "a", 12).await;
    submit_many(&queue, "b", 12).await;
    for size in 1..=13 {
        let expected: Vec<Vec<Uuid>> = ids.chunks(size).map(<[Uuid]>::to_vec).collect();
        assert_eq!(pages(&queue, &client("a"), None, size).await, expected);
    }
    // New jobs do not move the older ones to other pages.
    let first = queue.list(&client("a"), None, None, 5).await.unwrap();
    submit_many(&queue, "a", 3).await;
    let second = queue.list(&client("a"), None, first.next, 5).await.unwrap();
    assert_eq!(second.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), ids[5..10]);
}

async fn the_next_page_is_found_after_its_start_was_removed(side: impl Side) {
    let queue = side.open().await;
    let ids = submit_many(&queue, "a", 9).await;
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = queue.list(&client("a"), None, before, 4).await.unwrap();
        for job in &page.jobs {
            seen.push(job.id);
            queue.remove(job.id).await.unwrap().unwrap();
        }
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, ids);
}

async fn stats_count_jobs_by_state(side: impl Side) {
    let handles = Handles::open(&side, LIMITS).await;
    let queue = &handles.queue;
    assert_eq!(queue.stats().await.unwrap(), Stats::default());
    let mut jobs = [0; 6];
    for way in Way::ALL {
        let id = way.submit(&handles, calling("a")).await.id;
        way.end(&handles, id).await;
        let state = State::ALL.iter().position(|state| *state == way.state()).unwrap();
        jobs[state] += 1;
        let expected = Stats { jobs, bytes: 0, oldest_queued_at: None, deliveries: jobs.iter().sum() };
        assert_eq!(queue.stats().await.unwrap(), expected);
    }
    let deliveries: u64 = jobs.iter().sum();
    let first = submit(queue, spec_of("a")).await;
    let second = submit(queue, spec_of("b")).await;
    jobs[0] = 2;
    let (bytes, oldest_queued_at) = (2 * JOB_BYTES, Some(first.created_at));
    let expected = Stats { jobs, bytes, oldest_queued_at, deliveries };
    assert_eq!(queue.stats().await.unwrap(), expected);
    queue.cancel(first.id).await.unwrap().unwrap();
    (jobs[0], jobs[4]) = (1, jobs[4] + 1);
    let (bytes, oldest_queued_at) = (JOB_BYTES, Some(second.created_at));
    let expected = Stats { jobs, bytes, oldest_queued_at, deliveries };
    assert_eq!(queue.stats().await.unwrap(), expected);
    let claim = take_this(queue, second.id).await;
    (jobs[0], jobs[1]) = (0, 1);
    let expected = Stats { jobs, bytes, oldest_queued_at: None, deliveries };
    assert_eq!(side.open().await.stats().await.unwrap(), expected);
    succeed(queue, &claim).await;
    (jobs[1], jobs[2]) = (0, jobs[2] + 1);
    let expected = Stats { jobs, bytes: 0, oldest_queued_at: None, deliveries };
    assert_eq!(queue.stats().await.unwrap(), expected);
}
