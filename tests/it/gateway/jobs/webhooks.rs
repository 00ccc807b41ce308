//! The webhook of a job, from its submission to its delivery.

use std::time::Instant;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Response;
use serde_json::Value;

use super::events::{check, follow};
use super::{FAST, REPACK, accepted, assert_problem, below, path, with_webhook};
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, LONG, PAUSE, TRIANGLE};
use crate::webhooks::receiver::{Receiver, Reply};

/// 24 bytes of zeros.
const SECRET: (&str, &str) = ("WEBHOOK_SECRET", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");

const HERE: &str = "127.0.0.1";

async fn submit(gateway: &Gateway, url: &str) -> Response {
    gateway.submission(&with_webhook(REPACK, url), triangle()).send().await.unwrap()
}

/// Waits until this many attempts to deliver the webhook are recorded; returns them.
pub async fn deliveries(gateway: &Gateway, job: &Value, count: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let job = gateway.json(path(job)).await;
        let deliveries = job["webhook"]["deliveries"].as_array().unwrap();
        if deliveries.len() >= count {
            return deliveries.clone();
        }
        assert!(began.elapsed() < LONG, "it is not delivered: {job}");
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_can_never_work_is_refused() {
    let off = Gateway::start_cold(&[]);
    let answer = submit(&off, "https://example.com/hook").await;
    let sentence = assert_problem(answer, 400, "webhook_refused").await;
    assert!(sentence.contains("WEBHOOK_SECRET"), "{sentence}");

    let receiver = Receiver::start(&[Reply::Status(200, "")]).await;
    let strict = Gateway::start_cold(&[SECRET]);
    let port = receiver.address.port();
    for url in [
        receiver.url(HERE),
        format!("http://127.1:{port}/"),
        format!("http://[::ffff:7f00:1]:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
    ] {
        let sentence = assert_problem(submit(&strict, &url).await, 400, "webhook_refused").await;
        assert!(sentence.contains("WEBHOOK_ALLOW"), "{sentence}");
    }
    let sentence =
        assert_problem(submit(&strict, "https://example.com:0/").await, 400, "webhook_refused").await;
    assert!(sentence.contains("port 0"), "{sentence}");
    for url in ["example.com", "ftp://example.com/", "file:///etc/passwd"] {
        assert_problem(submit(&strict, url).await, 400, "malformed_request").await;
    }
    assert!(receiver.received().is_empty());
    assert_eq!(strict.json("/v1/jobs").await["jobs"].as_array().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_tells_of_the_end_of_a_job() {
    let receiver = Receiver::start(&[Reply::Status(204, "")]).await;
    let gateway = Gateway::start_cold(&[SECRET, ("WEBHOOK_ALLOW", HERE)]);
    let job = accepted(submit(&gateway, &receiver.url(HERE)).await).await;
    // The query of the URL may be secret.
    let shown = receiver.url(HERE).replace("?token=1", "");
    assert_eq!(job["webhook"]["url"], shown);
    gateway.succeeded(&job).await;
    let delivered = deliveries(&gateway, &job, 1).await.remove(0);
    assert_eq!((&delivered["status"], delivered.get("error")), (&204.into(), None));

    let [request] = &receiver.received()[..] else { panic!("not one request") };
    let signed =
        format!("{}.{}.{}", request.header("webhook-id"), request.header("webhook-timestamp"), request.body);
    let signature = request.header("webhook-signature").strip_prefix("v1,").unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[0; 24]);
    hmac::verify(&key, signed.as_bytes(), &STANDARD.decode(signature).unwrap()).unwrap();
    let body: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!((&body["type"], &body["data"]["id"]), (&"job.succeeded".into(), &job["id"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_sent_again_on_request() {
    let receiver = Receiver::start(&[Reply::Status(204, "")]).await;
    // Without an engine, the first job does not end.
    let gateway = Gateway::start_cold(&[SECRET, ("WEBHOOK_ALLOW", HERE), ("BLENDER_PYTHON", "/bin/false")]);
    let unfinished = gateway.submit(&with_webhook(FAST, &receiver.url(HERE)), TRIANGLE).await;
    assert_eq!(unfinished["links"]["redeliver"], Value::Null);
    let redeliver = async |job: &Value| gateway.post(&below(job, "webhook/redeliver")).await;
    assert_problem(redeliver(&unfinished).await, 409, "wrong_job_state").await;

    let without = gateway.submit(REPACK, triangle()).await;
    let without = gateway.succeeded(&without).await;
    assert_eq!(without["links"]["redeliver"], Value::Null);
    let sentence = assert_problem(redeliver(&without).await, 409, "wrong_job_state").await;
    assert!(sentence.contains("webhook"), "{sentence}");

    let job = accepted(submit(&gateway, &receiver.url(HERE)).await).await;
    let job = gateway.succeeded(&job).await;
    assert_eq!(job["links"]["redeliver"], below(&job, "webhook/redeliver"));
    deliveries(&gateway, &job, 1).await;
    let again = accepted(redeliver(&job).await).await;
    assert_eq!((&again["id"], &again["state"]), (&job["id"], &"succeeded".into()));
    deliveries(&gateway, &job, 2).await;
    let [first, second] = &receiver.received()[..] else { panic!("not two requests") };
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!(first.body, second.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_to_deliver_are_no_events() {
    let receiver = Receiver::start(&[Reply::Status(204, "")]).await;
    let gateway = Gateway::start_cold(&[SECRET, ("WEBHOOK_ALLOW", HERE)]);
    let job = accepted(submit(&gateway, &receiver.url(HERE)).await).await;
    gateway.succeeded(&job).await;
    deliveries(&gateway, &job, 1).await;
    let before = follow(&gateway, &job, None).await;
    check(&before, "succeeded");
    accepted(gateway.post(&below(&job, "webhook/redeliver")).await).await;
    deliveries(&gateway, &job, 2).await;

    let after = follow(&gateway, &job, None).await;
    let ([changes @ .., old], [same @ .., new]) = (&before[..], &after[..]) else { panic!("no events") };
    assert_eq!(changes, same);
    // The job is another version of itself, which a client that has seen the old end gets.
    assert_ne!(old, new);
    let last = changes.last().unwrap().id;
    assert_eq!(follow(&gateway, &job, last).await, std::slice::from_ref(new));
}
