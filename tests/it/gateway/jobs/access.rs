//! Whose jobs a client sees, and IDs without a job.

use std::time::Instant;

use reqwest::{Method, Response};
use serde_json::Value;

use super::{REPACK, accepted, assert_problem, files_below, path};
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, LONG, PAUSE, scrape, until};

const KEYS: (&str, &str) = ("API_KEYS", "a:aaaaaaaaaaaaaaaa,b:bbbbbbbbbbbbbbbb");

/// Every call on one job: a method, and what follows the path of the job.
const CALLS: [(Method, &str); 7] = [
    (Method::GET, ""),
    (Method::GET, "/result"),
    (Method::GET, "/events"),
    (Method::POST, "/cancel"),
    (Method::POST, "/retry"),
    (Method::POST, "/webhook/redeliver"),
    (Method::DELETE, ""),
];

/// A request with the key of this owner.
async fn ask(gateway: &Gateway, owner: &str, method: Method, path: &str) -> Response {
    let request = gateway.client.request(method, gateway.url(path)).header("x-api-key", owner.repeat(16));
    request.send().await.unwrap()
}

async fn json(gateway: &Gateway, owner: &str, path: &str) -> Value {
    let answer = ask(gateway, owner, Method::GET, path).await;
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

async fn submit(gateway: &Gateway, owner: &str) -> Value {
    let request = gateway.submission(REPACK, triangle()).header("x-api-key", owner.repeat(16));
    accepted(request.send().await.unwrap()).await
}

async fn until_succeeded(gateway: &Gateway, owner: &str, job: &Value) {
    let began = Instant::now();
    while json(gateway, owner, path(job)).await["state"] != "succeeded" {
        assert!(began.elapsed() < LONG, "it does not succeed");
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_use_the_stored_results_of_their_own_key() {
    let gateway = Gateway::start_cold(&[KEYS]);
    let results = || files_below(&gateway.folder.path().join("store/entries")).len();
    for (owner, stored, hits) in [("a", 1, 0), ("a", 1, 1), ("b", 2, 1), ("b", 2, 2)] {
        let job = submit(&gateway, owner).await;
        until_succeeded(&gateway, owner, &job).await;
        // Results are stored in the background.
        until("the result is stored", || results() == stored);
        let counted = format!("meshgate_cache_requests_total{{result=\"hit\"}} {hits}");
        let text = scrape(&gateway).await;
        assert!(text.lines().any(|line| line == counted), "{owner}: no {counted} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_belongs_to_its_key() {
    let gateway = Gateway::start_cold(&[KEYS]);
    let (job, other) = (submit(&gateway, "a").await, submit(&gateway, "b").await);
    for owner in ["a", "b"] {
        let mine = if owner == "a" { &job } else { &other };
        let listed = json(&gateway, owner, "/v1/jobs").await;
        let ids: Vec<_> = listed["jobs"].as_array().unwrap().iter().map(|job| &job["id"]).collect();
        assert_eq!(ids, [&mine["id"]]);
    }
    for (method, last) in CALLS {
        let path = format!("{}{last}", path(&job));
        assert_problem(ask(&gateway, "b", method.clone(), &path).await, 404, "not_found").await;
        let without_key = gateway.client.request(method, gateway.url(&path)).send().await.unwrap();
        assert_problem(without_key, 401, "unauthorized").await;
    }
    // Nothing of that has touched the job.
    until_succeeded(&gateway, "a", &job).await;
    assert_eq!(ask(&gateway, "a", Method::DELETE, path(&job)).await.status(), 204);
    assert_eq!(json(&gateway, "a", "/v1/jobs").await["jobs"], Value::Array(vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_pages_and_states() {
    let gateway = Gateway::start_cold(&[]);
    let mut ids = Vec::new();
    for _ in 0..5 {
        let job = gateway.submit(REPACK, triangle()).await;
        ids.push(job["id"].clone());
        gateway.succeeded(&job).await;
    }
    ids.reverse();
    let (mut seen, mut query) = (Vec::new(), "page_size=2".to_owned());
    loop {
        let page = gateway.json(&format!("/v1/jobs?{query}")).await;
        let jobs = page["jobs"].as_array().unwrap();
        assert!(!jobs.is_empty() && jobs.len() <= 2, "{page}");
        assert!(jobs.iter().all(|job| job["report"].is_null()), "{page}");
        seen.extend(jobs.iter().map(|job| job["id"].clone()));
        let Some(token) = page["next_page_token"].as_str() else { break };
        query = format!("page_size=2&page_token={token}");
    }
    assert_eq!(seen, ids);
    for (state, number) in [("succeeded", 5), ("queued", 0)] {
        let page = gateway.json(&format!("/v1/jobs?state={state}")).await;
        assert_eq!(page["jobs"].as_array().unwrap().len(), number, "{page}");
    }
    for query in ["state=done", "page_size=0", "page_size=101", "page_token=x", "color=red"] {
        let answer = gateway.get(&format!("/v1/jobs?{query}")).await;
        assert_problem(answer, 400, "malformed_request").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_without_a_job_are_told_apart() {
    let gateway = Gateway::start_cold(&[]);
    let unknown = uuid::Uuid::now_v7().to_string();
    // The last one is from February 2022.
    for (id, status, code) in [
        ("1", 404, "not_found"),
        ("%ff", 404, "not_found"),
        ("..%2f..%2fjobs.sqlite", 404, "not_found"),
        ("00000000-0000-0000-0000-000000000000", 404, "not_found"),
        (unknown.as_str(), 404, "not_found"),
        ("017f22e2-79b0-7cc3-98c4-dc0c0c07398f", 410, "expired"),
    ] {
        for (method, last) in CALLS {
            let url = gateway.url(&format!("/v1/jobs/{id}{last}"));
            assert_problem(gateway.client.request(method, url).send().await.unwrap(), status, code).await;
        }
    }
}
