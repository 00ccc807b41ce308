//! Clients share the engine and the queue fairly, regardless of order.

use std::sync::Mutex;

use reqwest::{RequestBuilder, StatusCode};

use super::engine::motion;
use super::{Gateway, TRIANGLE, until_no_folder_is_left};

const KEYS: (&str, &str) = ("API_KEYS", "a:aaaaaaaaaaaaaaaa,b:bbbbbbbbbbbbbbbb,c:cccccccccccccccc");

/// A conversion with the key of this owner.
fn asks(gateway: &Gateway, owner: &str, name: &str, model: Vec<u8>) -> RequestBuilder {
    let url = gateway.url(&format!("/convert?output_format=fbx&filename={name}"));
    gateway.client.post(url).header("x-api-key", owner.repeat(16)).body(model)
}

/// Occupies the engine with a conversion of `a` while `then` runs; returns the status of that conversion.
async fn while_a_works(gateway: &Gateway, then: impl AsyncFnOnce()) -> StatusCode {
    let works = asks(gateway, "a", "a.bvh", motion()).send();
    let meanwhile = async {
        gateway.until_busy().await;
        let held = gateway.hold().await;
        then().await;
        drop(held);
    };
    tokio::join!(works, meanwhile).0.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_take_turns_at_one_worker() {
    let gateway = Gateway::start(&[("WORKERS", "1"), ("QUEUE_LIMIT", "6"), ("CACHE", "off"), KEYS]);
    let order = Mutex::new(String::new());
    let nth = async |number: u64, owner: &str| {
        gateway.until_busy().await;
        gateway.until_waiting(number).await;
        let answer = asks(&gateway, owner, "a.obj", TRIANGLE.into()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        order.lock().unwrap().push_str(owner);
    };
    let all = async {
        tokio::join!(nth(0, "a"), nth(1, "a"), nth(2, "a"), nth(3, "b"), nth(4, "b"));
    };
    let works = while_a_works(&gateway, async || gateway.until_waiting(5).await);
    assert_eq!(tokio::join!(works, all).0, 200);
    // The running conversion of `a` counts as its first turn.
    assert_eq!(*order.lock().unwrap(), "babaa");
    until_no_folder_is_left(&gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_filling_the_queue_yields_to_others() {
    let gateway = Gateway::start(&[("WORKERS", "1"), ("QUEUE_LIMIT", "2"), ("CACHE", "off"), KEYS]);
    let waits = async |number: u64, owner: &str| {
        gateway.until_busy().await;
        gateway.until_waiting(number).await;
        asks(&gateway, owner, "a.obj", TRIANGLE.into()).send().await.unwrap()
    };
    let first = waits(0, "a");
    let second = waits(1, "a");
    let other = async {
        gateway.until_busy().await;
        gateway.until_waiting(2).await;
        // The client that filled the queue is refused.
        let refused = asks(&gateway, "a", "a.obj", TRIANGLE.into()).send().await.unwrap();
        assert_eq!(refused.status(), 503);
        assert_eq!(gateway.json("/health").await["queue"]["full"], true);
        asks(&gateway, "b", "a.obj", TRIANGLE.into()).send().await.unwrap()
    };
    let told = async {
        let second = second.await;
        assert_eq!(second.status(), 503);
        let after = second.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap();
        assert!((1..=3600).contains(&after), "{after}");
        let problem: serde_json::Value = second.json().await.unwrap();
        assert_eq!(problem["code"], "queue_full");
        assert!(problem["detail"].as_str().unwrap().contains("fewer conversions"), "{problem}");
        // The place changed hands: the queue is as long as before, and full for further requests of both.
        gateway.until_waiting(2).await;
        let refused = asks(&gateway, "b", "a.obj", TRIANGLE.into()).send().await.unwrap();
        assert_eq!(refused.status(), 503);
    };
    let (told_sender, told_receiver) = tokio::sync::oneshot::channel();
    let told = async {
        told.await;
        told_sender.send(()).unwrap();
    };
    let works = while_a_works(&gateway, async || told_receiver.await.unwrap());
    let (works, first, other, ()) = tokio::join!(works, first, other, told);
    assert_eq!((works, first.status(), other.status()), (StatusCode::OK, StatusCode::OK, StatusCode::OK));
    gateway.until_idle().await;
    until_no_folder_is_left(&gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnected_client_leaves_the_queue() {
    let gateway = Gateway::start(&[("WORKERS", "1"), ("QUEUE_LIMIT", "4"), ("CACHE", "off"), KEYS]);
    let works = while_a_works(&gateway, async || {
        let waiting: Vec<_> = ["a", "b", "b", "a"]
            .map(|owner| tokio::spawn(asks(&gateway, owner, "a.obj", TRIANGLE.into()).send()))
            .into();
        gateway.until_waiting(4).await;
        for waiting in waiting {
            waiting.abort();
        }
        gateway.until_waiting(0).await;
    });
    assert_eq!(works.await, 200);
    gateway.until_idle().await;
    assert_eq!(asks(&gateway, "b", "a.obj", TRIANGLE.into()).send().await.unwrap().status(), 200);
    until_no_folder_is_left(&gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn coalesced_requests_survive_a_displaced_queue_place() {
    let gateway = Gateway::start(&[
        ("WORKERS", "1"),
        ("QUEUE_LIMIT", "2"),
        ("CACHE_SCOPE", "shared"),
        ("LOG_LEVEL", "info,meshgate::conversion=debug"),
        KEYS,
    ]);
    let model = |number: usize| TRIANGLE.replacen("v 1", &format!("v {number}"), 1).into_bytes();
    let waits = async |number: u64, owner: &str| {
        gateway.until_busy().await;
        gateway.until_waiting(number).await;
        asks(&gateway, owner, "a.obj", model(number as usize)).send().await.unwrap().status()
    };
    let (same, told) = tokio::sync::oneshot::channel();
    let others = async {
        gateway.until_busy().await;
        gateway.until_waiting(2).await;
        let same_as_second = tokio::spawn(asks(&gateway, "b", "a.obj", model(1)).send());
        gateway.wait_for("waiting for an equal conversion");
        let third = tokio::spawn(asks(&gateway, "c", "a.obj", model(3)).send());
        same.send(()).unwrap();
        (same_as_second.await.unwrap().unwrap().status(), third.await.unwrap().unwrap().status())
    };
    // The engine is held until the second request of `a` has lost its place.
    let second = async {
        let status = waits(1, "a").await;
        gateway.until_waiting(2).await;
        status
    };
    let (lost, gone) = tokio::sync::oneshot::channel();
    let second = async {
        let status = second.await;
        lost.send(()).unwrap();
        status
    };
    let works = while_a_works(&gateway, async || {
        told.await.unwrap();
        gone.await.unwrap();
    });
    let (works, _first, second, (same_as_second, third)) = tokio::join!(works, waits(0, "a"), second, others);
    assert_eq!((works, second), (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!((same_as_second, third), (StatusCode::OK, StatusCode::OK));
    until_no_folder_is_left(&gateway);
}
