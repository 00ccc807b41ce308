//! The handler: reads the request, calls the conversion service, and responds.

use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::query::{ConvertQuery, Parameters};
use super::receive::{ReceivedModel, receive};
use super::{by_job, response};
use crate::conversion::{self, Accepts, Input};
use crate::domain::{Format, Purpose};
use crate::fs::names;
use crate::http::jobs::submit::announced_bytes;
use crate::http::middleware;
use crate::http::middleware::rate_limit::{OverLimit, TookWork};
use crate::http::problem::Problem;
use crate::http::state::{Gateway, Shared};
use crate::jobs::ExecutorChoice;

/// Convert a model
///
/// The conversion runs while the client waits. If the client hangs up, the conversion is cancelled, unless another
/// request waits for the same result. `/v1/convert` is the same operation.
#[utoipa::path(post, path = "/convert", tag = "conversion")]
pub async fn convert(
    State(gateway): State<Shared>,
    query: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let over_limit = parts.extensions.get::<OverLimit>();
    let response = respond(&gateway, query, &parts, body, over_limit).await;
    // Above the rate limit, that is the only error to report.
    response.map_err(|problem| over_limit.map_or(problem, |OverLimit(limit)| limit.clone()))
}

async fn respond(
    gateway: &Gateway,
    query: Result<Query<Parameters>, QueryRejection>,
    parts: &Parts,
    body: Body,
    over_limit: Option<&OverLimit>,
) -> Result<Response, Problem> {
    let query = ConvertQuery::read(query)?;
    if query.executor == Some(ExecutorChoice::Kubernetes) {
        let detail =
            "executor=kubernetes needs a job: use POST /v1/jobs, or add the header Prefer: respond-async";
        return Err(Problem::malformed(detail));
    }
    let client = middleware::client(&parts.extensions).unwrap_or_default();
    let record = gateway.service.record(query.target, Instant::now());
    let may_be_cached = gateway.may_be_cached(&body);
    let announced = announced_bytes(&body);
    let named = query.main.as_deref().or(query.file_name.as_deref());
    // `name` is the name of the first file, if it is known yet.
    let refuse = |name: Option<&str>| {
        let format = named.or(name).and_then(|name| Format::from_extension(&names::extension(name)));
        let service = &gateway.service;
        if may_be_cached || service.may_need_no_engine(format, query.target, &query.options) {
            return Ok(());
        }
        service.check_capacity(&client).map_err(|error| gateway.problem(error))?;
        if service.runs_elsewhere() { by_job::check_queue(gateway, announced) } else { Ok(()) }
    };
    let received = tokio::select! {
        received = receive(gateway, &query, &client, &parts.headers, body, refuse) => received,
        () = gateway.shutdown.cancelling.cancelled() => Err(gateway.problem(conversion::stopping())),
    };
    let ReceivedModel { folder, files, took } = match received {
        Ok(received) => received,
        Err(problem) => {
            match over_limit {
                Some(_) => drop(record.disarm()),
                None => record.end(Some(problem.error.code)),
            }
            return Err(problem);
        }
    };
    let request = conversion::Request {
        input: Input::Uploads(files),
        main: query.main,
        target: query.target,
        options: query.options,
        timeout: gateway.settings.timeout,
        folder,
        client,
        purpose: Purpose::Request,
        owner: middleware::owner(&parts.extensions, &gateway.access),
        // The service counts the conversion from here on.
        requested_at: record.disarm(),
        bypass_cache: response::wants_fresh(&parts.headers),
        accepts: Accepts { already_has: response::tags(&parts.headers), elsewhere: true, report: false },
    };
    let work = async {
        if gateway.service.is_for_others(&request).await {
            convert_elsewhere(gateway, request, parts, over_limit, took).await
        } else {
            convert_here(gateway, request, over_limit, took).await
        }
    };
    Ok(tokio::select! {
        response = work => response,
        () = gateway.shutdown.cancelling.cancelled() => gateway.problem(conversion::stopping()).into_response(),
    })
}

/// Converts in this process, unless the result is stored. Above the rate limit, only a stored result is returned.
async fn convert_here(
    gateway: &Gateway,
    request: conversion::Request,
    over_limit: Option<&OverLimit>,
    received_in: Duration,
) -> Response {
    if let Some(OverLimit(limit)) = over_limit
        && !gateway.service.has_result(&request).await
    {
        return limit.clone().into_response();
    }
    let client = request.client.clone();
    let answer = gateway.service.convert(request, |_, _| ()).await;
    let took_work = answer.is_from_work().then_some(Extension(TookWork));
    (took_work, response::respond(gateway, answer, client, received_in).await).into_response()
}

/// The same for a conversion that another process runs.
async fn convert_elsewhere(
    gateway: &Gateway,
    request: conversion::Request,
    parts: &Parts,
    over_limit: Option<&OverLimit>,
    received_in: Duration,
) -> Response {
    if let Some(answer) = gateway.service.find(&request).await {
        return response::respond(gateway, answer, request.client, received_in).await;
    }
    if let Some(OverLimit(limit)) = over_limit {
        return limit.clone().into_response();
    }
    Box::pin(by_job::convert(gateway, request, parts, received_in)).await
}
