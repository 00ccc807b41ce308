//! A job from its submission to its result.

use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Response;
use serde_json::Value;

use super::{FAST, REPACK, accepted, assert_problem, below, header, objects_of_jobs, path};
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, TRIANGLE, until};

/// The beginning of an FBX file.
const CUT_OFF: &[u8] = b"Kaydara FBX Binary  \0\x1a\0\xe8\x1c\0\0cut off";

const NO_MODEL: &[u8] = b"no model at all";

/// The digest of RFC 9530.
fn sha256(content: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(digest(&SHA256, content)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_has_the_result_of_the_same_conversion() {
    let gateway = Gateway::start(&[]);
    let answer = gateway.submission(FAST, TRIANGLE).send().await.unwrap();
    assert_eq!(header(&answer, "retry-after"), "1");
    let location = header(&answer, "location");
    let submitted = accepted(answer).await;
    assert_eq!((location.as_str(), &submitted["state"]), (path(&submitted), &"queued".into()));
    assert_eq!((&submitted["output_format"], &submitted["attempts"]), (&"glb".into(), &0.into()));

    let job = gateway.succeeded(&submitted).await;
    assert_eq!((&job["id"], &job["attempts"]), (&submitted["id"], &1.into()));
    assert_eq!(
        (&job["input"][0]["name"], &job["input"][0]["bytes"]),
        (&"a.obj".into(), &TRIANGLE.len().into())
    );
    assert_eq!(
        (&job["report"]["output"]["triangles"], &job["result"]["file_name"]),
        (&1.into(), &"a.glb".into())
    );
    let times =
        ["created_at", "started_at", "ended_at", "expires_at"].map(|name| job[name].as_str().unwrap());
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(
        (&job["links"]["result"], &job["links"]["cancel"]),
        (&below(&job, "result").into(), &Value::Null)
    );

    let answer = gateway.get(&below(&job, "result")).await;
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "content-type").as_str()),
        (200, "model/gltf-binary")
    );
    let (tag, digest) = (header(&answer, "etag"), header(&answer, "repr-digest"));
    assert!(header(&answer, "content-disposition").contains("a.glb"));
    let result = answer.bytes().await.unwrap();
    assert_eq!(digest, sha256(&result));
    assert_eq!(tag, format!("\"{}\"", blake3::hash(&result).to_hex()));
    assert_eq!(job["result"]["blake3"], tag.trim_matches('"'));
    assert_eq!(job["result"]["bytes"], result.len());

    // Nobody needs the model any more.
    let is_model = |path: &PathBuf| path.to_str().unwrap().contains(".model-");
    until("the model is removed", || !objects_of_jobs(gateway.folder.path()).iter().any(is_model));

    // A request for the same conversion gets the same file, from the cache and converted again.
    let cached = gateway.convert("output_format=glb", "a.obj", TRIANGLE.into()).await;
    assert_eq!((cached.status().as_u16(), header(&cached, "etag")), (200, tag));
    assert_eq!(cached.bytes().await.unwrap(), result);
    assert_eq!(gateway.undisturbed(FAST, TRIANGLE).await, result);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_did_not_change_is_not_sent_again() {
    let gateway = Gateway::start_cold(&[]);
    let job = gateway.submit(REPACK, triangle()).await;
    gateway.succeeded(&job).await;
    let first = gateway.get(path(&job)).await;
    let tag = header(&first, "etag");
    let request = gateway.client.get(gateway.url(path(&job))).header("if-none-match", &tag);
    let answer = request.send().await.unwrap();
    assert_eq!((answer.status().as_u16(), header(&answer, "etag")), (304, tag));
    // A cache must give neither to a request that prefers to wait.
    assert_eq!((header(&first, "vary").as_str(), header(&answer, "vary").as_str()), ("prefer", "prefer"));
    assert!(answer.bytes().await.unwrap().is_empty());
}

/// `GET` of the result with a header.
async fn result_with(gateway: &Gateway, job: &Value, name: &str, value: &str) -> Response {
    let url = gateway.url(&below(job, "result"));
    gateway.client.get(url).header(name, value).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_and_headers_of_a_result_can_be_asked_for() {
    let gateway = Gateway::start_cold(&[]);
    let job = gateway.submit(REPACK, triangle()).await;
    let job = gateway.succeeded(&job).await;
    let result = gateway.result(&job).await;
    let (length, tag) = (result.len(), format!("\"{}\"", blake3::hash(&result).to_hex()));

    let unchanged = result_with(&gateway, &job, "if-none-match", &tag).await;
    assert_eq!((unchanged.status().as_u16(), header(&unchanged, "etag")), (304, tag.clone()));
    assert!(unchanged.bytes().await.unwrap().is_empty());

    for (range, part) in [
        ("bytes=0-3", 0..4),
        ("bytes=5-", 5..length),
        ("bytes=-7", length - 7..length),
        ("bytes=10-99999999", 10..length),
    ] {
        let answer = result_with(&gateway, &job, "range", range).await;
        assert_eq!(answer.status(), 206, "{range}");
        let named = format!("bytes {}-{}/{length}", part.start, part.end - 1);
        assert_eq!(header(&answer, "content-range"), named, "{range}");
        // The digest is that of the whole file.
        assert_eq!(header(&answer, "repr-digest"), sha256(&result));
        assert_eq!(answer.bytes().await.unwrap(), result[part], "{range}");
    }
    let beyond = result_with(&gateway, &job, "range", &format!("bytes={length}-")).await;
    assert_eq!(header(&beyond, "content-range"), format!("bytes */{length}"));
    assert_problem(beyond, 416, "range_not_satisfiable").await;
    for (name, value) in [("range", "bytes=0-1,3-4"), ("range", "lines=0-1"), ("range", "bytes=a-b")] {
        let whole = result_with(&gateway, &job, name, value).await;
        assert_eq!(whole.status(), 200, "{value}");
        assert_eq!(whole.bytes().await.unwrap(), result, "{value}");
    }

    let head = gateway.client.head(gateway.url(&below(&job, "result"))).send().await.unwrap();
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, length.to_string()));
    assert_eq!((header(&head, "etag"), header(&head, "accept-ranges")), (tag, "bytes".to_owned()));
    assert_eq!(header(&head, "repr-digest"), sha256(&result));
    assert!(head.bytes().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn head_knows_that_the_file_is_gone() {
    let gateway = Gateway::start_cold(&[]);
    let job = gateway.submit(REPACK, triangle()).await;
    gateway.succeeded(&job).await;
    let objects = objects_of_jobs(gateway.folder.path());
    let result = objects.iter().find(|path| path.to_str().unwrap().contains(".result-")).unwrap();
    std::fs::remove_file(result).unwrap();
    let url = gateway.url(&below(&job, "result"));
    assert_eq!(gateway.client.head(url).send().await.unwrap().status(), 410);
    assert_problem(gateway.get(&below(&job, "result")).await, 410, "expired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_cannot_be_converted_fails_its_job() {
    let gateway = Gateway::start(&[]);
    for (model, status, code) in [(CUT_OFF, 422, "import_failed"), (NO_MODEL, 415, "unknown_format")] {
        let submitted = gateway.submit("output_format=glb&filename=a.fbx", model).await;
        let job = gateway.ended(&submitted).await;
        // The model would fail again, so there was one attempt.
        assert_eq!((&job["state"], &job["attempts"]), (&"failed".into(), &1.into()), "{job}");
        let error = &job["error"];
        assert_eq!((&error["status"], &error["code"]), (&status.into(), &code.into()), "{job}");
        assert_eq!((&job["result"], &job["report"]), (&Value::Null, &Value::Null));
        let sentence = assert_problem(gateway.get(&below(&job, "result")).await, status, code).await;
        assert_eq!(sentence, error["detail"].as_str().unwrap());

        let retried = accepted(gateway.post(&below(&job, "retry")).await).await;
        assert_eq!(retried["retry_of"], job["id"]);
        assert_eq!(gateway.ended(&retried).await["error"]["code"], code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_in_the_headers_is_compared() {
    let gateway = Gateway::start_cold(&[]);
    let right = sha256(&triangle());
    for name in ["content-digest", "repr-digest"] {
        let answer = gateway.submission(REPACK, triangle()).header(name, &right).send().await.unwrap();
        gateway.succeeded(&accepted(answer).await).await;
        let wrong = gateway.submission(REPACK, triangle()).header(name, sha256(b"another")).send();
        assert_problem(wrong.await.unwrap(), 400, "digest_mismatch").await;
    }
    let garbage = gateway.submission(REPACK, triangle()).header("content-digest", "sha-256=:a:").send();
    assert_problem(garbage.await.unwrap(), 400, "malformed_request").await;
}
