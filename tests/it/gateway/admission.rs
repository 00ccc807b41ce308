//! Admission: running, queued and refused conversions.

use super::engine::{motion, send};
use super::raw::head;
use super::{Gateway, TRIANGLE, until, until_no_folder_is_left};
use crate::busy_engine::alive;

const FBX: &str = "output_format=fbx";
const KNOWN: &str = "output_format=glb&filename=a.obj";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_early_and_blocks_no_others() {
    let gateway = Gateway::start(&[("WORKERS", "1"), ("QUEUE_LIMIT", "1")]);
    let glb = gateway.convert(KNOWN, "a.obj", TRIANGLE.into()).await.bytes().await.unwrap();
    // The child exits a moment after the response; without waiting, it would be the one that is held.
    gateway.until_idle().await;

    let running = gateway.convert(FBX, "a.bvh", motion());
    let waiting = async {
        gateway.until_waiting(0).await;
        gateway.convert(FBX, "b.obj", TRIANGLE.into()).await
    };
    let meanwhile = async {
        let held = gateway.hold().await;
        gateway.until_waiting(1).await;

        // Refused before any byte of the body.
        for query in [FBX, "output_format=gltf&filename=a.fbx"] {
            let mut raw = gateway.raw();
            let refused = raw.send(head(query, 1_000_000)).answer().unwrap();
            assert_eq!((refused.status, &refused.json()["code"]), (503, &"queue_full".into()), "{query}");
            let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=3600).contains(&after), "{after}");
        }
        // A form is refused once the first file's name has arrived.
        let form = format!(
            "POST /convert?output_format=glb HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\
             content-type: multipart/form-data; boundary=b\r\n\r\n\
             --b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.obj\"\r\n\r\n{TRIANGLE}"
        );
        let refused = gateway.raw().send(form).answer().unwrap();
        assert_eq!((refused.status, &refused.json()["code"]), (503, &"queue_full".into()));
        // A small body is read, since its result may be cached; the connection can be reused.
        let mut raw = gateway.raw();
        for (query, status, cache) in [(FBX, 503, None), (KNOWN, 200, Some("hit")), (FBX, 503, None)] {
            let answer = raw.send(head(query, TRIANGLE.len()) + TRIANGLE).answer().unwrap();
            assert_eq!((answer.status, answer.header("connection")), (status, None), "{query}");
            assert_eq!(answer.header("meshgate-cache").filter(|_| status == 200), cache);
            assert_eq!(answer.header("retry-after").is_some(), status == 503);
        }
        // Refused once the content shows that it needs the engine.
        let refused = gateway.convert("output_format=gltf", "c.obj", TRIANGLE.into()).await;
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key("retry-after"));

        // Conversions without the engine still work.
        let repacked = gateway.convert("output_format=gltf", "a.glb", glb.to_vec()).await;
        assert_eq!(repacked.status(), 200);
        for path in ["/livez", "/readyz", "/health", "/v1/formats"] {
            assert_eq!(gateway.client.get(gateway.url(path)).send().await.unwrap().status(), 200, "{path}");
        }
        let health = gateway.json("/health").await;
        assert_eq!((&health["queue"]["full"], &health["engine"]["busy"]), (&true.into(), &1.into()));
        drop(held);
    };
    let (running, waiting, ()) = tokio::join!(running, waiting_after_child(&gateway, waiting), meanwhile);
    assert_eq!((running.status().as_u16(), waiting.status().as_u16()), (200, 200));
    assert_eq!(gateway.convert(FBX, "c.obj", TRIANGLE.into()).await.status(), 200, "there is room again");
    assert_eq!(gateway.json("/health").await["queue"]["full"], false);
    gateway.until_idle().await;
}

/// Runs `then` once a conversion is running.
async fn waiting_after_child<T>(gateway: &Gateway, then: impl Future<Output = T>) -> T {
    gateway.until_busy().await;
    then.await
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_requests_are_served_oldest_first() {
    // Equal conversions would run once.
    let gateway = Gateway::start(&[("WORKERS", "1"), ("QUEUE_LIMIT", "3"), ("CACHE", "off")]);
    let order = std::sync::Mutex::new(Vec::new());
    let nth = async |number: u64| {
        if number > 0 {
            waiting_after_child(&gateway, gateway.until_waiting(number - 1)).await;
        }
        let model = if number == 0 { motion() } else { TRIANGLE.into() };
        let name = if number == 0 { "a.bvh" } else { "a.obj" };
        let answer = gateway.convert(FBX, name, model).await;
        assert_eq!(answer.status(), 200);
        order.lock().unwrap().push(number);
    };
    let meanwhile = async {
        let held = gateway.hold().await;
        gateway.until_waiting(3).await;
        drop(held);
    };
    tokio::join!(nth(0), nth(1), nth(2), nth(3), meanwhile);
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upload_takes_no_queue_place() {
    let gateway = Gateway::start(&[("WORKERS", "1"), ("QUEUE_LIMIT", "0")]);
    // Large enough to be seen on the disk before it is complete.
    let model = "# a comment\n".repeat(200_000) + TRIANGLE;
    let (first, rest) = model.split_at(2_000_000);
    let query = "output_format=stl&filename=a.obj";
    let mut slow: Vec<_> = (0..3).map(|_| gateway.raw()).collect();
    for raw in &mut slow {
        raw.send(head(query, model.len())).send(first);
    }
    until("three uploads", || gateway.conversions_on_disk().len() == 3);
    assert_eq!(gateway.convert("output_format=stl", "b.obj", TRIANGLE.into()).await.status(), 200);
    for raw in &mut slow {
        assert_eq!(raw.send(rest).answer().unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_covers_waiting_and_kills_the_child() {
    let gateway = Gateway::start(&[("WORKERS", "1"), ("CONVERSION_TIMEOUT", "3")]);
    let running = async {
        let answer = gateway.convert(FBX, "a.bvh", motion()).await;
        (answer, gateway.converting())
    };
    let waiting = waiting_after_child(&gateway, gateway.convert(FBX, "b.bvh", motion()));
    let stop = async {
        let child = gateway.child().await;
        // For the supervisor, a stopped child hangs after 5 s.
        send(child, rustix::process::Signal::STOP);
        child
    };
    let ((running, left), waiting, child) = tokio::join!(running, waiting, stop);
    assert_eq!(running.status(), 504);
    assert!(!left.contains(&child) && !alive(child), "the child lives");
    let problem: serde_json::Value = running.json().await.unwrap();
    assert_eq!(problem["code"], "timeout");
    // The waiting request came later, and may have got the slot before its own timeout.
    assert!(matches!(waiting.status().as_u16(), 200 | 504), "{}", waiting.status());
    assert_eq!(gateway.convert(FBX, "c.obj", TRIANGLE.into()).await.status(), 200);
    until_no_folder_is_left(&gateway);
}
