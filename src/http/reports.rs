//! `GET /v1/reports/{id}`: the report of a recent conversion.
//!
//! Concurrent readers of a report share one text in memory. The total size of all texts being sent is bounded, since
//! clients may be slow.

use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{Extensions, header};
use axum::response::{IntoResponse, Response};
use tokio::time::sleep;
use uuid::Uuid;

use super::middleware;
use super::problem::Problem;
use super::report_texts::TextKey;
use super::state::{Gateway, Shared};
use crate::domain::ErrorCode;
use crate::telemetry;

/// Delay before the first retry for a report that another process may be storing.
const FIRST_RETRY: Duration = Duration::from_millis(50);

/// Get the report of a conversion
///
/// The report lists the content of the source and of the result, and the content that was lost. The server keeps it
/// as long as results, by default one day. Every process that shares the store serves it. If the store fails, each
/// process keeps its latest 1,000 reports. Only the API key that requested the conversion can read the report, unless
/// keys share the cache.
#[utoipa::path(
    get,
    path = "/v1/reports/{id}",
    tag = "conversion",
    params(("id" = String, Path, description = "The ID in the `Link` header of the conversion's response"))
)]
pub async fn report(
    State(gateway): State<Shared>,
    id: Result<Path<Uuid>, PathRejection>,
    extensions: Extensions,
) -> Result<Response, Problem> {
    let absent = || Problem::new(ErrorCode::NotFound, "no report has this ID");
    let Path(id) = id.map_err(|_| absent())?;
    if gateway.storage.has_expired(id, SystemTime::now()) {
        return Err(Problem::new(ErrorCode::Expired, "the report with this ID has expired"));
    }
    let key = TextKey { id, version: 0, owner: middleware::owner(&extensions, &gateway.access) };
    let mut pause = FIRST_RETRY;
    let text = loop {
        if let Some(text) = text(&gateway, &key).await? {
            break text;
        }
        // Another process may have responded to the conversion and still be storing its report.
        let is_alone = gateway.redis.is_none() && !gateway.service.runs_elsewhere();
        if is_alone || !gateway.storage.is_new(id, SystemTime::now()) {
            return Err(absent());
        }
        sleep(pause).await;
        pause *= 2;
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// Returns the text of a report, or `None` if there is no such report.
async fn text(gateway: &Gateway, key: &TextKey) -> Result<Option<Bytes>, Problem> {
    let texts = &gateway.report_texts;
    if let Some(text) = texts.find(key) {
        return Ok(Some(text));
    }
    let _permit = texts.writing.acquire().await.map_err(|_| failed())?;
    // Another request may have fetched it meanwhile.
    if let Some(text) = texts.find(key) {
        return Ok(Some(text));
    }
    let Some(report) = gateway.service.cache().report(key.id, key.owner.as_deref()).await else {
        return Ok(None);
    };
    let write = move || serde_json::to_vec(&*report);
    let written = tokio::task::spawn_blocking(telemetry::in_span(write)).await.map_err(|_| failed())?;
    texts.share(key.clone(), written.map_err(|_| failed())?).map(Some)
}

fn failed() -> Problem {
    Problem::new(ErrorCode::Internal, "the report could not be written")
}
