//! `meshgate run-job`, as in the pod of a Kubernetes Job. The test does what a worker with a cluster does.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use meshgate::domain::Stage;
use meshgate::jobs::{Hold, Limits, Progress, Queue, SqliteQueue};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::sleep;
use uuid::Uuid;

use super::{FAST, ONE_WORKER, REPACK, SLOW, accepted, below, data_dir, path};
use crate::gateway::engine::{motion, send};
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, PROGRAM, TRIANGLE};

/// Those of the gateway do not matter for jobs that are there.
const LIMITS: Limits = Limits {
    jobs: 100,
    client_jobs: 100,
    bytes: 1 << 40,
    client_bytes: 1 << 40,
    ttl: Duration::from_hours(1),
};

/// A gateway that converts nothing, and its queue.
struct Scene {
    gateway: Gateway,
    queue: SqliteQueue,
    folder: TempDir,
}

/// A running pod; killed when dropped.
struct Pod(Child);

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Pod {
    /// Waits for its exit code; does not block the task.
    async fn exit_code(mut self) -> Option<i32> {
        tokio::task::spawn_blocking(move || self.0.wait().unwrap().code()).await.unwrap()
    }
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let gateway = Gateway::start_cold(&[data_dir(&folder), ("WORKERS", "0")]);
        // Nobody renews the lease until the pod does.
        let (path, lease) = (folder.path().join("jobs.sqlite"), Duration::from_mins(10));
        let queue = SqliteQueue::open_with_lease(&path, LIMITS, lease).unwrap();
        Self { gateway, queue, folder }
    }

    /// Takes the only job that is queued, and marks it for a pod.
    async fn schedule(&self) {
        let claim = self.queue.take("a worker").await.unwrap().expect("it is queued");
        let scheduling = Progress { stage: Stage::Scheduling, fraction: None };
        let held = self.queue.renew(claim.job.id, claim.token, Some(scheduling)).await.unwrap();
        assert_eq!(held, Hold::Held);
    }

    /// Submits a job, and marks it for a pod.
    async fn scheduled(&self, query: &str, model: Vec<u8>) -> Value {
        let job = self.gateway.submit(query, model).await;
        self.schedule().await;
        let shown = self.gateway.json(path(&job)).await;
        assert_eq!((&shown["state"], &shown["progress"]["stage"]), (&"running".into(), &"scheduling".into()));
        job
    }

    fn pod(&self, job: &str) -> Pod {
        let mut command = Command::new(PROGRAM);
        command.args(["run-job", job]).current_dir(env!("CARGO_MANIFEST_DIR"));
        command.envs([data_dir(&self.folder), ONE_WORKER]).stdin(Stdio::null()).stdout(Stdio::null());
        Pod(command.spawn().unwrap())
    }

    fn pod_of(&self, job: &Value) -> Pod {
        self.pod(id(job))
    }
}

fn id(job: &Value) -> &str {
    job["id"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_its_job_to_the_end() {
    let scene = Scene::new();
    for (query, model) in [(REPACK, triangle()), (FAST, TRIANGLE.into())] {
        let job = scene.scheduled(query, model).await;
        assert_eq!(scene.pod_of(&job).exit_code().await, Some(0));
        let job = scene.gateway.succeeded(&job).await;
        assert_eq!(job["attempts"], 1, "{job}");
        assert!(!scene.gateway.result(&job).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_says_that_its_model_is_at_fault() {
    let scene = Scene::new();
    let job = scene.scheduled(REPACK, b"glTF".to_vec()).await;
    assert_eq!(scene.pod_of(&job).exit_code().await, Some(1));
    assert_eq!(scene.gateway.ended(&job).await["state"], "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_stopped_gives_its_job_back_for_the_next_one() {
    let scene = Scene::new();
    let job = scene.scheduled(SLOW, motion()).await;
    let pod = scene.pod_of(&job);
    // A short stage may begin and end between two renewals of the lease.
    let converts = |job: &Value| job["progress"]["stage"].as_str().is_some_and(|stage| stage != "scheduling");
    scene.gateway.until_says(path(&job), "it converts", converts).await;
    send(pod.0.id().cast_signed(), Signal::TERM);
    assert_eq!(pod.exit_code().await, Some(3));
    let given_back = scene.gateway.json(path(&job)).await;
    assert_eq!((&given_back["state"], &given_back["attempts"]), (&"queued".into(), &0.into()));

    // Kubernetes makes another pod. It waits for a worker that takes the job.
    let pod = scene.pod_of(&job);
    sleep(Duration::from_millis(100)).await;
    scene.schedule().await;
    scene.gateway.until_says(path(&job), "it converts", converts).await;
    accepted(scene.gateway.post(&below(&job, "cancel")).await).await;
    assert_eq!(pod.exit_code().await, Some(0));
    assert_eq!(scene.gateway.ended(&job).await["state"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_a_job_ends_at_once() {
    let scene = Scene::new();
    assert_eq!(scene.pod(&Uuid::now_v7().to_string()).exit_code().await, Some(0));
    let job = scene.gateway.submit(REPACK, triangle()).await;
    // A queued job is cancelled at once.
    assert!(scene.gateway.post(&below(&job, "cancel")).await.status().is_success());
    assert_eq!(scene.pod_of(&job).exit_code().await, Some(0));
    assert_eq!(scene.pod("not-an-id").exit_code().await, Some(64));
}
