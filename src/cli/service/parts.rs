//! Assembles the parts of a process from its settings.

use std::sync::Arc;
use std::time::Instant;

use super::setup::Setup;
use crate::app;
use crate::cli::failure::Failure;
use crate::config::Config;
use crate::conversion::{Admission, ResultCache, Service};
use crate::http::{self, Gateway};
use crate::jobs::Jobs;
use crate::jobs::kubernetes::{HeavyPolicy, KubernetesJobs};
use crate::metrics::Metrics;
use crate::rate_limit::{Limiter, MemoryLimiter, RedisLimiter};
use crate::shutdown::Shutdown;
use crate::telemetry::panic_hook;
use crate::webhooks::Webhooks;

/// Limit of all results being sent, as a multiple of the largest result.
const RESULTS: u64 = 8;

/// Opens the work folder, the queue of jobs and the connections.
///
/// # Errors
/// Why the process cannot run: no work folder, a Redis that may lose jobs.
pub async fn assemble(setup: &Setup, shutdown: &Shutdown) -> Result<Gateway, Failure> {
    let (config, storage) = (&setup.config, setup.storage.clone());
    let server = &config.server;
    let metrics = Arc::new(Metrics::new()?);
    let counter = Arc::clone(&metrics);
    panic_hook::watch(move || counter.panicked());
    let counts = Arc::clone(&metrics);
    storage.observe(Box::new(move |operation, outcome, took| {
        counts.stored(operation.word(), outcome.word(), took);
    }));
    let admission = Admission::new(server.workers, server.queue_limit);
    let job_share = config.jobs.share_of(server.workers);
    let converter = Arc::new(app::converter(server.workers, job_share, admission, &config.engine)?);
    let redis = app::redis(config.redis.as_ref(), &metrics).await.map_err(Failure::Usage)?;
    let limiter: Arc<dyn Limiter> = match &redis {
        None => Arc::new(MemoryLimiter::default()),
        Some(redis) => Arc::new(RedisLimiter::new(redis.clone())),
    };
    let index = app::index(config.cache, &storage, redis.as_ref());
    let spool = converter.work().path();
    let (jobs, jobs_redis) =
        app::jobs(&config.jobs, &config.engine, &storage, spool).await.map_err(Failure::Failed)?;
    // Neither name holds a secret. Processes that share jobs log the same ones.
    tracing::info!(
        queue = jobs.queue().name(),
        store = storage.name(),
        "jobs are kept in this queue, their models and results in this store"
    );
    let heavy = HeavyPolicy::new(&config.kubernetes, config.engine.memory);
    // A gateway without workers makes none, and needs no access to the cluster.
    let kubernetes = match &heavy {
        Some(policy) if server.workers > 0 => Some(kubernetes_jobs(config, policy, &jobs, &metrics).await?),
        _ => None,
    };
    let webhooks = Webhooks::new(&config.webhooks, Arc::clone(jobs.queue()), Arc::clone(&metrics));
    let webhooks = webhooks.map_err(Failure::Failed)?;
    let results = ResultCache::new(index, storage.clone(), converter.work().path().to_owned());
    Ok(Gateway {
        role: setup.role,
        service: Service::new(converter, results, Arc::clone(&metrics), shutdown.cancelling.clone()),
        jobs,
        heavy,
        kubernetes,
        webhooks,
        jobs_redis,
        storage,
        metrics,
        limiter,
        redis,
        uploads: Arc::new(http::Shares::new("unfinished uploads", server.max_uploads_size)),
        results: http::ResultShares::new(RESULTS.saturating_mul(app::limits(&config.engine).max_result())),
        waiting: http::Waiting::new(server.max_connections),
        report_texts: http::ReportTexts::default(),
        settings: server.clone(),
        access: config.access.clone(),
        shutdown: shutdown.clone(),
        started: Instant::now(),
    })
}

/// Connects to the cluster. Its API server may be away.
async fn kubernetes_jobs(
    config: &Config,
    policy: &HeavyPolicy,
    jobs: &Jobs,
    metrics: &Metrics,
) -> Result<KubernetesJobs, Failure> {
    let connected = app::kubernetes::connect(&config.kubernetes, config.server.timeout).await;
    let kubernetes = connected.map_err(Failure::Failed)?;
    tracing::info!(namespace = kubernetes.settings().namespace, "heavy jobs run in Kubernetes Jobs");
    Ok(KubernetesJobs::new(kubernetes, policy.clone(), jobs.clone(), metrics.kubernetes()?))
}
