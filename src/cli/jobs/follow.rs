//! Follows a job until it ends: by its events, or by asking again and again where no stream gets through.
//!
//! ```text
//!  ask ──▶ ended? ──▶ done
//!   ▲        │ no
//!   │        ▼
//!   └──── listen to the events until the stream ends; it is resumed after the last event
//!            └ after several streams in a row without an event, the server holds each question instead
//! ```
//!
//! The answer to a question decides everything; events only move the bar. So no proxy that delays, cuts or refuses
//! streams can hide the end of a job.

use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::api::{Api, Polled};
use super::document::{Change, Document};
use super::error::ApiError;
use super::retry::PATIENCE;
use super::sse::Parser;
use crate::cli::progress::Bar;
use crate::jobs::{GiveBack, Progress, State};

/// Streams in a row that bring no event, before there are no more.
const MAX_STREAMS: u32 = 3;

/// Longest silence of a stream: the server sends a comment every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

/// Pause before the next question, after a stream that broke off, or to a server that does not answer or wait.
const PAUSE: Duration = Duration::from_secs(1);

struct Follower<'a> {
    api: &'a Api,
    id: Uuid,
    bar: &'a Bar,
    /// The version of the job that was last asked for.
    tag: Option<HeaderValue>,
    /// The ID of the last event.
    last_event: Option<String>,
    /// Streams in a row that brought no event.
    fruitless: u32,
    /// Whether the server was ever reached. If it never was, its address may be wrong.
    reached: bool,
    /// Why the job was queued again the last time, and its attempts then.
    last_reason: Option<(GiveBack, u32)>,
}

/// Returns a job once it has ended. Shows its stages on `bar`, and why it is queued again. `reached`: the server has
/// answered before.
///
/// # Errors
/// When the job does not exist, or the server cannot be reached: for two minutes, or at all.
pub async fn follow(api: &Api, id: Uuid, bar: &Bar, reached: bool) -> Result<Document, ApiError> {
    let mut follower =
        Follower { api, id, bar, tag: None, last_event: None, fruitless: 0, reached, last_reason: None };
    loop {
        let asked = Instant::now();
        let Polled { document, tag, has_waited } = follower.ask().await?;
        follower.tag = tag;
        if let Some(document) = document {
            if document.job.state.has_ended() {
                return Ok(document);
            }
            follower.show(document.job.state, document.job.progress);
        }
        if follower.has_streams() {
            follower.listen().await;
        } else if !has_waited {
            sleep(PAUSE.saturating_sub(asked.elapsed())).await;
        }
    }
}

impl Follower<'_> {
    fn has_streams(&self) -> bool {
        self.fruitless < MAX_STREAMS
    }

    /// Asks for the job. Waits for a server that is away: it may be starting again.
    async fn ask(&mut self) -> Result<Polled, ApiError> {
        let began = Instant::now();
        loop {
            let long = !self.has_streams();
            // Whether something has changed matters only to a long poll: otherwise, a stream has just ended.
            let known = self.tag.as_ref().filter(|_| long);
            let polled = self.api.poll(self.id, long, known).await;
            self.reached |= !matches!(polled, Err(ApiError::Unreachable { .. }));
            match polled {
                Ok(polled) => return Ok(polled),
                Err(error) if !self.reached || !error.is_temporary() || began.elapsed() > PATIENCE => {
                    return Err(error);
                }
                Err(error) => {
                    self.bar.show("waiting", 0.0);
                    sleep(error.retry_after().unwrap_or_default().clamp(PAUSE, PATIENCE)).await;
                }
            }
        }
    }

    /// Shows the events of the job until their stream ends.
    async fn listen(&mut self) {
        self.fruitless += 1;
        let opened = timeout(SILENCE, self.api.events(self.id, self.last_event.as_deref())).await;
        let mut response = match opened {
            Ok(Ok(response)) => response,
            // The next question will say whether the server is away.
            Ok(Err(ApiError::Unreachable { .. })) => {
                self.fruitless -= 1;
                return;
            }
            Ok(Err(error)) if error.is_temporary() => return sleep(PAUSE).await,
            // No stream gets through.
            Ok(Err(_)) | Err(_) => {
                self.fruitless = MAX_STREAMS;
                return;
            }
        };
        let mut parser = Parser::default();
        loop {
            let piece = match timeout(SILENCE, response.chunk()).await {
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None) | Err(_)) => return sleep(PAUSE).await,
                // Something on the way holds the stream back.
                Err(_) => {
                    self.fruitless = MAX_STREAMS;
                    return;
                }
            };
            let Ok(events) = parser.feed(&piece) else {
                self.fruitless = MAX_STREAMS;
                return;
            };
            for event in events {
                self.fruitless = 0;
                self.last_event = parser.last_id().map(str::to_owned);
                if event.name == "end" {
                    return;
                }
                // Kinds of events that only newer servers have are skipped.
                if let Ok(change) = serde_json::from_str::<Change>(&event.data) {
                    self.explain(&change);
                    self.show(change.state, change.progress);
                }
            }
        }
    }

    /// Says why the job is queued again; once if it is given back for the same reason without an attempt between.
    fn explain(&mut self, change: &Change) {
        let Some(reason) = change.reason.filter(|_| change.state == State::Queued) else { return };
        if self.last_reason.replace((reason, change.attempt)) != Some((reason, change.attempt)) {
            self.bar.say(why(reason));
        }
    }

    fn show(&self, state: State, progress: Option<Progress>) {
        match (state, progress) {
            (State::Running, Some(progress)) => self.bar.stage(progress.stage, progress.fraction),
            (State::Running, None) => self.bar.show("starting", 0.0),
            (State::Queued, _) => self.bar.show("queued", 0.0),
            _ => {}
        }
    }
}

/// Why a job is queued again, for people.
fn why(reason: GiveBack) -> &'static str {
    match reason {
        GiveBack::Stopping => "its worker stops; queued again",
        GiveBack::EngineUnavailable => "the worker has no engine; waits",
        GiveBack::StoreUnavailable => "the worker cannot read the store; waits",
        GiveBack::DiskFull => "the disk of its worker is full; waits",
        GiveBack::OutOfMemory => "out of memory; tries with more",
        GiveBack::Unschedulable => "the cluster has no place for it; a worker runs it",
        GiveBack::ClusterBusy => "too many jobs wait for the cluster; waits",
        GiveBack::WorkerLost => "its worker was lost; queued again",
        GiveBack::EngineLost => "Blender went down twice; waits for another attempt",
    }
}
