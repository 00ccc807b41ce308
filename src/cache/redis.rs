//! The index and the leases of all processes, in Redis; `crate::redis` lists the keys.

use std::sync::LazyLock;
use std::time::Duration;

use ::redis::{Cmd, FromRedisValue, Script, cmd};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::{Entry, Index, Lease, LocalIndex};
use crate::redis::{Error, Redis};
use crate::storage::Hash;

/// Prefixes of keys; an identity follows.
const ENTRY: &str = "meshgate:cache:";
const LEASE: &str = "meshgate:lease:";

/// Milliseconds after which a lease ends unless its holder renews it.
const LEASE_LIFE: u64 = 1500;

/// How often a holder renews its lease.
const RENEW_EVERY: Duration = Duration::from_millis(400);

/// Scripts that renew and release a lease, for its holder only.
const RENEW: &str = "
    if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
    return 0";
const RELEASE: &str = "
    if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
    return 0";

/// The index that all processes share, with an index of this process for when Redis is unreachable.
pub struct RedisIndex {
    redis: Redis,
    duration: Duration,
    fallback: LocalIndex,
}

impl RedisIndex {
    pub fn new(redis: Redis, duration: Duration, fallback: LocalIndex) -> Self {
        Self { redis, duration, fallback }
    }

    /// Runs a command; `None` if that fails, and this process's own state is to be used.
    async fn run<T: FromRedisValue + Send + 'static>(&self, command: Cmd) -> Option<T> {
        let answer = self.redis.run(command).await;
        // The connection logs that Redis is unreachable.
        if let Err(error @ Error::Refused(_)) = &answer {
            tracing::warn!(%error, "redis refused a command of the cache; using in-process state");
        }
        answer.ok()
    }
}

impl Index for RedisIndex {
    fn get(&self, identity: Hash) -> BoxFuture<'_, Option<Entry>> {
        async move {
            match self.run::<Option<Vec<u8>>>(Cmd::get(key(ENTRY, identity))).await {
                Some(found) => Entry::from_json(&found?),
                None => self.fallback.get(identity).await,
            }
        }
        .boxed()
    }

    fn put(&self, identity: Hash, entry: Entry) -> BoxFuture<'_, ()> {
        async move {
            let life = entry.life(self.duration).as_millis().max(1).to_string();
            let mut set = cmd("SET");
            set.arg(key(ENTRY, identity)).arg(entry.to_json()).arg("PX").arg(life);
            if self.run::<()>(set).await.is_none() {
                self.fallback.put(identity, entry).await;
            }
        }
        .boxed()
    }

    fn remove(&self, identity: Hash) -> BoxFuture<'_, ()> {
        async move {
            let removed: Result<u64, Error> = self.redis.run(Cmd::del(key(ENTRY, identity))).await;
            if removed.is_err() {
                self.fallback.remove(identity).await;
            }
        }
        .boxed()
    }

    fn claim(&self, identity: Hash) -> BoxFuture<'_, Option<Lease>> {
        async move {
            let (lease, token) = (key(LEASE, identity), Uuid::now_v7().to_string());
            let mut set = cmd("SET");
            set.arg(&lease).arg(&token).arg("NX").arg("PX").arg(LEASE_LIFE);
            let Some(granted) = self.run::<Option<String>>(set).await else { return Some(Lease::alone()) };
            granted.map(|_| Lease { _held: Some(Held::new(self.redis.clone(), lease, token)) })
        }
        .boxed()
    }

    fn bytes(&self) -> Option<u64> {
        None
    }

    fn maintain(&self) -> BoxFuture<'_, ()> {
        self.fallback.maintain()
    }
}

fn key(prefix: &str, identity: Hash) -> String {
    format!("{prefix}{}", identity.to_hex())
}

/// A lease that is renewed until it is dropped, and then released.
#[derive(Debug)]
pub struct Held {
    redis: Redis,
    lease: String,
    token: String,
    _renewing: AbortOnDropHandle<()>,
}

impl Held {
    fn new(redis: Redis, lease: String, token: String) -> Self {
        let renewing = renew(redis.clone(), lease.clone(), token.clone());
        Self { redis, lease, token, _renewing: AbortOnDropHandle::new(tokio::spawn(renewing)) }
    }
}

async fn renew(redis: Redis, lease: String, token: String) {
    static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(RENEW));
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        let mut script = SCRIPT.key(&lease);
        script.arg(&token).arg(LEASE_LIFE);
        // If the lease is lost, another process does the same work once more, which is harmless.
        let _: Result<u64, Error> = redis.run_script(script).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(RELEASE));
        // Without a runtime, the lease ends by itself.
        let Ok(runtime) = Handle::try_current() else { return };
        let mut script = SCRIPT.key(&self.lease);
        script.arg(&self.token);
        let redis = self.redis.clone();
        runtime.spawn(async move {
            let _: Result<u64, Error> = redis.run_script(script).await;
        });
    }
}
