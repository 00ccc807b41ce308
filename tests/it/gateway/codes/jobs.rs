//! The responses of jobs, and of conversions that become jobs.

use reqwest::RequestBuilder;
use reqwest::multipart::{Form, Part};
use uuid::Uuid;

use super::{Seen, answer, ask, begin};
use crate::gateway::connections::large_glb;
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, TRIANGLE, until};

/// The calls that receive a model.
pub const UPLOADS: [&str; 3] = ["/convert", "/v1/convert", "/v1/jobs"];

const JOBS: &str = UPLOADS[2];

/// Every call on one job: a method, and what follows the path of the job.
const CALLS: [(&str, &str); 7] = [
    ("GET", ""),
    ("DELETE", ""),
    ("GET", "/result"),
    ("GET", "/events"),
    ("POST", "/cancel"),
    ("POST", "/retry"),
    REDELIVER,
];

const REDELIVER: (&str, &str) = ("POST", "/webhook/redeliver");

/// A conversion without the engine, and one that needs it.
const REPACK: &str = "output_format=gltf&filename=a.glb";
const BLENDER: &str = "output_format=stl&filename=a.obj";

/// With this, jobs that need the engine stay unfinished.
const NO_ENGINE: (&str, &str) = ("BLENDER_PYTHON", "/bin/false");

impl Seen {
    /// Makes a call on one job, which gets this response.
    async fn call_job(
        &mut self,
        gateway: &Gateway,
        (method, last): (&str, &str),
        id: &str,
        status: u16,
        code: &str,
    ) {
        let request = on_job(gateway, (method, last), id);
        self.send_job(request, (method, last), status, code).await;
    }

    async fn send_job(
        &mut self,
        request: RequestBuilder,
        (method, last): (&str, &str),
        status: u16,
        code: &str,
    ) {
        let expected = answer(method, &format!("{JOBS}/{{id}}{last}"), status, code);
        self.take(request.send().await.unwrap(), expected).await;
    }

    /// Makes every call on one job, all of which get this response.
    pub async fn every_call_on_a_job(&mut self, gateway: &Gateway, id: &str, status: u16, code: &str) {
        for call in CALLS {
            self.call_job(gateway, call, id, status, code).await;
        }
    }

    /// Makes a call that needs no job with this ID, and that the rate limit covers.
    pub async fn retry(&mut self, gateway: &Gateway, id: &str, status: u16, code: &str) {
        self.call_job(gateway, ("POST", "/retry"), id, status, code).await;
    }

    /// Submits a job; returns its ID.
    async fn submit(&mut self, gateway: &Gateway, query: &str, model: &[u8]) -> String {
        let response = ask(gateway, JOBS, query, model).send().await.unwrap();
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        self.take(response, answer("POST", JOBS, 202, "")).await;
        location.rsplit_once('/').unwrap().1.to_owned()
    }

    /// Submits by all calls, all of which get this response.
    async fn submit_by_all(&mut self, gateway: &Gateway, query: &str, model: &[u8], status: u16, code: &str) {
        for path in UPLOADS {
            let response = as_job(gateway, path, query, model).send().await.unwrap();
            self.take(response, answer("POST", path, status, code)).await;
        }
    }
}

fn on_job(gateway: &Gateway, (method, last): (&str, &str), id: &str) -> RequestBuilder {
    gateway.client.request(method.parse().unwrap(), gateway.url(&format!("{JOBS}/{id}{last}")))
}

/// A request that makes a job of a conversion, by any of the calls.
fn as_job(gateway: &Gateway, path: &str, query: &str, model: &[u8]) -> RequestBuilder {
    ask(gateway, path, query, model).header("prefer", "respond-async")
}

async fn until_state(gateway: &Gateway, id: &str, state: &str) {
    gateway.until_says(&format!("{JOBS}/{id}"), state, |job| job["state"] == state).await;
}

/// Tests what clients do with jobs.
pub async fn jobs(seen: &mut Seen) {
    let gateway = Gateway::start_cold(&[NO_ENGINE]);
    for path in UPLOADS {
        // Without an engine it does not end before the response.
        let response = as_job(&gateway, path, BLENDER, TRIANGLE.as_bytes()).send().await.unwrap();
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        let id = location.rsplit_once('/').unwrap().1;
        seen.take(response, answer("POST", path, 202, "")).await;
        on_job(&gateway, ("POST", "/cancel"), id).send().await.unwrap();
        until_state(&gateway, id, "cancelled").await;
    }
    let id = seen.submit(&gateway, REPACK, &triangle()).await;
    until_state(&gateway, &id, "succeeded").await;
    for (method, last, status, code) in [
        ("GET", "", 200, ""),
        ("GET", "/result", 200, ""),
        ("GET", "/events", 200, ""),
        ("POST", "/cancel", 200, ""),
        ("POST", "/retry", 409, "wrong_job_state"),
    ] {
        seen.call_job(&gateway, (method, last), &id, status, code).await;
    }
    for last in ["", "/result"] {
        let current = on_job(&gateway, ("GET", last), &id).send().await.unwrap();
        let known =
            on_job(&gateway, ("GET", last), &id).header("if-none-match", current.headers()["etag"].clone());
        seen.send_job(known, ("GET", last), 304, "").await;
    }
    for (range, status, code) in [("bytes=0-0", 206, ""), ("bytes=999999999-", 416, "range_not_satisfiable")]
    {
        let request = on_job(&gateway, ("GET", "/result"), &id).header("range", range);
        seen.send_job(request, ("GET", "/result"), status, code).await;
    }
    seen.get(&gateway, JOBS, 200, "").await;
    let wrong = gateway.client.get(gateway.url("/v1/jobs?state=done")).send().await.unwrap();
    seen.take(wrong, answer("GET", JOBS, 400, "malformed_request")).await;

    let unfinished = seen.submit(&gateway, BLENDER, TRIANGLE.as_bytes()).await;
    for call in [("GET", "/result"), ("POST", "/retry")] {
        seen.call_job(&gateway, call, &unfinished, 409, "job_not_finished").await;
    }
    seen.call_job(&gateway, ("POST", "/cancel"), &unfinished, 202, "").await;
    until_state(&gateway, &unfinished, "cancelled").await;
    let retry = ("POST", "/retry");
    let other = seen.submit(&gateway, BLENDER, TRIANGLE.as_bytes()).await;
    seen.call_job(&gateway, ("POST", "/cancel"), &other, 202, "").await;
    until_state(&gateway, &other, "cancelled").await;
    for (id, key, status, code) in [
        (&unfinished, "two words", 400, "malformed_request"),
        (&other, "one", 202, ""),
        (&unfinished, "one", 422, "idempotency_key_reused"),
    ] {
        let request = on_job(&gateway, retry, id).header("idempotency-key", key);
        seen.send_job(request, retry, status, code).await;
    }
    for (method, last, status, code) in
        [("GET", "/result", 409, "wrong_job_state"), ("POST", "/retry", 202, ""), ("DELETE", "", 204, "")]
    {
        seen.call_job(&gateway, (method, last), &unfinished, status, code).await;
    }
    seen.every_call_on_a_job(&gateway, &Uuid::now_v7().to_string(), 404, "not_found").await;
    // This ID is from February 2022.
    seen.every_call_on_a_job(&gateway, "017f22e2-79b0-7cc3-98c4-dc0c0c07398f", 410, "expired").await;
}

/// Tests webhooks that are to be sent again, and what happens once the operator has turned webhooks off.
pub async fn redeliveries(seen: &mut Seen) {
    let folder = tempfile::tempdir().unwrap();
    let data = ("DATA_DIR", folder.path().to_str().unwrap());
    let secret = ("WEBHOOK_SECRET", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let on = Gateway::start_cold(&[NO_ENGINE, data, secret, ("WEBHOOK_ALLOW", "127.0.0.1")]);
    // Nobody listens there.
    let query = format!("{BLENDER}&webhook_url=http%3A%2F%2F127.0.0.1%3A1%2F");
    let id = seen.submit(&on, &query, TRIANGLE.as_bytes()).await;
    seen.call_job(&on, REDELIVER, &id, 409, "wrong_job_state").await;
    seen.call_job(&on, ("POST", "/cancel"), &id, 202, "").await;
    until_state(&on, &id, "cancelled").await;
    seen.call_job(&on, REDELIVER, &id, 202, "").await;
    drop(on);
    let off = Gateway::start_cold(&[NO_ENGINE, data]);
    seen.call_job(&off, REDELIVER, &id, 400, "webhook_refused").await;
}

/// Tests the limit of event streams.
pub async fn streams(seen: &mut Seen) {
    // A quarter of them is one.
    let gateway = Gateway::start_cold(&[NO_ENGINE, ("MAX_CONNECTIONS", "4")]);
    let id = seen.submit(&gateway, BLENDER, TRIANGLE.as_bytes()).await;
    let open = on_job(&gateway, ("GET", "/events"), &id).send().await.unwrap();
    assert_eq!(open.status(), 200);
    seen.call_job(&gateway, ("GET", "/events"), &id, 429, "too_many_streams").await;
    drop(open);
}

/// Tests a redirect to the bucket, for a client that does not follow it.
pub async fn a_result_in_a_bucket(seen: &mut Seen, gateway: &Gateway) {
    let id = seen.submit(gateway, REPACK, &large_glb(2 << 20)).await;
    until_state(gateway, &id, "succeeded").await;
    seen.call_job(gateway, ("GET", "/result"), &id, 303, "").await;
}

/// Tests how submissions are refused.
pub async fn submissions(seen: &mut Seen) {
    let gateway = Gateway::start(&[]);
    keys_in_flight(seen, &gateway).await;
    let hook = format!("{REPACK}&webhook_url=https%3A%2F%2Fexample.com%2F");
    let response = ask(&gateway, JOBS, &hook, &triangle()).send().await.unwrap();
    seen.take(response, answer("POST", JOBS, 400, "webhook_refused")).await;
    let coded = ask(&gateway, JOBS, REPACK, &triangle()).header("content-encoding", "gzip");
    seen.take(coded.send().await.unwrap(), answer("POST", JOBS, 415, "unknown_format")).await;
    let part = |content: &'static str| Part::text(content).file_name("a.obj");
    let alike = Form::new().part("file", part("v 0 0 0\n")).part("file", part(TRIANGLE));
    let request = gateway.client.post(gateway.url("/v1/jobs?output_format=stl")).multipart(alike);
    seen.take(request.send().await.unwrap(), answer("POST", JOBS, 422, "ambiguous_model")).await;

    for path in UPLOADS {
        let digest = format!("sha-256=:{}=:", "A".repeat(43));
        let wrong = as_job(&gateway, path, REPACK, &triangle()).header("content-digest", digest);
        seen.take(wrong.send().await.unwrap(), answer("POST", path, 400, "digest_mismatch")).await;
        let as_used = |model: &[u8]| as_job(&gateway, path, REPACK, model).header("idempotency-key", "used");
        // It may have ended before the response.
        assert!(as_used(&triangle()).send().await.unwrap().status().is_success());
        let reused = as_used(b"glTF").send().await.unwrap();
        seen.take(reused, answer("POST", path, 422, "idempotency_key_reused")).await;
    }
}

/// Repeats requests before their models are complete. Nothing else may be on the disk.
async fn keys_in_flight(seen: &mut Seen, gateway: &Gateway) {
    // Beyond what is kept in memory.
    let half = vec![b'#'; 3 << 20];
    for path in UPLOADS {
        until("no folder is left", || gateway.conversions_on_disk().is_empty());
        let key = path.replace('/', "-");
        let headers = format!("prefer: respond-async\r\nidempotency-key: {key}\r\n");
        let mut first = begin(gateway, path, &headers, 2 * half.len());
        first.send(&half);
        until("it is on the disk", || !gateway.conversions_on_disk().is_empty());
        let second = as_job(gateway, path, REPACK, &triangle()).header("idempotency-key", key);
        let response = second.send().await.unwrap();
        seen.take(response, answer("POST", path, 409, "idempotency_key_in_flight")).await;
    }
}

/// Tests the limits of unfinished jobs: of their number, and of the size of their models.
pub async fn full_queues(seen: &mut Seen) {
    // One client may have half: one job, or 6000 bytes. A small model counts as 4 KiB, and its name.
    for (limit, status, code) in
        [(("JOBS_LIMIT", "2"), 429, "too_many_jobs"), (("JOBS_MAX_SIZE", "12000"), 507, "jobs_full")]
    {
        let gateway = Gateway::start_cold(&[NO_ENGINE, limit]);
        let cancelled = seen.submit(&gateway, BLENDER, TRIANGLE.as_bytes()).await;
        seen.call_job(&gateway, ("POST", "/cancel"), &cancelled, 202, "").await;
        until_state(&gateway, &cancelled, "cancelled").await;
        seen.submit(&gateway, BLENDER, TRIANGLE.as_bytes()).await;
        seen.submit_by_all(&gateway, BLENDER, TRIANGLE.as_bytes(), status, code).await;
        seen.retry(&gateway, &cancelled, status, code).await;
    }
}

/// Tests a queue that cannot be read or written.
pub async fn a_broken_queue(seen: &mut Seen) {
    let gateway = Gateway::start_cold(&[NO_ENGINE]);
    let queue = rusqlite::Connection::open(gateway.folder.path().join("jobs.sqlite")).unwrap();
    queue.execute_batch("DROP VIEW records; ALTER TABLE jobs RENAME TO away;").unwrap();
    seen.submit_by_all(&gateway, REPACK, &triangle(), 503, "jobs_unavailable").await;
    seen.every_call_on_a_job(&gateway, &Uuid::now_v7().to_string(), 503, "jobs_unavailable").await;
    seen.get(&gateway, JOBS, 503, "jobs_unavailable").await;
}
