//! `GET /v1/reports/{id}`: the report of a recent conversion.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use uuid::Uuid;

use super::problem::Problem;
use super::state::Shared;
use crate::domain::{ErrorCode, Report};

/// The report of a recent conversion
///
/// What went in, what came out, and what the target could not hold. The latest 1,000 are kept.
#[utoipa::path(
    get,
    path = "/v1/reports/{id}",
    tag = "conversion",
    params(("id" = String, Path, description = "As in the `Link` of the conversion's answer"))
)]
pub async fn report(
    State(gateway): State<Shared>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Arc<Report>>, Problem> {
    let id = id.ok().and_then(|Path(id)| Uuid::try_parse(&id).ok());
    id.and_then(|id| gateway.reports.get(id)).map(Json).ok_or_else(|| match id {
        Some(id) if gateway.storage.has_expired(id, SystemTime::now()) => {
            Problem::new(ErrorCode::Expired, "the report of this number is too old to be kept")
        }
        _ => Problem::new(ErrorCode::NotFound, "there is no report of this number; the latest 1000 are kept"),
    })
}
