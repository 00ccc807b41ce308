//! The listener: accepts a bounded number of connections and closes them at shutdown.
//!
//! A connection beyond `MAX_CONNECTIONS` takes one of a few spare seats, where probes work as usual and every other
//! request gets `503`. When the spare seats are taken too, new connections wait in the system's backlog, even those of
//! probes. `METRICS_ADDRESS` is not affected: it is another [`Server`].

mod linger;
mod socket;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Version, header};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::health;
use super::middleware::log_request;
use super::middleware::real_ip::Peer;
use super::observed_body::{ended_by, observed};
use super::problem::Problem;
use super::reject::{self, Refused};
use super::waiting::EndsAtHangUp;
use crate::domain::ErrorCode;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use socket::Socket;
use stream::{Exchange, MAX_HEAD, TimedStream};

const MAX_HEADERS: usize = 100;

/// Connections beyond the limit that get `503` instead of waiting.
const SPARE_SEATS: usize = 32;

/// How long idle connections stay open at shutdown: a request may be on its way.
const IDLE_AT_SHUTDOWN: Duration = Duration::from_millis(250);

/// Bytes of a response that the kernel buffers. A small buffer shows that a slow client is still reading; a large one
/// would seem stuck for minutes.
const UNSENT: u32 = 32 << 10;

/// Bytes of a connection's read buffer and of its write buffer. All of them together stay small beside the conversions.
const BUFFER: usize = 64 << 10;

/// A listening socket with its connection limit.
pub struct Server {
    listener: TcpListener,
    seats: Arc<Semaphore>,
    spare: Arc<Semaphore>,
    longest_pause: Duration,
}

/// A permit for one connection.
struct Seat {
    _permit: OwnedSemaphorePermit,
    spare: bool,
}

/// The state that all connections share.
struct Common {
    router: Router,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    longest_pause: Duration,
}

/// A connection and its current exchange.
struct Connection {
    common: Arc<Common>,
    socket: Socket,
    peer: SocketAddr,
    /// `None` for a connection that was still in the backlog at shutdown.
    seat: Option<Seat>,
    exchange: Arc<Exchange>,
}

impl Server {
    /// Binds the address. `longest_pause` limits the wait for a request's head, and for the client to read a response.
    ///
    /// # Errors
    /// The error of `bind`: for example, an address in use or a port that needs privileges.
    pub async fn bind(
        address: SocketAddr,
        max_connections: usize,
        longest_pause: Duration,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let seats = max_connections.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            listener,
            seats: Arc::new(Semaphore::new(seats)),
            spare: Arc::new(Semaphore::new(SPARE_SEATS)),
            longest_pause,
        })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// The error of `getsockname`.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown.closed`; then returns when every response is sent, or at `shutdown.dropping_responses`.
    pub async fn run(self, router: Router, metrics: Arc<Metrics>, shutdown: Shutdown) {
        let closed = shutdown.closed.clone();
        let common = Arc::new(Common { router, metrics, shutdown, longest_pause: self.longest_pause });
        let connections = TaskTracker::new();
        tokio::select! {
            () = self.accept(&common, &connections) => {}
            () = closed.cancelled() => {}
        }
        self.accept_backlog(&common, &connections);
        connections.close();
        connections.wait().await;
    }

    async fn accept(&self, common: &Arc<Common>, connections: &TaskTracker) {
        loop {
            let Some(seat) = self.seat().await else { return };
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // A regular seat may be free by now.
                    let seat = if seat.spare { self.free_seat().unwrap_or(seat) } else { seat };
                    connections.spawn(Connection::new(common, stream, peer, Some(seat)).serve());
                }
                Err(error) => {
                    // Out of file descriptors, or the client is already gone: keep accepting, but do not spin.
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Returns a seat that is free now: a regular one if possible, otherwise a spare one.
    fn free_seat(&self) -> Option<Seat> {
        let seat = |seats: &Arc<Semaphore>, spare| {
            Some(Seat { _permit: Arc::clone(seats).try_acquire_owned().ok()?, spare })
        };
        seat(&self.seats, false).or_else(|| seat(&self.spare, true))
    }

    async fn seat(&self) -> Option<Seat> {
        if let Some(seat) = self.free_seat() {
            return Some(seat);
        }
        tracing::warn!("all connections are taken; new ones wait");
        let (permit, spare) = tokio::select! {
            permit = Arc::clone(&self.seats).acquire_owned() => (permit, false),
            permit = Arc::clone(&self.spare).acquire_owned() => (permit, true),
        };
        Some(Seat { _permit: permit.ok()?, spare })
    }

    /// Serves the connections left in the system's backlog, then closes the listener.
    fn accept_backlog(self, common: &Arc<Common>, connections: &TaskTracker) {
        let Ok(listener) = self.listener.into_std() else { return };
        while let Ok((stream, peer)) = listener.accept() {
            if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                connections.spawn(Connection::new(common, stream, peer, None).serve());
            }
        }
    }
}

impl Connection {
    fn new(common: &Arc<Common>, stream: TcpStream, peer: SocketAddr, seat: Option<Seat>) -> Self {
        let _ = stream.set_nodelay(true);
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT);
        let (common, socket) = (Arc::clone(common), Socket::new(stream));
        Self { common, socket, peer, seat, exchange: Arc::default() }
    }

    /// Serves the connection to its end.
    async fn serve(self) {
        let mut served = pin!(self.serve_requests());
        tokio::select! {
            // Polled first, so that requests already received are served.
            biased;
            () = &mut served => {}
            () = self.common.shutdown.dropping_responses.cancelled() => {
                if self.exchange.is_answering() {
                    tracing::warn!(peer = %self.peer, "connection cut before its response was sent");
                }
            }
        }
    }

    async fn serve_requests(&self) {
        let Common { metrics, shutdown, longest_pause, .. } = &*self.common;
        let (metrics, peer) = (Arc::clone(metrics), self.peer);
        let stream = TimedStream::new(
            self.socket.clone(),
            Arc::clone(&self.exchange),
            *longest_pause,
            shutdown.closed.clone(),
            Box::new(move |code, id| log_request::refused(&metrics, peer, code, id)),
        );
        let mut connection = http1::Builder::new()
            // The stream has its own timeouts, which distinguish idle connections from slow ones.
            .header_read_timeout(None)
            // A client that only closed its write side still gets a response that is ready; `hung_up` cancels others.
            .half_close(true)
            .max_header_size(MAX_HEAD)
            .max_buf_size(BUFFER)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service_fn(move |request| self.respond(request)));
        let idle_at_shutdown = async {
            shutdown.closed.cancelled().await;
            tokio::time::sleep(IDLE_AT_SHUTDOWN).await;
        };
        let ended = tokio::select! {
            biased;
            ended = &mut connection => ended,
            () = idle_at_shutdown => {
                // This would drop a partial head. The response to that request closes the connection anyway.
                if !self.exchange.is_asking() {
                    Pin::new(&mut connection).graceful_shutdown();
                }
                if self.exchange.is_fresh() {
                    return;
                }
                (&mut connection).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, %peer, "connection failed");
            if error.is_parse_version_h2() {
                // The only bad request for which hyper sends no response.
                connection.into_parts().io.into_inner().refuse(reject::http2()).await;
            }
        }
    }

    /// Responds to one request; fails if the client hangs up first.
    async fn respond(&self, request: hyper::Request<Incoming>) -> io::Result<Response> {
        let (mut parts, body) = request.into_parts();
        if let Some(problem) = self.reject_reason(&parts) {
            parts.extensions.insert(Refused(problem));
        }
        let answering = self.exchange.request(!body.is_end_stream());
        let exchange = Arc::clone(&self.exchange);
        let body = observed(Body::new(body), move |_, ended| {
            exchange.content_read();
            if ended {
                exchange.all_read();
            }
        });
        parts.extensions.insert(Peer(self.peer));
        // Given both a length and chunks, hyper uses the chunks, but a proxy may have used the length. That is not
        // always visible here, so bytes after a chunked body must not be read as a request (request smuggling).
        let chunked = parts.headers.contains_key(header::TRANSFER_ENCODING);
        let request = hyper::Request::from_parts(parts, body);
        let mut response: Response = tokio::select! {
            // Polled first, since most responses are ready at once.
            biased;
            Ok(response) = self.common.router.clone().oneshot(request) => response,
            () = hung_up(Arc::clone(&self.exchange), self.socket.clone()) => {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        };
        // A connection with unread bytes cannot be reused. Without this header, the client would try.
        let unread = self.exchange.is_unread();
        if unread || chunked || self.is_spare() || self.common.shutdown.is_draining() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if response.extensions_mut().remove::<EndsAtHangUp>().is_some() {
            // Writing to a client that has gone would fail too late: only the second time, after two keep-alives.
            let hung_up = hung_up(Arc::clone(&self.exchange), self.socket.clone());
            response = response.map(|body| ended_by(body, hung_up));
        }
        // The exchange ends when the response body is dropped.
        Ok(response.map(|body| {
            observed(body, move |_, _| {
                let _answering = &answering;
            })
        }))
    }

    fn is_spare(&self) -> bool {
        self.seat.as_ref().is_some_and(|seat| seat.spare)
    }

    /// Returns the problem of a request that must not reach a handler: it has a spare seat, or a proxy may read its end
    /// or its host differently.
    fn reject_reason(&self, request: &Parts) -> Option<Problem> {
        let hosts = request.headers.get_all(header::HOST).iter().count();
        // RFC 9112, 3.2
        if hosts > 1 || (hosts == 0 && request.version == Version::HTTP_11) {
            return Some(Problem::malformed("exactly one Host header is required"));
        }
        if request.headers.contains_key(header::TRANSFER_ENCODING) && self.exchange.announces_length() {
            return Some(Problem::malformed("the request announces both a length and chunks"));
        }
        let lines = request.headers.get_all(header::TRANSFER_ENCODING).iter();
        let codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        let codings = codings.map(<[u8]>::trim_ascii).filter(|coding| !coding.is_empty());
        let (chunked, others): (Vec<_>, Vec<_>) =
            codings.partition(|coding| coding.eq_ignore_ascii_case(b"chunked"));
        // RFC 9112, 6.1. hyper decodes a body that is chunked once, and nothing else.
        if !others.is_empty() {
            let detail = "the body has a transfer coding besides chunked; send it without, or send a zip";
            return Some(Problem::new(ErrorCode::UnsupportedTransferCoding, detail));
        }
        if chunked.len() > 1 {
            return Some(Problem::malformed("the body is chunked twice"));
        }
        if !self.is_spare() || health::PATHS.contains(&request.uri.path()) {
            return None;
        }
        let problem =
            Problem::new(ErrorCode::TooManyConnections, "connection limit reached; try again in a moment");
        Some(problem.with_retry_after(Duration::from_secs(1)))
    }
}

/// Returns when a client that has sent its request hangs up. hyper detects this only by reading, and does not read
/// while bytes of the next request wait.
async fn hung_up(exchange: Arc<Exchange>, socket: Socket) {
    exchange.read_to_end().await;
    if let Err(error) = socket.hung_up().await {
        tracing::warn!(%error, "cannot detect whether the client hangs up");
        std::future::pending::<()>().await;
    }
}
