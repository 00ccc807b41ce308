//! The Redis that several processes share: one multiplexed connection for each process.
//!
//! Redis holds only data that may be lost at any time; callers fall back to the state of their process. Every key
//! begins with `meshgate:` and expires:
//!
//! ```text
//!  meshgate:probe                    text         written by every process to check that it can; a minute
//!  meshgate:limit:key:NAME           sorted set   requests of the API key NAME, or of an address, within the
//!  meshgate:limit:address:ADDRESS                 window; until a window after the latest
//!      member  16 bytes, unique to the request
//!      score   its time, in µs of Redis' clock
//!  meshgate:cache:IDENTITY           text         outcome of that conversion, as JSON: the key of its result in the
//!                                                 store (`CACHE_DURATION`), or its error (a minute)
//!  meshgate:lease:IDENTITY           text         a token of the process that runs it; expires 1.5 s after that
//!                                                 process has last renewed it
//! ```
//!
//! Each operation uses one key, so that keys may be on any node of a cluster; keys used together would need the same
//! text in `{braces}`. Meshgate itself speaks to one address, not to a cluster or Sentinel.
//!
//! Requests never wait for a Redis that is known to be unavailable (`away` in `/readyz`):
//!
//! ```text
//!      three late answers in a row, a connection that breaks, a refusal to write
//!   up ───────────────────────────────────────────────────────────────────────▶ away
//!    ▲                                                                            │  every command fails at once;
//!    └────────────── the keeper has reconnected and can write ◀───────────────────┘  the keeper retries, with pauses
//! ```
//!
//! The connection has its own thread, which is nearly idle. So commands are sent and answers are read in time even
//! while all other threads are busy with conversions, and a late answer is the fault of Redis.
//!
//! The crate's `ConnectionManager` also reconnects, but it never retries after a wrong password or while Redis loads
//! its data; it keeps a silent connection; and requests wait while it connects.

mod error;
mod reconnect;

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, Cmd, ConnectionInfo, FromRedisValue};
use ::redis::{RedisResult, Script, ScriptInvocation};
use futures_util::FutureExt;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;
use tokio::time::timeout;

pub use error::Error;

use crate::config;

/// Prefix of every key.
pub const PREFIX: &str = "meshgate:";

/// The key that is written to check that Redis accepts writes.
const PROBE: &str = "meshgate:probe";
/// Lifetime of that key, in milliseconds.
const PROBE_LIFE: u32 = 60_000;

/// Time limit of an answer: the most that Redis can delay a request. A healthy Redis answers within a millisecond; a
/// machine that is busy with conversions needs more.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// Late answers in a row that make Redis unavailable. After the first one the keeper probes at once, so that the
/// decision does not wait for further requests.
const TOO_MANY_LATE: u32 = 3;

/// Time limit for connecting, including TLS and the password. Only the start of the program waits for it.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// A callback for metrics, called with the outcome and the duration of each command.
pub type Observer = Box<dyn Fn(&str, Duration) + Send + Sync>;

/// The shared connection. Clones are cheap.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
    runtime: Handle,
    /// Ends the thread when the last clone is dropped.
    _end: Arc<oneshot::Sender<()>>,
}

/// The state of Redis.
#[derive(Debug, Clone)]
pub struct Health {
    pub up: bool,
    /// The start of this state.
    pub since: Instant,
    /// Why Redis is unavailable.
    pub error: Option<String>,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.debug_struct("Redis").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

struct Shared {
    client: Client,
    /// The address without a password.
    address: String,
    observer: Observer,
    state: Mutex<State>,
    /// Wakes the keeper after an error on the link.
    doubt: Notify,
}

struct State {
    /// `None` while Redis is unavailable.
    link: Option<Link>,
    /// The number of links so far.
    links: u64,
    /// Late answers in a row.
    late: u32,
    health: Health,
}

/// A connection that has passed the probe.
#[derive(Clone)]
struct Link {
    connection: MultiplexedConnection,
    /// The number of the link, which tells it from earlier and later ones.
    number: u64,
}

impl Redis {
    /// Tries to connect for at most [`CONNECT_WITHIN`]. An unavailable Redis is logged, and retried in the background.
    ///
    /// # Errors
    /// When the address is invalid, or no thread can be started.
    pub async fn start(config: &config::Redis, observer: Observer) -> Result<Self, Error> {
        let info = info(config)?;
        let health = Health { up: false, since: Instant::now(), error: None };
        let shared = Arc::new(Shared {
            address: info.addr().to_string(),
            client: Client::open(info)?,
            observer,
            state: Mutex::new(State { link: None, links: 0, late: 0, health }),
            doubt: Notify::new(),
        });
        let (runtime, end) = own_thread().map_err(|error| Error::Failed(error.to_string()))?;
        let first = Arc::clone(&shared);
        let _ = runtime.spawn(async move { first.try_to_connect().await }).await;
        runtime.spawn(reconnect::keep(Arc::clone(&shared)));
        Ok(Self { shared, runtime, _end: Arc::new(end) })
    }

    pub fn health(&self) -> Health {
        self.shared.state().health.clone()
    }

    /// Sends a command and returns its answer within [`ANSWER_WITHIN`]. Fails at once while Redis is unavailable.
    ///
    /// # Errors
    /// When Redis is or becomes unavailable, or rejects this command.
    pub async fn run<T: Reply>(&self, command: Cmd) -> Result<T, Error> {
        let (Link { mut connection, number }, shared) = (self.shared.link()?, Arc::clone(&self.shared));
        self.on_thread(async move { shared.settle(number, command.query_async(&mut connection)).await }).await
    }

    /// Runs a script and returns its answer, like [`Redis::run`].
    ///
    /// # Errors
    /// As [`Redis::run`].
    pub async fn run_script<T: Reply>(&self, script: ScriptInvocation<'static>) -> Result<T, Error> {
        let (Link { mut connection, number }, shared) = (self.shared.link()?, Arc::clone(&self.shared));
        self.on_thread(async move { shared.settle(number, script.invoke_async(&mut connection)).await }).await
    }

    /// Runs `work` on the thread of the connection.
    async fn on_thread<T: Reply>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.runtime.spawn(work).await.unwrap_or(Err(Error::Unavailable))
    }
}

/// Types that answers convert to, and that can be sent between threads.
pub trait Reply: FromRedisValue + Send + 'static {}

impl<T: FromRedisValue + Send + 'static> Reply for T {}

/// Starts a thread that ends when the returned sender is dropped.
fn own_thread() -> io::Result<(Handle, oneshot::Sender<()>)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (end, ended) = oneshot::channel::<()>();
    thread::Builder::new().name("redis".to_owned()).spawn(move || {
        let _ = runtime.block_on(ended);
    })?;
    Ok((handle, end))
}

/// Connects once and describes Redis: its version, its address and its response time.
///
/// # Errors
/// Why Redis cannot be used.
pub async fn examine(config: &config::Redis) -> Result<String, String> {
    let info = info(config).map_err(|error| error.to_string())?;
    let address = info.addr().to_string();
    let found = async {
        let mut connection = connect(&Client::open(info)?).await?;
        let began = Instant::now();
        probe(&mut connection).await?;
        let took = began.elapsed().as_secs_f64() * 1000.0;
        // The user may lack the right to run INFO; the version is optional.
        let about: String =
            ::redis::cmd("INFO").arg("server").query_async(&mut connection).await.unwrap_or_default();
        let version = about.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("Redis");
        Ok(format!("{version} at {address}, answers in {took:.1} ms"))
    };
    let found: Result<String, Error> =
        timeout(2 * CONNECT_WITHIN, found).await.unwrap_or(Err(Error::TimedOut(2 * CONNECT_WITHIN)));
    found.map_err(|error| format!("{address}: {error}"))
}

fn info(config: &config::Redis) -> Result<ConnectionInfo, Error> {
    let info: ConnectionInfo = config.url.expose().parse()?;
    let mut settings = info.redis_settings().clone();
    if let Some(password) = &config.password {
        settings = settings.set_password(password.expose());
    }
    // Commands are small and sent one at a time; Nagle's algorithm would delay them by 40 ms.
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

/// Connects, authenticates and checks that Redis accepts writes.
async fn connect(client: &Client) -> Result<MultiplexedConnection, Error> {
    let connecting = async {
        // The time limits are applied here, not by the crate.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        in_time(probe(&mut connection)).await?;
        Ok(connection)
    };
    timeout(CONNECT_WITHIN, connecting).await.unwrap_or(Err(Error::TimedOut(CONNECT_WITHIN)))
}

/// Writes through a script, as callers do. A Redis that is full, read-only or denies this user scripts or writes
/// counts as unavailable.
async fn probe(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    const WRITE: &str = "return redis.call('SET', KEYS[1], '', 'PX', ARGV[1])";
    Script::new(WRITE).key(PROBE).arg(PROBE_LIFE).invoke_async(connection).await
}

/// Waits for an answer for at most [`ANSWER_WITHIN`].
async fn in_time<T>(answer: impl Future<Output = RedisResult<T>>) -> Result<T, Error> {
    let mut answer = pin!(answer);
    if let Ok(answer) = timeout(ANSWER_WITHIN, answer.as_mut()).await {
        return Ok(answer?);
    }
    // This thread itself may have been late on a busy machine. Then the answer has arrived and only needs to be read.
    for _ in 0..3 {
        yield_now().await;
        if let Some(answer) = answer.as_mut().now_or_never() {
            return Ok(answer?);
        }
    }
    Err(Error::TimedOut(ANSWER_WITHIN))
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn link(&self) -> Result<Link, Error> {
        self.state().link.clone().ok_or(Error::Unavailable)
    }

    /// Waits for an answer, reports it to the observer, and updates the state of the link.
    async fn settle<T>(&self, link: u64, answer: impl Future<Output = RedisResult<T>>) -> Result<T, Error> {
        let began = Instant::now();
        let answer = in_time(answer).await;
        let outcome = answer.as_ref().map_or_else(Error::word, |_| "ok");
        (self.observer)(outcome, began.elapsed());
        self.judge(link, answer.as_ref().err());
        answer
    }

    /// Updates the state after an answer, if its link is still in use.
    fn judge(&self, link: u64, error: Option<&Error>) {
        let mut state = self.state();
        if state.link.as_ref().is_none_or(|current| current.number != link) {
            return;
        }
        state.late = if let Some(Error::TimedOut(_)) = error { state.late + 1 } else { 0 };
        let Some(error) = error.filter(|error| error.is_of_redis()) else { return };
        if state.late == 0 || state.late >= TOO_MANY_LATE {
            state.link = None;
            self.mark_unavailable(&mut state, error);
        }
        self.doubt.notify_one();
    }

    /// Tries once to connect, and updates the state.
    async fn try_to_connect(&self) {
        let connected = connect(&self.client).await;
        let mut state = self.state();
        match connected {
            Ok(connection) => {
                tracing::info!(address = self.address, "redis connected");
                state.links += 1;
                state.late = 0;
                state.link = Some(Link { connection, number: state.links });
                state.health = Health { up: true, since: Instant::now(), error: None };
            }
            Err(error) => self.mark_unavailable(&mut state, &error),
        }
    }

    /// Marks Redis as unavailable; logs the error unless it is the same as before.
    fn mark_unavailable(&self, state: &mut State, error: &Error) {
        let error = error.to_string();
        let health = &mut state.health;
        if health.error.as_ref() == Some(&error) {
            return;
        }
        tracing::warn!(address = self.address, error, "redis unavailable; using in-process state");
        let since = if health.up { Instant::now() } else { health.since };
        *health = Health { up: false, since, error: Some(error) };
    }
}
