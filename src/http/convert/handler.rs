//! The handler: reads the request, calls the conversion service, and responds.

use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use super::query::{ConvertQuery, Parameters, cut};
use super::response;
use crate::conversion::{self, Accepts, Input, Upload};
use crate::domain::{Client, ErrorCode, Format};
use crate::executor::workdir::ConversionFolder;
use crate::fs::names;
use crate::http::middleware;
use crate::http::middleware::rate_limit::{OverLimit, TookWork};
use crate::http::problem::Problem;
use crate::http::state::{Gateway, Shared};
use crate::http::upload::{self, Incoming};
use crate::telemetry;

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
    let client = middleware::client(&parts.extensions).unwrap_or_default();
    let record = gateway.service.record(query.target, Instant::now());
    let received = tokio::select! {
        received = receive(gateway, &query, &client, &parts.headers, body) => received,
        () = gateway.shutdown.cancelling.cancelled() => Err(gateway.problem(conversion::stopping())),
    };
    let (folder, uploads, receive) = match received {
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
        input: Input::Uploads(uploads),
        main: query.main,
        target: query.target,
        options: query.options,
        timeout: gateway.settings.timeout,
        folder,
        client: client.clone(),
        owner: middleware::owner(&parts.extensions, &gateway.access),
        // The service counts the conversion from here on.
        requested_at: record.disarm(),
        bypass_cache: response::wants_fresh(&parts.headers),
        accepts: Accepts { already_has: response::tags(&parts.headers), elsewhere: true, report: false },
    };
    let work = async {
        if let Some(OverLimit(limit)) = over_limit
            && !gateway.service.has_result(&request).await
        {
            return limit.clone().into_response();
        }
        let answer = gateway.service.convert(request, |_, _| ()).await;
        let took_work = answer.is_from_work().then_some(Extension(TookWork));
        (took_work, response::respond(gateway, answer, client, receive).await).into_response()
    };
    Ok(tokio::select! {
        response = work => response,
        () = gateway.shutdown.cancelling.cancelled() => gateway.problem(conversion::stopping()).into_response(),
    })
}

/// Receives the files of a request; returns their folder, the files sorted by name, and the duration of the upload.
async fn receive(
    gateway: &Gateway,
    query: &ConvertQuery,
    client: &Client,
    headers: &HeaderMap,
    body: Body,
) -> Result<(ConversionFolder, Vec<Upload>, Duration), Problem> {
    let converter = gateway.service.converter();
    let max_bytes = gateway.settings.max_file_size;
    // The predecessor's order of checks, except that checks without the body come first.
    upload::check_headers(headers, &body, max_bytes)?;
    if !upload::is_multipart(headers) {
        check_names(query.file_name.as_deref())?;
    }
    let may_be_cached = gateway.may_be_cached(&body);
    let named = query.main.as_deref().or(query.file_name.as_deref());
    // `name` is the name of the first file, if it is known yet.
    let refuse = |name: Option<&str>| {
        if may_be_cached {
            return Ok(());
        }
        let format = named.or(name).and_then(|name| Format::from_extension(&names::extension(name)));
        let room = gateway.service.check_capacity(client, format, query.target, &query.options);
        room.map_err(|error| gateway.problem(error))
    };
    if let Err(problem) = refuse(None) {
        upload::discard(body).await;
        return Err(problem);
    }
    let began = Instant::now();
    let folder = converter.work().new_folder();
    let share = gateway.uploads.begin(client.clone());
    let body = Incoming::new(body, max_bytes, gateway.settings.read_timeout, share);
    let (name, max_files) = (query.file_name.as_deref(), converter.limits().max_entries);
    let mut files = upload::receive(headers, body, name, &folder, max_files, |name| refuse(Some(name)))
        .instrument(telemetry::span!("receive"))
        .await?;
    check_names(files.iter().map(|file| file.name.as_str()))?;
    // The order of a form's parts makes no difference.
    files.sort_by(|one, other| (&one.name, one.hash.as_bytes()).cmp(&(&other.name, other.hash.as_bytes())));
    let alike = |[one, other]: &[Upload; 2]| one.name == other.name && one.hash != other.hash;
    if let Some([one, _]) = files.array_windows().find(|pair| alike(pair)) {
        let detail = format!("two different files are called {}", names::quoted(&one.name));
        return Err(Problem::new(ErrorCode::AmbiguousModel, detail));
    }
    Ok((folder, files, began.elapsed()))
}

/// Checks names as the predecessor does: at least one needs a known extension. A raw body needs no name.
fn check_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), Problem> {
    let known = |extension: &String| extension == "zip" || Format::from_extension(extension).is_some();
    let names = names.into_iter().filter(|name| !name.is_empty());
    let extensions: Vec<String> = names.map(names::extension).collect();
    if extensions.is_empty() || extensions.iter().any(known) {
        return Ok(());
    }
    let Some(extension) = extensions.iter().find(|extension| !extension.is_empty()) else {
        return Err(Problem::new(ErrorCode::NoExtension, "File has no extension"));
    };
    let detail = format!("Unsupported input format: {}", cut(extension));
    Err(Problem::new(ErrorCode::UnsupportedInputFormat, detail))
}
