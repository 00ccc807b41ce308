//! Bodies that tell the connection how far they are.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use super::wire::{Answering, Exchange};

/// A request's body: when it was read to its end, the connection knows.
pub struct Asked {
    inner: Incoming,
    exchange: Arc<Exchange>,
}

impl Asked {
    /// A request begins with this body.
    pub fn begin(inner: Incoming, exchange: &Arc<Exchange>) -> (Self, Answering) {
        let answering = exchange.request(!inner.is_end_stream());
        (Self { inner, exchange: Arc::clone(exchange) }, answering)
    }
}

impl HttpBody for Asked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if frame.is_none() || self.inner.is_end_stream() {
            self.exchange.all_read();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer's body: the request counts as answered when it is gone.
pub struct Told {
    inner: Body,
    _answering: Answering,
}

impl Told {
    pub fn new(inner: Body, answering: Answering) -> Self {
        Self { inner, _answering: answering }
    }
}

impl HttpBody for Told {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
