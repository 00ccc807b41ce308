//! Limits of unfinished jobs.

use std::time::Instant;

use reqwest::Response;

use super::{ONE_WORKER, REPACK, SLOW, accepted, assert_problem, objects_of_jobs};
use crate::gateway::engine::motion;
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, LONG, PAUSE, until};

const KEYS: (&str, &str) = ("API_KEYS", "a:aaaaaaaaaaaaaaaa,b:bbbbbbbbbbbbbbbb,c:cccccccccccccccc");

async fn submit(gateway: &Gateway, owner: &str, query: &str, model: Vec<u8>) -> Response {
    gateway.submission(query, model).header("x-api-key", owner.repeat(16)).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_have_half_of_all_unfinished_jobs() {
    let gateway = Gateway::start(&[("JOBS_LIMIT", "2"), ONE_WORKER, KEYS]);
    accepted(submit(&gateway, "a", SLOW, motion()).await).await;
    let held = gateway.hold().await;
    for (owner, whose) in [("a", "this client"), ("b", ""), ("c", "there are as many")] {
        let answer = submit(&gateway, owner, REPACK, triangle()).await;
        if whose.is_empty() {
            accepted(answer).await;
            continue;
        }
        assert!(answer.headers().contains_key("retry-after"));
        let sentence = assert_problem(answer, 429, "too_many_jobs").await;
        assert!(sentence.contains(whose) && sentence.contains("JOBS_LIMIT"), "{sentence}");
    }
    drop(held);
    // Jobs that have ended do not count.
    let began = Instant::now();
    for owner in ["a", "c"] {
        let mut answer = submit(&gateway, owner, REPACK, triangle()).await;
        while answer.status() == 429 {
            assert!(began.elapsed() < LONG, "it stays full");
            tokio::time::sleep(PAUSE).await;
            answer = submit(&gateway, owner, REPACK, triangle()).await;
        }
        accepted(answer).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_have_a_size_limit_in_total() {
    let model = triangle();
    // Half of it is one byte too little for the model.
    let limit = (2 * model.len() - 2).to_string();
    let gateway = Gateway::start_cold(&[("JOBS_MAX_SIZE", &limit)]);
    let sentence =
        assert_problem(gateway.submission(REPACK, model.clone()).send().await.unwrap(), 507, "jobs_full")
            .await;
    assert!(sentence.contains("this client") && sentence.contains("JOBS_MAX_SIZE"), "{sentence}");
    until("nothing is left of it", || objects_of_jobs(gateway.folder.path()).is_empty());

    let limit = (2 * model.len()).to_string();
    let gateway = Gateway::start_cold(&[("JOBS_MAX_SIZE", &limit)]);
    let job = gateway.submit(REPACK, model).await;
    gateway.succeeded(&job).await;
}
