//! The webhook of a job, from its submission to its delivery.

use std::time::Instant;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Response;
use url::form_urlencoded::byte_serialize;

use super::{REPACK, accepted, assert_problem, path};
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, LONG, PAUSE};
use crate::webhooks::receiver::{Receiver, Reply};

/// 24 bytes of zeros.
const SECRET: (&str, &str) = ("WEBHOOK_SECRET", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");

const HERE: &str = "127.0.0.1";

async fn submit(gateway: &Gateway, url: &str) -> Response {
    let url: String = byte_serialize(url.as_bytes()).collect();
    let query = format!("{REPACK}&webhook_url={url}");
    gateway.submission(&query, triangle()).send().await.unwrap()
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
    let began = Instant::now();
    let delivered = loop {
        let job = gateway.json(path(&job)).await;
        let delivery = &job["webhook"]["deliveries"][0];
        if !delivery.is_null() {
            break delivery.clone();
        }
        assert!(began.elapsed() < LONG, "it is not delivered: {job}");
        tokio::time::sleep(PAUSE).await;
    };
    assert_eq!((&delivered["status"], delivered.get("error")), (&204.into(), None));

    let [request] = &receiver.received()[..] else { panic!("not one request") };
    let signed =
        format!("{}.{}.{}", request.header("webhook-id"), request.header("webhook-timestamp"), request.body);
    let signature = request.header("webhook-signature").strip_prefix("v1,").unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[0; 24]);
    hmac::verify(&key, signed.as_bytes(), &STANDARD.decode(signature).unwrap()).unwrap();
    let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!((&body["type"], &body["data"]["id"]), (&"job.succeeded".into(), &job["id"]));
}
