//! `GET /metrics`

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::health;
use super::problem::Problem;
use super::state::Shared;
use crate::domain::ErrorCode;
use crate::metrics::{self, State as Now};
use crate::telemetry::logging;

/// Everything that is counted, in Prometheus' text format.
pub async fn metrics(State(gateway): State<Shared>) -> Result<Response, Problem> {
    let converter = &gateway.converter;
    let redis = gateway.redis.as_ref().map(|redis| ("redis", redis.health().up));
    let backends = redis.into_iter().chain([("storage", gateway.storage.trouble().is_none())]).collect();
    let now = Now {
        ready: health::is_ready(&gateway),
        waiting: converter.waiting(),
        slots: converter.admission().workers(),
        engine: converter.stats().unwrap_or_default(),
        failed_starts: converter.failed_starts(),
        engine_version: converter.engine_version(),
        backends,
        cache_bytes: gateway.answers.bytes(),
        lost_lines: logging::lost_lines(),
    };
    let text = gateway.metrics.render(&now).map_err(|error| {
        tracing::error!(%error, "the metrics cannot be written");
        Problem::new(ErrorCode::Internal, "the metrics cannot be written")
    })?;
    Ok(([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response())
}
