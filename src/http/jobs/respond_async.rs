//! `Prefer: respond-async` on a conversion: it becomes a job, unless it ends within the time that the client waits.

use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::document::path;
use super::prefer::{PREFER, PREFERENCE_APPLIED, Prefer};
use super::submit::{JobRequest, Submitted, accepted, check_rate, mark_replayed, submit};
use super::{result, wait};
use crate::http::convert::query::{ConvertQuery, Parameters};
use crate::http::headers;
use crate::http::middleware;
use crate::http::problem::Problem;
use crate::http::state::{Gateway, Shared};
use crate::jobs::{self, Priority};

/// The path that keys for idempotency belong to; `/convert` is the same operation.
const PATH: &str = "/v1/convert";

/// Middleware of conversions: tells caches that any response depends on `Prefer`.
pub async fn vary(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().append(header::VARY, HeaderValue::from(PREFER));
    response
}

/// Middleware of conversions: handles those that prefer it as jobs.
pub async fn respond_async(State(gateway): State<Shared>, request: Request, next: Next) -> Response {
    let mut prefer = Prefer::read(request.headers());
    if !prefer.respond_async {
        return next.run(request).await;
    }
    let query = Query::try_from_uri(request.uri());
    let (parts, body) = request.into_parts();
    let converted = convert(&gateway, query, &parts, body, &mut prefer.wait).await;
    let mut response = converted.into_response();
    let applied = match prefer.wait {
        Some(wait) => format!("respond-async, wait={}", wait.as_secs()),
        None => "respond-async".to_owned(),
    };
    headers::set(response.headers_mut(), PREFERENCE_APPLIED, &applied);
    response
}

/// Submits the conversion, and waits for its end. Responds as for the result if it has one or failed, else with the job.
/// `longest` is how long to wait; it becomes zero if the request may not.
async fn convert(
    gateway: &Gateway,
    query: Result<Query<Parameters>, QueryRejection>,
    parts: &Parts,
    body: Body,
    longest: &mut Option<Duration>,
) -> Result<Response, Problem> {
    let body = check_rate(&parts.extensions, body).await?;
    let query = ConvertQuery::read(query)?;
    let request = JobRequest { query, priority: Priority::default(), webhook_url: None, path: PATH };
    let Submitted { job, replayed } = submit(gateway, request, parts, body).await?;
    let client = middleware::client(&parts.extensions).unwrap_or_default();
    let mut none = Duration::ZERO;
    let within = longest.as_mut().unwrap_or(&mut none);
    let waited = wait::until(gateway, client.clone(), job.clone(), within, |job| job.state.has_ended()).await;
    // The job is accepted, even if it cannot be read at the moment.
    let job = waited.ok().flatten().unwrap_or(job);
    if !matches!(job.state, jobs::State::Succeeded | jobs::State::Failed) {
        return Ok(accepted(&Submitted { job, replayed }));
    }
    let answer = result::respond(gateway, &job, &parts.headers, &Method::POST, client).await;
    let mut response = answer.into_response();
    headers::set(response.headers_mut(), header::CONTENT_LOCATION, &format!("{}/result", path(job.id)));
    mark_replayed(&mut response, replayed);
    Ok(response)
}
