//! Is it alive, is it ready, and how is it?

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::state::{Gateway, Shared};

/// `GET /livez`: the process answers. Nothing of the work is asked, so that work never fails it.
pub async fn live() -> Json<Status> {
    Json(Status { status: "ok" })
}

#[derive(Debug, Serialize)]
pub struct Status {
    status: &'static str,
}

/// `GET /readyz`
#[derive(Debug, Serialize)]
pub struct Readiness {
    status: &'static str,
    checks: Checks,
}

#[derive(Debug, Serialize)]
struct Checks {
    engine: &'static str,
    accepting: &'static str,
}

pub async fn ready(State(gateway): State<Shared>) -> (StatusCode, Json<Readiness>) {
    let checks = Checks {
        engine: engine_status(&gateway),
        accepting: if gateway.shutdown.is_draining() { "draining" } else { OK },
    };
    let ready = checks.engine == OK && checks.accepting == OK;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { status: if ready { "ok" } else { "unavailable" }, checks }))
}

const OK: &str = "ok";

fn engine_status(gateway: &Gateway) -> &'static str {
    let warm = gateway.converter.stats().is_some_and(|stats| stats.available && stats.zygote.is_some());
    match (warm, gateway.converter.outage()) {
        (true, _) => OK,
        (false, None) => "starting",
        (false, Some(_)) => "not running",
    }
}

/// `GET /health`, for people.
#[derive(Debug, Serialize)]
pub struct Health {
    status: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    engine: Engine,
    queue: Queue,
}

#[derive(Debug, Serialize)]
struct Engine {
    status: &'static str,
    version: Option<String>,
    workers: usize,
    busy: usize,
    /// The parts of the sandbox that this machine lacks; `null` until the engine has started.
    sandbox_missing: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
struct Queue {
    waiting: usize,
    full: bool,
}

pub async fn health(State(gateway): State<Shared>) -> Json<Health> {
    let counts = gateway.converter.stats().unwrap_or_default();
    let engine = engine_status(&gateway);
    let status = match (engine == OK, gateway.shutdown.is_draining()) {
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
            version: gateway.converter.engine_version(),
            workers: gateway.converter.admission().workers(),
            busy: counts.busy,
            sandbox_missing: gateway.converter.sandbox_missing().map(<[String]>::to_vec),
        },
        queue: Queue { waiting: counts.waiting, full: gateway.converter.admission().is_full() },
    })
}
