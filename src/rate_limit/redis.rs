//! The requests of all processes, in Redis; `crate::redis` shows how they are kept there.

use std::sync::LazyLock;
use std::time::Duration;

use ::redis::{Script, cmd};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::{Decision, Embedded, Entry, Limiter, Quota, Ticket};
use crate::domain::Client;
use crate::redis::{Error, Redis};

/// Followed by whose requests they are.
const KEY: &str = "meshgate:limit:";

/// How much longer than its window a log is kept, in milliseconds: Redis rounds what it keeps by the millisecond.
const SPARE: u128 = 1000;

/// Decides by Redis' own clock, since those of the processes differ.
///
/// When that clock goes back a little, time stands still for whoever sent requests meanwhile, so that no window has more
/// than it may; when it goes back by more than a window, they start anew. Whatever happens, the key has an end.
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

/// Counts for all processes, and for this one alone while Redis is away.
pub struct OnRedis {
    redis: Redis,
    alone: Embedded,
}

impl OnRedis {
    pub fn new(redis: Redis) -> Self {
        Self { redis, alone: Embedded::default() }
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

impl Limiter for OnRedis {
    fn take<'a>(&'a self, who: &'a Client, quota: Quota) -> BoxFuture<'a, Decision> {
        async move {
            let error = match self.ask(who, quota).await {
                Ok(decision) => return decision,
                Err(error) => error,
            };
            // That Redis is away is in the log already.
            if matches!(error, Error::Refused(_)) {
                tracing::warn!(%error, "redis does not count requests; this process does it alone");
            }
            self.alone.decide(who, quota)
        }
        .boxed()
    }

    fn give_back(&self, ticket: Ticket) -> BoxFuture<'_, ()> {
        async move {
            match ticket.entry {
                Entry::Here(number) => self.alone.forget(&ticket.who, number),
                Entry::Redis(member) => {
                    let mut command = cmd("ZREM");
                    command.arg(key(&ticket.who)).arg(member.as_bytes());
                    // Where it fails, the request counts.
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
