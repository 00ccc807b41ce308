//! `POST /v1/jobs`: a model in, a job out.

use std::future::Future;

use axum::Json;
use axum::body::{Body, HttpBody};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tracing::Instrument;
use url::Url;

use super::document::{Document, path};
use super::errors::{self, POLL_AFTER};
use super::idempotency::{IDEMPOTENT_REPLAYED, ReservedKey, fingerprint};
use crate::conversion::{self, Upload};
use crate::domain::{Census, Client, ErrorCode, Format};
use crate::http::convert::query::{ConvertQuery, Parameters, cut};
use crate::http::convert::receive::{ReceivedModel, receive};
use crate::http::convert::response;
use crate::http::middleware;
use crate::http::middleware::rate_limit::{OverLimit, TookWork};
use crate::http::middleware::request_id::RequestId;
use crate::http::problem::Problem;
use crate::http::state::{Gateway, Shared};
use crate::http::upload;
use crate::jobs::{ExecutorChoice, Job, JobSpec, Jobs, Priority, Submission, SubmitError};
use crate::telemetry::otlp;
use crate::webhooks::MAX_URL_LENGTH;

/// The path that keys for idempotency belong to.
const PATH: &str = "/v1/jobs";

/// Parameters beside those of a conversion.
const PRIORITY: &str = "priority";
const WEBHOOK_URL: &str = "webhook_url";

/// Bytes by which a form is usually longer than its files, at most.
const FORM_BYTES: u64 = 64 << 10;

/// Returns the bytes that the model in a body has at least, before it is read.
pub fn announced_bytes(body: &Body) -> u64 {
    body.size_hint().lower().saturating_sub(FORM_BYTES)
}

/// What a request wants, apart from its model.
pub struct JobRequest {
    pub query: ConvertQuery,
    pub priority: Priority,
    pub webhook_url: Option<Url>,
    /// The path that its key for idempotency belongs to.
    pub path: &'static str,
}

/// A job that was submitted now, or earlier with the same key.
pub struct Submitted {
    pub job: Job,
    pub replayed: bool,
}

/// Submit a job
///
/// Accepts a conversion for later, with the same body and options as `POST /convert`. The response is sent once the job
/// is durable: it survives the end of any process. `links` lead to its state, its events and its result.
#[utoipa::path(post, path = "/v1/jobs", tag = "jobs")]
pub async fn submit_job(
    State(gateway): State<Shared>,
    query: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = check_rate(&parts.extensions, body).await?;
    let submitted = submit(&gateway, read_request(query)?, &parts, body).await?;
    Ok(accepted(&submitted))
}

fn read_request(query: Result<Query<Parameters>, QueryRejection>) -> Result<JobRequest, Problem> {
    let (query, [priority, webhook_url]) = ConvertQuery::read_with(query, [PRIORITY, WEBHOOK_URL])?;
    let priority = priority.as_deref().map(parse_priority).transpose()?.unwrap_or_default();
    let webhook_url = webhook_url.as_deref().map(parse_webhook).transpose()?;
    Ok(JobRequest { query, priority, webhook_url, path: PATH })
}

fn parse_priority(text: &str) -> Result<Priority, Problem> {
    let wrong = || Problem::malformed(format!("priority takes low|normal, not {:?}", cut(text)));
    Priority::from_word(text).ok_or_else(wrong)
}

fn parse_webhook(text: &str) -> Result<Url, Problem> {
    let url = Url::parse(text).ok().filter(|_| text.len() <= MAX_URL_LENGTH);
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| {
        let detail = format!("webhook_url takes an http or https URL of at most {MAX_URL_LENGTH} characters");
        Problem::malformed(detail)
    })
}

/// Refuses a request above the rate limit. Cached results are exempt from the limit, but no job is one.
pub async fn check_rate(extensions: &Extensions, body: Body) -> Result<Body, Problem> {
    let Some(OverLimit(limit)) = extensions.get() else { return Ok(body) };
    upload::discard(body).await;
    Err(limit.clone())
}

/// Receives a model, and submits a job for it.
///
/// # Errors
/// Those of [`receive`], of headers and of the queue.
pub async fn submit(
    gateway: &Gateway,
    request: JobRequest,
    parts: &Parts,
    body: Body,
) -> Result<Submitted, Problem> {
    if let Some(url) = &request.webhook_url {
        gateway.webhooks.check(url)?;
    }
    check_executor(gateway, request.query.executor)?;
    if let Err(problem) = errors::check_queue(gateway) {
        upload::discard(body).await;
        return Err(problem);
    }
    let client = middleware::client(&parts.extensions).unwrap_or_default();
    let reserved =
        ReservedKey::of_request(&gateway.jobs, &parts.headers, client.clone(), request.path).await?;
    let (has_key, announced) = (reserved.is_some(), announced_bytes(&body));
    // Spares a client an upload that would be refused. A job needs no free place in the queue of conversions.
    let refuse = |name: Option<&str>| {
        // A request with a key may repeat one whose job exists. The name of a form's first file makes no difference.
        if has_key || name.is_some() {
            return Ok(());
        }
        let refusal = gateway.jobs.expected_refusal(announced);
        refusal.map_or(Ok(()), |refusal| Err(errors::refused(refusal)))
    };
    let received = tokio::select! {
        received = receive(gateway, &request.query, &client, &parts.headers, body, refuse) => received,
        () = gateway.shutdown.cancelling.cancelled() => Err(gateway.problem(conversion::stopping())),
    };
    // The queue may have gone away during the upload.
    let received = received.and_then(|model| errors::check_queue(gateway).map(|()| model));
    let model = match received {
        Ok(model) => model,
        Err(problem) => {
            if let Some(reserved) = reserved {
                reserved.release().await;
            }
            return Err(problem);
        }
    };
    let executor = request.query.executor;
    let census = census(gateway, &model.files, request.query.target, executor).await;
    let ConvertQuery { main, target, options, .. } = request.query;
    let spec = JobSpec {
        priority: request.priority,
        main,
        options,
        bypass_cache: response::wants_fresh(&parts.headers),
        webhook_url: request.webhook_url,
        executor,
        census,
        ..new_spec(client, target, parts)
    };
    match run_detached(record(gateway.jobs.clone(), spec, model, reserved)).await? {
        Submission::New(job) => Ok(Submitted { job, replayed: false }),
        Submission::Replayed(job) => Ok(Submitted { job, replayed: true }),
        Submission::Refused(refusal) => Err(errors::refused(refusal)),
    }
}

/// The job of a request that asks for nothing but this target. `Jobs::submit` fills in its files.
pub fn new_spec(client: Client, target: Format, request: &Parts) -> JobSpec {
    let request_id = request.extensions.get::<RequestId>().map_or("", RequestId::as_str);
    JobSpec { trace_parent: otlp::trace_parent(), ..JobSpec::new(client, target, request_id.to_owned()) }
}

/// Refuses a wish for a Kubernetes Job that this service cannot fulfil.
fn check_executor(gateway: &Gateway, executor: Option<ExecutorChoice>) -> Result<(), Problem> {
    if executor != Some(ExecutorChoice::Kubernetes) || gateway.heavy.is_some() {
        return Ok(());
    }
    let detail = "executor=kubernetes is not available: this service makes no Kubernetes Jobs (KUBERNETES_JOBS is off)";
    Err(Problem::malformed(detail))
}

/// Takes the census of a model that may become a heavy job. Without one, the size of the model decides about its pod.
pub async fn census(
    gateway: &Gateway,
    files: &[Upload],
    target: Format,
    executor: Option<ExecutorChoice>,
) -> Option<Census> {
    let bytes = files.iter().map(|file| file.bytes).fold(0, u64::saturating_add);
    let may_be_heavy = gateway.heavy.as_ref().is_some_and(|policy| policy.may_be_heavy(bytes, executor));
    if may_be_heavy { Upload::census(files, target).await.ok() } else { None }
}

/// Records the job. The model's folder and the reservation of the key exist until it has ended.
pub async fn record(
    jobs: Jobs,
    spec: JobSpec,
    model: ReceivedModel,
    reserved: Option<ReservedKey>,
) -> Result<Submission, SubmitError> {
    let content = reserved.as_ref().map(|reserved| reserved.with_content(fingerprint(&spec, &model.files)));
    let submission = jobs.submit(spec, &model.files, content).await;
    if let Some(reserved) = reserved {
        reserved.end(matches!(submission, Ok(Submission::New(_)))).await;
    }
    submission
}

/// Runs work to its end, even if the client hangs up meanwhile: a model that was received is not thrown away halfway.
///
/// # Errors
/// The problem of a job that could not be submitted.
pub async fn run_detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, SubmitError>> + Send + 'static,
) -> Result<T, Problem> {
    let ended = tokio::spawn(work.in_current_span()).await.map_err(|error| {
        tracing::error!(%error, "the task that submits a job failed");
        Problem::new(ErrorCode::Internal, "the job could not be submitted")
    })?;
    ended.map_err(errors::not_submitted)
}

/// The response to a submission: 202, with the job as it is now.
pub fn accepted(Submitted { job, replayed }: &Submitted) -> Response {
    let location = [(header::LOCATION, path(job.id))];
    let mut response = (StatusCode::ACCEPTED, location, Json(Document::new(job))).into_response();
    if !job.state.has_ended() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(POLL_AFTER.as_secs()));
    }
    mark_replayed(&mut response, *replayed);
    response
}

/// Marks the response to a repeated request. Any other one took work, which counts for the rate limit.
pub fn mark_replayed(response: &mut Response, replayed: bool) {
    if replayed {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    } else {
        response.extensions_mut().insert(TookWork);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<JobRequest, ErrorCode> {
        let uri = format!("/v1/jobs?output_format=glb&{query}").parse().unwrap();
        read_request(Query::try_from_uri(&uri)).map_err(|problem| problem.error.code)
    }

    #[test]
    fn priority_and_webhook_are_read_beside_the_options() {
        let request =
            read("priority=low&scale=2&webhook_url=https%3A%2F%2Fexample.com%2Fhook%3Fa%3D1").unwrap();
        assert_eq!(request.priority, Priority::Low);
        assert_eq!(request.webhook_url.unwrap().as_str(), "https://example.com/hook?a=1");
        assert!((request.query.options.scale - 2.0).abs() < f64::EPSILON);
        let request = read("priority=&webhook_url=&executor=").unwrap();
        assert_eq!((request.priority, request.webhook_url), (Priority::Normal, None));
        assert_eq!(request.query.executor, None);
        let request = read("executor=kubernetes").unwrap();
        assert_eq!(request.query.executor, Some(ExecutorChoice::Kubernetes));
    }

    #[test]
    fn wrong_priorities_and_webhooks_are_refused() {
        let long = format!("webhook_url=https://example.com/{}", "a".repeat(MAX_URL_LENGTH));
        for query in [
            "priority=high",
            "executor=cloud",
            "priority=low&priority=low",
            "webhook_url=example.com",
            "webhook_url=/hook",
            "webhook_url=ftp://example.com/",
            "webhook_url=file:///etc/passwd",
            "webhook_url=http://",
            "webhook_url=https://a b/",
            &long,
        ] {
            let query = query.replace(' ', "%20");
            assert_eq!(read(&query).err(), Some(ErrorCode::MalformedRequest), "{query}");
        }
        assert_eq!(read("webhook=x").err(), Some(ErrorCode::UnknownOption));
    }
}
