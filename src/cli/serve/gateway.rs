//! Runs the gateway: assembles its parts, serves, and shuts down in order.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::app;
use crate::cli::failure::Failure;
use crate::config::Config;
use crate::conversion::{Admission, ResultCache, Service};
use crate::http::{self, Gateway, Server};
use crate::jobs::{self, Worker, WorkerParts};
use crate::metrics::Metrics;
use crate::rate_limit::{Limiter, MemoryLimiter, RedisLimiter};
use crate::shutdown::{self, Shutdown};
use crate::storage::Storage;
use crate::telemetry::logging::{self, Guard};
use crate::telemetry::panic_hook;
use crate::webhooks::Webhooks;

/// Pause after a failed start of the engine, at first and at most.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Descriptors that a connection usually needs at most: its socket, a copy that detects a hang-up, its model and its
/// result. Below: those of everything else.
const DESCRIPTORS: usize = 4;
const OWN_DESCRIPTORS: usize = 128;

/// How long a cancelled job may take to be given back.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(3);

/// Limit of all results being sent, as a multiple of the largest result.
const RESULTS: u64 = 8;

/// How long blocking file work may continue after everything else has ended.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Serves until a signal stops it.
///
/// # Errors
/// Why the gateway cannot serve: no work folder, an address in use.
pub fn run(config: &Config, storage: Storage, warnings: &[String]) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Turns of busy tasks before the runtime looks for new events, such as probes: its default of 61 can take a
        // fifth of a second.
        .event_interval(8)
        .build()
        .map_err(Failure::io("start the runtime"))?;
    let ended = runtime.block_on(serve(config, storage, warnings));
    // Threads may still be blocked by file work of cancelled conversions; the wait is bounded.
    runtime.shutdown_timeout(LAST_WORK);
    // The log is dropped last, so that it has every line.
    ended.map(|(code, _log)| code)
}

async fn serve(config: &Config, storage: Storage, warnings: &[String]) -> Result<(ExitCode, Guard), Failure> {
    let mut log = logging::start(&config.log, &config.traces).map_err(|error| match error {
        logging::Error::File { .. } => Failure::Failed(with_cause(&error)),
        _ => Failure::Usage(with_cause(&error)),
    })?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let server = &config.server;
    raise_descriptors(server.max_connections);
    let shutdown = Shutdown::default();
    // Signals first: one that arrives while the engine starts stops the start as well.
    let stopping = shutdown::on_signals(shutdown.clone(), server.shutdown_delay, server.shutdown_grace)
        .map_err(Failure::io("listen for signals"))?;
    let gateway = Arc::new(gateway(config, storage.clone(), shutdown.clone()).await?);
    let (listener, address) = bind(server.bind, "BIND_ADDRESS", config).await?;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    // Metrics are served until the last request is answered.
    let answered = Shutdown::default();
    let mut metrics = None;
    if let Some(address) = server.metrics {
        let (listener, address) = bind(address, "METRICS_ADDRESS", config).await?;
        tracing::info!(%address, "metrics");
        let (router, counts) = (http::metrics_router(Arc::clone(&gateway)), Arc::clone(&gateway.metrics));
        metrics = Some(tokio::spawn(listener.run(router, counts, answered.clone())));
    }
    let warming = tokio::spawn(warm_up(Arc::clone(&gateway)));
    let service = gateway.service.clone();
    let maintained_jobs = gateway.jobs.clone();
    let maintenance = tokio::spawn(async move {
        tokio::join!(storage.maintain(), service.cache().maintain_index(), jobs::maintain(maintained_jobs))
    });
    let mut worker = tokio::spawn(worker(&gateway, config).run());
    let webhooks = tokio::spawn(gateway.webhooks.clone().run(shutdown.closed.clone()));
    let (router, counts) = (http::router(Arc::clone(&gateway)), Arc::clone(&gateway.metrics));
    listener.run(router, counts, shutdown.clone()).await;
    // Jobs have the grace of requests; then they are given back.
    tokio::select! {
        _ = &mut worker => {}
        () = after_cancelling(&shutdown) => {
            tracing::warn!("a job was not given back in time; its lease ends by itself");
            worker.abort();
        }
    }
    let _ = webhooks.await;
    answered.closed.cancel();
    if let Some(metrics) = metrics {
        let _ = metrics.await;
    }
    if shutdown.forced().is_none() {
        gateway.service.cache().finish().await;
    }
    warming.abort();
    maintenance.abort();
    gateway.service.converter().executor().shutdown().await;
    stopping.abort();
    tracing::info!("stopped");
    let code = shutdown.forced().map_or(ExitCode::SUCCESS, ExitCode::from);
    let ended = tokio::task::spawn_blocking(move || {
        log.end_traces();
        (code, log)
    });
    ended.await.map_err(|error| Failure::io("flush the traces")(error.into()))
}

/// Raises the limit of open files to the hard limit. The soft limit is low for programs that use `select`, and may be
/// too low for `MAX_CONNECTIONS`.
fn raise_descriptors(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let allowed = if raised.is_ok() { limit.maximum } else { limit.current };
    let needed = connections.saturating_mul(DESCRIPTORS).saturating_add(OWN_DESCRIPTORS) as u64;
    if let Some(allowed) = allowed.filter(|allowed| *allowed < needed) {
        tracing::warn!(allowed, needed, "the limit of open files is too low for MAX_CONNECTIONS");
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// Listens on the address of this setting; returns the local one, too.
async fn bind(address: SocketAddr, setting: &str, config: &Config) -> Result<(Server, SocketAddr), Failure> {
    let bound = Server::bind(address, config.server.max_connections, config.server.read_timeout).await;
    let server = bound.map_err(Failure::io(format!("listen on {address} ({setting})")))?;
    let local = server.address().map_err(Failure::io("get the local address"))?;
    Ok((server, local))
}

async fn gateway(config: &Config, storage: Storage, shutdown: Shutdown) -> Result<Gateway, Failure> {
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
    let webhooks = Webhooks::new(&config.webhooks, Arc::clone(jobs.queue()), Arc::clone(&metrics));
    let webhooks = webhooks.map_err(Failure::Failed)?;
    let results = ResultCache::new(index, storage.clone(), converter.work().path().to_owned());
    Ok(Gateway {
        service: Service::new(converter, results, Arc::clone(&metrics), shutdown.cancelling.clone()),
        jobs,
        webhooks,
        jobs_redis,
        storage,
        metrics,
        limiter,
        redis,
        uploads: Arc::new(http::Shares::new("unfinished uploads", server.max_uploads_size)),
        results: http::ResultShares::new(RESULTS.saturating_mul(config.engine.max_unpacked)),
        report_texts: http::ReportTexts::default(),
        settings: server.clone(),
        access: config.access.clone(),
        shutdown,
        started: Instant::now(),
    })
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
        },
        share: config.jobs.share_of(config.server.workers),
        draining: gateway.shutdown.draining.clone(),
    }
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
