//! Jobs over HTTP: the real binary, the queue in `DATA_DIR`, and the real engine.

mod access;
mod actions;
mod bucket;
mod crashes;
mod durability;
mod events;
mod expiry;
mod idempotency;
mod limits;
mod metrics;
mod prefer;
mod receivers;
mod results;
mod run_job;
mod shared;
mod synchronous;
mod waiting;
mod webhooks;
mod workers;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

use super::raw::Problem;
use super::{Gateway, LONG};

/// A conversion that needs no engine, of `receive::triangle()`.
const REPACK: &str = "output_format=gltf&filename=a.glb";

/// A conversion by the engine, of `TRIANGLE`.
const FAST: &str = "output_format=glb&filename=a.obj";

/// A conversion of `engine::motion()`, which takes seconds.
const SLOW: &str = "output_format=glb&filename=a.bvh";

/// Settings that let one job run at a time.
const ONE_WORKER: (&str, &str) = ("WORKERS", "1");

impl Gateway {
    /// A request that submits a job.
    fn submission(&self, query: &str, model: impl Into<reqwest::Body>) -> RequestBuilder {
        self.client.post(self.url(&format!("/v1/jobs?{query}"))).body(model)
    }

    /// Submits a job.
    async fn submit(&self, query: &str, model: impl Into<reqwest::Body>) -> Value {
        accepted(self.submission(query, model).send().await.unwrap()).await
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    async fn post(&self, path: &str) -> Response {
        self.client.post(self.url(path)).send().await.unwrap()
    }

    async fn delete(&self, path: &str) -> Response {
        self.client.delete(self.url(path)).send().await.unwrap()
    }

    /// Waits for the end of a job.
    async fn ended(&self, job: &Value) -> Value {
        let began = Instant::now();
        loop {
            let answer =
                self.client.get(self.url(path(job))).header("prefer", "wait=30").send().await.unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(header(&answer, "preference-applied"), "wait=30");
            let job: Value = answer.json().await.unwrap();
            if !["queued", "running"].map(Value::from).contains(&job["state"]) {
                return job;
            }
            assert!(began.elapsed() < LONG, "it does not end: {job}");
        }
    }

    /// Waits for the end of a job that is to succeed.
    async fn succeeded(&self, job: &Value) -> Value {
        let job = self.ended(job).await;
        assert_eq!(job["state"], "succeeded", "{job}");
        job
    }

    /// The result of a job that has succeeded.
    async fn result(&self, job: &Value) -> Vec<u8> {
        let answer = self.get(&below(job, "result")).await;
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap().into()
    }

    /// The result of an undisturbed conversion, whatever is cached.
    async fn undisturbed(&self, query: &str, model: impl Into<reqwest::Body>) -> Vec<u8> {
        let request = self.client.post(self.url(&format!("/convert?{query}"))).body(model);
        let answer = request.header("cache-control", "no-cache").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap().into()
    }
}

/// The query that submits this conversion with a webhook to `url`.
fn with_webhook(query: &str, url: &str) -> String {
    let url: String = byte_serialize(url.as_bytes()).collect();
    format!("{query}&webhook_url={url}")
}

/// The job in the response to a submission or a cancellation.
async fn accepted(answer: Response) -> Value {
    let status = answer.status();
    let job: Value = answer.json().await.unwrap();
    assert_eq!(status, 202, "{job}");
    job
}

/// The path of a job.
fn path(job: &Value) -> &str {
    job["links"]["self"].as_str().unwrap()
}

/// A path below that of a job.
fn below(job: &Value, last: &str) -> String {
    format!("{}/{last}", path(job))
}

/// A header; empty if it is absent.
fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
}

/// Checks that a response is this problem; returns its sentence.
async fn assert_problem(answer: Response, status: u16, code: &str) -> String {
    let got = answer.status().as_u16();
    let Problem(got, word, sentence) = Problem::of(got, &answer.bytes().await.unwrap());
    assert_eq!((got, word.as_str()), (status, code), "{sentence}");
    sentence
}

/// The variable that makes servers share a folder.
fn data_dir(folder: &tempfile::TempDir) -> (&'static str, &str) {
    ("DATA_DIR", folder.path().to_str().unwrap())
}

/// The objects of jobs in a folder of data.
fn objects_of_jobs(data: &Path) -> Vec<PathBuf> {
    // The marker of the folder belongs to no job.
    let found = files_below(&data.join("store/jobs")).into_iter();
    found.filter(|path| !path.ends_with(".store")).collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
