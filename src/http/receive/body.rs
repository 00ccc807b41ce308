//! The bytes of a body as they come: counted against the limit, and cut when they stop coming.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, Sleep};

use super::Limits;
use crate::domain::ErrorCode;
use crate::http::problem::Problem;

/// A body with its limits.
pub struct Incoming {
    stream: BodyDataStream,
    limits: Limits,
    received: u64,
    deadline: Pin<Box<Sleep>>,
    /// How much may still come before whoever reads has to show that it got somewhere.
    allowance: Allowance,
}

/// Bytes that a parser may swallow without giving something back: what it keeps meanwhile is in memory.
#[derive(Debug, Clone)]
pub struct Allowance(Arc<AtomicU64>);

impl Allowance {
    pub fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    fn take(&self, bytes: u64) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(bytes), Ordering::Relaxed);
        left > 0
    }
}

impl Incoming {
    pub fn new(body: Body, limits: Limits) -> Self {
        Self {
            stream: body.into_data_stream(),
            limits,
            received: 0,
            deadline: Box::pin(tokio::time::sleep(limits.wait)),
            allowance: Allowance(Arc::new(AtomicU64::new(u64::MAX))),
        }
    }

    pub fn allowance(&self) -> Allowance {
        self.allowance.clone()
    }

    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        self.next().await.transpose()
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, Problem>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Poll::Ready(chunk) = self.stream.poll_next_unpin(context) else {
            if self.deadline.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            let detail = format!("nothing came for {} s", self.limits.wait.as_secs_f64());
            return Poll::Ready(Some(Err(Problem::new(ErrorCode::RequestTimeout, detail))));
        };
        let wait = self.limits.wait;
        self.deadline.as_mut().reset(Instant::now() + wait);
        let Some(chunk) = chunk else { return Poll::Ready(None) };
        Poll::Ready(Some(self.counted(chunk)))
    }
}

impl Incoming {
    fn counted(&mut self, chunk: Result<Bytes, axum::Error>) -> Result<Bytes, Problem> {
        let malformed = |detail| Problem::new(ErrorCode::MalformedRequest, detail);
        let chunk = chunk.map_err(|_| malformed("the body ended early or is not as its headers say"))?;
        self.received += chunk.len() as u64;
        if self.received > self.limits.bytes {
            return Err(too_large(self.limits.bytes));
        }
        if !self.allowance.take(chunk.len() as u64) {
            return Err(malformed("the headers of a part are too long"));
        }
        Ok(chunk)
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
