//! The operations on jobs.

use schemars::SchemaGenerator;
use serde_json::{Value, json};

use super::convert;
use super::responses::{accepted, add_headers, errors, named, response, security};
use crate::domain::ErrorCode;
use crate::http::jobs::document::Document;
use crate::http::jobs::list::{DEFAULT_PAGE, Listing, MAX_PAGE};
use crate::jobs::{GiveBack, State};
use crate::webhooks::MAX_URL_LENGTH;

const JSON: &str = "application/json";

/// Errors of a submission.
const SUBMISSION: [ErrorCode; 24] = [
    ErrorCode::UnknownOption,
    ErrorCode::InvalidOption,
    ErrorCode::WebhookRefused,
    ErrorCode::UnsupportedOutputFormat,
    ErrorCode::UnknownFormat,
    ErrorCode::TooLarge,
    ErrorCode::AmbiguousModel,
    ErrorCode::DiskFull,
    ErrorCode::Io,
    ErrorCode::NoFile,
    ErrorCode::NoFileName,
    ErrorCode::NoExtension,
    ErrorCode::NoOutputFormat,
    ErrorCode::UnsupportedInputFormat,
    ErrorCode::MalformedRequest,
    ErrorCode::DigestMismatch,
    ErrorCode::RequestTimeout,
    ErrorCode::RateLimited,
    ErrorCode::IdempotencyKeyReused,
    ErrorCode::IdempotencyKeyInFlight,
    ErrorCode::TooManyJobs,
    ErrorCode::JobsFull,
    ErrorCode::Overloaded,
    ErrorCode::ShuttingDown,
];

/// Errors of a conversion, which a job that has failed has.
const CONVERSION: [ErrorCode; 24] = [
    // The name of the main file is not that of a file.
    ErrorCode::InvalidOption,
    ErrorCode::UnknownFormat,
    ErrorCode::UnsupportedPair,
    ErrorCode::EmptyFile,
    ErrorCode::InvalidArchive,
    ErrorCode::EncryptedArchive,
    ErrorCode::TooLarge,
    ErrorCode::AmbiguousModel,
    ErrorCode::MissingFiles,
    ErrorCode::ImportFailed,
    ErrorCode::EmptyModel,
    ErrorCode::NoAnimation,
    ErrorCode::NotHumanoid,
    ErrorCode::ExportFailed,
    ErrorCode::GeometryLost,
    ErrorCode::MemoryLimit,
    ErrorCode::OutputTooLarge,
    ErrorCode::Timeout,
    ErrorCode::EngineCrashed,
    // Of a Kubernetes Job whose pod cannot start.
    ErrorCode::EngineUnavailable,
    ErrorCode::NoCapacity,
    ErrorCode::DiskFull,
    ErrorCode::Io,
    ErrorCode::Internal,
];

/// Errors of every operation on one job.
const FOUND: [ErrorCode; 2] = [ErrorCode::NotFound, ErrorCode::Expired];

/// Adds the descriptions of all operations on jobs.
pub fn describe(paths: &mut Value, schemas: &mut SchemaGenerator) {
    let job = schemas.subschema_for::<Document>().to_value();
    let list = schemas.subschema_for::<Listing>().to_value();
    let submit = &mut paths["/v1/jobs"]["post"];
    fill(submit, submission(schemas), [("202", accepted(&job))], &SUBMISSION);
    submit["requestBody"] = convert::body();
    add_rate_limit(submit);

    let page = response("A page of the client's jobs.", JSON, &list);
    fill(&mut paths["/v1/jobs"]["get"], page_parameters(), [("200", page)], &[ErrorCode::MalformedRequest]);

    let one = &mut paths["/v1/jobs/{id}"];
    let known = json!({
        "description": "The job is as the client knows it: `If-None-Match` names its `ETag`.",
        "headers": named(&["X-Request-Id", "Retry-After"]),
    });
    let mut shown = response("The job.", JSON, &job);
    add_headers(&mut shown, &["Retry-After", "Preference-Applied"]);
    let mut current = [("200", shown), ("304", known)];
    for (_, response) in &mut current {
        response["headers"]["ETag"] = json!({
            "description": "The version of the job, for `If-None-Match`. Weak, since the position is not part of it.",
            "required": true,
            "schema": { "type": "string", "pattern": "^W/\"[0-9]+\"$" },
        });
    }
    let headers = [
        convert::header("If-None-Match", "`ETag`s of the versions that the client has."),
        convert::header(
            "Prefer",
            "With `wait=N`, the response waits up to N seconds (60 at most), unless too many of the client's requests, or of \
             all, wait already; RFC 7240.",
        ),
    ];
    let codes = [&FOUND[..], &[ErrorCode::Overloaded]].concat();
    fill(&mut one["get"], with_id(headers), current, &codes);
    let removed = json!({ "description": "Removed.", "headers": named(&["X-Request-Id"]) });
    fill(&mut one["delete"], with_id([]), [("204", removed)], &FOUND);

    let codes = [
        &FOUND[..],
        &[ErrorCode::JobNotFinished, ErrorCode::WrongJobState, ErrorCode::RangeNotSatisfiable],
        &[ErrorCode::Overloaded],
        &CONVERSION,
    ];
    fill(&mut paths["/v1/jobs/{id}/result"]["get"], with_id(result_headers()), files(), &codes.concat());

    let reasons = GiveBack::ALL.map(|reason| format!("`{}`", reason.word())).join(", ");
    let about = format!(
        "The events of the job: `state` and `progress`, with its version as their ID, whose data has `state`, \
         `attempt`, `at`, and maybe `progress` or the `reason` why the job is queued again ({reasons}); at last `end`, without \
         an ID, whose data is the job."
    );
    let field = json!({ "type": "string" });
    let event = json!({ "type": "object", "properties": { "id": field, "event": field, "data": field } });
    let stream = response(&about, "text/event-stream", &event);
    let resumed = convert::header("Last-Event-ID", "The ID of the last event that the client has.");
    let codes = [&FOUND[..], &[ErrorCode::TooManyStreams]].concat();
    fill(&mut paths["/v1/jobs/{id}/events"]["get"], with_id([resumed]), [("200", stream)], &codes);
    describe_actions(paths, &job);
}

/// Adds the descriptions of what a client can do with a job, whose schema is `job`.
fn describe_actions(paths: &mut Value, job: &Value) {
    let shown = |about: &str| response(about, JSON, job);
    let unchanged = shown("The job had ended before.");
    let cancelled = [("200", unchanged), ("202", shown("Accepted; the job, which may not have ended yet."))];
    fill(&mut paths["/v1/jobs/{id}/cancel"]["post"], with_id([]), cancelled, &FOUND);

    let redelivered = [("202", shown("Accepted; the job, whose webhook is due."))];
    let codes = [&FOUND[..], &[ErrorCode::WebhookRefused, ErrorCode::WrongJobState]].concat();
    let redeliver = &mut paths["/v1/jobs/{id}/webhook/redeliver"]["post"];
    fill(redeliver, with_id([]), redelivered, &codes);

    let codes = [
        &FOUND[..],
        &[
            ErrorCode::MalformedRequest,
            ErrorCode::JobNotFinished,
            ErrorCode::WrongJobState,
            ErrorCode::IdempotencyKeyInFlight,
            ErrorCode::IdempotencyKeyReused,
            ErrorCode::RateLimited,
            ErrorCode::TooManyJobs,
            ErrorCode::JobsFull,
        ],
    ];
    let retry = &mut paths["/v1/jobs/{id}/retry"]["post"];
    let parameters = with_id([convert::idempotency_key()]);
    fill(retry, parameters, [("202", accepted(job))], &codes.concat());
    add_rate_limit(retry);
}

fn fill<const N: usize>(
    operation: &mut Value,
    parameters: Vec<Value>,
    successes: [(&str, Value); N],
    codes: &[ErrorCode],
) {
    let mut responses = errors(&[codes, &[ErrorCode::JobsUnavailable]].concat(), true);
    responses.extend(successes.map(|(status, response)| (status.to_owned(), response)));
    operation["parameters"] = parameters.into();
    operation["responses"] = responses.into();
    operation["security"] = security();
}

/// Adds the headers of the rate limit. Requests without a key are not counted.
fn add_rate_limit(operation: &mut Value) {
    let responses = operation["responses"].as_object_mut().into_iter().flatten();
    for (_, response) in responses.filter(|(status, _)| *status != "401") {
        add_headers(response, &["RateLimit", "RateLimit-Policy"]);
    }
}

/// The parameters of a submission: those of a conversion whose response does not matter, and its own.
fn submission(schemas: &mut SchemaGenerator) -> Vec<Value> {
    let mut parameters = convert::parameters(schemas);
    parameters.retain(|parameter| !["If-None-Match", "Prefer"].map(Value::from).contains(&parameter["name"]));
    let about = "Jobs of low priority begin after the client's other ones.";
    let priority = json!({ "type": "string", "enum": ["low", "normal"] });
    parameters.push(convert::parameter("priority", "query", about, &priority));
    let about = "An http or https URL that is told of the job's end.";
    let url = json!({ "type": "string", "format": "uri", "maxLength": MAX_URL_LENGTH });
    parameters.push(convert::parameter("webhook_url", "query", about, &url));
    parameters
}

fn page_parameters() -> Vec<Value> {
    let states = State::ALL.map(State::word);
    [
        ("state", "Only jobs in this state.", json!({ "type": "string", "enum": states })),
        (
            "page_size",
            "The largest number of jobs.",
            json!({ "type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE }),
        ),
        (
            "page_token",
            "The `next_page_token` of the page before.",
            json!({ "type": "string", "format": "uuid" }),
        ),
    ]
    .map(|(name, about, schema)| convert::parameter(name, "query", about, &schema))
    .into()
}

/// The ID in the path, and these parameters.
fn with_id<const N: usize>(others: [Value; N]) -> Vec<Value> {
    let mut id = convert::parameter(
        "id",
        "path",
        "The ID of the job.",
        &json!({ "type": "string", "format": "uuid" }),
    );
    id["required"] = json!(true);
    [id].into_iter().chain(others).collect()
}

fn result_headers() -> [Value; 4] {
    [
        ("If-None-Match", "`ETag`s of files that the client has."),
        ("Range", "One range of bytes, such as `bytes=0-99`; several at once are ignored."),
        (
            "If-Range",
            "The `ETag` of the file that the range belongs to; for another file, the range is ignored.",
        ),
        ("Want-Repr-Digest", "With `sha-256=1`, a large result has a `Repr-Digest`, too; RFC 9530."),
    ]
    .map(|(name, about)| convert::header(name, about))
}

/// The responses with a file, with a part of one, or in place of it.
fn files() -> [(&'static str, Value); 4] {
    const HEADERS: [&str; 9] = [
        "X-Request-Id",
        "Content-Disposition",
        "Meshgate-Losses",
        "Cache-Control",
        "ETag",
        "Link",
        "Accept-Ranges",
        "Repr-Digest",
        "Content-Range",
    ];
    let (without_range, without_body) = (HEADERS.len() - 1, HEADERS.len() - 2);
    let elsewhere = "A large file, at `Location` for a limited time; only if the operator redirects clients to the bucket. \
        `HEAD` is not redirected.";
    [
        ("200", "The converted file, or a zip of several files.", without_range, true),
        ("206", "The range of the file.", HEADERS.len(), true),
        ("303", elsewhere, without_body, false),
        ("304", "The client has the file: `If-None-Match` names its `ETag`.", without_body, false),
    ]
    .map(|(status, about, headers, has_body)| {
        let headers = HEADERS.get(..headers).unwrap_or_default();
        let mut response = json!({ "description": about, "headers": named(headers) });
        if has_body {
            response["content"] = convert::content();
        }
        if status == "303" {
            add_headers(&mut response, &["Location"]);
        }
        (status, response)
    })
}
