//! The metrics, as Prometheus scrapes them.

use std::time::{Duration, Instant};

use super::engine::send;
use super::observability::{is_listed, metrics_asked_for};
use super::raw::{Raw, head};
use super::{Gateway, LONG, PAUSE, TRIANGLE, scrape};
use crate::redis::RedisServer;

/// The integer value of the series with this name and these labels, 0 if absent.
fn value(text: &str, series: &str) -> i64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse::<f64>().unwrap() as i64)
}

/// Scrapes until the series has this value.
async fn until(gateway: &Gateway, series: &str, wanted: i64) -> String {
    let end = Instant::now() + LONG;
    loop {
        let text = scrape(gateway).await;
        if value(&text, series) == wanted {
            return text;
        }
        assert!(Instant::now() < end, "{series} is not {wanted}: {text}");
        tokio::task::yield_now().await;
    }
}

/// Waits until this many failed starts of the engine are counted.
pub async fn until_starts_failed(gateway: &Gateway, least: i64) {
    let end = Instant::now() + LONG;
    loop {
        let text = scrape(gateway).await;
        assert_eq!(value(&text, "meshgate_ready"), 0, "{text}");
        if value(&text, "meshgate_engine_failed_starts_total") >= least {
            return;
        }
        assert!(Instant::now() < end, "not counted: {text}");
        tokio::time::sleep(PAUSE).await;
    }
}

const BUSY: &str = "meshgate_engine_slots{state=\"busy\"}";

/// A model that is slow to convert.
fn large_grid() -> String {
    use std::fmt::Write;

    const SIDE: usize = 250;
    let mut text = String::new();
    for y in 0..SIDE {
        for x in 0..SIDE {
            let _ = writeln!(text, "v {x} {y} {}", (x * y) % 7);
        }
    }
    for y in 0..SIDE - 1 {
        for x in 1..SIDE {
            let at = y * SIDE + x;
            let _ = writeln!(text, "f {at} {} {} {}", at + 1, at + 1 + SIDE, at + SIDE);
        }
    }
    text
}

/// Starts a conversion; dropping the connection hangs up.
fn begun(gateway: &Gateway, model: &str) -> Raw {
    let mut raw = gateway.raw();
    raw.send(head("output_format=fbx&filename=a.obj", model.len())).send(model);
    raw
}

/// A failing conversion, and its expected count.
struct Failure {
    target: &'static str,
    name: &'static str,
    content: Vec<u8>,
    engine: &'static str,
    input: &'static str,
    code: &'static str,
}

fn failures() -> [Failure; 4] {
    let fbx = [b"Kaydara FBX Binary  \0\x1a\0\xe8\x1c\0\0".as_slice(), &[7; 500]].concat();
    let gltf = br#"{"asset":{"version":"2.0"}}"#.to_vec();
    let text = || b"hello".to_vec();
    let failure =
        |target, name, content, engine, input, code| Failure { target, name, content, engine, input, code };
    [
        failure("glb", "a.fbx", text(), "none", "unknown", "unknown_format"),
        failure("glb", "a.fbx", fbx, "blender", "fbx", "import_failed"),
        failure("fbx", "a.gltf", gltf, "blender", "gltf", "empty_model"),
        failure("glb", "a.doc", text(), "none", "unknown", "unsupported_input_format"),
    ]
}

/// Runs one service through every outcome of a conversion, since separate tests would each need all of it.
#[tokio::test(flavor = "multi_thread")]
async fn every_outcome_is_counted_in_metrics() {
    let redis = RedisServer::start();
    let gateway = Gateway::start(&[
        ("LOG_LEVEL", "info,meshgate::access=off"),
        ("REDIS_URL", &redis.url()),
        // A limit that this test does not reach.
        ("RATE_LIMIT_REQUESTS", "1000"),
    ]);

    // Successful conversions in both lanes.
    let answer = gateway.convert("output_format=glb", "a.obj", TRIANGLE.into()).await;
    assert_eq!(answer.status(), 200);
    let glb = answer.bytes().await.unwrap().to_vec();
    assert_eq!(gateway.convert("output_format=gltf", "a.glb", glb).await.status(), 200);

    // Failed conversions, each with another code.
    let failures = failures();
    for Failure { target, name, content, code, .. } in &failures {
        let answer = gateway.convert(&format!("output_format={target}"), name, content.clone()).await;
        let problem: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], *code, "{problem}");
    }
    for (path, status) in [("/nowhere/at/all", 404), ("/convert", 405)] {
        assert_eq!(gateway.client.get(gateway.url(path)).send().await.unwrap().status(), status);
    }

    // The client hangs up.
    let large = large_grid();
    let client = begun(&gateway, &large);
    until(&gateway, BUSY, 1).await;
    drop(client);
    let cancelled =
        "meshgate_conversions_total{engine=\"blender\",input=\"obj\",outcome=\"cancelled\",output=\"fbx\"}";
    until(&gateway, cancelled, 1).await;
    until(&gateway, BUSY, 0).await;

    // The child of a conversion is killed.
    let client = begun(&gateway, &large);
    send(gateway.child().await, rustix::process::Signal::KILL);
    let setback = "meshgate_engine_setbacks_total{input=\"obj\",kind=\"crash\",output=\"fbx\"}";
    until(&gateway, setback, 1).await;
    drop(client);
    let cancelled_again = until(&gateway, cancelled, 2).await;
    assert_eq!(value(&cancelled_again, "meshgate_panics_total"), 0);

    let text = until(&gateway, BUSY, 0).await;
    let count = |series: &str| value(&text, series);
    let conversions = |engine: &str, input: &str, outcome: &str, output: &str| {
        count(&format!(
            "meshgate_conversions_total{{engine=\"{engine}\",input=\"{input}\",outcome=\"{outcome}\",output=\"{output}\"}}"
        ))
    };
    assert_eq!(conversions("blender", "obj", "succeeded", "glb"), 1, "{text}");
    assert_eq!(conversions("native", "glb", "succeeded", "gltf"), 1, "{text}");
    for Failure { target, engine, input, code, .. } in &failures {
        assert_eq!(conversions(engine, input, code, target), 1, "{code}: {text}");
    }
    for (method, route, status, times) in [
        ("POST", "/convert", 200, 2),
        ("POST", "/convert", 415, 1),
        ("POST", "/convert", 422, 2),
        ("POST", "/convert", 400, 1),
        ("POST", "/convert", 499, 2),
        ("GET", "/convert", 405, 1),
        ("GET", "unmatched", 404, 1),
    ] {
        let series = format!(
            "meshgate_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}"
        );
        assert_eq!(count(&series), times, "{series}: {text}");
    }
    for (histogram, least) in [
        ("meshgate_conversion_duration_seconds_count{engine=\"blender\",input=\"obj\",output=\"glb\"}", 1),
        ("meshgate_http_request_duration_seconds_count{method=\"POST\",route=\"/convert\"}", 8),
        ("meshgate_conversion_input_bytes_count", 6),
        ("meshgate_conversion_output_bytes_count", 2),
        ("meshgate_queue_wait_seconds_count", 5),
        ("meshgate_engine_child_peak_memory_bytes_count", 3),
        ("process_resident_memory_bytes", 1),
    ] {
        assert!(count(histogram) >= least, "{histogram} is below {least}: {text}");
    }
    assert_eq!(count("meshgate_queue_depth"), 0);
    assert_eq!(count("meshgate_engine_slots{state=\"free\"}"), 2);
    assert_eq!(count("meshgate_ready"), 1);

    for metric in metrics_asked_for() {
        let there = text
            .lines()
            .any(|line| line.strip_prefix(&metric).is_some_and(|rest| rest.starts_with([' ', '{'])));
        assert!(there, "no {metric} in {text}");
    }
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    for family in families.filter(|family| !family.starts_with("process_")) {
        assert!(is_listed(family), "docs/observability/README.md lacks {family}");
    }
}

#[tokio::test]
async fn metrics_can_have_their_own_address() {
    let gateway = Gateway::start_cold(&[("METRICS_ADDRESS", "127.0.0.1:0")]);
    let line = gateway.wait_for("metrics address=");
    let address = line.split_once("address=").unwrap().1;
    let get = |url: String| gateway.client.get(url).timeout(Duration::from_mins(1)).send();
    assert_eq!(get(gateway.url("/metrics")).await.unwrap().status(), 404);
    let apart = get(format!("http://{address}/metrics")).await.unwrap();
    assert_eq!(apart.status(), 200);
    assert!(apart.text().await.unwrap().contains("meshgate_http_requests_total{"));
    assert_eq!(get(format!("http://{address}/v1/formats")).await.unwrap().status(), 404);
}

/// Fills all connections of the main address, including the spare ones.
#[tokio::test]
async fn probes_on_the_metrics_address_ignore_the_connection_limit() {
    let gateway = Gateway::start_cold(&[("METRICS_ADDRESS", "127.0.0.1:0"), ("MAX_CONNECTIONS", "1")]);
    let line = gateway.wait_for("metrics address=");
    let address = line.split_once("address=").unwrap().1;
    let _open: Vec<_> = (0..50).map(|_| gateway.raw()).collect();
    gateway.wait_for("all connections are taken");
    for path in ["/livez", "/health", "/metrics", "/readyz"] {
        let answer = gateway.client.get(format!("http://{address}{path}")).send().await.unwrap();
        // The engine may not be warm yet.
        assert!(answer.status() == 200 || (path, answer.status().as_u16()) == ("/readyz", 503), "{path}");
    }
}
