//! `GET /v1/reports/{id}`: the report of a recent conversion.
//!
//! However many clients read a report at a time, its text is in memory once; and the texts of all reports that are being
//! read are bounded together, since a client may take its time.

use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{Extensions, header};
use axum::response::{IntoResponse, Response};
use tokio::time::sleep;
use uuid::Uuid;

use super::middleware;
use super::problem::Problem;
use super::report_texts::{Asked, Text};
use super::state::{Gateway, Shared};
use crate::domain::ErrorCode;
use crate::telemetry;

/// How soon a report that another process may be storing is looked for again.
const SHORTEST_LOOK: Duration = Duration::from_millis(50);

/// The report of a recent conversion
///
/// What went in, what came out, and what the target could not hold. It is kept as long as results are (a day, unless the
/// operator says otherwise), by whichever process it was made; where the store fails, the latest 1,000 of each process are.
/// It belongs to the API key that the conversion was asked for with, unless keys share what is cached.
#[utoipa::path(
    get,
    path = "/v1/reports/{id}",
    tag = "conversion",
    params(("id" = String, Path, description = "As in the `Link` of the conversion's answer"))
)]
pub async fn report(
    State(gateway): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    extensions: Extensions,
) -> Result<Response, Problem> {
    let id = id.ok().and_then(|Path(id)| Uuid::try_parse(&id).ok());
    let absent = || Problem::new(ErrorCode::NotFound, "there is no report of this number");
    let id = id.ok_or_else(absent)?;
    if gateway.storage.has_expired(id, SystemTime::now()) {
        return Err(Problem::new(ErrorCode::Expired, "the report of this number is too old to be kept"));
    }
    let asked = Asked { id, owner: middleware::owner(&extensions, &gateway.settings.access) };
    let mut pause = SHORTEST_LOOK;
    let text = loop {
        if let Some(text) = text(&gateway, asked.clone()).await? {
            break text;
        }
        // A conversion is answered before its report is stored, and the next request may reach another process.
        if gateway.redis.is_none() || !gateway.storage.is_new(id, SystemTime::now()) {
            return Err(absent());
        }
        sleep(pause).await;
        pause *= 2;
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from(text.bytes())).into_response())
}

/// The text of a report; `None`: there is no report of this number.
async fn text(gateway: &Gateway, asked: Asked) -> Result<Option<Text>, Problem> {
    let sending = &gateway.sending;
    if let Some(text) = sending.find(&asked) {
        return Ok(Some(text));
    }
    let _permit = sending.writing.acquire().await.map_err(|_| failed())?;
    // Somebody who was faster may have asked for the same.
    if let Some(text) = sending.find(&asked) {
        return Ok(Some(text));
    }
    let Some(report) = gateway.service.report(asked.id, asked.owner.as_deref()).await else {
        return Ok(None);
    };
    let write = move || serde_json::to_vec(&*report);
    let written = tokio::task::spawn_blocking(telemetry::in_span(write)).await.map_err(|_| failed())?;
    let json = written.map_err(|_| failed())?;
    sending.share(asked, json).map(Some)
}

fn failed() -> Problem {
    Problem::new(ErrorCode::Internal, "the report could not be written")
}
