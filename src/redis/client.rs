//! Sends commands and scripts over the shared connection.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use ::redis::{Client, Cmd, ConnectionInfo, FromRedisValue, ScriptInvocation};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::connection_policy::ConnectionPolicy;
use super::error::Error;
use super::link::{CONNECT_WITHIN, Health, Link, Observer, Shared, connect, probe};
use super::reconnect;
use super::subscription::Subscription;
use crate::config;

/// Prefix of every key.
pub const PREFIX: &str = "meshgate:";

/// The shared connection. Clones are cheap.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
    runtime: Handle,
    /// Ends the thread when the last clone is dropped.
    _end: Arc<oneshot::Sender<()>>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.debug_struct("Redis").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

impl Redis {
    /// Tries to connect for at most [`CONNECT_WITHIN`]. An unavailable Redis is logged, and retried in the background.
    ///
    /// # Errors
    /// When the address is invalid, or no thread can be started.
    pub async fn start(config: &config::Redis, observer: Observer) -> Result<Self, Error> {
        Self::start_with(config, ConnectionPolicy::default(), observer).await
    }

    /// Like [`Redis::start`], with another policy.
    ///
    /// # Errors
    /// As [`Redis::start`], and when Redis is unsuitable. If it becomes unsuitable later, it counts as unavailable.
    pub async fn start_with(
        config: &config::Redis,
        policy: ConnectionPolicy,
        observer: Observer,
    ) -> Result<Self, Error> {
        let info = info(config)?;
        let address = address(&info);
        let shared = Arc::new(Shared::new(Client::open(info)?, address, policy, observer));
        let (runtime, end) = own_thread().map_err(|error| Error::Failed(error.to_string()))?;
        let first = Arc::clone(&shared);
        let connected = runtime.spawn(async move { first.try_to_connect().await }).await;
        if let Ok(Err(error @ Error::Unsuitable(_))) = connected {
            return Err(error);
        }
        runtime.spawn(reconnect::stay_connected(Arc::clone(&shared)));
        Ok(Self { shared, runtime, _end: Arc::new(end) })
    }

    /// The address without a password.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Sends a command and returns its answer within the time limit. Fails at once while Redis is unavailable.
    ///
    /// # Errors
    /// When Redis is or becomes unavailable, or rejects this command.
    pub async fn run<T: Reply>(&self, command: Cmd) -> Result<T, Error> {
        let (Link { mut connection, number }, shared) = (self.shared.link()?, Arc::clone(&self.shared));
        self.on_thread(async move { shared.track(number, command.query_async(&mut connection)).await }).await
    }

    /// Runs a script and returns its answer, like [`Redis::run`].
    ///
    /// # Errors
    /// As [`Redis::run`].
    pub async fn run_script<T: Reply>(&self, script: ScriptInvocation<'static>) -> Result<T, Error> {
        let (Link { mut connection, number }, shared) = (self.shared.link()?, Arc::clone(&self.shared));
        self.on_thread(async move { shared.track(number, script.invoke_async(&mut connection)).await }).await
    }

    /// Subscribes to a channel, over a new connection.
    ///
    /// # Errors
    /// When Redis cannot be reached, or denies it.
    pub async fn subscribe(&self, channel: &'static str) -> Result<Subscription, Error> {
        let shared = Arc::clone(&self.shared);
        let connecting = async move {
            let opening = Subscription::open(&shared.client, channel, shared.policy.answer_within);
            timeout(CONNECT_WITHIN, opening).await
        };
        let connected = self.runtime.spawn(connecting).await.map_err(|_| Error::Unavailable)?;
        Ok(connected.map_err(|_| Error::TimedOut(CONNECT_WITHIN))??)
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
    let address = address(&info);
    let found = async {
        let policy = ConnectionPolicy::default();
        let mut connection = connect(&Client::open(info)?, &policy).await?;
        let began = Instant::now();
        probe(&mut connection, &policy).await?;
        let took = began.elapsed().as_secs_f64() * 1000.0;
        // The user may lack the right to run INFO; the version is optional.
        let about: String =
            ::redis::cmd("INFO").arg("server").query_async(&mut connection).await.unwrap_or_default();
        let field = |name: &str| about.lines().find_map(|line| line.strip_prefix(name));
        // Valkey also names the version of Redis that it is compatible with.
        let valkey = field("valkey_version:").map(|version| format!("Valkey {version}"));
        let version = valkey.unwrap_or_else(|| field("redis_version:").unwrap_or("Redis").to_owned());
        Ok(format!("{version} at {address}, answers in {took:.1} ms"))
    };
    let found: Result<String, Error> =
        timeout(2 * CONNECT_WITHIN, found).await.unwrap_or(Err(Error::TimedOut(2 * CONNECT_WITHIN)));
    found.map_err(|error| format!("{address}: {error}"))
}

/// The address for people, without a password; with the database unless that is the first.
fn address(info: &ConnectionInfo) -> String {
    match info.redis_settings().db() {
        0 => info.addr().to_string(),
        database => format!("{} (database {database})", info.addr()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_the_database_and_no_password() {
        for (url, expected) in [
            ("redis://localhost", "localhost:6379"),
            ("redis://user:secret@jobs:6380/0", "jobs:6380"),
            ("redis://:secret@jobs/3", "jobs:6379 (database 3)"),
        ] {
            assert_eq!(address(&url.parse().unwrap()), expected);
        }
    }
}
