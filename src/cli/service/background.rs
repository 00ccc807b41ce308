//! What runs beside the listeners: the engine's start, jobs, webhooks and maintenance.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::config::Config;
use crate::http::Gateway;
use crate::jobs::{self, RunsIn, Worker, WorkerParts};
use crate::shutdown::Shutdown;

/// Pause after a failed start of the engine, at first and at most.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// How long a cancelled job may take to be given back.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(3);

/// The tasks of a process.
pub struct Background {
    gateway: Arc<Gateway>,
    /// `None` if `WORKERS` is 0.
    converting: Option<Converting>,
    webhooks: JoinHandle<()>,
    maintenance: JoinHandle<()>,
}

/// The tasks of a process that converts.
struct Converting {
    warming: JoinHandle<()>,
    worker: JoinHandle<()>,
    /// Follows Kubernetes Jobs, if there are any.
    following: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts the tasks. Every process sends webhooks, whoever ran the job: the other processes may be away.
    pub fn start(gateway: &Arc<Gateway>, config: &Config) -> Self {
        let converting = (config.server.workers > 0).then(|| Converting {
            warming: tokio::spawn(warm_up(Arc::clone(gateway))),
            worker: tokio::spawn(worker(gateway, config).run()),
            following: gateway.kubernetes.clone().map(|kubernetes| tokio::spawn(kubernetes.follow())),
        });
        let webhooks = gateway.webhooks.clone().run(gateway.shutdown.closed.clone());
        Self {
            gateway: Arc::clone(gateway),
            converting,
            webhooks: tokio::spawn(webhooks),
            maintenance: tokio::spawn(maintain(Arc::clone(gateway))),
        }
    }

    /// Waits for the shutdown, and then for jobs and webhooks: jobs have the grace of requests; then they are given back.
    pub async fn finish_jobs(&mut self, shutdown: &Shutdown) {
        if let Some(Converting { worker, .. }) = &mut self.converting {
            tokio::select! {
                _ = &mut *worker => {}
                () = after_cancelling(shutdown) => {
                    tracing::warn!("a job was not given back in time; its lease ends by itself");
                    worker.abort();
                }
            }
        }
        let _ = (&mut self.webhooks).await;
    }

    /// Stores the results that wait for it, unless the stop is forced; then ends the other tasks and the engine. Jobs of
    /// requests are removed in any case.
    pub async fn stop(self, shutdown: &Shutdown) {
        let service = &self.gateway.service;
        if shutdown.forced().is_none() {
            service.cache().finish().await;
        }
        self.gateway.jobs.finish_removals().await;
        if let Some(Converting { warming, following, .. }) = &self.converting {
            for task in following.iter().chain([warming]) {
                task.abort();
            }
        }
        self.maintenance.abort();
        service.converter().executor().shutdown().await;
    }
}

/// Waits until conversions are cancelled, and then as long as a job may take to be given back.
async fn after_cancelling(shutdown: &Shutdown) {
    shutdown.cancelling.cancelled().await;
    tokio::time::sleep(GIVEN_BACK_WITHIN).await;
}

fn worker(gateway: &Gateway, config: &Config) -> Worker {
    Worker {
        parts: WorkerParts {
            jobs: gateway.jobs.clone(),
            service: gateway.service.clone(),
            metrics: Arc::clone(&gateway.metrics),
            cache_scope: config.access.cache_scope,
            timeout: config.server.timeout,
            runs_in: RunsIn::Worker(gateway.heavy.clone()),
        },
        share: config.jobs.share_of(config.server.workers),
        draining: gateway.shutdown.draining.clone(),
        kubernetes: gateway.kubernetes.clone(),
    }
}

/// Keeps the store, the cache's index and the jobs tidy, for ever.
async fn maintain(gateway: Arc<Gateway>) {
    let cache = gateway.service.cache();
    tokio::join!(gateway.storage.maintain(), cache.maintain_index(), jobs::maintain(gateway.jobs.clone()));
}

/// Starts the engine before the first conversion needs it, and retries until the start succeeds.
async fn warm_up(gateway: Arc<Gateway>) {
    let mut delay = FIRST_RETRY;
    let executor = gateway.service.converter().executor();
    if let Some(error) = executor.trouble() {
        tracing::error!(error, "there is no engine; only conversions that need none will succeed");
    }
    while executor.start().await.is_err() {
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(LONGEST_RETRY);
    }
    let version = executor.version().unwrap_or_default();
    tracing::info!(version = version.blender, "the engine is warm");
}
