//! The socket: connections in, bounded, and seen off at the stop.
//!
//! A connection beyond `MAX_CONNECTIONS` is not left to wait, since its client could not know for what: it takes one
//! of a few spare seats, from which probes are answered as ever and everything else with `503`. When these are
//! taken, too, further connections wait in the system's backlog, probes as well. Those at `METRICS_ADDRESS` do not: it is
//! another [`Server`].

mod socket;
mod stream;

use std::io;
use std::net::SocketAddr;
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
use super::observed_body::Seen;
use super::problem::Problem;
use super::reject::{self, Refused};
use crate::domain::ErrorCode;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use socket::Socket;
use stream::{Exchange, MAX_HEAD, Wire};

const MAX_HEADERS: usize = 100;

/// Connections beyond the limit that are told so.
const SPARE_SEATS: usize = 32;

/// How long connections that do nothing stay open when the service stops: a request may be on its way.
const LAST_REQUESTS: Duration = Duration::from_millis(250);

/// Bytes of an answer that wait in the system for the client. Few, so that a client that takes its answer slowly, but
/// takes it, shows: a large buffer would seem stuck for minutes.
const UNSENT: u32 = 32 << 10;

/// Bytes of a request that were read and of an answer that are to be written, each: however many connections there are,
/// together they stay small beside the conversions.
const BUFFER: usize = 64 << 10;

/// How long the rest of a request is read that came before its client hung up.
const REST_READ_WITHIN: Duration = Duration::from_secs(2);

/// A socket that listens.
pub struct Server {
    listener: TcpListener,
    seats: Arc<Semaphore>,
    spare: Arc<Semaphore>,
    patience: Duration,
}

/// The right to a connection.
struct Seat {
    _permit: OwnedSemaphorePermit,
    spare: bool,
}

/// What all connections share.
#[derive(Clone)]
struct Common {
    router: Router,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    patience: Duration,
}

impl Server {
    /// `patience` is for a request's head, and for the client to take a part of its answer.
    ///
    /// # Errors
    /// As the system says: an address in use, a port that needs a right.
    pub async fn bind(address: SocketAddr, max_connections: usize, patience: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let seats = max_connections.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            listener,
            seats: Arc::new(Semaphore::new(seats)),
            spare: Arc::new(Semaphore::new(SPARE_SEATS)),
            patience,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the shutdown closes; then ends when every request is answered, or the shutdown is over.
    pub async fn run(self, router: Router, metrics: Arc<Metrics>, shutdown: Shutdown) {
        let common = Common { router, metrics, shutdown: shutdown.clone(), patience: self.patience };
        let connections = TaskTracker::new();
        tokio::select! {
            () = self.accept(&common, &connections) => {}
            () = shutdown.closed.cancelled() => {}
        }
        self.last(&common, &connections);
        connections.close();
        connections.wait().await;
    }

    async fn accept(&self, common: &Common, connections: &TaskTracker) {
        loop {
            let Some(seat) = self.seat().await else { return };
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // By now, one of the usual seats may be free.
                    let seat = if seat.spare { self.free_seat().unwrap_or(seat) } else { seat };
                    connections.spawn(common.clone().serve(stream, peer, Some(seat)));
                }
                Err(error) => {
                    // Out of descriptors, or a client that is gone already: neither is a reason to stop or to spin.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// One that nobody has to wait for: a usual one, or else a spare one.
    fn free_seat(&self) -> Option<Seat> {
        [(&self.seats, false), (&self.spare, true)].into_iter().find_map(|(seats, spare)| {
            let permit = Arc::clone(seats).try_acquire_owned().ok()?;
            Some(Seat { _permit: permit, spare })
        })
    }

    async fn seat(&self) -> Option<Seat> {
        if let Some(seat) = self.free_seat() {
            return Some(seat);
        }
        tracing::warn!("all connections are taken; further ones wait");
        let (usual, spare) = (Arc::clone(&self.seats), Arc::clone(&self.spare));
        tokio::select! {
            permit = usual.acquire_owned() => Some(Seat { _permit: permit.ok()?, spare: false }),
            permit = spare.acquire_owned() => Some(Seat { _permit: permit.ok()?, spare: true }),
        }
    }

    /// Takes the connections that the system has accepted for us already; then nobody listens any more. They are no
    /// more than its backlog.
    fn last(self, common: &Common, connections: &TaskTracker) {
        let Ok(listener) = self.listener.into_std() else { return };
        while let Ok((stream, peer)) = listener.accept() {
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                connections.spawn(common.clone().serve(stream, peer, None));
            }
        }
    }
}

/// For spare seats, and for requests that others may read otherwise: with two ends, or not clear about whom they ask.
fn objection(exchange: &Exchange, request: &Parts, spare: bool) -> Option<Problem> {
    let hosts = request.headers.get_all(header::HOST).iter().count();
    // RFC 9112, 3.2
    if hosts > 1 || (hosts == 0 && request.version == Version::HTTP_11) {
        return Some(Problem::new(ErrorCode::MalformedRequest, "a request has one header Host"));
    }
    if let Some(problem) = coded(exchange, request) {
        return Some(problem);
    }
    if !spare || health::PATHS.contains(&request.uri.path()) {
        return None;
    }
    let detail = "as many connections are open as may; try again in a moment";
    Some(Problem {
        retry_after: Some(Duration::from_secs(1)),
        ..Problem::new(ErrorCode::TooManyConnections, detail)
    })
}

/// For requests whose body is coded on its way by more than chunks: hyper takes the chunks off and nothing else.
fn coded(exchange: &Exchange, request: &Parts) -> Option<Problem> {
    let mut lines = request.headers.get_all(header::TRANSFER_ENCODING).iter().peekable();
    lines.peek()?;
    if exchange.announces_length() {
        let detail = "the request announces both a length and chunks";
        return Some(Problem::new(ErrorCode::MalformedRequest, detail));
    }
    let codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let codings = codings.map(<[u8]>::trim_ascii).filter(|coding| !coding.is_empty());
    let (chunked, others): (Vec<_>, Vec<_>) =
        codings.partition(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    // RFC 9112, 6.1
    if !others.is_empty() {
        let detail = "the body has a transfer coding besides chunked; send it without, or send a zip";
        return Some(Problem::new(ErrorCode::UnsupportedTransferCoding, detail));
    }
    (chunked.len() > 1).then(|| Problem::new(ErrorCode::MalformedRequest, "the body is chunked twice"))
}

impl Common {
    /// Serves one connection to its end.
    async fn serve(self, stream: TcpStream, peer: SocketAddr, seat: Option<Seat>) {
        let _ = stream.set_nodelay(true);
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT);
        let exchange = Arc::new(Exchange::default());
        let spare = seat.as_ref().is_some_and(|seat| seat.spare);
        let shutdown = self.shutdown.clone();
        let socket = Socket::new(stream);
        let metrics = Arc::clone(&self.metrics);
        let wire = Wire::new(
            socket.clone(),
            Arc::clone(&exchange),
            self.patience,
            shutdown.closed.clone(),
            Box::new(move |code, id| log_request::refused(&metrics, peer, code, id)),
        );
        let (common, asked, socket) = (&self, &exchange, &socket);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            common.answer(request, asked, socket, peer, spare)
        });
        let mut connection = http1::Builder::new()
            // The wire has time-outs of its own, which tell idle connections from slow ones.
            .header_read_timeout(None)
            // A client that has only ended its side gets what is there at once; of what takes time, see `gone`.
            .half_close(true)
            .max_header_size(MAX_HEAD)
            .max_buf_size(BUFFER)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(wire), service);
        let ended = tokio::select! {
            // First, so that what has come counts.
            biased;
            ended = &mut connection => ended,
            () = shutdown.over.cancelled() => return cut(&exchange, peer),
            () = last_call(&shutdown) => {
                // A head that has come in part would be dropped by this; its answer closes the connection anyway.
                if !exchange.is_asking() {
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                }
                if exchange.is_fresh() {
                    return;
                }
                tokio::select! {
                    ended = &mut connection => ended,
                    () = shutdown.over.cancelled() => return cut(&exchange, peer),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, %peer, "a connection ended early");
            if error.is_parse_version_h2() {
                // The one thing that hyper leaves without an answer.
                let wire = connection.into_parts().io.into_inner();
                tokio::select! {
                    () = wire.refuse(reject::http2()) => {}
                    () = shutdown.over.cancelled() => {}
                }
            }
        }
        drop(seat);
    }

    async fn answer(
        &self,
        request: hyper::Request<Incoming>,
        exchange: &Arc<Exchange>,
        socket: &Socket,
        peer: SocketAddr,
        spare: bool,
    ) -> io::Result<Response> {
        let (mut parts, body) = request.into_parts();
        if let Some(problem) = objection(exchange, &parts, spare) {
            parts.extensions.insert(Refused(problem));
        }
        let answering = exchange.request(!body.is_end_stream());
        let asked = Arc::clone(exchange);
        let body = Seen::new(body, move |_, ended| {
            asked.content_read();
            if ended {
                asked.all_read();
            }
        });
        parts.extensions.insert(Peer(peer));
        // Where a length was announced, too, hyper goes by the chunks, and whoever is in front of us may have gone by the
        // length. That cannot always be seen, so nothing behind chunks may be taken for a request.
        let chunked = parts.headers.contains_key(header::TRANSFER_ENCODING);
        let request = hyper::Request::from_parts(parts, Body::new(body));
        let mut response: Response = tokio::select! {
            // First, since most are there at once.
            biased;
            Ok(response) = self.router.clone().oneshot(request) => response,
            () = gone(exchange, socket) => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        // Answered before it was read, the connection is not used again; who is not told would try.
        let unread = exchange.is_unread();
        if unread || chunked || spare || self.shutdown.is_draining() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        // The request counts as answered when the answer's body is gone.
        Ok(response.map(|body| {
            Body::new(Seen::new(body, move |_, _| {
                let _answering = &answering;
            }))
        }))
    }
}

/// Returns when the client has hung up. hyper notices that by reading, which it does not do while bytes of a next request
/// wait. A client that has sent all of its request and then ended its side gets some time for it to be read.
async fn gone(exchange: &Exchange, socket: &Socket) {
    let mut hung_up = std::pin::pin!(socket.hung_up());
    let watched = tokio::select! {
        biased;
        () = exchange.read_to_end() => hung_up.await,
        watched = &mut hung_up => {
            let _ = tokio::time::timeout(REST_READ_WITHIN, exchange.read_to_end()).await;
            watched
        }
    };
    if let Err(error) = watched {
        tracing::warn!(%error, "a connection cannot be watched");
        std::future::pending::<()>().await;
    }
}

/// When connections that do nothing are closed.
async fn last_call(shutdown: &Shutdown) {
    shutdown.closed.cancelled().await;
    tokio::time::sleep(LAST_REQUESTS).await;
}

fn cut(exchange: &Exchange, peer: SocketAddr) {
    if exchange.is_answering() {
        tracing::warn!(%peer, "a connection was cut before its answer had left");
    }
}
