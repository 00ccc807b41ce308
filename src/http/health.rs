//! Health probes: `/livez`, `/readyz` and `/health`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::state::{Gateway, Role, Shared};
use crate::executor::Status as EngineStatus;
use crate::redis;

/// Paths of probes and metrics. They need no API key and work even when all regular connections are taken.
pub const PATHS: [&str; 4] = ["/livez", "/readyz", "/health", "/metrics"];

/// Check that the process responds
///
/// Running conversions do not affect this probe.
#[utoipa::path(get, path = "/livez", tag = "watching")]
pub async fn live() -> Json<Status> {
    Json(Status { status: "ok" })
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Status {
    status: &'static str,
}

/// Whether the server is ready for requests, with the result of each check.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Readiness {
    status: &'static str,
    checks: Checks,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Checks {
    /// `none`: this process starts no engine (`WORKERS` is 0).
    engine: &'static str,
    accepting: &'static str,
    /// State of the result store. Does not affect readiness: conversions work without the store.
    storage: &'static str,
    /// Present only if Redis is configured. Does not affect readiness: without Redis, the process uses its own state.
    #[serde(skip_serializing_if = "Option::is_none")]
    redis: Option<&'static str>,
    /// State of the Redis that keeps jobs. Present only if one is configured for them. Affects the readiness of workers
    /// only: gateways with an engine convert without it, and the others still serve cached results.
    #[serde(skip_serializing_if = "Option::is_none")]
    jobs: Option<&'static str>,
}

impl Checks {
    fn of(gateway: &Gateway, engine: &EngineStatus) -> Self {
        Self {
            engine: engine_status(gateway, engine),
            accepting: if gateway.shutdown.is_draining() { "draining" } else { OK },
            storage: storage_status(gateway),
            redis: gateway.redis.as_ref().map(|redis| redis_status(&redis.health())),
            jobs: gateway.jobs_redis.as_ref().map(|redis| redis_status(&redis.health())),
        }
    }

    fn pass(&self, role: Role) -> bool {
        // Without its queue a worker does nothing, and a new one must not replace one that works.
        let has_queue = role == Role::Gateway || self.jobs.is_none_or(|jobs| jobs == OK);
        is_fine(self.engine) && self.accepting == OK && has_queue
    }
}

/// Check that the server is ready for requests
///
/// 200 if the engine is warm and the server is not stopping, otherwise 503. A failing store or Redis is reported, but
/// does not affect the status. A server that starts no engine waits for none.
#[utoipa::path(get, path = "/readyz", tag = "watching")]
pub async fn ready(State(gateway): State<Shared>) -> (StatusCode, Json<Readiness>) {
    let checks = Checks::of(&gateway, &gateway.service.converter().executor().status());
    let ready = checks.pass(gateway.role);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { status: if ready { "ok" } else { "unavailable" }, checks }))
}

/// Whether `/readyz` reports ready when the engine is in this state.
pub fn is_ready(gateway: &Gateway, engine: &EngineStatus) -> bool {
    Checks::of(gateway, engine).pass(gateway.role)
}

const OK: &str = "ok";
const UNAVAILABLE: &str = "away";
const NOT_NEEDED: &str = "none";

/// Whether an engine in this state is no reason to worry.
fn is_fine(engine: &str) -> bool {
    engine == OK || engine == NOT_NEEDED
}

fn storage_status(gateway: &Gateway) -> &'static str {
    gateway.storage.trouble().map_or(OK, |error| error.trouble.word())
}

fn redis_status(health: &redis::Health) -> &'static str {
    if health.up { OK } else { UNAVAILABLE }
}

fn engine_status(gateway: &Gateway, engine: &EngineStatus) -> &'static str {
    if gateway.settings.workers == 0 {
        return NOT_NEEDED;
    }
    let running = engine.running.as_ref();
    let warm = running.is_some_and(|running| running.stats.available && running.stats.zygote.is_some());
    match (warm, gateway.service.converter().executor().outage()) {
        (true, _) => OK,
        (false, None) => "starting",
        (false, Some(_)) => "not running",
    }
}

/// State of the server, for people.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Health {
    status: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    engine: Engine,
    queue: Queue,
    /// State of the result store: `ok`, or the kind of failure.
    storage: &'static str,
    /// Present only if Redis is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    redis: Option<Redis>,
    /// The Redis that keeps jobs. Present only if one is configured for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    jobs: Option<Redis>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Engine {
    status: &'static str,
    version: Option<String>,
    workers: usize,
    busy: usize,
    /// The parts of the sandbox that this machine lacks; `null` until the engine has started.
    sandbox_missing: Option<Vec<String>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Queue {
    waiting: usize,
    full: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Redis {
    status: &'static str,
    /// Seconds since the status last changed.
    for_seconds: u64,
}

impl Redis {
    fn of(health: &redis::Health) -> Self {
        Self { status: redis_status(health), for_seconds: health.since.elapsed().as_secs() }
    }
}

/// Show the state of the server, for people
#[utoipa::path(get, path = "/health", tag = "watching")]
pub async fn health(State(gateway): State<Shared>) -> Json<Health> {
    let converter = gateway.service.converter();
    let snapshot = converter.executor().status();
    let engine = engine_status(&gateway, &snapshot);
    let waiting = converter.waiting(&snapshot);
    let running = snapshot.running;
    let storage = storage_status(&gateway);
    let redis = gateway.redis.as_ref().map(|redis| Redis::of(&redis.health()));
    let jobs = gateway.jobs_redis.as_ref().map(|redis| Redis::of(&redis.health()));
    let redis_ok = [&redis, &jobs].into_iter().flatten().all(|redis| redis.status == OK);
    let all_ok = is_fine(engine) && storage == OK && redis_ok;
    let status = match (all_ok, gateway.shutdown.is_draining()) {
        (_, true) => "draining",
        (true, false) => "healthy",
        (false, false) => "degraded",
    };
    Json(Health {
        status,
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: gateway.started.elapsed().as_secs(),
        engine: Engine {
            status: engine,
            version: running.as_ref().map(|running| running.version.blender.clone()),
            workers: converter.admission().workers(),
            busy: running.as_ref().map(|running| running.stats.busy).unwrap_or_default(),
            sandbox_missing: running.map(|running| running.sandbox_missing),
        },
        queue: Queue { waiting, full: converter.admission().is_full() },
        storage,
        redis,
        jobs,
    })
}
