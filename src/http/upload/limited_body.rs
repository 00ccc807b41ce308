//! The bytes of a body as they come: counted against the limit, and cut when they stop coming or come too slowly.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::iter;
use std::time::Instant;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use futures_util::StreamExt;

use super::Limits;
use crate::domain::ErrorCode;
use crate::http::patience::{Patience, SLOWEST};
use crate::http::problem::Problem;
use crate::http::shares::Share;

/// Bytes of a body that is read over.
const PASSED_OVER: u64 = 16 << 10;
/// How often the connection, which is the same task, gets its turn to bring what it has.
const TURNS: usize = 3;

/// A body with its limits.
pub struct Incoming {
    stream: BodyDataStream,
    limits: Limits,
    received: u64,
    patience: Patience,
    upload: Share,
}

impl Incoming {
    pub fn new(body: Body, limits: Limits, upload: Share) -> Self {
        let patience = Patience::new(limits.wait);
        Self { stream: body.into_data_stream(), limits, received: 0, patience, upload }
    }

    /// The next bytes, or `None` at the end.
    ///
    /// # Errors
    /// `too_large`, `overloaded`, `request_timeout`, `cancelled` when the body is broken off, or `malformed_request` when its chunks
    /// are none.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        let began = Instant::now();
        let next = tokio::time::timeout(self.patience.left(), self.stream.next()).await;
        let Ok(next) = next else {
            let detail = if self.patience.is_of_speed() {
                format!("the body comes too slowly, with fewer than {SLOWEST} bytes a second")
            } else {
                format!("nothing came for {} s", self.limits.wait.as_secs_f64())
            };
            return Err(Problem::new(ErrorCode::RequestTimeout, detail));
        };
        // Only this is the client's time: what has come is written meanwhile, by a disk that may be slow.
        self.patience.spend(began.elapsed());
        let Some(chunk) = next else { return Ok(None) };
        let chunk = chunk.map_err(|error| unreadable(&error))?;
        self.patience.earn(chunk.len());
        self.received += chunk.len() as u64;
        if self.received > self.limits.bytes {
            return Err(too_large(self.limits.bytes));
        }
        self.upload.add(chunk.len() as u64)?;
        Ok(Some(chunk))
    }
}

/// Reads over a body that nobody wants and that came right behind its head, as small ones do. A connection with unread
/// bytes cannot be used again, and making a new one is most of the work of a refusal; for the rest of a larger body
/// nobody waits.
pub async fn pass_over(body: Body) {
    if body.size_hint().upper().is_none_or(|bytes| bytes > PASSED_OVER) {
        return;
    }
    let mut stream = body.into_data_stream();
    let whole = async { while let Some(Ok(_)) = stream.next().await {} };
    let here = async {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = whole => {}
        () = here => {}
    }
}

/// A body that cannot be read on: its sender is gone, or says what is no HTTP.
fn unreadable(error: &(dyn Error + 'static)) -> Problem {
    let mut causes = iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    let kind = causes.find_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind);
    match kind {
        Some(ErrorKind::InvalidInput | ErrorKind::InvalidData) => {
            Problem::new(ErrorCode::MalformedRequest, "the body's chunks are not as HTTP asks for")
        }
        _ => Problem::new(ErrorCode::Cancelled, "the body was broken off"),
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
