//! `POST /convert`: a model in, a file out.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::response::Response;
use tracing::Instrument;

use super::problem::Problem;
use super::receive;
use super::state::{Gateway, Shared};
use super::{describe, file};
use crate::domain::format::TABLE;
use crate::domain::{ConversionError, ErrorCode, Format, Options};
use crate::engine::native;
use crate::intake::{Source, names};
use crate::service::{self, Course, Outcome};
use crate::telemetry;

/// Bytes of a client's text that come back in a sentence.
const MAX_ECHO: usize = 80;

const OUTPUT_FORMAT: &str = "output_format";
const FILE_NAME: &str = "filename";
const MAIN: &str = "main";
const OWN: [&str; 3] = [OUTPUT_FORMAT, FILE_NAME, MAIN];

/// The query's parameters, in their order.
type Parameters = Vec<(String, String)>;

/// What the query asks for.
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
/// The conversion runs while the client waits; one that hangs up ends it. `/v1/convert` is the same.
#[utoipa::path(post, path = "/convert", tag = "conversion")]
pub async fn convert(
    State(gateway): State<Shared>,
    query: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let wish = Wish::read(query)?;
    let course = Arc::new(Course::default());
    let watched = gateway.metrics.conversion(wish.target, &course);
    let killed = gateway.shutdown.killed.clone();
    let answer = tokio::select! {
        answer = answer(&gateway, wish, &course, request) => answer,
        () = killed.cancelled() => {
            Err(Problem::new(ErrorCode::ShuttingDown, "the service is stopping; send the request again"))
        }
    };
    watched.end(answer.as_ref().err().map(|problem| problem.error.code));
    answer
}

async fn answer(
    gateway: &Gateway,
    wish: Wish,
    course: &Course,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let limits = receive::Limits {
        bytes: gateway.settings.max_file_size,
        files: gateway.converter.limits().max_entries,
        wait: gateway.settings.read_timeout,
    };
    // In the predecessor's order, but that everything is checked that can be before any of the body is read.
    receive::check_headers(&parts.headers, &body, limits)?;
    if !receive::is_multipart(&parts.headers) {
        check_names(wish.file_name.as_deref())?;
    }
    if let Err(problem) = refuse_early(gateway, &wish) {
        receive::pass_over(body).await;
        return Err(problem);
    }
    let began = Instant::now();
    let folder = gateway.work.new_folder();
    let files = receive::receive(&parts.headers, body, wish.file_name.as_deref(), &folder, limits)
        .instrument(telemetry::span!("receive"))
        .await?;
    check_names(files.iter().map(|file| file.name.as_str()))?;
    let receive = began.elapsed();
    let request = service::Request {
        sources: Source::Files(files.into_iter().map(receive::Received::named).collect()),
        main: wish.main,
        target: wish.target,
        options: wish.options,
        timeout: gateway.settings.timeout,
    };
    let outcome = gateway
        .converter
        .convert_in(folder, request, course, &|_, _| ())
        .await
        .map_err(|error| about(gateway, error))?;
    respond(gateway, outcome, receive).instrument(telemetry::span!("store")).await
}

/// What cannot be done now is answered before the body is read, except where the engine may not be needed at all.
fn refuse_early(gateway: &Gateway, wish: &Wish) -> Result<(), Problem> {
    // Of a raw body the query may tell the format; of others only the body itself does.
    let named = wish.file_name.as_deref().and_then(|name| Format::from_extension(&names::extension(name)));
    let needs_engine = !TABLE
        .iter()
        .filter(|info| named.is_none_or(|named| named == info.format))
        .any(|info| native::can(info.format, wish.target, &wish.options));
    if !needs_engine {
        return Ok(());
    }
    let admission = gateway.converter.admission();
    let refusal = if admission.is_full() { Some(admission.refusal()) } else { gateway.converter.outage() };
    refusal.map_or(Ok(()), |error| Err(about(gateway, error)))
}

/// Adds when to try again to errors that pass.
fn about(gateway: &Gateway, error: ConversionError) -> Problem {
    let after = match error.code {
        ErrorCode::QueueFull => Some(gateway.converter.admission().retry_after()),
        ErrorCode::EngineUnavailable => Some(Duration::from_secs(5)),
        _ => None,
    };
    Problem { error, retry_after: after }
}

async fn respond(gateway: &Gateway, outcome: Outcome, receive: Duration) -> Result<Response, Problem> {
    let report = outcome.report.clone();
    let result = file::Result::of(outcome).await?;
    let described = describe::Described::new(&report, &result.name, receive);
    let id = gateway.reports.keep(report);
    let mut response = result.response().await?;
    described.put(&mut response, id);
    Ok(response)
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
