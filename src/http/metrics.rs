//! `GET /metrics`.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::health;
use super::problem::Problem;
use super::state::Shared;
use crate::domain::ErrorCode;
use crate::jobs;
use crate::jobs::kubernetes::KubernetesJobs;
use crate::metrics::{self, State as Now};
use crate::telemetry::logging;

/// Returns all metrics in Prometheus' text format.
pub async fn metrics(State(gateway): State<Shared>) -> Result<Response, Problem> {
    let converter = gateway.service.converter();
    let engine = converter.executor().status();
    let redis = [("redis", &gateway.redis), ("jobs", &gateway.jobs_redis)].into_iter();
    let redis = redis.filter_map(|(name, redis)| Some((name, redis.as_ref()?.health().up)));
    let backends = redis.chain([("storage", gateway.storage.trouble().is_none())]).collect();
    let jobs = gateway.jobs.stats();
    let now = Now {
        ready: health::is_ready(&gateway, &engine),
        waiting: converter.waiting(&engine),
        slots: converter.admission().workers(),
        failed_starts: engine.failed_starts,
        engine_version: engine.running.as_ref().map(|running| running.version.blender.clone()),
        engine: engine.running.map(|running| running.stats).unwrap_or_default(),
        backends,
        cache_bytes: gateway.service.cache().bytes(),
        jobs: jobs::State::ALL.iter().map(|state| state.word()).zip(jobs.jobs).collect(),
        oldest_job: jobs.oldest_queued_at.map_or(0.0, |at| at.age().as_secs_f64()),
        dead_jobs: gateway.jobs.dead(),
        kubernetes_jobs: gateway.kubernetes.as_ref().map(KubernetesJobs::states),
        lost_lines: logging::lost_lines(),
    };
    let text = gateway.metrics.render(&now).map_err(|error| {
        tracing::error!(%error, "the metrics cannot be written");
        Problem::new(ErrorCode::Internal, "the metrics cannot be written")
    })?;
    Ok(([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response())
}
