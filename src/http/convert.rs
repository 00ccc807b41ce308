//! `POST /convert`: a model in, a file out.

use std::time::{Duration, Instant};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::response::Response;

use super::problem::Problem;
use super::receive::{self, Received};
use super::state::{Gateway, Shared};
use super::{describe, file};
use crate::domain::format::TABLE;
use crate::domain::{ConversionError, ErrorCode, Format, Options};
use crate::engine::native;
use crate::intake::{self, Named, Source, names};
use crate::service::{self, Outcome};

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

pub async fn convert(
    State(gateway): State<Shared>,
    query: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let killed = gateway.shutdown.killed.clone();
    tokio::select! {
        answer = answer(&gateway, query, request) => answer,
        () = killed.cancelled() => {
            Err(Problem::new(ErrorCode::ShuttingDown, "the service is stopping; send the request again"))
        }
    }
}

async fn answer(
    gateway: &Gateway,
    query: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let wish = Wish::read(query)?;
    refuse_early(gateway, &wish)?;
    let began = Instant::now();
    let upload =
        gateway.work.conversion_folder().map_err(|error| ConversionError::io("make a folder", &error))?;
    let (parts, body) = request.into_parts();
    let limits = receive::Limits {
        bytes: gateway.settings.max_file_size,
        files: intake::Limits::default().max_entries,
        wait: gateway.settings.read_timeout,
    };
    let folder = upload.input();
    let files = receive::receive(&parts.headers, body, wish.file_name.as_deref(), &folder, limits).await?;
    check_names(&files)?;
    let receive = began.elapsed();
    let request = service::Request {
        sources: Source::Files(
            files.into_iter().map(|file| Named { path: file.path, name: file.name }).collect(),
        ),
        main: wish.main,
        target: wish.target,
        options: wish.options,
        timeout: gateway.settings.timeout,
    };
    let outcome =
        gateway.converter.convert(request, &|_, _| ()).await.map_err(|error| about(gateway, error))?;
    drop(upload);
    respond(gateway, outcome, receive).await
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
    let Outcome { report, folder, files, stem } = outcome;
    let result = file::Result::of(folder, files, &stem, report.output.format).await?;
    let described = describe::Described::new(&report, &result.name, receive);
    let id = gateway.reports.keep(report);
    let mut response = result.response().await?;
    described.put(&mut response, id);
    Ok(response)
}

/// Names as the predecessor asks for them: with an extension, and one that is known.
fn check_names(files: &[Received]) -> Result<(), Problem> {
    let known = |extension: &str| extension == "zip" || Format::from_extension(extension).is_some();
    let extensions: Vec<Option<String>> = files
        .iter()
        .filter(|file| !file.name.is_empty())
        .map(|file| Some(names::extension(&file.name)).filter(|extension| !extension.is_empty()))
        .collect();
    if extensions.is_empty() || extensions.iter().flatten().any(|extension| known(extension)) {
        return Ok(());
    }
    match extensions.into_iter().flatten().next() {
        None => Err(Problem::new(ErrorCode::NoExtension, "File has no extension")),
        Some(extension) => Err(Problem::new(
            ErrorCode::UnsupportedInputFormat,
            format!("Unsupported input format: {extension}"),
        )),
    }
}

impl Wish {
    fn read(query: Result<Query<Parameters>, QueryRejection>) -> Result<Self, Problem> {
        let Query(parameters) =
            query.map_err(|_| Problem::new(ErrorCode::MalformedRequest, "the query cannot be read"))?;
        let (mut target, mut options, mut file_name, mut main) = (None, Options::default(), None, None);
        for (name, value) in parameters {
            match name.as_str() {
                "output_format" => target = Some(value),
                "filename" => file_name = Some(value).filter(|name| !name.is_empty()),
                "main" => main = Some(value).filter(|name| !name.is_empty()),
                _ => options.set(&name, &value)?,
            }
        }
        let Some(target) = target.filter(|target| !target.is_empty()) else {
            let detail = "output_format query parameter is required";
            return Err(Problem::new(ErrorCode::NoOutputFormat, detail));
        };
        let unsupported = || {
            let detail = format!("Unsupported output format: {target}");
            Problem::new(ErrorCode::UnsupportedOutputFormat, detail)
        };
        let lower = target.trim().trim_start_matches('.').to_ascii_lowercase();
        let target = Format::from_extension(&lower).ok_or_else(unsupported)?;
        options.check(target)?;
        Ok(Self { target, options, file_name, main })
    }
}
