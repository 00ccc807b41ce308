//! The limiter of all processes, in Redis; `crate::redis` documents the keys.

use std::sync::LazyLock;
use std::time::Duration;

use ::redis::{Script, cmd};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::limiter::{Decision, Entry, Limiter, Quota, Ticket};
use super::memory::MemoryLimiter;
use crate::domain::Client;
use crate::redis::{Error, Redis};

/// Prefix of a client's key.
const KEY: &str = "meshgate:limit:";

/// Lifetime of a key beyond its window, in milliseconds, since Redis rounds lifetimes to milliseconds.
const SPARE: u128 = 1000;

/// The script that decides. It uses the clock of Redis, since the clocks of the processes differ.
///
/// When that clock goes back by less than a window, the windows of recent clients pause, so that no quota is exceeded.
/// When it goes back further, their counts restart. The key always expires.
const TAKE: &str = r"
    local requests, window, life, ticket = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local latest = tonumber(redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2])
    if latest and latest > now + window then
        redis.call('DEL', KEYS[1])
    elseif latest and latest > now then
        now = latest
    end
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
    local count = redis.call('ZCARD', KEYS[1])
    local free = math.max(requests - count, 0)
    if free > 0 then
        redis.call('ZADD', KEYS[1], now, ticket)
        count = count + 1
    end
    redis.call('PEXPIRE', KEYS[1], life)
    local index = math.max(count - requests, 0)
    local next = tonumber(redis.call('ZRANGE', KEYS[1], index, index, 'WITHSCORES')[2])
    return {free, next + window - now}
";

/// Counts the requests of all processes; of this process only while Redis is unavailable.
pub struct RedisLimiter {
    redis: Redis,
    fallback: MemoryLimiter,
}

impl RedisLimiter {
    pub fn new(redis: Redis) -> Self {
        Self { redis, fallback: MemoryLimiter::default() }
    }

    async fn ask(&self, who: &Client, quota: Quota) -> Result<Decision, Error> {
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(TAKE));
        let ticket = Uuid::now_v7();
        let mut script = SCRIPT.key(key(who));
        script
            .arg(quota.requests.get())
            .arg(quota.window.as_micros().to_string())
            .arg((quota.window.as_millis() + SPARE).to_string())
            .arg(ticket.as_bytes());
        let (free, reset): (u32, u64) = self.redis.run_script(script).await?;
        Ok(Decision {
            remaining: free.saturating_sub(1),
            reset: Duration::from_micros(reset),
            ticket: (free > 0).then(|| Ticket { who: who.clone(), entry: Entry::Redis(ticket) }),
        })
    }
}

impl Limiter for RedisLimiter {
    fn take<'a>(&'a self, who: &'a Client, quota: Quota) -> BoxFuture<'a, Decision> {
        async move {
            self.ask(who, quota).await.unwrap_or_else(|error| {
                // An unavailable Redis is already in the log.
                if matches!(error, Error::Refused(_)) {
                    tracing::warn!(%error, "redis rejected the rate limit script; counting in this process");
                }
                self.fallback.decide(who, quota)
            })
        }
        .boxed()
    }

    fn give_back(&self, ticket: Ticket) -> BoxFuture<'_, ()> {
        async move {
            match ticket.entry {
                Entry::Here(number) => self.fallback.forget(&ticket.who, number),
                Entry::Redis(member) => {
                    let mut command = cmd("ZREM");
                    command.arg(key(&ticket.who)).arg(member.as_bytes());
                    // On failure the request still counts.
                    let _: Result<(), Error> = self.redis.run(command).await;
                }
            }
        }
        .boxed()
    }
}

fn key(who: &Client) -> String {
    format!("{KEY}{who}")
}
