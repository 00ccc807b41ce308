//! `Idempotency-Key`.

use reqwest::RequestBuilder;

use super::{FAST, REPACK, accepted, assert_problem, below, header, path};
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, TRIANGLE, until};

const KEY: &str = "idempotency-key";

/// Bytes of a model that is not kept in memory.
const LARGE: usize = 2 << 20;

fn with_key(gateway: &Gateway, query: &str, key: &str) -> RequestBuilder {
    gateway.submission(query, triangle()).header(KEY, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_gets_the_same_job() {
    let gateway = Gateway::start_cold(&[]);
    let answer = with_key(&gateway, REPACK, "one").send().await.unwrap();
    assert_eq!(header(&answer, "idempotent-replayed"), "");
    let job = accepted(answer).await;
    // Quotes belong to the syntax, and a job that has ended is the same job.
    for key in ["one", "\"one\""] {
        let answer = with_key(&gateway, REPACK, key).send().await.unwrap();
        assert_eq!(header(&answer, "idempotent-replayed"), "true");
        assert_eq!(header(&answer, "location"), path(&job));
        assert_eq!(accepted(answer).await["id"], job["id"]);
        gateway.succeeded(&job).await;
    }
    let other = accepted(with_key(&gateway, REPACK, "two").send().await.unwrap()).await;
    assert_ne!(other["id"], job["id"]);

    let another_model = gateway.submission(REPACK, "another").header(KEY, "one");
    let another_option = with_key(&gateway, "output_format=gltf&filename=a.glb&scale=2", "one");
    for request in [another_model, another_option] {
        assert_problem(request.send().await.unwrap(), 422, "idempotency_key_reused").await;
    }
    let listed = gateway.json("/v1/jobs").await;
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 2, "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_retry_gets_the_same_job() {
    // Without an engine, the jobs do not end by themselves.
    let gateway = Gateway::start_cold(&[("BLENDER_PYTHON", "/bin/false")]);
    let mut cancelled = Vec::new();
    for _ in 0..2 {
        let job = gateway.submit(FAST, TRIANGLE).await;
        accepted(gateway.post(&below(&job, "cancel")).await).await;
        cancelled.push(gateway.ended(&job).await);
    }
    let retry = async |job: &serde_json::Value, key: &str| {
        let request = gateway.client.post(gateway.url(&below(job, "retry"))).header(KEY, key);
        request.send().await.unwrap()
    };
    let first = retry(&cancelled[0], "one").await;
    assert_eq!(header(&first, "idempotent-replayed"), "");
    let first = accepted(first).await;
    let again = retry(&cancelled[0], "\"one\"").await;
    assert_eq!(header(&again, "idempotent-replayed"), "true");
    assert_eq!(accepted(again).await["id"], first["id"]);
    assert_ne!(accepted(retry(&cancelled[0], "two").await).await["id"], first["id"]);

    assert_problem(retry(&cancelled[1], "one").await, 422, "idempotency_key_reused").await;
    assert_problem(retry(&cancelled[1], "two words").await, 400, "malformed_request").await;
    // The keys of submissions are others.
    let submitted =
        accepted(gateway.submission(FAST, TRIANGLE).header(KEY, "one").send().await.unwrap()).await;
    assert_ne!(submitted["id"], first["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_refused() {
    let gateway = Gateway::start_cold(&[]);
    for key in ["", "\"\"", "two words", "\"open", &"k".repeat(256)] {
        let answer = with_key(&gateway, REPACK, key).send().await.unwrap();
        assert_problem(answer, 400, "malformed_request").await;
    }
    let twice = with_key(&gateway, REPACK, "one").header(KEY, "one").send().await.unwrap();
    assert_problem(twice, 400, "malformed_request").await;
    accepted(with_key(&gateway, REPACK, &"k".repeat(255)).send().await.unwrap()).await;

    let head =
        format!("POST /v1/jobs?{REPACK} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nIdempotency-Key: ");
    let answer = gateway.raw().send_while_reading(&head, vec![b'k'; 10 << 20]);
    assert_eq!((answer.status, answer.problem().1.as_str()), (431, "head_too_large"));
    assert_eq!(gateway.get("/livez").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_flight_is_refused_until_its_request_ends() {
    let gateway = Gateway::start(&[]);
    let mut first = gateway.raw();
    let head = format!("POST /v1/jobs?{FAST} HTTP/1.1\r\nHost: x\r\nIdempotency-Key: one\r\n");
    first.send(format!("{head}Content-Length: {LARGE}\r\n\r\n")).send(vec![b'#'; LARGE - 1]);
    until("it is on the disk", || !gateway.conversions_on_disk().is_empty());
    let answer = with_key(&gateway, REPACK, "one").send().await.unwrap();
    assert!(answer.headers().contains_key("retry-after"));
    assert_problem(answer, 409, "idempotency_key_in_flight").await;
    assert_eq!(first.send("#").answer().unwrap().status, 202);
    let answer = with_key(&gateway, REPACK, "one").send().await.unwrap();
    assert_problem(answer, 422, "idempotency_key_reused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_failed_frees_its_key() {
    let gateway = Gateway::start_cold(&[]);
    let wrong =
        with_key(&gateway, REPACK, "one").header("content-digest", format!("sha-256=:{}=:", "A".repeat(43)));
    assert_problem(wrong.send().await.unwrap(), 400, "digest_mismatch").await;
    accepted(with_key(&gateway, REPACK, "one").send().await.unwrap()).await;
}
