//! A connection's byte stream. It adds what hyper lacks: timeouts for slow clients, reading on after an early response,
//! and error bodies for requests that hyper cannot parse.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;

use super::linger::Lingering;
use crate::domain::ErrorCode;
use crate::http::reject::{self, Completed};
use crate::http::time_credit::TimeCredit;

/// Largest request line and headers, in bytes.
pub const MAX_HEAD: usize = 32 << 10;

/// The longest body that hyper can count. It reports a longer one as a head that is too large or malformed.
const MAX_COUNTABLE_BODY: u64 = u64::MAX - 2;

/// Bytes that are read of a head, and with it of a body, before its handler gets its turn.
const HEAD_TURN: usize = 8 << 10;
/// Bytes of a body that may follow bytes without content, such as trailers, which hyper limits to those of a head. It does
/// not limit the length of a chunk's head.
const MAX_FRAMING: u64 = MAX_HEAD as u64 + (1 << 10);
/// Bytes of such framing that are read before other tasks get their turn: hyper takes 0.4 µs for each.
const FRAMING_TURN: usize = 1 << 10;

/// How long a connection may be idle between two requests. It is longer than the usual minute of load balancers, which
/// would otherwise send requests into closing connections.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// The state of the request and response on a connection.
#[derive(Debug, Default)]
pub struct Exchange {
    /// A request's head was read, and its response is not complete.
    answering: AtomicBool,
    /// Part of a request's head was read.
    asking: AtomicBool,
    /// The bytes of that head, and those that came right behind it.
    head: Mutex<Vec<u8>>,
    /// Number of requests so far.
    begun: AtomicU64,
    /// The latest request has unread bytes.
    unread: AtomicBool,
    /// Bytes of its body that were read since it last yielded content. A read right after content counts as 1: it may
    /// hold content, too.
    framing: AtomicU64,
    /// Wakes the task that waits for the end of the request.
    read: Notify,
}

impl Exchange {
    /// Begins a request; `body` is whether it has one. The exchange ends when the guard is dropped.
    pub fn request(self: &Arc<Self>, body: bool) -> Answering {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.asking.store(false, Ordering::Relaxed);
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
        self.unread.store(body, Ordering::Relaxed);
        self.framing.store(0, Ordering::Relaxed);
        self.answering.store(true, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }

    /// Records bytes of the next request's head.
    fn head_received(&self, bytes: &[u8]) {
        self.asking.store(true, Ordering::Relaxed);
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_HEAD.saturating_sub(head.len());
        head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// Whether the latest head has a `Content-Length`, which hyper hides if the body is chunked too. A head that
    /// arrived during the previous exchange is not seen.
    pub fn announces_length(&self) -> bool {
        self.length_is(|_| true)
    }

    /// Whether the head's `Content-Length` is a number larger than hyper can count.
    fn announces_too_much(&self) -> bool {
        self.length_is(|value| {
            let digits = value.trim_ascii();
            let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            is_number && number.is_none_or(|number: u64| number > MAX_COUNTABLE_BODY)
        })
    }

    /// Whether the head has a `Content-Length` whose value matches.
    fn length_is(&self, matches: impl Fn(&[u8]) -> bool) -> bool {
        let head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
        // Skip empty lines before the request line.
        let lines = lines.skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty());
        let mut headers =
            lines.filter_map(|line| line.split_at_checked(line.iter().position(|byte| *byte == b':')?));
        headers.any(|(name, value)| {
            name.eq_ignore_ascii_case(b"content-length") && matches(value.get(1..).unwrap_or_default())
        })
    }

    /// Notes that the body yielded content.
    pub fn content_read(&self) {
        self.framing.store(0, Ordering::Relaxed);
    }

    /// How many bytes may be read now before other tasks get their turn; `None` if that does not matter.
    fn turn(&self) -> Option<usize> {
        if !self.is_answering() {
            return Some(HEAD_TURN);
        }
        (self.is_unread() && self.framing.load(Ordering::Relaxed) > 0).then_some(FRAMING_TURN)
    }

    /// Counts bytes that were read of a body: those after bytes without content, `turn` of them at most.
    ///
    /// # Errors
    /// `InvalidData` if the body yielded no content for more than `MAX_FRAMING` of them.
    fn count_framing(&self, bytes: usize, turn: Option<usize>) -> io::Result<()> {
        if turn.is_none() {
            // These may be content. Unless they are, the next ones count.
            self.framing.store(1, Ordering::Relaxed);
            return Ok(());
        }
        let framing = self.framing.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if framing > MAX_FRAMING {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the head of a chunk does not end"));
        }
        Ok(())
    }

    /// Notes that the request was read to its end.
    pub fn all_read(&self) {
        self.unread.store(false, Ordering::Relaxed);
        self.read.notify_one();
    }

    /// Waits until the latest request was read to its end.
    pub async fn read_to_end(&self) {
        while self.is_unread() {
            self.read.notified().await;
        }
    }

    /// Whether the latest request has unread bytes.
    pub fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    pub fn is_answering(&self) -> bool {
        self.answering.load(Ordering::Relaxed)
    }

    /// Whether part of a request's head was read.
    pub fn is_asking(&self) -> bool {
        self.asking.load(Ordering::Relaxed)
    }

    /// Whether nothing has been received on this connection yet.
    pub fn is_fresh(&self) -> bool {
        self.begun.load(Ordering::Relaxed) == 0 && !self.is_asking()
    }

    fn awaited(&self) -> Option<Awaited> {
        if self.is_answering() {
            return None;
        }
        let after = self.begun.load(Ordering::Relaxed);
        Some(if self.is_asking() { Awaited::Rest { after } } else { Awaited::Request { after } })
    }
}

/// Guard of an exchange: the response is not complete until it is dropped.
#[derive(Debug)]
pub struct Answering(Arc<Exchange>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.store(false, Ordering::Relaxed);
    }
}

/// The part of a request that the client has to send in time; `after` is the number of earlier requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Request { after: u64 },
    Rest { after: u64 },
}

/// A stream with timeouts.
pub struct TimedStream<T> {
    inner: T,
    exchange: Arc<Exchange>,
    /// Limits the wait for a request's head, and for the client to read part of a response.
    longest_pause: Duration,
    awaited: Option<Awaited>,
    read_deadline: Pin<Box<Sleep>>,
    /// The client's time credit for reading the current response.
    write_credit: TimeCredit,
    /// The number of that response.
    response: u64,
    blocked: Option<Blocked>,
    /// The rest of a refusal that is being sent: hyper's own response, completed with a body.
    refusal: Bytes,
    /// Called at most once, for a request that cannot be parsed or does not arrive in time.
    on_refusal: Option<OnRefusal>,
    lingering: Option<Lingering>,
    stopping: CancellationToken,
    /// Whether the connection's task has yielded to others since its last short read.
    yielded: bool,
}

/// Callback with the error code of a refused request, and the request ID of the response if there is one.
pub type OnRefusal = Box<dyn FnOnce(ErrorCode, Option<&str>) + Send>;

/// A write that waits for the client to read.
struct Blocked {
    since: Instant,
    deadline: Pin<Box<Sleep>>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> TimedStream<T> {
    /// Wraps `inner`; `stopping` shortens the reading on after an early response.
    pub fn new(
        inner: T,
        exchange: Arc<Exchange>,
        longest_pause: Duration,
        stopping: CancellationToken,
        on_refusal: OnRefusal,
    ) -> Self {
        Self {
            inner,
            exchange,
            longest_pause,
            awaited: None,
            read_deadline: Box::pin(sleep(longest_pause)),
            write_credit: TimeCredit::new(longest_pause),
            response: 0,
            blocked: None,
            refusal: Bytes::new(),
            on_refusal: Some(on_refusal),
            lingering: None,
            stopping,
            yielded: false,
        }
    }

    /// Ready when the client has missed its deadline for sending a request.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let awaited = self.exchange.awaited();
        if self.awaited != awaited {
            self.awaited = awaited;
            let longest_pause = match awaited {
                Some(Awaited::Request { after: 1.. }) => KEEP_ALIVE,
                _ => self.longest_pause,
            };
            self.read_deadline.as_mut().reset(Instant::now() + longest_pause);
        }
        if awaited.is_none() {
            // The reader of the body has its own timeout.
            return Poll::Pending;
        }
        ready!(self.read_deadline.as_mut().poll(context));
        if matches!(awaited, Some(Awaited::Rest { .. }))
            && let Some(on_refusal) = self.on_refusal.take()
        {
            on_refusal(ErrorCode::RequestTimeout, None);
        }
        Poll::Ready(())
    }

    /// Fails a write if the client stopped reading, or reads too slowly.
    fn timed(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let response = self.exchange.begun.load(Ordering::Relaxed);
        if self.response != response {
            (self.response, self.write_credit) = (response, TimeCredit::new(self.longest_pause));
        }
        if let Poll::Ready(result) = written {
            if let Some(blocked) = self.blocked.take() {
                self.write_credit.spend(blocked.since.elapsed());
            }
            self.write_credit.earn(*result.as_ref().unwrap_or(&0));
            return Poll::Ready(result);
        }
        let left = self.write_credit.left();
        let blocked = self
            .blocked
            .get_or_insert_with(|| Blocked { since: Instant::now(), deadline: Box::pin(sleep(left)) });
        ready!(blocked.deadline.as_mut().poll(context));
        let why = if self.write_credit.is_too_slow() {
            "the client reads its response too slowly"
        } else {
            "the client stopped reading its response"
        };
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
    }

    /// Sends the rest of a refusal.
    fn poll_refusal(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let written = Pin::new(&mut self.inner).poll_write(context, &self.refusal);
            match ready!(self.timed(context, written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.refusal.advance(bytes),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn begin_refusal(&mut self, Completed { bytes, code, id }: Completed) {
        if let Some(on_refusal) = self.on_refusal.take() {
            on_refusal(code, Some(&id));
        }
        self.exchange.unread.store(true, Ordering::Relaxed);
        self.refusal = bytes.into();
    }

    /// Responds in place of hyper, and ends the connection.
    pub async fn refuse(mut self, completed: Completed) {
        self.begin_refusal(completed);
        // The client may be gone already.
        let _ = self.shutdown().await;
    }

    /// Reads at most `turn` bytes, and yields to other tasks before every such read of a request but the first.
    fn poll_read_few(
        &mut self,
        turn: usize,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let has_begun = self.exchange.is_asking() || self.exchange.is_answering();
        if has_begun && !std::mem::replace(&mut self.yielded, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut bytes = [0; HEAD_TURN];
        let room = turn.min(buffer.remaining());
        let mut part = ReadBuf::new(bytes.get_mut(..room).unwrap_or_default());
        ready!(Pin::new(&mut self.inner).poll_read(context, &mut part))?;
        buffer.put_slice(part.filled());
        self.yielded = false;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for TimedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let turn = self.exchange.turn();
        let read = match turn {
            Some(turn) => self.poll_read_few(turn, context, buffer),
            None => Pin::new(&mut self.inner).poll_read(context, buffer),
        };
        match read {
            Poll::Ready(result) => {
                let new = buffer.filled().get(before..).unwrap_or_default();
                if self.exchange.is_answering() {
                    self.exchange.count_framing(new.len(), turn)?;
                } else if !new.is_empty() {
                    self.exchange.head_received(new);
                }
                Poll::Ready(result)
            }
            // A missed deadline reads as the end of the stream.
            Poll::Pending => self.poll_late(context).map(Ok),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TimedStream<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_refusal(context))?;
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        if let (Some(only), None) = (filled.next(), filled.next())
            && let Some(completed) = reject::with_body(only, self.exchange.announces_too_much())
        {
            self.begin_refusal(completed);
            return Poll::Ready(Ok(only.len()));
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.timed(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(context))?;
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(context))?;
        }
        if self.exchange.is_unread() {
            let Self { inner, lingering, stopping, .. } = &mut *self;
            ready!(lingering.get_or_insert_with(|| Lingering::new(stopping)).poll(inner, context));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
