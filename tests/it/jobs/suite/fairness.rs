//! The order in which jobs are taken.

use std::sync::Arc;

use meshgate::jobs::{GiveBack, TakeOrder};
use tokio::task::JoinSet;

use crate::jobs::samples::{client, low, of_request, spec_of};
use crate::jobs::side::{AnyQueue, Side};
use crate::jobs::steps::{give_back, position, submit, succeed, take, take_this, take_this_in};

queues! {{
    the_jobs_of_a_client_are_taken_in_order
    a_thousand_jobs_of_one_client_do_not_starve_another
    the_client_with_the_fewest_running_jobs_is_next
    among_equals_the_client_served_longest_ago_is_next
    a_clients_normal_jobs_go_before_its_low_ones
    a_clients_requests_go_before_its_jobs
    a_worker_may_take_a_clients_jobs_before_its_requests
    priorities_make_no_difference_between_clients
    a_job_that_was_given_back_is_first
    a_job_that_was_given_back_keeps_its_priority
    a_request_that_was_given_back_is_first
    positions_count_the_jobs_that_are_waited_for
}}

/// Takes jobs, and returns the names of their clients.
async fn served(queue: &AnyQueue, jobs: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..jobs {
        names.push(take(queue).await.job.spec.client.to_string());
    }
    names
}

async fn the_jobs_of_a_client_are_taken_in_order(side: impl Side) {
    let queue = side.open().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(submit(&queue, spec_of("a")).await.id);
    }
    for id in ids {
        take_this(&queue, id).await;
    }
}

async fn a_thousand_jobs_of_one_client_do_not_starve_another(side: impl Side) {
    let queue = side.open().await;
    for _ in 0..10 {
        let mut submissions = JoinSet::new();
        for _ in 0..100 {
            let queue = Arc::clone(&queue);
            submissions.spawn(async move { submit(&queue, spec_of("many")).await });
        }
        submissions.join_all().await;
    }
    for _ in 0..3 {
        submit(&queue, spec_of("one")).await;
        let mut pair = served(&queue, 2).await;
        pair.sort();
        assert_eq!(pair, ["key:many", "key:one"]);
    }
}

async fn the_client_with_the_fewest_running_jobs_is_next(side: impl Side) {
    let queue = side.open().await;
    let names = ["a", "b", "c"];
    for name in names {
        for _ in 0..6 {
            submit(&queue, spec_of(name)).await;
        }
    }
    let mut claims = Vec::new();
    for _ in 0..3 {
        let mut round = Vec::new();
        for _ in names {
            let claim = take(&queue).await;
            round.push(claim.job.spec.client.clone());
            claims.push(claim);
        }
        for name in names {
            assert!(round.contains(&client(name)), "{round:?}");
        }
    }
    // Each client has three running jobs. When those of b end, it is served three times in a row.
    for claim in claims.iter().filter(|claim| claim.job.spec.client == client("b")) {
        succeed(&queue, claim).await;
    }
    assert_eq!(served(&queue, 3).await, ["key:b"; 3]);
}

async fn among_equals_the_client_served_longest_ago_is_next(side: impl Side) {
    let queue = side.open().await;
    for _ in 0..4 {
        for name in ["a", "b", "c"] {
            submit(&queue, spec_of(name)).await;
        }
    }
    let mut order = Vec::new();
    for _ in 0..12 {
        let claim = take(&queue).await;
        order.push(claim.job.spec.client.to_string());
        // It ends at once, so that no client ever has more running jobs than another.
        succeed(&queue, &claim).await;
    }
    let (first, rest) = order.split_at(3);
    let mut sorted = first.to_vec();
    sorted.sort();
    assert_eq!(sorted, ["key:a", "key:b", "key:c"]);
    for round in rest.chunks(3) {
        assert_eq!(round, first);
    }
}

async fn a_clients_normal_jobs_go_before_its_low_ones(side: impl Side) {
    let queue = side.open().await;
    let first_low = submit(&queue, low("a")).await.id;
    let first_normal = submit(&queue, spec_of("a")).await.id;
    let second_low = submit(&queue, low("a")).await.id;
    let second_normal = submit(&queue, spec_of("a")).await.id;
    for id in [first_normal, second_normal, first_low, second_low] {
        take_this(&queue, id).await;
    }
}

async fn a_clients_requests_go_before_its_jobs(side: impl Side) {
    let queue = side.open().await;
    let normal = submit(&queue, spec_of("a")).await.id;
    let first = submit(&queue, of_request("a")).await.id;
    let low = submit(&queue, low("a")).await.id;
    let second = submit(&queue, of_request("a")).await.id;
    for (place, id) in [first, second, normal, low].into_iter().enumerate() {
        assert_eq!(position(&queue, id).await, Some(place as u64 + 1));
    }
    for id in [first, second, normal, low] {
        take_this(&queue, id).await;
    }
}

async fn a_worker_may_take_a_clients_jobs_before_its_requests(side: impl Side) {
    let queue = side.open().await;
    let first = submit(&queue, of_request("a")).await.id;
    let low = submit(&queue, low("a")).await.id;
    let given_back = submit(&queue, spec_of("a")).await.id;
    let normal = submit(&queue, spec_of("a")).await.id;
    let second = submit(&queue, of_request("a")).await.id;
    let claim = take_this_in(&queue, TakeOrder::RequestsLast, given_back).await;
    assert!(give_back(&queue, &claim, GiveBack::Stopping).await);
    take_this_in(&queue, TakeOrder::RequestsLast, given_back).await;
    take_this_in(&queue, TakeOrder::RequestsFirst, first).await;
    for id in [normal, low, second] {
        take_this_in(&queue, TakeOrder::RequestsLast, id).await;
    }
    assert_eq!(queue.take_in(TakeOrder::RequestsLast, "a worker").await.unwrap(), None);
}

async fn priorities_make_no_difference_between_clients(side: impl Side) {
    let queue = side.open().await;
    for _ in 0..4 {
        submit(&queue, spec_of("a")).await;
        submit(&queue, low("b")).await;
        submit(&queue, of_request("c")).await;
    }
    for _ in 0..4 {
        let mut round = served(&queue, 3).await;
        round.sort();
        assert_eq!(round, ["key:a", "key:b", "key:c"]);
    }
}

async fn a_job_that_was_given_back_is_first(side: impl Side) {
    let queue = side.open().await;
    let first = submit(&queue, spec_of("a")).await.id;
    let second = submit(&queue, spec_of("a")).await.id;
    for reason in [GiveBack::Stopping, GiveBack::OutOfMemory] {
        let claim = take_this(&queue, first).await;
        assert_eq!(position(&queue, second).await, Some(1));
        assert!(give_back(&queue, &claim, reason).await);
        assert_eq!((position(&queue, first).await, position(&queue, second).await), (Some(1), Some(2)));
    }
    take_this(&queue, first).await;
    take_this(&queue, second).await;
}

async fn a_job_that_was_given_back_keeps_its_priority(side: impl Side) {
    let queue = side.open().await;
    let first_low = submit(&queue, low("a")).await.id;
    let second_low = submit(&queue, low("a")).await.id;
    let claim = take_this(&queue, first_low).await;
    let normal = submit(&queue, spec_of("a")).await.id;
    assert!(give_back(&queue, &claim, GiveBack::Stopping).await);
    for id in [normal, first_low, second_low] {
        take_this(&queue, id).await;
    }
}

async fn a_request_that_was_given_back_is_first(side: impl Side) {
    let queue = side.open().await;
    let first = submit(&queue, of_request("a")).await.id;
    let second = submit(&queue, of_request("a")).await.id;
    let claim = take_this(&queue, first).await;
    let job = submit(&queue, spec_of("a")).await.id;
    assert!(give_back(&queue, &claim, GiveBack::Stopping).await);
    for id in [first, second, job] {
        take_this(&queue, id).await;
    }
}

async fn positions_count_the_jobs_that_are_waited_for(side: impl Side) {
    let queue = side.open().await;
    let late = submit(&queue, low("a")).await.id;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(submit(&queue, spec_of("a")).await.id);
    }
    ids.push(late);
    let other = submit(&queue, spec_of("b")).await.id;
    assert_eq!(position(&queue, other).await, Some(1));
    queue.remove(other).await.unwrap().unwrap();
    for (number, id) in (1..).zip(&ids) {
        assert_eq!(position(&queue, *id).await, Some(number));
    }
    queue.cancel(ids.remove(1)).await.unwrap().unwrap();
    queue.remove(ids.remove(2)).await.unwrap().unwrap();
    while !ids.is_empty() {
        for (number, id) in (1..).zip(&ids) {
            assert_eq!(position(&queue, *id).await, Some(number));
        }
        let id = ids.remove(0);
        let claim = take_this(&queue, id).await;
        assert_eq!(position(&queue, id).await, None);
        succeed(&queue, &claim).await;
        assert_eq!(position(&queue, id).await, None);
    }
}
