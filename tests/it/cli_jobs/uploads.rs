//! Uploads that break off or are refused, and lists of several pages.

use serde_json::json;

use super::scripted::{Answer, Scripted, answer_json};
use super::{Desk, ID, job};

const SUBMISSION: &str = "POST /base/v1/jobs?output_format=gltf&filename=a.glb";

#[test]
fn an_upload_is_sent_again_with_the_same_key() {
    let server = Scripted::start(|_, before| match before {
        0 => Answer::Cut,
        1 => answer_json(503, "retry-after: 1\r\n", r#"{"code":"jobs_unavailable","detail":"try again"}"#),
        2 => {
            answer_json(409, "retry-after: 1\r\n", r#"{"code":"idempotency_key_in_flight","detail":"wait"}"#)
        }
        _ => answer_json(202, "", &job("queued")),
    });
    let content: Vec<u8> = (0..3_000_000_u32).map(|number| (number / 7) as u8).collect();
    let desk = Desk::with("a.glb", &content);
    // The server may be below a path.
    let ran = desk.run(&format!("{}/base", server.address), "submit a.glb --to gltf").succeeded();
    assert_eq!(ran.out, format!("{ID}  {}/base/v1/jobs/{ID}\n", server.address));
    // Once, whatever comes after it.
    let away = "the server cannot reach its jobs (jobs_unavailable); trying for two minutes";
    assert_eq!(ran.said(), [format!("a.glb → gltf: {away}")]);
    let requests = server.requests_to(SUBMISSION);
    assert_eq!(requests.len(), 4);
    let key = requests[0].header("idempotency-key");
    assert!(uuid::Uuid::try_parse(key).is_ok(), "{key}");
    for request in &requests {
        assert_eq!(request.header("idempotency-key"), key);
        assert_eq!(request.header("content-length"), content.len().to_string());
    }
    for request in &requests[1..] {
        assert!(request.body == content);
    }
}

#[test]
fn a_refused_upload_is_not_sent_again() {
    let desk = Desk::with("a.glb", "x");
    let empty = r#"{"code":"empty_file","detail":"the file is empty","request_id":"r-1"}"#;
    let elsewhere = "location: https://example.com/v1/jobs\r\n";
    for (status, headers, body, words) in [
        (422, "", empty, "the file is empty (empty_file, request r-1)"),
        (413, "", "<html>", "the server answered 413 Payload Too Large"),
        (503, "retry-after: 3600\r\nx-request-id: r-2\r\n", "", "503 Service Unavailable (request r-2)"),
        (308, elsewhere, "", "redirects to https://example.com/v1/jobs; use that server as --server"),
        (202, "", "<html>", "does not answer like Meshgate"),
        (200, "", r#"{"jobs":[]}"#, "does not answer like Meshgate"),
    ] {
        let server = Scripted::start(move |_, _| answer_json(status, headers, body));
        desk.run(&server.address, "submit a.glb --to gltf").failed(&[words]);
        assert_eq!(server.requests().len(), 1, "{status}");
    }
}

#[test]
fn a_list_is_read_page_by_page() {
    let server = Scripted::start(|request, _| {
        let jobs: Vec<serde_json::Value> = vec![serde_json::from_str(&job("running")).unwrap(); 2];
        let is_last = request.line.contains("page_token=second");
        let next = if is_last { "third" } else { "second" };
        answer_json(200, "", &json!({"jobs": jobs, "next_page_token": next}).to_string())
    });
    let desk = Desk::new();
    let ran = desk.run(&server.address, "list --limit 3 --state running --json").succeeded();
    assert_eq!(ran.json().len(), 3);
    let lines: Vec<_> = server.requests().into_iter().map(|request| request.line).collect();
    assert_eq!(
        lines,
        [
            "GET /v1/jobs?page_size=3&state=running",
            "GET /v1/jobs?page_size=1&state=running&page_token=second"
        ]
    );
}
