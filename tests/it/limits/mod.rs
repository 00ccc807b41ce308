//! Rate limits: one suite for both limiters, and tests of each.

mod faults;
mod gateway;
mod model;
mod on_redis;
mod suite;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use meshgate::domain::Client;
use meshgate::rate_limit::{Limiter, MemoryLimiter, Quota, RedisLimiter};

use super::redis::{RedisServer, connect};

/// A limiter, and a way to advance its time without waiting.
pub trait Side {
    fn limiter(&self) -> Arc<dyn Limiter>;
    fn pass(&self, time: Duration);
}

/// The limiter in memory.
pub struct Here {
    limiter: Arc<MemoryLimiter>,
    /// The time in milliseconds.
    clock: Arc<AtomicU64>,
}

impl Here {
    #[expect(clippy::unused_async, reason = "the other side waits for its Redis")]
    pub async fn start() -> Here {
        let clock = Arc::new(AtomicU64::new(0));
        let now = Arc::clone(&clock);
        let limiter = MemoryLimiter::with_clock(move || Duration::from_millis(now.load(Ordering::Relaxed)));
        Here { limiter: Arc::new(limiter), clock }
    }
}

impl Side for Here {
    fn limiter(&self) -> Arc<dyn Limiter> {
        Arc::clone(&self.limiter) as _
    }

    fn pass(&self, time: Duration) {
        self.clock.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    }
}

/// The limiter in Redis.
pub struct There {
    pub server: RedisServer,
    limiter: Arc<RedisLimiter>,
}

impl There {
    pub async fn start() -> There {
        let server = RedisServer::start();
        let limiter = Arc::new(RedisLimiter::new(connect(&server.url()).await));
        There { server, limiter }
    }
}

/// A script that makes all stored requests older, as if time had passed. The real time that passes is short against the
/// windows of the suite.
const AGE: &str = "
    for _, key in ipairs(redis.call('KEYS', 'meshgate:limit:*')) do
        for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
            redis.call('ZINCRBY', key, '-' .. ARGV[1], member)
        end
    end";

impl Side for There {
    fn limiter(&self) -> Arc<dyn Limiter> {
        Arc::clone(&self.limiter) as _
    }

    fn pass(&self, time: Duration) {
        let script = redis::Script::new(AGE);
        script.arg(time.as_micros() as u64).invoke::<()>(&mut self.server.connection()).unwrap();
    }
}

pub fn quota(requests: u32, seconds: u64) -> Quota {
    Quota { requests: NonZeroU32::new(requests).unwrap(), window: Duration::from_secs(seconds) }
}

pub fn key(name: &str) -> Client {
    Client::Key(name.into())
}
