//! `GET /v1/reports/{id}`: the report of a recent conversion.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Extensions;
use uuid::Uuid;

use super::access;
use super::problem::Problem;
use super::state::Shared;
use crate::domain::{ErrorCode, Report};

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
) -> Result<Json<Arc<Report>>, Problem> {
    let id = id.ok().and_then(|Path(id)| Uuid::try_parse(&id).ok());
    let absent = || Problem::new(ErrorCode::NotFound, "there is no report of this number");
    let id = id.ok_or_else(absent)?;
    let owner = access::owner(&extensions, &gateway.settings.access);
    if let Some(report) = gateway.answers.report(id, owner.as_deref()).await {
        return Ok(Json(report));
    }
    if gateway.storage.has_expired(id, SystemTime::now()) {
        return Err(Problem::new(ErrorCode::Expired, "the report of this number is too old to be kept"));
    }
    Err(absent())
}
