//! A job as JSON.

use schemars::JsonSchema;
use serde::Serialize;
use url::Url;
use uuid::Uuid;

use crate::domain::{Format, Options, Report};
use crate::http::problem;
use crate::jobs::job::Timestamp;
use crate::jobs::{InputFile, Job, Priority, Progress, State};

/// Most files of each job in a list of jobs.
const MAX_LISTED: usize = 20;

/// A conversion that was accepted for later.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Job")]
pub struct Document<'a> {
    #[schemars(with = "String", extend("format" = "uuid"))]
    id: Uuid,
    state: State,
    created_at: DateTime,
    /// The start of the latest attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<DateTime>,
    /// When the job expires, or is removed if it has ended.
    expires_at: DateTime,
    priority: Priority,
    /// Present while the job is running, once its worker has reported a stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    /// The place among the client's own queued jobs, from 1. Only in the response for a single queued job; absent while
    /// the job is paused, since its worker lacked the engine, the store or disk space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Attempts that began, except those that were given back through no fault of the job.
    attempts: u32,
    /// The files of the model; in a list of jobs, the first 20 of each.
    input: Vec<Input<'a>>,
    output_format: Format,
    options: &'a Options,
    /// The name of the main file among several, if the client named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    main: Option<&'a str>,
    /// Number of losses; the report lists them. Present once the job has succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    losses: Option<u32>,
    /// The report of a job that has succeeded; `null` while the store cannot be read. Only in the response for a single
    /// job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<StoredReport>,
    /// Present once the job has succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<ResultFile>,
    /// Present once the job has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<problem::Body<'a>>,
    /// Present if the client asked for a webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<Webhook<'a>>,
    /// The job that this one retries.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "uuid"))]
    retry_of: Option<Uuid>,
    links: Links,
}

/// A report, unless the store cannot be read.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct StoredReport(pub Option<Report>);

/// A file of the model.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JobInput")]
struct Input<'a> {
    /// The client's name for it; empty if it was sent without one.
    name: &'a str,
    bytes: u64,
    /// The hash of the content, in hexadecimal.
    blake3: String,
}

/// The file that `links.result` leads to.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JobResult")]
struct ResultFile {
    bytes: u64,
    media_type: &'static str,
    file_name: String,
    /// The hash of the file, in hexadecimal; also its `ETag`.
    blake3: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JobWebhook")]
struct Webhook<'a> {
    /// Without user name, password and query, which may be secret.
    url: String,
    /// Attempts to deliver, oldest first.
    deliveries: Vec<Attempt<'a>>,
}

/// An attempt to deliver a webhook.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JobDelivery")]
struct Attempt<'a> {
    at: DateTime,
    /// The status of the response, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Why the attempt failed; absent if it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// The paths of a job: those that its state allows.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JobLinks")]
struct Links {
    #[serde(rename = "self")]
    job: String,
    events: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<String>,
    /// Sends the webhook again.
    #[serde(skip_serializing_if = "Option::is_none")]
    redeliver: Option<String>,
}

/// A point in time: RFC 3339 in UTC, with milliseconds.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, extend("format" = "date-time"))]
pub struct DateTime(String);

impl<'a> Document<'a> {
    /// Describes a job, without `position` and `report`.
    pub fn new(job: &'a Job) -> Self {
        let spec = &job.spec;
        let result = job.result.as_ref().map(|result| &result.info);
        Self {
            id: job.id,
            state: job.state,
            created_at: job.created_at.into(),
            started_at: job.started_at.map(DateTime::from),
            ended_at: job.ended_at.map(DateTime::from),
            expires_at: job.expires_at.into(),
            priority: spec.priority,
            progress: job.progress.filter(|_| job.state == State::Running),
            position: None,
            attempts: job.attempts,
            input: spec.input.iter().map(Input::new).collect(),
            output_format: spec.target,
            options: &spec.options,
            main: spec.main.as_deref(),
            losses: result.map(|info| info.losses),
            report: None,
            result: result.map(|info| ResultFile {
                bytes: info.bytes,
                media_type: info.media_type(),
                file_name: info.file_name(),
                blake3: info.hash.to_hex().to_string(),
            }),
            error: job.error.as_ref().map(|error| problem::Body::new(error.code, &error.detail, None)),
            webhook: spec.webhook_url.as_ref().map(|url| Webhook::new(url, job)),
            retry_of: spec.retry_of,
            links: Links::new(job),
        }
    }

    /// Describes a job in a list.
    pub fn in_list(job: &'a Job) -> Self {
        let mut document = Self::new(job);
        document.input.truncate(MAX_LISTED);
        document
    }
}

impl<'a> Input<'a> {
    fn new(file: &'a InputFile) -> Self {
        Self { name: &file.name, bytes: file.bytes, blake3: file.hash.to_hex().to_string() }
    }
}

impl<'a> Webhook<'a> {
    fn new(url: &Url, job: &'a Job) -> Self {
        let attempts = job.deliveries.iter();
        let deliveries = attempts.map(|attempt| Attempt {
            at: attempt.at.into(),
            status: attempt.status,
            error: attempt.error.as_deref(),
        });
        Self { url: without_secrets(url), deliveries: deliveries.collect() }
    }
}

/// Returns the URL without user name, password, query and fragment.
fn without_secrets(url: &Url) -> String {
    let mut shown = url.clone();
    // Both fail only for URLs without a host, which have neither.
    let _ = (shown.set_username(""), shown.set_password(None));
    shown.set_query(None);
    shown.set_fragment(None);
    shown.into()
}

/// Returns the path of a job.
pub fn path(id: Uuid) -> String {
    format!("/v1/jobs/{id}")
}

impl Links {
    fn new(job: &Job) -> Self {
        let path = path(job.id);
        let (unfinished, succeeded) = (!job.state.has_ended(), job.state == State::Succeeded);
        let link = |allowed: bool, last: &str| allowed.then(|| format!("{path}/{last}"));
        Self {
            events: format!("{path}/events"),
            result: link(succeeded, "result"),
            cancel: link(unfinished, "cancel"),
            retry: link(!unfinished && !succeeded, "retry"),
            redeliver: link(!unfinished && job.spec.webhook_url.is_some(), "webhook/redeliver"),
            job: path,
        }
    }
}

impl From<Timestamp> for DateTime {
    fn from(time: Timestamp) -> Self {
        Self(time.to_rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhook_urls_are_shown_without_secrets() {
        for (url, shown) in [
            ("https://example.com/hook", "https://example.com/hook"),
            ("https://user:word@example.com:8443/hook?token=1#part", "https://example.com:8443/hook"),
            ("http://user@[::1]/", "http://[::1]/"),
        ] {
            assert_eq!(without_secrets(&url.parse().unwrap()), shown);
        }
    }
}
