//! Services with a working and with a failing store.

use std::time::{Duration, SystemTime};

use super::backend::{Backend, blob};
use super::server::Server;
use crate::gateway::{Gateway, TRIANGLE, until};

async fn metrics(gateway: &Gateway) -> String {
    gateway.client.get(gateway.url("/metrics")).send().await.unwrap().text().await.unwrap()
}

async fn works(gateway: &Gateway) {
    let answer = gateway.convert("output_format=stl", "a.obj", TRIANGLE.into()).await;
    assert_eq!(answer.status(), 200);
}

const UP: &str = "meshgate_backend_up{backend=\"storage\"} ";
const CHECKED: &str = "meshgate_store_duration_seconds_count{operation=\"check\",outcome=";

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_store_is_reported_and_conversions_continue() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let url = format!("file://{}/file/store", folder.path().display());
    let gateway = Gateway::start_cold(&[("STORAGE_URL", &url)]);
    let line = gateway.wait_for("the store fails");
    assert!(line.contains("ERROR") && line.contains("Not a directory"), "{line}");
    gateway.wait_for("the engine is warm");
    works(&gateway).await;
    let ready = gateway.client.get(gateway.url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 200);
    assert_eq!(ready.json::<serde_json::Value>().await.unwrap()["checks"]["storage"], "failing");
    let health = gateway.json("/health").await;
    assert_eq!((&health["status"], &health["storage"]), (&"degraded".into(), &"failing".into()));
    let text = metrics(&gateway).await;
    assert!(
        text.contains(&format!("{UP}0\n")) && text.contains(&format!("{CHECKED}\"failed\"}} 1\n")),
        "{text}"
    );
    assert!(!gateway.said().iter().any(|line| line.contains("the store fails")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_working_store_is_reported_and_swept() {
    let backend = Backend::folder();
    let hash = blake3::hash(b"x");
    backend.write(&blob(&hash), b"x").await;
    let path = backend.path(&blob(&hash));
    let yesterday = SystemTime::now() - Duration::from_hours(25);
    std::fs::File::open(&path).unwrap().set_modified(yesterday).unwrap();
    let root = backend.path("");
    let gateway = Gateway::start(&[("CONVERSION_CACHE_DIR", root.to_str().unwrap())]);
    until("the leftover is gone", || !path.exists());
    works(&gateway).await;
    assert_eq!(gateway.json("/readyz").await["checks"]["storage"], "ok");
    let health = gateway.json("/health").await;
    assert_eq!((&health["status"], &health["storage"]), (&"healthy".into(), &"ok".into()));
    let text = metrics(&gateway).await;
    assert!(
        text.contains(&format!("{UP}1\n")) && text.contains(&format!("{CHECKED}\"done\"}} 1\n")),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_returns_is_detected() {
    let server = Server::start(&["--port", "0"], &[]);
    let gateway = Gateway::start_cold(&[
        ("STORAGE_URL", "s3://bucket"),
        ("AWS_ENDPOINT", &server.address),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "hunter22"),
    ]);
    let line = gateway.wait_for("the store fails");
    assert!(line.contains("s3://bucket does not exist (NoSuchBucket)"), "{line}");
    let made = gateway.client.put(format!("{}/bucket", server.address)).send().await.unwrap();
    assert_eq!(made.status(), 200);
    let line = gateway.wait_for("the store works again");
    assert!(!line.contains("hunter22"));
    assert_eq!(gateway.json("/readyz").await["checks"]["storage"], "ok");
}

#[test]
fn an_unreachable_bucket_is_logged_once() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut gateway = Gateway::start_cold(&[
        ("LOG_FILE", folder.path().join("gateway.log").to_str().unwrap()),
        ("STORAGE_URL", "s3://bucket"),
        ("AWS_ENDPOINT", &format!("http://{nobody}")),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "hunter22"),
    ]);
    gateway.wait_for("the store fails");
    gateway.signal(rustix::process::Signal::TERM);
    gateway.end();
    let log = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(log).unwrap();
    let of_start = [" INFO jobs are kept", " INFO listening"];
    let lines: Vec<_> =
        text.lines().filter(|line| !of_start.iter().any(|start| line.contains(start))).collect();
    assert!(lines[0].contains("s3://bucket cannot be reached: "), "{text}");
    assert!(lines[1..].iter().all(|line| !line.contains("bucket") && !line.contains("transport")), "{text}");
    assert!(!text.contains("hunter22"));
}
