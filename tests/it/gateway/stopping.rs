//! The shutdown, from the signal to the last answer.

use std::io::Read;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;

use super::engine::{motion, send};
use super::raw::{GET_LIVE, Raw, head};
use super::{Gateway, TRIANGLE, until};
use crate::busy_engine::alive;

const FBX: &str = "output_format=fbx";

fn run_folders(gateway: &Gateway) -> usize {
    let work = std::fs::read_dir(gateway.folder.path().join("work")).unwrap();
    work.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("run-")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_finishes_running_and_new_requests() {
    let mut gateway = Gateway::start(&[("SHUTDOWN_DELAY", "3"), ("WORKERS", "2")]);
    let mut kept = gateway.raw();
    assert_eq!(kept.send(GET_LIVE).answer().unwrap().header("connection"), None);
    let mut half = gateway.raw();
    let running = gateway.convert(FBX, "a.bvh", motion());
    let meanwhile = async {
        let held = gateway.hold().await;
        gateway.signal(Signal::TERM);
        gateway.wait_for("stopping");
        // New connections are accepted during SHUTDOWN_DELAY.
        let answer = |path: &str| {
            gateway.raw().send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).answer().unwrap()
        };
        let ready = answer("/readyz");
        assert_eq!((ready.status, &ready.json()["checks"]["accepting"]), (503, &"draining".into()));
        assert_eq!(answer("/livez").status, 200);
        assert_eq!(answer("/health").json()["status"], "draining");
        // On an open connection, the response says that it closes.
        assert_eq!(kept.send(GET_LIVE).answer().unwrap().header("connection"), Some("close"));
        assert!(kept.closes());
        half.send(&GET_LIVE[..20]);
        until("nothing listens", || {
            std::net::TcpStream::connect(gateway.address.strip_prefix("http://").unwrap()).is_err()
        });
        drop(held);
        // A request that had begun before the signal is answered when it is complete.
        std::thread::sleep(std::time::Duration::from_millis(400));
        assert_eq!(half.send(&GET_LIVE[20..]).answer().unwrap().status, 200);
        assert!(half.closes());
    };
    let (answer, ()) = tokio::join!(running, meanwhile);
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap();
    assert_eq!(gateway.end().code(), Some(0));
    assert_eq!(run_folders(&gateway), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn conversions_beyond_the_grace_period_get_503() {
    let mut gateway = Gateway::start(&[("SHUTDOWN_GRACE", "0.5")]);
    let mut upload = gateway.raw();
    upload.send(head(FBX, 1000)).send("v 0");
    let running = gateway.convert(FBX, "a.bvh", motion());
    let meanwhile = async {
        let child = gateway.child().await;
        send(child, Signal::STOP);
        gateway.signal(Signal::INT);
        child
    };
    let (answer, child) = tokio::join!(running, meanwhile);
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["code"], "shutting_down");
    let answer = upload.answer().unwrap();
    assert_eq!((answer.status, &answer.json()["code"]), (503, &"shutting_down".into()));
    assert_eq!(gateway.end().code(), Some(0));
    assert!(!alive(child));
    assert_eq!(run_folders(&gateway), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_all_requests_with_a_response() {
    for (second, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut gateway = Gateway::start(&[]);
        let (mut raw, mut upload) = (gateway.raw(), gateway.raw());
        let model = motion();
        raw.send(head("output_format=fbx&filename=a.bvh", model.len())).send(&model);
        upload.send(head("output_format=fbx&filename=a.bvh", model.len())).send(&model[..10]);
        let child = gateway.child().await;
        send(child, Signal::STOP);
        let zygotes = gateway.zygotes();
        gateway.signal(Signal::TERM);
        gateway.wait_for("stopping");
        gateway.signal(second);
        for client in [&mut raw, &mut upload] {
            let problem = client.answer().unwrap().problem();
            assert_eq!((problem.0, problem.1.as_str()), (503, "shutting_down"));
        }
        // The gateway does not wait for clients that have hung up.
        drop(upload);
        assert_eq!(gateway.end().code(), Some(code));
        let said = gateway.said();
        let answered: Vec<_> = said.iter().filter(|line| line.contains("route=\"/convert\"")).collect();
        assert_eq!(answered.len(), 2, "{said:#?}");
        assert!(answered.iter().all(|line| line.contains("status=503 code=shutting_down")), "{said:#?}");
        assert!(!said.iter().any(|line| line.contains("cut") || line.contains("cancelled")), "{said:#?}");
        until("Blender is gone", || !alive(child) && !zygotes.iter().any(|pid| alive(*pid)));
        assert_eq!(run_folders(&gateway), 0);
    }
}

/// Tests a request other than a conversion, which waits for a silent bucket.
#[tokio::test(flavor = "multi_thread")]
async fn requests_still_waiting_at_the_end_get_503() {
    for (grace, second, code) in [("0", None, 0), ("600", Some(Signal::TERM), 143)] {
        let (mut gateway, mut raw, _bucket) = waits_for_a_bucket(grace);
        gateway.signal(Signal::TERM);
        gateway.wait_for("stopping");
        if let Some(second) = second {
            gateway.signal(second);
        }
        let problem = raw.answer().expect("an answer").problem();
        assert_eq!((problem.0, problem.1.as_str()), (503, "shutting_down"));
        assert_eq!(gateway.end().code(), Some(code));
    }
}

/// A gateway, a connection with a request for a report, and the bucket, which does not answer.
pub fn waits_for_a_bucket(grace: &str) -> (Gateway, Raw, impl Sized) {
    let bucket = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Gateway::start_cold(&[
        ("SHUTDOWN_GRACE", grace),
        ("STORAGE_URL", "s3://bucket"),
        ("AWS_ENDPOINT", &format!("http://{}", bucket.local_addr().unwrap())),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "key"),
    ]);
    let mut raw = gateway.raw();
    let id = uuid::Uuid::now_v7();
    raw.send(format!("GET /v1/reports/{id} HTTP/1.1\r\nhost: a\r\n\r\n"));
    // The gateway also checks the bucket itself, so this looks for the request of the report.
    let mut asked = Vec::new();
    let mut begun = [0; 4096];
    while !String::from_utf8_lossy(&begun).contains(&id.to_string()) {
        let (mut stream, _) = bucket.accept().unwrap();
        assert_ne!(stream.read(&mut begun).unwrap(), 0);
        asked.push(stream);
    }
    (gateway, raw, (bucket, asked))
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_delay_the_shutdown() {
    let mut gateway = Gateway::start_cold(&[("SHUTDOWN_GRACE", "600")]);
    let mut fresh: Vec<_> = (0..20).map(|_| gateway.raw()).collect();
    let mut kept: Vec<_> = (0..20).map(|_| gateway.raw()).collect();
    for raw in &mut kept {
        assert_eq!(raw.send(GET_LIVE).answer().unwrap().status, 200);
    }
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.end().code(), Some(0));
    assert!(fresh.iter_mut().chain(&mut kept).all(super::raw::Raw::closes));
}

/// Sends the signal while many clients convert, on reused and on new connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_under_load_loses_no_response() {
    // All requests are equal, and would be cached.
    let mut gateway = Gateway::start(&[("QUEUE_LIMIT", "4"), ("CACHE", "off")]);
    let fresh = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    let (served, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let client = async |number: usize| {
        let client = if number.is_multiple_of(2) { &fresh } else { &gateway.client };
        loop {
            let target = if number.is_multiple_of(3) { "fbx" } else { "stl" };
            let url = gateway.url(&format!("/convert?output_format={target}&filename=a.obj"));
            match client.post(url).body(TRIANGLE).send().await {
                Ok(answer) if answer.status() == 200 => {
                    answer.bytes().await.unwrap();
                    served.fetch_add(1, Ordering::Relaxed);
                }
                Ok(answer) => {
                    assert_eq!(answer.status(), 503);
                    let problem: serde_json::Value = answer.json().await.unwrap();
                    let code = problem["code"].as_str().unwrap();
                    assert!(["queue_full", "shutting_down"].contains(&code), "{problem}");
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    assert!(error.is_connect(), "{error:?}");
                    return;
                }
            }
        }
    };
    let stop = async {
        while served.load(Ordering::Relaxed) < 20 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        gateway.signal(Signal::TERM);
    };
    tokio::join!(futures_util::future::join_all((0..12).map(client)), stop);
    assert_eq!(gateway.end().code(), Some(0));
    assert_eq!(run_folders(&gateway), 0);
}
