//! Bodies that report each frame to an observer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// The result of polling a body: a frame, an error, or its end (`None`).
pub type Part<'a, E> = Option<&'a Result<Frame<Bytes>, E>>;

/// A body that calls `observe` with each frame and whether it was the last one. `observe` lives as long as the body.
pub struct Seen<B, F> {
    inner: B,
    observe: F,
}

impl<B, F> Seen<B, F>
where
    B: Body<Data = Bytes> + Unpin,
    F: FnMut(Part<B::Error>, bool) + Unpin,
{
    pub fn new(inner: B, observe: F) -> Self {
        Self { inner, observe }
    }
}

impl<B, F> Body for Seen<B, F>
where
    B: Body<Data = Bytes> + Unpin,
    F: FnMut(Part<B::Error>, bool) + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let part = ready!(Pin::new(&mut self.inner).poll_frame(context));
        let ended = part.is_none() || self.inner.is_end_stream();
        (self.observe)(part.as_ref(), ended);
        Poll::Ready(part)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Bytes of data in a frame.
pub fn length<E>(part: Part<E>) -> u64 {
    let data = part.and_then(|part| part.as_ref().ok()?.data_ref());
    data.map_or(0, |data| data.len() as u64)
}
