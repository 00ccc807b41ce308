//! Bodies that report each frame to an observer, or that end early.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::Error;
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

/// The result of polling a body: a frame, an error, or its end (`None`).
pub type Polled<'a> = Option<&'a Result<Frame<Bytes>, Error>>;

/// Returns the body, which now calls `observe` with each frame and whether it was the last one. It owns `observe`.
pub fn observed(body: Body, observe: impl FnMut(Polled, bool) + Send + Unpin + 'static) -> Body {
    Body::new(ObservedBody { body, observe })
}

struct ObservedBody<F> {
    body: Body,
    observe: F,
}

impl<F: FnMut(Polled, bool) + Unpin> HttpBody for ObservedBody<F> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(context));
        let ended = polled.is_none() || self.body.is_end_stream();
        (self.observe)(polled.as_ref(), ended);
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Returns the body, which now ends as soon as it has no frame ready after `end` is. It is dropped then.
pub fn ended_by(body: Body, end: impl Future<Output = ()> + Send + 'static) -> Body {
    Body::new(EndedBody { body, end: Box::pin(end) })
}

struct EndedBody {
    body: Body,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl HttpBody for EndedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(polled) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(polled);
        }
        ready!(self.end.as_mut().poll(context));
        self.body = Body::empty();
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of data in a frame.
pub fn length(polled: Polled) -> u64 {
    polled.and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, |data| data.len() as u64)
}
