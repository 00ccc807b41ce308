//! The index and the leases of all processes, in Redis; `crate::redis` lists the keys.

use std::time::Duration;

use ::redis::{Cmd, FromRedisValue, cmd};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::entry::Entry;
use super::index::Index;
use super::lease::{LEASE_LIFE, Lease};
use super::local::LocalIndex;
use crate::redis::{Error, Redis};
use crate::storage::Hash;

/// Prefixes of keys; an identity follows.
const ENTRY: &str = "meshgate:cache:";
const LEASE: &str = "meshgate:lease:";

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
            granted.map(|_| Lease::held(self.redis.clone(), lease, token))
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
