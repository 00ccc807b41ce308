//! The processes of a service, and where it keeps its jobs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::super::{FAST, REPACK, objects_of_jobs, path, with_webhook};
use crate::busy_engine::conversions_below;
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, LONG, PAUSE, TRIANGLE};
use crate::redis::{Proxy, RedisServer};
use crate::webhooks::receiver::{Receiver, Reply};

/// Where jobs are kept.
pub enum Queue {
    Sqlite,
    /// A Redis, and the proxy that all processes reach it by.
    Redis(RedisServer, Proxy),
}

/// A service. Its processes share a folder.
pub struct Cluster {
    folder: tempfile::TempDir,
    pub queue: Queue,
    pub receiver: Receiver,
}

impl Cluster {
    pub async fn on_sqlite() -> Cluster {
        Cluster::new(Queue::Sqlite, &[Reply::Status(204, "")]).await
    }

    pub async fn on_redis() -> Cluster {
        Cluster::new(Cluster::redis(), &[Reply::Status(204, "")]).await
    }

    /// A Redis that loses nothing that it has acknowledged.
    pub fn redis() -> Queue {
        let lasting = ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"];
        let server = RedisServer::with(&lasting);
        let proxy = Proxy::to(&server);
        Queue::Redis(server, proxy)
    }

    /// `replies`: those of the receiver of webhooks.
    pub async fn new(queue: Queue, replies: &[Reply]) -> Cluster {
        Cluster { folder: tempfile::tempdir().unwrap(), queue, receiver: Receiver::start(replies).await }
    }

    /// Starts a gateway that converts nothing.
    pub fn gateway(&self) -> Gateway {
        self.start("serve", &[("WORKERS", "0")])
    }

    /// Starts a worker with one slot, and waits until its engine is warm.
    pub fn worker(&self) -> Gateway {
        self.worker_with(&[])
    }

    /// The same with further variables.
    pub fn worker_with(&self, more: &[(&str, &str)]) -> Gateway {
        let worker = self.start("worker", &[&[("WORKERS", "1")], more].concat());
        worker.wait_for("the engine is warm");
        worker
    }

    /// Starts `meshgate command`.
    pub fn start(&self, command: &str, more: &[(&str, &str)]) -> Gateway {
        let data = self.data().to_str().unwrap().to_owned();
        let redis = match &self.queue {
            Queue::Sqlite => None,
            Queue::Redis(_, proxy) => Some(proxy.url()),
        };
        let mut variables = vec![
            ("DATA_DIR", data.as_str()),
            // Each attempt is to convert, rather than to find the result of the one before.
            ("CACHE", "off"),
            ("RATE_LIMIT_REQUESTS", "100000"),
            ("WEBHOOK_SECRET", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            ("WEBHOOK_ALLOW", "127.0.0.1"),
        ];
        variables.extend(redis.as_deref().map(|url| ("JOBS_REDIS_URL", url)));
        variables.extend(more);
        Gateway::start_as(command, &variables)
    }

    /// Kills Redis, and starts it again.
    pub fn restart_redis(&mut self) {
        let Queue::Redis(server, _) = &mut self.queue else { unreachable!("there is no Redis") };
        server.kill();
        server.restart();
    }

    /// Removes the objects that belong to no job, when all jobs are removed, and forgets their webhooks.
    pub fn forget(&self) {
        for path in objects_of_jobs(self.data()) {
            std::fs::remove_file(path).unwrap();
        }
        self.receiver.forget();
    }

    pub fn data(&self) -> &Path {
        self.folder.path()
    }

    /// A connection to the file of the queue.
    pub fn sqlite(&self) -> Connection {
        Connection::open(self.data().join("jobs.sqlite")).unwrap()
    }

    /// The objects of jobs in the store, of this kind: `model`, `result`, `report`.
    pub fn objects(&self, kind: &str) -> Vec<PathBuf> {
        let is_kind = |path: &PathBuf| path.to_string_lossy().contains(&format!(".{kind}-"));
        objects_of_jobs(self.data()).into_iter().filter(is_kind).collect()
    }

    /// The number of objects that belong to none of these jobs: a process died before it recorded their job.
    pub fn objects_without(&self, jobs: &[Value]) -> usize {
        let ids: Vec<&str> = jobs.iter().map(|job| job["id"].as_str().unwrap()).collect();
        let is_known = |path: &PathBuf| ids.iter().any(|id| path.to_string_lossy().contains(id));
        objects_of_jobs(self.data()).iter().filter(|path| !is_known(path) && !is_unfinished(path)).count()
    }

    /// Lets one job run, so that Redis knows all scripts and a trap meets only the command itself.
    pub async fn warm_up(&self, gateway: &Gateway) {
        let job = gateway.submit(REPACK, triangle()).await;
        gateway.succeeded(&job).await;
        assert_eq!(gateway.delete(path(&job)).await.status(), 204);
    }

    /// Everything that is stored for jobs, and the folders of conversions. Files that a killed process had begun to write
    /// are no objects; the store removes them by their age.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let folders = conversions_below(&self.data().join("work"));
        let objects = objects_of_jobs(self.data()).into_iter().filter(|path| !is_unfinished(path));
        objects.chain(folders).collect()
    }

    /// The query that submits this conversion with a webhook.
    pub fn with_webhook(&self, query: &str) -> String {
        with_webhook(query, &self.receiver.url("127.0.0.1"))
    }
}

fn is_unfinished(path: &Path) -> bool {
    path.to_string_lossy().contains('#')
}

/// Submits a conversion as a client that repeats its request, with the same key, until it is accepted.
pub async fn submit_until_accepted(gateway: &Gateway, query: &str, model: Vec<u8>, key: &str) -> Value {
    let began = Instant::now();
    loop {
        let request = gateway.submission(query, model.clone()).header("idempotency-key", key);
        let answer = match request.send().await {
            Ok(answer) if answer.status() == 202 => match answer.json().await {
                Ok(job) => return job,
                Err(error) => error.to_string(),
            },
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        assert!(began.elapsed() < LONG, "it is never accepted: {answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until a gateway has found the queue again.
pub async fn until_found(gateway: &Gateway) {
    let began = Instant::now();
    while gateway.get("/v1/jobs").await.status() != 200 {
        assert!(began.elapsed() < LONG, "it never finds its queue");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Ends a process without warning.
pub fn kill(process: &mut Gateway) {
    process.signal(Signal::KILL);
    process.end();
}

/// The result of [`FAST`] of [`TRIANGLE`], converted by an undisturbed service.
pub async fn undisturbed() -> &'static [u8] {
    static RESULT: OnceCell<Vec<u8>> = OnceCell::const_new();
    RESULT.get_or_init(async || Gateway::start(&[]).undisturbed(FAST, TRIANGLE).await).await
}
