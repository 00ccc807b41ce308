//! Limits of unfinished jobs.

use std::time::Instant;

use reqwest::Response;

use super::{FAST, ONE_WORKER, REPACK, SLOW, accepted, assert_problem, header, objects_of_jobs};
use crate::gateway::engine::motion;
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, LONG, PAUSE, TRIANGLE, scrape, until};

/// With this, jobs that need the engine stay unfinished.
const NO_ENGINE: (&str, &str) = ("BLENDER_PYTHON", "/bin/false");

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
    // A small model counts as a block of 4 KiB, and its name.
    let counted = 4096 + "a.glb".len();
    assert!(model.len() < 4096);
    // Half of it is one byte too little for the model.
    let limit = (2 * counted - 2).to_string();
    let gateway = Gateway::start_cold(&[("JOBS_MAX_SIZE", &limit)]);
    let sentence =
        assert_problem(gateway.submission(REPACK, model.clone()).send().await.unwrap(), 507, "jobs_full")
            .await;
    assert!(sentence.contains("this client") && sentence.contains("JOBS_MAX_SIZE"), "{sentence}");
    until("nothing is left of it", || objects_of_jobs(gateway.folder.path()).is_empty());

    let limit = (2 * counted).to_string();
    let gateway = Gateway::start_cold(&[("JOBS_MAX_SIZE", &limit)]);
    let job = gateway.submit(REPACK, model).await;
    gateway.succeeded(&job).await;
}

/// Waits until the server has counted this many unfinished jobs.
async fn until_counted(gateway: &Gateway, number: u64) {
    let began = Instant::now();
    loop {
        let text = scrape(gateway).await;
        let count = |state: &str| -> u64 {
            let series = format!("meshgate_jobs{{state=\"{state}\"}} ");
            let value = text.lines().find_map(|line| line.strip_prefix(&series));
            value.map_or(0, |value| value.parse().unwrap())
        };
        if count("queued") + count("running") == number {
            return;
        }
        assert!(began.elapsed() < LONG, "they are not counted");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The head of a submission whose body is not sent.
fn head(owner: &str, bytes: u64) -> String {
    let key = owner.repeat(16);
    let headers = format!("Host: x\r\nX-Api-Key: {key}\r\nContent-Length: {bytes}\r\n");
    format!("POST /v1/jobs?{FAST} HTTP/1.1\r\n{headers}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_before_the_upload() {
    let gateway = Gateway::start_cold(&[("JOBS_LIMIT", "2"), NO_ENGINE, KEYS]);
    let with_key = async || {
        let request = gateway.submission(FAST, TRIANGLE).header("x-api-key", "a".repeat(16));
        request.header("idempotency-key", "one").send().await.unwrap()
    };
    let first = accepted(with_key().await).await;
    accepted(submit(&gateway, "b", FAST, TRIANGLE.into()).await).await;
    until_counted(&gateway, 2).await;

    let answer = gateway.raw().send(head("c", 1_000_000)).answer().unwrap();
    let problem = answer.problem();
    assert_eq!((answer.status, problem.1.as_str()), (429, "too_many_jobs"), "{problem:?}");
    assert!(problem.2.contains("there are as many") && problem.2.contains("JOBS_LIMIT"), "{problem:?}");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.header("connection"), Some("close"));
    // A repeated request gets its job nevertheless.
    let again = with_key().await;
    assert_eq!(header(&again, "idempotent-replayed"), "true");
    assert_eq!(accepted(again).await["id"], first["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_cannot_fit_is_refused_before_the_upload() {
    // One client may have half of it.
    let gateway = Gateway::start_cold(&[("JOBS_MAX_SIZE", "2M"), NO_ENGINE, KEYS]);
    accepted(submit(&gateway, "a", FAST, TRIANGLE.into()).await).await;
    until_counted(&gateway, 1).await;
    let answer = gateway.raw().send(head("b", 1_500_000)).answer().unwrap();
    let problem = answer.problem();
    assert_eq!((answer.status, problem.1.as_str()), (507, "jobs_full"), "{problem:?}");
    assert!(problem.2.contains("this client") && problem.2.contains("JOBS_MAX_SIZE"), "{problem:?}");
    assert_eq!(answer.header("connection"), Some("close"));
}
