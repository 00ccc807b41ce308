//! The link to Redis and its state: connects, probes, measures answers and decides whether Redis is available.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, RedisConnectionInfo, RedisError, RedisResult,
    Script, cmd,
};
use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::connection_policy::ConnectionPolicy;
use super::error::Error;

/// The key that is written to check that Redis accepts writes.
const PROBE: &str = "meshgate:probe";
/// Lifetime of that key, in milliseconds.
const PROBE_LIFE: u32 = 60_000;

/// Late answers in a row that make Redis unavailable. After the first one, Redis is probed at once, so that the
/// decision does not wait for further requests.
const TOO_MANY_LATE: u32 = 3;

/// Time limit for connecting, including TLS and the password. Only the start of the program waits for it.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// A callback for metrics, called with the outcome and the duration of each command.
pub type Observer = Box<dyn Fn(&str, Duration) + Send + Sync>;

/// The state of Redis.
#[derive(Debug, Clone)]
pub struct Health {
    pub up: bool,
    /// The start of this state.
    pub since: Instant,
    /// Why Redis is unavailable.
    pub error: Option<String>,
}

/// What the client and the task that reconnects share.
pub struct Shared {
    pub client: Client,
    /// The address without a password.
    pub address: String,
    pub policy: ConnectionPolicy,
    observer: Observer,
    state: Mutex<State>,
    /// Asks for a probe at once, after an error on the link.
    pub probe_now: Notify,
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
pub struct Link {
    pub connection: MultiplexedConnection,
    /// The number of the link, which tells it from earlier and later ones.
    pub number: u64,
}

/// Connects, authenticates and checks that Redis meets the policy.
pub async fn connect(client: &Client, policy: &ConnectionPolicy) -> Result<MultiplexedConnection, Error> {
    let connecting = async {
        // The time limits are applied here, not by the crate.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection = match client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => connection,
            Err(error) => return Err(connection_error(client, &config, policy, error).await),
        };
        // Before the probe, which a cluster or a Sentinel answers with an error that says less.
        in_time(policy.answer_within, check(&mut connection, policy)).await??;
        in_time(policy.answer_within, probe(&mut connection, policy)).await?;
        Ok(connection)
    };
    timeout(CONNECT_WITHIN, connecting).await.unwrap_or_else(|_| Err(late(client)))
}

/// Returns why there is no connection. A server that refuses the password or the database may fail the check as well,
/// which says more: a Sentinel has no databases and seldom the password of its Redis, and a cluster has one database.
async fn connection_error(
    client: &Client,
    config: &AsyncConnectionConfig,
    policy: &ConnectionPolicy,
    error: RedisError,
) -> Error {
    let is_refusal = matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::AuthenticationFailed);
    if !is_refusal || policy.check.is_none() {
        return error.into();
    }
    let info = client.get_connection_info().clone().set_redis_settings(RedisConnectionInfo::default());
    let checked = async {
        let mut connection = Client::open(info)?.get_multiplexed_async_connection_with_config(config).await?;
        check(&mut connection, policy).await
    };
    match checked.await {
        Ok(Err(unsuitable @ Error::Unsuitable(_))) => unsuitable,
        // Usually, it asks for a password.
        _ => error.into(),
    }
}

/// The error of a connection that took too long. A Redis without TLS answers nothing to a client that begins with it.
fn late(client: &Client) -> Error {
    let error = Error::TimedOut(CONNECT_WITHIN);
    match client.get_connection_info().addr() {
        ConnectionAddr::TcpTls { .. } => Error::Failed(format!("{error} (is TLS on there?)")),
        _ => error,
    }
}

/// Writes through a script, as callers do. A Redis that is read-only, or denies this user scripts or writes, counts as
/// unavailable; so does one whose memory is full, unless the policy allows it.
pub async fn probe(connection: &mut MultiplexedConnection, policy: &ConnectionPolicy) -> RedisResult<()> {
    const WRITE: &str = "return redis.call('SET', KEYS[1], '', 'PX', ARGV[1])";
    // A write that needs no memory.
    const DELETE: &str = "return redis.call('DEL', KEYS[1])";
    let script = Script::new(if policy.works_when_full { DELETE } else { WRITE });
    script.key(PROBE).arg(PROBE_LIFE).invoke_async(connection).await
}

/// Runs the check of the policy; the inner error says why Redis cannot be used, or not yet.
async fn check(
    connection: &mut MultiplexedConnection,
    policy: &ConnectionPolicy,
) -> RedisResult<Result<(), Error>> {
    let Some(check) = &policy.check else { return Ok(Ok(())) };
    let about: String = cmd("INFO").query_async(connection).await?;
    Ok(check(&about))
}

/// Waits for an answer for at most `limit`.
async fn in_time<T>(limit: Duration, answer: impl Future<Output = RedisResult<T>>) -> Result<T, Error> {
    let mut answer = pin!(answer);
    if let Ok(answer) = timeout(limit, answer.as_mut()).await {
        return Ok(answer?);
    }
    // This thread itself may have been late on a busy machine. Then the answer has arrived and only needs to be read.
    for _ in 0..3 {
        yield_now().await;
        if let Some(answer) = answer.as_mut().now_or_never() {
            return Ok(answer?);
        }
    }
    Err(Error::TimedOut(limit))
}

impl State {
    /// Whether no attempt to connect has ended yet.
    fn is_new(&self) -> bool {
        self.links == 0 && self.health.error.is_none()
    }
}

impl Shared {
    /// There is no link yet.
    pub fn new(client: Client, address: String, policy: ConnectionPolicy, observer: Observer) -> Self {
        let health = Health { up: false, since: Instant::now(), error: None };
        let state = Mutex::new(State { link: None, links: 0, late: 0, health });
        Self { client, address, policy, observer, state, probe_now: Notify::new() }
    }

    pub fn health(&self) -> Health {
        self.state().health.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn link(&self) -> Result<Link, Error> {
        self.state().link.clone().ok_or(Error::Unavailable)
    }

    /// Waits for an answer, reports it to the observer, and updates the state of the link.
    pub async fn track<T>(
        &self,
        link: u64,
        answer: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Error> {
        let began = Instant::now();
        let answer = in_time(self.policy.answer_within, answer).await;
        let outcome = answer.as_ref().map_or_else(Error::word, |_| "ok");
        (self.observer)(outcome, began.elapsed());
        self.update_state(link, answer.as_ref().err());
        answer
    }

    /// Updates the state after an answer, if its link is still in use.
    fn update_state(&self, link: u64, error: Option<&Error>) {
        let mut state = self.state();
        if state.link.as_ref().is_none_or(|current| current.number != link) {
            return;
        }
        state.late = if let Some(Error::TimedOut(_)) = error { state.late + 1 } else { 0 };
        let Some(error) = error.filter(|error| self.policy.concerns_server(error)) else { return };
        if state.late == 0 || state.late >= TOO_MANY_LATE {
            state.link = None;
            self.mark_unavailable(&mut state, error);
        }
        self.probe_now.notify_one();
    }

    /// Tries once to connect, and updates the state.
    pub async fn try_to_connect(&self) -> Result<(), Error> {
        let connected = connect(&self.client, &self.policy).await;
        let mut state = self.state();
        match connected {
            Ok(connection) => {
                tracing::info!(address = self.address, "{} connected", self.policy.name);
                state.links += 1;
                state.late = 0;
                state.link = Some(Link { connection, number: state.links });
                state.health = Health { up: true, since: Instant::now(), error: None };
                Ok(())
            }
            // The program does not start then, and says why.
            Err(error @ Error::Unsuitable(_)) if state.is_new() => Err(error),
            Err(error) => {
                self.mark_unavailable(&mut state, &error);
                Err(error)
            }
        }
    }

    /// Marks Redis as unavailable; logs the error unless it is the same as before.
    fn mark_unavailable(&self, state: &mut State, error: &Error) {
        let error = error.to_string();
        let health = &mut state.health;
        if health.error.as_ref() == Some(&error) {
            return;
        }
        let ConnectionPolicy { name, fallback, .. } = self.policy;
        tracing::warn!(address = self.address, error, "{name} unavailable; {fallback}");
        let since = if health.up { Instant::now() } else { health.since };
        *health = Health { up: false, since, error: Some(error) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_that_is_silent_may_lack_tls() {
        let error = |url: &str| late(&Client::open(url).unwrap()).to_string();
        assert_eq!(error("redis://localhost"), "it did not answer within 2000 ms");
        assert_eq!(error("rediss://localhost"), "it did not answer within 2000 ms (is TLS on there?)");
    }
}
