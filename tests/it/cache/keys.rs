//! API keys see nothing of each other's conversions, unless they share the cache.

use reqwest::{RequestBuilder, Response};
use serde_json::Value;

use super::{answered, cache_status, conversion, conversions, header, model, stored, until_counted};
use crate::gateway::engine::motion;
use crate::gateway::{Gateway, report, until};
use crate::redis::RedisServer;

const KEYS: (&str, &str) = ("API_KEYS", "studio:s3cret-s3cret-s3cret,robot:b0lts-b0lts-b0lts");
const STUDIO: &str = "s3cret-s3cret-s3cret";
const ROBOT: &str = "b0lts-b0lts-b0lts";

async fn send(request: RequestBuilder, key: &str) -> Response {
    request.header("x-api-key", key).send().await.unwrap()
}

/// The status and the error code of a GET with the key.
async fn found(gateway: &Gateway, path: &str, key: &str) -> (u16, String) {
    let answer = send(gateway.client.get(gateway.url(path)), key).await;
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

const THERE: (u16, &str) = (200, "");
const ABSENT: (u16, &str) = (404, "not_found");

fn is(expected: (u16, &str)) -> (u16, String) {
    (expected.0, expected.1.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_has_its_own_results_and_reports() {
    let server = RedisServer::start();
    let url = server.url();
    for redis in [None, Some(("REDIS_URL", url.as_str()))] {
        let gateway = Gateway::start(&[Some(KEYS), redis].into_iter().flatten().collect::<Vec<_>>());
        let first = send(conversion(&gateway), STUDIO).await;
        assert_eq!((first.status().as_u16(), cache_status(&first).as_str()), (200, "miss"));
        let (tag, its_report) = (header(&first, "etag"), report(&first));
        until("it is stored", || stored(&gateway, "reports").len() == 1);
        until_counted(&gateway, "meshgate_cache_bytes").await;
        let again = send(conversion(&gateway), STUDIO).await;
        assert_eq!((cache_status(&again).as_str(), report(&again)), ("hit", its_report.clone()));

        // A key that already has the result cannot tell whether another key has it, too.
        let other = send(conversion(&gateway).header("if-none-match", tag), ROBOT).await;
        assert_eq!((other.status().as_u16(), cache_status(&other).as_str()), (304, "miss"));
        let others_report = report(&other);
        assert_ne!(others_report, its_report);
        assert_eq!(conversions(&gateway).await, 2);

        for (path, key, expected) in [
            (&its_report, STUDIO, THERE),
            (&its_report, ROBOT, ABSENT),
            (&others_report, ROBOT, THERE),
            (&others_report, STUDIO, ABSENT),
        ] {
            assert_eq!(found(&gateway, path, key).await, is(expected), "{path} {key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_conversions_of_two_keys_run_separately() {
    let gateway = Gateway::start(&[KEYS, ("WORKERS", "1")]);
    let slow = || {
        let url = gateway.url("/convert?output_format=fbx&filename=a.bvh");
        gateway.client.post(url).body(motion())
    };
    let first = send(slow(), STUDIO);
    let others = async {
        let held = gateway.hold().await;
        let same = send(slow(), STUDIO);
        let other = send(slow(), ROBOT);
        let go_on = async {
            gateway.until_waiting(1).await;
            drop(held);
        };
        tokio::join!(same, other, go_on)
    };
    let (first, (same, other, ())) = tokio::join!(first, others);
    assert_eq!(
        [cache_status(&first), cache_status(&same), cache_status(&other)],
        ["miss", "coalesced", "miss"]
    );
    assert_eq!(conversions(&gateway).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_report_is_stored_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = ("CONVERSION_CACHE_DIR", folder.path().to_str().unwrap());
    let gateway = Gateway::start(&[KEYS, store]);
    let its_report = report(&send(conversion(&gateway), STUDIO).await);
    let reports = folder.path().join("reports");
    until("it is stored", || super::complete_files(&reports).len() == 1);
    drop(gateway);
    let gateway = Gateway::start_cold(&[KEYS, store]);
    assert_eq!(found(&gateway, &its_report, STUDIO).await, is(THERE));
    assert_eq!(found(&gateway, &its_report, ROBOT).await, is(ABSENT));
    drop(gateway);

    // Without API keys, a report with an owner stays private; with keys, a report without an owner belongs to none.
    let gateway = Gateway::start_cold(&[store]);
    assert_eq!(found(&gateway, &its_report, ROBOT).await, is(ABSENT));
    drop(gateway);
    let file = super::complete_files(&reports).remove(0);
    let mut record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(record.as_object_mut().unwrap().remove("owner").unwrap(), "studio");
    std::fs::write(&file, record.to_string()).unwrap();
    for (settings, expected) in
        [(&[KEYS, store][..], ABSENT), (&[KEYS, store, ("CACHE_SCOPE", "shared")], THERE), (&[store], THERE)]
    {
        let gateway = Gateway::start_cold(settings);
        assert_eq!(found(&gateway, &its_report, STUDIO).await, is(expected), "{settings:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_share_results_with_shared_cache_scope() {
    let gateway = Gateway::start(&[KEYS, ("CACHE_SCOPE", "shared")]);
    let first = send(conversion(&gateway), STUDIO).await;
    until_counted(&gateway, "meshgate_cache_bytes").await;
    let other = send(conversion(&gateway), ROBOT).await;
    assert_eq!((cache_status(&first).as_str(), cache_status(&other).as_str()), ("miss", "hit"));
    assert_eq!(report(&first), report(&other));
    for key in [STUDIO, ROBOT] {
        assert_eq!(found(&gateway, &report(&first), key).await, is(THERE));
    }
    assert_eq!((conversions(&gateway).await, answered(&gateway, "hit").await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_cached_for_each_key() {
    let gateway = Gateway::start(&[KEYS]);
    for (key, expected) in [(STUDIO, "miss"), (STUDIO, "hit"), (ROBOT, "miss")] {
        let answer = send(model(&gateway, "what is this?"), key).await;
        assert_eq!((answer.status().as_u16(), cache_status(&answer).as_str()), (415, expected), "{key}");
    }
}
