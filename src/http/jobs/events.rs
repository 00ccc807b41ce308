//! `GET /v1/jobs/{id}/events`: the changes of a job as server-sent events, until it ends.
//!
//! A stream keeps no more than the events that it has not sent yet. The record of the job keeps the rest, so any process
//! can continue a stream that broke off, from the `Last-Event-ID` of the client.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, HeaderName, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use uuid::Uuid;

use super::document::{DateTime, Document};
use super::errors;
use super::find::{PathId, find};
use crate::http::middleware;
use crate::http::problem::Problem;
use crate::http::shares::Share;
use crate::http::state::Shared;
use crate::http::waiting::EndsAtHangUp;
use crate::jobs::{self, GiveBack, Job, Progress};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Turns off the buffering of nginx for a response.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Longest silence: proxies close connections that are silent for longer, usually for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long one wait for a change takes at most; the next one follows at once.
const WAIT: Duration = Duration::from_mins(1);

/// Pause after the queue could not be read: a stream that ended now would not be resumed by every client.
const PAUSE: Duration = Duration::from_secs(2);

/// A change of a job, as the data of an event.
#[derive(Debug, Serialize)]
struct Change {
    state: jobs::State,
    /// The attempt, from 1; 0 before the first.
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    /// Why a job that was running is queued again.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<GiveBack>,
    at: DateTime,
}

/// A stream of events.
struct Follower {
    gateway: Shared,
    id: Uuid,
    /// The version of the job that was read last.
    version: u64,
    /// The latest event that was queued in `events`, or that the client has.
    latest: u64,
    events: VecDeque<jobs::Event>,
    end: End,
    /// Its part of the connections that may wait.
    _waiting: Share,
}

/// The last event of a stream.
enum End {
    NotReached,
    /// The job has ended, and this is its last state.
    Reached(Box<Job>),
    Sent,
}

/// Follow a job
///
/// Server-sent events: `state` and `progress`, each with the version of the job as its ID, and an `end`, without an ID,
/// with the whole job once it has ended; then the stream closes. `Last-Event-ID` resumes a stream that broke off. A job
/// keeps only its latest `progress`, so a stream may skip some. A comment every 15 seconds keeps the connection open.
#[utoipa::path(get, path = "/v1/jobs/{id}/events", tag = "jobs")]
pub async fn job_events(
    State(gateway): State<Shared>,
    id: PathId,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Response, Problem> {
    let job = find(&gateway, id, &extensions).await?;
    let client = middleware::client(&extensions).unwrap_or_default();
    let waiting = gateway.waiting.enter(client).map_err(errors::too_many_streams)?;
    let closed = gateway.shutdown.closed.clone();
    let follower = Follower::new(gateway, job, last_event_id(&headers), waiting);
    let events = stream::unfold(follower, Follower::next).take_until(closed.cancelled_owned());
    let events = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive"));
    let headers = [(header::CACHE_CONTROL, "no-store"), (X_ACCEL_BUFFERING, "no")];
    Ok((headers, Extension(EndsAtHangUp), events).into_response())
}

/// Returns the ID of the last event that the client has; 0 if it has none.
fn last_event_id(headers: &HeaderMap) -> u64 {
    let id = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.trim().parse().ok());
    id.unwrap_or_default()
}

impl Follower {
    fn new(gateway: Shared, job: Job, seen: u64, waiting: Share) -> Self {
        // No event has a later ID than the version, so the client has made one up.
        let latest = if seen > job.version { 0 } else { seen };
        let (id, events, end) = (job.id, VecDeque::new(), End::NotReached);
        let mut follower = Self { gateway, id, version: 0, latest, events, end, _waiting: waiting };
        follower.read(job);
        follower
    }

    /// Queues the events of the job that are new.
    fn read(&mut self, job: Job) {
        self.version = job.version;
        let latest = self.latest;
        self.events.extend(job.events.iter().filter(|event| event.id > latest).cloned());
        self.latest = self.events.back().map_or(latest, |event| event.id);
        if job.state.has_ended() {
            self.end = End::Reached(Box::new(job));
        }
    }

    /// Waits for the next event; `None` at the end of the stream.
    async fn next(mut self) -> Option<(Result<sse::Event, axum::Error>, Self)> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some((change(&event), self));
            }
            match std::mem::replace(&mut self.end, End::Sent) {
                End::NotReached => self.end = End::NotReached,
                End::Reached(job) => return Some((end(&job), self)),
                End::Sent => return None,
            }
            match self.gateway.jobs.changed(self.id, self.version, WAIT).await {
                Ok(Some(job)) => self.read(job),
                // It was removed.
                Ok(None) => return None,
                Err(error) => {
                    tracing::debug!(%error, "the job of a stream cannot be read");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn change(event: &jobs::Event) -> Result<sse::Event, axum::Error> {
    let jobs::Event { id, at, state, attempt, progress, reason } = event.clone();
    let name = if progress.is_some() { "progress" } else { "state" };
    let change = Change { state, attempt, progress, reason, at: at.into() };
    sse::Event::default().id(id.to_string()).event(name).json_data(change)
}

/// It has no ID: IDs increase, and the last `state` has that of the end. A client that resumes after that one gets the
/// `end` again.
fn end(job: &Job) -> Result<sse::Event, axum::Error> {
    sse::Event::default().event("end").json_data(Document::new(job))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_numbers_are_event_ids() {
        assert_eq!(last_event_id(&HeaderMap::new()), 0);
        for (value, id) in [("7", 7), (" 7 ", 7), ("", 0), ("-1", 0), ("7a", 0), ("99999999999999999999", 0)]
        {
            let headers = HeaderMap::from_iter([(LAST_EVENT_ID, HeaderValue::from_static(value))]);
            assert_eq!(last_event_id(&headers), id, "{value}");
        }
    }
}
