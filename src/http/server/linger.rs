//! Reads on after an early response. Otherwise closing the connection would reset it, and the client would lose the
//! response.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Limits of reading on: total time, longest pause and bytes.
pub const LONGEST: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const MOST_BYTES: u64 = 256 << 20;
/// Total time of reading on at shutdown.
const LONGEST_AT_STOP: Duration = Duration::from_secs(1);

/// Bytes read before each pause, and the pause's length: 32 to 64 MB/s. Nobody needs these bytes, and the client may send
/// as fast as it can. At shutdown there is no time for pauses.
const TURN: usize = 64 << 10;
const REST: Duration = Duration::from_millis(1);

/// Progress of reading on.
pub struct Lingering {
    end: Pin<Box<Sleep>>,
    pause: Pin<Box<Sleep>>,
    rest: Pin<Box<Sleep>>,
    bytes: u64,
    stopping: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Lingering {
    /// Begins; `stopping` shortens it.
    pub fn new(stopping: &CancellationToken) -> Self {
        let timer = |time| Box::pin(tokio::time::sleep(time));
        Self {
            end: timer(LONGEST),
            pause: timer(LONGEST_PAUSE),
            rest: timer(Duration::ZERO),
            bytes: 0,
            stopping: Some(Box::pin(stopping.clone().cancelled_owned())),
        }
    }

    /// Reads and discards bytes of `stream` until the client closes its side or a limit is reached.
    pub fn poll(&mut self, stream: &mut (impl AsyncRead + Unpin), context: &mut Context<'_>) -> Poll<()> {
        if self.stopping.as_mut().is_some_and(|stopping| stopping.as_mut().poll(context).is_ready()) {
            self.stopping = None;
            let end = self.end.deadline().min(Instant::now() + LONGEST_AT_STOP);
            self.end.as_mut().reset(end);
        }
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        ready!(self.rest.as_mut().poll(context));
        let mut scratch = [0; 16 << 10];
        for _ in 0..TURN / scratch.len() {
            match read(stream, &mut scratch, context) {
                Poll::Ready(Ok(bytes @ 1..)) => self.bytes += bytes as u64,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.pause.as_mut().poll(context),
            }
            if self.bytes > MOST_BYTES {
                return Poll::Ready(());
            }
            self.pause.as_mut().reset(Instant::now() + LONGEST_PAUSE);
        }
        if self.stopping.is_some() {
            self.rest.as_mut().reset(Instant::now() + REST);
        }
        if self.rest.as_mut().poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// Returns the number of bytes read; 0 at the end.
fn read(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut [u8],
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(bytes);
    ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}
