//! Webhooks: the real dispatcher on a real queue, and receivers that speak HTTP by hand.

mod addresses;
mod deliveries;
pub mod receiver;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshgate::config::{self, Config, Sources};
use meshgate::domain::{Client, ConversionError, ErrorCode, Format, Options};
use meshgate::jobs::{
    DeliveryAttempt, End, InputFile, JobSpec, Limits, NewJob, Priority, Queue, SqliteQueue, Submission,
};
use meshgate::metrics::Metrics;
use meshgate::webhooks::Webhooks;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use super::gateway::{LONG, PAUSE};

/// 24 bytes of zeros.
const SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

const LIMITS: Limits = Limits {
    jobs: 1000,
    client_jobs: 1000,
    bytes: 1 << 30,
    client_bytes: 1 << 30,
    ttl: Duration::from_hours(1),
};

/// The settings with these receivers in `WEBHOOK_ALLOW`.
fn settings(allow: &str) -> config::Webhooks {
    let variables = [("WEBHOOK_SECRET", SECRET), ("WEBHOOK_ALLOW", allow)];
    let sources = Sources::new(variables.map(|(name, value)| (name.into(), value.into())));
    Config::load(&sources).unwrap().webhooks
}

fn open(folder: &Path) -> Arc<dyn Queue> {
    Arc::new(SqliteQueue::open(&folder.join("jobs.sqlite"), LIMITS).unwrap())
}

/// A queue, and a dispatcher that sends its webhooks.
struct Sender {
    folder: TempDir,
    queue: Arc<dyn Queue>,
    settings: config::Webhooks,
    timeout: Duration,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Sender {
    fn start(allow: &str) -> Sender {
        Sender::with_timeout(allow, LONG)
    }

    fn with_timeout(allow: &str, timeout: Duration) -> Sender {
        Sender::start_in(tempfile::tempdir().unwrap(), settings(allow), timeout)
    }

    fn start_in(folder: TempDir, settings: config::Webhooks, timeout: Duration) -> Sender {
        let queue = open(folder.path());
        let metrics = Arc::new(Metrics::new().unwrap());
        let webhooks = Webhooks::new(&settings, Arc::clone(&queue), metrics).unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(webhooks.with_timeout(timeout).run(stop.clone()));
        Sender { folder, queue, settings, timeout, stop, running }
    }

    /// Stops the dispatcher, and opens the queue as the next process would.
    async fn restart(self) -> Sender {
        let Sender { folder, queue, settings, timeout, stop, running } = self;
        stop.cancel();
        running.await.unwrap();
        drop(queue);
        Sender::start_in(folder, settings, timeout)
    }

    /// Submits a job with a webhook, and ends it.
    async fn end_job(&self, url: &str) -> Uuid {
        let input = InputFile { name: "a.obj".to_owned(), hash: blake3::hash(b""), bytes: 0 };
        let spec = JobSpec {
            client: Client::Key("ada".into()),
            priority: Priority::Normal,
            input: vec![input],
            main: None,
            target: Format::Glb,
            options: Options::default(),
            bypass_cache: false,
            webhook_url: Some(Url::parse(url).unwrap()),
            request_id: "a request".to_owned(),
            trace_parent: None,
            retry_of: None,
            executor: None,
            census: None,
        };
        let new = NewJob { id: Uuid::now_v7(), spec, idempotency: None };
        let Submission::New(job) = self.queue.submit(new).await.unwrap() else { panic!("it is refused") };
        let claim = self.queue.take("a worker").await.unwrap().unwrap();
        assert_eq!(claim.job.id, job.id);
        let end = End::Failed(ConversionError::new(ErrorCode::EmptyModel, "the model is empty"));
        assert!(self.queue.finish(job.id, claim.token, end).await.unwrap());
        job.id
    }

    /// Waits until the job has this many recorded attempts; returns them.
    async fn attempts(&self, id: Uuid, count: usize) -> Vec<DeliveryAttempt> {
        let began = Instant::now();
        loop {
            let attempts = self.queue.job(id).await.unwrap().unwrap().deliveries;
            if attempts.len() >= count {
                assert_eq!(attempts.len(), count, "{attempts:?}");
                return attempts;
            }
            assert!(began.elapsed() < LONG, "{attempts:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits for the first attempt, which fails; returns the status and the error.
    async fn failure(&self, id: Uuid) -> (Option<u16>, String) {
        let attempt = self.attempts(id, 1).await.remove(0);
        (attempt.status, attempt.error.unwrap())
    }

    /// The number of webhooks that are not delivered or given up.
    async fn pending(&self) -> u64 {
        self.queue.stats().await.unwrap().deliveries
    }
}
