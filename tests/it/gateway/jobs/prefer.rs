//! `Prefer: respond-async` on conversions.

use reqwest::Response;
use serde_json::Value;

use super::{REPACK, accepted, assert_problem, below, header, path};
use crate::gateway::Gateway;
use crate::gateway::receive::triangle;

async fn convert(gateway: &Gateway, query: &str, model: Vec<u8>, prefer: &str) -> Response {
    let request = gateway.client.post(gateway.url(&format!("/v1/convert?{query}"))).body(model);
    request.header("prefer", prefer).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversion_becomes_a_job_if_it_takes_longer_than_the_client_waits() {
    let gateway = Gateway::start_cold(&[]);
    let answer = convert(&gateway, REPACK, triangle(), "respond-async, wait=20").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "preference-applied"), "respond-async, wait=20");
    assert!(header(&answer, "vary").to_lowercase().contains("prefer"));
    let location = header(&answer, "content-location");
    let result = answer.bytes().await.unwrap();
    assert_eq!(gateway.undisturbed(REPACK, triangle()).await, result);
    assert_eq!(gateway.get(&location).await.bytes().await.unwrap(), result);

    for (prefer, applied) in
        [("respond-async, wait=0", "respond-async, wait=0"), ("respond-async", "respond-async")]
    {
        let answer = convert(&gateway, REPACK, triangle(), prefer).await;
        assert_eq!(header(&answer, "preference-applied"), applied);
        let location = header(&answer, "location");
        let job = accepted(answer).await;
        assert_eq!(location, path(&job));
        let job = gateway.succeeded(&job).await;
        assert_eq!(gateway.get(&below(&job, "result")).await.bytes().await.unwrap(), result);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversion_that_fails_meanwhile_has_its_own_error() {
    let gateway = Gateway::start_cold(&[]);
    let query = "output_format=glb&filename=a.fbx";
    let answer = convert(&gateway, query, b"no model at all".into(), "respond-async, wait=60").await;
    assert_problem(answer, 415, "unknown_format").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_response_to_a_conversion_depends_on_the_preference() {
    let gateway = Gateway::start_cold(&[("RATE_LIMIT_REQUESTS", "1"), ("RATE_LIMIT_WINDOW", "3600")]);
    for (path, query, status) in
        [("/convert", "", 400), ("/v1/convert", REPACK, 200), ("/convert", REPACK, 429)]
    {
        let request = gateway.client.post(gateway.url(&format!("{path}?{query}"))).body(triangle());
        let answer = request.header("cache-control", "no-cache").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), header(&answer, "vary").as_str()), (status, "prefer"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_preferences_are_ignored() {
    let gateway = Gateway::start_cold(&[]);
    for prefer in ["wait=soon", "respond-later", ",;=\"", "wait=-1, return=minimal", "a=\"respond-async\""] {
        let answer = convert(&gateway, REPACK, triangle(), prefer).await;
        assert_eq!((answer.status().as_u16(), header(&answer, "preference-applied")), (200, String::new()));
        // A cache must not give this response to a request that prefers another one.
        assert_eq!(header(&answer, "vary"), "prefer");
    }
    let listed = gateway.json("/v1/jobs").await;
    assert_eq!(listed["jobs"], Value::Array(vec![]));
}
