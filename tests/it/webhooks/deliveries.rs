//! How webhooks are delivered, repeated and given up.

use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::Sender;
use super::receiver::{Received, Receiver, Reply};
use crate::gateway::{LONG, PAUSE};

const HERE: &str = "127.0.0.1";

/// Checks a request as a receiver does, and that it says how the job ended.
fn verify(request: &Received, job: Uuid) {
    let (id, timestamp) = (request.header("webhook-id"), request.header("webhook-timestamp"));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(timestamp.parse().unwrap()) < 120, "{request:?}");
    let signature = request.header("webhook-signature").strip_prefix("v1,").unwrap();
    let signed = format!("{id}.{timestamp}.{}", request.body);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[0; 24]);
    hmac::verify(&key, signed.as_bytes(), &STANDARD.decode(signature).unwrap()).unwrap();

    assert!(request.head.starts_with("POST /hook?token=1 HTTP/1.1\r\n"), "{request:?}");
    assert_eq!(request.header("content-type"), "application/json");
    let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
    let data = serde_json::json!({ "id": job, "state": "failed", "output_format": "glb" });
    assert_eq!((&body["type"], &body["data"]), (&"job.failed".into(), &data));
    assert!(body["timestamp"].as_str().unwrap().ends_with('Z'), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_signed_and_says_how_the_job_ended() {
    let receiver = Receiver::start(&[Reply::Status(204, "")]).await;
    let sender = Sender::start(HERE);
    let job = sender.end_job(&receiver.url(HERE)).await;
    let attempts = sender.attempts(job, 1).await;
    assert_eq!((attempts[0].status, &attempts[0].error), (Some(204), &None));
    assert_eq!(sender.pending().await, 0);
    let [request] = &receiver.received()[..] else { panic!("not one request") };
    verify(request, job);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_sent_again_with_the_same_id() {
    let receiver = Receiver::start(&[Reply::Status(500, ""), Reply::Status(200, "")]).await;
    let sender = Sender::start(HERE);
    let job = sender.end_job(&receiver.url(HERE)).await;
    assert_eq!(sender.failure(job).await, (Some(500), "the response was 500".to_owned()));
    assert_eq!(sender.pending().await, 1);
    let attempts = sender.attempts(job, 2).await;
    assert_eq!((attempts[1].status, &attempts[1].error), (Some(200), &None));
    let pause = attempts[1].at.0 - attempts[0].at.0;
    assert!(pause >= 4000, "{pause}");
    assert_eq!(sender.pending().await, 0);
    let [first, second] = &receiver.received()[..] else { panic!("not two requests") };
    verify(first, job);
    verify(second, job);
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!(first.body, second.body);
    assert_ne!(first.header("webhook-timestamp"), second.header("webhook-timestamp"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_survives_a_restart() {
    let receiver = Receiver::start(&[Reply::Status(503, ""), Reply::Status(200, "")]).await;
    let sender = Sender::start(HERE);
    let job = sender.end_job(&receiver.url(HERE)).await;
    sender.attempts(job, 1).await;
    let sender = sender.restart().await;
    let attempts = sender.attempts(job, 2).await;
    assert_eq!((attempts[1].status, &attempts[1].error), (Some(200), &None));
    let [first, second] = &receiver.received()[..] else { panic!("not two requests") };
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_gets_no_more() {
    let receiver = Receiver::start(&[Reply::Status(410, "")]).await;
    let sender = Sender::start(HERE);
    let job = sender.end_job(&receiver.url(HERE)).await;
    assert_eq!(sender.failure(job).await, (Some(410), "the response was 410".to_owned()));
    assert_eq!(sender.pending().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivered_webhook_is_sent_again_on_request() {
    let receiver = Receiver::start(&[Reply::Status(200, "")]).await;
    let sender = Sender::start(HERE);
    let job = sender.end_job(&receiver.url(HERE)).await;
    sender.attempts(job, 1).await;
    assert!(sender.queue.redeliver(job).await.unwrap());
    sender.attempts(job, 2).await;
    let [first, second] = &receiver.received()[..] else { panic!("not two requests") };
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_never_answers_costs_only_its_time() {
    let silent = Receiver::start(&[Reply::Never]).await;
    let other = Receiver::start(&[Reply::Status(200, "")]).await;
    let sender = Sender::with_timeout(HERE, Duration::from_millis(500));
    let began = Instant::now();
    let job = sender.end_job(&silent.url(HERE)).await;
    // Meanwhile others get theirs.
    let beside = sender.end_job(&other.url(HERE)).await;
    assert_eq!(sender.attempts(beside, 1).await[0].error, None);
    assert_eq!(sender.failure(job).await, (None, "no answer within 0.5 s".to_owned()));
    assert!(began.elapsed() >= Duration::from_millis(500));
    assert_eq!(silent.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_never_answers_keeps_no_other_one_waiting() {
    let silent = Receiver::start(&[Reply::Never]).await;
    let other = Receiver::start(&[Reply::Status(200, "")]).await;
    // The silent one keeps its places until the end of the test.
    let sender = Sender::start("127.0.0.1, localhost");
    let mut silenced = Vec::new();
    // More than there are places for all receivers.
    for _ in 0..40 {
        silenced.push(sender.end_job(&silent.url(HERE)).await);
    }
    let began = Instant::now();
    while silent.received().len() < 8 {
        assert!(began.elapsed() < LONG, "{}", silent.received().len());
        tokio::time::sleep(PAUSE).await;
    }
    let job = sender.end_job(&other.url("localhost")).await;
    assert_eq!(sender.attempts(job, 1).await[0].error, None);
    assert_eq!(silent.received().len(), 8);
    // A webhook that finds no place stays in the queue, and has no attempt.
    assert_eq!(sender.pending().await, 40);
    for id in silenced {
        assert!(sender.queue.job(id).await.unwrap().unwrap().deliveries.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_response_is_not_read() {
    const LENGTH: usize = 100 << 20;
    let receiver = Receiver::start(&[Reply::Large(LENGTH)]).await;
    let sender = Sender::start(HERE);
    let job = sender.end_job(&receiver.url(HERE)).await;
    assert_eq!(sender.attempts(job, 1).await[0].status, Some(200));
    // What was sent fits into the buffers of the system.
    assert!(receiver.sent() < LENGTH / 4, "{}", receiver.sent());
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_are_no_http_servers_are_told_apart() {
    let sender = Sender::start(HERE);

    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let job = sender.end_job(&format!("https://{}/", plain.local_addr().unwrap())).await;
    let (mut stream, _) = plain.accept().await.unwrap();
    // The beginning of TLS, to which servers without TLS respond like this.
    let _ = stream.read(&mut [0; 8192]).await.unwrap();
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    assert_eq!(sender.failure(job).await, (None, "the TLS connection failed".to_owned()));

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let job = sender.end_job(&format!("http://{address}/")).await;
    assert_eq!(sender.failure(job).await, (None, "could not connect".to_owned()));

    let hasty = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let job = sender.end_job(&format!("http://{}/", hasty.local_addr().unwrap())).await;
    drop(hasty.accept().await.unwrap());
    assert_eq!(sender.failure(job).await, (None, "the connection ended without a response".to_owned()));
}
