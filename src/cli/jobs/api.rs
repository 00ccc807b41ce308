//! The calls of the API of jobs (docs/API.md).

use std::time::Duration;

use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE,
    RETRY_AFTER,
};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Body, Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;
use url::Url;
use uuid::Uuid;

use super::document::{Document, Problem};
use super::error::{ApiError, Refusal};
use crate::causes;
use crate::cli::failure::Failure;
use crate::jobs::State;

/// Longest time to connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Longest wait for a response, longer than [`LONG_POLL`]; and for its content, if that is JSON.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long the server may hold a request for the state of a job.
pub const LONG_POLL: Duration = Duration::from_secs(30);

/// Largest page of a list.
pub const MAX_PAGE: usize = 100;

/// Most redirects of a result.
const MAX_REDIRECTS: usize = 3;

/// A server with jobs.
pub struct Api {
    http: Client,
    /// Its path ends with a slash.
    base: Url,
    has_key: bool,
}

/// The state of a job, asked for again.
pub struct Polled {
    /// `None`: the job is as it was.
    pub document: Option<Document>,
    /// The version of the job.
    pub tag: Option<HeaderValue>,
    /// Whether the server has waited.
    pub has_waited: bool,
}

/// A part of the list of jobs.
pub struct Page {
    pub jobs: Vec<Document>,
    /// The token of the next one; `None` if this is the last one.
    pub next: Option<String>,
}

impl Api {
    /// A client of the server at `base`, whose path ends with a slash. `authorization` is the header with the API key.
    ///
    /// # Errors
    /// When the system has no certificates of authorities.
    pub fn new(base: Url, authorization: Option<HeaderValue>) -> Result<Self, Failure> {
        let has_key = authorization.is_some();
        let headers: HeaderMap = authorization.into_iter().map(|value| (AUTHORIZATION, value)).collect();
        let http = Client::builder()
            .user_agent(concat!("meshgate/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(Policy::custom(redirect))
            .referer(false)
            .connect_timeout(CONNECT_WITHIN)
            .build()
            .map_err(|error| {
                Failure::Failed(format!("could not set up HTTPS: {}", causes::innermost(&error)))
            })?;
        Ok(Self { http, base, has_key })
    }

    /// The URL of a job.
    pub fn job_url(&self, id: Uuid) -> Url {
        self.url(&format!("v1/jobs/{id}"))
    }

    /// Submits a job. `body` is a file, or a form of `media_type`.
    pub async fn submit(
        &self,
        query: &[(&str, String)],
        key: &str,
        media_type: &str,
        body: Body,
    ) -> Result<Document, ApiError> {
        let mut url = self.url("v1/jobs");
        url.query_pairs_mut().extend_pairs(query);
        let request = self.http.post(url).header("idempotency-key", key).header(CONTENT_TYPE, media_type);
        // An upload may take any time; a connection that is dead ends by itself.
        let sent = request.body(body).send().await;
        let response = self.check(sent).await?;
        self.document(response).await
    }

    /// The job as it is now.
    pub async fn job(&self, id: Uuid) -> Result<Document, ApiError> {
        let response = self.send(self.http.get(self.job_url(id))).await?;
        self.document(response).await
    }

    /// The job as it is now; with `long`, once it is no longer as in `known`, or after [`LONG_POLL`].
    pub async fn poll(&self, id: Uuid, long: bool, known: Option<&HeaderValue>) -> Result<Polled, ApiError> {
        let mut request = self.http.get(self.job_url(id));
        if long {
            request = request.header("prefer", format!("wait={}", LONG_POLL.as_secs()));
        }
        if let Some(tag) = known {
            request = request.header(IF_NONE_MATCH, tag);
        }
        let response = self.send(request).await?;
        let tag = response.headers().get(ETAG).cloned();
        let has_waited = response.headers().contains_key("preference-applied");
        let document = match response.status() {
            StatusCode::NOT_MODIFIED => None,
            _ => Some(self.document(response).await?),
        };
        Ok(Polled { document, tag, has_waited })
    }

    /// Opens the stream of a job's events, after the event with the ID `last`.
    pub async fn events(&self, id: Uuid, last: Option<&str>) -> Result<Response, ApiError> {
        let mut request = self.http.get(self.url(&format!("v1/jobs/{id}/events")));
        if let Some(last) = last.filter(|last| !last.is_empty()) {
            request = request.header("last-event-id", last);
        }
        let response = self.send(request).await?;
        let media_type = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if media_type.starts_with(b"text/event-stream") {
            Ok(response)
        } else {
            Err(self.foreign("the events are no event stream"))
        }
    }

    /// Opens the result of a job from the byte `from` on; `tag` is the version of the bytes before it.
    pub async fn result(&self, id: Uuid, from: u64, tag: Option<&HeaderValue>) -> Result<Response, ApiError> {
        let request = self.http.get(self.url(&format!("v1/jobs/{id}/result")));
        let mut request = request.header("want-repr-digest", "sha-256=1");
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
            if let Some(tag) = tag {
                request = request.header(IF_RANGE, tag);
            }
        }
        self.send(request).await
    }

    /// A page of at most `size` jobs, newest first.
    pub async fn page(
        &self,
        state: Option<State>,
        size: usize,
        token: Option<&str>,
    ) -> Result<Page, ApiError> {
        let mut url = self.url("v1/jobs");
        url.query_pairs_mut().append_pair("page_size", &size.min(MAX_PAGE).to_string());
        if let Some(state) = state {
            url.query_pairs_mut().append_pair("state", state.word());
        }
        if let Some(token) = token {
            url.query_pairs_mut().append_pair("page_token", token);
        }
        let response = self.send(self.http.get(url)).await?;
        let page = self.json(response).await?;
        let no_list = || self.foreign("the list of jobs cannot be read");
        let jobs = page.get("jobs").and_then(Value::as_array).ok_or_else(no_list)?;
        let jobs = jobs.iter().map(Document::new).collect::<Result<_, _>>().map_err(|_| no_list())?;
        Ok(Page { jobs, next: page.get("next_page_token").and_then(Value::as_str).map(str::to_owned) })
    }

    /// Cancels a job; returns it as it is then.
    pub async fn cancel(&self, id: Uuid) -> Result<Document, ApiError> {
        let response = self.send(self.http.post(self.url(&format!("v1/jobs/{id}/cancel")))).await?;
        self.document(response).await
    }

    /// The error of a connection on which nothing has come for too long.
    pub fn silent(&self, after: Duration) -> ApiError {
        let cause = format!("nothing came for {} s", after.as_secs());
        ApiError::Broken { server: self.name(), cause }
    }

    /// The error of a response that cannot be from Meshgate.
    pub fn foreign(&self, what: &str) -> ApiError {
        ApiError::Foreign { server: self.name(), what: what.to_owned() }
    }

    /// The error of a body that broke off.
    pub fn broken(&self, error: &reqwest::Error) -> ApiError {
        ApiError::from_reqwest(error, &self.name())
    }

    /// The server, for people.
    fn name(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ApiError> {
        match timeout(PATIENCE, request.send()).await {
            Ok(sent) => self.check(sent).await,
            Err(_) => Err(self.silent(PATIENCE)),
        }
    }

    /// Turns a response with an error into an [`ApiError`].
    async fn check(&self, sent: reqwest::Result<Response>) -> Result<Response, ApiError> {
        let response = sent.map_err(|error| self.broken(&error))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        Err(self.refusal(response).await.into())
    }

    async fn refusal(&self, response: Response) -> Refusal {
        let status = response.status();
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.trim().to_owned());
        let retry_after = header(RETRY_AFTER.as_str()).and_then(|seconds| seconds.parse().ok());
        let (request_id, location) = (header("x-request-id"), header(LOCATION.as_str()));
        let body = timeout(PATIENCE, response.bytes()).await;
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        // A proxy answers with HTML.
        let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
        let detail = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.has_key => {
                "the server does not accept the API key; check MESHGATE_API_KEY".to_owned()
            }
            StatusCode::UNAUTHORIZED => "the server asks for an API key; set MESHGATE_API_KEY".to_owned(),
            _ if status.is_redirection() && location.is_some() => {
                let location = location.unwrap_or_default();
                format!("the server redirects to {location}; use that server as --server")
            }
            _ if problem.detail.is_empty() => format!("the server answered {status}"),
            _ => problem.detail,
        };
        let request_id = problem.request_id.or(request_id);
        let retry_after = retry_after.map(Duration::from_secs);
        Refusal { status, code: problem.code, detail, request_id, retry_after }
    }

    async fn document(&self, response: Response) -> Result<Document, ApiError> {
        let value = self.json(response).await?;
        Document::new(&value).map_err(|_| self.foreign("the job cannot be read"))
    }

    async fn json(&self, response: Response) -> Result<Value, ApiError> {
        let bytes = match timeout(PATIENCE, response.bytes()).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => return Err(self.broken(&error)),
            Err(_) => return Err(self.silent(PATIENCE)),
        };
        serde_json::from_slice(&bytes).map_err(|_| self.foreign("the response is no JSON"))
    }
}

/// Follows the redirects of a result, which may lie in a bucket. The API key stays at the server. No other call has
/// redirects, and an upload could not be sent twice.
fn redirect(attempt: Attempt) -> Action {
    let is_result = attempt.previous().first().is_some_and(|url| url.path().ends_with("/result"));
    if is_result && attempt.previous().len() <= MAX_REDIRECTS { attempt.follow() } else { attempt.stop() }
}
