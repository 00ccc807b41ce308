//! A connection's bytes: what hyper does not do for clients that are slow, that go on sending after they were
//! answered, or whose request cannot even be read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::domain::ErrorCode;
use crate::http::patience::Patience;
use crate::http::reject::{self, Completed};

/// Bytes of a request's line and headers.
pub const MAX_HEAD: usize = 32 << 10;

/// The longest body that hyper can count; it takes a longer one for a head that is too large, or for none.
const LONGEST_READ: u64 = u64::MAX - 2;

/// Bytes of a body that may be read before any of its content comes out: hyper reads the head of a chunk without end. More
/// than its buffers hold.
const MAX_FRAMING: u64 = 256 << 10;

/// How long a connection may do nothing between two requests: longer than the usual minute of load balancers, which
/// would else send requests into connections that close at this moment.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// What still comes from a client that was answered already is read (else it would lose the answer with the
/// connection), for so long, with pauses up to this, and so many bytes.
const LINGER: Duration = Duration::from_secs(30);
const LINGER_PAUSE: Duration = Duration::from_secs(5);
const LINGER_BYTES: u64 = 256 << 20;
/// … and for so long when the service stops.
const LINGER_AT_STOP: Duration = Duration::from_secs(1);

/// What the bytes of a connection are about at the moment.
#[derive(Debug, Default)]
pub struct Exchange {
    /// A request's head was read, and its answer is not given out yet.
    answering: AtomicBool,
    /// A part of a request's head was read.
    asking: AtomicBool,
    /// … and these are the bytes, with what came right behind it.
    head: Mutex<Vec<u8>>,
    /// Requests until now.
    begun: AtomicU64,
    /// The latest request has parts that nobody has read.
    unread: AtomicBool,
    /// Bytes of its body that were read since any of its content came out.
    framing: AtomicU64,
    /// Wakes who waits until that is over.
    read: Notify,
}

impl Exchange {
    /// A request begins; `body` tells whether more of it is to come. It ends with the guard.
    pub fn request(self: &Arc<Self>, body: bool) -> Answering {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.asking.store(false, Ordering::Relaxed);
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
        self.unread.store(body, Ordering::Relaxed);
        self.framing.store(0, Ordering::Relaxed);
        self.answering.store(true, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }

    /// Bytes came while no request was being answered.
    fn asked(&self, bytes: &[u8]) {
        self.asking.store(true, Ordering::Relaxed);
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_HEAD.saturating_sub(head.len());
        head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// Whether the head that has just come announces a length, which hyper hides where it announces chunks, too. Not seen
    /// of one that came before the request before it was answered.
    pub fn announces_length(&self) -> bool {
        self.length_is(|_| true)
    }

    /// Whether it announces a length that is a number and larger than hyper reads.
    fn announces_too_much(&self) -> bool {
        self.length_is(|value| {
            let digits = value.trim_ascii();
            let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            is_number && number.is_none_or(|number: u64| number > LONGEST_READ)
        })
    }

    /// Whether the head has a length whose value is like this.
    fn length_is(&self, like: impl Fn(&[u8]) -> bool) -> bool {
        let head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
        // Empty lines before it are passed over.
        let lines = lines.skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty());
        let mut headers =
            lines.filter_map(|line| line.split_at_checked(line.iter().position(|byte| *byte == b':')?));
        headers.any(|(name, value)| {
            name.eq_ignore_ascii_case(b"content-length") && like(value.get(1..).unwrap_or_default())
        })
    }

    /// Some content of the request's body came out.
    pub fn content_read(&self) {
        self.framing.store(0, Ordering::Relaxed);
    }

    /// Counts bytes that were read while a request is answered.
    ///
    /// # Errors
    /// `InvalidData` when they are too many for a body of which no content comes out.
    fn body_read(&self, bytes: usize) -> io::Result<()> {
        if !self.is_unread() {
            return Ok(());
        }
        let framing = self.framing.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if framing > MAX_FRAMING {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the head of a chunk does not end"));
        }
        Ok(())
    }

    /// The request was read to its end.
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

    /// Whether parts of the latest request were not read.
    pub fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    pub fn is_answering(&self) -> bool {
        self.answering.load(Ordering::Relaxed)
    }

    /// Whether a request has come in part.
    pub fn is_asking(&self) -> bool {
        self.asking.load(Ordering::Relaxed)
    }

    /// Whether nothing has come yet.
    pub fn is_fresh(&self) -> bool {
        self.begun.load(Ordering::Relaxed) == 0 && !self.is_asking()
    }

    fn waits_for(&self) -> Option<Awaited> {
        if self.is_answering() {
            return None;
        }
        let after = self.begun.load(Ordering::Relaxed);
        Some(if self.is_asking() { Awaited::Rest { after } } else { Awaited::Request { after } })
    }
}

/// As long as this lives, a request is being answered.
#[derive(Debug)]
pub struct Answering(Arc<Exchange>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.store(false, Ordering::Relaxed);
    }
}

/// Which part of a conversation has to come in time, after so many requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Request { after: u64 },
    Rest { after: u64 },
}

/// A stream with its time-outs.
pub struct Wire<T> {
    inner: T,
    exchange: Arc<Exchange>,
    /// For a request's head, and for the client to take a part of the answer.
    patience: Duration,
    awaited: Option<Awaited>,
    read_deadline: Pin<Box<Sleep>>,
    /// What the client has earned by taking its answer, and which answer that is.
    taking: Patience,
    answer: u64,
    blocked: Option<Blocked>,
    refusal: Option<Refusal>,
    /// Told of the one request that cannot be read, or does not come to its end in time.
    refused: Option<OnRefusal>,
    lingering: Option<Lingering>,
    stopping: CancellationToken,
}

/// Is told why there is no request, and the number of its answer where it has one.
pub type OnRefusal = Box<dyn FnOnce(ErrorCode, Option<&str>) + Send>;

/// An answer of hyper's own, with the body that it lacks, on its way out.
struct Refusal {
    bytes: Vec<u8>,
    sent: usize,
}

/// The client has no room for more of its answer.
struct Blocked {
    since: Instant,
    deadline: Pin<Box<Sleep>>,
}

struct Lingering {
    end: Pin<Box<Sleep>>,
    pause: Pin<Box<Sleep>>,
    bytes: u64,
    stopping: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    /// `stopping` shortens what is done for clients that are slow to understand.
    pub fn new(
        inner: T,
        exchange: Arc<Exchange>,
        patience: Duration,
        stopping: CancellationToken,
        refused: OnRefusal,
    ) -> Self {
        Self {
            inner,
            exchange,
            patience,
            awaited: None,
            read_deadline: Box::pin(tokio::time::sleep(patience)),
            taking: Patience::new(patience),
            answer: 0,
            blocked: None,
            refusal: None,
            refused: Some(refused),
            lingering: None,
            stopping,
        }
    }

    /// Whether the client has kept us waiting for too long.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let waits_for = self.exchange.waits_for();
        if self.awaited != waits_for {
            self.awaited = waits_for;
            let patience = match waits_for {
                Some(Awaited::Request { after: 1.. }) => KEEP_ALIVE,
                _ => self.patience,
            };
            self.read_deadline.as_mut().reset(Instant::now() + patience);
        }
        if waits_for.is_none() {
            // Bodies have their own time-out, where they are read.
            return Poll::Pending;
        }
        ready!(self.read_deadline.as_mut().poll(context));
        if matches!(waits_for, Some(Awaited::Rest { .. }))
            && let Some(refused) = self.refused.take()
        {
            refused(ErrorCode::RequestTimeout, None);
        }
        Poll::Ready(())
    }

    /// Bounds how long nothing can be written, and how slowly the client may take its answer.
    fn timed(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let answer = self.exchange.begun.load(Ordering::Relaxed);
        if self.answer != answer {
            (self.answer, self.taking) = (answer, Patience::new(self.patience));
        }
        if let Poll::Ready(result) = written {
            if let Some(blocked) = self.blocked.take() {
                self.taking.spend(blocked.since.elapsed());
            }
            self.taking.earn(*result.as_ref().unwrap_or(&0));
            return Poll::Ready(result);
        }
        let left = self.taking.left();
        let blocked = self.blocked.get_or_insert_with(|| Blocked {
            since: Instant::now(),
            deadline: Box::pin(tokio::time::sleep(left)),
        });
        ready!(blocked.deadline.as_mut().poll(context));
        let why = if self.taking.is_of_speed() {
            "the client takes its answer too slowly"
        } else {
            "the client does not take its answer"
        };
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
    }

    /// Sends what is left of a refusal.
    fn poll_refusal(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(refusal) = &mut self.refusal {
            let rest = refusal.bytes.get(refusal.sent..).unwrap_or_default();
            if rest.is_empty() {
                self.refusal = None;
                break;
            }
            let written = Pin::new(&mut self.inner).poll_write(context, rest);
            match ready!(self.timed(context, written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => {
                    if let Some(refusal) = &mut self.refusal {
                        refusal.sent += bytes;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes over an answer that hyper made by itself.
    fn complete(&mut self, written: &[u8]) -> bool {
        let too_long = self.exchange.announces_too_much();
        let Some(answer) = reject::with_body(written, too_long) else { return false };
        self.begin_refusal(answer);
        true
    }

    fn begin_refusal(&mut self, Completed { bytes, code, id }: Completed) {
        if let Some(refused) = self.refused.take() {
            refused(code, Some(&id));
        }
        self.exchange.unread.store(true, Ordering::Relaxed);
        self.refusal = Some(Refusal { bytes, sent: 0 });
    }

    /// Answers in place of hyper, and ends the connection.
    pub async fn refuse(mut self, answer: Completed) {
        self.begin_refusal(answer);
        // A client that is gone gets no answer.
        let _ = self.shutdown().await;
    }

    /// Reads on until the client closes, or has had its time.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let stopping = &self.stopping;
        let linger = self.lingering.get_or_insert_with(|| Lingering {
            end: Box::pin(tokio::time::sleep(LINGER)),
            pause: Box::pin(tokio::time::sleep(LINGER_PAUSE)),
            bytes: 0,
            stopping: Some(Box::pin(stopping.clone().cancelled_owned())),
        });
        if linger.stopping.as_mut().is_some_and(|stopping| stopping.as_mut().poll(context).is_ready()) {
            linger.stopping = None;
            let soon = Instant::now() + LINGER_AT_STOP;
            let end = linger.end.deadline().min(soon);
            linger.end.as_mut().reset(end);
        }
        if linger.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let mut scratch = [0; 16 << 10];
        // Now and then others get their turn.
        for _ in 0..64 {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.inner).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    linger.bytes += buffer.filled().len() as u64;
                    if linger.bytes > LINGER_BYTES {
                        return Poll::Ready(());
                    }
                    linger.pause.as_mut().reset(Instant::now() + LINGER_PAUSE);
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return linger.pause.as_mut().poll(context),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.inner).poll_read(context, buffer) {
            Poll::Ready(result) => {
                let new = buffer.filled().get(before..).unwrap_or_default();
                if self.exchange.is_answering() {
                    self.exchange.body_read(new.len())?;
                } else if !new.is_empty() {
                    self.exchange.asked(new);
                }
                Poll::Ready(result)
            }
            // A client that is late is as good as gone: the end of its stream.
            Poll::Pending => self.poll_late(context).map(Ok),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_refusal(context))?;
        if self.complete(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.timed(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_refusal(context))?;
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        if let (Some(only), None) = (filled.next(), filled.next())
            && self.complete(only)
        {
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
            ready!(self.poll_linger(context));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
