//! Bodies that are watched as they pass.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// What came of a body when it was asked for more: a part of it, an error, or its end.
pub type Part<'a, E> = Option<&'a Result<Frame<Bytes>, E>>;

/// A body of which `see` is told every part, and whether nothing is left behind it. What `see` holds, it holds as long
/// as the body is there.
pub struct Seen<B, F> {
    inner: B,
    see: F,
}

impl<B, F> Seen<B, F>
where
    B: Body<Data = Bytes> + Unpin,
    F: FnMut(Part<B::Error>, bool) + Unpin,
{
    pub fn new(inner: B, see: F) -> Self {
        Self { inner, see }
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
        (self.see)(part.as_ref(), ended);
        Poll::Ready(part)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Bytes of a part.
pub fn length<E>(part: Part<E>) -> u64 {
    let data = part.and_then(|part| part.as_ref().ok()?.data_ref());
    data.map_or(0, |data| data.len() as u64)
}
