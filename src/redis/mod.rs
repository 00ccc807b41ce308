//! The Redis that several processes share: one connection that all of a process use at once.
//!
//! It holds only what may be lost at any time: whoever asks for something has an answer of its own where Redis has
//! none. Every key begins with `meshgate:` and ends by itself:
//!
//! ```text
//!  meshgate:probe                    text         written by every process to see that it may; a minute
//!  meshgate:limit:key:NAME           sorted set   the requests of the API key NAME, or of an address, within the
//!  meshgate:limit:address:ADDRESS                 window; until a window after the latest
//!      member  16 bytes of the request's own
//!      score   when it came, in µs of Redis' clock
//!  meshgate:cache:IDENTITY           text         how that conversion ended: where its result is in the store
//!                                                 (`CACHE_DURATION`), or why there is none (a minute); JSON
//!  meshgate:lease:IDENTITY           text         a token of the process that carries it out, which lengthens it;
//!                                                 1.5 s after it did so for the last time
//! ```
//!
//! Each operation has one key, so that a cluster may put it where it likes; keys that are used together have to have
//! the same text in `{braces}`. Neither a cluster nor Sentinel is spoken to: one address is.
//!
//! Nobody waits for a Redis that is known to be away:
//!
//! ```text
//!      three late answers in a row, a connection that breaks, a refusal to write
//!   up ───────────────────────────────────────────────────────────────────────▶ away
//!    ▲                                                                            │  every command fails at once;
//!    └──────────── the keeper has connected anew and could write ◀────────────────┘  the keeper tries, with pauses
//! ```
//!
//! All of this has a thread of its own, with next to nothing to do: while all others are busy with conversions, answers
//! still are sent for and read in time, and it is Redis that is late where one is.
//!
//! The crate's `ConnectionManager` would do the reconnecting, but for three things: after a wrong password, or while
//! Redis still loads its data, it never tries again; a connection that is silent it keeps; and while it connects,
//! requests wait for it.

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

/// What every key begins with.
pub const PREFIX: &str = "meshgate:";

/// Written to see whether Redis takes what is written.
const PROBE: &str = "meshgate:probe";
/// How long it stays, in milliseconds.
const PROBE_LIFE: u32 = 60_000;

/// How long an answer may take, which is the most that Redis can add to a request. A healthy one answers in less than a
/// millisecond; on a machine that is busy with conversions, everything takes its time.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// So many late answers in a row, and nobody waits for another one. After the first, the keeper asks at once, so that
/// this takes no longer than these.
const TOO_MANY_LATE: u32 = 3;

/// How long connecting may take, TLS and the password included. Nobody waits for it but the start.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// What is told of each command, for metrics: how it ended, and how long it took.
pub type Observer = Box<dyn Fn(&str, Duration) + Send + Sync>;

/// The shared connection. Cloning it is cheap.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
    runtime: Handle,
    /// The thread ends with the last clone.
    _end: Arc<oneshot::Sender<()>>,
}

/// How Redis is.
#[derive(Debug, Clone)]
pub struct Health {
    pub up: bool,
    /// Since when that is so.
    pub since: Instant,
    /// Why it is away.
    pub error: Option<String>,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.debug_struct("Redis").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

struct Shared {
    client: Client,
    /// Where it is, without a password.
    address: String,
    observer: Observer,
    state: Mutex<State>,
    /// Wakes the keeper: something is wrong with the link.
    doubt: Notify,
}

struct State {
    /// None while it is away.
    link: Option<Link>,
    /// How many links there were.
    links: u64,
    /// Late answers in a row.
    late: u32,
    health: Health,
}

/// A connection that answered.
#[derive(Clone)]
struct Link {
    connection: MultiplexedConnection,
    /// Tells it from those before and after it.
    number: u64,
}

impl Redis {
    /// Connects, but does not insist: where Redis is away, the log says so, and it is tried again in the background.
    /// Takes [`CONNECT_WITHIN`] at most.
    ///
    /// # Errors
    /// An address that is none, or no thread to be had.
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
        let (runtime, end) = own_thread().map_err(|error| Error::Unfit(error.to_string()))?;
        let first = Arc::clone(&shared);
        let _ = runtime.spawn(async move { first.try_to_connect().await }).await;
        runtime.spawn(reconnect::keep(Arc::clone(&shared)));
        Ok(Self { shared, runtime, _end: Arc::new(end) })
    }

    pub fn health(&self) -> Health {
        self.shared.state().health.clone()
    }

    /// Sends a command and gives its answer. Takes [`ANSWER_WITHIN`] at most, and no time while Redis is away.
    ///
    /// # Errors
    /// Redis is away, or becomes so by this; or it refuses this command alone.
    pub async fn run<T: Answer>(&self, command: Cmd) -> Result<T, Error> {
        let (Link { mut connection, number }, shared) = (self.shared.link()?, Arc::clone(&self.shared));
        self.there(async move { shared.settle(number, command.query_async(&mut connection)).await }).await
    }

    /// Runs a script and gives its answer; otherwise as [`Redis::run`].
    ///
    /// # Errors
    /// As [`Redis::run`].
    pub async fn run_script<T: Answer>(&self, script: ScriptInvocation<'static>) -> Result<T, Error> {
        let (Link { mut connection, number }, shared) = (self.shared.link()?, Arc::clone(&self.shared));
        self.there(async move { shared.settle(number, script.invoke_async(&mut connection)).await }).await
    }

    /// Carries something out on the thread.
    async fn there<T: Answer>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.runtime.spawn(work).await.unwrap_or(Err(Error::Away))
    }
}

/// What can be made of an answer, and brought from one thread to another.
pub trait Answer: FromRedisValue + Send + 'static {}

impl<T: FromRedisValue + Send + 'static> Answer for T {}

/// A thread that ends when the sender is dropped.
fn own_thread() -> io::Result<(Handle, oneshot::Sender<()>)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (end, ended) = oneshot::channel::<()>();
    thread::Builder::new().name("redis".to_owned()).spawn(move || {
        let _ = runtime.block_on(ended);
    })?;
    Ok((handle, end))
}

/// Connects once and says what is there: its version, its address and how fast it answers.
///
/// # Errors
/// Why it cannot be used.
pub async fn examine(config: &config::Redis) -> Result<String, String> {
    let info = info(config).map_err(|error| error.to_string())?;
    let address = info.addr().to_string();
    let found = async {
        let mut connection = connect(&Client::open(info)?).await?;
        let began = Instant::now();
        probe(&mut connection).await?;
        let took = began.elapsed().as_secs_f64() * 1000.0;
        // Users who may not ask for it can do without.
        let about: String =
            ::redis::cmd("INFO").arg("server").query_async(&mut connection).await.unwrap_or_default();
        let version = about.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("Redis");
        Ok(format!("{version} at {address}, answers in {took:.1} ms"))
    };
    let found: Result<String, Error> =
        timeout(2 * CONNECT_WITHIN, found).await.unwrap_or(Err(Error::Late(2 * CONNECT_WITHIN)));
    found.map_err(|error| format!("{address}: {error}"))
}

fn info(config: &config::Redis) -> Result<ConnectionInfo, Error> {
    let info: ConnectionInfo = config.url.expose().parse()?;
    let mut settings = info.redis_settings().clone();
    if let Some(password) = &config.password {
        settings = settings.set_password(password.expose());
    }
    // Commands are small and come one by one: to wait for more to send would cost 40 ms.
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

/// A connection that is let in and can write.
async fn connect(client: &Client) -> Result<MultiplexedConnection, Error> {
    let connecting = async {
        // Times are kept here, for all that is waited for.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        in_time(probe(&mut connection)).await?;
        Ok(connection)
    };
    timeout(CONNECT_WITHIN, connecting).await.unwrap_or(Err(Error::Late(CONNECT_WITHIN)))
}

/// Writes by a script, as those do who use the connection: a Redis that is full, read-only or does not allow this user
/// to do so is of no use.
async fn probe(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    const WRITE: &str = "return redis.call('SET', KEYS[1], '', 'PX', ARGV[1])";
    Script::new(WRITE).key(PROBE).arg(PROBE_LIFE).invoke_async(connection).await
}

/// The answer, if it comes in time.
async fn in_time<T>(answer: impl Future<Output = RedisResult<T>>) -> Result<T, Error> {
    let mut answer = pin!(answer);
    if let Ok(answer) = timeout(ANSWER_WITHIN, answer.as_mut()).await {
        return Ok(answer?);
    }
    // Perhaps it was this thread that was late, the machine being busy: then the answer is there by now, and has only
    // to be read.
    for _ in 0..3 {
        yield_now().await;
        if let Some(answer) = answer.as_mut().now_or_never() {
            return Ok(answer?);
        }
    }
    Err(Error::Late(ANSWER_WITHIN))
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection.
    fn link(&self) -> Result<Link, Error> {
        self.state().link.clone().ok_or(Error::Away)
    }

    /// Waits for an answer, and draws the consequences.
    async fn settle<T>(&self, link: u64, answer: impl Future<Output = RedisResult<T>>) -> Result<T, Error> {
        let began = Instant::now();
        let answer = in_time(answer).await;
        let outcome = answer.as_ref().map_or_else(Error::word, |_| "ok");
        (self.observer)(outcome, began.elapsed());
        self.judge(link, answer.as_ref().err());
        answer
    }

    /// What an answer says of the link, if it still is the one in use.
    fn judge(&self, link: u64, error: Option<&Error>) {
        let mut state = self.state();
        if state.link.as_ref().is_none_or(|current| current.number != link) {
            return;
        }
        state.late = if let Some(Error::Late(_)) = error { state.late + 1 } else { 0 };
        let Some(error) = error.filter(|error| error.is_of_redis()) else { return };
        if state.late == 0 || state.late >= TOO_MANY_LATE {
            state.link = None;
            self.away(&mut state, error);
        }
        self.doubt.notify_one();
    }

    /// Connects, if it can.
    async fn try_to_connect(&self) {
        let connected = connect(&self.client).await;
        let mut state = self.state();
        match connected {
            Ok(connection) => {
                tracing::info!(address = self.address, "redis is there");
                state.links += 1;
                state.late = 0;
                state.link = Some(Link { connection, number: state.links });
                state.health = Health { up: true, since: Instant::now(), error: None };
            }
            Err(error) => self.away(&mut state, &error),
        }
    }

    /// Notes why it is away, and says so where that is news.
    fn away(&self, state: &mut State, error: &Error) {
        let error = error.to_string();
        let health = &mut state.health;
        if health.error.as_ref() == Some(&error) {
            return;
        }
        tracing::warn!(address = self.address, error, "redis is away; this process goes on by itself");
        let since = if health.up { Instant::now() } else { health.since };
        *health = Health { up: false, since, error: Some(error) };
    }
}
