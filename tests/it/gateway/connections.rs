//! Connections that are slow, many, or violate HTTP.

use std::io::Write;
use std::process::Command;

use super::raw::{GET_LIVE, head};
use super::receive::triangle;
use super::{Gateway, PROGRAM, TRIANGLE, until, until_no_folder_is_left};

#[test]
fn an_early_response_reaches_a_client_still_sending() {
    let gateway = Gateway::start_cold(&[("MAX_FILE_SIZE", "1000")]);
    let body = vec![b'x'; 16 << 20];
    let mut raw = gateway.raw();
    // The whole body is sent before the response is read.
    let answer = raw.send(head("output_format=glb", body.len())).send(&body).answer().unwrap();
    assert_eq!((answer.status, &answer.json()["code"]), (413, &"too_large".into()));
    assert_eq!(answer.header("connection"), Some("close"), "a client would reuse the connection");
    // The same with chunks.
    let mut raw = gateway.raw();
    raw.send("POST /convert?output_format=glb HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    for chunk in body.chunks(1 << 20) {
        raw.send(format!("{:x}\r\n", chunk.len())).send(chunk).send("\r\n");
    }
    assert_eq!(raw.send("0\r\n\r\n").answer().unwrap().status, 413);
    assert!(raw.closes());
}

#[test]
fn malformed_requests_get_problem_responses() {
    let gateway = Gateway::start_cold(&[]);
    let long = "x".repeat(40_000);
    let many = "x: 1\r\n".repeat(101);
    for (request, status, code) in [
        ("nonsense\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("GET /livez HTTP/1.1\r\nhost a\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("GET /livez HTTP/1.1\r\nhost : a\r\n\r\n".to_owned(), 400, "malformed_request"),
        (format!("GET /livez HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"), 431, "head_too_large"),
        (format!("GET /livez HTTP/1.1\r\nhost: a\r\n{many}\r\n"), 431, "head_too_large"),
        (format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"), 431, "head_too_large"),
        (post("content-length: 1\r\ncontent-length: 2"), 400, "malformed_request"),
        (post("content-length: -1"), 400, "malformed_request"),
        (post("content-length: 1, 2"), 400, "malformed_request"),
        (post("transfer-encoding: chunked, identity"), 400, "malformed_request"),
        (post("transfer-encoding: xchunked"), 400, "malformed_request"),
        (post("transfer-encoding: chunked").replace("1.1", "1.0"), 400, "malformed_request"),
        // A length above hyper's limit, and one above 64 bits.
        (post("content-length: 18446744073709551615"), 413, "too_large"),
        (post("content-length: 18446744073709551616"), 413, "too_large"),
        (post("Content-Length:\t99999999999999999999999999 "), 413, "too_large"),
        ("GET /livez HTTP/2.0\r\nhost: a\r\n\r\n".to_owned(), 400, "malformed_request"),
        // The preface of HTTP/2, with its settings.
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_owned(), 400, "malformed_request"),
    ] {
        let mut raw = gateway.raw();
        let answer = raw.send(&request).answer().unwrap();
        let problem = answer.json();
        assert_eq!((answer.status, &problem["code"]), (status, &code.into()), "{request:.60}");
        assert_eq!(problem["status"], status, "{request:.60}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-request-id"), problem["request_id"].as_str());
        assert_eq!(answer.header("connection"), Some("close"));
        raw.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(raw.closes());
        let line = gateway.wait_for(problem["request_id"].as_str().unwrap());
        let said = format!("route=\"unmatched\" status={status} code={code} client=127.0.0.1");
        assert!(line.contains(&said), "{line}");
    }
    let counted = [400, 413, 431].map(|status| answered(&gateway, "other", "unmatched", status));
    assert_eq!(counted, [11, 3, 3]);
}

/// Splits the first bytes in every way; hyper does not answer some of them.
#[test]
fn http_2_requests_are_refused_with_an_explanation() {
    let gateway = Gateway::start_cold(&[]);
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for (before, at) in [("", 0), (GET_LIVE, 0), ("", 3), ("", 20)] {
        let mut raw = gateway.raw();
        raw.stream.set_nodelay(true).unwrap();
        if !before.is_empty() {
            assert_eq!(raw.send(before).answer().unwrap().status, 200);
        }
        raw.send(&preface[..at]);
        // The frames after it are read: otherwise closing the connection could lose the response.
        raw.send([&preface[at..], &"x".repeat(1 << 20)].concat());
        let problem = raw.answer().unwrap().problem();
        assert_eq!((problem.0, problem.1.as_str()), (400, "malformed_request"), "{at}");
        assert!(at > 0 || problem.2.contains("HTTP/2"), "{problem:?}");
        raw.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(raw.closes());
    }
    assert_eq!(answered(&gateway, "other", "unmatched", 400), 4);
}

/// The number of counted requests with this method, route and status.
fn answered(gateway: &Gateway, method: &str, route: &str, status: u16) -> u64 {
    let metrics = gateway.raw().send("GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n").answer().unwrap();
    let metrics = String::from_utf8(metrics.body).unwrap();
    let series =
        format!("meshgate_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |count| count.parse().unwrap())
}

fn post(header: &str) -> String {
    format!("POST /convert?output_format=glb HTTP/1.1\r\nhost: a\r\n{header}\r\n\r\n")
}

/// Sends a length and chunks: a proxy may see another end of the request than the server.
#[test]
fn a_request_with_two_lengths_smuggles_no_second_one() {
    let gateway = Gateway::start_cold(&[]);
    for headers in [
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
        "content-length: 4\r\ntransfer-encoding: \tchunked",
    ] {
        let mut raw = gateway.raw();
        let first = raw.send(post(headers)).send("0\r\n\r\n").send(GET_LIVE).answer().unwrap();
        assert_eq!((first.status, first.header("connection")), (400, Some("close")), "{headers}");
        let problem = first.problem();
        assert_eq!(
            (problem.1.as_str(), problem.2.contains("both")),
            ("malformed_request", true),
            "{problem:?}"
        );
        assert!(raw.closes(), "{headers}");
    }
    // The connection is also closed if such a request arrives together with the one before it.
    let mut raw = gateway.raw();
    let two_ends = post("content-length: 4\r\ntransfer-encoding: chunked");
    raw.send([GET_LIVE, &two_ends, "0\r\n\r\n", GET_LIVE].concat());
    assert_eq!(raw.answer().unwrap().status, 200);
    let second = raw.answer().unwrap();
    assert_eq!((second.status, second.header("connection")), (400, Some("close")));
    assert!(raw.closes());
}

/// hyper decodes only chunks; compressed bytes would be mistaken for a model.
#[test]
fn a_body_with_another_transfer_coding_is_refused() {
    let gateway = Gateway::start_cold(&[]);
    for (header, status, code) in [
        ("transfer-encoding: gzip, chunked", 501, "unsupported_transfer_coding"),
        ("transfer-encoding: gzip\r\ntransfer-encoding: chunked", 501, "unsupported_transfer_coding"),
        ("Transfer-Encoding: X-Other ;a=b,Chunked", 501, "unsupported_transfer_coding"),
        ("transfer-encoding: chunked, chunked", 400, "malformed_request"),
    ] {
        let mut raw = gateway.raw();
        let answer = raw.send(post(header)).send("0\r\n\r\n").answer().unwrap();
        let problem = answer.problem();
        assert_eq!((problem.0, problem.1.as_str()), (status, code), "{header}");
        assert_eq!(answer.header("connection"), Some("close"), "{header}");
        assert!(raw.closes(), "{header}");
    }
    let empty_parts = post("transfer-encoding: , chunked");
    let answer = gateway.raw().send(empty_parts).send("0\r\n\r\n").answer().unwrap();
    assert_eq!(answer.problem().1, "no_file");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let gateway = Gateway::start_cold(&[]);
    let mut raw = gateway.raw();
    raw.send(GET_LIVE.repeat(2) + "GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n" + GET_LIVE);
    let statuses: Vec<u16> = (0..4).map(|_| raw.answer().unwrap().status).collect();
    assert_eq!(statuses, [200, 200, 404, 200]);
    // HTTP/1.0 closes the connection after each request.
    let mut raw = gateway.raw();
    assert_eq!(raw.send("GET /livez HTTP/1.0\r\n\r\n").answer().unwrap().status, 200);
    assert!(raw.closes());
}

#[test]
fn slow_clients_are_disconnected() {
    let gateway = Gateway::start_cold(&[("READ_TIMEOUT", "0.5")]);
    let (mut silent, mut slow) = (gateway.raw(), gateway.raw());
    slow.send(&GET_LIVE[..20]);
    assert!(silent.closes() && slow.closes());
    let line = gateway.wait_for("code=request_timeout");
    assert!(line.contains("route=\"unmatched\" status=408"), "{line}");
    // A connection without any byte is not a request.
    assert_eq!(answered(&gateway, "other", "unmatched", 408), 1);
    let mut body = gateway.raw();
    let answer = body.send(head("output_format=glb&filename=a.glb", 1000)).send("abc").answer().unwrap();
    assert_eq!((answer.status, &answer.json()["code"]), (408, &"request_timeout".into()));
    // The pause between two requests may be longer.
    let mut kept = gateway.raw();
    kept.send(GET_LIVE).answer().unwrap();
    assert!(gateway.raw().closes(), "one that came later was cut");
    assert_eq!(kept.send(GET_LIVE).answer().unwrap().status, 200);
}

/// A glb with a texture of this many incompressible bytes.
pub fn large_glb(bytes: usize) -> Vec<u8> {
    let bin = bytes.next_multiple_of(4) + 36;
    let json = format!(
        r#"{{"asset":{{"version":"2.0"}},"scene":0,"scenes":[{{"nodes":[0]}}],"nodes":[{{"mesh":0}}],
        "meshes":[{{"primitives":[{{"attributes":{{"POSITION":0}}}}]}}],
        "accessors":[{{"bufferView":0,"componentType":5126,"count":3,"type":"VEC3","min":[0,0,0],"max":[1,1,0]}}],
        "bufferViews":[{{"buffer":0,"byteLength":36}},{{"buffer":0,"byteOffset":36,"byteLength":{}}}],
        "images":[{{"bufferView":1,"mimeType":"image/png"}}],"buffers":[{{"byteLength":{bin}}}]}}"#,
        bin - 36,
    );
    let json = format!("{json:<width$}", width = json.len().next_multiple_of(4));
    let mut glb = Vec::new();
    for number in [0x4654_6c67, 2, 28 + json.len() + bin, json.len(), 0x4e4f_534a] {
        glb.extend_from_slice(&(number as u32).to_le_bytes());
    }
    glb.extend_from_slice(json.as_bytes());
    for number in [bin, 0x004e_4942] {
        glb.extend_from_slice(&(number as u32).to_le_bytes());
    }
    for number in [0.0_f32, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0] {
        glb.extend_from_slice(&number.to_le_bytes());
    }
    glb.resize(28 + json.len() + bin, 7);
    glb
}

#[test]
fn a_client_that_does_not_read_is_disconnected() {
    // A cached result would be sent without a folder.
    let gateway = Gateway::start_cold(&[("READ_TIMEOUT", "3"), ("CACHE", "off")]);
    let glb = large_glb(24 << 20);
    let ask = || {
        let mut raw = gateway.raw();
        raw.send(head("output_format=gltf&filename=a.glb", glb.len())).send(&glb);
        raw
    };
    let mut taken = ask();
    let answer = taken.answer().unwrap();
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert!(answer.body.len() > glb.len());
    until_no_folder_is_left(&gateway);

    let mut left = ask();
    // The response has begun.
    left.stream.peek(&mut [0]).unwrap();
    assert!(!gateway.conversions_on_disk().is_empty());
    until_no_folder_is_left(&gateway);
    assert!(left.stream.flush().is_ok());
}

#[test]
fn connections_beyond_the_limit_get_503_except_probes() {
    let gateway = Gateway::start_cold(&[("MAX_CONNECTIONS", "3")]);
    let mut open: Vec<_> = (0..3).map(|_| gateway.raw()).collect();
    for raw in &mut open {
        assert_eq!(raw.send(GET_LIVE).answer().unwrap().header("connection"), None);
    }
    let mut beyond = gateway.raw();
    let answer = beyond.send(head("output_format=glb", 100_000)).answer().unwrap();
    assert_eq!((answer.status, &answer.json()["code"]), (503, &"too_many_connections".into()));
    assert!(answer.header("retry-after").is_some());
    let id = answer.header("x-request-id").unwrap();
    assert_eq!(answer.json()["request_id"], id);
    let line = gateway.wait_for(id);
    assert!(line.contains("route=\"/convert\"") && line.contains("code=too_many_connections"), "{line}");
    assert_eq!(answered(&gateway, "POST", "/convert", 503), 1);
    let probe = gateway.raw().send(GET_LIVE).answer().unwrap();
    assert_eq!((probe.status, probe.header("connection")), (200, Some("close")));
    open.pop();
    until("room again", || {
        let mut raw = gateway.raw();
        let answer = raw.send("GET /v1/formats HTTP/1.1\r\nhost: a\r\n\r\n").answer().unwrap();
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
        answer.status == 200
    });
}

#[test]
fn a_closed_connection_makes_room_for_the_next() {
    let gateway = Gateway::start_cold(&[("MAX_CONNECTIONS", "1")]);
    let ask = || {
        let mut raw = gateway.raw();
        let request = "GET /v1/formats HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let status = raw.send(request).answer().unwrap().status;
        assert!(raw.closes());
        status
    };
    // Sometimes the first connection is still being closed when the second one arrives.
    assert!((0..20).any(|_| (ask(), ask()) == (200, 200)));
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_and_slow_uploads_block_no_others() {
    let gateway = Gateway::start(&[]);
    let idle: Vec<_> = (0..100).map(|_| gateway.raw()).collect();
    let mut slow: Vec<_> = (0..50).map(|_| gateway.raw()).collect();
    // Large enough to be written to the disk.
    let begun = "# a comment\n".repeat(120_000);
    for raw in &mut slow {
        raw.send(head("output_format=glb&filename=a.obj", 2 * begun.len())).send(&begun);
    }
    until("fifty uploads", || gateway.conversions_on_disk().len() == 50);
    for _ in 0..3 {
        assert_eq!(gateway.convert("output_format=stl", "a.obj", TRIANGLE.into()).await.status(), 200);
    }
    // Interrupted uploads leave nothing behind.
    drop((idle, slow));
    until_no_folder_is_left(&gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_soft_file_limit_does_not_limit_connections() {
    let mut few = Command::new("sh");
    few.args(["-c", r#"ulimit -S -n 64 && exec "$0" "$@""#, PROGRAM, "serve"]);
    let gateway = Gateway::start_by(few, &[]);
    let idle: Vec<_> = (0..100).map(|_| gateway.raw()).collect();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", gateway.process.id())).unwrap().count();
    until("all are served", || descriptors() > idle.len());
    assert_eq!(gateway.convert("output_format=gltf", "a.glb", triangle()).await.status(), 200);
}

#[test]
fn a_request_needs_exactly_one_host() {
    let gateway = Gateway::start_cold(&[]);
    for (request, status) in [
        ("GET /livez HTTP/1.1\r\n\r\n", 400),
        ("GET /livez HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("GET /livez HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("GET /livez HTTP/1.1\r\nhost:\r\n\r\n", 200),
        ("GET /livez HTTP/1.0\r\n\r\n", 200),
    ] {
        let answer = gateway.raw().send(request).answer().unwrap();
        assert_eq!(answer.status, status, "{request}");
        if status == 400 {
            assert_eq!(answer.problem().1, "malformed_request");
        }
    }
}

/// Shuts down the sending side, like `nc -N`.
#[test]
fn a_half_closed_connection_still_gets_its_response() {
    let gateway = Gateway::start_cold(&[]);
    for path in ["/livez", "/health", "/metrics", "/v1/formats", "/openapi.json", "/apidocs/", "/nothing"] {
        let mut raw = gateway.raw();
        raw.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        raw.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(raw.answer().unwrap().status, if path == "/nothing" { 404 } else { 200 }, "{path}");
        assert!(raw.closes());
    }
    // With an incomplete body, the client counts as gone, but gets an error in case it still reads.
    for body in ["content-length: 9\r\n\r\nv 0", "transfer-encoding: chunked\r\n\r\n9\r\nv 0"] {
        let mut raw = gateway.raw();
        raw.send(format!("POST /convert?output_format=glb&filename=a.obj HTTP/1.1\r\nhost: a\r\n{body}"));
        raw.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let problem = raw.answer().unwrap().problem();
        assert_eq!((problem.0, problem.1.as_str()), (400, "malformed_request"));
        assert!(gateway.wait_for("route=\"/convert\"").contains("status=499 code=cancelled"));
    }
    until_no_folder_is_left(&gateway);
}
