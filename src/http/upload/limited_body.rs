//! A request body with limits of its size, its pauses and its speed.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::iter;
use std::time::{Duration, Instant};

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use futures_util::StreamExt;

use crate::domain::ErrorCode;
use crate::http::digest::Digests;
use crate::http::problem::Problem;
use crate::http::shares::Share;
use crate::http::time_credit::{SLOWEST, TimeCredit};

/// Largest unused body that is read and discarded, in bytes.
const MAX_DISCARDED: u64 = 16 << 10;
/// Yields that let the connection, which runs in the same task, deliver what it has received.
const YIELDS: usize = 3;

/// A body of more pieces than this is refused if they are smaller on average than [`SMALL_PIECE`] bytes: a piece costs a
/// microsecond, and the system may hold millions of them for a client that has hung up.
const MAX_SMALL_PIECES: u64 = 150_000;
const SMALL_PIECE: u64 = 16;

pub struct Incoming {
    stream: BodyDataStream,
    max_bytes: u64,
    longest_pause: Duration,
    credit: TimeCredit,
    received: u64,
    pieces: u64,
    share: Share,
    digests: Digests,
}

impl Incoming {
    /// The received bytes count in `share` until the body is dropped.
    pub fn new(body: Body, max_bytes: u64, longest_pause: Duration, share: Share) -> Self {
        let (stream, credit) = (body.into_data_stream(), TimeCredit::new(longest_pause));
        let digests = Digests::default();
        Self { stream, max_bytes, longest_pause, credit, received: 0, pieces: 0, share, digests }
    }

    /// Compares the body with these digests at its end.
    pub fn with_digests(self, digests: Digests) -> Self {
        Self { digests, ..self }
    }

    /// Returns the next bytes, or `None` at the end.
    ///
    /// # Errors
    /// `too_large`, `overloaded`, `request_timeout`, `digest_mismatch`, `cancelled` if the client hung up, or
    /// `malformed_request` for malformed chunks.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        let began = Instant::now();
        let Ok(next) = tokio::time::timeout(self.credit.left(), self.stream.next()).await else {
            let detail = if self.credit.is_too_slow() {
                format!("the body comes too slowly, with fewer than {SLOWEST} bytes a second")
            } else {
                format!("no data came for {} s", self.longest_pause.as_secs_f64())
            };
            return Err(Problem::new(ErrorCode::RequestTimeout, detail));
        };
        // Only this wait is the client's: writing what was received to a slow disk does not count.
        self.credit.spend(began.elapsed());
        let Some(chunk) = next else {
            self.digests.compare()?;
            return Ok(None);
        };
        let chunk = chunk.map_err(|error| unreadable(&error))?;
        self.credit.earn(chunk.len());
        self.received += chunk.len() as u64;
        if self.received > self.max_bytes {
            return Err(too_large(self.max_bytes));
        }
        self.pieces += 1;
        if self.pieces > MAX_SMALL_PIECES && self.received < self.pieces * SMALL_PIECE {
            return Err(Problem::malformed("the body comes in too many small pieces"));
        }
        self.share.add(chunk.len() as u64)?;
        self.digests.update(&chunk);
        Ok(Some(chunk))
    }
}

/// Discards an unused body that came right behind its head, as small ones do. A connection with unread bytes cannot be
/// reused, and opening a new one is most of the work of a refusal. Does not wait for bytes still to arrive.
pub async fn discard(body: Body) {
    if body.size_hint().upper().is_none_or(|bytes| bytes > MAX_DISCARDED) {
        return;
    }
    let mut stream = body.into_data_stream();
    let whole = async { while let Some(Ok(_)) = stream.next().await {} };
    let yields = async {
        for _ in 0..YIELDS {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = whole => {}
        () = yields => {}
    }
}

/// Returns the problem of a body that cannot be read: the client hung up, or its chunks are malformed.
fn unreadable(error: &(dyn Error + 'static)) -> Problem {
    let mut causes = iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    let kind = causes.find_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind);
    match kind {
        Some(ErrorKind::InvalidInput | ErrorKind::InvalidData) => {
            Problem::malformed("malformed chunked body")
        }
        _ => Problem::new(ErrorCode::Cancelled, "the client hung up during the upload"),
    }
}

pub fn too_large(limit: u64) -> Problem {
    let detail = if limit.is_multiple_of(1 << 20) {
        format!("the request is above the limit of {} MB", limit >> 20)
    } else {
        format!("the request is above the limit of {limit} bytes")
    };
    Problem::new(ErrorCode::TooLarge, detail)
}

/// The sentence is the predecessor's, whose clients may match it.
pub fn no_file() -> Problem {
    Problem::new(ErrorCode::NoFile, "No file provided")
}
