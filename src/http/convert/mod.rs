//! `POST /convert`: a model in, a file out.

mod body;
pub mod describe;
pub mod response;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::middleware;
use super::middleware::rate_limit::{Counted, Over};
use super::problem::Problem;
use super::state::{Gateway, Shared};
use super::upload::{self, Received};
use crate::conversion::{self, Answer, Course, How, Outcome, Question};
use crate::domain::format::TABLE;
use crate::domain::{Client, ConversionError, ErrorCode, Format, Options};
use crate::executor::workdir::ConversionFolder;
use crate::fs::names;
use crate::intake::Source;
use crate::metrics::Watched;
use crate::storage::Hash;
use crate::{cache, repack, telemetry};
use response::Wanted;

/// Bytes of a client's text that come back in a sentence.
const MAX_ECHO: usize = 80;

const OUTPUT_FORMAT: &str = "output_format";
const FILE_NAME: &str = "filename";
const MAIN: &str = "main";
const OWN: [&str; 3] = [OUTPUT_FORMAT, FILE_NAME, MAIN];

/// The query's parameters, in their order.
type Parameters = Vec<(String, String)>;

/// What the query asks for.
#[derive(Clone)]
struct Wish {
    target: Format,
    options: Options,
    /// The name of a raw body.
    file_name: Option<String>,
    /// Which of several files is the main one.
    main: Option<String>,
}

/// Convert a model
///
/// The conversion runs while the client waits; one that hangs up ends it, unless another one waits for the same.
/// `/v1/convert` is the same.
#[utoipa::path(post, path = "/convert", tag = "conversion")]
pub async fn convert(
    State(gateway): State<Shared>,
    query: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let (response, converted) = respond(&gateway, query, &parts, body).await;
    if !converted && let Some(counted) = parts.extensions.get::<Counted>() {
        counted.give_back().await;
    }
    response
}

/// The answer, and whether a conversion was carried out for it.
async fn respond(
    gateway: &Shared,
    query: Result<Query<Parameters>, QueryRejection>,
    parts: &Parts,
    body: Body,
) -> (Response, bool) {
    let over = parts.extensions.get::<Over>();
    // Nothing else is told to one who may not send more.
    let refused = |problem| over.map_or(problem, |Over(limit)| limit.clone());
    let wish = match Wish::read(query) {
        Ok(wish) => wish,
        Err(problem) => return (refused(problem).into_response(), false),
    };
    let watched = gateway.metrics.conversion(wish.target, &Arc::default());
    let received = tokio::select! {
        received = receive(gateway, &wish, parts, body) => received,
        () = gateway.shutdown.killed.cancelled() => Err(Problem::stopping()),
    };
    let received = match received {
        Ok(received) => received,
        Err(problem) => {
            match over {
                Some(_) => drop(watched.dismiss()),
                None => watched.end(Some(problem.error.code)),
            }
            return (refused(problem).into_response(), false);
        }
    };
    // From here on, a conversion is counted where it is carried out.
    let began = watched.dismiss();
    tokio::select! {
        answer = answer(gateway, wish, parts, received, began) => answer,
        () = gateway.shutdown.killed.cancelled() => (Problem::stopping().into_response(), false),
    }
}

/// A model that has arrived.
struct Model {
    folder: ConversionFolder,
    files: Vec<Received>,
    took: Duration,
}

async fn receive(gateway: &Gateway, wish: &Wish, parts: &Parts, body: Body) -> Result<Model, Problem> {
    let headers = &parts.headers;
    let client = middleware::client(&parts.extensions).unwrap_or_default();
    let limits = upload::Limits {
        bytes: gateway.settings.max_file_size,
        files: gateway.converter.limits().max_entries,
        wait: gateway.settings.read_timeout,
    };
    // In the predecessor's order, but that everything is checked that can be before any of the body is read.
    upload::check_headers(headers, &body, limits)?;
    if !upload::is_multipart(headers) {
        check_names(wish.file_name.as_deref())?;
    }
    let may_know = gateway.may_know(&body);
    let named = wish.main.as_deref().or(wish.file_name.as_deref());
    // `name` is the first file's, where that is known by now.
    let refuse = |name: Option<&str>| {
        if may_know { Ok(()) } else { refuse_early(gateway, &client, wish, named.or(name)) }
    };
    if let Err(problem) = refuse(None) {
        upload::pass_over(body).await;
        return Err(problem);
    }
    let began = Instant::now();
    let folder = gateway.work.new_folder();
    let upload = gateway.uploads.begin(client.clone());
    let mut files =
        upload::receive(headers, body, wish.file_name.as_deref(), &folder, limits, upload, |name| {
            refuse(Some(name))
        })
        .instrument(telemetry::span!("receive"))
        .await?;
    check_names(files.iter().map(|file| file.name.as_str()))?;
    // Nothing depends on the order of a form's parts then.
    files.sort_by(|one, other| (&one.name, one.hash.as_bytes()).cmp(&(&other.name, other.hash.as_bytes())));
    let alike = |[one, other]: &[Received; 2]| one.name == other.name && one.hash != other.hash;
    if let Some([one, _]) = files.array_windows().find(|pair| alike(pair)) {
        let detail = format!("two different files are called {}", names::quoted(&one.name));
        return Err(Problem::new(ErrorCode::AmbiguousModel, detail));
    }
    Ok(Model { folder, files, took: began.elapsed() })
}

/// What is known of this conversion is answered with, or else it is carried out.
async fn answer(
    gateway: &Shared,
    wish: Wish,
    parts: &Parts,
    model: Model,
    began: Instant,
) -> (Response, bool) {
    let owner = middleware::owner(&parts.extensions, &gateway.settings.access);
    let identity = identity(gateway, &wish, owner.as_deref(), &model.files);
    let wanted = Wanted::of(&parts.headers);
    if let Some(Over(problem)) = parts.extensions.get() {
        let known = match identity.filter(|_| !wanted.fresh) {
            Some(identity) => gateway.answers.knows(identity).await,
            None => false,
        };
        if !known {
            return (problem.clone().into_response(), false);
        }
    }
    let mut question =
        Question { identity, owner, fresh: wanted.fresh, lost: false, timeout: gateway.settings.timeout };
    let asked = Instant::now();
    let Model { folder, files, took } = model;
    let files = Arc::new(files);
    let client = middleware::client(&parts.extensions).unwrap_or_default();
    let work = |timeout| {
        let (gateway, folder, files) = (Arc::clone(gateway), folder.clone(), Arc::clone(&files));
        let Wish { target, options, main, .. } = wish.clone();
        let course = Course::of(client.clone());
        async move {
            let sources = files.iter().map(Received::named).collect::<Result<_, _>>()?;
            let request =
                conversion::Request { sources: Source::Files(sources), main, target, options, timeout };
            carry_out(gateway, folder, request, course, began).await
        }
        .boxed()
    };
    loop {
        let Answer { how, result } = gateway.answers.ask(&question, &work).await;
        let converted = how != How::Hit && result.as_ref().err().is_none_or(was_tried);
        let answered = match result {
            Ok(ready) => response::answer(gateway, identity, &wanted, ready, client.clone(), took)
                .instrument(telemetry::span!("store"))
                .await
                .transpose(),
            Err(error) => Some(Err(about(gateway, error))),
        };
        // What was kept is gone, or cannot be read.
        let Some(answered) = answered else {
            question.timeout = gateway.settings.timeout.saturating_sub(asked.elapsed());
            question.again();
            continue;
        };
        gateway.metrics.cached(how.word());
        let mut response = answered.into_response();
        response::tell(&mut response, how);
        return (response, converted);
    }
}

/// What the conversion is known by, where that can be told.
fn identity(gateway: &Gateway, wish: &Wish, owner: Option<&str>, files: &[Received]) -> Option<Hash> {
    if !gateway.answers.is_on() {
        return None;
    }
    let engine = gateway.converter.engine_identity()?;
    let files = files.iter().map(|file| cache::Part {
        name: file.called().to_owned(),
        hash: *file.hash.as_bytes(),
        bytes: file.bytes,
    });
    Some(cache::identity(&cache::Parts {
        engine: &engine,
        owner,
        target: wish.target,
        options: &wish.options,
        main: wish.main.as_deref(),
        called: None,
        files: files.collect(),
    }))
}

/// Carries out a conversion, and counts it, whoever waits for it by then.
async fn carry_out(
    gateway: Shared,
    folder: ConversionFolder,
    request: conversion::Request,
    course: Course,
    began: Instant,
) -> Result<Outcome, ConversionError> {
    let course = Arc::new(course);
    let watched = gateway.metrics.conversion_since(request.target, &course, began);
    let counted = Counting { watched: Some(watched), killed: &gateway.shutdown.killed };
    let result = tokio::select! {
        result = gateway.converter.convert_in(folder, request, &course, &|_, _| ()) => result,
        () = gateway.shutdown.killed.cancelled() => Err(Problem::stopping().error),
    };
    let error = result.as_ref().err();
    counted.end(error.map(|error| error.code));
    if let Some(error) = error {
        let waited = course.usage().waited().map(|waited| waited.as_secs_f64() * 1000.0);
        tracing::info!(code = %error.code, queue_ms = waited, "a conversion failed");
    }
    result
}

/// Counts a conversion that is given up as what it is: when the service stops, nobody has cancelled it.
struct Counting<'a> {
    watched: Option<Watched>,
    killed: &'a CancellationToken,
}

impl Counting<'_> {
    fn end(mut self, error: Option<ErrorCode>) {
        if let Some(watched) = self.watched.take() {
            watched.end(error);
        }
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        if let Some(watched) = self.watched.take_if(|_| self.killed.is_cancelled()) {
            watched.end(Some(ErrorCode::ShuttingDown));
        }
    }
}

/// What cannot be done now is answered before the body is read, except where the engine may not be needed at all: as
/// far as the model's name tells, where that is known.
fn refuse_early(gateway: &Gateway, client: &Client, wish: &Wish, name: Option<&str>) -> Result<(), Problem> {
    let named = name.and_then(|name| Format::from_extension(&names::extension(name)));
    let needs_engine = !TABLE
        .iter()
        .filter(|info| named.is_none_or(|named| named == info.format))
        .any(|info| repack::can(info.format, wish.target, &wish.options));
    if !needs_engine {
        return Ok(());
    }
    let admission = gateway.converter.admission();
    let outage = || gateway.converter.outage();
    let refusal = if admission.has_room_for(client) { outage() } else { Some(admission.refusal()) };
    refusal.map_or(Ok(()), |error| Err(about(gateway, error)))
}

/// Whether a conversion that failed so was begun.
fn was_tried(error: &ConversionError) -> bool {
    !matches!(error.code, ErrorCode::QueueFull | ErrorCode::EngineUnavailable | ErrorCode::ShuttingDown)
}

/// Adds when to try again to errors that pass.
fn about(gateway: &Gateway, error: ConversionError) -> Problem {
    let after = match error.code {
        ErrorCode::QueueFull => Some(gateway.converter.admission().retry_after()),
        ErrorCode::EngineUnavailable => Some(Duration::from_secs(5)),
        ErrorCode::ShuttingDown => Problem::stopping().retry_after,
        _ => None,
    };
    Problem { error, retry_after: after }
}

/// Names as the predecessor asks for them: one at least with an extension that is known. A raw body may have none.
fn check_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), Problem> {
    let known = |extension: &String| extension == "zip" || Format::from_extension(extension).is_some();
    let names = names.into_iter().filter(|name| !name.is_empty());
    let extensions: Vec<String> = names.map(names::extension).collect();
    if extensions.is_empty() || extensions.iter().any(known) {
        return Ok(());
    }
    match extensions.iter().find(|extension| !extension.is_empty()) {
        None => Err(Problem::new(ErrorCode::NoExtension, "File has no extension")),
        Some(extension) => Err(Problem::new(
            ErrorCode::UnsupportedInputFormat,
            format!("Unsupported input format: {}", cut(extension)),
        )),
    }
}

/// As much of a client's text as may come back in a sentence.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_ECHO)).unwrap_or(text)
}

impl Wish {
    fn read(query: Result<Query<Parameters>, QueryRejection>) -> Result<Self, Problem> {
        let Query(parameters) =
            query.map_err(|_| Problem::new(ErrorCode::MalformedRequest, "the query cannot be read"))?;
        let mut wish = Self { target: Format::Glb, options: Options::default(), file_name: None, main: None };
        let mut target = None;
        let mut seen = HashSet::new();
        for (name, value) in parameters {
            // Forms send fields that were left empty, too.
            if value.is_empty() && (OWN.contains(&name.as_str()) || Options::exists(&name)) {
                continue;
            }
            match name.as_str() {
                OUTPUT_FORMAT => target = Some(value),
                FILE_NAME => wish.file_name = Some(value),
                MAIN => wish.main = Some(value),
                _ => wish.options.set(cut(&name), cut(&value))?,
            }
            if let Some(twice) = seen.replace(name) {
                let detail = format!("the query has {twice} twice");
                return Err(Problem::new(ErrorCode::MalformedRequest, detail));
            }
        }
        let Some(target) = target else {
            let detail = "output_format query parameter is required";
            return Err(Problem::new(ErrorCode::NoOutputFormat, detail));
        };
        let lower = target.trim().trim_start_matches('.').to_ascii_lowercase();
        wish.target = Format::from_extension(&lower).ok_or_else(|| {
            let detail = format!("Unsupported output format: {}", cut(&target));
            Problem::new(ErrorCode::UnsupportedOutputFormat, detail)
        })?;
        wish.options.check(wish.target)?;
        Ok(wish)
    }
}
