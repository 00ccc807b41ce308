//! `GET /v1/reports/{id}`: the report of a recent conversion.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use uuid::Uuid;

use super::problem::Problem;
use super::state::Shared;
use crate::domain::{ErrorCode, Report};

pub async fn report(
    State(gateway): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Arc<Report>>, Problem> {
    let found = Uuid::try_parse(&id).ok().and_then(|id| gateway.reports.get(id));
    found.map(Json).ok_or_else(|| {
        Problem::new(ErrorCode::NotFound, "there is no report of this number; the latest 1000 are kept")
    })
}
