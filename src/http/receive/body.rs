//! The bytes of a body as they come: counted against the limit, and cut when they stop coming.

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::StreamExt;

use super::Limits;
use crate::domain::ErrorCode;
use crate::http::problem::Problem;

/// A body with its limits.
pub struct Incoming {
    stream: BodyDataStream,
    limits: Limits,
    received: u64,
}

impl Incoming {
    pub fn new(body: Body, limits: Limits) -> Self {
        Self { stream: body.into_data_stream(), limits, received: 0 }
    }

    /// The next bytes, or `None` at the end.
    ///
    /// # Errors
    /// `too_large`, `request_timeout`, or `malformed_request` when the body is broken off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        let wait = self.limits.wait;
        let next = tokio::time::timeout(wait, self.stream.next()).await;
        let Ok(next) = next else {
            let detail = format!("nothing came for {} s", wait.as_secs_f64());
            return Err(Problem::new(ErrorCode::RequestTimeout, detail));
        };
        let Some(chunk) = next else { return Ok(None) };
        let chunk = chunk.map_err(|_| {
            let detail = "the body ended early or is not as its headers say";
            Problem::new(ErrorCode::MalformedRequest, detail)
        })?;
        self.received += chunk.len() as u64;
        if self.received > self.limits.bytes { Err(too_large(self.limits.bytes)) } else { Ok(Some(chunk)) }
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
